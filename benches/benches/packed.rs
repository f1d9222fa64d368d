//! Layers whose weights lie in other forms: packed, mixed, affine. Throughput counts
//! multiply-accumulates, or weights.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::noise;
use selvedge_kernels::affine::{self, Multiplier, Quantization};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::mixed;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::packed::dense::{Input, Output};
use selvedge_kernels::packed::{self, BLOCK, Format, Weights};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, bf16, conv, f16};
use std::hint::black_box;

const STORE: Store = Store::Shift {
    shift: 8,
    rounding: Rounding::NearestEven,
};

fn epilogue<T: Element>() -> Epilogue<T> {
    Epilogue {
        store: STORE,
        ..Epilogue::EXACT
    }
}

fn dense_shape() -> dense::Shape {
    dense::Shape {
        batch: 8,
        inputs: 256,
        outputs: 128,
    }
}

fn conv_shape(groups: usize) -> conv::Shape {
    conv::Shape {
        batch: 4,
        input: [16, 16],
        channels: 16,
        filters: if groups == 1 { 32 } else { groups },
        groups,
        window: Window::uniform(3, 1, 1),
    }
}

const DENSE_MACS: usize = 8 * 256 * 128;
const CONV_MACS: usize = 4 * 16 * 16 * 32 * 9 * 16;
const DEPTHWISE_MACS: usize = 4 * 16 * 16 * 16 * 9;

/// Benchmarks `work` as `kernel/type`.
fn measure<T: Element>(c: &mut Criterion, kernel: &str, per_call: usize, mut work: impl FnMut()) {
    let mut group = c.benchmark_group(kernel);
    group.throughput(Throughput::Elements(per_call as u64));
    group.bench_function(T::DTYPE.name(), |b| b.iter(&mut work));
    group.finish();
}

/// `rows` rows of `len` random weights in a format.
fn pack(format: Format, rows: usize, len: usize) -> (Vec<u8>, Vec<i8>) {
    let weights = noise::<f32>(rows * len, 2);
    let row_bytes = format.row_bytes(len);
    let blocks = len.div_ceil(BLOCK);
    let (mut codes, mut scales) = (vec![0; rows * row_bytes], vec![0; rows * blocks]);
    for (r, row) in weights.chunks(len).enumerate() {
        packed::encode_row(
            format,
            row,
            &mut codes[r * row_bytes..][..row_bytes],
            &mut scales[r * blocks..][..blocks],
        )
        .unwrap();
    }
    (codes, scales)
}

fn codecs(c: &mut Criterion) {
    for format in Format::ALL {
        let row = noise::<f32>(4096, 1);
        let (mut codes, mut scales) = (vec![0; format.row_bytes(4096)], vec![0i8; 128]);
        let name = format.name();
        measure::<f32>(c, &format!("{name} encode row 4096"), 4096, || {
            packed::encode_row(format, black_box(&row), &mut codes, &mut scales).unwrap();
        });
        let weights = Weights::new(format, 1, 4096, &codes, &scales).unwrap();
        let mut out = vec![0.0; 4096];
        measure::<f32>(c, &format!("{name} decode row 4096"), 4096, || {
            black_box(&weights).decode(0, 0, &mut out);
        });
        measure::<f32>(c, &format!("{name} nearest scale 4096"), 4096, || {
            black_box(packed::nearest_scale::<i8>(format, black_box(&row)));
        });
        let scale = packed::nearest_scale::<i8>(format, &row);
        measure::<f32>(
            c,
            &format!("{name} encode row 4096, one scale"),
            4096,
            || {
                packed::encode_row_with(format, black_box(&row), scale, &mut codes).unwrap();
            },
        );
    }
}

fn packed_layers<T: Input<i8> + Output<T, i8>>(c: &mut Criterion) {
    for format in Format::ALL {
        let kernel = |name: &str| format!("{} {name}", format.name());
        let shape = dense_shape();
        let (codes, scales) = pack(format, 128, 256);
        let weights = Weights::new(format, 128, 256, &codes, &scales).unwrap();
        let (x, dy) = (noise::<T>(8 * 256, 1), noise::<T>(8 * 128, 4));
        let values = noise::<T::Bias>(128, 3);
        let bias = Bias {
            values: &values,
            shift: 0,
        };
        let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
        measure::<T>(c, &kernel("dense forward 8x256x128"), DENSE_MACS, || {
            let x = black_box(&x);
            packed::dense::forward(
                &Serial,
                shape,
                x,
                weights,
                bias,
                epilogue(),
                &mut y,
                &mut [],
            )
            .unwrap();
        });
        measure::<T>(
            c,
            &kernel("dense input gradient 8x256x128"),
            DENSE_MACS,
            || {
                let dy = black_box(&dy);
                packed::dense::backward_input(&Serial, shape, dy, weights, STORE, &mut dx).unwrap();
            },
        );
        let shape = conv_shape(1);
        let (codes, scales) = pack(format, 32, 144);
        let weights = Weights::new(format, 32, 144, &codes, &scales).unwrap();
        let (x, dy) = (
            noise::<T>(4 * 16 * 16 * 16, 1),
            noise::<T>(4 * 16 * 16 * 32, 4),
        );
        let bias = Bias {
            values: &values[..32],
            shift: 0,
        };
        let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
        measure::<T>(
            c,
            &kernel("conv2d forward 4x16x16x16 3x3 32"),
            CONV_MACS,
            || {
                let x = black_box(&x);
                packed::conv::forward(
                    &Serial,
                    shape,
                    x,
                    weights,
                    bias,
                    epilogue(),
                    &mut y,
                    &mut [],
                )
                .unwrap();
            },
        );
        measure::<T>(
            c,
            &kernel("conv2d input gradient 4x16x16x16 3x3 32"),
            CONV_MACS,
            || {
                let dy = black_box(&dy);
                packed::conv::backward_input(&Serial, shape, dy, weights, STORE, &mut dx).unwrap();
            },
        );
    }
}

fn mixed_layers<A, W>(c: &mut Criterion)
where
    A: mixed::Activation<W>,
    W: Element,
    i64: Into<W::Update>,
{
    let shape = dense_shape();
    let (x, dy) = (noise::<A>(8 * 256, 1), noise::<A>(8 * 128, 4));
    let weight = noise::<W>(128 * 256, 2);
    let values = noise::<A::Bias>(128, 3);
    let bias = Bias {
        values: &values,
        shift: 0,
    };
    let (mut y, mut dx) = (vec![A::ZERO; dy.len()], vec![A::ZERO; x.len()]);
    let mut dw = vec![0i64; weight.len()];
    measure::<A>(c, "mixed dense forward 8x256x128", DENSE_MACS, || {
        mixed::dense_forward(
            &Serial,
            shape,
            black_box(&x),
            &weight,
            bias,
            epilogue(),
            &mut y,
            &mut [],
        )
        .unwrap();
    });
    measure::<A>(
        c,
        "mixed dense input gradient 8x256x128",
        DENSE_MACS,
        || {
            mixed::dense_backward_input(&Serial, shape, black_box(&dy), &weight, STORE, &mut dx)
                .unwrap();
        },
    );
    measure::<A>(
        c,
        "mixed dense weight gradient 8x256x128",
        DENSE_MACS,
        || {
            let mut gradient = Gradient::<W, i64>::Store(&mut dw);
            mixed::dense_backward_weight(shape, black_box(&x), &dy, &mut gradient).unwrap();
        },
    );
    let shape = conv_shape(1);
    let (x, dy) = (
        noise::<A>(4 * 16 * 16 * 16, 1),
        noise::<A>(4 * 16 * 16 * 32, 4),
    );
    let weight = noise::<W>(32 * 144, 2);
    let bias = Bias {
        values: &values[..32],
        shift: 0,
    };
    let (mut y, mut dx) = (vec![A::ZERO; dy.len()], vec![A::ZERO; x.len()]);
    let mut dw = vec![0i64; weight.len()];
    let kernel = |verb: &str| format!("mixed conv2d {verb} 4x16x16x16 3x3 32");
    measure::<A>(c, &kernel("forward"), CONV_MACS, || {
        mixed::conv_forward(
            &Serial,
            shape,
            black_box(&x),
            &weight,
            bias,
            epilogue(),
            &mut y,
            &mut [],
        )
        .unwrap();
    });
    measure::<A>(c, &kernel("input gradient"), CONV_MACS, || {
        mixed::conv_backward_input(&Serial, shape, black_box(&dy), &weight, STORE, &mut dx)
            .unwrap();
    });
    measure::<A>(c, &kernel("weight gradient"), CONV_MACS, || {
        let mut gradient = Gradient::<W, i64>::Store(&mut dw);
        mixed::conv_backward_weight(shape, black_box(&x), &dy, &mut gradient).unwrap();
    });
}

/// Groups, name and multiply-accumulates.
const AFFINE_CONVOLUTIONS: [(usize, &str, usize); 2] = [
    (1, "affine conv2d forward 4x16x16x16 3x3 32", CONV_MACS),
    (
        16,
        "affine depthwise forward 4x16x16x16 3x3",
        DEPTHWISE_MACS,
    ),
];

/// The same layers with shared exponents, beside the affine ones.
fn shared_layers(c: &mut Criterion) {
    let name = |kernel: &str| kernel.replace("affine", "shared exponents:");
    let shape = dense_shape();
    let (x, weight) = (noise::<i8>(8 * 256, 1), noise::<i8>(128 * 256, 2));
    let values = noise::<i16>(128, 3);
    let bias = Bias {
        values: &values,
        shift: 0,
    };
    let mut y = vec![0i8; 8 * 128];
    let kernel = "affine dense forward 8x256x128";
    measure::<i8>(c, &name(kernel), DENSE_MACS, || {
        let (x, epilogue) = (black_box(&x), epilogue());
        dense::forward(&Serial, shape, x, &weight, bias, epilogue, &mut y, &mut []).unwrap();
    });
    for (groups, kernel, macs) in AFFINE_CONVOLUTIONS {
        let shape = conv_shape(groups);
        let x = noise::<i8>(4 * 16 * 16 * 16, 1);
        let weight = noise::<i8>(shape.filters * 9 * 16 / groups, 2);
        let bias = Bias {
            values: &values[..shape.filters],
            shift: 0,
        };
        let mut y = vec![0i8; 4 * 16 * 16 * shape.filters];
        measure::<i8>(c, &name(kernel), macs, || {
            let (x, epilogue) = (black_box(&x), epilogue());
            conv::forward(&Serial, shape, x, &weight, bias, epilogue, &mut y, &mut []).unwrap();
        });
    }
}

fn affine_layers<T: affine::Activation>(c: &mut Criterion)
where
    T::AffineBias: Default,
{
    let multipliers = vec![Multiplier::from_f64(0.001); 128];
    let bias = [T::AffineBias::default(); 128];
    let roundings = [
        ("", affine::Rounding::Double),
        (", one rounding", affine::Rounding::Single),
    ];
    let shape = dense_shape();
    let (x, weight) = (noise::<T>(8 * 256, 1), noise::<T::Weights>(128 * 256, 2));
    let mut y = vec![T::ZERO; 8 * 128];
    // i16 has one rounding, whatever is asked for.
    let is_narrow = T::DTYPE.bytes() == 1;
    for (name, rounding) in roundings.into_iter().take(1 + usize::from(is_narrow)) {
        let quantization = Quantization {
            rounding,
            input_zero: 5,
            ..Quantization::new::<T>(&multipliers)
        };
        let kernel = format!("affine dense forward 8x256x128{name}");
        measure::<T>(c, &kernel, DENSE_MACS, || {
            let (x, bias) = (black_box(&x), Some(&bias[..]));
            affine::dense_forward(&Serial, shape, x, &weight, bias, &quantization, &mut y).unwrap();
        });
        for (groups, kernel, macs) in AFFINE_CONVOLUTIONS {
            let shape = conv_shape(groups);
            let filter = 9 * 16 / groups;
            let x = noise::<T>(4 * 16 * 16 * 16, 1);
            let weight = noise::<T::Weights>(shape.filters * filter, 2);
            let quantization = Quantization {
                multipliers: &multipliers[..shape.filters],
                ..quantization
            };
            let bias = Some(&bias[..shape.filters]);
            let mut y = vec![T::ZERO; 4 * 16 * 16 * shape.filters];
            measure::<T>(c, &format!("{kernel}{name}"), macs, || {
                let x = black_box(&x);
                affine::conv_forward(&Serial, shape, x, &weight, bias, &quantization, &mut y)
                    .unwrap();
            });
        }
    }
}

fn packed_types(c: &mut Criterion) {
    packed_layers::<i8>(c);
    packed_layers::<u8>(c);
    packed_layers::<i16>(c);
    packed_layers::<u16>(c);
    packed_layers::<i32>(c);
    packed_layers::<u32>(c);
    packed_layers::<i64>(c);
    packed_layers::<u64>(c);
    packed_layers::<f16>(c);
    packed_layers::<bf16>(c);
    packed_layers::<f32>(c);
    packed_layers::<f64>(c);
}

fn mixed_types(c: &mut Criterion) {
    mixed_layers::<i16, i8>(c);
    mixed_layers::<u16, u8>(c);
}

fn affine_types(c: &mut Criterion) {
    shared_layers(c);
    affine_layers::<i8>(c);
    affine_layers::<u8>(c);
    affine_layers::<i16>(c);
}

criterion_group!(benches, codecs, packed_types, mixed_types, affine_types);
criterion_main!(benches);
