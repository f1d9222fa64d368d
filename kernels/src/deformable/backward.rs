//! The backward pass: each point's products with its error, and the values' errors in the order of queries.

use super::point::{Point, add, points};
use super::{Errors, Inputs, Shape, backward_part};
use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::exec::Split;
use crate::real::{FloatElement, Real};
use crate::split::{rows_of, take_mut};

/// A checked call of [`backward`](super::backward), for some samples.
pub struct Backward<'a, T: Element> {
    pub(super) shape: Shape<'a>,
    pub(super) cells: usize,
    pub(super) inputs: Inputs<'a, T>,
    pub(super) dy: &'a [T],
    /// Samples before the first.
    pub(super) first: usize,
    pub(super) errors: Errors<'a, T>,
    pub(super) scratch: &'a mut [T::Acc],
}

impl<T: Element> Split for Backward<'_, T> {
    fn split_off(&mut self, samples: usize) -> Self {
        let (shape, cells) = (self.shape, self.cells);
        let taps = samples * shape.queries * shape.heads * shape.taps();
        let first = self.first;
        self.first += samples;
        Self {
            first,
            errors: Errors {
                values: take_mut(&mut self.errors.values, samples * cells * shape.width()),
                positions: take_mut(&mut self.errors.positions, 2 * taps),
                weights: take_mut(&mut self.errors.weights, taps),
            },
            scratch: take_mut(&mut self.scratch, backward_part(shape, cells)),
            ..*self
        }
    }
}

impl<T: FloatElement> Kernel for Backward<'_, T> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self {
            shape,
            cells,
            inputs,
            dy,
            first,
            errors,
            scratch,
        } = self;
        let Shape {
            queries,
            heads,
            size,
            ..
        } = shape;
        let per_sample = cells * shape.width();
        let samples = errors.values.len().checked_div(per_sample).unwrap_or(0);
        let before = first * queries * heads * shape.taps(); // points of earlier samples
        let sums = scratch.get_mut(..cells * size).unwrap_or_default();
        for sample in first..first + samples {
            for head in 0..heads {
                sums.fill(T::Real::default());
                for query in sample * queries..(sample + 1) * queries {
                    let start = (query * heads + head) * size;
                    let dy = dy.get(start..start + size).unwrap_or_default();
                    points(shape, inputs, [query, head], |point| {
                        let at = |cell| (sample * cells + cell) * shape.width() + head * size;
                        let products = add_point(isa, &point, dy, (inputs.values, at), sums);
                        let own = point.index - before;
                        let (position, weight) = gradients(&point, products);
                        if let Some(to) = errors.weights.get_mut(own) {
                            *to = T::store(weight);
                        }
                        let to = errors.positions.get_mut(2 * own..).unwrap_or_default();
                        for (to, position) in to.iter_mut().zip(position) {
                            *to = position;
                        }
                    });
                }
                let start = (sample - first) * per_sample + head * size;
                for (cell, sums) in rows_of(sums, size).enumerate() {
                    let to = errors.values.get_mut(start + cell * shape.width()..);
                    for (to, &sum) in to.unwrap_or_default().iter_mut().zip(sums) {
                        *to = T::store(sum);
                    }
                }
            }
        }
    }
}

/// Adds what a point with the error `dy` gives to the errors of its neighbours, `[S, D]`, and returns the products of
/// those with `dy`: `at` tells where the features of a cell begin among the values. `None` where all are outside.
#[inline(always)]
fn add_point<T: FloatElement, I: Isa>(
    isa: I,
    point: &Point<T::Real>,
    dy: &[T],
    (values, at): (&[T], impl Fn(usize) -> usize),
    sums: &mut [T::Real],
) -> Option<[T::Real; 4]> {
    let mut products = [T::Real::default(); 4];
    let mut is_inside = false;
    let neighbours = point.cells.into_iter().zip(point.factors());
    for (product, (cell, factor)) in products.iter_mut().zip(neighbours) {
        let Some(cell) = cell else { continue };
        is_inside = true;
        let start = at(cell);
        let row = values.get(start..start + dy.len()).unwrap_or_default();
        *product = T::dot(isa, dy, row);
        let start = cell * dy.len();
        let sums = sums.get_mut(start..start + dy.len()).unwrap_or_default();
        add(isa, [factor], [dy], sums);
    }
    is_inside.then_some(products)
}

/// The gradients of a point's position, column and row, and of its weight: of the products of its neighbours with the
/// error, or of none, where all are outside.
#[inline(always)]
fn gradients<R: Real>(point: &Point<R>, products: Option<[R; 4]>) -> ([R; 2], R) {
    let Some(products) = products else {
        return Default::default();
    };
    let [a, b, c, d] = products;
    let ([above, below], [left, right]) = (point.rows, point.columns);
    let column = (b - a) * above + (d - c) * below;
    let row = (c - a) * left + (d - b) * right;
    let [width, height] = [point.level.width, point.level.height].map(R::from_count);
    let mut weight = R::default();
    for (share, product) in point.shares().into_iter().zip(products) {
        weight += share * product;
    }
    let position = [column * width * point.weight, row * height * point.weight];
    (position, weight)
}
