//! Bad input: each kernel entry returns a typed error and writes nothing.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod convolutions;
mod dense_layers;
mod pooling;

use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::init::{Gain, uniform};
use selvedge_kernels::loss::{cross_entropy, squared_error};
use selvedge_kernels::optim::{Gradient, Parameter, Rate, Role, Sgd};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, shuffle};
use selvedge_kernels::{Arg, Error, Found, activation, dense};

/// What outputs hold before a call, to see that they hold it afterwards.
const MARK: i8 = 85;

fn length(arg: Arg, expected: usize, got: usize) -> Error {
    Error::Length { arg, expected, got }
}

/// Buffers of the lengths in a case, and what each entry of a family makes of them.
struct Lengths {
    x: usize,
    weight: usize,
    bias: usize,
    y: usize,
}

/// Asserts that a call failed as expected and left `out` alone.
fn assert_refused<O: PartialEq + std::fmt::Debug>(
    place: &str,
    got: Result<O, Error>,
    want: Error,
    out: &[impl PartialEq<i8> + std::fmt::Debug],
) {
    assert!(
        matches!(&got, Err(error) if *error == want),
        "{place}: {got:?}, expected {want:?}"
    );
    assert!(
        out.iter().all(|x| *x == MARK),
        "{place}: the output was written"
    );
}

/// `MARK` where a sum was left alone.
fn narrow(sums: &[i32]) -> Vec<i8> {
    sums.iter()
        .map(|&sum| if sum == MARK.into() { MARK } else { 0 })
        .collect()
}

fn check(name: &str, entry: &str, got: Result<(), Error>, want: Option<Error>, out: &[i8]) {
    let place = format!("{entry}, {name}");
    match want {
        Some(want) => assert_refused(&place, got, want, out),
        None => {
            assert_eq!(got, Ok(()), "{place}");
            assert!(
                out.iter().all(|&x| x != MARK),
                "{place}: the output was not written"
            );
        }
    }
}

#[test]
fn losses_refuse_bad_input() {
    let store = Store::Shift {
        shift: 8,
        rounding: Rounding::NearestEven,
    };
    let label = |row, label| {
        Some(Error::Label {
            row,
            label,
            classes: 3,
        })
    };
    let zero = |arg| Some(Error::Zero { arg });
    for (name, classes, logits, labels, gradient, want) in [
        ("fine", 3, 6, vec![0, 2], 6, None),
        ("label out of range", 3, 6, vec![0, 3], 6, label(1, 3)),
        (
            "largest label",
            3,
            6,
            vec![u16::MAX, 0],
            6,
            label(0, 65_535),
        ),
        (
            "short logits",
            3,
            5,
            vec![0, 2],
            6,
            Some(length(Arg::X, 6, 5)),
        ),
        (
            "long gradient",
            3,
            6,
            vec![0, 2],
            7,
            Some(length(Arg::Dy, 6, 7)),
        ),
        ("no classes", 0, 6, vec![0, 2], 6, zero(Arg::X)),
        ("no rows", 3, 0, vec![], 0, zero(Arg::X)),
        (
            "too many classes",
            32_768,
            32_768,
            vec![0],
            32_768,
            Some(Error::Accumulator {
                terms: 32_768,
                limit: 32_767,
            }),
        ),
    ] {
        let mut dy = vec![MARK; gradient];
        let got = cross_entropy::<i8>(classes, &vec![1i16; logits], -8, &labels, store, &mut dy);
        check(name, "cross_entropy", got.map(drop), want, &dy);
    }
    for (name, outputs, target, gradient, want) in [
        ("fine", 4, 4, 4, None),
        ("short target", 4, 3, 4, Some(length(Arg::Target, 4, 3))),
        ("long gradient", 4, 4, 5, Some(length(Arg::Dy, 4, 5))),
        ("nothing", 0, 0, 0, zero(Arg::Target)),
    ] {
        let mut dy = vec![MARK; gradient];
        let store = Store::Shift {
            shift: 0,
            rounding: Rounding::NearestEven,
        };
        let got = squared_error::<i8>(
            &vec![1i16; outputs],
            -8,
            &vec![0i16; target],
            -8,
            store,
            &mut dy,
        );
        check(name, "squared_error", got.map(drop), want, &dy);
    }
}

#[test]
fn activations_parameters_and_shuffles_refuse_bad_input() {
    let mut dy = [MARK; 3];
    let got = activation::relu_backward(&[0i8; 4], &mut dy);
    check(
        "short dy",
        "relu_backward",
        got,
        Some(length(Arg::Dy, 4, 3)),
        &dy,
    );

    let words = Words::new(1, 2, 3);
    for (name, low, fan_in, want) in [
        ("fine", 4, 9, None),
        ("bare", 0, 9, None),
        ("no fan-in", 4, 0, Some(Error::Zero { arg: Arg::Shape })),
        (
            "fan-in beyond 2^20",
            4,
            (1 << 20) + 1,
            Some(Error::Overflow {
                arg: Arg::Shape,
                got: Some((1 << 20) + 1),
            }),
        ),
        ("short residual", 3, 9, Some(length(Arg::Residual, 4, 3))),
    ] {
        let (mut values, mut residual) = ([MARK; 4], vec![MARK; low]);
        let got = uniform(&mut values, &mut residual, words, Gain::He, fan_in).map(drop);
        check(name, "uniform", got, want, &values);
        assert!(
            want.is_none() || residual.iter().all(|&r| r == MARK),
            "{name}: residual"
        );
    }

    let rate = Rate {
        mantissa: 1,
        exponent: 0,
    };
    for (name, low, velocities, momentum, want) in [
        ("fine", 4, 4, 230, None),
        ("no momentum, no velocity", 0, 0, 0, None),
        (
            "short residual",
            3,
            4,
            230,
            Some(length(Arg::Residual, 4, 3)),
        ),
        (
            "long velocity",
            4,
            5,
            230,
            Some(length(Arg::Velocity, 4, 5)),
        ),
        ("no velocity", 4, 0, 230, Some(length(Arg::Velocity, 4, 0))),
    ] {
        let (mut values, mut residual, mut exponent) = ([0i8; 4], vec![0i8; low], 0);
        let mut velocity = vec![0i16; velocities];
        let parameter = Parameter {
            value: &mut values,
            residual: &mut residual,
            velocity: &mut velocity,
            exponent: &mut exponent,
            role: Role::Weight,
        };
        let sgd = Sgd {
            momentum,
            ..Sgd::new(rate)
        };
        assert_eq!(
            parameter.update(&sgd, 0, words).err(),
            want,
            "update, {name}"
        );
    }
    // A gradient of another length than the parameter is refused by the kernel that sums it.
    let (mut values, mut exponent) = ([MARK; 4], 0);
    let parameter = Parameter {
        value: &mut values,
        residual: &mut [],
        velocity: &mut [],
        exponent: &mut exponent,
        role: Role::Weight,
    };
    let mut gradient = Gradient::Apply(parameter.update(&Sgd::new(rate), 0, words).unwrap());
    let shape = dense::Shape {
        batch: 1,
        inputs: 3,
        outputs: 1,
    };
    let got = dense::backward_weight::<i8>(shape, &[1; 3], &[1], &mut gradient);
    gradient.finish();
    check(
        "other length",
        "backward_weight",
        got,
        Some(length(Arg::Weight, 3, 4)),
        &values,
    );

    let mut order = vec![7u16; (1 << 16) + 1];
    assert_eq!(
        shuffle(1, 1, &mut order),
        Err(Error::Overflow {
            arg: Arg::Order,
            got: Some((1 << 16) + 1),
        })
    );
    assert!(order.iter().all(|&place| place == 7), "shuffle: written");
    assert_eq!(shuffle(1, 1, &mut []), Ok(()));
}

#[test]
fn errors_say_what_was_found() {
    for (error, text) in [
        (length(Arg::Dy, 8, 7), "dy: expected 8 elements, found 7"),
        (
            Error::Label {
                row: 1,
                label: 3,
                classes: 3,
            },
            "labels: row 1 has class 3, expected 0 to 2",
        ),
        (
            Error::Window {
                axis: 1,
                span: 5,
                input: 4,
            },
            "window spans 5 cells of axis 1, the padded input has 4",
        ),
        (
            Error::Overflow {
                arg: Arg::Order,
                got: Some(65_537),
            },
            "order: 65537 is too large to count",
        ),
        (
            Error::Overflow {
                arg: Arg::Shape,
                got: None,
            },
            "shape: too large to count in 64 bits",
        ),
        (
            Error::Value {
                arg: Arg::Momentum,
                expected: "0 to 1",
                got: Some(Found::Integer(-3)),
            },
            "momentum: expected 0 to 1, found -3",
        ),
        (
            Error::Value {
                arg: Arg::Weight,
                expected: "0 or more",
                got: None,
            },
            "weight: out of range, expected 0 or more",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn real_numbers_are_shown_without_floats() {
    for (number, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-0.5, "-0.5"),
        (1.1, "1.1"),
        (0.000_000_002, "0.000000002"),
        (123_456.789, "123456.789"),
        (0.999_999_999_9, "1"),
        (4_294_967_295.75, "4294967295.75"),
        (4_294_967_296.0, "4503599627370496 · 2^-20"),
        (-1e300, "-6724873095247260 · 2^944"),
        (f64::MIN_POSITIVE, "4503599627370496 · 2^-1074"),
        (5e-324, "1 · 2^-1074"),
        (f64::INFINITY, "infinity"),
        (f64::NEG_INFINITY, "-infinity"),
        (f64::NAN, "NaN"),
        (-f64::NAN, "NaN"),
    ] {
        assert_eq!(Found::real(number).to_string(), text, "{number:e}");
    }
    // Nine decimals, and a power of two beyond.
    let mut word = 1u64;
    for _ in 0..2000 {
        word = word.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        let number = f64::from((word >> 32) as u32) * 2f64.powi(-((word >> 8) as i32 & 63));
        let got = Found::real(number).to_string();
        match got.split_once(" · 2^") {
            None => {
                let off = (got.parse::<f64>().unwrap() - number).abs();
                assert!(off <= 0.5e-9 + number * f64::EPSILON, "{got}: {number:e}");
                let decimals = got.split_once('.').map_or("1", |(_, decimals)| decimals);
                assert!(decimals.len() <= 9 && !decimals.ends_with('0'), "{got}");
            }
            Some((mantissa, exponent)) => {
                let exponent: i32 = exponent.parse().unwrap();
                assert_eq!(
                    mantissa.parse::<f64>().unwrap() * 2f64.powi(exponent),
                    number
                );
            }
        }
    }
}
