//! RISC-V under QEMU: `minstret` counts instructions (`-icount shift=0`).

use riscv::register::{minstret, minstreth};

pub use riscv_rt::entry;

/// The counter always runs.
pub(super) fn start() {}

/// Instructions since reset.
pub(super) fn instructions() -> u64 {
    loop {
        let high = minstreth::read();
        let low = minstret::read();
        if high == minstreth::read() {
            return (high as u64) << 32 | low as u64;
        }
    }
}

/// The stack pointer.
#[inline(always)]
pub(super) fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: copies a register.
    unsafe {
        core::arch::asm!("mv {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags))
    };
    pointer
}
