//! Batch normalisation over all axes but the last: training with the statistics of the batch,
//! inference with running ones, and folding into the layer before.
//!
//! A training pass has three parts: [`statistics`] of each channel, [`forward`] with them, and
//! [`update_running`]. The backward pass has three: [`error_sums`] of each channel, which hold the
//! gradients of gain and bias already ([`backward_gamma`], [`backward_beta`]), and
//! [`backward_input`]. The caller keeps the input and the statistics (or computes them again), and
//! holds the sums. Inference turns the running statistics into one multiplication and one addition
//! a channel ([`transform`], [`infer`]); better still, [`fold`] or [`fold_transposed`] leaves nothing to do.
//!
//! ```
//! use selvedge_kernels::batch_norm::{self, Kernels, Shape};
//! use selvedge_kernels::norm::{Affine, Kernels as _};
//! use selvedge_kernels::{exec::Serial, requantize::Store};
//!
//! // Two images of one pixel and two channels, of which the second is constant.
//! let (shape, x) = (Shape { rows: 2, channels: 2 }, [1.0f32, 5.0, 3.0, 5.0]);
//! let mut statistics = [Default::default(); 2];
//! batch_norm::statistics(&Serial, shape, f32::LAYER_EPSILON, &x, &mut statistics)?;
//! let affine = Affine { gamma: &[1.0, 1.0], beta: None };
//! let mut y = [0.0; 4];
//! batch_norm::forward(&Serial, shape, &x, &statistics, affine, Store::EXACT, &mut y)?;
//! assert!((y[2] - 1.0).abs() < 1e-5 && y[3] == 0.0);
//!
//! let mut running = [f32::RUNNING_START; 2];
//! batch_norm::update_running::<f32>(2, 0, batch_norm::MOMENTUM, &statistics, &mut running)?;
//! assert!((running[0].mean - 0.2).abs() < 1e-4);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! Source: Ioffe and Szegedy 2015, "Batch Normalization"; which variance is biased is PyTorch's
//! choice; integers: `docs/numerics.md` §15.

mod float;
mod integer;

use crate::dense::limit;
use crate::element::{Blank, Element, impl_pod};
use crate::error::{Arg, Error, Found, Result};
use crate::exec::{self, Executor};
use crate::norm::{Affine, check_epsilon};
use crate::optim::Gradient;
use crate::requantize::Store;
use crate::split::{rows_of, rows_of_mut};
use core::fmt::Debug;

pub use float::{Moments, Scaling};
pub use integer::{Channel, Transform};

/// A share of a batch in running statistics of about 0.1, PyTorch's default, in 1/65536.
pub const MOMENTUM: u32 = 6554;

/// The extents of a batch normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows: the product of all axes but the last.
    pub rows: usize,
    /// Channels, each of which is normalised over all rows.
    pub channels: usize,
}

impl Shape {
    fn check<T: Element>(self) -> Result<()> {
        Arg::Shape.product(&[self.rows, self.channels])?;
        limit(self.rows, T::MAX_BATCH_ROWS)
    }
}

/// Running statistics of a channel: `i64` in units of 2^-32 for integers, else floats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Running<S> {
    /// Mean.
    pub mean: S,
    /// Unbiased variance.
    pub variance: S,
}

impl_pod!(Running ErrorSums);

impl<S: Blank> Blank for Running<S> {
    const BLANK: Self = Self {
        mean: S::BLANK,
        variance: S::BLANK,
    };
}

/// Sums over the rows of a channel: the gradients of its bias and of its gain.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct ErrorSums<S> {
    /// `Σ dy`.
    pub dy: S,
    /// `Σ dy · x̂`.
    pub product: S,
}

impl<S: Blank> Blank for ErrorSums<S> {
    const BLANK: Self = Self {
        dy: S::BLANK,
        product: S::BLANK,
    };
}

/// The statistics of each channel of `x` over all rows.
///
/// | argument | shape | |
/// |---|---|---|
/// | `epsilon` | | added to the variance; floats only |
/// | `x` | `[N, C]` | |
/// | `out` | `[C]` | overwritten |
///
/// Floats: mean, then the mean of the squared distances to it (biased variance); sums of 256 rows,
/// then of these. A channel of zero variance with an epsilon of 0 has the inverse 0, as a constant
/// channel of integers. NaN makes its channel NaN. Integers: exact sums of 15 bits; the root's
/// reciprocal is off by at most 2^-14.
///
/// # Errors
/// [`Error::Few`] for a single row, whose variance says nothing; [`Error::Accumulator`] for more
/// than 2^24 rows of integers; [`Error::Value`] for an epsilon that is negative or no number;
/// [`Error::Length`], [`Error::Zero`], [`Error::Overflow`]. `out` is then untouched.
///
/// Source: the definition.
pub fn statistics<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    epsilon: T::Epsilon,
    x: &[T],
    out: &mut [T::Channel],
) -> Result<()> {
    shape.check::<T>()?;
    check_rows(shape.rows)?;
    check_epsilon::<T>(epsilon)?;
    Arg::X.check_len(x.len(), &[shape.rows, shape.channels])?;
    Arg::Statistics.check_len(out.len(), &[shape.channels])?;
    exec::rows(exec, out, 1, |start, out| {
        T::batch_statistics(Statistics {
            shape,
            epsilon,
            x,
            start,
            out,
        });
        0
    });
    Ok(())
}

/// Batch normalisation, forward: `out[n, c] = store(gamma[c] · x̂[n, c] + beta[c])`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, C]` | |
/// | `statistics` | `[C]` | of `x` |
/// | `affine` | `[C]`, `[C]` | gains and biases |
/// | `out` | `[N, C]` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest accumulator (0 for floats), at the exponent of
/// `gamma` plus [`NORMAL_EXPONENT`](crate::norm::Kernels::NORMAL_EXPONENT). Numerics are those of
/// [`norm::forward`](crate::norm::forward).
///
/// # Errors
/// As [`statistics`]; `out` is then untouched.
///
/// Source: the definition.
pub fn forward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    statistics: &[T::Channel],
    affine: Affine<'_, T>,
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    let Shape { rows, channels } = shape;
    shape.check::<T>()?;
    check_rows(rows)?;
    Arg::X.check_len(x.len(), &[rows, channels])?;
    Arg::Statistics.check_len(statistics.len(), &[channels])?;
    affine.check(channels)?;
    Arg::Out.check_len(out.len(), &[rows, channels])?;
    Ok(exec::rows(exec, out, channels, |first, out| {
        T::batch_forward(Forward {
            shape,
            x: x.get(first * channels..).unwrap_or_default(),
            statistics,
            affine,
            store,
            first: (first * channels) as u32,
            out,
        })
    }))
}

/// Takes the statistics of a batch into the running ones:
/// `running += momentum · (batch - running)`, with the unbiased variance.
///
/// | argument | shape | |
/// |---|---|---|
/// | `rows` | | that the statistics are of |
/// | `x_exponent` | | of the input; 0 for floats |
/// | `momentum` | | 0 to 65,536, in 1/65536: [`MOMENTUM`] |
/// | `statistics` | `[C]` | |
/// | `running` | `[C]` | changed; [`Kernels::RUNNING_START`] at first |
///
/// Integers: both statistics in units of 2^-32, off by a relative 2^-31 and half a unit a step, and
/// saturated at 2^30: a standard deviation below 2^-16 is seen as none.
///
/// # Errors
/// [`Error::Value`] for a momentum above 1, [`Error::Few`] for less than two rows,
/// [`Error::Length`]; `running` is then untouched.
///
/// Source: the definition; integers: `docs/numerics.md` §15.
pub fn update_running<T: Element>(
    rows: usize,
    x_exponent: i32,
    momentum: u32,
    statistics: &[T::Channel],
    running: &mut [Running<T::Statistic>],
) -> Result<()> {
    check_rows(rows)?;
    limit(rows, T::MAX_BATCH_ROWS)?;
    if momentum > 1 << 16 {
        return Err(Error::Value {
            arg: Arg::Momentum,
            expected: "0 to 65536, in 1/65536",
            got: Some(Found::Integer(momentum.into())),
        });
    }
    Arg::Running.check_len(running.len(), &[statistics.len()])?;
    for (running, channel) in running.iter_mut().zip(statistics) {
        T::batch_update(rows, x_exponent, momentum, channel, running);
    }
    Ok(())
}

/// The sums that the backward pass needs of each channel: `Σ dy` and `Σ dy · x̂`.
///
/// | argument | shape |
/// |---|---|
/// | `x`, `dy` | `[N, C]` |
/// | `statistics` | `[C]` |
/// | `out` | `[C]`, overwritten |
///
/// Integers: exact, of `dy` cut to 15 bits. Floats: 256 rows at a time.
///
/// # Errors
/// As [`statistics`]; `out` is then untouched.
///
/// Source: the derivative of [`forward`] with respect to its parameters.
pub fn error_sums<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    statistics: &[T::Channel],
    dy: &[T],
    out: &mut [ErrorSums<T::Statistic>],
) -> Result<()> {
    let Shape { rows, channels } = shape;
    shape.check::<T>()?;
    check_rows(rows)?;
    Arg::X.check_len(x.len(), &[rows, channels])?;
    Arg::Statistics.check_len(statistics.len(), &[channels])?;
    Arg::Dy.check_len(dy.len(), &[rows, channels])?;
    Arg::Sums.check_len(out.len(), &[channels])?;
    exec::rows(exec, out, 1, |start, out| {
        T::batch_error_sums(SumErrors {
            shape,
            x,
            statistics,
            dy,
            start,
            out,
        });
        0
    });
    Ok(())
}

/// What came down: the gradient of the output, and its sums.
#[derive(Clone, Copy, Debug)]
pub struct Errors<'a, T: Element> {
    /// `[N, C]`.
    pub dy: &'a [T],
    /// `[C]`: what [`error_sums`] gave.
    pub sums: &'a [ErrorSums<T::Statistic>],
}

/// What was kept: the input and its statistics.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, T: Element> {
    /// `[N, C]`.
    pub x: &'a [T],
    /// `[C]`.
    pub statistics: &'a [T::Channel],
}

/// Gradient with respect to the input, through the statistics of the batch:
/// `dx = store(gamma · (dy - mean(dy) - x̂ · mean(dy · x̂)) / σ)`.
///
/// | argument | shape |
/// |---|---|
/// | `saved` | `[N, C]`, `[C]` |
/// | `errors` | `[N, C]`, `[C]` |
/// | `gamma` | `[C]` |
/// | `dx` | `[N, C]`, overwritten |
///
/// Returns the bit length of the largest accumulator (0 for floats). Its exponent is that of `dy`
/// plus that of `gamma` less that of `x`, plus [`Kernels::BATCH_GRADIENT_EXPONENT`].
///
/// # Errors
/// As [`error_sums`]; `dx` is then untouched.
///
/// Source: the derivative of [`forward`]: mean and σ depend on every row.
pub fn backward_input<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    saved: Saved<'_, T>,
    errors: Errors<'_, T>,
    gamma: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let Shape { rows, channels } = shape;
    shape.check::<T>()?;
    check_rows(rows)?;
    Arg::X.check_len(saved.x.len(), &[rows, channels])?;
    Arg::Statistics.check_len(saved.statistics.len(), &[channels])?;
    Arg::Dy.check_len(errors.dy.len(), &[rows, channels])?;
    Arg::Sums.check_len(errors.sums.len(), &[channels])?;
    Arg::Gamma.check_len(gamma.len(), &[channels])?;
    Arg::Dx.check_len(dx.len(), &[rows, channels])?;
    Ok(exec::rows(exec, dx, channels, |first, dx| {
        T::batch_backward_input(BackwardInput {
            shape,
            saved: Saved {
                x: saved.x.get(first * channels..).unwrap_or_default(),
                ..saved
            },
            errors: Errors {
                dy: errors.dy.get(first * channels..).unwrap_or_default(),
                ..errors
            },
            gamma,
            store,
            first: (first * channels) as u32,
            dx,
        })
    }))
}

/// Hands the gradient of the gains, `[C]`, to `gradient`. Its exponent is that of `dy` plus
/// [`NORMAL_EXPONENT`](crate::norm::Kernels::NORMAL_EXPONENT).
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`]; the sink is then untouched.
pub fn backward_gamma<T: Element>(
    sums: &[ErrorSums<T::Statistic>],
    gradient: &mut Gradient<'_, T, T::Update>,
) -> Result<()> {
    gradient.check_len(&[sums.len()])?;
    for (channel, sums) in sums.iter().enumerate() {
        gradient.take(channel, &[T::batch_gradient(sums.product)]);
    }
    Ok(())
}

/// Hands the gradient of the biases, `[C]`, to `gradient`. Its exponent is that of `dy`.
///
/// # Errors
/// As [`backward_gamma`].
pub fn backward_beta<T: Element>(
    sums: &[ErrorSums<T::Statistic>],
    gradient: &mut Gradient<'_, T::Bias, T::Update>,
) -> Result<()> {
    gradient.check_len(&[sums.len()])?;
    for (channel, sums) in sums.iter().enumerate() {
        gradient.take(channel, &[T::batch_gradient(sums.dy)]);
    }
    Ok(())
}

/// What inference does to each channel, from its running statistics.
///
/// | argument | shape | |
/// |---|---|---|
/// | `epsilon` | | added to the variance; floats only |
/// | `x_exponent` | | of the input; 0 for floats |
/// | `affine` | `[C]`, `[C]` | its bias's shift is the exponent of `gamma` plus [`Kernels::TRANSFORM_EXPONENT`] less its own |
/// | `running` | `[C]` | |
/// | `out` | `[C]` | overwritten |
///
/// Integers: a factor of 31 bits with places, off by at most 2^-14 and 2^-16 (15 bits of `gamma`),
/// and an offset off by half a unit of the accumulator. A channel whose running variance is 0 gives
/// its bias.
///
/// # Errors
/// [`Error::Value`] for a bad epsilon, [`Error::Length`], [`Error::Zero`]; `out` is then untouched.
pub fn transform<T: Element>(
    epsilon: T::Epsilon,
    x_exponent: i32,
    affine: Affine<'_, T>,
    running: &[Running<T::Statistic>],
    out: &mut [T::Transform],
) -> Result<()> {
    check_epsilon::<T>(epsilon)?;
    affine.check(running.len())?;
    Arg::Transform.check_len(out.len(), &[running.len()])?;
    let mut betas = affine.beta.map_or(&[][..], |beta| beta.values).iter();
    let shift = affine.beta.map_or(0, |beta| beta.shift);
    for ((running, &gamma), out) in running.iter().zip(affine.gamma).zip(out) {
        let beta = betas.next().map(|&beta| (beta, shift));
        *out = T::batch_transform(epsilon, x_exponent, gamma, beta, running);
    }
    Ok(())
}

/// Batch normalisation at inference: `out[n, c] = store(transform[c](x[n, c]))`, an affine
/// function of each channel.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, C]` | |
/// | `transform` | `[C]` | what [`transform`] gave |
/// | `out` | `[N, C]` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest accumulator (0 for floats), at the exponent of
/// `gamma` plus [`Kernels::TRANSFORM_EXPONENT`]. Integers: off by one unit of it, and by what the
/// transform is. One row is enough, and there is no limit but that of indices.
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`], [`Error::Overflow`]; `out` is then untouched.
pub fn infer<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    transform: &[T::Transform],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    let Shape { rows, channels } = shape;
    // The limit of rows is that of sums over them: here, each is for itself.
    Arg::Shape.product(&[rows, channels])?;
    Arg::X.check_len(x.len(), &[rows, channels])?;
    Arg::Transform.check_len(transform.len(), &[channels])?;
    Arg::Out.check_len(out.len(), &[rows, channels])?;
    Ok(exec::rows(exec, out, channels, |first, out| {
        T::batch_infer(Infer {
            channels,
            x: x.get(first * channels..).unwrap_or_default(),
            transform,
            store,
            first: (first * channels) as u32,
            out,
        })
    }))
}

/// The exponents of a layer before and after [`fold`]; 0 for floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exponents {
    /// Of the weights.
    pub weight: i32,
    /// Of the biases.
    pub bias: i32,
}

/// What [`fold`] reads beside the layer.
#[derive(Clone, Copy, Debug)]
pub struct Folding<'a, T: Element> {
    /// `[O]`: what [`transform`] gave, for any exponent of the input.
    pub transform: &'a [T::Transform],
    /// That exponent.
    pub x_exponent: i32,
    /// Exponent of `gamma` plus [`Kernels::TRANSFORM_EXPONENT`].
    pub out_exponent: i32,
}

/// Folds a batch normalisation into the dense layer or convolution before it, which must have no
/// activation: `weight[o] *= factor[o]`, `bias[o] = (bias[o] - mean[o]) · factor[o] + beta[o]`.
/// Behind a transposed convolution: [`fold_transposed`].
///
/// | argument | shape | |
/// |---|---|---|
/// | `weight` | `[O, ..]` | changed; a row for each filter |
/// | `bias` | `[O]` | changed |
/// | `exponents` | | of both |
///
/// Returns the new exponents: the smallest at which nothing saturates. Integers: each result is
/// rounded once, to nearest even; a channel much smaller than the largest loses bits. Residuals
/// are not folded: the result is for inference. Floats are computed in the accumulator's type.
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`], [`Error::Overflow`]; nothing is then changed.
///
/// Source: the composition of two affine functions (Jacob et al. 2018, §3.2).
pub fn fold<T: Element>(
    folding: Folding<'_, T>,
    exponents: Exponents,
    weight: &mut [T],
    bias: &mut [T::Bias],
) -> Result<Exponents> {
    // Each filter is a group of its own.
    fold_transposed(folding, folding.transform.len(), exponents, weight, bias)
}

/// [`fold`], for the transposed convolution ([`conv::transpose`](crate::conv::transpose)) before it, whose
/// weights have the channels of the output last: `weight[g, .., k] *= factor[g · O / groups + k]`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `groups` | | of the convolution |
/// | `weight` | `[I, kernel rows, kernel columns, O / groups]` | changed; a group has `I / groups` rows |
/// | `bias` | `[O]` | changed |
/// | `exponents` | | of both |
///
/// # Errors
/// [`Error::Groups`] if the groups do not divide the channels, and as [`fold`]; nothing is then changed.
///
/// # Example
/// ```
/// use selvedge_kernels::batch_norm::{self, Exponents, Folding, Kernels as _, Running};
/// use selvedge_kernels::norm::{Affine, Kernels as _};
///
/// // Deviations of 1/2 and 2 in two channels; one input channel is spread over two cells.
/// let running = [0.25, 4.0].map(|variance| Running { mean: 1.0, variance });
/// let affine = Affine { gamma: &[1.0, 1.0], beta: None };
/// let mut transform = [Default::default(); 2];
/// batch_norm::transform::<f64>(0.0, 0, affine, &running, &mut transform)?;
/// let folding = Folding { transform: &transform, x_exponent: 0, out_exponent: 0 };
/// let (mut weight, mut bias) = ([1.0, 1.0, 3.0, 3.0], [1.0, 2.0]);
/// batch_norm::fold_transposed(folding, 1, Exponents::default(), &mut weight, &mut bias)?;
/// assert_eq!((weight, bias), ([2.0, 0.5, 6.0, 1.5], [0.0, 0.5]));
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn fold_transposed<T: Element>(
    folding: Folding<'_, T>,
    groups: usize,
    exponents: Exponents,
    weight: &mut [T],
    bias: &mut [T::Bias],
) -> Result<Exponents> {
    let outputs = Arg::Transform.product(&[folding.transform.len()])?;
    let inputs = weight.len().checked_div(outputs).unwrap_or(0);
    Arg::Weight.check_len(weight.len(), &[outputs, inputs])?;
    Arg::Bias.check_len(bias.len(), &[outputs])?;
    let per_group = outputs.checked_div(groups).unwrap_or(0);
    if per_group * groups != outputs {
        return Err(Error::Groups {
            channels: outputs,
            filters: outputs,
            groups,
        });
    }
    Ok(T::batch_fold(folding, per_group, exponents, weight, bias))
}

/// A layer's weights with what is folded into each; `[groups, .., per_group]`.
fn grouped<'a, T, C>(
    weight: &'a [T],
    channels: &'a [C],
    per_group: usize,
) -> impl Iterator<Item = (&'a T, &'a C)> {
    let rows = weight.len().checked_div(channels.len()).unwrap_or(0);
    let groups = rows_of(weight, rows * per_group).zip(rows_of(channels, per_group));
    groups.flat_map(move |(group, channels)| {
        rows_of(group, per_group).flat_map(move |row| row.iter().zip(channels))
    })
}

/// The same, to be changed.
fn grouped_mut<'a, T, C>(
    weight: &'a mut [T],
    channels: &'a [C],
    per_group: usize,
) -> impl Iterator<Item = (&'a mut T, &'a C)> {
    let rows = weight.len().checked_div(channels.len()).unwrap_or(0);
    let groups = rows_of_mut(weight, rows * per_group).zip(rows_of(channels, per_group));
    groups.flat_map(move |(group, channels)| {
        rows_of_mut(group, per_group).flat_map(move |row| row.iter_mut().zip(channels))
    })
}

fn check_rows(got: usize) -> Result<()> {
    if got >= 2 {
        Ok(())
    } else {
        Err(Error::Few {
            arg: Arg::X,
            got,
            least: 2,
        })
    }
}

/// A checked call of [`statistics`], for some channels.
pub struct Statistics<'a, T: Element> {
    shape: Shape,
    epsilon: T::Epsilon,
    x: &'a [T],
    /// The first channel.
    start: usize,
    out: &'a mut [T::Channel],
}

/// A checked call of [`forward`], for some rows.
pub struct Forward<'a, T: Element> {
    shape: Shape,
    x: &'a [T],
    statistics: &'a [T::Channel],
    affine: Affine<'a, T>,
    store: Store,
    /// Index of the first element of `out`.
    first: u32,
    out: &'a mut [T],
}

/// A checked call of [`error_sums`], for some channels.
pub struct SumErrors<'a, T: Element> {
    shape: Shape,
    x: &'a [T],
    statistics: &'a [T::Channel],
    dy: &'a [T],
    start: usize,
    out: &'a mut [ErrorSums<T::Statistic>],
}

/// A checked call of [`backward_input`], for some rows.
pub struct BackwardInput<'a, T: Element> {
    shape: Shape,
    saved: Saved<'a, T>,
    errors: Errors<'a, T>,
    gamma: &'a [T],
    store: Store,
    first: u32,
    dx: &'a mut [T],
}

/// A checked call of [`infer`], for some rows.
pub struct Infer<'a, T: Element> {
    channels: usize,
    x: &'a [T],
    transform: &'a [T::Transform],
    store: Store,
    first: u32,
    out: &'a mut [T],
}

/// The kernels of this family for one element type.
pub trait Kernels: Sized {
    /// What statistics are kept in: `i64` for integers, else a float.
    type Statistic: Element + Default;
    /// Statistics of a channel of a batch.
    type Channel: Blank + bytemuck::Pod + Debug + Default + PartialEq;
    /// What inference does to a channel.
    type Transform: Blank + bytemuck::Pod + Debug + Default + PartialEq;
    /// Running statistics before the first batch: mean 0, variance 1.
    const RUNNING_START: Running<Self::Statistic>;
    /// What the accumulator of the input's gradient adds to the exponents of its factors.
    const BATCH_GRADIENT_EXPONENT: i32;
    /// What the accumulator of [`infer`] adds to the exponent of `gamma`.
    const TRANSFORM_EXPONENT: i32;
    /// Most rows of a batch in training, whose statistics are sums over them.
    const MAX_BATCH_ROWS: usize;

    #[doc(hidden)]
    fn batch_statistics(call: Statistics<'_, Self>)
    where
        Self: Element;
    #[doc(hidden)]
    fn batch_forward(call: Forward<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn batch_update(
        rows: usize,
        x_exponent: i32,
        momentum: u32,
        channel: &Self::Channel,
        running: &mut Running<Self::Statistic>,
    );
    #[doc(hidden)]
    fn batch_error_sums(call: SumErrors<'_, Self>)
    where
        Self: Element;
    #[doc(hidden)]
    fn batch_backward_input(call: BackwardInput<'_, Self>) -> u32
    where
        Self: Element;
    /// A sum as an update takes it, at the exponents that uncut elements would give it.
    #[doc(hidden)]
    fn batch_gradient(sum: Self::Statistic) -> Self::Update
    where
        Self: Element;
    #[doc(hidden)]
    fn batch_transform(
        epsilon: Self::Epsilon,
        x_exponent: i32,
        gamma: Self,
        beta: Option<(Self::Bias, i32)>,
        running: &Running<Self::Statistic>,
    ) -> Self::Transform
    where
        Self: Element;
    #[doc(hidden)]
    fn batch_infer(call: Infer<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn batch_fold(
        folding: Folding<'_, Self>,
        per_group: usize,
        exponents: Exponents,
        weight: &mut [Self],
        bias: &mut [Self::Bias],
    ) -> Exponents
    where
        Self: Element;
}
