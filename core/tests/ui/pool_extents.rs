//~ pool: the output's extents are not those of this window
use selvedge_core::net::{Layer, MaxPool};
use selvedge_core::tensor::D3;

// 9 rows have four windows of two, 8 columns as many.
static LAYER: MaxPool<i8, D3<9, 8, 4>, D3<5, 4, 4>> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
