//! Activations, normalisations, clusters and branches as types: outputs, errors and updates in all types. Layers
//! over windows: `window_layers/`.

#![recursion_limit = "256"]
// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_core::net::{
    Activate, BatchNorm, Clustering, Dense, Flatten, Fork, Gelu, GlobalAveragePool, HardSwish,
    Identity, KMeans, Layer, LayerNorm, LeakyRelu, LiftedRelu, MaskedRelu, Means, Pass, Product,
    Relu, Relu6, Residual, RmsNorm, ScaledRelu, Shares, Sigmoid, Silu, Skip, Softplus, Sum, Tanh,
    Tape, Values,
};
use selvedge_core::tensor::{D1, D2, D3};
use selvedge_core::{Error, Rate, Serial, Sgd};
use selvedge_kernels::batch_norm::MOMENTUM;
use selvedge_kernels::cluster::{Metric, Temperature};
use selvedge_kernels::scale::Mode;
use selvedge_tests::check_layer;
use selvedge_tests::curve::Curve;
use selvedge_tests::layers::{Case, Driven};
use selvedge_tests::noise::Noise;

/// What the tables of integer activations cost, as `docs/numerics.md` §5 says: an argument rounded to 2^-11,
/// and a few units of 2^-15. Means are off by less.
const TABLE: [f64; 2] = [4e-4, 4e-4];

/// What a normalised row is off by: roots and reciprocals of 15 bits, and the gain's own rounding.
const NORMAL: [f64; 2] = [2e-3, 3e-4];

/// Shares come of a softmax of distances, both from tables.
const SHARE: [f64; 2] = [2e-3, 5e-4];

/// A branch has stored its output before: two units of 7 bits of what may be larger than the sum, and
/// of wider types what [`TABLE`] says.
const BRANCH: [f64; 2] = [2e-2, 5e-4];

/// Roundings of a statistic over a row or batch, and of what it goes into.
const OF_STATISTICS: f64 = 32.0;

/// Those of a distance, a softmax and a mean.
const OF_CLUSTERS: f64 = 64.0;

/// Layers without parameters, of each element.
fn of_each(f: impl Fn(f64) -> f64) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| x.iter().map(|&x| f(x)).collect()
}

fn of(curve: Curve) -> impl Fn(&[f64]) -> Vec<f64> {
    of_each(move |x| curve.value(x))
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// Mean and variance.
fn statistics(x: &[f64]) -> (f64, f64) {
    let mean = mean(x);
    let squares: Vec<f64> = x.iter().map(|x| (x - mean).powi(2)).collect();
    (mean, self::mean(&squares))
}

/// `1.1` is `282 / 256` in integers: 1.42e-3 more, as a share. A product is rounded to units of the input
/// before it is stored: half of 2^-7.
const SCALED: [f64; 2] = [5.4e-3, 1.5e-3];

/// What leaks is rounded so, too.
const LEAKED: [f64; 2] = [4e-3, 4e-4];

/// Within ±2, where they bend most; and within ±8, with inputs on both sides of each kink.
#[test]
fn activations_alone() {
    for bound in [2.0, 8.0] {
        let table = |name| {
            Case::new(name)
                .within(bound)
                .away_from_zero(0.05)
                .off_by(TABLE)
                .with_headroom()
        };
        check_layer!(T => Activate<T, D1<20>, Relu>, table("relu").defined(&of(Curve::Relu)));
        check_layer!(T => Activate<T, D1<20>, MaskedRelu>, table("masked relu").defined(&of(Curve::MaskedRelu)));
        check_layer!(T => Activate<T, D1<20>, LiftedRelu>, table("lifted relu").defined(&of(Curve::LiftedRelu)));
        check_layer!(T => Activate<T, D1<20>, Relu6>, table("relu6").defined(&of(Curve::Relu6)));
        check_layer!(T => Activate<T, D1<20>, ScaledRelu>, table("scaled relu").off_by(SCALED).defined(&of(Curve::ScaledRelu)));
        check_layer!(T => Activate<T, D1<20>, LeakyRelu<250>>, table("leaky relu").off_by(LEAKED).defined(&of_each(|x| x.max(0.25 * x))));
        check_layer!(T => Activate<T, D1<20>, Sigmoid>, table("sigmoid").defined(&of(Curve::Sigmoid)));
        check_layer!(T => Activate<T, D1<20>, Tanh>, table("tanh").defined(&of(Curve::Tanh)));
        check_layer!(T => Activate<T, D1<20>, Softplus>, table("softplus").defined(&of(Curve::Softplus)));
        check_layer!(T => Activate<T, D1<20>, Gelu>, table("gelu").defined(&of(Curve::Gelu)));
        check_layer!(T => Activate<T, D1<20>, Silu>, table("silu").defined(&of(Curve::Silu)));
        check_layer!(T => Activate<T, D1<20>, HardSwish>, table("hard swish").defined(&of(Curve::HardSwish)));
        check_layer!(T => Activate<T, D1<20>, Identity>, table("identity").defined(&of(Curve::Identity)));
    }
    check_layer!(T => Flatten<T, D3<2, 3, 4>, D1<24>>, Case::new("flatten").defined(&of_each(|x| x)));
}

#[test]
fn normalisations() {
    let layer_norm = |x: &[f64], parameters: &[f64]| -> Vec<f64> {
        let (gamma, beta) = parameters.split_at(9);
        let normal = |row: &[f64]| -> Vec<f64> {
            let (mean, variance) = statistics(row);
            let sigma = (variance + 1e-5).sqrt();
            let affine = gamma.iter().zip(beta);
            let of = |(x, (gamma, beta)): (&f64, (&f64, &f64))| gamma * (x - mean) / sigma + beta;
            row.iter().zip(affine).map(of).collect()
        };
        x.chunks(9).flat_map(normal).collect()
    };
    let rms_norm = |x: &[f64], gamma: &[f64]| -> Vec<f64> {
        let normal = |row: &[f64]| -> Vec<f64> {
            let square = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
            let root = (square + 1e-6).sqrt();
            row.iter()
                .zip(gamma)
                .map(|(x, gamma)| gamma * x / root)
                .collect()
        };
        x.chunks(7).flat_map(normal).collect()
    };
    check_layer!(T => LayerNorm<T, D2<4, 9>>, Case::new("layer_norm").defined_by(&layer_norm).off_by(NORMAL).roundings(OF_STATISTICS));
    check_layer!(T => RmsNorm<T, D3<2, 2, 7>>, Case::new("rms_norm").defined_by(&rms_norm).off_by(NORMAL).roundings(OF_STATISTICS));
    check_layer!(T => BatchNorm<T, D3<3, 3, 4>>, Case::new("batch_norm").around(1.5).off_by(NORMAL).roundings(OF_STATISTICS));
}

/// In training by the batch's own statistics, at inference by running ones: with the variance of a sample, a batch
/// counts for a tenth. Other types are held against this one.
#[test]
fn batch_norm_is_its_definition() {
    const CHANNELS: usize = 4;
    const ROWS: usize = 5 * 3;
    let mut noise = Noise::new(1);
    let mut layer = Driven::<BatchNorm<f64, D2<3, CHANNELS>>, 5>::new(1);
    layer.draw_parameters(&mut noise);
    let parameters = layer.parameters();
    let (gamma, beta) = parameters.split_at(CHANNELS);
    let channel =
        |x: &[f64], c: usize| -> Vec<f64> { x.iter().skip(c).step_by(CHANNELS).copied().collect() };
    let assert_normal = |x: &[f64], y: &[f64], c: usize, (mean, variance): (f64, f64)| {
        for (x, y) in channel(x, c).iter().zip(channel(y, c)) {
            let want = gamma[c] * (x - mean) / (variance + 1e-5).sqrt() + beta[c];
            assert!((y - want).abs() < 1e-12, "channel {c}: {y}, not {want}");
        }
    };
    let share = f64::from(MOMENTUM) / 65_536.0;
    let mut running = [(0.0, 1.0); CHANNELS];
    for _ in 0..6 {
        let samples = noise.vector(ROWS * CHANNELS, 2.0);
        let x: Vec<f64> = samples.iter().map(|x| x + 1.5).collect();
        let y = layer.forward(&x);
        for (c, running) in running.iter_mut().enumerate() {
            let (mean, variance) = statistics(&channel(&x, c));
            assert_normal(&x, &y, c, (mean, variance));
            let of_sample = variance * ROWS as f64 / (ROWS - 1) as f64;
            running.0 += share * (mean - running.0);
            running.1 += share * (of_sample - running.1);
        }
    }
    let x = noise.vector(ROWS * CHANNELS, 3.0);
    let y = layer.infer(&x).together;
    for (c, &running) in running.iter().enumerate() {
        assert_normal(&x, &y, c, running);
    }
}

#[test]
fn a_batch_of_one_row_is_refused_in_training() {
    let mut layer = Box::new(BatchNorm::<f32, D1<3>>::BLANK);
    layer.init(1, 0).unwrap();
    let mut tape = Box::new(<BatchNorm<f32, D1<3>> as Layer>::Tape::<2>::BLANK);
    let x = Values {
        data: &[0.5, -1.0, 2.0][..],
        exponent: 0,
        batch: 1,
    };
    let mut pass = Pass {
        exec: &Serial,
        mode: Mode::Train,
        seed: 1,
        step: 0,
        sgd: const {
            &Sgd::new(Rate {
                mantissa: 0,
                exponent: 0,
            })
        },
        is_padded: false,
        lengths: &[],
    };
    let before = layer.running().elements().to_vec();
    let refused = layer.forward::<_, 2>(&pass, 7, x, &mut tape);
    assert!(matches!(refused, Err(Error::Layer { layer: 7, .. })));
    assert_eq!(layer.running().elements(), before);
    // Running statistics start at a mean of 0 and a variance of 1.
    pass.mode = Mode::Infer;
    let y = layer.forward::<_, 2>(&pass, 7, x, &mut tape).unwrap();
    for (y, x) in y.data.iter().zip(x.data) {
        assert!((y - x / (1.0 + 1e-5f32).sqrt()).abs() <= 4.0 * f32::EPSILON * x.abs());
    }
}

/// By the angle, sharper.
struct Angle;

impl Clustering for Angle {
    const METRIC: Metric = Metric::Cosine;
    const TEMPERATURE: Temperature = Temperature {
        mantissa: 3,
        exponent: -2,
    };
}

#[test]
fn clusters() {
    let case = |name| {
        Case::new(name)
            .off_by(SHARE)
            .roundings(OF_CLUSTERS)
            .at_rate(-3)
    };
    check_layer!(T => KMeans<T, D1<4>, D2<5, 4>, D1<5>, Shares>, case("k_means"));
    check_layer!(T => KMeans<T, D2<3, 4>, D2<5, 4>, D2<3, 5>, Means, Angle>, case("k_means, means by angle"));
}

#[test]
fn branches() {
    check_layer!(T => Residual<Dense<T, 6, 6, Silu>>, Case::new("residual").off_by(BRANCH).with_headroom());
    check_layer!(T => Fork<Dense<T, 6, 4>, Dense<T, 6, 4, LeakyRelu<250>>, Sum>, Case::new("sum").off_by(BRANCH));
    check_layer!(T => Residual<(Dense<T, 6, 5, Softplus>, Dense<T, 5, 4>), Dense<T, 6, 4>>,
        Case::new("residual with a shortcut").off_by(BRANCH));
    // Of two layers each, the second branch with the wider middle.
    check_layer!(T => Fork<(Dense<T, 6, 3>, Dense<T, 3, 4>), (Dense<T, 6, 9>, Dense<T, 9, 4>), Sum>,
        Case::new("two layers and two").off_by(BRANCH));
    check_layer!(T => Fork<Skip<T, D3<3, 2, 4>>, (GlobalAveragePool<T, D3<3, 2, 4>>, Dense<T, 4, 4, Sigmoid>), Product>,
        Case::new("gate").off_by(BRANCH));
}
