//! Transposed convolutions: against their definition and as the adjoint of a convolution, in all
//! types; against differences; what they refuse.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::activation::{self, Activation};
use selvedge_kernels::conv::{self, transpose};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Element, Error, bf16, f16};
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
        shape.batch * outputs * shape.filters,
        shape.filters * filter_len(shape),
        shape.batch * shape.input.iter().product::<usize>() * shape.channels,
    ]
}

fn nearest_even(shift: i32) -> Store {
    Store::Shift {
        shift,
        rounding: Rounding::NearestEven,
    }
}

/// Forward and all gradients, exactly. Integers are shifted right by `shift`, floats are not.
fn is_the_definition<T, const N: usize>(seed: u32, shift: i32)
where
    T: Element<Acc: Exact> + Output<T>,
{
    let mut noise = Noise::new(seed);
    let shape = random_conv::<N>(&mut noise);
    let place = format!("{}, seed {seed}, {shape:?}", T::DTYPE);
    let [x_len, w_len, y_len] = lens(&shape);
    let x = elements::<T>(&mut noise, x_len);
    let weight = elements::<T>(&mut noise, w_len);
    let bias = elements::<T::Bias>(&mut noise, shape.channels);
    let dy = elements::<T>(&mut noise, y_len);
    let (x0, w0, b0, d0) = (
        all_exact(&x),
        all_exact(&weight),
        all_exact(&bias),
        all_exact(&dy),
    );
    // Each input cell is spread over the cells that the convolution would read.
    let mut y0: Vec<i128> = (0..y_len).map(|i| b0[i % shape.channels]).collect();
    let (mut dx0, mut dw0) = (vec![0; x_len], vec![0; w_len]);
    products(&shape, |from, to, w| {
        y0[to] += x0[from] * w0[w];
        dx0[from] += d0[to] * w0[w];
        dw0[w] += x0[from] * d0[to];
    });
    let mut db0 = vec![0; shape.channels];
    d0.iter()
        .enumerate()
        .for_each(|(i, d)| db0[i % shape.channels] += d);
    y0.iter_mut().for_each(|y| *y = (*y).max(0)); // ReLU

    let exec = Threads(1 + seed as usize % 4);
    let mut y = vec![T::ZERO; y_len];
    let values = Bias {
        values: &bias,
        shift: 0,
    };
    let epilogue = Epilogue {
        activation: Activation::Relu,
        exponent: 0,
        store: nearest_even(shift),
    };
    let seen = transpose::forward(&exec, shape, &x, &weight, values, epilogue, &mut y, &mut []);
    assert_eq!(seen, Ok(range::<T>(&y0)), "range, {place}");
    for (want, got) in y0.iter().zip(&y) {
        assert_eq!(stored::<T>(*want, shift), exact(*got), "forward, {place}");
    }
    let mut dx = vec![T::ZERO; x_len];
    let store = nearest_even(shift);
    let seen = transpose::backward_input(&exec, shape, &dy, &weight, store, &mut dx);
    assert_eq!(seen, Ok(range::<T>(&dx0)), "range of dx, {place}");
    for (want, got) in dx0.iter().zip(&dx) {
        assert_eq!(stored::<T>(*want, shift), exact(*got), "dx, {place}");
    }
    let mut dw = vec![T::Acc::default(); w_len];
    transpose::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)).unwrap();
    let mut db = vec![T::Acc::default(); shape.channels];
    dense::backward_bias::<T>(shape.channels, &dy, &mut Gradient::Store(&mut db)).unwrap();
    let values = |sums: Vec<T::Acc>| sums.into_iter().map(Exact::exact).collect::<Vec<_>>();
    assert_eq!((dw0, db0), (values(dw), values(db)), "dw, db, {place}");
}

#[test]
fn transposed_convolutions_are_the_definition() {
    macro_rules! over {
        ($axes:literal, $seeds:expr) => {
            for seed in $seeds {
                is_the_definition::<i8, $axes>(seed, 9);
                is_the_definition::<u8, $axes>(seed, 8);
                is_the_definition::<i16, $axes>(seed, 17);
                is_the_definition::<u16, $axes>(seed, 16);
                is_the_definition::<i32, $axes>(seed, 26);
                is_the_definition::<u32, $axes>(seed, 25);
                is_the_definition::<i64, $axes>(seed, 55);
                is_the_definition::<u64, $axes>(seed, 54);
                is_the_definition::<f16, $axes>(seed, 0);
                is_the_definition::<bf16, $axes>(seed, 0);
                is_the_definition::<f32, $axes>(seed, 0);
                is_the_definition::<f64, $axes>(seed, 0);
            }
        };
    }
    over!(1, 500..560);
    over!(2, 560..620);
    over!(3, 620..650);
}

/// `<conv(x), y> = <x, transpose(y)>`, without rounding.
fn is_the_adjoint<const N: usize>(seed: u32) {
    let mut noise = Noise::new(seed);
    let shape = random_conv::<N>(&mut noise);
    let [y_len, w_len, x_len] = lens(&shape);
    let mut few = |n| -> Vec<i64> { (0..n).map(|_| noise.below(2001) as i64 - 1000).collect() };
    let (x, y, weight) = (few(x_len), few(y_len), few(w_len));
    fn zeros(values: &[i64]) -> Bias<'_, i64> {
        Bias { values, shift: 0 }
    }
    let (mut conv_x, mut transposed_y) = (vec![0i64; y_len], vec![0i64; x_len]);
    let none = vec![0; shape.filters.max(shape.channels)];
    conv::forward(
        &Serial,
        shape,
        &x,
        &weight,
        zeros(&none[..shape.filters]),
        Epilogue::EXACT,
        &mut conv_x,
        &mut [],
    )
    .unwrap();
    transpose::forward(
        &Serial,
        shape,
        &y,
        &weight,
        zeros(&none[..shape.channels]),
        Epilogue::EXACT,
        &mut transposed_y,
        &mut [],
    )
    .unwrap();
    let inner = |a: &[i64], b: &[i64]| -> i64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    assert_eq!(
        inner(&conv_x, &y),
        inner(&x, &transposed_y),
        "seed {seed}, {shape:?}"
    );
}

#[test]
fn transposed_convolutions_are_adjoints() {
    for seed in 0..100 {
        is_the_adjoint::<1>(seed);
        is_the_adjoint::<2>(seed);
        is_the_adjoint::<3>(seed);
    }
}

fn gradients_are_the_differences<const N: usize>(name: &str, shape: conv::Shape<N>) {
    let mut noise = Noise::new(401);
    let [x_len, w_len, y_len] = lens(&shape);
    let (x, w) = (noise.vector(x_len, 1.0), noise.vector(w_len, 1.0));
    let b = noise.vector(shape.channels, 1.0);
    let dy = noise.vector(y_len, 1.0); // weights of the outputs in the loss
    let loss = |x: &[f64], w: &[f64], b: &[f64]| {
        let mut y = vec![0.0; y_len];
        let bias = Bias {
            values: b,
            shift: 0,
        };
        transpose::forward(&Serial, shape, x, w, bias, Epilogue::EXACT, &mut y, &mut []).unwrap();
        inner(&y, &dy)
    };
    let mut dx = vec![0.0; x_len];
    transpose::backward_input(&Serial, shape, &dy, &w, Store::EXACT, &mut dx).unwrap();
    let mut dw = vec![0.0; w_len];
    transpose::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)).unwrap();
    let mut db = vec![0.0; shape.channels];
    dense::backward_bias::<f64>(shape.channels, &dy, &mut Gradient::Store(&mut db)).unwrap();
    let limit = tolerance::LINEAR_DIFFERENCE;
    let want = differences(&x, |x| loss(x, &w, &b));
    assert_close(&format!("{name}: dx"), &want, &dx, limit);
    let want = differences(&w, |w| loss(&x, w, &b));
    assert_close(&format!("{name}: dw"), &want, &dw, limit);
    let want = differences(&b, |b| loss(&x, &w, b));
    assert_close(&format!("{name}: db"), &want, &db, limit);
}

#[test]
fn gradients_are_those_of_differences() {
    let window = Window::<1>::uniform(3, 2, 1);
    let one = conv::Shape {
        batch: 2,
        input: window.inputs([5]).unwrap(),
        channels: 4,
        filters: 2,
        groups: 1,
        window,
    };
    gradients_are_the_differences("1 axis", one);
    // One cell more than the windows reach, which gets the bias alone: "output padding".
    let [input] = one.input;
    let longer = conv::Shape {
        input: [input + 1],
        ..one
    };
    gradients_are_the_differences("1 axis, a cell more", longer);
    gradients_are_the_differences("1 axis, groups", conv::Shape { groups: 2, ..one });
    let window = Window {
        kernel: [2, 3],
        stride: [2, 1],
        padding: [[1, 0], [0, 2]],
        dilation: [1, 2],
    };
    let two = conv::Shape {
        batch: 2,
        input: window.inputs([3, 4]).unwrap(),
        channels: 3,
        filters: 3,
        groups: 1,
        window,
    };
    gradients_are_the_differences("2 axes", two);
    gradients_are_the_differences("2 axes, depthwise", conv::Shape { groups: 3, ..two });
    let window = Window::<3>::uniform(2, 2, 0);
    let three = conv::Shape {
        batch: 2,
        input: window.inputs([2, 1, 3]).unwrap(),
        channels: 2,
        filters: 3,
        groups: 1,
        window,
    };
    gradients_are_the_differences("3 axes", three);
}

#[test]
fn activations_see_the_accumulators_and_leave_their_slopes() {
    let shape = random_conv::<2>(&mut Noise::new(77));
    let [x_len, w_len, y_len] = lens(&shape);
    let mut noise = Noise::new(78);
    let (x, weight) = (noise.vector(x_len, 1.0), noise.vector(w_len, 1.0));
    let b = noise.vector(shape.channels, 1.0);
    let bias = Bias {
        values: &b,
        shift: 0,
    };
    for activation in [Activation::leaky_relu(100), Activation::GELU] {
        let (mut plain, mut y, mut slope) = (vec![0.0; y_len], vec![0.0; y_len], vec![0.0; y_len]);
        let exact = Epilogue::EXACT;
        let exec = Threads(3);
        transpose::forward(&exec, shape, &x, &weight, bias, exact, &mut plain, &mut []).unwrap();
        let fused = exact.with(activation);
        transpose::forward(&exec, shape, &x, &weight, bias, fused, &mut y, &mut slope).unwrap();
        let (mut want, mut want_slope) = (vec![0.0; y_len], vec![0.0; y_len]);
        let store = Store::EXACT;
        activation::forward(activation, 0, &plain, store, &mut want, &mut want_slope).unwrap();
        assert_eq!((y, slope), (want, want_slope), "{activation:?}");
    }
}

#[test]
fn stochastic_errors_do_not_depend_on_threads() {
    for seed in 0..20 {
        let mut noise = Noise::new(seed);
        let shape = random_conv::<3>(&mut noise);
        let [x_len, w_len, y_len] = lens(&shape);
        let weight = elements::<i16>(&mut noise, w_len);
        let dy = elements::<i16>(&mut noise, y_len);
        let store = Store::Shift {
            shift: 14,
            rounding: Rounding::Stochastic(Words::new(seed, 5, 1)),
        };
        let (mut a, mut b) = (vec![0i16; x_len], vec![0i16; x_len]);
        let range = transpose::backward_input(&Serial, shape, &dy, &weight, store, &mut a);
        let tasks = Threads(2 + seed as usize % 5);
        let other = transpose::backward_input(&tasks, shape, &dy, &weight, store, &mut b);
        assert_eq!((range, a), (other, b), "seed {seed}, {shape:?}");
    }
}

#[test]
fn nan_reaches_the_cells_under_its_window_and_no_others() {
    let window = Window::<2>::uniform(2, 1, 0);
    let shape = conv::Shape {
        batch: 1,
        input: [4, 4],
        channels: 1,
        filters: 1,
        groups: 1,
        window,
    };
    let [x_len, w_len, y_len] = lens(&shape);
    let (mut x, weight, mut y) = (vec![1f32; x_len], vec![0f32; w_len], vec![0f32; y_len]);
    let nan = 4;
    x[nan] = f32::NAN;
    let bias = Bias {
        values: &[0f32],
        shift: 0,
    };
    let exact = Epilogue::EXACT;
    transpose::forward(&Serial, shape, &x, &weight, bias, exact, &mut y, &mut []).unwrap();
    let mut has_nan = vec![false; y_len];
    products(&shape, |from, to, _| has_nan[to] |= from == nan);
    assert!(has_nan.contains(&true) && has_nan.contains(&false));
    assert_eq!(y.iter().map(|y| y.is_nan()).collect::<Vec<_>>(), has_nan);
}

#[test]
fn transposed_convolutions_refuse_bad_input() {
    const MARK: i8 = 77;
    /// Lengths of input, weights and output, and what forward, input and weight gradient say.
    fn refuses(shape: conv::Shape<1>, lens: [usize; 3], want: [Error; 3]) {
        let (x, weight, dy) = (vec![1; lens[0]], vec![1; lens[1]], vec![1; lens[2]]);
        let bias = Bias {
            values: &vec![1; shape.channels],
            shift: 0,
        };
        let (mut y, mut dx) = (vec![MARK; lens[2]], vec![MARK; lens[0]]);
        let mut dw = vec![i32::from(MARK); lens[1]];
        let exact = Epilogue::EXACT;
        let got = [
            transpose::forward(&Serial, shape, &x, &weight, bias, exact, &mut y, &mut []).map(drop),
            transpose::backward_input(&Serial, shape, &dy, &weight, Store::EXACT, &mut dx)
                .map(drop),
            transpose::backward_weight(shape, &x, &dy, &mut Gradient::Store(&mut dw)),
        ];
        assert_eq!(got, want.map(Err), "{shape:?}");
        assert!(y.iter().chain(&dx).all(|&x| x == MARK) && dw.iter().all(|&x| x == 77));
    }
    let shape = conv::Shape {
        batch: 2,
        input: [5],
        channels: 2,
        filters: 4,
        groups: 2,
        window: Window::<1>::uniform(3, 1, 0),
    };
    // 24 inputs, 12 weights, 20 outputs.
    let length = |arg, expected, got| Error::Length { arg, expected, got };
    let inputs = [Arg::X, Arg::Dx, Arg::X].map(|arg| length(arg, 24, 25));
    refuses(shape, [25, 12, 20], inputs);
    let weights = [Arg::Weight, Arg::Weight, Arg::Dw].map(|arg| length(arg, 12, 11));
    refuses(shape, [24, 11, 20], weights);
    let outputs = [Arg::Out, Arg::Dy, Arg::Dy].map(|arg| length(arg, 20, 19));
    refuses(shape, [24, 12, 19], outputs);
    let window = Error::Window {
        axis: 0,
        span: 3,
        input: 2,
    };
    let small = conv::Shape {
        input: [2],
        ..shape
    };
    refuses(small, [24, 12, 8], [window; 3]);
    let groups = Error::Groups {
        channels: 2,
        filters: 4,
        groups: 3,
    };
    refuses(
        conv::Shape { groups: 3, ..shape },
        [24, 12, 20],
        [groups; 3],
    );
    let zero = Error::Zero { arg: Arg::Shape };
    refuses(conv::Shape { batch: 0, ..shape }, [0, 12, 0], [zero; 3]);
    let terms = (1 << 16) + 1;
    let wide = conv::Shape {
        filters: terms,
        groups: 1,
        window: Window::<1>::uniform(1, 1, 0),
        ..shape
    };
    let accumulator = Error::Accumulator {
        terms,
        limit: 1 << 16,
    };
    // Each pass has a limit of its own: the gradients sum over two channels, and over positions.
    let others = [
        length(Arg::Weight, 2 * terms, 12),
        length(Arg::X, 10 * terms, 24),
    ];
    refuses(wide, [24, 12, 20], [accumulator, others[0], others[1]]);
    let huge = conv::Shape {
        input: [1 << 31],
        ..shape
    };
    refuses(
        huge,
        [24, 12, 20],
        [Error::Overflow {
            arg: Arg::Shape,
            got: Some(1 << 33),
        }; 3],
    );

    // A bias or slopes of another length.
    let (x, weight, mut y) = (vec![1i8; 24], vec![1i8; 12], vec![MARK; 20]);
    for (values, slopes, want) in [
        (&[1i16; 4][..], 0, length(Arg::Bias, 2, 4)),
        (&[1; 2], 19, length(Arg::Slope, 20, 19)),
    ] {
        let bias = Bias { values, shift: 0 };
        let mut slope = vec![MARK; slopes];
        let exact = Epilogue::EXACT;
        let got = transpose::forward(&Serial, shape, &x, &weight, bias, exact, &mut y, &mut slope);
        assert_eq!(got, Err(want));
        assert!(y.iter().chain(&slope).all(|&x| x == MARK));
    }
}
