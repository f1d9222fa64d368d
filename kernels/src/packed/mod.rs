//! Packed weights: formats of eight bits down to one, in blocks of 32 with a scale, and the dense and
//! convolution kernels that read them as they are stored.
//!
//! ```
//! use selvedge_kernels::packed::{self, Format, Weights};
//!
//! // Two rows of three weights in four bits each: two bytes and one scale a row.
//! let rows = [[0.7f32, -0.1, 0.3], [-3.5, 0.5, 1.0]];
//! let (mut codes, mut scales) = ([0u8; 4], [half::f16::ZERO; 2]);
//! for (i, row) in rows.iter().enumerate() {
//!     packed::encode_row(Format::Int4, row, &mut codes[2 * i..2 * i + 2], &mut scales[i..i + 1])?;
//! }
//! let weights = Weights::new(Format::Int4, 2, 3, &codes, &scales)?;
//! let mut row = [0.0f32; 3];
//! weights.decode(1, 0, &mut row);
//! assert_eq!(row, [-3.5, 0.5, 1.0]);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! A weight is `value(code) · scale`, a row of weights being what one output feature reads: an output's
//! row of a dense layer, or a filter of a convolution with all its cells. Blocks count along the row;
//! the last may be short. One scale may also stand for the whole tensor. A scale is
//! - a power of two, its exponent stored as `i8` (as OCP's E8M0, but that 0 is `2^0`, and that -128
//!   stands for a scale of 0 where E8M0 has NaN), which integer and float networks read, or
//! - an `f16`, which float networks read.
//!
//! Weights in these formats are frozen: there is a gradient for the input, none for them. Trainable
//! weights are kept in an [`Element`] type and packed when training is over.
//!
//! # Numbers
//! - Floats (`f32`, `f64`, `f16`, `bf16`): `value · scale` is exact in `f32`, up to 15 bits; products
//!   are summed in `f32` (`f64`) in the order of [`dense`](crate::dense) and [`conv`](crate::conv), so
//!   that `f32` and `f64` results are those of the decoded weights, bit by bit. With an exponent near
//!   127 the largest codes overflow to infinity.
//! - Integers: each code is an integer times a power of two that all codes share, also for the small
//!   floats. Sums of a block are exact, and shifted left by how far the block's exponent lies above the
//!   tensor's smallest; so the whole sum is exact in 64 bits (in 128 for elements of 32 and 64 bits), in units
//!   of `2^`[`Weights::unit`]. Only where such a sum might not fit the accumulator of the type (30 bits
//!   for 8-bit elements) is it shifted right, to nearest even, by a number of places that depends
//!   on shapes and exponents alone (`docs/numerics.md` §20). Blocks of scale 0 add nothing and do not
//!   count for the smallest exponent. Where exponents lie further apart than such sums are wide, weights of
//!   the lowest blocks are rounded to the smallest unit that fits, to nearest even: with 16-bit elements and
//!   2^15 terms to 2^-32 of the largest weight that the largest scale gives, or less.

pub mod conv;
pub mod dense;
mod encode;
mod format;
mod minifloat;

use crate::decoded::{CHUNK, Chunk, Factor, Fitted, Source};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::fixed::{bit_len, pow2};
use half::f16;

pub use encode::{encode_row, encode_row_with, nearest_scale};
pub use format::Format;

/// Weights that share a scale.
pub const BLOCK: usize = 32;

/// The type of a block's scale: `i8`, the exponent of a power of two, or `f16`.
pub trait Scale: Copy + Send + Sync + 'static + private::Sealed {
    /// The exponent, where the scale is a power of two: none for the `i8` -128, which stands for 0, and
    /// for `f16`.
    fn exponent(self) -> Option<i32>;
    /// A code's value times the scale.
    fn times(self, value: f32) -> f32;
    /// The scale as a number.
    fn to_f64(self) -> f64;
    /// The scale nearest to `value` that is not below it; see [`nearest_scale`] for the other.
    #[doc(hidden)]
    fn at_least(value: f64) -> Self;
    /// The scale nearest to `value`.
    #[doc(hidden)]
    fn nearest(value: f64) -> Self;
}

impl Scale for i8 {
    #[inline(always)]
    fn exponent(self) -> Option<i32> {
        (self != Self::MIN).then_some(i32::from(self))
    }

    #[inline(always)]
    fn times(self, value: f32) -> f32 {
        // In two steps, as an f32 has no 2^-127 of full precision.
        let half = self / 2;
        let first = if self == Self::MIN {
            0.0
        } else {
            pow2(i32::from(half))
        };
        value * first * pow2(i32::from(self - half))
    }

    fn to_f64(self) -> f64 {
        self.exponent().map_or(0.0, |e| libm::scalbn(1.0, e))
    }

    fn at_least(value: f64) -> Self {
        if value.is_infinite() {
            return i8::MAX;
        }
        let (significand, exponent) = libm::frexp(value); // 0.5 to 1
        if significand <= 0.0 {
            return i8::MIN;
        }
        let exponent = exponent - i32::from(significand == 0.5);
        exponent.clamp(-i32::from(i8::MAX), i32::from(i8::MAX)) as i8
    }

    fn nearest(value: f64) -> Self {
        // Half-way between two powers is 1.5 times the lower.
        Self::at_least(value / 1.5)
    }
}

impl Scale for f16 {
    #[inline(always)]
    fn exponent(self) -> Option<i32> {
        None
    }

    #[inline(always)]
    fn times(self, value: f32) -> f32 {
        value * self.to_f32()
    }

    fn to_f64(self) -> f64 {
        self.to_f64()
    }

    fn at_least(value: f64) -> Self {
        let scale = Self::nearest(value);
        if scale.to_f64() < value && scale < f16::MAX {
            f16::from_bits(scale.to_bits() + 1)
        } else {
            scale
        }
    }

    fn nearest(value: f64) -> Self {
        f16::from_f64(value).min(f16::MAX)
    }
}

mod private {
    pub trait Sealed {}
    impl Sealed for i8 {}
    impl Sealed for half::f16 {}
}

/// A matrix of packed weights, borrowed: a row for each output feature.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a, S> {
    format: Format,
    rows: usize,
    row_len: usize,
    /// Bytes of a row.
    row_bytes: usize,
    /// Scales of a row; 0 if one stands for the whole tensor.
    row_scales: usize,
    codes: &'a [u8],
    scales: &'a [S],
    /// The smallest exponent of a scale that is not 0, and the largest.
    smallest: i32,
    largest: i32,
}

impl<'a, S: Scale> Weights<'a, S> {
    /// Weights of `rows` rows of `row_len`.
    ///
    /// | argument | length |
    /// |---|---|
    /// | `codes` | `rows · format.row_bytes(row_len)` |
    /// | `scales` | `rows · ceil(row_len / 32)`, or 1 |
    ///
    /// Reads each scale once, to find the smallest and the largest.
    ///
    /// # Errors
    /// [`Error::Length`] for [`Arg::Weight`] or [`Arg::Scale`], [`Error::Zero`], [`Error::Overflow`].
    pub fn new(
        format: Format,
        rows: usize,
        row_len: usize,
        codes: &'a [u8],
        scales: &'a [S],
    ) -> Result<Self> {
        Arg::Weight.product(&[rows, row_len])?;
        let row_bytes = format.row_bytes(row_len);
        Arg::Weight.check_len(codes.len(), &[rows, row_bytes])?;
        let row_scales = row_len.div_ceil(BLOCK);
        if scales.len() != 1 {
            Arg::Scale.check_len(scales.len(), &[rows, row_scales])?;
        }
        let exponents = || scales.iter().filter_map(|scale| scale.exponent());
        Ok(Self {
            format,
            rows,
            row_len,
            row_bytes,
            row_scales: if scales.len() == 1 { 0 } else { row_scales },
            codes,
            scales,
            smallest: exponents().min().unwrap_or(0),
            largest: exponents().max().unwrap_or(0),
        })
    }

    /// The format.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Rows, and weights of a row.
    #[must_use]
    pub const fn extents(&self) -> [usize; 2] {
        [self.rows, self.row_len]
    }

    pub(crate) fn check(&self, rows: usize, row_len: usize) -> Result<()> {
        let len = |expected, got| {
            if expected == got {
                Ok(())
            } else {
                Err(Error::Length {
                    arg: Arg::Weight,
                    expected,
                    got,
                })
            }
        };
        len(rows, self.rows)?;
        len(row_len, self.row_len)
    }

    /// Decodes weights `start..start + out.len()` of a row; what lies beyond the row is not changed.
    pub fn decode(&self, row: usize, start: usize, out: &mut [f32]) {
        let len = out.len().min(self.row_len.saturating_sub(start));
        if row < self.rows {
            self.floats(row, start, out.get_mut(..len).unwrap_or_default());
        }
    }

    /// The bytes of a row.
    #[inline(always)]
    fn row(&self, row: usize) -> &'a [u8] {
        let start = row * self.row_bytes;
        self.codes
            .get(start..start + self.row_bytes)
            .unwrap_or_default()
    }

    /// The scale of the block that weight `at` of a row is in.
    #[inline(always)]
    fn scale(&self, row: usize, at: usize) -> Option<S> {
        let index = if self.row_scales == 0 {
            0
        } else {
            row * self.row_scales + at / BLOCK
        };
        self.scales.get(index).copied()
    }

    // Not inlined: seven formats in each kernel of each type would be more than a build can bear.
    #[inline(never)]
    pub(crate) fn floats(&self, row: usize, start: usize, out: &mut [f32]) {
        self.format
            .unpack_row(self.row(row), start, out, Format::value);
        let (mut at, mut out) = (start, out);
        while !out.is_empty() {
            let len = (BLOCK - at % BLOCK).min(out.len());
            let Some((block, rest)) = out.split_at_mut_checked(len) else {
                return;
            };
            if let Some(scale) = self.scale(row, at) {
                for value in block {
                    *value = scale.times(*value);
                }
            }
            (at, out) = (at + len, rest);
        }
    }
}

impl Weights<'_, i8> {
    /// How sums of `terms` products with activations of type `T` are kept: exponent of the
    /// accumulator less that of the activations.
    ///
    /// The terms are the inputs of a dense layer or the elements of a filter in a forward pass, the
    /// outputs or a group's filters times the kernel's cells in a backward pass.
    ///
    /// # Errors
    /// [`Error::Accumulator`] if sums of so many products of the largest codes leave 64 bits, or 128 for
    /// elements of 32 and 64 bits.
    pub fn unit<T: Element>(&self, terms: usize) -> Result<i32> {
        let Fitted { weights, drop } = self.fitted::<T>(terms)?;
        Ok(weights.smallest + self.format.exponent() + drop as i32)
    }

    /// The weights for sums of `terms` products.
    pub(crate) fn fitted<T: Element>(self, terms: usize) -> Result<Fitted<Self>> {
        // A sum in 64 or 128 bits, with one to spare for what is added up.
        let sum_bits: u32 = if T::MAGNITUDE_BITS > 15 { 126 } else { 62 };
        let log2 = |n: u64| bit_len(n.saturating_sub(1)); // rounded up
        let product = T::MAGNITUDE_BITS + log2(self.format.largest_integer());
        let bits = product + log2(terms as u64);
        let Some(room) = sum_bits.checked_sub(bits) else {
            return Err(Error::Accumulator {
                terms,
                limit: 1usize.checked_shl(sum_bits - product).unwrap_or(usize::MAX),
            });
        };
        let smallest = self.smallest.max(self.largest - room as i32);
        let bits = bits + self.largest.abs_diff(smallest);
        // Beside a bias of as many bits: `Element::bias`.
        let limit = match size_of::<T::Acc>() {
            4 => 30,
            8 => 61,
            _ => 125,
        };
        Ok(Fitted {
            weights: Self { smallest, ..self },
            drop: bits.saturating_sub(limit),
        })
    }

    /// Weights from `start` on, as integers of type `F`, with the shifts of the blocks.
    #[inline(always)]
    fn decoded<F: Factor>(
        &self,
        row: usize,
        start: usize,
        len: usize,
        decode: impl Fn(Format, u8) -> F,
    ) -> Chunk<F> {
        let mut chunk = Chunk {
            factors: [F::default(); CHUNK],
            split: BLOCK - start % BLOCK,
            shifts: [0; 2],
        };
        let out = chunk.factors.get_mut(..len).unwrap_or_default();
        self.format.unpack_row(self.row(row), start, out, decode);
        let split = chunk.split.min(out.len());
        let Some((first, second)) = out.split_at_mut_checked(split) else {
            return chunk;
        };
        chunk.shifts[0] = self.fit(row, start, first);
        if !second.is_empty() {
            chunk.shifts[1] = self.fit(row, start + len - 1, second);
        }
        chunk
    }

    /// How far the exponent of the block of weight `at` lies above the smallest. Where it lies below, the
    /// block's integers are rounded to the smallest instead.
    #[inline(always)]
    fn fit<F: Factor>(&self, row: usize, at: usize, factors: &mut [F]) -> u32 {
        let exponent = self.scale(row, at).and_then(Scale::exponent);
        let places = exponent.map_or(-i32::from(u8::MAX), |exponent| exponent - self.smallest);
        if places < 0 {
            for factor in factors {
                *factor = factor.over(places.unsigned_abs());
            }
        }
        places.max(0) as u32
    }
}

/// Integers of formats that fit 16 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrow<'a>(pub(crate) Weights<'a, i8>);

/// Integers of any format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide<'a>(pub(crate) Weights<'a, i8>);

impl Source for Narrow<'_> {
    type Factor = i16;

    #[inline(never)] // as `Weights::floats`
    fn chunk(&self, row: usize, start: usize, len: usize) -> Chunk<i16> {
        self.0.decoded(row, start, len, Format::small)
    }
}

impl Source for Wide<'_> {
    type Factor = i64;

    #[inline(never)] // as `Weights::floats`
    fn chunk(&self, row: usize, start: usize, len: usize) -> Chunk<i64> {
        self.0.decoded(row, start, len, Format::integer)
    }
}
