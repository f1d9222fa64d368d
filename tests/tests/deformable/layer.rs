//! The typed layer: outputs, errors and updates against `f64`; a network that learns.

use super::{definition, shape};
use selvedge_core::net::{DeformableAttention, Layer, Momentum};
use selvedge_core::train::Trainer;
use selvedge_core::{Rate, Serial, Sgd, net};
use selvedge_digits::{BATCH, CLASSES, SIDE, TRAIN, course, test};
use selvedge_kernels::deformable::{Float, Level};
use selvedge_tests::check_float;
use selvedge_tests::layers::{Case, Driven};
use selvedge_tests::threads::Threads;

/// A dense layer over rows of `inputs`, whose parameters are the next ones.
fn dense(x: &[f64], parameters: &mut &[f64], [inputs, outputs]: [usize; 2]) -> Vec<f64> {
    let (weight, rest) = parameters.split_at(inputs * outputs);
    let (bias, rest) = rest.split_at(outputs);
    *parameters = rest;
    let row = |x: &[f64]| -> Vec<f64> {
        let rows = weight.chunks(inputs).zip(bias);
        rows.map(|(w, bias)| bias + w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>())
            .collect()
    };
    x.chunks(inputs).flat_map(row).collect()
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let total: f64 = logits.iter().map(|z| z.exp()).sum();
    logits.iter().map(|z| z.exp() / total).collect()
}

/// The layer over a map of a level: heads, points, features of a head.
fn attention(
    level: Level,
    features: usize,
    [heads, points, size]: [usize; 3],
) -> impl Fn(&[f64], &[f64]) -> Vec<f64> {
    move |x, mut parameters| {
        let mut project = |outputs| dense(x, &mut parameters, [features, outputs]);
        let (offsets, logits) = (project(heads * points * 2), project(heads * points));
        let values = project(heads * size);
        let weights: Vec<f64> = logits.chunks(points).flat_map(softmax).collect();
        let per_cell = heads * points * 2;
        let position = |(i, offset): (usize, &f64)| {
            let (cell, axis) = (i / per_cell, i % 2);
            let at = [cell % level.width, cell / level.width][axis];
            (at as f64 + 0.5 + offset) / [level.width, level.height][axis] as f64
        };
        let positions: Vec<f64> = offsets.iter().enumerate().map(position).collect();
        let (levels, cells) = ([level], level.height * level.width);
        let shape = shape(1, cells, &levels, [heads, size, points]);
        let dy = vec![0.0; cells * heads * size];
        let [out, ..] = definition(shape, [&values, &positions, &weights, &dy]);
        dense(&out, &mut parameters, [heads * size, features])
    }
}

/// In `bf16` offsets of up to 2 cells are rounded by up to 2^-8 of one, and values by as much of themselves: outputs are
/// off by a handful of these, in roundings of `f32`.
const COARSE: f64 = 4.0 * 32_768.0;

/// Some of them are taken to the other side of a cell's centre, where the slope is another. Measured: 0.9984.
const COARSE_COSINE: f64 = 0.997;

#[test]
fn layers_are_the_definition() {
    let one = attention(super::level(3, 4), 5, [2, 3, 4]);
    let case = || Case::new("deformable attention").within(1.0);
    check_float!(T => DeformableAttention<T, 3, 4, 5, 2, 3, 4>, case().defined_by(&one).roundings(128.0),
        case().roundings(COARSE).with_cosine(COARSE_COSINE));
    let other = attention(super::level(5, 2), 3, [1, 1, 7]);
    let case = || Case::new("deformable attention to a point").within(1.0);
    check_float!(T => DeformableAttention<T, 5, 2, 3, 1, 1, 7>, case().defined_by(&other).roundings(128.0),
        case().roundings(COARSE).with_cosine(COARSE_COSINE));
}

#[test]
fn it_begins_with_equal_weights_and_a_direction_for_each_head() {
    let layer = Driven::<DeformableAttention<f32, 3, 4, 5, 4, 2, 2>, 1>::new(1).layer;
    assert!(layer.offset().elements().iter().all(|&w| w == 0.0));
    assert!(layer.logit().elements().iter().all(|&w| w == 0.0));
    let directions = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]];
    let points = layer.offset_bias().elements().chunks(2);
    for (i, point) in points.enumerate() {
        let distance = 1.0 + (i % 2) as f32;
        assert_eq!(point, directions[i / 2].map(|along| along * distance));
    }
    assert!(layer.value().elements().iter().any(|&w| w != 0.0));
    assert!(layer.output_weight().elements().iter().any(|&w| w != 0.0));
}

net! {
    /// A map of convolutions that looks around itself.
    struct Looking<T: Float = f32>: [SIDE, SIDE, 1] {
        entry: conv2d(8, kernel = 3, stride = 2, padding = same, activation = relu),
        look: residual {
            norm: layer_norm,
            around: layer(DeformableAttention<T, 4, 4, 8, 2, 4, 4, R> => [4, 4, 8]),
        },
        flat: flatten,
        head: dense(CLASSES),
    }
}

/// The digits that a network has right after three epochs, its fingerprint, and how far its offsets have moved.
fn trained<T: Float>(exec: &impl selvedge_core::Executor) -> (usize, String, f64) {
    let mut trainer = Box::new(Trainer::<Looking<T>, BATCH>::BLANK);
    trainer.init(1).unwrap();
    let offsets = |trainer: &Trainer<Looking<T>, BATCH>| {
        let offsets = trainer
            .network()
            .look()
            .first()
            .1
            .offset()
            .elements()
            .iter();
        offsets.map(|w| w.to_f64().abs()).fold(0.0, f64::max)
    };
    course(&mut *trainer, exec, 1, 3, &mut [0; TRAIN], |_| ()).unwrap();
    let right = trainer.count_right(exec, &test()).unwrap();
    (right, trainer.fingerprint().to_string(), offsets(&trainer))
}

#[test]
fn a_network_learns_and_threads_do_not_matter() {
    let single = trained::<f32>(&Serial);
    let half = trained::<selvedge_kernels::bf16>(&Serial);
    println!(
        "f32: {} of 360 right; bf16: {}; offsets {}",
        single.0, half.0, single.2
    );
    // 90 %.
    assert!(single.0 > 324, "{} of 360 right", single.0);
    assert!(half.0 > 300, "{} of 360 right", half.0);
    assert!(single.2 > 0.01, "offsets have moved by {}", single.2);
    assert_eq!(trained::<f32>(&Threads(3)), single);
}

#[test]
fn momentum_keeps_velocities_and_costs_are_told() {
    let sgd = Sgd {
        momentum: 200,
        ..Sgd::new(Rate {
            mantissa: 1,
            exponent: -6,
        })
    };
    let mut trainer = Box::new(Trainer::<Looking<f32, Momentum>, 1>::BLANK);
    trainer.init(1).unwrap();
    let before = trainer.fingerprint();
    trainer.input_mut().fill(0.4);
    trainer.step(&Serial, &[3], &sgd).unwrap();
    assert_ne!(trainer.fingerprint(), before);

    let mut bare = Box::new(Trainer::<Looking<f32>, 1>::BLANK);
    bare.init(1).unwrap();
    assert!(bare.step(&Serial, &[3], &sgd).is_err());

    let info = <DeformableAttention<f32, 3, 4, 5, 2, 3, 4> as Layer>::INFO;
    let parameters = (12 + 6 + 8) * 6 + 5 * 9;
    assert_eq!((info.kind, info.numbers), ("deformable_attention", 5));
    assert_eq!(
        (info.parameters, info.flash_bytes),
        (parameters, 4 * parameters)
    );
    assert_eq!(info.macs, 12 * (5 * (12 + 6 + 8 + 8) + 6 * 4 * 4));
}
