//! Plain definitions over windows: what kernels of one to three axes must compute, as loops over
//! three axes and exact integers. They share no code with the kernels.

use crate::noise::Noise;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, conv};

/// `N` extents as three, `fill` in front.
#[must_use]
pub fn three<const N: usize, E: Copy>(extents: [E; N], fill: E) -> [E; 3] {
    let mut three = [fill; 3];
    three[3 - N..].copy_from_slice(&extents);
    three
}

/// The same window over three axes.
#[must_use]
pub fn window3<const N: usize>(window: Window<N>) -> Window<3> {
    Window {
        kernel: three(window.kernel, 1),
        stride: three(window.stride, 1),
        padding: three(window.padding, [0, 0]),
        dilation: three(window.dilation, 1),
    }
}

/// The same convolution over three axes.
#[must_use]
pub fn conv3<const N: usize>(shape: conv::Shape<N>) -> conv::Shape<3> {
    conv::Shape {
        batch: shape.batch,
        input: three(shape.input, 1),
        channels: shape.channels,
        filters: shape.filters,
        groups: shape.groups,
        window: window3(shape.window),
    }
}

/// All places in `extents`, in row-major order.
pub fn places(extents: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    let [a, b, c] = extents;
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| [i, j, k])))
}

/// Row-major index of `place` in `extents`.
#[must_use]
pub fn index(extents: [usize; 3], place: [usize; 3]) -> usize {
    (place[0] * extents[1] + place[1]) * extents[2] + place[2]
}

/// The cells under the window at `at`, with their places in the kernel: those that are not padding.
#[must_use]
pub fn cells(
    window: &Window<3>,
    input: [usize; 3],
    at: [usize; 3],
) -> Vec<([usize; 3], [usize; 3])> {
    let cell = |k: [usize; 3]| {
        let mut cell = [0; 3];
        for axis in 0..3 {
            let place = (at[axis] * window.stride[axis] + k[axis] * window.dilation[axis]) as isize
                - window.padding[axis][0] as isize;
            if place < 0 || place >= input[axis] as isize {
                return None;
            }
            cell[axis] = place as usize;
        }
        Some((k, cell))
    };
    places(window.kernel).filter_map(cell).collect()
}

/// Elements of a filter.
#[must_use]
pub fn filter_len<const N: usize>(shape: &conv::Shape<N>) -> usize {
    shape.window.kernel.iter().product::<usize>() * shape.channels / shape.groups
}

/// Calls `visit(output, input, weight)` with the indices of every product of a convolution.
pub fn products<const N: usize>(
    shape: &conv::Shape<N>,
    mut visit: impl FnMut(usize, usize, usize),
) {
    let shape = conv3(*shape);
    let outputs = shape.outputs().unwrap();
    let (per_group, filters_per_group) =
        (shape.channels / shape.groups, shape.filters / shape.groups);
    let (input_len, output_len) = (
        shape.input.iter().product::<usize>(),
        outputs.iter().product::<usize>(),
    );
    for n in 0..shape.batch {
        for at in places(outputs) {
            for (k, cell) in cells(&shape.window, shape.input, at) {
                for o in 0..shape.filters {
                    for c in 0..per_group {
                        let output = (n * output_len + index(outputs, at)) * shape.filters + o;
                        let channel = o / filters_per_group * per_group + c;
                        let input =
                            (n * input_len + index(shape.input, cell)) * shape.channels + channel;
                        let weight = (o * shape.window.kernel.iter().product::<usize>()
                            + index(shape.window.kernel, k))
                            * per_group
                            + c;
                        visit(output, input, weight);
                    }
                }
            }
        }
    }
}

/// A small window over `N` axes with input extents into which it fits, with some room.
pub fn random_window<const N: usize>(noise: &mut Noise) -> (Window<N>, [usize; N]) {
    let mut window = Window::<N>::uniform(1, 1, 0);
    let mut input = [1; N];
    let (largest, room) = if N == 3 { (2, 3) } else { (3, 5) };
    for (axis, input) in input.iter_mut().enumerate() {
        window.kernel[axis] = 1 + noise.below(largest);
        window.stride[axis] = 1 + noise.below(3);
        window.padding[axis] = [noise.below(3), noise.below(3)];
        window.dilation[axis] = 1 + noise.below(2);
        let span = (window.kernel[axis] - 1) * window.dilation[axis] + 1 + noise.below(room);
        let padding = window.padding[axis][0] + window.padding[axis][1];
        *input = span.saturating_sub(padding).max(1);
    }
    (window, input)
}

/// A small convolution over `N` axes.
#[must_use]
pub fn random_conv<const N: usize>(noise: &mut Noise) -> conv::Shape<N> {
    let (window, input) = random_window(noise);
    let groups = 1 + noise.below(3);
    conv::Shape {
        batch: 1 + noise.below(2),
        input,
        channels: groups * (1 + noise.below(3)),
        filters: groups * (1 + noise.below(3)),
        groups,
        window,
    }
}

/// Random elements: integers over the whole range with the extremes among them; floats of -1, 0 and
/// 1, of which sums are exact.
pub fn elements<T: Element>(noise: &mut Noise, n: usize) -> Vec<T> {
    if !T::DTYPE.is_integer() {
        return (0..n)
            .map(|_| T::from_f64(noise.below(3) as f64 - 1.0))
            .collect();
    }
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

/// The value of an integer element, or of a float that is an integer.
#[must_use]
pub fn exact<T: Element>(x: T) -> i128 {
    x.to_f64() as i128 // at most 53 bits
}

/// The same for many.
#[must_use]
pub fn all_exact<T: Element>(x: &[T]) -> Vec<i128> {
    x.iter().map(|&x| exact(x)).collect()
}

/// An accumulator that holds an integer.
pub trait Exact: Copy {
    /// Its value.
    fn exact(self) -> i128;
}

macro_rules! impl_exact {
    ($($t:ty)*) => {$(
        impl Exact for $t {
            fn exact(self) -> i128 {
                self as i128
            }
        }
    )*};
}

impl_exact! { i32 i64 i128 f32 f64 }

/// `acc / 2^shift` to nearest even, saturated at `bits` bits: what `docs/numerics.md` §4 stores.
#[must_use]
pub fn requantized(acc: i128, shift: i32, bits: u32) -> i128 {
    let (floor, half) = (acc >> shift, (1i128 << shift) >> 1);
    let rest = acc - (floor << shift);
    let up = shift > 0 && (rest > half || (rest == half && floor & 1 == 1));
    let limit = (1i128 << bits) - 1;
    (floor + i128::from(up)).clamp(-limit, limit)
}

/// What is stored in an element of type `T`: floats keep their exponents.
#[must_use]
pub fn stored<T: Element>(acc: i128, shift: i32) -> i128 {
    match T::DTYPE.is_integer() {
        true => requantized(acc, shift, T::MAGNITUDE_BITS),
        false => acc,
    }
}

/// Bits of the largest magnitude; 0 for types that measure none.
#[must_use]
pub fn range<T: Element>(values: &[i128]) -> u32 {
    if !T::DTYPE.is_integer() {
        return 0;
    }
    let bits = |v: &i128| 128 - v.unsigned_abs().leading_zeros();
    values.iter().map(bits).max().unwrap_or(0)
}

/// The gradient of `loss` at `x` by central differences.
#[must_use]
pub fn differences(x: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-4;
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

/// The sum of products.
#[must_use]
pub fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Ends the test at the first element that is off by more than `tolerance`.
pub fn assert_close(place: &str, want: &[f64], got: &[f64], tolerance: f64) {
    assert_eq!(want.len(), got.len(), "{place}");
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        assert!(
            (want - got).abs() <= tolerance,
            "{place}, element {i}: wanted {want}, kernel {got}"
        );
    }
}
