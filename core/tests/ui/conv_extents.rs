//~ conv: the extents are not those of this window
use selvedge_core::net::{Conv, Layer, Slide};
use selvedge_core::tensor::{D3, D4};

// 8 - 3 + 1 = 6 rows and columns, not 7.
static LAYER: Conv<i8, D3<8, 8, 1>, D4<4, 3, 3, 1>, D3<7, 6, 4>, Slide> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
