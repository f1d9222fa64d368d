//! Layers large enough for what instruction sets do with many pixels, channels and outputs at once:
//! against the definition in all types, and the order of `f32` sums bit by bit.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::element::Output;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, bf16, conv, f16};
use selvedge_tests::noise::Noise;
use selvedge_tests::plain::{
    Exact, all_exact, elements, exact, filter_len, products, range, stored,
};
use selvedge_tests::threads::Threads;

/// Batch, side, channels, filters, groups; kernel, stride, padding, dilation. What is special of each:
/// patches and panels with a last one that is not full, borders, strides, groups, the shortest runs,
/// more channels than a register has, windows of four cells and one more, windows on padding alone.
const CONVS: [([usize; 5], [usize; 4]); 11] = [
    ([2, 7, 5, 19, 1], [3, 1, 1, 1]),
    ([1, 9, 1, 8, 1], [3, 1, 0, 1]),
    ([1, 8, 3, 33, 1], [5, 2, 2, 1]),
    ([1, 6, 37, 6, 1], [1, 1, 0, 1]),
    ([1, 9, 8, 18, 1], [3, 2, 1, 2]),
    ([1, 7, 12, 10, 2], [3, 1, 1, 1]),
    ([2, 6, 70, 70, 70], [3, 1, 1, 1]),
    ([1, 9, 17, 17, 17], [5, 2, 2, 1]),
    ([1, 8, 66, 66, 66], [2, 1, 1, 2]),
    ([2, 5, 4, 18, 1], [1, 1, 1, 1]),
    ([2, 5, 6, 6, 6], [2, 1, 3, 1]),
];

fn conv_shape(i: usize) -> conv::Shape {
    let ([batch, side, channels, filters, groups], [kernel, stride, padding, dilation]) = CONVS[i];
    conv::Shape {
        batch,
        input: [side, side + 1],
        channels,
        filters,
        groups,
        window: Window {
            dilation: [dilation; 2],
            ..Window::uniform(kernel, stride, padding)
        },
    }
}

fn store<T: Element>(shift: i32) -> Store {
    Store::Shift {
        shift: if T::DTYPE.is_integer() { shift } else { 0 },
        rounding: Rounding::NearestEven,
    }
}

fn check<T: Element<Acc: Exact>>(what: &str, want: &[i128], got: &[T], shift: i32) {
    let shift = if T::DTYPE.is_integer() { shift } else { 0 };
    for (i, (&want, &got)) in want.iter().zip(got).enumerate() {
        assert_eq!(
            stored::<T>(want, shift),
            exact(got),
            "{what}[{i}], {}",
            T::DTYPE
        );
    }
}

fn a_convolution<T: Element<Acc: Exact> + Output<T>>(i: usize, shift: i32) {
    let (shape, mut noise) = (conv_shape(i), Noise::new(i as u32));
    let place = format!("case {i}");
    let outputs: usize = shape.outputs().unwrap().iter().product();
    let x = elements::<T>(
        &mut noise,
        shape.batch * shape.input.iter().product::<usize>() * shape.channels,
    );
    let weight = elements::<T>(&mut noise, shape.filters * filter_len(&shape));
    let values = elements::<T::Bias>(&mut noise, shape.filters);
    let dy = elements::<T>(&mut noise, shape.batch * outputs * shape.filters);
    let [x0, w0, d0] = [&x, &weight, &dy].map(|values| all_exact(values));
    let b0 = all_exact(&values);
    let mut y0: Vec<i128> = (0..dy.len()).map(|i| b0[i % shape.filters]).collect();
    let (mut dx0, mut dw0) = (vec![0; x.len()], vec![0; weight.len()]);
    products(&shape, |o, i, w| {
        y0[o] += x0[i] * w0[w];
        dx0[i] += d0[o] * w0[w];
        dw0[w] += d0[o] * x0[i];
    });
    let (bias, exec) = (
        Bias {
            values: &values,
            shift: 0,
        },
        Threads(1 + i % 3),
    );
    let epilogue = Epilogue {
        store: store::<T>(shift),
        ..Epilogue::EXACT
    };
    let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
    let seen = conv::forward(&exec, shape, &x, &weight, bias, epilogue, &mut y, &mut []).unwrap();
    assert_eq!(seen, range::<T>(&y0), "range of y, {place}, {}", T::DTYPE);
    check(&format!("{place}: y"), &y0, &y, shift);
    let seen =
        conv::backward_input(&exec, shape, &dy, &weight, store::<T>(shift), &mut dx).unwrap();
    assert_eq!(seen, range::<T>(&dx0), "range of dx, {place}, {}", T::DTYPE);
    check(&format!("{place}: dx"), &dx0, &dx, shift);
    let mut dw = vec![T::Acc::default(); weight.len()];
    conv::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)).unwrap();
    let dw: Vec<i128> = dw.into_iter().map(Exact::exact).collect();
    assert_eq!(dw0, dw, "dw, {place}, {}", T::DTYPE);
}

fn a_dense_layer<T: Element<Acc: Exact> + Output<T>>(i: usize, shift: i32) {
    let [batch, inputs, outputs] = [[17, 70, 19], [30, 9, 40], [3, 37, 35], [1, 130, 9]][i];
    let (shape, mut noise) = (
        dense::Shape {
            batch,
            inputs,
            outputs,
        },
        Noise::new(i as u32),
    );
    let x = elements::<T>(&mut noise, batch * inputs);
    let weight = elements::<T>(&mut noise, outputs * inputs);
    let values = elements::<T::Bias>(&mut noise, outputs);
    let dy = elements::<T>(&mut noise, batch * outputs);
    let [x0, w0, d0] = [&x, &weight, &dy].map(|values| all_exact(values));
    let b0 = all_exact(&values);
    let mut y0: Vec<i128> = (0..dy.len()).map(|i| b0[i % outputs]).collect();
    let (mut dx0, mut dw0) = (vec![0; x.len()], vec![0; weight.len()]);
    for (n, o) in (0..batch).flat_map(|n| (0..outputs).map(move |o| (n, o))) {
        for i in 0..inputs {
            y0[n * outputs + o] += x0[n * inputs + i] * w0[o * inputs + i];
            dx0[n * inputs + i] += d0[n * outputs + o] * w0[o * inputs + i];
            dw0[o * inputs + i] += d0[n * outputs + o] * x0[n * inputs + i];
        }
    }
    let (bias, exec) = (
        Bias {
            values: &values,
            shift: 0,
        },
        Threads(1 + i % 2),
    );
    let epilogue = Epilogue {
        store: store::<T>(shift),
        ..Epilogue::EXACT
    };
    let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
    let seen = dense::forward(&exec, shape, &x, &weight, bias, epilogue, &mut y, &mut []).unwrap();
    assert_eq!(seen, range::<T>(&y0), "range of y, {}", T::DTYPE);
    check("dense y", &y0, &y, shift);
    let store = store::<T>(shift);
    let seen = dense::backward_input(&exec, shape, &dy, &weight, store, &mut dx).unwrap();
    assert_eq!(seen, range::<T>(&dx0), "range of dx, {}", T::DTYPE);
    check("dense dx", &dx0, &dx, shift);
    let mut dw = vec![T::Acc::default(); weight.len()];
    dense::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)).unwrap();
    let dw: Vec<i128> = dw.into_iter().map(Exact::exact).collect();
    assert_eq!(dw0, dw, "dense dw, {}", T::DTYPE);
}

macro_rules! in_all_types {
    ($function:ident, $case:expr) => {
        $function::<i8>($case, 9);
        $function::<u8>($case, 8);
        $function::<i16>($case, 17);
        $function::<u16>($case, 16);
        $function::<i32>($case, 26);
        $function::<u32>($case, 25);
        $function::<i64>($case, 55);
        $function::<u64>($case, 54);
        $function::<f16>($case, 0);
        $function::<bf16>($case, 0);
        $function::<f32>($case, 0);
        $function::<f64>($case, 0);
    };
}

#[test]
fn large_convolutions_are_the_definition() {
    for i in 0..CONVS.len() {
        in_all_types!(a_convolution, i);
    }
}

#[test]
fn large_dense_layers_are_the_definition() {
    for i in 0..4 {
        in_all_types!(a_dense_layer, i);
    }
}

/// The eight partial sums of `docs/numerics.md` §9, run after run.
#[derive(Default)]
struct Eight([f32; 8]);

impl Eight {
    fn add_run(&mut self, run: impl Iterator<Item = (f32, f32)>) {
        for (i, (x, w)) in run.enumerate() {
            self.0[i % 8] += x * w;
        }
    }

    fn total(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}

#[test]
fn f32_sums_have_their_order() {
    let mut noise = Noise::new(7);
    let mut vector = |n| -> Vec<f32> {
        let numbers = noise.vector(n, 1.0).into_iter();
        numbers.map(|x| x as f32).collect()
    };
    for [n, i, o] in [[16, 37, 21], [40, 64, 16], [5, 29, 9], [1, 100, 3]] {
        let (x, w, b) = (vector(n * i), vector(o * i), vector(o));
        let (shape, bias) = (
            dense::Shape {
                batch: n,
                inputs: i,
                outputs: o,
            },
            Bias {
                values: &b,
                shift: 0,
            },
        );
        let mut y = vec![0.0; n * o];
        let exact = Epilogue::EXACT;
        dense::forward(&Threads(2), shape, &x, &w, bias, exact, &mut y, &mut []).unwrap();
        for (place, y) in y.into_iter().enumerate() {
            let (x, w) = (&x[place / o * i..], &w[place % o * i..]);
            let mut sums = Eight::default();
            sums.add_run(x.iter().copied().zip(w.iter().copied()).take(i));
            assert_eq!(
                (sums.total() + b[place % o]).to_bits(),
                y.to_bits(),
                "{n} {i} {o}"
            );
        }
    }
    // Undilated and without groups: a kernel row is a run.
    for case in [0, 1, 2, 3] {
        let shape = conv_shape(case);
        let ([rows, columns], [height, width]) = (shape.outputs().unwrap(), shape.input);
        let (c, f, k) = (shape.channels, shape.filters, shape.window.kernel[0]);
        let (stride, before) = (shape.window.stride[0], shape.window.padding[0][0]);
        let x = vector(shape.batch * height * width * c);
        let (w, b) = (vector(f * k * k * c), vector(f));
        let bias = Bias {
            values: &b,
            shift: 0,
        };
        let mut y = vec![0.0; shape.batch * rows * columns * f];
        let exact = Epilogue::EXACT;
        conv::forward(&Threads(2), shape, &x, &w, bias, exact, &mut y, &mut []).unwrap();
        for (place, y) in y.into_iter().enumerate() {
            let (filter, pixel) = (place % f, place / f);
            let (column, row, image) = (
                pixel % columns * stride,
                pixel / columns % rows * stride,
                pixel / columns / rows,
            );
            let mut sums = Eight::default();
            for a in (0..k).filter(|a| (before..height + before).contains(&(row + a))) {
                let cells: Vec<usize> = (0..k)
                    .filter(|b| (before..width + before).contains(&(column + b)))
                    .collect();
                let products = cells.iter().flat_map(|&b| {
                    let x_cell = (image * height + row + a - before) * width + column + b - before;
                    let w_cell = (filter * k + a) * k + b;
                    (0..c).map(move |i| (x_cell * c + i, w_cell * c + i))
                });
                sums.add_run(products.map(|(i, j)| (x[i], w[j])));
            }
            assert_eq!(
                (sums.total() + b[filter]).to_bits(),
                y.to_bits(),
                "case {case}"
            );
        }
    }
}

#[test]
fn f32_gradients_are_summed_in_order() {
    let mut noise = Noise::new(8);
    let mut vector = |n| -> Vec<f32> {
        let numbers = noise.vector(n, 1.0).into_iter();
        numbers.map(|x| x as f32).collect()
    };
    for [n, i, o] in [
        [16, 37, 21],
        [9, 64, 16],
        [5, 16, 9],
        [1, 100, 3],
        [6, 7, 5],
    ] {
        let (x, w, dy) = (vector(n * i), vector(o * i), vector(n * o));
        let shape = dense::Shape {
            batch: n,
            inputs: i,
            outputs: o,
        };
        let (mut dx, mut dw) = (vec![0.0; n * i], vec![0.0; o * i]);
        let sum = |terms: &mut dyn Iterator<Item = f32>| terms.fold(0.0, |sum, term| sum + term);
        dense::backward_input(&Threads(2), shape, &dy, &w, Store::EXACT, &mut dx).unwrap();
        for (place, dx) in dx.into_iter().enumerate() {
            let (row, column) = (place / i, place % i);
            let want = sum(&mut (0..o).map(|k| dy[row * o + k] * w[k * i + column]));
            assert_eq!(want.to_bits(), dx.to_bits(), "dx of {n} {i} {o}");
        }
        dense::backward_weight(shape, &x, &dy, &mut Gradient::<f32, _>::Store(&mut dw)).unwrap();
        for (place, dw) in dw.into_iter().enumerate() {
            let (row, column) = (place / i, place % i);
            let want = sum(&mut (0..n).map(|k| dy[k * o + row] * x[k * i + column]));
            assert_eq!(want.to_bits(), dw.to_bits(), "dw of {n} {i} {o}");
        }
    }
}
