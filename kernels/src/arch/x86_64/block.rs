//! Blocks of bytes: see [`crate::arch::block`]. Two rows at a time, as pairs of 16 bits, which VNNI
//! multiplies and adds to 32 bits.

use crate::arch::block::{Factors, Rows, WIDTH, fit};
use core::arch::x86_64::*;

/// Registers of a row at most.
const VECTORS: usize = WIDTH / 16;

/// Adds weighted rows to `sums`; `FLIP` makes signed bytes by XOR.
///
/// # Safety
/// The processor has AVX-512 with VNNI.
#[inline(always)]
pub(super) unsafe fn add<const FLIP: u8>(
    factors: Factors<'_, u8>,
    rows: Rows<'_, u8>,
    sums: &mut [[i32; WIDTH]],
) {
    if !fit(sums.len(), factors, rows) {
        return;
    }
    // SAFETY: all factors and rows fit, as just checked; the instructions are the caller's promise.
    unsafe {
        match (rows.width > 16, factors.row_step == 1) {
            (true, true) => each::<FLIP, VECTORS, true>(factors, rows, sums),
            (true, false) => each::<FLIP, VECTORS, false>(factors, rows, sums),
            (false, true) => each::<FLIP, 1, true>(factors, rows, sums),
            (false, false) => each::<FLIP, 1, false>(factors, rows, sums),
        }
    }
}

/// The same for rows of `V` registers; `NEXT` tells that the factors of a sum are neighbours.
///
/// # Safety
/// As [`add`], and they fit.
#[inline(always)]
unsafe fn each<const FLIP: u8, const V: usize, const NEXT: bool>(
    factors: Factors<'_, u8>,
    rows: Rows<'_, u8>,
    sums: &mut [[i32; WIDTH]],
) {
    let (fours, rest) = sums.as_chunks_mut::<4>();
    let mut first = 0;
    // SAFETY: the promise of the caller.
    unsafe {
        for sums in fours {
            add_to::<FLIP, 4, V, NEXT>(factors, first, rows, sums);
            first += 4;
        }
        for sum in rest {
            add_to::<FLIP, 1, V, NEXT>(factors, first, rows, core::array::from_mut(sum));
            first += 1;
        }
    }
}

/// The same for `R` sums from `first` on.
///
/// # Safety
/// As [`each`].
#[inline(always)]
unsafe fn add_to<const FLIP: u8, const R: usize, const V: usize, const NEXT: bool>(
    factors: Factors<'_, u8>,
    first: usize,
    rows: Rows<'_, u8>,
    to: &mut [[i32; WIDTH]; R],
) {
    let mut row = rows.values.as_ptr();
    let mut factor = factors
        .values
        .as_ptr()
        .wrapping_add(first * factors.sum_step);
    let masks = [
        first_16(rows.width),
        first_16(rows.width.saturating_sub(16)),
    ];
    // SAFETY: the promise of the caller; a masked load reads no more than a row's width, and the
    // last row has no partner to be read.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); V]; R];
        for (sums, to) in sums.iter_mut().zip(to.iter()) {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_loadu_si512(to.as_ptr().add(16 * v).cast());
            }
        }
        let mut left = rows.count;
        while left > 0 {
            let is_pair = left > 1;
            let mut pairs = [_mm512_setzero_si512(); V];
            for (v, pair) in pairs.iter_mut().enumerate() {
                let low = load::<FLIP>(row.wrapping_add(16 * v), masks[v]);
                let mask = if is_pair { masks[v] } else { 0 };
                let high = load::<FLIP>(row.wrapping_add(rows.step + 16 * v), mask);
                *pair = _mm512_mask_blend_epi16(0xAAAA_AAAA, low, _mm512_slli_epi32::<16>(high));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let factor = factor.wrapping_add(r * factors.sum_step);
                let factor = if NEXT && is_pair {
                    let both = _mm256_set1_epi16(factor.cast::<i16>().read_unaligned());
                    let both = _mm256_xor_si256(both, _mm256_set1_epi8(FLIP as i8));
                    _mm512_cvtepi8_epi16(both)
                } else {
                    let low = i32::from((*factor ^ FLIP) as i8) & 0xFFFF;
                    let high = if is_pair {
                        i32::from((*factor.add(factors.row_step) ^ FLIP) as i8) << 16
                    } else {
                        0
                    };
                    _mm512_set1_epi32(low | high)
                };
                for (sum, &pair) in sums.iter_mut().zip(&pairs) {
                    *sum = _mm512_dpwssd_epi32(*sum, pair, factor);
                }
            }
            row = row.wrapping_add(2 * rows.step);
            factor = factor.wrapping_add(2 * factors.row_step);
            left = left.saturating_sub(2);
        }
        for (sums, to) in sums.iter().zip(to) {
            for (v, &sum) in sums.iter().enumerate() {
                _mm512_storeu_si512(to.as_mut_ptr().add(16 * v).cast(), sum);
            }
        }
    }
}

/// The lowest `n` lanes, at most 16.
#[inline(always)]
fn first_16(n: usize) -> __mmask16 {
    ((1u32 << n.min(16)) - 1) as __mmask16
}

/// Bytes in lanes of 32 bits.
///
/// # Safety
/// AVX-512, and those of the mask can be read.
#[inline(always)]
unsafe fn load<const FLIP: u8>(p: *const u8, mask: __mmask16) -> __m512i {
    // SAFETY: the promise of the caller.
    unsafe {
        let x = _mm_maskz_loadu_epi8(mask, p.cast());
        _mm512_cvtepi8_epi32(_mm_xor_si128(x, _mm_set1_epi8(FLIP as i8)))
    }
}
