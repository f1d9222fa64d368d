//! The softmax family: all variants against their definitions in f64, their gradients against
//! differences and PyTorch, integers against an exact model, and what variants are not.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod cases;
mod draws;
mod golden;
mod mixtures;
mod model;
mod properties;
mod refusals;
mod tails;
mod tolerance;

use cases::{Call, Variant, all, gate_exponent};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::softmax::{Temperature, gradient_exponent};
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::noise::Noise;

const EXACT: Store = Store::EXACT;
const ROWS: usize = 3;

fn temperatures() -> [Temperature; 3] {
    [1.0, 0.5, 1.7].map(|t| Temperature::new(t).unwrap())
}

/// Elements of `T` within ±`bound`, the exponent that holds ±4, and the numbers they stand for.
fn elements<T: Element>(noise: &mut Noise, n: usize, bound: f64) -> (Vec<T>, i32, Vec<f64>) {
    let exponent = if T::DTYPE.is_integer() {
        2 - T::MAGNITUDE_BITS as i32
    } else {
        0
    };
    let scale = 2f64.powi(exponent);
    let x: Vec<T> = noise
        .vector(n, bound)
        .iter()
        .map(|x| T::from_f64(x / scale))
        .collect();
    let values = x.iter().map(|x| x.to_f64() * scale).collect();
    (x, exponent, values)
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn probabilities_are_the_definition<T: Element>(rounding: Option<f64>) {
    let mut noise = Noise::new(81);
    for variant in all() {
        for temperature in temperatures() {
            let [width, _] = variant.widths();
            let (x, exponent, values) = elements::<T>(&mut noise, ROWS * width, 3.9);
            let place = format!("{} {variant:?} at T = {}", T::DTYPE, temperature.value());
            let call = Call {
                x: &x,
                exponent,
                temperature,
            };
            let p = variant.forward(call);
            // A mixture's gate is rounded by the type, too.
            let variant = match &variant {
                Variant::Mixture(n, gate) if T::DTYPE.is_integer() => {
                    let gate = Variant::gate::<T>(gate);
                    let scale = 2f64.powi(gate_exponent::<T>());
                    Variant::Mixture(*n, gate.iter().map(|g| g.to_f64() * scale).collect())
                }
                _ => variant.clone(),
            };
            let want = variant.definition(&values, f64::from(temperature.value()));
            assert_eq!(p.len(), want.len());
            let scale = 2f64.powi(-(T::MAGNITUDE_BITS as i32));
            for (i, (p, want)) in p.iter().zip(&want).enumerate() {
                let (got, tolerance) = match rounding {
                    Some(0.0) => (p.to_f64(), tolerance::F64),
                    Some(rounding) => (p.to_f64(), tolerance::float(rounding, *want)),
                    None => {
                        let tolerance = tolerance::probability::<T>(&variant, *want)
                            + tolerance::storage::<T>();
                        (p.to_f64() * scale, tolerance)
                    }
                };
                let error = (got - want).abs();
                assert!(
                    error <= tolerance,
                    "{place}, element {i}: {got}, expected {want}"
                );
            }
            let total: f64 = want.iter().sum();
            assert!(
                (total - variant.total() * ROWS as f64).abs() < 1e-12,
                "{place}: {total}"
            );
        }
    }
}

#[test]
fn probabilities_are_the_definition_in_every_type() {
    probabilities_are_the_definition::<f64>(Some(0.0));
    probabilities_are_the_definition::<f32>(Some(f64::from(f32::EPSILON)));
    probabilities_are_the_definition::<f16>(Some(1.0 / 2048.0));
    probabilities_are_the_definition::<bf16>(Some(1.0 / 256.0));
    probabilities_are_the_definition::<i8>(None);
    probabilities_are_the_definition::<u8>(None);
    probabilities_are_the_definition::<i16>(None);
    probabilities_are_the_definition::<u16>(None);
    probabilities_are_the_definition::<i32>(None);
    probabilities_are_the_definition::<u32>(None);
    probabilities_are_the_definition::<i64>(None);
    probabilities_are_the_definition::<u64>(None);
}

/// Every variant at each temperature; entmax's kinks are where an element enters the support.
#[test]
fn gradients_are_the_differences() {
    for (seed, variant) in (0..).zip(all()) {
        for temperature in temperatures() {
            let mut noise = Noise::new(90 + seed);
            let [width, outputs] = variant.widths();
            let mut x = noise.vector(ROWS * width, 1.5);
            let dy = noise.vector(ROWS * outputs, 1.0);
            let place = format!("{variant:?} at T = {}", temperature.value());
            let loss = |x: &[f64]| {
                inner(
                    &variant.forward(Call {
                        x,
                        exponent: 0,
                        temperature,
                    }),
                    &dy,
                )
            };
            let (got, range) = variant.backward(
                Call {
                    x: &x,
                    exponent: 0,
                    temperature,
                },
                &dy,
                EXACT,
            );
            assert_eq!(range, 0);
            let support = |x: &[f64]| -> Vec<bool> {
                variant
                    .forward(Call {
                        x,
                        exponent: 0,
                        temperature,
                    })
                    .iter()
                    .map(|&p| p > 0.0)
                    .collect()
            };
            let here = support(&x);
            if matches!(variant, Variant::Entmax(_, 2.0)) {
                assert!(
                    here.contains(&true) && here.contains(&false),
                    "{place}: one side only"
                );
            }
            for i in 0..x.len() {
                let at = x[i];
                x[i] = at + tolerance::STEP;
                let above = (loss(&x), support(&x));
                x[i] = at - tolerance::STEP;
                let below = (loss(&x), support(&x));
                x[i] = at;
                assert!(
                    above.1 == here && below.1 == here,
                    "{place}: a kink; another seed"
                );
                let want = (above.0 - below.0) / (2.0 * tolerance::STEP);
                assert!(
                    (got[i] - want).abs() <= tolerance::DIFFERENCE,
                    "{place}, element {i}: difference {want}, kernel {}",
                    got[i]
                );
            }
            assert!(
                got.iter().any(|d| d.abs() > 1e-3),
                "{place}: nothing to see"
            );
        }
    }
}

/// The stored form of `acc` under a store, by the definitions of the roundings.
fn stored<T: Element>(acc: i128, shift: i32, rounding: Rounding, element: u32) -> i128 {
    let rounded = match rounding {
        Rounding::NearestEven => model::nearest(acc, shift),
        Rounding::Stochastic(words) => {
            assert!((1..=32).contains(&shift), "the model's range");
            (acc + i128::from(words.word(element) >> (32 - shift))) >> shift
        }
    };
    let limit = (1i128 << T::MAGNITUDE_BITS) - 1;
    rounded.clamp(-limit, limit)
}

fn integers_follow_the_rule<T: Element>() {
    let mut noise = Noise::new(101);
    let m = T::MAGNITUDE_BITS as i32;
    let drop = (m - 15).max(0);
    let exact = |x: &T| x.to_f64() as i128;
    let temperatures = [1.0, 0.5, 1.7, 300.0, 0.001].map(|t| Temperature::new(t).unwrap());
    for variant in all() {
        for (temperature, exponent) in
            temperatures
                .into_iter()
                .zip([2 - m, 3 - m, -m - 9, 6 - m, 1])
        {
            let [width, outputs] = variant.widths();
            let place = format!("{} {variant:?} at T = {}", T::DTYPE, temperature.value());
            let x: Vec<T> = noise
                .vector(ROWS * width, 2f64.powi(m) - 1.0)
                .iter()
                .map(|x| T::from_f64(*x))
                .collect();
            let dy: Vec<T> = noise
                .vector(ROWS * outputs, 2f64.powi(m) - 1.0)
                .iter()
                .map(|x| T::from_f64(*x))
                .collect();
            let gate: Vec<i128> = match &variant {
                Variant::Mixture(_, gate) => Variant::gate::<T>(gate)
                    .iter()
                    .map(|g| model::nearest(exact(g), drop))
                    .collect(),
                _ => vec![],
            };
            let call = Call {
                x: &x,
                exponent,
                temperature,
            };
            let p = variant.forward(call);
            let words = Words::new(1, 2, 3);
            // To fewer than 32 places, whatever the type.
            let (_, range) = variant.backward(call, &dy, Store::Measure);
            let shift = (range as i32 - m.min(15)).clamp(1, 32);
            let rounding = Rounding::Stochastic(words);
            let (dx, _) = variant.backward(call, &dy, Store::Shift { shift, rounding });
            let mut largest = 0u128;
            for r in 0..ROWS {
                let cut = |x: &T| model::nearest(exact(x), drop);
                let z: Vec<i128> = x[r * width..][..width].iter().map(cut).collect();
                let d: Vec<i128> = dy[r * outputs..][..outputs]
                    .iter()
                    .map(|d| model::nearest(exact(d), m - 15))
                    .collect();
                let gate = (&gate[..], gate_exponent::<T>() + drop);
                let want = model::row(
                    &variant,
                    &z,
                    exponent + drop,
                    temperature,
                    &d,
                    r * width,
                    gate,
                );
                for (i, want) in want.p.iter().enumerate() {
                    let limit = (1i128 << m) - 1;
                    let want = model::nearest(*want, 15 - m).clamp(-limit, limit);
                    assert_eq!(
                        exact(&p[r * outputs + i]),
                        want,
                        "{place}: row {r}, probability {i}"
                    );
                }
                for (i, (weight, difference)) in want.gradient.iter().enumerate() {
                    let acc = weight * difference * i128::from(temperature.inverse().mantissa);
                    largest |= acc.unsigned_abs();
                    let element = r * width + i;
                    let want = stored::<T>(acc, shift, rounding, element as u32);
                    assert_eq!(exact(&dx[element]), want, "{place}: row {r}, gradient {i}");
                }
            }
            assert_eq!(range, 128 - largest.leading_zeros(), "{place}: range");
        }
    }
}

#[test]
fn integers_follow_the_rule_in_every_type() {
    integers_follow_the_rule::<i8>();
    integers_follow_the_rule::<u8>();
    integers_follow_the_rule::<i16>();
    integers_follow_the_rule::<u16>();
    integers_follow_the_rule::<i32>();
    integers_follow_the_rule::<u32>();
    integers_follow_the_rule::<i64>();
    integers_follow_the_rule::<u64>();
}

/// Stochastically rounded gradients of the integers against f64's from the same numbers.
fn integer_gradients_point_the_same_way<T: Element>() {
    let mut noise = Noise::new(111);
    for variant in all() {
        for temperature in temperatures() {
            let [width, outputs] = variant.widths();
            let rows = 40;
            let (x, exponent, values) = elements::<T>(&mut noise, rows * width, 2.0);
            let (dy, _, errors) = elements::<T>(&mut noise, rows * outputs, 3.0);
            let call = Call {
                x: &x,
                exponent,
                temperature,
            };
            let (_, range) = variant.backward(call, &dy, Store::Measure);
            let shift = range as i32 - T::MAGNITUDE_BITS as i32;
            let rounding = Rounding::Stochastic(Words::new(4, 5, 6));
            let (dx, _) = variant.backward(call, &dy, Store::Shift { shift, rounding });
            let call = Call {
                x: &values,
                exponent: 0,
                temperature,
            };
            let (want, _) = variant.backward(call, &errors, EXACT);
            let scale = 2f64.powi(gradient_exponent::<T>(exponent, temperature) + shift);
            let got: Vec<f64> = dx.iter().map(|d| d.to_f64() * scale).collect();
            let place = format!("{} {variant:?} at T = {}", T::DTYPE, temperature.value());
            let sizes = [inner(&got, &got), inner(&want, &want)].map(f64::sqrt);
            let cosine = inner(&got, &want) / (sizes[0] * sizes[1]);
            assert!(
                cosine >= tolerance::cosine::<T>(),
                "{place}: cosine {cosine}"
            );
            // The exponent is right, the factor 1 / T included.
            assert!(
                (sizes[0] / sizes[1] - 1.0).abs() < 0.02,
                "{place}: sizes {sizes:?}"
            );
        }
    }
}

#[test]
fn integer_gradients_point_the_same_way_in_every_type() {
    integer_gradients_point_the_same_way::<i8>();
    integer_gradients_point_the_same_way::<i16>();
    integer_gradients_point_the_same_way::<i32>();
    integer_gradients_point_the_same_way::<i64>();
}

/// Offset binary changes nothing but the bytes.
#[test]
fn unsigned_types_are_their_signed_twins() {
    macro_rules! twins {
        ($($signed:ident $unsigned:ident $flip:expr;)*) => {$(
            let mut noise = Noise::new(121);
            for variant in all() {
                let [width, outputs] = variant.widths();
                let bound = 2f64.powi($signed::MAGNITUDE_BITS as i32) - 1.0;
                let make = |noise: &mut Noise, n| -> Vec<$signed> {
                    noise.vector(n, bound).iter().map(|x| <$signed>::from_f64(*x)).collect()
                };
                let flip = |x: &[$signed]| -> Vec<$unsigned> { x.iter().map(|&x| x as $unsigned ^ $flip).collect() };
                let (x, dy) = (make(&mut noise, ROWS * width), make(&mut noise, ROWS * outputs));
                let exponent = 2 - $signed::MAGNITUDE_BITS as i32;
                let temperature = Temperature::new(0.7).unwrap();
                let (xu, dyu) = (flip(&x), flip(&dy));
                let (call, twin) = (Call { x: &x, exponent, temperature }, Call { x: &xu, exponent, temperature });
                assert_eq!(flip(&variant.forward(call)), variant.forward(twin), "{variant:?}");
                let store = Store::Shift { shift: 30, rounding: Rounding::Stochastic(Words::new(7, 8, 9)) };
                let (signed, unsigned) = (variant.backward(call, &dy, store), variant.backward(twin, &dyu, store));
                assert_eq!((flip(&signed.0), signed.1), unsigned, "{variant:?}");
            }
        )*};
    }
    twins! {
        i8 u8 0x80; i16 u16 0x8000; i32 u32 0x8000_0000; i64 u64 0x8000_0000_0000_0000;
    }
}
