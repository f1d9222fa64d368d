//! Cross-entropy of labels or whole distributions, with label smoothing and weights.

use super::{Outcome, Row, SampleWeights, check_weights, each, weights_exponent};
use crate::element::Element;
use crate::error::{Arg, Error, Found, Result};
use crate::fixed::{pow2, shift_rne_i64};
use crate::lut;
use crate::requantize::Store;
use crate::softmax::{Kernels as _, Sink, decode};
use crate::split::{rows_of, rows_of_mut};
use half::{bf16, f16};

/// What the classes should be.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, H> {
    /// One class of each row: `[N]`.
    Labels(&'a [u16]),
    /// A share of each class: `[N, C]`. Integers: in Q15, within ±2.
    Distribution {
        /// The elements.
        values: &'a [H],
        /// Their exponent.
        exponent: i32,
    },
}

/// The share of a target that is taken from it and spread over all classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothing {
    value: f32,
    /// Q15.
    share: u16,
}

impl Smoothing {
    /// No share.
    pub const NONE: Self = Self {
        value: 0.0,
        share: 0,
    };

    /// The share `value`, from 0 to 1. To be called on the host, or in a constant.
    ///
    /// # Errors
    /// [`Error::Value`] for numbers outside, and NaN.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::loss::Smoothing;
    /// assert!(Smoothing::new(0.1).is_ok());
    /// assert!(Smoothing::new(1.1).is_err());
    /// ```
    pub const fn new(value: f32) -> Result<Self> {
        const ONE: u32 = 0x3F80_0000; // the bits of 1.0: those of positive floats are in their order
        match decode(value) {
            Some((number, exponent)) if number == 0 || value.to_bits() <= ONE => Ok(Self {
                value,
                share: shift_rne_i64(number as i64, -(exponent + 15)) as u16, // at most 2^15
            }),
            _ => Err(Error::Value {
                arg: Arg::Smoothing,
                expected: "0 to 1",
                got: Some(Found::real(value as f64)),
            }),
        }
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> f32 {
        self.value
    }
}

/// What [`soft_cross_entropy`] is told beside logits and targets.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'a, H> {
    /// Logits of a row, `C`.
    pub classes: usize,
    /// Label smoothing.
    pub smoothing: Smoothing,
    /// A weight for each row: `[N]`.
    pub weights: Option<SampleWeights<'a, H>>,
}

impl<H: Element> Classes<'_, H> {
    /// The exponent of the gradient's accumulators: -30 for integers and that of the weights (after
    /// their cut to 15 bits), [`Element::LOSS_EXPONENT`] for floats.
    #[must_use]
    pub fn gradient_exponent(&self) -> i32 {
        if H::DTYPE.is_integer() {
            -30 + weights_exponent(self.weights)
        } else {
            H::LOSS_EXPONENT
        }
    }
}

/// A checked call of [`soft_cross_entropy`].
pub struct SoftCrossEntropy<'a, T: Element> {
    options: Classes<'a, T::Head>,
    logits: &'a [T::Head],
    exponent: i32,
    targets: Targets<'a, T::Head>,
    store: Store,
    dy: &'a mut [T],
}

/// Cross-entropy `-Σ_n w_n Σ_c t'_c ln softmax(logits[n])_c`, `t' = (1 - ε) t + ε / C`, and its
/// gradient `dy = w_n (p_c Σ t' - t'_c)`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `options` | | classes, smoothing ε, weights `[N]` |
/// | `logits` | `[N, C]` | the head's output, at `exponent` |
/// | `targets` | `[N]` or `[N, C]` | labels or distributions |
/// | `dy` | `[N, C]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Accumulators are at [`Classes::gradient_exponent`]. A distribution need not sum to 1. Integers:
/// probabilities, ε and targets in Q15, products in Q30, so a gradient is within the error of a
/// probability (that of [`cross_entropy`](super::cross_entropy)) and 2^-14 of the true one. Floats: as
/// there, to which this is equal without options. A row with NaN gives NaN.
///
/// # Errors
/// [`Error::Label`], [`Error::Length`], [`Error::Zero`], [`Error::Overflow`], [`Error::Accumulator`]
/// for more than 32,767 classes. `dy` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{loss::{self, Classes, Smoothing, Targets}, requantize::Store};
/// let options = Classes { classes: 2, smoothing: Smoothing::new(0.5)?, weights: None };
/// let mut dy = [0.0f64; 2];
/// let targets = Targets::Labels(&[1]);
/// let store = Store::EXACT;
/// loss::soft_cross_entropy(options, &[0.0, 0.0], 0, targets, store, &mut dy)?;
/// assert_eq!(dy, [0.5 - 0.25, 0.5 - 0.75]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: Szegedy et al. 2016 (smoothing); the integers: `docs/numerics.md` §19.
pub fn soft_cross_entropy<T: Element>(
    options: Classes<'_, T::Head>,
    logits: &[T::Head],
    exponent: i32,
    targets: Targets<'_, T::Head>,
    store: Store,
    dy: &mut [T],
) -> Result<Outcome<T::LossSum>> {
    let classes = options.classes;
    Arg::Shape.product(&[classes])?;
    crate::softmax::Shape::limit::<T>(classes)?;
    let rows = logits.len().checked_div(classes).unwrap_or(0);
    Arg::X.check_len(logits.len(), &[rows, classes])?;
    Arg::Dy.check_len(dy.len(), &[rows, classes])?;
    check_weights(options.weights, rows)?;
    match targets {
        Targets::Labels(labels) => {
            Arg::Labels.check_len(labels.len(), &[rows])?;
            super::check_labels(labels, classes)?;
        }
        Targets::Distribution { values, .. } => {
            Arg::Target.check_len(values.len(), &[rows, classes])?;
        }
    }
    Ok(T::soft_cross_entropy(SoftCrossEntropy {
        options,
        logits,
        exponent,
        targets,
        store,
        dy,
    }))
}

/// The kernels of this file for one element type.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn soft_cross_entropy(call: SoftCrossEntropy<'_, Self>) -> Outcome<Self::LossSum>
    where
        Self: Element;
}

/// A row of targets.
enum Target<'a, H> {
    Label(usize),
    Distribution(&'a [H]),
}

impl<'a, H> Targets<'a, H> {
    /// Row `row` of rows of `classes`.
    fn row(&self, row: usize, classes: usize) -> Target<'a, H> {
        match *self {
            Self::Labels(labels) => Target::Label(labels.get(row).map_or(0, |&l| usize::from(l))),
            Self::Distribution { values, .. } => {
                let start = row.saturating_mul(classes);
                let end = start.saturating_add(classes);
                Target::Distribution(values.get(start..end).unwrap_or_default())
            }
        }
    }
}

macro_rules! impl_integer {
    ($($t:ty)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn soft_cross_entropy(call: SoftCrossEntropy<'_, Self>) -> Outcome<i64> {
                let SoftCrossEntropy { options, logits, exponent, targets, store, dy } = call;
                let Classes { classes, smoothing, weights } = options;
                let (mut sink, mut loss, mut element) = (Sink::new(store), 0i64, 0u32);
                let kept = (1 << 15) - i64::from(smoothing.share);
                let spread = (i64::from(smoothing.share) << 15) + (classes as i64 >> 1);
                let spread = spread.checked_div(classes as i64).unwrap_or(0); // ε / C in Q30
                let target_exponent = match targets {
                    Targets::Labels(_) => 0,
                    Targets::Distribution { exponent, .. } => exponent,
                };
                let rows = rows_of(logits, classes).zip(rows_of_mut(dy, classes));
                for ((row, (logits, dy)), weight) in rows.enumerate().zip(each(weights)) {
                    let target = targets.row(row, classes);
                    // The smoothed target of a class, in Q30.
                    let share = |class: usize| kept * match target {
                        Target::Label(label) => i64::from(label == class) << 15,
                        Target::Distribution(shares) => shares.get(class).map_or(0, |t| {
                            shift_rne_i64(i64::from(t.widen()), (-15i32).saturating_sub(target_exponent))
                                .clamp(-1 << 16, 1 << 16)
                        }),
                    } + spread;
                    let shares: i64 = (0..classes).map(share).sum(); // below 2^47
                    let largest = logits.iter().map(|z| z.logit().0).max().unwrap_or(0);
                    let dropped = logits.first().map_or(0, |z| z.logit().1);
                    let octaves = Row { largest, places: exponent + dropped + 2 };
                    let total: u32 = logits.iter().map(|z| lut::exp2_neg(octaves.octaves(z.logit().0))).sum();
                    let weight = weight.map(|w| i64::from(w.logit().0));
                    let mut row_loss = 0i64;
                    for ((class, z), dy) in logits.iter().enumerate().zip(dy) {
                        let t = octaves.octaves(z.logit().0);
                        let numerator = lut::exp2_neg(t) << 15; // at most 2^31
                        let p = (numerator + (total >> 1)).checked_div(total).unwrap_or(0);
                        let share = share(class);
                        // 2^15 · 2^32 where distributions sum to 4 or less; more saturates nothing.
                        let gradient = shift_rne_i64(i64::from(p) * shares, 15) - share;
                        let gradient = gradient.clamp(-1 << 46, 1 << 46) * weight.unwrap_or(1);
                        Self::softmax_gradient(gradient, &mut sink, element, dy);
                        element = element.wrapping_add(1);
                        // Q30 · Q16, for display: the share without what Q16 cannot show of it.
                        let term = shift_rne_i64(share, 8) * lut::cross_entropy(total, t);
                        row_loss = row_loss.saturating_add(term);
                    }
                    loss = super::add_weighted(loss, shift_rne_i64(row_loss, 22), weight, weights_exponent(weights));
                }
                Outcome { range: sink.bits(), loss }
            }
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ty: $acc:ident, exp $exp:ident, ln $ln:ident;)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn soft_cross_entropy(call: SoftCrossEntropy<'_, Self>) -> Outcome<$acc> {
                let SoftCrossEntropy { options, logits, targets, store, dy, .. } = call;
                let Classes { classes, smoothing, weights } = options;
                let (mut sink, mut loss) = (Sink::new(store), 0.0);
                let scale = $acc::from(pow2(-Self::LOSS_EXPONENT));
                let kept = 1.0 - $acc::from(smoothing.value);
                let spread = $acc::from(smoothing.value) / classes as $acc;
                let rows = rows_of(logits, classes).zip(rows_of_mut(dy, classes));
                for ((row, (logits, dy)), weight) in rows.enumerate().zip(each(weights)) {
                    let target = targets.row(row, classes);
                    let share = |class: usize| kept * match target {
                        Target::Label(label) => $acc::from(u8::from(label == class)),
                        Target::Distribution(shares) => shares.get(class).map_or(0.0, |t| t.widen()),
                    } + spread;
                    let shares: $acc = (0..classes).map(share).sum();
                    let largest = logits.iter().map(|z| z.widen()).fold($acc::NEG_INFINITY, $acc::max);
                    let total: $acc = logits.iter().map(|z| libm::$exp(z.widen() - largest)).sum();
                    let weight = weight.map_or(1.0, |w| w.widen());
                    for ((class, z), dy) in logits.iter().enumerate().zip(dy) {
                        let (z, share) = (z.widen() - largest, share(class));
                        let p = libm::$exp(z) / total;
                        Self::softmax_gradient((p * shares - share) * weight * scale, &mut sink, 0, dy);
                        // 0 · ∞ for a class of probability 0 that is not wanted is 0.
                        if share != 0.0 {
                            loss += weight * share * (libm::$ln(total) - z);
                        }
                    }
                }
                Outcome { range: 0, loss }
            }
        }
    )*};
}

impl_integer! { i8 u8 i16 u16 i32 u32 i64 u64 }

impl_float! {
    f16: f32, exp expf, ln logf;
    bf16: f32, exp expf, ln logf;
    f32: f32, exp expf, ln logf;
    f64: f64, exp exp, ln log;
}
