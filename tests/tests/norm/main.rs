//! LayerNorm and RMSNorm: definitions, gradients, PyTorch, the exact rule on big integers.
//!
//! Training runs of the reference program are replayed in `golden.rs` (`norm-*`).

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod integers;
mod refusals;
mod torch;

use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::{Executor, Serial};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::norm::{self, Affine, Kind, Saved, Shape};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::compare::{assert_within, central, inner, noise, shifted, values};
use selvedge_tests::for_twins;
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance::{self, Float};

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
