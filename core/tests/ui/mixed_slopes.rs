//~ mixed: an activation that keeps slopes; put `Activate` behind the layer instead
use selvedge_core::net::{Gelu, Layer, MixedDense};

static LAYER: MixedDense<i16, i8, 4, 2, Gelu> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
