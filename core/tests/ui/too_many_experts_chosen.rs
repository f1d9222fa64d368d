//~ top k: expected at least one, and no more than a row has
use selvedge_core::net::{Layer, TopKSoftmax};
use selvedge_core::tensor::D1;

static LAYER: TopKSoftmax<i8, D1<2>, 3> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
