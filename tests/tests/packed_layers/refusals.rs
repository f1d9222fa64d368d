//! NaN and bad input.

use super::NEAREST;
use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::packed::{self, Format, Weights};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Error, conv};

#[test]
fn nan_reaches_floats_and_is_zero_in_integers() {
    let shape = dense::Shape {
        batch: 1,
        inputs: 2,
        outputs: 3,
    };
    let codes = [0x7F, 0x38, 0x38, 0x38, 0x38, 0x38]; // NaN, 1, …
    let weights = Weights::new(Format::Fp8E4M3, 3, 2, &codes, &[0i8]).unwrap();
    let bias = Bias {
        values: &[0.0f32; 3],
        shift: 0,
    };
    let mut out = [0.0f32; 3];
    packed::dense::forward(
        &Serial,
        shape,
        &[2.0, 3.0],
        weights,
        bias,
        Epilogue::EXACT,
        &mut out,
        &mut [],
    )
    .unwrap();
    assert!(out[0].is_nan() && out[1..] == [5.0, 5.0]);
    let mut dx = [0.0f32; 2];
    packed::dense::backward_input(
        &Serial,
        shape,
        &[0.0, 1.0, 0.0],
        weights,
        Store::EXACT,
        &mut dx,
    )
    .unwrap();
    assert!(dx[0].is_nan() && dx[1] == 1.0, "zero times NaN is NaN");
    packed::dense::forward(
        &Serial,
        shape,
        &[f32::NAN, 3.0],
        weights,
        bias,
        Epilogue::EXACT,
        &mut out,
        &mut [],
    )
    .unwrap();
    assert!(out.iter().all(|y| y.is_nan()));
    let bias = Bias::<i16> {
        values: &[0; 3],
        shift: 0,
    };
    let shift = -weights.unit::<i16>(2).unwrap();
    let epilogue = Epilogue {
        activation: Activation::Identity,
        exponent: 0,
        store: Store::Shift {
            shift,
            rounding: NEAREST,
        },
    };
    let mut out = [0i16; 3];
    packed::dense::forward(
        &Serial,
        shape,
        &[2i16, 3],
        weights,
        bias,
        epilogue,
        &mut out,
        &mut [],
    )
    .unwrap();
    assert_eq!(out, [3, 5, 5]);
}

#[test]
fn refusals_say_what_and_write_nothing() {
    let length = |arg, expected, got| Err(Error::Length { arg, expected, got });
    let codes = [0x21u8; 9];
    let weights = Weights::new(Format::Int4, 3, 5, &codes, &[0i8]).unwrap();
    let shape = dense::Shape {
        batch: 2,
        inputs: 5,
        outputs: 3,
    };
    let mut out = [7i8; 6];
    let bias = |n: usize| Bias::<i8> {
        values: &[0; 4][..n],
        shift: 0,
    };
    let x = [1i8; 11];
    let e = Epilogue::EXACT;
    let mut forward = |shape, x: &[i8], weights, bias, n: usize| {
        packed::dense::forward(&Serial, shape, x, weights, bias, e, &mut out[..n], &mut [])
    };
    assert_eq!(
        forward(shape, &x[..9], weights, bias(3), 6),
        length(Arg::X, 10, 9)
    );
    assert_eq!(
        forward(shape, &x[..10], weights, bias(4), 6),
        length(Arg::Bias, 3, 4)
    );
    assert_eq!(
        forward(shape, &x[..10], weights, bias(3), 5),
        length(Arg::Out, 6, 5)
    );
    let wrong = dense::Shape {
        outputs: 2,
        ..shape
    };
    assert_eq!(
        forward(wrong, &x[..10], weights, bias(2), 4),
        length(Arg::Weight, 2, 3)
    );
    let wrong = dense::Shape { inputs: 4, ..shape };
    assert_eq!(
        forward(wrong, &x[..8], weights, bias(3), 6),
        length(Arg::Weight, 4, 5)
    );
    let empty = dense::Shape { batch: 0, ..shape };
    assert_eq!(
        forward(empty, &[], weights, bias(3), 0),
        Err(Error::Zero { arg: Arg::Shape })
    );
    // 15 + 32 bits of a product leave 15 for their number.
    let wide = Weights::new(Format::Fp8E5M2, 1, 1 << 16, &[0; 1 << 16], &[0i8]).unwrap();
    let refused = Error::Accumulator {
        terms: 1 << 16,
        limit: 1 << 15,
    };
    assert_eq!(wide.unit::<i16>(1 << 15), Ok(-15));
    assert_eq!(wide.unit::<i16>(1 << 16), Err(refused));
    let long = dense::Shape {
        batch: 1,
        inputs: 1 << 16,
        outputs: 1,
    };
    let (x, bias16, mut far) = (vec![1i16; 1 << 16], [0i16], [7i16]);
    let bias16 = Bias {
        values: &bias16,
        shift: 0,
    };
    let got = packed::dense::forward(
        &Serial,
        long,
        &x,
        wide,
        bias16,
        Epilogue::EXACT,
        &mut far,
        &mut [],
    );
    assert_eq!((got, far), (Err(refused), [7]));
    let x = [1i8; 11];
    assert_eq!(weights.unit::<i8>(1 << 30), Ok(10), "40 bits keep 30");
    assert_eq!(weights.unit::<i16>(1 << 30), Ok(0), "48 bits fit");
    let mut slope = [7i8; 5];
    let bias3 = bias(3);
    let got = packed::dense::forward(
        &Serial,
        shape,
        &x[..10],
        weights,
        bias3,
        e,
        &mut out,
        &mut slope,
    );
    assert_eq!((got, slope), (length(Arg::Slope, 6, 5), [7; 5]));
    let mut dx = [7i8; 10];
    let mut backward = |dy: &[i8], n: usize| {
        packed::dense::backward_input(&Serial, shape, dy, weights, e.store, &mut dx[..n])
    };
    assert_eq!(backward(&x[..5], 10), length(Arg::Dy, 6, 5));
    assert_eq!(backward(&x[..6], 9), length(Arg::Dx, 10, 9));
    assert!(out == [7; 6] && dx == [7; 10]);

    let shape = conv::Shape {
        batch: 1,
        input: [3, 3],
        channels: 5,
        filters: 3,
        groups: 1,
        window: Window::uniform(1, 1, 0),
    };
    let (x, mut out) = ([1i8; 45], [7i8; 27]);
    let mut forward = |shape, x: &[i8], n: usize| {
        packed::conv::forward(
            &Serial,
            shape,
            x,
            weights,
            bias(3),
            e,
            &mut out[..n],
            &mut [],
        )
    };
    assert_eq!(forward(shape, &x[..44], 27), length(Arg::X, 45, 44));
    assert_eq!(forward(shape, &x, 26), length(Arg::Out, 27, 26));
    let mut slope = [7i8; 26];
    let got = packed::conv::forward(
        &Serial,
        shape,
        &x,
        weights,
        bias(3),
        e,
        &mut [7i8; 27],
        &mut slope,
    );
    assert_eq!((got, slope), (length(Arg::Slope, 27, 26), [7; 26]));
    let wide = conv::Shape {
        window: Window::uniform(4, 1, 0),
        ..shape
    };
    assert_eq!(
        forward(wide, &x, 27),
        Err(Error::Window {
            axis: 0,
            span: 4,
            input: 3
        })
    );
    let wrong = conv::Shape {
        window: Window::uniform(2, 1, 0),
        ..shape
    };
    assert_eq!(forward(wrong, &x, 12), length(Arg::Weight, 20, 5));
    let groups = conv::Shape { groups: 2, ..shape };
    assert_eq!(
        forward(groups, &x, 27),
        Err(Error::Groups {
            channels: 5,
            filters: 3,
            groups: 2
        })
    );
    let mut dx = [7i8; 45];
    let mut backward = |dy: &[i8], n: usize| {
        packed::conv::backward_input(&Serial, shape, dy, weights, e.store, &mut dx[..n])
    };
    assert_eq!(backward(&x[..26], 45), length(Arg::Dy, 27, 26));
    assert_eq!(backward(&x[..27], 44), length(Arg::Dx, 45, 44));
    assert!(out == [7; 27] && dx == [7; 45]);
}
