//! Layers that nothing in the library knows: gradients that follow from those of operators, learning, and what is refused.

use super::blocks::reads_digits;
use super::learning::{OPTIONS, gradients_are_differences};
use super::{TRAINED, with_image};
use selvedge_core::DType;
use selvedge_core::graph::ValueId;
use selvedge_core::image::Role;
use selvedge_core::network::{
    Activation, Combine, Compose, Conv, Custom, Dense, Description, Error, Flatten,
    GlobalAveragePool, Layer, MaxPool, Network, Options, Padding, Scope, Sequential, Softmax,
};
use selvedge_core::ops;
use selvedge_core::session::Session;
use std::sync::Mutex;

/// `t · h(x) + (1 - t) · x` with a gate `t`: several readers of `x` and of `t`. Source: Srivastava et al. 2015.
#[derive(Clone, Debug, PartialEq)]
struct Highway {
    activation: Activation,
}

const HIGHWAY: Highway = Highway {
    activation: Activation::Tanh,
};

impl Compose for Highway {
    fn name(&self) -> &str {
        "highway"
    }

    fn build(&self, to: &mut Scope<'_, '_>, x: ValueId) -> Result<ValueId, Error> {
        let shape = to.shape(x);
        let features = *(shape.last()).ok_or_else(|| to.shape_error("features", x))?;
        let dense = |activation| Dense::new(features).activation(activation);
        let h = to.layer("hidden", dense(self.activation), x)?;
        let t = to.layer("gate", dense(Activation::Sigmoid), x)?;
        let [new, old] = [to.multiply(h, t)?, to.multiply(x, t)?];
        let rest = to.subtract(x, old)?;
        to.add(new, rest)
    }
}

/// Channels weighed by what all of them are on average: `x · sigmoid(W₂ silu(W₁ mean(x)))`, a product that stretches.
/// Source: Hu et al. 2017.
#[derive(Clone, Debug, PartialEq)]
struct SqueezeExcite {
    squeezed: usize,
}

impl Compose for SqueezeExcite {
    fn name(&self) -> &str {
        "squeeze_excite"
    }

    fn build(&self, to: &mut Scope<'_, '_>, x: ValueId) -> Result<ValueId, Error> {
        let [_, _, channels] = to.shape(x)[..] else {
            return Err(to.shape_error("[H, W, C]", x));
        };
        if self.squeezed == 0 {
            return Err(to.attribute_error("at least one feature", 0));
        }
        let squeeze = Dense::new(self.squeezed).activation(Activation::Silu);
        let excite = Dense::new(channels).activation(Activation::Sigmoid);
        let layers = [
            Layer::new("mean", GlobalAveragePool {}),
            Layer::new("squeeze", squeeze),
            Layer::new("excite", excite),
        ];
        let weights = to.layers(&layers, x)?;
        to.multiply(x, weights)
    }
}

/// The inputs and their softmax, divided, side by side, and a layer of a program's own inside one.
#[derive(Clone, Debug, PartialEq)]
struct Nested;

impl Compose for Nested {
    fn name(&self) -> &str {
        "nested"
    }

    fn build(&self, to: &mut Scope<'_, '_>, x: ValueId) -> Result<ValueId, Error> {
        let inner = to.layer("inner", Custom::new(HIGHWAY), x)?;
        let shares = to.layer("softmax", Softmax::new(), inner)?;
        let [a, b] = [to.divide(inner, shares)?, to.multiply(shares, x)?];
        let side = to.concat(&[a, b, x])?;
        let both = to.layer("both", Dense::new(3), side)?;
        let other = to.layer("other", Dense::new(3).activation(Activation::Gelu), side)?;
        to.combine(&Combine::Average, &[both, other, both])
    }
}

fn of_features(layer: Custom) -> Network {
    Network::new([4])
        .layer("before", Dense::new(4).activation(Activation::Silu))
        .layer("own", layer)
        .layer("head", Dense::new(2))
}

fn of_images(layer: Custom) -> Network {
    let entry = Conv::new(4, 3).padding(Padding::Same);
    Network::new([3, 3, 2])
        .layer("entry", entry.activation(Activation::Silu))
        .layer("own", layer)
        .layer("pool", GlobalAveragePool {})
        .layer("head", Dense::new(2))
}

#[test]
fn gradients_follow_from_those_of_operators() {
    let networks = [
        of_features(Custom::new(HIGHWAY)),
        of_images(Custom::new(SqueezeExcite { squeezed: 3 })),
        of_features(Custom::new(Nested)),
    ];
    for (network, parameters) in networks.iter().zip([8, 8, 12]) {
        for accumulate in [false, true] {
            let options = Options {
                accumulate,
                ..OPTIONS
            };
            let bytes = network.compile(DType::F64, &options).unwrap();
            with_image(&bytes, |image| {
                let mut arena = vec![0; image.arena_bytes()];
                let session = Session::new(image, &mut arena, ops::ALL).unwrap();
                assert_eq!(session.parameters(), parameters);
                gradients_are_differences(image);
            });
        }
    }
}

#[test]
fn a_layer_of_its_own_learns() {
    let excited = Network::new([8, 8, 1])
        .layer(
            "entry",
            Conv::new(12, 3)
                .padding(Padding::Same)
                .activation(Activation::Relu),
        )
        .layer("excite", Custom::new(SqueezeExcite { squeezed: 4 }))
        .layer("pool", MaxPool::default())
        .layer("flat", Flatten {})
        .layer("head", Dense::new(10));
    let highway = Network::new([8, 8, 1])
        .layer("flat", Flatten {})
        .layer("entry", Dense::new(24).activation(Activation::Relu))
        .layer("highway", Custom::new(HIGHWAY))
        .layer("head", Dense::new(10));
    for network in [excited, highway] {
        for [before, after] in [
            reads_digits::<i8>(&network, 360),
            reads_digits::<u16>(&network, 360),
            reads_digits::<f32>(&network, 360),
        ] {
            assert!(before < 250 && after > 700, "{before} to {after} of 1000");
        }
    }
}

#[test]
fn its_parts_are_seen_by_path() {
    let network = of_features(Custom::new(Nested));
    let summary = network.summary(DType::F32, &OPTIONS).unwrap();
    let paths: Vec<&str> = summary.iter().map(|layer| &*layer.path).collect();
    let expected = [
        "before",
        "own.inner.hidden",
        "own.inner.gate",
        "own.softmax",
        "own.both",
        "own.other",
        "head",
    ];
    assert_eq!(paths, expected);
    assert_eq!(network.layers[1].layer.name(), "nested");
}

/// Weights of all layers, without biases, which are zeros.
fn weights(network: &Network) -> Vec<Vec<i8>> {
    with_image(&network.compile(DType::I8, &TRAINED).unwrap(), |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let weights = (0..session.parameters()).step_by(2);
        weights
            .map(|i| session.parameter::<i8>(i).unwrap().data.to_vec())
            .collect()
    })
}

#[test]
fn passed_over_or_shared_it_is_as_other_layers() {
    let whole = Network::new([4])
        .layer(
            "own",
            Sequential::default().layer("nested", Custom::new(HIGHWAY)),
        )
        .layer("last", Dense::new(4))
        .layer("head", Dense::new(2));
    let all = weights(&whole);
    let mut without = whole.clone();
    without.layers[0].disabled = true;
    assert_eq!(
        weights(&without),
        all[2..],
        "other layers begin as they did"
    );

    let mut twice = whole.clone();
    let mut again = whole.layers[0].clone();
    again.name = "again".to_owned();
    again.shares = Some("own".to_owned());
    twice.layers.insert(1, again);
    assert_eq!(weights(&twice).len(), all.len());
    let bytes = twice.compile(DType::F64, &OPTIONS).unwrap();
    with_image(&bytes, gradients_are_differences);

    let mut frozen = whole.clone();
    frozen.layers[0].frozen = true;
    let arena = |network: &Network| {
        let bytes = network.compile(DType::I8, &TRAINED).unwrap();
        with_image(&bytes, |image| image.arena_bytes())
    };
    assert!(arena(&frozen) < arena(&whole));
}

#[test]
fn equal_layers_are_equal() {
    let highway = Custom::new(HIGHWAY);
    assert_eq!(highway, highway.clone());
    let other = Highway {
        activation: Activation::Gelu,
    };
    assert_ne!(highway, Custom::new(other));
    assert_ne!(highway, Custom::new(Nested));
}

#[test]
fn what_json_has_no_form_for_is_named() {
    let network = Network::new([4])
        .layer(
            "outer",
            Sequential::default().layer("own", Custom::new(HIGHWAY)),
        )
        .layer("head", Dense::new(2));
    let described = network.compile_described(DType::I8, &Options::default());
    match described.unwrap_err() {
        Error::Attribute { path, found, .. } => {
            assert_eq!((&*path, &*found), ("outer.own", "`highway`"));
        }
        error => panic!("{error}"),
    }
    let error = network.to_json().unwrap_err().to_string();
    assert!(
        error.starts_with("outer.own: ") && error.contains("highway"),
        "{error}"
    );
    let description = Description::new(network.clone(), DType::I8, Options::default());
    assert!(
        description
            .to_json()
            .unwrap_err()
            .to_string()
            .starts_with("outer.own: ")
    );
    for name in ["custom", "highway"] {
        let text = format!(r#"{{"input": [4], "layers": [{{"name": "a", "type": "{name}"}}]}}"#);
        let error = Network::from_json(&text).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("line 1"), "{error}");
    }
    network.compile(DType::I8, &Options::default()).unwrap();
}

/// Two layers of one name.
#[derive(Clone, Debug, PartialEq)]
struct Twice;

impl Compose for Twice {
    fn name(&self) -> &str {
        "twice"
    }

    fn build(&self, to: &mut Scope<'_, '_>, x: ValueId) -> Result<ValueId, Error> {
        let y = to.layer("same", Dense::new(4), x)?;
        to.layer("same", Dense::new(4), y)
    }
}

/// Gives what it has seen before, in whatever network.
#[derive(Debug)]
struct Stale(Mutex<Option<ValueId>>);

impl Clone for Stale {
    fn clone(&self) -> Self {
        Self(Mutex::new(*self.0.lock().unwrap()))
    }
}

impl PartialEq for Stale {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Compose for Stale {
    fn name(&self) -> &str {
        "stale"
    }

    fn build(&self, to: &mut Scope<'_, '_>, x: ValueId) -> Result<ValueId, Error> {
        let y = to.layer("some", Dense::new(4), x)?;
        Ok(self.0.lock().unwrap().replace(y).unwrap_or(y))
    }
}

#[test]
fn what_it_does_wrong_is_told_with_its_path() {
    let small = |layer: Custom| {
        Network::new([4])
            .layer("own", layer)
            .layer("head", Dense::new(2))
    };
    let refused = |network: Network| {
        let error = network.compile(DType::I8, &Options::default());
        error.unwrap_err().to_string()
    };
    let error = refused(small(Custom::new(Twice)));
    assert!(
        error.starts_with("own.same: ") && error.contains("two"),
        "{error}"
    );
    let error = refused(small(Custom::new(SqueezeExcite { squeezed: 1 })));
    assert_eq!(error, "own: expected [H, W, C], found [4]");
    let error = refused(of_images(Custom::new(SqueezeExcite { squeezed: 0 })));
    assert!(
        error.starts_with("own: expected at least one feature"),
        "{error}"
    );
    let stale = small(Custom::new(Stale(Mutex::new(None))));
    let mut deep = Network::new([4]);
    for i in 0..5 {
        deep = deep.layer(format!("{i}"), Dense::new(4));
    }
    deep.layers.extend(stale.layers.clone());
    deep.compile(DType::I8, &Options::default()).unwrap();
    let own = deep.layers.remove(5);
    let error = refused(Network {
        layers: vec![own, deep.layers.remove(5)],
        ..Network::new([4])
    });
    assert!(
        error.starts_with("own: ") && error.contains("of another"),
        "{error}"
    );
}

/// A layer that computes more than it gives.
#[derive(Clone, Debug, PartialEq)]
struct Wasteful;

impl Compose for Wasteful {
    fn name(&self) -> &str {
        "wasteful"
    }

    fn build(&self, to: &mut Scope<'_, '_>, x: ValueId) -> Result<ValueId, Error> {
        let unused = to.layer("unused", Dense::new(9), x)?;
        to.multiply(unused, unused)?;
        to.layer("used", Dense::new(3), x)
    }
}

#[test]
fn what_nothing_reads_is_not_computed() {
    let network = Network::new([4])
        .layer("wasteful", Custom::new(Wasteful))
        .layer("head", Dense::new(2));
    for train in [false, true] {
        let options = Options { train, ..TRAINED };
        let bytes = network.compile(DType::I8, &options).unwrap();
        with_image(&bytes, |image| {
            let kinds = image.kinds(Role::Infer).collect::<Vec<_>>();
            assert_eq!(kinds.len(), 2, "{kinds:?}");
            let mut arena = vec![0; image.arena_bytes()];
            let session = Session::new(image, &mut arena, ops::ALL).unwrap();
            // A training keeps the parameters that it was told to keep.
            assert_eq!(session.parameters(), if train { 6 } else { 4 });
        });
    }
}
