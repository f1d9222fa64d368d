//! Plain code: the fallback on every processor, and what the others are tested against.

use super::Isa;
use super::tile::{Operand, Segments, Tile};
use crate::element::Element;
use core::ops::{Add, Mul};

/// No instruction set in particular.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scalar;

impl Isa for Scalar {}

/// The sum of products, one after the other: the order does not matter.
#[inline(always)]
pub fn dot_integers<T: Element>(a: &[T], b: &[T]) -> T::Acc {
    let mut sum = T::Acc::default();
    for (&a, &b) in a.iter().zip(b) {
        sum += T::mul(a.widen(), b.widen());
    }
    sum
}

/// Adds products to eight partial sums: that of elements `i` goes to sum `i % 8`. The same bits on
/// every target.
#[inline(always)]
pub fn add_floats<T, I: Isa>(isa: I, sums: &mut [T::Wide; 8], a: &[T], b: &[T])
where
    T: Element,
    T::Wide: Mul<Output = T::Wide> + Add<Output = T::Wide>,
{
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (a, b) in a8.iter().zip(b8) {
        let (a, b) = (T::widen8(isa, a), T::widen8(isa, b));
        for ((sum, &a), &b) in sums.iter_mut().zip(&a).zip(&b) {
            *sum = *sum + a * b;
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum = *sum + a.widen() * b.widen();
    }
}

/// Columns that [`add_row`] sums at a time.
pub const TILE: usize = 8;

/// Adds `factor · row` to a tile of sums, `row` having as many elements as the tile has columns in
/// use: weighted sums of rows, for the gradients.
#[inline(always)]
pub fn add_row<T: Element, I: Isa>(isa: I, sums: &mut [T::Acc; TILE], factor: T::Wide, row: &[T]) {
    if let Some(row) = row.first_chunk::<TILE>() {
        let row = T::widen8(isa, row);
        for (sum, &x) in sums.iter_mut().zip(&row) {
            *sum += T::mul(factor, x);
        }
    } else {
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum += T::mul(factor, x.widen());
        }
    }
}

/// A tile, one output after the other; what does not fit the operands adds nothing.
#[inline(always)]
pub fn tile<T: Element, I: Isa>(
    isa: I,
    x: Operand<'_, T>,
    weight: Operand<'_, T>,
    segments: &Segments,
    tile: &mut Tile<T::Acc>,
) {
    for (r, sums) in tile.iter_mut().enumerate().take(x.rows) {
        let x = x.values.get(r * x.step..).unwrap_or_default();
        for (c, sum) in sums.iter_mut().enumerate().take(weight.rows) {
            let weight = weight.values.get(c * weight.step..).unwrap_or_default();
            let mut sums = T::Sums::default();
            for (x_start, w_start) in segments.starts() {
                let x = x.get(x_start..x_start + segments.len());
                let weight = weight.get(w_start..w_start + segments.len());
                if let (Some(x), Some(weight)) = (x, weight) {
                    T::add_products(isa, &mut sums, x, weight);
                }
            }
            *sum = T::total(sums);
        }
    }
}
