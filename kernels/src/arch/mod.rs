//! Instruction sets: what each can do better than plain code, and the choice between them.
//!
//! A kernel is written once, generic over an [`Isa`]; [`dispatch`] picks the best one that the
//! processor has and calls the kernel compiled for it. With the feature `detect` the choice is made
//! at run time, otherwise by what the build was told of the target. Integer results are the same on
//! each; so are floats, whose sums have a fixed order and use no fused multiply-add.
//!
//! The only unsafe code of the kernels stands below this folder and in `exec.rs`.

#![allow(unsafe_code)]

#[doc(hidden)] // a part of signatures, of no use outside
pub mod block;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // vectors read it
#[doc(hidden)] // a part of signatures, of no use outside
pub mod cells;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // vectors read it
#[doc(hidden)] // a part of signatures, of no use outside
pub mod narrow;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // vectors read it
#[doc(hidden)] // a part of signatures, of no use outside
pub mod panel;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // vectors read it
#[doc(hidden)] // a part of signatures, of no use outside
pub mod patch;
#[doc(hidden)] // a part of signatures, of no use outside
pub mod scalar;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // vectors read it
#[doc(hidden)] // a part of signatures, of no use outside
pub mod tile;
#[cfg(target_arch = "x86_64")]
#[doc(hidden)] // a part of signatures, of no use outside
pub mod x86_64;

use crate::element::{DType, Element};
use half::{bf16, f16};

use block::{Factors, Rows, WIDTH};
use cells::{CellWeights, Quad, Strip};
use narrow::{Extent, Narrowing, Scaling};
use panel::{LANES, Panel};
use patch::{Filters, Patch};
pub use scalar::Scalar;
use tile::{Operand, Segments, Tile};

/// An instruction set. A value of such a type proves that the processor has it.
///
/// Every method has a plain default; a set overrides those that it does better.
#[allow(missing_docs)] // `dot_T`, `add_T`, `tile_T`: products of elements of T, as `Element::add_products` and `Element::tile`
pub trait Isa: Copy {
    /// Whether it has register tiles that are worth their code.
    const TILED: bool = false;
    /// Whether it makes panels of `f32`.
    const HAS_PANELS: bool = false;
    /// Whether it computes blocks of bytes.
    const HAS_BLOCKS: bool = false;
    /// Whether it multiplies patches of bytes.
    const HAS_PATCHES: bool = false;
    /// Whether it computes depthwise windows of bytes.
    const HAS_CELLS: bool = false;

    #[inline(always)]
    fn dot_i8(self, a: &[i8], b: &[i8]) -> i32 {
        scalar::dot_integers(a, b)
    }
    #[inline(always)]
    fn dot_u8(self, a: &[u8], b: &[u8]) -> i32 {
        scalar::dot_integers(a, b)
    }
    #[inline(always)]
    fn dot_i16(self, a: &[i16], b: &[i16]) -> i64 {
        scalar::dot_integers(a, b)
    }
    #[inline(always)]
    fn dot_u16(self, a: &[u16], b: &[u16]) -> i64 {
        scalar::dot_integers(a, b)
    }
    #[inline(always)]
    fn dot_i32(self, a: &[i32], b: &[i32]) -> i64 {
        scalar::dot_integers(a, b)
    }
    #[inline(always)]
    fn dot_u32(self, a: &[u32], b: &[u32]) -> i64 {
        scalar::dot_integers(a, b)
    }
    #[inline(always)]
    fn dot_i64(self, a: &[i64], b: &[i64]) -> i128 {
        scalar::dot_integers(a, b)
    }
    #[inline(always)]
    fn dot_u64(self, a: &[u64], b: &[u64]) -> i128 {
        scalar::dot_integers(a, b)
    }
    #[inline(always)]
    fn add_f16(self, sums: &mut [f32; 8], a: &[f16], b: &[f16]) {
        scalar::add_floats(self, sums, a, b);
    }
    #[inline(always)]
    fn add_bf16(self, sums: &mut [f32; 8], a: &[bf16], b: &[bf16]) {
        scalar::add_floats(self, sums, a, b);
    }
    #[inline(always)]
    fn add_f32(self, sums: &mut [f32; 8], a: &[f32], b: &[f32]) {
        scalar::add_floats(self, sums, a, b);
    }
    #[inline(always)]
    fn add_f64(self, sums: &mut [f64; 8], a: &[f64], b: &[f64]) {
        scalar::add_floats(self, sums, a, b);
    }
    #[inline(always)]
    fn tile_i8(
        self,
        x: Operand<'_, i8>,
        weight: Operand<'_, i8>,
        segments: &Segments,
        tile: &mut Tile<i32>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    #[inline(always)]
    fn tile_u8(
        self,
        x: Operand<'_, u8>,
        weight: Operand<'_, u8>,
        segments: &Segments,
        tile: &mut Tile<i32>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    #[inline(always)]
    fn tile_i16(
        self,
        x: Operand<'_, i16>,
        weight: Operand<'_, i16>,
        segments: &Segments,
        tile: &mut Tile<i64>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    #[inline(always)]
    fn tile_u16(
        self,
        x: Operand<'_, u16>,
        weight: Operand<'_, u16>,
        segments: &Segments,
        tile: &mut Tile<i64>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    #[inline(always)]
    fn tile_i32(
        self,
        x: Operand<'_, i32>,
        weight: Operand<'_, i32>,
        segments: &Segments,
        tile: &mut Tile<i64>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    #[inline(always)]
    fn tile_u32(
        self,
        x: Operand<'_, u32>,
        weight: Operand<'_, u32>,
        segments: &Segments,
        tile: &mut Tile<i64>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    #[inline(always)]
    fn tile_i64(
        self,
        x: Operand<'_, i64>,
        weight: Operand<'_, i64>,
        segments: &Segments,
        tile: &mut Tile<i128>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    #[inline(always)]
    fn tile_u64(
        self,
        x: Operand<'_, u64>,
        weight: Operand<'_, u64>,
        segments: &Segments,
        tile: &mut Tile<i128>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    #[inline(always)]
    fn tile_f16(
        self,
        x: Operand<'_, f16>,
        weight: Operand<'_, f16>,
        segments: &Segments,
        tile: &mut Tile<f32>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    #[inline(always)]
    fn tile_bf16(
        self,
        x: Operand<'_, bf16>,
        weight: Operand<'_, bf16>,
        segments: &Segments,
        tile: &mut Tile<f32>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    #[inline(always)]
    fn tile_f32(
        self,
        x: Operand<'_, f32>,
        weight: Operand<'_, f32>,
        segments: &Segments,
        tile: &mut Tile<f32>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    #[inline(always)]
    fn tile_f64(
        self,
        x: Operand<'_, f64>,
        weight: Operand<'_, f64>,
        segments: &Segments,
        tile: &mut Tile<f64>,
    ) {
        scalar::tile(self, x, weight, segments, tile);
    }
    /// The sum of the elements, of which there are at most 2^24.
    #[inline(always)]
    fn sum_i8(self, a: &[i8]) -> i32 {
        a.iter().map(|&x| i32::from(x)).sum()
    }
    /// See [`panel::Panels::pack`].
    #[inline(always)]
    fn pack_f32(self, _weight: Operand<'_, f32>, _len: usize, _panel: &mut Panel<f32>) {}
    /// See [`panel::Panels::by_panel`].
    #[inline(always)]
    fn panel_f32(
        self,
        _x: Operand<'_, f32>,
        _panel: &Panel<f32>,
        _segments: &Segments,
        _sums: &mut [panel::Sums<f32>; 2],
    ) {
    }
    /// See [`block::Blocks::add_block`].
    #[inline(always)]
    fn block_i8(self, factors: Factors<'_, i8>, rows: Rows<'_, i8>, sums: &mut [[i32; WIDTH]]) {
        block::plain(self, factors, rows, sums);
    }
    #[inline(always)]
    fn block_u8(self, factors: Factors<'_, u8>, rows: Rows<'_, u8>, sums: &mut [[i32; WIDTH]]) {
        block::plain(self, factors, rows, sums);
    }
    /// Adds rows weighted by factors of 32 bits to sums, in the order of the rows; columns from the width on are undefined.
    /// Tells whether it did: not without vectors, nor where factors or rows do not fit.
    #[inline(always)]
    fn weigh_f32<const H: usize>(
        self,
        _: Factors<'_, f32>,
        _: Rows<'_, f32>,
        _: &mut [[f32; WIDTH]; H],
    ) -> bool {
        false
    }
    #[inline(always)]
    fn weigh_i8<const H: usize>(
        self,
        _: Factors<'_, i32>,
        _: Rows<'_, i8>,
        _: &mut [[i32; WIDTH]; H],
    ) -> bool {
        false
    }
    #[inline(always)]
    fn weigh_u8<const H: usize>(
        self,
        _: Factors<'_, i32>,
        _: Rows<'_, u8>,
        _: &mut [[i32; WIDTH]; H],
    ) -> bool {
        false
    }
    /// See [`patch::Patched`].
    #[inline(always)]
    fn line_i8(self, _from: &[i8], _before: usize, _padding: i8, _to: &mut [u8]) {}
    #[inline(always)]
    fn line_u8(self, _from: &[u8], _before: usize, _padding: u8, _to: &mut [u8]) {}
    #[inline(always)]
    fn filters_i8(self, _: Operand<'_, i8>, _runs: [usize; 2], _: &mut Filters) -> bool {
        false
    }
    #[inline(always)]
    fn filters_u8(self, _: Operand<'_, u8>, _runs: [usize; 2], _: &mut Filters) -> bool {
        false
    }
    #[inline(always)]
    fn by_patch(
        self,
        _: &Patch,
        _: patch::Windows,
        _: &Filters,
        _panel: usize,
        _biases: &[i32; LANES],
        _: &mut panel::Sums<i32>,
    ) {
    }
    /// See [`cells::Cells`].
    #[inline(always)]
    fn interleave_i8(self, _: [&[i8]; 4], _padding: i8, _: &mut Quad) {}
    #[inline(always)]
    fn interleave_u8(self, _: [&[u8]; 4], _padding: u8, _: &mut Quad) {}
    #[inline(always)]
    fn by_cells(
        self,
        _: &Strip,
        _: cells::Windows,
        _: &CellWeights,
        _biases: &[i32; cells::WIDTH],
        _: &mut [[i32; cells::WIDTH]; cells::PIXELS],
    ) {
    }
    /// See [`narrow::Narrow::narrow`].
    #[inline(always)]
    fn narrow_i8(self, _: &[i32], _: Extent, _: Narrowing, _out: &mut [i8]) -> Option<u32> {
        None
    }
    #[inline(always)]
    fn narrow_u8(self, _: &[i32], _: Extent, _: Narrowing, _out: &mut [u8]) -> Option<u32> {
        None
    }
    /// The accumulators as elements; false, and nothing is done, where the instruction set has no such
    /// instructions or the rows do not fit.
    #[inline(always)]
    fn scale_i8(self, _: &[i32], _: Extent, _: Scaling<'_>, _out: &mut [i8]) -> bool {
        false
    }
    /// Eight half-precision numbers, exactly.
    #[inline(always)]
    fn widen_f16(self, x: &[f16; 8]) -> [f32; 8] {
        x.map(f16::to_f32)
    }
}

/// A computation that is compiled once for each instruction set.
///
/// Implementations mark `run` `#[inline(always)]`, so that it takes on the features of the set.
pub trait Kernel {
    /// Whether an instruction set does better than plain code.
    const HAS_VECTORS: bool = true;
    /// What it returns.
    type Output;

    /// The computation.
    fn run<I: Isa>(self, isa: I) -> Self::Output;
}

/// Whether there are vectors for a type: 64-bit elements have accumulators of 128 bits, and those none.
pub(crate) const fn has_vectors<T: Element>() -> bool {
    !matches!(T::DTYPE, DType::I64 | DType::U64)
}

/// Runs `kernel` on the best instruction set of this processor.
#[inline(always)]
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if K::HAS_VECTORS {
        if let Some(isa) = x86_64::Avx512::detect() {
            return isa.run(kernel);
        }
        if let Some(isa) = x86_64::Avx2::detect() {
            return isa.run(kernel);
        }
    }
    kernel.run(Scalar)
}

/// The instruction set that [`dispatch`] picks, by name.
#[must_use]
pub fn name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if x86_64::Avx512::detect().is_some() {
        return "avx512";
    }
    #[cfg(target_arch = "x86_64")]
    if x86_64::Avx2::detect().is_some() {
        return "avx2";
    }
    "scalar"
}
