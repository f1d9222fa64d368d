//~ net!: `head: dense` takes features, not an image: put `flat: flatten` before it
use selvedge_core::net;

net! {
    struct Net: [8, 8, 1] {
        head: dense(10),
    }
}

fn main() {}
