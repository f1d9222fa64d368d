//! Moving and choosing elements: against definitions, as properties, and against PyTorch.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod definitions;
mod refusals;

use selvedge_kernels::axes::Operand;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::layout::{self, Padding, PaddingMode};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Element, select};
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::{
    assert_close, central, elements, extents, inner, number, numbers, rne, values,
};
use selvedge_tests::{for_floats, for_integers, tolerance};

fn concat_takes_parts_to_the_largest_exponent<T: Element>() {
    let mut noise = Noise::new(20);
    let (a, b, c) = (
        elements::<T>(&mut noise, 6),
        elements::<T>(&mut noise, 4),
        elements::<T>(&mut noise, 2),
    );
    let part = |values, columns, exponent| Operand {
        values,
        extents: extents(&[2, columns]),
        exponent,
    };
    let mut out = vec![T::ZERO; 12];
    let parts = [
        part(&a[..], 3, -5),
        part(&b[..], 2, -2),
        part(&c[..], 1, -40),
    ];
    assert_eq!(layout::concat(1, &parts, &mut out).unwrap(), -2);
    let shifted = |x: &[T], by| -> Vec<i128> { x.iter().map(|&x| rne(number(x), by)).collect() };
    let (a, b, c) = (shifted(&a, 3), shifted(&b, 0), shifted(&c, 38));
    let want = [&a[..3], &b[..2], &c[..1], &a[3..], &b[2..], &c[1..]].concat();
    assert_eq!(numbers(&out), want, "{}", T::DTYPE);
}

#[test]
fn concatenation_rounds_to_the_largest_exponent() {
    for_integers!(concat_takes_parts_to_the_largest_exponent);
    // What lies beyond the magnitude bits in raw input stays, where nothing is shifted.
    let part = Operand {
        values: &[-128i8],
        extents: extents(&[1]),
        exponent: 0,
    };
    let mut out = [0];
    layout::concat(0, &[part], &mut out).unwrap();
    assert_eq!(out, [-128]);
}

#[test]
fn gradients_are_the_differences() {
    let mut noise = Noise::new(21);
    let all = extents(&[3, 4, 2]);
    let x = noise.vector(24, 1.0);
    let check = |place: &str,
                 m: usize,
                 forward: &dyn Fn(&[f64], &mut [f64]),
                 back: &dyn Fn(&[f64], &mut [f64])| {
        let weights = Noise::new(22).vector(m, 1.0);
        let loss = |x: &[f64]| {
            let mut y = vec![0.0; m];
            forward(x, &mut y);
            inner(&y, &weights)
        };
        let mut dx = vec![0.0; 24];
        back(&weights, &mut dx);
        assert_close(place, &central(&x, loss), &dx, tolerance::LINEAR_DIFFERENCE);
    };
    for mode in [
        PaddingMode::Constant(0.5),
        PaddingMode::Reflect,
        PaddingMode::Edge,
    ] {
        let padding = Padding {
            sides: &[[1, 2], [3, 0], [1, 1]],
            mode,
        };
        check(
            &format!("{mode:?}"),
            6 * 7 * 4,
            &|x, y| layout::pad(&Serial, all, padding, x, y).unwrap(),
            &|y, x| {
                layout::pad_backward(&Serial, all, padding, y, Store::EXACT, x).unwrap();
            },
        );
    }
    let indices = [3, 1, 1];
    check(
        "gather",
        18,
        &|x, y| layout::gather(all, 1, &indices, x, y).unwrap(),
        &|y, x| {
            layout::gather_backward(&Serial, all, 1, &indices, y, Store::EXACT, x).unwrap();
        },
    );
    let mut found = vec![0; 12];
    select::top_k(all, 1, 2, &x, &mut [0.0; 12], &mut found).unwrap();
    check(
        "top k",
        12,
        &|x, y| select::top_k(all, 1, 2, x, y, &mut [0; 12]).unwrap(),
        &|y, x| select::top_k_backward(all, 1, 2, &found, y, x).unwrap(),
    );
}

fn nan_is_the_largest<T: Element>() {
    let x = [1.0, f64::NAN, 3.0, f64::NAN, 2.0].map(T::from_f64);
    let all = extents(&[5]);
    let (mut most, mut least) = ([9], [9]);
    select::argmax(&Serial, all, 0, &x, &mut most).unwrap();
    select::argmin(&Serial, all, 0, &x, &mut least).unwrap();
    assert_eq!((most, least), ([1], [1]), "the first NaN");
    let (mut out, mut indices) = ([T::ZERO; 4], [9; 4]);
    select::top_k(all, 0, 4, &x, &mut out, &mut indices).unwrap();
    assert_eq!(indices, [1, 3, 2, 4]);
    assert!(values(&out[..2]).iter().all(|x| x.is_nan()));
}

#[test]
fn nan_counts_as_the_largest() {
    for_floats!(nan_is_the_largest);
}
