//! Networks with several outputs and losses.

use super::with_image;
use selvedge_core::image::Role;
use selvedge_core::network::{
    Activation, Dense, Error, Head, Layer, Loss, Network, Options, Residual, Stream, Tokens,
};
use selvedge_core::ops;
use selvedge_core::session::Session;
use selvedge_core::train::Samples;
use selvedge_core::{Element, Rate, Serial, Sgd};
use selvedge_digits::{BATCH, rate_at, test, train};
use selvedge_kernels::DType;

const TRAINED: Options = Options {
    samples: 4,
    ..super::TRAINED
};

/// A trunk with a regression half-way, within a residual, and classes at the end.
fn two_tasks(weight: i32) -> Network {
    let side = Head::new(Loss::Squared)
        .weight(weight)
        .layer("hidden", Dense::new(3).activation(Activation::Tanh))
        .layer("out", Dense::new(2));
    let block = Residual::default()
        .layer("first", Dense::new(4).activation(Activation::Tanh))
        .layer("side", side)
        .layer("second", Dense::new(4));
    Network::new([3])
        .layer("trunk", Dense::new(4).activation(Activation::Tanh))
        .layer("block", block)
        .layer("seen", Head::untrained())
        .layer("head", Dense::new(3))
}

fn fill(session: &mut Session<'_>) {
    let x = session.input_mut::<f64>(Role::Train, 0).unwrap();
    (x.iter_mut().enumerate()).for_each(|(i, x)| *x = ((i * 7) % 11) as f64 / 8.0 - 0.5);
    let classes = session.input_mut::<u16>(Role::Train, 1).unwrap();
    classes.copy_from_slice(&[2, 0, 1, 1]);
    let asked = session.input_mut::<f64>(Role::Train, 2).unwrap();
    (asked.iter_mut().enumerate()).for_each(|(i, y)| *y = ((i * 5) % 7) as f64 / 4.0 - 0.6);
}

/// Losses of one step at `rate` from these parameters, and the parameters behind it.
fn step(network: &Network, given: Option<&[Vec<f64>]>, rate: Rate) -> ([f64; 2], Vec<Vec<f64>>) {
    let bytes = network.compile(DType::F64, &TRAINED).unwrap();
    with_image(&bytes, |image| {
        let counts =
            [Role::Infer, Role::Train].map(|role| (image.inputs(role), image.outputs(role)));
        assert_eq!(counts, [(1, 3), (3, 5)]); // classes, side, seen, then two losses
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        for (index, elements) in given.into_iter().flatten().enumerate() {
            session.set_parameter(index, elements, 0).unwrap();
        }
        fill(&mut session);
        session.train_step(&Serial, 4, &Sgd::new(rate)).unwrap();
        let losses = [3, 4].map(|at| session.output::<f64>(at).unwrap().data[0]);
        let count = session.parameters();
        let parameters = (0..count).map(|i| session.parameter::<f64>(i).unwrap().data.to_vec());
        (losses, parameters.collect())
    })
}

/// What a step of rate one takes from each parameter is the derivative of the weighted sum of both losses.
#[test]
fn gradients_are_those_of_the_sum_of_losses() {
    const STILL: Rate = Rate {
        mantissa: 0,
        exponent: 0,
    };
    const ONE: Rate = Rate {
        mantissa: 1,
        exponent: 0,
    };
    for weight in [0, -2, 3] {
        let network = two_tasks(weight);
        let (_, before) = step(&network, None, STILL);
        let (_, after) = step(&network, None, ONE);
        let total = |parameters: &[Vec<f64>]| {
            let ([classes, side], _) = step(&network, Some(parameters), STILL);
            classes + side * f64::from(weight).exp2()
        };
        let mut checked = 0;
        for (index, parameter) in before.iter().enumerate() {
            for at in (0..parameter.len()).step_by(3) {
                let moved = |by: f64| {
                    let mut moved = before.clone();
                    moved[index][at] += by;
                    total(&moved)
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let found = parameter[at] - after[index][at];
                let error = (found - expected).abs();
                assert!(
                    error < 1e-7 * (1.0 + expected.abs()),
                    "{index}[{at}]: {found}, {expected}"
                );
                checked += usize::from(expected.abs() > 1e-3);
            }
        }
        assert!(checked > 12, "{checked} derivatives are not nothing");
    }
}

/// A head that asks nothing changes nothing: the same parameters, byte for byte, as without it.
fn is_only_seen<T: Element>() {
    let trunk = Dense::new(8).activation(Activation::Relu);
    let with = |head: Option<Head>| {
        let mut network = Network::new([64]).layer("trunk", trunk.clone());
        let is_there = head.is_some();
        let head = head.unwrap_or_else(Head::untrained);
        let layer = Layer::new("seen", head);
        // Disabled, it keeps its numbers, which address random words.
        network = network.with(if is_there { layer } else { layer.disabled() });
        network.layer("head", Dense::new(10))
    };
    let [seen, without] = [Some(Head::untrained()), None].map(|head| learned::<T>(&with(head)));
    assert!(seen == without, "{}", T::DTYPE);
}

/// A type of its own is that of the head's layers, and changes nothing of what goes on.
#[test]
fn a_head_may_have_a_type_of_its_own() {
    let with = |dtype| {
        let head = Head::untrained().layer("out", Dense::new(3));
        let head = Layer::new("seen", head);
        Network::new([64])
            .layer("trunk", Dense::new(8).activation(Activation::Relu))
            .with(Layer { dtype, ..head })
            .layer("head", Dense::new(10))
    };
    let outputs = |network: &Network| {
        let bytes = network.compile(DType::I8, &TRAINED).unwrap();
        with_image(&bytes, |image| {
            [0, 1].map(|at| image.output(Role::Infer, at).map(|port| port.dtype))
        })
    };
    assert_eq!(outputs(&with(None)), [Some(DType::I16); 2]);
    let floats = with(Some(DType::F32));
    assert_eq!(outputs(&floats), [Some(DType::I16), Some(DType::F32)]);
    let kinds = |network: &Network, options| {
        let bytes = network.compile(DType::I8, options).unwrap();
        with_image(&bytes, |image| image.kinds(Role::Infer).count())
    };
    let headless = Options {
        train: false,
        headless: true,
        ..TRAINED
    };
    assert_eq!(kinds(&floats, &headless), 2);
}

/// Trains so many steps on digits; all outputs that are asked anything are asked the same classes.
fn train_steps<T: Element>(session: &mut Session<'_>, steps: usize, asked: usize) {
    for step in 0..steps {
        let x = session.input_mut::<T>(Role::Train, 0).unwrap();
        let labels: Vec<u16> = (x.chunks_mut(64).enumerate())
            .map(|(i, x)| train().read((step * BATCH + i) % train().len(), x).unwrap())
            .collect();
        for asked in 1..=asked {
            let asked = session.input_mut(Role::Train, asked).unwrap();
            asked.copy_from_slice(&labels);
        }
        session.train_step(&Serial, BATCH, &rate_at(0, 1)).unwrap();
    }
}

/// The parameters after ten steps on digits.
fn learned<T: Element>(network: &Network) -> String {
    let options = Options {
        samples: BATCH,
        ..TRAINED
    };
    let bytes = network.compile(T::DTYPE, &options).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        train_steps::<T>(&mut session, 10, 1);
        session.fingerprint().unwrap().to_string()
    })
}

#[test]
fn an_output_that_is_only_seen_changes_nothing() {
    is_only_seen::<i8>();
    is_only_seen::<u16>();
    is_only_seen::<i32>();
    is_only_seen::<f32>();
}

/// How many of 200 digits each output recognises, after three epochs.
fn recognised<T: Element>() -> [usize; 2] {
    let early = Head::new(Loss::CrossEntropy).layer("digit", Dense::new(10));
    let network = Network::new([64])
        .layer("trunk", Dense::new(24).activation(Activation::Relu))
        .layer("early", early)
        .layer("deep", Dense::new(24).activation(Activation::Relu))
        .layer("head", Dense::new(10));
    let options = Options {
        samples: BATCH,
        ..TRAINED
    };
    let bytes = network.compile(T::DTYPE, &options).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        train_steps::<T>(&mut session, 3 * train().len() / BATCH, 2);
        let mut right = [0; 2];
        for first in (0..200).step_by(BATCH) {
            let x = session.input_mut::<T>(Role::Infer, 0).unwrap();
            let samples = x.chunks_mut(64).enumerate();
            let labels: Vec<u16> = samples
                .map(|(i, x)| test().read(first + i, x).unwrap())
                .collect();
            session.run(&Serial, BATCH).unwrap();
            for (at, right) in right.iter_mut().enumerate() {
                let y = session.output::<T::Head>(at).unwrap().data.chunks(10);
                let largest = y.map(|row| {
                    (0..10)
                        .max_by_key(|&i| (row[i].to_f64() * 1e6) as i64)
                        .unwrap()
                });
                *right += largest
                    .zip(&labels)
                    .filter(|&(a, &b)| a == usize::from(b))
                    .count();
            }
        }
        right
    })
}

#[test]
fn both_outputs_learn() {
    for [deep, early] in [recognised::<i8>(), recognised::<u8>(), recognised::<f32>()] {
        assert!(deep > 150 && early > 150, "{deep} and {early} of 200");
    }
}

/// Deployed without them, a network is what it would be had they never been there.
#[test]
fn what_only_heads_need_is_left_out() {
    let whole = two_tasks(0);
    let mut disabled = whole.clone();
    for path in ["block.side", "seen"] {
        disabled.layer_mut(path).unwrap().disabled = true;
    }
    let run = Options {
        train: false,
        ..TRAINED
    };
    let headless = Options {
        headless: true,
        ..run
    };
    for dtype in [DType::I8, DType::U16, DType::F32] {
        let of = |network: &Network, options| {
            with_image(&network.compile(dtype, options).unwrap(), |image| {
                let mut arena = vec![0; image.arena_bytes()];
                let session = Session::new(image, &mut arena, ops::ALL).unwrap();
                let kinds: Vec<_> = image.kinds(Role::Infer).collect();
                let outputs = image.outputs(Role::Infer);
                let fingerprint = session.fingerprint().unwrap().to_string();
                (
                    kinds,
                    outputs,
                    session.parameters(),
                    image.extent(Role::Infer),
                    fingerprint,
                )
            })
        };
        let expected = of(&disabled, &run);
        assert!(of(&whole, &headless) == expected, "{dtype}");
        let all = of(&whole, &run);
        assert_eq!((all.1, all.2), (3, expected.2 + 4), "{dtype}");
    }
}

#[test]
fn descriptions_have_them_and_errors_name_them() {
    let network = two_tasks(-1);
    let json = network.to_json().unwrap();
    assert_eq!(Network::from_json(&json).unwrap(), network);
    let mut network = network;
    let head = Head::new(Loss::Huber(f32::NAN)).layer("out", Dense::new(2));
    network.layer_mut("block.side").unwrap().layer = head.into();
    let error = network.compile(DType::I8, &TRAINED).unwrap_err();
    assert!(
        matches!(&error, Error::Kernel { path, .. } if path == "block.side"),
        "{error}"
    );
    let heavy = Head::new(Loss::Squared)
        .weight(127)
        .layer("out", Dense::new(2));
    let refused =
        |network: Network, options| network.compile(DType::I8, options).unwrap_err().to_string();
    let error = refused(Network::new([2]).layer("aux", heavy), &TRAINED);
    assert!(
        error.starts_with("aux: ") && error.contains("127"),
        "{error}"
    );
    let last = Network::new([2])
        .layer("digit", Dense::new(2))
        .layer("aux", Head::untrained());
    let error = refused(last, &TRAINED);
    assert!(error.starts_with("aux: expected a layer behind"), "{error}");
    let stream = Stream::new(1).layer("aux", Head::untrained());
    let stream = Network::new([2, 2])
        .layer("stream", stream)
        .layer("head", Dense::new(2));
    let error = refused(stream, &TRAINED);
    assert!(error.starts_with("stream: "), "{error}");
    let ticks = Options {
        step: true,
        ..TRAINED
    };
    let error = refused(two_tasks(0), &ticks);
    assert!(error.starts_with("block.side: "), "{error}");
    let tokens = Network::of_tokens(2, Tokens::U8).layer("aux", Head::untrained());
    let error = refused(tokens, &TRAINED);
    assert!(error.starts_with("aux: "), "{error}");
}
