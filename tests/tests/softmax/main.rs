//! The softmax family: all variants against their definitions in f64, their gradients against
//! differences and PyTorch, integers against an exact model, and the faults of the reference system.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod cases;
mod golden;
mod model;
mod refusals;
mod tolerance;

use cases::{Call, Variant, all, entmax_by_bisection, gate_exponent, plain};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{self, Sum};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::softmax::adaptive::{self, Clusters};
use selvedge_kernels::softmax::gumbel::{self, Form};
use selvedge_kernels::softmax::mixture::{self, Weights};
use selvedge_kernels::softmax::{
    self, Alpha, Logits, Shape, Temperature, entmax, gradient_exponent,
};
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
                        let tolerance =
                            tolerance::probability(&variant) + tolerance::storage::<T>();
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

/// All triples of 8-bit logits up to a common offset, which must not matter: softmax, entmax 1.5 and
/// sparsemax in the head's 16 bits of precision against f64.
#[test]
fn all_triples_of_8_bits_are_within_the_bound() {
    let exponent = -5;
    let shape = Shape {
        rows: 255,
        classes: 3,
    };
    for alpha in [1.0, 1.5, 2.0] {
        let variant = Variant::Entmax(3, alpha);
        let bound = tolerance::probability(&variant);
        let parameter = Alpha::new(alpha).unwrap();
        let mut scratch = [0; 3];
        for a in 0..=254i16 {
            let narrow = |z: i16| (127 - z) as i8;
            let x: Vec<i16> = (0..=254).flat_map(|b| [127, 127 - a, 127 - b]).collect();
            let mut p = vec![0i16; x.len()];
            let logits = Logits::new(&x, exponent);
            entmax::forward(shape, logits, parameter, &mut p, &mut scratch).unwrap();
            // The 8-bit type: the same probabilities, rounded.
            let x8: Vec<i8> = (0..=254)
                .flat_map(|b| [127, narrow(a), narrow(b)])
                .collect();
            let mut p8 = vec![0i8; x.len()];
            let logits = Logits::new(&x8, exponent);
            entmax::forward(shape, logits, parameter, &mut p8, &mut scratch).unwrap();
            for ((x, p), p8) in x.chunks(3).zip(p.chunks(3)).zip(p8.chunks(3)) {
                let z: Vec<f64> = x.iter().map(|&x| f64::from(x) / 32.0).collect();
                let want = entmax_by_bisection(&z, f64::from(alpha));
                for ((p, p8), want) in p.iter().zip(p8).zip(&want) {
                    let (got, got8) = (f64::from(*p) / 32_768.0, f64::from(*p8) / 128.0);
                    assert!(
                        (got - want).abs() <= bound + 1.0 / 65_536.0,
                        "{x:?}: {got}, {want}"
                    );
                    assert!(
                        (got8 - want).abs() <= bound + tolerance::storage::<i8>(),
                        "{x:?}: {got8}"
                    );
                    // What is 0 by definition is 0: a loss of support would be a wrong gradient.
                    assert!(alpha == 1.0 || *want > 1e-12 || *p == 0, "{x:?}: {p}");
                }
            }
        }
    }
}

/// Rows of 1,000 logits, the largest alpha-power the specification asks for and beyond.
#[test]
fn long_rows_sum_to_one() {
    let mut noise = Noise::new(131);
    let classes = 1000;
    let shape = Shape { rows: 1, classes };
    let x: Vec<i16> = noise
        .vector(classes, 20_000.0)
        .iter()
        .map(|&x| x as i16)
        .collect();
    let values: Vec<f64> = x.iter().map(|&x| f64::from(x) / 8192.0).collect();
    for alpha in [1.0, 1.01, 1.1, 1.5, 1.9, 2.0] {
        let parameter = Alpha::new(alpha).unwrap();
        let (mut p, mut scratch) = (vec![0i32; classes], vec![0; classes]);
        // In 24 bits, to see Q15 as it is.
        let wide: Vec<i32> = x.iter().map(|&x| i32::from(x) << 9).collect();
        let logits = Logits::new(&wide, -22);
        entmax::forward(shape, logits, parameter, &mut p, &mut scratch).unwrap();
        let want = entmax_by_bisection(&values, f64::from(alpha));
        let scale = 2f64.powi(-24);
        let bound = tolerance::probability(&Variant::Standard(1));
        let table = 1.0 / 16_384.0 / (f64::from(alpha) - 1.0).max(0.001);
        let mut total = 0.0;
        for (p, want) in p.iter().zip(&want) {
            let p = f64::from(*p) * scale;
            total += p;
            assert!(
                (p - want).abs() <= bound + want * table,
                "alpha {alpha}: {p}, {want}"
            );
        }
        // Half a unit of Q15 each, as random signs and as a bias of small numbers.
        assert!(
            (total - 1.0).abs() <= 0.5 * classes as f64 / 32_768.0,
            "alpha {alpha}: {total}"
        );
        // Floats sum to 1 by their own threshold.
        let (mut p, mut scratch) = (vec![0f32; classes], vec![0.0; classes]);
        let narrow: Vec<f32> = values.iter().map(|&x| x as f32).collect();
        entmax::forward(
            shape,
            Logits::new(&narrow, 0),
            parameter,
            &mut p,
            &mut scratch,
        )
        .unwrap();
        let total: f64 = p.iter().map(|&p| f64::from(p)).sum();
        // Rounding of f32 thresholds, times 1 / (alpha - 1) by the power.
        let bound = 1e-5 / (f64::from(alpha) - 1.0).max(0.01);
        assert!((total - 1.0).abs() <= bound, "alpha {alpha}: {total}");
    }
}

// The faults of the reference system, `loom-parity.md` §20 items 1 to 5.

fn sparsemax<T: Element>(x: &[T], exponent: i32) -> Vec<T> {
    let variant = Variant::Entmax(x.len(), 2.0);
    variant.forward(Call {
        x,
        exponent,
        temperature: Temperature::ONE,
    })
}

#[test]
fn sparsemax_has_the_right_threshold() {
    assert_eq!(sparsemax(&[2.0, 1.0, 0.1f64], 0), [1.0, 0.0, 0.0]);
    let p = sparsemax(&[0.5, 0.4, 0.3f64], 0);
    for (p, want) in p
        .iter()
        .zip([0.433_333_333_333, 0.333_333_333_333, 0.233_333_333_333])
    {
        assert!((p - want).abs() < 1e-11, "{p}");
    }
    // The same in 2^-13 and 2^-14.
    assert_eq!(sparsemax(&[16_384i16, 8192, 819], -13), [32_767, 0, 0]);
    let p = sparsemax(&[8192i16, 6554, 4915], -14);
    for (p, want) in p.iter().zip([0.433_333, 0.333_333, 0.233_333]) {
        assert!((f64::from(*p) / 32_768.0 - want).abs() < 1e-4, "{p}");
    }
}

#[test]
fn entmax_is_no_blend_and_lies_between() {
    let z = [0.9, 0.4, 0.1, -1.0];
    let of = |alpha: f32| {
        let variant = Variant::Entmax(4, alpha);
        variant.forward(Call {
            x: &z,
            exponent: 0,
            temperature: Temperature::ONE,
        })
    };
    let (soft, between, sparse) = (of(1.0), of(1.5), of(2.0));
    assert!(soft[0] < between[0] && between[0] < sparse[0]);
    let blend: Vec<f64> = soft
        .iter()
        .zip(&sparse)
        .map(|(a, b)| 0.5 * (a + b))
        .collect();
    assert!(between.iter().zip(blend).any(|(a, b)| (a - b).abs() > 0.01));
    assert_eq!(
        soft,
        Variant::Standard(4).forward(Call {
            x: &z,
            exponent: 0,
            temperature: Temperature::ONE
        })
    );
}

#[test]
fn half_the_temperature_is_twice_the_gradient_factor() {
    let x = [0.3f64, -0.4, 0.1];
    let dy = [1.0, -2.0, 0.5];
    let half = Temperature::new(0.5).unwrap();
    let doubled = x.map(|x| 2.0 * x);
    for variant in [Variant::Standard(3), Variant::Entmax(3, 1.5)] {
        let (at_half, _) = variant.backward(
            Call {
                x: &x,
                exponent: 0,
                temperature: half,
            },
            &dy,
            EXACT,
        );
        let call = Call {
            x: &doubled,
            exponent: 0,
            temperature: Temperature::ONE,
        };
        let (at_one, _) = variant.backward(call, &dy, EXACT);
        for (a, b) in at_half.iter().zip(at_one) {
            assert!((a - 2.0 * b).abs() < 1e-14, "{variant:?}: {a}, {b}");
        }
    }
}

#[test]
fn adaptive_and_mixture_are_not_the_standard() {
    let mut noise = Noise::new(141);
    let variants = all();
    for variant in variants
        .iter()
        .filter(|v| matches!(v, Variant::Adaptive(..) | Variant::Mixture(..)))
    {
        let [width, outputs] = variant.widths();
        let x = noise.vector(width, 2.0);
        let p = variant.forward(Call {
            x: &x,
            exponent: 0,
            temperature: Temperature::ONE,
        });
        let standard = plain(&x[..outputs]);
        assert!(
            p.iter().zip(standard).any(|(a, b)| (a - b).abs() > 0.01),
            "{variant:?}"
        );
        let sharp = Temperature::new(0.5).unwrap();
        let q = variant.forward(Call {
            x: &x,
            exponent: 0,
            temperature: sharp,
        });
        assert!(
            p.iter().zip(q).any(|(a, b)| (a - b).abs() > 0.01),
            "{variant:?}: T is ignored"
        );
    }
}

#[test]
fn the_leaves_of_a_tree_sum_to_one_and_groups_do_not() {
    let mut noise = Noise::new(142);
    let tree = Variant::Tree(vec![2, 3, 2]);
    let x = noise.vector(tree.widths()[0], 3.0);
    let call = Call {
        x: &x,
        exponent: 0,
        temperature: Temperature::ONE,
    };
    let total: f64 = tree.forward(call).iter().sum();
    assert!((total - 1.0).abs() < 1e-14, "{total}");
    let groups = Variant::Groups(vec![2, 3, 2]);
    let call = Call {
        x: &x[..12],
        exponent: 0,
        temperature: Temperature::ONE,
    };
    let total: f64 = groups.forward(call).iter().sum();
    assert!((total - 6.0).abs() < 1e-14, "{total}");
}

/// At T = 1 the probabilities are those of the loss: `p - 1` at the label.
#[test]
fn the_loss_has_the_same_softmax() {
    let mut noise = Noise::new(143);
    let x: Vec<i16> = noise
        .vector(50, 32_767.0)
        .iter()
        .map(|&x| x as i16)
        .collect();
    for exponent in -25..=4 {
        let call = Call {
            x: &x,
            exponent,
            temperature: Temperature::ONE,
        };
        let p = Variant::Standard(10).forward(call);
        let mut dy = vec![0i16; 50];
        loss::cross_entropy(10, &x, exponent, &[9; 5], EXACT, &mut dy).unwrap();
        for (i, (p, d)) in p.iter().zip(&dy).enumerate() {
            if i % 10 != 9 {
                assert_eq!(p, d, "exponent {exponent}, element {i}");
            }
        }
    }
}

// Gumbel.

#[test]
fn gumbel_noise_is_within_its_bound() {
    let mut noise = Noise::new(151);
    let mut words: Vec<u32> = (0..200_000).map(|_| noise.word()).collect();
    for edge in [
        0u64,
        1 << 31,
        1 << 32,
        7 << 29,
        1 << 20,
        (1 << 32) - (1 << 29),
    ] {
        words.extend((0..2000).map(|i| (edge.wrapping_add(i).wrapping_sub(1000)) as u32));
    }
    let mut worst: f64 = 0.0;
    for word in words {
        let u = (f64::from(word) + 0.5) / 2f64.powi(32);
        // ln_1p, because u close to 1 is a difference.
        let rest = (4_294_967_295 - word) as f64 + 0.5;
        let exponential = if u > 0.5 {
            -(-rest / 2f64.powi(32)).ln_1p()
        } else {
            -u.ln()
        };
        let want = -exponential.ln();
        worst = worst.max((f64::from(gumbel::noise_q16(word)) / 65_536.0 - want).abs());
    }
    assert!(worst <= tolerance::NOISE, "{worst}");
}

fn hard_draws_follow_the_softmax<T: Element>() {
    let rows = 20_000;
    let shape = Shape { rows, classes: 4 };
    let is_integer = T::DTYPE.is_integer();
    let exponent = if is_integer {
        2 - T::MAGNITUDE_BITS as i32
    } else {
        0
    };
    let scale = 2f64.powi(-exponent);
    let z = [0.0, 1.0, -0.5, 0.25];
    let x: Vec<T> = (0..rows)
        .flat_map(|_| z)
        .map(|z| T::from_f64(z * scale))
        .collect();
    let mut draws = vec![T::ZERO; x.len()];
    let mut scratch = vec![Default::default(); 4];
    let words = Some(Words::new(9, 9, 9));
    let logits = Logits::new(&x, exponent);
    gumbel::forward(shape, logits, words, Form::Hard, &mut draws, &mut scratch).unwrap();
    let mut counts = [0; 4];
    for row in draws.chunks(4) {
        let chosen: Vec<usize> = (0..4).filter(|&i| row[i] != T::ZERO).collect();
        assert_eq!(chosen.len(), 1, "{}: not one-hot", T::DTYPE);
        counts[chosen[0]] += 1;
    }
    for (count, p) in counts.iter().zip(plain(&z)) {
        let share = f64::from(*count) / rows as f64;
        assert!(
            (share - p).abs() < tolerance::SHARE,
            "{}: {share}, {p}",
            T::DTYPE
        );
    }
    // Off at inference: the softmax, and its largest.
    let first = Logits::new(&x[..4], exponent);
    let shape = Shape {
        rows: 1,
        classes: 4,
    };
    let mut soft = [T::ZERO; 4];
    gumbel::forward(shape, first, None, Form::Soft, &mut soft, &mut scratch).unwrap();
    let mut standard = [T::ZERO; 4];
    softmax::forward(shape, first, &mut standard, &mut scratch).unwrap();
    assert_eq!(soft, standard);
    gumbel::forward(shape, first, None, Form::Hard, &mut soft, &mut scratch).unwrap();
    assert!(soft[1] != T::ZERO && soft[0] == T::ZERO && soft[2] == T::ZERO);
}

#[test]
fn hard_draws_follow_the_softmax_in_every_kind_of_type() {
    hard_draws_follow_the_softmax::<i8>();
    hard_draws_follow_the_softmax::<u16>();
    hard_draws_follow_the_softmax::<i64>();
    hard_draws_follow_the_softmax::<bf16>();
    hard_draws_follow_the_softmax::<f32>();
    hard_draws_follow_the_softmax::<f64>();
}

#[test]
fn one_seed_is_one_draw() {
    let x = [0.5f32; 6];
    let shape = Shape {
        rows: 2,
        classes: 3,
    };
    let draw = |words| {
        let (mut p, mut scratch) = ([0.0; 6], [0.0; 3]);
        gumbel::forward(
            shape,
            Logits::new(&x, 0),
            Some(words),
            Form::Soft,
            &mut p,
            &mut scratch,
        )
        .unwrap();
        p
    };
    assert_eq!(draw(Words::new(1, 2, 3)), draw(Words::new(1, 2, 3)));
    assert_ne!(draw(Words::new(1, 2, 3)), draw(Words::new(1, 2, 4)));
    let p = draw(Words::new(1, 2, 3));
    assert_ne!(p[..3], p[3..], "rows share their words");
}

// Adaptive: the logarithm and the loss.

fn adaptive_touches_head_and_one_tail<T: Element>(tolerance: f64) {
    let (ids, sizes) = ([4u32, 0, 1, 6, 3, 2, 5], [2usize, 3, 2]);
    let clusters = Clusters::new(&ids, &sizes, &mut [false; 7]).unwrap();
    let variant = Variant::Adaptive(ids.to_vec(), sizes.to_vec());
    let mut noise = Noise::new(161);
    let temperature = Temperature::new(0.5).unwrap();
    let targets = [4u32, 6, 5, 2];
    let (x, exponent, values) = elements::<T>(&mut noise, 4 * 9, 1.5);
    let logits = Logits::new(&x, exponent).at(temperature);
    let mut scratch = vec![Default::default(); adaptive::scratch_len(clusters).unwrap()];
    let mut log_p = vec![Default::default(); 4];
    adaptive::log_prob(clusters, logits, &targets, &mut log_p, &mut scratch).unwrap();
    let p = variant.definition(&values, 0.5);
    for (r, (got, &target)) in log_p.iter().zip(&targets).enumerate() {
        let (got, want) = (got.to_f64(), p[r * 7 + target as usize].ln());
        assert!(
            (got - want).abs() <= tolerance,
            "{}: {got}, {want}",
            T::DTYPE
        );
    }
    let mark = T::from_f64(85.0);
    let mut dx = vec![mark; x.len()];
    let words = Words::new(1, 1, 1);
    let call = |store, dx: &mut Vec<T>, scratch: &mut Vec<_>| {
        adaptive::cross_entropy(clusters, logits, &targets, store, dx, scratch).unwrap()
    };
    let outcome = call(Store::Measure, &mut dx, &mut scratch);
    assert!(dx.iter().all(|&d| d == mark), "measuring wrote");
    let want: f64 = targets
        .iter()
        .enumerate()
        .map(|(r, &t)| -p[r * 7 + t as usize].ln())
        .sum();
    assert!((outcome.loss.to_f64() - want).abs() <= 4.0 * tolerance);
    let shift = if T::DTYPE.is_integer() {
        outcome.range as i32 - T::MAGNITUDE_BITS as i32
    } else {
        0
    };
    let rounding = Rounding::Stochastic(words);
    call(Store::Shift { shift, rounding }, &mut dx, &mut scratch);
    let scale = 2f64.powi(adaptive::loss_exponent::<T>(temperature) + shift);
    // d(-ln p_t) / dz by the full backward pass with the error -1 / p_t.
    let mut dy = vec![0.0; 28];
    for (r, &t) in targets.iter().enumerate() {
        dy[r * 7 + t as usize] = -1.0 / p[r * 7 + t as usize];
    }
    let (want, _) = variant.backward(
        Call {
            x: &values,
            exponent: 0,
            temperature,
        },
        &dy,
        EXACT,
    );
    let tails: [&[usize]; 2] = [&[1, 6, 3], &[2, 5]];
    let mut untouched = 0;
    for (r, &t) in targets.iter().enumerate() {
        for i in 0..9 {
            let d = dx[r * 9 + i];
            if tails
                .iter()
                .any(|tail| tail.contains(&i) && !tail.contains(&(t as usize)))
            {
                assert_eq!(d, mark, "{}: row {r} wrote logit {i}", T::DTYPE);
                untouched += 1;
                continue;
            }
            let (got, want) = (d.to_f64() * scale, want[r * 9 + i]);
            let step = if T::DTYPE.is_integer() { scale } else { 0.0 };
            assert!(
                (got - want).abs() <= 4.0 * tolerance + step,
                "{}: {got}, {want}",
                T::DTYPE
            );
        }
    }
    assert_eq!(untouched, 5 + 2 + 3 + 3);
}

#[test]
fn adaptive_touches_head_and_one_tail_in_every_kind_of_type() {
    // Q16 logarithms of two softmaxes, each within 2^-13, of logits cut to 15 bits of ±4, at T = 0.5.
    let fixed = 2.0 * 2.0 / 8192.0;
    adaptive_touches_head_and_one_tail::<i8>(fixed);
    adaptive_touches_head_and_one_tail::<u16>(fixed);
    adaptive_touches_head_and_one_tail::<i32>(fixed);
    adaptive_touches_head_and_one_tail::<u64>(fixed);
    adaptive_touches_head_and_one_tail::<f16>(0.005); // 2^-11 of gradients up to 2, and sums of f32
    adaptive_touches_head_and_one_tail::<bf16>(0.02);
    adaptive_touches_head_and_one_tail::<f32>(1e-5);
    adaptive_touches_head_and_one_tail::<f64>(1e-13);
}

/// Other tails' logits are not read: NaN there does no harm.
#[test]
fn adaptive_reads_no_other_tail() {
    let (ids, sizes) = ([0u32, 1, 2, 3], [1usize, 1, 2]);
    let clusters = Clusters::new(&ids, &sizes, &mut [false; 4]).unwrap();
    let x = [0.5, 0.25, f64::NAN, f64::NAN, 0.0, 1.0];
    let (mut out, mut scratch) = ([0.0], [0.0; 12]);
    adaptive::log_prob(clusters, Logits::new(&x, 0), &[1], &mut out, &mut scratch).unwrap();
    assert!(out[0] < 0.0);
    adaptive::log_prob(clusters, Logits::new(&x, 0), &[2], &mut out, &mut scratch).unwrap();
    assert!(out[0].is_nan());
}

// Mixture: the gradient of its weights.

fn weight_sums<T: Element>(
    shape: mixture::Shape,
    weights: Weights<'_, T>,
    x: (&[T], i32),
    dy: &[T],
) -> Vec<f64>
where
    T::Acc: ToF64,
{
    let mut sums = vec![T::Acc::default(); shape.components];
    let mut scratch = vec![Default::default(); mixture::weights_scratch_len(shape).unwrap()];
    let mut gradient = Gradient::<'_, T, T::Acc>::Store(&mut sums);
    mixture::backward_weights(
        shape,
        weights,
        Logits::new(x.0, x.1),
        dy,
        &mut gradient,
        &mut scratch,
    )
    .unwrap();
    sums.into_iter().map(ToF64::to_f64).collect()
}

/// An accumulator as a float.
trait ToF64 {
    fn to_f64(self) -> f64;
}

macro_rules! impl_to_f64 {
    ($($t:ident)*) => {$(
        impl ToF64 for $t {
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

impl_to_f64! { i32 i64 i128 f32 f64 }

#[test]
fn mixture_weights_get_their_gradient() {
    let shape = mixture::Shape {
        rows: 5,
        components: 3,
        classes: 4,
    };
    let mut noise = Noise::new(171);
    let (x, dy) = (noise.vector(60, 2.0), noise.vector(20, 1.0));
    let mut gate = noise.vector(3, 1.0);
    let loss = |weights: Weights<'_, f64>| {
        let (mut p, mut scratch) = (vec![0.0; 20], vec![0.0; 11]);
        mixture::forward(shape, weights, Logits::new(&x, 0), &mut p, &mut scratch).unwrap();
        inner(&p, &dy)
    };
    for t in temperatures() {
        fn of(gate: &[f64], temperature: Temperature) -> Weights<'_, f64> {
            Weights::Logits(Logits::new(gate, 0).at(temperature))
        }
        let got = weight_sums(shape, of(&gate, t), (&x, 0), &dy);
        for k in 0..3 {
            let at = gate[k];
            gate[k] = at + tolerance::STEP;
            let above = loss(of(&gate, t));
            gate[k] = at - tolerance::STEP;
            let below = loss(of(&gate, t));
            gate[k] = at;
            let want = (above - below) / (2.0 * tolerance::STEP);
            assert!(
                (got[k] - want).abs() <= tolerance::DIFFERENCE,
                "{got:?}, {want}"
            );
        }
    }
    // Given weights are normalised; the gradient is that of the normalised ones, in which p is linear.
    let given = [3.0, 1.0, 0.5];
    let got = weight_sums(shape, Weights::Given(&given), (&x, 0), &dy);
    for (k, got) in got.iter().enumerate() {
        let mut one = [0.0; 3];
        one[k] = 1.0;
        assert!((got - loss(Weights::Given(&one))).abs() < 1e-13);
    }
    let total = inner(&got, &given.map(|w| w / 4.5));
    assert!((total - loss(Weights::Given(&given))).abs() < 1e-13);
}

fn integer_mixture_weights_follow_the_floats<T: Element>()
where
    T::Acc: ToF64,
{
    let shape = mixture::Shape {
        rows: 30,
        components: 4,
        classes: 5,
    };
    let mut noise = Noise::new(172);
    let (x, exponent, values) = elements::<T>(&mut noise, 600, 3.0);
    let (dy, dy_exponent, errors) = elements::<T>(&mut noise, 150, 3.9);
    let (gate, gate_exponent, gates) = elements::<T>(&mut noise, 4, 1.0);
    let weights = Weights::Logits(Logits::new(&gate, gate_exponent));
    let scale = 2f64.powi(weights.gradient_exponent(dy_exponent));
    let got = weight_sums(shape, weights, (&x, exponent), &dy);
    let weights = Weights::Logits(Logits::new(&gates, 0));
    let want = weight_sums(shape, weights, (&values, 0), &errors);
    for (got, want) in got.iter().zip(&want) {
        // 30 rows, each rounded to 16 bits of ±8 and weighted by Q15, of errors in 15 bits.
        let error = (got * scale - want).abs();
        assert!(
            error < 30.0 * 8.0 * 4.0 / 16_384.0,
            "{}: {want}, off by {error}",
            T::DTYPE
        );
        assert!(want.abs() > 0.1, "nothing to see");
    }
}

#[test]
fn integer_mixture_weights_follow_the_floats_in_every_type() {
    integer_mixture_weights_follow_the_floats::<i8>();
    integer_mixture_weights_follow_the_floats::<u8>();
    integer_mixture_weights_follow_the_floats::<i16>();
    integer_mixture_weights_follow_the_floats::<i32>();
    integer_mixture_weights_follow_the_floats::<u64>();
}
