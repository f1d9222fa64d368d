//! A model that is saved through visitors and loaded into a fresh trainer goes on to the same bytes.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_core::net::{Layer, Momentum, Network, Visitor, VisitorMut};
use selvedge_core::train::Trainer;
use selvedge_core::{Element, Rate, Serial, Sgd, net};
use selvedge_digits::zoo::{self, BATCH, Given};
use selvedge_digits::{Digits, SIDE};
use selvedge_kernels::scale::State;
use selvedge_tests::for_each_type;
use selvedge_tests::saved::{ALL, Kept, Loader, Saved};

/// Twelve steps with samples from the trainer's own count of steps on.
fn train<N: Network<In: Given<<N as Network>::Elem>>>(
    trainer: &mut Trainer<N, BATCH>,
    momentum: u8,
) {
    let digits = selvedge_digits::train();
    let sgd = Sgd {
        momentum,
        ..Sgd::new(Rate {
            mantissa: 1,
            exponent: -6,
        })
    };
    for _ in 0..12 {
        let first = trainer.steps() as usize * BATCH;
        let labels = read(trainer, &digits, first);
        trainer.step(&Serial, &labels, &sgd).unwrap();
    }
}

/// Puts a batch from the digit `first` on into the input, and returns its labels: of pixels there is one class.
fn read<N: Network<In: Given<<N as Network>::Elem>>>(
    trainer: &mut Trainer<N, BATCH>,
    digits: &Digits,
    first: usize,
) -> Vec<u16> {
    let [inputs, each] = [Trainer::<N, BATCH>::INPUT_LEN, Trainer::<N, BATCH>::LABELS];
    let mut labels = vec![0; BATCH * each];
    let samples = trainer.input_mut().chunks_exact_mut(inputs);
    for (at, (x, labels)) in samples.zip(labels.chunks_exact_mut(each)).enumerate() {
        N::In::read(digits, first + at, x, labels);
    }
    if Trainer::<N, BATCH>::CLASSES == 1 {
        labels.fill(0);
    }
    labels
}

/// Parameters and outputs at inference.
fn outcome<N: Network<In: Given<<N as Network>::Elem>>>(
    trainer: &mut Trainer<N, BATCH>,
) -> (Vec<u8>, Vec<u8>) {
    let mut saved = Saved::default();
    trainer.visit(&mut saved);
    read(trainer, &selvedge_digits::test(), 0);
    let mut outputs = Saved::default();
    let y = trainer.predict(&Serial, BATCH).unwrap();
    outputs.elements(y.data);
    (saved.bytes, outputs.bytes)
}

/// Trains, saves, goes on; loads what is `kept` into another trainer, which has trained on something else, and goes on
/// there. Returns whether both are the same, and what there was to keep.
fn goes_on<N: Network<In: Given<<N as Network>::Elem>>>(
    momentum: u8,
    kept: &[Kept],
) -> (bool, [usize; 3]) {
    let mut first = Box::new(Trainer::<N, BATCH>::BLANK);
    first.init(selvedge_digits::SEED).unwrap();
    train(&mut first, momentum);
    let mut saved = Saved::default();
    first.visit(&mut saved);
    first.reset(); // what layers carry on is not saved
    let mut second = Box::new(Trainer::<N, BATCH>::BLANK);
    second.init(99).unwrap();
    let mut loader = Loader {
        bytes: &saved.bytes,
        kept,
    };
    second.visit_mut(&mut loader);
    assert!(loader.bytes.is_empty(), "bytes are left over");
    second.resume(first.seed(), first.steps());
    train(&mut first, momentum);
    train(&mut second, momentum);
    let same =
        first.fingerprint() == second.fingerprint() && outcome(&mut first) == outcome(&mut second);
    (same, saved.counts)
}

mod every_network_goes_on_to_the_same_bytes {
    use super::*;

    macro_rules! goes_on {
        ($($name:ident: $network:ident($narrow:ident, $wide:ident),)*) => {$(
            #[test]
            fn $name() {
                assert!(goes_on::<zoo::$network<$narrow>>(0, &ALL).0);
                assert!(goes_on::<zoo::$network<$wide>>(0, &ALL).0);
                assert!(goes_on::<zoo::$network<$narrow, Momentum>>(230, &ALL).0);
            }
        )*};
    }

    selvedge_digits::each!(goes_on!());
}

net! {
    struct Small: [SIDE, SIDE, 1] {
        entry: conv2d(4, kernel = 3, stride = 2), norm: batch_norm, curve: activation(gelu),
        flat: flatten,
        block: residual { inner: dense(36, activation = tanh) },
        head: dense(10),
    }
}

#[test]
fn every_type_goes_on_to_the_same_bytes() {
    macro_rules! check {
        ($t:ty) => {{
            let (same, counts) = goes_on::<Small<$t, Momentum>>(200, &ALL);
            assert!(same, "{}", stringify!($t));
            // Velocities of four layers, two each. Output and error of convolution, norm, two dense layers
            // and the residual, which has two parts more; the activation's output, the loss.
            let exponents = if <$t as Element>::DTYPE.is_integer() { 14 } else { 0 };
            assert_eq!(counts, [8, exponents, 1], "{}", stringify!($t));
        }};
    }
    for_each_type!(check);
}

#[test]
fn whatever_is_not_kept_is_missed() {
    for missed in ALL {
        let kept: Vec<_> = ALL.into_iter().filter(|kept| *kept != missed).collect();
        assert!(!goes_on::<Small<i8, Momentum>>(200, &kept).0, "{missed:?}");
    }
    // What floats do not have is not missed.
    let kept = [Kept::Velocities, Kept::Running];
    assert!(goes_on::<Small<f32, Momentum>>(200, &kept).0);
}

#[test]
fn counts_of_steps_stay_in_range() {
    struct Hostile;

    impl VisitorMut for Hostile {
        fn parameter<P: Element>(&mut self, _: &mut [P], _: &mut [i8], _: &mut i16) {}

        fn exponent_state(&mut self, state: &mut Option<State>) {
            *state = Some(State {
                exponent: i16::MAX,
                low: u8::MAX,
            });
        }
    }
    let mut trainer = Box::new(Trainer::<Small<i8>, BATCH>::BLANK);
    trainer.init(1).unwrap();
    trainer.network_mut().layers_mut().visit_mut(&mut Hostile);
    train(&mut trainer, 0); // would overflow a count of 8 bits
    let mut lows = Lows(Vec::new());
    trainer.network().layers().visit(&mut lows);
    assert!(!lows.0.is_empty() && lows.0.iter().all(|&low| low < 64));
}

struct Lows(Vec<u8>);

impl Visitor for Lows {
    fn parameter<P: Element>(&mut self, _: &[P], _: &[i8], _: i16) {}

    fn exponent_state(&mut self, state: Option<State>) {
        self.0.extend(state.map(|state| state.low));
    }
}
