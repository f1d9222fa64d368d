//~ the trait bound `DenseOver<i8, D1<2>, 4, Relu>: Fold` is not satisfied
use selvedge_core::net::{BatchNorm, Dense, Relu};
use selvedge_core::tensor::D1;

fn fold(norm: &BatchNorm<i8, D1<4>>, layer: &mut Dense<i8, 2, 4, Relu>) {
    norm.fold_into(layer);
}

fn main() {
    let _ = fold;
}
