//! How far results may be apart, and why.

use super::cases::Variant;
use selvedge_kernels::Element;
use selvedge_tests::tolerance::{DRAWN_PROBABILITY, any_probability};

/// Kernels in f64 against definitions in f64: a few roundings of numbers up to 1; the bisection of
/// entmax ends at an ulp of τ, of magnitude 4, times the power's slope of up to 4.
pub(crate) const F64: f64 = 64.0 * f64::EPSILON;

/// Half the distance between the two points of a difference.
pub(crate) const STEP: f64 = 1e-5;

/// Central differences in f64: a sixth of the third derivative (below 40 at T = 0.5, errors within 1,
/// and rows of up to 14) times the step squared, and rounding of a sum of 24 products over the step.
pub(crate) const DIFFERENCE: f64 = 40.0 / 6.0 * STEP * STEP + 24.0 * F64 / STEP;

/// A probability of a float type against f64 from the same logits: up to 3 levels of a few roundings
/// in f32, of logits up to 4 / T, and the noise; then the storage.
pub(crate) fn float(rounding: f64, value: f64) -> f64 {
    64.0 / 16_777_216.0 + value * rounding + 1.0 / 33_554_432.0
}

/// A probability `p` of an integer type against f64 from the same logits, T of 0.5 to 2, before it is stored. What
/// is multiplied, or mixed by weights that sum to 1, has at most the errors of its factors.
pub(crate) fn probability<T: Element>(variant: &Variant, p: f64) -> f64 {
    match variant {
        Variant::Standard(classes) => softmax(*classes, p),
        Variant::Grid([_, columns]) => softmax(*columns, p),
        Variant::Groups(levels) => softmax(levels.last().copied().unwrap_or(1), p),
        Variant::Masked(mask) => softmax(mask.iter().filter(|&&is_allowed| is_allowed).count(), p),
        Variant::Tree(levels) => levels.iter().map(|&n| factor(n)).sum(),
        // The head's items and an entry for each tail; the items of a tail.
        Variant::Adaptive(_, sizes) => {
            let tail = sizes[1..].iter().copied().max().unwrap_or(1);
            factor(sizes[0] + sizes.len() - 1) + factor(tail)
        }
        // Noise within 0.00075 (its own error and its step), times 1 / T = 2, times p (1 - p).
        Variant::Gumbel(classes, _) => softmax(*classes, p) + 0.000_75 * 2.0 * 2.0 / 4.0,
        Variant::Entmax(classes, 1.0) => softmax(*classes, p),
        Variant::Entmax(_, alpha) => {
            // A cut moves logits of ±4 by 2^-14 at most, and a probability by twice that over T.
            let cut = if T::MAGNITUDE_BITS > 15 { 4.0 } else { 0.0 };
            entmax(f64::from(*alpha), p) + cut / 16_384.0
        }
        // Products rounded to Q15, and π.
        Variant::Mixture(classes, gate) => {
            factor(*classes) + factor(gate.len()) + gate.len() as f64 / 65_536.0
        }
    }
}

/// A probability `p` of entmax, of logits that were cut, at any temperature: the bound that
/// `docs/numerics/softmax.md` states.
///
/// Distances are rounded to 24 places and their factor to 15 bits, which moves a probability by less than 2^-15; p
/// is rounded to Q15. Other powers than 1 and 0 go through [`lut::log2`](selvedge_kernels::lut::log2) and
/// [`lut::exp2_neg`](selvedge_kernels::lut::exp2_neg), whose errors the power multiplies.
pub(crate) fn entmax(alpha: f64, p: f64) -> f64 {
    let tables = if alpha == 1.5 || alpha == 2.0 {
        0.0
    } else {
        p / (alpha - 1.0)
    };
    (1.0 + tables) / 16_384.0
}

/// What rounding logits moves a probability by: a cut to 15 bits (2^-14 of 4, times 1/T, times p (1 - p)
/// twice), and the ratio's 2^-16 of a distance of 16.
const LOGITS: f64 = 1.0 / 16_384.0 + 16.0 / 65_536.0 / 8.0;

/// A probability of a softmax of random logits.
fn softmax(classes: usize, p: f64) -> f64 {
    selvedge_tests::tolerance::probability(classes, p).min(DRAWN_PROBABILITY) + LOGITS
}

/// The same where its p is not known.
fn factor(classes: usize) -> f64 {
    any_probability(classes).min(DRAWN_PROBABILITY) + LOGITS
}

/// Storing a probability: half a unit, a whole one where 1 is saturated.
pub(crate) fn storage<T: Element>() -> f64 {
    2f64.powi(-(T::MAGNITUDE_BITS as i32))
}

/// Cosine between integer gradients and f64's from the same logits and errors. Below 1 by the errors'
/// rounding to 7 bits alone for 8 bits, and by probabilities in Q15 for the wider types.
pub(crate) fn cosine<T: Element>() -> f64 {
    if T::MAGNITUDE_BITS == 7 { 0.99 } else { 0.9999 }
}

/// Gumbel's noise in Q16 against f64, as documented.
pub(crate) const NOISE: f64 = 0.0005;

/// Shares of hard draws against probabilities: 5 standard deviations of n = 20,000 draws, at most.
pub(crate) const SHARE: f64 = 5.0 * 0.5 / 141.0;
