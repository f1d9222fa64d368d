//~ mixture: the gate must have a weight for each expert
use selvedge_core::net::{Dense, Layer, Mixture, Softmax};
use selvedge_core::tensor::D1;

static LAYER: Mixture<(Dense<i8, 4, 3>, Softmax<i8, D1<3>>), [Dense<i8, 4, 2>; 2]> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
