//! The demo's network on real digits: accuracy in each element type, and fingerprints that every
//! target must give (`cargo xtask test` runs this file on x86-64 and, under QEMU, on Arm Linux; the
//! boards and wasm are compared with the host).
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests, which the lint's own rule misses

use selvedge_core::net::{Layer, Momentum, Network, Visitor};
use selvedge_core::train::Trainer;
use selvedge_core::{Element, Serial, Sgd, net};
use selvedge_digits::{
    BATCH, CnnTrainer, DigitsCnn, DigitsMlp, EPOCHS, SEED, TEST, TRAIN, course, rate_at, test,
    train,
};
use selvedge_kernels::optim::Decay;
use selvedge_kernels::{bf16, f16};
use selvedge_tests::threads::Threads;

fn trained<N: Network<In = <N as Network>::Elem>>(
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

fn fingerprint<N: Network<In = <N as Network>::Elem>>(epochs: u32) -> String {
    let trainer = Box::new(Trainer::<N, BATCH>::BLANK);
    trained(trainer, SEED, epochs).fingerprint().to_string()
}

fn cnn<T: Element>(epochs: u32) -> String {
    fingerprint::<DigitsCnn<T>>(epochs)
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

net! {
    /// Both norms: over the channels of pixels and over a row, before and behind other layers.
    struct Norms: [8, 8, 1] {
        edges: conv2d(6, kernel = 3, stride = 2, padding = 1),
        even: layer_norm,
        positive: relu,
        strokes: conv2d(8, kernel = 3),
        scaled: rms_norm,
        flat: flatten,
        row: layer_norm,
        hidden: dense(12, activation = relu),
        last: rms_norm,
        head: dense(10),
    }
}

net! {
    /// Branches: at the input, beside others, within others; joined in each way that the reference has.
    struct Merges: [8, 8, 1] {
        views: concat {
            edges: conv2d(3, kernel = 3, stride = 2, padding = 1, activation = relu),
        } {
            pixels: conv2d(1, kernel = 1, stride = 2),
        },
        block: residual {
            first: conv2d(4, kernel = 3, padding = 1, activation = relu),
            second: conv2d(4, kernel = 3, padding = 1),
        },
        positive: relu,
        gate: product {} {
            open: conv2d(4, kernel = 1, activation = sigmoid),
        },
        both: residual {
            inner: product {
                value: conv2d(6, kernel = 1),
            } {
                sign: conv2d(6, kernel = 3, padding = 1, activation = tanh),
            },
            halve: conv2d(5, kernel = 2, stride = 2),
        } shortcut {
            inner: concat {
                halve: conv2d(3, kernel = 2, stride = 2),
            } {
                pool: max_pool(2),
            },
            mix: conv2d(5, kernel = 1),
        },
        flat: flatten,
        head: dense(10),
    }
}

net! {
    /// Each activation that the reference has: within a layer, on its accumulators, and alone, on stored values.
    struct Curves: [8, 8, 1] {
        edges: conv2d(4, kernel = 3, stride = 2, padding = 1, activation = gelu),
        a1: activation(sigmoid),
        strokes: conv2d(6, kernel = 3, activation = silu),
        a2: activation(tanh),
        flat: flatten,
        d1: dense(20, activation = tanh),
        a3: activation(leaky_relu),
        d2: dense(18, activation = softplus),
        a4: activation(gelu),
        d3: dense(16, activation = leaky_relu),
        a5: activation(silu),
        d4: dense(14, activation = sigmoid),
        a6: activation(softplus),
        head: dense(10),
    }
}

net! {
    /// Average pooling: overlapping with padding, rectangular, of the whole.
    struct Averages: [8, 8, 1] {
        edges: conv2d(6, kernel = 3, padding = 1, activation = relu),
        smooth: average_pool(3, stride = 2, padding = 1),
        strokes: conv2d(8, kernel = 3, padding = 1),
        pairs: average_pool([1, 2]),
        positive: relu,
        mix: conv2d(10, kernel = 1, activation = relu),
        whole: global_average_pool,
        head: dense(10),
    }
}

net! {
    /// Windows over one axis: an image's rows as a signal of eight channels.
    struct Signal: [8, 8] {
        entry: conv1d(10, kernel = 3, padding = 1, activation = relu),
        most: max_pool(3, stride = 2, padding = 1),
        own: depthwise(kernel = 2, activation = relu),
        mean: average_pool(2, stride = 1),
        flat: flatten,
        head: dense(10),
    }
}

net! {
    /// The lifted ReLU, in a depthwise stack and before the head.
    struct Lifted: [8, 8, 1] {
        entry: conv2d(4, kernel = 3, stride = 2, padding = 1, activation = lifted_relu),
        own: depthwise(kernel = 3, padding = 1, activation = lifted_relu),
        mix: conv2d(6, kernel = 1, activation = lifted_relu),
        flat: flatten,
        hidden: dense(12, activation = lifted_relu),
        head: dense(10),
    }
}

/// With momentum, Nesterov's, and weight decay, at an eighth of the rate.
fn with_momentum<N: Network<In = <N as Network>::Elem>>(epochs: u32) -> String {
    let mut trainer = Box::new(Trainer::<N, BATCH>::BLANK);
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

/// Trains the network of a run in its element type, and returns the fingerprint.
fn run<T: Element>(network: &str, epochs: u32) -> String {
    match network {
        "cnn" => cnn::<T>(epochs),
        "mlp" => fingerprint::<DigitsMlp<T>>(epochs),
        "odd" => with_momentum::<Odd<T, Momentum>>(epochs),
        "norms" => with_momentum::<Norms<T, Momentum>>(epochs),
        "merges" => fingerprint::<Merges<T>>(epochs),
        "curves" => fingerprint::<Curves<T>>(epochs),
        "averages" => fingerprint::<Averages<T>>(epochs),
        "signal" => fingerprint::<Signal<T>>(epochs),
        "lifted" => fingerprint::<Lifted<T>>(epochs),
        _ => panic!("{network} is not tested"),
    }
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
    assert!(runs.len() >= 42);
    for Run {
        network,
        dtype,
        epochs,
        fingerprint,
    } in runs
    {
        let found = match &*dtype {
            "i8" => run::<i8>(&network, epochs),
            "u8" => run::<u8>(&network, epochs),
            "i16" => run::<i16>(&network, epochs),
            "u16" => run::<u16>(&network, epochs),
            "i32" => run::<i32>(&network, epochs),
            _ => panic!("{dtype} is not tested"),
        };
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
