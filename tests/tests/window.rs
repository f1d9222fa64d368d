//! Windows: extents against TensorFlow's rules, and what is refused.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::window::Window;
use selvedge_kernels::{Arg, Error};

/// TensorFlow's documentation: "SAME" gives `ceil(in / stride)` windows with as little padding as that
/// needs, the smaller half in front; "VALID" gives `ceil((in - span + 1) / stride)`.
#[test]
fn padding_follows_tensorflow() {
    let mut cases = 0;
    for input in 1..=12usize {
        for kernel in 1..=5 {
            for stride in 1..=4 {
                for dilation in 1..=3 {
                    let window = Window {
                        kernel: [kernel],
                        stride: [stride],
                        padding: [[5, 7]],
                        dilation: [dilation],
                    };
                    let span = (kernel - 1) * dilation + 1;
                    let same = window.same([input]).unwrap();
                    let outputs = input.div_ceil(stride);
                    let total = ((outputs - 1) * stride + span).saturating_sub(input);
                    assert_eq!(same.padding, [[total / 2, total - total / 2]], "{window:?}");
                    assert_eq!(same.outputs([input]), Ok([outputs]), "{window:?}");
                    let valid = window.valid();
                    assert_eq!((valid.kernel, valid.padding), ([kernel], [[0, 0]]));
                    let fitting = (input + 1).saturating_sub(span).div_ceil(stride);
                    let want = match fitting {
                        0 => Err(Error::Window {
                            axis: 0,
                            span,
                            input,
                        }),
                        n => Ok([n]),
                    };
                    assert_eq!(valid.outputs([input]), want, "{window:?}");
                    // What fits without a remainder is found again.
                    for window in [same, valid] {
                        let Ok(outputs) = window.outputs([input]) else {
                            continue;
                        };
                        let Ok([least]) = window.inputs(outputs) else {
                            let [before, after] = window.padding[0];
                            assert!((outputs[0] - 1) * stride + span <= before + after);
                            continue;
                        };
                        assert_eq!(window.outputs([least]), Ok(outputs));
                        assert!(least <= input && input - least < stride, "{window:?}");
                        cases += 1;
                    }
                }
            }
        }
    }
    assert!(cases > 1000);
    assert_eq!(Window::whole([3, 5, 7]).outputs([3, 5, 7]), Ok([1; 3]));
    assert!(!Window::whole([3]).valid().padding.concat().contains(&1));
}

#[test]
fn windows_refuse_what_they_cannot_count() {
    let window = Window::<2>::uniform(3, 1, 0);
    let zero = Error::Zero { arg: Arg::Shape };
    let overflow = Error::Overflow {
        arg: Arg::Shape,
        got: None,
    };
    for (bad, want) in [
        (
            Window {
                kernel: [3, 0],
                ..window
            },
            Error::Zero { arg: Arg::Kernel },
        ),
        (
            Window {
                stride: [0, 1],
                ..window
            },
            Error::Zero { arg: Arg::Stride },
        ),
        (
            Window {
                dilation: [1, 0],
                ..window
            },
            Error::Zero { arg: Arg::Dilation },
        ),
        (
            Window {
                dilation: [1, usize::MAX],
                ..window
            },
            overflow,
        ),
    ] {
        assert_eq!(bad.outputs([9, 9]), Err(want), "{bad:?}");
        assert_eq!(bad.inputs([9, 9]), Err(want), "{bad:?}");
        assert_eq!(bad.same([9, 9]), Err(want), "{bad:?}");
    }
    let padded = Window {
        padding: [[0, 0], [usize::MAX, 1]],
        ..window
    };
    assert_eq!(padded.outputs([9, 9]), Err(overflow));
    assert_eq!(padded.inputs([9, 9]), Err(overflow));
    assert_eq!(window.outputs([9, 0]), Err(zero));
    assert_eq!(window.inputs([0, 9]), Err(zero));
    assert_eq!(window.same([0, 9]), Err(zero));
    let wide = Window {
        stride: [1, usize::MAX],
        ..window
    };
    assert_eq!(wide.inputs([9, 9]), Err(overflow));
    let all_padding = Window {
        padding: [[0, 0], [2, 3]],
        ..window
    };
    let want = Error::Window {
        axis: 1,
        span: 4,
        input: 5,
    };
    assert_eq!(all_padding.inputs([2, 2]), Err(want));
}
