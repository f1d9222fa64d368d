//! Bad input is refused before anything is written.

use selvedge_core::net::{
    Backward, Dense, Layer, Mixture, Parallel, Pass, Softmax, Tape, Total, Values,
};
use selvedge_core::tensor::D1;
use selvedge_core::{Error as NetError, Rate, Serial, Sgd};
use selvedge_kernels::elementwise::{MAX_TERMS, Term};
use selvedge_kernels::experts::{self, Balance, Shape};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::scale::Mode;
use selvedge_kernels::{Arg, Error};

const SHAPE: Shape = Shape {
    rows: 2,
    experts: 3,
    features: 4,
};
const MARK: i8 = 85;

fn length(arg: Arg, expected: usize, got: usize) -> Error {
    Error::Length { arg, expected, got }
}

#[test]
fn mixtures_refuse_what_does_not_fit() {
    let (weights, y, dy) = ([1i8; 6], [1; 8], [1; 8]);
    let term = Term {
        values: &y[..],
        exponent: 0,
    };
    let short = Term {
        values: &y[..7],
        exponent: 0,
    };
    let (mut out, mut dw, store) = ([MARK; 8], [MARK; 6], Store::EXACT);
    let mut forward = |shape, weights: &[i8], experts: &[Term<'_, i8>], len: usize| {
        let error = experts::forward(&Serial, shape, weights, experts, store, &mut out[..len]);
        assert_eq!(out, [MARK; 8]);
        error.unwrap_err()
    };
    let three = [term; 3];
    let empty = |shape| (shape, Error::Zero { arg: Arg::Shape });
    for (shape, want) in [
        empty(Shape { rows: 0, ..SHAPE }),
        empty(Shape {
            experts: 0,
            ..SHAPE
        }),
        empty(Shape {
            features: 0,
            ..SHAPE
        }),
        (
            Shape {
                rows: 1 << 31,
                ..SHAPE
            },
            Error::Overflow {
                arg: Arg::Shape,
                got: Some(12 << 31),
            },
        ),
        (
            Shape {
                experts: 65,
                ..SHAPE
            },
            Error::Accumulator {
                terms: 65,
                limit: MAX_TERMS,
            },
        ),
    ] {
        assert_eq!(forward(shape, &weights, &three, 8), want);
    }
    assert_eq!(
        forward(SHAPE, &weights[1..], &three, 8),
        length(Arg::Weight, 6, 5)
    );
    assert_eq!(
        forward(SHAPE, &weights, &three[1..], 8),
        length(Arg::Parts, 3, 2)
    );
    assert_eq!(
        forward(SHAPE, &weights, &[term, short, term], 8),
        length(Arg::Parts, 8, 7)
    );
    assert_eq!(forward(SHAPE, &weights, &three, 7), length(Arg::Out, 8, 7));

    let mut backward = |expert, weights: &[i8], dy: &[i8], len: usize| {
        let dx = &mut out[..len];
        let error = experts::backward(&Serial, SHAPE, expert, weights, dy, store, dx);
        assert_eq!(out, [MARK; 8]);
        error.unwrap_err()
    };
    let beyond = Error::Index {
        row: 0,
        index: 3,
        extent: 3,
    };
    assert_eq!(backward(3, &weights, &dy, 8), beyond);
    assert_eq!(
        backward(0, &weights[1..], &dy, 8),
        length(Arg::Weight, 6, 5)
    );
    assert_eq!(backward(0, &weights, &dy[1..], 8), length(Arg::Dy, 8, 7));
    assert_eq!(backward(0, &weights, &dy, 7), length(Arg::Dx, 8, 7));

    let mut backward = |shape, experts: &[Term<'_, i8>], dy: &[i8], len: usize| {
        let dw = &mut dw[..len];
        let error = experts::backward_weights(&Serial, shape, experts, dy, store, dw);
        assert_eq!(dw, [MARK; 6].get(..len).unwrap());
        error.unwrap_err()
    };
    assert_eq!(
        backward(SHAPE, &three[1..], &dy, 6),
        length(Arg::Parts, 3, 2)
    );
    assert_eq!(backward(SHAPE, &three, &dy[1..], 6), length(Arg::Dy, 8, 7));
    assert_eq!(backward(SHAPE, &three, &dy, 5), length(Arg::Dw, 6, 5));
    let long = Shape {
        features: (1 << 16) + 1,
        ..SHAPE
    };
    let limit = Error::Accumulator {
        terms: (1 << 16) + 1,
        limit: 1 << 16,
    };
    assert_eq!(backward(long, &three, &dy, 6), limit);
}

#[test]
fn balances_refuse_what_does_not_fit() {
    assert_eq!(Balance::new(10, 0), Err(Error::Zero { arg: Arg::Shape }));
    assert!(Balance::new(16_777_215, 1).is_ok());
    for (thousandths, experts) in [(16_777_216, 1), (8_388_608, 2), (u32::MAX, usize::MAX)] {
        let error = Balance::new(thousandths, experts).unwrap_err();
        let found = format!("found {thousandths}");
        assert!(error.to_string().ends_with(&found), "{error}");
    }
    let balance = Balance::new(10, 3).unwrap();
    let (p, dy, store) = ([1i8; 6], [1i8; 6], Store::EXACT);
    let mut dx = [MARK; 6];
    let mut refused = |rows, p: &[i8], values: &[i8], [len, experts]: [usize; 2]| {
        let errors = Term {
            values,
            exponent: 0,
        };
        let mut counts = [4; 3];
        let (dx_part, counts_part) = (&mut dx[..len], &mut counts[..experts]);
        let error =
            experts::balance_backward(rows, balance, p, errors, store, dx_part, counts_part);
        assert_eq!((dx, counts), ([MARK; 6], [4; 3]));
        error.unwrap_err()
    };
    assert_eq!(refused(0, &p, &dy, [6, 3]), Error::Zero { arg: Arg::X });
    assert_eq!(refused(2, &p[1..], &dy, [6, 3]), length(Arg::X, 6, 5));
    assert_eq!(refused(2, &p, &dy[1..], [6, 3]), length(Arg::Dy, 6, 5));
    assert_eq!(refused(2, &p, &dy, [5, 3]), length(Arg::Dx, 6, 5));
    assert_eq!(refused(2, &p, &dy, [6, 2]), length(Arg::Scratch, 3, 2));
}

/// A backward pass that no forward pass of training came before.
fn refuses_untrained<L: Layer<Elem = f32, In = f32>>() {
    let mut layer = Box::new(L::BLANK);
    layer.init(1, 0).unwrap();
    let mut tape: Box<L::Tape<2>> = Box::new(Tape::BLANK);
    let data = [0.5; 8];
    let x = Values {
        data: &data[..],
        exponent: 0,
        batch: 2,
    };
    let pass = |mode| Pass {
        exec: &Serial,
        mode,
        seed: 1,
        step: 0,
        sgd: const {
            &Sgd::new(Rate {
                mantissa: 1,
                exponent: 0,
            })
        },
        is_padded: false,
        lengths: &[],
    };
    let back = |layer: &mut L, tape: &mut L::Tape<2>| {
        let (mut error, mut spare) = ([0.0; 64], [0.0; 64]);
        let errors = Backward {
            error: &mut error,
            spare: &mut spare,
            exponent: 0,
        };
        layer
            .backward::<_, 2>(&pass(Mode::Train), 0, x, tape, errors, true)
            .map(|_| ())
    };
    let refused = Err(NetError::Tape {
        layer: 0,
        expected: 0,
        got: 2,
    });
    assert_eq!(back(&mut layer, &mut tape), refused);
    layer
        .forward::<_, 2>(&pass(Mode::Infer), 0, x, &mut tape)
        .unwrap();
    assert_eq!(back(&mut layer, &mut tape), refused);
    layer
        .forward::<_, 2>(&pass(Mode::Train), 0, x, &mut tape)
        .unwrap();
    assert_eq!(back(&mut layer, &mut tape), Ok(()));
    assert_eq!(back(&mut layer, &mut tape), refused);
}

#[test]
fn backward_passes_follow_forward_passes() {
    refuses_untrained::<Parallel<[Dense<f32, 4, 3>; 3], Total>>();
    refuses_untrained::<Mixture<(Dense<f32, 4, 2>, Softmax<f32, D1<2>>), [Dense<f32, 4, 3>; 2]>>();
    refuses_untrained::<selvedge_core::net::TopKSoftmax<f32, D1<4>, 2>>();
}
