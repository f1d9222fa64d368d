//! Convolutions over one and three axes: against their definition in all types, against the kernels
//! of two axes, against differences.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::Bias;
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Element, Error, bf16, conv, f16};
use selvedge_tests::noise::Noise;
use selvedge_tests::plain::{
    Exact, all_exact, assert_close, differences, elements, exact, filter_len, inner, products,
    random_conv, range, stored,
};
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance;

/// Elements of input, weights and output.
fn lens<const N: usize>(shape: &conv::Shape<N>) -> [usize; 3] {
    let outputs: usize = shape.outputs().unwrap().iter().product();
    [
        shape.batch * shape.input.iter().product::<usize>() * shape.channels,
        shape.filters * filter_len(shape),
        shape.batch * outputs * shape.filters,
    ]
}

fn nearest_even(shift: i32) -> Store {
    Store::Shift {
        shift,
        rounding: Rounding::NearestEven,
    }
}

/// Forward and both gradients of a random convolution.
fn is_the_definition<T, const N: usize>(seed: u32, shift: i32)
where
    T: Element<Acc: Exact> + Output<T>,
{
    let mut noise = Noise::new(seed);
    let shape = random_conv::<N>(&mut noise);
    is_defined::<T, N>(noise, shape, seed, shift);
}

/// Forward and both gradients, exactly; integers are shifted right by `shift`, floats are not.
fn is_defined<T, const N: usize>(mut noise: Noise, shape: conv::Shape<N>, seed: u32, shift: i32)
where
    T: Element<Acc: Exact> + Output<T>,
{
    let place = format!("{}, seed {seed}, {shape:?}", T::DTYPE);
    let shift = if T::DTYPE.is_integer() { shift } else { 0 };
    let [x_len, w_len, y_len] = lens(&shape);
    let x = elements::<T>(&mut noise, x_len);
    let weight = elements::<T>(&mut noise, w_len);
    let bias = elements::<T::Bias>(&mut noise, shape.filters);
    let dy = elements::<T>(&mut noise, y_len);
    let (x0, w0, b0, d0) = (
        all_exact(&x),
        all_exact(&weight),
        all_exact(&bias),
        all_exact(&dy),
    );
    let mut y0: Vec<i128> = (0..y_len).map(|i| b0[i % shape.filters]).collect();
    let (mut dx0, mut dw0) = (vec![0; x_len], vec![0; w_len]);
    products(&shape, |o, i, w| {
        y0[o] += x0[i] * w0[w];
        dx0[i] += d0[o] * w0[w];
        dw0[w] += d0[o] * x0[i];
    });
    y0.iter_mut().for_each(|y| *y = (*y).max(0)); // ReLU

    let mut y = vec![T::ZERO; y_len];
    let epilogue = Epilogue {
        activation: Activation::Relu,
        exponent: 0,
        store: nearest_even(shift),
    };
    let bias = Bias {
        values: &bias,
        shift: 0,
    };
    let exec = Threads(1 + seed as usize % 4);
    let seen = conv::forward(&exec, shape, &x, &weight, bias, epilogue, &mut y, &mut []).unwrap();
    assert_eq!(seen, range::<T>(&y0), "range, {place}");
    for (want, got) in y0.iter().zip(&y) {
        assert_eq!(stored::<T>(*want, shift), exact(*got), "forward, {place}");
    }
    let mut dx = vec![T::ZERO; x_len];
    let seen =
        conv::backward_input(&exec, shape, &dy, &weight, nearest_even(shift), &mut dx).unwrap();
    assert_eq!(seen, range::<T>(&dx0), "range of dx, {place}");
    for (want, got) in dx0.iter().zip(&dx) {
        assert_eq!(stored::<T>(*want, shift), exact(*got), "dx, {place}");
    }
    let mut dw = vec![T::Acc::default(); w_len];
    conv::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)).unwrap();
    let dw: Vec<i128> = dw.into_iter().map(Exact::exact).collect();
    assert_eq!(dw0, dw, "dw, {place}");
}

/// Calls a function of a type and a number of axes in all twelve types, with a seed and a shift.
macro_rules! in_all_types {
    ($function:ident, $axes:literal, $seed:expr) => {
        $function::<i8, $axes>($seed, 9);
        $function::<u8, $axes>($seed, 8);
        $function::<i16, $axes>($seed, 17);
        $function::<u16, $axes>($seed, 16);
        $function::<i32, $axes>($seed, 26);
        $function::<u32, $axes>($seed, 25);
        $function::<i64, $axes>($seed, 55);
        $function::<u64, $axes>($seed, 54);
        $function::<f16, $axes>($seed, 0);
        $function::<bf16, $axes>($seed, 0);
        $function::<f32, $axes>($seed, 0);
        $function::<f64, $axes>($seed, 0);
    };
}

#[test]
fn convolutions_over_one_axis_are_the_definition() {
    for seed in 0..100 {
        in_all_types!(is_the_definition, 1, seed);
    }
}

#[test]
fn convolutions_over_three_axes_are_the_definition() {
    for seed in 0..60 {
        in_all_types!(is_the_definition, 3, seed);
    }
}

/// Rows wide enough for vectors, in the shapes that these treat in their own ways.
#[test]
fn wide_convolutions_are_the_definition() {
    fn check<const N: usize>(
        input: [usize; N],
        [channels, filters, groups]: [usize; 3],
        kernel: [usize; N],
        [stride, padding, dilation]: [usize; 3],
    ) {
        let shape = conv::Shape {
            batch: 2,
            input,
            channels,
            filters,
            groups,
            window: Window {
                kernel,
                stride: [stride; N],
                padding: [[padding; 2]; N],
                dilation: [dilation; N],
            },
        };
        for seed in 0..2 {
            is_defined::<i8, N>(Noise::new(seed), shape, seed, 9);
            is_defined::<u8, N>(Noise::new(seed), shape, seed, 8);
            is_defined::<i16, N>(Noise::new(seed), shape, seed, 17);
            is_defined::<f32, N>(Noise::new(seed), shape, seed, 0);
        }
    }
    // One or a few channels, with runs that are no multiple of four; all numbers of last pixels.
    for width in 6..=18 {
        check([5, width], [1, 8, 1], [3, 3], [1, 0, 1]);
        check([5, width], [3, 17, 1], [5, 5], [1, 2, 1]);
    }
    check([4, 40], [5, 3, 1], [2, 3], [2, 4, 1]);
    check([3, 21], [6, 33, 1], [3, 2], [1, 3, 3]);
    // More pixels, more filters and longer filters than there is room for at once.
    check([3, 30], [112, 20, 1], [3, 3], [1, 1, 1]);
    check([4, 4], [112, 70, 1], [3, 3], [1, 1, 1]);
    check([10, 9], [110, 5, 1], [9, 1], [2, 1, 1]);
    check([5, 5], [120, 5, 1], [3, 3], [1, 1, 1]);
    // One cell; groups; one and three axes.
    check([5, 7], [30, 17, 1], [1, 1], [1, 0, 1]);
    check([9, 9], [30, 17, 1], [1, 1], [2, 0, 1]);
    check([6, 20], [16, 32, 4], [3, 3], [1, 1, 1]);
    check([6, 20], [18, 40, 2], [3, 3], [2, 2, 2]);
    check([6, 8], [60, 120, 20], [3, 3], [1, 1, 1]);
    check([100], [5, 6, 1], [7], [2, 3, 3]);
    check([3, 4, 9], [3, 9, 1], [2, 3, 3], [1, 1, 1]);
    // Depthwise: strides within the kernel and beyond it, dilation, kernels that fill columns or are too
    // long for a strip.
    for stride in 1..=4 {
        check([5, 37], [70, 70, 70], [3, 3], [stride, 1, 1]);
        check([9, 12], [5, 5, 5], [5, 5], [stride, 2, 1]);
        check([9, 23], [66, 66, 66], [7, 7], [stride, 4, 1]);
        check([9, 14], [3, 3, 3], [3, 3], [stride, 2, 2]);
        check([60], [3, 3, 3], [3], [stride, 0, 15]);
        check([4, 5, 9], [3, 3, 3], [3, 3, 3], [stride, 1, 1]);
    }
    check([2, 40], [9, 9, 9], [1, 16], [1, 3, 1]);
    check([2, 40], [9, 9, 9], [1, 17], [3, 3, 1]);
    check([40, 3], [9, 9, 9], [16, 1], [1, 3, 1]);
}

/// Everything that a convolution computes, for comparison of bits.
fn everything<T: Element + Output<T>, const N: usize>(
    shape: conv::Shape<N>,
    seed: u32,
) -> (Vec<T>, Vec<T>, Vec<T::Acc>, [u32; 2]) {
    let mut noise = Noise::new(seed);
    let [x_len, w_len, y_len] = lens(&shape);
    let mut vector = |n| match T::DTYPE.is_integer() {
        true => elements::<T>(&mut noise, n),
        false => noise.vector(n, 1.0).into_iter().map(T::from_f64).collect(),
    };
    let (x, weight, dy) = (vector(x_len), vector(w_len), vector(y_len));
    let zeros = vec![T::Bias::ZERO; shape.filters];
    let bias = Bias {
        values: &zeros,
        shift: 0,
    };
    let words = Words::new(seed, 3, 1);
    let store = Store::Shift {
        shift: if T::DTYPE.is_integer() { 7 } else { 0 },
        rounding: Rounding::Stochastic(words),
    };
    let epilogue = Epilogue {
        store,
        ..Epilogue::EXACT
    };
    let (mut y, mut dx) = (vec![T::ZERO; y_len], vec![T::ZERO; x_len]);
    let mut dw = vec![T::Acc::default(); w_len];
    let ranges = [
        conv::forward(&Serial, shape, &x, &weight, bias, epilogue, &mut y, &mut []).unwrap(),
        conv::backward_input(&Serial, shape, &dy, &weight, store, &mut dx).unwrap(),
    ];
    conv::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)).unwrap();
    (y, dx, dw, ranges)
}

/// The same window with an axis of one cell in front.
fn with_an_axis<const N: usize, const M: usize>(shape: conv::Shape<N>) -> conv::Shape<M> {
    fn more<const N: usize, const M: usize, E: Copy>(extents: [E; N], fill: E) -> [E; M] {
        let mut more = [fill; M];
        more[M - N..].copy_from_slice(&extents);
        more
    }
    conv::Shape {
        batch: shape.batch,
        input: more(shape.input, 1),
        channels: shape.channels,
        filters: shape.filters,
        groups: shape.groups,
        window: Window {
            kernel: more(shape.window.kernel, 1),
            stride: more(shape.window.stride, 1),
            padding: more(shape.window.padding, [0, 0]),
            dilation: more(shape.window.dilation, 1),
        },
    }
}

fn an_axis_of_one_cell_changes_nothing<T: Element + Output<T>>() {
    for seed in 0..30 {
        let one = random_conv::<1>(&mut Noise::new(seed));
        assert_eq!(
            everything::<T, 1>(one, seed),
            everything::<T, 2>(with_an_axis(one), seed),
            "{}: {one:?}",
            T::DTYPE
        );
        let two = random_conv::<2>(&mut Noise::new(seed));
        assert_eq!(
            everything::<T, 2>(two, seed),
            everything::<T, 3>(with_an_axis(two), seed),
            "{}: {two:?}",
            T::DTYPE
        );
    }
}

#[test]
fn fewer_axes_are_axes_of_one_cell() {
    an_axis_of_one_cell_changes_nothing::<i8>();
    an_axis_of_one_cell_changes_nothing::<u16>();
    an_axis_of_one_cell_changes_nothing::<i32>();
    an_axis_of_one_cell_changes_nothing::<u64>();
    an_axis_of_one_cell_changes_nothing::<f16>();
    an_axis_of_one_cell_changes_nothing::<bf16>();
    an_axis_of_one_cell_changes_nothing::<f32>();
    an_axis_of_one_cell_changes_nothing::<f64>();
}

fn gradients_are_the_differences<const N: usize>(name: &str, shape: conv::Shape<N>) {
    let mut noise = Noise::new(400);
    let [x_len, w_len, y_len] = lens(&shape);
    let (x, w) = (noise.vector(x_len, 1.0), noise.vector(w_len, 1.0));
    let b = noise.vector(shape.filters, 1.0);
    let dy = noise.vector(y_len, 1.0); // weights of the outputs in the loss
    let loss = |x: &[f64], w: &[f64], b: &[f64]| {
        let mut y = vec![0.0; y_len];
        let bias = Bias {
            values: b,
            shift: 0,
        };
        conv::forward(&Serial, shape, x, w, bias, Epilogue::EXACT, &mut y, &mut []).unwrap();
        inner(&y, &dy)
    };
    let mut dx = vec![0.0; x_len];
    conv::backward_input(&Serial, shape, &dy, &w, Store::EXACT, &mut dx).unwrap();
    let mut dw = vec![0.0; w_len];
    conv::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)).unwrap();
    let mut db = vec![0.0; shape.filters];
    let gradient = &mut Gradient::Store(&mut db);
    selvedge_kernels::dense::backward_bias::<f64>(shape.filters, &dy, gradient).unwrap();
    let limit = tolerance::LINEAR_DIFFERENCE;
    let want = differences(&x, |x| loss(x, &w, &b));
    assert_close(&format!("{name}: dx"), &want, &dx, limit);
    let want = differences(&w, |w| loss(&x, w, &b));
    assert_close(&format!("{name}: dw"), &want, &dw, limit);
    let want = differences(&b, |b| loss(&x, &w, b));
    assert_close(&format!("{name}: db"), &want, &db, limit);
}

#[test]
fn gradients_over_one_and_three_axes_are_the_differences() {
    let shape = conv::Shape {
        batch: 2,
        input: [11],
        channels: 4,
        filters: 6,
        groups: 1,
        window: Window::<1>::uniform(3, 1, 0),
    };
    let with = |window| conv::Shape { window, ..shape };
    gradients_are_the_differences("valid", shape);
    let same = Window::uniform(4, 2, 0).same([11]).unwrap();
    gradients_are_the_differences("same", with(same));
    let dilated = Window {
        dilation: [3],
        ..Window::uniform(3, 2, 2)
    };
    gradients_are_the_differences("dilated, stride", with(dilated));
    gradients_are_the_differences("groups", conv::Shape { groups: 2, ..shape });
    let depthwise = conv::Shape {
        filters: 4,
        groups: 4,
        ..shape
    };
    gradients_are_the_differences("depthwise", depthwise);

    let shape = conv::Shape {
        batch: 2,
        input: [3, 5, 4],
        channels: 3,
        filters: 3,
        groups: 1,
        window: Window::<3>::uniform(2, 1, 0),
    };
    let with = |window| conv::Shape { window, ..shape };
    gradients_are_the_differences("3 axes, valid", shape);
    let same = Window::uniform(3, 2, 0).same(shape.input).unwrap();
    gradients_are_the_differences("3 axes, same", with(same));
    let mixed = Window {
        kernel: [1, 3, 2],
        stride: [2, 1, 3],
        padding: [[0, 1], [1, 0], [2, 1]],
        dilation: [1, 2, 3],
    };
    gradients_are_the_differences("3 axes, all different", with(mixed));
    gradients_are_the_differences("3 axes, depthwise", conv::Shape { groups: 3, ..shape });
}

#[test]
fn convolutions_over_one_and_three_axes_refuse_bad_input() {
    const MARK: i8 = 77;
    fn refuses<const N: usize>(shape: conv::Shape<N>, lens: [usize; 3], want: [Error; 3]) {
        let (x, weight, dy) = (vec![1; lens[0]], vec![1; lens[1]], vec![1; lens[2]]);
        let bias = Bias {
            values: &vec![1; shape.filters],
            shift: 0,
        };
        let (mut y, mut dx) = (vec![MARK; lens[2]], vec![MARK; lens[0]]);
        let mut dw = vec![i32::from(MARK); lens[1]];
        let exact = Epilogue::EXACT;
        let got = [
            conv::forward(&Serial, shape, &x, &weight, bias, exact, &mut y, &mut []).map(drop),
            conv::backward_input(&Serial, shape, &dy, &weight, Store::EXACT, &mut dx).map(drop),
            conv::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)),
        ];
        assert_eq!(got, want.map(Err), "{shape:?}");
        assert!(y.iter().chain(&dx).all(|&x| x == MARK) && dw.iter().all(|&x| x == 77));
    }
    let length = |arg, expected, got| Error::Length { arg, expected, got };
    let one = conv::Shape {
        batch: 2,
        input: [5],
        channels: 2,
        filters: 4,
        groups: 2,
        window: Window::<1>::uniform(3, 1, 0),
    };
    let fit = |axis, span, input| [Error::Window { axis, span, input }; 3];
    refuses(
        one,
        [19, 12, 24],
        [
            length(Arg::X, 20, 19),
            length(Arg::Dx, 20, 19),
            length(Arg::X, 20, 19),
        ],
    );
    refuses(
        one,
        [20, 11, 24],
        [
            length(Arg::Weight, 12, 11),
            length(Arg::Weight, 12, 11),
            length(Arg::Dw, 12, 11),
        ],
    );
    refuses(
        one,
        [20, 12, 25],
        [
            length(Arg::Out, 24, 25),
            length(Arg::Dy, 24, 25),
            length(Arg::Dy, 24, 25),
        ],
    );
    refuses(conv::Shape { input: [2], ..one }, [8, 12, 8], fit(0, 3, 2));
    let groups = Error::Groups {
        channels: 2,
        filters: 4,
        groups: 3,
    };
    refuses(conv::Shape { groups: 3, ..one }, [20, 12, 24], [groups; 3]);
    let three = conv::Shape {
        batch: 1,
        input: [2, 3, 4],
        channels: 1,
        filters: 1,
        groups: 1,
        window: Window::<3>::uniform(2, 1, 0),
    };
    refuses(
        conv::Shape {
            input: [2, 1, 4],
            ..three
        },
        [8, 8, 3],
        fit(1, 2, 1),
    );
    refuses(
        conv::Shape {
            input: [2, 3, 1],
            ..three
        },
        [6, 8, 2],
        fit(2, 2, 1),
    );
    refuses(
        conv::Shape {
            input: [2, 0, 4],
            ..three
        },
        [0, 8, 0],
        [Error::Zero { arg: Arg::Shape }; 3],
    );
    let large = conv::Shape {
        input: [1 << 11, 1 << 11, 1 << 11],
        ..three
    };
    refuses(
        large,
        [1, 8, 1],
        [Error::Overflow {
            arg: Arg::Shape,
            got: Some(1 << 33),
        }; 3],
    );
    let cells = conv::Shape {
        input: [41; 3],
        window: Window::uniform(41, 1, 0),
        ..three
    };
    let terms = 41 * 41 * 41;
    let refused = Error::Accumulator {
        terms,
        limit: 1 << 16,
    };
    // A weight's gradient sums over positions, of which there is one.
    refuses(
        cells,
        [1, 1, 1],
        [refused, refused, length(Arg::X, terms, 1)],
    );
}

#[test]
fn nan_reaches_the_windows_that_contain_it_and_no_others() {
    let shape = conv::Shape {
        batch: 1,
        input: [3, 3, 4],
        channels: 1,
        filters: 1,
        groups: 1,
        window: Window::<3>::uniform(2, 1, 0),
    };
    let [x_len, w_len, y_len] = lens(&shape);
    let (mut x, weight) = (vec![1f32; x_len], vec![0f32; w_len]);
    let nan = 17;
    x[nan] = f32::NAN;
    let mut y = vec![0f32; y_len];
    let bias = Bias {
        values: &[0f32],
        shift: 0,
    };
    conv::forward(
        &Serial,
        shape,
        &x,
        &weight,
        bias,
        Epilogue::EXACT,
        &mut y,
        &mut [],
    )
    .unwrap();
    let mut has_nan = vec![false; y_len];
    products(&shape, |o, i, _| has_nan[o] |= i == nan);
    assert!(has_nan.contains(&true) && has_nan.contains(&false));
    assert_eq!(y.iter().map(|y| y.is_nan()).collect::<Vec<_>>(), has_nan);
}
