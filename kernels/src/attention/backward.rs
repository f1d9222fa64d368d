//! The backward pass: probabilities again, errors of scores, weighted sums of keys, queries and errors.

use super::forward::{Queries, copy};
use super::numbers::{Core, HEIGHT, WIDTH};
use super::{Errors, Inputs, Mask, ROWS, Ranges, Scratch, Shape, Stores, backward_parts};
use crate::arch::block::{Factors, Rows};
use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::exec::Split;
use crate::fixed::{Accumulator, Magnitude};
use crate::requantize::Store;
use crate::split::{rows_of, take_mut};
use core::ops::Range;

/// A checked call of [`backward`](super::backward), for some samples.
pub struct Backward<'a, T: Element> {
    pub(super) shape: Shape,
    pub(super) mask: Mask<'a>,
    pub(super) inputs: Inputs<'a, T>,
    pub(super) dy: &'a [T],
    pub(super) stores: Stores,
    /// Samples before the first.
    pub(super) first: usize,
    pub(super) errors: Errors<'a, T>,
    pub(super) scratch: Scratch<'a, T>,
}

impl<T: Element> Split for Backward<'_, T> {
    fn split_off(&mut self, samples: usize) -> Self {
        let Shape { queries, keys, .. } = self.shape;
        let [width, kv_width] = self.shape.widths();
        let [scores, products, sums] = backward_parts(self.shape);
        let first = self.first;
        self.first += samples;
        Self {
            first,
            errors: Errors {
                dq: take_mut(&mut self.errors.dq, samples * queries * width),
                dk: take_mut(&mut self.errors.dk, samples * keys * kv_width),
                dv: take_mut(&mut self.errors.dv, samples * keys * kv_width),
            },
            scratch: Scratch {
                scores: take_mut(&mut self.scratch.scores, scores),
                products: take_mut(&mut self.scratch.products, products),
                sums: take_mut(&mut self.scratch.sums, sums),
            },
            ..*self
        }
    }
}

/// What has been seen so far.
struct Seen<M> {
    scores: M,
    dq: M,
    dk: M,
    dv: M,
}

impl<T: Core> Kernel for Backward<'_, T> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = Ranges;

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) -> Ranges {
        let shape = self.shape;
        let [width, kv_width] = shape.widths();
        let none = <T::AttentionSum as Accumulator>::Magnitude::default();
        let mut seen = Seen {
            scores: none,
            dq: none,
            dk: none,
            dv: none,
        };
        let per_sample = shape.queries * width;
        let samples = self.errors.dq.len().checked_div(per_sample).unwrap_or(0);
        let group = shape.heads.checked_div(shape.kv_heads).unwrap_or(1);
        let head_len = shape.keys * shape.size;
        for sample in self.first..self.first + samples {
            for kv_head in 0..shape.kv_heads {
                let sums = self.scratch.sums.get_mut(..2 * head_len);
                sums.unwrap_or_default().fill(T::AttentionSum::default());
                for head in kv_head * group..(kv_head + 1) * group {
                    for query in (0..shape.queries).step_by(ROWS) {
                        let queries = Queries {
                            sample,
                            head,
                            query,
                            count: ROWS.min(shape.queries - query),
                        };
                        add_queries(isa, &mut self, queries, &mut seen);
                    }
                }
                if self.stores.scores == Store::Measure {
                    continue;
                }
                let (dk_store, dv_store) = (self.stores.dk, self.stores.dv);
                let start = ((sample - self.first) * shape.keys) * kv_width + kv_head * shape.size;
                let element = self.first * shape.keys * kv_width + start;
                let Self {
                    errors, scratch, ..
                } = &mut self;
                let sums = scratch.sums.split_at_checked(head_len);
                let (dk, dv) = sums.unwrap_or_default();
                let to = errors.dk.get_mut(start..).unwrap_or_default();
                put_rows(dk_store, shape, dk, element, &mut seen.dk, to);
                let to = errors.dv.get_mut(start..).unwrap_or_default();
                put_rows(dv_store, shape, dv, element, &mut seen.dv, to);
            }
        }
        Ranges {
            scores: seen.scores.bits(),
            dq: seen.dq.bits(),
            dk: seen.dk.bits(),
            dv: seen.dv.bits(),
        }
    }
}

/// Stores the sums of a head of keys, `[Tk, D]`, in rows of all heads, which `out` begins with.
#[inline(always)]
fn put_rows<T: Core>(
    store: Store,
    shape: Shape,
    sums: &[T::AttentionSum],
    element: usize,
    range: &mut <T::AttentionSum as Accumulator>::Magnitude,
    out: &mut [T],
) {
    let [_, kv_width] = shape.widths();
    let rows = rows_of(sums, shape.size).enumerate().take(shape.keys);
    for (key, sums) in rows {
        for column in (0..shape.size).step_by(WIDTH) {
            let width = WIDTH.min(shape.size - column);
            let mut acc = [T::AttentionSum::default(); WIDTH];
            let sums = sums.get(column..column + width).unwrap_or_default();
            copy(sums, &mut acc);
            let start = key * kv_width + column;
            let out = out.get_mut(start..start + width).unwrap_or_default();
            T::put(store, &mut acc, (element + start) as u32, range, out);
        }
    }
}

/// Errors of some queries, and what they add to those of their keys and values.
#[inline(always)]
fn add_queries<T: Core, I: Isa>(
    isa: I,
    call: &mut Backward<'_, T>,
    queries: Queries,
    seen: &mut Seen<<T::AttentionSum as Accumulator>::Magnitude>,
) {
    let Backward {
        shape,
        mask,
        inputs,
        dy,
        stores,
        first,
        errors,
        scratch,
    } = call;
    let (shape, inputs, dy, stores) = (*shape, *inputs, *dy, *stores);
    let rows_len = shape.keys.saturating_mul(ROWS);
    let (keys, all) = queries.keys(shape, mask);
    let Some((p, ds)) = scratch.scores.split_at_mut_checked(rows_len) else {
        return;
    };
    let dp = &mut *scratch.products;
    let rest = queries.shares(isa, shape, inputs, (&keys, all.clone()), p);
    let operands = (dy, inputs.v, inputs.capacity);
    queries.products(isa, shape, operands, all.clone(), |r, key, dots| {
        let to = dp.get_mut(r * shape.keys..).unwrap_or_default();
        copy(
            &T::errors(dots),
            to.get_mut(key..all.end).unwrap_or_default(),
        );
    });
    let scaling = T::scaling(shape, inputs.exponents);
    for (r, keys) in keys.iter().enumerate().take(queries.count) {
        let row = r * shape.keys + keys.start..r * shape.keys + keys.end;
        let p = p.get_mut(row.clone()).unwrap_or_default();
        T::settle(p, rest.get(r).copied().unwrap_or_default());
        let place = (queries.sample * shape.heads + queries.head) * shape.queries;
        let place = (place + queries.query + r).wrapping_mul(shape.keys);
        T::score_errors(
            p,
            dp.get_mut(row.clone()).unwrap_or_default(),
            scaling,
            stores.scores,
            place.wrapping_add(keys.start) as u32,
            &mut seen.scores,
            ds.get_mut(row).unwrap_or_default(),
        );
    }
    if stores.scores == Store::Measure {
        return;
    }
    let start = queries.element(shape, 0) - *first * shape.queries * shape.heads * shape.size;
    let dq = errors.dq.get_mut(start..).unwrap_or_default();
    let parts = (inputs, stores.dq, &*ds);
    queries.dq(isa, shape, &keys, parts, &mut seen.dq, dq);
    let head_len = shape.keys * shape.size;
    let Some((dk, dv)) = scratch.sums.split_at_mut_checked(head_len) else {
        return;
    };
    queries.add(isa, shape, (&keys, all.clone()), (ds, inputs.q), dk);
    queries.add(isa, shape, (&keys, all), (p, dy), dv);
}

impl Queries {
    /// Their errors: keys weighted by errors of scores.
    #[inline(always)]
    fn dq<T: Core, I: Isa>(
        self,
        isa: I,
        shape: Shape,
        seen: &[Range<usize>; ROWS],
        (inputs, store, ds): (Inputs<'_, T>, Store, &[T::AttentionScore]),
        range: &mut <T::AttentionSum as Accumulator>::Magnitude,
        dq: &mut [T],
    ) {
        let [width, kv_width] = shape.widths();
        let start = self.sample * inputs.capacity * kv_width + self.kv_column(shape);
        for column in (0..shape.size).step_by(WIDTH) {
            let rows = Rows {
                values: inputs.k.get(start + column..).unwrap_or_default(),
                step: kv_width,
                count: shape.keys,
                width: WIDTH.min(shape.size - column),
            };
            for first in (0..self.count).step_by(HEIGHT) {
                let last = self.count.min(first + HEIGHT);
                let seen = seen.get(first..last).unwrap_or_default();
                let factors = ds.get(first * shape.keys..).unwrap_or_default();
                let mut sums = Self::weighted(isa, seen, factors, shape.keys, rows);
                for (r, sums) in sums.iter_mut().enumerate().take(seen.len()) {
                    let r = first + r;
                    let element = self.element(shape, r) + column;
                    let dq = dq.get_mut(r * width + column..).unwrap_or_default();
                    let dq = dq.get_mut(..rows.width).unwrap_or_default();
                    T::put(store, sums, element as u32, range, dq);
                }
            }
        }
    }

    /// Adds their rows of `x`, weighted by `factors`, `[count, Tk]`, to the sums of each key that they see,
    /// `[Tk, D]`.
    #[inline(always)]
    fn add<T: Core, I: Isa>(
        self,
        isa: I,
        shape: Shape,
        (seen, all): (&[Range<usize>; ROWS], Range<usize>),
        (factors, x): (&[T::AttentionScore], &[T]),
        sums: &mut [T::AttentionSum],
    ) {
        let [width, _] = shape.widths();
        let seen = seen.get(..self.count).unwrap_or_default();
        // Keys that all of the queries see.
        let start = seen.iter().map(|keys| keys.start).max().unwrap_or(0);
        let end = seen.iter().map(|keys| keys.end).min().unwrap_or(0);
        let x_start = self.element(shape, 0);
        for column in (0..shape.size).step_by(WIDTH) {
            let rows = |first: usize, last: usize| Rows {
                values: x
                    .get(x_start + first * width + column..)
                    .unwrap_or_default(),
                step: width,
                count: last.saturating_sub(first),
                width: WIDTH.min(shape.size - column),
            };
            let factors = |first: usize, key: usize| Factors {
                values: factors.get(first * shape.keys + key..).unwrap_or_default(),
                sum_step: 1,
                row_step: shape.keys,
            };
            let mut key = all.start;
            while key < all.end {
                if start <= key && key + HEIGHT <= end {
                    let mut block = [[T::AttentionSum::default(); WIDTH]; HEIGHT];
                    for (c, block) in block.iter_mut().enumerate() {
                        copy(part(sums, shape, key + c, column), block);
                    }
                    T::weigh(isa, factors(0, key), rows(0, self.count), &mut block);
                    for (c, block) in block.iter().enumerate() {
                        copy(block, part(sums, shape, key + c, column));
                    }
                    key += HEIGHT;
                    continue;
                }
                // The queries that see this key are neighbours: both ends rise.
                let sees = |keys: &&Range<usize>| keys.contains(&key);
                let first = seen.iter().position(|keys| keys.contains(&key));
                let first = first.unwrap_or(0);
                let count = seen.iter().skip(first).take_while(sees).count();
                let mut block = [[T::AttentionSum::default(); WIDTH]];
                copy(part(sums, shape, key, column), block.as_flattened_mut());
                T::weigh(
                    isa,
                    factors(first, key),
                    rows(first, first + count),
                    &mut block,
                );
                copy(block.as_flattened(), part(sums, shape, key, column));
                key += 1;
            }
        }
    }
}

/// The columns from `column` on of a key's sums, at most [`WIDTH`].
#[inline(always)]
fn part<S>(sums: &mut [S], shape: Shape, key: usize, column: usize) -> &mut [S] {
    let start = key * shape.size + column;
    let width = WIDTH.min(shape.size.saturating_sub(column));
    sums.get_mut(start..start + width).unwrap_or_default()
}
