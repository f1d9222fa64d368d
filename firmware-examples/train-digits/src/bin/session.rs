//! Trains an image on handwritten digits, in integers: the network was described in JSON and compiled on a host
//! (`models/README.md`), and lies in flash.
#![no_std]
#![no_main]

use selvedge_core::Serial;
use selvedge_core::image::Image;
use selvedge_core::session::{Error, Session};
#[cfg(not(feature = "microbit"))]
use selvedge_digits::CNN_OPERATORS as OPERATORS;
#[cfg(feature = "microbit")]
use selvedge_digits::MLP_OPERATORS as OPERATORS;
use selvedge_digits::{EPOCHS, TEST, TRAIN, count_right, session_course, test};
use train_digits::board::{self, Singleton};
use train_digits::report::{self, fail};

/// Images begin at an address divisible by 16.
#[repr(C, align(16))]
struct Aligned<Bytes: ?Sized>(Bytes);

#[cfg(not(feature = "microbit"))]
static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/cnn.svi"));
#[cfg(feature = "microbit")]
static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/mlp.svi"));

/// All memory of the session.
const ARENA: usize = if cfg!(feature = "microbit") {
    7 * 1024
} else {
    20 * 1024
};

static MEMORY: Singleton<Aligned<[u8; ARENA]>> = Singleton::new(Aligned([0; ARENA]));
static ORDER: Singleton<[u16; TRAIN]> = Singleton::new([0; TRAIN]);

#[board::entry]
fn main() -> ! {
    board::start();
    let (Some(memory), Some(order)) = (MEMORY.take(), ORDER.take()) else {
        fail("taken twice")
    };
    let Ok(image) = Image::parse(&MODEL.0) else {
        fail("the image is refused")
    };
    report::number("arena_bytes", image.arena_bytes() as u32);
    report::number("image_bytes", MODEL.0.len() as u32);
    match run(&image, &mut memory.0, order) {
        Ok(()) => board::exit(0),
        Err(_) => fail("a training step was refused"),
    }
}

fn run(image: &Image<'_>, arena: &mut [u8], order: &mut [u16; TRAIN]) -> Result<(), Error> {
    let mut session = Session::new(image, arena, OPERATORS)?;
    report::number("test_samples", TEST as u32);
    let before = count_right::<i8>(&mut session, &Serial, &test())?;
    report::number("correct_before", before as u32);
    let (mut steps, mut instructions, mut last) = (0, 0, board::instructions());
    session_course::<i8>(&mut session, &Serial, EPOCHS, order, || {
        let now = board::instructions();
        instructions = (now - last) as u32;
        (steps, last) = (steps + 1, now);
    })?;
    let after = count_right::<i8>(&mut session, &Serial, &test())?;
    report::number("correct_after", after as u32);
    report::number("steps", steps);
    // Of the last step.
    report::number("step_instructions", instructions);
    report::hex("fingerprint", &session.fingerprint()?.0);
    report::number("stack_bytes", board::stack_bytes());
    Ok(())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("panic")
}
