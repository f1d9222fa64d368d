//! BatchNorm: gradients, PyTorch (running statistics too), the integer rule on big integers,
//! inference and folding.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::batch_norm::{
    self, ErrorSums, Errors, Exponents, Folding, Kernels as _, Running, Saved, Shape,
};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::{Executor, Serial};
use selvedge_kernels::fixed::{Rounding, isqrt_u128};
use selvedge_kernels::norm::{self, Affine};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
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

const SHAPES: [(usize, usize); 5] = [(2, 1), (3, 2), (5, 3), (4, 9), (300, 17)];

/// A pass there and back.
struct Pass<T: Element> {
    statistics: Vec<T::Channel>,
    y: Vec<T>,
    dx: Vec<T>,
    sums: Vec<ErrorSums<T::Statistic>>,
    ranges: [u32; 2],
}

fn pass<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    [x, dy, gamma]: [&[T]; 3],
    beta: Option<Bias<'_, T>>,
    [forward, backward]: [Store; 2],
) -> Pass<T> {
    let mut statistics = vec![T::Channel::default(); shape.channels];
    batch_norm::statistics(exec, shape, T::LAYER_EPSILON, x, &mut statistics).unwrap();
    let (mut y, mut dx) = (vec![T::ZERO; x.len()], vec![T::ZERO; x.len()]);
    let affine = Affine { gamma, beta };
    let y_range =
        batch_norm::forward(exec, shape, x, &statistics, affine, forward, &mut y).unwrap();
    let mut sums = vec![ErrorSums::default(); shape.channels];
    batch_norm::error_sums(exec, shape, x, &statistics, dy, &mut sums).unwrap();
    let saved = Saved {
        x,
        statistics: &statistics,
    };
    let errors = Errors { dy, sums: &sums };
    let dx_range =
        batch_norm::backward_input(exec, shape, saved, errors, gamma, backward, &mut dx).unwrap();
    Pass {
        statistics,
        y,
        dx,
        sums,
        ranges: [y_range, dx_range],
    }
}

/// Gradients of gain and bias.
fn parameters<T: Element<Update: Default + Clone>>(
    sums: &[ErrorSums<T::Statistic>],
) -> [Vec<T::Update>; 2] {
    let mut dgamma = vec![T::Update::default(); sums.len()];
    let mut dbeta = dgamma.clone();
    batch_norm::backward_gamma::<T>(sums, &mut Gradient::Store(&mut dgamma)).unwrap();
    batch_norm::backward_beta::<T>(sums, &mut Gradient::Store(&mut dbeta)).unwrap();
    [dgamma, dbeta]
}

#[test]
fn gradients_are_the_differences() {
    for (seed, (rows, channels)) in SHAPES.into_iter().take(4).enumerate() {
        let shape = Shape { rows, channels };
        let mut noise = Noise::new(400 + seed as u32);
        let x: Vec<f64> = (0..rows * channels)
            .map(|i| noise.signed() + if i < channels { 2.0 } else { 0.0 })
            .collect();
        let dy = noise.vector(rows * channels, 1.0);
        let gamma = noise.vector(channels, 2.0);
        let beta = noise.vector(channels, 1.0);
        let run = |x: &[f64], gamma: &[f64], beta: &[f64]| {
            let bias = Bias {
                values: beta,
                shift: 0,
            };
            pass::<f64>(
                &Serial,
                shape,
                [x, &dy, gamma],
                Some(bias),
                [Store::EXACT; 2],
            )
        };
        let loss = |x: &[f64], gamma: &[f64], beta: &[f64]| inner(&run(x, gamma, beta).y, &dy);
        let got = run(&x, &gamma, &beta);
        let [dgamma, dbeta] = parameters::<f64>(&got.sums);
        let limit = |_| tolerance::SMOOTH_DIFFERENCE;
        let want = central(&x, |x| loss(x, &gamma, &beta));
        assert_within(&format!("{shape:?}: dx"), &want, &got.dx, limit);
        let want = central(&gamma, |gamma| loss(&x, gamma, &beta));
        assert_within(&format!("{shape:?}: dgamma"), &want, &dgamma, limit);
        let want = central(&beta, |beta| loss(&x, &gamma, beta));
        assert_within(&format!("{shape:?}: dbeta"), &want, &dbeta, limit);
    }
}

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let values = case[key].as_array().unwrap_or_else(|| panic!("no {key}"));
    values.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn replays_torch<T>(tolerance: f64) -> usize
where
    T: Element<Bias = T, Update: Default + Clone + Into<f64>, Statistic: Into<f64> + Copy>,
{
    let file = golden::read("torch/norm.json");
    let cases = file["cases"].as_array().unwrap();
    let cases = cases.iter().filter(|case| case["kind"] == "batch");
    for case in cases.clone() {
        let extent = |key: &str| case[key].as_u64().unwrap() as usize;
        let shape = Shape {
            rows: extent("rows"),
            channels: extent("features"),
        };
        let read = |key| elements::<T>(&numbers(case, key), 0);
        let (x, gamma, beta) = (read("x"), read("gamma"), read("beta"));
        let bias = Some(Bias {
            values: &beta[..],
            shift: 0,
        });
        let got = pass::<T>(
            &Serial,
            shape,
            [&x, &read("dy"), &gamma],
            bias,
            [Store::EXACT; 2],
        );
        let [dgamma, dbeta] = parameters::<T>(&got.sums);
        let wide = |g: Vec<T::Update>| g.into_iter().map(Into::into).collect::<Vec<f64>>();

        // Two batches with momentum 1/4, then inference.
        let mut running = vec![T::RUNNING_START; shape.channels];
        batch_norm::update_running::<T>(shape.rows, 0, 1 << 14, &got.statistics, &mut running)
            .unwrap();
        let second: Vec<f64> = numbers(case, "x").iter().map(|x| 2.0 * x + 1.0).collect();
        let mut statistics = got.statistics.clone();
        batch_norm::statistics(
            &Serial,
            shape,
            T::LAYER_EPSILON,
            &elements::<T>(&second, 0),
            &mut statistics,
        )
        .unwrap();
        batch_norm::update_running::<T>(shape.rows, 0, 1 << 14, &statistics, &mut running).unwrap();
        let mut transform = vec![T::Transform::default(); shape.channels];
        let affine = Affine {
            gamma: &gamma,
            beta: bias,
        };
        batch_norm::transform(T::LAYER_EPSILON, 0, affine, &running, &mut transform).unwrap();
        let mut y = vec![T::ZERO; x.len()];
        batch_norm::infer(&Serial, shape, &x, &transform, Store::EXACT, &mut y).unwrap();

        let mean: Vec<f64> = running.iter().map(|r| r.mean.into()).collect();
        let variance: Vec<f64> = running.iter().map(|r| r.variance.into()).collect();
        for (key, got) in [
            ("y", values(&got.y, 0)),
            ("dx", values(&got.dx, 0)),
            ("dgamma", wide(dgamma)),
            ("dbeta", wide(dbeta)),
            ("running_mean", mean),
            ("running_var", variance),
            ("infer", values(&y, 0)),
        ] {
            let limit = |want: f64| tolerance * (1.0 + want.abs());
            assert_within(
                &format!("{}, {shape:?}: {key}", T::DTYPE),
                &numbers(case, key),
                &got,
                limit,
            );
        }
    }
    cases.count()
}

#[test]
fn pytorch_agrees() {
    assert_eq!(replays_torch::<f64>(tolerance::TORCH_F64), 3);
    assert_eq!(replays_torch::<f32>(tolerance::TORCH_F32), 3);
}

fn floats_are_the_definition<T: Float<Bias = T>>() {
    for (seed, (rows, channels)) in SHAPES.into_iter().enumerate() {
        let shape = Shape { rows, channels };
        let mut source = Noise::new(420 + seed as u32);
        let [x, dy] = [(); 2].map(|()| noise::<T>(&mut source, rows * channels));
        let [gamma, beta] = [(); 2].map(|()| noise::<T>(&mut source, channels));
        let bias = Some(Bias {
            values: &beta[..],
            shift: 0,
        });
        let got = pass::<T>(&Serial, shape, [&x, &dy, &gamma], bias, [Store::EXACT; 2]);
        let column = |c: usize| x.iter().skip(c).step_by(channels).map(|x| x.to_f64());
        let want: Vec<f64> = (0..x.len())
            .map(|i| {
                let (c, n) = (i % channels, rows as f64);
                let mean = column(c).sum::<f64>() / n;
                let variance = column(c).map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                (x[i].to_f64() - mean) / (variance + 1e-5).sqrt() * gamma[c].to_f64()
                    + beta[c].to_f64()
            })
            .collect();
        // x̂ is below 6, and no channel's deviation below a tenth; 256 rows are summed at a time.
        let limit = |y: f64| tolerance::sum(280.0, 6.0) * 10.0 + tolerance::storage::<T>(y);
        assert_within(
            &format!("{}, {shape:?}", T::DTYPE),
            &want,
            &values(&got.y, 0),
            limit,
        );
    }
}

#[test]
fn every_float_type_is_the_definition() {
    floats_are_the_definition::<f32>();
    floats_are_the_definition::<f16>();
    floats_are_the_definition::<bf16>();
}

/// `(j, r)` of a variance.
fn root(v: i128) -> (i32, i128) {
    if v == 0 {
        return (0, 0);
    }
    let j = (30 - (128 - v.leading_zeros() as i32)).div_euclid(2);
    let normal = if j >= 0 { v << (2 * j) } else { v >> (-2 * j) };
    (j, (1i128 << 30) / isqrt_u128(normal as u128) as i128)
}

/// The rule of `docs/numerics.md` §15 on big integers. Returns accumulators of `y` and `dx`, and sums.
fn model(
    shape: Shape,
    m: i32,
    [x, dy, gamma, beta]: [&[i128]; 4],
    beta_shift: i32,
) -> [Vec<i128>; 4] {
    let (n, channels) = (shape.rows as i128, shape.channels);
    let cut = (m - 15).max(0);
    let [mut y, mut dx] = [(); 2].map(|()| vec![0; x.len()]);
    let [mut errors, mut products] = [(); 2].map(|()| vec![0; channels]);
    for c in 0..channels {
        let places: Vec<usize> = (c..x.len()).step_by(channels).collect();
        let q: Vec<i128> = places.iter().map(|&i| shift_rne(x[i], cut)).collect();
        let d: Vec<i128> = places.iter().map(|&i| shift_rne(dy[i], cut)).collect();
        let s1: i128 = q.iter().sum();
        let v = n * q.iter().map(|q| q * q).sum::<i128>() - s1 * s1;
        let (j, r) = root(v);
        let normal: Vec<i128> = q
            .iter()
            .map(|q| sat(shift_rne((n * q - s1) * r, 18 - j), 15))
            .collect();
        errors[c] = d.iter().sum();
        products[c] = d.iter().zip(&normal).map(|(d, x)| d * x).sum();
        for (k, &i) in places.iter().enumerate() {
            let cap = [30, 61, 125][usize::from(m > 15) + usize::from(m > 24)];
            y[i] = normal[k] * gamma[c] + sat(shift_rne(beta[c], beta_shift), cap);
            let w = n * d[k] - errors[c] - shift_rne(normal[k] * shift_rne(products[c], 12), 12);
            dx[i] = shift_rne(w * r, 15 - j) * shift_rne(gamma[c], cut);
        }
    }
    [y, dx, errors, products]
}

fn integers_follow_the_rule<T>()
where
    T: Element<Statistic = i64, Update: Default + Clone + Into<i128>>,
{
    let m = T::MAGNITUDE_BITS as i32;
    let cut = (m - 15).max(0);
    let largest = ((1u64 << m) - 1) as f64;
    for (seed, (rows, channels)) in SHAPES.into_iter().enumerate() {
        for fill in 0..4 {
            let shape = Shape { rows, channels };
            let place = format!("{}, {shape:?}, fill {fill}", T::DTYPE);
            let mut source = Noise::new(440 + seed as u32);
            let count = rows * channels;
            let x: Vec<T> = match fill {
                0 => noise(&mut source, count),
                1 => vec![T::from_f64(largest); count],
                2 => (0..count)
                    .map(|i| T::from_f64(f64::from(i < channels)))
                    .collect(),
                _ => (0..count)
                    .map(|_| T::from_f64(source.signed() * 3.0))
                    .collect(),
            };
            let dy: Vec<T> = noise(&mut source, count);
            let gamma: Vec<T> = noise(&mut source, channels);
            let beta: Vec<T::Bias> = noise(&mut source, channels);
            let big = |x: &[T]| x.iter().map(|&x| integer(x)).collect::<Vec<_>>();
            let big_beta: Vec<i128> = beta.iter().map(|&b| integer(b)).collect();
            for (beta_shift, shifts) in [(-12, [12, 10]), (2, [20, 30]), (-20, [0, 45])] {
                let [y, dx, errors, products] = model(
                    shape,
                    m,
                    [&big(&x), &big(&dy), &big(&gamma), &big_beta],
                    beta_shift,
                );
                let bias = Some(Bias {
                    values: &beta[..],
                    shift: beta_shift,
                });
                let got = pass::<T>(&Serial, shape, [&x, &dy, &gamma], bias, shifts.map(shifted));
                for (what, want, out, shift, range) in [
                    ("y", &y, &got.y, shifts[0], got.ranges[0]),
                    ("dx", &dx, &got.dx, shifts[1], got.ranges[1]),
                ] {
                    let stored: Vec<i128> = want
                        .iter()
                        .map(|&acc| sat(shift_rne(acc, shift), m as u32))
                        .collect();
                    assert_eq!(stored, big(out), "{place}: {what}");
                    let most = want.iter().map(|acc| acc.unsigned_abs()).max().unwrap();
                    assert_eq!(
                        range,
                        128 - most.leading_zeros(),
                        "{place}: range of {what}"
                    );
                }
                let [dgamma, dbeta] = parameters::<T>(&got.sums);
                for (want, got) in [(&products, dgamma), (&errors, dbeta)] {
                    let got: Vec<i128> = got.into_iter().map(Into::into).collect();
                    let want: Vec<i128> = want.iter().map(|g| g << cut).collect();
                    assert_eq!(want, got, "{place}");
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

/// Training passes, running statistics, inference and folding of an integer type against `f64`.
fn follows_floats<T>(cosine_limit: f64)
where
    T: Element<Statistic = i64, Update: Default + Clone + Into<i128>>,
{
    let (m, bits) = (T::MAGNITUDE_BITS as i32, T::MAGNITUDE_BITS);
    let name = T::DTYPE;
    let shape = Shape {
        rows: 64,
        channels: 12,
    };
    let count = 64 * 12;
    let mut source = Noise::new(460);
    // Channels of different means and spreads, within 1.
    let spread: Vec<f64> = (0..12).map(|_| 0.2 + 0.3 * source.signed().abs()).collect();
    let mean = source.vector(12, 0.4);
    let x: Vec<f64> = (0..count)
        .map(|i| mean[i % 12] + spread[i % 12] * source.signed())
        .collect();
    let (x, dy) = (
        elements::<T>(&x, -m),
        elements::<T>(&source.vector(count, 1.0), -m),
    );
    let mut gamma = vec![T::ZERO; 12];
    let exponent = i32::from(norm::ones(&mut gamma));
    for gamma in &mut gamma {
        *gamma = T::from_f64(gamma.to_f64() * (1.0 + 0.5 * source.signed()));
    }
    let mb = T::Bias::MAGNITUDE_BITS as i32;
    let beta_exponent = exponent - (mb - m);
    let beta: Vec<T::Bias> = elements(&source.vector(12, 0.5), beta_exponent);
    let [fx, fdy] = [values(&x, -m), values(&dy, -m)];
    let (fgamma, fbeta) = (values(&gamma, exponent), values(&beta, beta_exponent));
    let fbias = Some(Bias {
        values: &fbeta[..],
        shift: 0,
    });
    let want = pass::<f64>(
        &Serial,
        shape,
        [&fx, &fdy, &fgamma],
        fbias,
        [Store::EXACT; 2],
    );

    // Training.
    let mut statistics = vec![T::Channel::default(); 12];
    batch_norm::statistics(&Serial, shape, T::LAYER_EPSILON, &x, &mut statistics).unwrap();
    let acc = exponent + T::NORMAL_EXPONENT;
    let bias = Some(Bias {
        values: &beta[..],
        shift: acc - beta_exponent,
    });
    let affine = Affine {
        gamma: &gamma,
        beta: bias,
    };
    let mut y = vec![T::ZERO; count];
    let y_exponent = settled(acc, bits, |store| {
        batch_norm::forward(&Serial, shape, &x, &statistics, affine, store, &mut y)
    });
    let mut sums = vec![ErrorSums::default(); 12];
    batch_norm::error_sums(&Serial, shape, &x, &statistics, &dy, &mut sums).unwrap();
    let saved = Saved {
        x: &x,
        statistics: &statistics,
    };
    let errors = Errors {
        dy: &dy,
        sums: &sums,
    };
    let mut dx = vec![T::ZERO; count];
    let dx_exponent = settled(
        -m + exponent + m + T::BATCH_GRADIENT_EXPONENT,
        bits,
        |store| {
            let store = match store {
                Store::Measure => Store::Measure,
                Store::Shift { shift, .. } => Store::Shift {
                    shift,
                    rounding: Rounding::Stochastic(Words::new(1, 24, 0)),
                },
            };

            batch_norm::backward_input(&Serial, shape, saved, errors, &gamma, store, &mut dx)
        },
    );
    let [dgamma, dbeta] = parameters::<T>(&sums);
    let wide = |g: Vec<T::Update>| g.into_iter().map(|g| g.into() as f64).collect::<Vec<_>>();
    let [fdgamma, fdbeta] = parameters::<f64>(&want.sums);
    for (what, want, got, exponent) in [
        ("y", &want.y, values(&y, 0), y_exponent),
        ("dx", &want.dx, values(&dx, 0), dx_exponent),
        ("dgamma", &fdgamma, wide(dgamma), -m + T::NORMAL_EXPONENT),
        ("dbeta", &fdbeta, wide(dbeta), -m),
    ] {
        let cosine = cosine(want, &got);
        assert!(cosine >= cosine_limit, "{name}, {what}: cosine {cosine}");
        let length = (inner(&got, &got) / inner(want, want)).sqrt() * 2f64.powi(exponent);
        assert!(
            (length - 1.0).abs() < 0.01,
            "{name}, {what}: length {length}"
        );
    }

    // Running statistics: those of the same numbers, to the rounding of units of 2^-32.
    let mut running = vec![T::RUNNING_START; 12];
    let mut frunning = vec![f64::RUNNING_START; 12];
    for momentum in [batch_norm::MOMENTUM, 1 << 16, 1 << 15] {
        batch_norm::update_running::<T>(64, -m, momentum, &statistics, &mut running).unwrap();
        batch_norm::update_running::<f64>(64, 0, momentum, &want.statistics, &mut frunning)
            .unwrap();
        let unit = 2f64.powi(-32);
        let both = |of: fn(&Running<i64>) -> i64| {
            running
                .iter()
                .map(|r| of(r) as f64 * unit)
                .collect::<Vec<_>>()
        };
        let fboth = |of: fn(&Running<f64>) -> f64| frunning.iter().map(of).collect::<Vec<_>>();
        // Statistics of the wide types are of elements cut to 15 bits.
        let limit = |_| 3.0 * unit + if m > 15 { 2f64.powi(-15) } else { 0.0 };
        assert_within(
            &format!("{name}: running mean"),
            &fboth(|r| r.mean),
            &both(|r| r.mean),
            limit,
        );
        assert_within(
            &format!("{name}: running variance"),
            &fboth(|r| r.variance),
            &both(|r| r.variance),
            limit,
        );
    }

    // Inference.
    let acc = exponent + T::TRANSFORM_EXPONENT;
    let bias = Some(Bias {
        values: &beta[..],
        shift: acc - beta_exponent,
    });
    let affine = Affine {
        gamma: &gamma,
        beta: bias,
    };
    let mut transform = vec![T::Transform::default(); 12];
    batch_norm::transform(T::LAYER_EPSILON, -m, affine, &running, &mut transform).unwrap();
    let mut ftransform = vec![Default::default(); 12];
    let faffine = Affine {
        gamma: &fgamma,
        beta: fbias,
    };
    batch_norm::transform(0.0, 0, faffine, &frunning, &mut ftransform).unwrap();
    let exponent = settled(acc, bits, |store| {
        batch_norm::infer(&Serial, shape, &x, &transform, store, &mut y)
    });
    let mut fy = vec![0.0; count];
    batch_norm::infer(&Serial, shape, &fx, &ftransform, Store::EXACT, &mut fy).unwrap();
    // The type's own step, and what 15 bits of input, gain and running statistics leave.
    let inference = |unit: f64| move |y: f64| unit + tolerance::FIFTEEN_BITS * (1.0 + y.abs());
    let unit = 2f64.powi(exponent) / 2.0 + 2f64.powi(acc);
    assert_within(
        &format!("{name}: inference"),
        &fy,
        &values(&y, exponent),
        inference(unit),
    );

    // Folding into a dense layer of 5 features and 12 outputs: as the two layers one after another.
    let dense_shape = dense::Shape {
        batch: 9,
        inputs: 5,
        outputs: 12,
    };
    let u: Vec<T> = elements(&source.vector(45, 1.0), -m);
    let mut w: Vec<T> = elements(&source.vector(60, 0.25), -m - 2);
    let mut b: Vec<T::Bias> = elements(&source.vector(12, 0.5), -mb);
    let (fu, mut fw, mut fb) = (values(&u, -m), values(&w, -m - 2), values(&b, -mb));
    batch_norm::fold(
        Folding {
            transform: &ftransform,
            x_exponent: 0,
            out_exponent: 0,
        },
        Exponents::default(),
        &mut fw,
        &mut fb,
    )
    .unwrap();
    let folded = batch_norm::fold(
        Folding {
            transform: &transform,
            x_exponent: -m,
            out_exponent: acc,
        },
        Exponents {
            weight: -m - 2,
            bias: -mb,
        },
        &mut w,
        &mut b,
    )
    .unwrap();
    let bias = Bias {
        values: &fb[..],
        shift: 0,
    };
    let mut fout = vec![0.0; 9 * 12];
    dense::forward(
        &Serial,
        dense_shape,
        &fu,
        &fw,
        bias,
        Epilogue::EXACT,
        &mut fout,
        &mut [],
    )
    .unwrap();
    let acc = -m + folded.weight;
    let bias = Bias {
        values: &b[..],
        shift: acc - folded.bias,
    };
    let mut out = vec![T::ZERO; 9 * 12];
    let exponent = settled(acc, bits, |store| {
        dense::forward(
            &Serial,
            dense_shape,
            &u,
            &w,
            bias,
            Epilogue {
                store,
                ..Epilogue::EXACT
            },
            &mut out,
            &mut [],
        )
    });
    // Half a step of the output, of the bias, and of five weights with inputs up to 1.
    let steps = [(exponent, 1.0), (folded.bias, 1.0), (folded.weight, 5.0)];
    let unit: f64 = steps.iter().map(|(e, n)| n * 2f64.powi(*e) / 2.0).sum();
    assert_within(
        &format!("{name}: folded"),
        &fout,
        &values(&out, exponent),
        inference(unit),
    );
    let largest = w.iter().map(|w| w.to_f64().abs()).fold(0.0, f64::max);
    assert!(
        largest >= 2f64.powi(m - 1),
        "{name}: folded weights waste bits: {largest}"
    );
}

#[test]
fn integers_follow_floats() {
    follows_floats::<i8>(tolerance::COSINE_8_BITS.0);
    follows_floats::<u8>(tolerance::COSINE_8_BITS.0);
    follows_floats::<i16>(tolerance::COSINE_16_BITS.0);
    follows_floats::<u16>(tolerance::COSINE_16_BITS.0);
    follows_floats::<i32>(tolerance::COSINE_32_BITS.0);
    follows_floats::<i64>(tolerance::COSINE_32_BITS.0);
}

/// Folding floats changes nothing but roundings: layer and normalisation one after the other.
#[test]
fn folded_floats_give_what_both_layers_give() {
    let mut source = Noise::new(470);
    let shape = dense::Shape {
        batch: 6,
        inputs: 7,
        outputs: 4,
    };
    let (x, mut w, mut b) = (
        source.vector(42, 1.0),
        source.vector(28, 1.0),
        source.vector(4, 1.0),
    );
    let (gamma, beta) = (source.vector(4, 2.0), source.vector(4, 1.0));
    let running: Vec<_> = (0..4)
        .map(|_| Running {
            mean: source.signed(),
            variance: 0.1 + source.signed().abs(),
        })
        .collect();
    let affine = Affine {
        gamma: &gamma,
        beta: Some(Bias {
            values: &beta[..],
            shift: 0,
        }),
    };
    let mut transform = [Default::default(); 4];
    batch_norm::transform(1e-5, 0, affine, &running, &mut transform).unwrap();
    let run = |w: &[f64], b: &[f64]| {
        let mut y = vec![0.0; 24];
        let bias = Bias {
            values: b,
            shift: 0,
        };
        dense::forward(
            &Serial,
            shape,
            &x,
            w,
            bias,
            Epilogue::EXACT,
            &mut y,
            &mut [],
        )
        .unwrap();
        y
    };
    let mut want = vec![0.0; 24];
    let two = Shape {
        rows: 6,
        channels: 4,
    };
    batch_norm::infer(
        &Serial,
        two,
        &run(&w, &b),
        &transform,
        Store::EXACT,
        &mut want,
    )
    .unwrap();
    let folding = Folding {
        transform: &transform,
        x_exponent: 0,
        out_exponent: 0,
    };
    batch_norm::fold(folding, Exponents::default(), &mut w, &mut b).unwrap();
    assert_within("folded", &want, &run(&w, &b), |_| tolerance::TORCH_F64);
}

#[test]
fn threads_and_twins_give_the_same_bytes() {
    let shape = Shape {
        rows: 13,
        channels: 19,
    };
    macro_rules! check {
        ($signed:ident, $unsigned:ident) => {
            let mut source = Noise::new(480);
            let [x, dy] = [(); 2].map(|()| noise::<$signed>(&mut source, 13 * 19));
            let gamma = noise::<$signed>(&mut source, 19);
            let stochastic = Store::Shift {
                shift: 20,
                rounding: Rounding::Stochastic(Words::new(3, 24, 0)),
            };
            let stores = [shifted(13), stochastic];
            let want = pass(&Serial, shape, [&x, &dy, &gamma], None, stores);
            for threads in [2, 5] {
                let got = pass(&Threads(threads), shape, [&x, &dy, &gamma], None, stores);
                assert_eq!(
                    (&want.y, &want.dx, &want.sums),
                    (&got.y, &got.dx, &got.sums)
                );
                assert_eq!(
                    (&want.statistics, want.ranges),
                    (&got.statistics, got.ranges)
                );
            }
            let flip = |x: &[$signed]| {
                x.iter()
                    .map(|&x| x as $unsigned ^ (1 << ($unsigned::BITS - 1)))
                    .collect::<Vec<_>>()
            };
            let got = pass::<$unsigned>(
                &Serial,
                shape,
                [&flip(&x), &flip(&dy), &flip(&gamma)],
                None,
                stores,
            );
            assert_eq!(
                (flip(&want.y), flip(&want.dx), &want.sums),
                (got.y, got.dx, &got.sums)
            );
        };
    }
    for_twins!(check);
}

#[test]
fn constant_channels_give_beta_and_nan_stays_in_its_channel() {
    let shape = Shape {
        rows: 3,
        channels: 2,
    };
    let bias = Some(Bias {
        values: &[100i16, -7],
        shift: 0,
    });
    let got = pass(
        &Serial,
        shape,
        [&[50i8, 1, 50, 2, 50, 3], &[127; 6], &[64; 2]],
        bias,
        [Store::EXACT; 2],
    );
    for row in got.y.chunks(2) {
        assert_eq!(row[0], 100);
    }
    assert!(got.dx.chunks(2).all(|row| row[0] == 0));
    let mut running = [Running {
        mean: 5 << 32,
        variance: 0,
    }; 1];
    let mut transform = [Default::default()];
    let affine = Affine {
        gamma: &[64i8],
        beta: Some(Bias {
            values: &[100i16],
            shift: 0,
        }),
    };
    batch_norm::transform((), -7, affine, &running, &mut transform).unwrap();
    let mut y = [0i8; 2];
    let one = Shape {
        rows: 2,
        channels: 1,
    };
    batch_norm::infer(&Serial, one, &[127, -127], &transform, Store::EXACT, &mut y).unwrap();
    assert_eq!(y, [100, 100]);
    // An exponent far out saturates, and stays defined.
    let mut statistics = [Default::default(); 2];
    batch_norm::statistics(
        &Serial,
        Shape {
            rows: 2,
            channels: 2,
        },
        (),
        &[1i8, 2, 3, 4],
        &mut statistics,
    )
    .unwrap();
    batch_norm::update_running::<i8>(2, 30_000, 1 << 16, &statistics[..1], &mut running).unwrap();
    assert_eq!(
        running[0],
        Running {
            mean: (1 << 62) - 1,
            variance: (1 << 62) - 1
        }
    );

    let x = [1.0f32, 2.0, f32::NAN, 5.0, 3.0, 4.0];
    let got = pass(
        &Serial,
        shape,
        [&x, &[1.0; 6], &[1.0; 2]],
        None,
        [Store::EXACT; 2],
    );
    for out in [&got.y, &got.dx] {
        for (i, y) in out.iter().enumerate() {
            assert_eq!(y.is_nan(), i % 2 == 0, "element {i}");
        }
    }
}

/// Only sums have a limit of rows: at inference each row is for itself.
#[test]
fn inference_has_no_limit_of_rows() {
    let running = [Running {
        mean: 0,
        variance: 1 << 32,
    }];
    let affine = Affine {
        gamma: &[64i8], // 1
        beta: None,
    };
    let mut transform = [Default::default()];
    batch_norm::transform((), -7, affine, &running, &mut transform).unwrap();
    for rows in [1 << 24, (1 << 24) + 1] {
        let shape = Shape { rows, channels: 1 };
        let mut x = vec![0i8; rows];
        x[rows - 1] = 64;
        let mut y = vec![1i8; rows];
        // From -18 to -6.
        let store = Store::Shift {
            shift: 12,
            rounding: Rounding::NearestEven,
        };
        batch_norm::infer(&Serial, shape, &x, &transform, store, &mut y).unwrap();
        assert!(y[..rows - 1].iter().all(|&y| y == 0), "{rows} rows");
        assert_eq!(y[rows - 1], 32, "{rows} rows");
    }
}

#[test]
fn bad_input_is_refused_and_nothing_written() {
    let length = |arg, expected, got| Err(Error::Length { arg, expected, got });
    let shape = Shape {
        rows: 2,
        channels: 3,
    };
    let x = [3i8, 5, 6, 1, 2, 3];
    let mut fine = [Default::default(); 3];
    batch_norm::statistics(&Serial, shape, (), &x, &mut fine).unwrap();
    let few = Error::Few {
        arg: Arg::X,
        got: 1,
        least: 2,
    };
    let single = Shape {
        rows: 1,
        channels: 3,
    };
    let long = Shape {
        rows: (1 << 24) + 1,
        channels: 3,
    };
    let too_long = Error::Accumulator {
        terms: (1 << 24) + 1,
        limit: 1 << 24,
    };
    let no_rows = Shape {
        rows: 0,
        channels: 3,
    };
    let zero = Error::Zero { arg: Arg::Shape };
    let huge = Shape {
        rows: usize::MAX,
        channels: 3,
    };
    let overflow = Error::Overflow { arg: Arg::Shape };

    for (shape, want) in [
        (single, few),
        (long, too_long),
        (no_rows, zero),
        (huge, overflow),
    ] {
        let mut statistics = fine;
        assert_eq!(
            batch_norm::statistics(&Serial, shape, (), &x, &mut statistics),
            Err(want)
        );
        assert_eq!(statistics, fine);
        let mut y = [85i8; 6];
        let affine = Affine {
            gamma: &[1i8; 3],
            beta: None,
        };
        assert_eq!(
            batch_norm::forward(&Serial, shape, &x, &fine, affine, Store::EXACT, &mut y),
            Err(want)
        );
        let mut sums = [ErrorSums {
            dy: 85i64,
            product: 85,
        }; 3];
        let marked = sums;
        assert_eq!(
            batch_norm::error_sums(&Serial, shape, &x, &fine, &x, &mut sums),
            Err(want)
        );
        let saved = Saved {
            x: &x,
            statistics: &fine,
        };
        let errors = Errors {
            dy: &x,
            sums: &sums,
        };
        assert_eq!(
            batch_norm::backward_input(
                &Serial,
                shape,
                saved,
                errors,
                &[1i8; 3],
                Store::EXACT,
                &mut y
            ),
            Err(want)
        );
        assert_eq!((sums, y), (marked, [85; 6]));
    }

    let sums = [ErrorSums {
        dy: 1i64,
        product: 1,
    }; 3];
    let mut y = [85i8; 6];
    let mut forward = |x: &[i8], statistics: &[_], gamma: &[i8], out: usize| {
        batch_norm::forward(
            &Serial,
            shape,
            x,
            statistics,
            Affine { gamma, beta: None },
            Store::EXACT,
            &mut y[..out],
        )
    };
    assert_eq!(forward(&x[1..], &fine, &[1; 3], 6), length(Arg::X, 6, 5));
    assert_eq!(
        forward(&x, &fine[1..], &[1; 3], 6),
        length(Arg::Statistics, 3, 2)
    );
    assert_eq!(forward(&x, &fine, &[1; 2], 6), length(Arg::Gamma, 3, 2));
    assert_eq!(forward(&x, &fine, &[1; 3], 5), length(Arg::Out, 6, 5));
    let mut backward = |x: &[i8], dy: &[i8], sums: &[_], gamma: &[i8], out: usize| {
        let saved = Saved {
            x,
            statistics: &fine,
        };
        batch_norm::backward_input(
            &Serial,
            shape,
            saved,
            Errors { dy, sums },
            gamma,
            Store::EXACT,
            &mut y[..out],
        )
    };
    assert_eq!(
        backward(&x[1..], &x, &sums, &[1; 3], 6),
        length(Arg::X, 6, 5)
    );
    assert_eq!(
        backward(&x, &x[1..], &sums, &[1; 3], 6),
        length(Arg::Dy, 6, 5)
    );
    assert_eq!(
        backward(&x, &x, &sums[1..], &[1; 3], 6),
        length(Arg::Sums, 3, 2)
    );
    assert_eq!(
        backward(&x, &x, &sums, &[1; 4], 6),
        length(Arg::Gamma, 3, 4)
    );
    assert_eq!(backward(&x, &x, &sums, &[1; 3], 5), length(Arg::Dx, 6, 5));
    assert_eq!(y, [85; 6]);

    let mut dgamma = [85i64; 2];
    let refused = batch_norm::backward_gamma::<i8>(&sums, &mut Gradient::Store(&mut dgamma));
    assert_eq!(refused, length(Arg::Dw, 3, 2).map(|_: u32| ()));
    let refused = batch_norm::backward_beta::<i8>(&sums, &mut Gradient::Store(&mut dgamma));
    assert_eq!((refused.is_err(), dgamma), (true, [85; 2]));

    let mut running = [i8::RUNNING_START; 3];
    let mut update = |rows, momentum, len: usize| {
        batch_norm::update_running::<i8>(rows, 0, momentum, &fine, &mut running[..len])
    };
    assert_eq!(
        update(2, 65_537, 3),
        Err(Error::Value { arg: Arg::Momentum })
    );
    assert_eq!(update(1, 6554, 3), Err(few));
    assert_eq!(update((1 << 24) + 1, 6554, 3), Err(too_long));
    assert_eq!(
        update(2, 6554, 2),
        Err(Error::Length {
            arg: Arg::Running,
            expected: 3,
            got: 2
        })
    );
    assert_eq!(running, [i8::RUNNING_START; 3]);

    let start = [f32::RUNNING_START; 2];
    let mut transform = [Default::default(); 2];
    let gains = Affine {
        gamma: &[1.0f32; 2],
        beta: None,
    };
    for epsilon in [-1.0, f32::NAN] {
        let got = batch_norm::transform(epsilon, 0, gains, &start, &mut transform);
        assert_eq!(got, Err(Error::Value { arg: Arg::Epsilon }));
        let mut statistics = [Default::default(); 2];
        let two = Shape {
            rows: 2,
            channels: 2,
        };
        let got = batch_norm::statistics(
            &Serial,
            two,
            epsilon,
            &[1.0f32, 2.0, 3.0, 4.0],
            &mut statistics,
        );
        assert_eq!(got, Err(Error::Value { arg: Arg::Epsilon }));
        assert_eq!(statistics, [Default::default(); 2]);
    }
    let got = batch_norm::transform(1e-5, 0, gains, &start[1..], &mut transform);
    assert_eq!(
        got,
        Err(Error::Length {
            arg: Arg::Gamma,
            expected: 1,
            got: 2
        })
    );
    let got = batch_norm::transform(1e-5, 0, gains, &start, &mut transform[1..]);
    assert_eq!(
        got,
        Err(Error::Length {
            arg: Arg::Transform,
            expected: 2,
            got: 1
        })
    );
    assert_eq!(transform, [Default::default(); 2]);

    let mut y = [85.0f32; 4];
    let two = Shape {
        rows: 2,
        channels: 2,
    };
    for (x, transform, out, want) in [
        (3, 2, 4, length(Arg::X, 4, 3)),
        (4, 1, 4, length(Arg::Transform, 2, 1)),
        (4, 2, 3, length(Arg::Out, 4, 3)),
    ] {
        let transform = vec![Default::default(); transform];
        let got = batch_norm::infer(
            &Serial,
            two,
            &vec![1.0f32; x],
            &transform,
            Store::EXACT,
            &mut y[..out],
        );
        assert_eq!(got, want);
    }
    let mut fold = |transform: usize, weight: usize, bias: usize| {
        let transform = vec![Default::default(); transform];
        let folding = Folding::<f32> {
            transform: &transform,
            x_exponent: 0,
            out_exponent: 0,
        };
        let (weight, bias_values) = y.split_at_mut(weight);
        batch_norm::fold(
            folding,
            Exponents::default(),
            weight,
            &mut bias_values[..bias],
        )
    };
    assert_eq!(
        fold(0, 2, 2),
        Err(Error::Zero {
            arg: Arg::Transform
        })
    );
    assert_eq!(
        fold(2, 3, 1),
        Err(Error::Length {
            arg: Arg::Weight,
            expected: 2,
            got: 3
        })
    );
    assert_eq!(
        fold(2, 2, 1),
        Err(Error::Length {
            arg: Arg::Bias,
            expected: 2,
            got: 1
        })
    );
    assert_eq!(y, [85.0; 4]);
}
