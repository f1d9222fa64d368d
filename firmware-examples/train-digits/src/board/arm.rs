//! Cortex-M under QEMU: SysTick counts instructions, because DWT's counter reads 0 there.

use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::peripheral::{SYST, syst::SystClkSource};

pub use cortex_m_rt::entry;

/// Virtual nanoseconds of one instruction: `-icount shift=6`.
const INSTRUCTION_NS: u64 = 64;
/// Core clock of the emulated machine, which SysTick counts.
const CLOCK_MHZ: u64 = if cfg!(feature = "microbit") { 16 } else { 25 };
const RELOAD: u32 = 0x00FF_FFFF;

static WRAPS: AtomicU32 = AtomicU32::new(0);

#[cortex_m_rt::exception]
fn SysTick() {
    // Armv6-M has no read-modify-write; nobody else writes.
    WRAPS.store(
        WRAPS.load(Ordering::Relaxed).wrapping_add(1),
        Ordering::Relaxed,
    );
}

/// Starts the counter.
pub(super) fn start() {
    if let Some(peripherals) = cortex_m::Peripherals::take() {
        let mut timer = peripherals.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(RELOAD);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
    }
}

/// Instructions since [`start`].
pub(super) fn instructions() -> u64 {
    loop {
        let wraps = WRAPS.load(Ordering::Relaxed);
        let ticks = RELOAD - SYST::get_current();
        if wraps == WRAPS.load(Ordering::Relaxed) {
            let ticks = u64::from(wraps) * (u64::from(RELOAD) + 1) + u64::from(ticks);
            return ticks * 1_000 / (CLOCK_MHZ * INSTRUCTION_NS);
        }
    }
}

/// The stack pointer.
#[inline(always)]
pub(super) fn stack_pointer() -> usize {
    cortex_m::register::msp::read() as usize
}
