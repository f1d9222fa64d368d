//! Dense and convolution kernels with packed weights: floats against the kernels that read decoded
//! weights, integers against exact sums, in every format, for both passes.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::packed::dense::{Input, Output};
use selvedge_kernels::packed::{self, BLOCK, Format, Scale, Weights};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Element, Error, bf16, conv, element, f16};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::windows::{filter_len, lens, products, random_shape};

/// Random packed weights that own their memory: no NaN, no infinities.
struct Packed<S> {
    format: Format,
    rows: usize,
    len: usize,
    codes: Vec<u8>,
    scales: Vec<S>,
}

impl<S: Scale> Packed<S> {
    fn new(
        noise: &mut Noise,
        format: Format,
        rows: usize,
        len: usize,
        mut scale: impl FnMut(&mut Noise) -> S,
    ) -> Self {
        let mut codes = vec![0; rows * format.row_bytes(len)];
        for codes in codes.chunks_mut(format.row_bytes(len)) {
            // All codes are equally likely, but for those that are no number.
            let row: Vec<f32> = (0..len)
                .map(|_| {
                    let mut code = noise.below(usize::from(format.codes())) as u8;
                    while !format.value(code).is_finite() {
                        code ^= 0x40;
                    }
                    format.value(code)
                })
                .collect();
            packed::encode_row_with(format, &row, 0i8, codes).unwrap();
        }
        let per_tensor = noise.below(4) == 0;
        let scales = if per_tensor {
            1
        } else {
            rows * len.div_ceil(BLOCK)
        };
        let scales = (0..scales).map(|_| scale(noise)).collect();
        Self {
            format,
            rows,
            len,
            codes,
            scales,
        }
    }

    fn weights(&self) -> Weights<'_, S> {
        Weights::new(self.format, self.rows, self.len, &self.codes, &self.scales).unwrap()
    }

    fn decoded(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.rows * self.len];
        for (r, row) in all.chunks_mut(self.len).enumerate() {
            self.weights().decode(r, 0, row);
        }
        all
    }
}

fn exponents(noise: &mut Noise) -> i8 {
    noise.below(5) as i8 - 3
}

fn halves(noise: &mut Noise) -> f16 {
    f16::from_f64(noise.signed())
}

const NEAREST: Rounding = Rounding::NearestEven;

fn bits<T: Element>(x: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    x.iter()
        .for_each(|x| x.le_bytes(|b| bytes.extend_from_slice(b)));
    bytes
}

/// Activations of type `T` are computed in `W`: results are those of the decoded weights in `W`, bit by
/// bit, then rounded once.
fn floats<T, W, S>(scale: fn(&mut Noise) -> S)
where
    T: Input<S> + Output<T, S>,
    T: element::Output<T> + Element<Bias = T>,
    W: Element<Bias = W> + element::Output<W>,
    S: Scale,
{
    let mut noise = Noise::new(21);
    let wide = |x: &[T]| -> Vec<W> { x.iter().map(|x| W::from_f64(x.to_f64())).collect() };
    let narrow = |x: &[W]| -> Vec<T> { x.iter().map(|x| T::from_f64(x.to_f64())).collect() };
    let random = |noise: &mut Noise, n| -> Vec<T> {
        noise.vector(n, 2.0).into_iter().map(T::from_f64).collect()
    };
    let wide_epilogue = Epilogue::<W>::EXACT.with(Activation::Relu);
    let epilogue = Epilogue::<T>::EXACT.with(Activation::Relu);
    for format in Format::ALL {
        for (batch, inputs, outputs) in [(1, 1, 1), (3, 31, 2), (5, 33, 7), (9, 70, 3), (4, 128, 5)]
        {
            let shape = dense::Shape {
                batch,
                inputs,
                outputs,
            };
            let name = format!("{} {format:?} {shape:?}", T::DTYPE.name());
            let packed = Packed::new(&mut noise, format, outputs, inputs, scale);
            let weight: Vec<W> = packed
                .decoded()
                .iter()
                .map(|&w| W::from_f64(w.into()))
                .collect();
            let x = random(&mut noise, batch * inputs);
            let bias = random(&mut noise, outputs);
            let dy = random(&mut noise, batch * outputs);
            let (mut out, mut want) = (vec![T::ZERO; dy.len()], vec![W::ZERO; dy.len()]);
            let (x_wide, dy_wide, bias_wide) = (wide(&x), wide(&dy), wide(&bias));
            let wide_bias = Bias {
                values: &bias_wide,
                shift: 0,
            };
            dense::forward(
                &Serial,
                shape,
                &x_wide,
                &weight,
                wide_bias,
                wide_epilogue,
                &mut want,
                &mut [],
            )
            .unwrap();
            let bias = Bias {
                values: &bias,
                shift: 0,
            };
            packed::dense::forward(
                &Threads(3),
                shape,
                &x,
                packed.weights(),
                bias,
                epilogue,
                &mut out,
            )
            .unwrap();
            assert_eq!(bits(&out), bits(&narrow(&want)), "{name}: forward");
            let (mut dx, mut want) = (vec![T::ZERO; x.len()], vec![W::ZERO; x.len()]);
            dense::backward_input(&Serial, shape, &dy_wide, &weight, Store::EXACT, &mut want)
                .unwrap();
            packed::dense::backward_input(
                &Threads(2),
                shape,
                &dy,
                packed.weights(),
                Store::EXACT,
                &mut dx,
            )
            .unwrap();
            assert_eq!(bits(&dx), bits(&narrow(&want)), "{name}: input gradient");
        }
        for _ in 0..40 {
            let shape = random_shape(&mut noise);
            let name = format!("{} {format:?} {shape:?}", T::DTYPE.name());
            let packed = Packed::new(&mut noise, format, shape.filters, filter_len(&shape), scale);
            let weight: Vec<W> = packed
                .decoded()
                .iter()
                .map(|&w| W::from_f64(w.into()))
                .collect();
            let [x_len, y_len] = lens(&shape);
            let x = random(&mut noise, x_len);
            let bias = random(&mut noise, shape.filters);
            let dy = random(&mut noise, y_len);
            let (mut out, mut want) = (vec![T::ZERO; y_len], vec![W::ZERO; y_len]);
            let (x_wide, dy_wide, bias_wide) = (wide(&x), wide(&dy), wide(&bias));
            let wide_bias = Bias {
                values: &bias_wide,
                shift: 0,
            };
            conv::forward(
                &Serial,
                shape,
                &x_wide,
                &weight,
                wide_bias,
                wide_epilogue,
                &mut want,
                &mut [],
            )
            .unwrap();
            let bias = Bias {
                values: &bias,
                shift: 0,
            };
            packed::conv::forward(
                &Threads(3),
                shape,
                &x,
                packed.weights(),
                bias,
                epilogue,
                &mut out,
            )
            .unwrap();
            assert_eq!(bits(&out), bits(&narrow(&want)), "{name}: forward");
            let (mut dx, mut want) = (vec![T::ZERO; x_len], vec![W::ZERO; x_len]);
            conv::backward_input(&Serial, shape, &dy_wide, &weight, Store::EXACT, &mut want)
                .unwrap();
            packed::conv::backward_input(
                &Threads(2),
                shape,
                &dy,
                packed.weights(),
                Store::EXACT,
                &mut dx,
            )
            .unwrap();
            assert_eq!(bits(&dx), bits(&narrow(&want)), "{name}: input gradient");
        }
    }
}

#[test]
fn floats_give_the_bits_of_decoded_weights() {
    floats::<f32, f32, i8>(exponents);
    floats::<f32, f32, f16>(halves);
    floats::<f64, f64, i8>(exponents);
    floats::<f64, f64, f16>(halves);
    floats::<f16, f32, i8>(exponents);
    floats::<f16, f32, f16>(halves);
    floats::<bf16, f32, i8>(exponents);
    floats::<bf16, f32, f16>(halves);
}

/// `x / 2^shift` to nearest even, for either sign of `shift`.
fn shifted(x: i128, shift: i32) -> i128 {
    if shift <= 0 {
        return x << -shift;
    }
    let floor = x >> shift;
    let (rest, half) = (x - (floor << shift), 1i128 << (shift - 1));
    floor + i128::from(rest > half || (rest == half && floor & 1 == 1))
}

fn elements<T: Element>(noise: &mut Noise, n: usize) -> Vec<T> {
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
fn integers(packed: &Packed<i8>) -> (Vec<i128>, i32) {
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

/// Weights that 8 bits hold: the kernels that read them plainly give the same bytes, with random
/// words as well.
#[test]
fn eight_bit_layers_give_the_bytes_of_decoded_weights() {
    let mut noise = Noise::new(4);
    for format in [
        Format::Fp4,
        Format::Int4,
        Format::Int2,
        Format::Ternary,
        Format::Binary,
    ] {
        let shape = dense::Shape {
            batch: 6,
            inputs: 75,
            outputs: 9,
        };
        let packed = Packed::new(&mut noise, format, 9, 75, |noise| noise.below(3) as i8);
        let (w, unit) = integers(&packed);
        let weight: Vec<i8> = w.iter().map(|&w| i8::try_from(w).unwrap()).collect();
        assert_eq!(packed.weights().unit::<i8>(75).unwrap(), unit);
        let (x, bias, dy) = (
            elements::<i8>(&mut noise, 6 * 75),
            elements::<i16>(&mut noise, 9),
            elements::<i8>(&mut noise, 54),
        );
        let rounding = Rounding::Stochastic(Words::new(3, 1, 2));
        let epilogue = Epilogue {
            activation: Activation::Identity,
            exponent: 0,
            store: Store::Shift { shift: 7, rounding },
        };
        let bias = Bias {
            values: &bias,
            shift: 2,
        };
        let (mut got, mut want) = (vec![0i16; 54], vec![0i16; 54]);
        let range = dense::forward(
            &Serial,
            shape,
            &x,
            &weight,
            bias,
            epilogue,
            &mut want,
            &mut [],
        )
        .unwrap();
        let packed_range = packed::dense::forward(
            &Serial,
            shape,
            &x,
            packed.weights(),
            bias,
            epilogue,
            &mut got,
        )
        .unwrap();
        assert_eq!((got, packed_range), (want, range), "{format:?}");
        let (mut got, mut want) = (vec![0i8; x.len()], vec![0i8; x.len()]);
        let range =
            dense::backward_input(&Serial, shape, &dy, &weight, epilogue.store, &mut want).unwrap();
        let packed_range = packed::dense::backward_input(
            &Serial,
            shape,
            &dy,
            packed.weights(),
            epilogue.store,
            &mut got,
        )
        .unwrap();
        assert_eq!((got, packed_range), (want, range), "{format:?}");
        // Offset binary: the same integers with the highest bit flipped.
        let flipped: Vec<u8> = x.iter().map(|&x| x as u8 ^ 0x80).collect();
        let (mut signed, mut unsigned) = (vec![0i8; 54], vec![0u8; 54]);
        packed::dense::forward(
            &Serial,
            shape,
            &x,
            packed.weights(),
            bias,
            epilogue,
            &mut signed,
        )
        .unwrap();
        packed::dense::forward(
            &Serial,
            shape,
            &flipped,
            packed.weights(),
            Bias {
                values: bias.values,
                shift: 2,
            },
            Epilogue {
                store: epilogue.store,
                ..Epilogue::EXACT
            },
            &mut unsigned,
        )
        .unwrap();
        let unsigned: Vec<i8> = unsigned.iter().map(|&y| (y ^ 0x80) as i8).collect();
        assert_eq!(signed, unsigned, "{format:?}");
    }
}

/// The input gradient is the derivative of the forward pass: linear, so that differences are exact but
/// for rounding.
#[test]
fn input_gradients_are_derivatives() {
    use selvedge_tests::tolerance::LINEAR_DIFFERENCE;
    let mut noise = Noise::new(8);
    for format in Format::ALL {
        let mut shape = random_shape(&mut noise);
        shape.batch = 2;
        // Weights up to 1, as the tolerance supposes.
        let scale = f16::from_f64(1.0 / f64::from(format.largest()));
        let packed = Packed::new(
            &mut noise,
            format,
            shape.filters,
            filter_len(&shape),
            |_| scale,
        );
        let [x_len, y_len] = lens(&shape);
        let (x, dy) = (noise.vector(x_len, 1.0), noise.vector(y_len, 1.0));
        let bias = vec![0.0; shape.filters];
        let loss = |x: &[f64]| -> f64 {
            let bias = Bias {
                values: &bias,
                shift: 0,
            };
            let mut y = vec![0.0; y_len];
            packed::conv::forward(
                &Serial,
                shape,
                x,
                packed.weights(),
                bias,
                Epilogue::EXACT,
                &mut y,
            )
            .unwrap();
            y.iter().zip(&dy).map(|(y, d)| y * d).sum()
        };
        let mut dx = vec![0.0; x_len];
        packed::conv::backward_input(&Serial, shape, &dy, packed.weights(), Store::EXACT, &mut dx)
            .unwrap();
        for i in 0..x_len.min(60) {
            let mut at = x.clone();
            at[i] = x[i] + 1e-4;
            let above = loss(&at);
            at[i] = x[i] - 1e-4;
            let difference = (above - loss(&at)) / 2e-4;
            let tolerance = LINEAR_DIFFERENCE * (y_len as f64).max(1.0);
            assert!(
                (difference - dx[i]).abs() < tolerance,
                "{format:?} {shape:?} {i}: {difference} {}",
                dx[i]
            );
        }
    }
}

#[test]
fn nan_reaches_floats_and_is_zero_in_integers() {
    let shape = dense::Shape {
        batch: 1,
        inputs: 2,
        outputs: 3,
    };
    let codes = [0x7F, 0x38, 0x38, 0x38, 0x38, 0x38]; // NaN, 1, …
    let weights = Weights::new(Format::Fp8E4M3, 3, 2, &codes, &[0i8]).unwrap();
    let bias = Bias {
        values: &[0.0f32; 3],
        shift: 0,
    };
    let mut out = [0.0f32; 3];
    packed::dense::forward(
        &Serial,
        shape,
        &[2.0, 3.0],
        weights,
        bias,
        Epilogue::EXACT,
        &mut out,
    )
    .unwrap();
    assert!(out[0].is_nan() && out[1..] == [5.0, 5.0]);
    let mut dx = [0.0f32; 2];
    packed::dense::backward_input(
        &Serial,
        shape,
        &[0.0, 1.0, 0.0],
        weights,
        Store::EXACT,
        &mut dx,
    )
    .unwrap();
    assert!(dx[0].is_nan() && dx[1] == 1.0, "zero times NaN is NaN");
    packed::dense::forward(
        &Serial,
        shape,
        &[f32::NAN, 3.0],
        weights,
        bias,
        Epilogue::EXACT,
        &mut out,
    )
    .unwrap();
    assert!(out.iter().all(|y| y.is_nan()));
    let bias = Bias::<i16> {
        values: &[0; 3],
        shift: 0,
    };
    let shift = -weights.unit::<i16>(2).unwrap();
    let epilogue = Epilogue {
        activation: Activation::Identity,
        exponent: 0,
        store: Store::Shift {
            shift,
            rounding: NEAREST,
        },
    };
    let mut out = [0i16; 3];
    packed::dense::forward(
        &Serial,
        shape,
        &[2i16, 3],
        weights,
        bias,
        epilogue,
        &mut out,
    )
    .unwrap();
    assert_eq!(out, [3, 5, 5]);
}

#[test]
fn refusals_say_what_and_write_nothing() {
    let length = |arg, expected, got| Err(Error::Length { arg, expected, got });
    let codes = [0x21u8; 9];
    let weights = Weights::new(Format::Int4, 3, 5, &codes, &[0i8]).unwrap();
    let shape = dense::Shape {
        batch: 2,
        inputs: 5,
        outputs: 3,
    };
    let mut out = [7i8; 6];
    let bias = |n: usize| Bias::<i8> {
        values: &[0; 4][..n],
        shift: 0,
    };
    let x = [1i8; 11];
    let e = Epilogue::EXACT;
    let mut forward = |shape, x: &[i8], weights, bias, n: usize| {
        packed::dense::forward(&Serial, shape, x, weights, bias, e, &mut out[..n])
    };
    assert_eq!(
        forward(shape, &x[..9], weights, bias(3), 6),
        length(Arg::X, 10, 9)
    );
    assert_eq!(
        forward(shape, &x[..10], weights, bias(4), 6),
        length(Arg::Bias, 3, 4)
    );
    assert_eq!(
        forward(shape, &x[..10], weights, bias(3), 5),
        length(Arg::Out, 6, 5)
    );
    let wrong = dense::Shape {
        outputs: 2,
        ..shape
    };
    assert_eq!(
        forward(wrong, &x[..10], weights, bias(2), 4),
        length(Arg::Weight, 2, 3)
    );
    let wrong = dense::Shape { inputs: 4, ..shape };
    assert_eq!(
        forward(wrong, &x[..8], weights, bias(3), 6),
        length(Arg::Weight, 4, 5)
    );
    let empty = dense::Shape { batch: 0, ..shape };
    assert_eq!(
        forward(empty, &[], weights, bias(3), 0),
        Err(Error::Zero { arg: Arg::Shape })
    );
    // 7 + 3 bits of a product and 127 of the blocks' distance: beyond 64 for any sum.
    let codes = [0x21; 9];
    let far = [0, 127, 0];
    let apart = Weights::new(Format::Int4, 3, 5, &codes, &far).unwrap();
    assert_eq!(
        apart.unit::<i8>(5),
        Err(Error::Accumulator { terms: 5, limit: 0 })
    );
    assert_eq!(
        forward(shape, &x[..10], apart, bias(3), 6),
        Err(Error::Accumulator { terms: 5, limit: 0 })
    );
    assert_eq!(weights.unit::<i8>(1 << 30), Ok(10), "40 bits keep 30");
    assert_eq!(weights.unit::<i16>(1 << 30), Ok(0), "48 bits fit");
    let mut dx = [7i8; 10];
    let mut backward = |dy: &[i8], n: usize| {
        packed::dense::backward_input(&Serial, shape, dy, weights, e.store, &mut dx[..n])
    };
    assert_eq!(backward(&x[..5], 10), length(Arg::Dy, 6, 5));
    assert_eq!(backward(&x[..6], 9), length(Arg::Dx, 10, 9));
    assert!(out == [7; 6] && dx == [7; 10]);

    let shape = conv::Shape {
        batch: 1,
        input: [3, 3],
        channels: 5,
        filters: 3,
        groups: 1,
        window: Window::uniform(1, 1, 0),
    };
    let (x, mut out) = ([1i8; 45], [7i8; 27]);
    let mut forward = |shape, x: &[i8], n: usize| {
        packed::conv::forward(&Serial, shape, x, weights, bias(3), e, &mut out[..n])
    };
    assert_eq!(forward(shape, &x[..44], 27), length(Arg::X, 45, 44));
    assert_eq!(forward(shape, &x, 26), length(Arg::Out, 27, 26));
    let wide = conv::Shape {
        window: Window::uniform(4, 1, 0),
        ..shape
    };
    assert_eq!(
        forward(wide, &x, 27),
        Err(Error::Window {
            axis: 0,
            span: 4,
            input: 3
        })
    );
    let wrong = conv::Shape {
        window: Window::uniform(2, 1, 0),
        ..shape
    };
    assert_eq!(forward(wrong, &x, 12), length(Arg::Weight, 20, 5));
    let groups = conv::Shape { groups: 2, ..shape };
    assert_eq!(
        forward(groups, &x, 27),
        Err(Error::Groups {
            channels: 5,
            filters: 3,
            groups: 2
        })
    );
    let mut dx = [7i8; 45];
    let mut backward = |dy: &[i8], n: usize| {
        packed::conv::backward_input(&Serial, shape, dy, weights, e.store, &mut dx[..n])
    };
    assert_eq!(backward(&x[..26], 45), length(Arg::Dy, 27, 26));
    assert_eq!(backward(&x[..27], 44), length(Arg::Dx, 45, 44));
    assert!(out == [7; 27] && dx == [7; 45]);
}
