//! Bad input: each kernel entry returns a typed error and writes nothing.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::init::{Gain, uniform};
use selvedge_kernels::loss::{cross_entropy, squared_error};
use selvedge_kernels::optim::{Gradient, Parameter, Rate, Role, Sgd};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::{Words, shuffle};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Error, activation, conv, dense, pool};

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

#[test]
fn dense_refuses_bad_input() {
    struct Case {
        name: &'static str,
        shape: (usize, usize, usize),
        lengths: Lengths,
        /// Errors of forward, backward_input, backward_weight; `None` where the call is fine.
        want: [Option<Error>; 3],
    }
    let fine = Lengths {
        x: 6,
        weight: 12,
        bias: 4,
        y: 8,
    };
    let zero = Some(Error::Zero { arg: Arg::Shape });
    let overflow = Some(Error::Overflow { arg: Arg::Shape });
    let too_many = Some(Error::Accumulator {
        terms: 65_537,
        limit: 65_536,
    });
    let cases = [
        Case {
            name: "fine",
            shape: (2, 3, 4),
            lengths: Lengths { ..fine },
            want: [None; 3],
        },
        Case {
            name: "short x",
            shape: (2, 3, 4),
            lengths: Lengths { x: 5, ..fine },
            want: [
                Some(length(Arg::X, 6, 5)),
                Some(length(Arg::Dx, 6, 5)),
                Some(length(Arg::X, 6, 5)),
            ],
        },
        Case {
            name: "long weight",
            shape: (2, 3, 4),
            lengths: Lengths { weight: 13, ..fine },
            want: [
                Some(length(Arg::Weight, 12, 13)),
                Some(length(Arg::Weight, 12, 13)),
                Some(length(Arg::Dw, 12, 13)),
            ],
        },
        Case {
            name: "short bias",
            shape: (2, 3, 4),
            lengths: Lengths { bias: 3, ..fine },
            want: [Some(length(Arg::Bias, 4, 3)), None, None],
        },
        Case {
            name: "long y",
            shape: (2, 3, 4),
            lengths: Lengths { y: 9, ..fine },
            want: [
                Some(length(Arg::Out, 8, 9)),
                Some(length(Arg::Dy, 8, 9)),
                Some(length(Arg::Dy, 8, 9)),
            ],
        },
        Case {
            name: "no batch",
            shape: (0, 3, 4),
            lengths: Lengths { ..fine },
            want: [zero; 3],
        },
        Case {
            name: "no inputs",
            shape: (2, 0, 4),
            lengths: Lengths { ..fine },
            want: [zero; 3],
        },
        Case {
            name: "no outputs",
            shape: (2, 3, 0),
            lengths: Lengths { ..fine },
            want: [zero; 3],
        },
        Case {
            name: "beyond usize",
            shape: (usize::MAX, 3, 4),
            lengths: Lengths { ..fine },
            want: [overflow; 3],
        },
        Case {
            name: "beyond 32 bits",
            shape: (1 << 16, 1 << 16, 1),
            lengths: Lengths { ..fine },
            want: [overflow; 3],
        },
        Case {
            name: "too many inputs",
            shape: (1, 65_537, 1),
            lengths: Lengths {
                x: 65_537,
                weight: 65_537,
                bias: 1,
                y: 1,
            },
            want: [too_many; 3],
        },
        Case {
            name: "too many outputs",
            shape: (1, 1, 65_537),
            lengths: Lengths {
                x: 1,
                weight: 65_537,
                bias: 65_537,
                y: 65_537,
            },
            want: [too_many; 3],
        },
        Case {
            name: "too many rows",
            shape: (131_073, 1, 1),
            lengths: Lengths {
                x: 131_073,
                weight: 1,
                bias: 1,
                y: 131_073,
            },
            want: [
                None,
                None,
                Some(Error::Accumulator {
                    terms: 131_073,
                    limit: 131_072,
                }),
            ],
        },
    ];
    for Case {
        name,
        shape: (batch, inputs, outputs),
        lengths,
        want,
    } in cases
    {
        let shape = dense::Shape {
            batch,
            inputs,
            outputs,
        };
        let (x, weight, y) = (
            vec![1i8; lengths.x],
            vec![1i8; lengths.weight],
            vec![1i8; lengths.y],
        );
        let values = vec![1i16; lengths.bias];
        let bias = Bias {
            values: &values,
            shift: 0,
        };
        let mut out = vec![MARK; lengths.y];
        let got = dense::forward(
            &Serial,
            shape,
            &x,
            &weight,
            bias,
            Epilogue::EXACT,
            &mut out,
            &mut [],
        );
        check(name, "forward", got.map(drop), want[0], &out);
        let mut dx = vec![MARK; lengths.x];
        let got = dense::backward_input(&Serial, shape, &y, &weight, Store::EXACT, &mut dx);
        check(name, "backward_input", got.map(drop), want[1], &dx);
        let mut dw = vec![i32::from(MARK); lengths.weight];
        let got = dense::backward_weight::<i8>(shape, &x, &y, &mut Gradient::Store(&mut dw));
        check(name, "backward_weight", got, want[2], &narrow(&dw));
    }
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
fn dense_admits_layers_whose_products_need_more_than_32_bits() {
    // 70,000 · 300 · 300 products, each tensor small enough.
    let shape = dense::Shape {
        batch: 70_000,
        inputs: 300,
        outputs: 300,
    };
    let mut out = vec![0f32; 3];
    let bias = Bias {
        values: &[],
        shift: 0,
    };
    let got = dense::forward::<f32, f32>(
        &Serial,
        shape,
        &[],
        &[],
        bias,
        Epilogue::EXACT,
        &mut out,
        &mut [],
    );
    assert_eq!(
        got,
        Err(length(Arg::X, 21_000_000, 0)),
        "the shape itself is fine"
    );
    let window = Window::uniform(3, 1, 1);
    let shape = conv::Shape {
        batch: 1,
        input: [14, 14],
        channels: 512,
        filters: 512,
        groups: 512,
        window,
    };
    let got = conv::forward::<i8, i8, 2>(
        &Serial,
        shape,
        &[],
        &[],
        Bias {
            values: &[],
            shift: 0,
        },
        Epilogue::EXACT,
        &mut [],
        &mut [],
    );
    assert_eq!(
        got,
        Err(length(Arg::X, 14 * 14 * 512, 0)),
        "the shape itself is fine"
    );
}

#[test]
fn the_bias_gradient_refuses_bad_input() {
    let call = |outputs, rows: usize, sums: usize| {
        let mut db = vec![i32::from(MARK); sums];
        let got =
            dense::backward_bias::<i8>(outputs, &vec![1; rows], &mut Gradient::Store(&mut db));
        (got, narrow(&db))
    };
    let zero = Error::Zero { arg: Arg::Shape };
    for (name, (got, db), want) in [
        ("no outputs", call(0, 4, 2), Some(zero)),
        ("no rows", call(2, 0, 2), Some(Error::Zero { arg: Arg::Dy })),
        ("half a row", call(2, 5, 2), Some(length(Arg::Dy, 4, 5))),
        ("short gradient", call(2, 4, 1), Some(length(Arg::Dw, 2, 1))),
        (
            "too many rows",
            call(1, 131_073, 1),
            Some(Error::Accumulator {
                terms: 131_073,
                limit: 131_072,
            }),
        ),
        ("fine", call(2, 4, 2), None),
    ] {
        check(name, "backward_bias", got, want, &db);
    }
}

#[test]
fn convolutions_refuse_bad_input() {
    struct Case {
        name: &'static str,
        shape: conv::Shape,
        lengths: Lengths,
        want: [Option<Error>; 3],
    }
    let shape = conv::Shape {
        batch: 1,
        input: [4, 3],
        channels: 2,
        filters: 4,
        groups: 2,
        window: Window {
            kernel: [3, 2],
            stride: [1, 1],
            padding: [[0, 0], [0, 0]],
            dilation: [1, 1],
        },
    };
    let fine = Lengths {
        x: 24,
        weight: 24,
        bias: 4,
        y: 16,
    };
    let zero = [Some(Error::Zero { arg: Arg::Shape }); 3];
    let overflow = [Some(Error::Overflow { arg: Arg::Shape }); 3];
    let window = |change: fn(&mut Window)| {
        let mut shape = shape;
        change(&mut shape.window);
        shape
    };
    let groups = |channels, filters, groups| {
        let error = Error::Groups {
            channels,
            filters,
            groups,
        };
        (
            conv::Shape {
                channels,
                filters,
                groups,
                ..shape
            },
            [Some(error); 3],
        )
    };
    let case = |name, (shape, want)| Case {
        name,
        shape,
        lengths: Lengths { ..fine },
        want,
    };
    let fit = |axis, span, input| [Some(Error::Window { axis, span, input }); 3];
    let mut cases = vec![
        case("fine", (shape, [None; 3])),
        case("no batch", (conv::Shape { batch: 0, ..shape }, zero)),
        case(
            "no rows",
            (
                conv::Shape {
                    input: [0, 3],
                    ..shape
                },
                zero,
            ),
        ),
        case(
            "no columns",
            (
                conv::Shape {
                    input: [4, 0],
                    ..shape
                },
                zero,
            ),
        ),
        case(
            "no channels",
            (
                conv::Shape {
                    channels: 0,
                    ..shape
                },
                zero,
            ),
        ),
        case(
            "no filters",
            (
                conv::Shape {
                    filters: 0,
                    ..shape
                },
                zero,
            ),
        ),
        case("no groups", (conv::Shape { groups: 0, ..shape }, zero)),
        case("no kernel", (window(|w| w.kernel[1] = 0), zero)),
        case("no stride", (window(|w| w.stride[0] = 0), zero)),
        case("no dilation", (window(|w| w.dilation[1] = 0), zero)),
        case("channels do not divide", groups(3, 4, 2)),
        case("filters do not divide", groups(2, 3, 2)),
        case("more groups than channels", groups(2, 4, 4)),
        case("too tall", (window(|w| w.kernel[0] = 5), fit(0, 5, 4))),
        case(
            "too wide when dilated",
            (window(|w| w.dilation[1] = 3), fit(1, 4, 3)),
        ),
        case(
            "padding beyond usize",
            (window(|w| w.padding[0] = [usize::MAX, 1]), overflow),
        ),
        case(
            "dilation beyond usize",
            (window(|w| w.dilation[0] = usize::MAX), overflow),
        ),
        case(
            "image beyond 32 bits",
            (
                conv::Shape {
                    input: [1 << 31, 3],
                    ..shape
                },
                overflow,
            ),
        ),
        case(
            "output beyond 32 bits",
            (window(|w| w.padding[1] = [1 << 31, 0]), overflow),
        ),
    ];
    let lengths = [
        (
            "short x",
            Lengths { x: 23, ..fine },
            [(Arg::X, 24, 23), (Arg::Dx, 24, 23), (Arg::X, 24, 23)],
        ),
        (
            "long weight",
            Lengths { weight: 25, ..fine },
            [
                (Arg::Weight, 24, 25),
                (Arg::Weight, 24, 25),
                (Arg::Dw, 24, 25),
            ],
        ),
        (
            "short y",
            Lengths { y: 15, ..fine },
            [(Arg::Out, 16, 15), (Arg::Dy, 16, 15), (Arg::Dy, 16, 15)],
        ),
    ];
    for (name, lengths, want) in lengths {
        let want = want.map(|(arg, expected, got)| Some(length(arg, expected, got)));
        cases.push(Case {
            name,
            shape,
            lengths,
            want,
        });
    }
    cases.push(Case {
        name: "short bias",
        shape,
        lengths: Lengths { bias: 3, ..fine },
        want: [Some(length(Arg::Bias, 4, 3)), None, None],
    });
    let wide = conv::Shape {
        input: [1, 65_537],
        channels: 1,
        filters: 1,
        groups: 1,
        ..shape
    };
    let too_many = [Some(Error::Accumulator {
        terms: 65_537,
        limit: 65_536,
    }); 3];
    let mut whole = wide;
    whole.window.kernel = [1, 65_537];
    cases.push(case("too many products", (whole, too_many)));
    let many = conv::Shape {
        input: [1, 131_073],
        channels: 1,
        filters: 1,
        groups: 1,
        ..shape
    };
    let mut cells = many;
    cells.window.kernel = [1, 1];
    cases.push(Case {
        name: "too many positions",
        shape: cells,
        lengths: Lengths {
            x: 131_073,
            weight: 1,
            bias: 1,
            y: 131_073,
        },
        want: [
            None,
            None,
            Some(Error::Accumulator {
                terms: 131_073,
                limit: 131_072,
            }),
        ],
    });
    for Case {
        name,
        shape,
        lengths,
        want,
    } in cases
    {
        let (x, weight, y) = (
            vec![1i8; lengths.x],
            vec![1i8; lengths.weight],
            vec![1i8; lengths.y],
        );
        let values = vec![1i16; lengths.bias];
        let bias = Bias {
            values: &values,
            shift: 0,
        };
        let mut out = vec![MARK; lengths.y];
        let got = conv::forward(
            &Serial,
            shape,
            &x,
            &weight,
            bias,
            Epilogue::EXACT,
            &mut out,
            &mut [],
        );
        check(name, "forward", got.map(drop), want[0], &out);
        let mut dx = vec![MARK; lengths.x];
        let got = conv::backward_input(&Serial, shape, &y, &weight, Store::EXACT, &mut dx);
        check(name, "backward_input", got.map(drop), want[1], &dx);
        let mut dw = vec![i32::from(MARK); lengths.weight];
        let got = conv::backward_weight::<i8, 2>(shape, &x, &y, &mut Gradient::Store(&mut dw));
        check(name, "backward_weight", got, want[2], &narrow(&dw));
    }
}

#[test]
fn max_pooling_refuses_bad_input() {
    let window = Window::uniform(2, 2, 0);
    let shape = pool::Shape {
        batch: 1,
        input: [4, 4],
        channels: 2,
        window,
    };
    let zero = Some(Error::Zero { arg: Arg::Shape });
    let with = |change: fn(&mut pool::Shape)| {
        let mut shape = shape;
        change(&mut shape);
        shape
    };
    let alone = |axis, span, input| Some(Error::Window { axis, span, input });
    for (name, shape, x, y, want, want_back) in [
        ("fine", shape, 32, 8, None, None),
        ("no batch", with(|s| s.batch = 0), 32, 8, zero, zero),
        ("no channels", with(|s| s.channels = 0), 32, 8, zero, zero),
        (
            "no kernel",
            with(|s| s.window.kernel = [0, 2]),
            32,
            8,
            zero,
            zero,
        ),
        (
            "short x",
            shape,
            31,
            8,
            Some(length(Arg::X, 32, 31)),
            Some(length(Arg::X, 32, 31)),
        ),
        (
            "long y",
            shape,
            32,
            9,
            Some(length(Arg::Out, 8, 9)),
            Some(length(Arg::Y, 8, 9)),
        ),
        (
            "does not fit",
            with(|s| s.window.kernel[0] = 5),
            32,
            8,
            alone(0, 5, 4),
            alone(0, 5, 4),
        ),
        (
            "first on padding",
            with(|s| s.window.padding[1] = [2, 0]),
            32,
            8,
            alone(1, 2, 4),
            alone(1, 2, 4),
        ),
        (
            "last on padding",
            with(|s| s.window.padding[0] = [0, 2]),
            32,
            8,
            alone(0, 2, 4),
            alone(0, 2, 4),
        ),
        (
            "one in the middle misses the only column",
            pool::Shape {
                input: [4, 1],
                window: Window {
                    stride: [1, 1],
                    padding: [[0, 0], [2, 2]],
                    dilation: [1, 2],
                    ..window
                },
                ..shape
            },
            8,
            18,
            alone(1, 2, 1),
            alone(1, 2, 1),
        ),
    ] {
        let input = vec![1i8; x];
        let mut out = vec![MARK; y];
        check(
            name,
            "forward",
            pool::max_forward(&Serial, shape, &input, &mut out),
            want,
            &out,
        );
        let mut dx = vec![MARK; x];
        let (maxima, dy) = (vec![1i8; y], vec![1i8; y]);
        let got = pool::max_backward(&Serial, shape, &input, &maxima, &dy, Store::EXACT, &mut dx);
        check(name, "backward", got.map(drop), want_back, &dx);
    }
    let mut dx = [MARK; 32];
    let got = pool::max_backward(
        &Serial,
        shape,
        &[1; 32],
        &[1; 8],
        &[1; 7],
        Store::EXACT,
        &mut dx,
    );
    check(
        "short dy",
        "backward",
        got.map(drop),
        Some(length(Arg::Dy, 8, 7)),
        &dx,
    );
    let mut dx = [MARK; 31];
    let got = pool::max_backward(
        &Serial,
        shape,
        &[1; 32],
        &[1; 8],
        &[1; 8],
        Store::EXACT,
        &mut dx,
    );
    check(
        "short dx",
        "backward",
        got.map(drop),
        Some(length(Arg::Dx, 32, 31)),
        &dx,
    );
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
            Some(Error::Overflow { arg: Arg::Shape }),
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
        Err(Error::Overflow { arg: Arg::Order })
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
    ] {
        assert_eq!(error.to_string(), text);
    }
}
