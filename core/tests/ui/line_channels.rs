//~ line: the output must have the channels of all branches
use selvedge_core::net::{Dense, Layer, Line, Parallel};
use selvedge_core::tensor::D1;

static LAYER: Parallel<(Dense<i8, 4, 3>, Dense<i8, 4, 2>, Dense<i8, 4, 1>), Line<D1<7>>> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
