//! Integer activations: sums of a chunk are exact in the narrowest type that holds them, and summed in 64
//! bits, or in 128 where activations have 32 or more.

use super::{CHUNK, Chunk, Products, Source};
use crate::arch::Isa;
use crate::element::Element;
use crate::fixed::{sat_i64, sat_i128, shift_rne_i32, shift_rne_i64, shift_rne_i128};
use core::marker::PhantomData;
use core::ops::{AddAssign, Shl};

/// Activations of type `T` with the weights of `S`, summed to an `A`.
pub(crate) struct Integers<T, S, A> {
    pub(crate) source: S,
    /// What is taken off each widened activation.
    pub(crate) zero: i32,
    /// Places by which the sum is shifted right.
    pub(crate) drop: u32,
    pub(crate) types: PhantomData<fn() -> (T, A)>,
}

impl<T, S: Copy, A> Clone for Integers<T, S, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, S: Copy, A> Copy for Integers<T, S, A> {}

impl<T, S, A> Integers<T, S, A> {
    pub(crate) fn new(source: S, drop: u32) -> Self {
        Self {
            source,
            zero: 0,
            drop,
            types: PhantomData,
        }
    }
}

/// An accumulator that a sum of type `N` ends in.
pub(crate) trait FromSum<N>: Copy {
    /// The sum over `2^drop`, to nearest even. It fits: the caller has checked.
    fn from_sum(sum: N, drop: u32) -> Self;
    /// Both, saturated at the limits of the type.
    fn plus(self, other: Self) -> Self;
}

macro_rules! impl_from_sum {
    ($($acc:ty: $n:ty, $shift:ident, |$sum:ident| $narrow:expr;)*) => {$(
        impl FromSum<$n> for $acc {
            #[inline(always)]
            fn from_sum(sum: $n, drop: u32) -> Self {
                let $sum = if drop == 0 { sum } else { $shift(sum, drop as i32) };
                $narrow
            }

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.saturating_add(other)
            }
        }
    )*};
}

impl_from_sum! {
    i32: i64, shift_rne_i64, |sum| sat_i64(sum, 31) as Self;
    i64: i64, shift_rne_i64, |sum| sum;
    i64: i128, shift_rne_i128, |sum| sat_i128(sum, 63) as Self;
    i128: i128, shift_rne_i128, |sum| sum;
}

/// An integer that weights decode to.
pub(crate) trait Factor: Copy + Default + Sync {
    /// The integer over `2^places`, to nearest even.
    fn over(self, places: u32) -> Self;
}

impl Factor for i16 {
    #[inline(always)]
    fn over(self, places: u32) -> Self {
        shift_rne_i32(i32::from(self), places as i32) as Self // no larger
    }
}

impl Factor for i64 {
    #[inline(always)]
    fn over(self, places: u32) -> Self {
        shift_rne_i64(self, places as i32)
    }
}

/// An element that weights of type `F` multiply.
pub(crate) trait Times<F>: Element {
    /// What holds a sum of any length.
    type Sum: Copy + Default + AddAssign + Shl<u32, Output = Self::Sum>;

    /// The sum of the products of a chunk with `x - zero`.
    fn products(x: &[Self], zero: i32, factors: &[F]) -> Self::Sum;
    /// A product.
    fn times(self, zero: i32, factor: F) -> Self::Sum;
}

/// Elements with factors, the type of a chunk's sum, and that of all.
macro_rules! impl_times {
    ($($t:ident by $f:ident: $chunk:ident, $sum:ident;)*) => {$(
        impl Times<$f> for $t {
            type Sum = $sum;

            #[inline(always)]
            fn products(x: &[Self], zero: i32, factors: &[$f]) -> $sum {
                let mut sum = $chunk::default();
                for (&x, &w) in x.iter().zip(factors) {
                    sum += ($chunk::from(x.widen()) - $chunk::from(zero)) * $chunk::from(w);
                }
                $sum::from(sum)
            }

            #[inline(always)]
            fn times(self, zero: i32, factor: $f) -> $sum {
                let difference = $chunk::from(self.widen()) - $chunk::from(zero);
                $sum::from(difference * $chunk::from(factor))
            }
        }
    )*};
}

// 32 products. Of 8 and 16 bits with `i16`: 17 bits (an activation less its zero point) and 9 (a weight less its
// own). Of 24 bits with 32, the largest of a packed format: 61. Of 53 bits with 4, the largest of those in `i16`: 62.
impl_times! {
    i8 by i16: i32, i64; u8 by i16: i32, i64; i16 by i16: i32, i64; u16 by i16: i32, i64;
    i8 by i64: i64, i64; u8 by i64: i64, i64; i16 by i64: i64, i64; u16 by i64: i64, i64;
    i32 by i16: i64, i128; u32 by i16: i64, i128; i32 by i64: i64, i128; u32 by i64: i64, i128;
    i64 by i16: i64, i128; u64 by i16: i64, i128; i64 by i64: i128, i128; u64 by i64: i128, i128;
}

impl<T, S, A> Products for Integers<T, S, A>
where
    T: Times<S::Factor>,
    S: Source,
    A: FromSum<T::Sum>,
{
    type X = T;
    type Chunk = Chunk<S::Factor>;
    type Sum = T::Sum;
    type Part = T::Sum;
    type Acc = A;

    #[inline(always)]
    fn decode(&self, row: usize, start: usize, len: usize) -> Self::Chunk {
        self.source.chunk(row, start, len)
    }

    #[inline(always)]
    fn begin(&self, _: A) -> T::Sum {
        T::Sum::default()
    }

    #[inline(always)]
    fn add<I: Isa>(&self, _: I, sum: &mut T::Sum, x: &[T], chunk: &Self::Chunk) {
        // A whole chunk of one block, whose length the compiler knows, is the common case.
        if let (Some(x), true) = (x.first_chunk::<CHUNK>(), chunk.split >= CHUNK) {
            *sum += T::products(x, self.zero, &chunk.factors) << chunk.shifts[0];
            return;
        }
        let split = chunk.split.min(x.len());
        let (Some((x0, x1)), Some((w0, w1))) = (
            x.split_at_checked(split),
            chunk.factors.split_at_checked(split),
        ) else {
            return;
        };
        *sum += T::products(x0, self.zero, w0) << chunk.shifts[0];
        if !x1.is_empty() {
            *sum += T::products(x1, self.zero, w1) << chunk.shifts[1];
        }
    }

    #[inline(always)]
    fn end(&self, sum: T::Sum, bias: A) -> A {
        bias.plus(A::from_sum(sum, self.drop))
    }

    #[inline(always)]
    fn add_row(&self, parts: &mut [T::Sum; CHUNK], d: T, chunk: &Self::Chunk) {
        let split = chunk.split.min(CHUNK);
        let (Some((p0, p1)), Some((w0, w1))) = (
            parts.split_at_mut_checked(split),
            chunk.factors.split_at_checked(split),
        ) else {
            return;
        };
        for (part, &w) in p0.iter_mut().zip(w0) {
            *part += d.times(self.zero, w) << chunk.shifts[0];
        }
        for (part, &w) in p1.iter_mut().zip(w1) {
            *part += d.times(self.zero, w) << chunk.shifts[1];
        }
    }

    #[inline(always)]
    fn total(&self, part: T::Sum) -> A {
        A::from_sum(part, self.drop)
    }
}

/// Weights of 8 bits as they are, row by row, less their zero point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain<'a, W> {
    pub(crate) weight: &'a [W],
    pub(crate) row_len: usize,
    /// What is taken off each widened weight.
    pub(crate) zero: i16,
}

impl<W: Element<Wide = i32>> Source for Plain<'_, W> {
    type Factor = i16;

    #[inline(always)]
    fn chunk(&self, row: usize, start: usize, len: usize) -> Chunk<i16> {
        let start = row * self.row_len + start;
        let mut factors = [0; CHUNK];
        let weight = self.weight.get(start..start + len).unwrap_or_default();
        if let Some(weight) = weight.first_chunk::<CHUNK>() {
            for (factor, &w) in factors.iter_mut().zip(weight) {
                *factor = w.widen() as i16 - self.zero;
            }
        } else {
            for (factor, &w) in factors.iter_mut().zip(weight) {
                *factor = w.widen() as i16 - self.zero;
            }
        }
        Chunk {
            factors,
            split: CHUNK,
            shifts: [0; 2],
        }
    }
}
