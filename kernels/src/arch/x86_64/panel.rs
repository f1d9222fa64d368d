//! Panels of `f32`: see [`crate::arch::panel`].

use super::lanes;
use crate::arch::panel::{LANES, Panel, ROOM, Sums};
use crate::arch::tile::{Operand, ROWS, Segments};
use core::arch::x86_64::*;

/// Rows of `x` that are multiplied together: three times eight sums, in 24 of 32 registers.
const BLOCK: usize = 3;

/// Fills a panel, in squares of 16 by 16.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
pub(super) unsafe fn pack(weight: Operand<'_, f32>, len: usize, panel: &mut Panel<f32>) {
    if len > ROOM || !Segments::one(len).fit(weight, weight) {
        return;
    }
    let rows: [_; LANES] = lanes::rows(weight, 0);
    let mut k = 0;
    while k < len {
        let mask = ((1u32 << (len - k).min(16)) - 1) as __mmask16;
        // SAFETY: the mask ends with the rows, which fit, as just checked; 16 more of the panel's
        // `ROOM`, a multiple of 16, can be written; the instructions are the caller's promise.
        unsafe {
            let mut square = [_mm512_setzero_ps(); LANES];
            for (to, row) in square.iter_mut().zip(&rows) {
                *to = _mm512_maskz_loadu_ps(mask, row.wrapping_add(k));
            }
            let square = transpose(square);
            let to = panel.as_mut_ptr().add(k * LANES);
            for (i, &values) in square.iter().enumerate() {
                _mm512_storeu_ps(to.add(i * LANES), values);
            }
        }
        k += 16;
    }
    // SAFETY: as many have just been written.
    unsafe { panel.set_len(len) };
}

/// Rows become columns.
///
/// # Safety
/// AVX-512.
#[inline(always)]
pub(super) unsafe fn transpose(rows: [__m512; 16]) -> [__m512; 16] {
    // Row `i` of each step is named by what it holds of the given rows.
    let mut a = rows;
    let mut b = rows;
    // SAFETY: the caller's proof of AVX-512.
    unsafe {
        // Pairs of rows, then fours, within 128 bits.
        for i in 0..8 {
            b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
            b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
        }
        for i in 0..4 {
            let p = _mm512_castps_pd(b[4 * i]);
            let q = _mm512_castps_pd(b[4 * i + 1]);
            let r = _mm512_castps_pd(b[4 * i + 2]);
            let s = _mm512_castps_pd(b[4 * i + 3]);
            a[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(p, r));
            a[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(p, r));
            a[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(q, s));
            a[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(q, s));
        }
        // `a[4 i + j]` holds columns j, 4 + j, 8 + j, 12 + j of rows 4 i to 4 i + 3.
        for j in 0..4 {
            let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a[j], a[4 + j]);
            let odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(a[j], a[4 + j]);
            let even_high = _mm512_shuffle_f32x4::<0b10_00_10_00>(a[8 + j], a[12 + j]);
            let odd_high = _mm512_shuffle_f32x4::<0b11_01_11_01>(a[8 + j], a[12 + j]);
            b[j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(even, even_high);
            b[8 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(even, even_high);
            b[4 + j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(odd, odd_high);
            b[12 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(odd, odd_high);
        }
    }
    b
}

/// The sums of all rows of `x`.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
pub(super) unsafe fn multiply(
    x: Operand<'_, f32>,
    panel: &Panel<f32>,
    segments: &Segments,
    sums: &mut Sums<f32>,
) {
    if !segments.fit_panel(x, panel.len()) {
        *sums = [[0.0; LANES]; ROWS];
        return;
    }
    const { assert!(ROWS.is_multiple_of(BLOCK)) };
    for (block, to) in sums.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let first = block * BLOCK;
        // SAFETY: the segments of all rows and of the panel fit, as just checked; the instructions are
        // the caller's promise.
        unsafe {
            match x.rows.saturating_sub(first) {
                0 => return,
                1 => rows::<1>(x, first, panel, segments, to.first_chunk_mut()),
                _ => rows::<BLOCK>(x, first, panel, segments, Some(to)),
            }
        }
    }
}

/// The sums of `R` rows from `first` on; those beyond the last repeat it.
///
/// # Safety
/// As [`multiply`], and the segments fit.
#[inline(always)]
unsafe fn rows<const R: usize>(
    x: Operand<'_, f32>,
    first: usize,
    panel: &Panel<f32>,
    segments: &Segments,
    to: Option<&mut [[f32; LANES]; R]>,
) {
    let xs: [_; R] = lanes::rows(x, first);
    let (len, whole) = (segments.len(), segments.len() - segments.len() % 8);
    // SAFETY: the promise of the caller.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); R]; 8];
        for (x0, w0) in segments.starts() {
            let mut i = 0;
            while i < whole {
                let weights = panel.as_ptr().add((w0 + i) * LANES);
                for (j, sums) in sums.iter_mut().enumerate() {
                    let weight = _mm512_loadu_ps(weights.add(j * LANES));
                    for (sum, x) in sums.iter_mut().zip(&xs) {
                        let x = _mm512_set1_ps(*x.add(x0 + i + j));
                        *sum = _mm512_add_ps(*sum, _mm512_mul_ps(x, weight));
                    }
                }
                i += 8;
            }
            let weights = panel.as_ptr().add((w0 + whole) * LANES);
            for (j, sums) in sums.iter_mut().enumerate().take(7) {
                if whole + j >= len {
                    break;
                }
                let weight = _mm512_loadu_ps(weights.add(j * LANES));
                for (sum, x) in sums.iter_mut().zip(&xs) {
                    let x = _mm512_set1_ps(*x.add(x0 + whole + j));
                    *sum = _mm512_add_ps(*sum, _mm512_mul_ps(x, weight));
                }
            }
        }
        let Some(to) = to else {
            return;
        };
        let [a, b, c, d, e, f, g, h] = sums;
        for r in 0..R {
            // As `Element::total`: 4 apart, 2 apart, 1 apart.
            let even = _mm512_add_ps(_mm512_add_ps(a[r], e[r]), _mm512_add_ps(c[r], g[r]));
            let odd = _mm512_add_ps(_mm512_add_ps(b[r], f[r]), _mm512_add_ps(d[r], h[r]));
            _mm512_storeu_ps(to[r].as_mut_ptr(), _mm512_add_ps(even, odd));
        }
    }
}
