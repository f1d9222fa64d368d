use selvedge_core::{assert_fits, net};

net! {
    struct Net: [8, 8, 1] {
        edges: conv2d(8, kernel = 3, padding = 1, activation = relu),
        halve: max_pool(2),
        flat: flatten,
        head: dense(10),
    }
}

assert_fits!(Net<i8>, batch = 8, ram = 24 * 1024, flash = 4 * 1024);

fn main() {}
