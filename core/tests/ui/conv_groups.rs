//~ conv: the groups, channels by the filters' last axis, do not divide the filters
use selvedge_core::net::{Conv, Layer};
use selvedge_core::tensor::{D3, D4};

static LAYER: Conv<i8, D3<4, 4, 4>, D4<3, 1, 1, 2>, D3<4, 4, 3>> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
