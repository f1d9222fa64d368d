//! Average pooling and adaptive pooling against their definitions, exactly in integers.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::{Rounding, shift_sr_i128};
use selvedge_kernels::pool::{self, Adaptive, Padding, Shape};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::noise::Noise;
use selvedge_tests::plain::{
    all_exact, assert_close, cells, differences, elements, exact, index, inner, places,
    random_window, range, requantized, three, window3,
};
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance;

/// Windows as lists of input cells, over three axes, and the cells that each counts.
struct Windows {
    batch: usize,
    channels: usize,
    inputs: usize,
    lists: Vec<(Vec<usize>, i128)>,
}

impl Windows {
    fn sliding<const N: usize>(shape: Shape<N>, padding: Padding) -> Self {
        let (window, input) = (window3(shape.window), three(shape.input, 1));
        let whole: usize = window.kernel.iter().product();
        let list = |at| {
            let list: Vec<_> = cells(&window, input, at)
                .into_iter()
                .map(|(_, cell)| index(input, cell))
                .collect();
            let count = match padding {
                Padding::Counted => whole,
                Padding::NotCounted => list.len(),
            };
            (list, count as i128)
        };
        Self {
            batch: shape.batch,
            channels: shape.channels,
            inputs: input.iter().product(),
            lists: places(window.outputs(input).unwrap()).map(list).collect(),
        }
    }

    /// Cell `c` of `h` is in window `i` of `o` if `i · h / o <= c < (i + 1) · h / o`, the left side
    /// rounded down and the right side rounded up.
    fn adaptive<const N: usize>(shape: Adaptive<N>) -> Self {
        let (input, output) = (three(shape.input, 1), three(shape.output, 1));
        let list = |at: [usize; 3]| {
            let is_in = |cell: &[usize; 3]| {
                (0..3).all(|axis| {
                    let (i, c) = (at[axis], cell[axis]);
                    let (h, o) = (input[axis], output[axis]);
                    i * h / o <= c && c < ((i + 1) * h).div_ceil(o)
                })
            };
            let list: Vec<_> = places(input)
                .filter(is_in)
                .map(|cell| index(input, cell))
                .collect();
            let count = list.len() as i128;
            (list, count)
        };
        Self {
            batch: shape.batch,
            channels: shape.channels,
            inputs: input.iter().product(),
            lists: places(output).map(list).collect(),
        }
    }

    fn lens(&self) -> [usize; 2] {
        let samples = self.batch * self.channels;
        [samples * self.inputs, samples * self.lists.len()]
    }

    /// Calls `visit(output, input, count)` for each cell of each window.
    fn visit(&self, mut visit: impl FnMut(usize, usize, i128)) {
        for n in 0..self.batch {
            for (window, (list, count)) in self.lists.iter().enumerate() {
                for &cell in list {
                    for channel in 0..self.channels {
                        visit(
                            (n * self.lists.len() + window) * self.channels + channel,
                            (n * self.inputs + cell) * self.channels + channel,
                            *count,
                        );
                    }
                }
            }
        }
    }

    /// Places of the reciprocals.
    fn places(&self) -> u32 {
        let most = self.lists.iter().map(|list| list.1).max().unwrap();
        15 + 128 - (most - 1).leading_zeros()
    }
}

/// A layer's two passes, as a caller sees them.
trait Average<T: Element> {
    fn exponent(&self, exponent: i32) -> i32;
    fn forward(&self, x: &[T], store: Store, out: &mut [T]) -> u32;
    fn backward(&self, dy: &[T], store: Store, dx: &mut [T]) -> u32;
}

impl<T: Element, const N: usize> Average<T> for (Shape<N>, Padding) {
    fn exponent(&self, exponent: i32) -> i32 {
        self.0.average_exponent::<T>(self.1, exponent).unwrap()
    }

    fn forward(&self, x: &[T], store: Store, out: &mut [T]) -> u32 {
        pool::average_forward(&Threads(3), self.0, self.1, x, store, out).unwrap()
    }

    fn backward(&self, dy: &[T], store: Store, dx: &mut [T]) -> u32 {
        pool::average_backward(&Threads(4), self.0, self.1, dy, store, dx).unwrap()
    }
}

impl<T: Element, const N: usize> Average<T> for Adaptive<N> {
    fn exponent(&self, exponent: i32) -> i32 {
        self.average_exponent::<T>(exponent).unwrap()
    }

    fn forward(&self, x: &[T], store: Store, out: &mut [T]) -> u32 {
        pool::adaptive_average_forward(&Threads(2), *self, x, store, out).unwrap()
    }

    fn backward(&self, dy: &[T], store: Store, dx: &mut [T]) -> u32 {
        pool::adaptive_average_backward(&Threads(5), *self, dy, store, dx).unwrap()
    }
}

/// Integers: the rule, on big integers, with both roundings.
fn follows_the_rule<T: Element>(layer: &impl Average<T>, windows: &Windows, place: &str) {
    let mut noise = Noise::new(700);
    let [x_len, y_len] = windows.lens();
    let places = windows.places();
    assert_eq!(layer.exponent(3), 3 - places as i32, "{place}");
    let (x, dy) = (
        elements::<T>(&mut noise, x_len),
        elements::<T>(&mut noise, y_len),
    );
    let factor = |count: i128| ((1i128 << places) + count / 2) / count;
    let (x0, d0) = (all_exact(&x), all_exact(&dy));
    let (mut y0, mut dx0) = (vec![0; y_len], vec![0; x_len]);
    windows.visit(|o, i, count| {
        y0[o] += x0[i] * factor(count);
        dx0[i] += d0[o] * factor(count);
    });
    let shift = places as i32;
    let words = Words::new(7, 2, 5);
    let stochastic = Store::Shift {
        shift,
        rounding: Rounding::Stochastic(words),
    };
    let nearest = Store::Shift {
        shift,
        rounding: Rounding::NearestEven,
    };
    let limit = (1i128 << T::MAGNITUDE_BITS) - 1;
    let (mut y, mut dx) = (vec![T::ZERO; y_len], vec![T::ZERO; x_len]);
    for (sums, run) in [
        (
            &y0,
            &mut (|store| (layer.forward(&x, store, &mut y), all_exact(&y)))
                as &mut dyn FnMut(Store) -> (u32, Vec<i128>),
        ),
        (&dx0, &mut |store| {
            (layer.backward(&dy, store, &mut dx), all_exact(&dx))
        }),
    ] {
        let measured = run(Store::Measure);
        assert_eq!(measured, (range::<T>(sums), vec![0; sums.len()]), "{place}");
        let (seen, got) = run(nearest);
        assert_eq!(seen, range::<T>(sums), "{place}");
        let want = sums
            .iter()
            .map(|&sum| requantized(sum, shift, T::MAGNITUDE_BITS));
        assert_eq!(got, want.collect::<Vec<_>>(), "{place}");
        let (_, got) = run(stochastic);
        let round =
            |(i, &sum)| shift_sr_i128(sum, shift, words.word(i as u32)).clamp(-limit, limit);
        let want: Vec<_> = sums.iter().enumerate().map(round).collect();
        assert_eq!(got, want, "{place}");
    }
}

/// Floats: within the documented bounds of the mean in `f64`.
fn is_the_mean<T: Element>(layer: &impl Average<T>, windows: &Windows, place: &str) {
    let mut noise = Noise::new(701);
    let [x_len, y_len] = windows.lens();
    assert_eq!(layer.exponent(3), 3);
    let mut vector = |n| -> Vec<T> {
        let numbers = noise.vector(n, 1.0).into_iter();
        numbers.map(T::from_f64).collect()
    };
    let (x, dy) = (vector(x_len), vector(y_len));
    let (mut y0, mut dx0) = (vec![[0.0; 3]; y_len], vec![[0.0; 3]; x_len]);
    windows.visit(|o, i, count| {
        for (sum, term) in [(&mut y0[o], x[i]), (&mut dx0[i], dy[o])] {
            let term = term.to_f64() / count as f64;
            *sum = [sum[0] + term, sum[1] + term.abs(), sum[2] + 1.0];
        }
    });
    let (mut y, mut dx) = (vec![T::ZERO; y_len], vec![T::ZERO; x_len]);
    assert_eq!(layer.forward(&x, Store::EXACT, &mut y), 0);
    assert_eq!(layer.backward(&dy, Store::EXACT, &mut dx), 0);
    for (want, got) in y0.iter().chain(&dx0).zip(y.iter().chain(&dx)) {
        let [value, size, terms] = *want;
        // Each addition, the reciprocal and the product round once.
        let limit = match T::DTYPE.bytes() {
            8 => (terms + 2.0) * f64::EPSILON * size,
            _ => tolerance::sum(terms + 1.0, size) + storage::<T>(value),
        };
        let error = (got.to_f64() - value).abs();
        assert!(
            error <= limit,
            "{}, {place}: {value}, off by {error}",
            T::DTYPE
        );
    }
}

/// Storing in 16 or 32 bits.
fn storage<T: Element>(value: f64) -> f64 {
    match T::DTYPE.name() {
        "f16" => tolerance::storage::<f16>(value),
        "bf16" => tolerance::storage::<bf16>(value),
        _ => tolerance::storage::<f32>(value),
    }
}

macro_rules! in_all_types {
    ($layer:expr, $windows:expr, $place:expr) => {
        follows_the_rule::<i8>($layer, $windows, $place);
        follows_the_rule::<u8>($layer, $windows, $place);
        follows_the_rule::<i16>($layer, $windows, $place);
        follows_the_rule::<u16>($layer, $windows, $place);
        follows_the_rule::<i32>($layer, $windows, $place);
        follows_the_rule::<u32>($layer, $windows, $place);
        follows_the_rule::<i64>($layer, $windows, $place);
        follows_the_rule::<u64>($layer, $windows, $place);
        is_the_mean::<f16>($layer, $windows, $place);
        is_the_mean::<bf16>($layer, $windows, $place);
        is_the_mean::<f32>($layer, $windows, $place);
        is_the_mean::<f64>($layer, $windows, $place);
    };
}

fn random_shape<const N: usize>(noise: &mut Noise) -> Shape<N> {
    let (window, input) = random_window(noise);
    Shape {
        batch: 1 + noise.below(2),
        input,
        channels: [1, 3, 8, 11][noise.below(4)],
        window,
    }
}

/// The same windows with so little padding, and an input so much larger, that none stands on padding
/// alone.
fn on_the_input<const N: usize>(mut shape: Shape<N>) -> Shape<N> {
    for axis in 0..N {
        let reach = shape.window.kernel[axis] - 1;
        for side in &mut shape.window.padding[axis] {
            shape.input[axis] += side.saturating_sub(reach);
            *side = (*side).min(reach);
        }
        shape.input[axis] = shape.input[axis].max(shape.window.dilation[axis]);
    }
    shape
}

fn windows_follow_the_definition<const N: usize>(seeds: std::ops::Range<u32>) {
    for seed in seeds {
        let shape = random_shape::<N>(&mut Noise::new(seed));
        let layer = (shape, Padding::Counted);
        let windows = Windows::sliding(shape, Padding::Counted);
        in_all_types!(&layer, &windows, &format!("seed {seed}, {shape:?}"));
        let layer = (on_the_input(shape), Padding::NotCounted);
        let windows = Windows::sliding(layer.0, Padding::NotCounted);
        in_all_types!(&layer, &windows, &format!("seed {seed}, {layer:?}"));
    }
}

#[test]
fn averages_are_the_definition() {
    windows_follow_the_definition::<1>(0..60);
    windows_follow_the_definition::<2>(60..120);
    windows_follow_the_definition::<3>(120..170);
}

fn random_adaptive<const N: usize>(noise: &mut Noise) -> Adaptive<N> {
    let most = if N == 3 { 5 } else { 9 };
    Adaptive {
        batch: 1 + noise.below(2),
        input: [(); N].map(|()| 1 + noise.below(most)),
        channels: [1, 3, 8, 11][noise.below(4)],
        output: [(); N].map(|()| 1 + noise.below(most)),
    }
}

fn adaptive_averages_follow_the_definition<const N: usize>(seeds: std::ops::Range<u32>) {
    for seed in seeds {
        let shape = random_adaptive::<N>(&mut Noise::new(seed));
        let windows = Windows::adaptive(shape);
        in_all_types!(&shape, &windows, &format!("seed {seed}, {shape:?}"));
    }
}

#[test]
fn adaptive_averages_are_the_definition() {
    adaptive_averages_follow_the_definition::<1>(200..260);
    adaptive_averages_follow_the_definition::<2>(260..300);
    adaptive_averages_follow_the_definition::<3>(300..330);
}

/// Many cells, all at the extremes: nothing overflows, and 8 bits take wider sums.
#[test]
fn large_windows_are_the_definition() {
    for n in [255, 256, 257, 1 << 11] {
        let window = Window::<1>::uniform(n, 3, n / 2);
        let shape = Shape {
            batch: 1,
            input: [n + 4],
            channels: 1,
            window,
        };
        for padding in [Padding::Counted, Padding::NotCounted] {
            let windows = Windows::sliding(shape, padding);
            follows_the_rule::<i8>(&(shape, padding), &windows, &format!("{n}"));
            follows_the_rule::<u8>(&(shape, padding), &windows, &format!("{n}"));
            follows_the_rule::<i16>(&(shape, padding), &windows, &format!("{n}"));
            follows_the_rule::<i32>(&(shape, padding), &windows, &format!("{n}"));
            follows_the_rule::<i64>(&(shape, padding), &windows, &format!("{n}"));
        }
    }
    fn extreme<T: Element>(n: usize) {
        let shape = Shape {
            batch: 1,
            input: [n],
            channels: 1,
            window: Window::whole([n]),
        };
        let exponent = shape.average_exponent::<T>(Padding::Counted, 0).unwrap();
        let largest = (1i128 << T::MAGNITUDE_BITS) - 1;
        for sign in [-1, 1] {
            let x = vec![T::from_f64((sign * largest) as f64); n];
            let store = Store::Shift {
                shift: -exponent,
                rounding: Rounding::NearestEven,
            };
            let mut out = [T::ZERO];
            let seen = pool::average_forward(&Serial, shape, Padding::Counted, &x, store, &mut out);
            let factor = ((1i128 << -exponent) + n as i128 / 2) / n as i128;
            let sum = sign * largest * n as i128 * factor;
            assert_eq!(seen, Ok(range::<T>(&[sum])), "{} {n}", T::DTYPE);
            assert_eq!(
                exact(out[0]),
                requantized(sum, -exponent, T::MAGNITUDE_BITS)
            );
        }
    }
    for n in [1, 3, 256, 257, 65_535, 1 << 20, (1 << 23) - 1, 1 << 23] {
        extreme::<i8>(n);
        extreme::<u8>(n);
        extreme::<i16>(n);
        extreme::<i32>(n);
    }
    extreme::<i64>((1 << 20) + 7);
}

/// `c · factor` is `2^k` within `c / 2`, so a mean is off by at most `2^-16` of itself; exact for powers of
/// two.
#[test]
fn reciprocals_are_within_their_bound() {
    for n in 1..400usize {
        for c in [1, 2, 3, n / 2, n - 1, n]
            .into_iter()
            .filter(|c| (1..=n).contains(c))
        {
            // One window of n cells, and one that has c of them on the input.
            let shape = Shape {
                batch: 1,
                input: [n],
                channels: 1,
                window: Window {
                    padding: [[0, n - c]],
                    stride: [(n - c).max(1)],
                    ..Window::<1>::uniform(n, 1, 0)
                },
            };
            let padding = Padding::NotCounted;
            let places = -shape.average_exponent::<i64>(padding, 0).unwrap();
            assert_eq!(places, 15 + (64 - (n as u64 - 1).leading_zeros()) as i32);
            let mut out = vec![0i64; shape.outputs().unwrap()[0]];
            pool::average_forward(&Serial, shape, padding, &vec![1; n], Store::EXACT, &mut out)
                .unwrap();
            let off = (out.last().unwrap() - (1 << places)).abs();
            assert!(
                2 * off <= c as i64 && off << 16 <= 1 << places,
                "{c} of {n}"
            );
            assert!(off == 0 || !c.is_power_of_two());
        }
    }
}

fn gradients_are_the_differences(layer: &impl Average<f64>, windows: &Windows, place: &str) {
    let mut noise = Noise::new(402);
    let [x_len, y_len] = windows.lens();
    let (x, dy) = (noise.vector(x_len, 1.0), noise.vector(y_len, 1.0));
    let mut dx = vec![0.0; x_len];
    layer.backward(&dy, Store::EXACT, &mut dx);
    let want = differences(&x, |x| {
        let mut y = vec![0.0; y_len];
        layer.forward(x, Store::EXACT, &mut y);
        inner(&y, &dy)
    });
    assert_close(place, &want, &dx, tolerance::LINEAR_DIFFERENCE);
}

#[test]
fn average_gradients_are_the_differences() {
    for seed in 0..20 {
        let mut noise = Noise::new(seed);
        let shape = random_shape::<2>(&mut noise);
        let adaptive = random_adaptive::<3>(&mut noise);
        let layer = (on_the_input(shape), Padding::NotCounted);
        let windows = Windows::sliding(layer.0, Padding::NotCounted);
        gradients_are_the_differences(&layer, &windows, &format!("{layer:?}"));
        let windows = Windows::sliding(shape, Padding::Counted);
        let layer = (shape, Padding::Counted);
        gradients_are_the_differences(&layer, &windows, &format!("{shape:?}"));
        let windows = Windows::adaptive(adaptive);
        gradients_are_the_differences(&adaptive, &windows, &format!("{adaptive:?}"));
    }
}

/// The gradient of integers, rounded stochastically at the exponent that its range asks for, against that
/// of the same numbers.
fn points_the_same_way<T: Element>(
    layer: &(impl Average<T> + Average<f64>),
    windows: &Windows,
) -> f64 {
    let mut noise = Noise::new(403);
    let [x_len, y_len] = windows.lens();
    let largest = 2f64.powi(T::MAGNITUDE_BITS as i32) - 1.0;
    let numbers = noise.vector(y_len, largest);
    let dy: Vec<T> = numbers.iter().map(|&d| T::from_f64(d)).collect();
    let exact: Vec<f64> = dy.iter().map(|d| d.to_f64()).collect();
    let (mut got, mut want) = (vec![T::ZERO; x_len], vec![0.0; x_len]);
    let range = layer.backward(&dy, Store::Measure, &mut got);
    let store = Store::Shift {
        shift: range as i32 - T::MAGNITUDE_BITS as i32,
        rounding: Rounding::Stochastic(Words::new(5, 2, 5)),
    };
    layer.backward(&dy, store, &mut got);
    layer.backward(&exact, Store::EXACT, &mut want);
    let got: Vec<f64> = got.iter().map(|d| d.to_f64()).collect();
    inner(&got, &want) / (inner(&got, &got) * inner(&want, &want)).sqrt()
}

#[test]
fn integer_gradients_point_the_same_way() {
    let shape = Shape {
        batch: 4,
        input: [9, 8],
        channels: 5,
        window: Window::uniform(3, 2, 1),
    };
    let adaptive = Adaptive {
        batch: 4,
        input: [9, 8],
        channels: 5,
        output: [4, 5],
    };
    for padding in [Padding::Counted, Padding::NotCounted] {
        let (layer, windows) = ((shape, padding), Windows::sliding(shape, padding));
        assert!(points_the_same_way::<i8>(&layer, &windows) >= tolerance::COSINE_8_BITS.0);
        assert!(points_the_same_way::<u16>(&layer, &windows) >= tolerance::COSINE_16_BITS.0);
    }
    let windows = Windows::adaptive(adaptive);
    assert!(points_the_same_way::<u8>(&adaptive, &windows) >= tolerance::COSINE_8_BITS.0);
    assert!(points_the_same_way::<i16>(&adaptive, &windows) >= tolerance::COSINE_16_BITS.0);
    assert!(points_the_same_way::<i32>(&adaptive, &windows) >= tolerance::COSINE_32_BITS.0);
}
