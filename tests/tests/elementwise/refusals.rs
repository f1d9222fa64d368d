//! NaN, division by zero, bad input and limits.

use super::{OPERATIONS, operand};
use selvedge_kernels::axes::Operand;
use selvedge_kernels::elementwise::{
    self, Operation, Side, Term, abs, abs_backward, average_backward, negate, square_backward,
};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::reduce::{self, Shape};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Arg, Element, Error};
use selvedge_tests::for_floats;
use selvedge_tests::tensors::{extents, nearest, rne, values};

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
    let x = [T::from_f64(-3.0), nan, T::from_f64(2.0)];
    let mut out = [T::ZERO; 3];
    abs(&x, &mut out).unwrap();
    assert!(out[1].to_f64().is_nan(), "the absolute value of NaN");
    abs_backward(&x, &one, &mut dx).unwrap();
    assert_eq!(values(&dx), [-1.0, 0.0, 1.0], "NaN has no sign");
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
