//! A few steps in each integer type: one fingerprint each, to be compared with the host's.
#![no_std]
#![no_main]

use train_digits::board::{self, Singleton};
use train_digits::report::{self, fail};
use workload::{Cnn, SEED, SHORT_STEPS};

macro_rules! fingerprint {
    ($t:ident) => {{
        static TRAINED: Singleton<Cnn<$t>> = Singleton::new(Cnn::<$t>::ZEROED);
        let Some(trained) = TRAINED.take() else {
            fail("taken twice")
        };
        trained.init(SEED);
        for _ in 0..SHORT_STEPS {
            if !trained.train_step() {
                fail("a training step was refused");
            }
        }
        report::hex(
            concat!("fingerprint_", stringify!($t)),
            &trained.fingerprint(),
        );
    }};
}

#[board::entry]
fn main() -> ! {
    board::start();
    fingerprint!(i8);
    fingerprint!(u8);
    fingerprint!(i16);
    fingerprint!(u16);
    board::exit(0)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("panic")
}
