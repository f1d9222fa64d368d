//! AVX2: integers by widening multiply-add, half precision by F16C.
//!
//! Outside of tiles floats need no intrinsics: their eight partial sums are one register, and the
//! compiler finds it.

use super::detected;
use super::float::{Load, Single};
use super::lanes::{self, GROUP, Lanes};
use crate::arch::tile::{Operand, Segments, Tile};
use crate::arch::{Isa, Kernel};
use core::arch::x86_64::*;
use half::{bf16, f16};

/// Proof that this processor has AVX2 and F16C: [`Avx2::detect`] is the only constructor.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(pub(super) ());

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

/// The first `n` of `N` elements at `p`, then `zero`s.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn padded<T: Copy, const N: usize>(p: *const T, n: usize, zero: T) -> [T; N] {
    let mut all = [zero; N];
    for (i, to) in all.iter_mut().enumerate().take(n) {
        // SAFETY: `i < n`.
        *to = unsafe { p.wrapping_add(i).read() };
    }
    all
}

struct LoadF32;

impl Load for LoadF32 {
    type Element = f32;

    #[inline(always)]
    unsafe fn whole(p: *const f32) -> __m256 {
        // SAFETY: the caller's proof of AVX2, and its promise that eight can be read.
        unsafe { _mm256_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn first(p: *const f32, n: usize) -> __m256 {
        // SAFETY: the caller's proof of AVX2, and its promise that `n < 8` can be read.
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes))
        }
    }
}

struct LoadF16;

impl Load for LoadF16 {
    type Element = f16;

    #[inline(always)]
    unsafe fn whole(p: *const f16) -> __m256 {
        // SAFETY: the caller's proof of F16C, and its promise that eight can be read.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }

    #[inline(always)]
    unsafe fn first(p: *const f16, n: usize) -> __m256 {
        // SAFETY: the caller's proof of F16C, and its promise that `n < 8` can be read.
        unsafe { Self::whole(padded::<_, 8>(p, n, f16::ZERO).as_ptr()) }
    }
}

struct LoadBf16;

impl Load for LoadBf16 {
    type Element = bf16;

    #[inline(always)]
    unsafe fn whole(p: *const bf16) -> __m256 {
        // SAFETY: the caller's proof of AVX2, and its promise that eight can be read.
        unsafe { widen_bf16(_mm_loadu_si128(p.cast())) }
    }

    #[inline(always)]
    unsafe fn first(p: *const bf16, n: usize) -> __m256 {
        // SAFETY: the caller's proof of AVX2, and its promise that `n < 8` can be read.
        unsafe { Self::whole(padded::<_, 8>(p, n, bf16::ZERO).as_ptr()) }
    }
}

/// A `bf16` is the upper half of an `f32`.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn widen_bf16(x: __m128i) -> __m256 {
    // SAFETY: the caller's proof of AVX2.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x))) }
}

/// Writes the four totals of eight lanes each.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn total_i32([a, b, c, d]: [__m256i; GROUP], to: &mut [i32; GROUP]) {
    // SAFETY: the caller's proof of AVX2; `to` has the four that are written.
    unsafe {
        let halves = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        let sums = _mm_add_epi32(
            _mm256_castsi256_si128(halves),
            _mm256_extracti128_si256::<1>(halves),
        );
        _mm_storeu_si128(to.as_mut_ptr().cast(), sums);
    }
}

/// Writes the four totals of four lanes each.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn total_i64([a, b, c, d]: [__m256i; GROUP], to: &mut [i64; GROUP]) {
    // SAFETY: the caller's proof of AVX2; `to` has the four that are written.
    unsafe {
        let halves = |p, q| {
            _mm256_add_epi64(
                _mm256_permute2x128_si256::<0x20>(p, q),
                _mm256_permute2x128_si256::<0x31>(p, q),
            )
        };
        let (ac, bd) = (halves(a, c), halves(b, d));
        let sums = _mm256_add_epi64(_mm256_unpacklo_epi64(ac, bd), _mm256_unpackhi_epi64(ac, bd));
        _mm256_storeu_si256(to.as_mut_ptr().cast(), sums);
    }
}

/// 8-bit elements, of which `FLIP` makes signed ones by XOR: 0 for `i8`, 0x80 for `u8`.
struct Bytes<const FLIP: u8>;

impl<const FLIP: u8> Lanes for Bytes<FLIP> {
    type Element = u8;
    type Acc = i32;
    type X = __m256i;
    type Weight = __m256i;
    type Sum = __m256i;
    type Correction = ();

    const LEN: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> (__m256i, ()) {
        // SAFETY: the caller's proof of AVX2.
        (unsafe { _mm256_setzero_si256() }, ())
    }

    #[inline(always)]
    unsafe fn x(p: *const u8) -> __m256i {
        // SAFETY: the caller's proof of AVX2, and its promise that 16 can be read.
        unsafe {
            let x = _mm_loadu_si128(p.cast());
            _mm256_cvtepi8_epi16(_mm_xor_si128(x, _mm_set1_epi8(FLIP as i8)))
        }
    }

    #[inline(always)]
    unsafe fn x_first(p: *const u8, n: usize) -> __m256i {
        // SAFETY: the caller's proof of AVX2, and its promise that `n < 16` can be read.
        unsafe { Self::x(padded::<_, 16>(p, n, FLIP).as_ptr()) }
    }

    #[inline(always)]
    unsafe fn weight(p: *const u8) -> __m256i {
        // SAFETY: the promise of the caller.
        unsafe { Self::x(p) }
    }

    #[inline(always)]
    unsafe fn weight_first(p: *const u8, n: usize) -> __m256i {
        // SAFETY: the promise of the caller.
        unsafe { Self::x_first(p, n) }
    }

    #[inline(always)]
    unsafe fn add(
        [a, b, c, d]: [__m256i; GROUP],
        x: __m256i,
        [p, q, r, s]: [__m256i; GROUP],
    ) -> [__m256i; GROUP] {
        // SAFETY: the promise of the caller.
        unsafe {
            [
                Self::one(a, x, p),
                Self::one(b, x, q),
                Self::one(c, x, r),
                Self::one(d, x, s),
            ]
        }
    }

    #[inline(always)]
    unsafe fn totals(sums: [__m256i; GROUP], _: [(); GROUP], to: &mut [i32; GROUP]) {
        // SAFETY: the caller's proof of AVX2.
        unsafe { total_i32(sums, to) }
    }
}

impl<const FLIP: u8> Bytes<FLIP> {
    /// `sum + x · weight`.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    unsafe fn one(sum: __m256i, x: __m256i, weight: __m256i) -> __m256i {
        // SAFETY: the caller's proof of AVX2.
        unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(x, weight)) }
    }
}

/// 16-bit elements, of which `FLIP` makes signed ones by XOR: 0 for `i16`, 0x8000 for `u16`.
///
/// A weight is cut in two bytes, `w = 256 · high + low` with `low >= 0`, and two products of each
/// are added to a 32-bit lane at a time: at most 2^24 in magnitude, of which a lane holds 127.
struct Words<const FLIP: u16>;

impl<const FLIP: u16> Lanes for Words<FLIP> {
    type Element = u16;
    type Acc = i64;
    type X = __m256i;
    type Weight = [__m256i; 2];
    type Sum = [__m256i; 2];
    type Correction = ();

    const LEN: usize = 16;
    const ROOM: usize = 127;

    #[inline(always)]
    unsafe fn zero() -> ([__m256i; 2], ()) {
        // SAFETY: the caller's proof of AVX2.
        (unsafe { [_mm256_setzero_si256(); 2] }, ())
    }

    #[inline(always)]
    unsafe fn x(p: *const u16) -> __m256i {
        // SAFETY: the caller's proof of AVX2, and its promise that 16 can be read.
        unsafe { _mm256_xor_si256(_mm256_loadu_si256(p.cast()), _mm256_set1_epi16(FLIP as i16)) }
    }

    #[inline(always)]
    unsafe fn x_first(p: *const u16, n: usize) -> __m256i {
        // SAFETY: the caller's proof of AVX2, and its promise that `n < 16` can be read.
        unsafe { Self::x(padded::<_, 16>(p, n, FLIP).as_ptr()) }
    }

    #[inline(always)]
    unsafe fn weight(p: *const u16) -> [__m256i; 2] {
        // SAFETY: the promise of the caller.
        unsafe {
            let w = Self::x(p);
            [
                _mm256_srai_epi16::<8>(w),
                _mm256_and_si256(w, _mm256_set1_epi16(0xFF)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn weight_first(p: *const u16, n: usize) -> [__m256i; 2] {
        // SAFETY: the promise of the caller.
        unsafe { Self::weight(padded::<_, 16>(p, n, FLIP).as_ptr()) }
    }

    #[inline(always)]
    unsafe fn add(
        [a, b, c, d]: [[__m256i; 2]; GROUP],
        x: __m256i,
        [p, q, r, s]: [[__m256i; 2]; GROUP],
    ) -> [[__m256i; 2]; GROUP] {
        // SAFETY: the promise of the caller.
        unsafe {
            [
                Self::one(a, x, p),
                Self::one(b, x, q),
                Self::one(c, x, r),
                Self::one(d, x, s),
            ]
        }
    }

    #[inline(always)]
    unsafe fn totals([a, b, c, d]: [[__m256i; 2]; GROUP], _: [(); GROUP], to: &mut [i64; GROUP]) {
        // SAFETY: the caller's proof of AVX2.
        unsafe { total_i64([join(a), join(b), join(c), join(d)], to) }
    }
}

impl<const FLIP: u16> Words<FLIP> {
    /// `sum + x · weight`.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    unsafe fn one([high, low]: [__m256i; 2], x: __m256i, weight: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: the caller's proof of AVX2.
        unsafe {
            [
                _mm256_add_epi32(high, _mm256_madd_epi16(x, weight[0])),
                _mm256_add_epi32(low, _mm256_madd_epi16(x, weight[1])),
            ]
        }
    }
}

/// `256 · high + low` in 64 bits, lanes added in pairs.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn join([high, low]: [__m256i; 2]) -> __m256i {
    // SAFETY: the caller's proof of AVX2.
    unsafe { _mm256_add_epi64(_mm256_slli_epi64::<8>(widen_i32(high)), widen_i32(low)) }
}

/// Lanes of 32 bits in 64, added in pairs.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn widen_i32(x: __m256i) -> __m256i {
    // SAFETY: the caller's proof of AVX2.
    unsafe {
        _mm256_add_epi64(
            _mm256_cvtepi32_epi64(_mm256_castsi256_si128(x)),
            _mm256_cvtepi32_epi64(_mm256_extracti128_si256::<1>(x)),
        )
    }
}

/// A tile of `$element` by the lanes `$lanes`, which read it as `$bits`, in blocks of `$rows` rows.
macro_rules! tile {
    ($name:ident, $element:ty, $acc:ty, $lanes:ty, $bits:ty, $rows:expr) => {
        #[inline(always)]
        fn $name(
            self,
            x: Operand<'_, $element>,
            weight: Operand<'_, $element>,
            segments: &Segments,
            tile: &mut Tile<$acc>,
        ) {
            #[inline(never)]
            #[target_feature(enable = "avx2,f16c")]
            fn on(
                x: Operand<'_, $bits>,
                weight: Operand<'_, $bits>,
                segments: &Segments,
                tile: &mut Tile<$acc>,
            ) {
                // SAFETY: this function is compiled for the instructions, and called with their
                // proof.
                unsafe { lanes::tile::<$lanes, $rows, 1>(x, weight, segments, tile) }
            }
            // SAFETY: `self` proves the instructions; a signed integer and the unsigned one of the
            // same width have the same size and alignment, and any bits are valid in both.
            unsafe { on(x.cast(), weight.cast(), segments, tile) }
        }
    };
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
    const TILED: bool = true;

    // With 16 registers, blocks of more than eight sums would spill.
    tile!(tile_f32, f32, f32, Single<LoadF32>, f32, 2);
    tile!(tile_f16, f16, f32, Single<LoadF16>, f16, 2);
    tile!(tile_bf16, bf16, f32, Single<LoadBf16>, bf16, 2);
    tile!(tile_i8, i8, i32, Bytes<0>, u8, 2);
    tile!(tile_u8, u8, i32, Bytes<0x80>, u8, 2);
    tile!(tile_i16, i16, i64, Words<0>, u16, 1);
    tile!(tile_u16, u16, i64, Words<0x8000>, u16, 1);

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
    fn sum_i8(self, a: &[i8]) -> i32 {
        #[inline]
        #[target_feature(enable = "avx2,f16c")]
        fn sum(chunks: &[[i8; 16]]) -> i32 {
            let one = _mm256_set1_epi16(1);
            let mut sum = _mm256_setzero_si256();
            for chunk in chunks {
                // SAFETY: 16 bytes.
                let x = unsafe { _mm_loadu_si128(chunk.as_ptr().cast()) };
                let x = _mm256_madd_epi16(_mm256_cvtepi8_epi16(x), one);
                sum = _mm256_add_epi32(sum, x);
            }
            sum_i32(sum)
        }
        let (chunks, rest) = a.as_chunks::<16>();
        // SAFETY: `self` proves AVX2.
        let sum = unsafe { sum(chunks) };
        sum + rest.iter().map(|&x| i32::from(x)).sum::<i32>()
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
