//! The training step alone, without reports. `cargo xtask test` reads the symbols of this image and
//! finds no panic or formatting machinery.
#![no_std]
#![no_main]

use train_digits::board::{self, Singleton};
use workload::{Cnn, SEED};

static TRAINED: Singleton<Cnn<i8>> = Singleton::new(Cnn::<i8>::ZEROED);

#[board::entry]
fn main() -> ! {
    if let Some(trained) = TRAINED.take() {
        trained.init(SEED);
        let _ = core::hint::black_box(trained.train_step());
        #[cfg(feature = "control-panic")]
        core::hint::black_box([1, 2, 3][core::hint::black_box(1)]);
    }
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
