//! Squared error against its definition in wide integers, and both losses against floats.
//! (Cross-entropy against the reference: `primitives.rs`; gradients: `gradients/`.)

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::Element;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{Kernels, Sum, squared_error};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

/// `x / 2^s` to nearest even, saturating at `±2^limit` for left shifts.
fn nearest(x: i128, s: i32, limit: u32) -> i128 {
    if s <= 0 {
        let largest = (1i128 << limit) - 1;
        return match x.checked_mul(1i128.checked_shl(s.unsigned_abs()).unwrap_or(0)) {
            Some(y) if y.abs() <= largest => y,
            _ => x.signum() * largest,
        };
    }
    let (floor, half) = (x >> s, 1i128 << (s - 1));
    let rest = x - (floor << s);
    floor + i128::from(rest > half || (rest == half && floor & 1 == 1))
}

/// The gradient, its range and its stored form, for outputs that are far smaller than the target and
/// far larger.
fn squared_error_is_the_definition<T: Element>() {
    let name = T::DTYPE.name();
    let mut noise = Noise::new(41);
    let bits = <T::Head as Element>::MAGNITUDE_BITS;
    for exponent in -45..=20 {
        let target_exponent = -7;
        let n = 9;
        let full = ((1u64 << bits) - 1) as f64;
        let z: Vec<T::Head> = noise
            .vector(n, full)
            .into_iter()
            .map(Element::from_f64)
            .collect();
        let y: Vec<T::Head> = noise
            .vector(n, 128.0)
            .into_iter()
            .map(Element::from_f64)
            .collect();
        let exact = |x: &T::Head| x.to_f64() as i128;
        let gradient: Vec<i128> = z
            .iter()
            .zip(&y)
            .map(|(z, y)| exact(z) - nearest(exact(y), exponent - target_exponent, 62))
            .collect();
        let largest = gradient.iter().map(|g| g.unsigned_abs()).max().unwrap();
        let range = 128 - largest.leading_zeros();
        let words = Words::new(1, 2, 3);
        for rounding in [Rounding::NearestEven, Rounding::Stochastic(words)] {
            let shift = range as i32 - T::MAGNITUDE_BITS as i32;
            let mut dy = vec![T::ZERO; n];
            let store = Store::Shift { shift, rounding };
            let outcome =
                squared_error::<T>(&z, exponent, &y, target_exponent, store, &mut dy).unwrap();
            assert_eq!(outcome.range, range, "{name}: range at exponent {exponent}");
            for (i, (dy, &g)) in dy.iter().zip(&gradient).enumerate() {
                let want = match rounding {
                    Rounding::NearestEven => nearest(g, shift, 62),
                    Rounding::Stochastic(words) if (1..=32).contains(&shift) => {
                        (g + i128::from(words.word(i as u32) >> (32 - shift))) >> shift
                    }
                    // Beyond 32 places the lowest bits are dropped first; left shifts are exact.
                    Rounding::Stochastic(words) if shift > 32 => {
                        ((g >> (shift - 32)) + i128::from(words.word(i as u32))) >> 32
                    }
                    Rounding::Stochastic(_) => g << -shift,
                };
                let limit = (1i128 << T::MAGNITUDE_BITS) - 1;
                let want = want.clamp(-limit, limit);
                assert_eq!(
                    dy.to_f64() as i128,
                    want,
                    "{name}: element {i} at exponent {exponent}"
                );
            }
        }
    }
}

#[test]
fn squared_error_is_the_definition_in_every_integer_type() {
    squared_error_is_the_definition::<i8>();
    squared_error_is_the_definition::<u8>();
    squared_error_is_the_definition::<i16>();
    squared_error_is_the_definition::<u16>();
    squared_error_is_the_definition::<i32>();
    squared_error_is_the_definition::<u32>();
    squared_error_is_the_definition::<i64>();
    squared_error_is_the_definition::<u64>();
}

fn displayed_squared_error_is_the_sum<T: Element + Kernels>() {
    let mut noise = Noise::new(42);
    let bits = <T::Head as Element>::MAGNITUDE_BITS as i32;
    // Values within ±1 at the exponent that holds them.
    let scale = f64::from(bits).exp2();
    let z = noise.vector(40, 1.0);
    let y = noise.vector(40, 1.0);
    let quantized =
        |x: &[f64]| -> Vec<T::Head> { x.iter().map(|x| Element::from_f64(x * scale)).collect() };
    let mut dy = vec![T::ZERO; 40];
    let (zq, yq) = (quantized(&z), quantized(&y));
    let outcome = squared_error::<T>(&zq, -bits, &yq, -bits, Store::Measure, &mut dy).unwrap();
    let want: f64 = z.iter().zip(&y).map(|(z, y)| 0.5 * (z - y) * (z - y)).sum();
    let error = (outcome.loss.to_f64() - want).abs();
    let name = T::DTYPE.name();
    assert!(
        error <= 40.0 * tolerance::SQUARED_ERROR_TERM,
        "{name}: {want}, off by {error}"
    );
    assert!(dy.iter().all(|&d| d == T::ZERO), "{name}: measuring wrote");
}

#[test]
fn displayed_squared_error_is_the_sum_in_every_integer_type() {
    displayed_squared_error_is_the_sum::<i8>();
    displayed_squared_error_is_the_sum::<u16>();
    displayed_squared_error_is_the_sum::<i32>();
    displayed_squared_error_is_the_sum::<i64>();
    displayed_squared_error_is_the_sum::<u64>();
}
