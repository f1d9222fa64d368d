//! A heap for programs that describe networks, and how much of it they took.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};
use embedded_alloc::LlffHeap;

/// The heap, and how much of it has been taken.
struct Counted {
    heap: LlffHeap,
    /// Where its memory begins.
    start: AtomicUsize,
    /// The most bytes that have been in use.
    most: AtomicUsize,
    /// Bytes up to the last that has been in use.
    reach: AtomicUsize,
}

#[global_allocator]
static HEAP: Counted = Counted {
    heap: LlffHeap::empty(),
    start: AtomicUsize::new(0),
    most: AtomicUsize::new(0),
    reach: AtomicUsize::new(0),
};

/// Makes `count` at least `value`. Armv6-M has no read-modify-write; no interrupt allocates.
fn raise(count: &AtomicUsize, value: usize) {
    count.store(count.load(Ordering::Relaxed).max(value), Ordering::Relaxed);
}

// SAFETY: all memory is the heap's, which keeps the contract; counting changes none of it.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of this function, which is that of the heap's.
        let place = unsafe { GlobalAlloc::alloc(&self.heap, layout) };
        if !place.is_null() {
            let start = self.start.load(Ordering::Relaxed);
            raise(&self.most, self.heap.used());
            raise(&self.reach, place.addr() - start + layout.size());
        }
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above; `place` comes from the heap.
        unsafe { GlobalAlloc::dealloc(&self.heap, place, layout) }
    }
}

/// Gives `memory` to the heap: once, before anything is allocated.
///
/// # Panics
/// The second time, or if there are fewer bytes than a free block takes.
pub fn start(memory: &'static mut [u8]) {
    let (start, size) = (memory.as_mut_ptr().expose_provenance(), memory.len());
    // SAFETY: nobody else has this memory from here on.
    unsafe { HEAP.heap.init(start, size) }
    HEAP.start.store(start, Ordering::Relaxed);
}

/// The most bytes that have been in use at a time, with what the heap adds to align them.
pub fn most_bytes() -> u32 {
    HEAP.most.load(Ordering::Relaxed) as u32
}

/// Bytes that the heap must have for the same program: with the holes between those in use, which the first that fits leaves.
pub fn reach_bytes() -> u32 {
    HEAP.reach.load(Ordering::Relaxed) as u32
}
