//! Panels: the weights of sixteen outputs, or of twice as many, transposed, so that a register holds
//! a partial sum of sixteen. No sum is left across lanes, and a product needs about one load.
//!
//! Partial sum `j` of an output is a lane of register `j`: sums and their order are those of
//! [`super::tile`]. A panel costs a transposition; it pays where many rows of `x` pass by it.

use super::Isa;
use super::tile::{Operand, ROWS, Segments};
use crate::element::Element;
use core::mem::MaybeUninit;

/// Outputs of a panel, or half of those of a wide one.
pub const LANES: usize = 16;
/// Weights of an output that a panel has room for.
pub const ROOM: usize = 1024;
/// The same of a wide panel, which shall stay in the first-level cache: 40 KiB of `f32`.
const WIDE_ROOM: usize = 320;
const _: () = assert!(2 * WIDE_ROOM <= ROOM && WIDE_ROOM.is_multiple_of(LANES));

/// The sums of some rows of `x` with sixteen outputs.
pub type Sums<A> = [[A; LANES]; ROWS];

/// Rows of `x` from which on panels pay where outputs have `len` weights: few where a wide panel has
/// room for them, more where register tiles do nearly as well; none beyond all room.
#[inline(always)]
pub fn worth(len: usize) -> usize {
    if len <= WIDE_ROOM {
        16
    } else if len <= ROOM {
        48
    } else {
        usize::MAX
    }
}

/// How many of the `left` outputs, of `len` weights each, the next panel takes.
#[inline(always)]
pub fn take(len: usize, left: usize) -> usize {
    left.min(if len <= WIDE_ROOM { 2 * LANES } else { LANES })
}

/// `[weights of an output, LANES]`, on the stack: 64 KiB of `f32`, of which as much is touched as
/// the weights need. A wide panel is `[weights of an output, 2, LANES]`.
#[repr(C, align(64))] // vectors of `values` are aligned
pub struct Panel<T> {
    values: [MaybeUninit<[T; LANES]>; ROOM],
    /// Weights of an output that have been written.
    len: usize,
    is_wide: bool,
}

impl<T> Panel<T> {
    /// Nothing in it.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            values: [const { MaybeUninit::uninit() }; ROOM],
            len: 0,
            is_wide: false,
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn as_mut_ptr(&mut self) -> *mut T {
        self.values.as_mut_ptr().cast()
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn as_ptr(&self) -> *const T {
        self.values.as_ptr().cast()
    }

    /// # Safety
    /// The first `len` weights of [`LANES`] outputs, or of twice as many, have been written.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn set_len(&mut self, len: usize, is_wide: bool) {
        (self.len, self.is_wide) = (len, is_wide);
    }

    /// Whether it holds twice [`LANES`] outputs.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn is_wide(&self) -> bool {
        self.is_wide
    }

    /// How many weights of an output it holds.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// Element types of which some instruction set makes panels.
pub trait Panels: Sized {
    /// Whether `I` does.
    #[inline(always)]
    fn has_panels<I: Isa>() -> bool {
        false
    }

    /// Fills `panel` with the first `len <= ROOM` elements of each row of `weight`, of which there are
    /// as many as [`take`] tells; unused lanes repeat the last one. Nothing is packed where the operand
    /// is too short.
    #[inline(always)]
    fn pack<I: Isa>(_: I, _weight: Operand<'_, Self>, _len: usize, _panel: &mut Panel<Self>) {}

    /// The sums of products of each row of `x` with each output of the panel, the second sixteen of a
    /// wide one apart, as [`Element::tile`] would compute them: zeros where the segments do not fit, as those of a window on
    /// padding alone, which may start behind the input.
    #[inline(always)]
    fn by_panel<I: Isa>(
        _: I,
        _x: Operand<'_, Self>,
        _panel: &Panel<Self>,
        _segments: &Segments,
        _sums: &mut [Sums<Self::Acc>; 2],
    ) where
        Self: Element,
    {
    }
}

macro_rules! no_panels {
    ($($t:ty)*) => {$(impl Panels for $t {})*};
}

no_panels! { i8 u8 i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f64 }

impl Panels for f32 {
    #[inline(always)]
    fn has_panels<I: Isa>() -> bool {
        I::HAS_PANELS
    }

    #[inline(always)]
    fn pack<I: Isa>(isa: I, weight: Operand<'_, Self>, len: usize, panel: &mut Panel<Self>) {
        isa.pack_f32(weight, len, panel);
    }

    #[inline(always)]
    fn by_panel<I: Isa>(
        isa: I,
        x: Operand<'_, Self>,
        panel: &Panel<Self>,
        segments: &Segments,
        sums: &mut [Sums<Self>; 2],
    ) {
        isa.panel_f32(x, panel, segments, sums);
    }
}
