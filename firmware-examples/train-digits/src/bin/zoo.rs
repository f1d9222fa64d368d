//! A few steps of a small network of each kind, and its outputs after them: a fingerprint for each in two types,
//! to be compared with the host's.
#![no_std]
#![no_main]

use selvedge_core::Serial;
use selvedge_core::train::Trainer;
use selvedge_digits::zoo::{self, BATCH};
use train_digits::board::{self, Singleton};
use train_digits::report::{self, fail};

macro_rules! fingerprints {
    ($($name:ident: $network:ident($narrow:ident, $wide:ident),)*) => {$(
        fingerprints!($name: $network, $narrow);
        fingerprints!($name: $network, $wide);
    )*};
    ($name:ident: $network:ident, $t:ident) => {{
        type Trained = Trainer<zoo::$network<$t>, BATCH>;
        static TRAINED: Singleton<Trained> = Singleton::new(Trained::BLANK);
        let Some(trained) = TRAINED.take() else {
            fail("taken twice")
        };
        let Ok(fingerprint) = zoo::fingerprint(trained, &Serial) else {
            fail(concat!("a step was refused: ", stringify!($name)))
        };
        report::hex(
            concat!("zoo_", stringify!($name), "_", stringify!($t)),
            &fingerprint.0,
        );
    }};
}

#[board::entry]
fn main() -> ! {
    board::start();
    selvedge_digits::each!(fingerprints!());
    board::exit(0)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("panic")
}
