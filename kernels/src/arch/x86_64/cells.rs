//! Depthwise windows of bytes: see [`crate::arch::cells`].

use crate::arch::cells::{CellWeights, PIXELS, Quad, Strip, WIDTH, Windows};
use core::arch::x86_64::*;

/// Interleaves four cells, with `padding` where they have no elements; XOR with `OFFSET` makes offset binary of
/// an element. `T` is a byte.
///
/// # Safety
/// `T` is a byte, signed or not.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn interleave<T, const OFFSET: u8>(cells: [&[T]; 4], padding: u8, to: &mut Quad) {
    // Unpacking is done within 128 bits, which hold of each register to be: its channels 0 to 3 in the
    // first, and so on.
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let padding = _mm512_set1_epi8(padding as i8);
    let mut x = [padding; 4];
    for (x, cell) in x.iter_mut().zip(cells) {
        let mask = match cell.len() {
            0 => continue,
            len => u64::MAX >> (64 - len.min(WIDTH)),
        };
        // SAFETY: a masked load ends with the slice, of bytes by the caller's promise.
        let bytes = unsafe { _mm512_mask_loadu_epi8(padding, mask, cell.as_ptr().cast()) };
        *x = _mm512_permutexvar_epi32(order, bytes);
    }
    let [a, b, c, d] = x.map(|x| _mm512_xor_si512(x, _mm512_set1_epi8(OFFSET as i8)));
    let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
    let (ab_high, cd_high) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
    let quads = [
        _mm512_unpacklo_epi16(ab, cd),
        _mm512_unpackhi_epi16(ab, cd),
        _mm512_unpacklo_epi16(ab_high, cd_high),
        _mm512_unpackhi_epi16(ab_high, cd_high),
    ];
    for (to, quad) in to.iter_mut().zip(quads) {
        // SAFETY: 64 bytes.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), quad) };
    }
}

/// The sums of all windows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn multiply(
    strip: &Strip,
    windows: Windows,
    weights: &CellWeights,
    biases: &[i32; WIDTH],
    to: &mut [[i32; WIDTH]; PIXELS],
) {
    let Windows {
        groups,
        kernel,
        dilation,
        stride,
        pixels,
    } = windows;
    if pixels > windows.room() {
        return;
    }
    // SAFETY: the strip has room for the windows, and the weights for the kernel, as just checked.
    unsafe {
        let mut starts = [_mm512_setzero_si512(); 4];
        for (q, start) in starts.iter_mut().enumerate() {
            let bias = _mm512_loadu_si512(biases.as_ptr().add(16 * q).cast());
            let offset = _mm512_loadu_si512(weights.offsets.as_ptr().add(16 * q).cast());
            *start = _mm512_sub_epi32(bias, offset);
        }
        for (pixel, to) in to.iter_mut().enumerate().take(pixels) {
            let mut sums = starts;
            let mut weight = weights.quads.as_ptr();
            for b in 0..kernel {
                let column = pixel * stride + b * dilation;
                let mut x = strip.quads.as_ptr().add(column * groups);
                for _ in 0..groups {
                    for (q, sum) in sums.iter_mut().enumerate() {
                        let x = _mm512_loadu_si512(x.cast::<__m512i>().add(q).cast());
                        let w = _mm512_loadu_si512(weight.cast::<__m512i>().add(q).cast());
                        *sum = _mm512_dpbusd_epi32(*sum, x, w);
                    }
                    (x, weight) = (x.add(1), weight.add(1));
                }
            }
            for (q, &sum) in sums.iter().enumerate() {
                _mm512_storeu_si512(to.as_mut_ptr().add(16 * q).cast(), sum);
            }
        }
    }
}
