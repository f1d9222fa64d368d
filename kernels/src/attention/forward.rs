//! The forward pass: scores of some queries of a head, their softmax, weighted sums of values.

use super::numbers::{Block, Core, HEIGHT, WIDTH};
use super::{Inputs, Mask, ROWS, Shape, forward_part};
use crate::arch::block::{Factors, Rows};
use crate::arch::tile::{COLUMNS, Operand, Segments, Tile};
use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::exec::Split;
use crate::fixed::{Accumulator, Magnitude};
use crate::requantize::Store;
use crate::split::{rows_of_mut, take_mut};
use core::ops::Range;

/// A checked call of [`forward`](super::forward), for some queries.
pub struct Forward<'a, T: Element> {
    pub(super) shape: Shape,
    pub(super) mask: Mask<'a>,
    pub(super) inputs: Inputs<'a, T>,
    pub(super) store: Store,
    /// Queries of all samples before the first.
    pub(super) first: usize,
    pub(super) out: &'a mut [T],
    pub(super) scratch: &'a mut [T::AttentionScore],
}

impl<T: Element> Split for Forward<'_, T> {
    fn split_off(&mut self, rows: usize) -> Self {
        let [width, _] = self.shape.widths();
        let first = self.first;
        self.first += rows;
        Self {
            first,
            out: take_mut(&mut self.out, rows * width),
            scratch: take_mut(&mut self.scratch, forward_part(self.shape)),
            ..*self
        }
    }
}

/// Some queries of one head.
#[derive(Clone, Copy)]
pub(super) struct Queries {
    pub(super) sample: usize,
    pub(super) head: usize,
    /// The first.
    pub(super) query: usize,
    /// How many, at most [`ROWS`].
    pub(super) count: usize,
}

impl Queries {
    /// The keys that each of them sees, and those that any does.
    #[inline(always)]
    pub(super) fn keys(
        self,
        shape: Shape,
        mask: &Mask<'_>,
    ) -> ([Range<usize>; ROWS], Range<usize>) {
        let seen = core::array::from_fn(|r| {
            let query = self.query + r.min(self.count.saturating_sub(1));
            mask.keys(shape, self.sample, query)
        });
        // Both ends rise from query to query, but a row that sees nothing has none.
        let start = seen.iter().map(|keys: &Range<usize>| keys.start).min();
        let end = seen.iter().map(|keys| keys.end).max();
        (seen, start.unwrap_or(0)..end.unwrap_or(0))
    }

    /// The products of the rows of `x` with those of keys `keys` of `w`, eight at a time, each given to `take` with
    /// the number of its query and its first key.
    #[inline(always)]
    pub(super) fn products<T: Core, I: Isa>(
        self,
        isa: I,
        shape: Shape,
        (x, w, capacity): (&[T], &[T], usize),
        keys: Range<usize>,
        mut take: impl FnMut(usize, usize, &[T::Dot; COLUMNS]),
    ) {
        let [width, kv_width] = shape.widths();
        let segments = Segments::one(shape.size);
        let x_start = (self.sample * shape.queries + self.query) * width + self.head * shape.size;
        let x = Operand {
            values: x.get(x_start..).unwrap_or_default(),
            step: width,
            rows: self.count,
        };
        let w_start = self.sample * capacity * kv_width + self.kv_column(shape);
        let mut tile: Tile<T::Dot> = [[T::Dot::default(); COLUMNS]; ROWS];
        for key in keys.clone().step_by(COLUMNS) {
            let w = Operand {
                values: w.get(w_start + key * kv_width..).unwrap_or_default(),
                step: kv_width,
                rows: COLUMNS.min(keys.end - key),
            };
            T::dots(isa, x, w, &segments, &mut tile);
            for (r, dots) in tile.iter().enumerate().take(self.count) {
                take(r, key, dots);
            }
        }
    }

    /// The shares of keys in each query, `[count, Tk]`, and what they are to be multiplied with.
    #[inline(always)]
    pub(super) fn shares<T: Core, I: Isa>(
        self,
        isa: I,
        shape: Shape,
        inputs: Inputs<'_, T>,
        (seen, all): (&[Range<usize>; ROWS], Range<usize>),
        scores: &mut [T::AttentionScore],
    ) -> [T::AttentionScore; ROWS] {
        let scaling = T::scaling(shape, inputs.exponents);
        let operands = (inputs.q, inputs.k, inputs.capacity);
        self.products(isa, shape, operands, all.clone(), |r, key, dots| {
            let logits = T::logits(dots, scaling);
            let to = scores.get_mut(r * shape.keys..).unwrap_or_default();
            let to = to.get_mut(key..all.end).unwrap_or_default();
            copy(&logits, to);
        });
        let mut rest = [T::AttentionScore::default(); ROWS];
        let rows = rows_of_mut(scores, shape.keys).zip(seen);
        for ((row, keys), rest) in rows.zip(&mut rest).take(self.count) {
            *rest = T::softmax(row.get_mut(keys.clone()).unwrap_or_default());
        }
        rest
    }

    /// The first feature of the keys' head in a row of keys.
    #[inline(always)]
    pub(super) fn kv_column(self, shape: Shape) -> usize {
        let group = shape.heads.checked_div(shape.kv_heads).unwrap_or(1);
        self.head.checked_div(group).unwrap_or(0) * shape.size
    }

    /// Index of the first element of query `r` in a tensor of queries.
    #[inline(always)]
    pub(super) fn element(self, shape: Shape, r: usize) -> usize {
        let row = self.sample * shape.queries + self.query + r;
        (row * shape.heads + self.head) * shape.size
    }

    /// The rows of keys or values weighted by each query's row of `factors`, `[count, Tk]`: some columns of them, in
    /// the order of the keys that the query sees, for [`HEIGHT`] queries from `first` on.
    #[inline(always)]
    pub(super) fn weighted<T: Core, I: Isa>(
        isa: I,
        seen: &[Range<usize>],
        factors: &[T::AttentionScore],
        keys: usize,
        rows: Rows<'_, T>,
    ) -> Block<T::AttentionSum> {
        let mut sums = [[T::AttentionSum::default(); WIDTH]; HEIGHT];
        let from = |key: usize, end: usize| Rows {
            values: rows.values.get(key * rows.step..).unwrap_or_default(),
            count: end.saturating_sub(key),
            ..rows
        };
        let factors = |r: usize, key: usize| Factors {
            values: factors.get(r * keys + key..).unwrap_or_default(),
            sum_step: keys,
            row_step: 1,
        };
        let start = seen.iter().map(|keys| keys.start).max().unwrap_or(0);
        let end = seen.iter().map(|keys| keys.end).min().unwrap_or(0);
        let common = start..end;
        let all = seen.len() == HEIGHT && start < end;
        for (r, (keys, sums)) in seen.iter().zip(&mut sums).enumerate() {
            let end = if all { common.start } else { keys.end };
            let sums = core::array::from_mut(sums);
            T::weigh(isa, factors(r, keys.start), from(keys.start, end), sums);
        }
        if all {
            T::weigh(
                isa,
                factors(0, common.start),
                from(common.start, common.end),
                &mut sums,
            );
            for (r, (keys, sums)) in seen.iter().zip(&mut sums).enumerate() {
                let sums = core::array::from_mut(sums);
                let rest = from(common.end, keys.end);
                T::weigh(isa, factors(r, common.end), rest, sums);
            }
        }
        sums
    }
}

/// As many elements as both have.
#[inline(always)]
pub(super) fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from;
    }
}

impl<T: Core> Kernel for Forward<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let shape = self.shape;
        let [width, _] = shape.widths();
        let mut range = <T::AttentionSum as Accumulator>::Magnitude::default();
        let rows = self.out.len().checked_div(width).unwrap_or(0);
        let (mut row, end) = (self.first, self.first + rows);
        while row < end {
            let (Some(sample), Some(query)) = (
                row.checked_div(shape.queries),
                row.checked_rem(shape.queries),
            ) else {
                break;
            };
            let count = ROWS.min(end - row).min(shape.queries - query);
            for head in 0..shape.heads {
                let queries = Queries {
                    sample,
                    head,
                    query,
                    count,
                };
                let start = queries.element(shape, 0) - self.first * width;
                let out = self.out.get_mut(start..).unwrap_or_default();
                let parts = (self.inputs, self.store, &mut *self.scratch);
                queries.forward(isa, shape, &self.mask, parts, &mut range, out);
            }
            row += count;
        }
        range.bits()
    }
}

impl Queries {
    /// Their outputs, of which the first begins `out`.
    #[inline(always)]
    fn forward<T: Core, I: Isa>(
        self,
        isa: I,
        shape: Shape,
        mask: &Mask<'_>,
        (inputs, store, scores): (Inputs<'_, T>, Store, &mut [T::AttentionScore]),
        range: &mut <T::AttentionSum as Accumulator>::Magnitude,
        out: &mut [T],
    ) {
        let [width, kv_width] = shape.widths();
        let (seen, all) = self.keys(shape, mask);
        let rest = self.shares(isa, shape, inputs, (&seen, all), scores);
        let start = self.sample * inputs.capacity * kv_width + self.kv_column(shape);
        for column in (0..shape.size).step_by(WIDTH) {
            let rows = Rows {
                values: inputs.v.get(start + column..).unwrap_or_default(),
                step: kv_width,
                count: shape.keys,
                width: WIDTH.min(shape.size - column),
            };
            for first in (0..self.count).step_by(HEIGHT) {
                let last = self.count.min(first + HEIGHT);
                let seen = seen.get(first..last).unwrap_or_default();
                let factors = scores.get(first * shape.keys..).unwrap_or_default();
                let mut sums = Self::weighted(isa, seen, factors, shape.keys, rows);
                for (r, sums) in sums.iter_mut().enumerate().take(seen.len()) {
                    let r = first + r;
                    T::scale_all(sums, rest.get(r).copied().unwrap_or_default());
                    let element = self.element(shape, r) + column;
                    let out = out.get_mut(r * width + column..).unwrap_or_default();
                    let out = out.get_mut(..rows.width).unwrap_or_default();
                    T::put(store, sums, element as u32, range, out);
                }
            }
        }
    }
}
