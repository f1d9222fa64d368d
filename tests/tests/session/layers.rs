//! Layers that no network of the zoo has, in each of their variants: the same bytes as their typed twins; and what their
//! descriptions refuse.

use super::zoo::check;
use selvedge_core::net;
use selvedge_core::net::resize::{AlignCorners, HalfPixel};
use selvedge_core::net::{Abs, Dropout, Negate, Plain, ResizeBilinear, ResizeNearest, Square};
use selvedge_core::network::{Error, Network, Options};
use selvedge_core::tensor::D3;
use selvedge_kernels::DType;

/// Tests a typed network of this module against its description.
macro_rules! twins {
    ($($name:ident: $typed:ident, $json:literal;)*) => {$(
        #[test]
        fn $name() {
            check::<$typed<i8, Plain>>(stringify!($name), $json);
            check::<$typed<u16, Plain>>(stringify!($name), $json);
            check::<$typed<i32, Plain>>(stringify!($name), $json);
            check::<$typed<f32, Plain>>(stringify!($name), $json);
        }
    )*};
}

net! {
    /// Functions of one element, and both ways to resize with other coordinates.
    pub struct Elements: [8, 8, 1] {
        entry: conv2d(4, kernel = 3, activation = tanh),
        opposite: layer(Negate<T, D3<6, 6, 4>> => [6, 6, 4]),
        size: layer(Abs<T, D3<6, 6, 4>> => [6, 6, 4]),
        squared: layer(Square<T, D3<6, 6, 4>> => [6, 6, 4]),
        half: layer(Dropout<T, D3<6, 6, 4>> => [6, 6, 4]),
        some: layer(Dropout<T, D3<6, 6, 4>, 333> => [6, 6, 4]),
        corners: layer(ResizeBilinear<T, D3<6, 6, 4>, D3<4, 9, 4>, AlignCorners> => [4, 9, 4]),
        near: layer(ResizeNearest<T, D3<4, 9, 4>, D3<5, 5, 4>, HalfPixel> => [5, 5, 4]),
        flat: flatten,
        head: dense(10),
    }
}

twins! {
    elements: Elements, r#"{
        "input": [8, 8, 1],
        "layers": [
            {"name": "entry", "type": "conv", "filters": 4, "kernel": 3, "activation": "tanh"},
            {"name": "opposite", "type": "negate"},
            {"name": "size", "type": "abs"},
            {"name": "squared", "type": "square"},
            {"name": "half", "type": "dropout"},
            {"name": "some", "type": "dropout", "probability": 333},
            {"name": "corners", "type": "resize_bilinear", "output": [4, 9], "coordinates": "align_corners"},
            {"name": "near", "type": "resize_nearest", "output": [5, 5], "coordinates": "half_pixel"},
            {"name": "flat", "type": "flatten"},
            {"name": "head", "type": "dense", "outputs": 10}
        ]
    }"#;
}

/// What is wrong with a layer, `a`, behind an input of this shape.
fn refusal(input: &str, layer: &str) -> Error {
    let json = format!(r#"{{"input": {input}, "layers": [{{"name": "a", {layer}}}]}}"#);
    let network = Network::from_json(&json).unwrap_or_else(|error| panic!("{layer}: {error}"));
    match network.graph(DType::I8, &Options::default()) {
        Ok(_) => panic!("{layer} was taken"),
        Err(error) => error,
    }
}

#[test]
fn shapes_and_attributes_that_cannot_be_are_refused_by_path() {
    for (input, layer) in [
        ("[4]", r#""type": "dropout", "probability": 1000"#),
        ("[4]", r#""type": "resize_nearest", "output": [2, 2]"#),
        (
            "[4, 4, 1]",
            r#""type": "resize_bilinear", "output": [0, 2]"#,
        ),
        ("[4, 4]", r#""type": "reshape", "shape": [5, 3]"#),
        ("[4, 4]", r#""type": "reshape", "shape": []"#),
    ] {
        let error = refusal(input, layer).to_string();
        assert!(error.starts_with("a: "), "{layer}: {error}");
    }
}
