//! Accumulators to bytes: see [`crate::arch::narrow`]. Sixteen at a time.

use crate::arch::narrow::{Extent, Narrowing};
use crate::fixed::Rounding;
use crate::rng::{GOLDEN, MIX, Words};
use core::arch::x86_64::*;

/// Narrows rows; XOR with `FLIP` makes elements of signed bytes. None if they do not fit.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn rows<const FLIP: u8>(
    acc: &[i32],
    extent: Extent,
    narrowing: Narrowing,
    out: &mut [u8],
) -> Option<u32> {
    let shift = narrowing.shift;
    if !extent.fits(acc.len(), out.len()) || !(1..32).contains(&shift) {
        return None;
    }
    let (places, mask) = (
        _mm_cvtsi32_si128(shift as i32),
        _mm512_set1_epi32((u32::MAX >> (32 - shift)) as i32),
    );
    let one = _mm512_set1_epi32(1);
    // SAFETY: the rows fit, as just checked, and this function is compiled for the instructions.
    Some(unsafe {
        match narrowing.rounding {
            Rounding::NearestEven => {
                let half = _mm512_set1_epi32(1 << (shift - 1));
                each::<FLIP>(acc, extent, narrowing.is_relu, out, |x, _| {
                    let floor = _mm512_sra_epi32(x, places);
                    let odd = _mm512_and_si512(floor, one);
                    // At half, an odd floor decides.
                    let rest = _mm512_add_epi32(_mm512_and_si512(x, mask), odd);
                    let up = _mm512_cmpgt_epu32_mask(rest, half);
                    _mm512_mask_add_epi32(floor, up, floor, one)
                })
            }
            Rounding::Stochastic(words) => {
                let down = _mm_cvtsi32_si128(32 - shift as i32);
                each::<FLIP>(acc, extent, narrowing.is_relu, out, |x, starts| {
                    let starts = starts.map(|start| narrowing.element.wrapping_add(start as u32));
                    let u = sixteen(words, starts);
                    // The fraction and the word are numbers of `shift` bits: does their sum carry?
                    let limit = _mm512_sub_epi32(mask, _mm512_srl_epi32(u, down));
                    let up = _mm512_cmpgt_epu32_mask(_mm512_and_si512(x, mask), limit);
                    let floor = _mm512_sra_epi32(x, places);
                    _mm512_mask_add_epi32(floor, up, floor, one)
                })
            }
        }
    })
}

/// The words of twice eight elements: [`Words::word`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn sixteen(words: Words, [low, high]: [u32; 2]) -> __m512i {
    let all = |x: u32| _mm512_set1_epi32(x as i32);
    let order = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    let starts = _mm512_mask_set1_epi32(all(low), 0xFF00, high as i32);
    let element = _mm512_add_epi32(starts, order);
    let x = _mm512_add_epi32(all(words.key()), _mm512_mullo_epi32(element, all(GOLDEN)));
    let x = _mm512_xor_si512(x, _mm512_srli_epi32::<16>(x));
    let x = _mm512_mullo_epi32(x, all(MIX[0]));
    let x = _mm512_xor_si512(x, _mm512_srli_epi32::<15>(x));
    let x = _mm512_mullo_epi32(x, all(MIX[1]));
    _mm512_xor_si512(x, _mm512_srli_epi32::<16>(x))
}

/// The rows by `shift`, which is told how many elements are before each half of a vector.
///
/// # Safety
/// Rows of accumulators and of elements fit ([`Extent::fits`]), and the processor has AVX-512 with its
/// extensions for bytes and short vectors.
#[inline(always)]
unsafe fn each<const FLIP: u8>(
    acc: &[i32],
    extent: Extent,
    is_relu: bool,
    out: &mut [u8],
    shift: impl Fn(__m512i, [usize; 2]) -> __m512i,
) -> u32 {
    let Extent {
        rows,
        width,
        columns,
        step,
    } = extent;
    // SAFETY: by the caller's promise, and as a row of accumulators is a multiple of 16 long; masks end with
    // the columns.
    unsafe {
        let lowest = _mm512_set1_epi32(if is_relu { 0 } else { i32::MIN });
        let mut seen = _mm512_setzero_si512();
        let mut narrow = |x: __m512i, mask: __mmask16, starts: [usize; 2]| {
            let x = _mm512_max_epi32(x, lowest);
            seen = _mm512_or_si512(seen, _mm512_maskz_abs_epi32(mask, x));
            let x = _mm512_max_epi32(shift(x, starts), _mm512_set1_epi32(-127));
            // Saturates at 127.
            _mm_xor_si128(_mm512_cvtsepi32_epi8(x), _mm_set1_epi8(FLIP as i8))
        };
        let (from, to) = (acc.as_ptr(), out.as_mut_ptr());
        if columns <= 8 {
            // Two rows in a vector.
            let mask = u8::MAX >> (8 - columns);
            for row in (0..rows).step_by(2) {
                let from = from.add(row * width);
                let (start, mut next_mask) = (row * step, 0);
                let mut x = _mm512_castsi256_si512(_mm256_loadu_si256(from.cast()));
                if row + 1 < rows {
                    next_mask = mask;
                    x = _mm512_inserti64x4::<1>(x, _mm256_loadu_si256(from.add(width).cast()));
                }
                let both = u16::from_le_bytes([mask, next_mask]);
                let bytes = narrow(x, both, [start, start + step]);
                let to = to.wrapping_add(start);
                if columns == 8 && step == 8 {
                    _mm_mask_storeu_epi8(to.cast(), both, bytes);
                } else {
                    let next = _mm_unpackhi_epi64(bytes, bytes);
                    _mm_mask_storeu_epi8(to.cast(), mask.into(), bytes);
                    _mm_mask_storeu_epi8(to.wrapping_add(step).cast(), next_mask.into(), next);
                }
            }
        } else {
            let whole = columns / 16;
            let rest = (1 << (columns % 16)) - 1;
            for row in 0..rows {
                let (mut from, mut start) = (from.add(row * width), row * step);
                for _ in 0..whole {
                    let x = _mm512_loadu_si512(from.cast());
                    let bytes = narrow(x, u16::MAX, [start, start + 8]);
                    _mm_storeu_si128(to.add(start).cast(), bytes);
                    (from, start) = (from.wrapping_add(16), start + 16);
                }
                if rest != 0 {
                    let x = _mm512_loadu_si512(from.cast());
                    let bytes = narrow(x, rest, [start, start + 8]);
                    _mm_mask_storeu_epi8(to.add(start).cast(), rest, bytes);
                }
            }
        }
        _mm512_reduce_or_epi32(seen) as u32
    }
}
