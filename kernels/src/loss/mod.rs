//! Losses: what a network's last output is held against, and the gradient that training starts from.
//!
//! | loss | where |
//! |---|---|
//! | cross-entropy of labels, squared error | [`cross_entropy`], [`squared_error`] |
//! | cross-entropy of labels or distributions, with smoothing and weights | [`soft_cross_entropy`] |
//! | squared, absolute, Huber, with weights | [`regression`] |
//! | binary cross-entropy on logits, with weights | [`binary_cross_entropy`] |
//!
//! All are sums over samples and features, squared errors halved, so that the gradient of `½(z - y)²`
//! is `z - y`. A mean over `n` terms is the sum over `n`, and what others call MSE twice that: either
//! factor belongs to the learning rate. The integers: `docs/numerics.md` §6 and §19.

mod binary;
mod classes;
mod regression;

pub use binary::binary_cross_entropy;
pub use classes::{Classes, Smoothing, Targets, soft_cross_entropy};
pub use regression::{Delta, Distance, regression};

use crate::element::{Element, Output};
use crate::error::{Arg, Error, Result};
use crate::fixed::{Accumulator, Magnitude, Rounding, pow2, sat_i64, shift_rne_i64};
use crate::lut::{EXP2_MAX, LOG2_E_Q14, cross_entropy as cross_entropy_q16, exp2_neg};
use crate::requantize::Store;
use crate::split::{rows_of, rows_of_mut};
use core::ops::{AddAssign, Neg};
use half::{bf16, f16};

/// A sum of losses, for display: fixed point for integers, so that their training links no float.
pub trait Sum:
    Copy + Default + AddAssign + Neg<Output = Self> + core::fmt::Debug + Send + Sync + 'static
{
    /// The sum as a float. In nats for cross-entropy.
    fn to_f64(self) -> f64;
}

/// Q16.
impl Sum for i64 {
    fn to_f64(self) -> f64 {
        self as f64 / 65_536.0
    }
}

impl Sum for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Sum for f64 {
    fn to_f64(self) -> f64 {
        self
    }
}

/// What a loss returns beside the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome<S> {
    /// Bit length of the largest gradient before it was stored; 0 for floats.
    pub range: u32,
    /// Sum over all rows.
    pub loss: S,
}

/// A weight for each sample, at one exponent; of any sign and sum.
#[derive(Clone, Copy, Debug)]
pub struct SampleWeights<'a, H> {
    /// The elements.
    pub values: &'a [H],
    /// Their exponent; floats have none.
    pub exponent: i32,
}

/// Outputs of a network beside what they should be: `N` samples of `features` elements.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a, H> {
    /// The head's output: `[N, features]`.
    pub outputs: &'a [H],
    /// Its exponent.
    pub exponent: i32,
    /// What it should be: the same shape.
    pub target: &'a [H],
    /// The target's exponent.
    pub target_exponent: i32,
    /// Elements of a sample.
    pub features: usize,
    /// A weight for each sample: `[N]`.
    pub weights: Option<SampleWeights<'a, H>>,
}

impl<'a, H: Element> Samples<'a, H> {
    fn check(&self, dy: usize) -> Result<()> {
        Arg::Shape.product(&[self.features])?;
        let samples = self.outputs.len().checked_div(self.features).unwrap_or(0);
        Arg::X.check_len(self.outputs.len(), &[samples, self.features])?;
        Arg::Target.check_len(self.target.len(), &[self.outputs.len()])?;
        Arg::Dy.check_len(dy, &[self.outputs.len()])?;
        check_weights(self.weights, samples)
    }

    /// Each sample's outputs, targets and weight.
    fn rows(&self) -> impl Iterator<Item = ((&'a [H], &'a [H]), Option<H>)> + use<'a, H> {
        rows_of(self.outputs, self.features)
            .zip(rows_of(self.target, self.features))
            .zip(each(self.weights))
    }
}

fn check_weights<H>(weights: Option<SampleWeights<'_, H>>, samples: usize) -> Result<()> {
    match weights {
        Some(weights) => Arg::SampleWeights.check_len(weights.values.len(), &[samples]),
        None => Ok(()),
    }
}

/// The weights one by one, or `None` for ever.
fn each<H: Copy>(weights: Option<SampleWeights<'_, H>>) -> impl Iterator<Item = Option<H>> {
    let mut values = weights.map(|weights| weights.values.iter());
    core::iter::from_fn(move || match &mut values {
        Some(values) => values.next().map(|&w| Some(w)),
        None => Some(None),
    })
}

/// `loss + value`, the value times a weight in 15 bits at `exponent`; saturating, for display.
fn add_weighted(loss: i64, value: i64, weight: Option<i64>, exponent: i32) -> i64 {
    let value = match weight {
        None => value,
        Some(weight) => shift_rne_i64(sat_i64(value, 46) * weight, exponent.saturating_neg()),
    };
    loss.saturating_add(value)
}

fn check_labels(labels: &[u16], classes: usize) -> Result<()> {
    for (row, &label) in labels.iter().enumerate() {
        if usize::from(label) >= classes {
            return Err(Error::Label {
                row,
                label: usize::from(label),
                classes,
            });
        }
    }
    Ok(())
}

/// By how much weights move the exponent of a gradient's accumulators.
fn weights_exponent<H: Element>(weights: Option<SampleWeights<'_, H>>) -> i32 {
    weights.map_or(0, |weights| weights.exponent + H::ZERO.logit().1)
}

/// Softmax cross-entropy over rows of `classes` logits, and its gradient
/// `dy[n, c] = softmax(logits[n])[c] - (c == labels[n])`, at exponent [`Element::LOSS_EXPONENT`]
/// before `store` is applied. The mean over the batch belongs to the learning rate.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits` | `[N, C]` | the head's output, at `exponent` |
/// | `labels` | `[N]` | 0 to C - 1 |
/// | `dy` | `[N, C]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Integers: `2^x` by table and one division per class, Q15; a probability `p` is off by at most
/// `(2 + C·p) · 2^-15`, as the numerators of many unlikely classes are each rounded down. Floats: in the accumulator's type, with the largest logit subtracted (which cancels in
/// the quotient and keeps `exp` in range). A row with NaN gives NaN.
///
/// # Errors
/// [`Error::Label`] for a label beyond the classes, [`Error::Length`], [`Error::Zero`],
/// [`Error::Accumulator`] for more than 32,767 classes. `dy` is then untouched.
///
/// Source: `docs/numerics.md` §6.
pub fn cross_entropy<T: Element>(
    classes: usize,
    logits: &[T::Head],
    exponent: i32,
    labels: &[u16],
    store: Store,
    dy: &mut [T],
) -> Result<Outcome<T::LossSum>> {
    Arg::X.check_len(logits.len(), &[labels.len(), classes])?;
    Arg::Dy.check_len(dy.len(), &[labels.len(), classes])?;
    crate::softmax::Shape::limit::<T>(classes)?;
    check_labels(labels, classes)?;
    Ok(T::cross_entropy(CrossEntropy {
        classes,
        logits,
        exponent,
        labels,
        store,
        dy,
    }))
}

/// Squared error `½ Σ (outputs - target)²`, and its gradient `dy = outputs - target`, at the
/// exponent of the outputs plus that of [`Kernels::MSE_EXPONENT`] before `store` is applied.
///
/// | argument | shape | |
/// |---|---|---|
/// | `outputs` | any | the head's output, at `exponent` |
/// | `target` | the same | at `target_exponent` |
/// | `dy` | the same | overwritten, or untouched by [`Store::Measure`] |
///
/// Integers round the target to the exponent of the outputs, to nearest even. NaN propagates.
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`]; `dy` is then untouched.
///
/// Source: `docs/numerics.md` §6.
pub fn squared_error<T: Element>(
    outputs: &[T::Head],
    exponent: i32,
    target: &[T::Head],
    target_exponent: i32,
    store: Store,
    dy: &mut [T],
) -> Result<Outcome<T::LossSum>> {
    Arg::Target.check_len(target.len(), &[outputs.len()])?;
    Arg::Dy.check_len(dy.len(), &[outputs.len()])?;
    Ok(T::squared_error(SquaredError {
        outputs,
        exponent,
        target,
        target_exponent,
        store,
        dy,
    }))
}

/// A checked call of [`cross_entropy`].
pub struct CrossEntropy<'a, T: Element> {
    classes: usize,
    logits: &'a [T::Head],
    exponent: i32,
    labels: &'a [u16],
    store: Store,
    dy: &'a mut [T],
}

/// A checked call of [`squared_error`].
pub struct SquaredError<'a, T: Element> {
    outputs: &'a [T::Head],
    exponent: i32,
    target: &'a [T::Head],
    target_exponent: i32,
    store: Store,
    dy: &'a mut [T],
}

/// The kernels of this family for one element type.
pub trait Kernels: Sized + classes::Kernels + regression::Kernels + binary::Kernels {
    /// What losses are summed in.
    type LossSum: Sum + bytemuck::Pod;
    /// What the squared error's gradient adds to the outputs' exponent: the loss scale of `f16`.
    const MSE_EXPONENT: i32;
    #[doc(hidden)]
    fn cross_entropy(call: CrossEntropy<'_, Self>) -> Outcome<Self::LossSum>
    where
        Self: Element;
    #[doc(hidden)]
    fn squared_error(call: SquaredError<'_, Self>) -> Outcome<Self::LossSum>
    where
        Self: Element;
}

/// The integer softmax of one row: `2^-t` of each class, addressed by its logit.
#[derive(Clone, Copy)]
struct Row {
    largest: i32,
    /// Places from the logits' exponent, times `log2(e)` in Q14, to Q16.
    places: i32,
}

impl Row {
    /// `t` in Q16 of a logit: its distance to the largest, in octaves. At most 31.
    #[inline(always)]
    fn octaves(self, logit: i32) -> u32 {
        let t = ((self.largest - logit) * LOG2_E_Q14) as u32; // 65,534 · 23,637 < 2^31
        if self.places >= 0 {
            let places = self.places.min(21);
            if t > EXP2_MAX >> places {
                EXP2_MAX
            } else {
                t << places
            }
        } else {
            t >> self.places.unsigned_abs().min(31)
        }
    }
}

macro_rules! impl_integer {
    ($($t:ident: acc $acc:ident, difference $wide:ident;)*) => {$(
        impl Kernels for $t {
            type LossSum = i64;
            const MSE_EXPONENT: i32 = 0;

            fn cross_entropy(call: CrossEntropy<'_, Self>) -> Outcome<i64> {
                let CrossEntropy { classes, logits, exponent, labels, store, dy } = call;
                let mut range = <$acc as Accumulator>::Magnitude::default();
                let (mut loss, mut element) = (0, 0u32);
                let rows = rows_of(logits, classes).zip(rows_of_mut(dy, classes));
                for ((logits, dy), &label) in rows.zip(labels) {
                    let largest = logits.iter().map(|z| z.logit().0).max().unwrap_or(0);
                    let dropped = logits.first().map_or(0, |z| z.logit().1);
                    let row = Row { largest, places: exponent + dropped + 2 };
                    let total: u32 = logits.iter().map(|z| exp2_neg(row.octaves(z.logit().0))).sum();
                    for ((class, z), dy) in logits.iter().enumerate().zip(dy) {
                        let t = row.octaves(z.logit().0);
                        let numerator = exp2_neg(t) << 15; // at most 2^31
                        let p = (numerator + (total >> 1)).checked_div(total).unwrap_or(0) as $acc;
                        let is_label = class == usize::from(label);
                        let gradient = if is_label { p - (1 << 15) } else { p };
                        if is_label {
                            loss += cross_entropy_q16(total, t);
                        }
                        store.one::<$t, $t>(gradient, element, &mut range, dy);
                        element = element.wrapping_add(1);
                    }
                }
                Outcome { range: range.bits(), loss }
            }

            fn squared_error(call: SquaredError<'_, Self>) -> Outcome<i64> {
                let SquaredError { outputs, exponent, target, target_exponent, store, dy } = call;
                let mut range = <$wide as Accumulator>::Magnitude::default();
                let mut loss = 0i64;
                let pairs = outputs.iter().zip(target).zip(dy).zip(0u32..);
                for (((z, y), dy), element) in pairs {
                    let y = $wide::from(y.widen()).shift(exponent.saturating_sub(target_exponent), Rounding::NearestEven, 0);
                    let gradient = $wide::from(z.widen()) - y;
                    // ½ (gradient · 2^exponent)² in Q16, for display.
                    let square = gradient.saturating_mul(gradient).shift(-(2 * exponent + 15), Rounding::NearestEven, 0);
                    loss = loss.saturating_add(square.saturate(62) as i64);
                    range = range.or(gradient.magnitude());
                    if let Store::Shift { shift, rounding } = store {
                        let stored = gradient.shift(shift, rounding, element).saturate(Self::MAGNITUDE_BITS);
                        *dy = <$t as Output<$t>>::store(stored as $acc);
                    }
                }
                Outcome { range: range.bits(), loss }
            }
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ident: $acc:ident, exp $exp:ident, ln $ln:ident, mse $mse:expr;)*) => {$(
        impl Kernels for $t {
            type LossSum = $acc;
            const MSE_EXPONENT: i32 = $mse;

            fn cross_entropy(call: CrossEntropy<'_, Self>) -> Outcome<$acc> {
                let CrossEntropy { classes, logits, labels, store, dy, .. } = call;
                let scale = $acc::from(pow2(-Self::LOSS_EXPONENT));
                let mut loss = 0.0;
                let rows = rows_of(logits, classes).zip(rows_of_mut(dy, classes));
                for ((logits, dy), &label) in rows.zip(labels) {
                    let largest = logits.iter().map(|z| z.widen()).fold($acc::NEG_INFINITY, $acc::max);
                    let total: $acc = logits.iter().map(|z| libm::$exp(z.widen() - largest)).sum();
                    for ((class, z), dy) in logits.iter().enumerate().zip(dy) {
                        let z = z.widen() - largest;
                        let p = libm::$exp(z) / total;
                        let is_label = class == usize::from(label);
                        let gradient = if is_label { p - 1.0 } else { p };
                        if is_label {
                            loss += libm::$ln(total) - z;
                        }
                        store.one::<$t, $t>(gradient * scale, 0, &mut (), dy);
                    }
                }
                Outcome { range: 0, loss }
            }

            fn squared_error(call: SquaredError<'_, Self>) -> Outcome<$acc> {
                let SquaredError { outputs, target, store, dy, .. } = call;
                let scale = $acc::from(pow2(-$mse));
                let mut loss = 0.0;
                for ((z, y), dy) in outputs.iter().zip(target).zip(dy) {
                    let gradient = z.widen() - y.widen();
                    loss += gradient * gradient * 0.5;
                    store.one::<$t, $t>(gradient * scale, 0, &mut (), dy);
                }
                Outcome { range: 0, loss }
            }
        }
    )*};
}

impl_integer! {
    i8: acc i32, difference i64; u8: acc i32, difference i64;
    i16: acc i64, difference i64; u16: acc i64, difference i64;
    i32: acc i64, difference i64; u32: acc i64, difference i64;
    i64: acc i128, difference i128; u64: acc i128, difference i128;
}

impl_float! {
    f16: f32, exp expf, ln logf, mse -10;
    bf16: f32, exp expf, ln logf, mse 0;
    f32: f32, exp expf, ln logf, mse 0;
    f64: f64, exp exp, ln log, mse 0;
}
