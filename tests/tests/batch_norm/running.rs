//! Running statistics, inference and folding of integers against the rule on big integers.

use selvedge_kernels::Element;
use selvedge_kernels::batch_norm::{self, Exponents, Folding, Running, Shape};
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::isqrt_u128;
use selvedge_kernels::norm::Affine;
use selvedge_kernels::requantize::Store;
use selvedge_tests::compare::{integer, noise, sat, shifted};
use selvedge_tests::noise::Noise;
use selvedge_tests::{for_integers, tensors};

fn bit_len(x: i128) -> i32 {
    128 - x.unsigned_abs().leading_zeros() as i32
}

/// `shift_rne` of `docs/numerics.md` §2, which saturates at so many bits to the left.
fn shift(x: i128, s: i32, bits: i32) -> i128 {
    if s > 0 {
        return tensors::rne(x, s);
    }
    if -s >= bits {
        return 0;
    }
    let limit = ((1i128 << bits) - 1) >> -s;
    x.clamp(-limit, limit) << -s
}

/// `divide(x, n, s)` of `docs/numerics.md` §15.
fn divide(x: i128, n: usize, s: i32) -> i128 {
    let n = n as i128;
    let k = 31 + bit_len(n - 1);
    let f = ((1 << k) + n / 2) / n;
    shift(x * f, (k - s).max(-125), 126)
}

/// `(j, r)` of a variance.
fn root(v: i128) -> (i32, i128) {
    if v <= 0 {
        return (0, 0);
    }
    let j = (30 - bit_len(v)).div_euclid(2);
    let normal = if j >= 0 { v << (2 * j) } else { v >> (-2 * j) };
    (j, (1i128 << 30) / isqrt_u128(normal as u128) as i128)
}

/// Running statistics after a batch of cut elements `q` of a channel.
fn updated(q: &[i128], exponent: i32, momentum: i128, was: Running<i64>) -> [i128; 2] {
    let n = q.len();
    let sum: i128 = q.iter().sum();
    let v = n as i128 * q.iter().map(|q| q * q).sum::<i128>() - sum * sum;
    let mean = divide(sum, n, exponent + 32);
    let variance = divide(divide(v, n, 16), n - 1, 2 * exponent + 16);
    [(mean, was.mean), (variance, was.variance)].map(|(batch, was)| {
        let was = i128::from(was);
        sat(was + shift((sat(batch, 62) - was) * momentum, 16, 126), 62)
    })
}

fn statistics_run_by_the_rule<T: Element<Statistic = i64>>() {
    let m = T::MAGNITUDE_BITS as i32;
    let cut = (m - 15).max(0);
    let mut source = Noise::new(480);
    for (rows, channels) in [(2, 3), (3, 1), (7, 17), (100, 4)] {
        let shape = Shape { rows, channels };
        let mut running = vec![T::RUNNING_START; channels];
        for exponent in [-m, 3 - m, -m - 20, -60, 0, 40] {
            let largest = 2f64.powi(m) - 1.0;
            let x: Vec<T> = match exponent {
                // All equal: a variance of 0; and a mean that saturates at 40.
                0 | 40 => vec![T::from_f64(largest); rows * channels],
                _ => noise(&mut source, rows * channels),
            };
            let mut statistics = vec![T::Channel::default(); channels];
            batch_norm::statistics(&Serial, shape, T::LAYER_EPSILON, &x, &mut statistics).unwrap();
            for momentum in [0, 1, batch_norm::MOMENTUM, 1 << 16] {
                let was = running.clone();
                batch_norm::update_running::<T>(
                    rows,
                    exponent,
                    momentum,
                    &statistics,
                    &mut running,
                )
                .unwrap();
                for (c, (was, is)) in was.iter().zip(&running).enumerate() {
                    let q: Vec<i128> = (x.iter().skip(c).step_by(channels))
                        .map(|&x| tensors::rne(integer(x), cut))
                        .collect();
                    let want = updated(&q, exponent + cut, momentum.into(), *was);
                    let got = [is.mean, is.variance].map(i128::from);
                    let place = format!("{}, {shape:?}, {exponent}, {momentum}", T::DTYPE);
                    assert_eq!(want, got, "{place}: channel {c}");
                }
            }
        }
    }
}

#[test]
fn running_statistics_follow_the_rule_on_big_integers() {
    for_integers!(statistics_run_by_the_rule);
}

/// What inference does to a cut element: `shift_rne(q · factor, places) + offset`.
struct Line {
    factor: i128,
    places: i32,
    offset: i128,
}

impl Line {
    /// For cut inputs at `exponent`, a cut gain, and a bias in units of the accumulator.
    fn new(exponent: i32, gamma: i128, beta: i128, running: Running<i64>) -> Self {
        let (j, r) = root(running.variance.into());
        let factor = gamma * r;
        let mean = shift(i128::from(running.mean) * factor, 34 - j, 126);
        Self {
            factor,
            places: 2 - exponent - j,
            offset: sat(beta - mean, 61),
        }
    }

    fn of(&self, q: i128) -> i128 {
        shift(q * self.factor, self.places, 62) + self.offset
    }
}

/// Elements of so many bits for values of `value / 2^places`, at the smallest exponent that holds all of them, and
/// how far it is above theirs; nothing if all are zero.
fn fitted(values: &[(i128, i32)], bits: u32) -> Option<(Vec<i128>, i32)> {
    let all = values.iter().filter(|(value, _)| *value != 0);
    let top = all.map(|&(value, places)| bit_len(value) - places).max()?;
    let rise = top - bits as i32;
    let fit = |&(value, places): &(i128, i32)| sat(shift(value, rise + places, 126), bits);
    Some((values.iter().map(fit).collect(), rise))
}

/// Statistics at which roots, saturation and signs change, and random ones.
fn statistics(source: &mut Noise, channels: usize) -> Vec<Running<i64>> {
    let most = (1i64 << 62) - 1;
    let word = |source: &mut Noise| {
        (i64::from(source.word()) << 30 | i64::from(source.word() >> 2)) & most
    };
    let one = |c: usize| {
        let (mean, variance) = (word(source) >> (c % 50), word(source) >> (c * 7 % 62));
        let mean = if c.is_multiple_of(2) { mean } else { -mean };
        match c {
            0 => Running {
                mean: 3 << 30,
                variance: 0,
            },
            1 => Running {
                mean: -1,
                variance: 1,
            },
            2 => Running {
                mean: most,
                variance: most,
            },
            3 => Running {
                mean: -most,
                variance: 1,
            },
            _ => Running { mean, variance },
        }
    };
    (0..channels).map(one).collect()
}

fn inference_follows_the_rule<T: Element<Statistic = i64>>() {
    let m = T::MAGNITUDE_BITS as i32;
    let cut = (m - 15).max(0);
    let bias_bits = T::Bias::MAGNITUDE_BITS;
    let mut source = Noise::new(481);
    let (rows, channels, inputs) = (5, 19, 3);
    let shape = Shape { rows, channels };
    let big = |x: &[T]| x.iter().map(|&x| integer(x)).collect::<Vec<_>>();
    // The last has means of 0 and no biases: what it is folded into may be all zeros.
    for (x_exponent, beta_shift, has_beta) in [
        (-m, -12, true),
        (3 - m, 2, true),
        (-m - 9, 0, false),
        (-60, -40, true),
        (20, 30, true),
        (1 - m, 0, false),
    ] {
        let is_centred = x_exponent == 1 - m;
        let place = format!("{}, {x_exponent}, {beta_shift}", T::DTYPE);
        let x: Vec<T> = noise(&mut source, rows * channels);
        let gamma: Vec<T> = noise(&mut source, channels);
        let beta: Vec<T::Bias> = noise(&mut source, channels);
        let mut running = statistics(&mut source, channels);
        if is_centred {
            running.iter_mut().for_each(|running| running.mean = 0);
        }
        let bias = has_beta.then_some(Bias {
            values: &beta[..],
            shift: beta_shift,
        });
        let affine = Affine {
            gamma: &gamma,
            beta: bias,
        };
        let mut transform = vec![T::Transform::default(); channels];
        batch_norm::transform(
            T::LAYER_EPSILON,
            x_exponent,
            affine,
            &running,
            &mut transform,
        )
        .unwrap();
        let lines: Vec<Line> = (0..channels)
            .map(|c| {
                let gamma = tensors::rne(integer(gamma[c]), cut);
                let beta = sat(shift(integer(beta[c]), beta_shift, 126), 61);
                let beta = if has_beta { beta } else { 0 };
                Line::new(x_exponent + cut, gamma, beta, running[c])
            })
            .collect();

        let want: Vec<i128> = (x.iter().enumerate())
            .map(|(i, &x)| lines[i % channels].of(tensors::rne(integer(x), cut)))
            .collect();
        let mut y = vec![T::ZERO; x.len()];
        let mut infer =
            |store| batch_norm::infer(&Serial, shape, &x, &transform, store, &mut y).unwrap();
        assert_eq!(
            infer(Store::Measure),
            tensors::range(&want),
            "{place}: range"
        );
        for places in [0, 9, tensors::range(&want) as i32 - m] {
            let mut y = vec![T::ZERO; x.len()];
            batch_norm::infer(&Serial, shape, &x, &transform, shifted(places), &mut y).unwrap();
            let stored: Vec<i128> = (want.iter())
                .map(|&acc| sat(shift(acc, places, 62), m as u32))
                .collect();
            assert_eq!(stored, big(&y), "{place}: to {places} places");
        }

        // Folded into a layer of as many outputs; weights or biases that are all zero keep their exponents.
        let (weight_exponent, bias_exponent) = (-m - 2, -m - 5);
        let out_exponent = 1 - m + cut - 12;
        for is_zero in [false, true] {
            let mut w: Vec<T> = noise(&mut source, channels * inputs);
            let mut b: Vec<T::Bias> = noise(&mut source, channels);
            if is_zero {
                w.fill(T::ZERO);
                b.fill(<T::Bias as Element>::ZERO);
            }
            let e_x = x_exponent + cut;
            let products: Vec<(i128, i32)> = (w.iter().enumerate())
                .map(|(i, &w)| {
                    (
                        integer(w) * lines[i / inputs].factor,
                        lines[i / inputs].places,
                    )
                })
                .collect();
            let sums: Vec<(i128, i32)> = (b.iter().zip(&lines))
                .map(|(&b, line)| {
                    let places = line.places - 16 - (bias_exponent - e_x);
                    let product = shift(integer(b) * line.factor, places, 126);
                    (sat(product, 120) + (line.offset << 16), 0)
                })
                .collect();
            let exponents = Exponents {
                weight: weight_exponent,
                bias: bias_exponent,
            };
            let folding = Folding {
                transform: &transform,
                x_exponent,
                out_exponent,
            };
            let folded = batch_norm::fold(folding, exponents, &mut w, &mut b).unwrap();
            let weights = fitted(&products, T::MAGNITUDE_BITS)
                .map_or((vec![0; w.len()], weight_exponent), |(w, rise)| {
                    (w, weight_exponent + out_exponent - e_x + rise)
                });
            let biases = fitted(&sums, bias_bits)
                .map_or((vec![0; b.len()], bias_exponent), |(b, rise)| {
                    (b, out_exponent - 16 + rise)
                });
            assert_eq!(weights, (big(&w), folded.weight), "{place}: weights");
            let got: Vec<i128> = b.iter().map(|&b| integer(b)).collect();
            let is_nothing = biases.0.iter().all(|&b| b == 0);
            assert_eq!(is_nothing, is_zero && is_centred, "{place}");
            assert_eq!(biases, (got, folded.bias), "{place}: biases");
        }
    }
}

/// Gains of 0 make all of a layer 0, whatever its weights were.
fn nothing_is_folded_to_zeros<T: Element<Statistic = i64>>() {
    let mut source = Noise::new(482);
    let (channels, inputs) = (3, 2);
    let mut running = statistics(&mut source, channels);
    running.iter_mut().for_each(|running| running.mean = 0);
    let affine = Affine {
        gamma: &vec![T::ZERO; channels],
        beta: None,
    };
    let mut transform = vec![T::Transform::default(); channels];
    batch_norm::transform(T::LAYER_EPSILON, -3, affine, &running, &mut transform).unwrap();
    let mut weight: Vec<T> = noise(&mut source, channels * inputs);
    let mut bias: Vec<T::Bias> = noise(&mut source, channels);
    let folding = Folding {
        transform: &transform,
        x_exponent: -3,
        out_exponent: -9,
    };
    let exponents = Exponents {
        weight: -5,
        bias: -9,
    };
    let folded = batch_norm::fold(folding, exponents, &mut weight, &mut bias).unwrap();
    assert!(weight.iter().all(|&w| w == T::ZERO), "{}", T::DTYPE);
    assert!(
        bias.iter().all(|&b| b == <T::Bias as Element>::ZERO),
        "{}",
        T::DTYPE
    );
    assert_eq!((folded.weight, folded.bias), (-5, -9));
}

#[test]
fn gains_of_zero_leave_nothing() {
    for_integers!(nothing_is_folded_to_zeros);
}

#[test]
fn inference_and_folding_follow_the_rule_on_big_integers() {
    for_integers!(inference_follows_the_rule);
}
