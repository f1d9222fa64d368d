//! Loads of floats for [`super::float`] by AVX-512, which masks the ends of segments.

use super::avx2::widen_bf16;
use super::avx512::first;
use super::float::Load;
use core::arch::x86_64::*;
use half::{bf16, f16};

pub(super) struct LoadF32;

impl Load for LoadF32 {
    type Element = f32;

    #[inline(always)]
    unsafe fn whole(p: *const f32) -> __m256 {
        // SAFETY: the caller's proof of AVX-512, and its promise that eight can be read.
        unsafe { _mm256_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn first(p: *const f32, n: usize) -> __m256 {
        // SAFETY: the caller's proof of AVX-512, and its promise that `n < 8` can be read.
        unsafe { _mm256_maskz_loadu_ps(first(n) as __mmask8, p) }
    }
}

pub(super) struct LoadF16;

impl Load for LoadF16 {
    type Element = f16;

    #[inline(always)]
    unsafe fn whole(p: *const f16) -> __m256 {
        // SAFETY: the caller's proof of AVX-512, and its promise that eight can be read.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }

    #[inline(always)]
    unsafe fn first(p: *const f16, n: usize) -> __m256 {
        // SAFETY: the caller's proof of AVX-512, and its promise that `n < 8` can be read.
        unsafe { _mm256_cvtph_ps(_mm_maskz_loadu_epi16(first(n) as __mmask8, p.cast())) }
    }
}

pub(super) struct LoadBf16;

impl Load for LoadBf16 {
    type Element = bf16;

    #[inline(always)]
    unsafe fn whole(p: *const bf16) -> __m256 {
        // SAFETY: the caller's proof of AVX-512, and its promise that eight can be read.
        unsafe { widen_bf16(_mm_loadu_si128(p.cast())) }
    }

    #[inline(always)]
    unsafe fn first(p: *const bf16, n: usize) -> __m256 {
        // SAFETY: the caller's proof of AVX-512, and its promise that `n < 8` can be read.
        unsafe { widen_bf16(_mm_maskz_loadu_epi16(first(n) as __mmask8, p.cast())) }
    }
}
