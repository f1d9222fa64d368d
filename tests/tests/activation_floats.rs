//! Activations in floats: against 50 decimal digits, against f64, against differences, and against
//! PyTorch. Integers: `activations/`.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::element::Output;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Element, activation, bf16, f16};
use selvedge_tests::curve::Curve;
use selvedge_tests::golden;
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;
use serde_json::Value;

/// Values, and what the backward pass makes of errors `dy`.
fn run<T: Element + Output<T>>(curve: Curve, x: &[T], dy: &[T]) -> (Vec<T>, Vec<T>) {
    let activation = curve.activation::<T>();
    let (mut y, mut slope) = (vec![T::ZERO; x.len()], vec![T::ZERO; x.len()]);
    activation::forward(activation, 0, x, Store::EXACT, &mut y, &mut slope).unwrap();
    let mut dx = dy.to_vec();
    activation::backward(activation, &y, &slope, &mut dx).unwrap();
    (y, dx)
}

/// Values and derivatives.
fn at<T: Element>(curve: Curve, x: &[T]) -> (Vec<T>, Vec<T>) {
    run(curve, x, &vec![T::from_f64(1.0); x.len()])
}

/// The precision of a float type that its kernels compute in.
trait Precision: Element {
    /// Bits after the leading one.
    const FRACTION: i32;
    /// The smallest exponent of a normal number.
    const SMALLEST: i32;
}

impl Precision for f32 {
    const FRACTION: i32 = 23;
    const SMALLEST: i32 = -126;
}

impl Precision for f64 {
    const FRACTION: i32 = 52;
    const SMALLEST: i32 = -1022;
}

fn epsilon<T: Precision>() -> f64 {
    f64::from(-T::FRACTION).exp2()
}

/// How far `got` is from `want`, in units in the last place of the latter.
fn ulps<T: Precision>(want: f64, got: T) -> f64 {
    let exponent = (want.abs().log2().floor() as i32).max(T::SMALLEST); // of 0: the smallest
    // In two steps: the unit of a small number may be no normal f64.
    (got.to_f64() - want).abs() * f64::from(-exponent).exp2() * f64::from(T::FRACTION).exp2()
}

const SMOOTH: [(&str, Curve); 5] = [
    ("sigmoid", Curve::Sigmoid),
    ("tanh", Curve::Tanh),
    ("softplus", Curve::Softplus),
    ("gelu", Curve::Gelu),
    ("silu", Curve::Silu),
];

fn floats(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn is_the_decimal_one<T: Precision>() {
    let all = &golden::read("torch/activations.json")["decimal"];
    let points = floats(&all["x"]);
    let x: Vec<T> = points.iter().map(|&x| T::from_f64(x)).collect();
    for (name, curve) in SMOOTH {
        let (y, slope) = at(curve, &x);
        let want = floats(&all[name]["y"])
            .into_iter()
            .zip(floats(&all[name]["slope"]));
        for (i, (value, derivative)) in want.enumerate() {
            let (error, at) = (ulps(value, y[i]), points[i]);
            println!("{}, {name}({at}): {error} units", T::DTYPE);
            assert!(
                error <= tolerance::float_ulps(curve, at),
                "{}, {name}({at}): {error} units",
                T::DTYPE
            );
            let error = (slope[i].to_f64() - derivative).abs() / epsilon::<T>();
            assert!(
                error <= tolerance::SLOPE_EPSILONS,
                "{}, slope of {name} at {at}: {error} epsilons",
                T::DTYPE
            );
        }
    }
}

#[test]
fn smooth_activations_are_those_of_fifty_digits() {
    is_the_decimal_one::<f32>();
    is_the_decimal_one::<f64>();
}

#[test]
fn f32_keeps_its_bounds() {
    let mut noise = Noise::new(110);
    let mut points: Vec<f32> = noise
        .vector(200_000, 20.0)
        .iter()
        .map(|&x| x as f32)
        .collect();
    points.extend(noise.vector(100_000, 1.0).iter().map(|&x| x as f32));
    points.extend(
        (-120..4).flat_map(|k| [1.0, -1.0, 1.25, -1.75].map(|x: f32| x * f32::powi(2.0, k))),
    );
    for curve in Curve::ALL {
        let (y, slope) = at(curve, &points);
        let (mut largest, mut steepest) = (0f64, 0f64);
        for (&x, (&y, &slope)) in points.iter().zip(y.iter().zip(&slope)) {
            let x = f64::from(x);
            let (error, limit) = (ulps(curve.value(x), y), tolerance::float_ulps(curve, x));
            assert!(error <= limit, "{curve:?} at {x}: {error} units");
            largest = largest.max(error / limit.max(1.0));
            let error = (f64::from(slope) - curve.derivative(x)).abs() / epsilon::<f32>();
            steepest = steepest.max(error);
            assert!(
                error <= tolerance::SLOPE_EPSILONS,
                "slope of {curve:?} at {x}: {error}"
            );
        }
        println!("{curve:?}: {largest} of the limit, slope {steepest} epsilons");
    }
}

/// Infinities, NaN and zeros: value, then derivative.
fn limits_are_documented<T: Element>() {
    let x = [
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        1000.0,
        -1000.0,
        f64::NAN,
    ];
    let x: Vec<T> = x.into_iter().map(T::from_f64).collect();
    let inf = f64::INFINITY;
    // At +inf, at -inf, at 0.
    for (curve, value, slope) in [
        (Curve::Identity, [inf, -inf, 0.0], [1.0, 1.0, 1.0]),
        (Curve::Relu, [inf, 0.0, 0.0], [1.0, 0.0, 0.0]),
        (Curve::MaskedRelu, [inf, 0.0, 0.0], [1.0, 0.0, 0.0]),
        (Curve::LiftedRelu, [inf, 0.0, 0.0], [1.0, 0.0, 0.0]),
        (Curve::ScaledRelu, [inf, 0.0, 0.0], [1.1, 0.0, 0.0]),
        (Curve::LeakyRelu, [inf, -inf, 0.0], [1.0, 0.1, 1.0]),
        (Curve::Relu6, [6.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        (Curve::Sigmoid, [1.0, 0.0, 0.5], [0.0, 0.0, 0.25]),
        (Curve::Tanh, [1.0, -1.0, 0.0], [0.0, 0.0, 1.0]),
        (Curve::Softplus, [inf, 0.0, 2f64.ln()], [1.0, 0.0, 0.5]),
        (Curve::Gelu, [inf, 0.0, 0.0], [1.0, 0.0, 0.5]),
        (Curve::Silu, [inf, 0.0, 0.0], [1.0, 0.0, 0.5]),
        (Curve::HardSwish, [inf, 0.0, 0.0], [1.0, 0.0, 0.5]),
    ] {
        let (y, dx) = at(curve, &x);
        let place = format!("{}, {curve:?}", T::DTYPE);
        let rounded = |v: [f64; 3]| v.map(|v| T::from_f64(v).to_f64());
        let ([above, below, zero], [rising, falling, flat]) = (rounded(value), rounded(slope));
        let got: Vec<f64> = y.iter().map(|y| y.to_f64()).collect();
        assert_eq!(got[..4], [above, below, zero, zero], "{place}");
        assert!(got[6].is_nan(), "{place}: of NaN");
        assert!(got[4].is_finite() && got[5].is_finite(), "{place}: of 1000");
        let got: Vec<f64> = dx.iter().map(|d| d.to_f64()).collect();
        assert_eq!(
            got[..6],
            [rising, falling, flat, flat, rising, falling],
            "{place}: slope"
        );
        // What an error does that meets NaN.
        match curve {
            Curve::Relu
            | Curve::MaskedRelu
            | Curve::LiftedRelu
            | Curve::ScaledRelu
            | Curve::Relu6 => {
                assert_eq!(got[6], 0.0, "{place}: slope at NaN");
            }
            Curve::Identity | Curve::LeakyRelu => assert_eq!(got[6], 1.0, "{place}: slope at NaN"),
            _ => assert!(got[6].is_nan(), "{place}: slope at NaN"),
        }
    }
}

#[test]
fn limits_zeros_and_nan_are_as_documented() {
    limits_are_documented::<f16>();
    limits_are_documented::<bf16>();
    limits_are_documented::<f32>();
    limits_are_documented::<f64>();
}

/// Every number of 16 bits: computed in f32, rounded once.
macro_rules! assert_rounded_f32 {
    ($($t:ident)*) => {$({
        let same = |a: $t, b: f32| a.to_bits() == $t::from_f32(b).to_bits() || (a.is_nan() && b.is_nan());
        let x: Vec<$t> = (0..=u16::MAX).map($t::from_bits).collect();
        let wide = |x: &[$t]| x.iter().map(|x| x.to_f32()).collect::<Vec<f32>>();
        for curve in Curve::ALL {
            let (mut y, mut slope) = (vec![$t::ZERO; x.len()], vec![$t::ZERO; x.len()]);
            activation::forward(curve.activation(), 0, &x, Store::EXACT, &mut y, &mut slope).unwrap();
            let (mut y32, mut slope32) = (vec![0f32; x.len()], vec![0f32; x.len()]);
            activation::forward(curve.activation(), 0, &wide(&x), Store::EXACT, &mut y32, &mut slope32).unwrap();
            // Backward: of the stored values, and of errors in another order.
            let mut dy: Vec<$t> = (0..=u16::MAX).map(|i| $t::from_bits(i.wrapping_mul(40_503))).collect();
            let mut dy32 = wide(&dy);
            activation::backward(curve.activation(), &y, &slope, &mut dy).unwrap();
            activation::backward(curve.activation(), &wide(&y), &wide(&slope), &mut dy32).unwrap();
            for i in 0..x.len() {
                assert!(same(y[i], y32[i]), "{curve:?} of {:?}", x[i]);
                assert!(same(slope[i], slope32[i]), "slope of {curve:?} at {:?}", x[i]);
                assert!(same(dy[i], dy32[i]), "{curve:?} at {:?}, backward", x[i]);
            }
        }
    })*};
}

#[test]
fn sixteen_bits_are_f32_rounded_once() {
    assert_rounded_f32! { f16 bf16 }
}

#[test]
fn gradients_are_the_differences() {
    const STEP: f64 = 1e-4;
    let mut noise = Noise::new(111);
    for curve in Curve::ALL {
        let mut x = noise.vector(61, 20.0);
        x.extend(noise.vector(100, 4.0));
        x.extend(
            curve
                .kinks()
                .iter()
                .flat_map(|k| [k - 2e-3, k - 0.4, k + 2e-3, k + 0.4]),
        );
        x.retain(|x| curve.kinks().iter().all(|k| (x - k).abs() > 2.0 * STEP));
        let dy = noise.vector(x.len(), 1.0);
        let (_, dx) = run(curve, &x, &dy);
        let moved = |step: f64| at(curve, &x.iter().map(|x| x + step).collect::<Vec<_>>()).0;
        let (above, below) = (moved(STEP), moved(-STEP));
        for i in 0..x.len() {
            let want = (above[i] - below[i]) / (2.0 * STEP) * dy[i];
            let error = (dx[i] - want).abs();
            assert!(
                error <= tolerance::ACTIVATION_DIFFERENCE,
                "{curve:?} at {}: difference {want}, kernel {}",
                x[i],
                dx[i]
            );
        }
        // At a kink: the derivative that is documented.
        for &kink in curve.kinks() {
            let (_, slope) = at(curve, &[kink]);
            assert_eq!(slope, [curve.derivative(kink)], "{curve:?} at {kink}");
        }
    }
}

fn is_pytorchs<T: Precision>() {
    let all = &golden::read("torch/activations.json")["torch"];
    let numbers = |key| -> Vec<T> { floats(&all[key]).into_iter().map(T::from_f64).collect() };
    let (x, dy) = (numbers("x"), numbers("dy"));
    let names = [
        ("relu", Curve::Relu),
        ("relu", Curve::MaskedRelu),
        ("relu", Curve::LiftedRelu),
        ("scaled_relu", Curve::ScaledRelu),
        ("leaky_relu", Curve::LeakyRelu),
        ("relu6", Curve::Relu6),
        ("hard_swish", Curve::HardSwish),
    ];
    for (name, curve) in names.into_iter().chain(SMOOTH) {
        let (y, dx) = run(curve, &x, &dy);
        let (want_y, want_dx) = (floats(&all[name]["y"]), floats(&all[name]["dx"]));
        for i in 0..x.len() {
            let place = format!("{}, {curve:?} at {:?}", T::DTYPE, x[i]);
            // Absolute: PyTorch's GELU loses the tail to a difference from 1.
            let error = (y[i].to_f64() - want_y[i]).abs() / epsilon::<T>();
            let limit = tolerance::float_ulps(curve, 0.0) * x[i].to_f64().abs().max(1.0);
            assert!(error <= limit, "{place}: off by {error} epsilons");
            let error = (dx[i].to_f64() - want_dx[i]).abs() / epsilon::<T>();
            let limit = (tolerance::SLOPE_EPSILONS + 2.0) * dy[i].to_f64().abs();
            assert!(error <= limit, "{place}: gradient off by {error} epsilons");
        }
    }
}

#[test]
fn activations_are_those_of_pytorch() {
    is_pytorchs::<f32>();
    is_pytorchs::<f64>();
}
