//! Accumulators of affine layers to bytes: see [`crate::arch::narrow::Scaling`]. Sixteen at a time.

use crate::arch::narrow::{Extent, Scaling};
use core::arch::x86_64::*;

/// Scales rows; false if they do not fit.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn rows(acc: &[i32], extent: Extent, scaling: Scaling<'_>, out: &mut [i8]) -> bool {
    let Extent {
        rows,
        width,
        columns,
        step,
    } = extent;
    let Scaling {
        mantissas,
        shifts,
        low,
        high,
        zero,
    } = scaling;
    let has_factors = mantissas.len() >= width && shifts.len() >= width;
    if !extent.fits(acc.len(), out.len()) || !has_factors {
        return false;
    }
    let (low, high) = (_mm512_set1_epi32(low), _mm512_set1_epi32(high));
    let (zero, one) = (_mm512_set1_epi32(zero), _mm512_set1_epi32(1));
    let half = _mm512_set1_epi64(1 << 30);
    for column in (0..columns).step_by(16) {
        let stored: __mmask16 = u16::MAX >> (16 - (columns - column).min(16));
        // SAFETY: sixteen columns from `column` on lie in the width, a multiple of sixteen, for which there are
        // factors; rows of accumulators and of elements fit, as just checked, and masks end with the columns.
        unsafe {
            let mantissa = _mm512_loadu_si512(mantissas.as_ptr().add(column).cast());
            let mantissa_odd = _mm512_srli_epi64::<32>(mantissa);
            let shift = _mm512_loadu_si512(shifts.as_ptr().add(column).cast());
            let right = _mm512_sub_epi32(_mm512_setzero_si512(), shift);
            let mask = _mm512_sub_epi32(_mm512_sllv_epi32(one, right), one);
            let threshold = _mm512_srli_epi32::<1>(mask);
            for row in 0..rows {
                let x = _mm512_loadu_si512(acc.as_ptr().add(row * width + column).cast());
                // Products of even and of odd lanes in 64 bits, of which the upper 33 are wanted.
                let even = _mm512_add_epi64(_mm512_mul_epi32(x, mantissa), half);
                let odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(x), mantissa_odd);
                let odd = _mm512_add_epi64(odd, half);
                let (even, odd) = (_mm512_srli_epi64::<31>(even), _mm512_slli_epi64::<1>(odd));
                let x = _mm512_mask_blend_epi32(0xAAAA, even, odd);
                // At half, what is below zero stays there.
                let threshold = _mm512_sub_epi32(threshold, _mm512_srai_epi32::<31>(x));
                let up = _mm512_cmpgt_epi32_mask(_mm512_and_si512(x, mask), threshold);
                let floor = _mm512_srav_epi32(x, right);
                let y = _mm512_mask_add_epi32(floor, up, floor, one);
                let y = _mm512_min_epi32(_mm512_max_epi32(y, low), high);
                let y = _mm512_cvtepi32_epi8(_mm512_add_epi32(y, zero));
                let to = out.as_mut_ptr().add(row * step + column);
                _mm_mask_storeu_epi8(to.cast(), stored, y);
            }
        }
    }
    true
}
