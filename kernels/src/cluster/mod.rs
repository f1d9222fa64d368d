//! A layer of k-means: soft assignment of rows to centres by their distance, and its gradients.
//!
//! `p[n, k] = softmax_k(-distance(x[n], c[k])² / 2τ²)`; the output is `p` itself or the mean of the
//! centres `Σ_k p[n, k] · c[k]`. [`members`] computes distances and shares, which the caller keeps;
//! [`forward`] makes the output of them. Backward, [`scores`] are the gradient of the logits over
//! τ², from which [`backward_input`] and [`backward_centres`] follow. None of them changes anything
//! but its output: centres learn by the optimiser, as every parameter.
//!
//! ```
//! use selvedge_kernels::cluster::{self, Clusters, Metric, Mode, Shape, Temperature};
//! use selvedge_kernels::{exec::Serial, requantize::Store};
//!
//! let shape = Shape { rows: 2, features: 1, clusters: 2 };
//! let clusters = Clusters {
//!     metric: Metric::Euclidean,
//!     temperature: Temperature::ONE,
//!     centres: &[-5.0f32, 5.0],
//!     exponent: 0,
//!     x_exponent: 0,
//! };
//! let mut members = [Default::default(); 4];
//! cluster::members(&Serial, shape, clusters, &[-4.0, 6.0], &mut members)?;
//! let mut p = [0.0; 4];
//! cluster::forward(&Serial, shape, clusters, Mode::Probabilities, &members, Store::EXACT, &mut p)?;
//! assert!(p[0] > 0.99 && p[3] > 0.99);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! Source: soft k-means (MacKay 2003, §22.2); the metrics and modes are Loom's, with its metric
//! heeded and without its second update; integers: `docs/numerics.md` §16.

mod float;
mod integer;

use crate::dense::limit;
use crate::element::{Blank, Element, impl_pod};
use crate::error::{Arg, Error, Found, Result};
use crate::exec::{self, Executor};
use crate::optim::Gradient;
use crate::requantize::Store;
use core::fmt::Debug;

/// The extents of a layer of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the input, `N`.
    pub rows: usize,
    /// Features of a row and of a centre, `D`.
    pub features: usize,
    /// Centres, `K`.
    pub clusters: usize,
}

impl Shape {
    fn check<T: Element>(self) -> Result<()> {
        for tensor in [
            [self.rows, self.features],
            [self.clusters, self.features],
            [self.rows, self.clusters],
        ] {
            Arg::Shape.product(&tensor)?;
        }
        if T::DTYPE.is_integer() {
            limit(self.features.max(self.clusters), MAX_EXTENT)?;
            limit(self.rows, MAX_ROWS)?;
        }
        Ok(())
    }

    fn outputs(self, mode: Mode) -> usize {
        match mode {
            Mode::Probabilities => self.clusters,
            Mode::Features => self.features,
        }
    }
}

/// Most features or clusters of integers: a sum of 2^14 terms of 46 bits fits 62.
const MAX_EXTENT: usize = 1 << 14;
/// Most rows of integers: the gradient of a centre sums terms of 46 bits, which are then multiplied by
/// 17 after 15 are dropped.
const MAX_ROWS: usize = 1 << 15;

/// How far apart two vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// `√Σ (u - c)²`.
    Euclidean,
    /// `Σ |u - c|`.
    Manhattan,
    /// `1 - ⟨u, c⟩ / |u||c|`; 1 where a vector is zero.
    Cosine,
}

/// What the layer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `[N, K]`: the share of each cluster.
    Probabilities,
    /// `[N, D]`: the mean of the centres, by shares.
    Features,
}

/// A temperature `mantissa · 2^exponent`: the same number in integers and floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temperature {
    /// 1 to 255.
    pub mantissa: u8,
    /// Power of two.
    pub exponent: i16,
}

impl Temperature {
    /// 1, the default.
    pub const ONE: Self = Self {
        mantissa: 1,
        exponent: 0,
    };

    /// The temperature nearest to `tau`: off by at most a relative 2^-8.
    ///
    /// # Errors
    /// [`Error::Value`] unless `tau` is positive and finite.
    pub fn from_f64(tau: f64) -> Result<Self> {
        if !(tau > 0.0 && tau < f64::INFINITY) {
            return Err(Error::Value {
                arg: Arg::Temperature,
                expected: "a positive, finite number",
                got: Some(Found::real(tau)),
            });
        }
        let (fraction, exponent) = libm::frexp(tau); // fraction in [1/2, 1)
        let mantissa = libm::rint(fraction * 256.0);
        Ok(if mantissa > 255.0 {
            Self {
                mantissa: 128,
                exponent: exponent as i16 - 7,
            }
        } else {
            Self {
                mantissa: mantissa as u8,
                exponent: exponent as i16 - 8,
            }
        })
    }

    fn check(self) -> Result<()> {
        if self.mantissa == 0 {
            return Err(Error::Value {
                arg: Arg::Temperature,
                expected: "a positive, finite number",
                got: Some(Found::Integer(0)),
            });
        }
        Ok(())
    }
}

/// The centres, and how rows are compared with them.
#[derive(Clone, Copy, Debug)]
pub struct Clusters<'a, T: Element> {
    /// Which distance.
    pub metric: Metric,
    /// How soft the assignment is.
    pub temperature: Temperature,
    /// `[K, D]`.
    pub centres: &'a [T],
    /// Exponent of the centres; 0 for floats.
    pub exponent: i32,
    /// Exponent of the input; 0 for floats.
    pub x_exponent: i32,
}

impl<T: Element> Clusters<'_, T> {
    /// Places that elements lose to have 15 bits.
    const CUT: i32 = if T::MAGNITUDE_BITS > 15 {
        T::MAGNITUDE_BITS as i32 - 15
    } else {
        0
    };
    /// Magnitude bits that are left.
    const BITS: i32 = T::MAGNITUDE_BITS as i32 - Self::CUT;

    fn check(&self, shape: Shape) -> Result<()> {
        shape.check::<T>()?;
        self.temperature.check()?;
        Arg::Centres.check_len(self.centres.len(), &[shape.clusters, shape.features])
    }

    /// The exponent at which differences are taken: both sides then have at most 15 bits, and lose
    /// none if they can.
    fn common(&self) -> i32 {
        let (x, c) = (self.x_exponent + Self::CUT, self.exponent + Self::CUT);
        x.min(c).max(x.max(c) + Self::BITS - 15)
    }

    /// Exponent of the accumulators of [`forward`]; 0 for floats.
    #[must_use]
    pub fn output_exponent(&self, mode: Mode) -> i32 {
        if !T::DTYPE.is_integer() {
            return 0;
        }
        match mode {
            Mode::Probabilities => -15,
            Mode::Features => self.exponent + Self::CUT - 15,
        }
    }

    /// Exponent of the accumulators of [`scores`], for an output gradient of exponent `dy`; 0 for
    /// floats.
    #[must_use]
    pub fn score_exponent(&self, shape: Shape, mode: Mode, dy: i32) -> i32 {
        if !T::DTYPE.is_integer() {
            return 0;
        }
        let gradient = match mode {
            Mode::Probabilities => dy + Self::CUT,
            Mode::Features => dy + self.exponent + 2 * Self::CUT,
        };
        let (_, places) = self.temperature.inverse_square();
        let twice = 2 * i32::from(self.temperature.exponent);
        gradient - 15 + Self::score_cut(shape, mode) - places - twice
    }

    /// Places that a product of a share and a gradient loses to have 46 bits.
    fn score_cut(shape: Shape, mode: Mode) -> i32 {
        let features = usize::BITS - shape.features.leading_zeros();
        let bits = match mode {
            Mode::Probabilities => Self::BITS + 1,
            Mode::Features => 2 * Self::BITS + 1 + features as i32,
        };
        (bits + 16 - 46).max(0)
    }

    /// Exponent of the accumulators of [`backward_input`], for scores of exponent `score`; 0 for
    /// floats.
    #[must_use]
    pub fn input_exponent(&self, score: i32) -> i32 {
        match self.metric {
            _ if !T::DTYPE.is_integer() => 0,
            Metric::Euclidean | Metric::Manhattan => score + self.common(),
            Metric::Cosine => score - (self.x_exponent + Self::CUT) - 30,
        }
    }

    /// Exponent of the gradient of the centres, for scores of exponent `score` and an output
    /// gradient of exponent `dy`; 0 for floats.
    #[must_use]
    pub fn gradient_exponent(&self, mode: Mode, score: i32, dy: i32) -> i32 {
        let (way, direct) = (self.way_exponent(score), dy + Self::CUT - 15);
        match mode {
            _ if !T::DTYPE.is_integer() => 0,
            Mode::Probabilities => way,
            Mode::Features => way.min(direct).max(way.max(direct) - 15),
        }
    }

    /// Exponent of the centres' gradient by way of the shares.
    fn way_exponent(&self, score: i32) -> i32 {
        match self.metric {
            Metric::Euclidean | Metric::Manhattan => score + self.common(),
            Metric::Cosine => score - (self.exponent + Self::CUT) - 30,
        }
    }
}

/// The distance of a row to a centre, and the centre's share of the row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Member<R> {
    /// Squared for the Euclidean metric. Integers: of aligned elements, cosine in Q15.
    pub distance: R,
    /// Integers: Q15, at most 2^15.
    pub share: R,
}

impl_pod!(Member);

impl<R: Blank> Blank for Member<R> {
    const BLANK: Self = Self {
        distance: R::BLANK,
        share: R::BLANK,
    };
}

/// The distance of each row to each centre, and the softmax of `-distance² / 2τ²`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, D]` | |
/// | `out` | `[N, K]` | overwritten |
///
/// Integers: elements cut to 15 bits and brought to one exponent, exact distances (cosine: within
/// 2^-13 + 2^-14), `2^-t` by table and one division a row; a share `p` is off by at most `(2 + K·p) · 2^-15`
/// beside what the distances are. Floats: in the accumulator's type, the smallest distance subtracted first. A row
/// with NaN gives NaN.
///
/// # Errors
/// [`Error::Value`] for a temperature of 0; [`Error::Length`], [`Error::Zero`], [`Error::Overflow`];
/// [`Error::Accumulator`] for more than 2^14 features or clusters or 2^15 rows of integers. `out`
/// is then untouched.
///
/// Source: the module's words; integers: `docs/numerics.md` §16.
pub fn members<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    clusters: Clusters<'_, T>,
    x: &[T],
    out: &mut [T::Member],
) -> Result<()> {
    clusters.check(shape)?;
    Arg::X.check_len(x.len(), &[shape.rows, shape.features])?;
    Arg::Shares.check_len(out.len(), &[shape.rows, shape.clusters])?;
    exec::rows(exec, out, shape.clusters, |first, out| {
        T::cluster_members(Members {
            shape,
            clusters,
            x: x.get(first * shape.features..).unwrap_or_default(),
            out,
        });
        0
    });
    Ok(())
}

/// The layer's output: shares, or means of centres.
///
/// | argument | shape | |
/// |---|---|---|
/// | `members` | `[N, K]` | |
/// | `out` | `[N, K]` or `[N, D]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Returns the bit length of the largest accumulator (0 for floats), at
/// [`Clusters::output_exponent`].
///
/// # Errors
/// As [`members`]; `out` is then untouched.
pub fn forward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    clusters: Clusters<'_, T>,
    mode: Mode,
    members: &[T::Member],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    let outputs = shape.outputs(mode);
    clusters.check(shape)?;
    Arg::Shares.check_len(members.len(), &[shape.rows, shape.clusters])?;
    Arg::Out.check_len(out.len(), &[shape.rows, outputs])?;
    Ok(exec::rows(exec, out, outputs, |first, out| {
        T::cluster_forward(Forward {
            shape,
            clusters,
            mode,
            members: members.get(first * shape.clusters..).unwrap_or_default(),
            store,
            first: (first * outputs) as u32,
            out,
        })
    }))
}

/// What came down, and by which way.
#[derive(Clone, Copy, Debug)]
pub struct Errors<'a, T: Element> {
    /// What the layer gave.
    pub mode: Mode,
    /// `[N, K]` or `[N, D]`: gradient of the output.
    pub dy: &'a [T],
    /// `[N, K]`: what [`members`] gave.
    pub members: &'a [T::Member],
}

impl<T: Element> Errors<'_, T> {
    fn check(&self, shape: Shape) -> Result<()> {
        Arg::Dy.check_len(self.dy.len(), &[shape.rows, shape.outputs(self.mode)])?;
        Arg::Shares.check_len(self.members.len(), &[shape.rows, shape.clusters])
    }
}

/// Gradient of the logits over τ²: `p_k · (g_k - Σ_i p_i g_i) / τ²`, where `g` is `dy` for
/// probabilities and `⟨dy, c_k⟩` for features.
///
/// | argument | shape | |
/// |---|---|---|
/// | `errors` | | |
/// | `out` | `[N, K]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Returns the bit length of the largest accumulator (0 for floats), at
/// [`Clusters::score_exponent`]. Integers are stored in 15 bits, with an exponent state of their own
/// and to nearest even, as the scores of attention.
///
/// # Errors
/// As [`members`]; `out` is then untouched.
///
/// Source: the derivative of softmax, `∂p_i/∂z_k = p_i (δ_ik - p_k)`.
pub fn scores<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    clusters: Clusters<'_, T>,
    errors: Errors<'_, T>,
    store: Store,
    out: &mut [T::Score],
) -> Result<u32> {
    clusters.check(shape)?;
    errors.check(shape)?;
    Arg::Scores.check_len(out.len(), &[shape.rows, shape.clusters])?;
    let outputs = shape.outputs(errors.mode);
    Ok(exec::rows(exec, out, shape.clusters, |first, out| {
        T::cluster_scores(Scores {
            shape,
            clusters,
            errors: Errors {
                dy: errors.dy.get(first * outputs..).unwrap_or_default(),
                members: errors
                    .members
                    .get(first * shape.clusters..)
                    .unwrap_or_default(),
                ..errors
            },
            store,
            first: (first * shape.clusters) as u32,
            out,
        })
    }))
}

/// What leads from scores to gradients.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, T: Element> {
    /// `[N, D]`: the input.
    pub x: &'a [T],
    /// `[N, K]`: what [`members`] gave.
    pub members: &'a [T::Member],
    /// `[N, K]`: what [`scores`] gave.
    pub scores: &'a [T::Score],
}

impl<T: Element> Saved<'_, T> {
    fn check(&self, shape: Shape) -> Result<()> {
        Arg::X.check_len(self.x.len(), &[shape.rows, shape.features])?;
        Arg::Shares.check_len(self.members.len(), &[shape.rows, shape.clusters])?;
        Arg::Scores.check_len(self.scores.len(), &[shape.rows, shape.clusters])
    }
}

/// Gradient with respect to the input: `dx = store(-Σ_k score_k · ½ ∂distance_k²/∂x)`.
///
/// | argument | shape |
/// |---|---|
/// | `saved` | |
/// | `dx` | `[N, D]`, overwritten |
///
/// Returns the bit length of the largest accumulator (0 for floats), at
/// [`Clusters::input_exponent`]. Where features are equal, the Manhattan distance has the slope 0.
///
/// # Errors
/// As [`members`]; `dx` is then untouched.
pub fn backward_input<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    clusters: Clusters<'_, T>,
    saved: Saved<'_, T>,
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    clusters.check(shape)?;
    saved.check(shape)?;
    Arg::Dx.check_len(dx.len(), &[shape.rows, shape.features])?;
    Ok(exec::rows(exec, dx, shape.features, |first, dx| {
        T::cluster_backward_input(BackwardInput {
            shape,
            clusters,
            saved: Saved {
                x: saved.x.get(first * shape.features..).unwrap_or_default(),
                members: saved
                    .members
                    .get(first * shape.clusters..)
                    .unwrap_or_default(),
                scores: saved
                    .scores
                    .get(first * shape.clusters..)
                    .unwrap_or_default(),
            },
            store,
            first: (first * shape.features) as u32,
            dx,
        })
    }))
}

/// Gradient with respect to the centres, handed to `gradient`:
/// `dc_k = -Σ_n score_nk · ½ ∂distance_nk²/∂c_k`, and for features `Σ_n p_nk · dy_n` beside it.
///
/// | argument | shape | |
/// |---|---|---|
/// | `saved` | | |
/// | `scores`, `dy` | | exponents of both; 0 for floats |
/// | `gradient` | `[K, D]` | |
///
/// Its exponent is [`Clusters::gradient_exponent`]. Floats are summed in the order of `n`.
///
/// # Errors
/// As [`members`]; the sink is then untouched.
pub fn backward_centres<T: Element>(
    shape: Shape,
    clusters: Clusters<'_, T>,
    saved: Saved<'_, T>,
    errors: Errors<'_, T>,
    [score_exponent, dy_exponent]: [i32; 2],
    gradient: &mut Gradient<'_, T, T::Update>,
) -> Result<()> {
    clusters.check(shape)?;
    saved.check(shape)?;
    errors.check(shape)?;
    gradient.check_len(&[shape.clusters, shape.features])?;
    T::cluster_backward_centres(BackwardCentres {
        shape,
        clusters,
        saved,
        errors,
        score_exponent,
        dy_exponent,
        gradient,
    });
    Ok(())
}

/// A checked call of [`members`], for some rows.
pub struct Members<'a, T: Element> {
    shape: Shape,
    clusters: Clusters<'a, T>,
    x: &'a [T],
    out: &'a mut [T::Member],
}

/// A checked call of [`forward`], for some rows.
pub struct Forward<'a, T: Element> {
    shape: Shape,
    clusters: Clusters<'a, T>,
    mode: Mode,
    members: &'a [T::Member],
    store: Store,
    /// Index of the first element of `out`.
    first: u32,
    out: &'a mut [T],
}

/// A checked call of [`scores`], for some rows.
pub struct Scores<'a, T: Element> {
    shape: Shape,
    clusters: Clusters<'a, T>,
    errors: Errors<'a, T>,
    store: Store,
    first: u32,
    out: &'a mut [T::Score],
}

/// A checked call of [`backward_input`], for some rows.
pub struct BackwardInput<'a, T: Element> {
    shape: Shape,
    clusters: Clusters<'a, T>,
    saved: Saved<'a, T>,
    store: Store,
    first: u32,
    dx: &'a mut [T],
}

/// A checked call of [`backward_centres`].
pub struct BackwardCentres<'a, 'g, T: Element> {
    shape: Shape,
    clusters: Clusters<'a, T>,
    saved: Saved<'a, T>,
    errors: Errors<'a, T>,
    score_exponent: i32,
    dy_exponent: i32,
    gradient: &'a mut Gradient<'g, T, T::Update>,
}

/// The kernels of this family for one element type.
pub trait Kernels: Sized {
    /// A distance and a share.
    type Member: Blank + bytemuck::Pod + Debug + Default + PartialEq;
    /// A score: `i16` for integers, else a float.
    type Score: Blank + bytemuck::Pod + Debug + Default + PartialEq;

    #[doc(hidden)]
    fn cluster_members(call: Members<'_, Self>)
    where
        Self: Element;
    #[doc(hidden)]
    fn cluster_forward(call: Forward<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn cluster_scores(call: Scores<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn cluster_backward_input(call: BackwardInput<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn cluster_backward_centres(call: BackwardCentres<'_, '_, Self>)
    where
        Self: Element;
}
