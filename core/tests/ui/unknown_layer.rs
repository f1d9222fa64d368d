//~ net!: `edges: conv2` is no layer of `net!`; there are dense, conv1d, conv2d
//~ and layer(Type => [extents]) for any other
use selvedge_core::net;

net! {
    struct Net: [8, 8, 1] {
        edges: conv2(8, kernel = 3),
        flat: flatten,
        head: dense(10),
    }
}

fn main() {}
