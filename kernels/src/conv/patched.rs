//! The forward pass by patches: the windows of some pixels are copied once for all filters.

use super::Extents;
use super::forward::Rows;
use super::tiled::Pixels;
use crate::arch::Isa;
use crate::arch::panel::LANES;
use crate::arch::patch::{self, Filters, Patches};
use crate::arch::tile::{Operand, ROWS};
use crate::element::{Element, Output};
use crate::fixed::Accumulator;

/// Elements that are copied at once.
const PIECE: usize = 16;

impl<T: Element, O: Output<T>> Rows<'_, T, O> {
    /// Whether these rows are computed so.
    #[inline(always)]
    pub(super) fn has_patches<I: Isa>(&self, pixels: usize) -> bool {
        let Extents {
            channels,
            filters,
            group,
            filter_len,
            ..
        } = self.extents;
        T::has_patches::<I>()
            && group == [channels, filters]
            && filter_len <= patch::ROOM
            && pixels >= patch::WORTH
    }

    /// All pixels of `runs`, whose first element has the index `element`.
    #[inline(always)]
    pub(super) fn patched<I: Isa, R: Iterator<Item = Pixels>>(
        &self,
        isa: I,
        runs: impl Fn() -> R,
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        let Extents {
            filters,
            filter_len,
            ..
        } = self.extents;
        let count = out.len().checked_div(filters).unwrap_or(0);
        let mut packed = Filters::new();
        let mut patches: Patches = [[0; patch::ROOM]; ROWS];
        let mut sums = [[T::Acc::default(); LANES]; ROWS];
        let chunk = Filters::room(filter_len).max(LANES);
        for first in (0..filters).step_by(chunk) {
            let chunk = chunk.min(filters - first);
            let weight = Operand {
                values: self.weight.get(first * filter_len..).unwrap_or_default(),
                step: filter_len,
                rows: chunk,
            };
            T::pack_filters(isa, weight, filter_len, &mut packed);
            let mut runs = runs();
            let (mut run, mut i) = (runs.next(), 0);
            for pixel in (0..count).step_by(ROWS) {
                let rows = ROWS.min(count - pixel);
                for patch in patches.iter_mut().take(rows) {
                    let Some(pixels) = &run else {
                        continue;
                    };
                    self.copy_window(pixels, i, patch);
                    i += 1;
                    if i == pixels.count {
                        (run, i) = (runs.next(), 0);
                    }
                }
                for panel in 0..chunk.div_ceil(LANES) {
                    let filter = first + panel * LANES;
                    T::by_patches(isa, &patches, &packed, panel, &mut sums);
                    let bias: [_; LANES] = self.biases(filter);
                    for sums in sums.iter_mut().take(rows) {
                        for (sum, &bias) in sums.iter_mut().zip(&bias) {
                            *sum += bias;
                        }
                    }
                    let start = pixel * filters + filter;
                    self.epilogue.tile(
                        &mut sums,
                        [rows, LANES.min(filters - filter), filters],
                        element.wrapping_add(start as u32),
                        range,
                        out.get_mut(start..).unwrap_or_default(),
                        slope.get_mut(start..).unwrap_or_default(),
                    );
                }
            }
        }
    }

    /// Copies window `i` of `pixels`; padding is zeros.
    #[inline(always)]
    fn copy_window(&self, pixels: &Pixels, i: usize, patch: &mut [u8; patch::ROOM]) {
        let filter_len = self.extents.filter_len;
        let len = pixels.segments.len();
        let is_whole = pixels.segments.elements() == filter_len;
        if !is_whole {
            patch.iter_mut().take(filter_len).for_each(|x| *x = 0x80);
        }
        let x = (self.x.get(pixels.x + i * pixels.step..)).unwrap_or_default();
        for (from, to) in pixels.segments.starts() {
            let from = x.get(from..).unwrap_or_default();
            let to = patch.get_mut(pixels.filter + to..).unwrap_or_default();
            // A short piece is copied with what follows it, which the next one overwrites; behind the
            // last one, filters are zeros.
            if let (true, true, Some(from), Some(to)) = (
                is_whole,
                len <= PIECE,
                from.first_chunk::<PIECE>(),
                to.first_chunk_mut::<PIECE>(),
            ) {
                T::to_patch(from, to);
            } else {
                let from = from.get(..len).unwrap_or_default();
                T::to_patch(from, to.get_mut(..len).unwrap_or_default());
            }
        }
    }
}
