//! Patches: the windows of some pixels, copied one behind the other, and filters transposed to match.
//! For bytes, of which four meet in a lane of 32 bits; their sums are exact in any order.

use super::Isa;
use super::panel::{LANES, Sums};
use super::tile::{Operand, ROWS};
use crate::element::Element;
use core::mem::MaybeUninit;

/// Elements of a filter that a patch has room for.
pub const ROOM: usize = 1024;
/// Pixels from which on patches pay.
pub const WORTH: usize = 16;
/// What [`Filters`] has room for, in groups of four bytes of [`LANES`] filters.
const QUADS: usize = 1024;
/// Panels of filters that it can have.
const PANELS: usize = 16;

/// `[ROWS, elements of a filter]` in offset binary: `q + 128`.
pub type Patches = [[u8; ROOM]; ROWS];

/// Panels of filters, `[panels, filter_len / 4, LANES, 4]`, on the stack: 64 KiB, of which as much is
/// touched as the filters need.
#[repr(align(64))]
pub struct Filters {
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // no other set has patches
    values: [MaybeUninit<[u8; 4 * LANES]>; QUADS],
    /// What the offset of the patches adds to each output.
    pub(super) offsets: [[i32; LANES]; PANELS],
    /// How many have been written, and how many of them are a panel's.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    len: usize,
    pub(super) panel_len: usize,
    /// Those of a panel that hold more than zeros.
    pub(super) used: usize,
}

impl Filters {
    /// None in it.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            values: [const { MaybeUninit::uninit() }; QUADS],
            offsets: [[0; LANES]; PANELS],
            len: 0,
            panel_len: 0,
            used: 0,
        }
    }

    /// How many filters of `len <= ROOM` elements it has room for.
    #[inline(always)]
    pub(crate) fn room(len: usize) -> usize {
        LANES * (QUADS.checked_div(len.div_ceil(64) * 16).unwrap_or(0)).min(PANELS)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.values.as_mut_ptr().cast()
    }

    /// # Safety
    /// The first `panels · panel_len` have been written.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn set_len(&mut self, panels: usize, panel_len: usize) {
        (self.len, self.panel_len) = (panels * panel_len, panel_len);
    }

    /// Panel `panel`; empty if there is no such one.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn panel(&self, panel: usize) -> &[[u8; 4 * LANES]] {
        // SAFETY: the first `len` have been written, by the promise of `set_len`'s caller.
        let written = unsafe { core::slice::from_raw_parts(self.values.as_ptr().cast(), self.len) };
        let start = panel * self.panel_len;
        written
            .get(start..start + self.panel_len)
            .unwrap_or_default()
    }
}

/// Element types of which some instruction set multiplies patches.
pub trait Patched: Sized {
    /// Whether `I` does.
    #[inline(always)]
    fn has_patches<I: Isa>() -> bool {
        false
    }

    /// Copies elements to a patch.
    #[inline(always)]
    fn to_patch(_from: &[Self], _to: &mut [u8]) {}

    /// Takes the first `len` elements of each row of `weight`, at most as many rows as there is room for.
    /// There are no panels after it where that does not fit.
    #[inline(always)]
    fn pack_filters<I: Isa>(_: I, _weight: Operand<'_, Self>, _len: usize, _to: &mut Filters) {}

    /// The sums of products of each patch with each filter of panel `panel`.
    #[inline(always)]
    fn by_patches<I: Isa>(
        _: I,
        _patches: &Patches,
        _filters: &Filters,
        _panel: usize,
        _sums: &mut Sums<Self::Acc>,
    ) where
        Self: Element,
    {
    }
}

macro_rules! no_patches {
    ($($t:ty)*) => {$(impl Patched for $t {})*};
}

no_patches! { i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64 }

macro_rules! patches {
    ($($t:ty: $pack:ident, offset $offset:literal;)*) => {$(
        impl Patched for $t {
            #[inline(always)]
            fn has_patches<I: Isa>() -> bool {
                I::HAS_PATCHES
            }

            #[inline(always)]
            fn to_patch(from: &[Self], to: &mut [u8]) {
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = from as u8 ^ $offset;
                }
            }

            #[inline(always)]
            fn pack_filters<I: Isa>(isa: I, weight: Operand<'_, Self>, len: usize, to: &mut Filters) {
                isa.$pack(weight, len, to);
            }

            #[inline(always)]
            fn by_patches<I: Isa>(
                isa: I,
                patches: &Patches,
                filters: &Filters,
                panel: usize,
                sums: &mut Sums<<Self as Element>::Acc>,
            ) {
                isa.by_patches(patches, filters, panel, sums);
            }
        }
    )*};
}

patches! { i8: filters_i8, offset 0x80; u8: filters_u8, offset 0; }
