//! How far results may be apart, and why.

use crate::curve::Curve;
use selvedge_kernels::{Element, bf16, f16};

/// [`lut::exp2_neg`](selvedge_kernels::lut::exp2_neg) against `2^-t`, in units of 2^-16.
///
/// Measured over all arguments: 1.65. Half a unit from each rounded table entry and from the
/// interpolation, the chord's distance to the curve (at most (ln 2 / 64)^2 / 8 = 0.96 units), and up to
/// one from the final shift, which never meet at once.
pub const EXP2_NEG_UNITS: f64 = 1.7;

/// [`lut::log2`](selvedge_kernels::lut::log2) against the logarithm, in units of 2^-16.
///
/// Measured over all fractions of 16 bits, of which nothing is cut off, and with the most that is. The chord's
/// distance to the curve, (1/64)^2 / (8 ln 2) = 2.88 units, and half a unit each of an entry and the interpolation;
/// a cut adds up to 1 / ln 2 units. They never meet at once.
pub const LOG2_UNITS: [f64; 2] = [3.5, 4.9];

/// What another temperature adds to [`probability`], of a probability `p` whose logit is `distance` from the mean
/// of all under their probabilities, over T: 1 / T as a ratio is off by 2^-15 of itself, its product with log2(e)
/// by half a unit of at least 23,637, and their sum of 2^-14.2 moves a logit by as much.
#[must_use]
pub fn tempered(p: f64, distance: f64) -> f64 {
    p * distance.abs() / 16_384.0
}

/// The displayed integer loss against logarithms, in nats, given its total and distance, which are `octaves` in
/// all: `ln 2` in Q16 is 1.43e-6 short for each, the chord of `log2` is off by (1/64)^2 / 8 (3.1e-5), and of what
/// is rounded to Q16 the fraction loses up to a unit, entries and their interpolation half a unit of `log2` each,
/// and the product half a unit (3.4e-5). Measured: they do not meet beyond 1e-4.
#[must_use]
pub fn displayed_loss(octaves: f64) -> f64 {
    (1.43e-6 * octaves + 3.1e-5 + 3.4e-5).min(1e-4)
}

/// A probability `p` of `classes` of the integer softmax at a temperature of 1, of logits that were not cut: what
/// is proven, and less than the `(2 + N·p) · 2^-15` of `docs/numerics/softmax.md`.
///
/// In units of 2^-15. The division rounds by ½. The numerator of the largest logit is exact; that of another, of
/// `v` of the largest, is off by `½ + 0.35 · min(1, 2v)` of the table and its final shift
/// ([`EXP2_NEG_UNITS`] units of 2^-16 before it, one of it), and by `0.47 v` for `log2(e)` in Q14 and the floor of
/// the distance; upwards the shift does nothing, so that this covers both signs. With errors `ε` and the sum `S`
/// of the numerators, a share is off by `(ε_i - p · Σ ε) / (S + Σ ε)`.
/// - The largest: `1 / S = p`, and the others sum to `r = (1 - p) / p`.
/// - Another, which has at most ½: `v = p S`, and `1 / S ≤ 1 - p`; those beside both have at most `1 - 2p`.
#[must_use]
pub fn probability(classes: usize, p: f64) -> f64 {
    const UNIT: f64 = 1.0 / 32_768.0;
    let n = classes as f64;
    // `count` numerators whose sum is `sum`, both perhaps in parts of S.
    let numerators =
        |count: f64, sum: f64| 0.5 * count + (0.35 * count).min(0.7 * sum) + 0.47 * sum;
    let of_largest = if n * p < 1.0 - 1e-9 {
        0.0 // it has at least 1 / N
    } else {
        p * p * numerators(n - 1.0, (1.0 - p) / p)
    };
    let of_another = if p > 0.5 {
        0.0
    } else {
        let rest = p * numerators((n - 2.0) * (1.0 - p), 1.0 - 2.0 * p);
        (1.0 - p) * numerators(1.0 - p, p) + rest
    };
    let sum = 1.0 - (0.5 * n + 1.2) * UNIT; // S + Σ ε, in parts of S
    (0.5001 + of_largest.max(of_another) / sum) * UNIT
}

/// The same of any probability: the largest is that of 1, of few classes another's.
#[must_use]
pub fn any_probability(classes: usize) -> f64 {
    let at = |p: i32| probability(classes, f64::from(p) / 1024.0);
    (0..=1024).map(at).fold(0.0, f64::max)
}

/// What [`probability`] is for at most 14 classes of random logits: errors of a tail do not all go one way.
/// Measured, rounded up; the bound itself is above it for more than 4 classes.
pub const DRAWN_PROBABILITY: f64 = 1.0 / 16_384.0;

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

/// Cosine between integer gradients and those of floats with the same rounded weights, what each layer keeps in
/// every tensor: of all parameters together. Then of the worst tensor of a whole network, which is lower:
/// `docs/numerics.md` §7 says why. The program that the recipe comes from measures 0.9940 and 0.9781 as the lowest
/// of its layers.
pub const COSINE_8_BITS: (f64, f64) = (0.99, 0.978);

/// The same for 16 bits; that program: 0.999959 and 0.999838.
pub const COSINE_16_BITS: (f64, f64) = (0.9999, 0.9998);

/// The same for 24 bits, limited by the Q15 softmax; that program: at least 0.999997.
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

/// Central differences of a function made of roots, quotients and exponentials of values around 1:
/// third derivatives up to 1000 (a variance near 0.1, a temperature of a quarter) times the step of
/// 1e-4 squared, over 6, and rounding of losses up to 100.
pub const SMOOTH_DIFFERENCE: f64 = 1000.0 * 1e-8 / 6.0 + 100.0 * f64::EPSILON / 2e-4;

/// `f64` against PyTorch's, of results up to about 10 made of sums of a few dozen terms: some ten
/// roundings of each, scaled up where a small variance divides them.
pub const TORCH_F64: f64 = 1e-11;

/// The same in `f32`, of PyTorch's `f64` results: 2^29 times as coarse.
pub const TORCH_F32: f64 = 1e-4;

/// An output of a recurrent layer in `f32` against the definition, for each step: sums of up to 75 terms within 1,
/// to which the cell adds a handful of roundings of numbers up to 4; a step hands on no more than it got, as weights
/// are within 2 over the root of their number and gates below 1.
pub const RECURRENT_F32: f64 = 80.0 * 4.0 / 16_777_216.0;

/// The same in `f64`: 2^29 times as fine.
pub const RECURRENT_F64: f64 = RECURRENT_F32 / 536_870_912.0;

/// An output of an integer recurrent layer of few steps against the definition on the same numbers, with weights as
/// they are initialised. In 8 bits outputs are rounded to 2^-7 and go in again. Measured: 0.0067.
pub const RECURRENT_8_BITS: f64 = 0.01;

/// The same in types of 15 bits and more, whose gates' sums have 2^-11 and tables 15 bits. Measured: 0.00086.
pub const RECURRENT_16_BITS: f64 = 1.0 / 1024.0;

/// Gradients of a recurrent layer of few steps in types of 16 bits, in units of half their last place and relative
/// to the largest of a tensor: outputs and errors of some six steps are rounded, and add up. Measured: 1.0.
pub const RECURRENT_GRADIENT: f64 = 3.0;

/// The same in `f32`, of sums of up to 126 terms. Measured: 2.9e-7.
pub const RECURRENT_GRADIENT_F32: f64 = 1e-6;

/// `fixed::rsqrt`, relative: the floor of the division makes it less by up to 2^-15, the floors of the
/// root and of the shifted argument make it more by up to 2^-14 + 2^-28.
pub const INVERSE_ROOT: (f64, f64) = (-1.0 / 32_768.0, 1.0 / 16_384.0 + 1.0 / 268_435_456.0);

/// `fixed::Reciprocal`, relative: half a unit of a factor of at least 2^31.
pub const RECIPROCAL: f64 = 1.0 / 4_294_967_296.0;

/// A normalised element of integers, of magnitude `value`: half a unit of Q12, and the root's
/// reciprocal.
#[must_use]
pub fn normal(value: f64) -> f64 {
    0.5 / 4096.0 + value.abs() * INVERSE_ROOT.1
}

/// A share `p` of `clusters` beside what its distances are: the softmax's [`probability`], of random rows.
#[must_use]
pub fn share(clusters: usize, p: f64) -> f64 {
    probability(clusters, p).min(DRAWN_PROBABILITY)
}

/// A cosine of integers in Q15: two reciprocal roots of 2^-14, and three roundings.
pub const COSINE: f64 = 2.0 / 16_384.0 + 2.0 / 32_768.0;

/// An accumulator of a bilinear mixture, relative to the largest element, for each axis: a weight of 11 bits is
/// off by half a unit, 2^-12, and moves so much from one neighbour to the other, which are up to twice the
/// largest element apart.
pub const BILINEAR_AXIS: f64 = 2.0 / 4096.0;

/// Dropout's scale in 8 bits, relative: half a unit of a mantissa of at least 128.
pub const DROPOUT_SCALE: f64 = 1.0 / 256.0;

/// What integers of 15 bits lose of an affine function of a channel, relative to 1 and the result:
/// the root's 2^-14, 15 bits of gain and variance, and of an input that is multiplied by up to 10.
pub const FIFTEEN_BITS: f64 = 4e-4;
/// An integer activation at an argument of Q11, and its slope, against the definition there, in units of
/// 2^-15.
///
/// Measured over all 65,535 arguments, rounded up. The tables: half a unit of an entry, half a unit
/// of the interpolation, and the chord's distance to the curve, an eighth of the second derivative
/// times the step squared: 1.54 units for the logistic function, 4.00 for softplus, 0.97 and 1.60 for the
/// normal distribution and its density; they never meet at once. Tanh is twice a logistic function. The
/// gated ones multiply the table's error by the argument: where the function has come within half a unit
/// of 1, the argument is up to 11.
#[must_use]
pub const fn q11_units(curve: Curve) -> (f64, f64) {
    match curve {
        Curve::Sigmoid => (2.2, 0.0),
        Curve::Tanh => (4.4, 0.0),
        Curve::Softplus => (4.6, 2.2),
        Curve::Gelu => (3.2, 3.9),
        Curve::Silu => (6.7, 6.4),
        Curve::HardSwish => (2.0, 0.7),
        _ => (0.0, 0.0),
    }
}

/// The normal distribution and its density from tables, in units of 2^-15; reasons as above.
pub const NORMAL_UNITS: (f64, f64) = (1.7, 2.3);

/// An argument rounded to Q11: half a step.
pub const Q11_ROUNDING: f64 = 1.0 / 4096.0;

/// The steepest slope of any activation: hard-swish at 3.
pub const STEEPEST: f64 = 1.5;

/// Relative error of the factors 282/256 for 1.1 and 26/256 for 0.1: 1/640 each, and a millionth of it
/// for the test's own rounding.
pub const FACTOR_256: f64 = 1.000_001 / 640.0;

/// An activation in `f32` or `f64` at `x` against the definition, in units in the last place of the
/// result.
///
/// Measured within ±20 and rounded up: functions of `libm` within one or two, and half a one for each
/// operation after them. GELU's distribution is `erfc(t) / 2`, which left of 0 changes by `2 t^2 = x^2`
/// times what its argument does, and that is rounded.
#[must_use]
pub fn float_ulps(curve: Curve, x: f64) -> f64 {
    match curve {
        Curve::Sigmoid => 2.5,
        Curve::Tanh => 2.5,
        Curve::Softplus => 2.0,
        Curve::Gelu => 3.0 + 1.5 * x.min(0.0).powi(2),
        Curve::Silu => 3.0,
        Curve::HardSwish => 2.0,
        Curve::ScaledRelu | Curve::LeakyRelu => 1.0,
        _ => 0.0,
    }
}

/// A derivative of an activation in `f32` or `f64`, absolute, in units of epsilon: slopes reach 1.5 and
/// are sums of two terms of a few roundings. Measured: 1.4.
pub const SLOPE_EPSILONS: f64 = 2.0;

/// Central differences of a smooth activation within ±20: a sixth of the third derivative (at most 2,
/// that of tanh at 0) times the step of 1e-4 squared, and rounding of values up to 22.
pub const ACTIVATION_DIFFERENCE: f64 = 2e-8 / 6.0 + 22.0 * 4.0 * f64::EPSILON / 2e-4;
/// Half the distance of `f16`'s smallest numbers, 2^-25: what storing a tiny result may lose.
pub const HALF_SMALLEST_F16: f64 = 1.0 / 33_554_432.0;

/// Arithmetic, resizing and sampling against PyTorch in `f64`, in units of the type's epsilon: sums
/// of at most 24 terms of magnitude 16 or less, each with a handful of roundings on both sides (a
/// sampling position is normalised and back in PyTorch: its error of 4ε times a slope of 4).
pub const TORCH_LAYOUT_EPSILONS: f64 = 24.0 * 16.0;

/// [`COSINE_8_BITS`] of a dense network whose ReLU is masked by its accumulator: measured 0.99993
/// where the test of the stored output has 0.9975; that program: 0.9996 and 0.9981.
pub const COSINE_8_BITS_MASKED: f64 = 0.9996;

/// Outputs and errors of an attention over heads of `size` features of operands within 1, of which those of keys
/// and values are sums over `rows` queries, in an arithmetic of `epsilon`.
///
/// A score is a sum of `size` products in `size/8 + 4` roundings one after another, over √size: off by
/// `(size/8 + 5)·√size·ε/2`. So a probability is off by twice that and a handful of roundings of itself, `δ`. An
/// error of a score is `p·(dp - Σ p·dp)/√size` of products up to `size`, with the same roundings: off by
/// `p·√size·(3 δ + 2 (size/8 + 5) ε)`; probabilities sum to 1.
#[must_use]
pub fn attention(epsilon: f64, size: usize, rows: usize) -> f64 {
    let (size, rows) = (size as f64, rows as f64);
    let product = size / 8.0 + 5.0;
    let probability = product * size.sqrt() + 8.0;
    epsilon * size.sqrt() * (3.0 * probability + 2.0 * product) * rows
}

/// `lut::sine` and `lut::cosine` against the functions, in units of 2^-15: half a unit of an entry and of the
/// interpolation, and the chord's distance to the curve, (π/512)²/8 of 1, which is 0.16 units.
pub const SINE_UNITS: f64 = 1.2;

/// What the length of a pair of integers changes by in a rotation, relative, before it is rounded, and the product
/// of two: sine and cosine off by [`SINE_UNITS`] each, of both factors.
pub const ROTATED_LENGTH: f64 = 2.0 * SINE_UNITS * std::f64::consts::SQRT_2 / 32_768.0;

/// A turned pair of floats within 1, in units of epsilon: an angle up to π rounded, sine and cosine within a
/// unit, two products and a sum.
pub const ROTATION_EPSILONS: f64 = 2.0 * (1.6 + 0.5 + 0.5) + 1.0;

/// Outputs and errors of a deformable attention of operands within 1, by [`deformable`].
#[derive(Clone, Copy, Debug)]
pub struct Deformable {
    /// An output.
    pub out: f64,
    /// An error of a value.
    pub values: f64,
    /// An error of a position.
    pub positions: f64,
    /// An error of a weight.
    pub weights: f64,
}

/// Those in an arithmetic of `epsilon`, each rounding being half of that, of positions up to two cells outside.
///
/// A position is a product and a difference of up to `W + 2`, so a share along an axis is off by `δ = (W + 3)·ε`, one of a
/// neighbour by `2 δ + ε`, and their factors by two roundings more. With `n` points of a query and head:
/// - an output is a sum of `4 n` terms whose magnitudes sum to `n`: off by `n · (4 (2 δ + 2 ε) + 2 n ε)`;
/// - an error of a value is one of `Q · n` terms of which each may be 1: off by `Q n · (2 δ + 3 ε + Q n ε / 2)`;
/// - a product of `D` features is off by `p = (D/8 + 5)·ε/2 · D`; an error of a weight is four of them under shares
///   that sum to 1: off by `p + 4 D (2 δ + 2 ε) + 4 D ε`;
/// - one of a position is `W` times two differences of products under shares: `W · (4 p + 4 D (δ + ε) + 6 D ε)`.
#[must_use]
pub fn deformable(epsilon: f64, shape: selvedge_kernels::deformable::Shape<'_>) -> Deformable {
    let extents = shape.levels.iter().flat_map(|l| [l.height, l.width]);
    let most = extents.max().unwrap_or(0) as f64;
    let n = (shape.levels.len() * shape.points) as f64;
    let (queries, size) = (shape.queries as f64 * n, shape.size as f64);
    let share = (most + 3.0) * epsilon;
    let product = (size / 8.0 + 5.0) * epsilon / 2.0 * size;
    let neighbours = 4.0 * (2.0 * share + 2.0 * epsilon);
    Deformable {
        out: n * (neighbours + 2.0 * n * epsilon),
        values: queries * (2.0 * share + 3.0 * epsilon + queries * epsilon / 2.0),
        positions: most * (4.0 * product + 4.0 * size * (share + epsilon) + 6.0 * size * epsilon),
        weights: product + size * (neighbours + 4.0 * epsilon),
    }
}
