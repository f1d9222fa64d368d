//! Panels: the weights of sixteen outputs, transposed, so that a register holds a partial sum of all
//! of them. No sum is left across lanes, and each product needs one load.
//!
//! Partial sum `j` of an output is a lane of register `j`: sums and their order are those of
//! [`super::tile`]. A panel costs a transposition; it pays where many rows of `x` pass by it.

use super::Isa;
use super::tile::{Operand, ROWS, Segments};
use crate::element::Element;
use core::mem::MaybeUninit;

/// Outputs of a panel.
pub const LANES: usize = 16;
/// Weights of an output that a panel has room for.
pub const ROOM: usize = 1024;
/// Rows of `x` from which on a panel pays.
pub const WORTH: usize = 16;

/// The sums of some rows of `x` with a panel.
pub type Sums<A> = [[A; LANES]; ROWS];

/// `[weights of an output, LANES]`, on the stack: 64 KiB of `f32`, of which as much is touched as
/// the weights need.
#[repr(align(64))]
pub struct Panel<T> {
    values: [MaybeUninit<[T; LANES]>; ROOM],
    /// How many have been written.
    len: usize,
}

impl<T> Panel<T> {
    /// Nothing in it.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            values: [const { MaybeUninit::uninit() }; ROOM],
            len: 0,
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
    /// The first `len` have been written.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn set_len(&mut self, len: usize) {
        self.len = len;
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
    /// at most [`LANES`]; unused lanes repeat the last one. Nothing is packed where the operand is too
    /// short.
    #[inline(always)]
    fn pack<I: Isa>(_: I, _weight: Operand<'_, Self>, _len: usize, _panel: &mut Panel<Self>) {}

    /// The sums of products of each row of `x` with each output of the panel, as
    /// [`Element::tile`] would compute them: zeros where the segments do not fit, as those of a window on
    /// padding alone, which may start behind the input.
    #[inline(always)]
    fn by_panel<I: Isa>(
        _: I,
        _x: Operand<'_, Self>,
        _panel: &Panel<Self>,
        _segments: &Segments,
        _sums: &mut Sums<Self::Acc>,
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
        sums: &mut Sums<Self>,
    ) {
        isa.panel_f32(x, panel, segments, sums);
    }
}
