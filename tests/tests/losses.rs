//! Losses beyond labels and squares: against definitions in f64, differences, PyTorch and an exact
//! model of the integers.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{
    self, Classes, Delta, Distance, Outcome, SampleWeights, Samples, Smoothing, Sum, Targets,
};
use selvedge_kernels::lut::exp2_neg;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Arg, Element, Error, Result, bf16, f16};
use selvedge_tests::golden;
use selvedge_tests::noise::Noise;
use selvedge_tests::{tensors::rounding, tolerance};

const EXACT: Store = Store::EXACT;
/// Samples, elements of each.
const ROWS: usize = 3;
const WIDTH: usize = 5;
const ELEMENTS: usize = ROWS * WIDTH;

/// PyTorch and differences of losses in f64: roundings of sums of 15 terms up to 10.
const F64: f64 = 1e-13;
/// The same in f32.
const F32: f64 = 2e-5;
/// Half the distance between the two points of a difference.
const STEP: f64 = 1e-5;
/// Central differences: a sixth of the third derivative (1/10 for a softmax, weights to 2) times the
/// step squared, and the rounding of a loss of up to 50.
const DIFFERENCE: f64 = 0.2 / 6.0 * STEP * STEP + 50.0 * f64::EPSILON / STEP;
/// A gradient of the integers before it is stored: probabilities within 2^-14 (and as much from a logit
/// cut to 15 bits of ±4), targets and smoothing within 2^-16, times a weight of up to 2; or a target
/// rounded to the outputs' exponent, half of 2^-13, and the weight's own 2^-15 of 4.
const FIXED: f64 = 2.0 * (2.0 / 16_384.0 + 2.0 / 65_536.0) + 4.0 / 32_768.0;
/// A displayed loss: 15 elements, each within `FIXED` by its gradient's inaccuracy over logits of up to
/// 8, and Q16.
const DISPLAYED: f64 = ELEMENTS as f64 * (8.0 * FIXED + 1.0 / 65_536.0);

/// A loss with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Labels(f32),
    Shares(f32),
    Regression(Distance),
    Binary,
}

const LABELS: [u16; ROWS] = [2, 0, 4];

fn all() -> [Loss; 8] {
    [
        Loss::Labels(0.0),
        Loss::Labels(0.25),
        Loss::Shares(0.0),
        Loss::Shares(0.125),
        Loss::Regression(Distance::Squared),
        Loss::Regression(Distance::Absolute),
        Loss::Regression(Distance::Huber(Delta::new(0.75).unwrap())),
        Loss::Binary,
    ]
}

/// Arguments of a call, all in elements of the head.
#[derive(Clone, Copy)]
struct Io<'a, H> {
    x: &'a [H],
    exponent: i32,
    target: &'a [H],
    target_exponent: i32,
    weights: Option<SampleWeights<'a, H>>,
}

impl Loss {
    fn run<T: Element>(
        self,
        io: Io<'_, T::Head>,
        store: Store,
        dy: &mut [T],
    ) -> Result<Outcome<T::LossSum>> {
        let Io {
            x,
            exponent,
            target,
            target_exponent,
            weights,
        } = io;
        let samples = Samples {
            outputs: x,
            exponent,
            target,
            target_exponent,
            features: WIDTH,
            weights,
        };
        let classes = |smoothing| Classes {
            classes: WIDTH,
            smoothing: Smoothing::new(smoothing).unwrap(),
            weights,
        };
        let shares = Targets::Distribution {
            values: target,
            exponent: target_exponent,
        };
        match self {
            Self::Labels(smoothing) => {
                let labels = Targets::Labels(&LABELS);
                loss::soft_cross_entropy(classes(smoothing), x, exponent, labels, store, dy)
            }
            Self::Shares(smoothing) => {
                loss::soft_cross_entropy(classes(smoothing), x, exponent, shares, store, dy)
            }
            Self::Regression(distance) => loss::regression(distance, samples, store, dy),
            Self::Binary => loss::binary_cross_entropy(samples, store, dy),
        }
    }

    /// The exponent of the accumulators.
    fn gradient_exponent<T: Element>(self, io: &Io<'_, T::Head>) -> i32 {
        let drop = (<T::Head as Element>::MAGNITUDE_BITS as i32 - 15).max(0);
        match self {
            Self::Labels(_) | Self::Shares(_) => {
                let smoothing = Smoothing::NONE;
                Classes {
                    classes: WIDTH,
                    smoothing,
                    weights: io.weights,
                }
                .gradient_exponent()
            }
            Self::Regression(distance) => distance.gradient_exponent(io.exponent, io.weights),
            Self::Binary if T::DTYPE.is_integer() => {
                T::LOSS_EXPONENT + io.weights.map_or(0, |w| w.exponent + drop)
            }
            Self::Binary => T::LOSS_EXPONENT,
        }
    }

    /// The definition: loss and gradient.
    fn definition(self, x: &[f64], target: &[f64], weights: &[f64]) -> (f64, Vec<f64>) {
        let mut total = 0.0;
        let mut gradient = vec![];
        for (r, w) in weights.iter().enumerate() {
            let (x, y) = (&x[r * WIDTH..][..WIDTH], &target[r * WIDTH..][..WIDTH]);
            let sum: f64 = x.iter().map(|x| x.exp()).sum();
            let p: Vec<f64> = x.iter().map(|x| x.exp() / sum).collect();
            let cross = |t: Vec<f64>, smoothing: f32| {
                let e = f64::from(smoothing);
                let t: Vec<f64> = t.iter().map(|t| (1.0 - e) * t + e / WIDTH as f64).collect();
                let all: f64 = t.iter().sum();
                let loss: f64 = t.iter().zip(&p).map(|(t, p)| -t * p.ln()).sum();
                (
                    loss,
                    p.iter()
                        .zip(&t)
                        .map(|(p, t)| p * all - t)
                        .collect::<Vec<_>>(),
                )
            };
            let each = |f: &dyn Fn(f64, f64) -> (f64, f64)| {
                let pairs: Vec<_> = x.iter().zip(y).map(|(x, y)| f(*x, *y)).collect();
                (
                    pairs.iter().map(|p| p.0).sum(),
                    pairs.iter().map(|p| p.1).collect(),
                )
            };
            let (loss, d): (f64, Vec<f64>) = match self {
                Self::Labels(smoothing) => {
                    let hot = |i| f64::from(u8::from(i == usize::from(LABELS[r])));
                    cross((0..WIDTH).map(hot).collect(), smoothing)
                }
                Self::Shares(smoothing) => cross(y.to_vec(), smoothing),
                Self::Regression(Distance::Squared) => each(&|x, y| (0.5 * (x - y).powi(2), x - y)),
                Self::Regression(Distance::Absolute) => {
                    each(&|x, y| ((x - y).abs(), if x == y { 0.0 } else { (x - y).signum() }))
                }
                Self::Regression(Distance::Huber(delta)) => each(&|x, y| {
                    let (d, delta) = (x - y, f64::from(delta.value()));
                    let far = delta * (d.abs() - 0.5 * delta);
                    (
                        if d.abs() <= delta { 0.5 * d * d } else { far },
                        d.clamp(-delta, delta),
                    )
                }),
                Self::Binary => each(&|x, y| {
                    let p = 1.0 / (1.0 + (-x).exp());
                    (-y * p.ln() - (1.0 - y) * (1.0 - p).ln(), p - y)
                }),
            };
            total += w * loss;
            gradient.extend(d.iter().map(|d| w * d));
        }
        (total, gradient)
    }
}

/// Outputs within ±3.9, targets that suit the loss, weights up to 2.
fn inputs(noise: &mut Noise, loss: Loss) -> [Vec<f64>; 3] {
    let x = noise.vector(ELEMENTS, 3.9);
    let mut target: Vec<f64> = noise
        .vector(ELEMENTS, 0.5)
        .iter()
        .map(|t| t + 0.5)
        .collect();
    match loss {
        Loss::Shares(_) => {
            for row in target.chunks_mut(WIDTH) {
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|t| *t /= sum);
            }
        }
        Loss::Regression(_) => target = noise.vector(ELEMENTS, 2.0),
        Loss::Labels(_) | Loss::Binary => {}
    }
    let weights = noise.vector(ROWS, 0.9).iter().map(|w| w + 1.0).collect();
    [x, target, weights]
}

fn quantized<H: Element>(values: &[f64], exponent: i32) -> (Vec<H>, Vec<f64>) {
    let scale = if H::DTYPE.is_integer() {
        2f64.powi(exponent)
    } else {
        1.0
    };
    let q: Vec<H> = values.iter().map(|x| H::from_f64(x / scale)).collect();
    let back = q.iter().map(|q| q.to_f64() * scale).collect();
    (q, back)
}

/// Losses and gradients in type `T` against f64, from the same rounded numbers. `bounds`: of a
/// gradient beside half a unit of what is stored, and of the loss.
fn losses_are_the_definition<T: Element>(bounds: [f64; 2], rounding: f64) {
    let mut noise = Noise::new(201);
    let m = <T::Head as Element>::MAGNITUDE_BITS as i32;
    for loss in all() {
        for with_weights in [false, true] {
            let [x, target, weights] = inputs(&mut noise, loss);
            let (x, x64) = quantized::<T::Head>(&x, 2 - m);
            let (y, y64) = quantized::<T::Head>(&target, 1 - m);
            let (w, w64) = quantized::<T::Head>(&weights, 1 - m);
            let w64 = if with_weights { w64 } else { vec![1.0; ROWS] };
            let weights = SampleWeights {
                values: &w,
                exponent: 1 - m,
            };
            let io = Io {
                x: &x,
                exponent: 2 - m,
                target: &y,
                target_exponent: 1 - m,
                weights: with_weights.then_some(weights),
            };
            let mut dy = vec![T::from_f64(85.0); ELEMENTS];
            let measured = loss.run(io, Store::Measure, &mut dy).unwrap();
            let name = format!("{} {loss:?}, weights {with_weights}", T::DTYPE);
            assert!(
                dy.iter().all(|d| *d == T::from_f64(85.0)),
                "{name}: measuring wrote"
            );
            let is_integer = T::DTYPE.is_integer();
            let shift = if is_integer {
                measured.range as i32 - T::MAGNITUDE_BITS as i32
            } else {
                0
            };
            let store = Store::Shift {
                shift,
                rounding: Rounding::NearestEven,
            };
            let outcome = loss.run(io, store, &mut dy).unwrap();
            let losses = [outcome.loss.to_f64(), measured.loss.to_f64()];
            assert_eq!(
                (outcome.range, losses[0]),
                (measured.range, losses[1]),
                "{name}"
            );
            let scale = 2f64.powi(loss.gradient_exponent::<T>(&io) + shift);
            let (want, gradient) = loss.definition(&x64, &y64, &w64);
            for (i, (d, want)) in dy.iter().zip(&gradient).enumerate() {
                let got = d.to_f64() * scale;
                let step = if is_integer {
                    scale
                } else {
                    want.abs() * rounding
                };
                let error = (got - want).abs();
                assert!(
                    error <= bounds[0] + step,
                    "{name}, element {i}: {got}, expected {want}"
                );
            }
            let error = (outcome.loss.to_f64() - want).abs();
            assert!(error <= bounds[1], "{name}: loss {want}, off by {error}");
        }
    }
}

#[test]
fn losses_are_the_definition_in_every_type() {
    losses_are_the_definition::<f64>([F64; 2], 0.0);
    losses_are_the_definition::<f32>([F32, 10.0 * F32], 0.0);
    losses_are_the_definition::<f16>([F32, 10.0 * F32], 1.0 / 1024.0);
    losses_are_the_definition::<bf16>([F32, 10.0 * F32], 1.0 / 128.0);
    losses_are_the_definition::<i8>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<u8>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<i16>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<u16>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<i32>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<u32>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<i64>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<u64>([FIXED, DISPLAYED], 0.0);
}

/// The kernel's own loss and gradient; the kinks of Huber and of the absolute value are never within
/// a step, and outputs lie on both sides of each.
#[test]
fn gradients_are_the_differences() {
    let mut noise = Noise::new(202);
    for loss in all() {
        let [mut x, target, weights] = inputs(&mut noise, loss);
        let mut dy = vec![0.0f64; ELEMENTS];
        if let Loss::Regression(_) = loss {
            let far: Vec<f64> = x.iter().zip(&target).map(|(x, y)| (x - y).abs()).collect();
            assert!(
                far.iter()
                    .all(|d| (d - 0.75).abs() > 2.0 * STEP && *d > 2.0 * STEP)
            );
            assert!(far.iter().any(|d| *d < 0.75) && far.iter().any(|d| *d > 0.75));
        }
        let run = |x: &[f64], dy: &mut [f64]| {
            let weights = Some(SampleWeights {
                values: &weights,
                exponent: 0,
            });
            let io = Io {
                x,
                exponent: 0,
                target: &target,
                target_exponent: 0,
                weights,
            };
            loss.run::<f64>(io, EXACT, dy).unwrap().loss
        };
        run(&x, &mut dy);
        let mut ignored = vec![0.0; ELEMENTS];
        for i in 0..ELEMENTS {
            let at = x[i];
            x[i] = at + STEP;
            let above = run(&x, &mut ignored);
            x[i] = at - STEP;
            let below = run(&x, &mut ignored);
            x[i] = at;
            let want = (above - below) / (2.0 * STEP);
            let error = (dy[i] - want).abs();
            assert!(
                error <= DIFFERENCE,
                "{loss:?}, element {i}: {}, difference {want}",
                dy[i]
            );
        }
    }
}

fn replay<T: Element<Head = T>>(tolerance: f64) {
    let file = golden::read("torch/softmax.json");
    let cases = file["losses"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let of = |key: &str| -> Vec<f64> {
            let values = case[key].as_array().map(Vec::as_slice).unwrap_or_default();
            values.iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let smoothing = case["smoothing"].as_f64().unwrap_or(0.0) as f32;
        let name = case["name"].as_str().unwrap();
        let loss = match name {
            "labels" => Loss::Labels(smoothing),
            "shares" => Loss::Shares(smoothing),
            "squared" => Loss::Regression(Distance::Squared),
            "absolute" => Loss::Regression(Distance::Absolute),
            "huber" => {
                let delta = case["delta"].as_f64().unwrap() as f32;
                Loss::Regression(Distance::Huber(Delta::new(delta).unwrap()))
            }
            "binary" => Loss::Binary,
            other => panic!("{other}: unknown loss"),
        };
        let typed = |key: &str| -> Vec<T> { of(key).into_iter().map(T::from_f64).collect() };
        let (x, target, weights) = (typed("x"), typed("target"), typed("weights"));
        let weights = (!weights.is_empty()).then_some(SampleWeights {
            values: &weights,
            exponent: 0,
        });
        let io = Io {
            x: &x,
            exponent: 0,
            target: &target,
            target_exponent: 0,
            weights,
        };
        let mut dy = vec![T::ZERO; ELEMENTS];
        let outcome = loss.run::<T>(io, EXACT, &mut dy).unwrap();
        let want = case["loss"].as_f64().unwrap();
        let error = (outcome.loss.to_f64() - want).abs();
        assert!(
            error <= 10.0 * tolerance,
            "{} {name}: PyTorch {want}, off by {error}",
            T::DTYPE
        );
        for (i, (got, want)) in dy.iter().zip(of("dx")).enumerate() {
            let error = (got.to_f64() - want).abs();
            assert!(
                error <= tolerance,
                "{} {name}, element {i}: {got:?}, PyTorch {want}",
                T::DTYPE
            );
        }
    }
}

#[test]
fn losses_are_those_of_pytorch() {
    replay::<f64>(F64);
    replay::<f32>(F32);
}

/// `x / 2^s` to nearest even; exact to the left.
fn nearest(x: i128, s: i32) -> i128 {
    if s <= 0 {
        return x << s.unsigned_abs();
    }
    let (floor, half) = (x >> s, 1i128 << (s - 1));
    let rest = x - (floor << s);
    floor + i128::from(rest > half || (rest == half && floor & 1 == 1))
}

/// The rule's accumulators of one call, in `i128`. Exponents are those that `integers_follow_the_rule`
/// uses: none saturates.
fn accumulators(
    loss: Loss,
    m: i32,
    io: [&[i128]; 2],
    exponents: [i32; 2],
    w: Option<&[i128]>,
) -> Vec<i128> {
    let drop = (m - 15).max(0);
    let [e, e_t] = exponents;
    let cut = |x: i128| nearest(x, drop);
    let octaves = |distance: i128| {
        let (t, s) = (distance * 23_637, e + drop + 2);
        let t = if s < 0 { t >> s.unsigned_abs() } else { t << s };
        t.min(31 << 16) as u32
    };
    let quotient = |a: u32, total: i128| ((i128::from(a) << 15) + total / 2) / total;
    let mut all = vec![];
    for r in 0..ROWS {
        let (x, y) = (&io[0][r * WIDTH..][..WIDTH], &io[1][r * WIDTH..][..WIDTH]);
        let weight = w.map(|w| cut(w[r]));
        let cross = |t: Vec<i128>, smoothing: f32| -> Vec<i128> {
            let share = nearest((f64::from(smoothing) * 2f64.powi(30)) as i128, 15);
            let classes = WIDTH as i128;
            let t: Vec<i128> = t
                .iter()
                .map(|t| ((1 << 15) - share) * t + ((share << 15) + classes / 2) / classes)
                .collect();
            let largest = x.iter().map(|&x| cut(x)).max().unwrap();
            let numerators: Vec<u32> = x
                .iter()
                .map(|&x| exp2_neg(octaves(largest - cut(x))))
                .collect();
            let total: i128 = numerators.iter().map(|&n| i128::from(n)).sum();
            let shares: i128 = t.iter().sum();
            let p = numerators.iter().map(|&n| quotient(n, total));
            p.zip(&t)
                .map(|(p, t)| nearest(p * shares, 15) - t)
                .collect()
        };
        let row: Vec<i128> = match loss {
            Loss::Labels(smoothing) => {
                let hot = |i| i128::from(i == usize::from(LABELS[r])) << 15;
                cross((0..WIDTH).map(hot).collect(), smoothing)
            }
            Loss::Shares(smoothing) => cross(
                y.iter()
                    .map(|&y| nearest(y, -15 - e_t).clamp(-1 << 16, 1 << 16))
                    .collect(),
                smoothing,
            ),
            Loss::Binary => x
                .iter()
                .zip(y)
                .map(|(&x, &y)| {
                    let other = exp2_neg(octaves(cut(x).abs()));
                    let total = 65_536 + i128::from(other);
                    let p = quotient(if cut(x) < 0 { other } else { 65_536 }, total);
                    p - nearest(y, -15 - e_t).clamp(0, 1 << 15)
                })
                .collect(),
            Loss::Regression(distance) => x
                .iter()
                .zip(y)
                .map(|(&x, &y)| {
                    let d = x - nearest(y, e - e_t);
                    let d = match distance {
                        Distance::Squared => d,
                        Distance::Absolute => return d.signum(),
                        Distance::Huber(delta) => {
                            let steps = f64::from(delta.value()) * 2f64.powi(-e);
                            assert_eq!(steps.fract(), 0.0);
                            d.clamp(-(steps as i128), steps as i128)
                        }
                    };
                    if weight.is_some() {
                        nearest(d, (m - 45).max(0))
                    } else {
                        d
                    }
                })
                .collect(),
        };
        all.extend(row.into_iter().map(|d| d * weight.unwrap_or(1)));
    }
    all
}

fn integers_follow_the_rule<T: Element>() {
    let mut noise = Noise::new(203);
    let m = <T::Head as Element>::MAGNITUDE_BITS as i32;
    let exact = |x: &[T::Head]| -> Vec<i128> { x.iter().map(|x| x.to_f64() as i128).collect() };
    for loss in all() {
        for (with_weights, exponents) in [
            (false, [2 - m, 1 - m]),
            (true, [3 - m, 1 - m]),
            (true, [1 - m, 2 - m]),
        ] {
            let full = 2f64.powi(m) - 1.0;
            let make = |noise: &mut Noise, n| quantized::<T::Head>(&noise.vector(n, full), 0).0;
            let (x, y, w) = (
                make(&mut noise, ELEMENTS),
                make(&mut noise, ELEMENTS),
                make(&mut noise, ROWS),
            );
            let weights = with_weights.then_some(SampleWeights {
                values: &w[..],
                exponent: -3,
            });
            let [exponent, target_exponent] = exponents;
            let io = Io {
                x: &x,
                exponent,
                target: &y,
                target_exponent,
                weights,
            };
            let w = exact(&w);
            let want = accumulators(
                loss,
                m,
                [&exact(&x), &exact(&y)],
                exponents,
                with_weights.then_some(&w),
            );
            let largest = want.iter().fold(0, |all, w| all | w.unsigned_abs());
            let range = 128 - largest.leading_zeros();
            let name = format!("{} {loss:?}, weights {with_weights}", T::DTYPE);
            let mut dy = vec![T::ZERO; ELEMENTS];
            assert_eq!(
                loss.run(io, Store::Measure, &mut dy).unwrap().range,
                range,
                "{name}"
            );
            let words = Words::new(1, 8, 3);
            // Fewer than 32 places for the model; to the left where the accumulators are short.
            let shift = (range as i32 - T::MAGNITUDE_BITS as i32).clamp(-40, 32);
            let rounding = Rounding::Stochastic(words);
            loss.run(io, Store::Shift { shift, rounding }, &mut dy)
                .unwrap();
            let limit = (1i128 << T::MAGNITUDE_BITS) - 1;
            for (i, (d, want)) in (0..).zip(dy.iter().zip(&want)) {
                let want = if shift > 0 {
                    (want + i128::from(words.word(i) >> (32 - shift))) >> shift
                } else {
                    want << -shift
                };
                let want = want.clamp(-limit, limit);
                assert_eq!(d.to_f64() as i128, want, "{name}, element {i}");
            }
        }
    }
}

#[test]
fn integers_follow_the_rule_in_every_type() {
    integers_follow_the_rule::<i8>();
    integers_follow_the_rule::<u8>();
    integers_follow_the_rule::<i16>();
    integers_follow_the_rule::<u16>();
    integers_follow_the_rule::<i32>();
    integers_follow_the_rule::<u32>();
    integers_follow_the_rule::<i64>();
    integers_follow_the_rule::<u64>();
}

/// The gradient of cross-entropy is `p - t`, once: softmax's own Jacobian is in it (`docs/numerics/losses.md` §19).
#[test]
fn the_gradient_of_cross_entropy_is_not_doubled() {
    let x = [0.5f64, -0.25, 1.0];
    let (mut plain, mut soft) = ([0.0f64; 3], [0.0f64; 3]);
    let outcome = loss::cross_entropy(3, &x, 0, &[1], EXACT, &mut plain).unwrap();
    let options = Classes {
        classes: 3,
        smoothing: Smoothing::NONE,
        weights: None,
    };
    let same =
        loss::soft_cross_entropy(options, &x, 0, Targets::Labels(&[1]), EXACT, &mut soft).unwrap();
    assert_eq!((plain, outcome), (soft, same));
    let total: f64 = x.iter().map(|x| x.exp()).sum();
    assert!((soft[1] - (x[1].exp() / total - 1.0)).abs() < F64);
    assert!((soft[0] - x[0].exp() / total).abs() < F64);
    // Integers: Q15 and Q30 of the same quotients.
    let x = [8192i16, -4096, 16_384];
    let (mut plain, mut soft) = ([0i16; 3], [0i16; 3]);
    let store = |shift| Store::Shift {
        shift,
        rounding: Rounding::NearestEven,
    };
    loss::cross_entropy(3, &x, -14, &[1], store(0), &mut plain).unwrap();
    let options = Classes {
        classes: 3,
        smoothing: Smoothing::NONE,
        weights: None,
    };
    loss::soft_cross_entropy(
        options,
        &x,
        -14,
        Targets::Labels(&[1]),
        store(15),
        &mut soft,
    )
    .unwrap();
    assert_eq!(plain, soft);
}

/// `p - t` and `-ln p`, of three logits.
fn cross_entropy_is_the_definition<T: Element>() {
    let (x, label) = ([0.5f64, -0.25, 1.0], 1);
    let m = T::MAGNITUDE_BITS as i32;
    let is_integer = T::DTYPE.is_integer();
    // Logits in the head's type, at the exponent that holds ±2; errors at -M.
    let exponent = match is_integer {
        true => 1 - <T::Head as Element>::MAGNITUDE_BITS as i32,
        false => 0,
    };
    let store = match is_integer {
        true => Store::Shift {
            shift: 15 - m,
            rounding: Rounding::NearestEven,
        },
        false => EXACT,
    };
    let logits: [T::Head; 3] = x.map(|x| Element::from_f64(x * 2f64.powi(-exponent)));
    let mut dy = [T::ZERO; 3];
    let outcome = loss::cross_entropy::<T>(3, &logits, exponent, &[label], store, &mut dy).unwrap();
    let total: f64 = x.iter().map(|x| x.exp()).sum();
    let name = T::DTYPE.name();
    // `f16` scales gradients up (`docs/numerics.md` §9).
    let scale = if name == "f16" { 1024.0 } else { 1.0 };
    for (class, (dy, x)) in dy.iter().zip(&x).enumerate() {
        let p = x.exp() / total;
        let want = p - f64::from(u8::from(class == usize::from(label)));
        let got = dy.to_f64() * 2f64.powi(-m) / scale;
        let bound = match is_integer {
            // Half a unit, and a whole one where that rounds up to 2^M.
            true => tolerance::probability(3, p) + 2f64.powi(-m),
            false => tolerance::SOFTMAX_F32 + rounding::<T>(),
        };
        let error = (got - want).abs();
        assert!(
            error <= bound,
            "{name}, class {class}: {got}, expected {want}"
        );
    }
    let want = total.ln() - x[usize::from(label)];
    // Integers: each of three numerators and the rest, as `loss::cross_entropy` says.
    let bound = match is_integer {
        true => tolerance::displayed_loss(4.0) + 3.0 * tolerance::any_probability(3),
        false => tolerance::SOFTMAX_F32,
    };
    let error = (outcome.loss.to_f64() - want).abs();
    assert!(error <= bound, "{name}: off by {error}");
}

#[test]
fn cross_entropy_is_the_definition_in_every_type() {
    macro_rules! check {
        ($t:ty) => {
            cross_entropy_is_the_definition::<$t>();
        };
    }
    selvedge_tests::for_each_type!(check);
}

#[test]
fn squared_error_without_weights_is_the_old_one() {
    let mut noise = Noise::new(204);
    let make = |noise: &mut Noise| quantized::<i16>(&noise.vector(ELEMENTS, 32_767.0), 0).0;
    let (x, y) = (make(&mut noise), make(&mut noise));
    let io = Io {
        x: &x,
        exponent: -13,
        target: &y,
        target_exponent: -12,
        weights: None,
    };
    let store = Store::Shift {
        shift: 9,
        rounding: Rounding::Stochastic(Words::new(1, 2, 3)),
    };
    let (mut new, mut old) = ([0i8; ELEMENTS], [0i8; ELEMENTS]);
    let got = Loss::Regression(Distance::Squared)
        .run(io, store, &mut new)
        .unwrap();
    let want = loss::squared_error(&x, -13, &y, -12, store, &mut old).unwrap();
    assert_eq!((new, got), (old, want));
}

#[test]
fn a_small_delta_still_trains() {
    let delta = Distance::Huber(Delta::new(1e-9).unwrap());
    let samples = Samples {
        outputs: &[5i16, -5, 0],
        exponent: -4,
        target: &[0, 0, 0],
        target_exponent: -4,
        features: 1,
        weights: None,
    };
    let mut dy = [0i8; 3];
    loss::regression(delta, samples, EXACT, &mut dy).unwrap();
    assert_eq!(dy, [1, -1, 0]);
}

#[test]
fn nan_stays_in_its_row_and_infinite_logits_are_defined() {
    for loss in all() {
        let mut x = [0.5f64; ELEMENTS];
        x[WIDTH] = f64::NAN;
        let io = Io {
            x: &x,
            exponent: 0,
            target: &[0.25; ELEMENTS],
            target_exponent: 0,
            weights: None,
        };
        let mut dy = [0.0; ELEMENTS];
        let outcome = loss.run::<f64>(io, EXACT, &mut dy).unwrap();
        assert!(outcome.loss.is_nan() && dy[WIDTH].is_nan(), "{loss:?}");
        assert!(
            dy[..WIDTH]
                .iter()
                .chain(&dy[2 * WIDTH..])
                .all(|d| d.is_finite()),
            "{loss:?}"
        );
    }
    // A certain and right answer costs nothing; a certain and wrong one infinitely much.
    let sure = [0.0, f64::NEG_INFINITY];
    let options = Classes {
        classes: 2,
        smoothing: Smoothing::NONE,
        weights: None,
    };
    let mut dy = [7.0f64; 2];
    let right =
        loss::soft_cross_entropy(options, &sure, 0, Targets::Labels(&[0]), EXACT, &mut dy).unwrap();
    assert_eq!((right.loss, dy), (0.0, [0.0, 0.0]));
    let wrong =
        loss::soft_cross_entropy(options, &sure, 0, Targets::Labels(&[1]), EXACT, &mut dy).unwrap();
    assert_eq!((wrong.loss, dy), (f64::INFINITY, [1.0, -1.0]));
    let far = Io {
        x: &[1e4; ELEMENTS],
        exponent: 0,
        target: &[0.0; ELEMENTS],
        target_exponent: 0,
        weights: None,
    };
    let mut dy = [0.0f64; ELEMENTS];
    assert_eq!(Loss::Binary.run(far, EXACT, &mut dy).unwrap().loss, 15e4);
}

#[test]
fn parameters_out_of_range_are_refused() {
    for bad in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        assert_eq!(
            Smoothing::new(bad),
            Err(Error::Value {
                arg: Arg::Smoothing
            }),
            "{bad}"
        );
    }
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(
            Delta::new(bad),
            Err(Error::Value { arg: Arg::Delta }),
            "{bad}"
        );
    }
    assert!(Smoothing::new(0.0).is_ok() && Smoothing::new(1.0).is_ok());
    assert!(Smoothing::new(1e-40).is_ok() && Delta::new(1e-40).is_ok());
}

#[test]
fn bad_lengths_are_refused() {
    let length = |arg, expected, got| Error::Length { arg, expected, got };
    const MARK: i8 = 85;
    let (x, w) = ([0i16; ELEMENTS], [1i16; ROWS]);
    let all_weights = SampleWeights {
        values: &w[..],
        exponent: 0,
    };
    let short = SampleWeights {
        values: &w[..2],
        exponent: 0,
    };
    for loss in all() {
        let is_labels = matches!(loss, Loss::Labels(_));
        let cases = [
            ("long x", 14, 15, 15, all_weights, length(Arg::X, 10, 14)),
            ("short dy", 15, 15, 14, all_weights, length(Arg::Dy, 15, 14)),
            (
                "short target",
                15,
                14,
                15,
                all_weights,
                length(Arg::Target, 15, 14),
            ),
            (
                "short weights",
                15,
                15,
                15,
                short,
                length(Arg::SampleWeights, 3, 2),
            ),
            ("nothing", 0, 0, 0, all_weights, Error::Zero { arg: Arg::X }),
        ];
        for (name, n, targets, out, weights, want) in cases {
            if is_labels && name == "short target" {
                continue;
            }
            let io = Io {
                x: &x[..n],
                exponent: 0,
                target: &x[..targets],
                target_exponent: 0,
                weights: Some(weights),
            };
            let mut dy = vec![MARK; out];
            assert_eq!(
                loss.run::<i8>(io, EXACT, &mut dy),
                Err(want),
                "{loss:?}, {name}"
            );
            assert!(dy.iter().all(|&d| d == MARK), "{loss:?}, {name}: wrote");
        }
    }
    let mut dy = [MARK; ELEMENTS];
    let options = Classes {
        classes: WIDTH,
        smoothing: Smoothing::NONE,
        weights: None,
    };
    let call = |options, labels: &[u16], dy: &mut [i8]| {
        loss::soft_cross_entropy::<i8>(options, &x, 0, Targets::Labels(labels), EXACT, dy)
    };
    let want = Error::Label {
        row: 1,
        label: 5,
        classes: 5,
    };
    assert_eq!(call(options, &[0, 5, 1], &mut dy), Err(want));
    assert_eq!(
        call(options, &[0, 1], &mut dy),
        Err(length(Arg::Labels, 3, 2))
    );
    let none = Classes {
        classes: 0,
        ..options
    };
    assert_eq!(
        call(none, &[0, 1, 2], &mut dy),
        Err(Error::Zero { arg: Arg::Shape })
    );
    let many = Classes {
        classes: 32_768,
        ..options
    };
    let want = Error::Accumulator {
        terms: 32_768,
        limit: 32_767,
    };
    assert_eq!(call(many, &[0, 1, 2], &mut dy), Err(want));
    assert_eq!(dy, [MARK; ELEMENTS]);
}
