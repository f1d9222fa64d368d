//! Tiles of floats: the eight partial sums of an output fill a register of 256 bits.
//!
//! There is no fused multiply-add, so that the bits are those of other targets. Zen multiplies and
//! adds side by side, at the rate of its fused operation. A sum starts at +0 and so never becomes
//! -0: the +0 that the lanes behind the end of a segment add changes nothing.

use super::lanes::{GROUP, Lanes};
use core::arch::x86_64::*;
use core::marker::PhantomData;

/// How eight elements become eight `f32`.
///
/// # Safety
/// As [`Lanes`].
pub(super) trait Load {
    type Element: Copy;
    unsafe fn whole(p: *const Self::Element) -> __m256;
    unsafe fn first(p: *const Self::Element, n: usize) -> __m256;
}

/// Elements that are computed with as `f32`. AVX.
pub(super) struct Single<L>(PhantomData<L>);

impl<L: Load> Lanes for Single<L> {
    type Element = L::Element;
    type Acc = f32;
    type X = __m256;
    type Weight = __m256;
    type Sum = __m256;
    type Correction = ();

    const LEN: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> (__m256, ()) {
        // SAFETY: the caller's proof of AVX.
        (unsafe { _mm256_setzero_ps() }, ())
    }

    #[inline(always)]
    unsafe fn x(p: *const L::Element) -> __m256 {
        // SAFETY: the promise of the caller.
        unsafe { L::whole(p) }
    }

    #[inline(always)]
    unsafe fn x_first(p: *const L::Element, n: usize) -> __m256 {
        // SAFETY: the promise of the caller.
        unsafe { L::first(p, n) }
    }

    #[inline(always)]
    unsafe fn weight(p: *const L::Element) -> __m256 {
        // SAFETY: the promise of the caller.
        unsafe { L::whole(p) }
    }

    #[inline(always)]
    unsafe fn weight_first(p: *const L::Element, n: usize) -> __m256 {
        // SAFETY: the promise of the caller.
        unsafe { L::first(p, n) }
    }

    #[inline(always)]
    unsafe fn add(
        [a, b, c, d]: [__m256; GROUP],
        x: __m256,
        [p, q, r, s]: [__m256; GROUP],
    ) -> [__m256; GROUP] {
        // SAFETY: the caller's proof of AVX.
        unsafe {
            // Products first: Zen schedules that better than each sum behind its product.
            let (p, q) = (_mm256_mul_ps(x, p), _mm256_mul_ps(x, q));
            let (r, s) = (_mm256_mul_ps(x, r), _mm256_mul_ps(x, s));
            [
                _mm256_add_ps(a, p),
                _mm256_add_ps(b, q),
                _mm256_add_ps(c, r),
                _mm256_add_ps(d, s),
            ]
        }
    }

    #[inline(always)]
    unsafe fn totals([a, b, c, d]: [__m256; GROUP], _: [(); GROUP], to: &mut [f32; GROUP]) {
        // SAFETY: the caller's proof of AVX; `to` has the four that are written.
        unsafe {
            // Sums 4 apart, of two outputs a register: a, a, a, a, c, c, c, c.
            let fours = |p, q| {
                _mm256_castps_pd(_mm256_add_ps(
                    _mm256_permute2f128_ps::<0x20>(p, q),
                    _mm256_permute2f128_ps::<0x31>(p, q),
                ))
            };
            let (ac, bd) = (fours(a, c), fours(b, d));
            // 2 apart, of all: a, a, b, b, c, c, d, d.
            let twos = _mm256_add_ps(
                _mm256_castpd_ps(_mm256_unpacklo_pd(ac, bd)),
                _mm256_castpd_ps(_mm256_unpackhi_pd(ac, bd)),
            );
            // 1 apart.
            let (ab, cd) = (
                _mm256_castps256_ps128(twos),
                _mm256_extractf128_ps::<1>(twos),
            );
            let totals = _mm_add_ps(
                _mm_shuffle_ps::<0b10_00_10_00>(ab, cd),
                _mm_shuffle_ps::<0b11_01_11_01>(ab, cd),
            );
            _mm_storeu_ps(to.as_mut_ptr(), totals);
        }
    }
}

/// `f64`, in registers of 512 bits. AVX-512.
pub(super) struct Double;

impl Lanes for Double {
    type Element = f64;
    type Acc = f64;
    type X = __m512d;
    type Weight = __m512d;
    type Sum = __m512d;
    type Correction = ();

    const LEN: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> (__m512d, ()) {
        // SAFETY: the caller's proof of AVX-512.
        (unsafe { _mm512_setzero_pd() }, ())
    }

    #[inline(always)]
    unsafe fn x(p: *const f64) -> __m512d {
        // SAFETY: the caller's proof of AVX-512, and its promise that eight can be read.
        unsafe { _mm512_loadu_pd(p) }
    }

    #[inline(always)]
    unsafe fn x_first(p: *const f64, n: usize) -> __m512d {
        // SAFETY: the caller's proof of AVX-512, and its promise that `n < 8` can be read.
        unsafe { _mm512_maskz_loadu_pd(((1u32 << n) - 1) as __mmask8, p) }
    }

    #[inline(always)]
    unsafe fn weight(p: *const f64) -> __m512d {
        // SAFETY: the promise of the caller.
        unsafe { Self::x(p) }
    }

    #[inline(always)]
    unsafe fn weight_first(p: *const f64, n: usize) -> __m512d {
        // SAFETY: the promise of the caller.
        unsafe { Self::x_first(p, n) }
    }

    #[inline(always)]
    unsafe fn add(
        [a, b, c, d]: [__m512d; GROUP],
        x: __m512d,
        [p, q, r, s]: [__m512d; GROUP],
    ) -> [__m512d; GROUP] {
        // SAFETY: the caller's proof of AVX-512.
        unsafe {
            // Products first: Zen schedules that better than each sum behind its product.
            let (p, q) = (_mm512_mul_pd(x, p), _mm512_mul_pd(x, q));
            let (r, s) = (_mm512_mul_pd(x, r), _mm512_mul_pd(x, s));
            [
                _mm512_add_pd(a, p),
                _mm512_add_pd(b, q),
                _mm512_add_pd(c, r),
                _mm512_add_pd(d, s),
            ]
        }
    }

    #[inline(always)]
    unsafe fn totals([a, b, c, d]: [__m512d; GROUP], _: [(); GROUP], to: &mut [f64; GROUP]) {
        // SAFETY: the caller's proof of AVX-512; `to` has the four that are written.
        unsafe {
            // Sums 4 apart.
            let fours =
                |x| _mm256_add_pd(_mm512_castpd512_pd256(x), _mm512_extractf64x4_pd::<1>(x));
            // 2 apart, of two outputs a register: a, a, c, c.
            let twos = |p, q| {
                _mm256_add_pd(
                    _mm256_permute2f128_pd::<0x20>(p, q),
                    _mm256_permute2f128_pd::<0x31>(p, q),
                )
            };
            let (ac, bd) = (twos(fours(a), fours(c)), twos(fours(b), fours(d)));
            // 1 apart.
            let totals = _mm256_add_pd(_mm256_unpacklo_pd(ac, bd), _mm256_unpackhi_pd(ac, bd));
            _mm256_storeu_pd(to.as_mut_ptr(), totals);
        }
    }
}
