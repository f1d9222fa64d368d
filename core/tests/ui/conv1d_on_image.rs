//~ net!: `edges: conv1d` takes a signal `[columns, channels]`
use selvedge_core::net;

net! {
    struct Net: [8, 8, 1] {
        edges: conv1d(8, kernel = 3),
        flat: flatten,
        head: dense(10),
    }
}

fn main() {}
