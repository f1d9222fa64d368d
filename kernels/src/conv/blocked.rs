//! Gradients in blocks, for the types that have them: several cells, or several filters, share each
//! row of weights or of the input.

use super::Extents;
use super::backward::{RowsBack, WeightGradient};
use crate::arch::Isa;
use crate::arch::block::{Block, Factors, HEIGHT, Rows, WIDTH};
use crate::element::{Element, Output};
use crate::fixed::{Accumulator, Magnitude};
use crate::split::{rows_of, rows_of_mut};
use crate::window::{advance, locate};

impl<T: Element, O: Output<T>> RowsBack<'_, T, O> {
    /// Cells whose windows begin at the same place of a stride go together.
    #[inline(always)]
    pub(super) fn blocked<I: Isa>(mut self, isa: I) -> u32 {
        let Extents {
            input: [depth, height, width],
            channels,
            axes: [_, _, columns],
            ..
        } = self.extents;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let row_len = width * channels;
        let mut element = (self.first * row_len) as u32;
        let mut at = locate(self.first, depth, height);
        let (out, slope) = (
            core::mem::take(&mut self.out),
            core::mem::take(&mut self.slope),
        );
        let mut slopes = rows_of_mut(slope, row_len);
        for out in rows_of_mut(out, row_len) {
            let slope = slopes.next().unwrap_or_default();
            for phase in 0..columns.stride.min(width) {
                for x in (phase..width).step_by(columns.stride * HEIGHT) {
                    let count = (width - x).div_ceil(columns.stride.max(1)).min(HEIGHT);
                    self.cells(isa, at, [x, count], element, &mut range, out, slope);
                }
            }
            element = element.wrapping_add(row_len as u32);
            advance(&mut at, depth, height);
        }
        range.bits()
    }

    /// All channels of `count` cells from `x` on, a stride apart.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // where, and where to
    fn cells<I: Isa>(
        &self,
        isa: I,
        [image, z, y]: [usize; 3],
        [x, count]: [usize; 2],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        let Extents {
            filters,
            channels,
            out: [out_planes, out_rows, out_columns],
            group: [group_channels, group_filters],
            axes: [planes, rows, columns],
            filter_len,
            ..
        } = self.extents;
        let (mut group, mut in_group, mut channel) = (0, 0, 0);
        while channel < channels {
            let block_width = WIDTH.min(group_channels - in_group);
            let mut sums: Block<T::Acc> = [[T::Acc::default(); WIDTH]; HEIGHT];
            for p in 0..planes.kernel {
                let Some(plane) = planes.output(z, p, out_planes) else {
                    continue;
                };
                for a in 0..rows.kernel {
                    let Some(row) = rows.output(y, a, out_rows) else {
                        continue;
                    };
                    for b in 0..columns.kernel {
                        // Of neighbouring windows, those between two borders of the output.
                        let window =
                            |r: usize| columns.output(x + r * columns.stride, b, out_columns);
                        let Some(first) = (0..count).find(|&r| window(r).is_some()) else {
                            continue;
                        };
                        let Some(column) = window(first) else {
                            continue;
                        };
                        let end = count.min(first + out_columns - column);
                        let position =
                            ((image * out_planes + plane) * out_rows + row) * out_columns + column;
                        let start = position * filters + group * group_filters;
                        let factors = Factors {
                            values: self.dy.get(start..).unwrap_or_default(),
                            sum_step: filters,
                            row_step: 1,
                        };
                        let cell = (p * rows.kernel + a) * columns.kernel + b;
                        let start =
                            group * group_filters * filter_len + cell * group_channels + in_group;
                        let weights = Rows {
                            values: self.weight.get(start..).unwrap_or_default(),
                            step: filter_len,
                            count: group_filters,
                            width: block_width,
                        };
                        let sums = sums.get_mut(first..end).unwrap_or_default();
                        T::add_block(isa, factors, weights, sums);
                    }
                }
            }
            if let Some(bias) = self.bias {
                let values = bias.values.get(channel..).unwrap_or_default();
                for sums in &mut sums {
                    for (sum, &b) in sums.iter_mut().zip(values).take(block_width) {
                        *sum += T::bias(b, bias.shift);
                    }
                }
            }
            let start = x * channels + channel;
            self.epilogue.tile_by(
                isa,
                &mut sums,
                [count, block_width, columns.stride * channels],
                element.wrapping_add(start as u32),
                range,
                out.get_mut(start..).unwrap_or_default(),
                slope.get_mut(start..).unwrap_or_default(),
            );
            channel += block_width;
            in_group += block_width;
            if in_group == group_channels {
                (group, in_group) = (group + 1, 0);
            }
        }
    }
}

impl<T: Element> WeightGradient<'_, '_, T> {
    /// Several filters of a group go together.
    #[inline(always)]
    pub(super) fn blocked<I: Isa>(self, isa: I) {
        let Extents {
            filters,
            group: [group_channels, group_filters],
            axes: [planes, rows, columns],
            filter_len,
            ..
        } = self.extents;
        let (mut filter, mut group_start, mut left) = (0, 0, group_filters);
        while filter < filters {
            let count = HEIGHT.min(left);
            for p in 0..planes.kernel {
                for a in 0..rows.kernel {
                    for b in 0..columns.kernel {
                        let cell = (p * rows.kernel + a) * columns.kernel + b;
                        for channel in (0..group_channels).step_by(WIDTH) {
                            let width = WIDTH.min(group_channels - channel);
                            let mut sums: Block<T::Acc> = [[T::Acc::default(); WIDTH]; HEIGHT];
                            let sums = sums.get_mut(..count).unwrap_or_default();
                            let from = [filter, group_start + channel];
                            self.positions(isa, from, [p, a, b], width, sums);
                            let start = filter * filter_len + cell * group_channels + channel;
                            for (r, sums) in sums.iter().enumerate() {
                                let sums = sums.get(..width).unwrap_or_default();
                                self.gradient.take(start + r * filter_len, sums);
                            }
                        }
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

    /// What all positions add to the gradient of cell `[p, a, b]`, for filters and channels from
    /// `filter` and `channel` on.
    #[inline(always)]
    fn positions<I: Isa>(
        &self,
        isa: I,
        [filter, channel]: [usize; 2],
        [p, a, b]: [usize; 3],
        width: usize,
        sums: &mut [[T::Acc; WIDTH]],
    ) {
        let Extents {
            input: [depth, height, width_in],
            channels,
            filters,
            out: [out_planes, out_rows, out_columns],
            axes: [planes, rows, columns],
            ..
        } = self.extents;
        let is_on = |&column: &usize| columns.input(column, b, width_in).is_some();
        let Some(first) = (0..out_columns).find(is_on) else {
            return;
        };
        let Some(last) = (first..out_columns).rev().find(is_on) else {
            return;
        };
        let x = columns.input(first, b, width_in).unwrap_or(0);
        let mut at = [0; 3];
        for (out_row, _) in rows_of(self.dy, out_columns * filters).enumerate() {
            let [image, plane, row] = at;
            advance(&mut at, out_planes, out_rows);
            let Some(z) = planes.input(plane, p, depth) else {
                continue;
            };
            let Some(y) = rows.input(row, a, height) else {
                continue;
            };
            let start = (out_row * out_columns + first) * filters + filter;
            let factors = Factors {
                values: self.dy.get(start..).unwrap_or_default(),
                sum_step: 1,
                row_step: filters,
            };
            let start = (((image * depth + z) * height + y) * width_in + x) * channels + channel;
            let rows = Rows {
                values: self.x.get(start..).unwrap_or_default(),
                step: columns.stride * channels,
                count: last + 1 - first,
                width,
            };
            T::add_block(isa, factors, rows, sums);
        }
    }
}
