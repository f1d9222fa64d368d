//! Networks of the field, whole: they build, run and learn in floats and in integers.

#![recursion_limit = "512"]

mod models;

use models::*;
use selvedge_core::net::{Layer, Network};

#[test]
fn networks_have_the_published_sizes() {
    assert_eq!(<ResNet8<i8> as Network>::Layers::INFO.macs, 12_501_632);
    assert_eq!(<MobileNet<i8> as Network>::Layers::INFO.macs, 7_489_664);
    assert_eq!(<DsCnn<i8> as Network>::Layers::INFO.macs, 2_656_768);
    assert_eq!(<Autoencoder<i8> as Network>::Layers::INFO.macs, 264_192);
    assert!(<LeNet<i8> as Network>::Layers::INFO.parameters > 0);
    assert!(<Mlp<i8> as Network>::Layers::INFO.parameters > 0);
    assert!(<Hourglass<i8> as Network>::Layers::INFO.parameters > 0);
    assert!(<Signal<i8> as Network>::Layers::INFO.parameters > 0);
}
