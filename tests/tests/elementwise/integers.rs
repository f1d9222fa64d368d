//! Operations on two tensors of integers against exact models.

use super::{OPERATIONS, SHAPES, operand, product};
use selvedge_kernels::Element;
use selvedge_kernels::elementwise::{self, Operation, Side, aligned_exponent};
use selvedge_kernels::exec::Serial;
use selvedge_tests::for_integers;
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::{
    assert_stores, elements, index, nearest, number, numbers, offset, rne,
};
use selvedge_tests::threads::Threads;

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
