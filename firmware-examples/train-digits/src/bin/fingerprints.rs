//! An epoch in each integer type of the demo: one fingerprint each, to be compared with the host's.
#![no_std]
#![no_main]

use selvedge_core::Serial;
use selvedge_digits::{CnnTrainer, SEED, TRAIN, course};
use train_digits::board::{self, Singleton};
use train_digits::report::{self, fail};

static ORDER: Singleton<[u16; TRAIN]> = Singleton::new([0; TRAIN]);

macro_rules! fingerprint {
    ($order:ident, $t:ident) => {{
        static TRAINED: Singleton<CnnTrainer<$t>> = Singleton::new(CnnTrainer::<$t>::BLANK);
        let Some(trained) = TRAINED.take() else {
            fail("taken twice")
        };
        if course(trained, &Serial, SEED, 1, $order, |_| ()).is_err() {
            fail("a training step was refused");
        }
        report::hex(
            concat!("one_epoch_", stringify!($t)),
            &trained.fingerprint().0,
        );
    }};
}

#[board::entry]
fn main() -> ! {
    board::start();
    let Some(order) = ORDER.take() else {
        fail("taken twice")
    };
    fingerprint!(order, i8);
    fingerprint!(order, u8);
    fingerprint!(order, i16);
    fingerprint!(order, u16);
    board::exit(0)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("panic")
}
