//~ net!: expected `name: layer(options)`, with the options in the documented order
use selvedge_core::net;

net! {
    struct Net: [8, 8, 1] {
        edges: conv2d(8, padding = 1, kernel = 3),
        flat: flatten,
        head: dense(10),
    }
}

fn main() {}
