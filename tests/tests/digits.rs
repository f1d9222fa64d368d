//! The demo's network on real digits: accuracy in each element type, and fingerprints that every
//! target must give (`cargo xtask test` runs this file on x86-64 and, under QEMU, on Arm Linux; the
//! boards and wasm are compared with the host).
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests, which the lint's own rule misses

use selvedge_core::net::{Layer, Momentum, Network, Visitor};
use selvedge_core::train::Trainer;
use selvedge_core::{Element, Serial, Sgd, net};
use selvedge_digits::{
    BATCH, CnnTrainer, EPOCHS, MlpTrainer, SEED, TEST, TRAIN, course, rate_at, test, train,
};
use selvedge_kernels::optim::Decay;
use selvedge_kernels::{bf16, f16};
use selvedge_tests::threads::Threads;

fn trained<N: Network>(
    mut trainer: Box<Trainer<N, BATCH>>,
    seed: u32,
    epochs: u32,
) -> Box<Trainer<N, BATCH>> {
    course(&mut trainer, &Serial, seed, epochs, &mut [0; TRAIN], |_| ()).unwrap();
    trainer
}

/// Mean test accuracy over seeds 1 to 5, in percent.
fn accuracy<T: Element>() -> f64 {
    let right: usize = (1..=5)
        .map(|seed| {
            let mut trainer = trained(Box::new(CnnTrainer::<T>::BLANK), seed, EPOCHS);
            trainer.count_right(&Serial, &test()).unwrap()
        })
        .sum();
    let percent = 100.0 * right as f64 / (5 * TEST) as f64;
    println!("{}: {percent:.2} %", T::DTYPE);
    percent
}

#[test]
#[ignore = "a minute in release; cargo xtask test runs it on the host"]
fn accuracy_does_not_depend_on_the_element_type() {
    let float = accuracy::<f32>();
    assert!(float >= 97.0, "f32: {float}");
    for (name, percent, below) in [
        ("i8", accuracy::<i8>(), 0.5),
        ("u8", accuracy::<u8>(), 0.5),
        ("i16", accuracy::<i16>(), 0.3),
        ("u16", accuracy::<u16>(), 0.3),
        ("f16", accuracy::<f16>(), 0.3),
        ("bf16", accuracy::<bf16>(), 0.3),
    ] {
        assert!(percent >= float - below, "{name}: {percent}, f32: {float}");
    }
}

fn cnn<T: Element>(epochs: u32) -> String {
    trained(Box::new(CnnTrainer::<T>::BLANK), SEED, epochs)
        .fingerprint()
        .to_string()
}

fn mlp<T: Element>(epochs: u32) -> String {
    trained(Box::new(MlpTrainer::<T>::BLANK), SEED, epochs)
        .fingerprint()
        .to_string()
}

net! {
    /// What the demo's networks lack: overlapping pooling, stride, groups, a ReLU of its own.
    struct Odd: [8, 8, 1] {
        edges: conv2d(4, kernel = 3, padding = 1, activation = relu),
        halve: max_pool(3, stride = 2, padding = 1),
        strokes: conv2d(8, kernel = 3, stride = 2, padding = 1, groups = 2),
        positive: relu,
        flat: flatten,
        head: dense(10),
    }
}

/// The same, trained with momentum, Nesterov's, and weight decay.
fn odd<T: Element>(epochs: u32) -> String {
    let mut trainer = Box::new(Trainer::<Odd<T, Momentum>, BATCH>::BLANK);
    trainer.init(SEED).unwrap();
    for epoch in 0..epochs {
        let sgd = Sgd {
            rate: rate_at(epoch, EPOCHS).rate.halved(3),
            momentum: 230,
            nesterov: true,
            decay: Some(Decay {
                mantissa: 10,
                shift: 16,
            }),
        };
        trainer
            .epoch(&Serial, &train(), &mut [0; TRAIN], epoch, &sgd, |_| ())
            .unwrap();
    }
    trainer.fingerprint().to_string()
}

/// A run of `golden/digits.json`, which `make_digits.py` made by the reference program.
#[derive(serde::Deserialize)]
struct Run {
    network: String,
    dtype: String,
    epochs: u32,
    fingerprint: String,
}

#[test]
fn fingerprints_are_those_of_the_reference_program() {
    let runs: Vec<Run> = serde_json::from_str(include_str!("../golden/digits.json")).unwrap();
    assert!(runs.len() >= 12);
    for run in runs {
        let found = match (&*run.network, &*run.dtype) {
            ("cnn", "i8") => cnn::<i8>(run.epochs),
            ("cnn", "u8") => cnn::<u8>(run.epochs),
            ("cnn", "i16") => cnn::<i16>(run.epochs),
            ("cnn", "u16") => cnn::<u16>(run.epochs),
            ("cnn", "i32") => cnn::<i32>(run.epochs),
            ("odd", "i8") => odd::<i8>(run.epochs),
            ("odd", "u8") => odd::<u8>(run.epochs),
            ("odd", "i16") => odd::<i16>(run.epochs),
            ("mlp", "i8") => mlp::<i8>(run.epochs),
            ("mlp", "i16") => mlp::<i16>(run.epochs),
            (network, dtype) => panic!("{network} in {dtype} is not tested"),
        };
        let Run {
            network,
            dtype,
            epochs,
            fingerprint,
        } = run;
        assert_eq!(found, fingerprint, "{network} in {dtype}, {epochs} epochs");
    }
}

/// There is no reference for the bits of floats; but their sums have a fixed order and use no fused
/// multiply-add, so that every target that runs this test must give the same.
#[test]
fn floats_have_the_same_bits_on_every_target() {
    let found = [cnn::<f16>(1), cnn::<bf16>(1), cnn::<f32>(1), cnn::<f64>(1)];
    assert_eq!(found, FLOATS);
}

/// f16, bf16, f32, f64 after one epoch, as first seen on x86-64.
const FLOATS: [&str; 4] = [
    "94628f94bb39359d71dc98b7d3f96ebe3cb066b31fc6f186393c54bd25bcae54",
    "fbd4dc16b4758928dad107c2ef822f80d6d65aad9976410231d9af3739f5747e",
    "4807cd7a87763e4c5300832c8085a0baa8dc3648f43b8f9b76070c389c2deb2a",
    "80247cce45cd1654c5cb4c4c296f140b678b2fad90c58f79de64deac2ae23186",
];

#[test]
fn threads_do_not_change_a_byte() {
    let mut trainer = Box::new(CnnTrainer::<i8>::BLANK);
    course(&mut trainer, &Threads(3), SEED, 1, &mut [0; TRAIN], |_| ()).unwrap();
    assert_eq!(trainer.fingerprint().to_string(), cnn::<i8>(1));
}

/// Stored elements and residuals, without the offset of unsigned types.
#[derive(Default, PartialEq, Debug)]
struct Signed(Vec<u8>);

impl Visitor for Signed {
    fn parameter<P: Element>(&mut self, value: &[P], residual: &[i8], exponent: i16) {
        let flip = P::ZERO; // 0, or the middle of an unsigned range
        for element in value {
            let mut bytes: Vec<u8> = Vec::new();
            element.le_bytes(|part| bytes.extend(part));
            let mut offset: Vec<u8> = Vec::new();
            flip.le_bytes(|part| offset.extend(part));
            self.0.extend(
                bytes
                    .iter()
                    .zip(&offset)
                    .map(|(byte, offset)| byte ^ offset),
            );
        }
        self.0.extend(residual.iter().map(|&low| low as u8));
        self.0.extend(exponent.to_le_bytes());
    }
}

fn signed<T: Element>() -> Signed {
    let mut signed = Signed::default();
    trained(Box::new(CnnTrainer::<T>::BLANK), SEED, 2)
        .network()
        .layers()
        .visit(&mut signed);
    signed
}

#[test]
fn unsigned_types_learn_the_signed_bytes_in_offset_binary() {
    assert_eq!(signed::<u8>(), signed::<i8>());
    assert_eq!(signed::<u16>(), signed::<i16>());
    assert_ne!(signed::<i8>(), Signed::default());
}
