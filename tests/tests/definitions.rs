//! Forward kernels against their definitions, written as plain loops over exact integers, for random
//! shapes; and what must hold between kernels: transposes, linearity, equal special cases.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::Bias;
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, conv, dense, pool};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;

/// Random elements over the whole range of a type, with the extremes among them.
fn elements<T: Element>(noise: &mut Noise, n: usize) -> Vec<T> {
    let largest = ((1u64 << T::MAGNITUDE_BITS) - 1) as f64;
    (0..n)
        .map(|_| match noise.below(8) {
            0 => T::from_f64(largest),
            1 => T::from_f64(-largest),
            2 => T::ZERO,
            _ => T::from_f64(noise.signed() * largest),
        })
        .collect()
}

fn exact<T: Element>(x: T) -> i128 {
    x.to_f64() as i128 // at most 53 bits
}

/// What `docs/numerics.md` §4 stores: `max(acc, 0)` or `acc`, shifted to nearest even, saturated.
fn requantized(acc: i128, is_relu: bool, shift: i32, bits: u32) -> i128 {
    let acc = if is_relu { acc.max(0) } else { acc };
    let (floor, half) = (acc >> shift, (1i128 << shift) >> 1);
    let rest = acc - (floor << shift);
    let up = shift > 0 && (rest > half || (rest == half && floor & 1 == 1));
    let limit = (1i128 << bits) - 1;
    (floor + i128::from(up)).clamp(-limit, limit)
}

fn bit_len(values: impl Iterator<Item = i128>) -> u32 {
    values
        .map(|v| 128 - v.unsigned_abs().leading_zeros())
        .max()
        .unwrap_or(0)
}

fn conv_shape() -> impl Strategy<Value = conv::Shape> {
    let axis = (
        1usize..4,
        1usize..4,
        1usize..3,
        0usize..3,
        0usize..3,
        0usize..5,
    );
    (
        axis.clone(),
        axis,
        1usize..3,
        1usize..4,
        1usize..4,
        1usize..4,
    )
        .prop_map(
            |(rows, columns, batch, groups, group_channels, group_filters)| {
                // Extents at which the dilated kernel just fits or has some room.
                let extent = |(kernel, _, dilation, before, after, room): (
                    usize,
                    usize,
                    usize,
                    usize,
                    usize,
                    usize,
                )| {
                    ((kernel - 1) * dilation + 1 + room)
                        .saturating_sub(before + after)
                        .max(1)
                };
                conv::Shape {
                    batch,
                    input: [extent(rows), extent(columns)],
                    channels: groups * group_channels,
                    filters: groups * group_filters,
                    groups,
                    window: Window {
                        kernel: [rows.0, columns.0],
                        stride: [rows.1, columns.1],
                        padding: [[rows.3, rows.4], [columns.3, columns.4]],
                        dilation: [rows.2, columns.2],
                    },
                }
            },
        )
}

fn filter_len(shape: &conv::Shape) -> usize {
    shape.window.kernel[0] * shape.window.kernel[1] * shape.channels / shape.groups
}

/// Calls `visit(output, input, weight)` with the indices of every product of a convolution.
fn products(shape: &conv::Shape, mut visit: impl FnMut(usize, usize, usize)) {
    let conv::Shape {
        batch,
        input: [height, width],
        channels,
        filters,
        groups,
        window,
    } = *shape;
    let [rows, columns] = shape.outputs().unwrap();
    let [[top, _], [left, _]] = window.padding;
    let (group_channels, group_filters) = (channels / groups, filters / groups);
    for n in 0..batch {
        for r in 0..rows {
            for c in 0..columns {
                for o in 0..filters {
                    let output = ((n * rows + r) * columns + c) * filters + o;
                    for a in 0..window.kernel[0] {
                        for b in 0..window.kernel[1] {
                            let y =
                                (r * window.stride[0] + a * window.dilation[0]).wrapping_sub(top);
                            let x =
                                (c * window.stride[1] + b * window.dilation[1]).wrapping_sub(left);
                            if y >= height || x >= width {
                                continue;
                            }
                            for k in 0..group_channels {
                                let channel = o / group_filters * group_channels + k;
                                let input = ((n * height + y) * width + x) * channels + channel;
                                let weight = ((o * window.kernel[0] + a) * window.kernel[1] + b)
                                    * group_channels
                                    + k;
                                visit(output, input, weight);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Forward and both gradients of a convolution, exactly.
fn conv_is_the_definition<T: Element + Output<T>>(shape: conv::Shape, seed: u32, shift: i32)
where
    i128: From<T::Acc>,
{
    let name = T::DTYPE.name();
    let mut noise = Noise::new(seed);
    let [rows, columns] = shape.outputs().unwrap();
    let x = elements::<T>(
        &mut noise,
        shape.batch * shape.input[0] * shape.input[1] * shape.channels,
    );
    let weight = elements::<T>(&mut noise, shape.filters * filter_len(&shape));
    let bias = elements::<T::Bias>(&mut noise, shape.filters);
    let dy = elements::<T>(&mut noise, shape.batch * rows * columns * shape.filters);

    let mut acc: Vec<i128> = (0..dy.len())
        .map(|i| exact(bias[i % shape.filters]))
        .collect();
    let mut dx_acc = vec![0i128; x.len()];
    let mut dw = vec![0i128; weight.len()];
    products(&shape, |o, i, w| {
        acc[o] += exact(x[i]) * exact(weight[w]);
        dx_acc[i] += exact(dy[o]) * exact(weight[w]);
        dw[w] += exact(dy[o]) * exact(x[i]);
    });

    let store = Store::Shift {
        shift,
        rounding: Rounding::NearestEven,
    };
    for (activation, is_relu) in [(Activation::Identity, false), (Activation::Relu, true)] {
        let epilogue = Epilogue {
            activation,
            exponent: 0,
            store,
        };
        let mut out = vec![T::ZERO; dy.len()];
        let bias = Bias {
            values: &bias,
            shift: 0,
        };
        let range = conv::forward(
            &Threads(3),
            shape,
            &x,
            &weight,
            bias,
            epilogue,
            &mut out,
            &mut [],
        )
        .unwrap();
        let got: Vec<i128> = out.iter().map(|&y| exact(y)).collect();
        let want: Vec<i128> = acc
            .iter()
            .map(|&a| requantized(a, is_relu, shift, T::MAGNITUDE_BITS))
            .collect();
        assert_eq!(got, want, "{name}: forward, {activation:?}, {shape:?}");
        let seen = acc.iter().map(|&a| if is_relu { a.max(0) } else { a });
        assert_eq!(
            range,
            bit_len(seen),
            "{name}: range, {activation:?}, {shape:?}"
        );
    }

    let mut dx = vec![T::ZERO; x.len()];
    let range = conv::backward_input(&Serial, shape, &dy, &weight, store, &mut dx).unwrap();
    let got: Vec<i128> = dx.iter().map(|&d| exact(d)).collect();
    let want: Vec<i128> = dx_acc
        .iter()
        .map(|&a| requantized(a, false, shift, T::MAGNITUDE_BITS))
        .collect();
    assert_eq!(got, want, "{name}: input gradient, {shape:?}");
    assert_eq!(
        range,
        bit_len(dx_acc.into_iter()),
        "{name}: range of the input gradient, {shape:?}"
    );

    let mut sums = vec![T::Acc::default(); weight.len()];
    conv::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut sums)).unwrap();
    let got: Vec<i128> = sums.into_iter().map(i128::from).collect();
    assert_eq!(got, dw, "{name}: filter gradient, {shape:?}");
}

/// The same for a dense layer.
fn dense_is_the_definition<T: Element + Output<T>>(shape: dense::Shape, seed: u32, shift: i32)
where
    i128: From<T::Acc>,
{
    let name = T::DTYPE.name();
    let dense::Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    let mut noise = Noise::new(seed);
    let x = elements::<T>(&mut noise, batch * inputs);
    let weight = elements::<T>(&mut noise, outputs * inputs);
    let bias = elements::<T::Bias>(&mut noise, outputs);
    let dy = elements::<T>(&mut noise, batch * outputs);
    let mut acc: Vec<i128> = (0..dy.len()).map(|i| exact(bias[i % outputs])).collect();
    let mut dx_acc = vec![0i128; x.len()];
    let mut dw = vec![0i128; weight.len()];
    let mut db = vec![0i128; outputs];
    for n in 0..batch {
        for o in 0..outputs {
            let d = exact(dy[n * outputs + o]);
            db[o] += d;
            for i in 0..inputs {
                acc[n * outputs + o] += exact(x[n * inputs + i]) * exact(weight[o * inputs + i]);
                dx_acc[n * inputs + i] += d * exact(weight[o * inputs + i]);
                dw[o * inputs + i] += d * exact(x[n * inputs + i]);
            }
        }
    }
    let store = Store::Shift {
        shift,
        rounding: Rounding::NearestEven,
    };
    let bits = T::MAGNITUDE_BITS;
    for (activation, is_relu) in [(Activation::Identity, false), (Activation::Relu, true)] {
        let mut out = vec![T::ZERO; dy.len()];
        let bias = Bias {
            values: &bias,
            shift: 0,
        };
        let epilogue = Epilogue {
            activation,
            exponent: 0,
            store,
        };
        let range = dense::forward(
            &Threads(2),
            shape,
            &x,
            &weight,
            bias,
            epilogue,
            &mut out,
            &mut [],
        )
        .unwrap();
        let got: Vec<i128> = out.iter().map(|&y| exact(y)).collect();
        let want: Vec<i128> = acc
            .iter()
            .map(|&a| requantized(a, is_relu, shift, bits))
            .collect();
        assert_eq!(got, want, "{name}: forward, {activation:?}, {shape:?}");
        let seen = acc.iter().map(|&a| if is_relu { a.max(0) } else { a });
        assert_eq!(range, bit_len(seen), "{name}: range, {shape:?}");
    }
    let mut dx = vec![T::ZERO; x.len()];
    dense::backward_input(&Threads(2), shape, &dy, &weight, store, &mut dx).unwrap();
    let got: Vec<i128> = dx.iter().map(|&d| exact(d)).collect();
    let want: Vec<i128> = dx_acc
        .iter()
        .map(|&a| requantized(a, false, shift, bits))
        .collect();
    assert_eq!(got, want, "{name}: input gradient, {shape:?}");
    let mut sums = vec![T::Acc::default(); weight.len()];
    dense::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut sums)).unwrap();
    assert_eq!(
        sums.into_iter().map(i128::from).collect::<Vec<_>>(),
        dw,
        "{name}: {shape:?}"
    );
    let mut sums = vec![T::Acc::default(); outputs];
    dense::backward_bias::<T>(outputs, &dy, &mut Gradient::Store(&mut sums)).unwrap();
    assert_eq!(
        sums.into_iter().map(i128::from).collect::<Vec<_>>(),
        db,
        "{name}: {shape:?}"
    );
}

/// Max pooling and its gradient; values are few, so that maxima are often shared.
fn max_pool_is_the_definition<T: Element + PartialOrd>(shape: pool::Shape, seed: u32) {
    let mut noise = Noise::new(seed);
    let pool::Shape {
        batch,
        input: [height, width],
        channels,
        window,
    } = shape;
    let [rows, columns] = shape.outputs().unwrap();
    let few = |noise: &mut Noise| T::from_f64(noise.below(5) as f64 - 4.0);
    let x: Vec<T> = (0..batch * height * width * channels)
        .map(|_| few(&mut noise))
        .collect();
    let dy: Vec<T> = (0..batch * rows * columns * channels)
        .map(|_| T::from_f64(noise.below(9) as f64 - 4.0))
        .collect();
    let (mut want, mut want_dx) = (Vec::new(), vec![0i128; x.len()]);
    for n in 0..batch {
        for r in 0..rows {
            for c in 0..columns {
                for k in 0..channels {
                    let mut winner: Option<usize> = None;
                    for a in 0..window.kernel[0] {
                        for b in 0..window.kernel[1] {
                            let y = (r * window.stride[0] + a * window.dilation[0])
                                .wrapping_sub(window.padding[0][0]);
                            let z = (c * window.stride[1] + b * window.dilation[1])
                                .wrapping_sub(window.padding[1][0]);
                            if y < height && z < width {
                                let cell = ((n * height + y) * width + z) * channels + k;
                                if winner.is_none_or(|best| x[cell] > x[best]) {
                                    winner = Some(cell);
                                }
                            }
                        }
                    }
                    let winner = winner.expect("the shape was accepted");
                    want_dx[winner] += exact(dy[want.len()]);
                    want.push(x[winner]);
                }
            }
        }
    }
    let mut y = vec![T::ZERO; want.len()];
    pool::max_forward(&Threads(3), shape, &x, &mut y).unwrap();
    assert_eq!(y, want, "{}: {shape:?}", T::DTYPE);
    let mut dx = vec![T::ZERO; x.len()];
    let range = pool::max_backward(&Threads(3), shape, &x, &y, &dy, Store::EXACT, &mut dx).unwrap();
    let got: Vec<i128> = dx.iter().map(|&d| exact(d)).collect();
    assert_eq!(got, want_dx, "{}: gradient, {shape:?}", T::DTYPE);
    if T::DTYPE.is_integer() {
        assert_eq!(range, bit_len(want_dx.into_iter()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        ..ProptestConfig::with_failure_persistence(
            proptest::test_runner::FileFailurePersistence::WithSource("regressions")
        )
    })]

    #[test]
    fn convolutions_are_the_definition(shape in conv_shape(), seed: u32) {
        prop_assume!(shape.outputs().is_ok());
        conv_is_the_definition::<i8>(shape, seed, 9);
        conv_is_the_definition::<u8>(shape, seed, 7);
        conv_is_the_definition::<i16>(shape, seed, 17);
        conv_is_the_definition::<u16>(shape, seed, 16);
        conv_is_the_definition::<i32>(shape, seed, 26);
        conv_is_the_definition::<u32>(shape, seed, 24);
        conv_is_the_definition::<i64>(shape, seed, 55);
        conv_is_the_definition::<u64>(shape, seed, 53);
    }

    #[test]
    fn dense_layers_are_the_definition(batch in 1usize..5, inputs in 1usize..70, outputs in 1usize..40, seed: u32) {
        let shape = dense::Shape { batch, inputs, outputs };
        dense_is_the_definition::<i8>(shape, seed, 9);
        dense_is_the_definition::<u8>(shape, seed, 10);
        dense_is_the_definition::<i16>(shape, seed, 17);
        dense_is_the_definition::<u16>(shape, seed, 0);
        dense_is_the_definition::<i32>(shape, seed, 26);
        dense_is_the_definition::<u32>(shape, seed, 30);
        dense_is_the_definition::<i64>(shape, seed, 55);
        dense_is_the_definition::<u64>(shape, seed, 57);
    }

    #[test]
    fn max_pooling_is_the_definition(shape in conv_shape(), seed: u32) {
        let conv::Shape { batch, input, channels, window, .. } = shape;
        let [height, width] = input;
        let shape = pool::Shape { batch, input, channels, window };
        prop_assume!(shape.outputs().is_ok());
        let mut y = vec![0i8; batch * shape.outputs().unwrap().iter().product::<usize>() * channels];
        let x = vec![0i8; batch * height * width * channels];
        prop_assume!(pool::max_forward(&Serial, shape, &x, &mut y).is_ok());
        max_pool_is_the_definition::<i8>(shape, seed);
        max_pool_is_the_definition::<u8>(shape, seed);
        max_pool_is_the_definition::<i64>(shape, seed);
        max_pool_is_the_definition::<f32>(shape, seed);
    }

    #[test]
    fn convolution_of_one_cell_is_a_dense_layer(batch in 1usize..4, cells in 1usize..9, channels in 1usize..20,
        filters in 1usize..20, seed: u32)
    {
        let mut noise = Noise::new(seed);
        let window = Window::uniform(1, 1, 0);
        let conv = conv::Shape { batch, input: [1, cells], channels, filters, groups: 1, window };
        let dense = dense::Shape { batch: batch * cells, inputs: channels, outputs: filters };
        let x: Vec<f32> = noise.vector(batch * cells * channels, 1.0).iter().map(|&v| v as f32).collect();
        let weight: Vec<f32> = noise.vector(filters * channels, 1.0).iter().map(|&v| v as f32).collect();
        let bias: Vec<f32> = noise.vector(filters, 1.0).iter().map(|&v| v as f32).collect();
        let bias = Bias { values: &bias, shift: 0 };
        let (mut a, mut b) = (vec![0f32; batch * cells * filters], vec![0f32; batch * cells * filters]);
        conv::forward(&Serial, conv, &x, &weight, bias, Epilogue::EXACT, &mut a, &mut []).unwrap();
        dense::forward(&Serial, dense, &x, &weight, bias, Epilogue::EXACT, &mut b, &mut []).unwrap();
        prop_assert_eq!(&a, &b); // floats too: the same order of sums
        let (mut da, mut db) = (vec![0f32; x.len()], vec![0f32; x.len()]);
        conv::backward_input(&Serial, conv, &a, &weight, Store::EXACT, &mut da).unwrap();
        dense::backward_input(&Serial, dense, &a, &weight, Store::EXACT, &mut db).unwrap();
        prop_assert_eq!(da, db);
        let (mut wa, mut wb) = (vec![0f32; weight.len()], vec![0f32; weight.len()]);
        conv::backward_weight(conv, &x, &a, &mut Gradient::Store(&mut wa)).unwrap();
        dense::backward_weight(dense, &x, &a, &mut Gradient::Store(&mut wb)).unwrap();
        prop_assert_eq!(wa, wb);
    }

    #[test]
    fn stochastic_errors_do_not_depend_on_threads(shape in conv_shape(), seed: u32, tasks in 2usize..9) {
        prop_assume!(shape.outputs().is_ok());
        let mut noise = Noise::new(seed);
        let [rows, columns] = shape.outputs().unwrap();
        let weight = elements::<i8>(&mut noise, shape.filters * filter_len(&shape));
        let dy = elements::<i8>(&mut noise, shape.batch * rows * columns * shape.filters);
        let rounding = Rounding::Stochastic(Words::new(seed, 24, 1));
        let store = Store::Shift { shift: 9, rounding };
        let x_len = shape.batch * shape.input[0] * shape.input[1] * shape.channels;
        let (mut a, mut b) = (vec![0i8; x_len], vec![0i8; x_len]);
        let range = conv::backward_input(&Serial, shape, &dy, &weight, store, &mut a);
        prop_assert_eq!(range, conv::backward_input(&Threads(tasks), shape, &dy, &weight, store, &mut b));
        prop_assert_eq!(a, b);
    }

    #[test]
    fn sums_of_inputs_give_sums_of_outputs(inputs in 1usize..40, outputs in 1usize..20, seed: u32) {
        // Linearity, exact in 8 bits with room to spare: |x| <= 3, stored at the accumulator's exponent.
        let mut noise = Noise::new(seed);
        let mut small = |n| -> Vec<i32> { (0..n).map(|_| noise.below(7) as i32 - 3).collect() };
        let (x1, x2, weight) = (small(inputs), small(inputs), small(outputs * inputs));
        let shape = dense::Shape { batch: 1, inputs, outputs };
        let zeros = vec![0; outputs];
        let forward = |x: &[i32]| {
            let mut out = vec![0i32; outputs];
            let bias = Bias { values: &zeros, shift: 0 };
            dense::forward(&Serial, shape, x, &weight, bias, Epilogue::EXACT, &mut out, &mut []).unwrap();
            out
        };
        let sum: Vec<i32> = x1.iter().zip(&x2).map(|(a, b)| a + b).collect();
        let want: Vec<i32> = forward(&x1).iter().zip(forward(&x2)).map(|(a, b)| a + b).collect();
        prop_assert_eq!(forward(&sum), want);
    }
}

/// 8-bit sums at the limit of their size: every product as large as it can be.
#[test]
fn the_longest_sums_do_not_overflow() {
    let inputs = 1 << 16;
    let shape = dense::Shape {
        batch: 1,
        inputs,
        outputs: 1,
    };
    for (x, w, bias) in [
        (127i8, 127i8, i16::MAX),
        (-128, 127, -i16::MAX),
        (-127, -127, i16::MAX),
    ] {
        let mut out = [0i16];
        // A bias far above the accumulator's exponent is clamped beside the products.
        let bias = Bias {
            values: &[bias],
            shift: -40,
        };
        let store = Store::Shift {
            shift: 17,
            rounding: Rounding::NearestEven,
        };
        let epilogue = Epilogue {
            activation: Activation::Identity,
            exponent: 0,
            store,
        };
        let (x, w) = (vec![x; inputs], vec![w; inputs]);
        let range =
            dense::forward(&Serial, shape, &x, &w, bias, epilogue, &mut out, &mut []).unwrap();
        let products = (i128::from(x[0]) * i128::from(w[0])) << 16;
        let acc = products + products.signum() * ((1 << 30) - 1);
        assert_eq!(range, bit_len([acc].into_iter()));
        assert_eq!(i128::from(out[0]), requantized(acc, false, 17, 15));
    }
    // Gradients: 2^17 errors of 127 times pixels of -128.
    let batch = 1 << 17;
    let mut sum = [0i32];
    let shape = dense::Shape {
        batch,
        inputs: 1,
        outputs: 1,
    };
    dense::backward_weight(
        shape,
        &vec![-128i8; batch],
        &vec![127i8; batch],
        &mut Gradient::Store(&mut sum),
    )
    .unwrap();
    assert_eq!(sum, [-128 * 127 * (1 << 17)]);
    let inputs = 1 << 14;
    let shape = dense::Shape {
        batch: 1,
        inputs,
        outputs: 1,
    };
    let largest = (1i64 << 53) - 1;
    let bias = Bias {
        values: &[0],
        shift: 0,
    };
    let mut out = [0i64];
    let store = Store::Shift {
        shift: 70,
        rounding: Rounding::NearestEven,
    };
    let epilogue = Epilogue {
        activation: Activation::Identity,
        exponent: 0,
        store,
    };
    let range = dense::forward(
        &Serial,
        shape,
        &vec![largest; inputs],
        &vec![-largest; inputs],
        bias,
        epilogue,
        &mut out,
        &mut [],
    )
    .unwrap();
    assert_eq!(range, 120);
    assert_eq!(
        i128::from(out[0]),
        requantized(-(i128::from(largest).pow(2) << 14), false, 70, 53)
    );
}
