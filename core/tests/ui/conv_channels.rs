//~ conv: the filters' last axis does not divide the channels
use selvedge_core::net::{Conv, Layer, Slide};
use selvedge_core::tensor::{D3, D4};

static LAYER: Conv<i8, D3<8, 8, 3>, D4<4, 3, 3, 2>, D3<6, 6, 4>, Slide> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
