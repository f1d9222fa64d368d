//! Dense and convolution layers of Selvedge beside those of candle and burn, on one core, in one
//! run. Prints a table; `cargo run --release` from this folder.
use burn::tensor::{Device as BurnDevice, Tensor as BurnTensor, module, ops::ConvOptions};
use candle_core::{Device, Tensor};
use std::hint::black_box;
use std::time::Instant;

fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

/// The shortest of many calls, in seconds: what the call takes when nothing disturbs it.
fn time(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    call();
    let once = start.elapsed().as_secs_f64().max(1e-7);
    let calls = (0.002 / once).ceil() as usize;
    (0..60)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                call();
            }
            start.elapsed().as_secs_f64() / calls as f64
        })
        .fold(f64::MAX, f64::min)
}

fn main() {
    let burn = BurnDevice::flex();
    for (n, i, o) in [(1, 784, 128), (32, 784, 128), (1, 512, 512), (32, 512, 512), (1, 128, 10), (32, 128, 10)] {
        let (x, w, b) = (noise(n * i), noise(o * i), noise(o));
        let flop = 2.0 * (n * i * o) as f64;
        let cx = Tensor::from_slice(&x, (n, i), &Device::Cpu).unwrap();
        let cw = Tensor::from_slice(&w, (o, i), &Device::Cpu).unwrap().t().unwrap();
        let cb = Tensor::from_slice(&b, o, &Device::Cpu).unwrap();
        let candle = time(|| {
            black_box(black_box(&cx).matmul(&cw).unwrap().broadcast_add(&cb).unwrap());
        });
        let bx = BurnTensor::<1>::from_floats(&x[..], &burn).reshape([n, i]);
        let bw = BurnTensor::<1>::from_floats(&w[..], &burn).reshape([i, o]);
        let bb = BurnTensor::<1>::from_floats(&b[..], &burn);
        let burn = time(|| {
            black_box(module::linear(bx.clone(), bw.clone(), Some(bb.clone())).into_data());
        });
        println!("dense {n}x{i}x{o}: candle {:.2} us {:.1}  burn {:.2} us {:.1}", candle * 1e6, flop / candle / 1e9, burn * 1e6, flop / burn / 1e9);
    }
    for (n, c, h, o, k, p) in [(1, 16, 32, 32, 3, 1), (8, 16, 32, 32, 3, 1), (1, 64, 28, 64, 3, 1), (1, 64, 56, 64, 3, 1), (1, 64, 25, 64, 1, 0), (1, 1, 28, 8, 3, 0), (32, 1, 28, 8, 3, 0)] {
        let (x, w, b) = (noise(n * c * h * h), noise(o * c * k * k), noise(o));
        let out = h + 2 * p - k + 1;
        let flop = 2.0 * (n * c * k * k * o * out * out) as f64;
        let cx = Tensor::from_slice(&x, (n, c, h, h), &Device::Cpu).unwrap();
        let cw = Tensor::from_slice(&w, (o, c, k, k), &Device::Cpu).unwrap();
        let cb = Tensor::from_slice(&b, (1, o, 1, 1), &Device::Cpu).unwrap();
        let candle = time(|| {
            black_box(black_box(&cx).conv2d(&cw, p, 1, 1, 1).unwrap().broadcast_add(&cb).unwrap());
        });
        let bx = BurnTensor::<1>::from_floats(&x[..], &burn).reshape([n, c, h, h]);
        let bw = BurnTensor::<1>::from_floats(&w[..], &burn).reshape([o, c, k, k]);
        let bb = BurnTensor::<1>::from_floats(&b[..], &burn);
        let burn = time(|| {
            black_box(module::conv2d(bx.clone(), bw.clone(), Some(bb.clone()), ConvOptions::new([1, 1], [p, p], [1, 1], 1)).into_data());
        });
        println!("conv {n}x{c}x{h}x{h} -> {o} {k}x{k}: candle {:.1} us {:.1}  burn {:.1} us {:.1}", candle * 1e6, flop / candle / 1e9, burn * 1e6, flop / burn / 1e9);
    }
}
