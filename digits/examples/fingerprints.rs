//! Trains the demo's networks, a small network of each kind for a few steps, and those that are described and compiled, and
//! prints their fingerprints, the same on every target:
//! `cargo run --release --package selvedge-digits --features alloc --example fingerprints`

use selvedge_core::net::Network;
use selvedge_core::train::Trainer;
use selvedge_core::{Result, Serial};
use selvedge_digits::{BATCH, CnnTrainer, EPOCHS, MlpTrainer, SEED, TRAIN, course, described, zoo};

fn print<N: Network<In = <N as Network>::Elem>>(
    name: &str,
    mut trainer: Box<Trainer<N, BATCH>>,
    epochs: u32,
) -> Result<()> {
    course(&mut trainer, &Serial, SEED, epochs, &mut [0; TRAIN], |_| ())?;
    println!("{name} {}", trainer.fingerprint());
    Ok(())
}

macro_rules! print_zoo {
    ($($name:ident: $network:ident($narrow:ident, $wide:ident),)*) => {$(
        print_zoo!($name: $network, $narrow);
        print_zoo!($name: $network, $wide);
    )*};
    ($name:ident: $network:ident, $t:ident) => {{
        let mut trainer = Box::new(Trainer::<zoo::$network<$t>, { zoo::BATCH }>::BLANK);
        let fingerprint = zoo::fingerprint(&mut trainer, &Serial)?;
        let name = concat!("zoo_", stringify!($name), "_", stringify!($t));
        println!("{name} {fingerprint}");
    }};
}

macro_rules! print_described {
    ($($name:ident($narrow:ident, $wide:ident),)*) => {$(
        print_described!($name, $narrow);
        print_described!($name, $wide);
    )*};
    ($name:ident, $t:ident) => {
        let fingerprint = described::$name::<$t>().fingerprint(&Serial)?;
        let name = concat!("described_", stringify!($name), "_", stringify!($t));
        println!("{name} {fingerprint}");
    };
}

fn main() -> described::Result<()> {
    print("cnn", Box::new(CnnTrainer::<i8>::BLANK), EPOCHS)?;
    print("mlp", Box::new(MlpTrainer::<i8>::BLANK), EPOCHS)?;
    print("one_epoch_i8", Box::new(CnnTrainer::<i8>::BLANK), 1)?;
    print("one_epoch_u8", Box::new(CnnTrainer::<u8>::BLANK), 1)?;
    print("one_epoch_i16", Box::new(CnnTrainer::<i16>::BLANK), 1)?;
    print("one_epoch_u16", Box::new(CnnTrainer::<u16>::BLANK), 1)?;
    selvedge_digits::each!(print_zoo!());
    selvedge_digits::each_described!(print_described!());
    Ok(())
}
