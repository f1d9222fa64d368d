//~ net!: a window does not fit into its padded input
use selvedge_core::net;

net! {
    struct Net: [4, 4, 1] {
        edges: conv2d(8, kernel = 7, padding = 1, activation = relu),
        flat: flatten,
        head: dense(10),
    }
}

fn main() {}
