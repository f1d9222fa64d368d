//~ total: all branches must have outputs of the same shape
use selvedge_core::net;

net! {
    struct Net: [4] {
        sum: total { a: dense(3) } { b: dense(3) } { c: dense(2) },
        head: dense(2),
    }
}

static NET: Net<i8> = net::Network::BLANK;

fn main() {
    let _ = &NET;
}
