//! Attention and rotary positions in the types that networks use. Throughput counts multiply-accumulates of scores
//! and values, elements of rotations.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::noise;
use selvedge_kernels::attention::{self, Errors, Exponents, Inputs, Mask, Scratch, Shape, Stores};
use selvedge_kernels::element::Blank;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::rope::{self, Pairs, Rotation, Scaling};
use selvedge_kernels::{Element, bf16};
use std::hint::black_box;

fn nearest(shift: i32) -> Store {
    Store::Shift {
        shift,
        rounding: Rounding::NearestEven,
    }
}

/// As activations, errors of scores and errors are stored in training.
fn stores<T: Element>() -> (Store, Stores) {
    if !T::DTYPE.is_integer() {
        return (Store::EXACT, Stores::EXACT);
    }
    let error = Store::Shift {
        shift: 18,
        rounding: Rounding::Stochastic(Words::new(1, stream::error(0), 0)),
    };
    let stores = Stores {
        scores: nearest(2 * T::MAGNITUDE_BITS.min(15) as i32 + 8),
        dq: error,
        dk: error,
        dv: error,
    };
    (nearest(15), stores)
}

/// Four heads: batch, steps, features of a head.
const EXTENTS: [[usize; 3]; 4] = [[1, 28, 32], [32, 28, 32], [1, 256, 64], [32, 256, 64]];

fn attention<T: Element>(c: &mut Criterion) {
    for [batch, steps, size] in EXTENTS {
        let shape = Shape {
            batch,
            queries: steps,
            keys: steps,
            heads: 4,
            kv_heads: 4,
            size,
        };
        let count = batch * steps * 4 * size;
        let [q, k, v, dy] = [1, 2, 3, 4].map(|seed| noise::<T>(count, seed));
        let e = -(T::MAGNITUDE_BITS as i32);
        let inputs = Inputs {
            q: &q,
            k: &k,
            v: &v,
            capacity: steps,
            exponents: Exponents { q: e, k: e, v: e },
        };
        let (store, stores) = stores::<T>();
        let [mut out, mut dq, mut dk, mut dv] = [(); 4].map(|()| vec![T::ZERO; count]);
        let [scores, products, sums] = attention::backward_scratch_len::<T>(shape, 1).unwrap();
        let mut scores = vec![T::AttentionScore::BLANK; scores];
        let [mut products, mut sums] =
            [products, sums].map(|len| vec![T::AttentionSum::BLANK; len]);
        for (name, mask) in [("", Mask::NONE), (" causal", Mask::CAUSAL)] {
            let extents = format!("{batch}x{steps} 4x{size}{name}");
            let mut group = c.benchmark_group(format!("attention forward {extents}"));
            group.throughput(Throughput::Elements((2 * count * steps) as u64));
            group.bench_function(T::DTYPE.name(), |b| {
                b.iter(|| {
                    let inputs = black_box(inputs);
                    attention::forward(&Serial, shape, mask, inputs, store, &mut out, &mut scores)
                        .unwrap()
                });
            });
            group.finish();
            let mut group = c.benchmark_group(format!("attention backward {extents}"));
            group.throughput(Throughput::Elements((5 * count * steps) as u64));
            group.bench_function(T::DTYPE.name(), |b| {
                b.iter(|| {
                    let errors = Errors {
                        dq: &mut dq,
                        dk: &mut dk,
                        dv: &mut dv,
                    };
                    let scratch = Scratch {
                        scores: &mut scores,
                        products: &mut products,
                        sums: &mut sums,
                    };
                    let inputs = black_box(inputs);
                    attention::backward(&Serial, shape, mask, inputs, &dy, stores, errors, scratch)
                        .unwrap()
                });
            });
            group.finish();
        }
    }
}

fn rotations<T: Element>(c: &mut Criterion) {
    let shape = rope::Shape {
        batch: 1,
        steps: 256,
        heads: 4,
        size: 64,
    };
    let count = 256 * 4 * 64;
    let (x, mut out) = (noise::<T>(count, 1), vec![T::ZERO; count]);
    let mut frequencies = [0; 32];
    rope::frequencies(rope::BASE, Scaling::None, &mut frequencies).unwrap();
    let store = stores::<T>().0;
    for (name, pairs) in [
        ("halves", Pairs::Halves),
        ("neighbours", Pairs::Interleaved),
    ] {
        let rotation = Rotation {
            frequencies: &frequencies,
            pairs,
            offset: 0,
        };
        let mut group = c.benchmark_group(format!("rope {name} 256 4x64"));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(T::DTYPE.name(), |b| {
            b.iter(|| rope::forward(&Serial, shape, rotation, black_box(&x), store, &mut out));
        });
        group.finish();
    }
}

fn all(c: &mut Criterion) {
    macro_rules! run {
        ($($t:ty),*) => {$(
            attention::<$t>(c);
            rotations::<$t>(c);
        )*};
    }
    run!(i8, i16, i32, bf16, f32, f64);
}

criterion_group!(benches, all);
criterion_main!(benches);
