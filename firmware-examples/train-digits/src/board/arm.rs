//! Cortex-M under QEMU: SysTick counts instructions, because DWT's counter reads 0 there.

use core::sync::atomic::{AtomicU32, Ordering};
use cortex_m::peripheral::{SYST, syst::SystClkSource};

pub use cortex_m_rt::entry;

/// Virtual nanoseconds of one instruction: `-icount shift=6`.
const INSTRUCTION_NS: u64 = 64;
/// Core clock of the emulated machine, which SysTick counts.
const CLOCK_MHZ: u64 = if cfg!(feature = "microbit") { 16 } else { 25 };
/// Instructions of a tick, as `numerator / 2^places`: no division of 64 bits is linked.
const INSTRUCTIONS: (u64, u32) = {
    let (mut numerator, mut denominator) = (1_000, CLOCK_MHZ * INSTRUCTION_NS);
    while numerator % 5 == 0 && denominator % 5 == 0 {
        (numerator, denominator) = (numerator / 5, denominator / 5);
    }
    assert!(denominator.is_power_of_two());
    (numerator, denominator.ilog2())
};
const RELOAD: u32 = 0x00FF_FFFF;

/// The device's part of the vector table. No device interrupt is enabled; cortex-m-rt asks for one
/// entry at least.
// SAFETY: link.x puts this section behind the exceptions and asks for this name.
#[allow(unsafe_code)]
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [usize; 1] = [0];

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
            return (ticks * INSTRUCTIONS.0) >> INSTRUCTIONS.1;
        }
    }
}

/// The stack pointer.
#[inline(always)]
pub(super) fn stack_pointer() -> usize {
    cortex_m::register::msp::read() as usize
}
