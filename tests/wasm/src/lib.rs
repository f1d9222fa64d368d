//! Trains in WebAssembly what the boards train. Plain C ABI: each function returns the address of
//! a fingerprint's 32 bytes, 0 if a step was refused.

use selvedge_core::Serial;
use selvedge_core::net::Network;
use selvedge_core::train::Trainer;
use selvedge_digits::{BATCH, CnnTrainer, EPOCHS, SEED, TRAIN, course};

macro_rules! export {
    ($($name:ident: $t:ident for $epochs:expr;)*) => {$(
        /// Trains and returns the address of 32 bytes, which stay.
        // SAFETY: no other symbol has this name.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> *const u8 {
            fingerprint(Box::new(CnnTrainer::<$t>::BLANK), $epochs)
        }
    )*};
}

export! {
    whole_i8: i8 for EPOCHS;
    one_epoch_i8: i8 for 1;
    one_epoch_u8: u8 for 1;
    one_epoch_i16: i16 for 1;
    one_epoch_u16: u16 for 1;
}

fn fingerprint<N: Network>(mut trainer: Box<Trainer<N, BATCH>>, epochs: u32) -> *const u8 {
    match course(&mut trainer, &Serial, SEED, epochs, &mut [0; TRAIN], |_| ()) {
        Ok(()) => Box::leak(Box::new(trainer.fingerprint().0)).as_ptr(),
        Err(_) => std::ptr::null(),
    }
}
