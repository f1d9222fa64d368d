//! What learns in a session, and what does not.

use super::with_image;
use selvedge_core::image::{Image, Role};
use selvedge_core::network::{
    Activation, Branch, Budget, Combine, Dense, Layer, Loss, Network, Options, Parallel,
};
use selvedge_core::ops;
use selvedge_core::session::Session;
use selvedge_core::{Element, Rate, Serial, Sgd};
use selvedge_kernels::DType;

pub(super) const OPTIONS: Options = Options {
    samples: 3,
    train: true,
    loss: Loss::Squared,
    accumulate: false,
    momentum: false,
    step: false,
    exact: false,
    headless: false,
    sequence: false,
    seed: 5,
    budget: Budget::NONE,
};
/// 2^-20: small against what is learned, exact in `f64`.
const SLOW: Sgd = Sgd::new(Rate {
    mantissa: 1,
    exponent: -20,
});

/// Fills the inputs with numbers that are all different.
fn ask(session: &mut Session<'_>, inputs: usize) {
    for index in 0..inputs {
        let x = session.input_mut::<f64>(Role::Train, index).unwrap();
        for (i, x) in x.iter_mut().enumerate() {
            *x = (((7 * i + 3 * index) % 11) as f64 - 5.0) / 8.0;
        }
    }
}

fn loss(session: &mut Session<'_>) -> f64 {
    ask(session, 2);
    session.train_step(&Serial, 3, &Sgd::STILL).unwrap();
    session.output::<f64>(1).unwrap().data[0]
}

fn parameter(session: &Session<'_>, index: usize) -> Vec<f64> {
    session.parameter(index).unwrap().data.to_vec()
}

/// Each parameter's gradient as a step says it, beside central differences of the loss.
pub(super) fn gradients_are_differences(image: &Image<'_>) {
    let mut arena = vec![0; image.arena_bytes()];
    let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
    let all: Vec<_> = (0..session.parameters())
        .map(|i| parameter(&session, i))
        .collect();
    ask(&mut session, 2);
    session.train_step(&Serial, 3, &SLOW).unwrap();
    let after: Vec<_> = (0..session.parameters())
        .map(|i| parameter(&session, i))
        .collect();
    for (index, (before, after)) in all.iter().zip(&after).enumerate() {
        session.reset().unwrap();
        for element in 0..before.len() {
            let [below, above] = [-1e-5, 1e-5].map(|change| {
                let mut changed = before.clone();
                changed[element] += change;
                session.set_parameter(index, &changed, 0).unwrap();
                loss(&mut session)
            });
            session.set_parameter(index, before, 0).unwrap();
            let difference = (above - below) / 2e-5;
            let gradient = (before[element] - after[element]) * f64::from(1 << 20);
            let error = (gradient - difference).abs();
            assert!(
                error < 1e-7 * (1.0 + difference.abs()),
                "parameter {index}, element {element}: {gradient}, {difference}"
            );
        }
    }
}

/// Two branches that share a layer, one of which turns its input first.
fn siamese() -> Network {
    let hidden = || Dense::new(6).activation(Activation::Tanh);
    let mut twin = Layer::new("hidden", hidden());
    twin.shares = Some("both.left.hidden".to_owned());
    let mut right = Branch::new("right").layer("turn", Dense::new(4).activation(Activation::Gelu));
    right.layers.push(twin);
    let left = Branch::new("left").layer("hidden", hidden());
    Network::new([4])
        .layer("before", Dense::new(4).activation(Activation::Silu))
        .layer(
            "both",
            Parallel::new(Combine::Multiply).branch(left).branch(right),
        )
        .layer("head", Dense::new(2))
}

#[test]
fn gradients_of_shared_weights_are_those_of_both_uses() {
    for accumulate in [false, true] {
        let options = Options {
            accumulate,
            ..OPTIONS
        };
        let bytes = siamese().compile(DType::F64, &options).unwrap();
        with_image(&bytes, |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let session = Session::new(image, &mut arena, ops::ALL).unwrap();
            assert_eq!(session.parameters(), 2 * 4, "one of the five layers shares");
            gradients_are_differences(image);
        });
    }
}

#[test]
fn shared_weights_are_those_of_a_layer_before_and_of_its_extents() {
    let mut network = siamese();
    let later = |path: &str| {
        let mut head = Layer::new("head", Dense::new(2));
        head.shares = Some(path.to_owned());
        head
    };
    for (path, word) in [("nowhere", "nowhere"), ("both.left.hidden", "extents")] {
        network.layers[2] = later(path);
        let error = network
            .compile(DType::F64, &OPTIONS)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("head: ") && error.contains(word),
            "{error}"
        );
    }
}

#[test]
fn integers_learn_with_shared_weights() {
    fn learns<T: Element>() {
        let options = Options {
            loss: Loss::CrossEntropy,
            ..OPTIONS
        };
        let bytes = siamese().compile(T::DTYPE, &options).unwrap();
        with_image(&bytes, |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            let mut run = |steps: usize| {
                let mut loss = 0;
                for _ in 0..steps {
                    let x = session.input_mut::<T>(Role::Train, 0).unwrap();
                    let pixels = [200, 10, 90, 250, 20, 220, 130, 5, 120, 40, 240, 60];
                    x.iter_mut()
                        .zip(pixels)
                        .for_each(|(x, pixel)| *x = T::from_pixel(pixel));
                    session
                        .input_mut(Role::Train, 1)
                        .unwrap()
                        .copy_from_slice(&[0u16, 1, 1]);
                    let sgd = Sgd::new(Rate {
                        mantissa: 1,
                        exponent: -3,
                    });
                    session.train_step(&Serial, 3, &sgd).unwrap();
                    loss = session.output::<i64>(1).unwrap().data[0];
                }
                loss
            };
            let (first, last) = (run(1), run(400));
            assert!(last < first / 8, "{}: {first} to {last}", T::DTYPE);
        });
    }
    learns::<i8>();
    learns::<u8>();
    learns::<i16>();
    learns::<u32>();
}

/// Three layers in a row, the one in the middle of which is as `change` makes it.
fn in_the_middle(change: impl FnOnce(&mut Layer)) -> Network {
    let mut network = Network::new([4])
        .layer("first", Dense::new(5).activation(Activation::Tanh))
        .layer("middle", Dense::new(5).activation(Activation::Tanh))
        .layer("head", Dense::new(2));
    change(&mut network.layers[1]);
    network
}

#[test]
fn a_frozen_layer_stays_and_those_before_it_learn() {
    let free = in_the_middle(|_| ()).compile(DType::F64, &OPTIONS).unwrap();
    let frozen = in_the_middle(|layer| layer.frozen = true);
    let frozen = frozen.compile(DType::F64, &OPTIONS).unwrap();
    let arena_of = |bytes: &[u8]| with_image(bytes, |image| image.arena_bytes());
    let saved = (5 * 5 + 5) * 8;
    assert!(
        arena_of(&frozen) + saved <= arena_of(&free),
        "weights in flash cost no RAM"
    );
    // At run time: the same that is learned without those two parameters.
    let learned = |bytes: &[u8], at_run_time: bool| {
        with_image(bytes, |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            if at_run_time {
                session.set_frozen(2, true).unwrap();
                session.set_frozen(3, true).unwrap();
                assert!(session.set_frozen(6, true).is_err());
            }
            let before: Vec<_> = (0..6).map(|i| parameter(&session, i)).collect();
            for _ in 0..3 {
                ask(&mut session, 2);
                session.train_step(&Serial, 3, &SLOW).unwrap();
            }
            let after: Vec<_> = (0..6).map(|i| parameter(&session, i)).collect();
            for (i, (before, after)) in before.iter().zip(&after).enumerate() {
                assert_eq!(before == after, i == 2 || i == 3, "parameter {i}");
            }
            session.set_frozen(2, false).unwrap();
            ask(&mut session, 2);
            session.train_step(&Serial, 3, &SLOW).unwrap();
            assert_eq!(parameter(&session, 2) == after[2], !at_run_time);
            after
        })
    };
    assert_eq!(learned(&frozen, false), learned(&free, true));
}

#[test]
fn a_disabled_layer_is_passed_over_and_changes_no_other() {
    let without = in_the_middle(|layer| layer.disabled = true);
    let parameters = |network: &Network| {
        with_image(&network.compile(DType::I8, &OPTIONS).unwrap(), |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let session = Session::new(image, &mut arena, ops::ALL).unwrap();
            let weights = (0..session.parameters()).step_by(2);
            let weights = weights.map(|i| session.parameter::<i8>(i).unwrap().data.to_vec());
            weights.collect::<Vec<_>>()
        })
    };
    let (with, without) = (parameters(&in_the_middle(|_| ())), parameters(&without));
    assert_eq!(without, [with[0].clone(), with[2].clone()]);
}
