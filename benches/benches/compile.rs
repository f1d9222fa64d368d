//! From a description of 100 layers to an image; and what a session spends on an operator beside its kernel.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused description is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_core::image::{Image, Role};
use selvedge_core::network::{Activate, Activation, Dense, Network, Options};
use selvedge_core::session::Session;
use selvedge_core::{DType, Serial, ops};

const LAYERS: usize = 100;

fn compile(c: &mut Criterion) {
    let mut network = Network::new([16]);
    for layer in 0..LAYERS {
        network = network.layer(format!("layer{layer}"), Dense::new(16));
    }
    let mut group = c.benchmark_group("compile 100 layers");
    for (name, train) in [("infer", false), ("train", true)] {
        let options = Options {
            train,
            ..Options::default()
        };
        group.bench_function(name, |b| {
            b.iter(|| network.compile(DType::I8, &options).unwrap());
        });
    }
    group.finish();
}

/// Bytes at an address that an image may have.
#[repr(C, align(16))]
struct Aligned([u8; 1 << 14]);

fn operators(c: &mut Criterion) {
    let mut network = Network::new([1]);
    for layer in 0..LAYERS {
        network = network.layer(format!("layer{layer}"), Activate::new(Activation::Relu));
    }
    let network = network.layer("head", Dense::new(1));
    let bytes = network.compile(DType::I8, &Options::default()).unwrap();
    let mut flash = Box::new(Aligned([0; 1 << 14]));
    flash
        .0
        .get_mut(..bytes.len())
        .unwrap()
        .copy_from_slice(&bytes);
    let image = Image::parse(&flash.0).unwrap();
    let mut arena = vec![0; image.arena_bytes()];
    let mut session = Session::new(&image, &mut arena, ops::ALL).unwrap();
    session.input_mut::<i8>(Role::Infer, 0).unwrap().fill(1);
    let mut group = c.benchmark_group("operators of one element");
    group.throughput(Throughput::Elements(LAYERS as u64 + 1));
    group.bench_function("run", |b| b.iter(|| session.run(&Serial, 1).unwrap()));
    group.finish();
}

criterion_group!(benches, compile, operators);
criterion_main!(benches);
