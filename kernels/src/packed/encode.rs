//! From numbers to codes and scales.

use super::{BLOCK, Format, Scale};
use crate::error::{Arg, Result};
use crate::split::blocks_of;

/// Packs a row of weights, with a scale for each block of 32 (the last block may be short).
///
/// | argument | length |
/// |---|---|
/// | `row` | any but 0 |
/// | `codes` | `format.row_bytes(row.len())`, overwritten |
/// | `scales` | `ceil(row.len() / 32)`, overwritten |
///
/// The scale is that of [`nearest_scale`] for the block, a code [that](Format::code) of
/// `weight / scale`. With [`f16`](half::f16) scales the error of a weight is at most half a step of the
/// format at the weight's size, where one step of `Int4` is a seventh of the block's largest weight;
/// with powers of two a step is up to twice as large. A block of zeros has a scale of 0 (-128 as `i8`) and
/// codes of zero (of 1 for binary). NaN: as [`Format::code`]; it does not count for the scale.
///
/// For one scale for the whole tensor, see [`encode_row_with`].
///
/// # Errors
/// [`Error::Length`](crate::Error::Length), [`Error::Zero`](crate::Error::Zero), [`Error::Overflow`](crate::Error::Overflow); nothing is then written.
///
/// Source: largest magnitude over the largest code, as GGML's `Q4_0`; mean magnitude for ternary
/// (Ma et al. 2024, "The era of 1-bit LLMs", eq. 3) and binary (Rastegari et al. 2016, "XNOR-Net", eq. 6).
pub fn encode_row<S: Scale>(
    format: Format,
    row: &[f32],
    codes: &mut [u8],
    scales: &mut [S],
) -> Result<()> {
    check(format, row, codes)?;
    Arg::Scale.check_len(scales.len(), &[row.len().div_ceil(BLOCK)])?;
    for (scale, block) in scales.iter_mut().zip(blocks_of(row, BLOCK)) {
        *scale = nearest_scale(format, block);
    }
    pack(format, row, codes, |at| scales.get(at / BLOCK).copied());
    Ok(())
}

/// Packs a row with a scale that is given: one for the whole tensor, say, by [`nearest_scale`] of it.
///
/// # Errors
/// As [`encode_row`].
pub fn encode_row_with<S: Scale>(
    format: Format,
    row: &[f32],
    scale: S,
    codes: &mut [u8],
) -> Result<()> {
    check(format, row, codes)?;
    pack(format, row, codes, |_| Some(scale));
    Ok(())
}

fn check(format: Format, row: &[f32], codes: &[u8]) -> Result<()> {
    Arg::X.product(&[row.len()])?;
    Arg::Weight.check_len(codes.len(), &[format.row_bytes(row.len())])
}

fn pack<S: Scale>(
    format: Format,
    row: &[f32],
    codes: &mut [u8],
    scale: impl Fn(usize) -> Option<S>,
) {
    let code = |at: usize| {
        let scale = scale(at).map_or(1.0, |scale| scale.to_f64());
        let weight = row.get(at).map_or(0.0, |&weight| f64::from(weight));
        // A scale of zero stands for weights that are all zero, or lost beside it; NaN stays.
        let is_lost = scale == 0.0 && !weight.is_nan();
        format.code(if is_lost { 0.0 } else { weight / scale })
    };
    format.pack(codes, code, row.len());
}

/// The scale that suits `weights`: their largest magnitude over [`Format::largest`], rounded up so that
/// nothing is cut off; for ternary and binary their mean magnitude, rounded to nearest. NaN does not count.
#[must_use]
pub fn nearest_scale<S: Scale>(format: Format, weights: &[f32]) -> S {
    let magnitudes = weights
        .iter()
        .map(|&w| libm::fabs(f64::from(w)))
        .filter(|w| !w.is_nan());
    if matches!(format, Format::Ternary | Format::Binary) {
        let (count, sum) = magnitudes.fold((0usize, 0.0), |(n, sum), w| (n + 1, sum + w));
        S::nearest(sum / count.max(1) as f64)
    } else {
        let largest = magnitudes.fold(0.0, f64::max);
        S::at_least(largest / f64::from(format.largest()))
    }
}
