//! Affine layers: the arithmetic and whole layers against a model in exact integers of TensorFlow Lite's
//! formulas, and layers of MLPerf Tiny models against its kernels themselves, in both roundings.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::affine::{self, Activation, Fused, Multiplier, Quantization, Rounding};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Error, conv, dense};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::windows::{filter_len, lens, products, random_shape};
use serde::Deserialize;
use std::fmt::Debug;

#[derive(Deserialize)]
struct Golden {
    quantize_multiplier: Vec<(f64, i32, i32)>,
    double_single: Vec<(i32, i32, i32, i32, i32)>,
    wide: Vec<(i64, i32, i32, i32)>,
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    kind: String,
    dtype: String,
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    filters: usize,
    groups: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [[usize; 2]; 2],
    dilation: [usize; 2],
    x: Vec<i32>,
    weight: Vec<i32>,
    bias: Vec<i64>,
    zeros: [i32; 3],
    multipliers: Vec<(i32, i32)>,
    clamp: (i32, i32),
    double: Vec<i32>,
    single: Vec<i32>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/tflite/affine.json")).unwrap()
}

#[test]
fn multipliers_are_those_of_tensorflow_lite() {
    for (real, mantissa, shift) in golden().quantize_multiplier {
        assert_eq!(
            Multiplier::from_f64(real),
            Multiplier { mantissa, shift },
            "{real:e}"
        );
    }
    for real in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(Multiplier::from_f64(real), Multiplier::default());
    }
}

#[test]
fn both_roundings_are_those_of_tensorflow_lite() {
    let golden = golden();
    let mut differ = 0;
    for (x, mantissa, shift, double, single) in golden.double_single {
        let multiplier = Multiplier { mantissa, shift };
        assert_eq!(
            multiplier.apply(x, Rounding::Double),
            double,
            "{x} {multiplier:?}"
        );
        assert_eq!(
            multiplier.apply(x, Rounding::Single),
            single,
            "{x} {multiplier:?}"
        );
        differ += usize::from(double != single);
    }
    assert!(
        differ >= 100,
        "only {differ} cases tell the roundings apart"
    );
    for (x, mantissa, shift, y) in golden.wide {
        assert_eq!(
            Multiplier { mantissa, shift }.apply_wide(x),
            y,
            "{x} {mantissa} {shift}"
        );
    }
}

/// Beyond what the C code defines, results saturate.
#[test]
fn overflow_saturates() {
    let most = Multiplier {
        mantissa: i32::MAX,
        shift: 30,
    };
    for rounding in [Rounding::Double, Rounding::Single] {
        assert!(most.apply(i32::MAX, rounding) >= i32::MAX - 1);
        assert!(most.apply(i32::MIN, rounding) <= i32::MIN + 1);
    }
    let most = Multiplier {
        mantissa: i32::MAX,
        shift: 7,
    };
    assert_eq!(most.apply_wide(i64::MAX), i32::MAX);
    assert_eq!(most.apply_wide(i64::MIN), i32::MIN);
    // Any bits at all: no panic in a debug build.
    for shift in [i32::MIN, -64, -32, 31, 63, i32::MAX - 40] {
        for mantissa in [i32::MIN, -1, 0, i32::MAX] {
            let multiplier = Multiplier { mantissa, shift };
            let _ = multiplier.apply(-5, Rounding::Single);
            let _ = multiplier.apply(-5, Rounding::Double);
            let _ = multiplier.apply_wide(-5);
        }
    }
}

#[test]
fn fused_activations_are_clamps() {
    for (fused, want) in [
        (Fused::Identity, (-128, 127)),
        (Fused::Relu, (-10, 127)),
        (Fused::Relu6, (-10, 50)),
        (Fused::ReluN1To1, (-20, 0)),
    ] {
        assert_eq!(fused.clamp(0.1, -10, -128, 127), want, "{fused:?}");
    }
    assert_eq!(Fused::Relu6.clamp(0.01, -128, -128, 127), (-128, 127));
}

fn replay<T>(layer: &Layer, bias: Vec<T::AffineBias>)
where
    T: Activation + TryFrom<i32, Error: Debug> + Into<i32>,
    T::Weights: TryFrom<i32, Error: Debug>,
{
    let Layer {
        batch,
        height,
        width,
        channels,
        filters,
        groups,
        ..
    } = *layer;
    let window = Window {
        kernel: layer.kernel,
        stride: layer.stride,
        padding: layer.padding,
        dilation: layer.dilation,
    };
    let shape = conv::Shape {
        batch,
        input: [height, width],
        channels,
        filters,
        groups,
        window,
    };
    let x: Vec<T> = layer.x.iter().map(|&x| T::try_from(x).unwrap()).collect();
    let weight: Vec<T::Weights> = layer
        .weight
        .iter()
        .map(|&w| T::Weights::try_from(w).unwrap())
        .collect();
    let multipliers: Vec<Multiplier> = layer
        .multipliers
        .iter()
        .map(|&(mantissa, shift)| Multiplier { mantissa, shift })
        .collect();
    for (rounding, want) in [
        (Rounding::Double, &layer.double),
        (Rounding::Single, &layer.single),
    ] {
        let quantization = Quantization {
            input_zero: layer.zeros[0],
            weight_zero: layer.zeros[1],
            output_zero: layer.zeros[2],
            multipliers: &multipliers,
            rounding,
            clamp: layer.clamp,
        };
        let name = format!("{} {} {shape:?} {rounding:?}", layer.dtype, layer.kind);
        let mut out = vec![T::ZERO; want.len()];
        affine::conv_forward(
            &Threads(3),
            shape,
            &x,
            &weight,
            Some(&bias),
            &quantization,
            &mut out,
        )
        .unwrap();
        let got: Vec<i32> = out.iter().map(|&y| y.into()).collect();
        assert_eq!(&got, want, "{name}");
        if layer.kind == "dense" {
            let shape = dense::Shape {
                batch,
                inputs: channels,
                outputs: filters,
            };
            let mut out = vec![T::ZERO; want.len()];
            affine::dense_forward(
                &Threads(2),
                shape,
                &x,
                &weight,
                Some(&bias),
                &quantization,
                &mut out,
            )
            .unwrap();
            let got: Vec<i32> = out.iter().map(|&y| y.into()).collect();
            assert_eq!(&got, want, "{name}");
        }
    }
}

#[test]
fn layers_are_those_of_the_exact_model() {
    let golden = golden();
    let (mut differ, mut per_channel) = (0, 0);
    for layer in &golden.layers {
        let narrow = || {
            layer
                .bias
                .iter()
                .map(|&b| i32::try_from(b).unwrap())
                .collect()
        };
        match layer.dtype.as_str() {
            "i8" => replay::<i8>(layer, narrow()),
            "u8" => replay::<u8>(layer, narrow()),
            "i16" => replay::<i16>(layer, layer.bias.clone()),
            other => panic!("{other}"),
        }
        differ += usize::from(layer.double != layer.single);
        per_channel += usize::from(layer.multipliers.len() > 1);
    }
    assert!(
        differ >= 18,
        "only {differ} layers tell the roundings apart"
    );
    assert!(
        per_channel > 10,
        "only {per_channel} layers have multipliers per channel"
    );
}

/// Random convolutions, and some whose rows, channels and filters fill vectors.
fn shapes<const N: usize>(noise: &mut Noise) -> Vec<conv::Shape<N>> {
    let mut shapes: Vec<_> = (0..40).map(|_| random_shape(noise)).collect();
    for (channels, filters, groups) in [(16, 20, 1), (70, 70, 70), (8, 36, 2)] {
        for window in [Window::uniform(1, 1, 0), Window::uniform(3, 1, 1)] {
            // Of either case: weights with a zero point and without.
            shapes.extend(
                [conv::Shape {
                    batch: 2,
                    input: [7; N],
                    channels,
                    filters,
                    groups,
                    window,
                }; 2],
            );
        }
    }
    shapes
}

/// Convolutions over `N` axes against their definition; [`Multiplier`] is held against TensorFlow Lite above.
fn convolutions<T, const N: usize>(apply: impl Fn(i64, Multiplier) -> i32)
where
    T: Activation + TryFrom<i32, Error: Debug> + Into<i32>,
    T::Weights: TryFrom<i32, Error: Debug> + Into<i32>,
    T::AffineBias: TryFrom<i32, Error: Debug>,
{
    let mut noise = Noise::new(51);
    for (case, shape) in shapes::<N>(&mut noise).into_iter().enumerate() {
        let [x_len, y_len] = lens(&shape);
        let mut integers = |n: usize, low: i32, high: i32| -> Vec<i32> {
            (0..n)
                .map(|_| low + noise.below((high - low) as usize + 1) as i32)
                .collect()
        };
        let x = integers(x_len, T::LOWEST, T::HIGHEST);
        let weight = integers(
            shape.filters * filter_len(&shape),
            T::LOWEST_WEIGHT,
            T::HIGHEST_WEIGHT,
        );
        let bias = integers(shape.filters, -9000, 9000);
        let multipliers: Vec<Multiplier> = integers(shape.filters, 1, 1000)
            .iter()
            .map(|&m| Multiplier::from_f64(f64::from(m) * 1e-6))
            .collect();
        let quantization = Quantization {
            input_zero: T::LOWEST + 9,
            weight_zero: if case % 2 == 0 {
                0
            } else {
                T::HIGHEST_WEIGHT - 3
            },
            output_zero: T::LOWEST + 100,
            ..Quantization::new::<T>(&multipliers)
        };
        let mut acc: Vec<i64> = (0..y_len).map(|i| bias[i % shape.filters].into()).collect();
        products(&shape, |o, i, k| {
            let x = i64::from(x[i] - quantization.input_zero);
            acc[o] += x * i64::from(weight[k] - quantization.weight_zero);
        });
        let want: Vec<i32> = acc
            .iter()
            .enumerate()
            .map(|(i, &acc)| {
                let y = apply(acc, multipliers[i % shape.filters]) + quantization.output_zero;
                y.clamp(T::LOWEST, T::HIGHEST)
            })
            .collect();
        let x: Vec<T> = x.iter().map(|&x| T::try_from(x).unwrap()).collect();
        let weight: Vec<T::Weights> = (weight.iter())
            .map(|&w| T::Weights::try_from(w).unwrap())
            .collect();
        let bias: Vec<T::AffineBias> = (bias.iter())
            .map(|&b| T::AffineBias::try_from(b).unwrap())
            .collect();
        let mut out = vec![T::ZERO; y_len];
        affine::conv_forward(
            &Threads(3),
            shape,
            &x,
            &weight,
            Some(&bias),
            &quantization,
            &mut out,
        )
        .unwrap();
        let got: Vec<i32> = out.iter().map(|&y| y.into()).collect();
        assert_eq!(got, want, "{} {shape:?}", T::DTYPE);
    }
}

/// The same for a type with 32-bit accumulators, and for that with 64.
fn over_axes<const N: usize>() {
    let narrow = |acc: i64, multiplier: Multiplier| {
        multiplier.apply(i32::try_from(acc).unwrap(), Rounding::Double)
    };
    convolutions::<i8, N>(narrow);
    convolutions::<u8, N>(narrow);
    convolutions::<i16, N>(|acc, multiplier| multiplier.apply_wide(acc));
}

#[test]
fn convolutions_over_one_to_three_axes() {
    over_axes::<1>();
    over_axes::<2>();
    over_axes::<3>();
}

/// A sum that 32 bits do not hold, whether for its bias or for its products, saturates.
#[test]
fn sums_beyond_32_bits_saturate() {
    let shape = dense::Shape {
        batch: 2,
        inputs: 1 << 15,
        outputs: 9,
    };
    let x = vec![127i8; shape.batch * shape.inputs];
    let weight = vec![-128i8; shape.outputs * shape.inputs];
    let sum = i64::from(127 + 128) * -128 * (1 << 15);
    let biases = [0, 1 << 30, -(1 << 30), -(1 << 30) - 1, i32::MIN];
    // All small enough for tiles, then some that are not.
    for biases in [&biases[..3], &biases[..]] {
        let bias: Vec<i32> = (0..9).map(|o| biases[o % biases.len()]).collect();
        let multipliers = [Multiplier {
            mantissa: 1 << 30,
            shift: -23,
        }];
        let quantization = Quantization {
            input_zero: -128,
            output_zero: 100,
            ..Quantization::new::<i8>(&multipliers)
        };
        let mut out = [0; 18];
        affine::dense_forward(
            &Serial,
            shape,
            &x,
            &weight,
            Some(&bias),
            &quantization,
            &mut out,
        )
        .unwrap();
        for (o, &y) in out.iter().enumerate() {
            let acc = (sum + i64::from(bias[o % 9])).clamp(i32::MIN.into(), i32::MAX.into());
            let want = multipliers[0].apply(acc as i32, Rounding::Double) + 100;
            assert_eq!(i32::from(y), want.clamp(-128, 127), "{o} of {biases:?}");
        }
    }
}

#[derive(Deserialize)]
struct Real {
    layers: Vec<RealLayer>,
}

#[derive(Deserialize)]
struct RealLayer {
    name: String,
    in_shape: Vec<usize>,
    out_shape: Vec<usize>,
    weight_shape: [usize; 4],
    weight: String,
    bias: Vec<i32>,
    zeros: [i32; 2],
    scales: (f32, Vec<f32>, f32),
    micro: [String; 2],
    litert: [String; 2],
}

fn base64(text: &str) -> Vec<i8> {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut out) = (0u32, 0, Vec::new());
    for digit in text.bytes().filter(|&b| b != b'=') {
        bits = bits << 6 | alphabet.bytes().position(|b| b == digit).unwrap() as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8 as i8);
        }
    }
    out
}

/// Padding "same" along an axis: before and after.
fn same(input: usize, output: usize, kernel: usize, stride: usize) -> [usize; 2] {
    let total = ((output - 1) * stride + kernel).saturating_sub(input);
    [total / 2, total - total / 2]
}

#[test]
fn layers_of_mlperf_tiny_are_those_of_tensorflow_lite() {
    let golden: Real = serde_json::from_str(include_str!("../golden/tflite/mlperf.json")).unwrap();
    assert_eq!(golden.layers.len(), 5);
    for layer in golden.layers {
        let [filters, rows, columns, per_group] = layer.weight_shape;
        let is_dense = layer.in_shape.len() == 2;
        let (input_scale, ref weight_scales, output_scale) = layer.scales;
        let multipliers: Vec<Multiplier> = weight_scales
            .iter()
            .map(|&scale| {
                // FULLY_CONNECTED multiplies its scales in 32 bits, convolutions in 64.
                let product = if is_dense {
                    f64::from(input_scale * scale)
                } else {
                    f64::from(input_scale) * f64::from(scale)
                };
                Multiplier::from_f64(product / f64::from(output_scale))
            })
            .collect();
        // LiteRT's reference kernels round once in FULLY_CONNECTED and twice in convolutions.
        let litert = if is_dense {
            Rounding::Single
        } else {
            Rounding::Double
        };
        let weight = base64(&layer.weight);
        for (rounding, [x, want]) in [(Rounding::Double, &layer.micro), (litert, &layer.litert)] {
            let quantization = Quantization {
                input_zero: layer.zeros[0],
                output_zero: layer.zeros[1],
                rounding,
                ..Quantization::new::<i8>(&multipliers)
            };
            let (x, want) = (base64(x), base64(want));
            let mut out = vec![0i8; want.len()];
            let bias = Some(layer.bias.as_slice());
            if is_dense {
                let shape = dense::Shape {
                    batch: 1,
                    inputs: per_group,
                    outputs: filters,
                };
                affine::dense_forward(&Serial, shape, &x, &weight, bias, &quantization, &mut out)
                    .unwrap();
            } else {
                let [_, height, width, channels] = layer.in_shape[..] else {
                    panic!()
                };
                let stride = height.div_ceil(layer.out_shape[1]);
                let window = Window {
                    kernel: [rows, columns],
                    stride: [stride; 2],
                    padding: [
                        same(height, layer.out_shape[1], rows, stride),
                        same(width, layer.out_shape[2], columns, stride),
                    ],
                    dilation: [1; 2],
                };
                let groups = channels / per_group;
                let shape = conv::Shape {
                    batch: 1,
                    input: [height, width],
                    channels,
                    filters,
                    groups,
                    window,
                };
                affine::conv_forward(
                    &Threads(2),
                    shape,
                    &x,
                    &weight,
                    bias,
                    &quantization,
                    &mut out,
                )
                .unwrap();
            }
            let wrong = out.iter().zip(&want).filter(|(a, b)| a != b).count();
            assert_eq!(wrong, 0, "{} {rounding:?}: of {}", layer.name, want.len());
        }
    }
}

#[test]
fn refusals_say_what_and_write_nothing() {
    let length = |arg, expected, got| Err(Error::Length { arg, expected, got });
    let shape = dense::Shape {
        batch: 2,
        inputs: 5,
        outputs: 3,
    };
    let good = Multiplier::from_f64(0.01);
    let multipliers = [good; 4];
    let q = Quantization::new::<i8>(&multipliers[..3]);
    let mut out = [7i8; 64];
    let mut forward = |shape, x: usize, w: usize, b: usize, q: &Quantization<'_>, y: usize| {
        affine::dense_forward(
            &Serial,
            shape,
            &[1i8; 64][..x],
            &[1i8; 64][..w],
            Some(&[0; 8][..b]),
            q,
            &mut out[..y],
        )
    };
    assert_eq!(forward(shape, 9, 15, 3, &q, 6), length(Arg::X, 10, 9));
    assert_eq!(
        forward(shape, 10, 14, 3, &q, 6),
        length(Arg::Weight, 15, 14)
    );
    assert_eq!(forward(shape, 10, 15, 2, &q, 6), length(Arg::Bias, 3, 2));
    assert_eq!(forward(shape, 10, 15, 3, &q, 7), length(Arg::Out, 6, 7));
    let empty = dense::Shape { inputs: 0, ..shape };
    assert_eq!(
        forward(empty, 0, 0, 3, &q, 6),
        Err(Error::Zero { arg: Arg::Shape })
    );
    let long = dense::Shape {
        batch: 1,
        inputs: (1 << 15) + 1,
        outputs: 1,
    };
    let refused = Error::Accumulator {
        terms: (1 << 15) + 1,
        limit: 1 << 15,
    };
    assert_eq!(forward(long, 10, 15, 1, &q, 1), Err(refused));
    let short = Quantization {
        multipliers: &multipliers[..2],
        ..q
    };
    assert_eq!(
        forward(shape, 10, 15, 3, &short, 6),
        length(Arg::Scale, 3, 2)
    );
    for bad in [
        Multiplier {
            mantissa: -1,
            shift: 0,
        },
        Multiplier { shift: 31, ..good },
        Multiplier { shift: -32, ..good },
    ] {
        let multipliers = [good, bad, good];
        let bad = Quantization {
            multipliers: &multipliers,
            ..q
        };
        assert_eq!(
            forward(shape, 10, 15, 3, &bad, 6),
            Err(Error::Multiplier { channel: 1 })
        );
    }
    for (bad, arg) in [
        (
            Quantization {
                input_zero: 128,
                ..q
            },
            Arg::X,
        ),
        (
            Quantization {
                weight_zero: 128,
                ..q
            },
            Arg::Weight,
        ),
        (
            Quantization {
                output_zero: 128,
                ..q
            },
            Arg::Out,
        ),
    ] {
        assert_eq!(
            forward(shape, 10, 15, 3, &bad, 6),
            Err(Error::ZeroPoint { arg, zero: 128 })
        );
    }
    let bad = Error::ZeroPoint {
        arg: Arg::X,
        zero: 128,
    };
    assert_eq!(
        bad.to_string(),
        "x: zero point 128 is out of the type's range"
    );
    let shape = conv::Shape {
        batch: 1,
        input: [3, 3],
        channels: 2,
        filters: 4,
        groups: 2,
        window: Window::uniform(2, 1, 0),
    };
    let q = Quantization::new::<i8>(&multipliers);
    let mut forward = |shape, x: usize, w: usize, b: usize, q: &Quantization<'_>, y: usize| {
        affine::conv_forward(
            &Serial,
            shape,
            &[1i8; 64][..x],
            &[1i8; 64][..w],
            Some(&[0; 8][..b]),
            q,
            &mut out[..y],
        )
    };
    assert_eq!(forward(shape, 17, 16, 4, &q, 16), length(Arg::X, 18, 17));
    assert_eq!(
        forward(shape, 18, 15, 4, &q, 16),
        length(Arg::Weight, 16, 15)
    );
    assert_eq!(forward(shape, 18, 16, 5, &q, 16), length(Arg::Bias, 4, 5));
    assert_eq!(forward(shape, 18, 16, 4, &q, 15), length(Arg::Out, 16, 15));
    let short = Quantization {
        multipliers: &multipliers[..2],
        ..q
    };
    assert_eq!(
        forward(shape, 18, 16, 4, &short, 16),
        length(Arg::Scale, 4, 2)
    );
    let wide = conv::Shape {
        window: Window::uniform(4, 1, 0),
        ..shape
    };
    assert_eq!(
        forward(wide, 18, 16, 4, &q, 16),
        Err(Error::Window {
            axis: 0,
            span: 4,
            input: 3
        })
    );
    let groups = conv::Shape { groups: 3, ..shape };
    assert_eq!(
        forward(groups, 18, 16, 4, &q, 16),
        Err(Error::Groups {
            channels: 2,
            filters: 4,
            groups: 3
        })
    );
    assert_eq!(out, [7; 64]);
}
