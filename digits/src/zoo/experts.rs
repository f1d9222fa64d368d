//! A network of many branches.

use crate::{CLASSES, SIDE};
use selvedge_core::net;
use selvedge_core::net::{Balance, Dense, Grid, Identity, Parallel, Scatter, TopKSoftmax};
use selvedge_core::tensor::{D1, D2};

/// Two branches in the other order.
pub struct Swapped;

impl Grid for Swapped {
    const EXTENTS: [usize; 3] = [1, 2, 1];
    const CELLS: &'static [[usize; 3]] = &[[0, 1, 0], [0, 0, 0]];
}

net! {
    /// Each row of an image goes to two of three experts, which a balance keeps in use; then sums, means and views of
    /// the whole, side by side.
    pub struct Experts: [SIDE, SIDE] {
        entry: dense(8, activation = relu),
        experts: mixture {
            logits: dense(3),
            gate: layer(TopKSoftmax<T, D2<SIDE, 3>, 2> => [SIDE, 3]),
            balance: layer(Balance<T, D2<SIDE, 3>> => [SIDE, 3]),
        } {
            narrow: dense(3, activation = relu), stitch: dense(8),
        } {
            wide: dense(12, activation = silu), stitch: dense(8),
        } {
            alone: dense(8, activation = tanh),
        },
        pool: global_average_pool,
        sum: total { plain: dense(8) } { deep: dense(4, activation = relu), back: dense(8) } {},
        committee: mean { first: dense(8) } { second: dense(8, activation = tanh) },
        views: line { few: dense(3, activation = relu) } { one: dense(1) } { four: dense(4) },
        cells: layer(Parallel<
            (Dense<T, 8, 6, Identity, R>, Dense<T, 8, 4, Identity, R>), Scatter<Swapped, D1<10>>,
        > => [10]),
        head: dense(CLASSES),
    }
}
