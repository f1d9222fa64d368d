//! Our kernels beside well-kept crates of the same purpose, in one run.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark
#![allow(unsafe_code)] // matrixmultiply takes pointers

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::noise;
use selvedge_kernels::dense::{self, Bias, Shape};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::Epilogue;
use std::hint::black_box;

/// `[N, I] · [O, I]ᵀ` in f32, against matrixmultiply's `sgemm`, which packs and uses fused
/// multiply-adds.
fn sgemm(c: &mut Criterion) {
    for [batch, inputs, outputs] in [[1, 256, 128], [8, 256, 128], [64, 512, 512]] {
        let mut group = c.benchmark_group(format!("f32 product {batch}x{inputs}x{outputs}"));
        group.throughput(Throughput::Elements((batch * inputs * outputs) as u64));
        let (x, weight) = (
            noise::<f32>(batch * inputs, 1),
            noise::<f32>(outputs * inputs, 2),
        );
        let bias = vec![0.0; outputs];
        let mut out = vec![0.0f32; batch * outputs];
        group.bench_function("selvedge", |b| {
            let shape = Shape {
                batch,
                inputs,
                outputs,
            };
            b.iter(|| {
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
                    Epilogue::EXACT,
                    &mut out,
                    &mut [],
                )
                .unwrap();
            });
        });
        group.bench_function("matrixmultiply", |b| {
            b.iter(|| {
                // SAFETY: the extents and strides are those of the vectors above: `x` has `batch`
                // rows of `inputs`, `weight` `outputs` rows of `inputs`, `out` `batch` of `outputs`.
                unsafe {
                    matrixmultiply::sgemm(
                        batch,
                        inputs,
                        outputs,
                        1.0,
                        black_box(&x).as_ptr(),
                        inputs as isize,
                        1,
                        weight.as_ptr(),
                        1,
                        inputs as isize,
                        0.0,
                        out.as_mut_ptr(),
                        outputs as isize,
                        1,
                    );
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, sgemm);
criterion_main!(benches);
