//! Trains a network on handwritten digits, in integers, and reports what it took.
#![no_std]
#![no_main]

use selvedge_core::Serial;
#[cfg(not(feature = "microbit"))]
use selvedge_digits::CnnTrainer;
#[cfg(feature = "microbit")]
use selvedge_digits::MlpTrainer;
use selvedge_digits::{EPOCHS, SEED, TEST, TRAIN, course, test};
use train_digits::board::{self, Singleton};
use train_digits::report::{self, fail};

#[cfg(all(not(feature = "microbit"), not(feature = "control-float")))]
type Trained = CnnTrainer<i8>;
#[cfg(all(not(feature = "microbit"), feature = "control-float"))]
type Trained = CnnTrainer<f32>;
#[cfg(feature = "microbit")]
type Trained = MlpTrainer<i8>;

// In .bss: never on the stack.
static TRAINED: Singleton<Trained> = Singleton::new(Trained::BLANK);
static ORDER: Singleton<[u16; TRAIN]> = Singleton::new([0; TRAIN]);

#[board::entry]
fn main() -> ! {
    board::start();
    let (Some(trained), Some(order)) = (TRAINED.take(), ORDER.take()) else {
        fail("taken twice")
    };
    match run(trained, order) {
        Ok(()) => board::exit(0),
        Err(_) => fail("a training step was refused"),
    }
}

fn run(trained: &mut Trained, order: &mut [u16; TRAIN]) -> selvedge_core::Result<()> {
    trained.init(SEED)?;
    report::number("test_samples", TEST as u32);
    report::number(
        "correct_before",
        trained.count_right(&Serial, &test())? as u32,
    );
    let (mut steps, mut instructions, mut last) = (0, 0, board::instructions());
    course(trained, &Serial, SEED, EPOCHS, order, |_| {
        let now = board::instructions();
        instructions = (now - last) as u32;
        (steps, last) = (steps + 1, now);
    })?;
    report::number(
        "correct_after",
        trained.count_right(&Serial, &test())? as u32,
    );
    report::number("steps", steps);
    // Of the last step.
    report::number("step_instructions", instructions);
    report::number("train_ram_bytes", Trained::RAM_BYTES as u32);
    report::number("model_flash_bytes", Trained::FLASH_BYTES as u32);
    report::hex("fingerprint", &trained.fingerprint().0);
    report::number("stack_bytes", board::stack_bytes());
    Ok(())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("panic")
}
