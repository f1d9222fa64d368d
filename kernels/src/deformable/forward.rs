//! The forward pass: mixtures of cells at the points of some queries.

use super::point::{add, points};
use super::{Inputs, Shape};
use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::real::FloatElement;
use crate::split::{blocks_of_mut, rows_of_mut};

/// A checked call of [`forward`](super::forward), for some queries.
pub struct Forward<'a, T: Element> {
    pub(super) shape: Shape<'a>,
    pub(super) cells: usize,
    pub(super) inputs: Inputs<'a, T>,
    /// Queries of all samples before the first.
    pub(super) first: usize,
    pub(super) out: &'a mut [T],
}

/// Features that are summed at a time.
const WIDTH: usize = 32;

impl<T: FloatElement> Kernel for Forward<'_, T> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self {
            shape,
            cells,
            inputs,
            first,
            out,
        } = self;
        for (query, out) in (first..).zip(rows_of_mut(out, shape.width())) {
            let sample = query.checked_div(shape.queries).unwrap_or(0);
            for (head, out) in rows_of_mut(out, shape.size).enumerate() {
                let mut column = head * shape.size;
                for out in blocks_of_mut(out, WIDTH) {
                    let mut sums = [T::Real::default(); WIDTH];
                    let sums = sums.get_mut(..out.len()).unwrap_or_default();
                    points(shape, inputs, [query, head], |point| {
                        let rows = point.cells.map(|cell| {
                            let start = (sample * cells + cell?) * shape.width() + column;
                            inputs.values.get(start..start + sums.len())
                        });
                        let factors = point.factors();
                        if let [Some(a), Some(b), Some(c), Some(d)] = rows {
                            add(isa, factors, [a, b, c, d], sums);
                            return;
                        }
                        for (factor, row) in factors.into_iter().zip(rows) {
                            let Some(row) = row else { continue };
                            add(isa, [factor], [row], sums);
                        }
                    });
                    for (out, &sum) in out.iter_mut().zip(&*sums) {
                        *out = T::store(sum);
                    }
                    column += WIDTH;
                }
            }
        }
    }
}
