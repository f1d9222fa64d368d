//! Trains a small network of each kind for a few steps, and prints its fingerprint in two types: the same on every
//! target. `cargo run --release --package selvedge-digits --example zoo`

use selvedge_core::train::Trainer;
use selvedge_core::{Result, Serial};
use selvedge_digits::zoo;

macro_rules! print {
    ($($name:ident: $network:ident($narrow:ident, $wide:ident),)*) => {$(
        print!($name: $network, $narrow);
        print!($name: $network, $wide);
    )*};
    ($name:ident: $network:ident, $t:ident) => {{
        let mut trainer = Box::new(Trainer::<zoo::$network<$t>, { zoo::BATCH }>::BLANK);
        let fingerprint = zoo::fingerprint(&mut trainer, &Serial)?;
        let name = concat!("zoo_", stringify!($name), "_", stringify!($t));
        println!("{name} {fingerprint}");
    }};
}

fn main() -> Result<()> {
    selvedge_digits::each!(print!());
    Ok(())
}
