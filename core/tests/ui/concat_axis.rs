//~ concat: branches and output may differ along the axis only
use selvedge_core::net::{Axis, Concat, Fork, Layer, Part, Skip};
use selvedge_core::tensor::D2;

// Rows of three channels and of two, one below the other.
type Narrow = Part<i8, D2<4, 3>, D2<4, 2>>;
static LAYER: Fork<Skip<i8, D2<4, 3>>, Narrow, Concat<D2<8, 3>, Axis<0>>> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
