//! Settings at their ends, NaN and bad input.

use super::{ELEMENTS, EXACT, Io, Loss, ROWS, WIDTH, all};
use selvedge_kernels::loss::{
    self, Classes, Delta, Distance, SampleWeights, Samples, Smoothing, Targets,
};
use selvedge_kernels::{Arg, Error, Found};

#[test]
fn a_small_delta_still_trains() {
    let delta = Distance::Huber(Delta::new(1e-9).unwrap());
    let samples = Samples {
        outputs: &[5i16, -5, 0],
        exponent: -4,
        target: &[0, 0, 0],
        target_exponent: -4,
        features: 1,
        weights: None,
    };
    let mut dy = [0i8; 3];
    loss::regression(delta, samples, EXACT, &mut dy).unwrap();
    assert_eq!(dy, [1, -1, 0]);
}

#[test]
fn nan_stays_in_its_row_and_infinite_logits_are_defined() {
    for loss in all() {
        let mut x = [0.5f64; ELEMENTS];
        x[WIDTH] = f64::NAN;
        let io = Io {
            x: &x,
            exponent: 0,
            target: &[0.25; ELEMENTS],
            target_exponent: 0,
            weights: None,
        };
        let mut dy = [0.0; ELEMENTS];
        let outcome = loss.run::<f64>(io, EXACT, &mut dy).unwrap();
        assert!(outcome.loss.is_nan() && dy[WIDTH].is_nan(), "{loss:?}");
        assert!(
            dy[..WIDTH]
                .iter()
                .chain(&dy[2 * WIDTH..])
                .all(|d| d.is_finite()),
            "{loss:?}"
        );
    }
    // A certain and right answer costs nothing; a certain and wrong one infinitely much.
    let sure = [0.0, f64::NEG_INFINITY];
    let options = Classes {
        classes: 2,
        smoothing: Smoothing::NONE,
        weights: None,
    };
    let mut dy = [7.0f64; 2];
    let right =
        loss::soft_cross_entropy(options, &sure, 0, Targets::Labels(&[0]), EXACT, &mut dy).unwrap();
    assert_eq!((right.loss, dy), (0.0, [0.0, 0.0]));
    let wrong =
        loss::soft_cross_entropy(options, &sure, 0, Targets::Labels(&[1]), EXACT, &mut dy).unwrap();
    assert_eq!((wrong.loss, dy), (f64::INFINITY, [1.0, -1.0]));
    let far = Io {
        x: &[1e4; ELEMENTS],
        exponent: 0,
        target: &[0.0; ELEMENTS],
        target_exponent: 0,
        weights: None,
    };
    let mut dy = [0.0f64; ELEMENTS];
    assert_eq!(Loss::Binary.run(far, EXACT, &mut dy).unwrap().loss, 15e4);
}

#[test]
fn parameters_out_of_range_are_refused() {
    for bad in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        assert_eq!(
            Smoothing::new(bad),
            Err(Error::Value {
                arg: Arg::Smoothing,
                expected: "0 to 1",
                got: Some(Found::real(bad.into())),
            }),
            "{bad}"
        );
    }
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_eq!(
            Delta::new(bad),
            Err(Error::Value {
                arg: Arg::Delta,
                expected: "a positive, finite number",
                got: Some(Found::real(bad.into())),
            }),
            "{bad}"
        );
    }
    assert!(Smoothing::new(0.0).is_ok() && Smoothing::new(1.0).is_ok());
    assert!(Smoothing::new(1e-40).is_ok() && Delta::new(1e-40).is_ok());
}

#[test]
fn bad_lengths_are_refused() {
    let length = |arg, expected, got| Error::Length { arg, expected, got };
    const MARK: i8 = 85;
    let (x, w) = ([0i16; ELEMENTS], [1i16; ROWS]);
    let all_weights = SampleWeights {
        values: &w[..],
        exponent: 0,
    };
    let short = SampleWeights {
        values: &w[..2],
        exponent: 0,
    };
    for loss in all() {
        let is_labels = matches!(loss, Loss::Labels(_));
        let cases = [
            ("long x", 14, 15, 15, all_weights, length(Arg::X, 10, 14)),
            ("short dy", 15, 15, 14, all_weights, length(Arg::Dy, 15, 14)),
            (
                "short target",
                15,
                14,
                15,
                all_weights,
                length(Arg::Target, 15, 14),
            ),
            (
                "short weights",
                15,
                15,
                15,
                short,
                length(Arg::SampleWeights, 3, 2),
            ),
            ("nothing", 0, 0, 0, all_weights, Error::Zero { arg: Arg::X }),
        ];
        for (name, n, targets, out, weights, want) in cases {
            if is_labels && name == "short target" {
                continue;
            }
            let io = Io {
                x: &x[..n],
                exponent: 0,
                target: &x[..targets],
                target_exponent: 0,
                weights: Some(weights),
            };
            let mut dy = vec![MARK; out];
            assert_eq!(
                loss.run::<i8>(io, EXACT, &mut dy),
                Err(want),
                "{loss:?}, {name}"
            );
            assert!(dy.iter().all(|&d| d == MARK), "{loss:?}, {name}: wrote");
        }
    }
    let mut dy = [MARK; ELEMENTS];
    let options = Classes {
        classes: WIDTH,
        smoothing: Smoothing::NONE,
        weights: None,
    };
    let call = |options, labels: &[u16], dy: &mut [i8]| {
        loss::soft_cross_entropy::<i8>(options, &x, 0, Targets::Labels(labels), EXACT, dy)
    };
    let want = Error::Label {
        row: 1,
        label: 5,
        classes: 5,
    };
    assert_eq!(call(options, &[0, 5, 1], &mut dy), Err(want));
    assert_eq!(
        call(options, &[0, 1], &mut dy),
        Err(length(Arg::Labels, 3, 2))
    );
    let none = Classes {
        classes: 0,
        ..options
    };
    assert_eq!(
        call(none, &[0, 1, 2], &mut dy),
        Err(Error::Zero { arg: Arg::Shape })
    );
    let many = Classes {
        classes: 32_768,
        ..options
    };
    let want = Error::Accumulator {
        terms: 32_768,
        limit: 32_767,
    };
    assert_eq!(call(many, &[0, 1, 2], &mut dy), Err(want));
    assert_eq!(dy, [MARK; ELEMENTS]);
}
