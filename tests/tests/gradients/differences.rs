//! Backward kernels in f64 against central differences of the forward kernels.

use selvedge_kernels::activation::{self, Activation};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{cross_entropy, squared_error};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::window::Window;
use selvedge_kernels::{conv, pool};
use selvedge_tests::compare::{STEP, central, inner};
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::assert_close;
use selvedge_tests::tolerance;

/// No activation sits so close to ReLU's kink that a difference would step over it, and there are
/// some on both sides.
fn assert_clear_of_the_kink(place: &str, before: &[f64], reach: f64) {
    assert!(
        before.iter().all(|z| z.abs() > reach),
        "{place}: too close to the kink; another seed"
    );
    assert!(
        before.iter().any(|&z| z > 0.0) && before.iter().any(|&z| z < 0.0),
        "{place}"
    );
}

#[test]
fn dense_gradients_are_the_differences() {
    for (seed, (batch, inputs, outputs)) in
        [(1, 1, 2), (3, 5, 4), (2, 17, 9), (4, 8, 11), (1, 33, 3)]
            .into_iter()
            .enumerate()
    {
        for act in [Activation::Identity, Activation::Relu] {
            let shape = dense::Shape {
                batch,
                inputs,
                outputs,
            };
            let place = format!("{shape:?}, {act:?}");
            let mut noise = Noise::new(60 + seed as u32);
            let x = noise.vector(batch * inputs, 1.0);
            let w = noise.vector(outputs * inputs, 1.0);
            let mut b = noise.vector(outputs, 1.0);
            (b[0], b[1]) = (1.0, -1.0);
            let weights = noise.vector(batch * outputs, 1.0); // of the outputs in the loss
            let forward = |x: &[f64], w: &[f64], b: &[f64], act| {
                let mut y = vec![0.0; batch * outputs];
                let bias = Bias {
                    values: b,
                    shift: 0,
                };
                let epilogue = Epilogue::EXACT.with(act);
                dense::forward(&Serial, shape, x, w, bias, epilogue, &mut y, &mut []).unwrap();
                y
            };
            let loss = |x: &[f64], w: &[f64], b: &[f64]| inner(&forward(x, w, b, act), &weights);
            assert_clear_of_the_kink(
                &place,
                &forward(&x, &w, &b, Activation::Identity),
                2.0 * STEP,
            );

            let mut dy = weights.clone();
            if matches!(act, Activation::Relu) {
                activation::relu_backward(&forward(&x, &w, &b, act), &mut dy).unwrap();
            }
            let mut dx = vec![0.0; x.len()];
            dense::backward_input(&Serial, shape, &dy, &w, Store::EXACT, &mut dx).unwrap();
            let mut dw = vec![0.0; w.len()];
            dense::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)).unwrap();
            let mut db = vec![0.0; outputs];
            dense::backward_bias::<f64>(outputs, &dy, &mut Gradient::Store(&mut db)).unwrap();

            let limit = tolerance::LINEAR_DIFFERENCE;
            assert_close(
                &format!("{place}: dx"),
                &central(&x, |x| loss(x, &w, &b)),
                &dx,
                limit,
            );
            assert_close(
                &format!("{place}: dw"),
                &central(&w, |w| loss(&x, w, &b)),
                &dw,
                limit,
            );
            assert_close(
                &format!("{place}: db"),
                &central(&b, |b| loss(&x, &w, b)),
                &db,
                limit,
            );
        }
    }
}

struct ConvCase {
    name: &'static str,
    extents: [usize; 4],
    filters: usize,
    groups: usize,
    window: Window,
}

fn conv_cases() -> Vec<ConvCase> {
    let window = |kernel, stride, padding, dilation| Window {
        kernel,
        stride,
        padding,
        dilation,
    };
    let none = [[0, 0], [0, 0]];
    let case = |name, extents, filters, groups, window| ConvCase {
        name,
        extents,
        filters,
        groups,
        window,
    };
    vec![
        case("1x1", [1, 3, 2, 5], 3, 1, Window::uniform(1, 1, 0)),
        case("3x3, padded", [2, 5, 4, 3], 4, 1, Window::uniform(3, 1, 1)),
        case(
            "whole image",
            [2, 3, 4, 2],
            3,
            1,
            window([3, 4], [1, 1], none, [1, 1]),
        ),
        case(
            "one row",
            [2, 1, 7, 2],
            3,
            1,
            window([1, 3], [1, 2], [[0, 0], [1, 1]], [1, 1]),
        ),
        case(
            "stride, sides",
            [2, 6, 5, 2],
            4,
            1,
            window([3, 2], [1, 2], [[1, 0], [0, 1]], [1, 1]),
        ),
        case(
            "stride beyond kernel",
            [1, 7, 8, 2],
            2,
            1,
            window([2, 1], [3, 4], none, [1, 1]),
        ),
        case(
            "dilated",
            [2, 6, 7, 3],
            2,
            1,
            window([2, 3], [1, 1], [[1, 2], [0, 3]], [2, 3]),
        ),
        case(
            "dilated, strided",
            [1, 8, 7, 2],
            2,
            1,
            window([3, 2], [2, 3], [[2, 1], [1, 0]], [2, 1]),
        ),
        case(
            "groups",
            [2, 4, 5, 6],
            4,
            2,
            window([2, 2], [1, 1], [[0, 1], [1, 0]], [1, 1]),
        ),
        case("depthwise", [2, 5, 4, 3], 3, 3, Window::uniform(3, 1, 1)),
        case(
            "depthwise, two filters each",
            [1, 5, 6, 3],
            6,
            3,
            window([3, 2], [2, 1], [[1, 1], [0, 0]], [1, 2]),
        ),
        case(
            "many channels",
            [1, 3, 3, 17],
            9,
            1,
            Window::uniform(2, 1, 0),
        ),
        case(
            "groups of many channels",
            [1, 3, 2, 18],
            20,
            2,
            Window::uniform(2, 1, 1),
        ),
    ]
}

#[test]
fn conv_gradients_are_the_differences() {
    for (seed, case) in conv_cases().into_iter().enumerate() {
        let ConvCase {
            name,
            extents: [batch, height, width, channels],
            filters,
            groups,
            window,
        } = case;
        let shape = conv::Shape {
            batch,
            input: [height, width],
            channels,
            filters,
            groups,
            window,
        };
        let [rows, columns] = shape.outputs().unwrap();
        for act in [Activation::Identity, Activation::Relu] {
            let mut noise = Noise::new(70 + seed as u32);
            let x = noise.vector(batch * height * width * channels, 1.0);
            let w = noise.vector(
                filters * window.kernel[0] * window.kernel[1] * channels / groups,
                1.0,
            );
            let b = noise.vector(filters, 1.0);
            let weights = noise.vector(batch * rows * columns * filters, 1.0);
            let forward = |x: &[f64], w: &[f64], b: &[f64], act| {
                let mut y = vec![0.0; weights.len()];
                let bias = Bias {
                    values: b,
                    shift: 0,
                };
                let epilogue = Epilogue::EXACT.with(act);
                conv::forward(&Serial, shape, x, w, bias, epilogue, &mut y, &mut []).unwrap();
                y
            };
            let loss = |x: &[f64], w: &[f64], b: &[f64]| inner(&forward(x, w, b, act), &weights);
            assert_clear_of_the_kink(name, &forward(&x, &w, &b, Activation::Identity), 2.0 * STEP);

            let mut dy = weights.clone();
            if matches!(act, Activation::Relu) {
                activation::relu_backward(&forward(&x, &w, &b, act), &mut dy).unwrap();
            }
            let mut dx = vec![0.0; x.len()];
            conv::backward_input(&Serial, shape, &dy, &w, Store::EXACT, &mut dx).unwrap();
            let mut dw = vec![0.0; w.len()];
            conv::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)).unwrap();
            let mut db = vec![0.0; filters];
            dense::backward_bias::<f64>(filters, &dy, &mut Gradient::Store(&mut db)).unwrap();

            let limit = tolerance::LINEAR_DIFFERENCE;
            let place = format!("{name}, {act:?}");
            assert_close(
                &format!("{place}: dx"),
                &central(&x, |x| loss(x, &w, &b)),
                &dx,
                limit,
            );
            assert_close(
                &format!("{place}: dw"),
                &central(&w, |w| loss(&x, w, &b)),
                &dw,
                limit,
            );
            assert_close(
                &format!("{place}: db"),
                &central(&b, |b| loss(&x, &w, b)),
                &db,
                limit,
            );
        }
    }
}

#[test]
fn max_pool_gradients_are_the_differences() {
    let window = |kernel, stride, padding, dilation| Window {
        kernel,
        stride,
        padding,
        dilation,
    };
    for (seed, (name, [batch, height, width, channels], window)) in [
        ("2/2", [2, 4, 6, 3], Window::uniform(2, 2, 0)),
        ("2/2, remainder", [1, 5, 7, 2], Window::uniform(2, 2, 0)),
        ("3/1, padded", [2, 4, 5, 2], Window::uniform(3, 1, 1)),
        (
            "sides",
            [2, 6, 5, 2],
            window([3, 2], [2, 1], [[1, 1], [0, 0]], [1, 1]),
        ),
        (
            "dilated",
            [1, 6, 7, 2],
            window([2, 2], [1, 2], [[1, 0], [0, 1]], [2, 3]),
        ),
        (
            "gaps",
            [1, 7, 7, 1],
            window([1, 2], [2, 3], [[0, 0], [0, 0]], [1, 1]),
        ),
        ("many channels", [1, 4, 4, 19], Window::uniform(3, 1, 0)),
    ]
    .into_iter()
    .enumerate()
    {
        let shape = pool::Shape {
            batch,
            input: [height, width],
            channels,
            window,
        };
        let [rows, columns] = shape.outputs().unwrap();
        let mut noise = Noise::new(80 + seed as u32);
        // All values differ by far more than a step: no maximum changes hands.
        let mut x: Vec<f64> = (0..batch * height * width * channels)
            .map(|i| i as f64 * 0.01)
            .collect();
        for i in (1..x.len()).rev() {
            x.swap(i, noise.below(i + 1));
        }
        let weights = noise.vector(batch * rows * columns * channels, 1.0);
        let forward = |x: &[f64]| {
            let mut y = vec![0.0; weights.len()];
            pool::max_forward(&Serial, shape, x, &mut y).unwrap();
            y
        };
        let mut dx = vec![0.0; x.len()];
        pool::max_backward(
            &Serial,
            shape,
            &x,
            &forward(&x),
            &weights,
            Store::EXACT,
            &mut dx,
        )
        .unwrap();
        let want = central(&x, |x| inner(&forward(x), &weights));
        assert_close(name, &want, &dx, tolerance::LINEAR_DIFFERENCE);
    }
}

#[test]
fn relu_passes_errors_on_one_side_of_the_kink() {
    let x = [-1.0, -2.0 * STEP, 2.0 * STEP, 1.0, 3.5];
    let weights = [2.0, 3.0, 5.0, 7.0, -11.0];
    let forward = |x: &[f64]| {
        let mut y = x.to_vec();
        activation::relu(&mut y);
        y
    };
    let mut dy = weights;
    activation::relu_backward(&forward(&x), &mut dy).unwrap();
    let want = central(&x, |x| inner(&forward(x), &weights));
    assert_close("relu", &want, &dy, tolerance::LINEAR_DIFFERENCE);
    let mut at_zero = [5.0];
    activation::relu_backward(&[0.0], &mut at_zero).unwrap();
    assert_eq!(at_zero, [0.0], "the derivative at 0 is 0");
}

const KEEP: Store = Store::Shift {
    shift: 0,
    rounding: Rounding::NearestEven,
};

#[test]
fn loss_gradients_are_the_differences() {
    let mut noise = Noise::new(90);
    for (rows, classes, size) in [(1, 2, 1.0), (3, 5, 4.0), (2, 10, 20.0)] {
        let logits = noise.vector(rows * classes, size);
        let labels: Vec<u16> = (0..rows).map(|_| noise.below(classes) as u16).collect();
        let mut dy = vec![0.0; logits.len()];
        let mut run = |z: &[f64]| {
            cross_entropy::<f64>(classes, z, 0, &labels, KEEP, &mut dy)
                .unwrap()
                .loss
        };
        run(&logits);
        let got = dy.clone();
        let loss = |z: &[f64]| {
            let mut dy = vec![0.0; z.len()];
            cross_entropy::<f64>(classes, z, 0, &labels, KEEP, &mut dy)
                .unwrap()
                .loss
        };
        let place = format!("cross-entropy of {rows} rows of {classes}");
        assert_close(
            &place,
            &central(&logits, loss),
            &got,
            tolerance::CURVED_DIFFERENCE,
        );

        let target = noise.vector(rows * classes, size);
        let loss = |z: &[f64]| {
            let mut dy = vec![0.0; z.len()];
            squared_error::<f64>(z, 0, &target, 0, KEEP, &mut dy)
                .unwrap()
                .loss
        };
        squared_error::<f64>(&logits, 0, &target, 0, KEEP, &mut dy).unwrap();
        let limit = tolerance::LINEAR_DIFFERENCE * size * size;
        assert_close("squared error", &central(&logits, loss), &dy, limit);
    }
}
