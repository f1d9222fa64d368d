//~ pool: a window stands on padding alone
use selvedge_core::net::{Layer, MaxPool, Slide};
use selvedge_core::tensor::{D2, D3};

static LAYER: MaxPool<i8, D3<4, 4, 1>, D3<7, 7, 1>, D2<2, 2>, Slide<1, 2>> = Layer::BLANK;

fn main() {
    let _ = &LAYER;
}
