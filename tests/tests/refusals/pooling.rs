//! Max pooling.

use super::{MARK, check, length};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Error, pool};

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
    let no_kernel = Some(Error::Zero { arg: Arg::Kernel });
    let padding = |axis, window| Some(Error::Padding { axis, window });
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
            no_kernel,
            no_kernel,
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
            padding(1, 0),
            padding(1, 0),
        ),
        (
            "last on padding",
            with(|s| s.window.padding[0] = [0, 2]),
            32,
            8,
            padding(0, 2),
            padding(0, 2),
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
            padding(1, 1),
            padding(1, 1),
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
