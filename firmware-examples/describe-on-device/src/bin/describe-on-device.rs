//! Describes a network, compiles it to an image, and trains that on handwritten digits, in integers: no host has a part in
//! it. Network, compiler, image and arena are on the heap.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec;
use core::error::Error;
use selvedge_core::image::Image;
use selvedge_core::network::{Activation, Dense, Flatten, Network, Options};
use selvedge_core::session::Session;
use selvedge_core::{DType, Serial};
use selvedge_digits::described::Aligned;
use selvedge_digits::{
    BATCH, CLASSES, EPOCHS, MLP_OPERATORS, SEED, SIDE, TEST, TRAIN, count_right, session_course,
    test,
};
use train_digits::board::{self, Singleton, heap};
use train_digits::report::{self, fail};

static MEMORY: Singleton<[u8; 48 * 1024]> = Singleton::new([0; 48 * 1024]);
static ORDER: Singleton<[u16; TRAIN]> = Singleton::new([0; TRAIN]);

#[board::entry]
fn main() -> ! {
    board::start();
    let (Some(memory), Some(order)) = (MEMORY.take(), ORDER.take()) else {
        fail("taken twice")
    };
    heap::start(memory);
    match run(order) {
        Ok(()) => board::exit(0),
        Err(error) => fail(&error.to_string()),
    }
}

/// The network that `train-digits` has as a type for the micro:bit.
fn network() -> Network {
    Network::new([SIDE, SIDE, 1])
        .layer("flat", Flatten::default())
        .layer("hidden", Dense::new(32).activation(Activation::Relu))
        .layer("head", Dense::new(CLASSES))
}

fn run(order: &mut [u16; TRAIN]) -> Result<(), Box<dyn Error>> {
    let options = Options {
        samples: BATCH,
        train: true,
        seed: SEED,
        ..Options::default()
    };
    let first = board::instructions();
    let bytes = Aligned::new(network().compile(DType::I8, &options)?);
    report::number(
        "compile_instructions",
        (board::instructions() - first) as u32,
    );
    let image = Image::parse(bytes.get())?;
    report::number("image_bytes", bytes.get().len() as u32);
    report::number("arena_bytes", image.arena_bytes() as u32);
    let mut arena = vec![0; image.arena_bytes()];
    let mut session = Session::new(&image, &mut arena, MLP_OPERATORS)?;
    report::number("test_samples", TEST as u32);
    let before = count_right::<i8>(&mut session, &Serial, &test())?;
    report::number("correct_before", before as u32);
    session_course::<i8>(&mut session, &Serial, EPOCHS, order, || ())?;
    let after = count_right::<i8>(&mut session, &Serial, &test())?;
    report::number("correct_after", after as u32);
    report::hex("fingerprint", &session.fingerprint()?.0);
    report::number("heap_bytes", heap::most_bytes());
    report::number("heap_reach_bytes", heap::reach_bytes());
    report::number("stack_bytes", board::stack_bytes());
    Ok(())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("panic")
}
