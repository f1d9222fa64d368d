//! Training allocates nothing.
#![allow(unsafe_code)] // counts allocations
#![allow(clippy::unwrap_used)] // helpers of tests, which the lint's own rule misses

use selvedge_core::Serial;
use selvedge_core::net::Network;
use selvedge_core::train::Trainer;
use selvedge_digits::{CnnTrainer, SEED, TRAIN, course, test, zoo};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

// SAFETY: hands everything on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above; `memory` came from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn training_does_not_allocate() {
    let mut trainer = Box::new(CnnTrainer::<i8>::BLANK);
    let mut order = [0; TRAIN];
    let before = ALLOCATIONS.with(Cell::get);
    course(&mut trainer, &Serial, SEED, 1, &mut order, |_| ()).unwrap();
    trainer.count_right(&Serial, &test()).unwrap();
    std::hint::black_box(trainer.fingerprint());
    assert_eq!(ALLOCATIONS.with(Cell::get), before);
    drop(std::hint::black_box(Box::new(1))); // the counter counts
    assert_eq!(ALLOCATIONS.with(Cell::get), before + 1);
}

/// Neither pass of any layer allocates, nor inference: the zoo has every layer.
#[test]
fn no_network_of_the_zoo_allocates() {
    macro_rules! each_type {
        ($($name:ident: $network:ident($narrow:ident, $wide:ident),)*) => {$(
            does_not_allocate::<zoo::$network<$narrow>>();
            does_not_allocate::<zoo::$network<$wide>>();
        )*};
    }
    selvedge_digits::each!(each_type!());
}

fn does_not_allocate<N: Network<In: zoo::Given<<N as Network>::Elem>>>() {
    let mut trainer = Box::new(Trainer::<N, { zoo::BATCH }>::BLANK);
    let before = ALLOCATIONS.with(Cell::get);
    let fingerprint = zoo::fingerprint(&mut trainer, &Serial).unwrap();
    let name = std::any::type_name::<N>();
    assert_eq!(ALLOCATIONS.with(Cell::get), before, "{name}");
    std::hint::black_box(fingerprint);
}
