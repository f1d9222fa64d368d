//! The training step alone, without reports. `cargo xtask test` reads the symbols of this image and
//! finds no panic or formatting machinery.
#![no_std]
#![no_main]

use selvedge_core::Serial;
use selvedge_digits::{CnnTrainer, EPOCHS, SEED, TRAIN, course, test};
use train_digits::board::{self, Singleton};

static TRAINED: Singleton<CnnTrainer<i8>> = Singleton::new(CnnTrainer::<i8>::BLANK);
static ORDER: Singleton<[u16; TRAIN]> = Singleton::new([0; TRAIN]);

#[board::entry]
fn main() -> ! {
    if let (Some(trained), Some(order)) = (TRAINED.take(), ORDER.take()) {
        let _ = core::hint::black_box(course(trained, &Serial, SEED, EPOCHS, order, |_| ()));
        let _ = core::hint::black_box(trained.count_right(&Serial, &test()));
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
