//~ concat: the output must have the extents of both branches together
use selvedge_core::net::{Concat, Dense, Fork, Layer};
use selvedge_core::tensor::D1;

static LAYER: Fork<Dense<i8, 4, 3>, Dense<i8, 4, 2>, Concat<D1<6>>> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
