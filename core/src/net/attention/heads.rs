//! The backward pass of heads: four exponents, of which one depends on another.

use selvedge_kernels::attention::{Exponents, Ranges, Stores};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{Element, Result as KernelResult};

/// Runs the backward pass of heads with the exponents that their states ask for: of the errors of scores, and of
/// queries, keys and values, whose exponents it returns. A state that is unset is measured first, and the scores'
/// before the others, which depend on it.
pub(super) fn heads_errors<T: Element>(
    (scores_scale, part_scales): (&mut T::Scale, &mut [T::Scale; 3]),
    inputs: Exponents,
    dy: i32,
    roundings: [Rounding; 3],
    mut run: impl FnMut(Stores) -> KernelResult<Ranges>,
) -> KernelResult<[i32; 3]> {
    const NEAREST: Rounding = Rounding::NearestEven;
    const UNKNOWN: Stores = Stores {
        scores: Store::Measure,
        dq: Store::Measure,
        dk: Store::Measure,
        dv: Store::Measure,
    };
    let is_unset = |scale: T::Scale| T::DTYPE.is_integer() && scale.exponent().is_none();
    let bits = T::MAGNITUDE_BITS;

    let mut ranges = Ranges::default();
    if is_unset(*scores_scale) {
        ranges = run(UNKNOWN)?;
    }
    let at = inputs.scores::<T>(dy);
    let (scores, exponent) = plan(
        *scores_scale,
        at,
        Stores::SCORE_BITS,
        NEAREST,
        ranges.scores,
    )?;
    let stores = Stores { scores, ..UNKNOWN };
    if part_scales.iter().any(|&scale| is_unset(scale)) {
        ranges = run(stores)?;
    }
    let parts = [
        inputs.dq::<T>(exponent),
        inputs.dk::<T>(exponent),
        Exponents::dv::<T>(dy),
    ];
    let [q, k, v] = *part_scales;
    let [at_q, at_k, at_v] = parts;
    let [by_q, by_k, by_v] = roundings;
    let (dq, _) = plan(q, at_q, bits, by_q, ranges.dq)?;
    let (dk, _) = plan(k, at_k, bits, by_k, ranges.dk)?;
    let (dv, _) = plan(v, at_v, bits, by_v, ranges.dv)?;
    let ranges = run(Stores { scores, dq, dk, dv })?;

    // The states see what was stored.
    scores_scale.requantize(at, Stores::SCORE_BITS, Mode::Train, NEAREST, |_| {
        Ok(ranges.scores)
    })?;
    let seen = [ranges.dq, ranges.dk, ranges.dv];
    let mut exponents = [0; 3];
    for ((((scale, at), rounding), range), exponent) in (part_scales.iter_mut().zip(parts))
        .zip(roundings)
        .zip(seen)
        .zip(&mut exponents)
    {
        *exponent = scale.requantize(at, bits, Mode::Train, rounding, |_| Ok(range))?;
    }
    Ok(exponents)
}

/// How accumulators are stored by a state that stays as it is, and at which exponent, where `range` is what an unset
/// state would measure.
fn plan<S: Scale>(
    mut scale: S,
    at: i32,
    bits: u32,
    rounding: Rounding,
    range: u32,
) -> KernelResult<(Store, i32)> {
    let mut last = Store::Measure;
    let exponent = scale.requantize(at, bits, Mode::Infer, rounding, |store| {
        last = store;
        Ok(range)
    })?;
    Ok((last, exponent))
}
