//! AVX-512 with VNNI (Ice Lake and later, Zen 4 and later): masks for the ends of segments, twice
//! the registers, multiply-accumulate of integers.

use super::avx2::{Avx2, total_i32, total_i64};
use super::detected;
use super::float::{Double, Single};
use super::lanes::{self, GROUP, Lanes};
use super::masked::{LoadBf16, LoadF16};
use super::{block, cells, narrow, panel, patch, scale, single, weigh};
use crate::arch::block::{Factors, Rows, WIDTH, bytes, bytes_mut};
use crate::arch::cells::{CellWeights, PIXELS, Quad, Strip};
use crate::arch::narrow::{Extent, Narrowing, Scaling};
use crate::arch::panel::{LANES, Panel, Sums};
use crate::arch::patch::{Filters, Patch};
use crate::arch::tile::{Operand, Segments, Tile};
use crate::arch::{Isa, Kernel};
use core::arch::x86_64::*;
use half::{bf16, f16};

/// Proof that this processor has AVX-512 F, BW, DQ, VL and VNNI: [`Avx512::detect`] is the only
/// constructor.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(pub(super) Avx2);

impl Avx512 {
    /// The proof, if the processor has them.
    #[must_use]
    #[inline(always)]
    pub fn detect() -> Option<Self> {
        let avx2 = Avx2::detect()?;
        detected!("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni").then_some(Self(avx2))
    }

    /// Runs `kernel` compiled for these instructions.
    #[inline(always)]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        fn on<K: Kernel>(isa: Avx512, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        // SAFETY: `self` exists, so `detect` found all of them.
        unsafe { on(self, kernel) }
    }
}

/// The lowest `n < 64` lanes.
#[inline(always)]
pub(super) const fn first(n: usize) -> u64 {
    (1 << n) - 1
}

/// Both halves added.
///
/// # Safety
/// AVX-512.
#[inline(always)]
unsafe fn fold_i32(x: __m512i) -> __m256i {
    // SAFETY: the caller's proof of AVX-512.
    unsafe { _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x)) }
}

/// 8-bit elements, of which `FLIP` makes signed ones by XOR: 0 for `i8`, 0x80 for `u8`.
///
/// VNNI multiplies unsigned by signed bytes and adds four products to each 32-bit lane. So `x` is
/// taken in offset binary, `x + 128`, and `Σ (x + 128) · w` is corrected by `128 · Σ w`; both are
/// exact modulo 2^32, and so is their difference, which is in range.
struct Bytes<const FLIP: u8>;

impl<const FLIP: u8> Lanes for Bytes<FLIP> {
    type Element = u8;
    type Acc = i32;
    type X = __m512i;
    type Weight = __m512i;
    type Sum = __m512i;
    type Correction = __m512i;

    const LEN: usize = 64;

    #[inline(always)]
    unsafe fn zero() -> (__m512i, __m512i) {
        // SAFETY: the caller's proof of AVX-512.
        unsafe { (_mm512_setzero_si512(), _mm512_setzero_si512()) }
    }

    #[inline(always)]
    unsafe fn x(p: *const u8) -> __m512i {
        // SAFETY: the caller's proof of AVX-512, and its promise that 64 can be read.
        unsafe {
            _mm512_xor_si512(
                _mm512_loadu_si512(p.cast()),
                _mm512_set1_epi8((FLIP ^ 0x80) as i8),
            )
        }
    }

    #[inline(always)]
    unsafe fn x_first(p: *const u8, n: usize) -> __m512i {
        // What stands behind the first `n` meets weights of zero.
        // SAFETY: the caller's proof of AVX-512, and its promise that `n < 64` can be read.
        unsafe {
            _mm512_xor_si512(
                _mm512_maskz_loadu_epi8(first(n), p.cast()),
                _mm512_set1_epi8((FLIP ^ 0x80) as i8),
            )
        }
    }

    #[inline(always)]
    unsafe fn weight(p: *const u8) -> __m512i {
        // SAFETY: the caller's proof of AVX-512, and its promise that 64 can be read.
        unsafe { _mm512_xor_si512(_mm512_loadu_si512(p.cast()), _mm512_set1_epi8(FLIP as i8)) }
    }

    #[inline(always)]
    unsafe fn weight_first(p: *const u8, n: usize) -> __m512i {
        // SAFETY: the caller's proof of AVX-512, and its promise that `n < 64` can be read.
        unsafe {
            let zero = _mm512_set1_epi8(FLIP as i8);
            _mm512_xor_si512(_mm512_mask_loadu_epi8(zero, first(n), p.cast()), zero)
        }
    }

    #[inline(always)]
    unsafe fn add(
        [a, b, c, d]: [__m512i; GROUP],
        x: __m512i,
        [p, q, r, s]: [__m512i; GROUP],
    ) -> [__m512i; GROUP] {
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
    unsafe fn correct(correction: __m512i, weight: __m512i) -> __m512i {
        // SAFETY: the caller's proof of VNNI.
        unsafe { _mm512_dpbusd_epi32(correction, _mm512_set1_epi8(0x80u8 as i8), weight) }
    }

    #[inline(always)]
    unsafe fn totals(
        [a, b, c, d]: [__m512i; GROUP],
        [e, f, g, h]: [__m512i; GROUP],
        to: &mut [i32; GROUP],
    ) {
        // SAFETY: the caller's proof of AVX-512.
        unsafe {
            let sums = [
                fold_i32(_mm512_sub_epi32(a, e)),
                fold_i32(_mm512_sub_epi32(b, f)),
                fold_i32(_mm512_sub_epi32(c, g)),
                fold_i32(_mm512_sub_epi32(d, h)),
            ];
            total_i32(sums, to);
        }
    }
}

impl<const FLIP: u8> Bytes<FLIP> {
    /// `sum + x · weight`.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    unsafe fn one(sum: __m512i, x: __m512i, weight: __m512i) -> __m512i {
        // SAFETY: the caller's proof of VNNI.
        unsafe { _mm512_dpbusd_epi32(sum, x, weight) }
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
    type X = __m512i;
    type Weight = [__m512i; 2];
    type Sum = [__m512i; 2];
    type Correction = ();

    const LEN: usize = 32;
    const ROOM: usize = 127;

    #[inline(always)]
    unsafe fn zero() -> ([__m512i; 2], ()) {
        // SAFETY: the caller's proof of AVX-512.
        (unsafe { [_mm512_setzero_si512(); 2] }, ())
    }

    #[inline(always)]
    unsafe fn x(p: *const u16) -> __m512i {
        // SAFETY: the caller's proof of AVX-512, and its promise that 32 can be read.
        unsafe { _mm512_xor_si512(_mm512_loadu_si512(p.cast()), _mm512_set1_epi16(FLIP as i16)) }
    }

    #[inline(always)]
    unsafe fn x_first(p: *const u16, n: usize) -> __m512i {
        // SAFETY: the caller's proof of AVX-512, and its promise that `n < 32` can be read.
        unsafe {
            let zero = _mm512_set1_epi16(FLIP as i16);
            let x = _mm512_mask_loadu_epi16(zero, first(n) as __mmask32, p.cast());
            _mm512_xor_si512(x, zero)
        }
    }

    #[inline(always)]
    unsafe fn weight(p: *const u16) -> [__m512i; 2] {
        // SAFETY: the promise of the caller.
        unsafe { cut_words(Self::x(p)) }
    }

    #[inline(always)]
    unsafe fn weight_first(p: *const u16, n: usize) -> [__m512i; 2] {
        // SAFETY: the promise of the caller.
        unsafe { cut_words(Self::x_first(p, n)) }
    }

    #[inline(always)]
    unsafe fn add(
        [a, b, c, d]: [[__m512i; 2]; GROUP],
        x: __m512i,
        [p, q, r, s]: [[__m512i; 2]; GROUP],
    ) -> [[__m512i; 2]; GROUP] {
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
    unsafe fn totals([a, b, c, d]: [[__m512i; 2]; GROUP], _: [(); GROUP], to: &mut [i64; GROUP]) {
        // SAFETY: the caller's proof of AVX-512.
        unsafe { total_i64([join(a), join(b), join(c), join(d)], to) }
    }
}

impl<const FLIP: u16> Words<FLIP> {
    /// `sum + x · weight`.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    unsafe fn one([high, low]: [__m512i; 2], x: __m512i, weight: [__m512i; 2]) -> [__m512i; 2] {
        // SAFETY: the caller's proof of VNNI.
        unsafe {
            [
                _mm512_dpwssd_epi32(high, x, weight[0]),
                _mm512_dpwssd_epi32(low, x, weight[1]),
            ]
        }
    }
}

/// `256 · high + low` in 64 bits, lanes added to four.
///
/// # Safety
/// AVX-512.
#[inline(always)]
unsafe fn join([high, low]: [__m512i; 2]) -> __m256i {
    // SAFETY: the caller's proof of AVX-512.
    unsafe {
        let high = _mm512_slli_epi64::<8>(widen_i32(high));
        fold_i64(_mm512_add_epi64(high, widen_i32(low)))
    }
}

/// Lanes of 32 bits in 64, added in pairs.
///
/// # Safety
/// AVX-512.
#[inline(always)]
unsafe fn widen_i32(x: __m512i) -> __m512i {
    // SAFETY: the caller's proof of AVX-512.
    unsafe {
        _mm512_add_epi64(
            _mm512_cvtepi32_epi64(_mm512_castsi512_si256(x)),
            _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(x)),
        )
    }
}

/// Both halves added.
///
/// # Safety
/// AVX-512.
#[inline(always)]
unsafe fn fold_i64(x: __m512i) -> __m256i {
    // SAFETY: the caller's proof of AVX-512.
    unsafe { _mm256_add_epi64(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x)) }
}

/// The upper byte with the sign and the lower byte of each word.
///
/// # Safety
/// AVX-512 BW.
#[inline(always)]
unsafe fn cut_words(w: __m512i) -> [__m512i; 2] {
    // SAFETY: the caller's proof of AVX-512 BW.
    unsafe {
        [
            _mm512_srai_epi16::<8>(w),
            _mm512_and_si512(w, _mm512_set1_epi16(0xFF)),
        ]
    }
}

/// 32-bit elements, of which `FLIP` makes signed ones by XOR. Even and odd elements are multiplied
/// apart, exactly in 64 bits.
struct Longs<const FLIP: u32>;

impl<const FLIP: u32> Lanes for Longs<FLIP> {
    type Element = u32;
    type Acc = i64;
    type X = [__m512i; 2];
    type Weight = [__m512i; 2];
    type Sum = __m512i;
    type Correction = ();

    const LEN: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> (__m512i, ()) {
        // SAFETY: the caller's proof of AVX-512.
        (unsafe { _mm512_setzero_si512() }, ())
    }

    #[inline(always)]
    unsafe fn x(p: *const u32) -> [__m512i; 2] {
        // SAFETY: the caller's proof of AVX-512, and its promise that 16 can be read.
        unsafe {
            even_and_odd(_mm512_xor_si512(
                _mm512_loadu_si512(p.cast()),
                _mm512_set1_epi32(FLIP as i32),
            ))
        }
    }

    #[inline(always)]
    unsafe fn x_first(p: *const u32, n: usize) -> [__m512i; 2] {
        // SAFETY: the caller's proof of AVX-512, and its promise that `n < 16` can be read.
        unsafe {
            let zero = _mm512_set1_epi32(FLIP as i32);
            let x = _mm512_mask_loadu_epi32(zero, first(n) as __mmask16, p.cast());
            even_and_odd(_mm512_xor_si512(x, zero))
        }
    }

    #[inline(always)]
    unsafe fn weight(p: *const u32) -> [__m512i; 2] {
        // SAFETY: the promise of the caller.
        unsafe { Self::x(p) }
    }

    #[inline(always)]
    unsafe fn weight_first(p: *const u32, n: usize) -> [__m512i; 2] {
        // SAFETY: the promise of the caller.
        unsafe { Self::x_first(p, n) }
    }

    #[inline(always)]
    unsafe fn add(
        [a, b, c, d]: [__m512i; GROUP],
        x: [__m512i; 2],
        [p, q, r, s]: [[__m512i; 2]; GROUP],
    ) -> [__m512i; GROUP] {
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
    unsafe fn totals([a, b, c, d]: [__m512i; GROUP], _: [(); GROUP], to: &mut [i64; GROUP]) {
        // SAFETY: the caller's proof of AVX-512.
        unsafe { total_i64([fold_i64(a), fold_i64(b), fold_i64(c), fold_i64(d)], to) }
    }
}

impl<const FLIP: u32> Longs<FLIP> {
    /// `sum + x · weight`.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    unsafe fn one(sum: __m512i, x: [__m512i; 2], weight: [__m512i; 2]) -> __m512i {
        // SAFETY: the caller's proof of AVX-512.
        unsafe {
            let sum = _mm512_add_epi64(sum, _mm512_mul_epi32(x[0], weight[0]));
            _mm512_add_epi64(sum, _mm512_mul_epi32(x[1], weight[1]))
        }
    }
}

/// The elements as they are, of which a multiplication reads the even ones, and the odd ones in
/// their place.
///
/// # Safety
/// AVX-512.
#[inline(always)]
unsafe fn even_and_odd(x: __m512i) -> [__m512i; 2] {
    // SAFETY: the caller's proof of AVX-512.
    unsafe { [x, _mm512_srli_epi64::<32>(x)] }
}

/// A tile of `$element` by the lanes `$lanes`, which read it as `$bits`, in blocks of `$rows` rows and
/// `$groups` groups of columns.
macro_rules! tile {
    ($name:ident, $element:ty, $acc:ty, $lanes:ty, $bits:ty, $rows:literal, $groups:literal) => {
        #[inline(always)]
        fn $name(
            self,
            x: Operand<'_, $element>,
            weight: Operand<'_, $element>,
            segments: &Segments,
            tile: &mut Tile<$acc>,
        ) {
            #[inline(never)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
            fn on(
                x: Operand<'_, $bits>,
                weight: Operand<'_, $bits>,
                segments: &Segments,
                tile: &mut Tile<$acc>,
            ) {
                // SAFETY: this function is compiled for the instructions, and called with their
                // proof.
                unsafe {
                    if x.rows == 1 {
                        lanes::tile::<$lanes, 1, 2>(x, weight, segments, tile);
                    } else {
                        lanes::tile::<$lanes, $rows, $groups>(x, weight, segments, tile);
                    }
                }
            }
            // SAFETY: `self` proves the instructions; a signed integer and the unsigned one of the
            // same width have the same size and alignment, and any bits are valid in both.
            unsafe { on(x.cast(), weight.cast(), segments, tile) }
        }
    };
}

/// A block of `$element`, of which XOR with `$flip` makes signed bytes.
macro_rules! block {
    ($name:ident, $element:ty, $flip:literal) => {
        #[inline(always)]
        fn $name(
            self,
            factors: Factors<'_, $element>,
            rows: Rows<'_, $element>,
            sums: &mut [[i32; WIDTH]],
        ) {
            #[inline(never)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
            fn on(factors: Factors<'_, u8>, rows: Rows<'_, u8>, sums: &mut [[i32; WIDTH]]) {
                // SAFETY: this function is compiled for the instructions, and called with their
                // proof.
                unsafe { block::add::<$flip>(factors, rows, sums) }
            }
            // SAFETY: `self` proves the instructions; signed and unsigned bytes have the same size
            // and alignment, and any bits are valid in both.
            unsafe { on(factors.bytes(), rows.bytes(), sums) }
        }
    };
}

/// What is done with bytes of `$element`, of which XOR with `$flip` makes signed ones, and XOR with `$offset`
/// offset binary.
macro_rules! bytes {
    ($element:ty, $flip:literal, $offset:literal: $line:ident $filters:ident $interleave:ident $narrow:ident) => {
        #[inline(always)]
        fn $line(self, from: &[$element], before: usize, padding: $element, to: &mut [u8]) {
            // SAFETY: `self` proves the instructions; the elements are bytes.
            unsafe { patch::line::<$offset>(bytes(from), before, padding as u8, to) }
        }

        #[inline(always)]
        fn $filters(
            self,
            weight: Operand<'_, $element>,
            runs: [usize; 2],
            to: &mut Filters,
        ) -> bool {
            // SAFETY: `self` proves the instructions; signed and unsigned bytes have the same size
            // and alignment, and any bits are valid in both.
            unsafe { patch::pack::<$flip>(weight.cast(), runs, to) }
        }

        #[inline(always)]
        fn $interleave(self, cells: [&[$element]; 4], padding: $element, to: &mut Quad) {
            // SAFETY: `self` proves the instructions; the elements are bytes.
            unsafe { cells::interleave::<$element, $offset>(cells, padding as u8, to) }
        }

        #[inline(always)]
        fn $narrow(
            self,
            acc: &[i32],
            extent: Extent,
            narrowing: Narrowing,
            out: &mut [$element],
        ) -> Option<u32> {
            // SAFETY: `self` proves the instructions; the elements are bytes.
            unsafe { narrow::rows::<$flip>(acc, extent, narrowing, bytes_mut(out)) }
        }
    };
}

macro_rules! weigh {
    ($name:ident, $element:ty, $sum:ty, $lanes:ty, |$rows:ident| $cast:expr) => {
        #[inline(always)]
        fn $name<const H: usize>(
            self,
            factors: Factors<'_, $sum>,
            $rows: Rows<'_, $element>,
            sums: &mut [[$sum; WIDTH]; H],
        ) -> bool {
            // SAFETY: `self` proves the instructions; signed and unsigned bytes have the same size
            // and alignment, and any bits are valid in both.
            unsafe { weigh::add::<$lanes, H>(factors, $cast, sums) }
        }
    };
}

/// What AVX2 does as well.
macro_rules! as_avx2 {
    ($($name:ident: $element:ty => $acc:ty;)*) => {$(
        #[inline(always)]
        fn $name(self, a: &[$element], b: &[$element]) -> $acc {
            self.0.$name(a, b)
        }
    )*};
}

impl Isa for Avx512 {
    const TILED: bool = true;
    const HAS_PANELS: bool = true;
    const HAS_BLOCKS: bool = true;
    const HAS_PATCHES: bool = true;
    const HAS_CELLS: bool = true;

    bytes!(i8, 0, 0x80: line_i8 filters_i8 interleave_i8 narrow_i8);
    bytes!(u8, 0x80, 0: line_u8 filters_u8 interleave_u8 narrow_u8);

    #[inline(always)]
    fn by_patch(
        self,
        patch: &Patch,
        windows: crate::arch::patch::Windows,
        filters: &Filters,
        panel: usize,
        biases: &[i32; LANES],
        sums: &mut Sums<i32>,
    ) {
        // SAFETY: `self` proves the instructions.
        unsafe { patch::multiply(patch, windows, filters, panel, biases, sums) }
    }

    #[inline(always)]
    fn by_cells(
        self,
        strip: &Strip,
        windows: crate::arch::cells::Windows,
        weights: &CellWeights,
        biases: &[i32; crate::arch::cells::WIDTH],
        sums: &mut [[i32; crate::arch::cells::WIDTH]; PIXELS],
    ) {
        // SAFETY: `self` proves the instructions.
        unsafe { cells::multiply(strip, windows, weights, biases, sums) }
    }

    #[inline(always)]
    fn scale_i8(self, acc: &[i32], extent: Extent, scaling: Scaling<'_>, out: &mut [i8]) -> bool {
        // SAFETY: `self` proves the instructions.
        unsafe { scale::rows(acc, extent, scaling, out) }
    }

    block!(block_i8, i8, 0);
    block!(block_u8, u8, 0x80);
    weigh!(weigh_f32, f32, f32, weigh::Floats, |rows| rows);
    weigh!(weigh_i8, i8, i32, weigh::Bytes<0>, |rows| rows.bytes());
    weigh!(weigh_u8, u8, i32, weigh::Bytes<0x80>, |rows| rows.bytes());

    #[inline(always)]
    fn sum_i8(self, a: &[i8]) -> i32 {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        fn sum(a: &[i8]) -> i32 {
            let one = _mm512_set1_epi8(1);
            let mut sum = _mm512_setzero_si512();
            let (chunks, rest) = a.as_chunks::<64>();
            for chunk in chunks {
                // SAFETY: 64 bytes.
                let x = unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) };
                sum = _mm512_dpbusd_epi32(sum, one, x);
            }
            // SAFETY: the mask ends with the slice.
            let x = unsafe { _mm512_maskz_loadu_epi8(first(rest.len()), rest.as_ptr().cast()) };
            _mm512_reduce_add_epi32(_mm512_dpbusd_epi32(sum, one, x))
        }
        // SAFETY: `self` proves the instructions.
        unsafe { sum(a) }
    }

    #[inline(always)]
    fn pack_f32(self, weight: Operand<'_, f32>, len: usize, panel: &mut Panel<f32>) {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        fn on(weight: Operand<'_, f32>, len: usize, panel: &mut Panel<f32>) {
            // SAFETY: this function is compiled for the instructions, and called with their proof.
            unsafe { panel::pack(weight, len, panel) }
        }
        // SAFETY: `self` proves the instructions.
        unsafe { on(weight, len, panel) }
    }

    #[inline(always)]
    fn panel_f32(
        self,
        x: Operand<'_, f32>,
        panel: &Panel<f32>,
        segments: &Segments,
        sums: &mut [Sums<f32>; 2],
    ) {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        fn on(
            x: Operand<'_, f32>,
            panel: &Panel<f32>,
            segments: &Segments,
            sums: &mut [Sums<f32>; 2],
        ) {
            // SAFETY: this function is compiled for the instructions, and called with their proof.
            unsafe { panel::multiply(x, panel, segments, sums) }
        }
        // SAFETY: `self` proves the instructions.
        unsafe { on(x, panel, segments, sums) }
    }

    as_avx2! {
        dot_i8: i8 => i32; dot_u8: u8 => i32; dot_i16: i16 => i64; dot_u16: u16 => i64;
        dot_i32: i32 => i64; dot_u32: u32 => i64;
    }

    #[inline(always)]
    fn widen_f16(self, x: &[f16; 8]) -> [f32; 8] {
        self.0.widen_f16(x)
    }

    #[inline(always)]
    fn tile_f32(
        self,
        x: Operand<'_, f32>,
        weight: Operand<'_, f32>,
        segments: &Segments,
        tile: &mut Tile<f32>,
    ) {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        fn on(
            x: Operand<'_, f32>,
            weight: Operand<'_, f32>,
            segments: &Segments,
            tile: &mut Tile<f32>,
        ) {
            // SAFETY: this function is compiled for the instructions, and called with their proof.
            unsafe { single::tile(x, weight, segments, tile) }
        }
        // SAFETY: `self` proves the instructions.
        unsafe { on(x, weight, segments, tile) }
    }

    tile!(tile_f16, f16, f32, Single<LoadF16>, f16, 3, 2);
    tile!(tile_bf16, bf16, f32, Single<LoadBf16>, bf16, 3, 2);
    tile!(tile_f64, f64, f64, Double, f64, 4, 1);
    tile!(tile_i8, i8, i32, Bytes<0>, u8, 4, 1);
    tile!(tile_u8, u8, i32, Bytes<0x80>, u8, 4, 1);
    tile!(tile_i16, i16, i64, Words<0>, u16, 2, 1);
    tile!(tile_u16, u16, i64, Words<0x8000>, u16, 2, 1);
    tile!(tile_i32, i32, i64, Longs<0>, u32, 4, 1);
    tile!(tile_u32, u32, i64, Longs<0x8000_0000>, u32, 4, 1);
}
