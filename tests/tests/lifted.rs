//! The lifted ReLU in every kernel with an epilogue: plain sums in 128 bits say which outputs are at
//! least 1, and the ReLU of the same kernel says the rest. On its own: `activations/`.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::activation::{self, Activation};
use selvedge_kernels::conv::{self, transpose};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::element::Output;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::Words;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, Result, bf16, f16, mixed};
use selvedge_tests::noise::Noise;
use selvedge_tests::plain::{elements, exact, filter_len, products, random_conv};
use selvedge_tests::threads::Threads;

fn bytes<T: Element>(x: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for x in x {
        x.le_bytes(|part| bytes.extend_from_slice(part));
    }
    bytes
}

/// Runs a kernel with both activations, and returns how many outputs were lifted. `acc` are its
/// accumulators.
fn compare<T: Element, O: Output<T> + Element>(
    place: &str,
    acc: &[i128],
    run: impl Fn(Epilogue<T>, &mut [O], &mut [T]) -> Result<u32>,
) -> usize {
    let largest = acc.iter().max().unwrap().max(&0);
    let bits = 128 - largest.leading_zeros();
    let m = O::MAGNITUDE_BITS as i32;
    let mark = T::from_f64(77.0);
    let mut lifted = 0;
    let stochastic = Rounding::Stochastic(Words::new(9, 8, 1));
    for rounding in [Rounding::NearestEven, stochastic] {
        // One that fits, one of less precision, one that takes all to 0, the accumulators themselves.
        for shift in [bits as i32 - m, bits as i32 - 3, bits as i32 + 2, 0] {
            let run = |activation, store| {
                let epilogue = Epilogue {
                    activation,
                    exponent: -4,
                    store,
                };
                let (mut y, mut slope) =
                    (vec![O::from_f64(33.0); acc.len()], vec![mark; acc.len()]);
                let range = run(epilogue, &mut y, &mut slope).unwrap();
                assert_eq!(range, bits, "{place}: range");
                assert!(slope.iter().all(|&s| s == mark), "{place}: slopes written");
                y
            };
            let y = run(Activation::LIFTED_RELU, Store::Measure);
            let untouched = y.iter().all(|&y| y == O::from_f64(33.0));
            assert!(untouched, "{place}: measuring wrote");
            let store = Store::Shift { shift, rounding };
            let plain = run(Activation::Relu, store);
            let y = run(Activation::LIFTED_RELU, store);
            for ((&y, &plain), &acc) in y.iter().zip(&plain).zip(acc) {
                let want = exact(plain).max((acc > 0).into());
                assert_eq!(exact(y), want, "{place}, shift {shift}: of {acc}");
                lifted += usize::from(y != plain);
            }
        }
    }
    lifted
}

/// What the backward pass lets through after any rounding: that of positive accumulators.
fn passes<T: Element>(acc: &[i128], y: &[T]) {
    let mut dy = vec![T::from_f64(-5.0); y.len()];
    activation::backward(Activation::LIFTED_RELU, y, &[], &mut dy).unwrap();
    for (d, &acc) in dy.iter().zip(acc) {
        assert_eq!(exact(*d), if acc > 0 { -5 } else { 0 }, "{}", T::DTYPE);
    }
}

fn dense_is_lifted<T: Element>() {
    let mut noise = Noise::new(201);
    let mut lifted = [0; 2];
    // Less than a register tile, whole ones, and rests.
    for (batch, inputs, outputs) in [(1, 1, 1), (2, 9, 5), (5, 33, 19), (7, 64, 32), (4, 40, 70)] {
        let shape = dense::Shape {
            batch,
            inputs,
            outputs,
        };
        let x = elements::<T>(&mut noise, batch * inputs);
        let weight = elements::<T>(&mut noise, outputs * inputs);
        let bias = elements::<T::Bias>(&mut noise, outputs);
        let mut acc = Vec::new();
        for x in x.chunks(inputs) {
            for (row, &b) in weight.chunks(inputs).zip(&bias) {
                let sum = x.iter().zip(row).map(|(&x, &w)| exact(x) * exact(w));
                acc.push(exact(b) + sum.sum::<i128>());
            }
        }
        let bias = Bias {
            values: &bias,
            shift: 0,
        };
        let place = format!("{}, {shape:?}", T::DTYPE);
        lifted[0] += compare::<T, T>(&place, &acc, |epilogue, y, slope| {
            dense::forward(&Threads(2), shape, &x, &weight, bias, epilogue, y, slope)
        });
        lifted[1] += compare::<T, T::Head>(&place, &acc, |epilogue, y, slope| {
            dense::forward(&Threads(1), shape, &x, &weight, bias, epilogue, y, slope)
        });
        let mut y = vec![T::ZERO; acc.len()];
        let store = Store::Shift {
            shift: 8 + 2 * T::MAGNITUDE_BITS as i32,
            rounding: Rounding::NearestEven,
        };
        let epilogue = Epilogue {
            store,
            ..Epilogue::EXACT.with(Activation::LIFTED_RELU)
        };
        dense::forward(
            &Threads(1),
            shape,
            &x,
            &weight,
            bias,
            epilogue,
            &mut y,
            &mut [],
        )
        .unwrap();
        passes(&acc, &y);
    }
    assert!(lifted.iter().all(|&n| n > 100), "{}: {lifted:?}", T::DTYPE);
}

/// A convolution and its transpose with the same window.
fn conv_is_lifted<T: Element, const N: usize>(shape: conv::Shape<N>, noise: &mut Noise) -> usize {
    let cells = |extents: [usize; N]| shape.batch * extents.iter().product::<usize>();
    let (inputs, outputs) = (cells(shape.input), cells(shape.outputs().unwrap()));
    let (x_len, y_len) = (inputs * shape.channels, outputs * shape.filters);
    let weight = elements::<T>(noise, shape.filters * filter_len(&shape));
    let x = elements::<T>(noise, x_len);
    let biases = elements::<T::Bias>(noise, shape.filters.max(shape.channels));
    let bias = |n| Bias {
        values: &biases[..n],
        shift: 0,
    };
    let start = |len: usize, channels: usize| -> Vec<i128> {
        (0..len).map(|i| exact(biases[i % channels])).collect()
    };
    let place = format!("{}, {shape:?}", T::DTYPE);
    let mut acc = start(y_len, shape.filters);
    products(&shape, |o, i, w| acc[o] += exact(x[i]) * exact(weight[w]));
    let mut lifted = compare::<T, T>(&place, &acc, |epilogue, y, slope| {
        let bias = bias(shape.filters);
        conv::forward(&Threads(2), shape, &x, &weight, bias, epilogue, y, slope)
    });
    let x = elements::<T>(noise, y_len);
    let mut acc = start(x_len, shape.channels);
    products(&shape, |o, i, w| acc[i] += exact(x[o]) * exact(weight[w]));
    lifted += compare::<T, T>(
        &format!("{place}, transposed"),
        &acc,
        |epilogue, y, slope| {
            let bias = bias(shape.channels);
            transpose::forward(&Threads(2), shape, &x, &weight, bias, epilogue, y, slope)
        },
    );
    lifted
}

fn convs_are_lifted<T: Element>() {
    let mut noise = Noise::new(202);
    let mut lifted = 0;
    let fixed = |channels, filters, groups, kernel| conv::Shape {
        batch: 2,
        input: [6, 7],
        channels,
        filters,
        groups,
        window: Window::uniform(kernel, 1, kernel / 2),
    };
    // Depthwise, pointwise, and one of whole register tiles.
    for shape in [
        fixed(19, 19, 19, 3),
        fixed(16, 24, 1, 1),
        fixed(8, 32, 1, 3),
    ] {
        lifted += conv_is_lifted::<T, 2>(shape, &mut noise);
    }
    for _ in 0..8 {
        lifted += conv_is_lifted::<T, 1>(random_conv(&mut noise), &mut noise);
        lifted += conv_is_lifted::<T, 2>(random_conv(&mut noise), &mut noise);
        lifted += conv_is_lifted::<T, 3>(random_conv(&mut noise), &mut noise);
    }
    assert!(lifted > 1000, "{}: {lifted}", T::DTYPE);
}

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

#[test]
fn dense_layers_are_lifted() {
    for_each_integer!(dense_is_lifted);
}

#[test]
fn convolutions_are_lifted() {
    for_each_integer!(convs_are_lifted);
}

fn mixed_is_lifted<A: mixed::Activation<W>, W: Element>() {
    let mut noise = Noise::new(203);
    let shape = dense::Shape {
        batch: 3,
        inputs: 20,
        outputs: 17,
    };
    let x = elements::<A>(&mut noise, 60);
    let weight = elements::<W>(&mut noise, 340);
    let zeros = [<A::Bias as Element>::ZERO; 17];
    let bias = Bias {
        values: &zeros,
        shift: 0,
    };
    let mut acc = Vec::new();
    for x in x.chunks(20) {
        for row in weight.chunks(20) {
            acc.push(x.iter().zip(row).map(|(&x, &w)| exact(x) * exact(w)).sum());
        }
    }
    let lifted = compare::<A, A>(A::DTYPE.name(), &acc, |epilogue, y, _| {
        mixed::dense_forward(&Threads(2), shape, &x, &weight, bias, epilogue, y, &mut [])
    });
    assert!(lifted > 20, "{lifted}");
}

#[test]
fn mixed_types_are_lifted() {
    mixed_is_lifted::<i16, i8>();
    mixed_is_lifted::<u16, u8>();
}

/// Floats have nothing to lift: the bytes of a ReLU.
fn is_relu<T: Element>() {
    let mut noise = Noise::new(204);
    let mut numbers = |n| -> Vec<T> { noise.vector(n, 2.0).into_iter().map(T::from_f64).collect() };
    let shape = dense::Shape {
        batch: 5,
        inputs: 33,
        outputs: 19,
    };
    let (mut x, weight, tiny) = (numbers(165), numbers(627), T::from_f64(1e-30));
    x[0] = T::from_f64(f64::NAN);
    let bias = [<T::Bias as Element>::ZERO; 19];
    let run = |activation| {
        let bias = Bias {
            values: &bias,
            shift: 0,
        };
        let mut y = vec![T::ZERO; 95];
        let epilogue = Epilogue::EXACT.with(activation);
        dense::forward(
            &Threads(2),
            shape,
            &x,
            &weight,
            bias,
            epilogue,
            &mut y,
            &mut [],
        )
        .unwrap();
        let mut alone = [tiny, T::ZERO, T::from_f64(-1.0)];
        let alone_x = alone;
        activation::forward(activation, 0, &alone_x, Store::EXACT, &mut alone, &mut []).unwrap();
        let mut dy = vec![T::from_f64(-5.0); 95];
        activation::backward(activation, &y, &[], &mut dy).unwrap();
        (bytes(&y), bytes(&alone), bytes(&dy))
    };
    let place = T::DTYPE.name();
    assert_eq!(
        run(Activation::LIFTED_RELU),
        run(Activation::Relu),
        "{place}"
    );
}

#[test]
fn floats_are_not_lifted() {
    is_relu::<f16>();
    is_relu::<bf16>();
    is_relu::<f32>();
    is_relu::<f64>();
}
