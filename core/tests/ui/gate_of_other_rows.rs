//~ mixture: the gate must have weights for samples or for rows of the experts' outputs
use selvedge_core::net::{DenseOver, Layer, Mixture, Reshape, Softmax};
use selvedge_core::tensor::D2;

type Gate = (Reshape<i8, D2<3, 4>, D2<2, 6>>, (DenseOver<i8, D2<2, 6>, 2>, Softmax<i8, D2<2, 2>>));

static LAYER: Mixture<Gate, [DenseOver<i8, D2<3, 4>, 5>; 2]> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
