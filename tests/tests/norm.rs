//! LayerNorm and RMSNorm: definitions, gradients, PyTorch, the exact rule on big integers.
//!
//! Training runs of the reference program are replayed in `golden.rs` (`norm-*`).

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::{Executor, Serial};
use selvedge_kernels::fixed::{Rounding, isqrt_u128};
use selvedge_kernels::norm::{self, Affine, Kind, Saved, Shape};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Arg, Element, Error, bf16, f16};
use selvedge_tests::compare::{
    assert_within, central, cosine, elements, inner, integer, noise, sat, settled, shift_rne,
    shifted, values,
};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance::{self, Float};
use selvedge_tests::{for_twins, golden};
use serde_json::Value;

const KINDS: [Kind; 2] = [Kind::Layer, Kind::Rms];
const SHAPES: [(usize, usize); 6] = [(1, 1), (3, 1), (1, 2), (3, 5), (2, 19), (5, 33)];

fn epsilon<T: Element>(kind: Kind) -> T::Epsilon {
    match kind {
        Kind::Layer => T::LAYER_EPSILON,
        Kind::Rms => T::RMS_EPSILON,
    }
}

fn statistics<T: Element>(exec: &impl Executor, shape: Shape, kind: Kind, x: &[T]) -> Vec<T::Row> {
    let mut statistics = vec![T::Row::default(); shape.rows];
    norm::statistics(exec, shape, kind, epsilon::<T>(kind), x, &mut statistics).unwrap();
    statistics
}

/// A pass there and back: output, input gradient, gain gradient.
struct Pass<T: Element> {
    y: Vec<T>,
    dx: Vec<T>,
    dgamma: Vec<T::Update>,
    ranges: [u32; 2],
}

fn pass<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    kind: Kind,
    [x, dy, gamma]: [&[T]; 3],
    beta: Option<Bias<'_, T>>,
    stores: [Store; 2],
) -> Pass<T>
where
    T::Update: Default,
{
    let statistics = statistics(exec, shape, kind, x);
    let saved = Saved {
        kind,
        x,
        statistics: &statistics,
    };
    let affine = Affine { gamma, beta };
    let (mut y, mut dx) = (vec![T::ZERO; x.len()], vec![T::ZERO; x.len()]);
    let mut dgamma = vec![T::Update::default(); shape.features];
    let [forward, backward] = stores;
    let ranges = [
        norm::forward(exec, shape, saved, affine, forward, &mut y).unwrap(),
        norm::backward_input(exec, shape, saved, dy, gamma, backward, &mut dx).unwrap(),
    ];
    norm::backward_gamma(shape, saved, dy, &mut Gradient::Store(&mut dgamma)).unwrap();
    Pass {
        y,
        dx,
        dgamma,
        ranges,
    }
}

/// The definition, in `f64`.
fn normalised(shape: Shape, kind: Kind, epsilon: f64, x: &[f64]) -> Vec<f64> {
    let n = shape.features as f64;
    let rows = x.chunks(shape.features).flat_map(|row| {
        let mean = match kind {
            Kind::Layer => row.iter().sum::<f64>() / n,
            Kind::Rms => 0.0,
        };
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + epsilon;
        let inverse = if variance == 0.0 {
            0.0
        } else {
            variance.sqrt().recip()
        };
        row.iter()
            .map(move |x| (x - mean) * inverse)
            .collect::<Vec<_>>()
    });
    rows.collect()
}

#[test]
fn gradients_are_the_differences() {
    for (seed, (rows, features)) in SHAPES.into_iter().enumerate() {
        for kind in KINDS {
            let shape = Shape { rows, features };
            let place = format!("{shape:?}, {kind:?}");
            let mut noise = Noise::new(300 + seed as u32);
            // A row of one or two features can lie at its mean, where epsilon alone divides.
            let x: Vec<f64> = (0..rows * features)
                .map(|i| noise.signed() + if i % features == 0 { 1.5 } else { 0.0 })
                .collect();
            let dy = noise.vector(rows * features, 1.0);
            let gamma = noise.vector(features, 2.0);
            let beta = noise.vector(features, 1.0);
            let forward = |x: &[f64], gamma: &[f64], beta: &[f64]| {
                let bias = Bias {
                    values: beta,
                    shift: 0,
                };
                let exact = [Store::EXACT; 2];
                pass::<f64>(&Serial, shape, kind, [x, &dy, gamma], Some(bias), exact)
            };
            let loss =
                |x: &[f64], gamma: &[f64], beta: &[f64]| inner(&forward(x, gamma, beta).y, &dy);
            let got = forward(&x, &gamma, &beta);
            let mut dbeta = vec![0.0; features];
            dense::backward_bias::<f64>(features, &dy, &mut Gradient::Store(&mut dbeta)).unwrap();
            let limit = |_| tolerance::SMOOTH_DIFFERENCE;
            let dx = central(&x, |x| loss(x, &gamma, &beta));
            assert_within(&format!("{place}: dx"), &dx, &got.dx, limit);
            let dgamma = central(&gamma, |gamma| loss(&x, gamma, &beta));
            assert_within(&format!("{place}: dgamma"), &dgamma, &got.dgamma, limit);
            let want = central(&beta, |beta| loss(&x, &gamma, beta));
            assert_within(&format!("{place}: dbeta"), &want, &dbeta, limit);
        }
    }
}

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let values = case[key].as_array().unwrap_or_else(|| panic!("no {key}"));
    values.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn replays_torch<T: Element<Update: Default + Into<f64>, Bias = T>>(tolerance: f64) -> usize {
    let file = golden::read("torch/norm.json");
    let cases = file["cases"].as_array().unwrap();
    let cases = cases.iter().filter(|case| case["kind"] != "batch");
    for case in cases.clone() {
        let kind = if case["kind"] == "layer" {
            Kind::Layer
        } else {
            Kind::Rms
        };
        let extent = |key: &str| case[key].as_u64().unwrap() as usize;
        let shape = Shape {
            rows: extent("rows"),
            features: extent("features"),
        };
        let place = format!("{}, {shape:?}, {kind:?}", T::DTYPE);
        let read = |key| elements::<T>(&numbers(case, key), 0);
        let beta = (kind == Kind::Layer).then(|| read("beta"));
        let bias = beta.as_ref().map(|values| Bias { values, shift: 0 });
        let arguments = [&read("x")[..], &read("dy"), &read("gamma")];
        let got = pass::<T>(&Serial, shape, kind, arguments, bias, [Store::EXACT; 2]);
        // A row of one feature divides by √epsilon, about 1/316, and multiplies its roundings.
        let limit = |want: f64| tolerance * (1.0 + want.abs());
        let y = values(&got.y, 0);
        assert_within(&format!("{place}: y"), &numbers(case, "y"), &y, limit);
        assert_within(
            &format!("{place}: dx"),
            &numbers(case, "dx"),
            &values(&got.dx, 0),
            limit,
        );
        let dgamma: Vec<f64> = got.dgamma.into_iter().map(Into::into).collect();
        assert_within(
            &format!("{place}: dgamma"),
            &numbers(case, "dgamma"),
            &dgamma,
            limit,
        );
    }
    cases.count()
}

#[test]
fn pytorch_agrees() {
    assert_eq!(replays_torch::<f64>(tolerance::TORCH_F64), 6);
    assert_eq!(replays_torch::<f32>(tolerance::TORCH_F32), 6);
}

fn floats_are_the_definition<T: Float<Bias = T, Update: Default>>() {
    for (seed, (rows, features)) in SHAPES.into_iter().enumerate() {
        for kind in KINDS {
            let shape = Shape { rows, features };
            let mut source = Noise::new(330 + seed as u32);
            let [x, dy] = [(); 2].map(|()| noise::<T>(&mut source, rows * features));
            let [gamma, beta] = [(); 2].map(|()| noise::<T>(&mut source, features));
            let epsilon = if kind == Kind::Layer { 1e-5 } else { 1e-6 };
            let bias = Some(Bias {
                values: &beta[..],
                shift: 0,
            });
            let exact = [Store::EXACT; 2];
            let got = pass::<T>(&Serial, shape, kind, [&x, &dy, &gamma], bias, exact);
            let normal = normalised(shape, kind, epsilon, &values(&x, 0));
            let want: Vec<f64> = (0..x.len())
                .map(|i| normal[i] * gamma[i % features].to_f64() + beta[i % features].to_f64())
                .collect();
            // x̂ is below 6, and no row's deviation below a tenth.
            let limit = |y: f64| {
                tolerance::sum(20.0 + features as f64, 6.0) * 10.0 + tolerance::storage::<T>(y)
            };
            let place = format!("{}, {shape:?}, {kind:?}", T::DTYPE);
            assert_within(&place, &want, &values(&got.y, 0), limit);
        }
    }
}

#[test]
fn every_float_type_is_the_definition() {
    floats_are_the_definition::<f32>();
    floats_are_the_definition::<f16>();
    floats_are_the_definition::<bf16>();
}

/// The rule of `docs/numerics.md` §15 on big integers: accumulators of the output, of the input's
/// gradient, and the gain's gradient. `M` is the only thing that it knows of the type.
struct Model {
    y: Vec<i128>,
    dx: Vec<i128>,
    dgamma: Vec<i128>,
}

fn model(
    shape: Shape,
    kind: Kind,
    m: i32,
    [x, dy, gamma, beta]: [&[i128]; 4],
    beta_shift: i32,
) -> Model {
    let n = shape.features;
    let big = n as i128;
    let mut out = Model {
        y: Vec::new(),
        dx: Vec::new(),
        dgamma: vec![0; n],
    };
    for (x, dy) in x.chunks(n).zip(dy.chunks(n)) {
        let q: Vec<i128> = x.iter().map(|&x| shift_rne(x, (m - 15).max(0))).collect();
        let s2: i128 = q.iter().map(|q| q * q).sum();
        let s1: i128 = if kind == Kind::Layer {
            q.iter().sum()
        } else {
            0
        };
        let v = big * s2 - s1 * s1;
        let bits = 128 - v.leading_zeros() as i32;
        let (mut j, mut r) = (0, 0);
        if v != 0 {
            j = (30 - bits).div_euclid(2);
            let normal = if j >= 0 { v << (2 * j) } else { v >> (-2 * j) };
            r = (1i128 << 30) / isqrt_u128(normal as u128) as i128;
        }
        let normal = |q: &i128| sat(shift_rne((big * q - s1) * r, 18 - j), 15);
        let normal: Vec<i128> = q.iter().map(normal).collect();
        let k = (2 * m - 23).max(0);
        let a: Vec<i128> = (0..n).map(|i| shift_rne(dy[i] * gamma[i], k)).collect();
        let sum: i128 = if kind == Kind::Layer {
            a.iter().sum()
        } else {
            0
        };
        let product: i128 = (0..n).map(|i| a[i] * normal[i]).sum();
        let product = shift_rne(product, 12);
        for i in 0..n {
            let cap = [30, 61, 125][usize::from(m > 15) + usize::from(m > 24)];
            out.y
                .push(normal[i] * gamma[i] + sat(shift_rne(beta[i], beta_shift), cap));
            let w = big * a[i] - sum - shift_rne(normal[i] * product, 12);
            out.dx.push(shift_rne(w * r, 15 - j));
            out.dgamma[i] += dy[i] * normal[i];
        }
    }
    out
}

fn integers_follow_the_rule<T: Element<Update: Default + Into<i128>>>() {
    let m = T::MAGNITUDE_BITS as i32;
    let largest = ((1u64 << m) - 1) as f64;
    let long = [(2, 300), (1, 5000)];
    for (seed, (rows, features)) in SHAPES.into_iter().chain(long).enumerate() {
        for kind in KINDS {
            for fill in 0..6 {
                let shape = Shape { rows, features };
                let place = format!("{}, {shape:?}, {kind:?}, fill {fill}", T::DTYPE);
                let mut source = Noise::new(350 + seed as u32);
                let count = rows * features;
                let x: Vec<T> = match fill {
                    0 | 1 => noise(&mut source, count),
                    2 => vec![T::from_f64(largest); count],
                    3 => (0..count)
                        .map(|i| T::from_f64(if i % 2 == 0 { largest } else { -largest }))
                        .collect(),
                    4 => (0..count)
                        .map(|i| T::from_f64(f64::from(i % features == 0)))
                        .collect(),
                    _ => (0..count)
                        .map(|_| T::from_f64(source.signed() * 3.0))
                        .collect(),
                };
                let dy: Vec<T> = if fill == 1 {
                    vec![T::from_f64(-largest); count]
                } else {
                    noise(&mut source, count)
                };
                let gamma: Vec<T> = noise(&mut source, features);
                let beta: Vec<T::Bias> = noise(&mut source, features);
                for (beta_shift, shifts) in [(-12, [12, 10]), (3, [20, 30]), (-20, [0, 45])] {
                    let integers = |x: &[T]| x.iter().map(|&x| integer(x)).collect::<Vec<_>>();
                    let want = model(
                        shape,
                        kind,
                        m,
                        [
                            &integers(&x),
                            &integers(&dy),
                            &integers(&gamma),
                            &beta.iter().map(|&b| integer(b)).collect::<Vec<_>>(),
                        ],
                        beta_shift,
                    );
                    let bias = Some(Bias {
                        values: &beta[..],
                        shift: beta_shift,
                    });
                    let got = pass::<T>(
                        &Serial,
                        shape,
                        kind,
                        [&x, &dy, &gamma],
                        bias,
                        shifts.map(shifted),
                    );
                    for (what, want, out, shift, range) in [
                        ("y", &want.y, &got.y, shifts[0], got.ranges[0]),
                        ("dx", &want.dx, &got.dx, shifts[1], got.ranges[1]),
                    ] {
                        let stored: Vec<i128> = want
                            .iter()
                            .map(|&acc| sat(shift_rne(acc, shift), m as u32))
                            .collect();
                        assert_eq!(stored, integers(out), "{place}: {what}");
                        let most = want.iter().map(|acc| acc.unsigned_abs()).max().unwrap();
                        assert_eq!(
                            range,
                            128 - most.leading_zeros(),
                            "{place}: range of {what}"
                        );
                    }
                    let dgamma: Vec<i128> = got.dgamma.into_iter().map(Into::into).collect();
                    assert_eq!(want.dgamma, dgamma, "{place}: dgamma");
                }
            }
        }
    }
}

#[test]
fn integers_follow_the_rule_on_big_integers() {
    integers_follow_the_rule::<i8>();
    integers_follow_the_rule::<u8>();
    integers_follow_the_rule::<i16>();
    integers_follow_the_rule::<u16>();
    integers_follow_the_rule::<i32>();
    integers_follow_the_rule::<u32>();
    integers_follow_the_rule::<i64>();
    integers_follow_the_rule::<u64>();
}

/// All pairs of bytes as rows of two, and of each byte with a third at the end of the range.
#[test]
fn every_pair_of_bytes_is_normalised_within_the_bound() {
    let bytes = -127i32..=127;
    let mut x = Vec::new();
    for a in bytes.clone() {
        for b in bytes.clone() {
            x.extend([a as i8, b as i8, 127]);
        }
    }
    for kind in KINDS {
        let shape = Shape {
            rows: x.len() / 3,
            features: 3,
        };
        // Gains of 1 at exponent 0, accumulators at -12 shifted by 5: x̂ in units of 2^-7, below 1.8.
        let got = pass::<i8>(
            &Serial,
            shape,
            kind,
            [&x, &x, &[1; 3]],
            None,
            [shifted(6), shifted(0)],
        );
        let want = normalised(shape, kind, 0.0, &values(&x, 0));
        let limit = |x: f64| tolerance::normal(x) + 0.5 / 64.0;
        assert_within(&format!("{kind:?}"), &want, &values(&got.y, -6), limit);
    }
}

/// Integer gradients against those of floats on the same numbers.
fn gradients_are_parallel<T: Element<Update: Default + Into<i128>>>(limit: f64) {
    for kind in KINDS {
        let shape = Shape {
            rows: 32,
            features: 24,
        };
        let m = T::MAGNITUDE_BITS as i32;
        let mut source = Noise::new(380);
        let x: Vec<T> = elements(&source.vector(32 * 24, 1.0), -m);
        let dy: Vec<T> = elements(&source.vector(32 * 24, 1.0), -m);
        let mut gamma = vec![T::ZERO; 24];
        let exponent = i32::from(norm::ones(&mut gamma));
        assert_eq!(values(&gamma, exponent), [1.0; 24], "{}", T::DTYPE);
        for gamma in &mut gamma {
            *gamma = T::from_f64(gamma.to_f64() * (1.0 + 0.5 * source.signed()));
        }
        let floats = [values(&x, -m), values(&dy, -m), values(&gamma, exponent)];
        let want = pass::<f64>(
            &Serial,
            shape,
            kind,
            [&floats[0], &floats[1], &floats[2]],
            None,
            [Store::EXACT; 2],
        );
        let statistics = statistics(&Serial, shape, kind, &x);
        let saved = Saved {
            kind,
            x: &x,
            statistics: &statistics,
        };
        let affine = Affine {
            gamma: &gamma,
            beta: None,
        };
        let (mut y, mut dx) = (vec![T::ZERO; x.len()], vec![T::ZERO; x.len()]);
        let bits = T::MAGNITUDE_BITS;
        let y_exponent = settled(exponent + T::NORMAL_EXPONENT, bits, |store| {
            norm::forward(&Serial, shape, saved, affine, store, &mut y)
        });
        let acc = -m + exponent + m + T::NORM_GRADIENT_EXPONENT;
        let words = Words::new(1, 24, 0);
        let dx_exponent = settled(acc, bits, |store| {
            let store = match store {
                Store::Measure => Store::Measure,
                Store::Shift { shift, .. } => Store::Shift {
                    shift,
                    rounding: Rounding::Stochastic(words),
                },
            };

            norm::backward_input(&Serial, shape, saved, &dy, &gamma, store, &mut dx)
        });
        let mut dgamma = vec![T::Update::default(); 24];
        norm::backward_gamma(shape, saved, &dy, &mut Gradient::Store(&mut dgamma)).unwrap();
        let dgamma: Vec<f64> = dgamma.into_iter().map(|g| g.into() as f64).collect();
        for (what, want, got, exponent) in [
            ("y", &want.y, values(&y, 0), y_exponent),
            ("dx", &want.dx, values(&dx, 0), dx_exponent),
            ("dgamma", &want.dgamma, dgamma, -m + T::NORMAL_EXPONENT),
        ] {
            let cosine = cosine(want, &got);
            assert!(
                cosine >= limit,
                "{}, {kind:?}, {what}: cosine {cosine}",
                T::DTYPE
            );
            // The exponent is right, too.
            let length = (inner(&got, &got) / inner(want, want)).sqrt() * 2f64.powi(exponent);
            assert!(
                (length - 1.0).abs() < 0.01,
                "{}, {kind:?}, {what}: length {length}",
                T::DTYPE
            );
        }
    }
}

#[test]
fn integer_gradients_are_parallel_to_floats() {
    gradients_are_parallel::<i8>(tolerance::COSINE_8_BITS.0);
    gradients_are_parallel::<u8>(tolerance::COSINE_8_BITS.0);
    gradients_are_parallel::<i16>(tolerance::COSINE_16_BITS.0);
    gradients_are_parallel::<i32>(tolerance::COSINE_32_BITS.0);
    gradients_are_parallel::<i64>(tolerance::COSINE_32_BITS.0);
}

#[test]
fn threads_and_twins_give_the_same_bytes() {
    let shape = Shape {
        rows: 11,
        features: 13,
    };
    macro_rules! check {
        ($signed:ident, $unsigned:ident) => {
            let mut source = Noise::new(390);
            let [x, dy] = [(); 2].map(|()| noise::<$signed>(&mut source, 11 * 13));
            let gamma = noise::<$signed>(&mut source, 13);
            let words = Words::new(3, 24, 0);
            let stochastic = Store::Shift {
                shift: 14,
                rounding: Rounding::Stochastic(words),
            };
            let stores = [shifted(13), stochastic];
            let flip = |x: &[$signed]| {
                x.iter()
                    .map(|&x| x as $unsigned ^ (1 << ($unsigned::BITS - 1)))
                    .collect::<Vec<_>>()
            };
            for kind in KINDS {
                let want = pass(&Serial, shape, kind, [&x, &dy, &gamma], None, stores);
                assert!(want.y.iter().any(|&y| y > 0) && want.y.iter().any(|&y| y < 0));
                for threads in [2, 5] {
                    let got = pass(
                        &Threads(threads),
                        shape,
                        kind,
                        [&x, &dy, &gamma],
                        None,
                        stores,
                    );
                    assert_eq!(
                        (&want.y, &want.dx, &want.dgamma),
                        (&got.y, &got.dx, &got.dgamma)
                    );
                    assert_eq!(want.ranges, got.ranges);
                }
                let twin = [&flip(&x)[..], &flip(&dy), &flip(&gamma)];
                let got = pass::<$unsigned>(&Serial, shape, kind, twin, None, stores);
                assert_eq!(
                    (flip(&want.y), flip(&want.dx), &want.dgamma),
                    (got.y, got.dx, &got.dgamma)
                );
            }
        };
    }
    for_twins!(check);
}

#[test]
fn constant_rows_give_beta_and_pass_no_error() {
    let shape = Shape {
        rows: 2,
        features: 3,
    };
    let bias = Some(Bias {
        values: &[100i16, -7, 0],
        shift: 0,
    });
    let x = [50i8, 50, 50, 0, 0, 0];
    let got = pass(
        &Serial,
        shape,
        Kind::Layer,
        [&x, &[127; 6], &[64; 3]],
        bias,
        [Store::EXACT; 2],
    );
    assert_eq!(got.y, [100, -7, 0, 100, -7, 0]);
    assert_eq!((got.dx, got.dgamma), (vec![0; 6], vec![0; 3]));
    // A row of zeros has no root mean square.
    let got = pass(
        &Serial,
        shape,
        Kind::Rms,
        [&x, &[127; 6], &[64; 3]],
        bias,
        [Store::EXACT; 2],
    );
    assert_eq!(got.y[3..], [100, -7, 0]);
    assert_eq!(got.dx[3..], [0; 3]);

    // Floats: so with an epsilon of 0, which would divide by 0.
    let (x, mut statistics) = ([2.0f32; 3], [Default::default()]);
    let shape = Shape {
        rows: 1,
        features: 3,
    };
    norm::statistics(&Serial, shape, Kind::Layer, 0.0, &x, &mut statistics).unwrap();
    let saved = Saved {
        kind: Kind::Layer,
        x: &x,
        statistics: &statistics,
    };
    let beta = Some(Bias {
        values: &[1.0f32, 2.0, 3.0][..],
        shift: 0,
    });
    let mut y = [0.0; 3];
    norm::forward(
        &Serial,
        shape,
        saved,
        Affine {
            gamma: &[5.0; 3],
            beta,
        },
        Store::EXACT,
        &mut y,
    )
    .unwrap();
    assert_eq!(y, [1.0, 2.0, 3.0]);
    norm::backward_input(
        &Serial,
        shape,
        saved,
        &[1.0, 2.0, 4.0],
        &[5.0; 3],
        Store::EXACT,
        &mut y,
    )
    .unwrap();
    assert_eq!(y, [0.0; 3]);
}

#[test]
fn nan_stays_in_its_row() {
    let shape = Shape {
        rows: 3,
        features: 4,
    };
    let mut x: Vec<f32> = (0..12).map(|i| (i * i % 7) as f32).collect();
    x[5] = f32::NAN;
    for kind in KINDS {
        let got = pass(
            &Serial,
            shape,
            kind,
            [&x, &[1.0; 12], &[1.0; 4]],
            None,
            [Store::EXACT; 2],
        );
        for out in [&got.y, &got.dx] {
            for (i, y) in out.iter().enumerate() {
                assert_eq!(y.is_nan(), i / 4 == 1, "{kind:?}, element {i}");
            }
        }
        assert!(got.dgamma.iter().all(|g| g.is_nan()), "{kind:?}");
    }
}

#[test]
fn bad_input_is_refused_and_nothing_written() {
    struct Case {
        name: &'static str,
        shape: Shape,
        lengths: [usize; 6],      // x, statistics, gamma, beta, dy, out
        want: [Option<Error>; 4], // statistics, forward, backward_input, backward_gamma
    }
    let length = |arg, expected, got| Some(Error::Length { arg, expected, got });
    let shape = Shape {
        rows: 2,
        features: 3,
    };
    let fine = [6, 2, 3, 3, 6, 6];
    let zero = Some(Error::Zero { arg: Arg::Shape });
    let overflow = Some(Error::Overflow { arg: Arg::Shape });
    let long = Some(Error::Accumulator {
        terms: 65_537,
        limit: 65_536,
    });
    let cases = [
        Case {
            name: "fine",
            shape,
            lengths: fine,
            want: [None; 4],
        },
        Case {
            name: "x",
            shape,
            lengths: [5, 2, 3, 3, 6, 6],
            want: [length(Arg::X, 6, 5); 4],
        },
        Case {
            name: "statistics",
            shape,
            lengths: [6, 3, 3, 3, 6, 6],
            want: [length(Arg::Statistics, 2, 3); 4],
        },
        Case {
            name: "gamma",
            shape,
            lengths: [6, 2, 4, 3, 6, 6],
            want: [
                None,
                length(Arg::Gamma, 3, 4),
                length(Arg::Gamma, 3, 4),
                length(Arg::Dw, 3, 4),
            ],
        },
        Case {
            name: "beta",
            shape,
            lengths: [6, 2, 3, 2, 6, 6],
            want: [None, length(Arg::Beta, 3, 2), None, None],
        },
        Case {
            name: "dy",
            shape,
            lengths: [6, 2, 3, 3, 7, 6],
            want: [None, None, length(Arg::Dy, 6, 7), length(Arg::Dy, 6, 7)],
        },
        Case {
            name: "out",
            shape,
            lengths: [6, 2, 3, 3, 6, 5],
            want: [None, length(Arg::Out, 6, 5), length(Arg::Dx, 6, 5), None],
        },
        Case {
            name: "no rows",
            shape: Shape {
                rows: 0,
                features: 3,
            },
            lengths: fine,
            want: [zero; 4],
        },
        Case {
            name: "no features",
            shape: Shape {
                rows: 2,
                features: 0,
            },
            lengths: fine,
            want: [zero; 4],
        },
        Case {
            name: "too many",
            shape: Shape {
                rows: usize::MAX,
                features: 3,
            },
            lengths: fine,
            want: [overflow; 4],
        },
        Case {
            name: "too long",
            shape: Shape {
                rows: 1,
                features: 65_537,
            },
            lengths: fine,
            want: [long; 4],
        },
    ];
    for Case {
        name,
        shape,
        lengths,
        want,
    } in cases
    {
        let [x, rows, gamma, beta, dy, out] = lengths;
        let mark = norm::Row::default();
        let (x, gamma, dy) = (vec![3i8; x], vec![64i8; gamma], vec![1i8; dy]);
        let beta = vec![0i16; beta];
        let mut statistics = vec![mark; rows];
        // Of something else, so that being overwritten would be seen.
        norm::statistics(
            &Serial,
            Shape { rows, features: 2 },
            Kind::Layer,
            (),
            &[9i8, 1].repeat(rows),
            &mut statistics,
        )
        .unwrap();
        let before = statistics.clone();
        let got = norm::statistics(&Serial, shape, Kind::Layer, (), &x, &mut statistics);
        assert_eq!(got.err(), want[0], "{name}: statistics");
        assert_eq!(
            statistics == before,
            want[0].is_some(),
            "{name}: statistics"
        );
        let saved = Saved {
            kind: Kind::Layer,
            x: &x,
            statistics: &statistics,
        };
        let affine = Affine {
            gamma: &gamma,
            beta: Some(Bias {
                values: &beta,
                shift: 0,
            }),
        };
        let mut y = vec![85i8; out];
        let got = norm::forward(&Serial, shape, saved, affine, Store::EXACT, &mut y);
        assert_eq!(got.err(), want[1], "{name}: forward");
        assert!(
            want[1].is_none() || y.iter().all(|&y| y == 85),
            "{name}: forward"
        );
        let mut dx = vec![85i8; out];
        let got = norm::backward_input(&Serial, shape, saved, &dy, &gamma, Store::EXACT, &mut dx);
        assert_eq!(got.err(), want[2], "{name}: backward_input");
        assert!(
            want[2].is_none() || dx.iter().all(|&x| x == 85),
            "{name}: backward_input"
        );
        let mut dgamma = vec![85i64; gamma.len()];
        let got = norm::backward_gamma(shape, saved, &dy, &mut Gradient::Store(&mut dgamma));
        assert_eq!(got.err(), want[3], "{name}: backward_gamma");
        assert!(
            want[3].is_none() || dgamma.iter().all(|&g| g == 85),
            "{name}: backward_gamma"
        );
    }
    for epsilon in [-1e-5, f32::NAN, f32::INFINITY] {
        let mut statistics = [Default::default()];
        let shape = Shape {
            rows: 1,
            features: 2,
        };
        let got = norm::statistics(
            &Serial,
            shape,
            Kind::Layer,
            epsilon,
            &[1.0f32, 2.0],
            &mut statistics,
        );
        assert_eq!(got, Err(Error::Value { arg: Arg::Epsilon }), "{epsilon}");
        assert_eq!(statistics, [Default::default()], "{epsilon}");
    }
}
