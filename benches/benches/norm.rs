//! Normalisation, clusters and dropout in each element type. Throughput counts elements.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::{for_all_types, noise};
use selvedge_kernels::cluster::{self, Clusters, Metric, Mode, Temperature};
use selvedge_kernels::dense::Bias;
use selvedge_kernels::dropout::{self, Dropout};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::norm::{self, Affine, Kind};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::{Element, batch_norm};
use std::hint::black_box;

/// As activations are stored in training.
const FORWARD: Store = Store::Shift {
    shift: 12,
    rounding: Rounding::NearestEven,
};

/// As errors are.
fn backward() -> Store {
    let rounding = Rounding::Stochastic(Words::new(1, stream::error(0), 0));
    Store::Shift {
        shift: 12,
        rounding,
    }
}

/// Benchmarks `work` as `kernel/type`.
fn measure<T: Element>(c: &mut Criterion, kernel: &str, per_call: usize, mut work: impl FnMut()) {
    let mut group = c.benchmark_group(kernel);
    group.throughput(Throughput::Elements(per_call as u64));
    group.bench_function(T::DTYPE.name(), |b| b.iter(&mut work));
    group.finish();
}

const ROWS: usize = 64;
const FEATURES: usize = 128;
const COUNT: usize = ROWS * FEATURES;

fn norm_kernels<T: Element<Update: Default + Clone>>(c: &mut Criterion) {
    let (x, dy) = (noise::<T>(COUNT, 1), noise::<T>(COUNT, 2));
    let (gamma, beta) = (noise::<T>(FEATURES, 3), noise::<T::Bias>(FEATURES, 4));
    let (mut y, mut dx) = (vec![T::ZERO; COUNT], vec![T::ZERO; COUNT]);
    let mut dgamma = vec![T::Update::default(); FEATURES];
    let shape = norm::Shape {
        rows: ROWS,
        features: FEATURES,
    };
    for (name, kind, epsilon) in [
        ("layer norm", Kind::Layer, T::LAYER_EPSILON),
        ("RMS norm", Kind::Rms, T::RMS_EPSILON),
    ] {
        let values = &beta[..];
        let affine = Affine {
            gamma: &gamma,
            beta: (kind == Kind::Layer).then_some(Bias { values, shift: -12 }),
        };
        let mut statistics = vec![T::Row::default(); ROWS];
        measure::<T>(c, &format!("{name} statistics 64x128"), COUNT, || {
            norm::statistics(
                &Serial,
                shape,
                kind,
                epsilon,
                black_box(&x),
                &mut statistics,
            )
            .unwrap();
        });
        let saved = norm::Saved {
            kind,
            x: &x,
            statistics: &statistics,
        };
        measure::<T>(c, &format!("{name} forward 64x128"), COUNT, || {
            norm::forward(&Serial, shape, black_box(saved), affine, FORWARD, &mut y).unwrap();
        });
        measure::<T>(c, &format!("{name} input gradient 64x128"), COUNT, || {
            let saved = black_box(saved);
            norm::backward_input(&Serial, shape, saved, &dy, &gamma, backward(), &mut dx).unwrap();
        });
        measure::<T>(c, &format!("{name} gain gradient 64x128"), COUNT, || {
            let mut gradient = Gradient::Store(&mut dgamma);
            norm::backward_gamma(shape, black_box(saved), &dy, &mut gradient).unwrap();
        });
    }
}

fn batch_norm_kernels<T: Element<Update: Default + Clone>>(c: &mut Criterion) {
    let (x, dy) = (noise::<T>(COUNT, 1), noise::<T>(COUNT, 2));
    let (gamma, beta) = (noise::<T>(FEATURES, 3), noise::<T::Bias>(FEATURES, 4));
    let (mut y, mut dx) = (vec![T::ZERO; COUNT], vec![T::ZERO; COUNT]);
    let shape = batch_norm::Shape {
        rows: ROWS,
        channels: FEATURES,
    };
    let values = &beta[..];
    let affine = Affine {
        gamma: &gamma,
        beta: Some(Bias { values, shift: -12 }),
    };
    let mut statistics = vec![T::Channel::default(); FEATURES];
    measure::<T>(c, "batch norm statistics 64x128", COUNT, || {
        let x = black_box(&x);
        batch_norm::statistics(&Serial, shape, T::LAYER_EPSILON, x, &mut statistics).unwrap();
    });
    measure::<T>(c, "batch norm forward 64x128", COUNT, || {
        let x = black_box(&x);
        batch_norm::forward(&Serial, shape, x, &statistics, affine, FORWARD, &mut y).unwrap();
    });
    let mut running = vec![T::RUNNING_START; FEATURES];
    measure::<T>(c, "batch norm running 128", FEATURES, || {
        let statistics = black_box(&statistics);
        batch_norm::update_running::<T>(ROWS, -7, batch_norm::MOMENTUM, statistics, &mut running)
            .unwrap();
    });
    let mut sums = vec![batch_norm::ErrorSums::default(); FEATURES];
    measure::<T>(c, "batch norm error sums 64x128", COUNT, || {
        batch_norm::error_sums(&Serial, shape, black_box(&x), &statistics, &dy, &mut sums).unwrap();
    });
    let saved = batch_norm::Saved {
        x: &x,
        statistics: &statistics,
    };
    let errors = batch_norm::Errors {
        dy: &dy,
        sums: &sums,
    };
    measure::<T>(c, "batch norm input gradient 64x128", COUNT, || {
        let saved = black_box(saved);
        batch_norm::backward_input(&Serial, shape, saved, errors, &gamma, backward(), &mut dx)
            .unwrap();
    });
    let mut dgamma = vec![T::Update::default(); FEATURES];
    measure::<T>(c, "batch norm gain gradient 128", FEATURES, || {
        let mut gradient = Gradient::Store(&mut dgamma);
        batch_norm::backward_gamma::<T>(black_box(&sums), &mut gradient).unwrap();
    });
    measure::<T>(c, "batch norm bias gradient 128", FEATURES, || {
        let mut gradient = Gradient::Store(&mut dgamma);
        batch_norm::backward_beta::<T>(black_box(&sums), &mut gradient).unwrap();
    });
    let mut transform = vec![T::Transform::default(); FEATURES];
    batch_norm::transform(T::LAYER_EPSILON, -7, affine, &running, &mut transform).unwrap();
    measure::<T>(c, "batch norm inference 64x128", COUNT, || {
        let x = black_box(&x);
        batch_norm::infer(&Serial, shape, x, &transform, FORWARD, &mut y).unwrap();
    });
    let (weight, mut bias) = (noise::<T>(COUNT, 5), beta.clone());
    let mut folded = weight.clone();
    measure::<T>(c, "batch norm fold 128x64", COUNT, || {
        folded.clone_from(&weight);
        bias.clone_from(&beta);
        let folding = batch_norm::Folding {
            transform: black_box(&transform),
            x_exponent: -7,
            out_exponent: -18,
        };
        let exponents = batch_norm::Exponents::default();
        batch_norm::fold(folding, exponents, &mut folded, &mut bias).unwrap();
    });
}

fn cluster_kernels<T: Element<Update: Default + Clone>>(c: &mut Criterion) {
    let shape = cluster::Shape {
        rows: 64,
        features: 32,
        clusters: 16,
    };
    let work = 64 * 32 * 16;
    let (x, centres) = (noise::<T>(64 * 32, 1), noise::<T>(16 * 32, 2));
    let dy = noise::<T>(64 * 32, 3);
    let exponent = -(T::MAGNITUDE_BITS as i32);
    for (name, metric) in [
        ("Euclidean", Metric::Euclidean),
        ("Manhattan", Metric::Manhattan),
        ("cosine", Metric::Cosine),
    ] {
        let layer = Clusters {
            metric,
            temperature: Temperature::ONE,
            centres: &centres,
            exponent,
            x_exponent: exponent,
        };
        let mut members = vec![T::Member::default(); 64 * 16];
        measure::<T>(c, &format!("clusters {name} 64x32 16"), work, || {
            cluster::members(&Serial, shape, layer, black_box(&x), &mut members).unwrap();
        });
        let mut scores = vec![T::Score::default(); 64 * 16];
        let of_mode = |mode, outputs| cluster::Errors {
            mode,
            dy: &dy[..64 * outputs],
            members: &members,
        };
        if metric == Metric::Euclidean {
            // Features last: the gradients below are theirs.
            for (name, mode, outputs) in [
                ("probabilities", Mode::Probabilities, 16),
                ("features", Mode::Features, 32),
            ] {
                let (errors, mut y) = (of_mode(mode, outputs), vec![T::ZERO; 64 * outputs]);
                measure::<T>(c, &format!("clusters {name} 64x32 16"), work, || {
                    let members = black_box(&members);
                    cluster::forward(&Serial, shape, layer, mode, members, FORWARD, &mut y)
                        .unwrap();
                });
                measure::<T>(c, &format!("clusters {name} scores 64x32 16"), work, || {
                    let errors = black_box(errors);
                    let store = FORWARD;
                    cluster::scores(&Serial, shape, layer, errors, store, &mut scores).unwrap();
                });
            }
        }
        let errors = of_mode(Mode::Features, 32);
        let saved = cluster::Saved {
            x: &x,
            members: &members,
            scores: &scores,
        };
        let mut dx = vec![T::ZERO; 64 * 32];
        measure::<T>(
            c,
            &format!("clusters {name} input gradient 64x32 16"),
            work,
            || {
                let saved = black_box(saved);
                cluster::backward_input(&Serial, shape, layer, saved, backward(), &mut dx).unwrap();
            },
        );
        let mut dcentres = vec![T::Update::default(); 16 * 32];
        for (mode, errors) in [
            ("", errors),
            (", probabilities,", of_mode(Mode::Probabilities, 16)),
        ] {
            measure::<T>(
                c,
                &format!("clusters {name}{mode} centre gradient 64x32 16"),
                work,
                || {
                    let mut gradient = Gradient::Store(&mut dcentres);
                    let saved = black_box(saved);
                    cluster::backward_centres(shape, layer, saved, errors, [0; 2], &mut gradient)
                        .unwrap();
                },
            );
        }
    }
}

fn dropout_kernels<T: Element>(c: &mut Criterion) {
    let (x, mut y) = (noise::<T>(COUNT, 1), vec![T::ZERO; COUNT]);
    let words = Words::new(1, stream::mask(0), 0);
    let tenth = Dropout::new(0x1999_999A);
    measure::<T>(c, "dropout forward 8192", COUNT, || {
        dropout::forward(&Serial, tenth, words, black_box(&x), FORWARD, &mut y).unwrap();
    });
    measure::<T>(c, "dropout backward 8192", COUNT, || {
        dropout::backward(&Serial, tenth, words, black_box(&x), backward(), &mut y).unwrap();
    });
}

fn all(c: &mut Criterion) {
    macro_rules! run {
        ($($t:ty),*) => {$(
            norm_kernels::<$t>(c);
            batch_norm_kernels::<$t>(c);
            cluster_kernels::<$t>(c);
            dropout_kernels::<$t>(c);
        )*};
    }
    for_all_types!(run);
}

criterion_group!(benches, all);
criterion_main!(benches);
