//! Grids of cells: what training and batches do to them, and what their keys mean.

mod cases;
mod refusals;

use super::with_image;
use cases::CASES;
use selvedge_core::DType;
use selvedge_core::image::Role;
use selvedge_core::network::{
    Activation, Budget, Description, Layer, Loss, Network, Options, Tokens, Type,
};
use selvedge_core::session::Session;
use selvedge_core::{Element, Rate, Serial, Sgd, ops};

/// A cell with these layers.
fn cell(keys: &str, layers: &[&str]) -> String {
    let (count, layers) = (layers.len(), layers.join(", "));
    format!(
        r#"{{{keys} "grid_rows": 1, "grid_cols": 1, "layers_per_cell": {count}, "layers": [{layers}]}}"#
    )
}

fn read(layers: &[&str]) -> Network {
    let text = cell("", layers);
    Network::from_json(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn image(network: &Network, dtype: DType, options: &Options) -> Vec<u8> {
    let bytes = network.compile(dtype, options);
    bytes.unwrap_or_else(|error| panic!("{error}: {network:?}"))
}

const SAMPLES: usize = 2;
const TRAINED: Options = Options {
    samples: SAMPLES,
    train: true,
    loss: Loss::Squared,
    accumulate: false,
    momentum: false,
    seed: 3,
    step: false,
    exact: false,
    headless: false,
    sequence: false,
    budget: Budget::NONE,
};
/// Fills the input: numbers that are all different, or tokens.
fn fill<T: Element>(session: &mut Session<'_>, role: Role, network: &Network, first: usize) {
    if network.tokens == Some(Tokens::U16) {
        let x = session.input_mut::<u16>(role, 0).unwrap();
        x.iter_mut()
            .zip(first..)
            .for_each(|(x, i)| *x = (37 * i % 300) as u16);
    } else {
        let x = session.input_mut::<T>(role, 0).unwrap();
        let each = x.len() / SAMPLES;
        let pixel = |i: usize| T::from_pixel((29 * (i + first * each) % 251) as u8);
        x.iter_mut().zip(0..).for_each(|(x, i)| *x = pixel(i));
    }
}

/// The outputs of so many samples.
fn outputs(network: &Network, session: &mut Session<'_>, first: usize, samples: usize) -> Vec<f32> {
    let width = if network.tokens.is_some() { 5 } else { 1 };
    fill::<f32>(session, Role::Infer, network, first * width);
    session.run(&Serial, samples).unwrap();
    session.output::<f32>(0).unwrap().data.to_vec()
}

/// Faults of the reference: batches that were one long sample, sequences that ran dense layers alone, layers that gave
/// zeros, and parameters that nothing trained.
#[test]
fn samples_do_not_see_each_other_and_everything_learns() {
    for case in CASES {
        let network = read(case.file);
        with_image(&image(&network, DType::F32, &TRAINED), |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            let all: Vec<Vec<f32>> = (0..session.parameters())
                .map(|i| session.parameter(i).unwrap().data.to_vec())
                .collect();
            let both = outputs(&network, &mut session, 0, SAMPLES);
            let alone = [0, 1].map(|first| outputs(&network, &mut session, first, 1));
            assert_eq!(both, alone.concat(), "{}", case.name);
            assert!(
                both.iter().all(|y| y.is_finite()),
                "{}: {both:?}",
                case.name
            );
            assert_ne!(alone[0], alone[1], "{}: the input counts", case.name);

            let sgd = Sgd::new(Rate {
                mantissa: 1,
                exponent: -2,
            });
            for step in 0..20 {
                fill::<f32>(&mut session, Role::Train, &network, 3 * step);
                let targets = session.input_mut::<f32>(Role::Train, 1).unwrap();
                targets
                    .iter_mut()
                    .zip(0..)
                    .for_each(|(y, i)| *y = f32::from(i as u8 % 3) - 1.0);
                session.train_step(&Serial, SAMPLES, &sgd).unwrap();
            }
            let frozen = network
                .layers
                .iter()
                .take_while(|layer| layer.frozen)
                .count();
            for (i, before) in all.iter().enumerate() {
                let after = session.parameter::<f32>(i).unwrap().data;
                let is_frozen = i < 2 * frozen;
                assert_eq!(before == after, is_frozen, "{}: parameter {i}", case.name);
            }
        });
    }
}

#[test]
fn integers_learn_too() {
    for case in CASES {
        let network = read(case.file);
        with_image(&image(&network, DType::I8, &TRAINED), |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            let sgd = Sgd::new(Rate {
                mantissa: 1,
                exponent: -4,
            });
            let mut run = |steps: usize| {
                let mut loss = 0;
                for _ in 0..steps {
                    fill::<i8>(&mut session, Role::Train, &network, 0);
                    let targets = session.input_mut::<i16>(Role::Train, 1).unwrap();
                    let pixels = [200, 20, 90, 10, 160, 240];
                    targets
                        .iter_mut()
                        .zip(pixels)
                        .for_each(|(y, pixel)| *y = i16::from_pixel(pixel));
                    session.train_step(&Serial, SAMPLES, &sgd).unwrap();
                    loss = session.output::<i64>(1).unwrap().data[0];
                }
                loss
            };
            let (first, last) = (run(1), run(200));
            assert!(last < first * 3 / 4, "{}: {first} to {last}", case.name);
        });
    }
}

/// `(row · columns + column) · layers + layer` is the place of a layer in the list.
#[test]
fn cells_are_in_order() {
    let widths = [3, 5, 4, 6, 2, 7, 3, 4, 6, 5, 4, 8, 3];
    let layers: Vec<String> = widths
        .windows(2)
        .zip(["relu", "sigmoid", "tanh", "softplus"].iter().cycle())
        .map(|(widths, activation)| {
            let [inputs, outputs] = widths else { unreachable!() };
            format!(r#"{{"type": "dense", "input_size": {inputs}, "output_size": {outputs}, "activation": "{activation}"}}"#)
        })
        .collect();
    let text = format!(
        r#"{{"id": "grid", "dtype": "int16", "batch_size": 5, "seed": 11, "grid_rows": 2, "grid_cols": 3, "layers_per_cell": 2,
             "layers": [{}]}}"#,
        layers.join(", ")
    );
    let description = Description::from_json(text.as_bytes()).unwrap();
    assert_eq!(description.dtype(), Some(DType::I16));
    assert_eq!(
        (description.options.samples, description.options.seed),
        (5, 11)
    );
    let network = &description.network;
    assert_eq!(*network, Network::from_json(&text).unwrap());
    assert_eq!(network.input, [3]);
    let name = |i: usize| format!("{}_{}_{}", i / 6, i / 2 % 3, i % 2);
    for (i, layer) in network.layers.iter().enumerate() {
        assert_eq!(layer.name, name(i));
        match &layer.layer {
            Type::Dense(dense) => assert_eq!(dense.outputs, widths[i + 1]),
            other => panic!("{other:?}"),
        }
    }
    // A layer by itself says what its part of the chain is: all of them in a row are the whole.
    let chain = network
        .layers
        .iter()
        .fold(Network::new([3]), |mut chain, layer| {
            chain.layers.push(Layer::new(
                format!("x{}", chain.layers.len()),
                layer.layer.clone(),
            ));
            chain
        });
    assert_eq!(
        image(&chain, DType::F32, &description.options),
        image(network, DType::F32, &description.options)
    );
}

#[test]
fn the_example_of_the_reference_builds() {
    let text = r#"{ "id":"demo", "dtype":"float32", "batch_size":1, "grid_rows":1, "grid_cols":1, "layers_per_cell":2,
      "layers":[ {"type":"dense","input_size":8,"output_size":16,"activation":"leaky_relu"},
                 {"type":"dense","input_size":16,"output_size":4,"activation":"sigmoid"} ] }"#;
    let description = Description::from_json(text.as_bytes()).unwrap();
    assert_eq!(description.dtype(), Some(DType::F32));
    with_image(
        &image(&description.network, DType::F32, &description.options),
        |image| {
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            session.input_mut::<f32>(Role::Infer, 0).unwrap().fill(0.5);
            session.run(&Serial, 1).unwrap();
            let y = session.output::<f32>(0).unwrap().data;
            assert!(
                y.len() == 4 && y.iter().all(|y| (0.0..1.0).contains(y)),
                "{y:?}"
            );
        },
    );
}

fn activation_of(keys: &str, name: &str) -> Activation {
    let layer = format!(r#"{{"type": "dense", "input_size": 2, "output_size": 2{name}}}"#);
    let network = Network::from_json(&cell(keys, &[&layer])).unwrap();
    match &network.layers[0].layer {
        Type::Dense(dense) => dense.activation,
        other => panic!("{other:?}"),
    }
}

/// A linear layer stays one, and `relu` is what it says, unless the file asks for the reference's.
#[test]
fn activations_mean_what_they_say() {
    let named = |name: &str| activation_of("", &format!(r#", "activation": "{name}""#));
    let compat = |name: &str| {
        activation_of(
            r#""compat_loom": true,"#,
            &format!(r#", "activation": "{name}""#),
        )
    };
    assert_eq!([named("linear"), compat("linear")], [Activation::None; 2]);
    assert_eq!(
        [named("relu"), compat("relu")],
        [Activation::Relu, Activation::ScaledRelu]
    );
    assert_eq!(
        [named("scaled_relu"), compat("scaled_relu")],
        [Activation::ScaledRelu; 2]
    );
    assert_eq!([named("tanh"), compat("tanh")], [Activation::Tanh; 2]);
    assert_eq!(activation_of("", ""), Activation::None);
    assert_eq!(
        activation_of(r#""compat_loom": true,"#, ""),
        Activation::ScaledRelu
    );
}

#[test]
fn a_seed_makes_a_network_once_and_for_all() {
    let layers = [r#"{"type": "dense", "input_size": 4, "output_size": 4}"#];
    let image_of = |seed: &str| {
        let text = cell(&format!(r#""seed": {seed},"#), &layers);
        let description = Description::from_json(text.as_bytes()).unwrap();
        image(&description.network, DType::F32, &description.options)
    };
    assert_eq!(image_of("5"), image_of("5"));
    assert_ne!(image_of("5"), image_of("6"));
}
