//~ net!: the groups do not divide the channels
use selvedge_core::net;

net! {
    struct Net: [6, 6, 10] {
        grouped: conv2d(20, kernel = 3, groups = 4),
        flat: flatten,
        head: dense(2),
    }
}

fn main() {}
