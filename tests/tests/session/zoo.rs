//! The networks of the zoo, described: the same bytes as their typed twins.

use super::with_image;
use selvedge_core::image::{Image, Role};
use selvedge_core::net::{Layer, Network as Typed, Plain};
use selvedge_core::network::{Budget, Error, Loss, Network, Options};
use selvedge_core::ops;
use selvedge_core::session::Session;
use selvedge_core::tensor::Shape;
use selvedge_core::train::{Samples, Trainer};
use selvedge_core::{Element, Rate, Serial, Sgd};
use selvedge_digits::zoo::{self, BATCH, Given, STEPS};
use selvedge_digits::{Digits, SEED, SIDE, test, train};
use selvedge_kernels::DType;

/// Parameters after the training of the zoo, and the outputs for the first digits of the test part.
type Trained<T> = (String, Vec<<T as Element>::Head>, i32);

fn of_trainer<N: Typed<In: Given<<N as Typed>::Elem>>>() -> Trained<N::Elem> {
    let mut trainer = Box::new(Trainer::<N, BATCH>::BLANK);
    zoo::train(&mut trainer, &Serial).unwrap();
    let each = trainer.input_mut().len() / BATCH;
    for (i, x) in trainer.input_mut().chunks_mut(each).enumerate() {
        N::In::read(&test(), i, x, &mut [0; 8]);
    }
    let fingerprint = trainer.fingerprint().to_string();
    let y = trainer.predict(&Serial, BATCH).unwrap();
    (fingerprint, y.data.to_vec(), y.exponent)
}

/// Puts a batch from the digit `first` on into the inputs.
fn read<T: Element, I: Element + Given<T>>(
    session: &mut Session<'_>,
    role: Role,
    digits: &Digits,
    first: usize,
) -> Vec<u16> {
    let mut labels = Vec::new();
    let x = session.input_mut::<I>(role, 0).unwrap();
    let each = x.len() / BATCH;
    for (index, x) in (first..).zip(x.chunks_mut(each)) {
        let mut of_sample = [0; 8];
        I::read(digits, index, x, &mut of_sample);
        labels.push(of_sample);
    }
    labels.as_flattened().to_vec()
}

/// Puts the same images into what is asked.
fn ask<T: Element>(session: &mut Session<'_>, first: usize) {
    let targets = session.input_mut::<T::Head>(Role::Train, 1).unwrap();
    for (index, target) in (first..).zip(targets.chunks_mut(SIDE * SIDE)) {
        train().read(index, target).unwrap();
    }
}

fn of_session<T: Element, I: Element + Given<T>>(
    image: &Image<'_>,
    is_autoencoder: bool,
) -> Trained<T> {
    let mut arena = vec![0; image.arena_bytes()];
    let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: -5,
    });
    for step in 0..STEPS as usize {
        let labels = read::<T, I>(&mut session, Role::Train, &train(), step * BATCH);
        if is_autoencoder {
            ask::<T>(&mut session, step * BATCH);
        } else {
            let asked = session.input_mut::<u16>(Role::Train, 1).unwrap();
            let each = asked.len() / BATCH;
            for (asked, labels) in asked.chunks_mut(each).zip(labels.chunks(8)) {
                asked.copy_from_slice(&labels[..each]);
            }
        }
        if image.has(Role::Update) {
            session.accumulate(&Serial, BATCH).unwrap();
            session.update(&Serial, &sgd).unwrap();
        } else {
            session.train_step(&Serial, BATCH, &sgd).unwrap();
        }
    }
    read::<T, I>(&mut session, Role::Infer, &test(), 0);
    session.run(&Serial, BATCH).unwrap();
    let fingerprint = session.fingerprint().unwrap().to_string();
    let y = session.output::<T::Head>(0).unwrap();
    (fingerprint, y.data.to_vec(), y.exponent)
}

/// Elements as bytes, which are equal where numbers are none: at the zoo's rate the decoder diverges in `f32`.
pub(super) fn bits<T: Element>(elements: &[T]) -> Vec<u8> {
    let mut all = Vec::new();
    for element in elements {
        element.le_bytes(|bytes| all.extend_from_slice(bytes));
    }
    all
}

/// The same bytes as the typed network `N`, also where gradients are stored, and applied by an operator of their own, and where
/// activations are computed again.
pub(super) fn check<N: Typed<In: Given<<N as Typed>::Elem> + Element>>(name: &str, json: &str) {
    check_options::<N>(name, json, |network, plain| {
        let accumulate = Options {
            accumulate: true,
            ..plain
        };
        let budget = Options {
            budget: smallest(network, N::Elem::DTYPE, plain),
            ..plain
        };
        vec![plain, accumulate, budget]
    });
}

/// The same bytes as the typed network `N`.
pub(super) fn check_plain<N: Typed<In: Given<<N as Typed>::Elem> + Element>>(
    name: &str,
    json: &str,
) {
    check_options::<N>(name, json, |_, plain| vec![plain]);
}

fn check_options<N: Typed<In: Given<<N as Typed>::Elem> + Element>>(
    name: &str,
    json: &str,
    options: impl Fn(&Network, Options) -> Vec<Options>,
) {
    let network = Network::from_json(json).unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = network.to_json().unwrap();
    assert_eq!(Network::from_json(&text).unwrap(), network, "{name}: JSON");
    let is_autoencoder = <N::Layers as Layer>::Output::LEN == SIDE * SIDE;
    let (dtype, expected) = (N::Elem::DTYPE, of_trainer::<N>());
    let plain = Options {
        samples: BATCH,
        train: true,
        loss: if is_autoencoder {
            Loss::Huber(1.0)
        } else {
            Loss::CrossEntropy
        },
        seed: SEED,
        ..Options::default()
    };
    for options in options(&network, plain) {
        let bytes = network.compile(dtype, &options);
        let bytes = bytes.unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = with_image(&bytes, |image| {
            of_session::<N::Elem, N::In>(image, is_autoencoder)
        });
        let place = format!("{name} in {dtype}, {options:?}");
        assert_eq!(found.0, expected.0, "{place}: parameters");
        assert_eq!(bits(&found.1), bits(&expected.1), "{place}: outputs");
        assert_eq!(found.2, expected.2, "{place}: exponent");
    }
}

/// The smallest budget that `network` fits.
pub(super) fn smallest(network: &Network, dtype: DType, options: Options) -> Budget {
    let none = Options {
        budget: Budget::bytes(1),
        ..options
    };
    match network.compile(dtype, &none) {
        Err(Error::Budget { needed, budget: 1 }) => Budget::bytes(needed),
        other => panic!("a budget of one byte: {other:?}"),
    }
}

/// Checks the network `$typed` in all types; one of 8-bit tokens in all but `u8`, where they could not be told from pixels.
macro_rules! in_all_types {
    ($name:expr, $json:expr, $($typed:ident)::+) => {
        in_all_types!($name, $json, $($typed)::+, tokens);
        $crate::zoo::check_plain::<$($typed)::+<u8, Plain>>($name, $json);
    };
    ($name:expr, $json:expr, $($typed:ident)::+, tokens) => {
        use $crate::zoo::{check, check_plain};
        check::<$($typed)::+<i8, Plain>>($name, $json);
        check::<$($typed)::+<u16, Plain>>($name, $json);
        check::<$($typed)::+<f32, Plain>>($name, $json);
        check_plain::<$($typed)::+<i16, Plain>>($name, $json);
        check_plain::<$($typed)::+<i32, Plain>>($name, $json);
        check_plain::<$($typed)::+<u32, Plain>>($name, $json);
        check_plain::<$($typed)::+<i64, Plain>>($name, $json);
        check_plain::<$($typed)::+<u64, Plain>>($name, $json);
        check_plain::<$($typed)::+<selvedge_kernels::f16, Plain>>($name, $json);
        check_plain::<$($typed)::+<selvedge_kernels::bf16, Plain>>($name, $json);
        check_plain::<$($typed)::+<f64, Plain>>($name, $json);
    };
}
pub(super) use in_all_types;

macro_rules! twins {
    ($($name:ident: $typed:ident $($tokens:ident)?;)*) => {$(
        #[test]
        fn $name() {
            let json = include_str!(concat!("zoo/", stringify!($name), ".json"));
            in_all_types!(stringify!($name), json, zoo::$typed $(, $tokens)?);
        }
    )*};
}

twins! {
    perceptron: Perceptron;
    lenet: LeNet;
    separable: Separable;
    residual: Residual;
    mobile: Mobile;
    hourglass: Hourglass;
    signal: Signal;
    decoder: Decoder tokens;
    rows: Rows;
    speller: Speller tokens;
    clusters: Clusters;
    volume: Volume;
    moves: Moves;
    parts: Parts;
    shares: Shares;
    experts: Experts;
}

#[test]
fn audio() {
    let json = include_str!("zoo/audio.json");
    check::<zoo::Audio<i16, Plain>>("audio", json);
    check::<zoo::Audio<u16, Plain>>("audio", json);
}
