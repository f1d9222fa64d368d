//~ Net<i16> does not fit: 2752 bytes of flash are 704 over the budget of 2048; the largest layer is `head` (dense) with 2586
use selvedge_core::{assert_fits, net};

net! {
    struct Net: [8, 8, 1] {
        edges: conv2d(8, kernel = 3, padding = 1, activation = relu),
        halve: max_pool(2),
        flat: flatten,
        head: dense(10),
    }
}

assert_fits!(Net<i16>, ram = 64 * 1024, flash = 2048);

fn main() {}
