//! Losses beyond labels and squares: against definitions in f64, differences, PyTorch and an exact
//! model of the integers.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod definitions;
mod integers;
mod refusals;

use selvedge_kernels::loss::{
    self, Classes, Delta, Distance, Outcome, SampleWeights, Samples, Smoothing, Targets,
};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Element, Result};
use selvedge_tests::noise::Noise;

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
