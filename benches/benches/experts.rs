//! Mixtures of experts and their balance, in each element type. Throughput counts products.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::{for_all_types, noise};
use selvedge_kernels::Element;
use selvedge_kernels::elementwise::Term;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::experts::{self, Balance, Shape};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
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

const SHAPE: Shape = Shape {
    rows: 64,
    experts: 4,
    features: 256,
};

/// Benchmarks `work` as `kernel/type`.
fn measure<T: Element>(c: &mut Criterion, kernel: &str, products: usize, mut work: impl FnMut()) {
    let mut group = c.benchmark_group(kernel);
    group.throughput(Throughput::Elements(products as u64));
    group.bench_function(T::DTYPE.name(), |b| b.iter(&mut work));
    group.finish();
}

fn mixtures<T: Element>(c: &mut Criterion) {
    let Shape {
        rows,
        experts: count,
        features,
    } = SHAPE;
    let (weights, dy) = (noise::<T>(rows * count, 1), noise::<T>(rows * features, 2));
    let outputs: Vec<Vec<T>> = (0..count)
        .map(|i| noise(rows * features, 3 + i as u32))
        .collect();
    let at = |exponents: [i32; 4]| -> Vec<Term<'_, T>> {
        let experts = outputs.iter().zip(exponents);
        let term = |(values, exponent)| Term { values, exponent };
        experts.map(|(y, e)| term((&y[..], e))).collect()
    };
    let (one, several) = (at([0; 4]), at([0, -1, -3, 0]));
    let (mut out, mut dw) = (vec![T::ZERO; dy.len()], vec![T::ZERO; weights.len()]);
    let all = rows * count * features;
    for (name, experts) in [("one exponent", &one), ("three exponents", &several)] {
        measure::<T>(c, &format!("mixture 64x4x256, {name}"), all, || {
            let weights = black_box(&weights);
            experts::forward(&Serial, SHAPE, weights, experts, FORWARD, &mut out).unwrap();
        });
    }
    measure::<T>(c, "mixture 64x4x256 to an expert", rows * features, || {
        let (w, store) = (black_box(&weights), backward());
        experts::backward(&Serial, SHAPE, 1, w, &dy, store, &mut out).unwrap();
    });
    measure::<T>(c, "mixture 64x4x256 to the gate", all, || {
        let (dy, store) = (black_box(&dy), backward());
        experts::backward_weights(&Serial, SHAPE, &several, dy, store, &mut dw).unwrap();
    });
    let (balance, mut counts) = (Balance::new(10, count).unwrap(), vec![0; count]);
    let errors = Term {
        values: &weights[..],
        exponent: 0,
    };
    measure::<T>(c, "balance 64x4", rows * count, || {
        let (p, store) = (black_box(&weights), backward());
        experts::balance_backward(rows, balance, p, errors, store, &mut dw, &mut counts).unwrap();
    });
}

fn all(c: &mut Criterion) {
    macro_rules! run {
        ($($t:ty),* $(,)?) => {$(
            mixtures::<$t>(c);
        )*};
    }
    for_all_types!(run);
}

criterion_group!(benches, all);
criterion_main!(benches);
