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

#[cfg(test)]
mod tests {
    extern crate std;

    use super::Avx2;
    use crate::arch::scalar::{TILE, add_row};
    use crate::arch::{Isa, Kernel, Scalar};
    use crate::element::Element;
    use crate::rng::mix32;
    use half::{bf16, f16};
    use std::vec::Vec;

    /// The proof without the feature `detect`, so that a plain `cargo test` compares, too.
    fn avx2() -> Option<Avx2> {
        let has = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("f16c");
        if !has {
            std::eprintln!("skipped: this processor has no AVX2 with F16C");
        }
        has.then_some(Avx2(()))
    }

    struct Dot<'a, T>(&'a [T], &'a [T]);

    impl<T: Element> Kernel for Dot<'_, T> {
        type Output = T::Acc;

        #[inline(always)]
        fn run<I: Isa>(self, isa: I) -> T::Acc {
            T::dot(isa, self.0, self.1)
        }
    }

    struct AddRow<'a, T: Element>(T, &'a [T]);

    impl<T: Element> Kernel for AddRow<'_, T> {
        type Output = [T::Acc; TILE];

        #[inline(always)]
        fn run<I: Isa>(self, isa: I) -> [T::Acc; TILE] {
            let mut sums = [T::Acc::default(); TILE];
            add_row::<T, I>(isa, &mut sums, self.0.widen(), self.1);
            add_row::<T, I>(isa, &mut sums, self.0.widen(), self.1);
            sums
        }
    }

    struct Widen(f16);

    impl Kernel for Widen {
        type Output = [f32; 8];

        #[inline(always)]
        fn run<I: Isa>(self, isa: I) -> [f32; 8] {
            isa.widen_f16(&[
                self.0,
                f16::ONE,
                self.0,
                f16::MAX,
                self.0,
                self.0,
                f16::MIN,
                self.0,
            ])
        }
    }

    /// `word(i)` for all `i` of a slice, or one of the `extremes` for one element in four.
    fn fill<T: Copy>(n: usize, seed: u32, extremes: &[T], word: impl Fn(u32) -> T) -> Vec<T> {
        (0..n as u32)
            .map(|i| {
                let u = mix32(seed ^ mix32(i));
                match extremes.get((u >> 8) as usize % (4 * extremes.len())) {
                    Some(&extreme) => extreme,
                    None => word(u),
                }
            })
            .collect()
    }

    const LONGEST: usize = 200;
    const OFFSETS: usize = 32;

    /// Compares all lengths and alignments; `same` tells whether two sums are equal.
    fn dots_agree<T: Element>(
        name: &str,
        extremes: &[T],
        word: impl Fn(u32) -> T,
        same: impl Fn(T::Acc, T::Acc) -> bool,
    ) {
        let Some(isa) = avx2() else { return };
        let n = LONGEST + OFFSETS;
        let a = fill(n, 1, extremes, &word);
        let b = fill(n, 2, extremes, &word);
        for len in (0..=70).chain([95, 96, 97, 127, 128, 129, LONGEST]) {
            for offset in 0..OFFSETS {
                let (a, b) = (&a[offset..offset + len], &b[OFFSETS - 1 - offset..][..len]);
                let (got, want) = (isa.run(Dot(a, b)), Dot(a, b).run(Scalar));
                assert!(
                    same(got, want),
                    "dot_{name}: {len} elements at offset {offset}"
                );
            }
        }
        for &extreme in extremes {
            let a = std::vec![extreme; LONGEST];
            for len in 0..=70 {
                for other in extremes {
                    let b = std::vec![*other; LONGEST];
                    let kernel = || Dot(&a[..len], &b[..len]);
                    let (got, want) = (isa.run(kernel()), kernel().run(Scalar));
                    assert!(
                        same(got, want),
                        "dot_{name}: {len} times {extreme:?} {other:?}"
                    );
                }
            }
        }
        for (len, &factor) in (0..=TILE).zip(a.iter().cycle()) {
            let row = &b[len..2 * len];
            let (got, want) = (
                isa.run(AddRow(factor, row)),
                AddRow(factor, row).run(Scalar),
            );
            let all = got.iter().zip(&want).all(|(&got, &want)| same(got, want));
            assert!(all, "add_row of {len} {name}");
        }
    }

    #[test]
    fn integers_agree() {
        // -128 and -2^15 may stand in raw input data.
        let i8s = [i8::MIN, i8::MAX, -127, -1, 0, 1];
        dots_agree("i8", &i8s, |u| u as i8, |a, b| a == b);
        let u8s = i8s.map(|x| x as u8 ^ 0x80);
        dots_agree("u8", &u8s, |u| u as u8, |a, b| a == b);
        let i16s = [i16::MIN, i16::MAX, -i16::MAX, -1, 0, 1];
        dots_agree("i16", &i16s, |u| u as i16, |a, b| a == b);
        let u16s = i16s.map(|x| x as u16 ^ 0x8000);
        dots_agree("u16", &u16s, |u| u as u16, |a, b| a == b);
        // 24 magnitude bits.
        let i32s = [-(1 << 24), (1 << 24) - 1, -1, 0, 1];
        dots_agree("i32", &i32s, |u| u as i32 >> 7, |a, b| a == b);
        let u32s = i32s.map(|x| x as u32 ^ 0x8000_0000);
        dots_agree(
            "u32",
            &u32s,
            |u| (u as i32 >> 7) as u32 ^ 0x8000_0000,
            |a, b| a == b,
        );
        // 53 magnitude bits.
        let i64s = [-(1 << 53), (1 << 53) - 1, -1, 0, 1];
        let wide = |u: u32| (i64::from(u as i32) << 22) + i64::from(mix32(u) >> 11);
        dots_agree("i64", &i64s, wide, |a, b| a == b);
        let u64s = i64s.map(|x| x as u64 ^ 1 << 63);
        dots_agree("u64", &u64s, |u| wide(u) as u64 ^ 1 << 63, |a, b| a == b);
    }

    #[test]
    fn floats_agree_bit_by_bit() {
        // All NaN count as equal: which of two payloads survives is not defined.
        let same32 = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        let same64 = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        let f16s = [
            f16::MAX,
            f16::MIN,
            f16::MIN_POSITIVE_SUBNORMAL,
            f16::NEG_ZERO,
            f16::ONE,
        ];
        let half = |u: u32| f16::from_bits(u as u16 & 0xBBFF); // exponents up to 2^-1
        dots_agree("f16", &f16s, half, same32);
        let bf16s = [
            bf16::MIN_POSITIVE_SUBNORMAL,
            bf16::NEG_ZERO,
            bf16::ONE,
            bf16::NEG_ONE,
        ];
        let brain = |u: u32| bf16::from_f32(u as i32 as f32);
        dots_agree("bf16", &bf16s, brain, same32);
        dots_agree(
            "bf16 beyond the range",
            &[bf16::MAX, bf16::MIN, bf16::NAN],
            brain,
            same32,
        );
        let f32s = [f32::MIN_POSITIVE, -0.0, 1.0, 1e-45, -3e18];
        let single = |u: u32| u as i32 as f32 / 65_537.0;
        dots_agree("f32", &f32s, single, same32);
        dots_agree(
            "f32 beyond the range",
            &[f32::MAX, f32::INFINITY, f32::NAN],
            single,
            same32,
        );
        let f64s = [f64::MIN_POSITIVE, -0.0, 1.0, 5e-324, -1e150];
        dots_agree("f64", &f64s, |u| f64::from(u as i32) / 65_537.0, same64);
    }

    #[test]
    fn every_half_precision_number_is_widened_alike() {
        let Some(isa) = avx2() else { return };
        for bits in 0..=u16::MAX {
            let x = f16::from_bits(bits);
            let (got, want) = (isa.run(Widen(x)), Widen(x).run(Scalar));
            for (got, want) in got.iter().zip(&want) {
                let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                assert!(same, "{bits:#06x}: {got} and {want}");
            }
        }
    }

    /// As many products as `dense` admits, all of the largest magnitude.
    #[test]
    fn the_longest_sums_agree() {
        let Some(isa) = avx2() else { return };
        for (a, b) in [(127i8, 127i8), (-128, 127), (-128, -127)] {
            let (a, b) = (
                std::vec![a; i8::MAX_PRODUCTS],
                std::vec![b; i8::MAX_PRODUCTS],
            );
            assert_eq!(isa.run(Dot(&a, &b)), Dot(&a, &b).run(Scalar));
        }
        let a = std::vec![-(1i32 << 24); i32::MAX_PRODUCTS];
        let b = std::vec![(1i32 << 24) - 1; i32::MAX_PRODUCTS];
        assert_eq!(isa.run(Dot(&a, &b)), Dot(&a, &b).run(Scalar));
    }
}
