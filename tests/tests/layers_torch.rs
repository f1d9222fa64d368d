//! Typed layers and small networks of them against PyTorch, in `f32` and `f64`: outputs, errors and gradients
//! of parameters. `golden/torch/layers.json`, made by `make_layers.py` beside it.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_core::net::{
    AveragePool, Concat, Conv, Dense, Fork, Layer, MaxPool, PadCeil, Product, Relu, Residual, Same,
    Sigmoid, Skip, Slide, Step, Stitch, Tanh,
};
use selvedge_core::tensor::{D1, D2, D3, D4};
use selvedge_core::{Rate, Sgd};
use selvedge_kernels::Element;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_tests::compare::assert_within;
use selvedge_tests::layers::Driven;
use selvedge_tests::{golden, tolerance};
use serde::Deserialize;

/// Samples of a batch.
const BATCH: usize = 3;

/// A case as `make_layers.py` writes it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    x: Vec<f64>,
    y: Vec<f64>,
    dy: Vec<f64>,
    dx: Vec<f64>,
    /// In the order of the layers, weights before bias.
    parameters: Vec<f64>,
    gradients: Vec<f64>,
}

fn cases() -> Vec<Case> {
    let file = golden::read("torch/layers.json");
    serde_json::from_value(file["cases"].clone()).unwrap()
}

/// Runs a layer forward, then backward with an update at a rate of 1: a parameter less its gradient.
fn replay<L: Layer<In = <L as Layer>::Elem>>(case: &Case, tolerance: f64) {
    let place = format!("{} in {}", case.name, L::Elem::DTYPE);
    let mut driven = Driven::<L, BATCH>::new(1);
    driven.sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: 0,
    });
    driven.set_parameters(&case.parameters);
    assert_eq!(driven.parameters(), case.parameters, "{place}: parameters");
    let y = driven.forward(&case.x);
    assert_within(&place, &case.y, &y, |_| tolerance);
    let dx = driven.backward(&case.dy);
    assert_within(&format!("{place}, dx"), &case.dx, &dx, |_| tolerance);
    let updated: Vec<f64> = case
        .parameters
        .iter()
        .zip(&case.gradients)
        .map(|(parameter, gradient)| parameter - gradient)
        .collect();
    let place = format!("{place}, updated parameters");
    assert_within(&place, &updated, &driven.parameters(), |_| tolerance);

    // The first layer of a network is not asked for an error, and learns the same.
    driven.set_parameters(&case.parameters);
    driven.forward(&case.x);
    driven.update_with(&case.dy, 0);
    assert_within(&place, &updated, &driven.parameters(), |_| tolerance);
}

type Image<const CHANNELS: usize> = D3<4, 3, CHANNELS>;
type Views<T> = Fork<Dense<T, 6, 4, Relu>, Dense<T, 6, 3>, Concat<D1<7>>>;
type Wider<T> = Fork<
    Conv<T, Image<2>, D4<3, 3, 3, 2>, Image<3>, Slide<1, 1>>,
    Skip<T, Image<2>>,
    Concat<Image<5>>,
>;

fn replay_in<T: Element>(case: &Case, tolerance: f64) {
    match case.name.as_str() {
        "dense" => replay::<Dense<T, 7, 5>>(case, tolerance),
        "wide" => replay::<Dense<T, 20, 9>>(case, tolerance),
        "stitch" => replay::<(Views<T>, Stitch<T, 7, 5>)>(case, tolerance),
        "residual" => {
            replay::<Residual<(Dense<T, 6, 8, Relu>, Dense<T, 8, 6>)>>(case, tolerance);
        }
        "shortcut" => {
            replay::<Residual<Dense<T, 6, 5, Tanh>, Dense<T, 6, 5>>>(case, tolerance);
        }
        "gate" => {
            replay::<Fork<Skip<T, D1<6>>, Dense<T, 6, 6, Sigmoid>, Product>>(case, tolerance);
        }
        "concat" => replay::<Wider<T>>(case, tolerance),
        "same" => {
            type Spread<T> = Conv<T, D3<5, 4, 2>, D4<3, 2, 3, 2>, D3<5, 4, 3>, Same>;
            replay::<Spread<T>>(case, tolerance);
        }
        "ceil_max" => {
            type Halve<T> = MaxPool<T, D2<7, 2>, D2<4, 2>, D1<2>, Step<2, 2, PadCeil>>;
            replay::<Halve<T>>(case, tolerance);
        }
        "ceil_left_out" => {
            type Third<T> = MaxPool<T, D2<7, 2>, D2<3, 2>, D1<2>, Step<3, 3, PadCeil<1>>>;
            replay::<Third<T>>(case, tolerance);
        }
        "ceil_average" => {
            type Halve<T> =
                AveragePool<T, D3<5, 4, 2>, D3<3, 3, 2>, D2<3, 3>, Step<2, 2, PadCeil<1>>, false>;
            replay::<Halve<T>>(case, tolerance);
        }
        name => panic!("no layer {name}"),
    }
}

#[test]
fn layers_are_those_of_pytorch() {
    let cases = cases();
    assert_eq!(cases.len(), 11);
    for case in cases {
        replay_in::<f64>(&case, tolerance::TORCH_F64);
        replay_in::<f32>(&case, tolerance::TORCH_F32);
    }
}

/// The kernels alone: sums of products of multiples of 1/8 are exact.
fn kernels_are_exact<T: Element<Bias = T, Acc = T> + Output<T>>(
    case: &Case,
    [inputs, outputs]: [usize; 2],
) {
    let shape = dense::Shape {
        batch: BATCH,
        inputs,
        outputs,
    };
    let of = |values: &[f64]| -> Vec<T> { values.iter().map(|&x| T::from_f64(x)).collect() };
    let (x, dy, parameters) = (of(&case.x), of(&case.dy), of(&case.parameters));
    let (weight, values) = parameters.split_at(inputs * outputs);
    let bias = Bias { values, shift: 0 };
    let mut y = of(&vec![0.5; dy.len()]);
    dense::forward(
        &Serial,
        shape,
        &x,
        weight,
        bias,
        Epilogue::EXACT,
        &mut y,
        &mut [],
    )
    .unwrap();
    let mut dx = of(&vec![0.5; x.len()]);
    dense::backward_input(&Serial, shape, &dy, weight, Store::EXACT, &mut dx).unwrap();
    let mut gradients = of(&vec![0.5; parameters.len()]);
    let (dw, db) = gradients.split_at_mut(weight.len());
    dense::backward_weight(shape, &x, &dy, &mut Gradient::Store(dw)).unwrap();
    dense::backward_bias::<T>(outputs, &dy, &mut Gradient::Store(db)).unwrap();
    for (what, got, want) in [
        ("y", y, &case.y),
        ("dx", dx, &case.dx),
        ("gradients", gradients, &case.gradients),
    ] {
        assert_eq!(got, of(want), "{} in {}, {what}", case.name, T::DTYPE);
    }
}

#[test]
fn dense_kernels_are_those_of_pytorch() {
    for (case, extents) in cases().iter().zip([[7, 5], [20, 9]]) {
        assert!(["dense", "wide"].contains(&case.name.as_str()));
        kernels_are_exact::<f64>(case, extents);
        kernels_are_exact::<f32>(case, extents);
    }
}
