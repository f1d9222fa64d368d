//! Deformable attention in the floats that it has. Throughput counts multiply-accumulates: four of each point and feature
//! in the forward pass, twice as many in the backward pass.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::noise;
use selvedge_kernels::deformable::{self, Errors, Float, Inputs, Level, Shape};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::{Element, bf16, f16};
use std::hint::black_box;

const fn square(extent: usize) -> Level {
    Level {
        height: extent,
        width: extent,
    }
}

/// A map that looks around itself, small and middling; queries of a detector over four levels.
const SHAPES: [(&str, Shape<'static>); 3] = [
    ("8x8x8 2x8", shape(8, 64, &[square(8)], [2, 8])),
    ("1x28x28 4x32", shape(1, 784, &[square(28)], [4, 32])),
    (
        "1x300 64-32-16-8 8x32",
        shape(
            1,
            300,
            &[square(64), square(32), square(16), square(8)],
            [8, 32],
        ),
    ),
];

const fn shape(
    batch: usize,
    queries: usize,
    levels: &'static [Level],
    [heads, size]: [usize; 2],
) -> Shape<'static> {
    Shape {
        batch,
        queries,
        levels,
        heads,
        size,
        points: 4,
    }
}

fn attention<T: Float + Element<Acc = A>, A: Element>(c: &mut Criterion) {
    for (name, shape) in SHAPES {
        let rows = shape.batch * shape.queries * shape.heads;
        let taps = rows * shape.levels.len() * shape.points;
        let count = shape.batch * shape.cells().unwrap() * shape.heads * shape.size;
        let values = noise::<T>(count, 1);
        // Over the map and a little beyond.
        let positions = noise::<A>(2 * taps, 2).into_iter();
        let positions: Vec<A> = positions
            .map(|x| A::from_f64(x.to_f64() * 0.6 + 0.5))
            .collect();
        let (weights, dy) = (noise::<T>(taps, 3), noise::<T>(rows * shape.size, 4));
        let inputs = Inputs {
            values: &values,
            positions: &positions,
            weights: &weights,
        };
        let mut out = vec![T::ZERO; rows * shape.size];
        let products = (4 * taps * shape.size) as u64;
        let mut group = c.benchmark_group(format!("deformable forward {name}"));
        group.throughput(Throughput::Elements(products));
        group.bench_function(T::DTYPE.name(), |b| {
            b.iter(|| deformable::forward(&Serial, shape, black_box(inputs), &mut out).unwrap());
        });
        group.finish();

        let [mut dv, mut dw] = [count, taps].map(|len| vec![T::ZERO; len]);
        let mut dp = vec![A::ZERO; 2 * taps];
        let len = deformable::backward_scratch_len(shape, 1).unwrap();
        let mut scratch = vec![A::ZERO; len];
        let mut group = c.benchmark_group(format!("deformable backward {name}"));
        group.throughput(Throughput::Elements(2 * products));
        group.bench_function(T::DTYPE.name(), |b| {
            b.iter(|| {
                let errors = Errors {
                    values: &mut dv,
                    positions: &mut dp,
                    weights: &mut dw,
                };
                let inputs = black_box(inputs);
                deformable::backward(&Serial, shape, inputs, &dy, errors, &mut scratch).unwrap();
            });
        });
        group.finish();
    }
}

fn all(c: &mut Criterion) {
    attention::<f16, f32>(c);
    attention::<bf16, f32>(c);
    attention::<f32, f32>(c);
    attention::<f64, f64>(c);
}

criterion_group!(benches, all);
criterion_main!(benches);
