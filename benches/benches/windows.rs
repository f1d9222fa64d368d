//! Kernels that slide windows, beside convolutions of images: pooling, other numbers of axes, the
//! transpose. Throughput counts multiply-accumulates, or elements of the input.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::{for_all_types, noise};
use selvedge_kernels::conv::{self, transpose};
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::pool::{self, Adaptive, Padding, Shape};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, Result};
use std::hint::black_box;

/// As activations are stored, and as errors are.
fn stores(shift: i32) -> [Store; 2] {
    let words = Words::new(1, stream::error(0), 0);
    [Rounding::NearestEven, Rounding::Stochastic(words)]
        .map(|rounding| Store::Shift { shift, rounding })
}

/// Benchmarks `work` as `kernel/type`.
fn measure<T: Element>(
    c: &mut Criterion,
    kernel: &str,
    per_call: usize,
    mut work: impl FnMut() -> Result<u32>,
) {
    let mut group = c.benchmark_group(kernel);
    group.throughput(Throughput::Elements(per_call as u64));
    group.bench_function(T::DTYPE.name(), |b| b.iter(|| work().unwrap()));
    group.finish();
}

/// Pooling by windows.
fn sliding<T: Element, const N: usize>(c: &mut Criterion, name: &str, shape: Shape<N>) {
    let cells = |extents: [usize; N]| extents.iter().product::<usize>();
    let x = noise::<T>(shape.batch * cells(shape.input) * shape.channels, 1);
    let outputs = cells(shape.outputs().unwrap());
    let dy = noise::<T>(shape.batch * outputs * shape.channels, 2);
    let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
    let [store, error] = stores(17);
    measure::<T>(c, &format!("max pool {name} forward"), x.len(), || {
        pool::max_forward(&Serial, shape, black_box(&x), &mut y).map(|()| 0)
    });
    measure::<T>(c, &format!("max pool {name} backward"), x.len(), || {
        let exact = Store::EXACT;
        pool::max_backward(&Serial, shape, black_box(&x), &y, &dy, exact, &mut dx)
    });
    for (counts, padding) in [
        ("", Padding::Counted),
        (", padding not counted", Padding::NotCounted),
    ] {
        let kernel = format!("average pool {name}{counts}");
        measure::<T>(c, &format!("{kernel} forward"), x.len(), || {
            pool::average_forward(&Serial, shape, padding, black_box(&x), store, &mut y)
        });
        measure::<T>(c, &format!("{kernel} backward"), x.len(), || {
            pool::average_backward(&Serial, shape, padding, black_box(&dy), error, &mut dx)
        });
    }
}

/// Pooling to given extents.
fn adaptive<T: Element, const N: usize>(c: &mut Criterion, name: &str, shape: Adaptive<N>) {
    let cells = |extents: [usize; N]| extents.iter().product::<usize>();
    let x = noise::<T>(shape.batch * cells(shape.input) * shape.channels, 1);
    let dy = noise::<T>(shape.batch * cells(shape.output) * shape.channels, 2);
    let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
    let [store, error] = stores(19);
    measure::<T>(c, &format!("adaptive max {name} forward"), x.len(), || {
        pool::adaptive_max_forward(&Serial, shape, black_box(&x), &mut y).map(|()| 0)
    });
    measure::<T>(c, &format!("adaptive max {name} backward"), x.len(), || {
        let exact = Store::EXACT;
        pool::adaptive_max_backward(&Serial, shape, black_box(&x), &y, &dy, exact, &mut dx)
    });
    let kernel = format!("adaptive average {name}");
    measure::<T>(c, &format!("{kernel} forward"), x.len(), || {
        pool::adaptive_average_forward(&Serial, shape, black_box(&x), store, &mut y)
    });
    measure::<T>(c, &format!("{kernel} backward"), x.len(), || {
        pool::adaptive_average_backward(&Serial, shape, black_box(&dy), error, &mut dx)
    });
}

/// Pooling of four images of 16 x 16 cells, and of as many cells as lines and volumes; 16 channels.
fn pooling<T: Element>(c: &mut Criterion) {
    let (batch, channels) = (4, 16);
    for (name, window) in [
        ("2x2", Window::uniform(2, 2, 0)),
        ("3x3 stride 2", Window::uniform(3, 2, 1)),
    ] {
        let input = [16, 16];
        let shape = Shape {
            batch,
            input,
            channels,
            window,
        };
        sliding::<T, 2>(c, name, shape);
    }
    let line = Shape {
        batch,
        input: [256],
        channels,
        window: Window::uniform(4, 4, 0),
    };
    sliding::<T, 1>(c, "1d 4", line);
    let volume = Shape {
        batch,
        input: [4, 8, 8],
        channels,
        window: Window::uniform(2, 2, 0),
    };
    sliding::<T, 3>(c, "3d 2x2x2", volume);
    for (name, output) in [("to 5x5", [5, 5]), ("to 1x1", [1, 1])] {
        let input = [16, 16];
        let shape = Adaptive {
            batch,
            input,
            channels,
            output,
        };
        adaptive::<T, 2>(c, name, shape);
    }
    let line = Adaptive {
        batch,
        input: [256],
        channels,
        output: [10],
    };
    adaptive::<T, 1>(c, "1d to 10", line);
    let volume = Adaptive {
        batch,
        input: [4, 8, 8],
        channels,
        output: [2, 3, 3],
    };
    adaptive::<T, 3>(c, "3d to 2x3x3", volume);
}

/// A convolution and its gradients, or those of its transpose.
fn convolution<T: Element, const N: usize>(
    c: &mut Criterion,
    name: &str,
    shape: conv::Shape<N>,
    is_transposed: bool,
) {
    let cells: usize = shape.window.kernel.iter().product();
    let outputs: usize = shape.outputs().unwrap().iter().product();
    let inputs: usize = shape.input.iter().product();
    let weights = shape.filters * cells * shape.channels / shape.groups;
    let macs = shape.batch * outputs * weights;
    let mut ends = [
        shape.batch * inputs * shape.channels,
        shape.batch * outputs * shape.filters,
    ];
    let mut filters = shape.filters;
    if is_transposed {
        ends.reverse();
        filters = shape.channels;
    }
    let (x, dy) = (noise::<T>(ends[0], 1), noise::<T>(ends[1], 2));
    let (weight, bias) = (noise::<T>(weights, 3), noise::<T::Bias>(filters, 4));
    let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
    let mut dw = vec![T::Acc::default(); weights];
    let [store, error] = stores(8);
    let epilogue = Epilogue {
        store,
        ..Epilogue::EXACT
    };
    measure::<T>(c, &format!("{name} forward"), macs, || {
        let bias = Bias {
            values: &bias,
            shift: 0,
        };
        let (x, out) = (black_box(&x), &mut y);
        if is_transposed {
            transpose::forward(&Serial, shape, x, &weight, bias, epilogue, out, &mut [])
        } else {
            conv::forward(&Serial, shape, x, &weight, bias, epilogue, out, &mut [])
        }
    });
    measure::<T>(c, &format!("{name} input gradient"), macs, || {
        let (dy, dx) = (black_box(&dy), &mut dx);
        if is_transposed {
            transpose::backward_input(&Serial, shape, dy, &weight, error, dx)
        } else {
            conv::backward_input(&Serial, shape, dy, &weight, error, dx)
        }
    });
    measure::<T>(c, &format!("{name} weight gradient"), macs, || {
        let gradient = &mut Gradient::Store(&mut dw);
        if is_transposed {
            transpose::backward_weight(shape, black_box(&x), &dy, gradient)?;
        } else {
            conv::backward_weight(shape, black_box(&x), &dy, gradient)?;
        }
        Ok(0)
    });
}

fn convolutions<T: Element>(c: &mut Criterion) {
    let line = conv::Shape {
        batch: 4,
        input: [128],
        channels: 16,
        filters: 32,
        groups: 1,
        window: Window::uniform(5, 1, 2),
    };
    convolution::<T, 1>(c, "conv1d 4x128x16 5 32", line, false);
    let volume = conv::Shape {
        batch: 1,
        input: [8, 8, 8],
        channels: 8,
        filters: 16,
        groups: 1,
        window: Window::uniform(3, 1, 1),
    };
    convolution::<T, 3>(c, "conv3d 8x8x8x8 3x3x3 16", volume, false);
    let depthwise = conv::Shape {
        batch: 4,
        input: [16, 16],
        channels: 16,
        filters: 16,
        groups: 16,
        window: Window::uniform(3, 1, 1),
    };
    convolution::<T, 2>(c, "depthwise 4x16x16x16 3x3", depthwise, false);
    let full = conv::Shape {
        filters: 32,
        groups: 1,
        ..depthwise
    };
    let strided = conv::Shape {
        window: Window::uniform(3, 2, 1),
        ..full
    };
    convolution::<T, 2>(
        c,
        "strided conv2d 4x16x16x16 3x3 stride 2 32",
        strided,
        false,
    );
    let dilated = conv::Shape {
        window: Window {
            dilation: [2, 2],
            ..Window::uniform(3, 1, 2)
        },
        ..full
    };
    convolution::<T, 2>(
        c,
        "dilated conv2d 4x16x16x16 3x3 dilation 2 32",
        dilated,
        false,
    );
    let grouped = conv::Shape { groups: 4, ..full };
    convolution::<T, 2>(
        c,
        "grouped conv2d 4x16x16x16 3x3 groups 4 32",
        grouped,
        false,
    );
    let larger = conv::Shape {
        window: Window::uniform(2, 2, 0),
        ..full
    };
    convolution::<T, 2>(c, "transposed conv2d 4x8x8x32 2x2 16", larger, true);
    let longer = conv::Shape {
        window: Window::uniform(4, 2, 1),
        ..line
    };
    convolution::<T, 1>(c, "transposed conv1d 4x64x32 4 stride 2 16", longer, true);
    let larger = conv::Shape {
        window: Window::uniform(2, 2, 0),
        ..volume
    };
    convolution::<T, 3>(c, "transposed conv3d 4x4x4x16 2x2x2 8", larger, true);
}

fn all(c: &mut Criterion) {
    macro_rules! run {
        ($($t:ty),*) => {$(
            pooling::<$t>(c);
            convolutions::<$t>(c);
        )*};
    }
    for_all_types!(run);
}

criterion_group!(benches, all);
criterion_main!(benches);
