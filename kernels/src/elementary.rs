//! Elementary functions of `f32` that compilers compute side by side: no branch, no table, no call.
//!
//! They are made of products, sums and bits, none of them fused, so that every target gives the same result, and
//! within 2.5 units in the last place of the true one (the tests below measure it). Those of `f64` are
//! `libm`'s, as are logarithms and the error function.
//!
//! Source: the reduction is that of Cody & Waite 1980, "Software Manual for the Elementary Functions"; the
//! coefficients are made by `tests/golden/make_elementary.py`.

/// `ln 2` in 15 bits, whose products with the exponents of `f32` are exact.
const LN_2_HIGH: f32 = f32::from_bits(0x3F31_7200);
/// The rest of it.
const LN_2_LOW: f32 = f32::from_bits(0x35BF_BE8E);
/// `(exp(r) - 1 - r) / r²` for `|r| <= ln(2) / 2`, the constant first.
const EXP: [u32; 5] = [
    0x3F00_0000,
    0x3E2A_AA6F,
    0x3D2A_AA8D,
    0x3C09_05B1,
    0x3AB6_887E,
];
/// `(tanh(x) / x - 1) / x²` of `x²`, for `|x| <= 0.625`.
const TANH: [u32; 6] = [
    0xBEAA_AAAB,
    0x3E08_8875,
    0xBD5D_0462,
    0x3CB2_54BB,
    0xBC08_B50B,
    0x3B16_41E0,
];
/// Where the polynomial of the hyperbolic tangent ends.
const TANH_SMALL: f32 = 0.625;
/// 1.5 · 2^23: what it is added to is rounded to a whole number, which the lowest bits of the sum hold.
const ROUNDING: f32 = 12_582_912.0;
/// Below, the exponential is nearer to 0 than to any other number.
const EXP_LOWEST: f32 = -104.0;
/// Above, it is infinite.
const EXP_HIGHEST: f32 = 89.0;

/// `Σ c[i] · x^i`.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: [u32; N], x: f32) -> f32 {
    (coefficients.iter().rev()).fold(0.0, |sum, &c| sum * x + f32::from_bits(c))
}

/// `2^n`, for -126 to 127.
#[inline(always)]
fn power(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `e^x`, within 1.1 units in the last place, also where that is subnormal. Infinite above 88.73, 0 below -103.98.
/// NaN stays.
#[must_use]
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Not `clamp`, `min` and `max`: they have calls, or drop NaN.
    let x = if x < EXP_LOWEST { EXP_LOWEST } else { x };
    let x = if x > EXP_HIGHEST { EXP_HIGHEST } else { x };
    let rounded = x * core::f32::consts::LOG2_E + ROUNDING;
    let n = rounded - ROUNDING;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let y = r + r * r * polynomial(EXP, r) + 1.0;
    // In two steps: the power alone may leave the range of numbers, or the result be subnormal.
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUNDING.to_bits() as i32);
    let half = n >> 1;
    y * power(half) * power(n.wrapping_sub(half))
}

/// `1 / (1 + e^-x)`, within 2.5 units in the last place. NaN stays.
#[must_use]
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let e = exp(-f32::from_bits(x.to_bits() & 0x7FFF_FFFF)); // of -|x|, which does not overflow
    let part = if x < 0.0 { e } else { 1.0 };
    part / (1.0 + e)
}

/// The hyperbolic tangent, within 2 units in the last place; odd exactly. NaN stays.
#[must_use]
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let sign = x.to_bits() & 0x8000_0000;
    let a = f32::from_bits(x.to_bits() & 0x7FFF_FFFF);
    let square = a * a;
    let small = a + a * (square * polynomial(TANH, square));
    let large = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    let y = if a < TANH_SMALL { small } else { large };
    f32::from_bits(y.to_bits() | sign)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::println;

    use super::{exp, sigmoid, tanh};

    /// Units in the last place, of `f32`, between a result and the true value.
    fn distance(result: f32, truth: f64) -> f64 {
        if f64::from(result) == truth || (result.is_infinite() && truth.abs() > f64::from(f32::MAX))
        {
            return 0.0;
        }
        let exponent = truth.abs().log2().floor().max(-126.0) as i32;
        (f64::from(result) - truth).abs() / 2f64.powi(exponent - 23)
    }

    /// The largest distance over each `step`-th number of all bit patterns.
    fn worst(step: usize, ours: fn(f32) -> f32, truth: fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0..=u32::MAX).step_by(step) {
            let x = f32::from_bits(bits);
            let y = ours(x);
            if x.is_nan() {
                assert!(y.is_nan());
                continue;
            }
            let d = distance(y, truth(f64::from(x)));
            assert!(!d.is_nan(), "{x:e}: {y:e}");
            if d > worst.0 {
                worst = (d, x);
            }
        }
        worst
    }

    fn check(step: usize) {
        let logistic = |x: f64| 1.0 / (1.0 + libm::exp(-x));
        for (name, bound, ours, truth) in [
            (
                "exp",
                1.1,
                exp as fn(f32) -> f32,
                libm::exp as fn(f64) -> f64,
            ),
            ("sigmoid", 2.5, sigmoid, logistic),
            ("tanh", 2.0, tanh, libm::tanh),
        ] {
            let (worst, at) = worst(step, ours, truth);
            println!("{name}: {worst:.3} at {at:e}");
            assert!(worst < bound, "{name}: {worst} at {at:e}");
        }
    }

    #[test]
    fn errors_are_within_their_bounds() {
        check(1_009);
    }

    #[test]
    #[ignore = "all 2^32 numbers: minutes in release"]
    fn errors_of_all_numbers_are_within_their_bounds() {
        check(1);
    }

    #[test]
    fn ends_and_zeros_are_exact() {
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
        assert_eq!(
            (
                sigmoid(f32::NEG_INFINITY),
                sigmoid(0.0),
                sigmoid(f32::INFINITY)
            ),
            (0.0, 0.5, 1.0)
        );
        assert_eq!((tanh(f32::NEG_INFINITY), tanh(f32::INFINITY)), (-1.0, 1.0));
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
    }
}
