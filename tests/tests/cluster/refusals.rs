//! Zero vectors, NaN and bad input.

use super::{METRICS, floats, pass};
use selvedge_kernels::cluster::{
    self, Clusters, Errors, Member, Metric, Mode, Saved, Shape, Temperature,
};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Arg, Error, Found};

#[test]
fn zero_vectors_and_nan_are_defined() {
    // A zero vector has the cosine 0 with everything, and no direction to move in.
    let shape = Shape {
        rows: 1,
        features: 2,
        clusters: 2,
    };
    let centres = [0.0f64, 0.0, 3.0, 4.0];
    let layer = floats(Metric::Cosine, Temperature::ONE, &centres);
    let got = pass::<f64>(
        &Serial,
        shape,
        layer,
        Mode::Probabilities,
        &[0.0; 2],
        (&[1.0, -1.0], 0),
    );
    assert_eq!(
        got.members.iter().map(|m| m.distance).collect::<Vec<_>>(),
        [1.0, 1.0]
    );
    assert_eq!(
        (got.y, got.dx, got.dcentres),
        (vec![0.5; 2], vec![0.0; 2], vec![0.0; 4])
    );
    let centres = [0i8, 0, 30, 40];
    let layer = Clusters {
        metric: Metric::Cosine,
        temperature: Temperature::ONE,
        centres: &centres,
        exponent: 0,
        x_exponent: 0,
    };
    let got = pass::<i8>(
        &Serial,
        shape,
        layer,
        Mode::Probabilities,
        &[0; 2],
        (&[64, -64], -7),
    );
    assert_eq!(
        got.members,
        [Member {
            distance: 1 << 15,
            share: 1 << 14
        }; 2]
    );
    assert_eq!((got.dx, got.dcentres), (vec![0; 2], vec![0; 4]));

    let shape = Shape {
        rows: 2,
        features: 2,
        clusters: 2,
    };
    for metric in METRICS {
        let centres = [1.0f32, 2.0, 3.0, 4.5];
        let layer = floats(metric, Temperature::ONE, &centres);
        let x = [f32::NAN, 1.0, 2.0, 3.0];
        let got = pass::<f32>(
            &Serial,
            shape,
            layer,
            Mode::Probabilities,
            &x,
            (&[1.0, 2.0, 3.0, 4.0], 0),
        );
        assert!(
            got.y[..2].iter().all(|y| y.is_nan()) && got.y[2..].iter().all(|y| y.is_finite()),
            "{metric:?}"
        );
        assert!(
            got.dx[..2].iter().all(|d| d.is_nan()) && got.dx[2..].iter().all(|d| d.is_finite()),
            "{metric:?}"
        );
    }
}

#[test]
fn bad_input_is_refused_and_nothing_written() {
    for tau in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            Temperature::from_f64(tau),
            Err(Error::Value {
                arg: Arg::Temperature,
                expected: "a positive, finite number",
                got: Some(Found::real(tau)),
            }),
            "{tau}"
        );
    }
    for (tau, mantissa, exponent) in [
        (1.0, 128, -7),
        (0.75, 192, -8),
        (3.0, 192, -6),
        (0.999_999, 128, -7),
    ] {
        assert_eq!(
            Temperature::from_f64(tau),
            Ok(Temperature { mantissa, exponent }),
            "{tau}"
        );
    }
    let shape = Shape {
        rows: 2,
        features: 3,
        clusters: 2,
    };
    let zero = Err(Error::Zero { arg: Arg::Shape });
    type Case = (&'static str, Shape, u8, [usize; 6], Result<(), Error>);
    let cases: [Case; 14] = [
        // x, centres, members, dy, scores, out
        ("fine", shape, 1, [6, 6, 4, 4, 4, 4], Ok(())),
        (
            "no rows",
            Shape { rows: 0, ..shape },
            1,
            [6, 6, 4, 4, 4, 4],
            zero,
        ),
        (
            "no features",
            Shape {
                features: 0,
                ..shape
            },
            1,
            [6, 6, 4, 4, 4, 4],
            zero,
        ),
        (
            "no clusters",
            Shape {
                clusters: 0,
                ..shape
            },
            1,
            [6, 6, 4, 4, 4, 4],
            zero,
        ),
        (
            "huge",
            Shape {
                rows: usize::MAX,
                ..shape
            },
            1,
            [6, 6, 4, 4, 4, 4],
            Err(Error::Overflow {
                arg: Arg::Shape,
                got: None,
            }),
        ),
        (
            "wide",
            Shape {
                clusters: 16_385,
                ..shape
            },
            1,
            [6, 6, 4, 4, 4, 4],
            Err(Error::Accumulator {
                terms: 16_385,
                limit: 16_384,
            }),
        ),
        (
            "long",
            Shape {
                rows: 32_769,
                ..shape
            },
            1,
            [6, 6, 4, 4, 4, 4],
            Err(Error::Accumulator {
                terms: 32_769,
                limit: 32_768,
            }),
        ),
        (
            "cold",
            shape,
            0,
            [6, 6, 4, 4, 4, 4],
            Err(Error::Value {
                arg: Arg::Temperature,
                expected: "a positive, finite number",
                got: Some(Found::Integer(0)),
            }),
        ),
        (
            "centres",
            shape,
            1,
            [6, 5, 4, 4, 4, 4],
            Err(Error::Length {
                arg: Arg::Centres,
                expected: 6,
                got: 5,
            }),
        ),
        (
            "x",
            shape,
            1,
            [7, 6, 4, 4, 4, 4],
            Err(Error::Length {
                arg: Arg::X,
                expected: 6,
                got: 7,
            }),
        ),
        (
            "members",
            shape,
            1,
            [6, 6, 3, 4, 4, 4],
            Err(Error::Length {
                arg: Arg::Shares,
                expected: 4,
                got: 3,
            }),
        ),
        (
            "dy",
            shape,
            1,
            [6, 6, 4, 5, 4, 4],
            Err(Error::Length {
                arg: Arg::Dy,
                expected: 4,
                got: 5,
            }),
        ),
        (
            "scores",
            shape,
            1,
            [6, 6, 4, 4, 5, 4],
            Err(Error::Length {
                arg: Arg::Scores,
                expected: 4,
                got: 5,
            }),
        ),
        (
            "out",
            shape,
            1,
            [6, 6, 4, 4, 4, 3],
            Err(Error::Length {
                arg: Arg::Out,
                expected: 4,
                got: 3,
            }),
        ),
    ];
    for (name, shape, mantissa, [x, centres, members, dy, scores, out], want) in cases {
        let (x, centres, dy) = (vec![3i8; x], vec![5i8; centres], vec![1i8; dy]);
        let temperature = Temperature {
            mantissa,
            exponent: 0,
        };
        let layer = Clusters {
            metric: Metric::Euclidean,
            temperature,
            centres: &centres,
            exponent: 0,
            x_exponent: 0,
        };
        let mark = Member {
            distance: 85i64,
            share: 85,
        };
        let mut marked = vec![mark; members];
        let got = [
            cluster::members(&Serial, shape, layer, &x, &mut marked),
            {
                let mut y = vec![85i8; out];
                let got = cluster::forward(
                    &Serial,
                    shape,
                    layer,
                    Mode::Probabilities,
                    &vec![mark; members],
                    Store::EXACT,
                    &mut y,
                );
                assert!(got.is_ok() || y.iter().all(|&y| y == 85), "{name}: forward");
                got.map(|_| ())
            },
            {
                let mut marked = vec![85i16; scores];
                let errors = Errors {
                    mode: Mode::Probabilities,
                    dy: &dy,
                    members: &vec![mark; members],
                };
                let got = cluster::scores(&Serial, shape, layer, errors, Store::EXACT, &mut marked);
                assert!(
                    got.is_ok() || marked.iter().all(|&s| s == 85),
                    "{name}: scores"
                );
                got.map(|_| ())
            },
            {
                let saved = Saved {
                    x: &x,
                    members: &vec![mark; members],
                    scores: &vec![1; scores],
                };
                let mut dx = vec![85i8; 6];
                let got =
                    cluster::backward_input(&Serial, shape, layer, saved, Store::EXACT, &mut dx);
                assert!(
                    got.is_ok() || dx.iter().all(|&x| x == 85),
                    "{name}: backward_input"
                );
                got.map(|_| ())
            },
            {
                let saved = Saved {
                    x: &x,
                    members: &vec![mark; members],
                    scores: &vec![1; scores],
                };
                let errors = Errors {
                    mode: Mode::Probabilities,
                    dy: &dy,
                    members: &vec![mark; members],
                };
                let mut dc = vec![85i64; 6];
                let got = cluster::backward_centres(
                    shape,
                    layer,
                    saved,
                    errors,
                    [0; 2],
                    &mut Gradient::Store(&mut dc),
                );
                assert!(
                    got.is_ok() || dc.iter().all(|&c| c == 85),
                    "{name}: backward_centres"
                );
                got
            },
        ];
        if got[0].is_err() {
            assert!(marked.iter().all(|m| *m == mark), "{name}: members");
        }
        // An argument that an entry does not take cannot be wrong there.
        let takes: [&[&str]; 5] = [
            &["x", "members"],
            &["members", "out"],
            &["members", "dy", "scores"],
            &["x", "members", "scores"],
            &["x", "members", "scores", "dy"],
        ];
        let own = ["x", "members", "out", "dy", "scores"];
        for (entry, (got, takes)) in got.into_iter().zip(takes).enumerate() {
            let concerns = !own.contains(&name) || takes.contains(&name);
            assert_eq!(
                got,
                if concerns { want } else { Ok(()) },
                "{name}, entry {entry}"
            );
        }
    }
    let shape = Shape {
        rows: 2,
        features: 3,
        clusters: 2,
    };
    let layer = floats(Metric::Euclidean, Temperature::ONE, &[1.0f32; 6]);
    let saved = Saved {
        x: &[1.0; 6],
        members: &[Default::default(); 4],
        scores: &[1.0; 4],
    };
    let mut dx = [85.0; 5];
    let got = cluster::backward_input(&Serial, shape, layer, saved, Store::EXACT, &mut dx);
    assert_eq!(
        (got, dx),
        (
            Err(Error::Length {
                arg: Arg::Dx,
                expected: 6,
                got: 5
            }),
            [85.0; 5]
        )
    );
    let errors = Errors {
        mode: Mode::Features,
        dy: &[1.0; 6],
        members: &[Default::default(); 4],
    };
    let got = cluster::backward_centres(
        shape,
        layer,
        saved,
        errors,
        [0; 2],
        &mut Gradient::Store(&mut dx),
    );
    assert_eq!(
        (got, dx),
        (
            Err(Error::Length {
                arg: Arg::Dw,
                expected: 6,
                got: 5
            }),
            [85.0; 5]
        )
    );
}
