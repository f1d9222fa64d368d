//! Every activation, forward and backward, in each element type. Throughput counts elements.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::{for_all_types, noise};
use selvedge_kernels::Element;
use selvedge_kernels::activation::{self, Activation};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use std::hint::black_box;

const LEN: usize = 4096;

/// Benchmarks `work` as `kernel/type`.
fn measure<T: Element>(c: &mut Criterion, kernel: &str, mut work: impl FnMut()) {
    let mut group = c.benchmark_group(kernel);
    group.throughput(Throughput::Elements(LEN as u64));
    group.bench_function(T::DTYPE.name(), |b| b.iter(&mut work));
    group.finish();
}

fn activations<T: Element>(c: &mut Criterion) {
    let x = noise::<T>(LEN, 1);
    let dy = noise::<T>(LEN, 2);
    // Arguments within ±4; floats have no exponent.
    let exponent = 3 - T::MAGNITUDE_BITS as i32;
    let (mut y, mut slope) = (vec![T::ZERO; LEN], vec![T::ZERO; LEN]);
    for (name, activation) in [
        ("identity", Activation::Identity),
        ("relu", Activation::Relu),
        ("masked relu", Activation::MASKED_RELU),
        ("lifted relu", Activation::LIFTED_RELU),
        ("scaled relu", Activation::SCALED_RELU),
        ("leaky relu", Activation::leaky_relu(100)),
        ("relu6", Activation::RELU6),
        ("sigmoid", Activation::SIGMOID),
        ("tanh", Activation::TANH),
        ("softplus", Activation::SOFTPLUS),
        ("gelu", Activation::GELU),
        ("silu", Activation::SILU),
        ("hard-swish", Activation::HARD_SWISH),
    ] {
        // Results up to 4, or 1.
        let to = if activation.is_bounded() { 0 } else { 3 } - T::MAGNITUDE_BITS as i32;
        let store = Store::Shift {
            shift: to - activation.exponent(exponent),
            rounding: Rounding::NearestEven,
        };
        let store = if T::DTYPE.is_integer() {
            store
        } else {
            Store::EXACT
        };
        measure::<T>(c, &format!("{name} forward 4096"), || {
            let x = black_box(&x);
            activation::forward(activation, exponent, x, store, &mut y, &mut slope).unwrap();
        });
        let mut dx = dy.clone();
        measure::<T>(c, &format!("{name} backward 4096"), || {
            // In place: the same errors each time, or they die.
            dx.copy_from_slice(black_box(&dy));
            activation::backward(activation, &y, &slope, &mut dx).unwrap();
        });
    }
}

fn all(c: &mut Criterion) {
    macro_rules! run {
        ($($t:ty),*) => {$(activations::<$t>(c);)*};
    }
    for_all_types!(run);
}

criterion_group!(benches, all);
criterion_main!(benches);
