//! Layers with parameters, pools and branches as types: outputs, errors and updates in all types.

#![recursion_limit = "256"]
// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_core::net::{
    Activate, AdaptiveAveragePool, AdaptiveMaxPool, AveragePool, BatchNorm, Clustering, Conv,
    ConvTranspose, Dense, Flatten, Fork, Gelu, GlobalAveragePool, GlobalMaxPool, HardSwish,
    Identity, KMeans, LayerNorm, LeakyRelu, LiftedRelu, MaskedRelu, MaxPool, Means, Product, Relu,
    Relu6, Residual, RmsNorm, Same, ScaledRelu, Shares, Sigmoid, Silu, Skip, Slide, Softplus, Step,
    Stitch, Sum, Tanh,
};
use selvedge_core::tensor::{D1, D2, D3, D4, D5};
use selvedge_kernels::cluster::{Metric, Temperature};
use selvedge_tests::check_layer;
use selvedge_tests::layers::Case;

/// What the tables of integer activations cost, as `docs/numerics.md` §5 says: an argument rounded to 2^-11,
/// and a few units of 2^-15. Means are off by less.
const TABLE: [f64; 2] = [4e-4, 4e-4];

#[test]
fn dense_layers() {
    check_layer!(T => Dense<T, 7, 5>, Case::new("dense"));
    check_layer!(T => Dense<T, 7, 5, Tanh>, Case::new("dense, tanh").off_by(TABLE));
    check_layer!(T => Stitch<T, 9, 3>, Case::new("stitch"));
}

#[test]
fn convolutions_over_one_to_three_axes() {
    check_layer!(T => Conv<T, D2<9, 4>, D3<6, 3, 2>, D2<5, 6>, Slide<2, 1>>, Case::new("conv1d in groups"));
    check_layer!(T => Conv<T, D3<5, 7, 2>, D4<3, 3, 2, 2>, D3<5, 4, 3>, Step<1, 2, selvedge_core::net::PadSame>>,
        Case::new("conv2d, same"));
    check_layer!(T => Conv<T, D3<6, 6, 3>, D4<3, 3, 3, 1>, D3<4, 4, 3>, Slide<1, 1, 2>, Softplus>,
        Case::new("depthwise, dilated").off_by(TABLE));
    check_layer!(T => Conv<T, D4<3, 4, 3, 2>, D5<2, 2, 3, 2, 2>, D4<2, 2, 2, 2>>, Case::new("conv3d"));
    check_layer!(T => Conv<T, D3<3, 3, 4>, D4<5, 1, 1, 4>, D3<3, 3, 5>, Slide, HardSwish>,
        Case::new("pointwise").off_by(TABLE).with_headroom());
}

#[test]
fn transposed_convolutions_over_one_to_three_axes() {
    check_layer!(T => ConvTranspose<T, D2<4, 3>, D3<3, 3, 2>, D2<9, 2>, Slide<2>>, Case::new("conv_transpose1d"));
    check_layer!(T => ConvTranspose<T, D3<3, 2, 2>, D4<2, 2, 2, 3>, D3<6, 4, 3>, Slide<2>, Sigmoid>,
        Case::new("conv_transpose2d").off_by(TABLE));
    check_layer!(T => ConvTranspose<T, D4<2, 2, 2, 2>, D5<2, 2, 2, 2, 1>, D4<3, 3, 3, 1>>, Case::new("conv_transpose3d"));
}

#[test]
fn pools() {
    check_layer!(T => MaxPool<T, D3<5, 5, 2>, D3<3, 3, 2>, D2<3, 3>, Slide<2, 1>>, Case::new("overlapping max_pool"));
    check_layer!(T => MaxPool<T, D2<6, 3>, D2<3, 3>, D1<2>>, Case::new("max_pool1d"));
    check_layer!(T => MaxPool<T, D4<2, 4, 4, 2>, D4<1, 2, 2, 2>, D3<2, 2, 2>>, Case::new("max_pool3d"));
    check_layer!(T => AveragePool<T, D3<5, 5, 2>, D3<3, 3, 2>, D2<3, 3>, Same<2>, false>,
        Case::new("average_pool, padding not counted").off_by(TABLE));
    check_layer!(T => AveragePool<T, D2<7, 2>, D2<4, 2>, D1<3>, Slide<2, 1>>,
        Case::new("average_pool1d").off_by(TABLE));
    check_layer!(T => GlobalAveragePool<T, D4<2, 3, 2, 3>>, Case::new("global average").off_by(TABLE));
    check_layer!(T => GlobalMaxPool<T, D3<3, 3, 2>>, Case::new("global max"));
    check_layer!(T => AdaptiveAveragePool<T, D3<5, 7, 2>, D3<2, 3, 2>>,
        Case::new("adaptive average").off_by(TABLE));
    check_layer!(T => AdaptiveMaxPool<T, D2<7, 2>, D2<3, 2>>, Case::new("adaptive max"));
}

#[test]
fn activations_alone() {
    let table = |name| {
        Case::new(name)
            .away_from_zero(0.05)
            .off_by(TABLE)
            .with_headroom()
    };
    check_layer!(T => Activate<T, D1<20>, Relu>, table("relu"));
    check_layer!(T => Activate<T, D1<20>, MaskedRelu>, table("masked relu"));
    check_layer!(T => Activate<T, D1<20>, LiftedRelu>, table("lifted relu"));
    check_layer!(T => Activate<T, D1<20>, Relu6>, table("relu6"));
    check_layer!(T => Activate<T, D1<20>, ScaledRelu>, table("scaled relu").off_by([4e-3, 4e-3]));
    check_layer!(T => Activate<T, D1<20>, LeakyRelu<250>>, table("leaky relu"));
    check_layer!(T => Activate<T, D1<20>, Sigmoid>, table("sigmoid"));
    check_layer!(T => Activate<T, D1<20>, Tanh>, table("tanh"));
    check_layer!(T => Activate<T, D1<20>, Softplus>, table("softplus"));
    check_layer!(T => Activate<T, D1<20>, Gelu>, table("gelu"));
    check_layer!(T => Activate<T, D1<20>, Silu>, table("silu"));
    check_layer!(T => Activate<T, D1<20>, HardSwish>, table("hard swish"));
    check_layer!(T => Activate<T, D1<20>, Identity>, table("identity"));
    check_layer!(T => Flatten<T, D3<2, 3, 4>, D1<24>>, Case::new("flatten"));
}

#[test]
fn normalisations() {
    check_layer!(T => LayerNorm<T, D2<4, 9>>, Case::new("layer_norm").off_by([2e-3, 3e-4]).roundings(32.0));
    check_layer!(T => RmsNorm<T, D3<2, 2, 7>>, Case::new("rms_norm").off_by([2e-3, 3e-4]).roundings(32.0));
    check_layer!(T => BatchNorm<T, D3<3, 3, 4>>, Case::new("batch_norm").off_by([2e-3, 3e-4]).roundings(32.0));
}

/// By the angle, sharper.
struct Angle;

impl Clustering for Angle {
    const METRIC: Metric = Metric::Cosine;
    const TEMPERATURE: Temperature = Temperature {
        mantissa: 3,
        exponent: -2,
    };
}

#[test]
fn clusters() {
    let case = |name| {
        Case::new(name)
            .off_by([2e-3, 5e-4])
            .roundings(64.0)
            .at_rate(-3)
    };
    check_layer!(T => KMeans<T, D1<4>, D2<5, 4>, D1<5>, Shares>, case("k_means"));
    check_layer!(T => KMeans<T, D2<3, 4>, D2<5, 4>, D2<3, 5>, Means, Angle>, case("k_means, means by angle"));
}

#[test]
fn branches() {
    check_layer!(T => Residual<Dense<T, 6, 6, Silu>>, Case::new("residual").off_by([8e-3, 3e-4]).with_headroom());
    check_layer!(T => Fork<Dense<T, 6, 4>, Dense<T, 6, 4, LeakyRelu<250>>, Sum>, Case::new("sum").off_by([2e-2, 3e-4]));
    check_layer!(T => Residual<(Dense<T, 6, 5, Softplus>, Dense<T, 5, 4>), Dense<T, 6, 4>>,
        Case::new("residual with a shortcut").off_by([2e-2, 5e-4]));
    check_layer!(T => Fork<Skip<T, D3<3, 2, 4>>, (GlobalAveragePool<T, D3<3, 2, 4>>, Dense<T, 4, 4, Sigmoid>), Product>,
        Case::new("gate").off_by([2e-2, 5e-4]));
}
