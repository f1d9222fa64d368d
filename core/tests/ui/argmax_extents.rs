//~ reduce: the output's extents are not those of the axes that are left
use selvedge_core::net::{ArgMax, Axis, Layer};
use selvedge_core::tensor::D2;

static LAYER: ArgMax<i8, D2<4, 3>, D2<4, 2>, Axis<1>> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
