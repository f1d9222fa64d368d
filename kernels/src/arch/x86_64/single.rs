//! Tiles of `f32` in registers of 512 bits, which hold the eight partial sums of two outputs.
//!
//! The operands are read where they lie: a row of `x` twice, side by side, and two rows of the
//! weights. Products and sums are those of [`super::float`], and so are their bits.

use super::float::{Load, Single};
use super::lanes::{self, GROUP, Lanes};
use super::masked::LoadF32;
use crate::arch::tile::{COLUMNS, Operand, ROWS, Segments, Tile};
use core::arch::x86_64::*;

/// Rows of `x` that are multiplied together: with four pairs of outputs, 24 of 32 registers hold
/// sums.
const BLOCK: usize = 6;
/// Weights of an output from which on a single row of `x` reads them as [`stream`] does.
const LONG: usize = 64;

/// Computes a tile.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
pub(super) unsafe fn tile(
    x: Operand<'_, f32>,
    weight: Operand<'_, f32>,
    segments: &Segments,
    tile: &mut Tile<f32>,
) {
    if !segments.fit(x, weight) {
        *tile = [[0.0; COLUMNS]; ROWS];
        return;
    }
    // SAFETY: the segments of all rows fit, as just checked; the instructions are the caller's promise.
    unsafe {
        if let (1, Some(len), [to, ..]) = (x.rows, segments.only(), &mut *tile)
            && len >= LONG
        {
            return stream(x.values.as_ptr(), weight, segments, len, to);
        }
        if weight.rows <= GROUP {
            blocks::<2>(x, weight, segments, tile);
        } else {
            blocks::<4>(x, weight, segments, tile);
        }
    }
}

/// The blocks of a tile, of `P` pairs of outputs.
///
/// # Safety
/// As [`tile`], and the segments fit.
#[inline(always)]
unsafe fn blocks<const P: usize>(
    x: Operand<'_, f32>,
    weight: Operand<'_, f32>,
    segments: &Segments,
    tile: &mut Tile<f32>,
) {
    const { assert!(ROWS.is_multiple_of(BLOCK) && 2 * P <= COLUMNS) };
    for (i, to) in tile.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let first = i * BLOCK;
        // SAFETY: the promise of the caller.
        unsafe {
            match x.rows.saturating_sub(first) {
                0 => return,
                1 => block::<1, P>(x, first, weight, segments, to.first_chunk_mut()),
                2 => block::<2, P>(x, first, weight, segments, to.first_chunk_mut()),
                3 | 4 => block::<4, P>(x, first, weight, segments, to.first_chunk_mut()),
                _ => block::<BLOCK, P>(x, first, weight, segments, Some(to)),
            }
        }
    }
}

/// The sums of `R` rows from `first` on; those beyond the last repeat it.
///
/// # Safety
/// As [`blocks`].
#[inline(always)]
unsafe fn block<const R: usize, const P: usize>(
    x: Operand<'_, f32>,
    first: usize,
    weight: Operand<'_, f32>,
    segments: &Segments,
    to: Option<&mut [[f32; COLUMNS]; R]>,
) {
    let xs: [_; R] = lanes::rows(x, first);
    let ws: [_; COLUMNS] = lanes::rows(weight, 0);
    let ws = ws.as_chunks::<2>().0;
    let (len, whole) = (segments.len(), segments.len() - segments.len() % 8);
    // SAFETY: the segments fit, by the promise of the caller: whole vectors and what is left of them.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); P]; R];
        for (x0, w0) in segments.starts() {
            let mut i = 0;
            while i < whole {
                step::<true, R, P>(&mut sums, &xs, x0 + i, ws, w0 + i, 8);
                i += 8;
            }
            if whole < len {
                step::<false, R, P>(&mut sums, &xs, x0 + i, ws, w0 + i, len - whole);
            }
        }
        for (to, sums) in to.into_iter().flatten().zip(sums) {
            totals(sums, to);
        }
    }
}

/// Adds the products of eight elements of each row, or of `n`.
///
/// # Safety
/// AVX-512, and so many can be read.
#[inline(always)]
unsafe fn step<const WHOLE: bool, const R: usize, const P: usize>(
    sums: &mut [[__m512; P]; R],
    xs: &[*const f32; R],
    xi: usize,
    ws: &[[*const f32; 2]],
    wi: usize,
    n: usize,
) {
    // Loops, no closures: those would not be compiled for the instructions.
    // SAFETY: the promise of the caller.
    unsafe {
        let mut weights = [_mm512_setzero_ps(); P];
        for (to, &[low, high]) in weights.iter_mut().zip(ws) {
            let low = _mm512_castps256_ps512(load::<WHOLE>(low.wrapping_add(wi), n));
            *to = _mm512_insertf32x8::<1>(low, load::<WHOLE>(high.wrapping_add(wi), n));
        }
        for (sums, x) in sums.iter_mut().zip(xs) {
            let x = _mm512_broadcast_f32x8(load::<WHOLE>(x.wrapping_add(xi), n));
            for (sum, &weight) in sums.iter_mut().zip(&weights) {
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(x, weight));
            }
        }
    }
}

/// Eight elements, or the first `n` and zeros.
///
/// # Safety
/// As [`step`].
#[inline(always)]
unsafe fn load<const WHOLE: bool>(p: *const f32, n: usize) -> __m256 {
    // SAFETY: the promise of the caller.
    unsafe {
        if WHOLE {
            LoadF32::whole(p)
        } else {
            LoadF32::first(p, n)
        }
    }
}

/// Writes the totals of `P` pairs, as [`Single`] sums them.
///
/// # Safety
/// AVX-512.
#[inline(always)]
unsafe fn totals<const P: usize>(sums: [__m512; P], to: &mut [f32; COLUMNS]) {
    const { assert!(P == 2 || P == 4) };
    // SAFETY: the caller's proof of AVX-512; `to` has the eight that are written.
    unsafe {
        // Sums 4 apart, of four outputs a register.
        let abcd = _mm512_castps_pd(fours(sums[0], sums[1]));
        let efgh = _mm512_castps_pd(fours(sums[P - 2], sums[P - 1]));
        // 2 apart, of all: a, a, e, e, b, b, f, f, ...
        let twos = _mm512_add_ps(
            _mm512_castpd_ps(_mm512_unpacklo_pd(abcd, efgh)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(abcd, efgh)),
        );
        // 1 apart, each total twice.
        let ones = _mm512_add_ps(twos, _mm512_permute_ps::<0b10_11_00_01>(twos));
        let order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
        let totals = _mm512_castps512_ps256(_mm512_permutexvar_ps(order, ones));
        _mm256_storeu_ps(to.as_mut_ptr(), totals);
    }
}

/// Lanes 0 to 3 of each half and lanes 4 to 7, added.
///
/// # Safety
/// AVX-512.
#[inline(always)]
unsafe fn fours(p: __m512, q: __m512) -> __m512 {
    // SAFETY: the caller's proof of AVX-512.
    unsafe {
        _mm512_add_ps(
            _mm512_shuffle_f32x4::<0b10_00_10_00>(p, q),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(p, q),
        )
    }
}

/// The sums of one row of `x`, two outputs at a time: their weights come from afar, and few long
/// streams, of which the next ones are asked for in time, come fastest.
///
/// # Safety
/// As [`blocks`]; there is one segment, of `len` elements.
#[inline(always)]
unsafe fn stream(
    x: *const f32,
    weight: Operand<'_, f32>,
    segments: &Segments,
    len: usize,
    to: &mut [f32; COLUMNS],
) {
    let ahead = weight.step.wrapping_mul(2);
    let first = segments.starts().next().map_or(0, |(_, weight)| weight);
    // SAFETY: the promise of the caller; a prefetch reads nothing.
    unsafe {
        for (g, to) in to.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
            if g * GROUP >= weight.rows {
                return;
            }
            let ws: [_; GROUP] = lanes::rows(weight, g * GROUP);
            let mut sums = [_mm256_setzero_ps(); GROUP];
            let pairs = sums.as_chunks_mut::<2>().0.iter_mut();
            for (pair, (sums, ws)) in pairs.zip(ws.as_chunks::<2>().0).enumerate() {
                if g * GROUP + 2 * pair >= weight.rows {
                    break;
                }
                let ws = [ws[0].wrapping_add(first), ws[1].wrapping_add(first)];
                let mut i = 0;
                while i + 16 <= len {
                    let x = _mm512_loadu_ps(x.wrapping_add(i));
                    for (sum, w) in sums.iter_mut().zip(ws) {
                        let w = w.wrapping_add(i);
                        _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(ahead).cast());
                        let products = _mm512_mul_ps(x, _mm512_loadu_ps(w));
                        *sum = _mm256_add_ps(*sum, _mm512_castps512_ps256(products));
                        *sum = _mm256_add_ps(*sum, _mm512_extractf32x8_ps::<1>(products));
                    }
                    i += 16;
                }
                let mask = ((1u32 << (len - i)) - 1) as __mmask16;
                let x = _mm512_maskz_loadu_ps(mask, x.wrapping_add(i));
                for (sum, w) in sums.iter_mut().zip(ws) {
                    let w = _mm512_maskz_loadu_ps(mask, w.wrapping_add(i));
                    let products = _mm512_mul_ps(x, w);
                    *sum = _mm256_add_ps(*sum, _mm512_castps512_ps256(products));
                    *sum = _mm256_add_ps(*sum, _mm512_extractf32x8_ps::<1>(products));
                }
            }
            Single::<LoadF32>::totals(sums, [(); GROUP], to);
        }
    }
}
