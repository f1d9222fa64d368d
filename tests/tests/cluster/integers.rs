//! Integers against the rule on big integers, and against floats.

use super::{METRICS, MODES, floats, outputs, pass};
use selvedge_kernels::Element;
use selvedge_kernels::cluster::{Clusters, Member, Metric, Mode, Shape, Temperature};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::isqrt_u128;
use selvedge_kernels::lut::exp2_neg;
use selvedge_tests::compare::{cosine, elements, inner, integer, noise, sat, shift_rne, values};
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

/// `(j, r)` of a sum of squares.
fn root(v: i128) -> (i32, i128) {
    if v == 0 {
        return (0, 0);
    }
    let j = (30 - (128 - v.leading_zeros() as i32)).div_euclid(2);
    let normal = if j >= 0 { v << (2 * j) } else { v >> (-2 * j) };
    (j, (1i128 << 30) / isqrt_u128(normal as u128) as i128)
}

/// The exponent at which elements of two exponents and so many bits are compared.
fn common([a, b]: [i32; 2], bits: i32) -> i32 {
    a.min(b).max(a.max(b) + bits - 15)
}

/// The rule of `docs/numerics.md` §16 on big integers: members.
fn model(
    shape: Shape,
    m: i32,
    clusters: &Clusters<'_, impl Element>,
    x: &[i128],
    centres: &[i128],
) -> Vec<Member<i64>> {
    let cut = (m - 15).max(0);
    let (ex, ec, bits) = (clusters.x_exponent + cut, clusters.exponent + cut, m - cut);
    let e0 = common([ex, ec], bits);
    let short = |v: &[i128]| v.iter().map(|&v| shift_rne(v, cut)).collect::<Vec<_>>();
    let (x, centres) = (short(x), short(centres));
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
                share: shift_rne(n * r, 32) as i64,
            });
        }
    }
    out
}

/// The way back, with exponents of cut elements: of rows, of centres, of errors.
struct Way {
    shape: Shape,
    metric: Metric,
    mode: Mode,
    exponents: [i32; 3],
    bits: i32,
    score_exponent: i32,
}

/// Accumulators at an exponent.
struct Sums {
    sums: Vec<i128>,
    exponent: i32,
}

impl Way {
    /// The gradients of the rows and of the centres, of cut elements.
    fn gradients(
        &self,
        [x, c, dy]: [&[i128]; 3],
        members: &[Member<i64>],
        scores: &[i128],
    ) -> [Sums; 2] {
        let Shape { features, .. } = self.shape;
        let [ex, ec, _] = self.exponents;
        let e0 = common([ex, ec], self.bits);
        let one = 1i128 << 15;
        let length = |v: &[i128]| root(v.iter().map(|v| v * v).sum());
        let (mut dx, mut dc) = (vec![0; x.len()], vec![0; c.len()]);
        for (n, u) in x.chunks(features).enumerate() {
            for (k, c) in c.chunks(features).enumerate() {
                let pair = n * self.shape.clusters + k;
                let (a, distance) = (scores[pair], i128::from(members[pair].distance));
                let unit = |v: i128, (j, r): (i32, i128)| shift_rne(v * r, 15 - j);
                let (u_length, c_length) = (length(u), length(c));
                for (j, (&u, &c)) in u.iter().zip(c).enumerate() {
                    let apart = shift_rne(u, e0 - ex) - shift_rne(c, e0 - ec);
                    let (u, c) = (unit(u, u_length), unit(c, c_length));
                    let off = |from: i128, to: i128| to - shift_rne((one - distance) * from, 15);
                    let [to_x, to_c] = match self.metric {
                        Metric::Euclidean => [-a * apart, a * apart],
                        Metric::Manhattan => {
                            [-1, 1].map(|sign| sign * a * distance * apart.signum())
                        }
                        Metric::Cosine => [off(u, c), off(c, u)].map(|off| a * distance * off),
                    };
                    dx[n * features + j] += to_x;
                    dc[k * features + j] += to_c;
                }
            }
        }
        let sums = |sums: Vec<i128>, v: &[i128], e: i32| match self.metric {
            Metric::Euclidean | Metric::Manhattan => Sums {
                sums,
                exponent: self.score_exponent + e0,
            },
            Metric::Cosine => {
                let scaled = sums.chunks(features).zip(v.chunks(features));
                let scaled = scaled.flat_map(|(sums, v)| {
                    let (j, r) = length(v);
                    let scale = move |&sum: &i128| shift_rne(shift_rne(sum, 15) * r, 15 - j);
                    sums.iter().map(scale)
                });
                Sums {
                    sums: scaled.collect(),
                    exponent: self.score_exponent - e - 30,
                }
            }
        };
        let (dx, dc) = (sums(dx, x, ex), sums(dc, c, ec));
        [dx, self.with_means(dc, dy, members)]
    }

    /// What a centre's part in the means adds.
    fn with_means(&self, dc: Sums, dy: &[i128], members: &[Member<i64>]) -> Sums {
        if self.mode == Mode::Probabilities {
            return dc;
        }
        let Shape {
            rows,
            features,
            clusters,
        } = self.shape;
        let direct = self.exponents[2] - 15;
        let [low, high] = [dc.exponent.min(direct), dc.exponent.max(direct)];
        let exponent = low.max(high - 15);
        let sums = dc.sums.iter().enumerate().map(|(at, &sum)| {
            let (k, j) = (at / features, at % features);
            let by_share =
                |n: usize| i128::from(members[n * clusters + k].share) * dy[n * features + j];
            let shares = (0..rows).map(by_share).sum();
            saturating(sum, exponent - dc.exponent) + saturating(shares, exponent - direct)
        });
        Sums {
            sums: sums.collect(),
            exponent,
        }
    }
}

/// [`shift_rne`], which saturates at 62 bits to the left.
fn saturating(x: i128, s: i32) -> i128 {
    if s > 0 {
        return shift_rne(x, s);
    }
    let limit = ((1i128 << 62) - 1) >> -s;
    x.clamp(-limit, limit) << -s
}

/// The scores, the input's gradient and the centres' of the same rule.
#[allow(clippy::too_many_lines)] // one rule, written out
fn follows_the_rule<T>()
where
    T: Element<Member = Member<i64>, Score = i16, Update: Default + Clone + Into<i128>>,
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

                    let way = Way {
                        shape,
                        metric,
                        mode,
                        exponents: [x_exponent, exponent, -m].map(|e| e + cut),
                        bits,
                        score_exponent: got.score_exponent,
                    };
                    let [dx, dc] = way.gradients([&x, &c, &dy], &want, &scores);
                    let shift = got.dx_exponent - dx.exponent;
                    let stored: Vec<i128> = (dx.sums.iter())
                        .map(|&acc| sat(shift_rne(acc, shift), m as u32))
                        .collect();
                    assert_eq!(stored, big(&got.dx), "{place}: dx");
                    let sums: Vec<i128> = got.dcentres.into_iter().map(Into::into).collect();
                    let got = (got.dcentres_exponent, sums);
                    assert_eq!((dc.exponent, dc.sums), got, "{place}: dcentres");
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
    follows_the_rule::<u32>();
    follows_the_rule::<i64>();
    follows_the_rule::<u64>();
}

/// A whole pass of integers against floats on the same numbers.
fn is_parallel<T: Element<Member = Member<i64>, Update: Default + Clone + Into<i128>>>(limit: f64) {
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
                let share = got.share as f64 / 32_768.0;
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
