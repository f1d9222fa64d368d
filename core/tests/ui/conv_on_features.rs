//~ net!: `edges: conv2d` takes an image `[rows, columns, channels]`, not features
use selvedge_core::net;

net! {
    struct Net: [64] {
        edges: conv2d(8, kernel = 3),
        flat: flatten,
        head: dense(10),
    }
}

fn main() {}
