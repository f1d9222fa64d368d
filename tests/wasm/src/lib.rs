//! Trains in WebAssembly what the boards train. Plain C ABI: each function returns the address of
//! a fingerprint's 32 bytes, 0 if a step was refused.

use selvedge_core::Serial;
use selvedge_core::image::Image;
use selvedge_core::net::Network;
use selvedge_core::session::Session;
use selvedge_core::train::Trainer;
use selvedge_digits::{
    BATCH, CNN_OPERATORS, CnnTrainer, EPOCHS, SEED, TRAIN, course, described, session_course, zoo,
};

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

fn fingerprint<N: Network<In = <N as Network>::Elem>>(
    mut trainer: Box<Trainer<N, BATCH>>,
    epochs: u32,
) -> *const u8 {
    match course(&mut trainer, &Serial, SEED, epochs, &mut [0; TRAIN], |_| ()) {
        Ok(()) => Box::leak(Box::new(trainer.fingerprint().0)).as_ptr(),
        Err(_) => std::ptr::null(),
    }
}

/// Images begin at an address divisible by 16.
#[repr(C, align(16))]
struct Aligned<Bytes: ?Sized>(Bytes);

static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!(
    "../../../firmware-examples/train-digits/models/cnn.svi"
));

/// Trains the image that the firmware has, and returns the address of 32 bytes, which stay.
// SAFETY: no other symbol has this name.
#[unsafe(no_mangle)]
pub extern "C" fn session_i8() -> *const u8 {
    match train_image() {
        Ok(fingerprint) => Box::leak(Box::new(fingerprint)).as_ptr(),
        Err(_) => std::ptr::null(),
    }
}

fn train_image() -> Result<[u8; 32], Box<dyn std::error::Error>> {
    let image = Image::parse(&MODEL.0)?;
    let mut arena = vec![0; image.arena_bytes()];
    let mut session = Session::new(&image, &mut arena, CNN_OPERATORS)?;
    let mut order = [0; TRAIN];
    session_course::<i8>(&mut session, &Serial, EPOCHS, &mut order, || ())?;
    Ok(session.fingerprint()?.0)
}

macro_rules! export_zoo {
    ($($name:ident: $network:ident($narrow:ident, $wide:ident),)*) => {$(
        /// The same for a small network of each kind.
        pub mod $name {
            export_zoo!(narrow: $name, $network, $narrow);
            export_zoo!(wide: $name, $network, $wide);
        }
    )*};
    ($function:ident: $name:ident, $network:ident, $t:ident) => {
        /// Trains and returns the address of 32 bytes, which stay.
        // SAFETY: no other symbol has this name.
        #[unsafe(export_name = concat!("zoo_", stringify!($name), "_", stringify!($t)))]
        pub extern "C" fn $function() -> *const u8 {
            super::a_few_steps(Box::new(super::Trainer::<super::zoo::$network<$t>, { super::zoo::BATCH }>::BLANK))
        }
    };
}

selvedge_digits::each!(export_zoo!());

fn a_few_steps<N: Network<In: zoo::Given<<N as Network>::Elem>>>(
    mut trainer: Box<Trainer<N, { zoo::BATCH }>>,
) -> *const u8 {
    match zoo::fingerprint(&mut trainer, &Serial) {
        Ok(fingerprint) => Box::leak(Box::new(fingerprint.0)).as_ptr(),
        Err(_) => std::ptr::null(),
    }
}

macro_rules! export_described {
    ($($name:ident($narrow:ident, $wide:ident),)*) => {$(
        /// The same for a network that is described and compiled here.
        pub mod $name {
            export_described!(narrow: $name, $narrow);
            export_described!(wide: $name, $wide);
        }
    )*};
    ($function:ident: $name:ident, $t:ident) => {
        /// Compiles, trains and returns the address of 32 bytes, which stay.
        // SAFETY: no other symbol has this name.
        #[unsafe(export_name = concat!("described_", stringify!($name), "_", stringify!($t)))]
        pub extern "C" fn $function() -> *const u8 {
            super::of_case(super::described::$name::<$t>())
        }
    };
}

selvedge_digits::each_described!(export_described!());

fn of_case<T: selvedge_core::Element>(case: described::Case<T>) -> *const u8 {
    match case.fingerprint(&Serial) {
        Ok(fingerprint) => Box::leak(Box::new(fingerprint.0)).as_ptr(),
        Err(_) => std::ptr::null(),
    }
}
