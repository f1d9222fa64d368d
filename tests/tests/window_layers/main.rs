//! Layers over windows as types, against definitions: convolutions, their transposes and pools, over one to
//! three axes, as plain loops over the cells under each window. All that is written here is read off the names
//! of the layers by a person: no geometry of the library is asked.

#![recursion_limit = "256"]
// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]
#![allow(missing_docs)] // modules of a test

mod definitions;
mod pools;

use definitions::{Channels, Windows, conv, conv_transpose, identity, spread};
use selvedge_core::net::Conv;
use selvedge_core::net::ConvTranspose;
use selvedge_core::net::Dense;
use selvedge_core::net::Geometry;
use selvedge_core::net::HardSwish;
use selvedge_core::net::PadSame;
use selvedge_core::net::Padding;
use selvedge_core::net::Same;
use selvedge_core::net::Sigmoid;
use selvedge_core::net::Slide;
use selvedge_core::net::Softplus;
use selvedge_core::net::Step;
use selvedge_core::net::Stitch;
use selvedge_core::net::Tanh;
use selvedge_core::tensor::D2;
use selvedge_core::tensor::D3;
use selvedge_core::tensor::D4;
use selvedge_core::tensor::D5;
use selvedge_tests::check_layer;
use selvedge_tests::layers::Case;
use selvedge_tests::layers::check_f64;

/// What the tables of integer activations cost, as `docs/numerics.md` §5 says: an argument rounded to 2^-11,
/// and a few units of 2^-15. Means are off by less.
const TABLE: [f64; 2] = [4e-4, 4e-4];

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn hard_swish(x: f64) -> f64 {
    x * (x + 3.0).clamp(0.0, 6.0) / 6.0
}

/// Each number of its own, along each axis and on each side.
struct Uneven;

impl Geometry for Uneven {
    const STRIDE: [usize; 3] = [1, 2, 3];
    const PADDING: Padding = Padding::Explicit([[1, 0], [0, 2], [2, 1]]);
    const DILATION: [usize; 3] = [2, 1, 2];
}

/// The same as numbers.
fn uneven(kernel: [usize; 3]) -> Windows {
    Windows::of(kernel)
        .stride([1, 2, 3])
        .before([1, 0, 2])
        .dilation([2, 1, 2])
}

#[test]
fn dense_layers() {
    let dense = |activation: fn(f64) -> f64, outputs: usize| {
        move |x: &[f64], parameters: &[f64]| -> Vec<f64> {
            let (weight, bias) = parameters.split_at(outputs * x.len());
            let rows = weight.chunks(x.len()).zip(bias);
            rows.map(|(row, bias)| {
                activation(bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>())
            })
            .collect()
        }
    };
    let [five, curved, stitch] = [dense(identity, 5), dense(f64::tanh, 5), dense(identity, 3)];
    check_layer!(T => Dense<T, 7, 5>, Case::new("dense").defined_by(&five));
    check_layer!(T => Dense<T, 7, 5, Tanh>, Case::new("dense, tanh").defined_by(&curved).off_by(TABLE));
    check_layer!(T => Stitch<T, 9, 3>, Case::new("stitch").defined_by(&stitch));
}

#[test]
fn convolutions_over_one_to_three_axes() {
    let signal = conv(
        Windows::of([1, 1, 3]).stride([2; 3]).before([0, 0, 1]),
        [[1, 1, 9], [1, 1, 5]],
        Channels {
            from: 4,
            to: 6,
            groups: 2,
        },
        identity,
    );
    check_layer!(T => Conv<T, D2<9, 4>, D3<6, 3, 2>, D2<5, 6>, Slide<2, 1>>,
        Case::new("conv1d in groups").defined_by(&signal));
    // 3 rows in steps of 1: a cell on each side. 4 windows of 2 columns in steps of 2 reach over 8: one behind.
    let image = conv(
        Windows::of([1, 3, 2]).stride([1, 1, 2]).before([0, 1, 0]),
        [[1, 5, 7], [1, 5, 4]],
        Channels {
            from: 2,
            to: 3,
            groups: 1,
        },
        identity,
    );
    check_layer!(T => Conv<T, D3<5, 7, 2>, D4<3, 3, 2, 2>, D3<5, 4, 3>, Step<1, 2, PadSame>>,
        Case::new("conv2d, same").defined_by(&image));
    let depthwise = conv(
        Windows::of([1, 3, 3]).before([0, 1, 1]).dilation([1, 2, 2]),
        [[1, 6, 6], [1, 4, 4]],
        Channels {
            from: 3,
            to: 3,
            groups: 3,
        },
        |x| x.exp().ln_1p(),
    );
    check_layer!(T => Conv<T, D3<6, 6, 3>, D4<3, 3, 3, 1>, D3<4, 4, 3>, Slide<1, 1, 2>, Softplus>,
        Case::new("depthwise, dilated").defined_by(&depthwise).off_by(TABLE));
    let volume = conv(
        Windows::of([2, 3, 2]),
        [[3, 4, 3], [2, 2, 2]],
        Channels {
            from: 2,
            to: 2,
            groups: 1,
        },
        identity,
    );
    check_layer!(T => Conv<T, D4<3, 4, 3, 2>, D5<2, 2, 3, 2, 2>, D4<2, 2, 2, 2>>,
        Case::new("conv3d").defined_by(&volume));
    let pointwise = conv(
        Windows::of([1; 3]),
        [[1, 3, 3], [1, 3, 3]],
        Channels {
            from: 4,
            to: 5,
            groups: 1,
        },
        hard_swish,
    );
    check_layer!(T => Conv<T, D3<3, 3, 4>, D4<5, 1, 1, 4>, D3<3, 3, 5>, Slide, HardSwish>,
        Case::new("pointwise").defined_by(&pointwise).off_by(TABLE).with_headroom());
}

#[test]
fn convolutions_of_every_geometry() {
    // 3 windows of 4 cells in steps of 2 reach over 8: a cell on each side.
    let signal = conv(
        Windows::of([1, 1, 4]).stride([1, 1, 2]).before([0, 0, 1]),
        [[1, 1, 6], [1, 1, 3]],
        Channels {
            from: 2,
            to: 2,
            groups: 2,
        },
        identity,
    );
    check_f64::<Conv<f64, D2<6, 2>, D3<2, 4, 1>, D2<3, 2>, Same<2>>, 3>(
        &Case::new("conv1d, depthwise, same").defined_by(&signal),
    );
    // 3 windows of 3 cells in steps of 2 reach over 7: a cell behind.
    let image = conv(
        Windows::of([1, 3, 3]).stride([1, 2, 2]),
        [[1, 6, 6], [1, 3, 3]],
        Channels {
            from: 1,
            to: 2,
            groups: 1,
        },
        identity,
    );
    check_f64::<Conv<f64, D3<6, 6, 1>, D4<2, 3, 3, 1>, D3<3, 3, 2>, Same<2>>, 3>(
        &Case::new("conv2d, same, a cell behind").defined_by(&image),
    );
    check_f64::<Conv<f64, D4<3, 4, 3, 2>, D5<4, 2, 3, 2, 1>, D4<3, 4, 3, 4>, Same<1, 2>>, 3>(
        &Case::new("conv3d in groups, same, dilated").defined_by(&conv(
            spread(),
            [[3, 4, 3]; 2],
            Channels {
                from: 2,
                to: 4,
                groups: 2,
            },
            identity,
        )),
    );
    // (3 + 1 - 3) / 1 + 1, (4 + 2 - 2) / 2 + 1, (6 + 3 - 3) / 3 + 1.
    let volume = conv(
        uneven([2, 2, 2]),
        [[3, 4, 6], [2, 3, 3]],
        Channels {
            from: 2,
            to: 2,
            groups: 2,
        },
        identity,
    );
    check_f64::<Conv<f64, D4<3, 4, 6, 2>, D5<2, 2, 2, 2, 1>, D4<2, 3, 3, 2>, Uneven>, 3>(
        &Case::new("conv3d, uneven").defined_by(&volume),
    );
    // An image has no planes: (5 + 2 - 3) / 2 + 1, (6 + 3 - 3) / 3 + 1.
    let image = conv(
        uneven([1, 3, 2]).before([0, 0, 2]),
        [[1, 5, 6], [1, 3, 3]],
        Channels {
            from: 4,
            to: 2,
            groups: 2,
        },
        identity,
    );
    check_f64::<Conv<f64, D3<5, 6, 4>, D4<2, 3, 2, 2>, D3<3, 3, 2>, Uneven>, 3>(
        &Case::new("conv2d, uneven").defined_by(&image),
    );
    // (6 + 3 - 5) / 3 + 1.
    let signal = conv(
        uneven([1, 1, 3]).before([0, 0, 2]),
        [[1, 1, 6], [1, 1, 2]],
        Channels {
            from: 2,
            to: 3,
            groups: 1,
        },
        identity,
    );
    check_f64::<Conv<f64, D2<6, 2>, D3<3, 3, 2>, D2<2, 3>, Uneven>, 3>(
        &Case::new("conv1d, uneven").defined_by(&signal),
    );
}

#[test]
fn transposed_convolutions_over_one_to_three_axes() {
    let signal = conv_transpose(
        Windows::of([1, 1, 3]).stride([2; 3]),
        [[1, 1, 4], [1, 1, 9]],
        Channels {
            from: 3,
            to: 2,
            groups: 1,
        },
        identity,
    );
    check_layer!(T => ConvTranspose<T, D2<4, 3>, D3<3, 3, 2>, D2<9, 2>, Slide<2>>,
        Case::new("conv_transpose1d").defined_by(&signal));
    let image = conv_transpose(
        Windows::of([1, 2, 2]).stride([2; 3]),
        [[1, 3, 2], [1, 6, 4]],
        Channels {
            from: 2,
            to: 3,
            groups: 1,
        },
        sigmoid,
    );
    check_layer!(T => ConvTranspose<T, D3<3, 2, 2>, D4<2, 2, 2, 3>, D3<6, 4, 3>, Slide<2>, Sigmoid>,
        Case::new("conv_transpose2d").defined_by(&image).off_by(TABLE));
    let volume = conv_transpose(
        Windows::of([2; 3]),
        [[2; 3], [3; 3]],
        Channels {
            from: 2,
            to: 1,
            groups: 1,
        },
        identity,
    );
    check_layer!(T => ConvTranspose<T, D4<2, 2, 2, 2>, D5<2, 2, 2, 2, 1>, D4<3, 3, 3, 1>>,
        Case::new("conv_transpose3d").defined_by(&volume));
}

/// Windows stand on the output, as those of the convolution that goes the other way.
#[test]
fn transposed_convolutions_of_every_geometry() {
    // 3 windows of 3 cells in steps of 2 reach over 7: a cell behind.
    let signal = conv_transpose(
        Windows::of([1, 1, 3]).stride([1, 1, 2]),
        [[1, 1, 3], [1, 1, 6]],
        Channels {
            from: 4,
            to: 2,
            groups: 2,
        },
        identity,
    );
    check_f64::<ConvTranspose<f64, D2<3, 4>, D3<4, 3, 1>, D2<6, 2>, Same<2>>, 3>(
        &Case::new("conv_transpose1d in groups, same").defined_by(&signal),
    );
    // 7 windows of 2 cells in steps of 2 would reach over 14: the last of 15 is under none.
    let beyond = conv_transpose(
        Windows::of([1, 1, 2]).stride([1, 1, 2]),
        [[1, 1, 7], [1, 1, 15]],
        Channels {
            from: 1,
            to: 1,
            groups: 1,
        },
        identity,
    );
    check_f64::<ConvTranspose<f64, D2<7, 1>, D3<1, 2, 1>, D2<15, 1>, Slide<2>>, 3>(
        &Case::new("conv_transpose1d, a cell more").defined_by(&beyond),
    );
    let image = conv_transpose(
        uneven([1, 3, 2]).before([0, 0, 2]),
        [[1, 3, 3], [1, 5, 6]],
        Channels {
            from: 2,
            to: 4,
            groups: 2,
        },
        identity,
    );
    check_f64::<ConvTranspose<f64, D3<3, 3, 2>, D4<2, 3, 2, 2>, D3<5, 6, 4>, Uneven>, 3>(
        &Case::new("conv_transpose2d, uneven").defined_by(&image),
    );
    let volume = conv_transpose(
        uneven([2, 2, 2]),
        [[2, 3, 3], [3, 4, 6]],
        Channels {
            from: 2,
            to: 2,
            groups: 2,
        },
        identity,
    );
    check_f64::<ConvTranspose<f64, D4<2, 3, 3, 2>, D5<2, 2, 2, 2, 1>, D4<3, 4, 6, 2>, Uneven>, 3>(
        &Case::new("conv_transpose3d, uneven").defined_by(&volume),
    );
    let volume = conv_transpose(
        spread(),
        [[3, 4, 3]; 2],
        Channels {
            from: 4,
            to: 2,
            groups: 2,
        },
        identity,
    );
    check_f64::<ConvTranspose<f64, D4<3, 4, 3, 4>, D5<4, 2, 3, 2, 1>, D4<3, 4, 3, 2>, Same<1, 2>>, 3>(
        &Case::new("conv_transpose3d, same, dilated").defined_by(&volume),
    );
}
