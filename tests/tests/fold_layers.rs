//! Batch normalisation folded into the layer before it: the layer alone gives what both gave, within what storing
//! its weights and output costs.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_core::Element;
use selvedge_core::net::{
    BatchNorm, Conv, ConvTranspose, Dense, Fold, Identity, Layer, Momentum, Same, Slide, Visitor,
};
use selvedge_core::tensor::{D1, D2, D3, D4, D5, Shape};
use selvedge_kernels::batch_norm::Running;
use selvedge_kernels::scale::State;
use selvedge_tests::compare::values;
use selvedge_tests::for_each_type;
use selvedge_tests::layers::{Driven, rounded};
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::rounding;

/// What a layer holds.
#[derive(Default)]
struct Held {
    /// Values and exponent of each parameter.
    parameters: Vec<(Vec<f64>, i32)>,
    velocities: Vec<f64>,
    residuals: Vec<i8>,
    states: Vec<Option<State>>,
    /// Mean and variance of each channel.
    running: Vec<(f64, f64)>,
}

impl Held {
    fn of<L: Layer<In = <L as Layer>::Elem>>(layer: &L) -> Self {
        let mut held = Self::default();
        layer.visit(&mut held);
        held
    }

    /// The largest magnitude of a parameter.
    fn largest(&self, parameter: usize) -> f64 {
        largest(self.parameters[parameter].0.iter().copied())
    }

    /// Half a unit of a parameter.
    fn half(&self, parameter: usize) -> f64 {
        2f64.powi(self.parameters[parameter].1 - 1)
    }

    fn exponent(&self, state: usize) -> i32 {
        self.states[state].unwrap().exponent.into()
    }
}

impl Visitor for Held {
    fn parameter<P: Element>(&mut self, value: &[P], residual: &[i8], exponent: i16) {
        let exponent = i32::from(exponent);
        self.parameters.push((values(value, exponent), exponent));
        self.residuals.extend(residual);
    }

    fn velocities<V: Element>(&mut self, velocities: &[V]) {
        self.velocities
            .extend(velocities.iter().map(|v| v.to_f64()));
    }

    fn exponent_state(&mut self, state: Option<State>) {
        self.states.push(state);
    }

    fn running<S: Element>(&mut self, running: &[Running<S>]) {
        let unit = if S::DTYPE.is_integer() {
            2f64.powi(-32)
        } else {
            1.0
        };
        self.running.extend(
            running
                .iter()
                .map(|r| (r.mean.to_f64() * unit, r.variance.to_f64() * unit)),
        );
    }
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |most, x| most.max(x.abs()))
}

const SAMPLES: usize = 3;

/// `products` is the number of products of the longest sum.
fn folds<L>(name: &str, products: usize)
where
    L: Fold + Layer<In = <L as Layer>::Elem, Out = <L as Layer>::Elem>,
{
    type Norm<L> = BatchNorm<<L as Layer>::Elem, <L as Layer>::Output, Momentum>;
    let dtype = L::Elem::DTYPE;
    let m = L::Elem::MAGNITUDE_BITS as i32;
    let mut noise = Noise::new(77);
    let mut both = Driven::<(L, Norm<L>), SAMPLES>::new(5);
    both.draw_parameters(&mut noise);
    both.sgd.rate.mantissa = 1;
    both.sgd.rate.exponent = -9;
    both.sgd.momentum = 200;
    for step in 0..24 {
        both.step = step;
        // Not around 0, so that means matter.
        let x = noise.vector(SAMPLES * L::Input::LEN, 1.0);
        both.forward(&x.iter().map(|x| x + 0.3).collect::<Vec<_>>());
        both.update_with(&noise.vector(SAMPLES * L::Output::LEN, 1.0), 0);
    }
    // Nearer to the centre, so that exponents which training has set have room for them.
    let x: Vec<f64> = noise.vector(SAMPLES * L::Input::LEN, 0.5);
    let x: Vec<f64> = x.iter().map(|x| x + 0.3).collect();
    let want = both.infer(&x);
    let before = Held::of(&*both.layer);

    let (layer, norm) = &mut *both.layer;
    norm.fold_into(layer).unwrap();
    let mut alone = Driven::<L, SAMPLES>::new(1);
    core::mem::swap(&mut *alone.layer, layer);
    let got = alone.infer(&x);
    let folded = Held::of(&*alone.layer);
    assert!(folded.residuals.iter().all(|&low| low == 0), "{name}");
    assert!(folded.velocities.iter().all(|&v| v == 0.0), "{name}");

    // How a channel's errors grow.
    let epsilon = if dtype.is_integer() { 0.0 } else { 1e-5 };
    let gammas = before.parameters[2].0.iter();
    let factor = largest(
        gammas
            .zip(&before.running)
            .map(|(gamma, (_, variance))| gamma / (variance + epsilon).sqrt()),
    );
    let most = largest(alone.input().into_iter());
    let terms = products as f64;
    let bound = if dtype.is_integer() {
        assert_eq!(folded.states[0], before.states[2], "{name}, {dtype}");
        assert_eq!(got.exponent, want.exponent, "{name}, {dtype}");
        let half = |exponent: i32| 2f64.powi(exponent - 1);
        let x_exponent = rounded::<L::Elem>(&x).1;
        let between = before.exponent(0);
        let fifteen = if m > 15 { half(between + m - 15) } else { 0.0 };
        let accumulators = factor * half(x_exponent + before.parameters[0].1)
            + half(x_exponent + folded.parameters[0].1)
            + half(before.parameters[2].1 + (m - 15).max(0) - 12) * 2.0;
        factor * (half(between) + fifteen)
            + terms * most * folded.half(0)
            + folded.half(1)
            + accumulators
            + 2.0 * half(got.exponent)
    } else {
        // Stored in the type: weights, biases, the layer's output, two outputs; the rest is computed in `f32` or `f64`.
        let means = largest(before.running.iter().map(|(mean, _)| *mean));
        let sums = terms * most * folded.largest(0) + folded.largest(1) + factor * means;
        let computed = if dtype.bytes() == 8 {
            f64::EPSILON
        } else {
            f32::EPSILON.into()
        };
        sums * (4.0 * rounding::<L::Elem>() + 2.0 * (terms + 16.0) * computed)
    };
    let size = largest(want.together.iter().copied());
    // Else the bound would say nothing.
    let share = if dtype.bytes() == 1 { 0.5 } else { 0.1 };
    assert!(bound < share * size, "{name}, {dtype}: {bound} of {size}");
    for (i, (want, got)) in want.together.iter().zip(&got.together).enumerate() {
        assert!(
            (want - got).abs() <= bound,
            "{name}, {dtype}, output {i}: both gave {want}, folded {got}, allowed {bound:e}"
        );
    }
}

macro_rules! folds {
    ($name:literal, $products:expr, $t:ident => $layer:ty) => {{
        type Folded<$t> = $layer;
        macro_rules! check {
            ($type:ty) => {
                folds::<Folded<$type>>($name, $products)
            };
        }
        for_each_type!(check);
    }};
}

type A = Identity;
type R = Momentum;

#[test]
fn into_dense_layers() {
    folds!("dense", 6, T => Dense<T, 6, 5, A, R>);
}

#[test]
fn into_convolutions() {
    folds!("conv1d", 6, T => Conv<T, D2<9, 2>, D3<5, 3, 2>, D2<7, 5>, Slide, A, R>);
    folds!("conv2d", 8, T => Conv<T, D3<5, 6, 2>, D4<3, 2, 2, 2>, D3<3, 3, 3>, Same<2>, A, R>);
    folds!("conv3d", 8, T => Conv<T, D4<3, 3, 4, 1>, D5<4, 2, 2, 2, 1>, D4<2, 2, 3, 4>, Slide, A, R>);
    folds!("depthwise", 9, T => Conv<T, D3<4, 4, 3>, D4<3, 3, 3, 1>, D3<4, 4, 3>, Same, A, R>);
    folds!("groups", 6, T => Conv<T, D2<8, 4>, D3<6, 3, 2>, D2<6, 6>, Slide, A, R>);
}

#[test]
fn into_transposed_convolutions() {
    folds!("conv_transpose1d", 6, T => ConvTranspose<T, D2<5, 3>, D3<3, 2, 4>, D2<6, 4>, Slide, A, R>);
    folds!("conv_transpose2d", 4, T => ConvTranspose<T, D3<3, 2, 4>, D4<4, 2, 2, 3>, D3<6, 4, 3>, Slide<2>, A, R>);
    folds!("conv_transpose3d", 2, T => ConvTranspose<T, D4<2, 2, 2, 2>, D5<2, 2, 2, 2, 3>, D4<4, 4, 4, 3>, Slide<2>, A, R>);
    folds!("groups", 6, T => ConvTranspose<T, D2<4, 4>, D3<4, 3, 3>, D2<6, 6>, Slide, A, R>);
    folds!("depthwise", 3, T => ConvTranspose<T, D2<4, 3>, D3<3, 3, 1>, D2<6, 3>, Slide, A, R>);
}

#[test]
fn a_normalisation_that_has_seen_nothing_is_its_gain_and_bias() {
    type Pair = (Dense<f64, 3, 2>, BatchNorm<f64, D1<2>>);
    let mut both = Driven::<Pair, 1>::new(3);
    let want = both.infer(&[0.5, -0.25, 1.0]).together;
    let (layer, norm) = &mut *both.layer;
    norm.fold_into(layer).unwrap();
    let mut alone = Driven::<Dense<f64, 3, 2>, 1>::new(1);
    core::mem::swap(&mut *alone.layer, layer);
    let got = alone.infer(&[0.5, -0.25, 1.0]).together;
    let off = want.iter().zip(&got).map(|(want, got)| want - got);
    assert!(largest(off) < 1e-15, "{want:?}, {got:?}");
}
