//! Arithmetic with broadcasting and reductions: integers against exact models, floats against
//! definitions, gradients against differences.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::axes::Operand;
use selvedge_kernels::elementwise::{
    self, Operation, Side, Term, abs, abs_backward, aligned_exponent, average, average_backward,
    average_places, negate, square, square_backward,
};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::reduce::{self, Reduced, Shape};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Arg, Element, Error};
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::{
    assert_close, assert_stores, assert_transposed, central, cosine, elements, extents, index,
    inner, nearest, number, numbers, offset, rne, rounding, values,
};
use selvedge_tests::threads::Threads;
use selvedge_tests::{for_floats, for_integers, tolerance};

const OPERATIONS: [Operation; 6] = [
    Operation::Add,
    Operation::Sub,
    Operation::Mul,
    Operation::Div,
    Operation::Min,
    Operation::Max,
];

/// Two shapes, and what they broadcast to.
const SHAPES: [(&[usize], &[usize], &[usize]); 8] = [
    (&[7], &[7], &[7]),
    (&[2, 3, 5], &[2, 3, 5], &[2, 3, 5]),
    (&[4, 5], &[5], &[4, 5]),
    (&[3, 1], &[1, 4], &[3, 4]),
    (&[2, 3, 1, 4], &[5, 1], &[2, 3, 5, 4]),
    (&[], &[2, 3], &[2, 3]),
    (
        &[2, 1, 3, 1, 2, 1],
        &[1, 2, 1, 3, 1, 2],
        &[2, 2, 3, 3, 2, 2],
    ),
    (&[1, 1, 6], &[5, 1, 1], &[5, 1, 6]),
];

fn operand<'a, T>(values: &'a [T], shape: &[usize], exponent: i32) -> Operand<'a, T> {
    Operand {
        values,
        extents: extents(shape),
        exponent,
    }
}

fn product(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// `P` of the reciprocal.
fn fraction<T: Element>() -> u32 {
    T::MAGNITUDE_BITS.max(15)
}

/// The accumulator of an operation on integers, as documented.
fn model<T: Element>(operation: Operation, a: i128, b: i128, ea: i32, eb: i32) -> i128 {
    let common = aligned_exponent([ea, eb]);
    let (aligned_a, aligned_b) = (rne(a, common - ea), rne(b, common - eb));
    match operation {
        Operation::Add => aligned_a + aligned_b,
        Operation::Sub => aligned_a - aligned_b,
        Operation::Mul => a * b,
        Operation::Min => aligned_a.min(aligned_b),
        Operation::Max => aligned_a.max(aligned_b),
        Operation::Div => quotient::<T>(a, b),
    }
}

fn reciprocal<T: Element>(b: i128) -> (i128, i32) {
    let n = 128 - b.abs().leading_zeros();
    let r = ((1i128 << (n + fraction::<T>())) + b.abs() / 2) / b.abs();
    (r * b.signum(), (n + fraction::<T>()) as i32)
}

fn quotient<T: Element>(a: i128, b: i128) -> i128 {
    let m = T::MAGNITUDE_BITS;
    if b == 0 {
        return a.signum() * (((1 << m) - 1) << m);
    }
    let (r, places) = reciprocal::<T>(b);
    rne(a * r, places - m as i32)
}

/// The term of a gradient of integers, as documented.
#[allow(clippy::too_many_arguments)] // two operands with exponents, output and error
fn gradient_term<T: Element>(
    operation: Operation,
    side: Side,
    a: i128,
    b: i128,
    ea: i32,
    eb: i32,
    y: i128,
    d: i128,
) -> i128 {
    let is_a = side == Side::A;
    let common = aligned_exponent([ea, eb]);
    let (aligned_a, aligned_b) = (rne(a, common - ea), rne(b, common - eb));
    match operation {
        Operation::Add => d,
        Operation::Sub => {
            if is_a {
                d
            } else {
                -d
            }
        }
        Operation::Mul => d * if is_a { b } else { a },
        Operation::Min => {
            if (aligned_a <= aligned_b) == is_a {
                d
            } else {
                0
            }
        }
        Operation::Max => {
            if (aligned_a >= aligned_b) == is_a {
                d
            } else {
                0
            }
        }
        Operation::Div if b == 0 => 0,
        Operation::Div if is_a => quotient::<T>(d, b),
        Operation::Div => {
            let (r, places) = reciprocal::<T>(b);
            let drop = if T::MAGNITUDE_BITS == 53 { 34 } else { 0 };
            rne(-rne(d * y, drop) * r, places - drop)
        }
    }
}

fn integers_are_the_model<T: Element>() {
    let mut noise = Noise::new(1);
    for (a_shape, b_shape, shape) in SHAPES {
        let a = elements::<T>(&mut noise, product(a_shape));
        let b = elements::<T>(&mut noise, product(b_shape));
        for (ea, eb) in [(-3, -3), (0, -7), (-20, 4)] {
            for operation in OPERATIONS {
                let place = format!("{operation:?} {a_shape:?} {b_shape:?} at {ea}, {eb}");
                let want: Vec<i128> = (0..product(shape))
                    .map(|i| {
                        let at = index(shape, i);
                        let a = number(a[offset(a_shape, &at)]);
                        let b = number(b[offset(b_shape, &at)]);
                        model::<T>(operation, a, b, ea, eb)
                    })
                    .collect();
                let (x, y) = (operand(&a, a_shape, ea), operand(&b, b_shape, eb));
                assert_stores::<T>(&place, &want, |store, out| {
                    elementwise::forward(&Serial, operation, x, y, store, out).unwrap()
                });
                for threads in [2, 5] {
                    assert_stores::<T>(&place, &want, |store, out| {
                        let exec = Threads(threads);
                        elementwise::forward(&exec, operation, x, y, store, out).unwrap()
                    });
                }
            }
        }
    }
}

#[test]
fn integer_operations_are_the_model() {
    for_integers!(integers_are_the_model);
}

fn integer_gradients_are_the_model<T: Element>() {
    let mut noise = Noise::new(2);
    for (a_shape, b_shape, shape) in SHAPES {
        let a = elements::<T>(&mut noise, product(a_shape));
        let b = elements::<T>(&mut noise, product(b_shape));
        let y = elements::<T>(&mut noise, product(shape));
        let dy = elements::<T>(&mut noise, product(shape));
        let (ea, eb) = (-3, -5);
        for operation in OPERATIONS {
            for side in [Side::A, Side::B] {
                let own = if side == Side::A { a_shape } else { b_shape };
                let mut want = vec![0; product(own)];
                for i in 0..product(shape) {
                    let at = index(shape, i);
                    want[offset(own, &at)] += gradient_term::<T>(
                        operation,
                        side,
                        number(a[offset(a_shape, &at)]),
                        number(b[offset(b_shape, &at)]),
                        ea,
                        eb,
                        number(y[i]),
                        number(dy[i]),
                    );
                }
                let place = format!("{operation:?} {side:?} {a_shape:?} {b_shape:?}");
                let y = if (operation, side) == (Operation::Div, Side::B) {
                    &y[..]
                } else {
                    &[]
                };
                let (a, b) = (operand(&a, a_shape, ea), operand(&b, b_shape, eb));
                assert_stores::<T>(&place, &want, |store, dx| {
                    elementwise::backward(&Serial, operation, side, a, b, y, &dy, store, dx)
                        .unwrap()
                });
                assert_stores::<T>(&place, &want, |store, dx| {
                    let exec = Threads(3);
                    elementwise::backward(&exec, operation, side, a, b, y, &dy, store, dx).unwrap()
                });
            }
        }
    }
}

#[test]
fn integer_gradients_of_operations_are_the_model() {
    for_integers!(integer_gradients_are_the_model);
}

/// That quotients keep the stated bound: `|acc - a 2^M / b| <= 1/2 + 2^-(P+1) |a| 2^M / |b|`.
fn assert_quotient<T: Element>(a: T, b: T, acc: i128) {
    let (a, b) = (number(a), number(b));
    let m = T::MAGNITUDE_BITS;
    if b == 0 {
        assert_eq!(acc, a.signum() * (((1 << m) - 1) << m), "{a} / 0");
        return;
    }
    let error = (acc * b - (a << m)).abs();
    let more = fraction::<T>() - m;
    assert!(
        error << (more + 1) <= (b.abs() << more) + a.abs(),
        "{}: {a} / {b} is {acc}",
        T::DTYPE
    );
}

#[test]
fn quotients_keep_their_bound() {
    // All of 8 bits: the accumulator is seen through an output of 16 bits at a time.
    let all: Vec<i8> = (-127..=127).collect();
    for &b in &all {
        for (a, acc) in all.iter().zip(accumulators(&all, &[b])) {
            assert_quotient(*a, b, acc);
        }
    }
    fn sampled<T: Element>() {
        let mut noise = Noise::new(3);
        let (a, b) = (
            elements::<T>(&mut noise, 400),
            elements::<T>(&mut noise, 400),
        );
        for i in 0..a.len() {
            let acc = accumulators(&a[i..=i], &b[i..=i])[0];
            assert_quotient(a[i], b[i], acc);
        }
    }
    for_integers!(sampled);
}

/// Accumulators of quotients, put together from outputs that each hold some of their bits.
fn accumulators<T: Element>(a: &[T], b: &[T]) -> Vec<i128> {
    let (shape_a, shape_b) = ([a.len()], [b.len()]);
    let (x, y) = (operand(a, &shape_a, 0), operand(b, &shape_b, 0));
    let m = T::MAGNITUDE_BITS as i32;
    let part = |shift| {
        let mut out = vec![T::ZERO; a.len()];
        elementwise::forward(&Serial, Operation::Div, x, y, nearest(shift), &mut out).unwrap();
        numbers(&out)
    };
    // Nearest high parts, then what is missing, by the model of the same rule where it is too
    // large to be seen: the model itself is what is held against the bound.
    let high = part(m);
    let low = part(0);
    high.iter()
        .zip(low)
        .zip(a.iter().enumerate())
        .map(|((&high, low), (i, &a))| {
            let acc = model::<T>(
                Operation::Div,
                number(a),
                number(b[i.min(b.len() - 1)]),
                0,
                0,
            );
            assert_eq!(
                high,
                rne(acc, m).clamp(1 - (1 << m), (1 << m) - 1),
                "high bits"
            );
            assert_eq!(low, acc.clamp(1 - (1 << m), (1 << m) - 1), "low bits");
            acc
        })
        .collect()
}

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

fn sums_are_the_model<T: Element>() {
    let mut noise = Noise::new(7);
    for exponents in [
        &[-4][..],
        &[0, 0],
        &[-7, -9, -4],
        &[-30, 2, -5, -5, 0, -12, -14],
    ] {
        let n = 21;
        let tensors: Vec<Vec<T>> = exponents.iter().map(|_| elements(&mut noise, n)).collect();
        let terms: Vec<_> = tensors
            .iter()
            .zip(exponents)
            .map(|(values, &exponent)| Term { values, exponent })
            .collect();
        let (least, most) = (
            exponents.iter().min().unwrap(),
            exponents.iter().max().unwrap(),
        );
        let common = *least.max(&(most - 15));
        assert_eq!(aligned_exponent(exponents.iter().copied()), common);
        let sums: Vec<i128> = (0..n)
            .map(|i| {
                let terms = tensors.iter().zip(exponents);
                terms.map(|(x, e)| rne(number(x[i]), common - e)).sum()
            })
            .collect();
        let place = format!("sum at {exponents:?}");
        assert_stores::<T>(&place, &sums, |store, out| {
            elementwise::sum(&Serial, &terms, store, out).unwrap()
        });
        assert_stores::<T>(&place, &sums, |store, out| {
            elementwise::sum(&Threads(4), &terms, store, out).unwrap()
        });
        let places = average_places::<T>(terms.len());
        let f = ((1i128 << places) + terms.len() as i128 / 2) / terms.len() as i128;
        assert!((1 << 15..=1 << 16).contains(&f));
        let averages: Vec<i128> = sums.iter().map(|sum| sum * f).collect();
        assert_stores::<T>(
            &format!("average at {exponents:?}"),
            &averages,
            |store, out| average(&Serial, &terms, store, out).unwrap(),
        );
        let spread: Vec<i128> = tensors[0].iter().map(|&d| number(d) * f).collect();
        assert_stores::<T>("gradient of an average", &spread, |store, dx| {
            average_backward(terms.len(), &tensors[0], store, dx).unwrap()
        });
    }
}

#[test]
fn sums_of_tensors_are_the_model() {
    for_integers!(sums_are_the_model);
}

fn functions_of_one_element<T: Element>() {
    let x = elements::<T>(&mut Noise::new(8), 33);
    let dy = elements::<T>(&mut Noise::new(9), 33);
    let (mut out, mut dx) = (vec![T::ZERO; 33], vec![T::ZERO; 33]);
    negate(&x, &mut out).unwrap();
    assert!(values(&x).iter().zip(values(&out)).all(|(x, y)| -x == y));
    abs(&x, &mut out).unwrap();
    assert!(
        values(&x)
            .iter()
            .zip(values(&out))
            .all(|(x, y)| x.abs() == y)
    );
    assert!(values(&out).iter().all(|y| y.is_sign_positive()));
    abs_backward(&x, &dy, &mut dx).unwrap();
    for ((x, d), dx) in values(&x).iter().zip(values(&dy)).zip(values(&dx)) {
        let sign = if *x == 0.0 { 0.0 } else { x.signum() };
        assert_eq!(dx, d * sign, "{x}");
    }
    if T::DTYPE.is_integer() {
        let squares: Vec<i128> = numbers(&x).iter().map(|x| x * x).collect();
        assert_stores::<T>("square", &squares, |store, out| {
            square(&Serial, &x, store, out).unwrap()
        });
        let slopes = numbers(&x)
            .into_iter()
            .zip(numbers(&dy))
            .map(|(x, d)| 2 * x * d);
        assert_stores::<T>(
            "gradient of a square",
            &slopes.collect::<Vec<_>>(),
            |e, dx| square_backward(&x, &dy, e, dx).unwrap(),
        );
    } else {
        square(&Serial, &x, Store::EXACT, &mut out).unwrap();
        square_backward(&x, &dy, Store::EXACT, &mut dx).unwrap();
        for (i, x) in values(&x).into_iter().enumerate() {
            let limit =
                |want: f64| want.abs() * 2.01 * rounding::<T>() + tolerance::HALF_SMALLEST_F16;
            assert!((out[i].to_f64() - x * x).abs() <= limit(x * x));
            let want = 2.0 * x * dy[i].to_f64();
            assert!((dx[i].to_f64() - want).abs() <= limit(want));
        }
    }
}

#[test]
fn functions_of_one_element_are_the_definition() {
    for_integers!(functions_of_one_element);
    for_floats!(functions_of_one_element);
    let mut out = [0i8];
    negate(&[-128i8], &mut out).unwrap();
    assert_eq!(out, [127], "beyond the magnitude bits: saturated");
}

/// Extents, the reduced axes, the extents left.
const REDUCTIONS: [(&[usize], &[usize], &[usize]); 7] = [
    (&[9], &[0], &[]),
    (&[3, 4], &[1], &[3]),
    (&[3, 4], &[0], &[4]),
    (&[2, 3, 4], &[2, 0], &[3]),
    (&[2, 3, 2, 2, 3, 2], &[1, 4], &[2, 2, 2, 2]),
    (&[5, 1, 2], &[], &[5, 1, 2]),
    (&[1, 5, 60], &[1, 2], &[1]),
];

/// For each output, the offsets of what it is made of, in row-major order.
fn groups(shape: &[usize], axes: &[usize]) -> Vec<Vec<usize>> {
    let kept: Vec<usize> = (0..shape.len())
        .filter(|axis| !axes.contains(axis))
        .collect();
    let kept_shape: Vec<usize> = kept.iter().map(|&axis| shape[axis]).collect();
    let mut groups = vec![Vec::new(); product(&kept_shape)];
    for i in 0..product(shape) {
        let at = index(shape, i);
        let at: Vec<usize> = kept.iter().map(|&axis| at[axis]).collect();
        groups[offset(&kept_shape, &at)].push(i);
    }
    groups
}

fn reductions_are_the_model<T: Element>() {
    let mut noise = Noise::new(10);
    for (shape, axes, kept) in REDUCTIONS {
        let place = format!("{shape:?} over {axes:?}");
        let groups = groups(shape, axes);
        let x = elements::<T>(&mut noise, product(shape));
        let dy = elements::<T>(&mut noise, groups.len());
        let shape = Shape {
            extents: extents(shape),
            axes,
        };
        assert_eq!(shape.outputs(Reduced::Drop).unwrap(), extents(kept));
        assert_eq!(
            shape.outputs(Reduced::Keep).unwrap().elements(),
            groups.len()
        );
        let sums: Vec<i128> = groups
            .iter()
            .map(|group| group.iter().map(|&i| number(x[i])).sum())
            .collect();
        assert_stores::<T>(&format!("sum {place}"), &sums, |store, out| {
            reduce::sum(&Serial, shape, &x, store, out).unwrap()
        });
        assert_stores::<T>(&format!("sum {place}"), &sums, |store, out| {
            reduce::sum(&Threads(3), shape, &x, store, out).unwrap()
        });
        let n = groups[0].len() as i128;
        let k = 15 + 128 - (n - 1).leading_zeros();
        assert_eq!(reduce::mean_places::<T>(shape).unwrap(), k as i32);
        let f = ((1 << k) + n / 2) / n;
        let means: Vec<i128> = sums.iter().map(|sum| sum * f).collect();
        for threads in [1, 3] {
            assert_stores::<T>(&format!("mean {place}"), &means, |store, out| {
                reduce::mean(&Threads(threads), shape, &x, store, out).unwrap()
            });
        }
        let mut spread = vec![0; x.len()];
        let mut want = vec![0; x.len()];
        for (group, &d) in groups.iter().zip(&dy) {
            for &i in group {
                (want[i], spread[i]) = (number(d), number(d) * f);
            }
        }
        let mut dx = vec![T::ZERO; x.len()];
        reduce::sum_backward(&Threads(2), shape, &dy, &mut dx).unwrap();
        assert_eq!(numbers(&dx), want, "{place}");
        assert_stores::<T>(
            &format!("gradient of mean {place}"),
            &spread,
            |store, dx| reduce::mean_backward(&Threads(2), shape, &dy, store, dx).unwrap(),
        );
    }
}

#[test]
fn integer_reductions_are_the_model() {
    for_integers!(reductions_are_the_model);
}

fn extremes_are_the_definition<T: Element>() {
    let mut noise = Noise::new(11);
    for (shape, axes, _) in REDUCTIONS {
        let groups = groups(shape, axes);
        // Few different elements, so that ties occur.
        let x: Vec<T> = (0..product(shape))
            .map(|_| T::from_f64(noise.below(5) as f64 - 2.0))
            .collect();
        let dy = elements::<T>(&mut noise, groups.len());
        let shape = Shape {
            extents: extents(shape),
            axes,
        };
        for is_max in [true, false] {
            let (mut out, mut dx) = (vec![T::ZERO; groups.len()], vec![T::ZERO; x.len()]);
            let exec = Threads(3);
            if is_max {
                reduce::max(&exec, shape, &x, &mut out).unwrap();
                reduce::max_backward(shape, &x, &dy, &mut dx).unwrap();
            } else {
                reduce::min(&exec, shape, &x, &mut out).unwrap();
                reduce::min_backward(shape, &x, &dy, &mut dx).unwrap();
            }
            let mut want = vec![0.0; x.len()];
            for ((group, out), d) in groups.iter().zip(&out).zip(&dy) {
                let sign = if is_max { 1.0 } else { -1.0 };
                let mut winner = group[0];
                for &i in group {
                    if x[i].to_f64() * sign > x[winner].to_f64() * sign {
                        winner = i;
                    }
                }
                assert_eq!(out.to_f64(), x[winner].to_f64());
                want[winner] = d.to_f64();
            }
            assert_eq!(values(&dx), want, "{axes:?}");
        }
    }
}

#[test]
fn extremes_and_their_gradients_are_the_definition() {
    for_integers!(extremes_are_the_definition);
    for_floats!(extremes_are_the_definition);
}

fn float_reductions<T: Element>() {
    let mut noise = Noise::new(12);
    for (shape, axes, _) in REDUCTIONS {
        let groups = groups(shape, axes);
        let x = elements::<T>(&mut noise, product(shape));
        let shape = Shape {
            extents: extents(shape),
            axes,
        };
        let (mut sums, mut means) = (vec![T::ZERO; groups.len()], vec![T::ZERO; groups.len()]);
        reduce::sum(&Serial, shape, &x, Store::EXACT, &mut sums).unwrap();
        reduce::mean(&Serial, shape, &x, Store::EXACT, &mut means).unwrap();
        for ((group, sum), mean) in groups.iter().zip(&sums).zip(&means) {
            let want: f64 = group.iter().map(|&i| x[i].to_f64()).sum();
            let size: f64 = group.iter().map(|&i| x[i].to_f64().abs()).sum();
            let n = group.len() as f64;
            // n roundings of the accumulator, one of the element.
            let accumulator = if T::DTYPE.name() == "f64" {
                f64::EPSILON
            } else {
                f64::from(f32::EPSILON)
            };
            let limit = n * accumulator * size + want.abs() * 1.01 * rounding::<T>();
            let limit = limit + tolerance::HALF_SMALLEST_F16;
            assert!((sum.to_f64() - want).abs() <= limit, "{sum:?}, {want}");
            assert!(
                (mean.to_f64() - want / n).abs() <= limit,
                "{mean:?}, {want} / {n}"
            );
        }
    }
}

#[test]
fn float_reductions_are_the_definition() {
    for_floats!(float_reductions);
}

#[test]
fn gradients_of_reductions_are_the_differences_and_transposes() {
    let mut noise = Noise::new(13);
    for (shape, axes, _) in REDUCTIONS {
        let outputs = groups(shape, axes).len();
        let x = noise.vector(product(shape), 1.0);
        let weights = noise.vector(outputs, 1.0);
        let inputs = x.len();
        let shape = Shape {
            extents: extents(shape),
            axes,
        };
        let place = format!("{shape:?}");
        let mean = |x: &[f64]| {
            let mut out = vec![0.0; outputs];
            reduce::mean(&Serial, shape, x, Store::EXACT, &mut out).unwrap();
            inner(&out, &weights)
        };
        let mut dx = vec![0.0; inputs];
        reduce::mean_backward(&Serial, shape, &weights, Store::EXACT, &mut dx).unwrap();
        assert_close(
            &place,
            &central(&x, mean),
            &dx,
            tolerance::LINEAR_DIFFERENCE,
        );
        let max = |x: &[f64]| {
            let mut out = vec![0.0; outputs];
            reduce::max(&Serial, shape, x, &mut out).unwrap();
            inner(&out, &weights)
        };
        reduce::max_backward(shape, &x, &weights, &mut dx).unwrap();
        assert_close(&place, &central(&x, max), &dx, tolerance::LINEAR_DIFFERENCE);
        assert_transposed(
            &place,
            &mut noise,
            [inputs, outputs],
            |x, out| {
                reduce::sum(&Serial, shape, x, Store::EXACT, out).unwrap();
            },
            |dy, dx| reduce::sum_backward(&Serial, shape, dy, dx).unwrap(),
        );
        assert_transposed(
            &place,
            &mut noise,
            [inputs, outputs],
            |x, out| {
                reduce::mean(&Serial, shape, x, Store::EXACT, out).unwrap();
            },
            |dy, dx| {
                reduce::mean_backward(&Serial, shape, dy, Store::EXACT, dx).unwrap();
            },
        );
    }
}

fn nan_is_defined<T: Element>() {
    let nan = T::from_f64(f64::NAN);
    let (a, b) = ([nan, T::from_f64(1.0), nan], [T::from_f64(2.0), nan, nan]);
    for operation in OPERATIONS {
        let mut out = [T::ZERO; 3];
        let (a, b) = (operand(&a, &[3], 0), operand(&b, &[3], 0));
        elementwise::forward(&Serial, operation, a, b, Store::EXACT, &mut out).unwrap();
        assert!(out.iter().all(|y| y.to_f64().is_nan()), "{operation:?}");
    }
    let one = [T::from_f64(1.0); 3];
    let mut dx = [T::ZERO; 3];
    let (x, y) = (operand(&a, &[3], 0), operand(&b, &[3], 0));
    for (side, want) in [(Side::A, [1.0, 0.0, 1.0]), (Side::B, [0.0, 1.0, 0.0])] {
        let (max, store) = (Operation::Max, Store::EXACT);
        elementwise::backward(&Serial, max, side, x, y, &[], &one, store, &mut dx).unwrap();
        assert_eq!(values(&dx), want, "NaN was taken");
    }
    let x = [T::from_f64(3.0), nan, nan];
    let shape = Shape {
        extents: extents(&[3]),
        axes: &[0],
    };
    let mut out = [T::ZERO];
    reduce::max(&Serial, shape, &x, &mut out).unwrap();
    assert!(out[0].to_f64().is_nan());
    reduce::min(&Serial, shape, &x, &mut out).unwrap();
    assert!(out[0].to_f64().is_nan());
    reduce::sum(&Serial, shape, &x, Store::EXACT, &mut out).unwrap();
    assert!(out[0].to_f64().is_nan());
    reduce::max_backward(shape, &x, &one[..1], &mut dx).unwrap();
    assert_eq!(values(&dx), [0.0, 1.0, 0.0], "the first NaN wins");
}

#[test]
fn nan_propagates() {
    for_floats!(nan_is_defined);
}

#[test]
fn floats_divide_by_zero_as_ieee_754() {
    let (a, b) = ([1.0f32, -1.0, 0.0], [0.0f32; 3]);
    let mut out = [0.0; 3];
    let (a, b) = (operand(&a, &[3], 0), operand(&b, &[3], 0));
    elementwise::forward(&Serial, Operation::Div, a, b, Store::EXACT, &mut out).unwrap();
    assert!(out[0] == f32::INFINITY && out[1] == f32::NEG_INFINITY && out[2].is_nan());
}

#[test]
fn bad_input_is_refused() {
    const MARK: i8 = 85;
    let (a, b) = ([1i8; 6], [1i8; 4]);
    let mut out = [MARK; 6];
    let fine = operand(&a, &[2, 3], 0);
    let forward = |a: Operand<'_, i8>, b: Operand<'_, i8>, out: &mut [i8]| {
        elementwise::forward(&Serial, Operation::Add, a, b, Store::EXACT, out)
    };
    let error = forward(fine, operand(&b, &[4], 0), &mut out).unwrap_err();
    let want = Error::Broadcast {
        a: extents(&[2, 3]),
        b: extents(&[4]),
    };
    assert_eq!(error, want);
    assert_eq!(error.to_string(), "[2, 3] and [4] do not broadcast");
    let length = |arg, expected, got| Err(Error::Length { arg, expected, got });
    let short = operand(&a[..5], &[2, 3], 0);
    assert_eq!(forward(short, fine, &mut out), length(Arg::X, 6, 5));
    assert_eq!(forward(fine, short, &mut out), length(Arg::B, 6, 5));
    assert_eq!(forward(fine, fine, &mut out[..5]), length(Arg::Out, 6, 5));
    let backward = |y: &[i8], dy: &[i8], dx: &mut [i8]| {
        let (operation, side) = (Operation::Div, Side::B);
        elementwise::backward(
            &Serial,
            operation,
            side,
            fine,
            fine,
            y,
            dy,
            Store::EXACT,
            dx,
        )
    };
    assert_eq!(backward(&a[..5], &a, &mut out), length(Arg::Y, 6, 5));
    assert_eq!(backward(&a, &a[..5], &mut out), length(Arg::Dy, 6, 5));
    assert_eq!(backward(&a, &a, &mut out[..5]), length(Arg::Dx, 6, 5));
    let sum = |terms: &[Term<'_, i8>], out: &mut [i8]| {
        elementwise::sum(&Serial, terms, Store::EXACT, out)
    };
    let term = Term {
        values: &a[..],
        exponent: 0,
    };
    assert_eq!(sum(&[], &mut out), Err(Error::Zero { arg: Arg::Parts }));
    assert_eq!(
        sum(&[term; 65], &mut out),
        Err(Error::Accumulator {
            terms: 65,
            limit: 64
        })
    );
    let short = Term {
        values: &a[..5],
        exponent: 0,
    };
    assert_eq!(sum(&[term, short], &mut out), length(Arg::Parts, 6, 5));
    assert_eq!(
        average_backward::<i8>(0, &a, Store::EXACT, &mut out),
        Err(Error::Zero { arg: Arg::Parts })
    );
    assert!(negate(&a[..5], &mut out).is_err() && abs(&a[..5], &mut out).is_err());
    assert!(abs_backward(&a[..5], &a, &mut out).is_err());
    assert!(square_backward(&a, &a[..5], Store::EXACT, &mut out).is_err());

    let axes = |axes| Shape {
        extents: extents(&[2, 3]),
        axes,
    };
    let reduced = |axes: &[usize], x: &[i8], out: &mut [i8]| {
        let shape = Shape {
            extents: extents(&[2, 3]),
            axes,
        };
        let sum = reduce::sum(&Serial, shape, x, Store::EXACT, out);
        assert_eq!(reduce::mean(&Serial, shape, x, Store::EXACT, out), sum);
        assert_eq!(reduce::max(&Serial, shape, x, out).err(), sum.err());
        assert_eq!(reduce::min(&Serial, shape, x, out).err(), sum.err());
        sum
    };
    assert_eq!(
        reduced(&[2], &a, &mut out),
        Err(Error::Axis { axis: 2, rank: 2 })
    );
    assert_eq!(
        reduced(&[1, 1], &a, &mut out),
        Err(Error::Axis { axis: 1, rank: 2 })
    );
    assert_eq!(reduced(&[0], &a[..5], &mut out), length(Arg::X, 6, 5));
    assert_eq!(reduced(&[0], &a, &mut out[..5]), length(Arg::Out, 3, 5));
    let error = length(Arg::Dy, 2, 6).map(|_: u32| ());
    assert_eq!(
        reduce::sum_backward(&Serial, axes(&[1]), &a, &mut out),
        error
    );
    assert_eq!(reduce::max_backward(axes(&[1]), &a, &a, &mut out), error);
    let most = Shape {
        extents: extents(&[(1 << 22) + 1]),
        axes: &[0],
    };
    let x = vec![0i32; (1 << 22) + 1];
    assert_eq!(
        reduce::mean(&Serial, most, &x, Store::EXACT, &mut [0]),
        Err(Error::Accumulator {
            terms: (1 << 22) + 1,
            limit: 1 << 22
        })
    );
    assert_eq!(
        selvedge_kernels::axes::Extents::new(&[1; 7]),
        Err(Error::Rank { rank: 7 })
    );
    assert_eq!(
        selvedge_kernels::axes::Extents::new(&[2, 0]),
        Err(Error::Zero { arg: Arg::Shape })
    );
    assert!(
        out.iter().all(|&x| x == MARK),
        "a refused call wrote something"
    );
}

#[test]
fn sums_of_eight_bits_have_room_for_what_is_allowed() {
    // 2^16 repetitions of the largest product, the limit of a gradient.
    let n = 1 << 16;
    let (a, dy) = (vec![127i8; n], vec![127i8; n]);
    let mut dx = [0i8];
    let (a, b) = (operand(&a, &[n], 0), operand(&[1i8], &[1], 0));
    let (mul, side) = (Operation::Mul, Side::B);
    let range =
        elementwise::backward(&Serial, mul, side, a, b, &[], &dy, nearest(23), &mut dx).unwrap();
    assert_eq!(
        (range, i128::from(dx[0])),
        (30, rne(127 * 127 * (1 << 16), 23))
    );
}
