//! The forward pass in register tiles: neighbouring pixels by filters, read where they lie.

use super::Extents;
use super::forward::Rows;
use crate::arch::Isa;
use crate::arch::panel::{self, LANES, Panel};
use crate::arch::tile::{COLUMNS, Operand, ROWS, Segments, Tile};
use crate::element::{Element, Output};
use crate::finish::TileFinish;
use crate::fixed::{Accumulator, Magnitude};
use crate::window::{Axis, advance, locate};

/// Neighbouring pixels of an output row whose windows cover the same cells of the kernel.
#[derive(Clone, Copy)]
struct Pixels {
    /// Of `x`, where the first window starts.
    x: usize,
    /// Elements of `x` from one window to the next.
    step: usize,
    /// Of a filter, where the first cell covered starts.
    filter: usize,
    segments: Segments,
    /// Of the output, where the first pixel starts.
    start: usize,
    count: usize,
}

/// All pixels of some output rows.
struct Runs {
    extents: Extents,
    /// Image, plane and row.
    at: [usize; 3],
    /// The next pixel of the row.
    column: usize,
    /// Elements of the output before it, and all of them.
    start: usize,
    end: usize,
    /// The pixels whose windows lie on the input with all their columns.
    inner: (usize, usize),
}

impl Iterator for Runs {
    type Item = Pixels;

    #[inline]
    fn next(&mut self) -> Option<Pixels> {
        if self.start >= self.end {
            return None;
        }
        let Extents {
            input: [depth, height, width],
            channels,
            filters,
            out: [_, out_rows, out_columns],
            group: [group_channels, _],
            axes: [planes, rows, columns],
            ..
        } = self.extents;
        let [image, plane, row] = self.at;
        let is_contiguous = columns.dilation == 1 && group_channels == channels;
        let (p, a) = (planes.cells_on(plane, depth), rows.cells_on(row, height));
        let (column, inner) = (self.column, self.inner);
        let count = if column < inner.0 || column >= inner.1 {
            1
        } else {
            inner.1 - column
        };
        let b = columns.cells_on(column, width);
        let cells = b.end - b.start;
        let (len, cells) = if is_contiguous {
            (cells * channels, 1)
        } else {
            (group_channels, cells)
        };
        let plane_len = height * width * channels;
        let z = (plane * planes.stride + p.start * planes.dilation).saturating_sub(planes.before);
        let y = (row * rows.stride + a.start * rows.dilation).saturating_sub(rows.before);
        let x =
            (column * columns.stride + b.start * columns.dilation).saturating_sub(columns.before);
        let kernel_cell = (p.start * rows.kernel + a.start) * columns.kernel + b.start;
        let segments = Segments::new(
            len,
            [p.end - p.start, a.end - a.start, cells],
            [
                planes.dilation * plane_len,
                rows.dilation * width * channels,
                columns.dilation * channels,
            ],
            [
                rows.kernel * columns.kernel * group_channels,
                columns.kernel * group_channels,
                group_channels,
            ],
        );
        let pixels = Pixels {
            x: (((image * depth + z) * height + y) * width + x) * channels,
            step: columns.stride * channels,
            filter: kernel_cell * group_channels,
            segments,
            start: self.start,
            count,
        };
        self.start += count * filters;
        self.column += count;
        if self.column == out_columns {
            self.column = 0;
            advance(&mut self.at, self.extents.out[0], out_rows);
        }
        Some(pixels)
    }
}

impl<T: Element, O: Output<T>, F: TileFinish<T, O>> Rows<'_, T, O, F> {
    /// Computes the rows in register tiles, or by panels of the filters.
    #[inline(always)]
    pub(super) fn tiled<I: Isa>(mut self, isa: I) -> u32 {
        let Extents {
            input: [_, _, width],
            channels,
            filters,
            out: [out_planes, out_rows, out_columns],
            axes: [_, _, columns],
            filter_len,
            ..
        } = self.extents;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let (out, slope) = (
            core::mem::take(&mut self.out),
            core::mem::take(&mut self.slope),
        );
        let element = (self.first * out_columns * filters) as u32;
        let count = out.len().checked_div(filters).unwrap_or(0);
        let has_panels =
            T::has_panels::<I>() && count >= panel::worth(filter_len) && self.extents.group[1] > 1;
        let end = out.len();
        let runs = || Runs {
            extents: self.extents,
            at: locate(self.first, out_planes, out_rows),
            column: 0,
            start: 0,
            end,
            inner: columns.inner(width, out_columns),
        };
        // All rows are one.
        let whole = Pixels {
            x: self.first * width * channels,
            step: channels,
            filter: 0,
            segments: Segments::one(channels),
            start: 0,
            count,
        };
        let range_of = &mut range;
        match (self.is_pointwise(), has_panels) {
            (true, true) => {
                let runs = || core::iter::once(whole);
                self.paneled(isa, runs, element, range_of, out, slope);
            }
            (false, true) => self.paneled(isa, runs, element, range_of, out, slope),
            (true, false) => self.pixels(isa, whole, element, range_of, out, slope),
            (false, false) => {
                for pixels in runs() {
                    self.pixels(isa, pixels, element, range_of, out, slope);
                }
            }
        }
        range.bits()
    }

    /// All pixels by panels, one after the other.
    #[inline(always)]
    fn paneled<I: Isa, R: Iterator<Item = Pixels>>(
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
            group: [group_channels, group_filters],
            filter_len,
            ..
        } = self.extents;
        let mut panel = Panel::new();
        let mut sums = [[[T::Acc::default(); LANES]; ROWS]; 2];
        let (mut filter, mut group_start, mut left) = (0, 0, group_filters);
        while filter < filters {
            let count = panel::take(filter_len, left);
            let weight = Operand {
                values: self.weight.get(filter * filter_len..).unwrap_or_default(),
                step: filter_len,
                rows: count,
            };
            T::pack(isa, weight, filter_len, &mut panel);
            // Panels are of floats, which have no zero point.
            let biases: [[_; LANES]; 2] =
                [filter, filter + LANES].map(|filter| self.finish.biases_from(filter));
            for pixels in runs() {
                let segments = pixels.segments.after(pixels.filter);
                for pixel in (0..pixels.count).step_by(ROWS) {
                    let x = pixels.x + pixel * pixels.step + group_start;
                    let x = Operand {
                        values: self.x.get(x..).unwrap_or_default(),
                        step: pixels.step,
                        rows: ROWS.min(pixels.count - pixel),
                    };
                    T::by_panel(isa, x, &panel, &segments, &mut sums);
                    let (mut start, mut left) = (pixels.start + pixel * filters + filter, count);
                    for (sums, bias) in sums.iter_mut().zip(&biases) {
                        if left == 0 {
                            break;
                        }
                        for sums in sums.iter_mut().take(x.rows) {
                            for (sum, &bias) in sums.iter_mut().zip(bias) {
                                *sum += bias;
                            }
                        }
                        let count = left.min(LANES);
                        self.finish.tile(
                            sums,
                            start - (pixels.start + pixel * filters),
                            [x.rows, count, filters],
                            element.wrapping_add(start as u32),
                            range,
                            out.get_mut(start..).unwrap_or_default(),
                            slope.get_mut(start..).unwrap_or_default(),
                        );
                        (start, left) = (start + count, left - count);
                    }
                }
            }
            filter += count;
            left -= count;
            if left == 0 {
                (group_start, left) = (group_start + group_channels, group_filters);
            }
        }
    }

    /// Whether each output pixel is made of the one input pixel of the same place.
    pub(super) fn is_pointwise(&self) -> bool {
        let is_point = |axis: &Axis| axis.kernel == 1 && axis.stride == 1 && axis.before == 0;
        let Extents {
            input, out, axes, ..
        } = &self.extents;
        self.extents.group == [self.extents.channels, self.extents.filters]
            && input == out
            && axes.iter().all(is_point)
    }

    /// All filters at some pixels of `out`, whose first element has the index `element`.
    #[inline(always)]
    fn pixels<I: Isa>(
        &self,
        isa: I,
        pixels: Pixels,
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        let Extents {
            filters,
            group: [group_channels, group_filters],
            filter_len,
            ..
        } = self.extents;
        let mut tile: Tile<T::Acc> = [[T::Acc::default(); COLUMNS]; ROWS];
        let (mut filter, mut group_start, mut left) = (0, 0, group_filters);
        while filter < filters {
            let count = COLUMNS.min(left);
            let start = filter * filter_len + pixels.filter;
            let weight = Operand {
                values: self.weight.get(start..).unwrap_or_default(),
                step: filter_len,
                rows: count,
            };
            let segments = &pixels.segments;
            let starts: [_; COLUMNS] = self.finish.starts_of_tile(isa, filter, weight, segments);
            for pixel in (0..pixels.count).step_by(ROWS) {
                let start = pixels.x + pixel * pixels.step + group_start;
                let x = Operand {
                    values: self.x.get(start..).unwrap_or_default(),
                    step: pixels.step,
                    rows: ROWS.min(pixels.count - pixel),
                };
                T::tile(isa, x, weight, segments, &mut tile);
                for sums in tile.iter_mut().take(x.rows) {
                    for (sum, &start) in sums.iter_mut().zip(&starts) {
                        *sum += start;
                    }
                }
                let start = pixels.start + pixel * filters + filter;
                self.finish.tile(
                    &mut tile,
                    filter,
                    [x.rows, count, filters],
                    element.wrapping_add(start as u32),
                    range,
                    out.get_mut(start..).unwrap_or_default(),
                    slope.get_mut(start..).unwrap_or_default(),
                );
            }
            filter += count;
            left -= count;
            if left == 0 {
                (group_start, left) = (group_start + group_channels, group_filters);
            }
        }
    }
}
