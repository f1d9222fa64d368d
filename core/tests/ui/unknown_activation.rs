//~ net!: no activation `swish`; there are identity, relu, masked_relu
use selvedge_core::net;

net! {
    struct Net: [8] {
        hidden: dense(8, activation = swish),
        head: dense(2),
    }
}

fn main() {}
