//! The training steps and outputs of a network with each layer that floats alone have, without reports. `cargo xtask
//! test` reads the symbols of this image and finds no panic or formatting machinery. (The zoo trains integers, without a
//! float routine.)
#![no_std]
#![no_main]

use selvedge_core::net::{DeformableAttention, Float};
use selvedge_core::train::Trainer;
use selvedge_core::{Serial, net};
use selvedge_digits::zoo::{self, BATCH};
use selvedge_digits::{CLASSES, SIDE};
use train_digits::board::{self, Singleton};

net! {
    /// A map that looks around itself.
    struct Looking<T: Float = f32>: [SIDE, SIDE, 1] {
        entry: conv2d(4, kernel = 3, stride = 2, padding = same, activation = relu),
        around: layer(DeformableAttention<T, 4, 4, 4, 2, 2, 2, R> => [4, 4, 4]),
        pool: global_average_pool,
        head: dense(CLASSES),
    }
}

type Trained = Trainer<Looking<f32>, BATCH>;
static TRAINED: Singleton<Trained> = Singleton::new(Trained::BLANK);

#[board::entry]
fn main() -> ! {
    if let Some(trained) = TRAINED.take() {
        let _ = core::hint::black_box(zoo::train(trained, &Serial));
        let _ = core::hint::black_box(trained.predict(&Serial, BATCH));
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
