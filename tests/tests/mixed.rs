//! 16-bit activations with 8-bit weights: the bytes of the 16-bit kernels on widened weights, updates of
//! 8-bit parameters, and gradients against floats.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::mixed::{self, Activation as MixedWith};
use selvedge_kernels::optim::{Gradient, Parameter, Rate, Role, Sgd};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Element, Error, conv};
use selvedge_tests::curve::Curve;
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance::COSINE_16_BITS;
use selvedge_tests::windows::{filter_len, lens, random_shape};

fn elements<T: Element>(noise: &mut Noise, n: usize) -> Vec<T> {
    let largest = f64::from((1u32 << T::MAGNITUDE_BITS) - 1);
    (0..n)
        .map(|_| match noise.below(8) {
            0 => T::from_f64(largest),
            1 => T::from_f64(-largest),
            2 => T::ZERO,
            _ => T::from_f64(noise.signed() * largest),
        })
        .collect()
}

fn store<A: Element>(shift: i32, rounding: Rounding) -> Epilogue<A> {
    let store = Store::Shift { shift, rounding };
    Epilogue {
        activation: Activation::Identity,
        exponent: 0,
        store,
    }
}

/// Every activation, those that keep slopes included; and no activation, with random words.
fn epilogues<A: Element>() -> Vec<Epilogue<A>> {
    let exponent = -22;
    let mut all: Vec<_> = Curve::ALL
        .map(|curve| Epilogue {
            exponent,
            ..store(10, Rounding::NearestEven).with(curve.activation())
        })
        .into();
    all.push(store(9, Rounding::Stochastic(Words::new(5, 2, 1))));
    all
}

/// Every kernel against that of `A` with the same weights in 16 bits.
fn is_the_wide_kernel<A, W>()
where
    A: MixedWith<W> + Output<A> + Element<Bias = i16>,
    W: Element,
    i64: Into<W::Update>,
{
    let mut noise = Noise::new(17);
    let name = format!("{} with {}", A::DTYPE, W::DTYPE);
    let rounding = Rounding::Stochastic(Words::new(5, 2, 1));
    let stochastic = store::<A>(9, rounding);
    for (batch, inputs, outputs) in [(1, 1, 1), (3, 31, 2), (5, 33, 7), (9, 70, 3), (4, 128, 41)] {
        let shape = dense::Shape {
            batch,
            inputs,
            outputs,
        };
        let weight = elements::<W>(&mut noise, outputs * inputs);
        let wide: Vec<A> = weight.iter().map(|w| A::from_f64(w.to_f64())).collect();
        let (x, dy) = (
            elements::<A>(&mut noise, batch * inputs),
            elements::<A>(&mut noise, batch * outputs),
        );
        let bias = elements::<i16>(&mut noise, outputs);
        for epilogue in epilogues() {
            let bias = Bias {
                values: &bias,
                shift: -3,
            };
            let (mut got, mut got_slope) = (vec![A::ZERO; dy.len()], vec![A::ZERO; dy.len()]);
            let (mut want, mut slope) = (got.clone(), got_slope.clone());
            let range = mixed::dense_forward(
                &Threads(3),
                shape,
                &x,
                &weight,
                bias,
                epilogue,
                &mut got,
                &mut got_slope,
            );
            assert_eq!(
                range,
                dense::forward(
                    &Serial, shape, &x, &wide, bias, epilogue, &mut want, &mut slope
                )
            );
            assert_eq!((got, got_slope), (want, slope), "{name} {shape:?}: forward");
        }
        let (mut got, mut want) = (vec![A::ZERO; x.len()], vec![A::ZERO; x.len()]);
        let range = mixed::dense_backward_input(
            &Threads(2),
            shape,
            &dy,
            &weight,
            stochastic.store,
            &mut got,
        );
        assert_eq!(
            range,
            dense::backward_input(&Serial, shape, &dy, &wide, stochastic.store, &mut want)
        );
        assert_eq!(got, want, "{name} {shape:?}: input gradient");
        let (mut got, mut want) = (
            vec![0i64; weight.len()],
            vec![A::Acc::default(); weight.len()],
        );
        mixed::dense_backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut got)).unwrap();
        dense::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut want)).unwrap();
        assert_eq!(got, want, "{name} {shape:?}: weight gradient");
    }
}

/// The same of convolutions over `N` axes.
fn is_the_wide_convolution<A, W, const N: usize>()
where
    A: MixedWith<W> + Output<A> + Element<Bias = i16>,
    W: Element,
    i64: Into<W::Update>,
{
    let mut noise = Noise::new(18);
    let name = format!("{} with {}", A::DTYPE, W::DTYPE);
    let rounding = Rounding::Stochastic(Words::new(5, 2, 1));
    let stochastic = store::<A>(9, rounding);
    for _ in 0..40 {
        let shape = random_shape::<N>(&mut noise);
        let [x_len, y_len] = lens(&shape);
        let weight = elements::<W>(&mut noise, shape.filters * filter_len(&shape));
        let wide: Vec<A> = weight.iter().map(|w| A::from_f64(w.to_f64())).collect();
        let (x, dy) = (
            elements::<A>(&mut noise, x_len),
            elements::<A>(&mut noise, y_len),
        );
        let bias = elements::<i16>(&mut noise, shape.filters);
        let bias = Bias {
            values: &bias,
            shift: 1,
        };
        for epilogue in epilogues() {
            let (mut got, mut got_slope) = (vec![A::ZERO; y_len], vec![A::ZERO; y_len]);
            let (mut want, mut slope) = (got.clone(), got_slope.clone());
            let range = mixed::conv_forward(
                &Threads(3),
                shape,
                &x,
                &weight,
                bias,
                epilogue,
                &mut got,
                &mut got_slope,
            );
            assert_eq!(
                range,
                conv::forward(
                    &Serial, shape, &x, &wide, bias, epilogue, &mut want, &mut slope
                )
            );
            assert_eq!((got, got_slope), (want, slope), "{name} {shape:?}: forward");
        }
        let (mut got, mut want) = (vec![A::ZERO; x_len], vec![A::ZERO; x_len]);
        let range = mixed::conv_backward_input(
            &Threads(2),
            shape,
            &dy,
            &weight,
            stochastic.store,
            &mut got,
        );
        assert_eq!(
            range,
            conv::backward_input(&Serial, shape, &dy, &wide, stochastic.store, &mut want)
        );
        assert_eq!(got, want, "{name} {shape:?}: input gradient");
        let (mut got, mut want) = (
            vec![0i64; weight.len()],
            vec![A::Acc::default(); weight.len()],
        );
        mixed::conv_backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut got)).unwrap();
        conv::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut want)).unwrap();
        assert_eq!(got, want, "{name} {shape:?}: filter gradient");
    }
}

#[test]
fn kernels_give_the_bytes_of_widened_weights() {
    is_the_wide_kernel::<i16, i8>();
    is_the_wide_kernel::<i16, u8>();
    is_the_wide_kernel::<u16, i8>();
    is_the_wide_kernel::<u16, u8>();
}

#[test]
fn convolutions_give_the_bytes_of_widened_filters() {
    is_the_wide_convolution::<i16, i8, 1>();
    is_the_wide_convolution::<i16, u8, 1>();
    is_the_wide_convolution::<u16, i8, 1>();
    is_the_wide_convolution::<u16, u8, 1>();
    is_the_wide_convolution::<i16, i8, 2>();
    is_the_wide_convolution::<i16, u8, 2>();
    is_the_wide_convolution::<u16, i8, 2>();
    is_the_wide_convolution::<u16, u8, 2>();
    is_the_wide_convolution::<i16, i8, 3>();
    is_the_wide_convolution::<i16, u8, 3>();
    is_the_wide_convolution::<u16, i8, 3>();
    is_the_wide_convolution::<u16, u8, 3>();
}

/// An update on the way of the gradient is that of the gradient handed over afterwards: as if 8-bit
/// weights had been trained by 16-bit sums.
#[test]
fn updates_are_those_of_eight_bit_parameters() {
    let mut noise = Noise::new(2);
    let shape = dense::Shape {
        batch: 8,
        inputs: 20,
        outputs: 5,
    };
    let (x, dy) = (
        elements::<i16>(&mut noise, 160),
        elements::<i16>(&mut noise, 40),
    );
    let start = elements::<i8>(&mut noise, 100);
    let sgd = Sgd {
        momentum: 200,
        ..Sgd::new(Rate {
            mantissa: 160,
            exponent: -9,
        })
    };
    let words = Words::new(1, 2, 3);
    let mut sums = vec![0i64; 100];
    mixed::dense_backward_weight(shape, &x, &dy, &mut Gradient::<i8, i64>::Store(&mut sums))
        .unwrap();
    let train = |at_once: bool| {
        let (mut value, mut residual, mut velocity, mut exponent) =
            (start.clone(), vec![0i8; 100], vec![0i16; 100], -7i16);
        let parameter = Parameter {
            value: &mut value,
            residual: &mut residual,
            velocity: &mut velocity,
            exponent: &mut exponent,
            role: Role::Weight,
        };
        let mut gradient = Gradient::Apply(parameter.update(&sgd, -30, words).unwrap());
        if at_once {
            mixed::dense_backward_weight(shape, &x, &dy, &mut gradient).unwrap();
        } else {
            // One "sample" whose input is 1 and whose errors are the sums cannot be written in 16 bits;
            // the filter gradient of a 1x1 convolution is another way to the same sums.
            let conv = conv::Shape {
                batch: 1,
                input: [2, 4],
                channels: 20,
                filters: 5,
                groups: 1,
                window: Window::uniform(1, 1, 0),
            };
            mixed::conv_backward_weight(conv, &x, &dy, &mut gradient).unwrap();
        }
        gradient.finish();
        (value, residual, velocity, exponent)
    };
    let trained = train(true);
    assert_eq!(trained, train(false));
    assert!(
        trained.0 != start && trained.1.iter().any(|&r| r != 0),
        "weights and residuals move"
    );
    // Plain descent from a master of zero goes against the sign of the sum.
    for ((&sum, &after), &before) in sums.iter().zip(&trained.0).zip(&start) {
        let moved = i64::from(after) - i64::from(before);
        assert!(
            moved == 0 || trained.3 != -7 || (moved > 0) == (sum < 0),
            "{sum} {before} {after}"
        );
    }
}

/// A layer's gradients in 16 bits with weights of 8, against `f64` with the same weights.
#[test]
fn gradients_point_where_those_of_floats_do() {
    let mut noise = Noise::new(6);
    let shape = dense::Shape {
        batch: 16,
        inputs: 40,
        outputs: 30,
    };
    let (x, dy) = (noise.vector(16 * 40, 1.0), noise.vector(16 * 30, 1.0));
    let weight = elements::<i8>(&mut noise, 30 * 40);
    let w: Vec<f64> = weight.iter().map(|&w| f64::from(w) / 128.0).collect();
    let stored = |x: &[f64]| -> Vec<i16> { x.iter().map(|x| i16::from_f64(x * 32767.0)).collect() };
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    dense::backward_input(&Serial, shape, &dy, &w, Store::EXACT, &mut dx).unwrap();
    dense::backward_weight(shape, &x, &dy, &mut Gradient::<f64, f64>::Store(&mut dw)).unwrap();
    let (mut dx_q, mut dw_q) = (vec![0i16; x.len()], vec![0i64; w.len()]);
    let (x_q, dy_q) = (stored(&x), stored(&dy));
    let rounding = Rounding::Stochastic(Words::new(5, 2, 1));
    mixed::dense_backward_input(
        &Serial,
        shape,
        &dy_q,
        &weight,
        store::<i16>(11, rounding).store,
        &mut dx_q,
    )
    .unwrap();
    mixed::dense_backward_weight(
        shape,
        &x_q,
        &dy_q,
        &mut Gradient::<i8, i64>::Store(&mut dw_q),
    )
    .unwrap();
    let cosine = |a: &[f64], b: &[f64]| {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let dx_q: Vec<f64> = dx_q.into_iter().map(f64::from).collect();
    let dw_q: Vec<f64> = dw_q.into_iter().map(|d| d as f64).collect();
    assert!(
        cosine(&dx, &dx_q) >= COSINE_16_BITS.0,
        "{}",
        cosine(&dx, &dx_q)
    );
    assert!(
        cosine(&dw, &dw_q) >= COSINE_16_BITS.0,
        "{}",
        cosine(&dw, &dw_q)
    );
}

#[test]
fn refusals_say_what_and_write_nothing() {
    fn length<T>(arg: Arg, expected: usize, got: usize) -> Result<T, Error> {
        Err(Error::Length { arg, expected, got })
    }
    let shape = dense::Shape {
        batch: 2,
        inputs: 5,
        outputs: 3,
    };
    let (x, weight, values) = ([1i16; 64], [1i8; 64], [0i16; 8]);
    let bias = |n: usize| Bias::<i16> {
        values: &values[..n],
        shift: 0,
    };
    let e = Epilogue::EXACT;
    let mut out = [7i16; 64];
    let mut forward = |shape, x: usize, w: usize, b: usize, y: usize| {
        mixed::dense_forward(
            &Serial,
            shape,
            &[1i16; 64][..x],
            &weight[..w],
            bias(b),
            e,
            &mut out[..y],
            &mut [],
        )
    };
    assert_eq!(forward(shape, 9, 15, 3, 6), length(Arg::X, 10, 9));
    assert_eq!(forward(shape, 10, 14, 3, 6), length(Arg::Weight, 15, 14));
    assert_eq!(forward(shape, 10, 15, 2, 6), length(Arg::Bias, 3, 2));
    assert_eq!(forward(shape, 10, 15, 3, 7), length(Arg::Out, 6, 7));
    let empty = dense::Shape { inputs: 0, ..shape };
    assert_eq!(
        forward(empty, 0, 0, 3, 6),
        Err(Error::Zero { arg: Arg::Shape })
    );
    let huge = dense::Shape {
        batch: usize::MAX,
        ..shape
    };
    assert_eq!(
        forward(huge, 10, 15, 3, 6),
        Err(Error::Overflow {
            arg: Arg::Shape,
            got: None,
        })
    );
    let long = dense::Shape {
        batch: 1,
        inputs: (1 << 31) + 1,
        outputs: 1,
    };
    let refused = Error::Accumulator {
        terms: (1 << 31) + 1,
        limit: 1 << 31,
    };
    assert_eq!(forward(long, 10, 15, 1, 1), Err(refused));
    let mut slope = [7i16; 5];
    let got = mixed::dense_forward(
        &Serial,
        shape,
        &x[..10],
        &weight[..15],
        bias(3),
        e,
        &mut [7; 6],
        &mut slope,
    );
    assert_eq!((got, slope), (length(Arg::Slope, 6, 5), [7; 5]));
    let mut backward = |dy: usize, w: usize, dx: usize| {
        mixed::dense_backward_input(
            &Serial,
            shape,
            &x[..dy],
            &weight[..w],
            e.store,
            &mut out[..dx],
        )
    };
    assert_eq!(backward(5, 15, 10), length(Arg::Dy, 6, 5));
    assert_eq!(backward(6, 16, 10), length(Arg::Weight, 15, 16));
    assert_eq!(backward(6, 15, 11), length(Arg::Dx, 10, 11));
    let mut sums = [7i64; 64];
    let mut gradient = |x_len: usize, dy: usize, dw: usize| {
        mixed::dense_backward_weight(
            shape,
            &x[..x_len],
            &x[..dy],
            &mut Gradient::<i8, i64>::Store(&mut sums[..dw]),
        )
    };
    assert_eq!(gradient(9, 6, 15), length(Arg::X, 10, 9));
    assert_eq!(gradient(10, 7, 15), length(Arg::Dy, 6, 7));
    assert_eq!(gradient(10, 6, 16), length(Arg::Dw, 15, 16));

    let shape = conv::Shape {
        batch: 1,
        input: [3, 3],
        channels: 2,
        filters: 4,
        groups: 2,
        window: Window::uniform(2, 1, 0),
    };
    let mut forward = |shape, x_len: usize, w: usize, b: usize, y: usize| {
        mixed::conv_forward(
            &Serial,
            shape,
            &x[..x_len],
            &weight[..w],
            bias(b),
            e,
            &mut out[..y],
            &mut [],
        )
    };
    assert_eq!(forward(shape, 17, 16, 4, 16), length(Arg::X, 18, 17));
    assert_eq!(forward(shape, 18, 15, 4, 16), length(Arg::Weight, 16, 15));
    assert_eq!(forward(shape, 18, 16, 5, 16), length(Arg::Bias, 4, 5));
    assert_eq!(forward(shape, 18, 16, 4, 15), length(Arg::Out, 16, 15));
    let wide = conv::Shape {
        window: Window::uniform(4, 1, 0),
        ..shape
    };
    assert_eq!(
        forward(wide, 18, 16, 4, 16),
        Err(Error::Window {
            axis: 0,
            span: 4,
            input: 3
        })
    );
    let groups = conv::Shape { groups: 3, ..shape };
    assert_eq!(
        forward(groups, 18, 16, 4, 16),
        Err(Error::Groups {
            channels: 2,
            filters: 4,
            groups: 3
        })
    );
    let mut slope = [7i16; 17];
    let got = mixed::conv_forward(
        &Serial,
        shape,
        &x[..18],
        &weight[..16],
        bias(4),
        e,
        &mut [7; 16],
        &mut slope,
    );
    assert_eq!((got, slope), (length(Arg::Slope, 16, 17), [7; 17]));
    let mut backward = |dy: usize, w: usize, dx: usize| {
        mixed::conv_backward_input(
            &Serial,
            shape,
            &x[..dy],
            &weight[..w],
            e.store,
            &mut out[..dx],
        )
    };
    assert_eq!(backward(15, 16, 18), length(Arg::Dy, 16, 15));
    assert_eq!(backward(16, 15, 18), length(Arg::Weight, 16, 15));
    assert_eq!(backward(16, 16, 17), length(Arg::Dx, 18, 17));
    let mut gradient = |x_len: usize, dy: usize, dw: usize| {
        mixed::conv_backward_weight(
            shape,
            &x[..x_len],
            &x[..dy],
            &mut Gradient::<i8, i64>::Store(&mut sums[..dw]),
        )
    };
    assert_eq!(gradient(17, 16, 16), length(Arg::X, 18, 17));
    assert_eq!(gradient(18, 15, 16), length(Arg::Dy, 16, 15));
    assert_eq!(gradient(18, 16, 15), length(Arg::Dw, 16, 15));
    assert!(out == [7; 64] && sums == [7; 64]);
}
