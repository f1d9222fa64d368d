//~ net!: a layer cannot be called `costs`: the network has a method of this name
use selvedge_core::net;

net! {
    struct Net: [8] {
        costs: dense(8, activation = relu),
        head: dense(10),
    }
}

fn main() {}
