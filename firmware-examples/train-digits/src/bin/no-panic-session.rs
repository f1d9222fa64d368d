//! A session that is trained, without reports and without the fingerprint, whose hash copies slices. `cargo xtask test` reads the
//! symbols of this image and finds no panic or formatting machinery.
#![no_std]
#![no_main]

use selvedge_core::Serial;
use selvedge_core::image::Image;
use selvedge_core::session::{Error, Session};
use selvedge_digits::{CNN_OPERATORS, EPOCHS, TRAIN, count_right, session_course, test};
use train_digits::board::{self, Singleton};

/// Images begin at an address divisible by 16.
#[repr(C, align(16))]
struct Aligned<Bytes: ?Sized>(Bytes);

static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/cnn.svi"));
static MEMORY: Singleton<Aligned<[u8; 20 * 1024]>> = Singleton::new(Aligned([0; 20 * 1024]));
static ORDER: Singleton<[u16; TRAIN]> = Singleton::new([0; TRAIN]);

#[board::entry]
fn main() -> ! {
    if let (Some(memory), Some(order), Ok(image)) =
        (MEMORY.take(), ORDER.take(), Image::parse(&MODEL.0))
    {
        let _ = core::hint::black_box(run(&image, &mut memory.0, order));
    }
    loop {
        core::hint::spin_loop();
    }
}

fn run(image: &Image<'_>, arena: &mut [u8], order: &mut [u16; TRAIN]) -> Result<usize, Error> {
    let mut session = Session::new(image, arena, CNN_OPERATORS)?;
    session_course::<i8>(&mut session, &Serial, EPOCHS, order, || {})?;
    count_right::<i8>(&mut session, &Serial, &test())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
