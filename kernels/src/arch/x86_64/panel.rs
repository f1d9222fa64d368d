//! Panels of `f32`: see [`crate::arch::panel`].

use super::lanes;
use crate::arch::panel::{self, LANES, Panel, ROOM, Sums};
use crate::arch::tile::{Operand, ROWS, Segments};
use core::arch::x86_64::*;

/// Elements of a segment below which all partial sums are computed at once.
const SHORT: usize = 32;

/// Fills a panel, in squares of 16 by 16.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
pub(super) unsafe fn pack(weight: Operand<'_, f32>, len: usize, panel: &mut Panel<f32>) {
    if len > ROOM
        || weight.rows > panel::take(len, weight.rows)
        || !Segments::one(len).fit(weight, weight)
    {
        return;
    }
    let halves = if weight.rows > LANES { 2 } else { 1 };
    for half in 0..halves {
        let rows: [_; LANES] = lanes::rows(weight, half * LANES);
        let mut k = 0;
        while k < len {
            let mask = ((1u32 << (len - k).min(16)) - 1) as __mmask16;
            // SAFETY: the mask ends with the rows, which fit, as just checked; a panel has room for
            // `ROOM` times `LANES` weights, whole squares, and `take` leaves a wide one no more than
            // half as many of each output; it is aligned, and so are all rows of `LANES`; the
            // instructions are the caller's promise.
            unsafe {
                let mut square = [_mm512_setzero_ps(); LANES];
                for (to, row) in square.iter_mut().zip(&rows) {
                    *to = _mm512_maskz_loadu_ps(mask, row.wrapping_add(k));
                }
                let square = transpose(square);
                let to = panel.as_mut_ptr().add((k * halves + half) * LANES);
                for (i, &values) in square.iter().enumerate() {
                    _mm512_store_ps(to.add(i * halves * LANES), values);
                }
            }
            k += 16;
        }
    }
    // SAFETY: as many have just been written.
    unsafe { panel.set_len(len, halves == 2) };
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
    sums: &mut [Sums<f32>; 2],
) {
    if !segments.fit_panel(x, panel.len()) {
        // Nothing lies under the window: it stands on padding alone.
        *sums = [[[0.0; LANES]; ROWS]; 2];
        return;
    }
    // SAFETY: the segments of all rows and of the panel fit, as just checked; the instructions are
    // the caller's promise.
    unsafe {
        if panel.is_wide() {
            blocks::<3, 2, 4>(x, panel, segments, sums);
        } else if segments.len() < SHORT {
            blocks::<3, 1, 8>(x, panel, segments, sums);
        } else {
            blocks::<6, 1, 4>(x, panel, segments, sums);
        }
    }
}

/// The sums of all rows, `R` at a time, with `P` times sixteen outputs: `N * R * P` of 32 registers
/// hold sums, of `N` partial sums at a time.
///
/// # Safety
/// As [`multiply`], the segments fit, and so wide is the panel.
#[inline(always)]
unsafe fn blocks<const R: usize, const P: usize, const N: usize>(
    x: Operand<'_, f32>,
    panel: &Panel<f32>,
    segments: &Segments,
    sums: &mut [Sums<f32>; 2],
) {
    let mut first = 0;
    while first < x.rows.min(ROWS) {
        // SAFETY: the promise of the caller.
        unsafe {
            match x.rows - first {
                1 => rows::<1, P, 8>(x, first, panel, segments, sums),
                2 | 3 => rows::<3, P, N>(x, first, panel, segments, sums),
                _ => rows::<R, P, N>(x, first, panel, segments, sums),
            }
        }
        first += R;
    }
}

/// The sums of `R` rows from `first` on; those beyond the last repeat it.
///
/// # Safety
/// As [`blocks`].
#[inline(always)]
unsafe fn rows<const R: usize, const P: usize, const N: usize>(
    x: Operand<'_, f32>,
    first: usize,
    panel: &Panel<f32>,
    segments: &Segments,
    sums: &mut [Sums<f32>; 2],
) {
    const { assert!(N == 4 || N == 8) };
    let xs: [_; R] = lanes::rows(x, first);
    // As `Element::total`: 4 apart, 2 apart, 1 apart.
    // SAFETY: the promise of the caller.
    unsafe {
        let (even, odd);
        if N == 8 {
            let [a, b, c, d, e, f, g, h] = partial::<0, 1, R, P, 8>(&xs, panel, segments);
            (even, odd) = (total([a, c, e, g]), total([b, d, f, h]));
        } else {
            even = total(partial::<0, 2, R, P, 4>(&xs, panel, segments));
            odd = total(partial::<1, 2, R, P, 4>(&xs, panel, segments));
        }
        for (p, sums) in sums.iter_mut().enumerate().take(P) {
            let to = sums.iter_mut().skip(first);
            for (to, (even, odd)) in to.zip(even.iter().zip(&odd)) {
                _mm512_storeu_ps(to.as_mut_ptr(), _mm512_add_ps(even[p], odd[p]));
            }
        }
    }
}

/// `N` partial sums of each row and output: `J`, `J + STEP` and so on. Half of them at a time leave
/// registers for more rows and outputs, which spares loads; all at once read short segments once.
///
/// # Safety
/// As [`rows`].
#[inline(always)]
unsafe fn partial<
    const J: usize,
    const STEP: usize,
    const R: usize,
    const P: usize,
    const N: usize,
>(
    xs: &[*const f32; R],
    panel: &Panel<f32>,
    segments: &Segments,
) -> [[[__m512; P]; R]; N] {
    const { assert!(N * STEP == 8) };
    let (len, whole) = (segments.len(), segments.len() - segments.len() % 8);
    // SAFETY: the promise of the caller.
    unsafe {
        let mut sums = [[[_mm512_setzero_ps(); P]; R]; N];
        for (x0, w0) in segments.starts() {
            let mut i = J;
            while i < whole {
                for (q, sums) in sums.iter_mut().enumerate() {
                    let k = i + STEP * q;
                    step(sums, xs, x0 + k, panel.as_ptr().add((w0 + k) * P * LANES));
                }
                i += 8;
            }
            // The last may get nothing.
            for sums in sums.iter_mut().take((7 - J).div_ceil(STEP)) {
                if i >= len {
                    break;
                }
                step(sums, xs, x0 + i, panel.as_ptr().add((w0 + i) * P * LANES));
                i += STEP;
            }
        }
        sums
    }
}

/// Partial sums 0, 2, 4 and 6, or 1, 3, 5 and 7, added up: 4 apart, then 2 apart.
///
/// # Safety
/// AVX-512.
#[inline(always)]
unsafe fn total<const R: usize, const P: usize>(
    [mut a, c, e, g]: [[[__m512; P]; R]; 4],
) -> [[__m512; P]; R] {
    for (r, a) in a.iter_mut().enumerate() {
        for (p, a) in a.iter_mut().enumerate() {
            // SAFETY: the caller's proof of AVX-512.
            *a = unsafe {
                let (ae, cg) = (_mm512_add_ps(*a, e[r][p]), _mm512_add_ps(c[r][p], g[r][p]));
                _mm512_add_ps(ae, cg)
            };
        }
    }
    a
}

/// Adds the products of one element of each row and the weights of all outputs, which are aligned.
///
/// # Safety
/// As [`rows`].
#[inline(always)]
unsafe fn step<const R: usize, const P: usize>(
    sums: &mut [[__m512; P]; R],
    xs: &[*const f32; R],
    xi: usize,
    weights: *const f32,
) {
    // SAFETY: the promise of the caller.
    unsafe {
        let mut ws = [_mm512_setzero_ps(); P];
        for (p, to) in ws.iter_mut().enumerate() {
            *to = _mm512_load_ps(weights.add(p * LANES));
        }
        for (sums, x) in sums.iter_mut().zip(xs) {
            let x = _mm512_set1_ps(*x.add(xi));
            for (sum, &weight) in sums.iter_mut().zip(&ws) {
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(x, weight));
            }
        }
    }
}
