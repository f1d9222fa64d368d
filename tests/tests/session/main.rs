//! Networks that are described, compiled and run as images, beside their typed twins: the same bytes.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests, which the lint's own rule misses

use selvedge_core::image::{Image, Role};
use selvedge_core::net::{Momentum, Network as Typed};
use selvedge_core::network::{Budget, Dense, Error, Loss, Network, Options};
use selvedge_core::ops;
use selvedge_core::session::Session;
use selvedge_core::train::{Samples, Trainer};
use selvedge_core::{Element, Serial, Sgd};
use selvedge_digits::{BATCH, DigitsCnn, DigitsMlp, EPOCHS, SEED, TRAIN, rate_at, test, train};
use selvedge_kernels::optim::Decay;
use selvedge_kernels::rng::shuffle;
use selvedge_kernels::{bf16, f16};

mod blocks;
mod budgets;
mod custom;
mod described;
mod grid;
mod heads;
mod layers;
mod learning;
mod outside;
mod passes;
mod plans;
mod refusals;
mod scale;
mod sequence;
mod states;
mod steps;
mod twins;
mod types;
mod zoo;

/// The demo's networks.
const CNN: &str = include_str!("../../../digits/networks/cnn.json");
const MLP: &str = include_str!("../../../digits/networks/mlp.json");

const TRAINED: Options = Options {
    samples: BATCH,
    train: true,
    loss: Loss::CrossEntropy,
    accumulate: false,
    momentum: false,
    step: false,
    exact: false,
    headless: false,
    sequence: false,
    seed: SEED,
    budget: Budget::NONE,
};

fn compile<T: Element>(json: &str) -> Vec<u8> {
    let network = Network::from_json(json).unwrap();
    network.compile(T::DTYPE, &TRAINED).unwrap()
}

/// Calls `then` with the image at an address that it may have.
fn with_image<R>(bytes: &[u8], then: impl FnOnce(&Image<'_>) -> R) -> R {
    let room = [vec![0u8; 16], bytes.to_vec()].concat();
    let mut room = room;
    let skipped = room.as_ptr().align_offset(16);
    room.copy_within(16.., skipped);
    then(&Image::parse(&room[skipped..skipped + bytes.len()]).unwrap())
}

/// Parameters after `steps` steps, and the outputs for the first samples of the test part, of an image.
fn of_session<T: Element>(
    json: &str,
    steps: usize,
    sgd: &Sgd,
    budget: Budget,
) -> (String, Vec<T::Head>, i32) {
    let network = Network::from_json(json).unwrap();
    let options = Options {
        momentum: sgd.momentum != 0,
        budget,
        ..TRAINED
    };
    with_image(&network.compile(T::DTYPE, &options).unwrap(), |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let mut order = [0u16; TRAIN];
        shuffle(SEED, 0, &mut order).unwrap();
        for batch in order.chunks(BATCH).take(steps) {
            let mut labels = Vec::new();
            let x = session.input_mut::<T>(Role::Train, 0).unwrap();
            for (x, &sample) in x.chunks_mut(64).zip(batch) {
                labels.push(train().read(sample.into(), x).unwrap());
            }
            let places = session.input_mut::<u16>(Role::Train, 1).unwrap();
            places[..labels.len()].copy_from_slice(&labels);
            session.train_step(&Serial, batch.len(), sgd).unwrap();
        }
        let x = session.input_mut::<T>(Role::Infer, 0).unwrap();
        for (i, x) in x.chunks_mut(64).enumerate() {
            test().read(i, x).unwrap();
        }
        session.run(&Serial, BATCH).unwrap();
        let fingerprint = session.fingerprint().unwrap().to_string();
        let y = session.output::<T::Head>(0).unwrap();
        (fingerprint, y.data.to_vec(), y.exponent)
    })
}

/// The same of a typed network.
fn of_trainer<N: Typed<In = <N as Typed>::Elem>>(
    steps: usize,
    sgd: &Sgd,
) -> (String, Vec<<N::Elem as Element>::Head>, i32) {
    let mut trainer = Box::new(Trainer::<N, BATCH>::BLANK);
    trainer.init(SEED).unwrap();
    let mut order = [0u16; TRAIN];
    shuffle(SEED, 0, &mut order).unwrap();
    for batch in order.chunks(BATCH).take(steps) {
        let mut labels = Vec::new();
        for (x, &sample) in trainer.input_mut().chunks_mut(64).zip(batch) {
            labels.push(train().read(sample.into(), x).unwrap());
        }
        trainer.step(&Serial, &labels, sgd).unwrap();
    }
    for (i, x) in trainer.input_mut().chunks_mut(64).enumerate() {
        test().read(i, x).unwrap();
    }
    let fingerprint = trainer.fingerprint().to_string();
    let y = trainer.predict(&Serial, BATCH).unwrap();
    (fingerprint, y.data.to_vec(), y.exponent)
}

/// An image that is not trained reads its parameters where they lie: the outputs are the same, and the arena holds none.
fn runs_without_masters<T: Element>() {
    let network = Network::from_json(CNN).unwrap();
    let frozen = Options {
        train: false,
        ..TRAINED
    };
    let bytes = network.compile(T::DTYPE, &frozen).unwrap();
    let (expected, arena_of_training) = with_image(&compile::<T>(CNN), |image| {
        (outputs::<T>(image), image.arena_bytes())
    });
    with_image(&bytes, |image| {
        assert_eq!(outputs::<T>(image), expected);
        assert!(!image.has(Role::Train));
        // The parameters are 2,538; what is left are the values of a run: a convolution's input and output.
        let values = BATCH * (8 * 8 * 8 + 4 * 4 * 8) * T::DTYPE.bytes();
        let most = values + 256;
        let found = image.arena_bytes();
        assert!(
            found <= most && found < arena_of_training,
            "{found} bytes, at most {most}"
        );
    });
    assert!(bytes.len() < compile::<T>(CNN).len());
}

/// What an image gives for the first samples of the test part.
fn outputs<T: Element>(image: &Image<'_>) -> (Vec<T::Head>, i32) {
    let mut arena = vec![0; image.arena_bytes()];
    let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
    let x = session.input_mut::<T>(Role::Infer, 0).unwrap();
    for (i, x) in x.chunks_mut(64).enumerate() {
        test().read(i, x).unwrap();
    }
    session.run(&Serial, BATCH).unwrap();
    let y = session.output::<T::Head>(0).unwrap();
    (y.data.to_vec(), y.exponent)
}

macro_rules! twins {
    ($($name:ident: $t:ty;)*) => {$(
        #[test]
        fn $name() {
            // An epoch, the last batch of which is smaller.
            let sgd = rate_at(0, EPOCHS);
            assert_eq!(of_session::<$t>(MLP, 180, &sgd, Budget::NONE), of_trainer::<DigitsMlp<$t>>(180, &sgd));
            assert_eq!(of_session::<$t>(CNN, 40, &sgd, Budget::NONE), of_trainer::<DigitsCnn<$t>>(40, &sgd));
            let sgd = Sgd {
                momentum: 200,
                nesterov: true,
                decay: Some(Decay { mantissa: 3, shift: 12 }),
                ..Sgd::new(sgd.rate.halved(2))
            };
            let typed = of_trainer::<DigitsMlp<$t, Momentum>>(60, &sgd);
            assert_eq!(of_session::<$t>(MLP, 60, &sgd, Budget::NONE), typed);
            runs_without_masters::<$t>();
        }
    )*};
}

twins! {
    an_i8_session_is_its_typed_twin: i8;
    a_u8_session_is_its_typed_twin: u8;
    an_i16_session_is_its_typed_twin: i16;
    a_u16_session_is_its_typed_twin: u16;
    an_i32_session_is_its_typed_twin: i32;
    a_u32_session_is_its_typed_twin: u32;
    an_i64_session_is_its_typed_twin: i64;
    a_u64_session_is_its_typed_twin: u64;
    an_f16_session_is_its_typed_twin: f16;
    a_bf16_session_is_its_typed_twin: bf16;
    an_f32_session_is_its_typed_twin: f32;
    an_f64_session_is_its_typed_twin: f64;
}

/// What has been learned goes on in another image: for one sample, that is only run; or to be trained further.
fn goes_on_elsewhere<T: Element>(json: &str) {
    let network = Network::from_json(json).unwrap();
    let bytes = network.compile(T::DTYPE, &TRAINED).unwrap();
    let sgd = rate_at(0, EPOCHS);
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let step = |session: &mut Session<'_>, first: usize| {
            let mut labels = [0; BATCH];
            let x = session.input_mut::<T>(Role::Train, 0).unwrap();
            for (i, (x, label)) in x.chunks_mut(64).zip(&mut labels).enumerate() {
                *label = train().read(first + i, x).unwrap();
            }
            session
                .input_mut(Role::Train, 1)
                .unwrap()
                .copy_from_slice(&labels);
            session.train_step(&Serial, BATCH, &sgd).unwrap();
        };
        (0..9).for_each(|number| step(&mut session, number * BATCH));
        let frozen = Options {
            train: false,
            samples: 1,
            exact: true,
            ..TRAINED
        };
        let deployed = network
            .compile_trained(T::DTYPE, &frozen, &session)
            .unwrap();
        let further = network
            .compile_trained(T::DTYPE, &TRAINED, &session)
            .unwrap();
        let other = Network::new([64]).layer("a", Dense::new(10));
        assert_eq!(
            other.compile_trained(T::DTYPE, &frozen, &session),
            Err(Error::Session)
        );
        test()
            .read(
                3,
                &mut session.input_mut::<T>(Role::Infer, 0).unwrap()[..64],
            )
            .unwrap();
        session.run(&Serial, 1).unwrap();
        let expected = session.output::<T::Head>(0).unwrap();
        let expected = (expected.data.to_vec(), expected.exponent);
        with_image(&deployed, |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut small = Session::new(image, &mut arena, ops::ALL).unwrap();
            test()
                .read(3, small.input_mut::<T>(Role::Infer, 0).unwrap())
                .unwrap();
            small.run(&Serial, 1).unwrap();
            let found = small.output::<T::Head>(0).unwrap();
            assert!(
                (found.data.to_vec(), found.exponent) == expected,
                "{}",
                T::DTYPE
            );
        });
        step(&mut session, 0);
        with_image(&further, |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut second = Session::new(image, &mut arena, ops::ALL).unwrap();
            assert_eq!(second.steps(), 9);
            step(&mut second, 0);
            let equal = second.fingerprint().unwrap() == session.fingerprint().unwrap();
            assert!(equal, "{}", T::DTYPE);
        });
    });
}

#[test]
fn what_was_learned_goes_on_in_another_image() {
    let separable = include_str!("zoo/separable.json");
    goes_on_elsewhere::<i8>(CNN);
    goes_on_elsewhere::<u16>(separable);
    goes_on_elsewhere::<f32>(separable);
    goes_on_elsewhere::<bf16>(CNN);
}

/// The firmware's images are what the compiler makes: `firmware-examples/train-digits/models/README.md`.
#[test]
fn the_images_of_the_firmware_are_those_of_the_descriptions() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../firmware-examples/train-digits/models"
    );
    for (name, json) in [("cnn", CNN), ("mlp", MLP)] {
        let kept = std::fs::read(format!("{folder}/{name}.svi")).unwrap();
        assert!(
            kept == compile::<i8>(json),
            "{name}.svi is old: see README.md beside it"
        );
    }
}
