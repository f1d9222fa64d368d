//! Gradients: backward kernels in f64 against central differences of the forward kernels, and
//! integer gradients against those of a float network with the same (rounded) weights.
//!
//! That the forward kernels compute what they should: `definitions.rs`.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{cross_entropy, squared_error};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, activation, conv, dense, pool};
use selvedge_tests::noise::Noise;
use selvedge_tests::{compare, tolerance};

/// Half the distance between the two points of a difference.
const STEP: f64 = 1e-4;

/// The gradient of `loss` at `x` by central differences.
fn central(x: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let at = x[i];
            x[i] = at + STEP;
            let above = loss(&x);
            x[i] = at - STEP;
            let below = loss(&x);
            x[i] = at;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

fn assert_close(place: &str, want: &[f64], got: &[f64], tolerance: f64) {
    assert_eq!(want.len(), got.len(), "{place}");
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        let error = (want - got).abs();
        assert!(
            error <= tolerance,
            "{place}, element {i}: difference {want}, kernel {got}"
        );
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

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

/// Exact conversion of accumulators, to compare gradients of different types.
trait ToFloat: Copy + Default {
    fn to_float(self) -> f64;
}

impl ToFloat for i32 {
    fn to_float(self) -> f64 {
        self.into()
    }
}

impl ToFloat for i64 {
    fn to_float(self) -> f64 {
        self as f64 // beyond 53 bits rounded, which a cosine does not see
    }
}

impl ToFloat for f64 {
    fn to_float(self) -> f64 {
        self
    }
}

/// A convolution with ReLU, an overlapping pooling and a dense head, given by real numbers.
struct Probe {
    conv: conv::Shape,
    pool: pool::Shape,
    head: dense::Shape,
    x: Vec<f64>,
    filters: Vec<f64>,
    weight: Vec<f64>,
    labels: Vec<u16>,
}

impl Probe {
    fn new(seed: u32, padding: [[usize; 2]; 2], groups: usize) -> Self {
        let mut noise = Noise::new(seed);
        let batch = 32;
        let window = Window {
            kernel: [3, 3],
            stride: [1, 1],
            padding,
            dilation: [1, 1],
        };
        let conv = conv::Shape {
            batch,
            input: [8, 7],
            channels: 2,
            filters: 6,
            groups,
            window,
        };
        let [height, width] = conv.outputs().unwrap();
        let pool = pool::Shape {
            batch,
            input: [height, width],
            channels: 6,
            window: Window::uniform(3, 2, 1),
        };
        let [rows, columns] = pool.outputs().unwrap();
        let head = dense::Shape {
            batch,
            inputs: rows * columns * 6,
            outputs: 5,
        };
        Self {
            x: noise.vector(batch * 8 * 7 * 2, 1.0),
            filters: noise.vector(6 * 9 * 2 / groups, (6.0 / 18.0 * groups as f64).sqrt()),
            weight: noise.vector(head.inputs * 5, (6.0 / head.inputs as f64).sqrt()),
            labels: (0..batch).map(|_| noise.below(5) as u16).collect(),
            conv,
            pool,
            head,
        }
    }

    /// The gradients of filters, weights and input, computed in `T`, where all numbers are rounded
    /// to `bits` magnitude bits first; and the outputs of the convolution, or those that are given instead: they
    /// decide what ReLU and the maxima let through.
    fn gradients<T: Element>(&self, bits: u32, given: Option<&[f64]>) -> ([Vec<f64>; 3], Vec<f64>)
    where
        T::Acc: ToFloat,
    {
        // The exponent at which the largest number fits, and the numbers at it.
        let rounded = |values: &[f64]| -> (Vec<T>, i32) {
            let largest = values.iter().fold(0f64, |a, b| a.max(b.abs()));
            let exponent = largest.log2().floor() as i32 + 1 - bits as i32;
            let scale = f64::from(exponent).exp2();
            let limit = f64::from(bits).exp2() - 1.0;
            let q = values
                .iter()
                .map(|v| (v / scale).round().clamp(-limit, limit));
            if T::DTYPE.is_integer() {
                (q.map(T::from_f64).collect(), exponent)
            } else {
                (q.map(|q| T::from_f64(q * scale)).collect(), 0)
            }
        };
        let (x, x_exponent) = rounded(&self.x);
        let (filters, filters_exponent) = rounded(&self.filters);
        let (weight, weight_exponent) = rounded(&self.weight);
        let requantize = |acc_exponent, bits, rounding, run: &mut dyn FnMut(Store) -> u32| {
            let mut unset = T::Scale::UNSET;
            unset
                .requantize(acc_exponent, bits, Mode::Infer, rounding, |store| {
                    Ok(run(store))
                })
                .unwrap()
        };
        let (nearest, bits) = (Rounding::NearestEven, T::MAGNITUDE_BITS);
        let stochastic = |stream| Rounding::Stochastic(Words::new(1, stream, 0));
        let plain = |store| Epilogue {
            activation: Activation::Identity,
            exponent: 0,
            store,
        };

        let zeros = vec![<T::Bias as Element>::ZERO; 6];
        let mut y = vec![T::ZERO; self.pool.batch * self.pool.input[0] * self.pool.input[1] * 6];
        let y_exponent = requantize(x_exponent + filters_exponent, bits, nearest, &mut |store| {
            let epilogue = Epilogue {
                activation: Activation::Relu,
                exponent: 0,
                store,
            };
            let bias = Bias {
                values: &zeros,
                shift: 0,
            };
            conv::forward(
                &Serial,
                self.conv,
                &x,
                &filters,
                bias,
                epilogue,
                &mut y,
                &mut [],
            )
            .unwrap()
        });
        if let Some(given) = given {
            y = compare::elements(given, y_exponent);
        }
        let mut pooled = vec![T::ZERO; self.head.batch * self.head.inputs];
        pool::max_forward(&Serial, self.pool, &y, &mut pooled).unwrap();
        let mut logits = vec![<T::Head as Element>::ZERO; self.head.batch * 5];
        let head_bits = <T::Head as Element>::MAGNITUDE_BITS;
        let logits_exponent = requantize(
            y_exponent + weight_exponent,
            head_bits,
            nearest,
            &mut |store| {
                let bias = Bias {
                    values: &zeros[..5],
                    shift: 0,
                };
                dense::forward(
                    &Serial,
                    self.head,
                    &pooled,
                    &weight,
                    bias,
                    plain(store),
                    &mut logits,
                    &mut [],
                )
                .unwrap()
            },
        );
        let mut dz = vec![T::ZERO; logits.len()];
        let dz_exponent = requantize(T::LOSS_EXPONENT, bits, stochastic(1), &mut |store| {
            cross_entropy::<T>(5, &logits, logits_exponent, &self.labels, store, &mut dz)
                .unwrap()
                .range
        });
        let mut dw = vec![T::Acc::default(); weight.len()];
        dense::backward_weight(self.head, &pooled, &dz, &mut Gradient::Store(&mut dw)).unwrap();
        let mut d_pooled = vec![T::ZERO; pooled.len()];
        let d_pooled_exponent = requantize(
            dz_exponent + weight_exponent,
            bits,
            stochastic(2),
            &mut |store| {
                dense::backward_input(&Serial, self.head, &dz, &weight, store, &mut d_pooled)
                    .unwrap()
            },
        );
        let mut dy = vec![T::ZERO; y.len()];
        let dy_exponent = requantize(d_pooled_exponent, bits, stochastic(3), &mut |store| {
            pool::max_backward(&Serial, self.pool, &y, &pooled, &d_pooled, store, &mut dy).unwrap()
        });
        activation::relu_backward(&y, &mut dy).unwrap();
        let mut df = vec![T::Acc::default(); filters.len()];
        conv::backward_weight(self.conv, &x, &dy, &mut Gradient::Store(&mut df)).unwrap();
        let mut dx = vec![T::ZERO; x.len()];
        let dx_exponent = requantize(
            dy_exponent + filters_exponent,
            bits,
            stochastic(4),
            &mut |store| {
                conv::backward_input(&Serial, self.conv, &dy, &filters, store, &mut dx).unwrap()
            },
        );
        let reals = |sums: &[T::Acc], exponent: i32| {
            sums.iter()
                .map(|&sum| sum.to_float() * f64::from(exponent).exp2())
                .collect()
        };
        let gradients = [
            reals(&df, dy_exponent + x_exponent),
            reals(&dw, dz_exponent + y_exponent),
            compare::values(&dx, dx_exponent),
        ];
        (gradients, compare::values(&y, y_exponent))
    }
}

/// Cosine of the angle between two gradients.
fn cosine(a: &[f64], b: &[f64]) -> f64 {
    inner(a, b) / (inner(a, a) * inner(b, b)).sqrt()
}

/// Compares integer gradients with those of floats: all parameters together, and tensor by tensor; and where floats
/// take the outputs of the integers' convolution for their own.
fn cosines_are_at_least<T: Element>((all, worst): (f64, f64), of_one: f64)
where
    T::Acc: ToFloat,
{
    let hold = |place: &str, want: &[Vec<f64>], got: &[Vec<f64>], worst: f64| {
        for ((name, want), got) in ["filters", "weight", "input"].iter().zip(want).zip(got) {
            let cosine = cosine(want, got);
            assert!(cosine >= worst, "{place}, {name}: {cosine}");
            // Not only the direction: a vector as far away as that angle allows differs in
            // length by no more than sqrt(2 - 2 cos).
            let length = (inner(got, got) / inner(want, want)).sqrt();
            let limit = (2.0 - 2.0 * worst).sqrt();
            assert!(
                (length - 1.0).abs() <= limit,
                "{place}, {name}: length {length}"
            );
        }
    };
    for seed in 0..4 {
        for (padding, groups) in [([[1, 1], [1, 1]], 1), ([[0, 1], [2, 0]], 2)] {
            let place = format!("{}, seed {seed}, {groups} groups", T::DTYPE);
            let probe = Probe::new(100 + seed, padding, groups);
            let (got, y) = probe.gradients::<T>(T::MAGNITUDE_BITS, None);
            let (want, _) = probe.gradients::<f64>(T::MAGNITUDE_BITS, None);
            let together = cosine(&want[..2].concat(), &got[..2].concat());
            assert!(together >= all, "{place}, all parameters: {together}");
            hold(&place, &want, &got, worst);
            let (want, _) = probe.gradients::<f64>(T::MAGNITUDE_BITS, Some(&y));
            hold(&format!("{place}, same choices"), &want, &got, of_one);
        }
    }
}

#[test]
fn integer_gradients_point_where_float_ones_do() {
    use tolerance::{COSINE_8_BITS, COSINE_16_BITS, COSINE_32_BITS};
    cosines_are_at_least::<i8>(COSINE_8_BITS, COSINE_8_BITS.0);
    cosines_are_at_least::<u8>(COSINE_8_BITS, COSINE_8_BITS.0);
    cosines_are_at_least::<i16>(COSINE_16_BITS, COSINE_16_BITS.0);
    cosines_are_at_least::<u16>(COSINE_16_BITS, COSINE_16_BITS.0);
    cosines_are_at_least::<i32>(COSINE_32_BITS, COSINE_32_BITS.0);
}
