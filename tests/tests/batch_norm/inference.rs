//! Training, running statistics, inference and folding against `f64`.

use super::{parameters, pass};
use selvedge_kernels::batch_norm::{
    self, ErrorSums, Errors, Exponents, Folding, Kernels as _, Running, Saved, Shape,
};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::norm::{self, Affine};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::compare::{assert_within, cosine, elements, inner, settled, values};
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance::{self, Float};

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
    follows_floats::<u32>(tolerance::COSINE_32_BITS.0);
    follows_floats::<i64>(tolerance::COSINE_32_BITS.0);
    follows_floats::<u64>(tolerance::COSINE_32_BITS.0);
}

/// Folding floats changes nothing but roundings: layer and normalisation one after the other.
fn folded_floats_give_what_both_layers_give<T, S>(bound: f64)
where
    T: Element<Bias = T, Statistic = S>,
    S: Element,
{
    let mut source = Noise::new(470);
    let shape = dense::Shape {
        batch: 6,
        inputs: 7,
        outputs: 4,
    };
    let mut vector = |n, most| elements::<T>(&source.vector(n, most), 0);
    let (x, mut w, mut b) = (vector(42, 1.0), vector(28, 1.0), vector(4, 1.0));
    let (gamma, beta) = (vector(4, 2.0), vector(4, 1.0));
    let running: Vec<_> = (0..4)
        .map(|_| Running {
            mean: S::from_f64(source.signed()),
            variance: S::from_f64(0.1 + source.signed().abs()),
        })
        .collect();
    let affine = Affine {
        gamma: &gamma,
        beta: Some(Bias {
            values: &beta[..],
            shift: 0,
        }),
    };
    let mut transform = vec![Default::default(); 4];
    batch_norm::transform(T::LAYER_EPSILON, 0, affine, &running, &mut transform).unwrap();
    let run = |w: &[T], b: &[T]| {
        let mut y = vec![T::ZERO; 24];
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
    let mut want = vec![T::ZERO; 24];
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
    let [want, got] = [want, run(&w, &b)].map(|y| values(&y, 0));
    assert_within("folded", &want, &got, |_| bound);
}

#[test]
fn folded_floats_give_what_both_layers_give_in_every_type() {
    // Factors of up to 2 / √0.1 times 8 numbers within 1, each rounded once when it is stored, beside the output.
    let stored = |rounding: f64| (8.0 + 1.0) * 2.0 / 0.1f64.sqrt() * rounding;
    folded_floats_give_what_both_layers_give::<f16, f32>(stored(<f16 as Float>::ROUNDING));
    folded_floats_give_what_both_layers_give::<bf16, f32>(stored(<bf16 as Float>::ROUNDING));
    folded_floats_give_what_both_layers_give::<f32, f32>(stored(
        2.0 * 8.0 * <f32 as Float>::ROUNDING,
    ));
    folded_floats_give_what_both_layers_give::<f64, f64>(tolerance::TORCH_F64);
}
