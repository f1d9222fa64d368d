//! The training steps and outputs of a small network of each kind, without reports and fingerprints: together they
//! have every layer. `cargo xtask test` reads the symbols of this image and finds no panic or formatting machinery.
#![no_std]
#![no_main]

use selvedge_core::Serial;
use selvedge_core::train::Trainer;
use selvedge_digits::zoo::{self, BATCH};
use train_digits::board::{self, Singleton};

macro_rules! trained {
    ($($name:ident: $network:ident($narrow:ident, $wide:ident),)*) => {$(
        trained!($network, $narrow);
        trained!($network, $wide);
    )*};
    ($network:ident, $t:ident) => {{
        type Trained = Trainer<zoo::$network<$t>, BATCH>;
        static TRAINED: Singleton<Trained> = Singleton::new(Trained::BLANK);
        if let Some(trained) = TRAINED.take() {
            let _ = core::hint::black_box(zoo::train(trained, &Serial));
            let _ = core::hint::black_box(trained.predict(&Serial, BATCH));
        }
    }};
}

#[board::entry]
fn main() -> ! {
    selvedge_digits::each!(trained!());
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
