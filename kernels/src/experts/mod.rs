//! Mixtures of experts: rows of several tensors, each by a weight of its own, and the loss that keeps experts in use.
//!
//! ```
//! use selvedge_kernels::{elementwise::Term, exec::Serial, experts::{self, Shape}, requantize::Store};
//!
//! // Two rows of three features from two experts: the first row is a mean, the second is the second expert's.
//! let shape = Shape { rows: 2, experts: 2, features: 3 };
//! let weights = [0.5f32, 0.5, 0.0, 1.0];
//! let (a, b) = ([1.0; 6], [3.0; 6]);
//! let experts = [&a, &b].map(|values| Term { values, exponent: 0 });
//! let mut y = [0.0; 6];
//! experts::forward(&Serial, shape, &weights, &experts, Store::EXACT, &mut y)?;
//! assert_eq!(y, [2.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! Where the weights come from is the caller's: any softmax, also one that is exactly 0 beside the largest. All
//! experts are summed, those of weight 0 too, so that no row depends on another.
//!
//! Source: Jacobs et al. 1991, "Adaptive Mixtures of Local Experts"; integers: `docs/numerics/experts.md`.

mod balance;

pub use balance::{Balance, balance_backward};

use crate::arch::{self, Isa, Kernel};
use crate::dense::limit;
use crate::element::{Element, Output};
use crate::elementwise::{MAX_TERMS, Term};
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude, Rounding};
use crate::requantize::{BLOCK, Store};
use crate::split::{rows_of, rows_of_mut};
use balance::BalanceBackward;

/// The extents of a mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the output, `R`: samples, times positions where each has weights of its own.
    pub rows: usize,
    /// Experts, `N`: up to [`MAX_TERMS`].
    pub experts: usize,
    /// Elements of a row, `F`.
    pub features: usize,
}

impl Shape {
    /// Refuses empty axes, more elements than 32-bit random words address, and more experts than are summed.
    fn check(self) -> Result<()> {
        Arg::Shape.product(&[self.experts, self.rows, self.features])?;
        limit(self.experts, MAX_TERMS)
    }

    fn check_experts<T>(self, experts: &[Term<'_, T>]) -> Result<()> {
        Arg::Parts.check_len(experts.len(), &[self.experts])?;
        for expert in experts {
            Arg::Parts.check_len(expert.values.len(), &[self.rows, self.features])?;
        }
        Ok(())
    }
}

/// The exponent at which experts are mixed: the largest of theirs. 0 for no experts.
#[must_use]
pub fn common_exponent<T>(experts: &[Term<'_, T>]) -> i32 {
    experts.iter().map(|e| e.exponent).max().unwrap_or(0)
}

/// How far an expert's exponent is below the common one; 0 for floats.
#[inline(always)]
fn shift_of<T: Element>(common: i32, expert: &Term<'_, T>) -> i32 {
    if T::DTYPE.is_integer() {
        common - expert.exponent
    } else {
        0
    }
}

/// Mixture, forward: `out[r, f] = Σ_i weights[r, i] · experts_i[r, f]`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `weights` | `[R, N]` | |
/// | `experts` | `N` of `[R, F]` | each at an exponent of its own |
/// | `out` | `[R, F]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Returns the bit length of the largest accumulator (0 for floats), at the exponent of the weights plus
/// [`common_exponent`]: elements of experts with a finer one are rounded to it, to nearest even, and lose at most half
/// a unit of the coarsest expert. All else is exact up to the store. Floats are summed in the order of the experts.
/// NaN propagates, also out of experts of weight 0.
///
/// # Errors
/// [`Error::Length`] if a slice does not fit `shape`, [`Error::Zero`] for an empty axis, [`Error::Accumulator`] for
/// more than [`MAX_TERMS`] experts, [`Error::Overflow`] for experts that together have more than 2^32 elements. `out`
/// is then untouched.
///
/// Source: the definition; integers: `docs/numerics/experts.md`.
pub fn forward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    weights: &[T],
    experts: &[Term<'_, T>],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    shape.check()?;
    Arg::Weight.check_len(weights.len(), &[shape.rows, shape.experts])?;
    shape.check_experts(experts)?;
    Arg::Out.check_len(out.len(), &[shape.rows, shape.features])?;
    let common = common_exponent(experts);
    Ok(exec::rows(exec, out, shape.features, |first, out| {
        T::experts_forward(Forward {
            shape,
            weights,
            experts,
            common,
            store,
            first,
            out,
        })
    }))
}

/// Gradient of [`forward`] with respect to the expert `expert`: `dx[r, f] = weights[r, expert] · dy[r, f]`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `weights` | `[R, N]` | |
/// | `dy` | `[R, F]` | |
/// | `dx` | `[R, F]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Returns the bit length of the largest accumulator (0 for floats), at the sum of the exponents of `weights` and
/// `dy`. Words are those of a tensor `[N, R, F]` of all experts' gradients, so that no two draw the same.
///
/// # Errors
/// As [`forward`], and [`Error::Index`] for an expert that is not there; `dx` is then untouched.
///
/// Source: the derivative of [`forward`].
pub fn backward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    expert: usize,
    weights: &[T],
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    shape.check()?;
    if expert >= shape.experts {
        return Err(Error::Index {
            row: 0,
            index: expert,
            extent: shape.experts,
        });
    }
    Arg::Weight.check_len(weights.len(), &[shape.rows, shape.experts])?;
    Arg::Dy.check_len(dy.len(), &[shape.rows, shape.features])?;
    Arg::Dx.check_len(dx.len(), &[shape.rows, shape.features])?;
    Ok(exec::rows(exec, dx, shape.features, |first, dx| {
        T::experts_backward(Backward {
            shape,
            expert,
            weights,
            dy,
            store,
            first,
            dx,
        })
    }))
}

/// Gradient of [`forward`] with respect to the weights: `dw[r, i] = Σ_f dy[r, f] · experts_i[r, f]`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `experts` | `N` of `[R, F]` | |
/// | `dy` | `[R, F]` | |
/// | `dw` | `[R, N]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Returns the bit length of the largest accumulator (0 for floats), at the exponent of `dy` plus
/// [`common_exponent`]: sums of experts with a finer one are rounded to it once, to nearest even. Floats have eight
/// partial sums.
///
/// # Errors
/// As [`forward`], and [`Error::Accumulator`] for rows longer than a sum holds; `dw` is then untouched.
///
/// Source: the derivative of [`forward`].
pub fn backward_weights<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    experts: &[Term<'_, T>],
    dy: &[T],
    store: Store,
    dw: &mut [T],
) -> Result<u32> {
    shape.check()?;
    limit(shape.features, T::MAX_PRODUCTS)?;
    shape.check_experts(experts)?;
    Arg::Dy.check_len(dy.len(), &[shape.rows, shape.features])?;
    Arg::Dw.check_len(dw.len(), &[shape.rows, shape.experts])?;
    let common = common_exponent(experts);
    Ok(exec::rows(exec, dw, shape.experts, |first, dw| {
        T::experts_backward_weights(BackwardWeights {
            shape,
            experts,
            common,
            dy,
            store,
            first,
            dw,
        })
    }))
}

/// A checked call of [`forward`], for some rows.
pub struct Forward<'a, T: Element> {
    shape: Shape,
    weights: &'a [T],
    experts: &'a [Term<'a, T>],
    common: i32,
    store: Store,
    first: usize,
    out: &'a mut [T],
}

impl<T: Element> Kernel for Forward<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let weights = self.weights.get(self.first * self.shape.experts..);
        let weights = rows_of(weights.unwrap_or_default(), self.shape.experts);
        let mut start = self.first * self.shape.features;
        // out: [F], weights: [N]
        for (out, weights) in rows_of_mut(self.out, self.shape.features).zip(weights) {
            for out in out.chunks_mut(BLOCK) {
                let mut acc = [[T::Acc::default(); BLOCK]];
                let [sums] = &mut acc;
                let sums = sums.get_mut(..out.len()).unwrap_or_default();
                for (expert, &weight) in self.experts.iter().zip(weights) {
                    let values = expert.values.get(start..).unwrap_or_default();
                    add_products(sums, weight, values, shift_of(self.common, expert));
                }
                (self.store).block_by(isa, &mut acc, start as u32, &mut range, out);
                start += out.len();
            }
        }
        range.bits()
    }
}

/// Adds `weight` times each of `values`, `shift` exponents higher, to `sums`.
#[inline(always)]
fn add_products<T: Element>(sums: &mut [T::Acc], weight: T, values: &[T], shift: i32) {
    let weight = weight.widen();
    if shift == 0 {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += T::mul(weight, value.widen());
        }
        return;
    }
    for (sum, value) in sums.iter_mut().zip(values) {
        // To the right: it fits the element.
        let value = value.to_acc().shift(shift, Rounding::NearestEven, 0);
        *sum += T::mul(weight, <T as Output<T>>::store(value).widen());
    }
}

/// A checked call of [`backward`], for some rows.
pub struct Backward<'a, T: Element> {
    shape: Shape,
    expert: usize,
    weights: &'a [T],
    dy: &'a [T],
    store: Store,
    first: usize,
    dx: &'a mut [T],
}

impl<T: Element> Kernel for Backward<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let Shape {
            rows,
            experts,
            features,
        } = self.shape;
        let weights = self.weights.get(self.first * experts..);
        let weights = rows_of(weights.unwrap_or_default(), experts);
        let mut start = self.first * features;
        let mut element = (self.expert * rows * features + start) as u32; // checked with the shape
        for (dx, weights) in rows_of_mut(self.dx, features).zip(weights) {
            let weight = weights.get(self.expert).copied().unwrap_or(T::ZERO);
            for dx in dx.chunks_mut(BLOCK) {
                let mut acc = [[T::Acc::default(); BLOCK]];
                let dy = self.dy.get(start..).unwrap_or_default();
                let [products] = &mut acc;
                let products = products.get_mut(..dx.len()).unwrap_or_default();
                for (product, dy) in products.iter_mut().zip(dy) {
                    *product = T::mul(weight.widen(), dy.widen());
                }
                (self.store).block_by(isa, &mut acc, element, &mut range, dx);
                start += dx.len();
                element = element.wrapping_add(dx.len() as u32);
            }
        }
        range.bits()
    }
}

/// A checked call of [`backward_weights`], for some rows.
pub struct BackwardWeights<'a, T: Element> {
    shape: Shape,
    experts: &'a [Term<'a, T>],
    common: i32,
    dy: &'a [T],
    store: Store,
    first: usize,
    dw: &'a mut [T],
}

impl<T: Element> Kernel for BackwardWeights<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let features = self.shape.features;
        let mut start = self.first * features;
        let mut element = (self.first * self.shape.experts) as u32;
        for dw in rows_of_mut(self.dw, self.shape.experts) {
            let row = start..start + features;
            let dy = self.dy.get(row.clone()).unwrap_or_default();
            for (dw, expert) in dw.iter_mut().zip(self.experts) {
                let values = expert.values.get(row.clone()).unwrap_or_default();
                let shift = shift_of(self.common, expert);
                let sum = T::dot(isa, dy, values).shift(shift, Rounding::NearestEven, 0);
                self.store.one::<T, T>(sum, element, &mut range, dw);
                element = element.wrapping_add(1);
            }
            start += features;
        }
        range.bits()
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: Sized + balance::Load {
    #[doc(hidden)]
    fn experts_forward(call: Forward<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn experts_backward(call: Backward<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn experts_backward_weights(call: BackwardWeights<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn experts_balance_backward(call: BalanceBackward<'_, Self>) -> u32
    where
        Self: Element;
}

macro_rules! impl_kernels {
    ($($t:ty)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn experts_forward(call: Forward<'_, Self>) -> u32 {
                arch::dispatch(call)
            }

            #[inline(never)]
            fn experts_backward(call: Backward<'_, Self>) -> u32 {
                arch::dispatch(call)
            }

            #[inline(never)]
            fn experts_backward_weights(call: BackwardWeights<'_, Self>) -> u32 {
                arch::dispatch(call)
            }

            #[inline(never)]
            fn experts_balance_backward(call: BalanceBackward<'_, Self>) -> u32 {
                call.run()
            }
        }
    )*};
}

impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64 }
