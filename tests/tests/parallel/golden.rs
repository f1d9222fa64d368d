//! The reference program's runs of branches, replayed by typed networks to the byte.

use selvedge_core::net::{Dense, Identity, Line, Parallel, Relu, Residual, Skip, Tanh, Total};
use selvedge_core::tensor::D1;
use selvedge_core::{Element, net};
use selvedge_tests::replay::replay;

/// A sum within a sum.
type Three<T, R> = Parallel<
    (
        Dense<T, 8, 8, Tanh, R>,
        (Dense<T, 8, 3, Relu, R>, Dense<T, 3, 8, Identity, R>),
        Dense<T, 8, 8, Identity, R>,
    ),
    Total,
>;
type Plain<T, const I: usize, const O: usize, R> = Dense<T, I, O, Identity, R>;
type Four<T, R> = Parallel<
    (
        Plain<T, 8, 5, R>,
        (Dense<T, 8, 4, Relu, R>, Plain<T, 4, 5, R>),
        Plain<T, 8, 5, R>,
        Plain<T, 8, 5, R>,
    ),
    Total,
>;

net! {
    struct Sums: [9] {
        entry: dense(8, activation = relu),
        around: layer(Residual<Three<T, R>> => [8]),
        sum: layer(Four<T, R> => [5]),
        head: dense(4),
    }
}

type Lines<T, R> = Parallel<
    (
        Dense<T, 8, 3, Relu, R>,
        Skip<T, D1<8>>,
        Parallel<
            (
                Plain<T, 8, 2, R>,
                Plain<T, 8, 1, R>,
                Dense<T, 8, 4, Tanh, R>,
            ),
            Line<D1<7>>,
        >,
    ),
    Line<D1<18>>,
>;

net! {
    struct Sides: [9] {
        entry: dense(8, activation = relu),
        line: layer(Lines<T, R> => [18]),
        head: dense(4),
    }
}

#[test]
fn sums_of_branches_give_the_reference_bytes() {
    replay::<Sums<i8>>("total-i8", i8::from_pixel);
    replay::<Sums<u8>>("total-u8", u8::from_pixel);
    replay::<Sums<i16>>("total-i16", i16::from_pixel);
    replay::<Sums<i32>>("total-i32", i32::from_pixel);
}

#[test]
fn branches_side_by_side_give_the_reference_bytes() {
    replay::<Sides<i8>>("line-i8", i8::from_pixel);
    replay::<Sides<u8>>("line-u8", u8::from_pixel);
    replay::<Sides<i16>>("line-i16", i16::from_pixel);
    replay::<Sides<i32>>("line-i32", i32::from_pixel);
}
