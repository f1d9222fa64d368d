//! BatchNorm: gradients, PyTorch (running statistics too), the integer rule on big integers,
//! inference and folding.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod inference;
mod integers;
mod refusals;
mod running;
mod torch;

use selvedge_kernels::batch_norm::{self, ErrorSums, Errors, Saved, Shape};
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::{Executor, Serial};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::norm::Affine;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::compare::{assert_within, central, inner, noise, shifted, values};
use selvedge_tests::for_twins;
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance::{self, Float};

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
