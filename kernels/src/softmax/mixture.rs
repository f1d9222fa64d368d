//! Mixture of softmaxes: `p = Σ_k π_k softmax(z_k / T)`, which can express what one softmax cannot.

use super::number::Number;
use super::rows::{cut_exponent, load};
use super::{Errors, Kernels, Logits, Sink, Temperature};
use crate::element::Element;
use crate::error::{Arg, Error, Found, Result};
use crate::fixed::{Accumulator, Magnitude};
use crate::optim::Gradient;
use crate::requantize::Store;
use crate::split::{rows_of, rows_of_mut};

/// The extents of a mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of rows, `R`.
    pub rows: usize,
    /// Softmaxes that are mixed, `K`.
    pub components: usize,
    /// Probabilities of a row, `N`.
    pub classes: usize,
}

impl Shape {
    /// Most rows whose weights' gradients are summed.
    pub const MOST_ROWS: usize = 1 << 14;

    fn check(self) -> Result<()> {
        Arg::Shape.product(&[self.rows, self.components, self.classes])?;
        Ok(())
    }

    fn check_slices<T: Element>(self, weights: Weights<'_, T>, x: &[T]) -> Result<()> {
        self.check()?;
        let Self {
            rows,
            components,
            classes,
        } = self;
        super::Shape::limit::<T>(classes.max(components))?;
        Arg::X.check_len(x.len(), &[rows, components, classes])?;
        let (Weights::Given(values) | Weights::Logits(Logits { x: values, .. })) = weights;
        Arg::Weight.check_len(values.len(), &[components])?;
        if let Weights::Given(values) = weights {
            let zero = T::Acc::default();
            // An infinite number less itself is none.
            let is_weight = |w: &T| w.to_acc() >= zero && w.to_acc() + -w.to_acc() == zero;
            let is_zero = values.iter().all(|w| w.to_acc() == zero);
            let wrong = values.iter().find(|w| !is_weight(w));
            if is_zero || wrong.is_some() {
                return Err(Error::Value {
                    arg: Arg::Weight,
                    expected: "finite numbers of 0 or more, not all 0",
                    // No integer network is to link this.
                    got: wrong
                        .filter(|_| !T::DTYPE.is_integer())
                        .map(|w| Found::real(w.to_f64())),
                });
            }
        }
        Ok(())
    }
}

/// Where the weights π of the components come from.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a, T> {
    /// Numbers of 0 or more, each divided by the sum of all: `[K]`.
    Given(&'a [T]),
    /// The softmax of learned logits: `[K]`.
    Logits(Logits<'a, T>),
}

impl<T: Element> Weights<'_, T> {
    /// π, into `weights`.
    fn load(self, weights: &mut [T::Number]) {
        match self {
            Self::Given(values) => {
                // The largest has 15 bits at most, whatever the type.
                let largest = values.iter().map(|w| w.to_acc().magnitude().bits()).max();
                let drop = largest.unwrap_or(0).saturating_sub(15);
                for (weight, value) in weights.iter_mut().zip(values) {
                    *weight = value.softmax_weight(drop);
                }
                T::Number::normalise(weights);
            }
            Self::Logits(logits) => {
                load(logits.x, weights);
                T::Number::softmax(weights, cut_exponent(logits), logits.temperature, 0);
            }
        }
    }

    fn temperature(self) -> Temperature {
        match self {
            Self::Given(_) => Temperature::ONE,
            Self::Logits(logits) => logits.temperature,
        }
    }

    /// The exponent of the sums of [`backward_weights`], for errors of exponent `dy`:
    /// `dy + M - shift` for integers, with the shift of `1 / T` (14 for [`Weights::Given`]); 16 less in those of 32
    /// and 64 bits.
    #[must_use]
    pub fn gradient_exponent(self, dy: i32) -> i32 {
        if T::DTYPE.is_integer() {
            let shift = i32::from(self.temperature().inverse().shift);
            dy + T::MAGNITUDE_BITS as i32 - shift - places::<T>() as i32
        } else {
            dy
        }
    }
}

/// Zeros behind the sums of [`backward_weights`]: an update cuts as many places off gradients of 32- and 64-bit
/// integers (`docs/numerics.md` §8), which here would be all there is.
pub(super) const fn places<T: Element>() -> u32 {
    if T::DTYPE.is_integer() && T::DTYPE.bytes() >= 4 {
        16
    } else {
        0
    }
}

/// Elements of scratch for [`forward`] and [`backward`].
///
/// # Errors
/// [`Error::Zero`], [`Error::Overflow`].
pub fn scratch_len(shape: Shape) -> Result<usize> {
    shape.check()?;
    // π: [K], a component and the sum: [N].
    sum_len(shape.components, Arg::Scratch.product(&[2, shape.classes])?)
}

/// Elements of scratch for [`backward_weights`].
///
/// # Errors
/// As [`scratch_len`].
pub fn weights_scratch_len(shape: Shape) -> Result<usize> {
    shape.check()?;
    // π: [K], a component: [N], its row's means: [K].
    sum_len(Arg::Scratch.product(&[2, shape.components])?, shape.classes)
}

fn sum_len(a: usize, b: usize) -> Result<usize> {
    a.checked_add(b).ok_or(Arg::Scratch.overflow())
}

/// A checked forward call.
pub struct Forward<'a, T: Kernels> {
    shape: Shape,
    weights: Weights<'a, T>,
    logits: Logits<'a, T>,
    out: &'a mut [T],
    scratch: &'a mut [T::Number],
}

/// A checked backward call.
pub struct Backward<'a, T: Kernels> {
    shape: Shape,
    weights: Weights<'a, T>,
    logits: Logits<'a, T>,
    dy: &'a [T],
    store: Store,
    dx: &'a mut [T],
    scratch: &'a mut [T::Number],
}

/// A checked call of [`backward_weights`].
pub struct WeightGradient<'a, 'g, T: Element, P: Element> {
    shape: Shape,
    weights: Weights<'a, T>,
    logits: Logits<'a, T>,
    dy: &'a [T],
    gradient: &'a mut Gradient<'g, P, T::Acc>,
    scratch: &'a mut [T::Number],
    sums: &'a mut [T::Acc],
}

/// Mixture of softmaxes, forward: `out[r, i] = Σ_k π_k softmax(z[r, k] / T)[i]`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `weights` | `[K]` | the same for all rows |
/// | `logits.x` | `[R, K, N]` | |
/// | `out` | `[R, N]` | overwritten; integers at the exponent `-M` |
/// | `scratch` | [`scratch_len`] | |
///
/// Integers: each of the K products is rounded to Q15.
///
/// # Errors
/// [`Error::Value`] if given weights are negative, NaN or all zero; [`Error::Length`],
/// [`Error::Zero`], [`Error::Overflow`], [`Error::Accumulator`] for more than 32,767 classes. `out` is
/// then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::softmax::{Logits, mixture::{self, Shape, Weights}};
/// let shape = Shape { rows: 1, components: 2, classes: 2 };
/// let logits = Logits::new(&[0.0f64, 0.0, 1e9, 0.0], 0);
/// let (mut p, mut scratch) = ([0.0; 2], [0.0; 6]);
/// mixture::forward(shape, Weights::Given(&[3.0, 1.0]), logits, &mut p, &mut scratch)?;
/// assert_eq!(p, [0.75 * 0.5 + 0.25, 0.75 * 0.5]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: Yang et al. 2018.
pub fn forward<T: Element>(
    shape: Shape,
    weights: Weights<'_, T>,
    logits: Logits<'_, T>,
    out: &mut [T],
    scratch: &mut [T::Number],
) -> Result<()> {
    shape.check_slices(weights, logits.x)?;
    Arg::Out.check_len(out.len(), &[shape.rows, shape.classes])?;
    Arg::Scratch.check_len(scratch.len(), &[scratch_len(shape)?])?;
    T::softmax_mixture_forward(Forward {
        shape,
        weights,
        logits,
        out,
        scratch,
    });
    Ok(())
}

/// Mixture of softmaxes, backward to the components: `dx[r, k] = π_k J(p_k) g / T`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `weights`, `logits.x` | `[K]`, `[R, K, N]` | as in the forward pass |
/// | `errors.dy` | `[R, N]` | |
/// | `dx` | `[R, K, N]` | overwritten, or untouched by [`Store::Measure`] |
/// | `scratch` | [`scratch_len`] | |
///
/// Returns the bit length of the largest accumulator; their exponent is
/// [`gradient_exponent`](super::gradient_exponent).
///
/// # Errors
/// As [`forward`]; `dx` is then untouched.
pub fn backward<T: Element>(
    shape: Shape,
    weights: Weights<'_, T>,
    logits: Logits<'_, T>,
    errors: Errors<'_, T>,
    dx: &mut [T],
    scratch: &mut [T::Number],
) -> Result<u32> {
    let Errors { dy, store } = errors;
    shape.check_slices(weights, logits.x)?;
    Arg::Dy.check_len(dy.len(), &[shape.rows, shape.classes])?;
    Arg::Dx.check_len(dx.len(), &[shape.rows, shape.components, shape.classes])?;
    Arg::Scratch.check_len(scratch.len(), &[scratch_len(shape)?])?;
    Ok(T::softmax_mixture_backward(Backward {
        shape,
        weights,
        logits,
        dy,
        store,
        dx,
        scratch,
    }))
}

/// Mixture of softmaxes, backward to the weights, summed over the rows. With `a_k = ⟨g, p_k⟩`:
/// `π_k (a_k - Σ_j π_j a_j) / T` for [`Weights::Logits`]; `a_k`, the gradient with respect to the
/// normalised π itself, for [`Weights::Given`].
///
/// | argument | shape | |
/// |---|---|---|
/// | `weights`, `logits.x` | `[K]`, `[R, K, N]` | as in the forward pass |
/// | `dy` | `[R, N]` | |
/// | `gradient` | `[K]` | at [`Weights::gradient_exponent`] |
/// | `scratch` | [`weights_scratch_len`] | |
/// | `sums` | `[K]` | overwritten: the gradient is handed on when all rows are summed |
///
/// Integers: a row's contribution is rounded to 16 bits.
///
/// # Errors
/// [`Error::Accumulator`] for more than 16,384 rows, and as [`forward`]; `gradient` is then untouched.
pub fn backward_weights<T: Element, P: Element>(
    shape: Shape,
    weights: Weights<'_, T>,
    logits: Logits<'_, T>,
    dy: &[T],
    gradient: &mut Gradient<'_, P, T::Acc>,
    scratch: &mut [T::Number],
    sums: &mut [T::Acc],
) -> Result<()>
where
    T::Acc: Into<P::Update>,
{
    shape.check_slices(weights, logits.x)?;
    crate::dense::limit(shape.rows, Shape::MOST_ROWS)?;
    Arg::Dy.check_len(dy.len(), &[shape.rows, shape.classes])?;
    gradient.check_len(&[shape.components])?;
    Arg::Scratch.check_len(scratch.len(), &[weights_scratch_len(shape)?])?;
    Arg::Scratch.check_len(sums.len(), &[shape.components])?;
    WeightGradient {
        shape,
        weights,
        logits,
        dy,
        gradient,
        scratch,
        sums,
    }
    .run();
    Ok(())
}

impl<T: Element> Forward<'_, T> {
    #[inline(always)]
    pub(super) fn run(self) {
        let Self {
            shape,
            weights,
            logits,
            out,
            scratch,
        } = self;
        let Some((pi, rest)) = scratch.split_at_mut_checked(shape.components) else {
            return;
        };
        let Some((p, sum)) = rest.split_at_mut_checked(shape.classes) else {
            return;
        };
        weights.load(pi);
        let mut components = rows_of(logits.x, shape.classes);
        for out in rows_of_mut(out, shape.classes) {
            sum.fill(T::Number::default());
            for (&pi, x) in pi.iter().zip(&mut components) {
                load(x, p);
                T::Number::softmax(p, cut_exponent(logits), logits.temperature, 0);
                for (sum, p) in sum.iter_mut().zip(&*p) {
                    *sum = *sum + p.times(pi);
                }
            }
            for (out, &sum) in out.iter_mut().zip(&*sum) {
                *out = T::softmax_probability(sum);
            }
        }
    }
}

impl<T: Element> Backward<'_, T> {
    #[inline(always)]
    pub(super) fn run(self) -> u32 {
        let Self {
            shape,
            weights,
            logits,
            dy,
            store,
            dx,
            scratch,
        } = self;
        let mut sink = Sink::new(store);
        let Some((pi, rest)) = scratch.split_at_mut_checked(shape.components) else {
            return 0;
        };
        let Some(p) = rest.get_mut(..shape.classes) else {
            return 0;
        };
        weights.load(pi);
        let mut element = 0u32;
        let components = rows_of(logits.x, shape.classes);
        let mut components = components.zip(rows_of_mut(dx, shape.classes));
        for dy in rows_of(dy, shape.classes) {
            for (&pi, (x, dx)) in pi.iter().zip(&mut components) {
                load(x, p);
                T::Number::softmax(p, cut_exponent(logits), logits.temperature, 0);
                let mean =
                    T::Number::mean(p.iter().copied().zip(dy.iter().map(|&g| g.softmax_error())));
                for ((dx, &g), p) in dx.iter_mut().zip(dy).zip(&*p) {
                    let (weight, difference) = (p.times(pi), g.softmax_error() - mean);
                    let product = T::Number::gradient(weight, difference, logits.temperature);
                    T::softmax_gradient(product, &mut sink, element, dx);
                    element = element.wrapping_add(1);
                }
            }
        }
        sink.bits()
    }
}

impl<T: Element, P: Element> WeightGradient<'_, '_, T, P>
where
    T::Acc: Into<P::Update>,
{
    #[inline(always)]
    pub(super) fn run(self) {
        let Self {
            shape,
            weights,
            logits,
            dy,
            gradient,
            scratch,
            sums,
        } = self;
        let Some((pi, rest)) = scratch.split_at_mut_checked(shape.components) else {
            return;
        };
        let Some((p, means)) = rest.split_at_mut_checked(shape.classes) else {
            return;
        };
        weights.load(pi);
        sums.fill(T::Acc::default());
        let temperature = weights.temperature();
        let mut components = rows_of(logits.x, shape.classes);
        for dy in rows_of(dy, shape.classes) {
            for (mean, x) in means.iter_mut().zip(&mut components) {
                load(x, p);
                T::Number::softmax(p, cut_exponent(logits), logits.temperature, 0);
                *mean =
                    T::Number::mean(p.iter().copied().zip(dy.iter().map(|&g| g.softmax_error())));
            }
            if let Weights::Logits(_) = weights {
                let mean = T::Number::mean(pi.iter().copied().zip(means.iter().copied()));
                for a in &mut *means {
                    *a = *a - mean;
                }
            }
            for ((sum, &a), &pi) in sums.iter_mut().zip(&*means).zip(&*pi) {
                let weight = match weights {
                    Weights::Given(_) => T::Number::ONE,
                    Weights::Logits(_) => pi,
                };
                *sum += T::softmax_sum(T::Number::gradient(weight, a, temperature));
            }
        }
        gradient.take(0, sums);
    }
}
