//! What is refused, and that nothing is written then.

use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rope::{self, Pairs, Rotation, Scaling, Shape};
use selvedge_kernels::{Arg, Error};

#[test]
fn what_does_not_fit_is_refused() {
    let good = Shape {
        batch: 1,
        steps: 2,
        heads: 3,
        size: 4,
    };
    let zero = Error::Zero { arg: Arg::Shape };
    let length = |arg, expected, got| Error::Length { arg, expected, got };
    let odd = Error::Value {
        arg: Arg::Shape,
        expected: "an even number of features",
        got: None,
    };
    for (shape, lens, want) in [
        (Shape { batch: 0, ..good }, [24, 24, 2], [zero; 2]),
        (Shape { steps: 0, ..good }, [24, 24, 2], [zero; 2]),
        (Shape { heads: 0, ..good }, [24, 24, 2], [zero; 2]),
        (Shape { size: 0, ..good }, [24, 24, 2], [zero; 2]),
        (Shape { size: 3, ..good }, [18, 18, 1], [odd; 2]),
        (
            Shape {
                steps: 1 << 31,
                ..good
            },
            [24, 24, 2],
            [Error::Overflow {
                arg: Arg::Shape,
                got: Some(25_769_803_776),
            }; 2],
        ),
        (good, [24, 24, 3], [length(Arg::Frequencies, 2, 3); 2]),
        (
            good,
            [23, 24, 2],
            [Arg::X, Arg::Dy].map(|arg| length(arg, 24, 23)),
        ),
        (
            good,
            [24, 25, 2],
            [Arg::Out, Arg::Dx].map(|arg| length(arg, 24, 25)),
        ),
    ] {
        let (x, mut out) = (vec![1i8; lens[0]], vec![85i8; lens[1]]);
        let rotation = Rotation {
            frequencies: &vec![0; lens[2]],
            pairs: Pairs::Halves,
            offset: 0,
        };
        let got = [
            rope::forward(&Serial, shape, rotation, &x, Store::EXACT, &mut out),
            rope::backward(&Serial, shape, rotation, &x, Store::EXACT, &mut out),
        ];
        assert_eq!(got, want.map(Err));
        assert!(out.iter().all(|&y| y == 85));
    }
}

#[test]
fn frequencies_out_of_range_are_refused() {
    let scale = |expected| Error::Value {
        arg: Arg::Scale,
        expected,
        got: None,
    };
    let llama = |factor, low, high, context| Scaling::Llama3 {
        factor,
        low,
        high,
        context,
    };
    let base = Error::Value {
        arg: Arg::Base,
        expected: "2 or more",
        got: None,
    };
    for (base, scaling, len, want) in [
        (1, Scaling::None, 2, base),
        (0, Scaling::None, 2, base),
        (2, Scaling::None, 0, Error::Zero { arg: Arg::Shape }),
        (
            2,
            Scaling::Linear { factor: 999 },
            2,
            scale("a factor of 1 or more"),
        ),
        (2, llama(999, 1, 2, 3), 2, scale("a factor of 1 or more")),
        (2, llama(1000, 2, 2, 3), 2, scale("low below high")),
        (
            2,
            llama(1000, 1, 2, (1 << 20) + 1),
            2,
            scale("a context of at most 2^20"),
        ),
    ] {
        let mut out = vec![7; len];
        assert_eq!(rope::frequencies(base, scaling, &mut out), Err(want));
        assert!(out.iter().all(|&f| f == 7));
    }
}
