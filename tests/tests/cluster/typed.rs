//! A typed layer's backward pass, at a rate that moves nothing, changes nothing but the error.

use selvedge_core::net::{Clustering, Euclidean, KMeans, Layer, Means, Shares};
use selvedge_core::tensor::{D1, D2, Shape};
use selvedge_core::{Rate, Sgd};
use selvedge_kernels::Element;
use selvedge_kernels::cluster::{Metric, Temperature};
use selvedge_tests::layers::Driven;
use selvedge_tests::noise::Noise;
use selvedge_tests::{for_floats, for_integers};

struct Angle;

impl Clustering for Angle {
    const METRIC: Metric = Metric::Cosine;
    const TEMPERATURE: Temperature = Temperature {
        mantissa: 3,
        exponent: -2,
    };
}

struct Blocks;

impl Clustering for Blocks {
    const METRIC: Metric = Metric::Manhattan;
    const TEMPERATURE: Temperature = Temperature {
        mantissa: 1,
        exponent: 2,
    };
}

/// What a layer gives after some steps at a rate of 0, with a backward pass in each or in the first alone: their
/// errors and centres, which do not change, then the outputs, errors and centres of steps that learn, which show its states. Errors are smaller
/// by then: a state that counts steps to spare shrinks after as many as its count lacks.
fn after<L: Layer<In = <L as Layer>::Elem>>(all: bool) -> Vec<Vec<f64>> {
    let place = format!("{}, {}", L::INFO.kind, L::Elem::DTYPE);
    let mut layer = Driven::<L, 3>::new(590);
    let mut source = Noise::new(591);
    let x = source.vector(3 * L::Input::LEN, 1.0);
    let dy = source.vector(3 * L::Output::LEN, 1.0);
    layer.forward(&x);
    let centres = layer.parameters();
    let dx = layer.backward(&dy);
    assert!(dx.iter().any(|&d| d != 0.0), "{place}: no error");
    for _ in 1..5 {
        layer.forward(&x);
        if all {
            assert_eq!(layer.backward(&dy), dx, "{place}: the error");
        }
    }
    assert_eq!(layer.parameters(), centres, "{place}: the centres");
    let mut seen = vec![dx, centres];
    layer.sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: -3,
    });
    let less: Vec<f64> = dy.iter().map(|d| d / 8.0).collect();
    for step in 1..70 {
        layer.step = step;
        seen.push(layer.forward(&x));
        seen.push(layer.backward(&less));
        seen.push(layer.parameters());
    }
    assert_ne!(seen[1], seen[seen.len() - 1], "{place}: nothing learns");
    seen
}

fn backward_has_no_side_effects<L: Layer<In = <L as Layer>::Elem>>() {
    let place = format!("{}, {}", L::INFO.kind, L::Elem::DTYPE);
    assert_eq!(after::<L>(true), after::<L>(false), "{place}");
}

fn no_layer_has_side_effects<T: Element>() {
    backward_has_no_side_effects::<KMeans<T, D1<4>, D2<5, 4>, D1<5>, Shares, Euclidean>>();
    backward_has_no_side_effects::<KMeans<T, D2<3, 4>, D2<5, 4>, D2<3, 5>, Means, Angle>>();
    backward_has_no_side_effects::<KMeans<T, D1<4>, D2<2, 4>, D1<2>, Means, Blocks>>();
}

#[test]
fn backward_passes_at_rate_0_change_nothing() {
    for_integers!(no_layer_has_side_effects);
    for_floats!(no_layer_has_side_effects);
}
