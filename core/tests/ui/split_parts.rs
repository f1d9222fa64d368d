//~ split: together, the parts must have the extent of the whole
use selvedge_core::net::{Concat, Layer, Skip, Split};
use selvedge_core::tensor::D1;

static LAYER: Split<D1<8>, Skip<i8, D1<4>>, Skip<i8, D1<3>>, Concat<D1<7>>> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
