//! How far results may be apart, and why.

use selvedge_kernels::{Element, bf16, f16};

/// [`lut::exp2_neg`](selvedge_kernels::lut::exp2_neg) against `2^-t`, in units of 2^-16.
///
/// Measured over all arguments: 1.65. Half a unit from each rounded table entry and from the
/// interpolation, the chord's distance to the curve (at most (ln 2 / 64)^2 / 8 = 0.96 units), and up to
/// one from the final shift, which never meet at once.
pub const EXP2_NEG_UNITS: f64 = 1.7;

/// The displayed integer loss against logarithms, in nats, for up to 35 octaves: `ln 2` in Q16 is
/// 1.4e-6 short (5.0e-5 in all), the chord of `log2` is off by (1/64)^2 / 8 (3.1e-5), and four numbers
/// are rounded to Q16 (1.5e-5 if all go the same way).
pub const DISPLAYED_LOSS_NATS: f64 = 1e-4;

/// A probability of the integer softmax, as `loss::cross_entropy` documents: half a unit of Q15 from
/// the division, the rest from the table's 1.7 units in numerator and total and from `log2(e)` in Q14.
pub const PROBABILITY: f64 = 1.0 / 16_384.0;

/// One term of a displayed squared error of values within ±1 in 16 bits or more: half a unit of Q16
/// from rounding the term, and `|z - y| <= 2` times twice half a unit of 2^-15 from rounding the
/// values.
pub const SQUARED_ERROR_TERM: f64 = 0.5 / 65_536.0 + 2.0 / 32_768.0;

/// An initial weight of `f32`, which is that of `i32`, against `f64`, which is that of `i64`: bounds
/// and weights are floors of the same numbers in units of 2^-27, the bound being below 2^-3.
pub const INITIAL_WEIGHT: f64 = 3.0 / 134_217_728.0;

/// A float parameter of magnitude 4 or less after three updates: at most four roundings a step.
#[must_use]
pub fn update(epsilon: f64) -> f64 {
    3.0 * 4.0 * 4.0 * epsilon / 2.0
}

/// How often stochastic rounding goes up, in standard deviations: 5, which chance exceeds once in
/// two million. The words are fixed, so a test that passes keeps passing.
pub const ROUNDING_SHARE_DEVIATIONS: f64 = 5.0;

/// Central differences of a function that is linear within the step have no error but rounding:
/// sums of up to 200 terms of magnitude 1, times `f64::EPSILON`, over twice the step of 1e-4.
pub const LINEAR_DIFFERENCE: f64 = 200.0 * f64::EPSILON / 2e-4;

/// Central differences of cross-entropy: a sixth of the third derivative (at most 1/10 for a
/// softmax) times the step of 1e-4 squared, and rounding of a loss of up to 100.
pub const CURVED_DIFFERENCE: f64 = 1e-8 / 60.0 + 100.0 * f64::EPSILON / 2e-4;

/// Cosine between integer gradients and those of floats with the same rounded weights: of all
/// parameters together, and of the worst tensor. 8 bits lose by ReLU's test after rounding and by
/// maxima that rounding makes equal; the recipe's section 11 measures 0.9940 and 0.9781 as the lowest
/// of its layers.
pub const COSINE_8_BITS: (f64, f64) = (0.99, 0.978);

/// The same for 16 bits; section 11: 0.999959 and 0.999838.
pub const COSINE_16_BITS: (f64, f64) = (0.9999, 0.9998);

/// The same for 24 bits, limited by the Q15 softmax; section 11: at least 0.999997.
pub const COSINE_32_BITS: (f64, f64) = (0.999_99, 0.999_99);

/// A float type with its precision.
pub trait Float: Element {
    /// Half a unit in the last place, relative: of a stored element.
    const ROUNDING: f64;
    /// Half the distance of the smallest numbers.
    const SMALLEST: f64;
}

impl Float for f32 {
    const ROUNDING: f64 = 1.0 / 16_777_216.0; // 2^-24
    const SMALLEST: f64 = 0.0; // far below anything that tests compute
}

impl Float for f16 {
    const ROUNDING: f64 = 1.0 / 2048.0; // 2^-11
    const SMALLEST: f64 = 1.0 / 33_554_432.0; // 2^-25
}

impl Float for bf16 {
    const ROUNDING: f64 = 1.0 / 256.0; // 2^-8
    const SMALLEST: f64 = 0.0;
}

/// A sum whose terms' magnitudes sum to `size`, with at most `roundings` of them one after another:
/// each loses half a unit in the last place, of `f32`, in which all these types are summed. The product's
/// own rounding is one more.
#[must_use]
pub fn sum(roundings: f64, size: f64) -> f64 {
    (roundings + 1.0) * f64::from(f32::EPSILON) / 2.0 * size
}

/// Storing a result of about `value`.
#[must_use]
pub fn storage<T: Float>(value: f64) -> f64 {
    // The computed value may lie a little beyond `value`: the factor.
    value.abs() * T::ROUNDING * 1.001 + T::SMALLEST
}

/// A probability, or a loss of a row of a few classes, in `f32`: `exp` and `log` of libm within a
/// unit, and a handful of roundings of numbers up to 4.
pub const SOFTMAX_F32: f64 = 16.0 * 4.0 / 16_777_216.0;

/// Half the distance of `f16`'s smallest numbers, 2^-25: what storing a tiny result may lose.
pub const HALF_SMALLEST_F16: f64 = 1.0 / 33_554_432.0;

/// Arithmetic, resizing and sampling against PyTorch in `f64`, in units of the type's epsilon: sums
/// of at most 24 terms of magnitude 16 or less, each with a handful of roundings on both sides (a
/// sampling position is normalised and back in PyTorch: its error of 4ε times a slope of 4).
pub const TORCH_LAYOUT_EPSILONS: f64 = 24.0 * 16.0;
