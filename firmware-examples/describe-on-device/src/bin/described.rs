//! Networks that are described, compiled and trained for a few steps, and their outputs after them: a fingerprint for each in
//! two types, to be compared with the host's.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::ToString;
use selvedge_core::Serial;
use selvedge_digits::described;
use train_digits::board::{self, Singleton, heap};
use train_digits::report::{self, fail};

static MEMORY: Singleton<[u8; 128 * 1024]> = Singleton::new([0; 128 * 1024]);

macro_rules! fingerprints {
    ($($name:ident($narrow:ident, $wide:ident),)*) => {$(
        fingerprints!($name, $narrow);
        fingerprints!($name, $wide);
    )*};
    ($name:ident, $t:ident) => {
        match described::$name::<$t>().fingerprint(&Serial) {
            Ok(fingerprint) => report::hex(
                concat!("described_", stringify!($name), "_", stringify!($t)),
                &fingerprint.0,
            ),
            Err(error) => fail(&error.to_string()),
        }
    };
}

#[board::entry]
fn main() -> ! {
    board::start();
    let Some(memory) = MEMORY.take() else {
        fail("taken twice")
    };
    heap::start(memory);
    selvedge_digits::each_described!(fingerprints!());
    report::number("heap_bytes", heap::most_bytes());
    report::number("heap_reach_bytes", heap::reach_bytes());
    report::number("stack_bytes", board::stack_bytes());
    board::exit(0)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("panic")
}
