//! Trains a small network of each kind for a few steps, and prints its fingerprint in i8 and u16: the same on
//! every target. `cargo run --release --package selvedge-digits --example zoo`

use selvedge_core::train::Trainer;
use selvedge_core::{Result, Serial};
use selvedge_digits::zoo;

macro_rules! print {
    ($($name:ident: $network:ident,)*) => {$(
        print!($name: $network, i8);
        print!($name: $network, u16);
    )*};
    ($name:ident: $network:ident, $t:ident) => {{
        let mut trainer = Box::new(Trainer::<zoo::$network<$t>, { zoo::BATCH }>::BLANK);
        zoo::train(&mut trainer, &Serial)?;
        let name = concat!("zoo_", stringify!($name), "_", stringify!($t));
        println!("{name} {}", trainer.fingerprint());
    }};
}

fn main() -> Result<()> {
    selvedge_digits::each!(print!());
    Ok(())
}
