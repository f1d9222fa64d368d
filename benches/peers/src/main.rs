//! Dense and convolution layers, forward, attention and LSTM, both ways, of Selvedge beside those of candle and burn: on
//! one core, in one run, bias included. From this folder: `RAYON_NUM_THREADS=1 taskset -c 0 cargo run --release`, which
//! takes what `layers` or `sequences` behind `--` picks.
//!
//! A rate is that of the fastest of many calls, in GFLOP/s (integers: GOP/s), two a
//! multiply-accumulate. Each peer has its own layout: images of candle and burn are NCHW, ours are
//! NHWC; burn's dense weights are `[I, O]`, ours and candle's `[O, I]`.

mod sequences;

use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device as BurnDevice, Tensor as BurnTensor, module};
use candle_core::{Device, Tensor};
use selvedge_kernels::conv;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, arch, bf16, f16};
use std::hint::black_box;
use std::time::Instant;

/// `len` numbers within -1 and 1.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// The same as elements, over half of an integer's range.
fn elements<T: Element>(len: usize) -> Vec<T> {
    let largest = f64::from(1u32 << T::MAGNITUDE_BITS.saturating_sub(1).min(23));
    let element = |x: f32| T::from_f64(f64::from(x) * largest);
    noise(len).into_iter().map(element).collect()
}

/// Bits that the sum of `n` products of such elements has beyond those of an element.
fn epilogue<T: Element>(n: usize) -> Epilogue<T> {
    let growth = n.ilog2() as i32 / 2 + T::MAGNITUDE_BITS as i32 - 3;
    Epilogue {
        store: Store::Shift {
            shift: if T::DTYPE.is_integer() { growth } else { 0 },
            rounding: Rounding::NearestEven,
        },
        ..Epilogue::EXACT
    }
}

/// The shortest of many calls, in seconds.
fn time(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    call();
    let once = start.elapsed().as_secs_f64().max(1e-7);
    let calls = (0.001 / once).ceil() as usize;
    let mut best = f64::MAX;
    for _ in 0..100 {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        best = best.min(start.elapsed().as_secs_f64() / calls as f64);
    }
    best
}

fn our_dense<T: Element + Output<T>>(batch: usize, inputs: usize, outputs: usize) -> f64 {
    let shape = dense::Shape {
        batch,
        inputs,
        outputs,
    };
    let (x, weight) = (
        elements::<T>(batch * inputs),
        elements::<T>(outputs * inputs),
    );
    let (values, mut out) = (elements::<T::Bias>(outputs), vec![T::ZERO; batch * outputs]);
    time(|| {
        let bias = Bias {
            values: &values,
            shift: 0,
        };
        let (x, epilogue) = (black_box(&x), epilogue(inputs));
        dense::forward(
            &Serial,
            shape,
            x,
            &weight,
            bias,
            epilogue,
            &mut out,
            &mut [],
        )
        .unwrap();
        black_box(&out);
    })
}

fn dense_case(n: usize, i: usize, o: usize) -> Vec<f64> {
    let device = Device::Cpu;
    let (x, w, b) = (noise(n * i), noise(o * i), noise(o));
    let candle_x = Tensor::from_slice(&x, (n, i), &device).unwrap();
    let candle_w = Tensor::from_slice(&w, (o, i), &device)
        .unwrap()
        .t()
        .unwrap();
    let candle_b = Tensor::from_slice(&b, o, &device).unwrap();
    let candle = time(|| {
        let y = black_box(&candle_x).matmul(&candle_w).unwrap();
        black_box(y.broadcast_add(&candle_b).unwrap());
    });
    let device = BurnDevice::flex();
    let burn_x = BurnTensor::<1>::from_floats(&x[..], &device).reshape([n, i]);
    let burn_w = BurnTensor::<1>::from_floats(&w[..], &device).reshape([i, o]);
    let burn_b = BurnTensor::<1>::from_floats(&b[..], &device);
    let burn = time(|| {
        let y = module::linear(burn_x.clone(), burn_w.clone(), Some(burn_b.clone()));
        black_box(y.into_data());
    });
    vec![
        candle,
        burn,
        our_dense::<f32>(n, i, o),
        our_dense::<i8>(n, i, o),
        our_dense::<u8>(n, i, o),
        our_dense::<i16>(n, i, o),
        our_dense::<u16>(n, i, o),
        our_dense::<f16>(n, i, o),
        our_dense::<bf16>(n, i, o),
        our_dense::<f64>(n, i, o),
    ]
}

/// Square images and kernels.
#[derive(Clone, Copy)]
struct Conv {
    batch: usize,
    channels: usize,
    side: usize,
    filters: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    groups: usize,
}

impl Conv {
    fn out_side(self) -> usize {
        (self.side + 2 * self.padding - self.kernel) / self.stride + 1
    }

    fn macs(self) -> usize {
        let per_output = self.kernel * self.kernel * self.channels / self.groups;
        self.batch * self.out_side() * self.out_side() * self.filters * per_output
    }

    fn lens(self) -> [usize; 3] {
        let per_filter = self.kernel * self.kernel * self.channels / self.groups;
        [
            self.batch * self.side * self.side * self.channels,
            self.filters * per_filter,
            self.batch * self.out_side() * self.out_side() * self.filters,
        ]
    }
}

fn our_conv<T: Element + Output<T>>(case: Conv) -> f64 {
    let shape = conv::Shape {
        batch: case.batch,
        input: [case.side; 2],
        channels: case.channels,
        filters: case.filters,
        groups: case.groups,
        window: Window::uniform(case.kernel, case.stride, case.padding),
    };
    let [x_len, w_len, out_len] = case.lens();
    let (x, weight) = (elements::<T>(x_len), elements::<T>(w_len));
    let (values, mut out) = (elements::<T::Bias>(case.filters), vec![T::ZERO; out_len]);
    time(|| {
        let bias = Bias {
            values: &values,
            shift: 0,
        };
        let (x, epilogue) = (black_box(&x), epilogue(w_len / case.filters));
        conv::forward(
            &Serial,
            shape,
            x,
            &weight,
            bias,
            epilogue,
            &mut out,
            &mut [],
        )
        .unwrap();
        black_box(&out);
    })
}

fn conv_case(case: Conv) -> Vec<f64> {
    let Conv {
        batch,
        channels,
        side,
        filters,
        kernel,
        stride,
        padding,
        groups,
    } = case;
    let [x_len, w_len, _] = case.lens();
    let (x, w, b) = (noise(x_len), noise(w_len), noise(filters));
    let w_shape = [filters, channels / groups, kernel, kernel];
    let device = Device::Cpu;
    let candle_x = Tensor::from_slice(&x, (batch, channels, side, side), &device).unwrap();
    let candle_w = Tensor::from_slice(&w, &w_shape[..], &device).unwrap();
    let candle_b = Tensor::from_slice(&b, (1, filters, 1, 1), &device).unwrap();
    let candle = time(|| {
        let x = black_box(&candle_x);
        let y = x.conv2d(&candle_w, padding, stride, 1, groups).unwrap();
        black_box(y.broadcast_add(&candle_b).unwrap());
    });
    let device = BurnDevice::flex();
    let burn_x = BurnTensor::<1>::from_floats(&x[..], &device);
    let burn_x = burn_x.reshape([batch, channels, side, side]);
    let burn_w = BurnTensor::<1>::from_floats(&w[..], &device).reshape(w_shape);
    let burn_b = BurnTensor::<1>::from_floats(&b[..], &device);
    let burn = time(|| {
        let options = ConvOptions::new([stride; 2], [padding, padding], [1, 1], groups);
        let bias = Some(burn_b.clone());
        black_box(module::conv2d(burn_x.clone(), burn_w.clone(), bias, options).into_data());
    });
    vec![
        candle,
        burn,
        our_conv::<f32>(case),
        our_conv::<i8>(case),
        our_conv::<u8>(case),
        our_conv::<i16>(case),
        our_conv::<u16>(case),
        our_conv::<f16>(case),
        our_conv::<bf16>(case),
        our_conv::<f64>(case),
    ]
}

fn row(name: &str, macs: usize, seconds: &[f64]) {
    print!("| {name} |");
    for &s in seconds {
        print!(" {:.1} |", 2.0 * macs as f64 / s / 1e9);
    }
    let (ours, peer) = (seconds[2], seconds[0].min(seconds[1]));
    println!(" {:.2} | {:.2} |", peer / ours, ours / seconds[3]);
}

fn main() {
    let picked = std::env::args().nth(1);
    let is_picked = |name| picked.as_deref().is_none_or(|picked| picked == name);
    println!("Instruction set: {}.", arch::name());
    if is_picked("layers") {
        layers();
    }
    if is_picked("sequences") {
        over_time();
    }
}

fn layers() {
    println!();
    println!(
        "| case | candle f32 | burn f32 | f32 | i8 | u8 | i16 | u16 | f16 | bf16 | f64 | f32 / best peer | i8 / f32 |"
    );
    println!("|---|{}", "---|".repeat(12));
    for [n, i, o] in [
        [1, 784, 128],
        [32, 784, 128],
        [1, 256, 128],
        [32, 256, 128],
        [1, 1024, 1024],
        [32, 1024, 1024],
        [1, 128, 10],
        [32, 128, 10],
    ] {
        row(
            &format!("dense {n}x{i}x{o}"),
            n * i * o,
            &dense_case(n, i, o),
        );
    }
    for (channels, side, filters, kernel, stride, padding, groups) in [
        (3, 32, 16, 5, 1, 2, 1),
        (1, 28, 8, 3, 1, 0, 1),
        (16, 32, 32, 3, 1, 1, 1),
        (32, 16, 64, 3, 1, 1, 1),
        (32, 32, 64, 3, 2, 1, 1),
        (64, 28, 64, 3, 1, 1, 1),
        (64, 25, 64, 1, 1, 0, 1),
        (64, 25, 64, 3, 1, 1, 64),
    ] {
        for batch in [1, 32] {
            let case = Conv {
                batch,
                channels,
                side,
                filters,
                kernel,
                stride,
                padding,
                groups,
            };
            let name = if groups > 1 { "depthwise" } else { "conv" };
            let step = if stride > 1 { " stride 2" } else { "" };
            let name = format!(
                "{name} {batch}x{side}x{side}x{channels}->{filters} {kernel}x{kernel}{step}"
            );
            row(&name, case.macs(), &conv_case(case));
        }
    }
}

/// Microseconds of sequences, and how often the better peer's time holds ours.
fn over_time() {
    println!();
    println!(
        "| case | candle f32 | burn f32 | f32 | i8 | best peer / f32 | f32 / i8 |\n|---|---|---|---|---|---|---|"
    );
    for (name, case) in [
        (
            "attention",
            sequences::attention_case as fn(usize, usize) -> _,
        ),
        ("LSTM", sequences::lstm_case),
    ] {
        for (batch, steps) in [(1, 28), (32, 28), (1, 256), (32, 256)] {
            let all: [[f64; 2]; 4] = case(batch, steps);
            for (pass, what) in ["forward", "both ways"].into_iter().enumerate() {
                let [candle, burn, f32, i8] = all.map(|passes| passes[pass]);
                print!("| {name} B{batch} T{steps} {what} |");
                for seconds in [candle, burn, f32, i8] {
                    print!(" {:.0} |", seconds * 1e6);
                }
                println!(" {:.2} | {:.2} |", candle.min(burn) / f32, f32 / i8);
            }
        }
    }
}
