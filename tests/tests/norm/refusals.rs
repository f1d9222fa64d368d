//! Constant rows, NaN and bad input.

use super::{KINDS, pass};
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::norm::{self, Affine, Kind, Saved, Shape};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Arg, Error, Found};

#[test]
fn constant_rows_give_beta_and_pass_no_error() {
    let shape = Shape {
        rows: 2,
        features: 3,
    };
    let bias = Some(Bias {
        values: &[100i16, -7, 0],
        shift: 0,
    });
    let x = [50i8, 50, 50, 0, 0, 0];
    let got = pass(
        &Serial,
        shape,
        Kind::Layer,
        [&x, &[127; 6], &[64; 3]],
        bias,
        [Store::EXACT; 2],
    );
    assert_eq!(got.y, [100, -7, 0, 100, -7, 0]);
    assert_eq!((got.dx, got.dgamma), (vec![0; 6], vec![0; 3]));
    // A row of zeros has no root mean square.
    let got = pass(
        &Serial,
        shape,
        Kind::Rms,
        [&x, &[127; 6], &[64; 3]],
        bias,
        [Store::EXACT; 2],
    );
    assert_eq!(got.y[3..], [100, -7, 0]);
    assert_eq!(got.dx[3..], [0; 3]);

    // Floats: so with an epsilon of 0, which would divide by 0.
    let (x, mut statistics) = ([2.0f32; 3], [Default::default()]);
    let shape = Shape {
        rows: 1,
        features: 3,
    };
    norm::statistics(&Serial, shape, Kind::Layer, 0.0, &x, &mut statistics).unwrap();
    let saved = Saved {
        kind: Kind::Layer,
        x: &x,
        statistics: &statistics,
    };
    let beta = Some(Bias {
        values: &[1.0f32, 2.0, 3.0][..],
        shift: 0,
    });
    let mut y = [0.0; 3];
    norm::forward(
        &Serial,
        shape,
        saved,
        Affine {
            gamma: &[5.0; 3],
            beta,
        },
        Store::EXACT,
        &mut y,
    )
    .unwrap();
    assert_eq!(y, [1.0, 2.0, 3.0]);
    norm::backward_input(
        &Serial,
        shape,
        saved,
        &[1.0, 2.0, 4.0],
        &[5.0; 3],
        Store::EXACT,
        &mut y,
    )
    .unwrap();
    assert_eq!(y, [0.0; 3]);
}

#[test]
fn nan_stays_in_its_row() {
    let shape = Shape {
        rows: 3,
        features: 4,
    };
    let mut x: Vec<f32> = (0..12).map(|i| (i * i % 7) as f32).collect();
    x[5] = f32::NAN;
    for kind in KINDS {
        let got = pass(
            &Serial,
            shape,
            kind,
            [&x, &[1.0; 12], &[1.0; 4]],
            None,
            [Store::EXACT; 2],
        );
        for out in [&got.y, &got.dx] {
            for (i, y) in out.iter().enumerate() {
                assert_eq!(y.is_nan(), i / 4 == 1, "{kind:?}, element {i}");
            }
        }
        assert!(got.dgamma.iter().all(|g| g.is_nan()), "{kind:?}");
    }
}

#[test]
fn bad_input_is_refused_and_nothing_written() {
    struct Case {
        name: &'static str,
        shape: Shape,
        lengths: [usize; 6],      // x, statistics, gamma, beta, dy, out
        want: [Option<Error>; 4], // statistics, forward, backward_input, backward_gamma
    }
    let length = |arg, expected, got| Some(Error::Length { arg, expected, got });
    let shape = Shape {
        rows: 2,
        features: 3,
    };
    let fine = [6, 2, 3, 3, 6, 6];
    let zero = Some(Error::Zero { arg: Arg::Shape });
    let overflow = Some(Error::Overflow {
        arg: Arg::Shape,
        got: None,
    });
    let long = Some(Error::Accumulator {
        terms: 65_537,
        limit: 65_536,
    });
    let cases = [
        Case {
            name: "fine",
            shape,
            lengths: fine,
            want: [None; 4],
        },
        Case {
            name: "x",
            shape,
            lengths: [5, 2, 3, 3, 6, 6],
            want: [length(Arg::X, 6, 5); 4],
        },
        Case {
            name: "statistics",
            shape,
            lengths: [6, 3, 3, 3, 6, 6],
            want: [length(Arg::Statistics, 2, 3); 4],
        },
        Case {
            name: "gamma",
            shape,
            lengths: [6, 2, 4, 3, 6, 6],
            want: [
                None,
                length(Arg::Gamma, 3, 4),
                length(Arg::Gamma, 3, 4),
                length(Arg::Dw, 3, 4),
            ],
        },
        Case {
            name: "beta",
            shape,
            lengths: [6, 2, 3, 2, 6, 6],
            want: [None, length(Arg::Beta, 3, 2), None, None],
        },
        Case {
            name: "dy",
            shape,
            lengths: [6, 2, 3, 3, 7, 6],
            want: [None, None, length(Arg::Dy, 6, 7), length(Arg::Dy, 6, 7)],
        },
        Case {
            name: "out",
            shape,
            lengths: [6, 2, 3, 3, 6, 5],
            want: [None, length(Arg::Out, 6, 5), length(Arg::Dx, 6, 5), None],
        },
        Case {
            name: "no rows",
            shape: Shape {
                rows: 0,
                features: 3,
            },
            lengths: fine,
            want: [zero; 4],
        },
        Case {
            name: "no features",
            shape: Shape {
                rows: 2,
                features: 0,
            },
            lengths: fine,
            want: [zero; 4],
        },
        Case {
            name: "too many",
            shape: Shape {
                rows: usize::MAX,
                features: 3,
            },
            lengths: fine,
            want: [overflow; 4],
        },
        Case {
            name: "too long",
            shape: Shape {
                rows: 1,
                features: 65_537,
            },
            lengths: fine,
            want: [long; 4],
        },
    ];
    for Case {
        name,
        shape,
        lengths,
        want,
    } in cases
    {
        let [x, rows, gamma, beta, dy, out] = lengths;
        let mark = norm::Row::default();
        let (x, gamma, dy) = (vec![3i8; x], vec![64i8; gamma], vec![1i8; dy]);
        let beta = vec![0i16; beta];
        let mut statistics = vec![mark; rows];
        // Of something else, so that being overwritten would be seen.
        norm::statistics(
            &Serial,
            Shape { rows, features: 2 },
            Kind::Layer,
            (),
            &[9i8, 1].repeat(rows),
            &mut statistics,
        )
        .unwrap();
        let before = statistics.clone();
        let got = norm::statistics(&Serial, shape, Kind::Layer, (), &x, &mut statistics);
        assert_eq!(got.err(), want[0], "{name}: statistics");
        assert_eq!(
            statistics == before,
            want[0].is_some(),
            "{name}: statistics"
        );
        let saved = Saved {
            kind: Kind::Layer,
            x: &x,
            statistics: &statistics,
        };
        let affine = Affine {
            gamma: &gamma,
            beta: Some(Bias {
                values: &beta,
                shift: 0,
            }),
        };
        let mut y = vec![85i8; out];
        let got = norm::forward(&Serial, shape, saved, affine, Store::EXACT, &mut y);
        assert_eq!(got.err(), want[1], "{name}: forward");
        assert!(
            want[1].is_none() || y.iter().all(|&y| y == 85),
            "{name}: forward"
        );
        let mut dx = vec![85i8; out];
        let got = norm::backward_input(&Serial, shape, saved, &dy, &gamma, Store::EXACT, &mut dx);
        assert_eq!(got.err(), want[2], "{name}: backward_input");
        assert!(
            want[2].is_none() || dx.iter().all(|&x| x == 85),
            "{name}: backward_input"
        );
        let mut dgamma = vec![85i64; gamma.len()];
        let got = norm::backward_gamma(shape, saved, &dy, &mut Gradient::Store(&mut dgamma));
        assert_eq!(got.err(), want[3], "{name}: backward_gamma");
        assert!(
            want[3].is_none() || dgamma.iter().all(|&g| g == 85),
            "{name}: backward_gamma"
        );
    }
    for epsilon in [-1e-5, f32::NAN, f32::INFINITY] {
        let mut statistics = [Default::default()];
        let shape = Shape {
            rows: 1,
            features: 2,
        };
        let got = norm::statistics(
            &Serial,
            shape,
            Kind::Layer,
            epsilon,
            &[1.0f32, 2.0],
            &mut statistics,
        );
        assert_eq!(
            got,
            Err(Error::Value {
                arg: Arg::Epsilon,
                expected: "a finite number of 0 or more",
                got: Some(Found::real(epsilon.into())),
            }),
            "{epsilon}"
        );
        assert_eq!(statistics, [Default::default()], "{epsilon}");
    }
}
