//! Constant channels, NaN, many rows and bad input.

use super::pass;
use selvedge_kernels::batch_norm::{
    self, ErrorSums, Errors, Exponents, Folding, Kernels as _, Running, Saved, Shape,
};
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::norm::Affine;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Arg, Error, Found};

#[test]
fn constant_channels_give_beta_and_nan_stays_in_its_channel() {
    let shape = Shape {
        rows: 3,
        channels: 2,
    };
    let bias = Some(Bias {
        values: &[100i16, -7],
        shift: 0,
    });
    let got = pass(
        &Serial,
        shape,
        [&[50i8, 1, 50, 2, 50, 3], &[127; 6], &[64; 2]],
        bias,
        [Store::EXACT; 2],
    );
    for row in got.y.chunks(2) {
        assert_eq!(row[0], 100);
    }
    assert!(got.dx.chunks(2).all(|row| row[0] == 0));
    let mut running = [Running {
        mean: 5 << 32,
        variance: 0,
    }; 1];
    let mut transform = [Default::default()];
    let affine = Affine {
        gamma: &[64i8],
        beta: Some(Bias {
            values: &[100i16],
            shift: 0,
        }),
    };
    batch_norm::transform((), -7, affine, &running, &mut transform).unwrap();
    let mut y = [0i8; 2];
    let one = Shape {
        rows: 2,
        channels: 1,
    };
    batch_norm::infer(&Serial, one, &[127, -127], &transform, Store::EXACT, &mut y).unwrap();
    assert_eq!(y, [100, 100]);
    // An exponent far out saturates, and stays defined.
    let mut statistics = [Default::default(); 2];
    batch_norm::statistics(
        &Serial,
        Shape {
            rows: 2,
            channels: 2,
        },
        (),
        &[1i8, 2, 3, 4],
        &mut statistics,
    )
    .unwrap();
    batch_norm::update_running::<i8>(2, 30_000, 1 << 16, &statistics[..1], &mut running).unwrap();
    assert_eq!(
        running[0],
        Running {
            mean: (1 << 62) - 1,
            variance: (1 << 62) - 1
        }
    );

    let x = [1.0f32, 2.0, f32::NAN, 5.0, 3.0, 4.0];
    let got = pass(
        &Serial,
        shape,
        [&x, &[1.0; 6], &[1.0; 2]],
        None,
        [Store::EXACT; 2],
    );
    for out in [&got.y, &got.dx] {
        for (i, y) in out.iter().enumerate() {
            assert_eq!(y.is_nan(), i % 2 == 0, "element {i}");
        }
    }
}

/// Only sums have a limit of rows: at inference each row is for itself.
#[test]
fn inference_has_no_limit_of_rows() {
    let running = [Running {
        mean: 0,
        variance: 1 << 32,
    }];
    let affine = Affine {
        gamma: &[64i8], // 1
        beta: None,
    };
    let mut transform = [Default::default()];
    batch_norm::transform((), -7, affine, &running, &mut transform).unwrap();
    for rows in [1 << 24, (1 << 24) + 1] {
        let shape = Shape { rows, channels: 1 };
        let mut x = vec![0i8; rows];
        x[rows - 1] = 64;
        let mut y = vec![1i8; rows];
        // From -18 to -6.
        let store = Store::Shift {
            shift: 12,
            rounding: Rounding::NearestEven,
        };
        batch_norm::infer(&Serial, shape, &x, &transform, store, &mut y).unwrap();
        assert!(y[..rows - 1].iter().all(|&y| y == 0), "{rows} rows");
        assert_eq!(y[rows - 1], 32, "{rows} rows");
    }
}

#[test]
fn bad_input_is_refused_and_nothing_written() {
    let length = |arg, expected, got| Err(Error::Length { arg, expected, got });
    let shape = Shape {
        rows: 2,
        channels: 3,
    };
    let x = [3i8, 5, 6, 1, 2, 3];
    let mut fine = [Default::default(); 3];
    batch_norm::statistics(&Serial, shape, (), &x, &mut fine).unwrap();
    let few = Error::Few {
        arg: Arg::X,
        got: 1,
        least: 2,
    };
    let single = Shape {
        rows: 1,
        channels: 3,
    };
    let long = Shape {
        rows: (1 << 24) + 1,
        channels: 3,
    };
    let too_long = Error::Accumulator {
        terms: (1 << 24) + 1,
        limit: 1 << 24,
    };
    let no_rows = Shape {
        rows: 0,
        channels: 3,
    };
    let zero = Error::Zero { arg: Arg::Shape };
    let huge = Shape {
        rows: usize::MAX,
        channels: 3,
    };
    let overflow = Error::Overflow {
        arg: Arg::Shape,
        got: None,
    };

    for (shape, want) in [
        (single, few),
        (long, too_long),
        (no_rows, zero),
        (huge, overflow),
    ] {
        let mut statistics = fine;
        assert_eq!(
            batch_norm::statistics(&Serial, shape, (), &x, &mut statistics),
            Err(want)
        );
        assert_eq!(statistics, fine);
        let mut y = [85i8; 6];
        let affine = Affine {
            gamma: &[1i8; 3],
            beta: None,
        };
        assert_eq!(
            batch_norm::forward(&Serial, shape, &x, &fine, affine, Store::EXACT, &mut y),
            Err(want)
        );
        let mut sums = [ErrorSums {
            dy: 85i64,
            product: 85,
        }; 3];
        let marked = sums;
        assert_eq!(
            batch_norm::error_sums(&Serial, shape, &x, &fine, &x, &mut sums),
            Err(want)
        );
        let saved = Saved {
            x: &x,
            statistics: &fine,
        };
        let errors = Errors {
            dy: &x,
            sums: &sums,
        };
        assert_eq!(
            batch_norm::backward_input(
                &Serial,
                shape,
                saved,
                errors,
                &[1i8; 3],
                Store::EXACT,
                &mut y
            ),
            Err(want)
        );
        assert_eq!((sums, y), (marked, [85; 6]));
    }

    let sums = [ErrorSums {
        dy: 1i64,
        product: 1,
    }; 3];
    let mut y = [85i8; 6];
    let mut forward = |x: &[i8], statistics: &[_], gamma: &[i8], out: usize| {
        batch_norm::forward(
            &Serial,
            shape,
            x,
            statistics,
            Affine { gamma, beta: None },
            Store::EXACT,
            &mut y[..out],
        )
    };
    assert_eq!(forward(&x[1..], &fine, &[1; 3], 6), length(Arg::X, 6, 5));
    assert_eq!(
        forward(&x, &fine[1..], &[1; 3], 6),
        length(Arg::Statistics, 3, 2)
    );
    assert_eq!(forward(&x, &fine, &[1; 2], 6), length(Arg::Gamma, 3, 2));
    assert_eq!(forward(&x, &fine, &[1; 3], 5), length(Arg::Out, 6, 5));
    let mut backward = |x: &[i8], dy: &[i8], sums: &[_], gamma: &[i8], out: usize| {
        let saved = Saved {
            x,
            statistics: &fine,
        };
        batch_norm::backward_input(
            &Serial,
            shape,
            saved,
            Errors { dy, sums },
            gamma,
            Store::EXACT,
            &mut y[..out],
        )
    };
    assert_eq!(
        backward(&x[1..], &x, &sums, &[1; 3], 6),
        length(Arg::X, 6, 5)
    );
    assert_eq!(
        backward(&x, &x[1..], &sums, &[1; 3], 6),
        length(Arg::Dy, 6, 5)
    );
    assert_eq!(
        backward(&x, &x, &sums[1..], &[1; 3], 6),
        length(Arg::Sums, 3, 2)
    );
    assert_eq!(
        backward(&x, &x, &sums, &[1; 4], 6),
        length(Arg::Gamma, 3, 4)
    );
    assert_eq!(backward(&x, &x, &sums, &[1; 3], 5), length(Arg::Dx, 6, 5));
    assert_eq!(y, [85; 6]);

    let mut dgamma = [85i64; 2];
    let refused = batch_norm::backward_gamma::<i8>(&sums, &mut Gradient::Store(&mut dgamma));
    assert_eq!(refused, length(Arg::Dw, 3, 2).map(|_: u32| ()));
    let refused = batch_norm::backward_beta::<i8>(&sums, &mut Gradient::Store(&mut dgamma));
    assert_eq!((refused.is_err(), dgamma), (true, [85; 2]));

    let mut running = [i8::RUNNING_START; 3];
    let mut update = |rows, momentum, len: usize| {
        batch_norm::update_running::<i8>(rows, 0, momentum, &fine, &mut running[..len])
    };
    assert_eq!(
        update(2, 65_537, 3),
        Err(Error::Value {
            arg: Arg::Momentum,
            expected: "0 to 65536, in 1/65536",
            got: Some(Found::Integer(65_537)),
        })
    );
    assert_eq!(update(1, 6554, 3), Err(few));
    assert_eq!(update((1 << 24) + 1, 6554, 3), Err(too_long));
    assert_eq!(
        update(2, 6554, 2),
        Err(Error::Length {
            arg: Arg::Running,
            expected: 3,
            got: 2
        })
    );
    assert_eq!(running, [i8::RUNNING_START; 3]);

    let start = [f32::RUNNING_START; 2];
    let mut transform = [Default::default(); 2];
    let gains = Affine {
        gamma: &[1.0f32; 2],
        beta: None,
    };
    for epsilon in [-1.0, f32::NAN] {
        let got = batch_norm::transform(epsilon, 0, gains, &start, &mut transform);
        assert_eq!(
            got,
            Err(Error::Value {
                arg: Arg::Epsilon,
                expected: "a finite number of 0 or more",
                got: Some(Found::real(epsilon.into())),
            })
        );
        let mut statistics = [Default::default(); 2];
        let two = Shape {
            rows: 2,
            channels: 2,
        };
        let got = batch_norm::statistics(
            &Serial,
            two,
            epsilon,
            &[1.0f32, 2.0, 3.0, 4.0],
            &mut statistics,
        );
        assert_eq!(
            got,
            Err(Error::Value {
                arg: Arg::Epsilon,
                expected: "a finite number of 0 or more",
                got: Some(Found::real(epsilon.into())),
            })
        );
        assert_eq!(statistics, [Default::default(); 2]);
    }
    let got = batch_norm::transform(1e-5, 0, gains, &start[1..], &mut transform);
    assert_eq!(
        got,
        Err(Error::Length {
            arg: Arg::Gamma,
            expected: 1,
            got: 2
        })
    );
    let got = batch_norm::transform(1e-5, 0, gains, &start, &mut transform[1..]);
    assert_eq!(
        got,
        Err(Error::Length {
            arg: Arg::Transform,
            expected: 2,
            got: 1
        })
    );
    assert_eq!(transform, [Default::default(); 2]);

    let mut y = [85.0f32; 4];
    let two = Shape {
        rows: 2,
        channels: 2,
    };
    for (x, transform, out, want) in [
        (3, 2, 4, length(Arg::X, 4, 3)),
        (4, 1, 4, length(Arg::Transform, 2, 1)),
        (4, 2, 3, length(Arg::Out, 4, 3)),
    ] {
        let transform = vec![Default::default(); transform];
        let got = batch_norm::infer(
            &Serial,
            two,
            &vec![1.0f32; x],
            &transform,
            Store::EXACT,
            &mut y[..out],
        );
        assert_eq!(got, want);
    }
    let mut fold = |transform: usize, groups: usize, weight: usize, bias: usize| {
        let transform = vec![Default::default(); transform];
        let folding = Folding::<f32> {
            transform: &transform,
            x_exponent: 0,
            out_exponent: 0,
        };
        let (weight, bias_values) = y.split_at_mut(weight);
        let bias = &mut bias_values[..bias];
        if groups == transform.len() {
            batch_norm::fold(folding, Exponents::default(), weight, bias)
        } else {
            batch_norm::fold_transposed(folding, groups, Exponents::default(), weight, bias)
        }
    };
    for groups in [0, 3] {
        let (channels, filters) = (2, 2);
        assert_eq!(
            fold(2, groups, 2, 2),
            Err(Error::Groups {
                channels,
                filters,
                groups
            })
        );
    }
    assert_eq!(
        fold(2, 1, 3, 1),
        Err(Error::Length {
            arg: Arg::Weight,
            expected: 2,
            got: 3
        })
    );
    assert_eq!(
        fold(0, 0, 2, 2),
        Err(Error::Zero {
            arg: Arg::Transform
        })
    );
    assert_eq!(
        fold(2, 2, 3, 1),
        Err(Error::Length {
            arg: Arg::Weight,
            expected: 2,
            got: 3
        })
    );
    assert_eq!(
        fold(2, 2, 2, 1),
        Err(Error::Length {
            arg: Arg::Bias,
            expected: 2,
            got: 1
        })
    );
    assert_eq!(y, [85.0; 4]);
}
