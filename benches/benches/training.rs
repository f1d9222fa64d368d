//! A training step of the demo's network in each element type. Throughput counts samples.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused step is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::for_all_types;
use selvedge_core::train::Samples;
use selvedge_core::{Element, Serial};
use selvedge_digits::{BATCH, CnnTrainer, EPOCHS, SEED, TRAIN, course, rate_at, train};

fn step<T: Element>(c: &mut Criterion) {
    let mut trainer = Box::new(CnnTrainer::<T>::BLANK);
    // Trained for an epoch, so that exponents have settled.
    course(&mut trainer, &Serial, SEED, 1, &mut [0; TRAIN], |_| ()).unwrap();
    let mut labels = [0; BATCH];
    for ((index, x), label) in trainer
        .input_mut()
        .chunks_exact_mut(64)
        .enumerate()
        .zip(&mut labels)
    {
        *label = train().read(index, x).unwrap();
    }
    let mut group = c.benchmark_group("training step");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(T::DTYPE.name(), |b| {
        b.iter(|| trainer.step(&Serial, &labels, &rate_at(1, EPOCHS)).unwrap());
    });
    group.finish();
}

fn all(c: &mut Criterion) {
    macro_rules! run {
        ($($t:ty),*) => {$(step::<$t>(c);)*};
    }
    for_all_types!(run);
}

criterion_group!(benches, all);
criterion_main!(benches);
