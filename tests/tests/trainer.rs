//! What a trainer refuses, and that nothing has changed then.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_core::net::{Dense, Layer, Momentum, Network, Relu};
use selvedge_core::train::{Pixels, Samples, Trainer};
use selvedge_core::{Distance, Element, Error, Rate, Serial, Sgd, net};
use selvedge_kernels::loss::Kernels as Loss;
use selvedge_kernels::softmax::adaptive::Clusters;
use selvedge_kernels::{Arg, Error as KernelError};
use selvedge_tests::parameters::tensors;

net! {
    struct Net: [4] {
        hidden: dense(6, activation = relu),
        head: dense(3),
    }
}

const SGD: Sgd = Sgd::new(Rate {
    mantissa: 1,
    exponent: -4,
});

fn trainer() -> Trainer<Net<i8>, 2> {
    let mut trainer = Trainer::BLANK;
    trainer.init(1).unwrap();
    trainer
        .input_mut()
        .copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    trainer
}

#[test]
fn a_refused_step_changes_nothing() {
    let cases: &[(&[u16], Error)] = &[
        (
            &[],
            Error::Batch {
                capacity: 2,
                got: 0,
            },
        ),
        (
            &[0, 1, 2],
            Error::Batch {
                capacity: 2,
                got: 3,
            },
        ),
        (
            &[0, 3],
            Error::Loss(KernelError::Label {
                row: 1,
                label: 3,
                classes: 3,
            }),
        ),
    ];
    for &(labels, expected) in cases {
        let mut trainer = trainer();
        let before = trainer.fingerprint();
        assert_eq!(trainer.step(&Serial, labels, &SGD), Err(expected));
        assert_eq!((trainer.fingerprint(), trainer.steps()), (before, 0));
    }
    let mut trainer = trainer();
    assert_eq!(
        trainer.classify(&Serial, &mut [0; 3]),
        Err(Error::Batch {
            capacity: 2,
            got: 3
        })
    );
    assert_eq!(
        trainer.classify(&Serial, &mut []),
        Err(Error::Batch {
            capacity: 2,
            got: 0
        })
    );
}

net! {
    /// The first layer keeps no velocities, those behind it do where the network does.
    struct Mixed: [4] {
        hidden: layer(Dense<T, 4, 6, Relu> => [6]),
        twice: residual { inner: dense(6) },
        head: dense(3),
    }
}

net! {
    /// Behind two layers that keep them, one in a branch does not.
    struct Branch: [4] {
        hidden: dense(6, activation = relu),
        twice: residual { inner: dense(6) } shortcut { other: layer(Dense<T, 6, 6> => [6]) },
        head: dense(3),
    }
}

/// Momentum is refused for `layer`, and nothing has changed, what the next batch gives included.
fn refuses_momentum<N: Network<In = <N as Network>::Elem, Elem: Loss>>(layer: u32) {
    let momentum = Sgd {
        momentum: 200,
        ..SGD
    };
    let mut trainer = Trainer::<N, 2>::BLANK;
    trainer.init(1).unwrap();
    for (x, pixel) in trainer.input_mut().iter_mut().zip((10..).step_by(20)) {
        *x = N::Elem::from_pixel(pixel);
    }
    let seen = |trainer: &mut Trainer<N, 2>| {
        let bytes = tensors(trainer.network());
        let y = trainer.predict(&Serial, 2).unwrap();
        let y: Vec<_> = y.data.iter().map(|v| v.to_f64()).collect();
        (bytes, y, trainer.steps())
    };
    let before = seen(&mut trainer);
    let expected = Some(Error::Momentum { layer });
    assert_eq!(trainer.step(&Serial, &[0, 1], &momentum).err(), expected);
    let targets = vec![Element::ZERO; 6];
    let refused = trainer.step_towards(&Serial, &targets, 0, Distance::Squared, &momentum);
    assert_eq!(refused.err(), expected);
    let refused = trainer.step_binary(&Serial, &targets, 0, &momentum);
    assert_eq!(refused.err(), expected);
    assert_eq!(seen(&mut trainer), before);
    trainer.step(&Serial, &[0, 1], &SGD).unwrap();
    assert_ne!(seen(&mut trainer), before);
}

#[test]
fn momentum_without_velocities_is_refused_before_anything_changes() {
    refuses_momentum::<Net<i8>>(0);
    refuses_momentum::<Net<f32>>(0);
    refuses_momentum::<Mixed<i8, Momentum>>(0);
    refuses_momentum::<Mixed<i16, Momentum>>(0);
    // hidden 0, twice 1, inner 2, other 3.
    refuses_momentum::<Branch<i8, Momentum>>(3);
    refuses_momentum::<Branch<f32, Momentum>>(3);
}

#[test]
fn epochs_refuse_a_wrong_order_and_unreadable_samples() {
    let samples = Pixels {
        pixels: &[9; 12],
        labels: &[0, 1, 2],
    };
    let mut trainer = trainer();
    let refused = trainer.epoch(&Serial, &samples, &mut [0; 2], 0, &SGD, |_| ());
    assert_eq!(refused, Err(Error::Order { samples: 3, got: 2 }));
    let short = Pixels {
        pixels: &[9; 11],
        labels: &[0, 1, 2],
    };
    let refused = trainer.evaluate(&Serial, &short, |_, _, _| ());
    assert_eq!(
        refused,
        Err(Error::Sample {
            index: 2,
            samples: 3
        })
    );
    let labels = vec![0; 65_537];
    let many = Pixels {
        pixels: &[],
        labels: &labels,
    };
    let refused = trainer.epoch(&Serial, &many, &mut vec![0; 65_537], 0, &SGD, |_| ());
    assert_eq!(
        refused,
        Err(Error::Order {
            samples: 65_537,
            got: 65_537
        })
    );
    assert!(!many.is_empty());
}

#[test]
fn the_remainder_of_an_epoch_is_left_out_and_evaluated() {
    let samples = Pixels {
        pixels: &[9; 12],
        labels: &[0, 1, 2],
    };
    let mut trainer = trainer();
    let mut seen = Vec::new();
    trainer
        .epoch(&Serial, &samples, &mut [0; 3], 0, &SGD, |done| {
            seen.push(done)
        })
        .unwrap();
    assert_eq!((seen, trainer.steps()), (vec![2], 1));
    let mut labels = Vec::new();
    trainer
        .evaluate(&Serial, &samples, |index, label, _| {
            labels.push((index, label))
        })
        .unwrap();
    assert_eq!(labels, [(0, 0), (1, 1), (2, 2)]);
}

#[test]
fn classifying_changes_neither_network_nor_neighbours() {
    let mut trainer = trainer();
    trainer.step(&Serial, &[0, 1], &SGD).unwrap();
    let before = trainer.fingerprint();
    let mut both = [0; 2];
    trainer.classify(&Serial, &mut both).unwrap();
    trainer.input_mut()[4..].fill(127);
    let mut first = [0; 2];
    trainer.classify(&Serial, &mut first).unwrap();
    assert_eq!(both[0], first[0]);
    assert_eq!(trainer.fingerprint(), before);
}

#[test]
fn costs_are_the_sums_of_what_the_layers_cost() {
    type Of<T> = <Net<T> as Network>::Layers;
    assert_eq!(Of::<i8>::INFO.macs, 4 * 6 + 6 * 3);
    assert_eq!(Of::<i8>::INFO.parameters, 4 * 6 + 6 + 6 * 3 + 3);
    // Weights a byte, biases two, three exponents a layer.
    assert_eq!(
        Trainer::<Net<i8>, 2>::FLASH_BYTES,
        (24 + 18) + 2 * (6 + 3) + 2 * 3 * 2
    );
    assert_eq!(Trainer::<Net<f32>, 2>::FLASH_BYTES, 4 * (24 + 6 + 18 + 3));
    assert_eq!(
        Trainer::<Net<i8>, 2>::RAM_BYTES,
        size_of::<Trainer<Net<i8>, 2>>()
    );
    let costs = Net::<i8>::costs::<2>();
    assert_eq!(costs.map(|cost| cost.name), ["hidden", "head"]);
    assert!(
        costs.iter().map(|cost| cost.ram_bytes).sum::<usize>() < Trainer::<Net<i8>, 2>::RAM_BYTES
    );
}

net! {
    /// Four classes, as one cluster or with a tail of two (and an entry).
    struct Items: [4] {
        hidden: dense(6, activation = relu),
        head: dense(4),
    }
}

/// With one cluster, an adaptive softmax is a softmax: the steps are those of labels.
#[test]
fn an_adaptive_step_of_one_cluster_is_a_step() {
    let clusters = Clusters::new(&[3, 1, 0, 2], &[4], &mut [false; 4]).unwrap();
    let x = [0.5, -1.0, 0.25, 0.75, -0.5, 0.5, 1.0, -0.25];
    let (mut plain, mut adaptive) = (
        Trainer::<Items<f64>, 2>::BLANK,
        Trainer::<Items<f64>, 2>::BLANK,
    );
    for trainer in [&mut plain, &mut adaptive] {
        trainer.init(1).unwrap();
        trainer.input_mut().copy_from_slice(&x);
    }
    let mut scratch = [0.0; 8];
    for _ in 0..20 {
        let want = plain.step(&Serial, &[2, 0], &SGD).unwrap();
        let got = adaptive
            .step_adaptive(&Serial, clusters, &[2, 0], &SGD, &mut scratch)
            .unwrap();
        assert!((want - got).abs() < 1e-12, "{want} {got}");
    }
    let y = plain.predict(&Serial, 2).unwrap().data.to_vec();
    for (want, got) in y.iter().zip(adaptive.predict(&Serial, 2).unwrap().data) {
        assert!((want - got).abs() < 1e-12, "{want} {got}");
    }
}

/// Logits of 16 bits, errors of 8: both types of 8 bits learn, and to the same numbers.
#[test]
fn adaptive_steps_of_bytes_learn() {
    macro_rules! losses {
        ($t:ty) => {{
            let clusters = Clusters::new(&[1, 0, 2], &[1, 2], &mut [false; 3]).unwrap();
            let mut trainer = Trainer::<Items<$t>, 2>::BLANK;
            trainer.init(1).unwrap();
            let x = [0.5, -1.0, 0.25, 0.75, -0.5, 0.5, 1.0, -0.25];
            let x = x.map(|x: f64| <$t>::from_f64((x * 128.0).min(127.0)));
            let mut scratch = [0; 8];
            let losses: Vec<_> = (0..100)
                .map(|_| {
                    trainer.input_mut().copy_from_slice(&x);
                    trainer
                        .step_adaptive(&Serial, clusters, &[2, 1], &SGD, &mut scratch)
                        .unwrap()
                })
                .collect();
            losses
        }};
    }
    let (signed, unsigned) = (losses!(i8), losses!(u8));
    assert_eq!(signed, unsigned);
    assert!(signed[99] * 4 < signed[0], "{signed:?}");
}

#[test]
fn an_adaptive_step_refuses_what_does_not_fit_and_nothing_changes() {
    let mut trainer = Trainer::<Items<i16>, 2>::BLANK;
    trainer.init(1).unwrap();
    let before = tensors(trainer.network());
    let four = Clusters::new(&[3, 1, 0, 2], &[4], &mut [false; 4]).unwrap();
    let three = Clusters::new(&[1, 0, 2], &[1, 2], &mut [false; 3]).unwrap();
    let other = Clusters::new(&[1, 0, 2], &[3], &mut [false; 3]).unwrap();
    let mut step = |clusters, labels: &[u32], len| {
        let mut scratch = vec![0; len];
        let refused = trainer.step_adaptive(&Serial, clusters, labels, &SGD, &mut scratch);
        assert_eq!(tensors(trainer.network()), before);
        assert_eq!(trainer.steps(), 0);
        refused.unwrap_err()
    };
    let length = |arg, expected, got| Error::Loss(KernelError::Length { arg, expected, got });
    assert_eq!(step(other, &[0], 8), length(Arg::Clusters, 4, 3));
    assert_eq!(step(four, &[0], 7), length(Arg::Scratch, 8, 7));
    let label = |row, label, classes| {
        Error::Loss(KernelError::Label {
            row,
            label,
            classes,
        })
    };
    assert_eq!(step(four, &[0, 4], 8), label(1, 4, 4));
    // The fourth logit is the tail's entry, no item.
    assert_eq!(step(three, &[3], 8), label(0, 3, 3));
    let capacity = Error::Batch {
        capacity: 2,
        got: 0,
    };
    assert_eq!(step(three, &[], 8), capacity);
    let mut scratch = [0; 8];
    trainer
        .step_adaptive(&Serial, three, &[2, 0], &SGD, &mut scratch)
        .unwrap();
    assert_ne!(tensors(trainer.network()), before);
}

// 40 x 40 positions for each weight: 10 samples are 16,000 products, 11 are more than 2^14.
net! {
    struct Wide: [40, 40, 1] {
        conv: conv2d(1, kernel = 1),
        flat: flatten,
        head: dense(3),
    }
}

#[test]
fn a_batch_that_no_accumulator_sums_is_refused_before_anything_changes() {
    let mut trainer = Box::new(Trainer::<Wide<i32>, 11>::BLANK);
    trainer.init(1).unwrap();
    let before = tensors(trainer.network());
    let refused = trainer.step(&Serial, &[1; 11], &SGD);
    let source = KernelError::Accumulator {
        terms: 11 * 1600,
        limit: 1 << 14,
    };
    assert_eq!(refused, Err(Error::Layer { layer: 0, source }));
    assert_eq!(tensors(trainer.network()), before);
    assert_eq!(trainer.steps(), 0);
    trainer.step(&Serial, &[1; 10], &SGD).unwrap();
}

#[test]
fn a_layer_of_too_many_inputs_is_refused_by_init() {
    let mut layer = Box::new(Dense::<i8, 70_000, 2>::BLANK);
    let source = KernelError::Accumulator {
        terms: 70_000,
        limit: 1 << 16,
    };
    assert_eq!(layer.init(1, 3), Err(Error::Layer { layer: 3, source }));
}

// An error of `hidden` is sums of 17,000 products; of 32 bits 2^14 fit.
net! {
    struct Many: [2] {
        hidden: dense(2),
        head: dense(17_000),
    }
}

net! {
    struct ManyAtOnce: [2] {
        head: dense(17_000),
    }
}

#[test]
fn more_outputs_than_an_error_sums_are_refused_in_training_alone() {
    let mut trainer = Box::new(Trainer::<Many<i32>, 1>::BLANK);
    trainer.init(1).unwrap();
    let before = tensors(trainer.network());
    let (targets, distance) = (vec![1i32; 17_000], Distance::Squared);
    let refused = trainer.step_towards(&Serial, &targets, -9, distance, &SGD);
    let source = KernelError::Accumulator {
        terms: 17_000,
        limit: 1 << 14,
    };
    assert_eq!(refused, Err(Error::Layer { layer: 1, source }));
    assert_eq!(tensors(trainer.network()), before);
    assert_eq!(trainer.steps(), 0);
    trainer.predict(&Serial, 1).unwrap();
    // Nothing is below: there is no such sum.
    let mut trainer = Box::new(Trainer::<ManyAtOnce<i32>, 1>::BLANK);
    trainer.init(1).unwrap();
    let before = tensors(trainer.network());
    trainer.input_mut().fill(1 << 22);
    trainer
        .step_towards(&Serial, &targets, -9, distance, &SGD)
        .unwrap();
    assert_ne!(tensors(trainer.network()), before);
}

mod starts_over {
    use super::*;
    use selvedge_digits::zoo::{self, BATCH};

    macro_rules! begins_again {
        ($($name:ident: $network:ident($narrow:ident, $wide:ident),)*) => {$(
            #[test]
            fn $name() {
                let mut trainer = Box::new(Trainer::<zoo::$network<$narrow>, BATCH>::BLANK);
                // Initialises, trains and predicts: nothing of it is left, nor what layers carry on.
                let first = zoo::fingerprint(&mut trainer, &Serial).unwrap();
                assert_eq!(zoo::fingerprint(&mut trainer, &Serial).unwrap(), first);
            }
        )*};
    }

    selvedge_digits::each!(begins_again!());
}

// A label for each of four positions.
net! {
    struct Segments: [2, 2, 3] {
        head: conv2d(5, kernel = 1),
    }
}

#[test]
fn positions_have_labels_of_their_own() {
    type Net = Trainer<Segments<f32>, 2>;
    assert_eq!((Net::OUTPUT_LEN, Net::CLASSES, Net::LABELS), (20, 5, 4));
    let mut trainer = Box::new(Net::BLANK);
    trainer.init(1).unwrap();
    let labels = [0, 1, 2, 3, 4, 0, 1, 2];
    for (at, x) in trainer.input_mut().chunks_exact_mut(3).enumerate() {
        let label = labels[at];
        x.copy_from_slice(&[1, 2, 4].map(|bit| if label & bit == 0 { -1.0 } else { 1.0 }));
    }
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: -2,
    });
    let mut loss = f32::MAX;
    for _ in 0..200 {
        loss = trainer.step(&Serial, &labels, &sgd).unwrap();
    }
    assert!(loss < 0.5, "{loss}");
    let mut found = [9; 8];
    trainer.classify(&Serial, &mut found).unwrap();
    assert_eq!(found, labels);
    let part = KernelError::Length {
        arg: Arg::Labels,
        expected: 4,
        got: 7,
    };
    assert_eq!(
        trainer.step(&Serial, &labels[..7], &sgd),
        Err(Error::Loss(part))
    );
}

#[test]
fn the_first_nan_is_the_class() {
    net! { struct Copy: [3] { head: dense(3) } }
    let mut trainer = Trainer::<Copy<f32>, 1>::BLANK;
    trainer.init(1).unwrap();
    struct Set;
    impl selvedge_core::net::VisitorMut for Set {
        fn parameter<P: Element>(&mut self, value: &mut [P], _: &mut [i8], _: &mut i16) {
            let n = if value.len() == 9 { 3 } else { 1 };
            for (at, x) in value.iter_mut().enumerate() {
                let (row, column) = (at / n, at % n);
                *x = P::from_f64(if n == 3 {
                    0.0
                } else if row == 1 && column == 0 {
                    f64::NAN
                } else {
                    row as f64
                });
            }
        }
    }
    trainer.network_mut().layers_mut().visit_mut(&mut Set);
    let mut class = [9];
    trainer.classify(&Serial, &mut class).unwrap();
    assert_eq!(class, [1]);
}
