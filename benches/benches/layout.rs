//! Arithmetic with broadcasting, reductions, moving elements, and images, in each element type.
//! Throughput counts elements of the larger side.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::{for_all_types, noise};
use selvedge_kernels::axes::{Extents, Operand};
use selvedge_kernels::elementwise::{self, Operation, Side, Term};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::layout::{self, Padding, PaddingMode, Range};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::resize::{self, Coordinates};
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::sample::{self, Outside, Positions};
use selvedge_kernels::{Element, convert::convert, reduce, select};
use std::hint::black_box;

/// As activations are stored.
const FORWARD: Store = Store::Shift {
    shift: 8,
    rounding: Rounding::NearestEven,
};

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

fn extents(extents: &[usize]) -> Extents {
    Extents::new(extents).unwrap()
}

fn operand<'a, T>(values: &'a [T], shape: &[usize]) -> Operand<'a, T> {
    Operand {
        values,
        extents: extents(shape),
        exponent: 0,
    }
}

const N: usize = 4 * 16 * 16 * 16;

/// To bytes, to 16 bits, to `f32`: a forward pass and its error.
fn conversions<T: Element>(c: &mut Criterion) {
    fn to<T: Element, U: Element>(c: &mut Criterion) {
        let x = noise::<T>(N, 9);
        let (mut out, name) = (vec![U::ZERO; N], U::DTYPE);
        for (pass, store) in [("", FORWARD), (" backward", backward())] {
            measure::<T>(c, &format!("convert to {name}{pass}"), N, || {
                convert(&Serial, &x, -4, store, black_box(&mut out)).unwrap();
            });
        }
    }
    to::<T, i8>(c);
    to::<T, i16>(c);
    to::<T, f32>(c);
}

fn arithmetic<T: Element>(c: &mut Criterion) {
    let (a, row, dy) = (noise::<T>(N, 1), noise::<T>(16, 2), noise::<T>(N, 3));
    let b = noise::<T>(N, 4);
    let (mut out, mut dx, mut drow) = (vec![T::ZERO; N], vec![T::ZERO; N], vec![T::ZERO; 16]);
    let image = [4, 16, 16, 16];
    for (name, operation) in [
        ("add", Operation::Add),
        ("sub", Operation::Sub),
        ("mul", Operation::Mul),
        ("div", Operation::Div),
        ("min", Operation::Min),
        ("max", Operation::Max),
    ] {
        let (x, y, z) = (
            operand(&a, &image),
            operand(&b, &image),
            operand(&row, &[16]),
        );
        measure::<T>(c, &format!("{name} 4x16x16x16"), N, || {
            elementwise::forward(&Serial, operation, black_box(x), y, FORWARD, &mut out).unwrap();
        });
        measure::<T>(c, &format!("{name} a row to 4x16x16x16"), N, || {
            elementwise::forward(&Serial, operation, black_box(x), z, FORWARD, &mut out).unwrap();
        });
        let store = backward();
        measure::<T>(c, &format!("{name} gradient, first"), N, || {
            let (side, dy) = (Side::A, black_box(&dy));
            elementwise::backward(&Serial, operation, side, x, z, &[], dy, store, &mut dx).unwrap();
        });
        measure::<T>(c, &format!("{name} gradient, a row"), N, || {
            let side = Side::B;
            let y = if operation == Operation::Div {
                &out[..]
            } else {
                &[]
            };
            elementwise::backward(
                &Serial,
                operation,
                side,
                x,
                z,
                y,
                black_box(&dy),
                store,
                &mut drow,
            )
            .unwrap();
        });
    }
    let terms = [
        Term {
            values: &a,
            exponent: 0,
        },
        Term {
            values: &b,
            exponent: -1,
        },
    ];
    measure::<T>(c, "sum of two tensors", N, || {
        elementwise::sum(&Serial, black_box(&terms), FORWARD, &mut out).unwrap();
    });
    measure::<T>(c, "average of two tensors", N, || {
        elementwise::average(&Serial, black_box(&terms), FORWARD, &mut out).unwrap();
    });
    measure::<T>(c, "average of two tensors, gradient", N, || {
        elementwise::average_backward(2, black_box(&dy), backward(), &mut dx).unwrap();
    });
    measure::<T>(c, "negate", N, || {
        elementwise::negate(black_box(&a), &mut out).unwrap()
    });
    measure::<T>(c, "abs", N, || {
        elementwise::abs(black_box(&a), &mut out).unwrap()
    });
    measure::<T>(c, "abs gradient", N, || {
        elementwise::abs_backward(black_box(&a), &dy, &mut dx).unwrap();
    });
    measure::<T>(c, "square", N, || {
        elementwise::square(&Serial, black_box(&a), FORWARD, &mut out).unwrap();
    });
    measure::<T>(c, "square gradient", N, || {
        elementwise::square_backward(black_box(&a), &dy, backward(), &mut dx).unwrap();
    });
}

fn reductions<T: Element>(c: &mut Criterion) {
    let (x, dy) = (noise::<T>(N, 1), noise::<T>(64 * 16, 2));
    let mut dx = vec![T::ZERO; N];
    for (name, axes, outputs) in [("columns", &[1, 2][..], 64), ("rows", &[3], 1024)] {
        let shape = reduce::Shape {
            extents: extents(&[4, 16, 16, 16]),
            axes,
        };
        let mut out = vec![T::ZERO; outputs];
        let dy = &dy[..outputs];
        measure::<T>(c, &format!("sum of {name}"), N, || {
            reduce::sum(&Serial, shape, black_box(&x), FORWARD, &mut out).unwrap();
        });
        measure::<T>(c, &format!("sum of {name}, gradient"), N, || {
            reduce::sum_backward(&Serial, shape, black_box(dy), &mut dx).unwrap();
        });
        measure::<T>(c, &format!("mean of {name}"), N, || {
            reduce::mean(&Serial, shape, black_box(&x), FORWARD, &mut out).unwrap();
        });
        measure::<T>(c, &format!("mean of {name}, gradient"), N, || {
            reduce::mean_backward(&Serial, shape, black_box(dy), backward(), &mut dx).unwrap();
        });
        measure::<T>(c, &format!("max of {name}"), N, || {
            reduce::max(&Serial, shape, black_box(&x), &mut out).unwrap();
        });
        measure::<T>(c, &format!("max of {name}, gradient"), N, || {
            reduce::max_backward(shape, black_box(&x), dy, &mut dx).unwrap();
        });
        measure::<T>(c, &format!("min of {name}"), N, || {
            reduce::min(&Serial, shape, black_box(&x), &mut out).unwrap();
        });
        measure::<T>(c, &format!("min of {name}, gradient"), N, || {
            reduce::min_backward(shape, black_box(&x), dy, &mut dx).unwrap();
        });
    }
    let all = extents(&[1024, 16]);
    let (mut values, mut indices) = (vec![T::ZERO; 1024 * 5], vec![0; 1024 * 5]);
    measure::<T>(c, "argmax of 16", N, || {
        select::argmax(&Serial, all, 1, black_box(&x), &mut indices[..1024]).unwrap();
    });
    measure::<T>(c, "argmin of 16", N, || {
        select::argmin(&Serial, all, 1, black_box(&x), &mut indices[..1024]).unwrap();
    });
    measure::<T>(c, "top 5 of 16", N, || {
        select::top_k(all, 1, 5, black_box(&x), &mut values, &mut indices).unwrap();
    });
    measure::<T>(c, "top 5 of 16, gradient", N, || {
        select::top_k_backward(all, 1, 5, black_box(&indices), &values, &mut dx).unwrap();
    });
}

fn moving<T: Element>(c: &mut Criterion) {
    let all = extents(&[4, 16, 16, 16]);
    let x = noise::<T>(N, 1);
    let (mut out, mut dx) = (vec![T::ZERO; 4 * 18 * 18 * 16], vec![T::ZERO; N]);
    measure::<T>(c, "permute NHWC to NCHW", N, || {
        layout::permute(&Serial, all, &[0, 3, 1, 2], black_box(&x), &mut dx).unwrap();
    });
    measure::<T>(c, "permute NCHW to NHWC", N, || {
        layout::permute(&Serial, all, &[0, 2, 3, 1], black_box(&x), &mut dx).unwrap();
    });
    for (name, mode) in [
        ("constant", PaddingMode::Constant(T::ZERO)),
        ("reflect", PaddingMode::Reflect),
        ("edge", PaddingMode::Edge),
    ] {
        let padding = Padding {
            sides: &[[0, 0], [1, 1], [1, 1], [0, 0]],
            mode,
        };
        measure::<T>(c, &format!("pad, {name}"), out.len(), || {
            layout::pad(&Serial, all, padding, black_box(&x), &mut out).unwrap();
        });
        measure::<T>(c, &format!("pad, {name}, gradient"), N, || {
            layout::pad_backward(&Serial, all, padding, black_box(&out), backward(), &mut dx)
                .unwrap();
        });
    }
    let backwards = Range {
        step: -2,
        ..Range::ALL
    };
    let ranges = [Range::ALL, backwards, Range::ALL, Range::ALL];
    measure::<T>(c, "slice", N / 2, || {
        layout::slice(&Serial, all, &ranges, black_box(&x), &mut out[..N / 2]).unwrap();
    });
    measure::<T>(c, "slice gradient", N, || {
        layout::slice_backward(all, &ranges, black_box(&out[..N / 2]), &mut dx).unwrap();
    });
    let half = |exponent| Operand {
        values: &x[..N / 2],
        extents: extents(&[4, 16, 16, 8]),
        exponent,
    };
    measure::<T>(c, "concat of channels", N, || {
        layout::concat(3, black_box(&[half(0), half(-2)]), &mut dx).unwrap();
    });
    measure::<T>(c, "split of channels", N, || {
        let (a, b) = out[..N].split_at_mut(N / 2);
        layout::split(all, 3, black_box(&x), &mut [a, b]).unwrap();
    });
    let rows = extents(&[256, 64]);
    let indices: Vec<u32> = (0..64).map(|i| i * 37 % 256).collect();
    measure::<T>(c, "gather 64 of 256 rows", 64 * 64, || {
        layout::gather(rows, 0, &indices, black_box(&x), &mut out[..64 * 64]).unwrap();
    });
    measure::<T>(c, "gather 64 of 256 rows, gradient", N, || {
        let dy = black_box(&out[..64 * 64]);
        layout::gather_backward(&Serial, rows, 0, &indices, dy, backward(), &mut dx).unwrap();
    });
}

fn images<T: Element>(c: &mut Criterion) {
    let shape = resize::Shape {
        batch: 1,
        height: 16,
        width: 16,
        channels: 16,
        outputs: [32, 32],
        coordinates: Coordinates::HalfPixel,
    };
    let (len, out_len) = (16 * 16 * 16, 32 * 32 * 16);
    let x = noise::<T>(len, 1);
    let (mut out, mut dx) = (vec![T::ZERO; out_len], vec![T::ZERO; len]);
    measure::<T>(c, "resize 16x16x16 to 32x32, nearest", out_len, || {
        resize::nearest(&Serial, shape, black_box(&x), &mut out).unwrap();
    });
    measure::<T>(
        c,
        "resize 16x16x16 to 32x32, nearest, gradient",
        out_len,
        || {
            resize::nearest_backward(&Serial, shape, black_box(&out), backward(), &mut dx).unwrap();
        },
    );
    measure::<T>(c, "resize 16x16x16 to 32x32, bilinear", out_len, || {
        resize::bilinear(&Serial, shape, black_box(&x), FORWARD, &mut out).unwrap();
    });
    measure::<T>(
        c,
        "resize 16x16x16 to 32x32, bilinear, gradient",
        out_len,
        || {
            resize::bilinear_backward(&Serial, shape, black_box(&out), backward(), &mut dx)
                .unwrap();
        },
    );
    let shape = sample::Shape {
        batch: 1,
        height: 16,
        width: 16,
        channels: 16,
        points: 256,
        outside: Outside::Zeros,
    };
    let p = noise::<T>(512, 2);
    let positions = Positions {
        values: &p,
        exponent: 4 - T::MAGNITUDE_BITS as i32,
    };
    let (mut out, mut dp) = (vec![T::ZERO; 256 * 16], vec![T::ZERO; 512]);
    let mut scratch = vec![Default::default(); len];
    measure::<T>(c, "sample 256 of 16x16x16", out.len(), || {
        sample::forward(&Serial, shape, black_box(&x), positions, FORWARD, &mut out).unwrap();
    });
    measure::<T>(
        c,
        "sample 256 of 16x16x16, image gradient",
        out.len(),
        || {
            let dy = black_box(&out);
            sample::backward_input(shape, positions, dy, backward(), &mut dx, &mut scratch)
                .unwrap();
        },
    );
    measure::<T>(
        c,
        "sample 256 of 16x16x16, position gradient",
        out.len(),
        || {
            let dy = black_box(&out);
            sample::backward_positions(&Serial, shape, &x, positions, dy, backward(), &mut dp)
                .unwrap();
        },
    );
}

fn all(c: &mut Criterion) {
    macro_rules! run {
        ($($t:ty),*) => {$(
            arithmetic::<$t>(c);
            reductions::<$t>(c);
            moving::<$t>(c);
            images::<$t>(c);
            conversions::<$t>(c);
        )*};
    }
    for_all_types!(run);
}

criterion_group!(benches, all);
criterion_main!(benches);
