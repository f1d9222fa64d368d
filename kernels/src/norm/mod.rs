//! Layer normalisation and root-mean-square normalisation over the last axis, and their gradients.
//!
//! ```
//! use selvedge_kernels::{exec::Serial, norm::{self, Affine, Kernels, Kind, Saved, Shape}, requantize::Store};
//!
//! let shape = Shape { rows: 1, features: 4 };
//! let x = [1.0f32, 2.0, 3.0, 4.0];
//! let mut statistics = [Default::default(); 1];
//! norm::statistics(&Serial, shape, Kind::Layer, f32::LAYER_EPSILON, &x, &mut statistics)?;
//! let saved = Saved { kind: Kind::Layer, x: &x, statistics: &statistics };
//! let affine = Affine { gamma: &[1.0; 4], beta: None };
//! let mut y = [0.0; 4];
//! norm::forward(&Serial, shape, saved, affine, Store::EXACT, &mut y)?;
//! assert!((y[3] - 1.5 / 1.25f32.sqrt()).abs() < 1e-5);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! A pass has two parts, so that nothing is allocated and nothing is computed twice: [`statistics`]
//! of each row, which the caller holds, and what is done with them. For the backward pass the
//! caller keeps the input, and the statistics or the memory to compute them again: the same bytes.
//! A residual that is added first is a layer of its own.
//!
//! Source: Ba et al. 2016, "Layer Normalization"; Zhang and Sennrich 2019, "Root Mean Square Layer
//! Normalization"; integers: `docs/numerics.md` §15.

mod float;
mod integer;

use crate::dense::{Bias, limit};
use crate::element::{Blank, Element};
use crate::error::{Arg, Error, Found, Result};
use crate::exec::{self, Executor};
use crate::optim::Gradient;
use crate::requantize::Store;
use core::fmt::Debug;

pub use float::Moments;
pub use integer::Row;
pub(crate) use integer::{Normal, offsets};

/// The extents of a normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows: the product of all axes but the last.
    pub rows: usize,
    /// Features of a row, over which is normalised.
    pub features: usize,
}

impl Shape {
    fn check<T: Element>(self) -> Result<()> {
        Arg::Shape.product(&[self.rows, self.features])?;
        limit(self.features, T::MAX_FEATURES)
    }
}

/// What a row is normalised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// LayerNorm: its mean is subtracted, then it is divided by its standard deviation.
    Layer,
    /// RMSNorm: it is divided by the root of its mean square.
    Rms,
}

/// What is kept of a forward pass: its input, and the statistics of each row.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, T: Element> {
    /// How the statistics were made.
    pub kind: Kind,
    /// `[N, F]`.
    pub x: &'a [T],
    /// `[N]`: what [`statistics`] gave for `x`.
    pub statistics: &'a [T::Row],
}

impl<T: Element> Saved<'_, T> {
    fn check(&self, shape: Shape) -> Result<()> {
        shape.check::<T>()?;
        Arg::X.check_len(self.x.len(), &[shape.rows, shape.features])?;
        Arg::Statistics.check_len(self.statistics.len(), &[shape.rows])
    }
}

/// Gain and bias of each feature or channel.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a, T: Element> {
    /// `[F]`: the gains.
    pub gamma: &'a [T],
    /// `[F]`, or no bias. Its shift is the exponent of `gamma` plus [`Kernels::NORMAL_EXPONENT`],
    /// which is the accumulator's exponent, less its own.
    pub beta: Option<Bias<'a, T>>,
}

impl<T: Element> Affine<'_, T> {
    pub(crate) fn check(&self, features: usize) -> Result<()> {
        Arg::Gamma.check_len(self.gamma.len(), &[features])?;
        match self.beta {
            Some(beta) => Arg::Beta.check_len(beta.values.len(), &[features]),
            None => Ok(()),
        }
    }
}

/// Fills `gamma` with ones and returns their exponent: how gains begin. Residuals begin at 0.
///
/// # Example
/// ```
/// let mut gamma = [0i8; 2];
/// assert_eq!(selvedge_kernels::norm::ones(&mut gamma), -6);
/// assert_eq!(gamma, [64; 2]);
/// ```
pub fn ones<T: Element>(gamma: &mut [T]) -> i16 {
    gamma.fill(T::ONE);
    T::ONE_EXPONENT
}

/// The statistics of each row of `x`: mean and inverse standard deviation, or for integers what
/// stands in for them.
///
/// | argument | shape | |
/// |---|---|---|
/// | `epsilon` | | added to the variance; floats only, `()` for integers, which need none |
/// | `x` | `[N, F]` | |
/// | `out` | `[N]` | overwritten |
///
/// Floats: the variance is the mean of the squared distances to the mean (population variance), in
/// two passes. A row of zero variance with an epsilon of 0 has the inverse 0: it gives beta and
/// passes no gradient, as a constant row of integers does. NaN in a row makes the row NaN.
/// Integers: sums are exact; the root's reciprocal is off by at most 2^-14
/// ([`rsqrt`](crate::fixed::rsqrt)).
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`], [`Error::Overflow`]; [`Error::Accumulator`] for integer rows
/// of more than 65,536 features; [`Error::Value`] if `epsilon` is negative or no number. `out` is
/// then untouched.
///
/// Source: the definition; integers: `docs/numerics.md` §15.
pub fn statistics<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    kind: Kind,
    epsilon: T::Epsilon,
    x: &[T],
    out: &mut [T::Row],
) -> Result<()> {
    shape.check::<T>()?;
    check_epsilon::<T>(epsilon)?;
    Arg::X.check_len(x.len(), &[shape.rows, shape.features])?;
    Arg::Statistics.check_len(out.len(), &[shape.rows])?;
    let features = shape.features;
    exec::rows(exec, out, 1, |first, out| {
        T::norm_statistics(Statistics {
            features,
            kind,
            epsilon,
            x: x.get(first * features..).unwrap_or_default(),
            out,
        });
        0
    });
    Ok(())
}

/// Normalisation, forward: `out[n, f] = store(gamma[f] · x̂[n, f] + beta[f])`, where `x̂` is the
/// row without its mean (RMSNorm: with it), divided by its standard deviation (root mean square).
///
/// | argument | shape | |
/// |---|---|---|
/// | `saved` | `[N, F]`, `[N]` | input and statistics |
/// | `affine` | `[F]`, `[F]` | gains and biases |
/// | `out` | `[N, F]` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest accumulator (0 for floats), whose exponent is
/// that of `gamma` plus [`Kernels::NORMAL_EXPONENT`]: that of the input cancels. Integers: `x̂` in
/// Q12, saturated at 8, off by at most 2^-13 and a relative 2^-14. Floats: a few roundings of the
/// accumulator's type beside those of the two sums. NaN propagates within its row.
///
/// # Errors
/// As [`statistics`], for all arguments; `out` is then untouched.
///
/// Source: as [`statistics`].
pub fn forward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    saved: Saved<'_, T>,
    affine: Affine<'_, T>,
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    let Shape { rows, features } = shape;
    saved.check(shape)?;
    affine.check(features)?;
    Arg::Out.check_len(out.len(), &[rows, features])?;
    Ok(exec::rows(exec, out, features, |first, out| {
        T::norm_forward(Forward {
            features,
            saved: saved.from(first, features),
            affine,
            store,
            first: (first * features) as u32,
            out,
        })
    }))
}

/// Gradient with respect to the input:
/// `dx = store((dx̂ - mean(dx̂) - x̂ · mean(dx̂ ⊙ x̂)) / σ)` of each row, with `dx̂ = dy ⊙ gamma` and
/// without `mean(dx̂)` for RMSNorm.
///
/// | argument | shape |
/// |---|---|
/// | `saved` | `[N, F]`, `[N]` |
/// | `dy` | `[N, F]` |
/// | `gamma` | `[F]` |
/// | `dx` | `[N, F]`, overwritten |
///
/// Returns the bit length of the largest accumulator (0 for floats). Its exponent is that of `dy`
/// plus that of `gamma` less that of `x`, plus [`Kernels::NORM_GRADIENT_EXPONENT`].
///
/// # Errors
/// As [`forward`]; `dx` is then untouched.
///
/// Source: the derivative of [`forward`]: σ and the mean depend on every feature of the row.
pub fn backward_input<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    saved: Saved<'_, T>,
    dy: &[T],
    gamma: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let Shape { rows, features } = shape;
    saved.check(shape)?;
    Arg::Dy.check_len(dy.len(), &[rows, features])?;
    Arg::Gamma.check_len(gamma.len(), &[features])?;
    Arg::Dx.check_len(dx.len(), &[rows, features])?;
    Ok(exec::rows(exec, dx, features, |first, dx| {
        T::norm_backward_input(BackwardInput {
            features,
            saved: saved.from(first, features),
            dy: dy.get(first * features..).unwrap_or_default(),
            gamma,
            store,
            first: (first * features) as u32,
            dx,
        })
    }))
}

/// Gradient with respect to the gains: `dγ[f] = Σ_n dy[n, f] · x̂[n, f]`, handed to `gradient`. That
/// of the biases is [`dense::backward_bias`](crate::dense::backward_bias).
///
/// | argument | shape |
/// |---|---|
/// | `saved` | `[N, F]`, `[N]` |
/// | `dy` | `[N, F]` |
/// | `gradient` | `[F]` |
///
/// Its exponent is that of `dy` plus [`Kernels::NORMAL_EXPONENT`]. Sums have the type of updates,
/// 64 bits for 8-bit elements: 32 would do for 512 rows only. Floats are summed in the order of `n`.
///
/// # Errors
/// As [`forward`], and [`Error::Accumulator`] for more rows than the sums hold; the sink is then
/// untouched.
///
/// Source: the derivative of [`forward`] with respect to `gamma`.
pub fn backward_gamma<T: Element>(
    shape: Shape,
    saved: Saved<'_, T>,
    dy: &[T],
    gradient: &mut Gradient<'_, T, T::Update>,
) -> Result<()> {
    saved.check(shape)?;
    limit(shape.rows, T::MAX_NORM_ROWS)?;
    Arg::Dy.check_len(dy.len(), &[shape.rows, shape.features])?;
    gradient.check_len(&[shape.features])?;
    T::norm_backward_gamma(BackwardGamma {
        features: shape.features,
        saved,
        dy,
        gradient,
    });
    Ok(())
}

pub(crate) fn check_epsilon<T: Element>(epsilon: T::Epsilon) -> Result<()> {
    match T::refused_epsilon(epsilon) {
        None => Ok(()),
        got => Err(Error::Value {
            arg: Arg::Epsilon,
            expected: "a finite number of 0 or more",
            got,
        }),
    }
}

impl<'a, T: Element> Saved<'a, T> {
    /// From row `first` on.
    fn from(self, first: usize, features: usize) -> Self {
        Self {
            kind: self.kind,
            x: self.x.get(first * features..).unwrap_or_default(),
            statistics: self.statistics.get(first..).unwrap_or_default(),
        }
    }
}

/// A checked call of [`statistics`], for some rows.
pub struct Statistics<'a, T: Element> {
    features: usize,
    kind: Kind,
    epsilon: T::Epsilon,
    x: &'a [T],
    out: &'a mut [T::Row],
}

/// A checked call of [`forward`], for some rows.
pub struct Forward<'a, T: Element> {
    features: usize,
    saved: Saved<'a, T>,
    affine: Affine<'a, T>,
    store: Store,
    /// Index of the first element of `out`.
    first: u32,
    out: &'a mut [T],
}

/// A checked call of [`backward_input`], for some rows.
pub struct BackwardInput<'a, T: Element> {
    features: usize,
    saved: Saved<'a, T>,
    dy: &'a [T],
    gamma: &'a [T],
    store: Store,
    first: u32,
    dx: &'a mut [T],
}

/// A checked call of [`backward_gamma`].
pub struct BackwardGamma<'a, 'g, T: Element> {
    features: usize,
    saved: Saved<'a, T>,
    dy: &'a [T],
    gradient: &'a mut Gradient<'g, T, T::Update>,
}

/// The kernels of this family for one element type.
pub trait Kernels: Sized {
    /// What is added to a variance: a float for floats, nothing for integers.
    type Epsilon: Copy + Debug + Send + Sync;
    /// Statistics of a row.
    type Row: Blank + bytemuck::Pod + Debug + Default + PartialEq;
    /// 1e-5, the usual epsilon of LayerNorm and BatchNorm.
    const LAYER_EPSILON: Self::Epsilon;
    /// 1e-6, the usual epsilon of RMSNorm.
    const RMS_EPSILON: Self::Epsilon;
    /// 1, at the exponent [`Kernels::ONE_EXPONENT`].
    const ONE: Self;
    /// `1 - M`; 0 for floats.
    const ONE_EXPONENT: i16;
    /// Exponent of a normalised element: Q12; 0 for floats.
    const NORMAL_EXPONENT: i32;
    /// What the accumulator of the input's gradient adds to the exponents of its factors.
    const NORM_GRADIENT_EXPONENT: i32;
    /// Most features of a row.
    const MAX_FEATURES: usize;
    /// Most rows that a gradient of gains sums.
    const MAX_NORM_ROWS: usize;

    /// An epsilon that is negative or not finite.
    #[doc(hidden)]
    fn refused_epsilon(epsilon: Self::Epsilon) -> Option<Found>;
    #[doc(hidden)]
    fn norm_statistics(call: Statistics<'_, Self>)
    where
        Self: Element;
    #[doc(hidden)]
    fn norm_forward(call: Forward<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn norm_backward_input(call: BackwardInput<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn norm_backward_gamma(call: BackwardGamma<'_, '_, Self>)
    where
        Self: Element;
}
