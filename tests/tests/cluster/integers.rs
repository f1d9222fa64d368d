//! Integers against the rule on big integers, and against floats.

use super::{METRICS, MODES, floats, outputs, pass};
use selvedge_kernels::Element;
use selvedge_kernels::cluster::{
    self, Clusters, Errors, Member, Metric, Mode, Saved, Shape, Temperature,
};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::isqrt_u128;
use selvedge_kernels::lut::exp2_neg;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_tests::compare::{
    assert_within, cosine, elements, inner, integer, noise, sat, shift_rne, values,
};
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

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
                    (share - want.share).abs()
                        <= tolerance::share(shape.clusters, want.share) + off + cut,
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
