//! Trains a network on handwritten digits, in integers, and reports what it took.
#![no_std]
#![no_main]

use train_digits::board::{self, Singleton};
use train_digits::report::{self, fail};
#[cfg(not(feature = "microbit"))]
use workload::Cnn;
#[cfg(feature = "microbit")]
use workload::Mlp;
use workload::{SEED, STEPS, TEST};

#[cfg(all(not(feature = "microbit"), not(feature = "control-float")))]
type Trained = Cnn<i8>;
#[cfg(all(not(feature = "microbit"), feature = "control-float"))]
type Trained = Cnn<f32>;
#[cfg(feature = "microbit")]
type Trained = Mlp<i8>;

/// In .bss: never on the stack.
static TRAINED: Singleton<Trained> = Singleton::new(Trained::ZEROED);

#[board::entry]
fn main() -> ! {
    board::start();
    let Some(trained) = TRAINED.take() else {
        fail("taken twice")
    };
    run(trained)
}

fn run(trained: &mut Trained) -> ! {
    trained.init(SEED);
    report::number("test_samples", u64::from(TEST));
    report::number("correct_before", u64::from(trained.correct()));
    let mut instructions = 0;
    for _ in 0..STEPS {
        let start = board::instructions();
        if !trained.train_step() {
            fail("a training step was refused");
        }
        instructions += board::instructions() - start;
    }
    report::number("correct_after", u64::from(trained.correct()));
    report::number("steps", u64::from(STEPS));
    report::number("step_instructions", instructions / u64::from(STEPS));
    report::number("train_ram_bytes", Trained::RAM_BYTES as u64);
    report::number("model_flash_bytes", Trained::FLASH_BYTES as u64);
    report::hex("fingerprint", &trained.fingerprint());
    report::number("stack_bytes", u64::from(board::stack_bytes()));
    board::exit(0)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    fail("panic")
}
