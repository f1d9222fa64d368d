//! Clusters: gradients in both modes and three metrics, PyTorch, integers against big integers and
//! floats, three blobs that are found, and typed layers without side effects.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod blobs;
mod bytes;
mod integers;
mod refusals;
mod torch;
mod typed;

use selvedge_kernels::Element;
use selvedge_kernels::cluster::{self, Clusters, Errors, Metric, Mode, Saved, Shape, Temperature};
use selvedge_kernels::exec::{Executor, Serial};
use selvedge_kernels::optim::Gradient;
use selvedge_tests::compare::{assert_within, central, inner, noise, settled};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::{for_twins, tolerance};

const METRICS: [Metric; 3] = [Metric::Euclidean, Metric::Manhattan, Metric::Cosine];
const MODES: [Mode; 2] = [Mode::Probabilities, Mode::Features];

fn outputs(shape: Shape, mode: Mode) -> usize {
    match mode {
        Mode::Probabilities => shape.clusters,
        Mode::Features => shape.features,
    }
}

/// Everything that a pass there and back computes, with exponents as a first batch settles them.
struct Outcome<T: Element> {
    members: Vec<T::Member>,
    y: Vec<T>,
    y_exponent: i32,
    scores: Vec<T::Score>,
    score_exponent: i32,
    dx: Vec<T>,
    dx_exponent: i32,
    dcentres: Vec<T::Update>,
    dcentres_exponent: i32,
}

fn pass<T: Element<Update: Default + Clone>>(
    exec: &impl Executor,
    shape: Shape,
    clusters: Clusters<'_, T>,
    mode: Mode,
    x: &[T],
    (dy, dy_exponent): (&[T], i32),
) -> Outcome<T> {
    let pairs = shape.rows * shape.clusters;
    let bits = T::MAGNITUDE_BITS;
    let mut members = vec![T::Member::default(); pairs];
    cluster::members(exec, shape, clusters, x, &mut members).unwrap();
    let mut y = vec![T::ZERO; shape.rows * outputs(shape, mode)];
    let y_exponent = settled(clusters.output_exponent(mode), bits, |store| {
        cluster::forward(exec, shape, clusters, mode, &members, store, &mut y)
    });
    let errors = Errors {
        mode,
        dy,
        members: &members,
    };
    let mut scores = vec![T::Score::default(); pairs];
    let acc = clusters.score_exponent(shape, mode, dy_exponent);
    let score_exponent = settled(acc, bits.min(15), |store| {
        cluster::scores(exec, shape, clusters, errors, store, &mut scores)
    });
    let saved = Saved {
        x,
        members: &members,
        scores: &scores,
    };
    let mut dx = vec![T::ZERO; x.len()];
    let dx_exponent = settled(clusters.input_exponent(score_exponent), bits, |store| {
        cluster::backward_input(exec, shape, clusters, saved, store, &mut dx)
    });
    let mut dcentres = vec![T::Update::default(); shape.clusters * shape.features];
    let exponents = [score_exponent, dy_exponent];
    let mut gradient = Gradient::Store(&mut dcentres);
    cluster::backward_centres(shape, clusters, saved, errors, exponents, &mut gradient).unwrap();
    let dcentres_exponent = clusters.gradient_exponent(mode, score_exponent, dy_exponent);
    Outcome {
        members,
        y,
        y_exponent,
        scores,
        score_exponent,
        dx,
        dx_exponent,
        dcentres,
        dcentres_exponent,
    }
}

fn floats<'a, T: Element>(
    metric: Metric,
    temperature: Temperature,
    centres: &'a [T],
) -> Clusters<'a, T> {
    Clusters {
        metric,
        temperature,
        centres,
        exponent: 0,
        x_exponent: 0,
    }
}

#[test]
fn gradients_are_the_differences() {
    for (seed, (rows, features, clusters)) in [(2, 3, 4), (3, 1, 2), (1, 5, 1), (4, 70, 3)]
        .into_iter()
        .enumerate()
    {
        let shape = Shape {
            rows,
            features,
            clusters,
        };
        for metric in METRICS {
            // Temperatures at which shares are neither equal nor 0 or 1.
            let temperature = match metric {
                Metric::Euclidean => Temperature {
                    mantissa: 3,
                    exponent: if features > 10 { 0 } else { -2 },
                },
                Metric::Manhattan => Temperature {
                    mantissa: 5,
                    exponent: if features > 10 { 1 } else { -2 },
                },
                Metric::Cosine => Temperature {
                    mantissa: 3,
                    exponent: -2,
                },
            };
            for mode in MODES {
                let place = format!("{shape:?}, {metric:?}, {mode:?}");
                let mut noise = Noise::new(530 + seed as u32);
                let x = noise.vector(rows * features, 1.0);
                let centres = noise.vector(clusters * features, 1.0);
                let dy = noise.vector(rows * outputs(shape, mode), 1.0);
                // Off the kinks of |x - c|, which lie where features are equal.
                let near = x.chunks(features).any(|x| {
                    centres
                        .chunks(features)
                        .any(|c| x.iter().zip(c).any(|(x, c)| (x - c).abs() < 2e-4))
                });
                assert!(!near, "{place}: too close to a kink; another seed");
                let run = |x: &[f64], centres: &[f64]| {
                    pass::<f64>(
                        &Serial,
                        shape,
                        floats(metric, temperature, centres),
                        mode,
                        x,
                        (&dy, 0),
                    )
                };
                let loss = |x: &[f64], centres: &[f64]| inner(&run(x, centres).y, &dy);
                let got = run(&x, &centres);
                let limit = |_| tolerance::SMOOTH_DIFFERENCE;
                let want = central(&x, |x| loss(x, &centres));
                assert_within(&format!("{place}: dx"), &want, &got.dx, limit);
                let want = central(&centres, |centres| loss(&x, centres));
                assert_within(&format!("{place}: dcentres"), &want, &got.dcentres, limit);
                assert!(
                    clusters == 1
                        || (features == 1 && metric == Metric::Cosine)
                        || inner(&got.dx, &got.dx) > 1e-6,
                    "{place}: nothing to compare"
                );
            }
        }
    }
}

#[test]
fn threads_and_twins_give_the_same_bytes() {
    let shape = Shape {
        rows: 11,
        features: 67,
        clusters: 5,
    };
    macro_rules! check {
        ($signed:ident, $unsigned:ident) => {
            for (metric, mode) in METRICS
                .into_iter()
                .flat_map(|metric| MODES.map(|mode| (metric, mode)))
            {
                let mut source = Noise::new(570);
                let x = noise::<$signed>(&mut source, 11 * 67);
                let centres = noise::<$signed>(&mut source, 5 * 67);
                let dy = noise::<$signed>(&mut source, 11 * outputs(shape, mode));
                let temperature = Temperature {
                    mantissa: 3,
                    exponent: 1,
                };
                let m = $signed::MAGNITUDE_BITS as i32;
                let layer = Clusters {
                    metric,
                    temperature,
                    centres: &centres,
                    exponent: -m,
                    x_exponent: -m,
                };
                let want = pass(&Serial, shape, layer, mode, &x, (&dy, -m));
                for threads in [2, 5] {
                    let got = pass(&Threads(threads), shape, layer, mode, &x, (&dy, -m));
                    assert_eq!(
                        (&want.members, &want.scores, &want.y),
                        (&got.members, &got.scores, &got.y)
                    );
                    assert_eq!((&want.dx, &want.dcentres), (&got.dx, &got.dcentres));
                }
                let flip = |x: &[$signed]| {
                    x.iter()
                        .map(|&x| x as $unsigned ^ (1 << ($unsigned::BITS - 1)))
                        .collect::<Vec<_>>()
                };
                let centres = flip(&centres);
                let layer = Clusters {
                    metric,
                    temperature,
                    centres: &centres,
                    exponent: -m,
                    x_exponent: -m,
                };
                let got =
                    pass::<$unsigned>(&Serial, shape, layer, mode, &flip(&x), (&flip(&dy), -m));
                assert_eq!(
                    (&want.members, &want.scores, flip(&want.y)),
                    (&got.members, &got.scores, got.y)
                );
                assert_eq!((flip(&want.dx), &want.dcentres), (got.dx, &got.dcentres));
            }
        };
    }
    for_twins!(check);
}
