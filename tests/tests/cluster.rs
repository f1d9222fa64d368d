//! Clusters: gradients in both modes and three metrics, PyTorch, integers against big integers and
//! floats, and three blobs that are found.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::cluster::{
    self, Clusters, Errors, Member, Metric, Mode, Saved, Shape, Temperature,
};
use selvedge_kernels::exec::{Executor, Serial};
use selvedge_kernels::fixed::{Rounding, isqrt_u128};
use selvedge_kernels::lut::exp2_neg;
use selvedge_kernels::optim::{Gradient, Parameter, Rate, Role, Sgd};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::scale::{Mode as Pass, Scale};
use selvedge_kernels::{Arg, Element, Error, bf16, f16};
use selvedge_tests::compare::{
    assert_within, central, cosine, elements, inner, integer, noise, sat, settled, shift_rne,
    values,
};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance;
use selvedge_tests::{for_twins, golden};
use serde_json::Value;

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

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let values = case[key].as_array().unwrap_or_else(|| panic!("no {key}"));
    values.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn metric_of(case: &Value) -> (Metric, Mode, Temperature) {
    let metric = match case["metric"].as_str().unwrap() {
        "euclidean" => Metric::Euclidean,
        "manhattan" => Metric::Manhattan,
        "cosine" => Metric::Cosine,
        metric => panic!("{metric}"),
    };
    let mode = match case["mode"].as_str().unwrap() {
        "probabilities" => Mode::Probabilities,
        "features" => Mode::Features,
        mode => panic!("{mode}"),
    };
    let mantissa = case["mantissa"].as_u64().unwrap() as u8;
    let exponent = case["exponent"].as_i64().unwrap() as i16;
    (metric, mode, Temperature { mantissa, exponent })
}

fn replays_torch<T: Element<Update: Default + Clone + Into<f64>>>(tolerance: f64, storage: f64) {
    let file = golden::read("torch/cluster.json");
    let extent = |key: &str| file[key].as_u64().unwrap() as usize;
    let shape = Shape {
        rows: extent("rows"),
        features: extent("features"),
        clusters: extent("clusters"),
    };
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let (metric, mode, temperature) = metric_of(case);
        let read = |key| elements::<T>(&numbers(case, key), 0);
        let centres = read("centres");
        let clusters = floats(metric, temperature, &centres);
        let got = pass::<T>(&Serial, shape, clusters, mode, &read("x"), (&read("dy"), 0));
        let dcentres: Vec<f64> = got.dcentres.into_iter().map(Into::into).collect();
        for (key, got) in [
            ("y", values(&got.y, 0)),
            ("dx", values(&got.dx, 0)),
            ("dcentres", dcentres),
        ] {
            let limit = |want: f64| tolerance * (1.0 + want.abs()) + storage * want.abs();
            assert_within(
                &format!("{}, {metric:?}, {mode:?}: {key}", T::DTYPE),
                &numbers(case, key),
                &got,
                limit,
            );
        }
    }
}

#[test]
fn pytorch_agrees() {
    replays_torch::<f64>(tolerance::TORCH_F64, 0.0);
    replays_torch::<f32>(tolerance::TORCH_F32, 0.0);
    // Inputs are exact in 16 bits, and computed in f32.
    replays_torch::<f16>(tolerance::TORCH_F32, 1.0 / 2048.0);
    replays_torch::<bf16>(tolerance::TORCH_F32, 1.0 / 256.0);
}

/// The rule of `docs/numerics.md` §16 on big integers: members.
fn model(
    shape: Shape,
    m: i32,
    clusters: &Clusters<'_, impl Element>,
    x: &[i128],
    centres: &[i128],
) -> Vec<Member<i64, i32>> {
    let cut = (m - 15).max(0);
    let (ex, ec, bits) = (clusters.x_exponent + cut, clusters.exponent + cut, m - cut);
    let e0 = ex.min(ec).max(ex.max(ec) + bits - 15);
    let short = |v: &[i128]| v.iter().map(|&v| shift_rne(v, cut)).collect::<Vec<_>>();
    let (x, centres) = (short(x), short(centres));
    let root = |v: i128| {
        if v == 0 {
            return (0, 0);
        }
        let j = (30 - (128 - v.leading_zeros() as i32)).div_euclid(2);
        let normal = if j >= 0 { v << (2 * j) } else { v >> (-2 * j) };
        (j, (1i128 << 30) / isqrt_u128(normal as u128) as i128)
    };
    let Temperature {
        mantissa,
        exponent: t,
    } = clusters.temperature;
    let square = i128::from(mantissa) * i128::from(mantissa);
    let factor = ((23_637i128 << 32) + square / 2) / square;
    let mut out = Vec::new();
    for x in x.chunks(shape.features) {
        let mut distances = Vec::new();
        for c in centres.chunks(shape.features) {
            let differences = x
                .iter()
                .zip(c)
                .map(|(&x, &c)| shift_rne(x, e0 - ex) - shift_rne(c, e0 - ec));
            distances.push(match clusters.metric {
                Metric::Euclidean => differences.map(|d| d * d).sum(),
                Metric::Manhattan => differences.map(i128::abs).sum(),
                Metric::Cosine => {
                    let dot =
                        |a: &[i128], b: &[i128]| a.iter().zip(b).map(|(a, b)| a * b).sum::<i128>();
                    let ((ja, ra), (jb, rb)) = (root(dot(x, x)), root(dot(c, c)));
                    let along = shift_rne(dot(x, c) * ra, 15 - ja);
                    (1 << 15) - shift_rne(along * rb, 30 - jb).clamp(-(1 << 15), 1 << 15)
                }
            });
        }
        let squared = |d: i128| {
            if clusters.metric == Metric::Euclidean {
                d
            } else {
                d * d
            }
        };
        let least = distances.iter().map(|&d| squared(d)).min().unwrap();
        let e = if clusters.metric == Metric::Cosine {
            -15
        } else {
            e0
        };
        let places = 2 * (e - i32::from(t)) - 31;
        let cap = 31i128 << 16;
        let numerators: Vec<i128> = distances
            .iter()
            .map(|&d| {
                let product = (squared(d) - least) * factor;
                let octaves = if places < 0 {
                    product >> (-places).min(126)
                } else if product > 0 && places > 21 {
                    cap
                } else {
                    product << places.min(21)
                };
                i128::from(exp2_neg(octaves.min(cap) as u32))
            })
            .collect();
        let total: i128 = numerators.iter().sum();
        let r = ((1i128 << 47) + total / 2) / total;
        for (d, n) in distances.iter().zip(&numerators) {
            out.push(Member {
                distance: *d as i64,
                share: shift_rne(n * r, 32) as i32,
            });
        }
    }
    out
}

/// The scores, the input's gradient and the centres' of the same rule, given members and scores.
#[allow(clippy::too_many_lines)] // one rule, written out
fn follows_the_rule<T>()
where
    T: Element<Member = Member<i64, i32>, Score = i16, Update: Default + Clone + Into<i128>>,
{
    let m = T::MAGNITUDE_BITS as i32;
    let cut = (m - 15).max(0);
    let bits = m - cut;
    for (seed, (rows, features, clusters)) in
        [(3, 5, 4), (2, 1, 1), (1, 130, 3)].into_iter().enumerate()
    {
        let shape = Shape {
            rows,
            features,
            clusters,
        };
        for metric in METRICS {
            for (x_exponent, exponent) in [(-m, -m), (-m, 2 - m), (3 - m, -m - 40)] {
                for mode in MODES {
                    let place = format!(
                        "{}, {shape:?}, {metric:?}, {mode:?}, {x_exponent}, {exponent}",
                        T::DTYPE
                    );
                    let mut source = Noise::new(550 + seed as u32);
                    let x: Vec<T> = noise(&mut source, rows * features);
                    let centres: Vec<T> = noise(&mut source, clusters * features);
                    let dy: Vec<T> = noise(&mut source, rows * outputs(shape, mode));
                    let temperature = Temperature {
                        mantissa: 181,
                        exponent: -7,
                    };
                    let layer = Clusters {
                        metric,
                        temperature,
                        centres: &centres,
                        exponent,
                        x_exponent,
                    };
                    let big = |x: &[T]| x.iter().map(|&x| integer(x)).collect::<Vec<_>>();
                    let got = pass::<T>(&Serial, shape, layer, mode, &x, (&dy, -m));
                    let want = model(shape, m, &layer, &big(&x), &big(&centres));
                    assert_eq!(want, got.members, "{place}: members");

                    let short = |v: &[T]| {
                        big(v)
                            .iter()
                            .map(|&v| shift_rne(v, cut))
                            .collect::<Vec<_>>()
                    };
                    let (x, c, dy) = (short(&x), short(&centres), short(&dy));
                    // Scores.
                    let gb = match mode {
                        Mode::Probabilities => bits + 1,
                        Mode::Features => {
                            2 * bits + 1 + (usize::BITS - features.leading_zeros()) as i32
                        }
                    };
                    let s = (gb - 30).max(0);
                    let square = i128::from(temperature.mantissa).pow(2);
                    let places = 15 + 128 - (square - 1).leading_zeros() as i32;
                    let factor = ((1 << places) + square / 2) / square;
                    let mut accs = Vec::new();
                    for n in 0..rows {
                        let g: Vec<i128> = (0..clusters)
                            .map(|k| match mode {
                                Mode::Probabilities => dy[n * clusters + k],
                                Mode::Features => (0..features)
                                    .map(|j| dy[n * features + j] * c[k * features + j])
                                    .sum(),
                            })
                            .collect();
                        let p = |k: usize| i128::from(want[n * clusters + k].share);
                        let mean = shift_rne((0..clusters).map(|k| p(k) * g[k]).sum(), 15);
                        accs.extend(
                            (0..clusters).map(|k| shift_rne(p(k) * (g[k] - mean), s) * factor),
                        );
                    }
                    let gradient = -m
                        + cut
                        + if mode == Mode::Features {
                            exponent + cut
                        } else {
                            0
                        };
                    let acc_exponent =
                        gradient - 15 + s - places - 2 * i32::from(temperature.exponent);
                    let shift = got.score_exponent - acc_exponent;
                    let scores: Vec<i128> = accs
                        .iter()
                        .map(|&acc| sat(shift_rne(acc, shift), 15.min(m as u32).max(bits as u32)))
                        .collect();
                    let stored: Vec<i128> = got.scores.iter().map(|&s| i128::from(s)).collect();
                    assert_eq!(scores, stored, "{place}: scores");

                    // Gradients: as exact sums of the terms that the rule names, in f64.
                    let unit = |e: i32| 2f64.powi(e);
                    let value = |v: &[i128], e: i32| {
                        v.iter().map(|&v| v as f64 * unit(e)).collect::<Vec<f64>>()
                    };
                    // Differences are taken of elements at one exponent.
                    let (ex, ec) = (x_exponent + cut, exponent + cut);
                    let e0 = ex.min(ec).max(ex.max(ec) + bits - 15);
                    let aligned = |v: &[i128], e: i32| match metric {
                        Metric::Cosine => value(v, e),
                        _ => value(
                            &v.iter().map(|&v| shift_rne(v, e0 - e)).collect::<Vec<_>>(),
                            e0,
                        ),
                    };
                    let (fx, fc) = (aligned(&x, ex), aligned(&c, ec));
                    let (fdy, fs) = (value(&dy, cut - m), value(&scores, got.score_exponent));
                    let fclusters = floats(metric, temperature, &fc);
                    let mut fmembers = vec![Member::default(); rows * clusters];
                    cluster::members(&Serial, shape, fclusters, &fx, &mut fmembers).unwrap();
                    for (f, q) in fmembers.iter_mut().zip(&want) {
                        f.share = f64::from(q.share) / 32_768.0;
                    }
                    let saved = Saved {
                        x: &fx,
                        members: &fmembers,
                        scores: &fs,
                    };
                    let mut fdx = vec![0.0; fx.len()];
                    cluster::backward_input(
                        &Serial,
                        shape,
                        fclusters,
                        saved,
                        Store::EXACT,
                        &mut fdx,
                    )
                    .unwrap();
                    let mut fdc = vec![0.0; fc.len()];
                    let errors = Errors {
                        mode,
                        dy: &fdy,
                        members: &fmembers,
                    };
                    cluster::backward_centres(
                        shape,
                        fclusters,
                        saved,
                        errors,
                        [0; 2],
                        &mut Gradient::Store(&mut fdc),
                    )
                    .unwrap();
                    let dc: Vec<f64> = got
                        .dcentres
                        .iter()
                        .map(|g| (*g).into() as f64 * unit(got.dcentres_exponent))
                        .collect();
                    let dx = values(&got.dx, got.dx_exponent);
                    for (what, want, got, step) in [
                        ("dx", fdx, dx, unit(got.dx_exponent)),
                        ("dcentres", fdc, dc, unit(got.dcentres_exponent)),
                    ] {
                        // A step, and for cosine the roots and Q15, relative to the largest.
                        let size = want.iter().fold(0.0, |size: f64, w| size.max(w.abs()));
                        let limit = step + tolerance::COSINE * 4.0 * size;
                        assert_within(&format!("{place}: {what}"), &want, &got, |_| limit);
                    }
                }
            }
        }
    }
}

#[test]
fn integers_follow_the_rule_on_big_integers() {
    follows_the_rule::<i8>();
    follows_the_rule::<u8>();
    follows_the_rule::<i16>();
    follows_the_rule::<u16>();
    follows_the_rule::<i32>();
    follows_the_rule::<i64>();
    follows_the_rule::<u64>();
}

/// A whole pass of integers against floats on the same numbers.
fn is_parallel<T: Element<Member = Member<i64, i32>, Update: Default + Clone + Into<i128>>>(
    limit: f64,
) {
    let shape = Shape {
        rows: 40,
        features: 6,
        clusters: 5,
    };
    let m = T::MAGNITUDE_BITS as i32;
    for metric in METRICS {
        let temperature = match metric {
            Metric::Euclidean => Temperature {
                mantissa: 3,
                exponent: -2,
            },
            Metric::Manhattan => Temperature {
                mantissa: 3,
                exponent: -1,
            },
            Metric::Cosine => Temperature {
                mantissa: 3,
                exponent: -2,
            },
        };
        for mode in MODES {
            let mut source = Noise::new(560);
            let x: Vec<T> = elements(&source.vector(240, 1.0), -m);
            let centres: Vec<T> = elements(&source.vector(30, 1.0), -m);
            let dy: Vec<T> = elements(&source.vector(40 * outputs(shape, mode), 1.0), -m);
            let layer = Clusters {
                metric,
                temperature,
                centres: &centres,
                exponent: -m,
                x_exponent: -m,
            };
            let got = pass::<T>(&Serial, shape, layer, mode, &x, (&dy, -m));
            let [fx, fc, fdy] = [&x, &centres, &dy].map(|v| values(v, -m));
            let want = pass::<f64>(
                &Serial,
                shape,
                floats(metric, temperature, &fc),
                mode,
                &fx,
                (&fdy, 0),
            );
            let name = format!("{}, {metric:?}, {mode:?}", T::DTYPE);
            let off = if metric == Metric::Cosine {
                tolerance::COSINE * 4.0
            } else {
                0.0
            };
            for (got, want) in got.members.iter().zip(&want.members) {
                // A distance that is off by d moves a logit by d · distance / τ², below 4 d here.
                let share = f64::from(got.share) / 32_768.0;
                let cut = if m > 15 { 1e-4 } else { 0.0 };
                assert!(
                    (share - want.share).abs() <= tolerance::SHARE + off + cut,
                    "{name}: {got:?}, {want:?}"
                );
            }
            let dcentres: Vec<f64> = got.dcentres.into_iter().map(|g| g.into() as f64).collect();
            for (what, want, got, exponent) in [
                ("y", &want.y, values(&got.y, 0), got.y_exponent),
                ("dx", &want.dx, values(&got.dx, 0), got.dx_exponent),
                ("dcentres", &want.dcentres, dcentres, got.dcentres_exponent),
            ] {
                let cosine = cosine(want, &got);
                assert!(cosine >= limit, "{name}, {what}: cosine {cosine}");
                let length = (inner(&got, &got) / inner(want, want)).sqrt() * 2f64.powi(exponent);
                assert!(
                    (length - 1.0).abs() < 0.01,
                    "{name}, {what}: length {length}"
                );
            }
        }
    }
}

#[test]
fn integers_are_parallel_to_floats() {
    is_parallel::<i8>(tolerance::COSINE_8_BITS.0);
    is_parallel::<u8>(tolerance::COSINE_8_BITS.0);
    is_parallel::<i16>(tolerance::COSINE_16_BITS.0);
    is_parallel::<u16>(tolerance::COSINE_16_BITS.0);
    is_parallel::<i32>(tolerance::COSINE_32_BITS.0);
    is_parallel::<i64>(tolerance::COSINE_32_BITS.0);
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
    let before_x = x.clone();
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
    assert_eq!(x, before_x, "{name}: the input was changed");
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
fn three_blobs_are_found_purely() {
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

#[test]
fn zero_vectors_and_nan_are_defined() {
    // A zero vector has the cosine 0 with everything, and no direction to move in.
    let shape = Shape {
        rows: 1,
        features: 2,
        clusters: 2,
    };
    let centres = [0.0f64, 0.0, 3.0, 4.0];
    let layer = floats(Metric::Cosine, Temperature::ONE, &centres);
    let got = pass::<f64>(
        &Serial,
        shape,
        layer,
        Mode::Probabilities,
        &[0.0; 2],
        (&[1.0, -1.0], 0),
    );
    assert_eq!(
        got.members.iter().map(|m| m.distance).collect::<Vec<_>>(),
        [1.0, 1.0]
    );
    assert_eq!(
        (got.y, got.dx, got.dcentres),
        (vec![0.5; 2], vec![0.0; 2], vec![0.0; 4])
    );
    let centres = [0i8, 0, 30, 40];
    let layer = Clusters {
        metric: Metric::Cosine,
        temperature: Temperature::ONE,
        centres: &centres,
        exponent: 0,
        x_exponent: 0,
    };
    let got = pass::<i8>(
        &Serial,
        shape,
        layer,
        Mode::Probabilities,
        &[0; 2],
        (&[64, -64], -7),
    );
    assert_eq!(
        got.members,
        [Member {
            distance: 1 << 15,
            share: 1 << 14
        }; 2]
    );
    assert_eq!((got.dx, got.dcentres), (vec![0; 2], vec![0; 4]));

    let shape = Shape {
        rows: 2,
        features: 2,
        clusters: 2,
    };
    for metric in METRICS {
        let centres = [1.0f32, 2.0, 3.0, 4.5];
        let layer = floats(metric, Temperature::ONE, &centres);
        let x = [f32::NAN, 1.0, 2.0, 3.0];
        let got = pass::<f32>(
            &Serial,
            shape,
            layer,
            Mode::Probabilities,
            &x,
            (&[1.0, 2.0, 3.0, 4.0], 0),
        );
        assert!(
            got.y[..2].iter().all(|y| y.is_nan()) && got.y[2..].iter().all(|y| y.is_finite()),
            "{metric:?}"
        );
        assert!(
            got.dx[..2].iter().all(|d| d.is_nan()) && got.dx[2..].iter().all(|d| d.is_finite()),
            "{metric:?}"
        );
    }
}

#[test]
fn bad_input_is_refused_and_nothing_written() {
    for tau in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            Temperature::from_f64(tau),
            Err(Error::Value {
                arg: Arg::Temperature
            }),
            "{tau}"
        );
    }
    for (tau, mantissa, exponent) in [
        (1.0, 128, -7),
        (0.75, 192, -8),
        (3.0, 192, -6),
        (0.999_999, 128, -7),
    ] {
        assert_eq!(
            Temperature::from_f64(tau),
            Ok(Temperature { mantissa, exponent }),
            "{tau}"
        );
    }
    let shape = Shape {
        rows: 2,
        features: 3,
        clusters: 2,
    };
    let zero = Err(Error::Zero { arg: Arg::Shape });
    type Case = (&'static str, Shape, u8, [usize; 6], Result<(), Error>);
    let cases: [Case; 14] = [
        // x, centres, members, dy, scores, out
        ("fine", shape, 1, [6, 6, 4, 4, 4, 4], Ok(())),
        (
            "no rows",
            Shape { rows: 0, ..shape },
            1,
            [6, 6, 4, 4, 4, 4],
            zero,
        ),
        (
            "no features",
            Shape {
                features: 0,
                ..shape
            },
            1,
            [6, 6, 4, 4, 4, 4],
            zero,
        ),
        (
            "no clusters",
            Shape {
                clusters: 0,
                ..shape
            },
            1,
            [6, 6, 4, 4, 4, 4],
            zero,
        ),
        (
            "huge",
            Shape {
                rows: usize::MAX,
                ..shape
            },
            1,
            [6, 6, 4, 4, 4, 4],
            Err(Error::Overflow { arg: Arg::Shape }),
        ),
        (
            "wide",
            Shape {
                clusters: 16_385,
                ..shape
            },
            1,
            [6, 6, 4, 4, 4, 4],
            Err(Error::Accumulator {
                terms: 16_385,
                limit: 16_384,
            }),
        ),
        (
            "long",
            Shape {
                rows: 32_769,
                ..shape
            },
            1,
            [6, 6, 4, 4, 4, 4],
            Err(Error::Accumulator {
                terms: 32_769,
                limit: 32_768,
            }),
        ),
        (
            "cold",
            shape,
            0,
            [6, 6, 4, 4, 4, 4],
            Err(Error::Value {
                arg: Arg::Temperature,
            }),
        ),
        (
            "centres",
            shape,
            1,
            [6, 5, 4, 4, 4, 4],
            Err(Error::Length {
                arg: Arg::Centres,
                expected: 6,
                got: 5,
            }),
        ),
        (
            "x",
            shape,
            1,
            [7, 6, 4, 4, 4, 4],
            Err(Error::Length {
                arg: Arg::X,
                expected: 6,
                got: 7,
            }),
        ),
        (
            "members",
            shape,
            1,
            [6, 6, 3, 4, 4, 4],
            Err(Error::Length {
                arg: Arg::Shares,
                expected: 4,
                got: 3,
            }),
        ),
        (
            "dy",
            shape,
            1,
            [6, 6, 4, 5, 4, 4],
            Err(Error::Length {
                arg: Arg::Dy,
                expected: 4,
                got: 5,
            }),
        ),
        (
            "scores",
            shape,
            1,
            [6, 6, 4, 4, 5, 4],
            Err(Error::Length {
                arg: Arg::Scores,
                expected: 4,
                got: 5,
            }),
        ),
        (
            "out",
            shape,
            1,
            [6, 6, 4, 4, 4, 3],
            Err(Error::Length {
                arg: Arg::Out,
                expected: 4,
                got: 3,
            }),
        ),
    ];
    for (name, shape, mantissa, [x, centres, members, dy, scores, out], want) in cases {
        let (x, centres, dy) = (vec![3i8; x], vec![5i8; centres], vec![1i8; dy]);
        let temperature = Temperature {
            mantissa,
            exponent: 0,
        };
        let layer = Clusters {
            metric: Metric::Euclidean,
            temperature,
            centres: &centres,
            exponent: 0,
            x_exponent: 0,
        };
        let mark = Member {
            distance: 85i64,
            share: 85,
        };
        let mut marked = vec![mark; members];
        let got = [
            cluster::members(&Serial, shape, layer, &x, &mut marked),
            {
                let mut y = vec![85i8; out];
                let got = cluster::forward(
                    &Serial,
                    shape,
                    layer,
                    Mode::Probabilities,
                    &vec![mark; members],
                    Store::EXACT,
                    &mut y,
                );
                assert!(got.is_ok() || y.iter().all(|&y| y == 85), "{name}: forward");
                got.map(|_| ())
            },
            {
                let mut marked = vec![85i16; scores];
                let errors = Errors {
                    mode: Mode::Probabilities,
                    dy: &dy,
                    members: &vec![mark; members],
                };
                let got = cluster::scores(&Serial, shape, layer, errors, Store::EXACT, &mut marked);
                assert!(
                    got.is_ok() || marked.iter().all(|&s| s == 85),
                    "{name}: scores"
                );
                got.map(|_| ())
            },
            {
                let saved = Saved {
                    x: &x,
                    members: &vec![mark; members],
                    scores: &vec![1; scores],
                };
                let mut dx = vec![85i8; 6];
                let got =
                    cluster::backward_input(&Serial, shape, layer, saved, Store::EXACT, &mut dx);
                assert!(
                    got.is_ok() || dx.iter().all(|&x| x == 85),
                    "{name}: backward_input"
                );
                got.map(|_| ())
            },
            {
                let saved = Saved {
                    x: &x,
                    members: &vec![mark; members],
                    scores: &vec![1; scores],
                };
                let errors = Errors {
                    mode: Mode::Probabilities,
                    dy: &dy,
                    members: &vec![mark; members],
                };
                let mut dc = vec![85i64; 6];
                let got = cluster::backward_centres(
                    shape,
                    layer,
                    saved,
                    errors,
                    [0; 2],
                    &mut Gradient::Store(&mut dc),
                );
                assert!(
                    got.is_ok() || dc.iter().all(|&c| c == 85),
                    "{name}: backward_centres"
                );
                got
            },
        ];
        if got[0].is_err() {
            assert!(marked.iter().all(|m| *m == mark), "{name}: members");
        }
        // An argument that an entry does not take cannot be wrong there.
        let takes: [&[&str]; 5] = [
            &["x", "members"],
            &["members", "out"],
            &["members", "dy", "scores"],
            &["x", "members", "scores"],
            &["x", "members", "scores", "dy"],
        ];
        let own = ["x", "members", "out", "dy", "scores"];
        for (entry, (got, takes)) in got.into_iter().zip(takes).enumerate() {
            let concerns = !own.contains(&name) || takes.contains(&name);
            assert_eq!(
                got,
                if concerns { want } else { Ok(()) },
                "{name}, entry {entry}"
            );
        }
    }
    let shape = Shape {
        rows: 2,
        features: 3,
        clusters: 2,
    };
    let layer = floats(Metric::Euclidean, Temperature::ONE, &[1.0f32; 6]);
    let saved = Saved {
        x: &[1.0; 6],
        members: &[Default::default(); 4],
        scores: &[1.0; 4],
    };
    let mut dx = [85.0; 5];
    let got = cluster::backward_input(&Serial, shape, layer, saved, Store::EXACT, &mut dx);
    assert_eq!(
        (got, dx),
        (
            Err(Error::Length {
                arg: Arg::Dx,
                expected: 6,
                got: 5
            }),
            [85.0; 5]
        )
    );
    let errors = Errors {
        mode: Mode::Features,
        dy: &[1.0; 6],
        members: &[Default::default(); 4],
    };
    let got = cluster::backward_centres(
        shape,
        layer,
        saved,
        errors,
        [0; 2],
        &mut Gradient::Store(&mut dx),
    );
    assert_eq!(
        (got, dx),
        (
            Err(Error::Length {
                arg: Arg::Dw,
                expected: 6,
                got: 5
            }),
            [85.0; 5]
        )
    );
}
