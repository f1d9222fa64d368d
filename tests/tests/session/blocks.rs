//! Blocks that are ready made: each built, run and trained, in bytes and in floats, to more than chance; and stitches.

use super::zoo::check;
use super::{TRAINED, with_image};
use selvedge_core::image::{Image, Role};
use selvedge_core::net;
use selvedge_core::net::{Mixture, Plain, Sigmoid, Stitch as TypedStitch};
use selvedge_core::network::{
    Activation, BatchNorm, Combine, Conv, Dense, Experts, Flatten, Inception, MaxPool, Network,
    Options, Padding, ResNext, Sequential, Siamese, Stitch, Type,
};
use selvedge_core::session::Session;
use selvedge_core::train::Samples;
use selvedge_core::{DType, Element, Rate, Serial, Sgd, ops};
use selvedge_digits::{BATCH, TRAIN, rate_at, test, train};
use selvedge_kernels::rng::{Words, shuffle};

/// The share of right answers in thousandths, before and after a training.
pub(super) type Course = [usize; 2];

/// A network that reads digits, trained for `steps` steps.
pub(super) fn reads_digits<T: Element>(network: &Network, steps: usize) -> Course {
    let bytes = network.compile(T::DTYPE, &TRAINED).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let before = right_digits::<T>(&mut session);
        let mut order = [0u16; TRAIN];
        for step in 0..steps {
            let (epoch, batch) = (step * BATCH / TRAIN, step % (TRAIN / BATCH));
            shuffle(1, epoch as u32, &mut order).unwrap();
            let mut labels = [0; BATCH];
            let x = session.input_mut::<T>(Role::Train, 0).unwrap();
            let batch = order[BATCH * batch..].iter().zip(&mut labels);
            for (x, (&sample, label)) in x.chunks_mut(64).zip(batch) {
                *label = train().read(sample.into(), x).unwrap();
            }
            let places = session.input_mut::<u16>(Role::Train, 1).unwrap();
            places.copy_from_slice(&labels);
            (session.train_step(&Serial, BATCH, &rate_at(0, 1))).unwrap();
        }
        [before, right_digits::<T>(&mut session)]
    })
}

fn right_digits<T: Element>(session: &mut Session<'_>) -> usize {
    let mut right = 0;
    for first in (0..200).step_by(BATCH) {
        let (mut labels, mut found) = ([0; BATCH], [0; BATCH]);
        let x = session.input_mut::<T>(Role::Infer, 0).unwrap();
        for (i, (x, label)) in x.chunks_mut(64).zip(&mut labels).enumerate() {
            *label = test().read(first + i, x).unwrap();
        }
        session
            .classify::<T::Head>(&Serial, BATCH, &mut found)
            .unwrap();
        right += labels.iter().zip(found).filter(|&(a, b)| *a == b).count();
    }
    right * 5
}

/// A network of digits with `layer` behind a convolution to `channels`.
fn behind_a_convolution(channels: usize, layer: impl Into<Type>) -> Network {
    let entry = Conv::new(channels, 3).padding(Padding::Same);
    Network::new([8, 8, 1])
        .layer("entry", entry.activation(Activation::Relu))
        .layer("block", layer)
        .layer("pool", MaxPool::default())
        .layer("flat", Flatten {})
        .layer("head", Dense::new(10))
}

/// The description is one of ordinary layers, which JSON has.
fn round_trips(network: &Network) {
    let text = network.to_json().unwrap();
    assert_eq!(Network::from_json(&text).unwrap(), *network);
}

#[test]
fn inception_reads_digits() {
    let block = Inception {
        one: 4,
        three: [4, 12],
        five: [2, 4],
        pool: 4,
    };
    let network = behind_a_convolution(8, block);
    round_trips(&network);
    let summary = network.summary(DType::I8, &TRAINED).unwrap();
    let pool = summary.iter().find(|layer| layer.path == "pool").unwrap();
    assert_eq!(pool.input, [8, 8, 4 + 12 + 4 + 4]);
    let convolutions = [
        (8, 4, 1),
        (8, 4, 1),
        (4, 12, 9),
        (8, 2, 1),
        (2, 4, 25),
        (8, 4, 1),
    ];
    let expected: usize = convolutions
        .map(|(c, f, cells)| (c * cells + 1) * f)
        .iter()
        .sum();
    let of_block = summary
        .iter()
        .filter(|layer| layer.path.starts_with("block."));
    assert_eq!(
        of_block.map(|layer| layer.parameters).sum::<usize>(),
        expected
    );
    for [before, after] in [
        reads_digits::<i8>(&network, 360),
        reads_digits::<f32>(&network, 360),
    ] {
        assert!(before < 250 && after > 700, "{before} to {after} of 1000");
    }
}

#[test]
fn resnext_reads_digits() {
    let network = behind_a_convolution(12, ResNext::new(12, 3, 2));
    round_trips(&network);
    let deeper = behind_a_convolution(8, ResNext::new(16, 4, 2).stride(2));
    let summary = deeper.summary(DType::F32, &TRAINED).unwrap();
    let of = |path: &str| summary.iter().find(|layer| layer.path == path).unwrap();
    assert_eq!(of("pool").input, [4, 4, 16]);
    let grouped = of("block.block.grouped");
    assert_eq!(
        grouped.parameters,
        8 * 9 * 2 + 8,
        "each filter sees its group alone"
    );
    assert_eq!(of("block.block.project").output, [4, 4, 16]);
    for network in [network, deeper] {
        for [before, after] in [
            reads_digits::<i8>(&network, 240),
            reads_digits::<f32>(&network, 240),
        ] {
            assert!(before < 250 && after > 700, "{before} to {after} of 1000");
        }
    }
}

/// A channel more or less, and nothing can be added.
#[test]
fn a_residual_block_of_other_channels_is_refused() {
    let network = behind_a_convolution(8, ResNext::new(12, 3, 2));
    let error = network
        .compile(DType::I8, &TRAINED)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("block.block: "), "{error}");
    let projected = behind_a_convolution(8, ResNext::new(12, 3, 2).projected());
    projected.compile(DType::I8, &TRAINED).unwrap();
}

/// Random pixels of a sample.
fn pixels<const N: usize>(stream: u32, sample: u32) -> [u8; N] {
    let words = Words::new(7, stream, sample);
    std::array::from_fn(|i| (words.word(i as u32) >> 24) as u8)
}

/// A sample of made data, and its class.
type Make<const N: usize> = fn(u32) -> ([u8; N], u16);

/// Trains on made data, and looks at data that training has not seen.
fn learns<T: Element, const N: usize>(
    network: &Network,
    make: Make<N>,
    [steps, halvings]: [u32; 2],
    then: impl FnOnce(&mut Session<'_>),
) -> Course {
    let bytes = network.compile(T::DTYPE, &TRAINED).unwrap();
    with_image(&bytes, |image: &Image<'_>| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let right = |session: &mut Session<'_>| {
            let mut right = 0;
            for first in (1 << 20..(1 << 20) + 400).step_by(BATCH) {
                let (mut labels, mut found) = ([0; BATCH], [0; BATCH]);
                let x = session.input_mut::<T>(Role::Infer, 0).unwrap();
                put(make, first, x, &mut labels);
                session
                    .classify::<T::Head>(&Serial, BATCH, &mut found)
                    .unwrap();
                right += labels.iter().zip(found).filter(|&(a, b)| *a == b).count();
            }
            right * 5 / 2
        };
        let before = right(&mut session);
        let sgd = Sgd::new(Rate {
            mantissa: 1,
            exponent: -(halvings as i16),
        });
        for step in 0..steps {
            let mut labels = [0; BATCH];
            let x = session.input_mut::<T>(Role::Train, 0).unwrap();
            put(make, step * BATCH as u32, x, &mut labels);
            let places = session.input_mut::<u16>(Role::Train, 1).unwrap();
            places.copy_from_slice(&labels);
            session.train_step(&Serial, BATCH, &sgd).unwrap();
        }
        let after = right(&mut session);
        then(&mut session);
        [before, after]
    })
}

fn put<T: Element, const N: usize>(make: Make<N>, first: u32, x: &mut [T], labels: &mut [u16]) {
    for (sample, (x, label)) in (first..).zip(x.chunks_mut(N).zip(labels)) {
        let (pixels, class) = make(sample);
        *label = class;
        for (x, pixel) in x.iter_mut().zip(pixels) {
            *x = T::from_pixel(pixel);
        }
    }
}

/// Two noisy views of patterns; whether they are of the same.
fn pair(sample: u32) -> ([u8; 12], u16) {
    let choice: [u8; 3] = pixels(1, sample);
    let is_same = choice[0] % 2;
    let left = u32::from(choice[1] % 4);
    let right = if is_same == 1 {
        left
    } else {
        (left + 1 + u32::from(choice[2] % 3)) % 4
    };
    let noise: [u8; 12] = pixels(2, sample);
    let [left, right]: [[u8; 6]; 2] = [left, right].map(|pattern| pixels(3, pattern));
    let mut pair = [0; 12];
    for (to, (from, noise)) in pair
        .iter_mut()
        .zip(left.into_iter().chain(right).zip(noise))
    {
        *to = (from / 4 * 3).saturating_add(noise / 4);
    }
    (pair, is_same.into())
}

#[test]
fn siamese_branches_tell_equal_from_different() {
    let tower = |siamese: Siamese| {
        siamese
            .layer("hidden", Dense::new(12).activation(Activation::Tanh))
            .layer("out", Dense::new(8))
    };
    let network = |siamese| {
        // Paths of shared layers do not depend on where the block stands.
        let outer = Sequential::default().layer("pair", tower(siamese));
        Network::new([2, 6])
            .layer("outer", outer)
            .layer("mix", Dense::new(8).activation(Activation::Relu))
            .layer("head", Dense::new(2))
    };
    let distant = network(Siamese::new([6]));
    let joined = network(Siamese::new([6]).join(Combine::Concat));
    round_trips(&distant);
    let summary = distant.summary(DType::I8, &TRAINED).unwrap();
    let parameters = summary.iter().map(|layer| layer.parameters).sum::<usize>();
    assert_eq!(
        parameters,
        (6 * 12 + 12) + (12 * 8 + 8) + (8 * 8 + 8) + (8 * 2 + 2)
    );
    for network in [&distant, &joined] {
        network.compile(DType::I8, &TRAINED).unwrap();
        let bytes = network.compile(DType::I8, &TRAINED).unwrap();
        with_image(&bytes, |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let session = Session::new(image, &mut arena, ops::ALL).unwrap();
            assert_eq!(session.parameters(), 8, "both branches have one tower");
        });
    }
    fn turns<T: Element>(session: &mut Session<'_>) {
        let mut outputs = [false, true].map(|is_turned| {
            let x = session.input_mut::<T>(Role::Infer, 0).unwrap();
            put(pair, 99, x, &mut [0; BATCH]);
            if is_turned {
                x.chunks_mut(12).for_each(|x| x.rotate_left(6));
            }
            session.run(&Serial, BATCH).unwrap();
            session.output::<T::Head>(0).unwrap().data.to_vec()
        });
        let (first, second) = outputs.split_at_mut(1);
        assert!(first == second, "{}: left is not as right", T::DTYPE);
    }
    let courses = [
        learns::<i8, 12>(&distant, pair, [1500, 6], turns::<i8>),
        learns::<f32, 12>(&distant, pair, [1500, 6], turns::<f32>),
    ];
    for [before, after] in courses {
        assert!(before < 700 && after > 850, "{before} to {after} of 1000");
    }
}

/// A feature says which of two others the class follows: no linear model is right more than three times of four.
fn switched(sample: u32) -> ([u8; 4], u16) {
    let x: [u8; 4] = pixels(4, sample);
    let follows = if x[0] < 128 { x[1] } else { x[2] };
    (x, (follows >= 128).into())
}

#[test]
fn experts_of_different_sizes_learn_a_switch() {
    for experts in [
        Experts::new(8, [4, 8, 16]),
        Experts::new(8, [4, 8, 16])
            .activation(Activation::Tanh)
            .choose(2)
            .balance(20),
    ] {
        let network = Network::new([4])
            .layer("experts", experts)
            .layer("head", Dense::new(2));
        round_trips(&network);
        let summary = network.summary(DType::I8, &TRAINED).unwrap();
        let experts = [4, 8, 16].map(|hidden| (4 * hidden + hidden) + (hidden * 8 + 8));
        let expected = (4 * 3 + 3) + experts.iter().sum::<usize>() + (8 * 2 + 2);
        let parameters = summary.iter().map(|layer| layer.parameters);
        assert_eq!(parameters.sum::<usize>(), expected);
        let gate = |session: &mut Session<'_>| assert_eq!(session.parameters(), 2 * (1 + 6 + 1));
        let courses = [
            learns::<i8, 4>(&network, switched, [3000, 6], gate),
            learns::<f32, 4>(&network, switched, [3000, 6], gate),
        ];
        for [before, after] in courses {
            assert!(before < 800 && after > 850, "{before} to {after} of 1000");
        }
    }
}

net! {
    /// Experts that are stitched, each to the size of the first.
    struct Stitched: [8, 8, 1] {
        flat: flatten,
        experts: layer(Mixture<
            net::Dense<T, 64, 3, Sigmoid, R>,
            (
                (net::Dense<T, 64, 4, net::Relu, R>, TypedStitch<T, 4, 12, R>),
                (net::Dense<T, 64, 9, net::Tanh, R>, TypedStitch<T, 9, 12, R>),
                TypedStitch<T, 64, 12, R>,
            ),
        > => [12]),
        narrow: layer(TypedStitch<T, 12, 5, R> => [5]),
        head: dense(10),
    }
}

#[test]
fn a_stitch_is_its_typed_twin() {
    let json = r#"{
        "input": [8, 8, 1],
        "layers": [
            {"name": "flat", "type": "flatten"},
            {"name": "experts", "type": "mixture",
             "gate": [{"name": "gate", "type": "dense", "outputs": 3, "activation": "sigmoid"}],
             "branches": [
                {"name": "few", "layers": [
                    {"name": "few", "type": "dense", "outputs": 4, "activation": "relu"},
                    {"name": "stitch", "type": "stitch", "outputs": 12}
                ]},
                {"name": "many", "layers": [
                    {"name": "many", "type": "dense", "outputs": 9, "activation": "tanh"},
                    {"name": "stitch", "type": "stitch", "outputs": 12}
                ]},
                {"name": "alone", "layers": [{"name": "stitch", "type": "stitch", "outputs": 12}]}
             ]},
            {"name": "narrow", "type": "stitch", "outputs": 5},
            {"name": "head", "type": "dense", "outputs": 10}
        ]
    }"#;
    check::<Stitched<i8, Plain>>("stitched", json);
    check::<Stitched<u16, Plain>>("stitched", json);
    check::<Stitched<i32, Plain>>("stitched", json);
    check::<Stitched<f32, Plain>>("stitched", json);
}

/// What a file says is linear stays linear.
#[test]
fn a_stitch_survives_its_description() {
    let network = Network::new([8]).layer("stitch", Stitch::new(3));
    let text = network.to_json().unwrap();
    assert!(text.contains(r#""type": "stitch""#), "{text}");
    let again = Network::from_json(&text).unwrap();
    assert_eq!(again, network);
    let dense = Network::new([8]).layer("dense", Dense::new(3));
    for dtype in [DType::I8, DType::F32] {
        let image = |network: &Network| network.compile(dtype, &Options::default()).unwrap();
        assert_eq!(image(&again), image(&dense));
    }
    let activated = r#"{"input": [8], "layers": [{"name": "a", "type": "stitch", "outputs": 3, "activation": "relu"}]}"#;
    assert!(Network::from_json(activated).is_err());
}

/// Running statistics are each branch's own; all else of a normalised tower is shared.
#[test]
fn siamese_towers_may_be_normalised() {
    let pair = Siamese::new([6])
        .layer("hidden", Dense::new(8))
        .layer("norm", BatchNorm {});
    let network = Network::new([2, 6])
        .layer("pair", pair)
        .layer("head", Dense::new(2));
    with_image(&network.compile(DType::I8, &TRAINED).unwrap(), |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let session = Session::new(image, &mut arena, ops::ALL).unwrap();
        assert_eq!(session.parameters(), 2 + 2 + 2);
    });
}
