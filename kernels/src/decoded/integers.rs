//! Integer activations: sums of a chunk are exact in 32 bits where its integers have 16, and summed in
//! 64.

use super::{CHUNK, Chunk, Products, Source};
use crate::arch::Isa;
use crate::element::Element;
use crate::fixed::{sat_i64, shift_rne_i32, shift_rne_i64};
use core::marker::PhantomData;

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

/// An accumulator that a 64-bit sum ends in.
pub(crate) trait FromSum: Copy {
    /// The sum over `2^drop`, to nearest even. It fits: the caller has checked.
    fn from_sum(sum: i64, drop: u32) -> Self;
    /// Both, saturated at the limits of the type.
    fn plus(self, other: Self) -> Self;
}

impl FromSum for i32 {
    #[inline(always)]
    fn from_sum(sum: i64, drop: u32) -> Self {
        let sum = if drop == 0 {
            sum
        } else {
            shift_rne_i64(sum, drop as i32)
        };
        sat_i64(sum, 31) as Self
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl FromSum for i64 {
    #[inline(always)]
    fn from_sum(sum: i64, drop: u32) -> Self {
        if drop == 0 {
            sum
        } else {
            shift_rne_i64(sum, drop as i32)
        }
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

/// An integer that weights decode to.
pub(crate) trait Factor: Copy + Default + Sync {
    /// The sum of products with `x - zero`.
    fn dot<T: Element<Wide = i32>>(x: &[T], zero: i32, factors: &[Self]) -> i64;
    /// A product.
    fn times(self, d: i32) -> i64;
    /// The integer over `2^places`, to nearest even.
    fn over(self, places: u32) -> Self;
}

impl Factor for i16 {
    #[inline(always)]
    fn dot<T: Element<Wide = i32>>(x: &[T], zero: i32, factors: &[Self]) -> i64 {
        // 32 products of 17 bits (an activation less its zero point) and 9 (a weight less its own).
        let mut sum = 0i32;
        for (&x, &w) in x.iter().zip(factors) {
            sum += (x.widen() - zero) * i32::from(w);
        }
        i64::from(sum)
    }

    #[inline(always)]
    fn times(self, d: i32) -> i64 {
        i64::from(d * i32::from(self))
    }

    #[inline(always)]
    fn over(self, places: u32) -> Self {
        shift_rne_i32(i32::from(self), places as i32) as Self // no larger
    }
}

impl Factor for i64 {
    #[inline(always)]
    fn dot<T: Element<Wide = i32>>(x: &[T], zero: i32, factors: &[Self]) -> i64 {
        let mut sum = 0i64;
        for (&x, &w) in x.iter().zip(factors) {
            sum += i64::from(x.widen() - zero) * w;
        }
        sum
    }

    #[inline(always)]
    fn times(self, d: i32) -> i64 {
        i64::from(d) * self
    }

    #[inline(always)]
    fn over(self, places: u32) -> Self {
        shift_rne_i64(self, places as i32)
    }
}

impl<T, S, A> Products for Integers<T, S, A>
where
    T: Element<Wide = i32>,
    S: Source,
    S::Factor: Factor,
    A: FromSum,
{
    type X = T;
    type Chunk = Chunk<S::Factor>;
    type Sum = i64;
    type Part = i64;
    type Acc = A;

    #[inline(always)]
    fn decode(&self, row: usize, start: usize, len: usize) -> Self::Chunk {
        self.source.chunk(row, start, len)
    }

    #[inline(always)]
    fn begin(&self, _: A) -> i64 {
        0
    }

    #[inline(always)]
    fn add<I: Isa>(&self, _: I, sum: &mut i64, x: &[T], chunk: &Self::Chunk) {
        // A whole chunk of one block, whose length the compiler knows, is the common case.
        if let (Some(x), true) = (x.first_chunk::<CHUNK>(), chunk.split >= CHUNK) {
            *sum += S::Factor::dot(x, self.zero, &chunk.factors) << chunk.shifts[0];
            return;
        }
        let split = chunk.split.min(x.len());
        let (Some((x0, x1)), Some((w0, w1))) = (
            x.split_at_checked(split),
            chunk.factors.split_at_checked(split),
        ) else {
            return;
        };
        *sum += S::Factor::dot(x0, self.zero, w0) << chunk.shifts[0];
        if !x1.is_empty() {
            *sum += S::Factor::dot(x1, self.zero, w1) << chunk.shifts[1];
        }
    }

    #[inline(always)]
    fn end(&self, sum: i64, bias: A) -> A {
        bias.plus(A::from_sum(sum, self.drop))
    }

    #[inline(always)]
    fn add_row(&self, parts: &mut [i64; CHUNK], d: T, chunk: &Self::Chunk) {
        let d = d.widen() - self.zero;
        let split = chunk.split.min(CHUNK);
        let (Some((p0, p1)), Some((w0, w1))) = (
            parts.split_at_mut_checked(split),
            chunk.factors.split_at_checked(split),
        ) else {
            return;
        };
        for (part, &w) in p0.iter_mut().zip(w0) {
            *part += w.times(d) << chunk.shifts[0];
        }
        for (part, &w) in p1.iter_mut().zip(w1) {
            *part += w.times(d) << chunk.shifts[1];
        }
    }

    #[inline(always)]
    fn total(&self, part: i64) -> A {
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
