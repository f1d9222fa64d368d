//! Dense layers.

use super::{Lengths, MARK, check, length, narrow};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Error, conv};

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
    let overflow = |got| {
        Some(Error::Overflow {
            arg: Arg::Shape,
            got,
        })
    };
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
            want: [overflow(None); 3],
        },
        Case {
            name: "beyond 32 bits",
            shape: (1 << 16, 1 << 16, 1),
            lengths: Lengths { ..fine },
            want: [overflow(Some(1 << 32)); 3],
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
            want: [too_many, None, None],
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
            want: [None, too_many, None],
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
