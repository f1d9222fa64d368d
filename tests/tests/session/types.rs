//! Layers of other types than their neighbours, and networks that change theirs.

use super::{CNN, TRAINED, with_image};
use selvedge_core::image::{Image, Role};
use selvedge_core::network::{
    Activation, BatchNorm, Branch, Combine, Conv, Dense, Error, Flatten, Layer, Lstm, Network,
    Options, Padding, Parallel, Residual, Sequential, Softmax,
};
use selvedge_core::ops;
use selvedge_core::session::Session;
use selvedge_core::train::Samples;
use selvedge_core::{Element, Rate, Serial, Sgd};
use selvedge_digits::{BATCH, EPOCHS, rate_at, test, train};
use selvedge_kernels::{DType, bf16, f16};

/// The mean loss of the digits of a batch before each step.
fn step<T: Element>(session: &mut Session<'_>, number: usize, sgd: &Sgd) {
    let mut labels = [0; BATCH];
    let x = session.input_mut::<T>(Role::Train, 0).unwrap();
    for (i, (x, label)) in x.chunks_mut(64).zip(&mut labels).enumerate() {
        *label = train().read(number * BATCH + i, x).unwrap();
    }
    let places = session.input_mut(Role::Train, 1).unwrap();
    places.copy_from_slice(&labels);
    session.train_step(&Serial, BATCH, sgd).unwrap();
}

/// How many of the first 320 test digits a session recognises, whose output is of type `H`.
fn right<T: Element, H: Element>(session: &mut Session<'_>) -> usize {
    let mut right = 0;
    for first in (0..320).step_by(BATCH) {
        let [mut labels, mut classes] = [[0; BATCH]; 2];
        let x = session.input_mut::<T>(Role::Infer, 0).unwrap();
        for (i, (x, label)) in x.chunks_mut(64).zip(&mut labels).enumerate() {
            *label = test().read(first + i, x).unwrap();
        }
        session.classify::<H>(&Serial, BATCH, &mut classes).unwrap();
        right += labels
            .iter()
            .zip(classes)
            .filter(|(a, b)| **a == *b)
            .count();
    }
    right
}

/// Two epochs of the demo's training with the rate of the first.
fn learn<T: Element>(session: &mut Session<'_>) {
    let sgd = rate_at(0, EPOCHS);
    for _ in 0..2 {
        (0..90).for_each(|number| step::<T>(session, number, &sgd));
    }
}

fn with_session<R>(bytes: &[u8], then: impl FnOnce(&mut Session<'_>) -> R) -> R {
    with_image(bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        then(&mut Session::new(image, &mut arena, ops::ALL).unwrap())
    })
}

fn cnn() -> Network {
    Network::from_json(CNN).unwrap()
}

/// The demo's network in `T` with its hidden convolution in `U`.
fn learns_around<T: Element, U: Element>() {
    let network = cnn();
    let path = network.layers[2].name.clone();
    let network = network.to_dtype(&path, U::DTYPE).unwrap();
    let bytes = network.compile(T::DTYPE, &TRAINED).unwrap();
    with_session(&bytes, |session| {
        learn::<T>(session);
        let right = right::<T, T::Head>(session);
        // The same types throughout come to 290 and more.
        assert!(right > 270, "{} in {}: {right} of 320", U::DTYPE, T::DTYPE);
    });
}

#[test]
fn a_layer_of_any_type_learns_in_a_network_of_bytes() {
    learns_around::<i8, u8>();
    learns_around::<i8, i16>();
    learns_around::<i8, u16>();
    learns_around::<i8, i32>();
    learns_around::<i8, u64>();
    learns_around::<i8, f16>();
    learns_around::<i8, bf16>();
    learns_around::<i8, f32>();
    learns_around::<i8, f64>();
}

#[test]
fn a_layer_of_bytes_learns_in_a_network_of_any_type() {
    learns_around::<u8, i8>();
    learns_around::<i16, i8>();
    learns_around::<u32, i8>();
    learns_around::<i64, u8>();
    learns_around::<f16, i8>();
    learns_around::<bf16, u8>();
    learns_around::<f32, i8>();
    learns_around::<f64, i8>();
}

#[test]
fn a_network_may_end_in_a_type_of_its_own() {
    let layers = cnn().layers;
    let head = layers.last().unwrap().name.clone();
    let network = cnn().to_dtype(&head, DType::F32).unwrap();
    let bytes = network.compile(DType::I8, &TRAINED).unwrap();
    with_session(&bytes, |session| {
        learn::<i8>(session);
        assert!(right::<i8, f32>(session) > 270);
    });
}

/// In containers, all that is inside has the container's type at its end.
fn nested() -> Network {
    let convs = |dtype| {
        Layer::new(
            "conv",
            Conv::new(4, 3)
                .padding(Padding::Same)
                .activation(Activation::Relu),
        )
        .dtype(dtype)
    };
    let mut left = Branch::new("left");
    left.layers = vec![convs(DType::I16), convs(DType::F32)];
    left.layers[1].name = "second".to_owned();
    let mut right = Branch::new("right");
    right.layers = vec![convs(DType::U8)];
    let both = Parallel::new(Combine::Concat).branch(left).branch(right);
    let inner = Sequential::default()
        .layer("norm", BatchNorm::default())
        .layer(
            "conv",
            Conv::new(8, 3)
                .padding(Padding::Same)
                .activation(Activation::Relu),
        );
    let mut around = Residual::default();
    around
        .layers
        .push(Layer::new("inner", inner).dtype(DType::I16));
    Network::new([8, 8, 1])
        .layer("both", both)
        .layer("around", around)
        .layer("flat", Flatten::default())
        .layer("head", Dense::new(10))
}

#[test]
fn branches_of_different_types_come_together() {
    let network = nested();
    let summary = network.summary(DType::I8, &TRAINED).unwrap();
    let of = |path: &str| {
        let layer = summary.iter().find(|layer| layer.path == path);
        layer.unwrap().dtype
    };
    assert_eq!(of("both.left.conv"), DType::I16);
    assert_eq!(of("both.left.second"), DType::F32);
    assert_eq!(of("both.right.conv"), DType::U8);
    assert_eq!(of("around.inner.norm"), DType::I16);
    assert_eq!(of("head"), DType::I8);
    let bytes = network.compile(DType::I8, &TRAINED).unwrap();
    with_session(&bytes, |session| {
        learn::<i8>(session);
        let right = right::<i8, i16>(session);
        assert!(right > 250, "{right} of 320");
    });
    assert_eq!(
        Network::from_json(&network.to_json().unwrap()).unwrap(),
        network
    );
}

#[test]
fn a_type_that_is_that_of_the_network_changes_nothing() {
    let mut network = cnn();
    let plain = network.compile(DType::U16, &TRAINED).unwrap();
    for layer in &mut network.layers {
        layer.dtype = Some(DType::U16);
    }
    assert!(network.compile(DType::U16, &TRAINED).unwrap() == plain);
}

#[test]
fn conversions_leave_layers_their_numbers() {
    // The head's parameters are drawn by its number.
    let of_head = |network: &Network| {
        let bytes = network.compile(DType::I8, &TRAINED).unwrap();
        with_session(&bytes, |session| {
            let last = session.parameters() - 2;
            session.parameter::<i8>(last).unwrap().data.to_vec()
        })
    };
    let network = cnn();
    let first = network.layers[0].name.clone();
    let other = cnn().to_dtype(&first, DType::F32).unwrap();
    assert_eq!(of_head(&network), of_head(&other));
}

#[test]
fn an_output_that_no_layer_widens_is_widened() {
    let network = Network::new([6])
        .layer("dense", Dense::new(3))
        .layer("softmax", Softmax::default());
    let bytes = network.compile(DType::I8, &Options::default()).unwrap();
    with_session(&bytes, |session| {
        let x = session.input_mut::<i8>(Role::Infer, 0).unwrap();
        x.copy_from_slice(&[90, -20, 0, 127, 3, -66]);
        session.run(&Serial, 1).unwrap();
        let y = session.output::<i16>(0).unwrap();
        let sum: i32 = y.data.iter().map(|&y| i32::from(y)).sum();
        assert_eq!(y.exponent, -15);
        assert!((f64::from(sum) / 32_768.0 - 1.0).abs() < 0.02, "{sum}");
        assert!(y.data.iter().all(|y| y % 256 == 0), "{:?}", y.data);
    });
    // And trains: its error goes back.
    let bytes = network
        .compile(
            DType::I8,
            &Options {
                loss: selvedge_core::network::Loss::Squared,
                ..TRAINED
            },
        )
        .unwrap();
    with_session(&bytes, |session| {
        let before = session.fingerprint().unwrap();
        let x = session.input_mut::<i8>(Role::Train, 0).unwrap();
        x.fill(55);
        session.input_mut::<i16>(Role::Train, 1).unwrap().fill(9000);
        session
            .train_step(
                &Serial,
                BATCH,
                &Sgd::new(Rate {
                    mantissa: 1,
                    exponent: 0,
                }),
            )
            .unwrap();
        assert_ne!(session.fingerprint().unwrap(), before);
    });
}

/// Parameter `index` as numbers, masters without their low bytes.
fn numbers<T: Element>(session: &Session<'_>, index: usize) -> Vec<f64> {
    let parameter = session.parameter::<T>(index).unwrap();
    let unit = 2f64.powi(parameter.exponent);
    parameter.data.iter().map(|x| x.to_f64() * unit).collect()
}

/// A network that has learned in `T`, in `U` and back.
fn changes_type<T: Element, U: Element>(network: &Network, least: usize) {
    let only_run = Options {
        train: false,
        exact: true, // or norms would be folded, and not be there to go on from
        ..TRAINED
    };
    let place = format!("{} to {}", T::DTYPE, U::DTYPE);
    let bytes = network.compile(T::DTYPE, &TRAINED).unwrap();
    with_session(&bytes, |session| {
        learn::<T>(session);
        let before = right::<T, T::Head>(session);
        for options in [TRAINED, only_run] {
            let other = network
                .compile_trained(U::DTYPE, &options, session)
                .unwrap();
            let (right, back) = with_session(&other, |other| {
                let x = other.input_mut::<U>(Role::Infer, 0).unwrap();
                for (i, x) in x.chunks_mut(64).enumerate() {
                    train().read(i, x).unwrap();
                }
                other.calibrate(&Serial, BATCH).unwrap();
                let back = network.compile_trained(T::DTYPE, &TRAINED, other).unwrap();
                (right::<U, U::Head>(other), back)
            });
            assert!(
                right >= before.min(least),
                "{place}: {right} of 320, {before} before"
            );
            with_session(&back, |back| {
                // Biases have types of their own.
                let is_weight = |&index: &usize| back.parameter::<T>(index).is_ok();
                for index in (0..back.parameters()).filter(is_weight) {
                    let (was, is) = (numbers::<T>(session, index), numbers::<T>(back, index));
                    let most = was.iter().fold(0f64, |most, x| most.max(x.abs()));
                    // One unit of the narrower type; twice where a rounding met another.
                    let bits = |dtype: DType, bits: u32| match dtype {
                        DType::F16 => 10,
                        DType::Bf16 => 7,
                        DType::F32 | DType::F64 => 23,
                        _ => bits - 1,
                    };
                    let bits =
                        bits(T::DTYPE, T::MAGNITUDE_BITS).min(bits(U::DTYPE, U::MAGNITUDE_BITS));
                    let bound = most * 2f64.powi(1 - bits as i32);
                    for (was, is) in was.into_iter().zip(is) {
                        assert!((was - is).abs() <= bound, "{place}: {was} is {is} now");
                    }
                }
            });
        }
    });
}

#[test]
fn a_trained_network_changes_its_type_and_back() {
    changes_type::<f32, i8>(&cnn(), 290);
    changes_type::<f32, u8>(&cnn(), 290);
    changes_type::<i8, f32>(&cnn(), 290);
    changes_type::<i8, i16>(&cnn(), 290);
    changes_type::<u16, bf16>(&cnn(), 290);
    changes_type::<f64, u32>(&cnn(), 290);
    changes_type::<i64, f16>(&cnn(), 290);
    let separable = Network::from_json(include_str!("zoo/separable.json")).unwrap();
    changes_type::<f32, i16>(&separable, 260); // with running statistics
    changes_type::<i16, f32>(&separable, 260);
}

#[test]
fn there_and_back_in_a_wider_type_no_number_changes() {
    let network = cnn();
    let bytes = network.compile(DType::I8, &TRAINED).unwrap();
    with_session(&bytes, |session| {
        learn::<i8>(session);
        for wider in [DType::I16, DType::U32, DType::I64, DType::F32, DType::F64] {
            let there = network.compile_trained(wider, &TRAINED, session).unwrap();
            let back = with_session(&there, |there| {
                network.compile_trained(DType::I8, &TRAINED, there).unwrap()
            });
            let again = with_session(&back, |back| {
                network.compile_trained(wider, &TRAINED, back).unwrap()
            });
            // Masters are the same numbers, and so are images of them.
            assert!(again == there, "{wider}");
        }
    });
}

/// One layer of a trained network changes its type, and goes on learning.
#[test]
fn one_layer_changes_its_type() {
    let network = cnn();
    let path = network.layers[2].name.clone();
    let bytes = network.compile(DType::F32, &TRAINED).unwrap();
    with_session(&bytes, |session| {
        learn::<f32>(session);
        let before = right::<f32, f32>(session);
        let narrow = cnn().to_dtype(&path, DType::I8).unwrap();
        let bytes = narrow
            .compile_trained(DType::F32, &TRAINED, session)
            .unwrap();
        with_session(&bytes, |narrow| {
            step::<f32>(narrow, 0, &Sgd::STILL); // exponents
            let found = right::<f32, f32>(narrow);
            assert!(found + 10 >= before, "{found} of 320, {before} before");
            learn::<f32>(narrow);
            assert!(right::<f32, f32>(narrow) + 10 >= before);
        });
    });
}

#[test]
fn recurrent_layers_change_their_type() {
    let network = Network::new([8, 8])
        .layer("lstm", Lstm::new(24))
        .layer("flat", Flatten::default())
        .layer("head", Dense::new(10));
    changes_type::<f32, i16>(&network, 250);
    changes_type::<i8, f32>(&network, 250);
}

#[test]
fn calibration_makes_samples_independent() {
    let network = cnn();
    let bytes = network.compile(DType::F32, &TRAINED).unwrap();
    let narrow = with_session(&bytes, |session| {
        learn::<f32>(session);
        network
            .compile_trained(DType::I8, &TRAINED, session)
            .unwrap()
    });
    let output = |image: &Image<'_>, calibrates: bool, beside: i8| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        if calibrates {
            let x = session.input_mut::<i8>(Role::Infer, 0).unwrap();
            for (i, x) in x.chunks_mut(64).enumerate() {
                train().read(i, x).unwrap();
            }
            session.calibrate(&Serial, BATCH).unwrap();
        }
        let x = session.input_mut::<i8>(Role::Infer, 0).unwrap();
        test().read(0, &mut x[..64]).unwrap();
        x[64..128].fill(beside);
        session.run(&Serial, 2).unwrap();
        let y = session.output::<i16>(0).unwrap();
        (y.data[..10].to_vec(), y.exponent)
    };
    with_image(&narrow, |image| {
        assert_eq!(output(image, true, 1), output(image, true, 127));
    });
}

#[test]
fn types_that_cannot_be_are_refused() {
    let text = r#"{"input": [4], "layers": [{"name": "a", "dtype": "int4", "type": "dense", "outputs": 2}]}"#;
    let error = Network::from_json(text).unwrap_err().to_string();
    assert!(
        error.contains("no type `int4`; there are i8, u8,"),
        "{error}"
    );
    let network = Network::new([4]).layer("a", Dense::new(2));
    assert_eq!(
        network.clone().to_dtype("a.b", DType::I8),
        Err(Error::Attribute {
            path: "a.b".into(),
            expected: "the path of a layer".into(),
            found: "none".into(),
        })
    );
    // Weights that are shared are of one type.
    let network = Network::new([4])
        .layer("a", Dense::new(4))
        .with(Layer::new("b", Dense::new(4)).shares("a").dtype(DType::I16))
        .layer("head", Dense::new(2));
    let error = network.compile(DType::I8, &TRAINED).unwrap_err();
    assert_eq!(
        error.to_string(),
        "b: expected parameters of the extents that `a` has, found others"
    );
    // Another network, even of as many tensors.
    let bytes = Network::new([4])
        .layer("a", Dense::new(2))
        .compile(DType::I8, &TRAINED)
        .unwrap();
    with_session(&bytes, |session| {
        let other = Network::new([4]).layer("a", Dense::new(3));
        for dtype in [DType::I8, DType::F32] {
            assert_eq!(
                other.compile_trained(dtype, &TRAINED, session),
                Err(Error::Session)
            );
        }
    });
}

#[test]
fn what_converts_is_linked_by_pairs() {
    let network = Network::new([4])
        .layer("a", Dense::new(4))
        .with(Layer::new("b", Dense::new(2)).dtype(DType::F32));
    let bytes = network.compile(DType::I8, &Options::default()).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let registry: ops::Registry<'_> = &[
            ops::dense::run::<i8>(),
            ops::dense::run::<f32>(),
            ops::convert::run::<f32, i8>(),
        ];
        let error = Session::new(image, &mut arena, registry).unwrap_err();
        assert!(error.to_string().contains("convert"), "{error}");
        let registry: ops::Registry<'_> = &[
            ops::dense::run::<i8>(),
            ops::dense::run::<f32>(),
            ops::convert::run::<i8, f32>(),
        ];
        assert!(Session::new(image, &mut arena, registry).is_ok());
    });
}
