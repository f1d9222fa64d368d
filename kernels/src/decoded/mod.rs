//! Dense and convolution kernels over weights that are decoded as they are read, and never changed:
//! what packed, mixed and affine layers have in common.
//!
//! Weights come in chunks of a row, which serve several samples or positions at once. So no kernel
//! needs scratch, and a row may lie in any form. [`Products`] says how activations meet a chunk,
//! [`Finish`] what becomes of a sum.

pub(crate) mod conv;
pub(crate) mod dense;
mod floats;
mod integers;

use crate::arch::Isa;
use crate::element::{Element, Output};
use crate::finish::Shared;
use crate::fixed::{Accumulator, Magnitude};

pub(crate) use floats::Floats;
pub(crate) use integers::{Factor, Integers, Plain, Times};

/// Weights of a row that are decoded at a time: no more blocks than two lie in so many.
pub(crate) const CHUNK: usize = 32;

/// Samples or positions that a decoded chunk serves.
pub(crate) const TILE: usize = 4;

/// How the products of activations and weights are summed.
pub(crate) trait Products: Copy + Sync {
    /// An activation, or an error.
    type X: Copy + Sync;
    /// Decoded weights, [`CHUNK`] at most.
    type Chunk;
    /// The sum of a forward pass while it grows.
    type Sum: Copy;
    /// The sum of a backward pass while it grows.
    type Part: Copy + Default;
    /// What the sum is in the end.
    type Acc: Copy;

    /// Weights `start..start + len` of a row.
    fn decode(&self, row: usize, start: usize, len: usize) -> Self::Chunk;
    /// A sum that starts at a bias.
    fn begin(&self, bias: Self::Acc) -> Self::Sum;
    /// Adds the products of activations with a chunk.
    fn add<I: Isa>(&self, isa: I, sum: &mut Self::Sum, x: &[Self::X], chunk: &Self::Chunk);
    /// The sum and the bias that it began with.
    fn end(&self, sum: Self::Sum, bias: Self::Acc) -> Self::Acc;
    /// Adds the products of one error with a chunk, each to its sum.
    fn add_row(&self, parts: &mut [Self::Part; CHUNK], d: Self::X, chunk: &Self::Chunk);
    /// The sum of a backward pass.
    fn total(&self, part: Self::Part) -> Self::Acc;
}

/// Where a sum starts and what becomes of it; for whole tiles it is [`TileFinish`](crate::finish::TileFinish).
pub(crate) trait Finish<X, A, O>: Copy + Sync {
    /// What is collected of all sums.
    type Range: Copy + Default;

    /// The bias of an output channel.
    fn start(&self, channel: usize) -> A;
    /// Stores a sum in the output element with row-major index `element`, and what an activation keeps of it in
    /// `slope`, unless that is empty.
    fn store(
        &self,
        acc: A,
        channel: usize,
        element: u32,
        range: &mut Self::Range,
        out: &mut O,
        slope: &mut [X],
    );
    /// What the kernel returns.
    fn bits(range: Self::Range) -> u32;
}

/// Weights for sums of a number of terms.
pub struct Fitted<W> {
    pub(crate) weights: W,
    /// Places by which an exact sum is shifted right.
    pub(crate) drop: u32,
}

/// Integers and the shifts that take the products of their blocks to one exponent.
pub(crate) struct Chunk<F> {
    pub(crate) factors: [F; CHUNK],
    /// Where the second block starts.
    pub(crate) split: usize,
    pub(crate) shifts: [u32; 2],
}

/// Rows of weights that decode to integers.
pub(crate) trait Source: Copy + Sync {
    /// The integers: `i16`, or `i64` where those do not suffice.
    type Factor: Factor;

    /// Weights `start..start + len` of a row.
    fn chunk(&self, row: usize, start: usize, len: usize) -> Chunk<Self::Factor>;
}

impl<T: Element, O: Output<T>> Finish<T, T::Acc, O> for Shared<'_, T> {
    type Range = <T::Acc as Accumulator>::Magnitude;

    #[inline(always)]
    fn start(&self, channel: usize) -> T::Acc {
        self.bias
            .get(channel)
            .map_or(T::Acc::default(), |&bias| T::bias(bias, self.bias_shift))
    }

    #[inline(always)]
    fn store(
        &self,
        acc: T::Acc,
        _: usize,
        element: u32,
        range: &mut Self::Range,
        out: &mut O,
        slope: &mut [T],
    ) {
        let out = core::slice::from_mut(out);
        self.epilogue.block(&mut [acc], element, range, out, slope);
    }

    #[inline(always)]
    fn bits(range: Self::Range) -> u32 {
        range.bits()
    }
}

/// The slice in pieces of `len` elements, the last of which may be short; none if `len` is 0.
#[inline(always)]
pub(crate) fn tiles_of_mut<T>(mut slice: &mut [T], len: usize) -> impl Iterator<Item = &mut [T]> {
    core::iter::from_fn(move || {
        let len = len.min(slice.len());
        if len == 0 {
            return None;
        }
        let (tile, rest) = core::mem::take(&mut slice).split_at_mut_checked(len)?;
        slice = rest;
        Some(tile)
    })
}
