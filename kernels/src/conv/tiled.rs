//! The forward pass in register tiles: neighbouring pixels by filters, read where they lie.

use super::Extents;
use super::forward::Rows;
use crate::arch::Isa;
use crate::arch::tile::{COLUMNS, Operand, ROWS, Segments, Tile};
use crate::element::{Element, Output};
use crate::fixed::{Accumulator, Magnitude};
use crate::split::rows_of_mut;
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
    /// Of the output row.
    column: usize,
    count: usize,
}

impl<T: Element, O: Output<T>> Rows<'_, T, O> {
    /// Computes the rows in register tiles.
    #[inline(always)]
    pub(super) fn tiled<I: Isa>(mut self, isa: I) -> u32 {
        let Extents {
            input: [depth, height, width],
            channels,
            filters,
            out: [out_planes, out_rows, out_columns],
            group: [group_channels, _],
            axes: [planes, rows, columns],
            ..
        } = self.extents;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let (out, slope) = (
            core::mem::take(&mut self.out),
            core::mem::take(&mut self.slope),
        );
        if self.is_pointwise() {
            // All rows are one.
            let pixels = Pixels {
                x: self.first * width * channels,
                step: channels,
                filter: 0,
                segments: Segments::one(channels),
                column: 0,
                count: out.len().checked_div(filters).unwrap_or(0),
            };
            let element = (self.first * out_columns * filters) as u32;
            self.pixels(isa, pixels, element, &mut range, out, slope);
            return range.bits();
        }
        let inner = columns.inner(width, out_columns);
        let is_contiguous = columns.dilation == 1 && group_channels == channels;
        let mut at = locate(self.first, out_planes, out_rows);
        let mut element = (self.first * out_columns * filters) as u32;
        let mut slopes = rows_of_mut(slope, out_columns * filters);
        for out in rows_of_mut(out, out_columns * filters) {
            let slope = slopes.next().unwrap_or_default();
            let [image, plane, row] = at;
            let (p, a) = (planes.cells_on(plane, depth), rows.cells_on(row, height));
            let mut column = 0;
            while column < out_columns {
                // The windows of the inner pixels lie on the input with all their columns.
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
                let z = (plane * planes.stride + p.start * planes.dilation)
                    .saturating_sub(planes.before);
                let y = (row * rows.stride + a.start * rows.dilation).saturating_sub(rows.before);
                let x = (column * columns.stride + b.start * columns.dilation)
                    .saturating_sub(columns.before);
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
                    column,
                    count,
                };
                self.pixels(isa, pixels, element, &mut range, out, slope);
                column += count;
            }
            element = element.wrapping_add((out_columns * filters) as u32);
            advance(&mut at, out_planes, out_rows);
        }
        range.bits()
    }

    /// Whether each output pixel is made of the one input pixel of the same place.
    fn is_pointwise(&self) -> bool {
        let is_point = |axis: &Axis| axis.kernel == 1 && axis.stride == 1 && axis.before == 0;
        let Extents {
            input, out, axes, ..
        } = &self.extents;
        self.extents.group == [self.extents.channels, self.extents.filters]
            && input == out
            && axes.iter().all(is_point)
    }

    /// All filters at some pixels of an output row, whose first element has the index `element`.
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
            let mut bias = [T::Acc::default(); COLUMNS];
            if let Some(given) = self.bias {
                let values = given.values.get(filter..).unwrap_or_default();
                for (to, &value) in bias.iter_mut().zip(values) {
                    *to = T::bias(value, given.shift);
                }
            }
            for pixel in (0..pixels.count).step_by(ROWS) {
                let start = pixels.x + pixel * pixels.step + group_start;
                let x = Operand {
                    values: self.x.get(start..).unwrap_or_default(),
                    step: pixels.step,
                    rows: ROWS.min(pixels.count - pixel),
                };
                T::tile(isa, x, weight, &pixels.segments, &mut tile);
                for sums in tile.iter_mut().take(x.rows) {
                    for (sum, &bias) in sums.iter_mut().zip(&bias) {
                        *sum += bias;
                    }
                }
                let start = (pixels.column + pixel) * filters + filter;
                self.epilogue.tile(
                    &mut tile,
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
