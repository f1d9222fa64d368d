//! Activations in integers: tables against their functions, kernels against an exact model of
//! `docs/numerics.md` §5 and §7, and gradients against f64. Floats: `activation_floats.rs`; in layers:
//! `activation_layers.rs`.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

/// Calls `$check::<T>()` for every integer type.
macro_rules! for_each_integer {
    ($check:ident) => {
        $check::<i8>();
        $check::<u8>();
        $check::<i16>();
        $check::<u16>();
        $check::<i32>();
        $check::<u32>();
        $check::<i64>();
        $check::<u64>();
    };
}

/// The unsigned type's bytes are the signed one's with the highest bit flipped.
macro_rules! assert_twins {
    ($($signed:ident $unsigned:ident $flip:expr;)*) => {$({
        let flip = |x: &[$signed]| x.iter().map(|&x| x as $unsigned ^ $flip).collect::<Vec<_>>();
        let (x, d) = (elements::<$signed>(96), elements::<$signed>(97));
        let rounding = Rounding::Stochastic(Words::new(3, 8, 1));
        for curve in Curve::ALL {
            for (exponent, shift) in [(-20, 5), (-11, 3), (-3, 9), (0, 0)] {
                let store = Store::Shift { shift, rounding };
                let (mut y, mut slope) = (vec![0; x.len()], vec![0; x.len()]);
                let signed = activation::forward(curve.activation(), exponent, &x, store, &mut y, &mut slope);
                let (mut u_y, mut u_slope) = (flip(&y), flip(&slope));
                u_y.fill(0);
                let unsigned =
                    activation::forward(curve.activation(), exponent, &flip(&x), store, &mut u_y, &mut u_slope);
                assert_eq!(signed, unsigned);
                assert_eq!((&u_y, &u_slope), (&flip(&y), &flip(&slope)), "{curve:?}");
                let mut dy = d.clone();
                let mut u_dy = flip(&d);
                activation::backward(curve.activation(), &y, &slope, &mut dy).unwrap();
                activation::backward(curve.activation(), &u_y, &u_slope, &mut u_dy).unwrap();
                assert_eq!(u_dy, flip(&dy), "{curve:?}, backward");
            }
        }
    })*};
}

/// Also what no kernel stores: elements beyond the magnitude bits overflow nothing.
macro_rules! assert_defined {
    ($($t:ident)*) => {$({
        let all = [$t::MIN, $t::MIN + 1, $t::MAX, $t::MAX - 1, $t::MAX / 2, $t::MAX / 3, 0, 1];
        for curve in Curve::ALL {
            for exponent in [i32::MIN, -32_767, -60, -11, 0, 32_767, i32::MAX] {
                let (mut y, mut slope) = ([0 as $t; 8], [0; 8]);
                activation::forward(curve.activation(), exponent, &all, Store::EXACT, &mut y, &mut slope).unwrap();
                let limit = 2f64.powi($t::MAGNITUDE_BITS as i32);
                assert!(y.iter().all(|y| y.to_f64().abs() < limit), "{curve:?}");
            }
            for kept in all {
                let mut dy = all;
                activation::backward(curve.activation(), &[kept; 8], &[kept; 8], &mut dy).unwrap();
            }
        }
    })*};
}

mod curves;
mod kernels;
mod model;
mod refusals;

use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Element, activation};
use selvedge_tests::curve::Curve;
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

fn nearest(shift: i32) -> Store {
    let rounding = Rounding::NearestEven;
    Store::Shift { shift, rounding }
}

fn exact<T: Element>(x: T) -> i128 {
    x.to_f64() as i128 // at most 53 bits
}

fn exacts<T: Element>(x: &[T]) -> Vec<i128> {
    x.iter().map(|&x| exact(x)).collect()
}

fn of<T: Element>(q: i128) -> T {
    T::from_f64(q as f64)
}

fn bit_len(q: i128) -> u32 {
    128 - q.unsigned_abs().leading_zeros()
}

/// All numbers of 8 bits; of wider types the edges of every power of two, and some at random.
fn elements<T: Element>(seed: u32) -> Vec<T> {
    if T::MAGNITUDE_BITS == 7 {
        return (-127..=127).map(of).collect();
    }
    let mut numbers = vec![0];
    for k in 0..=T::MAGNITUDE_BITS {
        numbers.extend([(1i128 << k) - 1, 1 << k, (1 << k) + 1, 3 << k >> 1]);
    }
    let mut noise = Noise::new(seed);
    let largest = (T::MAGNITUDE_BITS as f64).exp2();
    numbers.extend((0..60).map(|_| (noise.signed() * largest) as i128));
    numbers.iter().flat_map(|&q| [of(q), of(-q)]).collect()
}

/// Errors through an activation of random arguments within ±4, against f64. The errors are
/// bell-shaped, as in training: of uniform ones a slope of 1.1 saturates every eleventh.
fn cosine<T: Element>(curve: Curve) -> f64 {
    const N: usize = 4096;
    let m = T::MAGNITUDE_BITS as i32;
    let mut noise = Noise::new(94);
    let largest = f64::from(m).exp2() - 1.0;
    let x: Vec<T> = noise
        .vector(N, largest)
        .into_iter()
        .map(T::from_f64)
        .collect();
    let mut bell = || (0..4).map(|_| noise.signed()).sum::<f64>() / 4.0 * largest;
    let d: Vec<T> = (0..N).map(|_| T::from_f64(bell())).collect();
    let (exponent, activation) = (2 - m, curve.activation::<T>());
    let (mut y, mut slope) = (vec![T::ZERO; N], vec![T::ZERO; N]);
    let range =
        activation::forward(activation, exponent, &x, Store::Measure, &mut y, &mut []).unwrap();
    let shift = if activation.is_bounded() {
        15 - m
    } else {
        range as i32 - m
    };
    activation::forward(activation, exponent, &x, nearest(shift), &mut y, &mut slope).unwrap();
    let mut dx = d.clone();
    activation::backward(activation, &y, &slope, &mut dx).unwrap();
    let (mut both, mut got, mut want) = (0.0, 0.0, 0.0);
    for ((x, d), dx) in x.iter().zip(&d).zip(&dx) {
        let exact = d.to_f64() * curve.derivative(x.to_f64() * f64::from(exponent).exp2());
        both += exact * dx.to_f64();
        want += exact * exact;
        got += dx.to_f64() * dx.to_f64();
    }
    both / (want * got).sqrt()
}

#[test]
fn integer_gradients_point_where_those_of_f64_do() {
    for curve in Curve::ALL {
        for (name, cosine, bound) in [
            ("i8", cosine::<i8>(curve), tolerance::COSINE_8_BITS.0),
            ("u8", cosine::<u8>(curve), tolerance::COSINE_8_BITS.0),
            ("i16", cosine::<i16>(curve), tolerance::COSINE_16_BITS.0),
            ("u16", cosine::<u16>(curve), tolerance::COSINE_16_BITS.0),
            ("i32", cosine::<i32>(curve), tolerance::COSINE_16_BITS.0),
            ("u32", cosine::<u32>(curve), tolerance::COSINE_16_BITS.0),
            ("i64", cosine::<i64>(curve), tolerance::COSINE_16_BITS.0),
            ("u64", cosine::<u64>(curve), tolerance::COSINE_16_BITS.0),
        ] {
            println!("{curve:?}, {name}: {cosine}");
            assert!(cosine >= bound, "{curve:?}, {name}: {cosine}");
        }
    }
}

#[test]
fn unsigned_types_are_twins_of_signed_ones() {
    assert_twins! {
        i8 u8 0x80;
        i16 u16 0x8000;
        i32 u32 0x8000_0000;
        i64 u64 0x8000_0000_0000_0000;
    }
}

#[test]
fn every_bit_pattern_is_defined() {
    assert_defined! { i8 u8 i16 u16 i32 u32 i64 u64 }
}
