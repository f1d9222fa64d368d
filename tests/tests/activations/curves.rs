//! The tables and the curves that are read from them: recorded numbers, bounds, symmetry.

use super::model::Tables;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{activation, lut};
use selvedge_tests::curve::{self, Curve};
use selvedge_tests::{golden, tolerance};
use serde_json::Value;

/// The value of `z` in Q11 and its slope, in units of 2^-15, from the 64-bit type, which stores both
/// exactly.
fn at_q11(curve: Curve, z: &[i64]) -> (Vec<f64>, Vec<f64>) {
    let activation = curve.activation::<i64>();
    let (mut y, mut slope) = (vec![0i64; z.len()], vec![0i64; z.len()]);
    activation::forward(activation, -11, z, Store::EXACT, &mut y, &mut slope).unwrap();
    let unit = f64::from(activation.exponent(-11) + 15).exp2();
    let values = y.iter().map(|&y| y as f64 * unit).collect();
    (
        values,
        slope.iter().map(|&s| s as f64 / 37f64.exp2()).collect(),
    )
}

#[test]
fn tables_are_the_recorded_ones() {
    let tables = Tables::recorded();
    let wide = |table: &[u16]| table.iter().map(|&n| n.into()).collect::<Vec<i128>>();
    assert_eq!(wide(&lut::SIGMOID_Q15), tables.sigmoid);
    assert_eq!(wide(&lut::SOFTPLUS_Q15), tables.softplus);
    assert_eq!(wide(&lut::NORMAL_Q15), tables.normal);
    assert_eq!(wide(&lut::DENSITY_Q15), tables.density);
}

#[test]
fn curves_are_the_recorded_ones() {
    let all = golden::read("primitives.json");
    let numbers = |value: &Value| -> Vec<i64> { serde_json::from_value(value.clone()).unwrap() };
    for (key, function) in [
        ("sigmoid_q11_q15", lut::sigmoid as fn(i32) -> i32),
        ("tanh_q11_q15", lut::tanh),
    ] {
        let (z, want) = (numbers(&all[key][0]), numbers(&all[key][1]));
        let got: Vec<i64> = z.iter().map(|&z| function(z as i32).into()).collect();
        assert_eq!(got, want, "{key}");
    }
    for (name, curve) in [
        ("gelu", Curve::Gelu),
        ("silu", Curve::Silu),
        ("softplus", Curve::Softplus),
    ] {
        let want = &all["curves"][name];
        let z = numbers(&want["z_q11"]);
        let (mut y, mut slope) = (vec![0i64; z.len()], vec![0i64; z.len()]);
        let activation = curve.activation();
        activation::forward(activation, -11, &z, Store::EXACT, &mut y, &mut slope).unwrap();
        assert_eq!(y, numbers(&want["value"]), "{name}");
        assert_eq!(i64::from(activation.exponent(-11)), want["exp"], "{name}");
        let slope: Vec<i64> = slope.iter().map(|s| s >> 37).collect();
        assert_eq!(slope, numbers(&want["slope_q15"]), "{name}: slope");
    }
}

#[test]
fn curves_keep_their_bounds() {
    let z: Vec<i64> = (-32_767..=32_767).collect();
    let x: Vec<f64> = z.iter().map(|&z| z as f64 / 2048.0).collect();
    let units = |want: &dyn Fn(f64) -> f64, got: &[f64]| {
        let errors = x
            .iter()
            .zip(got)
            .map(|(&x, got)| (want(x) * 32_768.0 - got).abs());
        errors.fold(0f64, f64::max)
    };
    let assert_bound = |name: &str, largest: f64, bound: f64| {
        println!("{name}: largest error {largest} units");
        assert!(largest <= bound, "{name}: {largest}");
        assert!(
            largest > bound - 0.1,
            "{name}: the bound is too wide: {largest}"
        );
    };
    for curve in [
        Curve::Sigmoid,
        Curve::Tanh,
        Curve::Softplus,
        Curve::Gelu,
        Curve::Silu,
        Curve::HardSwish,
    ] {
        let (y, slope) = at_q11(curve, &z);
        let (value_bound, slope_bound) = tolerance::q11_units(curve);
        let place = format!("{curve:?}");
        assert_bound(&place, units(&|x| curve.value(x), &y), value_bound);
        if curve.activation::<i64>().keeps_slope() {
            let largest = units(&|x| curve.derivative(x), &slope);
            assert_bound(&format!("{place}, slope"), largest, slope_bound);
        }
    }
    let lut = |function: fn(i32) -> i32| -> Vec<f64> {
        z.iter().map(|&z| f64::from(function(z as i32))).collect()
    };
    let (distribution, density) = tolerance::NORMAL_UNITS;
    assert_bound(
        "normal",
        units(&curve::normal, &lut(lut::normal)),
        distribution,
    );
    assert_bound(
        "density",
        units(&curve::density, &lut(lut::density)),
        density,
    );
}

#[test]
fn curves_are_symmetric() {
    for z in 0..=32_767 {
        assert_eq!(lut::sigmoid(-z), 32_768 - lut::sigmoid(z), "{z}");
        assert_eq!(lut::normal(-z), 32_768 - lut::normal(z), "{z}");
        assert_eq!(lut::tanh(-z), -lut::tanh(z), "{z}");
        assert_eq!(lut::density(-z), lut::density(z), "{z}");
        assert_eq!(lut::softplus(z) - lut::softplus(-z), z << 4, "{z}");
    }
}
