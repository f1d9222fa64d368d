//! The forward pass by patches: the input under neighbouring windows of a row is copied once for all
//! filters, with its padding, so that all windows of the row are alike.

use super::Extents;
use super::forward::Rows;
use crate::arch::Isa;
use crate::arch::panel::{LANES, Sums};
use crate::arch::patch::{self, Filters, PANELS, Patch, Windows};
use crate::arch::tile::{Operand, ROWS};
use crate::element::{Element, Output};
use crate::finish::TileFinish;
use crate::fixed::{Accumulator, Magnitude};
use crate::requantize::Lines;
use crate::window::{advance, locate};

/// Output columns from which on a row pays.
const WORTH: usize = 4;

/// How windows lie in a patch: `[kernel planes · kernel rows, cells of a line, C]`.
#[derive(Clone, Copy)]
struct Layout {
    /// Lines of a patch, and bytes of a line.
    lines: usize,
    line_len: usize,
    /// Runs of bytes that lie side by side in filter and patch, their length, and how many a line has.
    runs: usize,
    run_len: usize,
    line_runs: usize,
    /// Windows that it has room for: a multiple of four.
    pixels: usize,
}

impl Layout {
    /// None where a patch has no room for four windows or for the runs of a filter.
    #[inline(always)]
    fn new(extents: &Extents) -> Option<Self> {
        let Extents {
            channels,
            group: [group_channels, _],
            axes: [planes, rows, columns],
            ..
        } = *extents;
        let lines = planes.kernel.checked_mul(rows.kernel)?;
        let is_contiguous = columns.dilation == 1 && group_channels == channels;
        let (run_len, line_runs) = if is_contiguous {
            (columns.kernel.checked_mul(channels)?, 1)
        } else {
            (group_channels, columns.kernel)
        };
        let runs = lines.checked_mul(line_runs)?;
        // Reading the last four bytes of a run may go three bytes beyond it.
        let cells = (patch::ROOM - 4).checked_div(lines.checked_mul(channels)?)?;
        let reach = columns.dilation.checked_mul(columns.kernel - 1)?;
        let more = cells.checked_sub(reach)?.checked_sub(1)?;
        let room = more.checked_div(columns.stride)?.checked_add(1)?;
        let row = extents.out[2].checked_next_multiple_of(4)?;
        let pixels = if room < ROWS {
            room / 4 * 4
        } else {
            room / ROWS * ROWS
        }
        .min(row);
        let last = pixels.checked_sub(1)?.checked_mul(columns.stride)?;
        let fits = runs.checked_mul(run_len.div_ceil(4))? <= patch::PLACES;
        fits.then_some(Self {
            lines,
            line_len: (last + reach + 1) * channels,
            runs,
            run_len,
            line_runs,
            pixels,
        })
    }
}

/// A panel of filters: the first, how many, and the first channel that they read.
type Filled = (usize, usize, usize);

/// The filters that are still to be packed.
struct Left {
    filter: usize,
    group_start: usize,
    /// Of the group.
    filters: usize,
}

impl<T: Element, O: Output<T>, F: TileFinish<T, O>> Rows<'_, T, O, F> {
    /// Whether these rows are computed so.
    #[inline(always)]
    pub(super) fn has_patches<I: Isa>(&self) -> bool {
        let Extents { out, filters, .. } = self.extents;
        T::has_patches::<I>()
            && self.out.len() >= patch::WORTH.saturating_mul(filters)
            && (out[2] >= WORTH || self.is_pointwise())
            && Layout::new(&self.extents).is_some()
    }

    /// Computes the rows by patches.
    #[inline(always)]
    pub(super) fn patched<I: Isa>(mut self, isa: I) -> u32 {
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let element = (self.first * self.extents.out[2] * self.extents.filters) as u32;
        if self.is_pointwise() {
            self.join_rows();
        }
        let Some(layout) = Layout::new(&self.extents) else {
            return range.bits();
        };
        let Extents {
            channels,
            filters,
            out: [out_planes, out_rows, out_columns],
            group: [_, group_filters],
            axes: [_, _, columns],
            ..
        } = self.extents;
        let (out, slope) = (
            core::mem::take(&mut self.out),
            core::mem::take(&mut self.slope),
        );
        let row_len = out_columns * filters;
        // One by one: a pair of them would be copied.
        let mut packed = Filters::new();
        let mut patch = Patch::new();
        let line = |run: usize| run.checked_div(layout.line_runs).unwrap_or(0);
        let starts = (0..layout.runs).map(|run| {
            let cell = run - line(run) * layout.line_runs;
            line(run) * layout.line_len + cell * columns.dilation * channels
        });
        patch.set_places(starts, layout.run_len);
        let mut sums: Lines<Sums<T::Acc>> = Lines([[T::Acc::default(); LANES]; ROWS]);
        let mut left = Left {
            filter: 0,
            group_start: 0,
            filters: group_filters,
        };
        while left.filter < filters {
            let mut panels: [Filled; PANELS] = [(0, 0, 0); PANELS];
            let panels = self.pack(isa, &layout, &mut left, &mut packed, &mut panels);
            if panels.is_empty() {
                break; // a single panel always fits
            }
            let mut at = locate(self.first, out_planes, out_rows);
            for row in (0..out.len()).step_by(row_len.max(1)) {
                for column in (0..out_columns).step_by(layout.pixels) {
                    let count = layout.pixels.min(out_columns - column);
                    self.copy(isa, &layout, at, column, &mut patch);
                    for (p, &(filter, width, group_start)) in panels.iter().enumerate() {
                        let starts: [_; LANES] =
                            self.finish.starts(filter, || T::filter_sums(&packed, p));
                        for pixel in (0..count).step_by(ROWS) {
                            let windows = Windows {
                                first: pixel * columns.stride * channels + group_start,
                                step: columns.stride * channels,
                                count: ROWS.min(count - pixel),
                            };
                            T::by_patch(isa, &patch, windows, &packed, p, &starts, &mut sums);
                            let start = row + (column + pixel) * filters + filter;
                            self.finish.tile_by(
                                isa,
                                &mut sums,
                                filter,
                                [windows.count, width, filters],
                                element.wrapping_add(start as u32),
                                &mut range,
                                out.get_mut(start..).unwrap_or_default(),
                                slope.get_mut(start..).unwrap_or_default(),
                            );
                        }
                    }
                }
                advance(&mut at, out_planes, out_rows);
            }
        }
        range.bits()
    }

    /// Makes one row of all, where an output pixel is made of the one input pixel of the same place.
    fn join_rows(&mut self) {
        let Extents {
            input: [_, _, width],
            channels,
            filters,
            ..
        } = self.extents;
        let count = self.out.len().checked_div(filters).unwrap_or(0);
        let start = self.first * width * channels;
        self.x = self.x.get(start..).unwrap_or_default();
        self.first = 0;
        self.extents.input = [1, 1, count];
        self.extents.out = [1, 1, count];
    }

    /// Packs as many of the filters that are left as there is room for.
    #[inline(always)]
    fn pack<'p, I: Isa>(
        &self,
        isa: I,
        layout: &Layout,
        left: &mut Left,
        packed: &mut Filters,
        panels: &'p mut [Filled; PANELS],
    ) -> &'p [Filled] {
        let Extents {
            filters,
            group: [group_channels, group_filters],
            filter_len,
            ..
        } = self.extents;
        packed.clear();
        let mut count = 0;
        for panel in panels.iter_mut() {
            let width = LANES.min(left.filters);
            let values = self.weight.get(left.filter * filter_len..);
            let weight = Operand {
                values: values.unwrap_or_default(),
                step: filter_len,
                rows: width,
            };
            let runs = [layout.runs, layout.run_len];
            if left.filter >= filters || !T::pack_filters(isa, weight, runs, packed) {
                break;
            }
            *panel = (left.filter, width, left.group_start);
            count += 1;
            left.filter += width;
            left.filters -= width;
            if left.filters == 0 {
                left.group_start += group_channels;
                left.filters = group_filters;
            }
        }
        panels.get(..count).unwrap_or_default()
    }

    /// Copies what lies under the windows of an output row from `column` on.
    #[inline(always)]
    fn copy<I: Isa>(
        &self,
        isa: I,
        layout: &Layout,
        [image, plane, row]: [usize; 3],
        column: usize,
        patch: &mut Patch,
    ) {
        let Extents {
            input: [depth, height, width],
            channels,
            axes: [planes, rows, columns],
            ..
        } = self.extents;
        let start = column * columns.stride;
        let padding = columns.before.saturating_sub(start);
        let first = start.saturating_sub(columns.before);
        let before = padding.saturating_mul(channels).min(layout.line_len);
        let len = (width.saturating_sub(first) * channels).min(layout.line_len - before);
        for line in 0..layout.lines {
            let p = line.checked_div(rows.kernel).unwrap_or(0);
            let z = planes.input(plane, p, depth);
            let y = rows.input(row, line - p * rows.kernel, height);
            let mut from = &[][..];
            if let (Some(z), Some(y)) = (z, y) {
                let start = (((image * depth + z) * height + y) * width + first) * channels;
                from = self.x.get(start..start + len).unwrap_or_default();
            }
            let to = patch.from(line * layout.line_len);
            let to = to.get_mut(..layout.line_len).unwrap_or_default();
            T::to_patch(isa, from, before, self.finish.padding(), to);
        }
    }
}
