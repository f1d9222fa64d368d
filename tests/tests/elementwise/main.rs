//! Arithmetic with broadcasting and reductions: integers against exact models, floats against
//! definitions, gradients against differences.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod floats;
mod integers;
mod reductions;
mod refusals;

use selvedge_kernels::Element;
use selvedge_kernels::axes::Operand;
use selvedge_kernels::elementwise::{
    self, Operation, Term, abs, abs_backward, aligned_exponent, average, average_backward,
    average_places, negate, square, square_backward,
};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::Store;
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::{
    assert_stores, elements, extents, number, numbers, rne, rounding, values,
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

/// Sums in the order of the terms and in the accumulator's type, averages of them by a division.
fn sums_of_floats_are_the_definition<T: Element>() {
    let mut noise = Noise::new(8);
    let is_f64 = T::DTYPE.bytes() == 8;
    // One rounding of f32 where that is the accumulator.
    let round = |x: f64| if is_f64 { x } else { f64::from(x as f32) };
    for n in [1, 2, 3, 7] {
        let tensors: Vec<Vec<T>> = (0..n).map(|_| elements(&mut noise, 21)).collect();
        let terms: Vec<_> = tensors
            .iter()
            .map(|values| Term {
                values,
                exponent: 0,
            })
            .collect();
        let [mut sum, mut mean, mut spread] = [(); 3].map(|()| vec![T::ZERO; 21]);
        elementwise::sum(&Threads(2), &terms, Store::EXACT, &mut sum).unwrap();
        average(&Threads(2), &terms, Store::EXACT, &mut mean).unwrap();
        average_backward(n, &tensors[0], Store::EXACT, &mut spread).unwrap();
        for i in 0..21 {
            let terms = tensors.iter().map(|values| values[i].to_f64());
            let total = terms.reduce(|sum, x| round(sum + x)).unwrap();
            let share = |x: f64| T::from_f64(round(x / n as f64)).to_f64();
            let want = [
                T::from_f64(total).to_f64(),
                share(total),
                share(tensors[0][i].to_f64()),
            ];
            let got = [sum[i], mean[i], spread[i]].map(T::to_f64);
            assert_eq!(got, want, "{n} terms of {}", T::DTYPE);
        }
    }
}

#[test]
fn sums_of_float_tensors_are_the_definition() {
    for_floats!(sums_of_floats_are_the_definition);
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
