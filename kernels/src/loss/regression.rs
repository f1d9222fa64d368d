//! Distances between outputs and targets: squared, absolute, Huber's.

use super::{Outcome, SampleWeights, Samples, weights_exponent};
use crate::element::Element;
use crate::error::{Arg, Error, Found, Result};
use crate::fixed::{bit_len, pow2, sat_i64, shift_rne_i64};
use crate::requantize::Store;
use crate::softmax::{Kernels as _, Ratio, Sink, decode};
use crate::split::rows_of_mut;
use half::{bf16, f16};

/// Where Huber's loss turns from squares to distances, in the unit of the outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delta {
    value: f32,
    ratio: Ratio,
}

impl Delta {
    /// 1.
    pub const ONE: Self = Self {
        value: 1.0,
        ratio: Ratio::ONE,
    };

    /// The distance `value`. To be called on the host, or in a constant.
    ///
    /// # Errors
    /// [`Error::Value`] unless it is positive and finite.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::loss::Delta;
    /// assert_eq!(Delta::new(1.0)?, Delta::ONE);
    /// assert!(Delta::new(0.0).is_err());
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    pub const fn new(value: f32) -> Result<Self> {
        match decode(value) {
            Some((number, exponent)) if number != 0 => Ok(Self {
                value,
                ratio: Ratio::new(number as u64, exponent),
            }),
            _ => Err(Error::Value {
                arg: Arg::Delta,
                expected: "a positive, finite number",
                got: Some(Found::real(value as f64)),
            }),
        }
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> f32 {
        self.value
    }

    /// In units of `2^exponent`, at least one: else small deltas would stop all training.
    const fn steps(self, exponent: i32) -> i64 {
        let shift = (self.ratio.shift as i32).saturating_add(exponent);
        let steps = if shift < -47 {
            i64::MAX >> 1 // beyond every difference
        } else {
            shift_rne_i64(self.ratio.mantissa as i64, shift)
        };
        if steps < 1 { 1 } else { steps }
    }
}

/// How far an output is from its target, `d = z - y`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distance {
    /// `½ d²`; gradient `d`.
    Squared,
    /// `|d|`; gradient the sign of `d`, 0 at 0.
    Absolute,
    /// `½ d²` where `|d| ≤ δ`, `δ (|d| - ½ δ)` beyond; gradient `d` within ±δ (Huber 1964).
    Huber(Delta),
}

impl Distance {
    /// The exponent of the gradient's accumulators, for outputs at `exponent`.
    ///
    /// Integers: `exponent` (0 for [`Distance::Absolute`]); with weights theirs is added (after their
    /// cut to 15 bits), and 8 for the 64-bit types, whose differences are cut to 46 bits first.
    /// Floats: [`Element::LOSS_EXPONENT`].
    #[must_use]
    pub fn gradient_exponent<H: Element>(
        self,
        exponent: i32,
        weights: Option<SampleWeights<'_, H>>,
    ) -> i32 {
        if !H::DTYPE.is_integer() {
            return H::LOSS_EXPONENT;
        }
        let cut = if weights.is_some() { cut::<H>() } else { 0 };
        match self {
            Self::Absolute => weights_exponent(weights),
            Self::Squared | Self::Huber(_) => exponent + cut + weights_exponent(weights),
        }
    }
}

/// Places that a difference loses before it is multiplied by a weight.
fn cut<H: Element>() -> i32 {
    (H::MAGNITUDE_BITS as i32 - 45).max(0)
}

/// A checked call of [`regression`].
pub struct Regression<'a, T: Element> {
    distance: Distance,
    samples: Samples<'a, T::Head>,
    store: Store,
    dy: &'a mut [T],
}

/// The sum of distances between outputs and targets, `Σ_n w_n Σ_i distance(z_ni - y_ni)`, and its
/// gradient.
///
/// | argument | shape | |
/// |---|---|---|
/// | `samples` | `[N, features]` | outputs, targets, weights `[N]` |
/// | `dy` | `[N, features]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Accumulators are at [`Distance::gradient_exponent`]. Integers round the target to the exponent of
/// the outputs, and δ to a whole number of their units, at least one; the loss is in Q16, for display.
/// [`Distance::Squared`] without weights is [`squared_error`](super::squared_error). NaN propagates.
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`], [`Error::Overflow`]; `dy` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{loss::{self, Delta, Distance, Samples}, requantize::Store};
/// let samples = Samples {
///     outputs: &[0.5f64, -3.0], exponent: 0,
///     target: &[0.0, 0.0], target_exponent: 0,
///     features: 1, weights: None,
/// };
/// let mut dy = [0.0f64; 2];
/// let huber = Distance::Huber(Delta::ONE);
/// let outcome = loss::regression(huber, samples, Store::EXACT, &mut dy)?;
/// assert_eq!((dy, outcome.loss), ([0.5, -1.0], 0.125 + 2.5));
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn regression<T: Element>(
    distance: Distance,
    samples: Samples<'_, T::Head>,
    store: Store,
    dy: &mut [T],
) -> Result<Outcome<T::LossSum>> {
    samples.check(dy.len())?;
    Ok(T::regression(Regression {
        distance,
        samples,
        store,
        dy,
    }))
}

/// The kernels of this file for one element type.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn regression(call: Regression<'_, Self>) -> Outcome<Self::LossSum>
    where
        Self: Element;
}

/// `½ a b · 2^(2 exponent)` in Q16, for display: within 2^-30 of its value.
fn half_product(a: u64, b: u64, exponent: i32) -> i64 {
    let short = |x: u64| {
        let drop = bit_len(x).saturating_sub(31);
        ((x >> drop) as i64, drop as i32)
    };
    let ((a, drop_a), (b, drop_b)) = (short(a), short(b));
    let places = exponent
        .saturating_mul(2)
        .saturating_add(drop_a + drop_b + 15);
    shift_rne_i64(a * b, places.saturating_neg())
}

macro_rules! impl_integer {
    ($($t:ty)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn regression(call: Regression<'_, Self>) -> Outcome<i64> {
                type Head = <$t as Element>::Head;
                let Regression { distance, samples, store, dy } = call;
                let Samples { exponent, target_exponent, weights, features, .. } = samples;
                let (mut sink, mut loss, mut element) = (Sink::new(store), 0i64, 0u32);
                let delta = match distance {
                    Distance::Huber(delta) => delta.steps(exponent),
                    Distance::Squared | Distance::Absolute => i64::MAX,
                };
                for (((outputs, target), weight), dy) in samples.rows().zip(rows_of_mut(dy, features)) {
                    let weight = weight.map(|w| i64::from(w.logit().0));
                    for ((z, y), dy) in outputs.iter().zip(target).zip(dy) {
                        let y = shift_rne_i64(i64::from(y.widen()), exponent.saturating_sub(target_exponent));
                        let d = i64::from(z.widen()) - y; // below 2^63
                        let size = d.unsigned_abs();
                        let (gradient, cut, value) = match distance {
                            Distance::Absolute => {
                                (d.signum(), 0, shift_rne_i64(size as i64, -16 - exponent))
                            }
                            Distance::Squared => (d, cut::<Head>(), half_product(size, size, exponent)),
                            Distance::Huber(_) => {
                                let delta_size = delta.unsigned_abs();
                                let value = if size <= delta_size {
                                    half_product(size, size, exponent)
                                } else {
                                    // δ (|d| - ½ δ) = ½ δ (2 |d| - δ)
                                    half_product(delta_size, (size - delta_size) + size, exponent)
                                };
                                (d.clamp(-delta, delta), cut::<Head>(), value)
                            }
                        };
                        let gradient = match weight {
                            None => gradient,
                            Some(weight) => sat_i64(shift_rne_i64(gradient, cut), 46) * weight,
                        };
                        Self::softmax_gradient(gradient, &mut sink, element, dy);
                        element = element.wrapping_add(1);
                        loss = super::add_weighted(loss, value, weight, weights_exponent(weights));
                    }
                }
                Outcome { range: sink.bits(), loss }
            }
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ty: $acc:ident;)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn regression(call: Regression<'_, Self>) -> Outcome<$acc> {
                let Regression { distance, samples, store, dy } = call;
                let (mut sink, mut loss) = (Sink::new(store), 0.0);
                let scale = $acc::from(pow2(-Self::LOSS_EXPONENT));
                for (((outputs, target), weight), dy) in samples.rows().zip(rows_of_mut(dy, samples.features)) {
                    let weight = weight.map_or(1.0, |w| w.widen());
                    for ((z, y), dy) in outputs.iter().zip(target).zip(dy) {
                        let d: $acc = z.widen() - y.widen();
                        let size = if d < 0.0 { -d } else { d };
                        // NaN takes neither side, and stays.
                        let clamped = |limit: $acc| if d > limit { limit } else if d < -limit { -limit } else { d };
                        let (gradient, value) = match distance {
                            Distance::Squared => (d, 0.5 * d * d),
                            Distance::Absolute if d > 0.0 => (1.0, size),
                            Distance::Absolute if d < 0.0 => (-1.0, size),
                            Distance::Absolute => (d, size),
                            Distance::Huber(delta) => {
                                let delta = $acc::from(delta.value);
                                let value = if size > delta { delta * (size - 0.5 * delta) } else { 0.5 * d * d };
                                (clamped(delta), value)
                            }
                        };
                        loss += weight * value;
                        Self::softmax_gradient(gradient * weight * scale, &mut sink, 0, dy);
                    }
                }
                Outcome { range: 0, loss }
            }
        }
    )*};
}

impl_integer! { i8 u8 i16 u16 i32 u32 i64 u64 }

impl_float! { f16: f32; bf16: f32; f32: f32; f64: f64; }
