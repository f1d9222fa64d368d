//! Pools under windows, of parts and of the whole.

use super::definitions::{Windows, adaptive, counted, largest, mean, pool};
use super::{TABLE, Uneven, uneven};
use selvedge_core::net::AdaptiveAveragePool;
use selvedge_core::net::AdaptiveMaxPool;
use selvedge_core::net::AveragePool;
use selvedge_core::net::GlobalAveragePool;
use selvedge_core::net::GlobalMaxPool;
use selvedge_core::net::MaxPool;
use selvedge_core::net::PadCeil;
use selvedge_core::net::Padding;
use selvedge_core::net::Same;
use selvedge_core::net::Slide;
use selvedge_core::net::Step;
use selvedge_core::net::windows;
use selvedge_core::tensor::D1;
use selvedge_core::tensor::D2;
use selvedge_core::tensor::D3;
use selvedge_core::tensor::D4;
use selvedge_tests::check_layer;
use selvedge_tests::layers::Case;
use selvedge_tests::layers::check_f64;

#[test]
fn pools() {
    let threes = Windows::of([1, 3, 3]).stride([2; 3]).before([0, 1, 1]);
    let image = [[1, 5, 5], [1, 3, 3]];
    check_layer!(T => MaxPool<T, D3<5, 5, 2>, D3<3, 3, 2>, D2<3, 3>, Slide<2, 1>>,
        Case::new("overlapping max_pool").defined(&pool(threes, image, 2, largest)));
    let pairs = Windows::of([1, 1, 2]).stride([2; 3]);
    check_layer!(T => MaxPool<T, D2<6, 3>, D2<3, 3>, D1<2>>,
        Case::new("max_pool1d").defined(&pool(pairs, [[1, 1, 6], [1, 1, 3]], 3, largest)));
    let cubes = Windows::of([2; 3]).stride([2; 3]);
    check_layer!(T => MaxPool<T, D4<2, 4, 4, 2>, D4<1, 2, 2, 2>, D3<2, 2, 2>>,
        Case::new("max_pool3d").defined(&pool(cubes, [[2, 4, 4], [1, 2, 2]], 2, largest)));
    check_layer!(T => AveragePool<T, D3<5, 5, 2>, D3<3, 3, 2>, D2<3, 3>, Same<2>, false>,
        Case::new("average_pool, padding not counted").off_by(TABLE).defined(&pool(threes, image, 2, mean)));
    let triples = Windows::of([1, 1, 3]).stride([2; 3]).before([0, 0, 1]);
    check_layer!(T => AveragePool<T, D2<7, 2>, D2<4, 2>, D1<3>, Slide<2, 1>>,
        Case::new("average_pool1d").off_by(TABLE).defined(&pool(triples, [[1, 1, 7], [1, 1, 4]], 2, counted(3))));
}

/// PyTorch's `ceil_mode`: a last window that begins within the input may reach beyond its padding.
#[test]
fn pools_round_their_extents_up() {
    let pairs = Windows::of([1, 1, 2]).stride([2; 3]);
    let signal = [[1, 1, 5], [1, 1, 3]];
    check_layer!(T => MaxPool<T, D2<5, 3>, D2<3, 3>, D1<2>, Step<2, 2, PadCeil>>,
        Case::new("max_pool1d, rounded up").defined(&pool(pairs, signal, 3, largest)));
    let threes = Windows::of([1, 3, 3]).stride([1, 2, 2]).before([0, 1, 1]);
    check_layer!(T => AveragePool<T, D3<6, 5, 2>, D3<4, 3, 2>, D2<3, 3>, Step<2, 2, PadCeil<1>>, false>,
        Case::new("average_pool, rounded up").off_by(TABLE)
            .defined(&pool(threes, [[1, 6, 5], [1, 4, 3]], 2, mean)));
    // The rule of PyTorch's documentation, for all small windows.
    for (input, kernel) in (1..12usize).flat_map(|input| (1..6).map(move |kernel| (input, kernel)))
    {
        for (stride, cells) in (1..5).flat_map(|stride| (0..=kernel / 2).map(move |p| (stride, p)))
        {
            if input + 2 * cells < kernel {
                continue;
            }
            let mut want = (input + 2 * cells - kernel).div_ceil(stride) + 1;
            if (want - 1) * stride >= input + cells {
                want -= 1;
            }
            let got = windows(input, kernel, stride, Padding::Ceil([[cells; 2]; 3]), 1);
            assert_eq!(
                got, want,
                "{input} by {kernel}, stride {stride}, padding {cells}"
            );
        }
    }
}

#[test]
fn pools_of_every_geometry() {
    let windows = uneven([2, 3, 2]);
    // (3 + 1 - 3) / 1 + 1, (4 + 2 - 3) / 2 + 1, (6 + 3 - 3) / 3 + 1.
    let volume = [[3, 4, 6], [2, 2, 3]];
    check_f64::<MaxPool<f64, D4<3, 4, 6, 2>, D4<2, 2, 3, 2>, D3<2, 3, 2>, Uneven>, 3>(
        &Case::new("max_pool3d, uneven").defined(&pool(windows, volume, 2, largest)),
    );
    check_f64::<AveragePool<f64, D4<3, 4, 6, 2>, D4<2, 2, 3, 2>, D3<2, 3, 2>, Uneven, false>, 3>(
        &Case::new("average_pool3d, uneven").defined(&pool(windows, volume, 2, mean)),
    );
    check_f64::<AveragePool<f64, D4<3, 4, 6, 2>, D4<2, 2, 3, 2>, D3<2, 3, 2>, Uneven>, 3>(
        &Case::new("average_pool3d, uneven, counted").defined(&pool(
            windows,
            volume,
            2,
            counted(12),
        )),
    );
    let windows = windows.before([0, 0, 2]);
    let image = [[1, 4, 6], [1, 2, 3]];
    let flat = Windows {
        kernel: [1, 3, 2],
        ..windows
    };
    check_f64::<MaxPool<f64, D3<4, 6, 2>, D3<2, 3, 2>, D2<3, 2>, Uneven>, 3>(
        &Case::new("max_pool2d, uneven").defined(&pool(flat, image, 2, largest)),
    );
    // 3 windows of 2 rows in steps of 2 reach over 6, 4 of 3 columns over 9: a row behind, a column on each side.
    let same = Windows::of([1, 2, 3]).stride([1, 2, 2]).before([0, 0, 1]);
    check_f64::<AveragePool<f64, D3<5, 7, 2>, D3<3, 4, 2>, D2<2, 3>, Same<2>>, 3>(
        &Case::new("average_pool2d, same, counted").defined(&pool(
            same,
            [[1, 5, 7], [1, 3, 4]],
            2,
            counted(6),
        )),
    );
}

#[test]
fn pools_of_parts() {
    check_layer!(T => GlobalAveragePool<T, D4<2, 3, 2, 3>>,
        Case::new("global average").off_by(TABLE).defined(&adaptive([[2, 3, 2], [1; 3]], 3, mean)));
    check_layer!(T => GlobalMaxPool<T, D3<3, 3, 2>>,
        Case::new("global max").defined(&adaptive([[1, 3, 3], [1; 3]], 2, largest)));
    check_layer!(T => AdaptiveAveragePool<T, D3<5, 7, 2>, D3<2, 3, 2>>,
        Case::new("adaptive average").off_by(TABLE).defined(&adaptive([[1, 5, 7], [1, 2, 3]], 2, mean)));
    check_layer!(T => AdaptiveMaxPool<T, D2<7, 2>, D2<3, 2>>,
        Case::new("adaptive max").defined(&adaptive([[1, 1, 7], [1, 1, 3]], 2, largest)));
    check_f64::<AdaptiveMaxPool<f64, D4<3, 5, 4, 2>, D4<2, 3, 3, 2>>, 3>(
        &Case::new("adaptive max over three axes").defined(&adaptive(
            [[3, 5, 4], [2, 3, 3]],
            2,
            largest,
        )),
    );
    check_f64::<AdaptiveAveragePool<f64, D2<7, 2>, D2<4, 2>>, 3>(
        &Case::new("adaptive average over one axis").defined(&adaptive(
            [[1, 1, 7], [1, 1, 4]],
            2,
            mean,
        )),
    );
    check_f64::<AdaptiveAveragePool<f64, D4<3, 5, 4, 2>, D4<2, 3, 3, 2>>, 3>(
        &Case::new("adaptive average over three axes").defined(&adaptive(
            [[3, 5, 4], [2, 3, 3]],
            2,
            mean,
        )),
    );
}
