//! Sums and averages of several tensors of equal extents: what joins parallel branches, and what
//! joins their errors.

use super::{align, aligned_exponent};
use crate::arch::{self, Isa, Kernel};
use crate::element::{Blank, Element};
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude};
use crate::long::{Long, Mean};
use crate::requantize::{Accumulators, BLOCK, Lines, Store, block_at};
use crate::split::{blocks_of, blocks_of_mut};

/// Most tensors that are added in one call: sums of the widest types still fit.
pub const MAX_TERMS: usize = 64;

/// A tensor of a sum.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a, T> {
    /// Its elements.
    pub values: &'a [T],
    /// Their exponent; not used by floats.
    pub exponent: i32,
}

/// The sum of several tensors, `out = store(Σ terms)`: residual connections, parallel branches,
/// and wherever errors meet that belong to one tensor.
///
/// | argument | shape | |
/// |---|---|---|
/// | `terms` | as `out`, each | 1 to [`MAX_TERMS`] |
/// | `out` | any | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest sum (0 for floats), at the
/// [`aligned_exponent`] of the terms. Integers are exact up to the store unless exponents differ
/// by more than 15; then what is finer is rounded to nearest even. Floats are summed in the order of
/// the terms. NaN propagates.
///
/// The gradient of each term is `dy`, unchanged.
///
/// # Errors
/// [`Error::Zero`] for no terms, [`Error::Accumulator`] for more than [`MAX_TERMS`],
/// [`Error::Length`] for terms of different lengths. `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::elementwise::{self, Term};
/// use selvedge_kernels::{exec::Serial, requantize::Store};
/// // 3 · 2^-1 + 5 · 2^-2 at exponent -2: 11 · 2^-2.
/// let terms = [Term { values: &[3i8], exponent: -1 }, Term { values: &[5], exponent: -2 }];
/// let mut out = [0i8];
/// elementwise::sum(&Serial, &terms, Store::EXACT, &mut out)?;
/// assert_eq!(out, [11]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: `docs/numerics.md` §13.
pub fn sum<T: Element>(
    exec: &impl Executor,
    terms: &[Term<'_, T>],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    let exponent = check(terms, out.len())?;
    Ok(exec::rows(exec, out, 1, |first, out| {
        T::elementwise_sum(Terms {
            terms,
            exponent,
            store,
            first,
            out,
        })
    }))
}

/// The average of several tensors, `out = store(Σ terms / n)`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `terms` | as `out`, each | 1 to [`MAX_TERMS`] |
/// | `out` | any | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest accumulator (0 for floats), which is the sum of the terms
/// times a reciprocal of [`average_places`] more places: at the [`aligned_exponent`] of the terms
/// less those. A quotient is off by 2^-16 of itself. Floats divide their sum.
///
/// The gradient of each term is the average of `dy` and `n - 1` zeros:
/// [`average_backward`] computes it once for all terms.
///
/// # Errors
/// Those of [`sum`].
///
/// Source: `docs/numerics.md` §13.
pub fn average<T: Element>(
    exec: &impl Executor,
    terms: &[Term<'_, T>],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    let exponent = check(terms, out.len())?;
    Ok(exec::rows(exec, out, 1, |first, out| {
        T::elementwise_average(Terms {
            terms,
            exponent,
            store,
            first,
            out,
        })
    }))
}

/// Gradient of [`average`] with respect to each of its `n` terms: `dx = store(dy / n)`.
///
/// Returns the bit length of the largest accumulator (0 for floats), [`average_places`] below the
/// exponent of `dy`.
///
/// # Errors
/// [`Error::Zero`] for no terms, [`Error::Accumulator`] for more than [`MAX_TERMS`],
/// [`Error::Length`] if the lengths differ, [`Error::Zero`] for empty slices. `dx` is then untouched.
pub fn average_backward<T: Element>(n: usize, dy: &[T], store: Store, dx: &mut [T]) -> Result<u32> {
    if n == 0 {
        return Err(Error::Zero { arg: Arg::Parts });
    }
    crate::dense::limit(n, MAX_TERMS)?;
    Arg::Dx.check_len(dx.len(), &[dy.len()])?;
    Ok(T::elementwise_average_backward(AverageBackward {
        mean: Mean::of(n),
        dy,
        store,
        dx,
    }))
}

/// A checked call of [`average_backward`].
pub struct AverageBackward<'a, T> {
    mean: Mean,
    dy: &'a [T],
    store: Store,
    dx: &'a mut [T],
}

impl<T: Element> Kernel for AverageBackward<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut room = [T::ZERO; BLOCK];
        let blocks = blocks_of(self.dy, BLOCK).zip(blocks_of_mut(self.dx, BLOCK));
        for ((dy, dx), element) in blocks.zip((0u32..).step_by(BLOCK)) {
            let mut means = Lines([[T::Acc::default(); BLOCK]]);
            let places = means.as_flattened_mut().iter_mut();
            for (to, dy) in places.zip(block_at(dy, &mut room)) {
                *to = T::mean_of_one(dy.to_acc(), self.mean);
            }
            self.store
                .block_by(isa, &mut means, element, &mut range, dx);
        }
        range.bits()
    }
}

/// How far the exponent of the accumulator of [`average`] of `n` tensors is below that of their
/// sum: 15 and the bits of `n - 1`. 0 for floats.
#[must_use]
pub fn average_places<T: Element>(n: usize) -> i32 {
    Mean::of(n).places::<T>()
}

/// Checks the terms, and returns their common exponent.
fn check<T: Element>(terms: &[Term<'_, T>], len: usize) -> Result<i32> {
    if terms.is_empty() {
        return Err(Error::Zero { arg: Arg::Parts });
    }
    crate::dense::limit(terms.len(), MAX_TERMS)?;
    Arg::Out.product(&[len])?;
    for term in terms {
        Arg::Parts.check_len(term.values.len(), &[len])?;
    }
    Ok(aligned_exponent(terms.iter().map(|term| term.exponent)))
}

/// Some elements of a sum.
pub struct Terms<'a, T: Element> {
    terms: &'a [Term<'a, T>],
    exponent: i32,
    store: Store,
    first: usize,
    out: &'a mut [T],
}

impl<T: Element> Terms<'_, T> {
    /// How far the exponent of a term is above that of the sum.
    #[inline(always)]
    fn shift(&self, term: &Term<'_, T>) -> i32 {
        if T::DTYPE.is_integer() {
            self.exponent - term.exponent
        } else {
            0
        }
    }

    /// `len` sums, at most [`BLOCK`], of which the first has the index `start`.
    #[inline(always)]
    fn sums(&self, start: usize, len: usize) -> Lines<Accumulators<T::Acc>> {
        let mut block = Lines([[T::Acc::default(); BLOCK]]);
        // Of a number that the compiler does not know: it would take a short loop of 64 apart.
        let sums = block.as_flattened_mut().get_mut(..len).unwrap_or_default();
        for (number, term) in self.terms.iter().enumerate() {
            let values = term.values.get(start..start + len).unwrap_or_default();
            let shift = self.shift(term);
            if number == 0 {
                // Not 0 + x: a float's -0 stays.
                align(values, shift, sums);
                continue;
            }
            let mut aligned = Lines([T::Acc::default(); BLOCK]);
            let aligned = aligned.get_mut(..len).unwrap_or_default();
            align(values, shift, aligned);
            for (sum, &x) in sums.iter_mut().zip(&*aligned) {
                *sum += x;
            }
        }
        block
    }

    /// Whether accumulators hold means: those of bytes have 32 bits.
    fn holds(&self, mean: Mean) -> bool {
        let largest = |term| 1i64 << (T::MAGNITUDE_BITS as i32 - self.shift(term)).clamp(0, 31);
        let sum = self.terms.iter().map(largest).sum();
        T::MAGNITUDE_BITS != 7 || mean.fits(sum)
    }
}

/// Terms to be summed.
pub(super) struct Sum<'a, T: Element>(pub(super) Terms<'a, T>);

impl<T: Element> Kernel for Sum<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) -> u32 {
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut start = self.0.first;
        for out in blocks_of_mut(core::mem::take(&mut self.0.out), BLOCK) {
            let mut sums = self.0.sums(start, out.len());
            let store = self.0.store;
            store.block_by(isa, &mut sums, start as u32, &mut range, out);
            start += out.len();
        }
        range.bits()
    }
}

/// Terms to be averaged.
pub(super) struct Average<'a, T: Element>(pub(super) Terms<'a, T>);

impl<T: Element> Kernel for Average<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) -> u32 {
        let (store, mean) = (self.0.store, Mean::of(self.0.terms.len()));
        let blocks = blocks_of_mut(core::mem::take(&mut self.0.out), BLOCK);
        let starts = (self.0.first..).step_by(BLOCK);
        // Devices have one copy.
        if !cfg!(target_os = "none") && self.0.holds(mean) {
            let mut range = <T::Acc as Accumulator>::Magnitude::default();
            for (out, start) in blocks.zip(starts) {
                let mut means = self.0.sums(start, out.len());
                for mean_of in means.as_flattened_mut() {
                    *mean_of = T::mean_of_one(*mean_of, mean);
                }
                store.block_by(isa, &mut means, start as u32, &mut range, out);
            }
            return range.bits();
        }
        let mut range = <<T as Long>::Long as Accumulator>::Magnitude::default();
        for (out, start) in blocks.zip(starts) {
            let sums = self.0.sums(start, out.len());
            let mut means = Lines([<T as Long>::Long::BLANK; BLOCK]);
            for (to, &sum) in means.iter_mut().zip(sums.as_flattened()) {
                *to = T::mean(T::to_long(sum), mean);
            }
            T::store_longs(store, &mut means, start as u32, &mut range, out);
        }
        range.bits()
    }
}
