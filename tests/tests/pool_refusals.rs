//! What average pooling and adaptive pooling refuse: nothing is written then.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::exec::Serial;
use selvedge_kernels::pool::{self, Adaptive, Padding, Shape};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Error};

const MARK: i8 = 77;

fn length(arg: Arg, expected: usize, got: usize) -> Error {
    Error::Length { arg, expected, got }
}

#[test]
fn averages_refuse_bad_input() {
    /// What the passes say to `x` and `out`, or `dx` and `dy`, of these lengths.
    fn refuses<const N: usize>(
        shape: Shape<N>,
        padding: Padding,
        lens: [usize; 2],
        want: [Error; 2],
    ) {
        let (x, dy) = (vec![1; lens[0]], vec![1; lens[1]]);
        let (mut out, mut dx) = (vec![MARK; lens[1]], vec![MARK; lens[0]]);
        let store = Store::EXACT;
        let got = [
            pool::average_forward(&Serial, shape, padding, &x, store, &mut out),
            pool::average_backward(&Serial, shape, padding, &dy, store, &mut dx),
        ];
        assert_eq!(got, want.map(Err), "{shape:?}");
        assert!(out.iter().chain(&dx).all(|&x| x == MARK), "{shape:?}");
    }
    let shape = Shape {
        batch: 1,
        input: [4, 4],
        channels: 2,
        window: Window::uniform(2, 2, 0),
    };
    let (counted, not_counted) = (Padding::Counted, Padding::NotCounted);
    let zero = [Error::Zero { arg: Arg::Shape }; 2];
    for padding in [counted, not_counted] {
        let x = [Arg::X, Arg::Dx].map(|arg| length(arg, 32, 31));
        refuses(shape, padding, [31, 8], x);
        let y = [Arg::Out, Arg::Dy].map(|arg| length(arg, 8, 9));
        refuses(shape, padding, [32, 9], y);
        refuses(Shape { batch: 0, ..shape }, padding, [0, 0], zero);
        refuses(
            Shape {
                channels: 0,
                ..shape
            },
            padding,
            [0, 0],
            zero,
        );
        let mut bad = shape;
        bad.window.kernel[1] = 0;
        let no_kernel = Error::Zero { arg: Arg::Kernel };
        refuses(bad, padding, [32, 8], [no_kernel; 2]);
        assert_eq!(bad.average_exponent::<i8>(padding, 0), Err(no_kernel));
        bad.window.kernel[1] = 5;
        let window = Error::Window {
            axis: 1,
            span: 5,
            input: 4,
        };
        refuses(bad, padding, [32, 8], [window; 2]);
        assert_eq!(bad.average_exponent::<i8>(padding, 0), Err(window));
    }
    // A window on padding alone is a mean of zeros, unless padding does not count.
    let mut bad = shape;
    bad.window.padding[1] = [2, 0];
    let window = Error::Padding { axis: 1, window: 0 };
    refuses(bad, not_counted, [32, 12], [window; 2]);
    let mut out = [MARK; 12];
    pool::average_forward(&Serial, bad, counted, &[1; 32], Store::EXACT, &mut out).unwrap();
    assert!(out[..2] == [0, 0] && out[2] != 0);
    // More cells than can be counted.
    let large = Shape {
        window: Window {
            kernel: [1 << 17; 2],
            padding: [[0, 1 << 17]; 2],
            ..shape.window
        },
        ..shape
    };
    let overflow = |got| Error::Overflow {
        arg: Arg::Shape,
        got,
    };
    refuses(large, counted, [32, 8], [overflow(Some(1 << 34)); 2]);
    let exponent = large.average_exponent::<i8>(counted, 0);
    assert_eq!(exponent, Err(overflow(None)));
}

#[test]
fn averages_refuse_what_their_sums_cannot_hold() {
    let store = Store::EXACT;
    let limit = 1 << 23;
    for (cells, want) in [
        (limit, length(Arg::X, limit, 0)),
        (
            limit + 1,
            Error::Accumulator {
                terms: limit + 1,
                limit,
            },
        ),
    ] {
        let shape = Shape {
            batch: 1,
            input: [cells],
            channels: 1,
            window: Window::whole([cells]),
        };
        for padding in [Padding::Counted, Padding::NotCounted] {
            let got = pool::average_forward::<i32, 1>(&Serial, shape, padding, &[], store, &mut []);
            assert_eq!(got, Err(want));
            let got = pool::average_forward::<u8, 1>(&Serial, shape, padding, &[], store, &mut []);
            assert_eq!(got, Err(length(Arg::X, cells, 0)));
        }
    }
    // A single cell under more windows than 24 bits leave room for, with a factor of 2^15 each.
    let windows = 1 << 24;
    let shape = Adaptive {
        batch: 1,
        input: [1],
        channels: 1,
        output: [windows],
    };
    let got = pool::adaptive_average_backward::<i32, 1>(&Serial, shape, &[], store, &mut []);
    let want = Error::Accumulator {
        terms: windows,
        limit: windows - 1,
    };
    assert_eq!(got, Err(want));
    let got = pool::adaptive_average_forward::<i32, 1>(&Serial, shape, &[], store, &mut []);
    assert_eq!(got, Err(length(Arg::X, 1, 0)));
}

#[test]
fn adaptive_pooling_refuses_bad_input() {
    fn refuses(shape: Adaptive, lens: [usize; 2], want: [Error; 4]) {
        let (x, y) = (vec![1; lens[0]], vec![1; lens[1]]);
        let (mut out, mut dx) = (vec![MARK; lens[1]], vec![MARK; lens[0]]);
        let store = Store::EXACT;
        let got = [
            pool::adaptive_max_forward(&Serial, shape, &x, &mut out),
            pool::adaptive_max_backward(&Serial, shape, &x, &y, &y, store, &mut dx).map(drop),
            pool::adaptive_average_forward(&Serial, shape, &x, store, &mut out).map(drop),
            pool::adaptive_average_backward(&Serial, shape, &y, store, &mut dx).map(drop),
        ];
        assert_eq!(got, want.map(Err), "{shape:?}");
        assert!(out.iter().chain(&dx).all(|&x| x == MARK), "{shape:?}");
    }
    let shape = Adaptive {
        batch: 2,
        input: [3, 4],
        channels: 2,
        output: [2, 3],
    };
    // 48 elements become 24.
    let x = [Arg::X, Arg::X, Arg::X, Arg::Dx].map(|arg| length(arg, 48, 47));
    refuses(shape, [47, 24], x);
    let y = [Arg::Out, Arg::Y, Arg::Out, Arg::Dy].map(|arg| length(arg, 24, 23));
    refuses(shape, [48, 23], y);
    let zero = Error::Zero { arg: Arg::Shape };
    let overflow = Error::Overflow {
        arg: Arg::Shape,
        got: Some(1 << 34),
    };
    let [input, output] = [shape.input, shape.output];
    for (bad, want) in [
        (Adaptive { batch: 0, ..shape }, zero),
        (
            Adaptive {
                channels: 0,
                ..shape
            },
            zero,
        ),
        (
            Adaptive {
                input: [3, 0],
                ..shape
            },
            zero,
        ),
        (
            Adaptive {
                output: [0, 3],
                ..shape
            },
            zero,
        ),
        (
            Adaptive {
                input: [1 << 16; 2],
                ..shape
            },
            overflow,
        ),
        (
            Adaptive {
                output: [1 << 16; 2],
                ..shape
            },
            overflow,
        ),
    ] {
        refuses(bad, [48, 24], [want; 4]);
        if bad.input != input || bad.output != output {
            let seen = bad.average_exponent::<i8>(0);
            assert!(seen == Err(want) || want == overflow, "{bad:?}: {seen:?}");
        }
    }
    let mut dx = [MARK; 48];
    let got = pool::adaptive_max_backward(
        &Serial,
        shape,
        &[1; 48],
        &[1; 24],
        &[1; 25],
        Store::EXACT,
        &mut dx,
    );
    assert_eq!((got, dx), (Err(length(Arg::Dy, 24, 25)), [MARK; 48]));
}
