//~ arg max: the axis has more elements than the type has whole numbers
use selvedge_core::net::{ArgMax, Axis, Layer};
use selvedge_core::tensor::D1;

// 8 bits hold 0 to 127.
static FITS: ArgMax<i8, D1<128>, D1<1>, Axis<0>> = Layer::BLANK;
static LAYER: ArgMax<i8, D1<129>, D1<1>, Axis<0>> = Layer::BLANK;

fn main() {
    let _ = (&FITS, &LAYER);
}
