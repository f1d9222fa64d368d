//! Neither initialisation nor a step puts a large array on the stack. Here, and not with the other tests, which are built
//! without optimisation: it is what optimised code takes.
#![allow(clippy::unwrap_used)] // helpers of tests, which the lint's own rule misses

use selvedge_core::train::Trainer;
use selvedge_core::{Element, Serial};
use selvedge_digits::{BATCH, EPOCHS, MnistCnn, SEED, rate_at};

/// Bytes of stack that a host with AVX-512 computes in, at most: 64 KiB of rearranged weights, the windows of
/// some pixels, and frames. Other instruction sets take a few KiB.
const STACK: usize = 112 * 1024;

/// Runs `work` on a thread whose stack holds little more than `STACK`: a copy of the trainer on it
/// would end the process.
fn on_small_stack(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, work).unwrap().join().unwrap();
    });
}

fn trains_on_a_small_stack<T: Element>() {
    type Mnist<T> = Trainer<MnistCnn<T>, BATCH>;
    assert!(Mnist::<T>::RAM_BYTES > STACK, "{}", Mnist::<T>::RAM_BYTES);
    let mut trainer = Box::new(Mnist::<T>::BLANK);
    on_small_stack(|| {
        trainer.init(SEED).unwrap();
        for _ in 0..2 {
            trainer
                .step(&Serial, &[1; BATCH], &rate_at(0, EPOCHS))
                .unwrap();
        }
        trainer.classify(&Serial, &mut [0; BATCH]).unwrap();
        std::hint::black_box(trainer.fingerprint());
    });
}

#[test]
fn nothing_large_is_on_the_stack() {
    trains_on_a_small_stack::<i8>();
    trains_on_a_small_stack::<i16>();
    trains_on_a_small_stack::<i64>();
    trains_on_a_small_stack::<f32>();
}
