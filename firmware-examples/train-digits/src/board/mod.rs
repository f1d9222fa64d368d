//! What differs between boards, and what only unsafe code can do: the place of the large statics,
//! the instruction counter, the painted stack, a heap for programs that want one. Output goes through semihosting.
#![allow(unsafe_code)] // statics handed out once; stack memory; see each block

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

#[cfg(target_arch = "arm")]
mod arm;
#[cfg(feature = "heap")]
pub mod heap;
#[cfg(target_arch = "riscv32")]
mod riscv;
#[cfg(target_arch = "arm")]
use arm as machine;
#[cfg(target_arch = "riscv32")]
use riscv as machine;

pub use machine::entry;

/// A static that is handed out once, so that a large value is made where it stays.
pub struct Singleton<T> {
    value: UnsafeCell<T>,
    is_taken: AtomicBool,
}

// SAFETY: `take` gives the value to at most one caller; boards have one core.
unsafe impl<T: Send> Sync for Singleton<T> {}

impl<T> Singleton<T> {
    /// Holds `value`.
    pub const fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            is_taken: AtomicBool::new(false),
        }
    }

    /// The value, the first time. Not to be called from interrupts: Armv6-M has no swap.
    #[allow(clippy::mut_from_ref)] // handed out once
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.is_taken.load(Ordering::Relaxed) {
            return None;
        }
        self.is_taken.store(true, Ordering::Relaxed);
        // SAFETY: `is_taken` was false, so this is the only reference.
        Some(unsafe { &mut *self.value.get() })
    }
}

/// What unused stack is filled with.
const PAINT: u32 = 0xCCCC_CCCC;

unsafe extern "C" {
    /// First free address above the statics (link.x).
    static __sheap: u32;
    /// One past the stack's first word (link.x).
    static _stack_start: u32;
}

/// Starts the instruction counter and paints the stack below the caller. Call it once, first.
#[inline(never)]
pub fn start() {
    machine::start();
    let mut word = (&raw const __sheap).cast_mut();
    let end = machine::stack_pointer() - 64;
    while (word as usize) < end {
        // SAFETY: between the statics and the stack pointer lies memory that nothing uses.
        unsafe { word.write_volatile(PAINT) };
        word = word.wrapping_add(1);
    }
}

/// Bytes of stack that have been used since [`start`], at the most, with everything above it.
pub fn stack_bytes() -> u32 {
    let mut word = &raw const __sheap;
    let end = &raw const _stack_start;
    // SAFETY: reads RAM below the end of the stack.
    while word < end && unsafe { word.read_volatile() } == PAINT {
        word = word.wrapping_add(1);
    }
    (end as usize - word as usize) as u32
}

/// Instructions executed since [`start`].
pub fn instructions() -> u64 {
    machine::instructions()
}

/// Writes text to the host.
pub fn write(text: &[u8]) {
    for &byte in text {
        semihosting::sys::arm_compat::sys_writec(byte);
    }
}

/// Ends the emulator with `code`.
pub fn exit(code: i32) -> ! {
    semihosting::process::exit(code)
}
