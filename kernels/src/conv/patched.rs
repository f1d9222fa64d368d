//! The forward pass by patches: the windows of some pixels are copied once for all filters.

use super::Extents;
use super::forward::Rows;
use crate::arch::Isa;
use crate::arch::panel::LANES;
use crate::arch::patch::{self, Filters, Patches};
use crate::arch::tile::{Operand, ROWS};
use crate::element::{Element, Output};
use crate::fixed::Accumulator;
use crate::window::{advance, locate};

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

    /// All pixels, whose first element has the index `element`.
    #[inline(always)]
    pub(super) fn patched<I: Isa>(
        &self,
        isa: I,
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        let Extents {
            filters,
            out: [out_planes, out_rows, out_columns],
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
            let mut at = locate(self.first, out_planes, out_rows);
            let mut column = 0;
            for pixel in (0..count).step_by(ROWS) {
                let rows = ROWS.min(count - pixel);
                for patch in patches.iter_mut().take(rows) {
                    self.copy_window(at, column, patch);
                    column += 1;
                    if column == out_columns {
                        column = 0;
                        advance(&mut at, out_planes, out_rows);
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

    /// Copies the window in column `column` of the output row at `at`; padding is zeros.
    #[inline(always)]
    fn copy_window(
        &self,
        [image, plane, row]: [usize; 3],
        column: usize,
        patch: &mut [u8; patch::ROOM],
    ) {
        let Extents {
            input: [depth, height, width],
            channels,
            axes: [planes, rows, columns],
            filter_len,
            ..
        } = self.extents;
        let on_width = columns.cells(column, width);
        let is_whole = on_width.len == columns.kernel
            && rows.cells(row, height).len == rows.kernel
            && planes.cells(plane, depth).len == planes.kernel;
        if !is_whole {
            patch.iter_mut().take(filter_len).for_each(|x| *x = 0x80);
        }
        // Where the first cell on the input lies in the kernel.
        let skipped = (0..columns.kernel)
            .find(|&b| columns.input(column, b, width).is_some())
            .unwrap_or(0);
        for p in 0..planes.kernel {
            let Some(z) = planes.input(plane, p, depth) else {
                continue;
            };
            for a in 0..rows.kernel {
                let Some(y) = rows.input(row, a, height) else {
                    continue;
                };
                let to = ((p * rows.kernel + a) * columns.kernel + skipped) * channels;
                let from = (((image * depth + z) * height + y) * width + on_width.first) * channels;
                // Side by side, the cells are one piece.
                let (count, len, step) = if on_width.step == 1 {
                    (1, on_width.len * channels, 0)
                } else {
                    (on_width.len, channels, on_width.step * channels)
                };
                for i in 0..count {
                    let (from, to) = (from + i * step, to + i * len);
                    let values = self.x.get(from..from + len).unwrap_or_default();
                    let to = patch.get_mut(to..to + len).unwrap_or_default();
                    T::to_patch(values, to);
                }
            }
        }
    }
}
