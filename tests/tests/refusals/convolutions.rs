//! Convolutions.

use super::{Lengths, MARK, check, length, narrow};
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Error, conv};

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
    let none = |arg| [Some(Error::Zero { arg }); 3];
    let zero = none(Arg::Shape);
    let overflow = |got| {
        [Some(Error::Overflow {
            arg: Arg::Shape,
            got,
        }); 3]
    };
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
        case(
            "no kernel",
            (window(|w| w.kernel[1] = 0), none(Arg::Kernel)),
        ),
        case(
            "no stride",
            (window(|w| w.stride[0] = 0), none(Arg::Stride)),
        ),
        case(
            "no dilation",
            (window(|w| w.dilation[1] = 0), none(Arg::Dilation)),
        ),
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
            (window(|w| w.padding[0] = [usize::MAX, 1]), overflow(None)),
        ),
        case(
            "dilation beyond usize",
            (window(|w| w.dilation[0] = usize::MAX), overflow(None)),
        ),
        case(
            "image beyond 32 bits",
            (
                conv::Shape {
                    input: [1 << 31, 3],
                    ..shape
                },
                overflow(Some(3 << 32)),
            ),
        ),
        case(
            "output beyond 32 bits",
            (
                window(|w| w.padding[1] = [1 << 31, 0]),
                overflow(Some((1 << 34) + 16)),
            ),
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
    // Each pass has a limit of its own.
    let too_many = Some(Error::Accumulator {
        terms: 65_537,
        limit: 65_536,
    });
    let mut whole = wide;
    whole.window.kernel = [1, 65_537];
    let x = Some(length(Arg::X, 65_537, 24));
    cases.push(case("too many products", (whole, [too_many, too_many, x])));
    let mut one = conv::Shape {
        input: [1, 1],
        channels: 65_537,
        filters: 1,
        groups: 1,
        ..shape
    };
    one.window.kernel = [1, 1];
    cases.push(Case {
        name: "too many channels",
        shape: one,
        lengths: Lengths {
            x: 65_537,
            weight: 65_537,
            bias: 1,
            y: 1,
        },
        want: [too_many, None, None],
    });
    (one.channels, one.filters) = (1, 65_537);
    cases.push(Case {
        name: "too many filters",
        shape: one,
        lengths: Lengths {
            x: 1,
            weight: 65_537,
            bias: 65_537,
            y: 65_537,
        },
        want: [None, too_many, None],
    });
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
