//! Integers are exact sums.

use super::{NEAREST, Packed};
use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::packed::dense::{Input, Output};
use selvedge_kernels::packed::{self, Format};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, conv};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::windows::{filter_len, lens, products, random_shape};

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
    let largest = f64::from((1u32 << T::MAGNITUDE_BITS) - 1);
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

/// Weights as integers in units of `2^(unit - drop)`, by definition: from the decoded floats.
pub(crate) fn integers(packed: &Packed<i8>) -> (Vec<i128>, i32) {
    let smallest = packed.scales.iter().copied().min().unwrap();
    let unit = i32::from(smallest) + packed.format.exponent();
    let weights = packed.decoded();
    (
        weights
            .iter()
            .map(|&w| (f64::from(w) * 2f64.powi(-unit)) as i128)
            .collect(),
        unit,
    )
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

/// The cases of one type: shapes, formats, exponents near and far from each other.
fn integer_layers<T>(far: i8)
where
    T: Input<i8> + Output<T, i8>,
{
    let mut noise = Noise::new(33);
    let mut dropped = 0;
    for format in Format::ALL {
        for case in 0..60 {
            // The widest format leaves room for 5 bits beside 16-bit activations.
            let far = far.min(if format == Format::Fp8E5M2 { 5 } else { far });
            let scale = |noise: &mut Noise| noise.below(1 + far as usize) as i8 - 3;
            let is_dense = case % 3 == 0;
            let mut shape = random_shape(&mut noise);
            if is_dense {
                shape = conv::Shape {
                    batch: 1 + noise.below(9),
                    input: [1, 1],
                    channels: 1 + noise.below(100),
                    filters: 1 + noise.below(20),
                    groups: 1,
                    window: Window::uniform(1, 1, 0),
                };
            }
            let packed = Packed::new(&mut noise, format, shape.filters, filter_len(&shape), scale);
            let name = format!("{} {format:?} {shape:?}", T::DTYPE.name());
            let weights = packed.weights();
            let (w, unit) = integers(&packed);
            let [x_len, y_len] = lens(&shape);
            let x = elements::<T>(&mut noise, x_len);
            let bias = elements::<T::Bias>(&mut noise, shape.filters);
            let dy = elements::<T>(&mut noise, y_len);
            let (mut y_acc, mut dx_acc) = (vec![0i128; y_len], vec![0i128; x_len]);
            let (x_exact, dy_exact, bias_exact) = (exact(&x), exact(&dy), exact(&bias));
            products(&shape, |o, i, k| {
                y_acc[o] += x_exact[i] * w[k];
                dx_acc[i] += dy_exact[o] * w[k];
            });
            let dense_shape = dense::Shape {
                batch: shape.batch,
                inputs: shape.channels,
                outputs: shape.filters,
            };

            let drop = weights.unit::<T>(filter_len(&shape)).unwrap() - unit;
            assert!(drop >= 0, "{name}");
            dropped += usize::from(drop > 0);
            let reach = y_acc
                .iter()
                .map(|&a| shifted(a, drop).unsigned_abs())
                .max()
                .unwrap();
            let limit = if size_of::<T::Acc>() == 4 {
                1 << 30
            } else {
                1 << 61
            };
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
                    )
                } else {
                    packed::conv::forward(&Threads(3), shape, &x, weights, bias, epilogue, &mut out)
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

            let terms =
                shape.filters / shape.groups * shape.window.kernel[0] * shape.window.kernel[1];
            let drop = weights.unit::<T>(terms).unwrap() - unit;
            let reach = dx_acc
                .iter()
                .map(|&a| shifted(a, drop).unsigned_abs())
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
            let want = stored::<T>(&dx_acc, drop, |_| 0, shift, false);
            assert_eq!((exact(&dx), range.unwrap()), want, "{name}: input gradient");
        }
    }
    // Of 8-bit elements, the wide formats drop; of 16 bits, nothing does.
    assert_eq!(
        dropped > 0,
        T::MAGNITUDE_BITS == 7,
        "{} dropped {dropped}",
        T::DTYPE.name()
    );
}

#[test]
fn integers_are_exact_sums() {
    for far in [0, 4, 8] {
        integer_layers::<i8>(far);
        integer_layers::<u8>(far);
        integer_layers::<i16>(far);
        integer_layers::<u16>(far);
    }
}
