//! Adaptive max pooling, what must hold between kinds of pooling, and NaN.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::pool::{self, Adaptive, Padding, Shape};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::noise::Noise;
use selvedge_tests::plain::{
    all_exact, assert_close, differences, elements, index, inner, places, random_window, range,
    three,
};
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance;

fn random_adaptive<const N: usize>(noise: &mut Noise) -> Adaptive<N> {
    let most = if N == 3 { 5 } else { 9 };
    Adaptive {
        batch: 1 + noise.below(2),
        input: [(); N].map(|()| 1 + noise.below(most)),
        channels: [1, 3, 8, 11][noise.below(4)],
        output: [(); N].map(|()| 1 + noise.below(most)),
    }
}

/// Elements of input and output.
fn lens<const N: usize>(shape: &Adaptive<N>) -> [usize; 2] {
    [shape.input, shape.output]
        .map(|extents| shape.batch * extents.iter().product::<usize>() * shape.channels)
}

/// Maxima and their gradient; values are few, so that maxima are often shared.
fn max_is_the_definition<T: Element + PartialOrd, const N: usize>(seed: u32) {
    let mut noise = Noise::new(seed);
    let shape = random_adaptive::<N>(&mut noise);
    let place = format!("{}, seed {seed}, {shape:?}", T::DTYPE);
    let [x_len, y_len] = lens(&shape);
    let mut few = |n, values| -> Vec<T> {
        let number = |_| T::from_f64(noise.below(values) as f64 - 4.0);
        (0..n).map(number).collect()
    };
    let (x, dy) = (few(x_len, 5), few(y_len, 9));
    let (input, output) = (three(shape.input, 1), three(shape.output, 1));
    let [inputs, outputs] = [input, output].map(|extents| extents.iter().product::<usize>());
    let (mut want, mut want_dx) = (vec![T::ZERO; y_len], vec![0i128; x_len]);
    for n in 0..shape.batch {
        for at in places(output) {
            let is_in = |axis: usize, cell: usize| {
                let (i, h, o) = (at[axis], input[axis], output[axis]);
                i * h / o <= cell && cell < ((i + 1) * h).div_ceil(o)
            };
            for channel in 0..shape.channels {
                let mut winner: Option<usize> = None;
                for cell in places(input) {
                    let i = (n * inputs + index(input, cell)) * shape.channels + channel;
                    let wins = winner.is_none_or(|best| x[i] > x[best]);
                    if (0..3).all(|axis| is_in(axis, cell[axis])) && wins {
                        winner = Some(i);
                    }
                }
                let (o, winner) = (
                    (n * outputs + index(output, at)) * shape.channels + channel,
                    winner.expect("no window is empty"),
                );
                want[o] = x[winner];
                want_dx[winner] += dy[o].to_f64() as i128;
            }
        }
    }
    let mut y = vec![T::ZERO; y_len];
    pool::adaptive_max_forward(&Threads(3), shape, &x, &mut y).unwrap();
    assert_eq!(y, want, "{place}");
    let mut dx = vec![T::ZERO; x_len];
    let exact = Store::EXACT;
    let seen = pool::adaptive_max_backward(&Threads(3), shape, &x, &y, &dy, exact, &mut dx);
    assert_eq!(seen, Ok(range::<T>(&want_dx)), "{place}");
    assert_eq!(all_exact(&dx), want_dx, "{place}");
}

#[test]
fn adaptive_maxima_are_the_definition() {
    macro_rules! over {
        ($axes:literal, $seeds:expr) => {
            for seed in $seeds {
                max_is_the_definition::<i8, $axes>(seed);
                max_is_the_definition::<u8, $axes>(seed);
                max_is_the_definition::<i16, $axes>(seed);
                max_is_the_definition::<u16, $axes>(seed);
                max_is_the_definition::<i32, $axes>(seed);
                max_is_the_definition::<u32, $axes>(seed);
                max_is_the_definition::<i64, $axes>(seed);
                max_is_the_definition::<u64, $axes>(seed);
                max_is_the_definition::<f16, $axes>(seed);
                max_is_the_definition::<bf16, $axes>(seed);
                max_is_the_definition::<f32, $axes>(seed);
                max_is_the_definition::<f64, $axes>(seed);
            }
        };
    }
    over!(1, 0..60);
    over!(2, 60..100);
    over!(3, 100..120);
}

#[test]
fn adaptive_max_gradients_are_the_differences() {
    for seed in 0..20 {
        let mut noise = Noise::new(seed);
        let shape = random_adaptive::<2>(&mut noise);
        let [x_len, y_len] = lens(&shape);
        // All different, further apart than the differences step.
        let mut x: Vec<f64> = (0..x_len).map(|i| i as f64 / 64.0).collect();
        for i in (1..x_len).rev() {
            x.swap(i, noise.below(i + 1));
        }
        let dy = noise.vector(y_len, 1.0);
        let forward = |x: &[f64]| {
            let mut y = vec![0.0; y_len];
            pool::adaptive_max_forward(&Serial, shape, x, &mut y).unwrap();
            y
        };
        let (y, mut dx) = (forward(&x), vec![0.0; x_len]);
        let exact = Store::EXACT;
        pool::adaptive_max_backward(&Serial, shape, &x, &y, &dy, exact, &mut dx).unwrap();
        let want = differences(&x, |x| inner(&forward(x), &dy));
        let limit = tolerance::LINEAR_DIFFERENCE * (x_len as f64 / 64.0).max(1.0);
        assert_close(&format!("{shape:?}"), &want, &dx, limit);
    }
}

/// Where windows do not overlap, adaptive pooling is that with sliding windows; where there is no
/// padding, whether it counts does not matter; one window is the whole. Bit for bit.
fn kinds_agree<T: Element>() {
    for seed in 0..20 {
        let mut noise = Noise::new(seed);
        let [h, w, times] = [(); 3].map(|()| 1 + noise.below(4));
        let (batch, channels) = (2, 1 + noise.below(9));
        let input = [h * times, w * (times + 1)];
        let adaptive = Adaptive {
            batch,
            input,
            channels,
            output: [h, w],
        };
        let window = Window {
            kernel: [times, times + 1],
            stride: [times, times + 1],
            ..Window::uniform(1, 1, 0)
        };
        let shape = Shape {
            batch,
            input,
            channels,
            window,
        };
        let one = Adaptive {
            output: [1, 1],
            ..adaptive
        };
        let whole = Shape {
            window: Window::whole(input),
            ..shape
        };
        for (adaptive, shape) in [(adaptive, shape), (one, whole)] {
            let place = format!("{}, {shape:?}", T::DTYPE);
            let [x_len, y_len] = lens(&adaptive);
            let mut vector = |n| match T::DTYPE.is_integer() {
                true => elements::<T>(&mut noise, n),
                false => noise.vector(n, 1.0).into_iter().map(T::from_f64).collect(),
            };
            let (x, dy) = (vector(x_len), vector(y_len));
            let exponent = adaptive.average_exponent::<T>(0).unwrap();
            let store = Store::Shift {
                shift: -exponent,
                rounding: Rounding::Stochastic(Words::new(seed, 2, 1)),
            };
            let averages = |padding| {
                assert_eq!(shape.average_exponent::<T>(padding, 0), Ok(exponent));
                let (mut y, mut dx) = (vec![T::ZERO; y_len], vec![T::ZERO; x_len]);
                let ranges = [
                    pool::average_forward(&Serial, shape, padding, &x, store, &mut y),
                    pool::average_backward(&Serial, shape, padding, &dy, store, &mut dx),
                ];
                (y, dx, ranges)
            };
            let (mut y, mut dx) = (vec![T::ZERO; y_len], vec![T::ZERO; x_len]);
            let ranges = [
                pool::adaptive_average_forward(&Threads(2), adaptive, &x, store, &mut y),
                pool::adaptive_average_backward(&Threads(3), adaptive, &dy, store, &mut dx),
            ];
            let want = averages(Padding::NotCounted);
            assert_eq!((y, dx, ranges), want, "{place}");
            assert_eq!(averages(Padding::Counted), want, "{place}");

            let (mut y, mut dx) = (vec![T::ZERO; y_len], vec![T::ZERO; x_len]);
            pool::max_forward(&Serial, shape, &x, &mut y).unwrap();
            let range = pool::max_backward(&Serial, shape, &x, &y, &dy, Store::EXACT, &mut dx);
            let (mut y2, mut dx2) = (vec![T::ZERO; y_len], vec![T::ZERO; x_len]);
            pool::adaptive_max_forward(&Serial, adaptive, &x, &mut y2).unwrap();
            let exact = Store::EXACT;
            let range2 =
                pool::adaptive_max_backward(&Serial, adaptive, &x, &y2, &dy, exact, &mut dx2);
            assert_eq!((y, dx, range), (y2, dx2, range2), "{place}");
        }
    }
}

#[test]
fn kinds_of_pooling_agree() {
    kinds_agree::<i8>();
    kinds_agree::<u8>();
    kinds_agree::<i16>();
    kinds_agree::<u16>();
    kinds_agree::<i32>();
    kinds_agree::<u32>();
    kinds_agree::<i64>();
    kinds_agree::<u64>();
    kinds_agree::<f16>();
    kinds_agree::<bf16>();
    kinds_agree::<f32>();
    kinds_agree::<f64>();
}

/// The byte of the unsigned twin is the signed one with its top bit flipped.
#[test]
fn unsigned_types_are_the_signed_ones_in_offset_binary() {
    for seed in 0..30 {
        let mut noise = Noise::new(seed);
        let (window, input) = random_window::<2>(&mut noise);
        let shape = Shape {
            batch: 2,
            input,
            channels: 5,
            window,
        };
        let outputs: usize = shape.outputs().unwrap().iter().product();
        let x = elements::<i8>(&mut noise, 10 * input.iter().product::<usize>());
        let flipped: Vec<u8> = x.iter().map(|&x| x as u8 ^ 0x80).collect();
        let store = Store::Shift {
            shift: 17,
            rounding: Rounding::Stochastic(Words::new(seed, 1, 1)),
        };
        let (mut a, mut b) = (vec![0i8; 10 * outputs], vec![0u8; 10 * outputs]);
        let padding = Padding::Counted;
        let range = pool::average_forward(&Serial, shape, padding, &x, store, &mut a);
        let other = pool::average_forward(&Threads(3), shape, padding, &flipped, store, &mut b);
        assert_eq!(range, other);
        assert!(a.iter().zip(&b).all(|(&a, &b)| a as u8 ^ 0x80 == b));
    }
}

#[test]
fn nan_reaches_the_windows_that_contain_it_and_no_others() {
    let shape = Adaptive {
        batch: 1,
        input: [5],
        channels: 1,
        output: [3], // of cells 0 and 1, 1 to 3, 3 and 4
    };
    let x = [1.0, 2.0, f32::NAN, 4.0, 3.0];
    let is_nan = |y: &[f32]| y.iter().map(|y| y.is_nan()).collect::<Vec<_>>();
    let mut y = [0f32; 3];
    pool::adaptive_average_forward(&Serial, shape, &x, Store::EXACT, &mut y).unwrap();
    assert_eq!(is_nan(&y), [false, true, false]);
    pool::adaptive_max_forward(&Serial, shape, &x, &mut y).unwrap();
    assert_eq!(is_nan(&y), [false, true, false]);
    let mut dx = [9f32; 5];
    let dy = [1.0, 2.0, 4.0];
    pool::adaptive_max_backward(&Serial, shape, &x, &y, &dy, Store::EXACT, &mut dx).unwrap();
    assert_eq!(dx, [0.0, 1.0, 0.0, 4.0, 0.0]); // a maximum that is NaN passes no error
    let dy = [1.0, f32::NAN, 1.0];
    pool::adaptive_average_backward(&Serial, shape, &dy, Store::EXACT, &mut dx).unwrap();
    assert_eq!(is_nan(&dx), [false, true, true, true, false]);
    let shape = Shape {
        batch: 1,
        input: [5],
        channels: 1,
        window: Window::uniform(2, 1, 0),
    };
    let mut y = [0f32; 4];
    for padding in [Padding::Counted, Padding::NotCounted] {
        pool::average_forward(&Serial, shape, padding, &x, Store::EXACT, &mut y).unwrap();
        assert_eq!(is_nan(&y), [false, true, true, false]);
    }
}
