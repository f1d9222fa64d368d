//! Patches: the input under some neighbouring windows, copied once for all filters, padding included, and
//! filters transposed to match. For bytes, of which four meet in a lane of 32 bits; their sums are exact
//! in any order.

use super::Isa;
use super::panel::{LANES, Sums};
use super::tile::Operand;
use crate::element::Element;
use core::mem::MaybeUninit;

/// Groups of four bytes of a filter that a patch has places for.
pub const PLACES: usize = 256;
/// Bytes of a patch.
pub const ROOM: usize = 12 * 1024;
/// Pixels from which on patches pay.
pub const WORTH: usize = 16;
/// What [`Filters`] has room for, in groups of four bytes of [`LANES`] filters.
const QUADS: usize = 1024;
/// Panels of filters that it can have.
pub const PANELS: usize = 16;

/// What offset binary adds to a byte.
const OFFSET: i32 = 128;

/// Lines of cells in offset binary, `q + 128`, and where in them the first window has its bytes.
pub struct Patch {
    pub(super) bytes: [u8; ROOM],
    /// Of each group of four, the first.
    places: [u16; PLACES],
    len: usize,
    /// The last of them.
    last: usize,
}

impl Patch {
    /// Nothing in it.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; ROOM],
            places: [0; PLACES],
            len: 0,
            last: 0,
        }
    }

    /// The bytes from `start` on.
    #[inline(always)]
    pub(crate) fn from(&mut self, start: usize) -> &mut [u8] {
        self.bytes.get_mut(start..).unwrap_or_default()
    }

    /// Runs of `len` bytes that start at `starts` are what a filter meets, one after the other.
    #[inline(always)]
    pub(crate) fn set_places(&mut self, starts: impl Iterator<Item = usize>, len: usize) {
        (self.len, self.last) = (0, 0);
        for start in starts {
            for place in (start..start + len).step_by(4) {
                if let (Some(to), true) = (self.places.get_mut(self.len), place < ROOM) {
                    *to = place as u16;
                    self.len += 1;
                    self.last = self.last.max(place);
                }
            }
        }
    }

    /// The places that have been set, and the last in the patch.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn places(&self) -> (&[u16], usize) {
        (self.places.get(..self.len).unwrap_or_default(), self.last)
    }
}

/// Some windows of a patch.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Bytes before the first.
    pub first: usize,
    /// Bytes from one to the next.
    pub step: usize,
    /// How many, at most [`super::tile::ROWS`]. A multiple of four is computed and has to fit.
    pub count: usize,
}

/// Panels of filters, `[panels, groups of four, LANES, 4]`, on the stack: 64 KiB, of which as much is
/// touched as the filters need.
#[repr(align(64))]
pub struct Filters {
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // no other set has patches
    values: [MaybeUninit<[u8; 4 * LANES]>; QUADS],
    /// What the offset of the patches adds to each output.
    pub(super) offsets: [[i32; LANES]; PANELS],
    /// How many groups have been written, how many of them are a panel's, and how many panels there are.
    len: usize,
    panel_len: usize,
    panels: usize,
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
            panels: 0,
        }
    }

    /// Takes all out.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        (self.len, self.panels) = (0, 0);
    }

    /// Where the next panel goes, which has as many groups as those before it, and its offsets; none if
    /// there is no room for it.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn next(&mut self, groups: usize) -> Option<(*mut u8, &mut [i32; LANES])> {
        if self.panels == 0 {
            self.panel_len = groups;
        }
        if groups != self.panel_len || groups > QUADS - self.len {
            return None;
        }
        let values = self.values.as_mut_ptr().wrapping_add(self.len);
        Some((values.cast(), self.offsets.get_mut(self.panels)?))
    }

    /// The next panel is there.
    ///
    /// # Safety
    /// All its groups have been written where [`Filters::next`] said.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) unsafe fn push(&mut self) {
        self.len += self.panel_len;
        self.panels += 1;
    }

    /// Panel `panel`; empty if there is no such one.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn panel(&self, panel: usize) -> &[[u8; 4 * LANES]] {
        // SAFETY: the first `len` have been written, by the promise of `push`'s caller.
        let written = unsafe { core::slice::from_raw_parts(self.values.as_ptr().cast(), self.len) };
        let start = panel.saturating_mul(self.panel_len);
        (written.get(start..))
            .and_then(|rest| rest.get(..self.panel_len))
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

    /// Fills a line of a patch: `before` times `padding`, elements, padding.
    #[inline(always)]
    fn to_patch<I: Isa>(_: I, _from: &[Self], _before: usize, _padding: Self, _to: &mut [u8]) {}

    /// Adds a panel of up to [`LANES`] filters, the rows of `weight`, each of `runs` runs of `len` elements.
    /// False, and none is added, where there is no room for it.
    #[inline(always)]
    fn pack_filters<I: Isa>(
        _: I,
        _weight: Operand<'_, Self>,
        _runs: [usize; 2],
        _to: &mut Filters,
    ) -> bool {
        false
    }

    /// The sum of each filter of panel `panel`; zeros if there is no such one.
    #[inline(always)]
    fn filter_sums(_filters: &Filters, _panel: usize) -> [Self::Acc; LANES]
    where
        Self: Element,
    {
        [Self::Acc::default(); LANES]
    }

    /// The sums of products of each window with each filter of panel `panel`, and the biases; nothing if
    /// they do not fit.
    #[inline(always)]
    fn by_patch<I: Isa>(
        _: I,
        _patch: &Patch,
        _windows: Windows,
        _filters: &Filters,
        _panel: usize,
        _biases: &[Self::Acc; LANES],
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
    ($($t:ty: $line:ident $pack:ident;)*) => {$(
        impl Patched for $t {
            #[inline(always)]
            fn has_patches<I: Isa>() -> bool {
                I::HAS_PATCHES
            }

            #[inline(always)]
            fn to_patch<I: Isa>(
                isa: I,
                from: &[Self],
                before: usize,
                padding: Self,
                to: &mut [u8],
            ) {
                isa.$line(from, before, padding, to);
            }

            #[inline(always)]
            fn pack_filters<I: Isa>(
                isa: I,
                weight: Operand<'_, Self>,
                runs: [usize; 2],
                to: &mut Filters,
            ) -> bool {
                isa.$pack(weight, runs, to)
            }

            #[inline(always)]
            fn filter_sums(filters: &Filters, panel: usize) -> [i32; LANES] {
                let offsets = filters.offsets.get(panel).copied().unwrap_or_default();
                offsets.map(|offset| offset / OFFSET)
            }

            #[inline(always)]
            fn by_patch<I: Isa>(
                isa: I,
                patch: &Patch,
                windows: Windows,
                filters: &Filters,
                panel: usize,
                biases: &[i32; LANES],
                sums: &mut Sums<i32>,
            ) {
                isa.by_patch(patch, windows, filters, panel, biases, sums);
            }
        }
    )*};
}

patches! { i8: line_i8 filters_i8; u8: line_u8 filters_u8; }
