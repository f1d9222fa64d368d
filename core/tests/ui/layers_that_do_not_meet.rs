//~ type mismatch resolving
//~ D1<8>
use selvedge_core::net::{Dense, Layer, Logits, Relu};

fn network<L: Layer>() {}

fn main() {
    network::<(Dense<i8, 4, 8, Relu>, Dense<i8, 9, 2, Logits>)>();
}
