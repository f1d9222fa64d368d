//! What is refused, and that nothing is written then.

use super::{level, shape};
use selvedge_kernels::deformable::{self, Errors, Inputs, Level, Shape};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::{Arg, Error};

const SHAPE: Shape<'static> = shape(2, 3, &[level(2, 5), level(1, 3)], [4, 6, 2]);
const EMPTY: &[Level] = &[level(2, 5), level(0, 3)];
const LONG: &[Level] = &[level(1 << 31, 1), level(1 << 31, 1)];
const ENDLESS: &[Level] = &[level(usize::MAX, 2)];
const VALUES: usize = 2 * 13 * 4 * 6;
const WEIGHTS: usize = 2 * 3 * 4 * 2 * 2;
const OUT: usize = 2 * 3 * 4 * 6;

/// A call: the lengths of its arguments.
#[derive(Clone)]
struct Call {
    shape: Shape<'static>,
    /// Values, positions, weights, out or dy, dvalues, dpositions, dweights.
    lens: [usize; 7],
    scratch: usize,
}

/// A good call with a change.
fn with(change: impl FnOnce(&mut Call)) -> Call {
    let mut call = Call {
        shape: SHAPE,
        lens: [
            VALUES,
            2 * WEIGHTS,
            WEIGHTS,
            OUT,
            VALUES,
            2 * WEIGHTS,
            WEIGHTS,
        ],
        scratch: 13 * 6,
    };
    change(&mut call);
    call
}

/// What both passes say. Panics if either wrote although it refused.
fn run(call: &Call) -> [Option<Error>; 2] {
    let [values, positions, weights, mut out, mut dv, mut dp, mut dw] =
        call.lens.map(|len| vec![85f32; len]);
    let inputs = Inputs {
        values: &values,
        positions: &positions,
        weights: &weights,
    };
    let dy = out.clone();
    let forward = deformable::forward(&Serial, call.shape, inputs, &mut out);
    if forward.is_err() {
        assert!(out.iter().all(|&x| x == 85.0));
    }
    let mut scratch = vec![85f32; call.scratch];
    let errors = Errors {
        values: &mut dv,
        positions: &mut dp,
        weights: &mut dw,
    };
    let backward = deformable::backward(&Serial, call.shape, inputs, &dy, errors, &mut scratch);
    if backward.is_err() {
        let written = [dv, dp, dw, scratch];
        assert!(written.iter().flatten().all(|&x| x == 85.0));
    }
    [forward.err(), backward.err()]
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(run(&with(|_| ())), [None; 2]);
    let zero = [Some(Error::Zero { arg: Arg::Shape }); 2];
    let length = |arg, expected, got| Some(Error::Length { arg, expected, got });
    let overflow = |got| {
        [Some(Error::Overflow {
            arg: Arg::Shape,
            got,
        }); 2]
    };
    let cases = [
        ("no samples", with(|c| c.shape.batch = 0), zero),
        ("no queries", with(|c| c.shape.queries = 0), zero),
        ("no levels", with(|c| c.shape.levels = &[]), zero),
        ("an empty level", with(|c| c.shape.levels = EMPTY), zero),
        ("no heads", with(|c| c.shape.heads = 0), zero),
        ("no features", with(|c| c.shape.size = 0), zero),
        ("no points", with(|c| c.shape.points = 0), zero),
        (
            "cells beyond 32 bits",
            with(|c| c.shape.levels = LONG),
            overflow(Some(1 << 32)),
        ),
        (
            "cells beyond counting",
            with(|c| c.shape.levels = ENDLESS),
            overflow(None),
        ),
        (
            "points beyond counting",
            with(|c| c.shape.points = usize::MAX),
            overflow(None),
        ),
        (
            "values",
            with(|c| c.lens[0] -= 1),
            [length(Arg::Value, VALUES, VALUES - 1); 2],
        ),
        (
            "positions",
            with(|c| c.lens[1] += 2),
            [length(Arg::Positions, 2 * WEIGHTS, 2 * WEIGHTS + 2); 2],
        ),
        (
            "weights",
            with(|c| c.lens[2] += 1),
            [length(Arg::Weight, WEIGHTS, WEIGHTS + 1); 2],
        ),
        (
            "out and dy",
            with(|c| c.lens[3] -= 1),
            [Arg::Out, Arg::Dy].map(|arg| length(arg, OUT, OUT - 1)),
        ),
        (
            "dvalues",
            with(|c| c.lens[4] += 1),
            [None, length(Arg::Value, VALUES, VALUES + 1)],
        ),
        (
            "dpositions",
            with(|c| c.lens[5] -= 1),
            [None, length(Arg::Positions, 2 * WEIGHTS, 2 * WEIGHTS - 1)],
        ),
        (
            "dweights",
            with(|c| c.lens[6] -= 1),
            [None, length(Arg::Weight, WEIGHTS, WEIGHTS - 1)],
        ),
        (
            "scratch",
            with(|c| c.scratch -= 1),
            [None, length(Arg::Scratch, 78, 77)],
        ),
        ("more scratch", with(|c| c.scratch += 5), [None; 2]),
    ];
    for (name, call, want) in cases {
        assert_eq!(run(&call), want, "{name}");
    }
}

#[test]
fn scratch_is_told_before_the_call() {
    assert_eq!(deformable::backward_scratch_len(SHAPE, 1), Ok(78));
    assert_eq!(deformable::backward_scratch_len(SHAPE, 3), Ok(3 * 78));
    let overflow = Error::Overflow {
        arg: Arg::Scratch,
        got: None,
    };
    assert_eq!(
        deformable::backward_scratch_len(SHAPE, usize::MAX),
        Err(overflow)
    );
    let empty = Shape { size: 0, ..SHAPE };
    let zero = Error::Zero { arg: Arg::Shape };
    assert_eq!(deformable::backward_scratch_len(empty, 1), Err(zero));
    assert_eq!(empty.cells(), Ok(13));
}

#[test]
fn positions_that_do_not_fit_are_refused() {
    const CELLS: Shape<'static> = Shape {
        queries: 13,
        ..SHAPE
    };
    const LEN: usize = 2 * 13 * 4 * 2 * 2 * 2;
    let run = |shape, offsets: usize, positions: usize| {
        let (mut offsets, mut positions) = (vec![85f32; offsets], vec![85f32; positions]);
        let forward = deformable::positions(&Serial, shape, &offsets, &mut positions);
        assert!(forward.is_ok() || positions.iter().all(|&x| x == 85.0));
        positions.fill(85.0);
        let backward = deformable::positions_backward(&Serial, shape, &positions, &mut offsets);
        assert!(backward.is_ok() || offsets.iter().all(|&x| x == 85.0));
        [forward.err(), backward.err()]
    };
    let length = |arg, got| {
        Some(Error::Length {
            arg,
            expected: LEN,
            got,
        })
    };
    assert_eq!(run(CELLS, LEN, LEN), [None; 2]);
    let offsets = [Arg::X, Arg::Dx].map(|arg| length(arg, LEN - 1));
    assert_eq!(run(CELLS, LEN - 1, LEN), offsets);
    let positions = [length(Arg::Positions, LEN + 1); 2];
    assert_eq!(run(CELLS, LEN, LEN + 1), positions);
    let few = Some(Error::Value {
        arg: Arg::Shape,
        expected: "as many queries as cells",
        got: None,
    });
    assert_eq!(run(SHAPE, LEN, LEN), [few; 2]);
    let zero = Some(Error::Zero { arg: Arg::Shape });
    assert_eq!(run(Shape { heads: 0, ..CELLS }, LEN, LEN), [zero; 2]);

    let mut out = [85f32; 15];
    let refused = deformable::initial_offsets([2, 2, 2], &mut out);
    let want = Error::Length {
        arg: Arg::Out,
        expected: 16,
        got: 15,
    };
    assert_eq!(refused, Err(want));
    let none = deformable::initial_offsets([2, 0, 2], &mut out);
    assert_eq!(none, Err(Error::Zero { arg: Arg::Out }));
    assert_eq!(out, [85.0; 15]);
}
