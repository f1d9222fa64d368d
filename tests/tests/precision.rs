//! Floats of 16 and 32 bits against f64 on the same numbers, within the documented bounds.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::Bias;
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{Sum, cross_entropy, squared_error};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, activation, bf16, conv, dense, f16, pool};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance::{self, Float};

/// Numbers of the type, and the same as `f64`.
fn numbers<T: Element>(noise: &mut Noise, n: usize) -> (Vec<T>, Vec<f64>) {
    let rounded: Vec<T> = noise.vector(n, 2.0).into_iter().map(T::from_f64).collect();
    let wide = rounded.iter().map(|x| x.to_f64()).collect();
    (rounded, wide)
}

fn magnitudes(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| x.abs()).collect()
}

/// `got` is `want`, but for sums of `terms` products whose magnitudes sum to `sizes`.
fn assert_within<T: Float>(place: &str, terms: f64, want: &[f64], sizes: &[f64], got: &[T]) {
    for (i, ((&want, &size), got)) in want.iter().zip(sizes).zip(got).enumerate() {
        let limit = tolerance::sum(terms, size) + tolerance::storage::<T>(want);
        let error = (got.to_f64() - want).abs();
        let name = T::DTYPE.name();
        assert!(
            error <= limit,
            "{name}, {place}, element {i}: {want}, off by {error}, limit {limit}"
        );
    }
}

/// The accumulator of these types is a float of 32 bits.
fn layers_are_close<T: Float + Output<T> + Element<Acc = f32>>() {
    for (seed, (batch, inputs, outputs)) in
        [(1, 1, 1), (2, 7, 3), (3, 64, 10), (2, 300, 5), (1, 1000, 2)]
            .into_iter()
            .enumerate()
    {
        let mut noise = Noise::new(200 + seed as u32);
        let shape = dense::Shape {
            batch,
            inputs,
            outputs,
        };
        let (x, x64) = numbers::<T>(&mut noise, batch * inputs);
        let (w, w64) = numbers::<T>(&mut noise, outputs * inputs);
        let (b, b64) = numbers::<T::Bias>(&mut noise, outputs);
        let (dy, dy64) = numbers::<T>(&mut noise, batch * outputs);
        let forward = |x: &[f64], w: &[f64], b: &[f64]| {
            let mut out = vec![0f64; batch * outputs];
            let bias = Bias {
                values: b,
                shift: 0,
            };
            dense::forward(
                &Serial,
                shape,
                x,
                w,
                bias,
                Epilogue::EXACT,
                &mut out,
                &mut [],
            )
            .unwrap();
            out
        };
        let want = forward(&x64, &w64, &b64);
        let sizes = forward(&magnitudes(&x64), &magnitudes(&w64), &magnitudes(&b64));
        let mut out = vec![T::ZERO; batch * outputs];
        let bias = Bias {
            values: &b,
            shift: 0,
        };
        dense::forward(
            &Threads(2),
            shape,
            &x,
            &w,
            bias,
            Epilogue::EXACT,
            &mut out,
            &mut [],
        )
        .unwrap();
        let place = format!("{shape:?}");
        // The bound that `dense::forward` documents.
        assert_within::<T>(
            &format!("{place}: forward"),
            inputs as f64 / 8.0 + 4.0,
            &want,
            &sizes,
            &out,
        );

        let back = |dy: &[f64], w: &[f64]| {
            let mut dx = vec![0f64; batch * inputs];
            dense::backward_input(&Serial, shape, dy, w, Store::EXACT, &mut dx).unwrap();
            dx
        };
        let mut dx = vec![T::ZERO; batch * inputs];
        dense::backward_input(&Serial, shape, &dy, &w, Store::EXACT, &mut dx).unwrap();
        let sizes = back(&magnitudes(&dy64), &magnitudes(&w64));
        assert_within::<T>(
            &format!("{place}: dx"),
            outputs as f64,
            &back(&dy64, &w64),
            &sizes,
            &dx,
        );

        let weight = |x: &[f64], dy: &[f64]| {
            let mut dw = vec![0f64; outputs * inputs];
            dense::backward_weight(shape, x, dy, &mut Gradient::Store(&mut dw)).unwrap();
            dw
        };
        let mut dw = vec![0f32; outputs * inputs];
        dense::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)).unwrap();
        let sizes = weight(&magnitudes(&x64), &magnitudes(&dy64));
        // Weight gradients stay in f32.
        assert_within::<f32>(
            &format!("{place}: dw"),
            batch as f64,
            &weight(&x64, &dy64),
            &sizes,
            &dw,
        );
    }
}

#[test]
fn dense_layers_are_close_to_f64() {
    layers_are_close::<f32>();
    layers_are_close::<f16>();
    layers_are_close::<bf16>();
}

fn convolutions_are_close<T: Float + Output<T> + Element<Acc = f32>>() {
    let window = Window {
        kernel: [3, 2],
        stride: [1, 2],
        padding: [[1, 1], [0, 1]],
        dilation: [1, 1],
    };
    for (channels, filters, groups, window) in [
        (17, 5, 1, window),
        (6, 6, 3, window),
        (
            4,
            4,
            4,
            Window {
                dilation: [2, 1],
                ..window
            },
        ),
    ] {
        let shape = conv::Shape {
            batch: 2,
            input: [6, 7],
            channels,
            filters,
            groups,
            window,
        };
        let [rows, columns] = shape.outputs().unwrap();
        let mut noise = Noise::new(210);
        let (x, x64) = numbers::<T>(&mut noise, 2 * 6 * 7 * channels);
        let (w, w64) = numbers::<T>(&mut noise, filters * 6 * channels / groups);
        let (dy, dy64) = numbers::<T>(&mut noise, 2 * rows * columns * filters);
        let zeros = vec![<T::Bias as Element>::ZERO; filters];
        let run = |x: &[f64], w: &[f64], dy: &[f64]| {
            let (mut y, mut dx) = (vec![0f64; dy.len()], vec![0f64; x.len()]);
            let bias = Bias {
                values: &vec![0f64; filters],
                shift: 0,
            };
            conv::forward(&Serial, shape, x, w, bias, Epilogue::EXACT, &mut y, &mut []).unwrap();
            conv::backward_input(&Serial, shape, dy, w, Store::EXACT, &mut dx).unwrap();
            (y, dx)
        };
        let (want, want_dx) = run(&x64, &w64, &dy64);
        let (sizes, sizes_dx) = run(&magnitudes(&x64), &magnitudes(&w64), &magnitudes(&dy64));
        let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
        let bias = Bias {
            values: &zeros,
            shift: 0,
        };
        conv::forward(
            &Threads(3),
            shape,
            &x,
            &w,
            bias,
            Epilogue::EXACT,
            &mut y,
            &mut [],
        )
        .unwrap();
        conv::backward_input(&Threads(3), shape, &dy, &w, Store::EXACT, &mut dx).unwrap();
        let terms = (6 * channels / groups) as f64; // of a sum; never more roundings than products
        assert_within::<T>("forward", terms, &want, &sizes, &y);
        assert_within::<T>(
            "dx",
            (6 * filters / groups) as f64,
            &want_dx,
            &sizes_dx,
            &dx,
        );
    }
}

#[test]
fn convolutions_are_close_to_f64() {
    convolutions_are_close::<f32>();
    convolutions_are_close::<f16>();
    convolutions_are_close::<bf16>();
}

const KEEP: Store = Store::Shift {
    shift: 0,
    rounding: Rounding::NearestEven,
};

fn losses_are_close<T: Float + Element<Head = T>>() {
    let mut noise = Noise::new(220);
    let name = T::DTYPE.name();
    let (rows, classes) = (5, 7);
    let (z, z64) = numbers::<T>(&mut noise, rows * classes);
    let (target, target64) = numbers::<T>(&mut noise, rows * classes);
    let labels: Vec<u16> = (0..rows).map(|_| noise.below(classes) as u16).collect();
    let mut want = vec![0f64; z.len()];
    let mut dy = vec![T::ZERO; z.len()];

    let loss = cross_entropy::<f64>(classes, &z64, 0, &labels, KEEP, &mut want)
        .unwrap()
        .loss;
    let got = cross_entropy::<T>(classes, &z, 0, &labels, KEEP, &mut dy)
        .unwrap()
        .loss
        .to_f64();
    let limit = rows as f64 * tolerance::SOFTMAX_F32;
    assert!(
        (got - loss).abs() <= limit,
        "{name}: cross-entropy {got}, expected {loss}"
    );
    // The gradient stands at LOSS_EXPONENT: f16 scales it up by 2^10.
    let scale = f64::from(-T::LOSS_EXPONENT).exp2();
    for (want, got) in want.iter().zip(&dy) {
        let want = want * scale;
        let limit = scale * tolerance::SOFTMAX_F32 + tolerance::storage::<T>(want);
        assert!(
            (got.to_f64() - want).abs() <= limit,
            "{name}: gradient {got:?}, expected {want}"
        );
    }

    let loss = squared_error::<f64>(&z64, 0, &target64, 0, KEEP, &mut want)
        .unwrap()
        .loss;
    let got = squared_error::<T>(&z, 0, &target, 0, KEEP, &mut dy)
        .unwrap()
        .loss
        .to_f64();
    let limit = tolerance::sum((rows * classes) as f64 + 3.0, loss);
    assert!(
        (got - loss).abs() <= limit,
        "{name}: squared error {got}, expected {loss}"
    );
    let scale = f64::from(-T::MSE_EXPONENT).exp2();
    for (want, got) in want.iter().zip(&dy) {
        let want = want * scale;
        let limit = tolerance::sum(1.0, want.abs()) + tolerance::storage::<T>(want);
        assert!(
            (got.to_f64() - want).abs() <= limit,
            "{name}: gradient {got:?}, expected {want}"
        );
    }
}

#[test]
fn losses_are_close_to_f64() {
    losses_are_close::<f32>();
    losses_are_close::<f16>();
    losses_are_close::<bf16>();
}

/// Floats give the same bits for every number of tasks: sums are never split.
#[test]
fn floats_do_not_depend_on_threads() {
    let mut noise = Noise::new(230);
    let shape = dense::Shape {
        batch: 13,
        inputs: 101,
        outputs: 7,
    };
    let (x, _) = numbers::<f32>(&mut noise, 13 * 101);
    let (w, _) = numbers::<f32>(&mut noise, 7 * 101);
    let bias = Bias {
        values: &[0.5f32; 7],
        shift: 0,
    };
    let mut want = vec![0f32; 13 * 7];
    dense::forward(
        &Serial,
        shape,
        &x,
        &w,
        bias,
        Epilogue::EXACT,
        &mut want,
        &mut [],
    )
    .unwrap();
    for tasks in [2, 3, 5, 64, 1000] {
        let mut got = vec![0f32; 13 * 7];
        dense::forward(
            &Threads(tasks),
            shape,
            &x,
            &w,
            bias,
            Epilogue::EXACT,
            &mut got,
            &mut [],
        )
        .unwrap();
        assert_eq!(want, got, "{tasks} tasks");
    }
}

/// NaN is never swallowed.
#[test]
fn nan_propagates() {
    let nan = f32::NAN;
    let bias = Bias {
        values: &[0f32],
        shift: 0,
    };
    let shape = dense::Shape {
        batch: 1,
        inputs: 3,
        outputs: 1,
    };
    for act in [Activation::Identity, Activation::Relu] {
        let mut out = [0f32];
        let epilogue = Epilogue::EXACT.with(act);
        dense::forward(
            &Serial,
            shape,
            &[1.0, nan, 2.0],
            &[1.0, 0.0, 1.0],
            bias,
            epilogue,
            &mut out,
            &mut [],
        )
        .unwrap();
        assert!(out[0].is_nan(), "dense, {act:?}");
        let window = Window::uniform(1, 1, 0);
        let shape = conv::Shape {
            batch: 1,
            input: [1, 1],
            channels: 3,
            filters: 1,
            groups: 1,
            window,
        };
        conv::forward(
            &Serial,
            shape,
            &[1.0, nan, 2.0],
            &[1.0, 0.0, 1.0],
            bias,
            epilogue,
            &mut out,
            &mut [],
        )
        .unwrap();
        assert!(out[0].is_nan(), "conv, {act:?}");
        // An error of zero does not hide a NaN among the filters.
        let mut dx = [0f32; 3];
        conv::backward_input(
            &Serial,
            shape,
            &[0.0],
            &[1.0, nan, 1.0],
            Store::EXACT,
            &mut dx,
        )
        .unwrap();
        assert!(dx[1].is_nan() && dx[0] == 0.0, "conv backward");
    }
    let mut x = [nan, -1.0, 1.0];
    activation::relu(&mut x);
    assert!(x[0].is_nan() && x[1..] == [0.0, 1.0], "relu");
    let shape = pool::Shape {
        batch: 1,
        input: [1, 4],
        channels: 1,
        window: Window::uniform(1, 1, 0),
    };
    let shape = pool::Shape {
        window: Window {
            kernel: [1, 4],
            ..shape.window
        },
        ..shape
    };
    let mut out = [0f32];
    for x in [[nan, 1.0, 2.0, 3.0], [1.0, nan, 9.0, f32::INFINITY]] {
        pool::max_forward(&Serial, shape, &x, &mut out).unwrap();
        assert!(out[0].is_nan(), "max pool of {x:?}");
    }
    // Of equal maxima the first wins, which only the sign of zero can show.
    pool::max_forward(&Serial, shape, &[-1.0, -0.0, 0.0, -2.0], &mut out).unwrap();
    assert!(
        out[0] == 0.0 && out[0].is_sign_negative(),
        "max pool of zeros"
    );
    let mut dy = [0f32; 2];
    cross_entropy::<f32>(2, &[nan, 1.0], 0, &[0], KEEP, &mut dy).unwrap();
    assert!(dy.iter().all(|d| d.is_nan()), "cross-entropy: {dy:?}");
    squared_error::<f32>(&[nan, 1.0], 0, &[0.0, 0.0], 0, KEEP, &mut dy).unwrap();
    assert!(dy[0].is_nan() && dy[1] == 1.0, "squared error");
}

/// Logits far apart neither overflow nor divide by zero.
#[test]
fn cross_entropy_survives_extreme_logits() {
    let mut dy = [0f32; 3];
    let z = [f32::MAX, -f32::MAX, 0.0];
    let loss = cross_entropy::<f32>(3, &z, 0, &[0], KEEP, &mut dy)
        .unwrap()
        .loss;
    assert_eq!((loss, dy), (0.0, [0.0, 0.0, 0.0]));
    let mut dy = [0i16; 3];
    for exponent in [-40, -15, 0, 15, 200] {
        let z = [i16::MAX, -i16::MAX, 0];
        let store = Store::Shift {
            shift: 1,
            rounding: Rounding::NearestEven,
        };
        cross_entropy::<i16>(3, &z, exponent, &[0], store, &mut dy).unwrap();
        let sum: i32 = dy.iter().map(|&d| i32::from(d)).sum();
        assert!(
            sum.abs() <= 2,
            "exponent {exponent}: {dy:?} do not sum to zero"
        );
    }
    assert_eq!(dy, [0, 0, 0], "a certain prediction has no gradient");
}
