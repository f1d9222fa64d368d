//! Means as products with a reciprocal in fixed point.
//!
//! All windows of a layer share one exponent, so all reciprocals have the places of the largest
//! window's: `k = 15 + bit_len(n - 1)`, and a window of `c <= n` cells has the factor `(2^k + c/2) / c`.
//! Source: `docs/numerics.md` §12.

use super::Extents;
use super::cover::Cover;
use crate::arch::Isa;
use crate::element::{Element, Output};
use crate::error::{Error, Result};
use crate::fixed::{Accumulator, bit_len, div_rem, sat_i64};
use half::{bf16, f16};

/// Places of the reciprocals, for windows of up to `cells` cells.
const fn places(cells: u64) -> u32 {
    15 + bit_len(cells.saturating_sub(1))
}

/// The exponent of means of elements of exponent `exponent`.
pub(super) const fn exponent<T: Element>(exponent: i32, cells: u64) -> i32 {
    if T::DTYPE.is_integer() {
        exponent - places(cells) as i32
    } else {
        exponent
    }
}

/// `2^places / cells`, to the nearest integer, ties up.
#[inline(always)]
fn reciprocal(cells: u64, places: u32) -> u64 {
    let dividend = (1u64 << places) + cells / 2;
    match (u32::try_from(dividend), u32::try_from(cells)) {
        (Ok(dividend), Ok(cells)) => dividend.checked_div(cells).unwrap_or(0).into(),
        _ => div_rem(dividend, cells).0,
    }
}

/// How the means of a layer are computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mean {
    /// Of the reciprocals.
    pub(super) places: u32,
    /// Cells of every window, if padding counts.
    pub(super) cells: Option<usize>,
    /// No output is made with factors that sum to more.
    pub(super) weight: u64,
}

impl Mean {
    /// The means of windows that all have `cells` cells, or as many as lie on the input; the accumulator
    /// has room for `bits` bits of factors.
    pub(super) fn forward(
        extents: &Extents<impl Cover>,
        cells: Option<usize>,
        bits: u32,
    ) -> Result<Self> {
        let [_, most] = counts(extents, cells);
        let places = places(most);
        // Of c equal factors, the sum is at most 2^k + c/2.
        let weight = (1 << places) + most / 2;
        let limit = 1 << bits.saturating_sub(16);
        check(bits, weight, most, limit)?;
        Ok(Self {
            places,
            cells,
            weight,
        })
    }

    /// Their gradients: a cell gets the error of each window that it is in, with that window's
    /// factor.
    pub(super) fn backward(
        extents: &Extents<impl Cover>,
        cells: Option<usize>,
        bits: u32,
    ) -> Result<Self> {
        let [fewest, most] = counts(extents, cells);
        let places = places(most);
        let largest = reciprocal(fewest, places);
        let mut windows = 1u64;
        for cover in &extents.cover {
            let [input, _] = cover.extents();
            let over = (0..input).map(|cell| cover.windows(cell).len).max();
            windows = windows.saturating_mul(over.unwrap_or(0) as u64);
        }
        let weight = windows.saturating_mul(largest);
        let limit = (1 << bits.min(63)) - 1;
        check(bits, weight, windows, div_rem(limit, largest).0)?;
        Ok(Self {
            places,
            cells,
            weight,
        })
    }
}

/// Refuses factors that the accumulator has no room for beside the largest element.
fn check(bits: u32, weight: u64, terms: u64, limit: u64) -> Result<()> {
    if bit_len(weight) <= bits {
        Ok(())
    } else {
        Err(Error::Accumulator {
            terms: terms as usize,
            limit: limit as usize,
        })
    }
}

/// Cells of the smallest and of the largest window.
fn counts(extents: &Extents<impl Cover>, cells: Option<usize>) -> [u64; 2] {
    if let Some(cells) = cells {
        return [cells as u64; 2];
    }
    let (mut fewest, mut most) = (1, 1);
    for cover in &extents.cover {
        let [_, outputs] = cover.extents();
        let (mut low, mut high) = (usize::MAX, 0);
        for window in 0..outputs {
            let len = cover.cells(window).len;
            (low, high) = (low.min(len), high.max(len));
        }
        // No more than the input has, which fits 32 bits.
        (fewest, most) = (fewest * low as u64, most * high as u64);
    }
    [fewest, most]
}

/// What a mean is summed in.
pub(super) trait Sum<T: Element>: Accumulator {
    /// An element.
    fn of(x: T) -> Self;
    /// Eight elements.
    fn of8<I: Isa>(isa: I, x: &[T; 8]) -> [Self; 8];
    /// The reciprocal of a number of cells.
    fn reciprocal(cells: usize, places: u32) -> Self;
    /// A product.
    fn times(self, factor: Self) -> Self;
    /// The element nearest to it.
    fn store(self) -> T;
}

macro_rules! impl_integer {
    ($($t:ident in $sum:ident, |$x:ident| $acc:expr;)*) => {$(
        impl Sum<$t> for $sum {
            #[inline(always)]
            fn of(x: $t) -> Self {
                x.widen().into()
            }

            #[inline(always)]
            fn of8<I: Isa>(_: I, x: &[$t; 8]) -> [Self; 8] {
                // A loop, and no map of the array: that one is taken apart byte by byte.
                let mut wide = [0; 8];
                for (to, &x) in wide.iter_mut().zip(x) {
                    *to = Self::of(x);
                }
                wide
            }

            #[inline(always)]
            fn reciprocal(cells: usize, places: u32) -> Self {
                reciprocal(cells as u64, places) as $sum
            }

            #[inline(always)]
            fn times(self, factor: Self) -> Self {
                self * factor
            }

            #[inline(always)]
            fn store(self) -> $t {
                let $x = self;
                <$t as Output<$t>>::store($acc)
            }
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ident in $sum:ident;)*) => {$(
        impl Sum<$t> for $sum {
            #[inline(always)]
            fn of(x: $t) -> Self {
                x.widen()
            }

            #[inline(always)]
            fn of8<I: Isa>(isa: I, x: &[$t; 8]) -> [Self; 8] {
                <$t>::widen8(isa, x)
            }

            #[inline(always)]
            fn reciprocal(cells: usize, _: u32) -> Self {
                1.0 / cells as $sum
            }

            #[inline(always)]
            fn times(self, factor: Self) -> Self {
                self * factor
            }

            #[inline(always)]
            fn store(self) -> $t {
                <$t as Output<$t>>::store(self)
            }
        }
    )*};
}

impl_integer! {
    i8 in i32, |x| x;
    u8 in i32, |x| x;
    i8 in i64, |x| sat_i64(x, 30) as i32;
    u8 in i64, |x| sat_i64(x, 30) as i32;
    i16 in i64, |x| x;
    u16 in i64, |x| x;
    i32 in i64, |x| x;
    u32 in i64, |x| x;
    i64 in i128, |x| x;
    u64 in i128, |x| x;
}

impl_float! { f16 in f32; bf16 in f32; f32 in f32; f64 in f64; }

/// The reciprocals of a layer, the last one kept: neighbouring windows mostly have as many cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reciprocals<A> {
    places: u32,
    cells: usize,
    last: A,
}

impl<A> Reciprocals<A> {
    #[inline(always)]
    pub(super) fn new<T: Element>(mean: Mean) -> Self
    where
        A: Sum<T>,
    {
        let cells = mean.cells.unwrap_or(1);
        Self {
            places: mean.places,
            cells,
            last: A::reciprocal(cells, mean.places),
        }
    }

    #[inline(always)]
    pub(super) fn of<T: Element>(&mut self, cells: usize) -> A
    where
        A: Sum<T>,
    {
        if cells != self.cells {
            (self.cells, self.last) = (cells, A::reciprocal(cells, self.places));
        }
        self.last
    }
}
