//! Integers are exact sums.

use super::{NEAREST, Packed};
use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::packed::dense::{Input, Output};
use selvedge_kernels::packed::{self, Format, Weights};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, conv};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::windows::{cells, filter_len, lens, products, random_shape};

/// `x / 2^shift` to nearest even, for either sign of `shift`.
fn shifted(x: i128, shift: i32) -> i128 {
    if shift <= 0 {
        return x << -shift;
    }
    let floor = x >> shift;
    let (rest, half) = (x - (floor << shift), 1i128 << (shift - 1));
    floor + i128::from(rest > half || (rest == half && floor & 1 == 1))
}

pub(crate) fn elements<T: Element>(noise: &mut Noise, n: usize) -> Vec<T> {
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

fn exact<T: Element>(x: &[T]) -> Vec<i128> {
    x.iter().map(|x| x.to_f64() as i128).collect()
}

/// The logarithm to the base of two, rounded up.
fn log2(n: u64) -> i32 {
    (64 - (n - 1).leading_zeros()) as i32
}

/// Weights as integers for sums of `terms` products with elements of type `T`, by definition: from the codes'
/// values; their exponent, and the places that sums drop.
pub(crate) fn integers<T: Element>(packed: &Packed<i8>, terms: usize) -> (Vec<i128>, i32, i32) {
    let exponents = || packed.scales.iter().filter(|&&s| s != i8::MIN);
    let high = i32::from(exponents().copied().max().unwrap_or(0));
    let low = i32::from(exponents().copied().min().unwrap_or(0));
    let bits =
        T::MAGNITUDE_BITS as i32 + log2(packed.format.largest_integer()) + log2(terms as u64);
    // Sums have 64 bits, or 128, and accumulators 32, 64 or 128.
    let sum = if T::MAGNITUDE_BITS > 15 { 126 } else { 62 };
    let low = low.max(high - (sum - bits));
    let accumulator = [30, 61, 125][size_of::<T::Acc>().ilog2() as usize - 2];
    let drop = (bits + high - low - accumulator).max(0);
    let unit = low + packed.format.exponent();
    let weights = packed.values().into_iter().zip(packed.scale_of_each());
    let integer = |(value, scale): (f32, i8)| match scale {
        i8::MIN => 0,
        scale => (f64::from(value) * 2f64.powi(i32::from(scale) - unit)).round_ties_even() as i128,
    };
    (weights.map(integer).collect(), unit, drop)
}

/// What is stored of exact sums, and the range that is returned.
fn stored<T: Element>(
    sums: &[i128],
    drop: i32,
    bias: impl Fn(usize) -> i128,
    shift: i32,
    is_relu: bool,
) -> (Vec<i128>, u32) {
    let limit = (1i128 << T::MAGNITUDE_BITS) - 1;
    let mut range = 0u128;
    let out = sums
        .iter()
        .enumerate()
        .map(|(i, &sum)| {
            let acc = shifted(sum, drop) + bias(i);
            let acc = if is_relu { acc.max(0) } else { acc };
            range |= acc.unsigned_abs();
            shifted(acc, shift).clamp(-limit, limit)
        })
        .collect();
    (out, 128 - range.leading_zeros())
}

/// The cases of one type: shapes, formats, exponents that `scale` gives. Returns how many forward passes dropped
/// places.
fn integer_layers<T, const N: usize>(scale: impl Fn(&mut Noise, Format) -> i8) -> usize
where
    T: Input<i8> + Output<T, i8>,
{
    let mut noise = Noise::new(33);
    let mut dropped = 0;
    for format in Format::ALL {
        for case in 0..60 {
            let scale = |noise: &mut Noise| scale(noise, format);
            let is_dense = case % 3 == 0;
            let mut shape = random_shape::<N>(&mut noise);
            if is_dense {
                shape = conv::Shape {
                    batch: 1 + noise.below(9),
                    input: [1; N],
                    channels: 1 + noise.below(100),
                    filters: 1 + noise.below(20),
                    groups: 1,
                    window: Window::uniform(1, 1, 0),
                };
            }
            let packed = Packed::new(&mut noise, format, shape.filters, filter_len(&shape), scale);
            let name = format!("{} {format:?} {shape:?}", T::DTYPE.name());
            let weights = packed.weights();
            let terms = shape.filters / shape.groups * cells(&shape);
            let (w, unit, drop) = integers::<T>(&packed, filter_len(&shape));
            let (w_back, unit_back, drop_back) = integers::<T>(&packed, terms);
            let [x_len, y_len] = lens(&shape);
            let x = elements::<T>(&mut noise, x_len);
            let bias = elements::<T::Bias>(&mut noise, shape.filters);
            let dy = elements::<T>(&mut noise, y_len);
            let (mut y_acc, mut dx_acc) = (vec![0i128; y_len], vec![0i128; x_len]);
            let (x_exact, dy_exact, bias_exact) = (exact(&x), exact(&dy), exact(&bias));
            products(&shape, |o, i, k| {
                y_acc[o] += x_exact[i] * w[k];
                dx_acc[i] += dy_exact[o] * w_back[k];
            });
            let dense_shape = dense::Shape {
                batch: shape.batch,
                inputs: shape.channels,
                outputs: shape.filters,
            };

            assert_eq!(
                weights.unit::<T>(filter_len(&shape)),
                Ok(unit + drop),
                "{name}"
            );
            assert_eq!(
                weights.unit::<T>(terms),
                Ok(unit_back + drop_back),
                "{name}"
            );
            dropped += usize::from(drop > 0);
            let reach = y_acc
                .iter()
                .map(|&a| shifted(a, drop).unsigned_abs())
                .max()
                .unwrap();
            let limit = [1 << 30, 1 << 61, 1 << 125][size_of::<T::Acc>().ilog2() as usize - 2];
            assert!(reach <= limit, "{name}: {reach}");
            let shift = (128 - reach.leading_zeros()) as i32 - T::MAGNITUDE_BITS as i32 - 1;
            for (activation, is_relu) in [(Activation::Identity, false), (Activation::Relu, true)] {
                let epilogue = Epilogue {
                    activation,
                    exponent: 0,
                    store: Store::Shift {
                        shift,
                        rounding: NEAREST,
                    },
                };
                let mut out = vec![T::ZERO; y_len];
                let bias = Bias {
                    values: &bias,
                    shift: 0,
                };
                let range = if is_dense {
                    packed::dense::forward(
                        &Threads(3),
                        dense_shape,
                        &x,
                        weights,
                        bias,
                        epilogue,
                        &mut out,
                        &mut [],
                    )
                } else {
                    packed::conv::forward(
                        &Threads(3),
                        shape,
                        &x,
                        weights,
                        bias,
                        epilogue,
                        &mut out,
                        &mut [],
                    )
                };
                let want = stored::<T>(
                    &y_acc,
                    drop,
                    |i| bias_exact[i % shape.filters],
                    shift,
                    is_relu,
                );
                assert_eq!(
                    (exact(&out), range.unwrap()),
                    want,
                    "{name}: forward, {activation:?}"
                );
            }

            let reach = dx_acc
                .iter()
                .map(|&a| shifted(a, drop_back).unsigned_abs())
                .max()
                .unwrap();
            let shift = (128 - reach.leading_zeros()) as i32 - T::MAGNITUDE_BITS as i32;
            let store = Store::Shift {
                shift,
                rounding: NEAREST,
            };
            let mut dx = vec![T::ZERO; x_len];
            let range = if is_dense {
                packed::dense::backward_input(
                    &Threads(2),
                    dense_shape,
                    &dy,
                    weights,
                    store,
                    &mut dx,
                )
            } else {
                packed::conv::backward_input(&Threads(2), shape, &dy, weights, store, &mut dx)
            };
            let want = stored::<T>(&dx_acc, drop_back, |_| 0, shift, false);
            assert_eq!((exact(&dx), range.unwrap()), want, "{name}: input gradient");
        }
    }
    dropped
}

/// Exponents near each other.
fn near<T>()
where
    T: Input<i8> + Output<T, i8>,
{
    for far in [0, 4, 8] {
        let scale = |noise: &mut Noise, format| {
            // The widest format leaves room for 5 bits beside 16-bit activations.
            let far = if format == Format::Fp8E5M2 {
                far.min(5)
            } else {
                far
            };
            noise.below(1 + far) as i8 - 3
        };
        let dropped = integer_layers::<T, 2>(scale);
        // Of 8-bit elements, the wide formats drop; of 16 bits and of 64, nothing does; of 32, whose
        // accumulators have half the bits of their sums, the widest one.
        assert_eq!(
            dropped > 0,
            [7, 24].contains(&T::MAGNITUDE_BITS),
            "{} dropped {dropped}",
            T::DTYPE.name()
        );
        if far == 4 {
            integer_layers::<T, 1>(scale);
            integer_layers::<T, 3>(scale);
        }
    }
}

#[test]
fn integers_are_exact_sums() {
    near::<i8>();
    near::<u8>();
    near::<i16>();
    near::<u16>();
    near::<i32>();
    near::<u32>();
    near::<i64>();
    near::<u64>();
}

/// Blocks of zeros, and of scales that lie further apart than sums are wide.
fn apart<T>()
where
    T: Input<i8> + Output<T, i8>,
{
    let zero = |noise: &mut Noise, scale: i8| {
        if noise.below(4) == 0 { i8::MIN } else { scale }
    };
    integer_layers::<T, 2>(|noise, _| zero(noise, -3));
    integer_layers::<T, 1>(|_, _| i8::MIN);
    for far in [20, 60, 255] {
        integer_layers::<T, 2>(|noise, _| {
            let scale = (noise.below(far) as i32 - far as i32 / 2) as i8;
            zero(noise, scale)
        });
    }
}

#[test]
fn blocks_of_zeros_add_nothing_and_those_far_below_are_rounded() {
    apart::<i8>();
    apart::<u8>();
    apart::<i16>();
    apart::<u16>();
    apart::<i32>();
    apart::<u32>();
    apart::<i64>();
    apart::<u64>();
}

/// What a pruned row was refused for: a block of weights and one of zeros, as the encoder writes them.
#[test]
fn a_pruned_block_is_no_obstacle() {
    for format in Format::ALL {
        let mut row = [0.0f32; 64];
        row[..32].fill(0.75);
        let mut codes = vec![0; format.row_bytes(64)];
        let mut scales = [0i8; 2];
        packed::encode_row(format, &row, &mut codes, &mut scales).unwrap();
        assert_eq!(scales[1], i8::MIN, "{format:?}");
        let weights = Weights::new(format, 1, 64, &codes, &scales).unwrap();
        let bytes = &codes[..format.row_bytes(32)];
        let alone = Weights::new(format, 1, 32, bytes, &scales[..1]).unwrap();
        assert_eq!(weights.unit::<i8>(64), alone.unit::<i8>(64), "{format:?}");
        let mut back = [9.0f32; 64];
        weights.decode(0, 0, &mut back);
        assert_eq!(back[32..], [0.0; 32], "{format:?}");
        let shape = dense::Shape {
            batch: 1,
            inputs: 64,
            outputs: 1,
        };
        // Of 64 inputs of 1, 32 meet weights.
        let unit = weights.unit::<i16>(64).unwrap();
        let store = Store::Shift {
            shift: -6 - unit,
            rounding: NEAREST,
        };
        let epilogue = Epilogue {
            store,
            ..Epilogue::EXACT
        };
        let (bias, mut out) = ([0], [0i16]);
        let bias = Bias {
            values: &bias,
            shift: 0,
        };
        packed::dense::forward(
            &Serial,
            shape,
            &[1i16; 64],
            weights,
            bias,
            epilogue,
            &mut out,
            &mut [],
        )
        .unwrap();
        assert_eq!(
            f64::from(out[0]),
            64.0 * 32.0 * f64::from(back[0]),
            "{format:?}"
        );
        assert!(back[0] >= 0.5, "{format:?}");
    }
}
