//~ net!: no way `median` to join branches of this shape; there are sum, addition, product
use selvedge_core::net;

net! {
    struct Net: [8] {
        both: median { a: dense(8) } { b: dense(8) },
        head: dense(10),
    }
}

fn main() {}
