//! Activations in the epilogues of layers: the same as alone, with any number of threads, and what a mask
//! of accumulators keeps. The activations themselves: `activations/`.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::activation::{self, Activation};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::cross_entropy;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, bf16, conv, f16};
use selvedge_tests::curve::Curve;
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance;

/// Calls `$check::<T>()` for every integer type.
macro_rules! for_each_integer {
    ($check:ident) => {
        $check::<i8>();
        $check::<u8>();
        $check::<i16>();
        $check::<u16>();
        $check::<i32>();
        $check::<u32>();
        $check::<i64>();
        $check::<u64>();
    };
}

fn nearest(shift: i32) -> Store {
    let rounding = Rounding::NearestEven;
    Store::Shift { shift, rounding }
}

fn bytes<T: Element>(x: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for x in x {
        x.le_bytes(|part| bytes.extend_from_slice(part));
    }
    bytes
}

/// A dense layer and a convolution with small accumulators, which every type stores exactly.
struct Layers<T: Element> {
    dense: dense::Shape,
    conv: conv::Shape,
    x: Vec<T>,
    weight: Vec<T>,
    bias: Vec<T::Bias>,
}

impl<T: Element + Output<T>> Layers<T> {
    fn new() -> Self {
        let mut noise = Noise::new(98);
        // Whole numbers up to 3, and fractions for floats; at most 27 products, and a bias.
        let mut number = || match T::DTYPE.is_integer() {
            true => f64::from(noise.word() % 5) - 2.0,
            false => noise.signed(),
        };
        Self {
            dense: dense::Shape {
                batch: 7,
                inputs: 5,
                outputs: 19,
            },
            conv: conv::Shape {
                batch: 5,
                input: [4, 3],
                channels: 3,
                filters: 4,
                groups: 1,
                window: Window::uniform(3, 1, 1),
            },
            x: (0..5 * 36).map(|_| T::from_f64(number())).collect(),
            weight: (0..27 * 4).map(|_| T::from_f64(number())).collect(),
            bias: (0..19).map(|_| T::Bias::from_f64(number())).collect(),
        }
    }

    /// Output, slopes and range of the dense layer, then of the convolution.
    fn forward(&self, threads: usize, epilogue: Epilogue<T>) -> [(Vec<T>, Vec<T>, u32); 2] {
        let exec = Threads(threads);
        let bias = |n| Bias {
            values: &self.bias[..n],
            shift: 0,
        };
        let outputs = |n| (vec![T::ZERO; n], vec![T::ZERO; n]);
        let (mut y, mut slope) = outputs(7 * 19);
        let (x, weight) = (&self.x[..35], &self.weight[..95]);
        let range = dense::forward(
            &exec,
            self.dense,
            x,
            weight,
            bias(19),
            epilogue,
            &mut y,
            &mut slope,
        );
        let of_dense = (y, slope, range.unwrap());
        let (mut y, mut slope) = outputs(5 * 12 * 4);
        let range = conv::forward(
            &exec,
            self.conv,
            &self.x,
            &self.weight,
            bias(4),
            epilogue,
            &mut y,
            &mut slope,
        );
        [of_dense, (y, slope, range.unwrap())]
    }
}

/// As an epilogue, an activation does what it does as a layer of its own behind the identity.
fn fused_is_alone<T: Element>() {
    let layers = Layers::<T>::new();
    let store = match T::DTYPE.is_integer() {
        true => nearest(1),
        false => Store::EXACT,
    };
    for curve in Curve::ALL {
        let activation = curve.activation::<T>();
        let exponent = -4;
        let epilogue = Epilogue {
            activation,
            exponent,
            store,
        };
        let plain = layers.forward(1, Epilogue::EXACT);
        for ((acc, _, _), (y, slope, range)) in plain.iter().zip(&layers.forward(1, epilogue)) {
            let (mut alone, mut kept) = (vec![T::ZERO; acc.len()], vec![T::ZERO; acc.len()]);
            let got = activation::forward(activation, exponent, acc, store, &mut alone, &mut kept);
            let place = format!("{}, {curve:?}", T::DTYPE);
            assert_eq!(bytes(&alone), bytes(y), "{place}");
            assert_eq!(bytes(&kept), bytes(slope), "{place}: slopes");
            assert_eq!(got, Ok(*range), "{place}: range");
        }
    }
}

#[test]
fn fused_activations_are_those_of_layers_of_their_own() {
    for_each_integer!(fused_is_alone);
    fused_is_alone::<f32>();
    fused_is_alone::<f64>();
}

fn threads_do_not_matter<T: Element>() {
    let layers = Layers::<T>::new();
    let rounding = Rounding::Stochastic(Words::new(5, 8, 2));
    for curve in Curve::ALL {
        let epilogue = Epilogue {
            activation: curve.activation(),
            exponent: -4,
            store: Store::Shift { shift: 2, rounding },
        };
        let want = layers.forward(1, epilogue);
        for threads in [2, 3, 5, 16] {
            let place = format!("{}, {curve:?}, {threads} threads", T::DTYPE);
            for (want, got) in want.iter().zip(&layers.forward(threads, epilogue)) {
                assert_eq!(bytes(&want.0), bytes(&got.0), "{place}");
                assert_eq!(bytes(&want.1), bytes(&got.1), "{place}: slopes");
                assert_eq!(want.2, got.2, "{place}: range");
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    for_each_integer!(threads_do_not_matter);
    threads_do_not_matter::<f16>();
    threads_do_not_matter::<bf16>();
    threads_do_not_matter::<f32>();
    threads_do_not_matter::<f64>();
}

/// What ReLU's test `y > 0` loses by rounding, and a mask of the accumulator does not: the errors of a
/// dense layer's accumulators, with outputs of 7 bits.
#[test]
fn a_mask_of_accumulators_keeps_small_ones_alive() {
    let shape = dense::Shape {
        batch: 32,
        inputs: 64,
        outputs: 48,
    };
    let mut noise = Noise::new(95);
    let mut numbers = |n| -> Vec<i8> {
        noise
            .vector(n, 127.0)
            .into_iter()
            .map(i8::from_f64)
            .collect()
    };
    let (x, weight, d) = (numbers(32 * 64), numbers(48 * 64), numbers(32 * 48));
    let gradient = |curve: Curve| -> (Vec<i8>, Vec<i8>) {
        let bias = Bias {
            values: &[0; 48],
            shift: 0,
        };
        let (mut y, mut slope) = (vec![0i8; d.len()], vec![0i8; d.len()]);
        let mut run = |store| {
            let epilogue = Epilogue {
                activation: curve.activation(),
                exponent: -14,
                store,
            };
            dense::forward(
                &Serial, shape, &x, &weight, bias, epilogue, &mut y, &mut slope,
            )
            .unwrap()
        };
        let range = run(Store::Measure);
        run(nearest(range as i32 - 7));
        let mut dx = d.clone();
        activation::backward(curve.activation(), &y, &slope, &mut dx).unwrap();
        (y, dx)
    };
    let ((y, dx), (masked_y, masked_dx)) = (gradient(Curve::Relu), gradient(Curve::MaskedRelu));
    assert_eq!(y, masked_y, "the values are the same");
    // The exact mask.
    let mut want = d.clone();
    for n in 0..32 {
        for o in 0..48 {
            let row = x[n * 64..][..64].iter().zip(&weight[o * 64..][..64]);
            let acc: i32 = row.map(|(&x, &w)| i32::from(x) * i32::from(w)).sum();
            if acc <= 0 {
                want[n * 48 + o] = 0;
            }
        }
    }
    assert_eq!(masked_dx, want);
    let square = |v: &[i8]| v.iter().map(|&d| f64::from(d).powi(2)).sum::<f64>();
    // `dx` is `want` with some errors missing, so the cosine is the root of the share that is left.
    let cosine = (square(&dx) / square(&want)).sqrt();
    println!("cosine by the stored output: {cosine}");
    assert!(dx.iter().zip(&want).all(|(&d, &want)| d == want || d == 0));
    assert!((0.98..0.9999).contains(&cosine), "{cosine}");
}

/// The gradients of all weights of a dense layer with an activation and a dense head, for random
/// inputs and labels, from whole numbers of 7 bits.
fn network_gradients<T: Element>(curve: Curve, seed: u32) -> Vec<f64>
where
    T::Acc: Into<f64>,
{
    let (hidden, head) = (
        dense::Shape {
            batch: 32,
            inputs: 32,
            outputs: 48,
        },
        dense::Shape {
            batch: 32,
            inputs: 48,
            outputs: 10,
        },
    );
    let mut noise = Noise::new(seed);
    // The numbers q of 7 bits at `exponent`, and the exponent that the type has for them.
    let mut numbers = |n, exponent: i32| -> (Vec<T>, i32) {
        let whole = noise.vector(n, 127.0).into_iter().map(f64::round);
        match T::DTYPE.is_integer() {
            true => (whole.map(T::from_f64).collect(), exponent),
            false => {
                let unit = f64::from(exponent).exp2();
                (whole.map(|q| T::from_f64(q * unit)).collect(), 0)
            }
        }
    };
    let (x, x_exponent) = numbers(32 * 32, -7);
    let (w, w_exponent) = numbers(48 * 32, -8);
    let (v, v_exponent) = numbers(10 * 48, -8);
    let labels: Vec<u16> = (0..32).map(|_| noise.below(10) as u16).collect();
    let requantize = |exponent, bits, rounding, run: &mut dyn FnMut(Store) -> u32| {
        let run = |store| Ok(run(store));
        let mut state = T::Scale::UNSET;
        state
            .requantize(exponent, bits, Mode::Infer, rounding, run)
            .unwrap()
    };
    let forward = |exponent, activation| {
        move |store| Epilogue::<T> {
            activation,
            exponent,
            store,
        }
    };
    let zeros = [<T::Bias as Element>::ZERO; 48];
    let bias = |n| Bias {
        values: &zeros[..n],
        shift: 0,
    };
    let (bits, nearest) = (T::MAGNITUDE_BITS, Rounding::NearestEven);
    let stochastic = |stream| Rounding::Stochastic(Words::new(seed, stream, 0));

    let (mut y, mut slope) = (vec![T::ZERO; 32 * 48], vec![T::ZERO; 32 * 48]);
    let acc = x_exponent + w_exponent;
    let epilogue = forward(acc, curve.activation());
    let y_exponent = requantize(acc, bits, nearest, &mut |store| {
        let epilogue = epilogue(store);
        dense::forward(
            &Serial,
            hidden,
            &x,
            &w,
            bias(48),
            epilogue,
            &mut y,
            &mut slope,
        )
        .unwrap()
    });
    let mut logits = vec![<T::Head as Element>::ZERO; 32 * 10];
    let acc = y_exponent + v_exponent;
    let epilogue = forward(acc, Activation::Identity);
    let head_bits = <T::Head as Element>::MAGNITUDE_BITS;
    let logits_exponent = requantize(acc, head_bits, nearest, &mut |store| {
        let epilogue = epilogue(store);
        dense::forward(
            &Serial,
            head,
            &y,
            &v,
            bias(10),
            epilogue,
            &mut logits,
            &mut [],
        )
        .unwrap()
    });
    let mut dz = vec![T::ZERO; 32 * 10];
    let dz_exponent = requantize(T::LOSS_EXPONENT, bits, stochastic(1), &mut |store| {
        cross_entropy::<T>(10, &logits, logits_exponent, &labels, store, &mut dz)
            .unwrap()
            .range
    });
    let mut dv = vec![T::Acc::default(); v.len()];
    dense::backward_weight(head, &y, &dz, &mut Gradient::Store(&mut dv)).unwrap();
    let mut dy = vec![T::ZERO; y.len()];
    let dy_exponent = requantize(
        dz_exponent + v_exponent,
        bits,
        stochastic(2),
        &mut |store| dense::backward_input(&Serial, head, &dz, &v, store, &mut dy).unwrap(),
    );
    activation::backward(curve.activation(), &y, &slope, &mut dy).unwrap();
    let mut dw = vec![T::Acc::default(); w.len()];
    dense::backward_weight(hidden, &x, &dy, &mut Gradient::Store(&mut dw)).unwrap();
    let real = |sums: Vec<T::Acc>, exponent: i32| {
        let unit = f64::from(exponent).exp2();
        sums.into_iter().map(move |sum| sum.into() * unit)
    };
    real(dv, dz_exponent + y_exponent)
        .chain(real(dw, dy_exponent + x_exponent))
        .collect()
}

#[test]
fn a_mask_of_accumulators_brings_gradients_of_8_bits_nearer() {
    let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = |curve: Curve| {
        let of_seed = |seed| {
            let want = network_gradients::<f64>(curve, seed);
            let got = network_gradients::<i8>(curve, seed);
            inner(&want, &got) / (inner(&want, &want) * inner(&got, &got)).sqrt()
        };
        (120..123).map(of_seed).sum::<f64>() / 3.0
    };
    let (plain, masked) = (cosine(Curve::Relu), cosine(Curve::MaskedRelu));
    println!("cosine of all gradients: by the stored output {plain}, by a mask {masked}");
    assert!(plain >= tolerance::COSINE_8_BITS.0, "{plain}");
    assert!(masked >= tolerance::COSINE_8_BITS_MASKED, "{masked}");
}
