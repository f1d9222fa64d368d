//! Each kernel in each element type. Throughput counts multiply-accumulates, or elements.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::{for_all_types, noise};
use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::init::{Gain, uniform};
use selvedge_kernels::optim::{Gradient, Parameter, Rate, Role, Sgd};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::{Words, shuffle, stream};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, activation, conv, dense, loss};
use std::hint::black_box;

/// As activations are stored in training.
fn epilogue<T: Element>() -> Epilogue<T> {
    Epilogue {
        activation: Activation::Relu,
        exponent: -14,
        store: Store::Shift {
            shift: 8,
            rounding: Rounding::NearestEven,
        },
    }
}

/// As errors are.
fn backward() -> Store {
    let words = Words::new(1, stream::error(0), 0);
    Store::Shift {
        shift: 8,
        rounding: Rounding::Stochastic(words),
    }
}

/// Benchmarks `work` as `kernel/type`.
fn measure<T: Element>(c: &mut Criterion, kernel: &str, per_call: usize, mut work: impl FnMut()) {
    let mut group = c.benchmark_group(kernel);
    group.throughput(Throughput::Elements(per_call as u64));
    group.bench_function(T::DTYPE.name(), |b| b.iter(&mut work));
    group.finish();
}

fn dense_kernels<T: Element>(c: &mut Criterion) {
    let shape = dense::Shape {
        batch: 8,
        inputs: 256,
        outputs: 128,
    };
    let macs = shape.batch * shape.inputs * shape.outputs;
    let (x, mut weight) = (noise::<T>(8 * 256, 1), noise::<T>(128 * 256, 2));
    let bias = noise::<T::Bias>(128, 3);
    let dy = noise::<T>(8 * 128, 4);
    let (mut y, mut dx) = (vec![T::ZERO; 8 * 128], vec![T::ZERO; 8 * 256]);
    let mut dw = vec![T::Acc::default(); 128 * 256];
    measure::<T>(c, "dense forward 8x256x128", macs, || {
        let bias = Bias {
            values: &bias,
            shift: 0,
        };
        dense::forward(
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
    measure::<T>(c, "dense input gradient 8x256x128", macs, || {
        dense::backward_input(&Serial, shape, black_box(&dy), &weight, backward(), &mut dx)
            .unwrap();
    });
    measure::<T>(c, "dense weight gradient 8x256x128", macs, || {
        let mut gradient = Gradient::Store(&mut dw);
        dense::backward_weight(shape, black_box(&x), &dy, &mut gradient).unwrap();
    });
    let mut db = vec![T::Acc::default(); 128];
    measure::<T>(c, "dense bias gradient 8x128", dy.len(), || {
        let mut gradient = Gradient::Store(&mut db);
        dense::backward_bias::<T>(128, black_box(&dy), &mut gradient).unwrap();
    });
    let mut residual = vec![0; 128 * 256];
    let mut velocity = vec![<T::Velocity as selvedge_kernels::Blank>::BLANK; 128 * 256];
    for (name, momentum) in [("SGD 8x256x128", 0), ("SGD with momentum 8x256x128", 230)] {
        // With the weight gradient that it applies; a rate that moves nothing far.
        let sgd = Sgd {
            momentum,
            ..Sgd::new(Rate {
                mantissa: 1,
                exponent: -30,
            })
        };
        measure::<T>(c, name, macs, || {
            let mut exponent = -8;
            let parameter = Parameter {
                value: &mut weight,
                residual: if T::DTYPE.bytes() == 1 {
                    &mut residual
                } else {
                    &mut []
                },
                velocity: &mut velocity,
                exponent: &mut exponent,
                role: Role::Weight,
            };
            let words = Words::new(1, stream::parameter(0, 0), 1);
            let mut gradient = Gradient::Apply(parameter.update(&sgd, -14, words).unwrap());
            dense::backward_weight(shape, black_box(&x), &dy, &mut gradient).unwrap();
            gradient.finish();
        });
    }
    let mut residual = if T::DTYPE.bytes() == 1 {
        vec![0; 128 * 256]
    } else {
        Vec::new()
    };
    measure::<T>(c, "uniform initialisation", weight.len(), || {
        let words = Words::new(1, stream::parameter(0, 0), 0);
        uniform(black_box(&mut weight), &mut residual, words, Gain::He, 256).unwrap();
    });
}

/// Convolutions of four images of 16 x 16 cells.
fn conv_kernels<T: Element>(c: &mut Criterion) {
    for (name, channels, filters, groups, kernel) in [
        ("conv2d 4x16x16x16 3x3 32", 16, 32, 1, 3),
        ("pointwise 4x16x16x64 64", 64, 64, 1, 1),
        ("depthwise 4x16x16x64 3x3", 64, 64, 64, 3),
    ] {
        let shape = conv::Shape {
            batch: 4,
            input: [16, 16],
            channels,
            filters,
            groups,
            window: Window::uniform(kernel, 1, kernel / 2),
        };
        let filter_len = kernel * kernel * channels / groups;
        let macs = 4 * 16 * 16 * filters * filter_len;
        let (x, weight) = (
            noise::<T>(4 * 16 * 16 * channels, 1),
            noise::<T>(filters * filter_len, 2),
        );
        let values = noise::<T::Bias>(filters, 3);
        let dy = noise::<T>(4 * 16 * 16 * filters, 4);
        let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
        let mut dw = vec![T::Acc::default(); weight.len()];
        measure::<T>(c, &format!("{name} forward"), macs, || {
            let bias = Bias {
                values: &values,
                shift: 0,
            };
            let (x, epilogue) = (black_box(&x), epilogue());
            conv::forward(&Serial, shape, x, &weight, bias, epilogue, &mut y, &mut []).unwrap();
        });
        measure::<T>(c, &format!("{name} input gradient"), macs, || {
            let dy = black_box(&dy);
            conv::backward_input(&Serial, shape, dy, &weight, backward(), &mut dx).unwrap();
        });
        measure::<T>(c, &format!("{name} weight gradient"), macs, || {
            let mut gradient = Gradient::Store(&mut dw);
            conv::backward_weight(shape, black_box(&x), &dy, &mut gradient).unwrap();
        });
    }
}

fn other_kernels<T: Element>(c: &mut Criterion) {
    let x = noise::<T>(4 * 16 * 16 * 16, 1);
    let mut dx = vec![T::ZERO; x.len()];
    measure::<T>(c, "relu", dx.len(), || activation::relu(black_box(&mut dx)));
    measure::<T>(c, "relu backward", dx.len(), || {
        activation::relu_backward(black_box(&x), &mut dx).unwrap();
    });

    let (logits, targets) = (noise::<T::Head>(32 * 10, 3), noise::<T::Head>(32 * 10, 4));
    let labels: Vec<u16> = (0..32).map(|row| row % 10).collect();
    let mut dy = vec![T::ZERO; logits.len()];
    let store = backward();
    measure::<T>(c, "cross-entropy 32x10", logits.len(), || {
        loss::cross_entropy::<T>(10, black_box(&logits), -12, &labels, store, &mut dy).unwrap();
    });
    measure::<T>(c, "squared error 32x10", logits.len(), || {
        loss::squared_error::<T>(black_box(&logits), -12, &targets, -12, store, &mut dy).unwrap();
    });
}

/// The order of an epoch, whose places are `u16` whatever is trained.
fn shuffling(c: &mut Criterion) {
    let mut order = [0; 1437];
    measure::<u16>(c, "shuffle 1437 samples", order.len(), || {
        shuffle(1, black_box(0), &mut order).unwrap();
    });
}

fn all(c: &mut Criterion) {
    shuffling(c);
    macro_rules! run {
        ($($t:ty),*) => {$(
            dense_kernels::<$t>(c);
            conv_kernels::<$t>(c);
            other_kernels::<$t>(c);
        )*};
    }
    for_all_types!(run);
}

criterion_group!(benches, all);
criterion_main!(benches);
