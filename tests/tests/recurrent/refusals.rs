//! Bad input is refused, and nothing is written.

use super::{Layer, windows};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::recurrent::{self, Cell, Errors, Input, Keep, Output, Shape, State};
use selvedge_kernels::{Arg, Error};

const SHAPE: Shape = Shape {
    cell: Cell::Gru,
    batch: 2,
    steps: 3,
    inputs: 4,
    units: 5,
    output: Output::All,
    is_reversed: false,
};

/// Lengths of x, hidden, input, bias, hidden bias, h, inner, before, gates, out, scratch.
const FORWARD: [usize; 11] = [24, 75, 60, 15, 15, 10, 10, 30, 150, 30, 60];
/// Lengths of hidden, input, bias, hidden bias, gates, dy, dz, dzu, scratch.
const BACKWARD: [usize; 9] = [75, 60, 15, 15, 150, 30, 90, 90, 20];

fn forward(shape: Shape, lengths: [usize; 11]) -> Result<(), Error> {
    let [
        x,
        hidden,
        input,
        bias,
        hidden_bias,
        h,
        inner,
        before,
        gates,
        out,
        scratch,
    ] = lengths;
    let mut layer = Layer::<i8>::random(SHAPE, 1, 1.0);
    layer.input = vec![1; input];
    layer.hidden = vec![1; hidden];
    layer.bias = vec![1; bias];
    layer.hidden_bias = vec![1; hidden_bias];
    let (mut h, mut inner) = (vec![99; h], vec![99; inner]);
    let (mut before, mut gates, mut out) = (vec![99; before], vec![99; gates], vec![99; out]);
    let mut scratch = vec![99; scratch];
    let x = vec![1; x];
    let result = recurrent::forward(
        &Serial,
        shape,
        Input {
            values: &x,
            exponent: -7,
        },
        layer.weights(),
        State {
            h: &mut h,
            inner: &mut inner,
        },
        Keep {
            before: &mut before,
            gates: &mut gates,
        },
        &mut out,
        &mut scratch,
    );
    if result.is_err() {
        for written in [&h, &before, &out] {
            assert!(written.iter().all(|&x| x == 99));
        }
        assert!(inner.iter().chain(&gates).all(|&x| x == 99));
        assert!(scratch.iter().all(|&x| x == 99));
    }
    result
}

fn backward(shape: Shape, lengths: [usize; 9]) -> Result<(), Error> {
    let [
        hidden,
        input,
        bias,
        hidden_bias,
        gates,
        dy,
        dz,
        dzu,
        scratch,
    ] = lengths;
    let mut layer = Layer::<i8>::random(SHAPE, 1, 1.0);
    layer.input = vec![1; input];
    layer.hidden = vec![1; hidden];
    layer.bias = vec![1; bias];
    layer.hidden_bias = vec![1; hidden_bias];
    let (gates, dy) = (vec![0; gates], vec![1; dy]);
    let (mut dz, mut dzu, mut scratch) = (vec![99; dz], vec![99; dzu], vec![99; scratch]);
    let errors = Errors {
        dy: &dy,
        exponent: -9,
        windows: windows::<i8>(-9),
    };
    let result = recurrent::backward(
        &Serial,
        shape,
        layer.weights(),
        &gates,
        errors,
        &mut dz,
        &mut dzu,
        &mut scratch,
    );
    if result.is_err() {
        assert!(dz.iter().chain(&dzu).all(|&x| x == 99));
        assert!(scratch.iter().all(|&x| x == 99));
    }
    result.map(|_| ())
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    assert_eq!(forward(SHAPE, FORWARD), Ok(()));
    let args = [
        Arg::X,
        Arg::HiddenWeight,
        Arg::Weight,
        Arg::Bias,
        Arg::HiddenBias,
        Arg::State,
        Arg::State,
        Arg::Before,
        Arg::Gates,
        Arg::Out,
        Arg::Scratch,
    ];
    for (i, arg) in args.into_iter().enumerate() {
        let mut lengths = FORWARD;
        lengths[i] -= 1;
        let (expected, got) = (FORWARD[i], lengths[i]);
        let want = Err(Error::Length { arg, expected, got });
        assert_eq!(forward(SHAPE, lengths), want);
    }
    // More memory than is asked for, and nothing kept.
    let mut lengths = FORWARD;
    (lengths[7], lengths[8], lengths[10]) = (0, 0, 1000);
    assert_eq!(forward(SHAPE, lengths), Ok(()));

    assert_eq!(backward(SHAPE, BACKWARD), Ok(()));
    let args = [
        Arg::HiddenWeight,
        Arg::Weight,
        Arg::Bias,
        Arg::HiddenBias,
        Arg::Gates,
        Arg::Dy,
        Arg::Dz,
        Arg::Dzu,
        Arg::Scratch,
    ];
    for (i, arg) in args.into_iter().enumerate() {
        let mut lengths = BACKWARD;
        lengths[i] -= 1;
        let (expected, got) = (BACKWARD[i], lengths[i]);
        let want = Err(Error::Length { arg, expected, got });
        assert_eq!(backward(SHAPE, lengths), want);
    }
}

#[test]
fn what_a_cell_does_not_have_must_be_empty() {
    let rnn = Shape {
        cell: Cell::Rnn,
        ..SHAPE
    };
    let fine = [24, 25, 20, 5, 0, 10, 0, 30, 30, 30, 20];
    assert_eq!(forward(rnn, fine), Ok(()));
    for (i, arg) in [(4, Arg::HiddenBias), (6, Arg::State)] {
        let mut lengths = fine;
        lengths[i] = 10;
        let (expected, got) = (0, 10);
        let want = Err(Error::Length { arg, expected, got });
        assert_eq!(forward(rnn, lengths), want);
    }
    let fine = [25, 20, 5, 0, 30, 30, 30, 0, 10];
    assert_eq!(backward(rnn, fine), Ok(()));
    let mut lengths = fine;
    lengths[7] = 30;
    let (arg, expected, got) = (Arg::Dzu, 0, 30);
    assert_eq!(
        backward(rnn, lengths),
        Err(Error::Length { arg, expected, got })
    );
}

#[test]
fn empty_and_overlong_extents_are_refused() {
    let zero = Err(Error::Zero { arg: Arg::Shape });
    for shape in [
        Shape { batch: 0, ..SHAPE },
        Shape { steps: 0, ..SHAPE },
        Shape { inputs: 0, ..SHAPE },
        Shape { units: 0, ..SHAPE },
    ] {
        assert_eq!(forward(shape, FORWARD), zero, "{shape:?}");
        assert_eq!(backward(shape, BACKWARD), zero, "{shape:?}");
    }
    assert_eq!(
        recurrent::forward_scratch_len(SHAPE, 0),
        Err(Error::Zero { arg: Arg::Scratch })
    );
    assert_eq!(recurrent::forward_scratch_len(SHAPE, 3), Ok(120));
    assert_eq!(recurrent::backward_scratch_len(SHAPE), Ok(20));
    let overflow = Error::Overflow {
        arg: Arg::Shape,
        got: None,
    };
    for shape in [
        Shape {
            batch: usize::MAX,
            ..SHAPE
        },
        Shape {
            steps: usize::MAX,
            ..SHAPE
        },
        Shape {
            units: usize::MAX,
            ..SHAPE
        },
    ] {
        assert_eq!(forward(shape, FORWARD), Err(overflow), "{shape:?}");
        assert_eq!(backward(shape, BACKWARD), Err(overflow), "{shape:?}");
    }
    // i8 sums 65,536 products: of inputs, and of three gates of each unit.
    let inputs = Shape {
        inputs: 65_537,
        ..SHAPE
    };
    let limit = 65_536;
    let want = |terms| Err(Error::Accumulator { terms, limit });
    assert_eq!(forward(inputs, FORWARD), want(65_537));
    let units = Shape {
        units: 21_846,
        inputs: 1,
        batch: 1,
        ..SHAPE
    };
    assert_eq!(forward(units, FORWARD), want(65_538));
    // And the gradients of weights 131,072 elements of sequences.
    let steps = Shape {
        steps: 65_537,
        ..SHAPE
    };
    let want = Error::Accumulator {
        terms: 131_074,
        limit: 131_072,
    };
    assert_eq!(backward(steps, BACKWARD), Err(want));
}
