//! Three blobs are found without a label.

use selvedge_kernels::cluster::{self, Clusters, Errors, Metric, Mode, Saved, Shape, Temperature};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::{Gradient, Parameter, Rate, Role, Sgd};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::scale::{Mode as Pass, Scale};
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::compare::{elements, settled};
use selvedge_tests::noise::Noise;

/// Three Gaussian blobs, without a label: the loss is half the squared distance of the features to
/// the input, so that centres move to where rows are.
fn finds_three_blobs<T: Element>() {
    let m = T::MAGNITUDE_BITS as i32;
    let name = T::DTYPE;
    let is_integer = name.is_integer();
    let e = if is_integer { 3 - m } else { 0 }; // a range of 8
    let shape = Shape {
        rows: 90,
        features: 2,
        clusters: 3,
    };
    let mut source = Noise::new(580);
    let middles = [[-4.0, -2.0], [0.0, 5.0], [4.0, -1.0]];
    let x: Vec<f64> = (0..90)
        .flat_map(|i| middles[i % 3])
        .map(|middle| middle + (0..12).map(|_| source.signed() * 0.25).sum::<f64>())
        .collect();
    let x: Vec<T> = elements(&x, e);
    // One row of each of the first places: a Forgy start with a spread of its own.
    let mut centres: Vec<T> = elements(&[-1.0, 0.1, 0.2, 1.0, 1.2, 0.3], e);
    let mut residual = vec![0i8; if name.bytes() == 1 { 6 } else { 0 }];
    let mut exponent = e as i16;
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: -7,
    });
    let mut score_scale = T::Scale::UNSET;
    let mut members = vec![T::Member::default(); 270];
    let mut scores = vec![T::Score::default(); 270];
    for step in 0..200 {
        let frozen = centres.clone();
        let layer = Clusters {
            metric: Metric::Euclidean,
            temperature: Temperature::ONE,
            centres: &frozen,
            exponent: i32::from(exponent),
            x_exponent: e,
        };
        cluster::members(&Serial, shape, layer, &x, &mut members).unwrap();
        let mut y = vec![T::ZERO; 180];
        let acc = layer.output_exponent(Mode::Features);
        let store = |shift, rounding| Store::Shift { shift, rounding };
        let y_epilogue = store(if is_integer { e - acc } else { 0 }, Rounding::NearestEven);
        cluster::forward(
            &Serial,
            shape,
            layer,
            Mode::Features,
            &members,
            y_epilogue,
            &mut y,
        )
        .unwrap();
        // y - x, at an exponent that holds it.
        let dy: Vec<T> = y
            .iter()
            .zip(&x)
            .map(|(y, x)| {
                T::from_f64((y.to_f64() - x.to_f64()) / if is_integer { 4.0 } else { 1.0 })
            })
            .collect();
        let dy_exponent = if is_integer { e + 2 } else { 0 };
        let errors = Errors {
            mode: Mode::Features,
            dy: &dy,
            members: &members,
        };
        let acc = layer.score_exponent(shape, Mode::Features, dy_exponent);
        let score_exponent = score_scale
            .requantize(acc, 15, Pass::Train, Rounding::NearestEven, |store| {
                cluster::scores(&Serial, shape, layer, errors, store, &mut scores)
            })
            .unwrap();
        let saved = Saved {
            x: &x,
            members: &members,
            scores: &scores,
        };
        let gradient_exponent =
            layer.gradient_exponent(Mode::Features, score_exponent, dy_exponent);
        let parameter = Parameter {
            value: &mut centres,
            residual: &mut residual,
            velocity: &mut [],
            exponent: &mut exponent,
            role: Role::Bias,
        };
        let update = parameter
            .update(&sgd, gradient_exponent, Words::new(1, 16, step + 1))
            .unwrap();
        let mut gradient = Gradient::Apply(update);
        let exponents = [score_exponent, dy_exponent];
        cluster::backward_centres(shape, layer, saved, errors, exponents, &mut gradient).unwrap();
        gradient.finish();
    }
    let layer = Clusters {
        metric: Metric::Euclidean,
        temperature: Temperature::ONE,
        centres: &centres,
        exponent: i32::from(exponent),
        x_exponent: e,
    };
    cluster::members(&Serial, shape, layer, &x, &mut members).unwrap();
    let mut p = vec![T::ZERO; 270];
    settled(
        layer.output_exponent(Mode::Probabilities),
        T::MAGNITUDE_BITS,
        |store| {
            cluster::forward(
                &Serial,
                shape,
                layer,
                Mode::Probabilities,
                &members,
                store,
                &mut p,
            )
        },
    );
    let chosen: Vec<usize> = p
        .chunks(3)
        .map(|p| {
            (0..3)
                .max_by(|&a, &b| p[a].to_f64().total_cmp(&p[b].to_f64()))
                .unwrap()
        })
        .collect();
    let mut owners = [chosen[0], chosen[1], chosen[2]];
    for (i, &k) in chosen.iter().enumerate() {
        assert_eq!(k, owners[i % 3], "{name}: row {i} of blob {}", i % 3);
    }
    owners.sort_unstable();
    assert_eq!(owners, [0, 1, 2], "{name}: blobs share a centre");
}

#[test]
fn three_blobs_are_found() {
    finds_three_blobs::<i8>();
    finds_three_blobs::<u8>();
    finds_three_blobs::<i16>();
    finds_three_blobs::<u16>();
    finds_three_blobs::<i32>();
    finds_three_blobs::<u32>();
    finds_three_blobs::<i64>();
    finds_three_blobs::<u64>();
    finds_three_blobs::<f16>();
    finds_three_blobs::<bf16>();
    finds_three_blobs::<f32>();
    finds_three_blobs::<f64>();
}
