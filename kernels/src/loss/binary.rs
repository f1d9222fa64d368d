//! Binary cross-entropy on logits: outputs that are true or false each by itself.

use super::{Outcome, Row, Samples};
use crate::element::Element;
use crate::error::Result;
use crate::fixed::{pow2, shift_rne_i64};
use crate::lut;
use crate::requantize::Store;
use crate::softmax::{Kernels as _, Sink};
use crate::split::rows_of_mut;
use half::{bf16, f16};

/// A checked call of [`binary_cross_entropy`].
pub struct BinaryCrossEntropy<'a, T: Element> {
    samples: Samples<'a, T::Head>,
    store: Store,
    dy: &'a mut [T],
}

/// Binary cross-entropy `-Σ_n w_n Σ_i (t ln σ(z) + (1 - t) ln(1 - σ(z)))` and its gradient
/// `dy = w_n (σ(z) - t)`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `samples` | `[N, features]` | logits, targets from 0 to 1, weights `[N]` |
/// | `dy` | `[N, features]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Accumulators are at [`Element::LOSS_EXPONENT`] and, for integers, the exponent of the weights (after
/// their cut to 15 bits). Integers: the softmax of `(z, 0)`, Q15, a gradient within 2^-14 and half a
/// unit of Q15 of the target, which is clamped to 0 to 1. Floats: the loss as
/// `max(z, 0) - z t + ln(1 + e^-|z|)`, which overflows nowhere. NaN propagates.
///
/// # Errors
/// [`Error::Length`](crate::Error::Length), [`Error::Zero`](crate::Error::Zero),
/// [`Error::Overflow`](crate::Error::Overflow); `dy` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{loss::{self, Samples}, requantize::Store};
/// let samples = Samples {
///     outputs: &[0.0f64, 1000.0], exponent: 0,
///     target: &[1.0, 1.0], target_exponent: 0,
///     features: 2, weights: None,
/// };
/// let mut dy = [0.0f64; 2];
/// let outcome = loss::binary_cross_entropy(samples, Store::EXACT, &mut dy)?;
/// assert_eq!((dy, outcome.loss), ([-0.5, 0.0], 2f64.ln()));
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn binary_cross_entropy<T: Element>(
    samples: Samples<'_, T::Head>,
    store: Store,
    dy: &mut [T],
) -> Result<Outcome<T::LossSum>> {
    samples.check(dy.len())?;
    Ok(T::binary_cross_entropy(BinaryCrossEntropy {
        samples,
        store,
        dy,
    }))
}

/// The kernels of this file for one element type.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn binary_cross_entropy(call: BinaryCrossEntropy<'_, Self>) -> Outcome<Self::LossSum>
    where
        Self: Element;
}

macro_rules! impl_integer {
    ($($t:ty)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn binary_cross_entropy(call: BinaryCrossEntropy<'_, Self>) -> Outcome<i64> {
                let BinaryCrossEntropy { samples, store, dy } = call;
                let Samples { exponent, target_exponent, weights, features, .. } = samples;
                let (mut sink, mut loss, mut element) = (Sink::new(store), 0i64, 0u32);
                for (((outputs, target), weight), dy) in samples.rows().zip(rows_of_mut(dy, features)) {
                    let weight = weight.map(|w| i64::from(w.logit().0));
                    for ((z, y), dy) in outputs.iter().zip(target).zip(dy) {
                        let (logit, dropped) = z.logit();
                        let row = Row { largest: logit.abs(), places: exponent + dropped + 2 };
                        let t = row.octaves(0);
                        let numerators = if logit < 0 { [lut::exp2_neg(t), 1 << 16] } else { [1 << 16, lut::exp2_neg(t)] };
                        let octaves = if logit < 0 { [t, 0] } else { [0, t] };
                        let [yes, no] = numerators;
                        let total = yes + no;
                        let p = ((yes << 15) + (total >> 1)).checked_div(total).unwrap_or(0);
                        let wanted = shift_rne_i64(i64::from(y.widen()), (-15i32).saturating_sub(target_exponent)).clamp(0, 1 << 15);
                        let gradient = (i64::from(p) - wanted) * weight.unwrap_or(1);
                        Self::softmax_gradient(gradient, &mut sink, element, dy);
                        element = element.wrapping_add(1);
                        let [yes, no] = octaves.map(|t| lut::cross_entropy(total, t));
                        let value = shift_rne_i64(wanted * yes + ((1 << 15) - wanted) * no, 15);
                        loss = super::add_weighted(loss, value, weight, super::weights_exponent(weights));
                    }
                }
                Outcome { range: sink.bits(), loss }
            }
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ty: $acc:ident, exp $exp:ident, ln_1p $ln_1p:ident;)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn binary_cross_entropy(call: BinaryCrossEntropy<'_, Self>) -> Outcome<$acc> {
                let BinaryCrossEntropy { samples, store, dy } = call;
                let (mut sink, mut loss) = (Sink::new(store), 0.0);
                let scale = $acc::from(pow2(-Self::LOSS_EXPONENT));
                for (((outputs, target), weight), dy) in samples.rows().zip(rows_of_mut(dy, samples.features)) {
                    let weight = weight.map_or(1.0, |w| w.widen());
                    for ((z, y), dy) in outputs.iter().zip(target).zip(dy) {
                        let (z, y): ($acc, $acc) = (z.widen(), y.widen());
                        let is_negative = z < 0.0;
                        let small = libm::$exp(if is_negative { z } else { -z });
                        let p = if is_negative { small / (1.0 + small) } else { 1.0 / (1.0 + small) };
                        let hinge = if is_negative { 0.0 } else { z };
                        loss += weight * (hinge - z * y + libm::$ln_1p(small));
                        Self::softmax_gradient((p - y) * weight * scale, &mut sink, 0, dy);
                    }
                }
                Outcome { range: 0, loss }
            }
        }
    )*};
}

impl_integer! { i8 u8 i16 u16 i32 u32 i64 u64 }

impl_float! {
    f16: f32, exp expf, ln_1p log1pf;
    bf16: f32, exp expf, ln_1p log1pf;
    f32: f32, exp expf, ln_1p log1pf;
    f64: f64, exp exp, ln_1p log1p;
}
