//! AVX2: integer dot products by widening multiply-add, half precision by F16C.
//!
//! The float kernels need no intrinsics: their eight partial sums are one register, and the
//! compiler finds it. There is no fused multiply-add, so that the bits are those of other targets.

use super::detected;
use crate::arch::{Isa, Kernel};
use core::arch::x86_64::*;
use half::f16;

/// Proof that this processor has AVX2 and F16C: [`Avx2::detect`] is the only constructor.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, if the processor has them.
    #[must_use]
    #[inline(always)]
    pub fn detect() -> Option<Self> {
        detected!("avx2", "f16c").then_some(Self(()))
    }

    /// Runs `kernel` compiled for these instructions.
    #[inline(always)]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,f16c")]
        fn on<K: Kernel>(isa: Avx2, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        // SAFETY: `self` exists, so `detect` found AVX2 and F16C.
        unsafe { on(self, kernel) }
    }
}

/// The sum of the eight lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_i32(x: __m256i) -> i32 {
    let x = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
    _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x)))
}

/// The sum of the four lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_i64(x: __m256i) -> i64 {
    let x = _mm_add_epi64(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    _mm_cvtsi128_si64(_mm_add_epi64(x, _mm_unpackhi_epi64(x, x)))
}

/// `flip` is XORed to each byte before it is read as signed: 0x80 for offset binary.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_8(flip: u8, a: &[[u8; 16]], b: &[[u8; 16]]) -> i32 {
    let flip = _mm_set1_epi8(flip as i8);
    let mut sums = _mm256_setzero_si256();
    for (a, b) in a.iter().zip(b) {
        // SAFETY: each array has the 16 bytes that an unaligned load reads.
        let (a, b) = unsafe {
            (
                _mm_loadu_si128(a.as_ptr().cast()),
                _mm_loadu_si128(b.as_ptr().cast()),
            )
        };
        let a = _mm256_cvtepi8_epi16(_mm_xor_si128(a, flip));
        let b = _mm256_cvtepi8_epi16(_mm_xor_si128(b, flip));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
    }
    sum_i32(sums)
}

/// 16-bit elements; products are exact in 32 bits and summed in 64.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_16(flip: u16, a: &[[u16; 8]], b: &[[u16; 8]]) -> i64 {
    let flip = _mm_set1_epi16(flip as i16);
    let mut sums = _mm256_setzero_si256();
    for (a, b) in a.iter().zip(b) {
        // SAFETY: each array has the 16 bytes that an unaligned load reads.
        let (a, b) = unsafe {
            (
                _mm_loadu_si128(a.as_ptr().cast()),
                _mm_loadu_si128(b.as_ptr().cast()),
            )
        };
        let a = _mm256_cvtepi16_epi32(_mm_xor_si128(a, flip));
        let b = _mm256_cvtepi16_epi32(_mm_xor_si128(b, flip));
        let products = _mm256_mullo_epi32(a, b);
        sums = _mm256_add_epi64(
            sums,
            _mm256_cvtepi32_epi64(_mm256_castsi256_si128(products)),
        );
        sums = _mm256_add_epi64(
            sums,
            _mm256_cvtepi32_epi64(_mm256_extracti128_si256::<1>(products)),
        );
    }
    sum_i64(sums)
}

/// 32-bit elements; products of even and of odd lanes are exact in 64 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_32(flip: u32, a: &[[u32; 8]], b: &[[u32; 8]]) -> i64 {
    let flip = _mm256_set1_epi32(flip as i32);
    let mut sums = _mm256_setzero_si256();
    for (a, b) in a.iter().zip(b) {
        // SAFETY: each array has the 32 bytes that an unaligned load reads.
        let (a, b) = unsafe {
            (
                _mm256_loadu_si256(a.as_ptr().cast()),
                _mm256_loadu_si256(b.as_ptr().cast()),
            )
        };
        let (a, b) = (_mm256_xor_si256(a, flip), _mm256_xor_si256(b, flip));
        sums = _mm256_add_epi64(sums, _mm256_mul_epi32(a, b));
        sums = _mm256_add_epi64(
            sums,
            _mm256_mul_epi32(_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b)),
        );
    }
    sum_i64(sums)
}

/// The whole chunks of `$a` and `$b` by `$dot`, what is left over by plain code. Signed elements
/// are handed over as the unsigned ones of the same bits.
macro_rules! dot {
    ($a:ident, $b:ident, $lanes:literal, $bits:ident, $dot:ident, $flip:expr) => {{
        let (a, a_rest) = $a.as_chunks::<$lanes>();
        let (b, b_rest) = $b.as_chunks::<$lanes>();
        // SAFETY: `self` proves AVX2; a signed integer and the unsigned one of the same width have
        // the same size and alignment, and any bits are valid in both.
        let chunks = unsafe {
            let a = core::slice::from_raw_parts(a.as_ptr().cast::<[$bits; $lanes]>(), a.len());
            let b = core::slice::from_raw_parts(b.as_ptr().cast::<[$bits; $lanes]>(), b.len());
            $dot($flip, a, b)
        };
        chunks + crate::arch::scalar::dot_integers(a_rest, b_rest)
    }};
}

impl Isa for Avx2 {
    #[inline(always)]
    fn dot_i8(self, a: &[i8], b: &[i8]) -> i32 {
        dot!(a, b, 16, u8, dot_8, 0)
    }

    #[inline(always)]
    fn dot_u8(self, a: &[u8], b: &[u8]) -> i32 {
        dot!(a, b, 16, u8, dot_8, 0x80)
    }

    #[inline(always)]
    fn dot_i16(self, a: &[i16], b: &[i16]) -> i64 {
        dot!(a, b, 8, u16, dot_16, 0)
    }

    #[inline(always)]
    fn dot_u16(self, a: &[u16], b: &[u16]) -> i64 {
        dot!(a, b, 8, u16, dot_16, 0x8000)
    }

    #[inline(always)]
    fn dot_i32(self, a: &[i32], b: &[i32]) -> i64 {
        dot!(a, b, 8, u32, dot_32, 0)
    }

    #[inline(always)]
    fn dot_u32(self, a: &[u32], b: &[u32]) -> i64 {
        dot!(a, b, 8, u32, dot_32, 0x8000_0000)
    }

    #[inline(always)]
    fn widen_f16(self, x: &[f16; 8]) -> [f32; 8] {
        #[inline]
        #[target_feature(enable = "avx2,f16c")]
        fn widen(x: &[f16; 8]) -> [f32; 8] {
            let mut y = [0.0; 8];
            // SAFETY: `x` has the 16 bytes that are read, `y` the 32 that are written.
            unsafe {
                let wide = _mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast()));
                _mm256_storeu_ps(y.as_mut_ptr(), wide);
            }
            y
        }
        // SAFETY: `self` proves F16C.
        unsafe { widen(x) }
    }
}
