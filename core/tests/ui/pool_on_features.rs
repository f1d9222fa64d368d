//~ net!: `halve: max_pool` takes a signal, an image or a volume, not features
use selvedge_core::net;

net! {
    struct Net: [8] {
        halve: max_pool(2),
        head: dense(10),
    }
}

fn main() {}
