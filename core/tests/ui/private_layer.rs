//~ method `hidden` is private
mod inner {
    selvedge_core::net! {
        struct Net: [8] {
            hidden: dense(8, activation = relu),
            head: dense(10),
        }
    }

    pub type Seen = Net<i8>;
}

fn main() {
    let net = <inner::Seen as selvedge_core::net::Network>::BLANK;
    let _ = net.hidden();
}
