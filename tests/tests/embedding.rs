//! Embeddings in all types: rows, their gradients, tables that are also output layers, positions, refusals.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_kernels::embedding::{self, Shape, Token, tied_exponent};
use selvedge_kernels::fixed::{Accumulator, Rounding};
use selvedge_kernels::optim::{Gradient, Learn};
use selvedge_kernels::{Arg, Element, Error};
use selvedge_tests::for_each_type;
use selvedge_tests::noise::Noise;

const VOCABULARY: usize = 7;
/// More than a block of sums, and a rest.
const SIZE: usize = 21;
/// One row four times, one never.
const TOKENS: [u8; 9] = [3, 0, 3, 6, 1, 3, 5, 2, 3];

const SHAPE: Shape = Shape {
    tokens: TOKENS.len(),
    vocabulary: VOCABULARY,
    size: SIZE,
};

fn elements<T: Element>(seed: u32, len: usize) -> Vec<T> {
    let mut noise = Noise::new(seed);
    (0..len)
        .map(|_| T::from_pixel(noise.below(256) as u8))
        .collect()
}

/// The sums of the errors of each row, in the order of the places.
fn sums<T: Element>(dy: &[T]) -> Vec<T::Acc> {
    let mut sums = vec![T::Acc::default(); VOCABULARY * SIZE];
    for (token, dy) in TOKENS.iter().zip(dy.chunks_exact(SIZE)) {
        let row = &mut sums[usize::from(*token) * SIZE..][..SIZE];
        row.iter_mut()
            .zip(dy)
            .for_each(|(sum, d)| *sum += d.to_acc());
    }
    sums
}

fn rows_are_looked_up<T: Element>() {
    let table = elements::<T>(1, VOCABULARY * SIZE);
    let expected: Vec<T> = (TOKENS.iter())
        .flat_map(|&token| table[usize::from(token) * SIZE..][..SIZE].to_vec())
        .collect();
    let mut out = vec![T::ZERO; TOKENS.len() * SIZE];
    embedding::forward(SHAPE, &TOKENS, &table, &mut out).unwrap();
    assert_eq!(out, expected, "{}", T::DTYPE);
    // Tokens of any width are the same rows.
    let mut wide = vec![T::ZERO; TOKENS.len() * SIZE];
    embedding::forward(SHAPE, &TOKENS.map(u32::from), &table, &mut wide).unwrap();
    assert_eq!(wide, expected, "{}", T::DTYPE);
}

fn errors_are_summed_by_token<T: Element>() {
    let dy = elements::<T>(2, TOKENS.len() * SIZE);
    let mut gradient = vec![dy[0].to_acc(); VOCABULARY * SIZE]; // overwritten
    let mut order = [9; TOKENS.len()];
    let mut sink = Gradient::Store(&mut gradient);
    embedding::backward(SHAPE, &TOKENS, &dy, &mut order, &mut sink).unwrap();
    assert_eq!(gradient, sums(&dy), "{}", T::DTYPE);
}

fn tied_gradients_are_added<T: Element>() {
    let dy = elements::<T>(3, TOKENS.len() * SIZE);
    let output = sums(&elements::<T>(4, TOKENS.len() * SIZE));
    let exponents = if T::DTYPE.is_integer() {
        [-9, -12]
    } else {
        [0; 2]
    };
    let [at_output, at_rows] = exponents;
    let mut gradient = vec![<T as Learn>::Update::default(); VOCABULARY * SIZE];
    let mut order = [0; TOKENS.len()];
    let mut sink = Gradient::Store(&mut gradient);
    embedding::backward_tied(
        SHAPE, &TOKENS, &output, &dy, exponents, &mut order, &mut sink,
    )
    .unwrap();
    let e = tied_exponent(at_output, at_rows);
    let at = |sum: T::Acc, from: i32| -> <T as Learn>::Update {
        let sum: <T as Learn>::Update = sum.into();
        sum.shift(e - from, Rounding::NearestEven, 0)
    };
    let expected: Vec<_> = (output.iter().zip(sums(&dy)))
        .map(|(&output, rows)| at(output, at_output) + at(rows, at_rows))
        .collect();
    assert_eq!(gradient, expected, "{}", T::DTYPE);
}

fn positions_are_summed_over_samples<T: Element>() {
    let dy = elements::<T>(5, 3 * SIZE);
    let mut expected = vec![T::Acc::default(); SIZE];
    for dy in dy.chunks_exact(SIZE) {
        expected
            .iter_mut()
            .zip(dy)
            .for_each(|(sum, d)| *sum += d.to_acc());
    }
    let mut gradient = vec![T::Acc::default(); SIZE];
    embedding::backward_positions(SIZE, &dy, &mut Gradient::Store(&mut gradient)).unwrap();
    assert_eq!(gradient, expected, "{}", T::DTYPE);
}

fn all<T: Element>() {
    rows_are_looked_up::<T>();
    errors_are_summed_by_token::<T>();
    tied_gradients_are_added::<T>();
    positions_are_summed_over_samples::<T>();
}

#[test]
fn embeddings_are_their_definition_in_every_type() {
    macro_rules! check {
        ($t:ty) => {
            all::<$t>()
        };
    }
    for_each_type!(check);
}

#[test]
fn bad_input_is_refused_and_nothing_changes() {
    let table = elements::<i8>(1, VOCABULARY * SIZE);
    let mut out = vec![85i8; TOKENS.len() * SIZE];
    let mut tokens = TOKENS;
    tokens[4] = 7;
    let beyond = Error::Index {
        row: 4,
        index: 7,
        extent: VOCABULARY,
    };
    assert_eq!(
        embedding::forward(SHAPE, &tokens, &table, &mut out),
        Err(beyond)
    );
    let length = |arg, expected, got| Err(Error::Length { arg, expected, got });
    assert_eq!(
        embedding::forward(SHAPE, &TOKENS[1..], &table, &mut out),
        length(Arg::Tokens, 9, 8)
    );
    assert_eq!(
        embedding::forward(SHAPE, &TOKENS, &table[1..], &mut out),
        length(Arg::Weight, VOCABULARY * SIZE, VOCABULARY * SIZE - 1)
    );
    let none = Shape { tokens: 0, ..SHAPE };
    assert_eq!(
        embedding::forward::<i8, u8>(none, &[], &table, &mut []),
        Err(Error::Zero { arg: Arg::Shape })
    );
    assert!(out.iter().all(|&x| x == 85));

    let dy = elements::<i8>(2, TOKENS.len() * SIZE);
    let mut gradient = vec![77i32; VOCABULARY * SIZE];
    let mut order = [0; TOKENS.len()];
    let mut sink = Gradient::Store(&mut gradient);
    assert_eq!(
        embedding::backward(SHAPE, &tokens, &dy, &mut order, &mut sink),
        Err(beyond)
    );
    assert_eq!(
        embedding::backward(SHAPE, &TOKENS, &dy, &mut order[1..], &mut sink),
        length(Arg::Scratch, 9, 8)
    );
    assert_eq!(
        embedding::backward_positions(0, &dy, &mut sink),
        Err(Error::Zero { arg: Arg::Shape })
    );
    assert!(gradient.iter().all(|&sum| sum == 77));
    assert_eq!(u8::from_index(256), None);
}
