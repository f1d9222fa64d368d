//! Operations on two tensors of floats against definitions, gradients against differences.

use super::{OPERATIONS, SHAPES, operand, product};
use selvedge_kernels::Element;
use selvedge_kernels::elementwise::{self, Operation, Side};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::Store;
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::{
    assert_close, central, cosine, elements, index, inner, nearest, offset, rounding, values,
};
use selvedge_tests::{for_floats, tolerance};

fn floats_are_the_definition<T: Element>() {
    let mut noise = Noise::new(4);
    for (a_shape, b_shape, shape) in SHAPES {
        let a = elements::<T>(&mut noise, product(a_shape));
        let b: Vec<T> = (0..product(b_shape))
            .map(|_| T::from_f64(noise.signed() + 1.5))
            .collect();
        for operation in OPERATIONS {
            let mut out = vec![T::ZERO; product(shape)];
            let (x, y) = (operand(&a, a_shape, 3), operand(&b, b_shape, -9)); // not used
            elementwise::forward(&Serial, operation, x, y, Store::EXACT, &mut out).unwrap();
            for (i, out) in out.iter().enumerate() {
                let at = index(shape, i);
                let a = a[offset(a_shape, &at)].to_f64();
                let b = b[offset(b_shape, &at)].to_f64();
                let want = match operation {
                    Operation::Add => a + b,
                    Operation::Sub => a - b,
                    Operation::Mul => a * b,
                    Operation::Div => a / b,
                    Operation::Min => a.min(b),
                    Operation::Max => a.max(b),
                };
                // Rounded in the accumulator, and when stored.
                let limit = want.abs() * 2.01 * rounding::<T>() + tolerance::HALF_SMALLEST_F16;
                assert!(
                    (out.to_f64() - want).abs() <= limit,
                    "{operation:?}, {}: {a}, {b}: {out:?}",
                    T::DTYPE
                );
            }
        }
    }
}

#[test]
fn float_operations_are_the_definition() {
    for_floats!(floats_are_the_definition);
}

#[test]
fn gradients_of_operations_are_the_differences() {
    let mut noise = Noise::new(5);
    for (a_shape, b_shape, shape) in SHAPES {
        let a = noise.vector(product(a_shape), 1.0);
        // Away from 0, where a quotient has no derivative.
        let b: Vec<f64> = noise.vector(product(b_shape), 1.0);
        let b: Vec<f64> = b.iter().map(|b| b + 1.5f64.copysign(*b)).collect();
        let weights = noise.vector(product(shape), 1.0);
        for operation in OPERATIONS {
            // Between 1.5 and 2.5 for quotients; comparisons want both orders.
            let b: Vec<f64> = match operation {
                Operation::Min | Operation::Max => {
                    b.iter().map(|b| b - 1.5f64.copysign(*b)).collect()
                }
                _ => b.clone(),
            };
            let forward = |a: &[f64], b: &[f64]| {
                let mut y = vec![0.0; product(shape)];
                let (a, b) = (operand(a, a_shape, 0), operand(b, b_shape, 0));
                elementwise::forward(&Serial, operation, a, b, Store::EXACT, &mut y).unwrap();
                y
            };
            let y = forward(&a, &b);
            for side in [Side::A, Side::B] {
                let place = format!("{operation:?} {side:?} {a_shape:?} {b_shape:?}");
                let own = if side == Side::A { &a } else { &b };
                let loss = |x: &[f64]| {
                    let y = match side {
                        Side::A => forward(x, &b),
                        Side::B => forward(&a, x),
                    };
                    inner(&y, &weights)
                };
                let mut dx = vec![0.0; own.len()];
                let y = if (operation, side) == (Operation::Div, Side::B) {
                    &y[..]
                } else {
                    &[]
                };
                let (x, z) = (operand(&a, a_shape, 0), operand(&b, b_shape, 0));
                let store = Store::EXACT;
                elementwise::backward(&Serial, operation, side, x, z, y, &weights, store, &mut dx)
                    .unwrap();
                // Third derivatives of quotients: at most 6 / 1.5^4, each of up to 36 terms.
                let limit = tolerance::LINEAR_DIFFERENCE + 36.0 * 1.2 * 1e-8 / 6.0;
                assert_close(&place, &central(own, loss), &dx, limit);
            }
        }
    }
}

fn gradient_cosine<T: Element>(operation: Operation, side: Side) -> f64 {
    let n = 2000;
    let mut noise = Noise::new(6);
    let scale = 2f64.powi(-(T::MAGNITUDE_BITS as i32));
    let mut quantized = |from: f64| -> Vec<T> {
        (0..n)
            .map(|_| {
                let x = noise.signed();
                T::from_f64((x * (1.0 - from) + from.copysign(x)) / scale)
            })
            .collect()
    };
    let (a, b, dy) = (quantized(0.0), quantized(0.25), quantized(0.0));
    let real = |x: &[T]| -> Vec<f64> { values(x).iter().map(|x| x * scale).collect() };
    let shape = [n];
    let exponent = -(T::MAGNITUDE_BITS as i32);
    let (x, z) = (operand(&a, &shape, exponent), operand(&b, &shape, exponent));
    let store = |range: u32| nearest(range as i32 - T::MAGNITUDE_BITS as i32);
    let (mut y, mut dx) = (vec![T::ZERO; n], vec![T::ZERO; n]);
    let measure = selvedge_tests::tensors::MEASURE;
    let range = elementwise::forward(&Serial, operation, x, z, measure, &mut y).unwrap();
    elementwise::forward(&Serial, operation, x, z, store(range), &mut y).unwrap();
    let y = if (operation, side) == (Operation::Div, Side::B) {
        &y[..]
    } else {
        &[]
    };
    let range =
        elementwise::backward(&Serial, operation, side, x, z, y, &dy, measure, &mut dx).unwrap();
    elementwise::backward(
        &Serial,
        operation,
        side,
        x,
        z,
        y,
        &dy,
        store(range),
        &mut dx,
    )
    .unwrap();

    let (ra, rb, rd) = (real(&a), real(&b), real(&dy));
    let y: Vec<f64> = ra.iter().zip(&rb).map(|(a, b)| a / b).collect();
    let mut want = vec![0.0; n];
    let (a, b) = (operand(&ra, &shape, 0), operand(&rb, &shape, 0));
    let y = if (operation, side) == (Operation::Div, Side::B) {
        &y[..]
    } else {
        &[]
    };
    elementwise::backward(
        &Serial,
        operation,
        side,
        a,
        b,
        y,
        &rd,
        Store::EXACT,
        &mut want,
    )
    .unwrap();
    cosine(&want, &values(&dx))
}

#[test]
fn integer_gradients_point_where_those_of_floats_do() {
    for operation in OPERATIONS {
        for side in [Side::A, Side::B] {
            let place = format!("{operation:?} {side:?}");
            let eight = gradient_cosine::<i8>(operation, side);
            assert!(eight >= tolerance::COSINE_8_BITS.0, "{place}: {eight}");
            let sixteen = gradient_cosine::<i16>(operation, side);
            assert!(sixteen >= tolerance::COSINE_16_BITS.0, "{place}: {sixteen}");
            let more = gradient_cosine::<i32>(operation, side);
            assert!(more >= tolerance::COSINE_32_BITS.0, "{place}: {more}");
            let most = gradient_cosine::<i64>(operation, side);
            assert!(most >= tolerance::COSINE_32_BITS.0, "{place}: {most}");
        }
    }
}
