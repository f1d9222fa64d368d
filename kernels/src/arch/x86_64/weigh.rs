//! Weighted sums of rows whose factors are wider than the rows: as [`super::block`] for factors of 32 bits.

use crate::arch::block::{Factors, Rows, WIDTH, fit};
use core::arch::x86_64::*;

/// Registers of a row at most.
const VECTORS: usize = WIDTH / 16;

/// How sixteen elements become sixteen lanes of 32 bits, and what is done to them.
///
/// # Safety
/// The processor has AVX-512; an element and a sum are what `load` and the sums' type say.
pub(super) trait Lanes {
    /// An element of a row.
    type Element: Copy;
    /// A factor and a sum: 32 bits.
    type Sum: Copy;
    /// The elements that the mask names, zeros beside them.
    unsafe fn load(p: *const Self::Element, mask: __mmask16) -> __m512i;
    /// `sum + factor · x`.
    unsafe fn add(sum: __m512i, factor: __m512i, x: __m512i) -> __m512i;
}

/// `f32`: a product and a sum, each rounded.
pub(super) struct Floats;

impl Lanes for Floats {
    type Element = f32;
    type Sum = f32;

    #[inline(always)]
    unsafe fn load(p: *const f32, mask: __mmask16) -> __m512i {
        // SAFETY: the caller's proof of AVX-512, and its promise that those of the mask can be read.
        unsafe { _mm512_maskz_loadu_epi32(mask, p.cast()) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512i, factor: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the caller's proof of AVX-512.
        unsafe {
            let product = _mm512_mul_ps(_mm512_castsi512_ps(factor), _mm512_castsi512_ps(x));
            _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(sum), product))
        }
    }
}

/// Bytes, made signed by XOR with `FLIP`.
pub(super) struct Bytes<const FLIP: u8>;

impl<const FLIP: u8> Lanes for Bytes<FLIP> {
    type Element = u8;
    type Sum = i32;

    #[inline(always)]
    unsafe fn load(p: *const u8, mask: __mmask16) -> __m512i {
        // SAFETY: the caller's proof of AVX-512, and its promise that those of the mask can be read.
        unsafe {
            let bytes = _mm_maskz_loadu_epi8(mask, p.cast());
            _mm512_cvtepi8_epi32(_mm_xor_si128(bytes, _mm_set1_epi8(FLIP as i8)))
        }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512i, factor: __m512i, x: __m512i) -> __m512i {
        // SAFETY: the caller's proof of AVX-512.
        unsafe { _mm512_add_epi32(sum, _mm512_mullo_epi32(factor, x)) }
    }
}

/// Adds weighted rows to `sums`, in the order of the rows; columns from the width on are undefined. Tells whether
/// factors and rows fit; else nothing is done.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
pub(super) unsafe fn add<L: Lanes, const H: usize>(
    factors: Factors<'_, L::Sum>,
    rows: Rows<'_, L::Element>,
    sums: &mut [[L::Sum; WIDTH]; H],
) -> bool {
    const { assert!(size_of::<L::Sum>() == 4) };
    if !fit(H, factors, rows) {
        return false;
    }
    // SAFETY: all factors and rows fit, as just checked; the instructions are the caller's promise.
    unsafe {
        if rows.width > 16 {
            add_to::<L, H, VECTORS>(factors, rows, sums);
        } else {
            add_to::<L, H, 1>(factors, rows, sums);
        }
    }
    true
}

/// The same for rows of `V` registers.
///
/// # Safety
/// As [`add`], and they fit.
#[inline(always)]
unsafe fn add_to<L: Lanes, const H: usize, const V: usize>(
    factors: Factors<'_, L::Sum>,
    rows: Rows<'_, L::Element>,
    to: &mut [[L::Sum; WIDTH]; H],
) {
    let first = |n: usize| ((1u32 << n.min(16)) - 1) as __mmask16;
    let masks = [first(rows.width), first(rows.width.saturating_sub(16))];
    let mut row = rows.values.as_ptr();
    let mut factor = factors.values.as_ptr().cast::<i32>();
    // SAFETY: the promise of the caller; a masked load reads no more than a row's width, and sums have
    // `WIDTH` elements of 32 bits.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); V]; H];
        for (sums, to) in sums.iter_mut().zip(to.iter()) {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_loadu_si512(to.as_ptr().add(16 * v).cast());
            }
        }
        for _ in 0..rows.count {
            let mut x = [_mm512_setzero_si512(); V];
            for (v, x) in x.iter_mut().enumerate() {
                *x = L::load(row.wrapping_add(16 * v), masks[v]);
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let factor = _mm512_set1_epi32(*factor.wrapping_add(r * factors.sum_step));
                for (sum, &x) in sums.iter_mut().zip(&x) {
                    *sum = L::add(*sum, factor, x);
                }
            }
            row = row.wrapping_add(rows.step);
            factor = factor.wrapping_add(factors.row_step);
        }
        for (sums, to) in sums.iter().zip(to) {
            for (v, &sum) in sums.iter().enumerate() {
                _mm512_storeu_si512(to.as_mut_ptr().add(16 * v).cast(), sum);
            }
        }
    }
}
