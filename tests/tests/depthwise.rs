//! A deep stack of depthwise-separable convolutions without normalisation, trained in f32 and in 8 bits with plain and
//! with masked ReLU: what `docs/numerics/depthwise.md` says of them, in the library itself. Integers and floats give
//! the same bytes on every target, so these accuracies are no matter of chance.

#![recursion_limit = "512"]
// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_core::net::Network;
use selvedge_core::train::{Samples, Trainer};
use selvedge_core::{Element, Rate, Serial, Sgd, net};
use selvedge_digits::{TEST, TRAIN};
use std::ops::Range;

/// A network with one kind of ReLU: `dw6` of `tests/research/depthwise.c`.
macro_rules! stack {
    ($doc:literal, $name:ident, $relu:ident) => {
        net! {
            #[doc = $doc]
            struct $name: [8, 8, 1] {
                entry: conv2d(16, kernel = 3, stride = 2, padding = 1, activation = $relu),
                d1: depthwise(kernel = 3, padding = 1, activation = $relu),
                p1: conv2d(24, kernel = 1, activation = $relu),
                d2: depthwise(kernel = 3, padding = 1, activation = $relu),
                p2: conv2d(24, kernel = 1, activation = $relu),
                d3: depthwise(kernel = 3, padding = 1, activation = $relu),
                p3: conv2d(24, kernel = 1, activation = $relu),
                d4: depthwise(kernel = 3, padding = 1, activation = $relu),
                p4: conv2d(24, kernel = 1, activation = $relu),
                d5: depthwise(kernel = 3, padding = 1, activation = $relu),
                p5: conv2d(24, kernel = 1, activation = $relu),
                d6: depthwise(kernel = 3, padding = 1, activation = $relu),
                p6: conv2d(24, kernel = 1, activation = $relu),
                pool: global_average_pool,
                head: dense(10),
            }
        }
    };
}

stack!("ReLU by what is stored.", Plain, relu);
stack!("ReLU by the accumulator's sign.", Masked, masked_relu);

/// Samples of a step.
const BATCH: usize = 32;
const EPOCHS: u32 = 24;

/// A part of the digits, cut where the programs of `tests/research` cut them.
struct Part(Range<usize>);

/// What is trained on, and what is not.
const PARTS: [Part; 2] = [Part(0..1347), Part(1347..TRAIN + TEST)];

impl Samples for Part {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read<T: Element>(&self, index: usize, x: &mut [T]) -> Option<u16> {
        let index = self.0.start + index;
        match index.checked_sub(TRAIN) {
            Some(index) => selvedge_digits::test().read(index, x),
            None => selvedge_digits::train().read(index, x),
        }
    }
}

/// Test accuracy in percent, the mean of the last three epochs: at a rate of 1/8, divided by the batch, halved after
/// two thirds and after five sixths of them.
fn accuracy<N: Network<In = <N as Network>::Elem>>(seed: u32) -> f64 {
    let [train, test] = &PARTS;
    let mut trainer = Box::new(Trainer::<N, BATCH>::BLANK);
    trainer.init(seed).unwrap();
    let rate = Rate {
        mantissa: 1,
        exponent: -3,
    }
    .halved(BATCH.ilog2());
    let (mut order, mut right) = (vec![0; train.len()], 0);
    for epoch in 0..EPOCHS {
        let halvings = u32::from(3 * epoch >= 2 * EPOCHS) + u32::from(6 * epoch >= 5 * EPOCHS);
        let sgd = Sgd::new(rate.halved(halvings));
        trainer
            .epoch(&Serial, train, &mut order, epoch, &sgd, |_| ())
            .unwrap();
        if epoch + 3 >= EPOCHS {
            right += trainer.count_right(&Serial, test).unwrap();
        }
    }
    100.0 * right as f64 / (3 * test.len()) as f64
}

/// Accuracies of plain and of masked ReLU in 8 bits less those of f32, of the same seed, in ascending order.
struct Gaps {
    plain: Vec<f64>,
    masked: Vec<f64>,
}

impl Gaps {
    fn of(seeds: Range<u32>) -> Self {
        let runs = |run: fn(u32) -> f64| {
            let seeds = seeds.clone();
            move || seeds.map(run).collect::<Vec<_>>()
        };
        let [float, plain, masked] = std::thread::scope(|scope| {
            [
                accuracy::<Plain<f32>> as fn(u32) -> f64,
                accuracy::<Plain<i8>>,
                accuracy::<Masked<i8>>,
            ]
            .map(|run| scope.spawn(runs(run)))
            .map(|thread| thread.join().unwrap())
        });
        println!("f32 {float:.2?}\nplain i8 {plain:.2?}\nmasked i8 {masked:.2?}");
        let less = |accuracies: Vec<f64>| {
            let mut gaps: Vec<_> = accuracies.iter().zip(&float).map(|(a, f)| a - f).collect();
            gaps.sort_by(f64::total_cmp);
            gaps
        };
        Self {
            plain: less(plain),
            masked: less(masked),
        }
    }

    /// What a median over `n` seeds may be below 0 by chance: two of its standard errors, for seeds that spread as
    /// [`SPREAD`] says.
    fn margin(&self) -> f64 {
        2.0 * MEDIAN * SPREAD / (self.masked.len() as f64).sqrt()
    }
}

/// The standard deviation between seeds of the masked ReLU's accuracy less the float's, in points, by the middle half
/// of seeds 2001 to 2012 (`docs/numerics/depthwise.md`); single runs that collapse do not enter.
const SPREAD: f64 = 1.4;
/// The standard error of a median beside that of a mean, for normal numbers: the root of π / 2.
const MEDIAN: f64 = 1.2533;

/// The number below which a share of sorted numbers lies.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

fn median(sorted: &[f64]) -> f64 {
    quantile(sorted, 0.5)
}

/// The masked ReLU is level with floats, the plain one is not: so the margin tells them apart.
fn assert_masked_closes_the_gap(gaps: &Gaps) {
    let (plain, masked, margin) = (median(&gaps.plain), median(&gaps.masked), gaps.margin());
    println!("median less f32: plain {plain:.2}, masked {masked:.2}; margin {margin:.2}");
    assert!(masked >= -margin, "masked: {masked} less f32");
    assert!(
        plain < -margin,
        "plain: {plain} less f32, where is the gap?"
    );
}

#[test]
fn masked_relu_is_not_behind_floats_in_a_deep_depthwise_stack() {
    assert_masked_closes_the_gap(&Gaps::of(3001..3006));
}

#[test]
#[ignore = "minutes in release"]
fn masked_relu_is_not_behind_floats_over_many_seeds() {
    let gaps = Gaps::of(3001..3021);
    assert_masked_closes_the_gap(&gaps);
    let spread = (quantile(&gaps.masked, 0.75) - quantile(&gaps.masked, 0.25)) / 1.349;
    println!("spread {spread:.2}");
    assert!(
        spread <= 1.5 * SPREAD,
        "the margin rests on a spread of {SPREAD}, not {spread}"
    );
}
