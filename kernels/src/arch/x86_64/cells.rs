//! Depthwise windows of bytes: see [`crate::arch::cells`].

use crate::arch::cells::{CellWeights, WIDTH};
use core::arch::x86_64::*;

/// The sums of one window; XOR with `OFFSET` makes offset binary of an element.
///
/// # Safety
/// The processor has AVX-512 with VNNI; `T` is a byte.
#[inline(always)]
pub(super) unsafe fn multiply<T, const OFFSET: u8>(
    cells: &[&[T]],
    weights: &CellWeights,
    count: usize,
    to: &mut [i32; WIDTH],
) {
    let mask = u64::MAX >> (64 - count.clamp(1, WIDTH));
    // SAFETY: a masked load ends with the slice, whose length is asked; the instructions are the
    // caller's promise.
    unsafe {
        let mut sums = [_mm512_setzero_si512(); 4];
        for (cells, weights) in cells.chunks(4).zip(&weights.bytes) {
            let mut x = [_mm512_set1_epi8(0x80u8 as i8); 4];
            for (x, cell) in x.iter_mut().zip(cells) {
                if cell.len() >= count.clamp(1, WIDTH) {
                    let bytes = _mm512_maskz_loadu_epi8(mask, cell.as_ptr().cast());
                    *x = _mm512_xor_si512(bytes, _mm512_set1_epi8(OFFSET as i8));
                }
            }
            let [a, b, c, d] = x;
            let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
            let (ab_high, cd_high) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
            let quads = [
                _mm512_unpacklo_epi16(ab, cd),
                _mm512_unpackhi_epi16(ab, cd),
                _mm512_unpacklo_epi16(ab_high, cd_high),
                _mm512_unpackhi_epi16(ab_high, cd_high),
            ];
            for ((sum, quad), weights) in sums.iter_mut().zip(quads).zip(weights) {
                let weights = _mm512_loadu_si512(weights.as_ptr().cast());
                *sum = _mm512_dpbusd_epi32(*sum, quad, weights);
            }
        }
        // Register q holds channels 16 l + 4 q to 16 l + 4 q + 3 in its lane l: lanes become registers.
        let [a, b, c, d] = sums;
        let (ab, cd) = (
            _mm512_shuffle_i32x4::<0b01_00_01_00>(a, b),
            _mm512_shuffle_i32x4::<0b01_00_01_00>(c, d),
        );
        let (ab_high, cd_high) = (
            _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b),
            _mm512_shuffle_i32x4::<0b11_10_11_10>(c, d),
        );
        let sums = [
            _mm512_shuffle_i32x4::<0b10_00_10_00>(ab, cd),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(ab, cd),
            _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_high, cd_high),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_high, cd_high),
        ];
        for (l, &sum) in sums.iter().enumerate() {
            let offsets = _mm512_loadu_si512(weights.offsets.as_ptr().add(16 * l).cast());
            let sum = _mm512_sub_epi32(sum, offsets);
            _mm512_storeu_si512(to.as_mut_ptr().add(16 * l).cast(), sum);
        }
    }
}
