//! The forward pass of a convolution, row by row.

use super::Extents;
use crate::arch::scalar::TILE;
use crate::arch::{self, Isa, Kernel};
use crate::element::{Element, Output};
use crate::finish::{Shared, TileFinish};
use crate::fixed::{Accumulator, Magnitude};
use crate::split::{rows_of, rows_of_mut};
use crate::window::{Deep, advance, locate};

/// Some output rows of a forward pass.
pub struct Rows<'a, T: Element, O, F = Shared<'a, T>> {
    pub(crate) extents: Extents,
    pub(crate) x: &'a [T],
    pub(crate) weight: &'a [T],
    /// Without biases in the input gradient of a transposed convolution.
    pub(crate) finish: F,
    /// Number of the first row, over all images.
    pub(crate) first: usize,
    pub(crate) out: &'a mut [O],
    /// As long as `out`, or empty.
    pub(crate) slope: &'a mut [T],
}

impl<T: Element, O: Output<T>, F: TileFinish<T, O>> Rows<'_, T, O, F> {
    /// The products of one filter and the window in column `column` of the output row at `at`.
    #[inline(always)]
    fn products<I: Isa, const DEEP: bool>(
        &self,
        isa: I,
        [image, plane, row]: [usize; 3],
        column: usize,
        filter: &[T],
        group_start: usize,
    ) -> T::Acc {
        let Extents {
            input: [depth, height, width],
            channels,
            group: [group_channels, _],
            axes: [planes, rows, columns],
            ..
        } = self.extents.known::<DEEP>();
        // Cells of a kernel row that lie side by side in memory are one run of products.
        let is_contiguous = columns.dilation == 1 && group_channels == channels;
        let (first_cell, end_cell) = columns.dense_cells(column, width);
        let mut sums = T::Sums::default();
        let mut add = |x_start: usize, w_start: usize, len: usize| {
            let x = self.x.get(x_start..x_start + len);
            let weight = filter.get(w_start..w_start + len);
            if let (Some(x), Some(weight)) = (x, weight) {
                self.finish.add_products(isa, &mut sums, x, weight);
            }
        };
        for p in 0..planes.kernel {
            let Some(z) = planes.input(plane, p, depth) else {
                continue;
            };
            for a in 0..rows.kernel {
                let Some(y) = rows.input(row, a, height) else {
                    continue;
                };
                let x_row = ((image * depth + z) * height + y) * width; // cells before it
                let w_row = (p * rows.kernel + a) * columns.kernel;
                if is_contiguous {
                    let cells = end_cell.saturating_sub(first_cell);
                    let x_start = x_row + column * columns.stride + first_cell - columns.before;
                    add(
                        x_start * channels,
                        (w_row + first_cell) * channels,
                        cells * channels,
                    );
                } else {
                    for b in 0..columns.kernel {
                        let Some(x) = columns.input(column, b, width) else {
                            continue;
                        };
                        add(
                            (x_row + x) * channels + group_start,
                            (w_row + b) * group_channels,
                            group_channels,
                        );
                    }
                }
            }
        }
        T::total(sums)
    }
}

impl<T: Element, O: Output<T>, F: TileFinish<T, O>> Kernel for Rows<'_, T, O, F> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        self.compute::<I, false>(isa)
    }
}

impl<T: Element, O: Output<T>, F: TileFinish<T, O>> Kernel for Deep<Rows<'_, T, O, F>> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        self.0.compute::<I, true>(isa)
    }
}

impl<T: Element, O: Output<T>, F: TileFinish<T, O>> Rows<'_, T, O, F> {
    #[inline(always)]
    fn compute<I: Isa, const DEEP: bool>(mut self, isa: I) -> u32 {
        let Extents {
            filters,
            out: [out_planes, out_rows, out_columns],
            group: [group_channels, group_filters],
            filter_len,
            ..
        } = self.extents.known::<DEEP>();
        // A single channel's row is one run of products, which floats sum in an order of its own.
        let is_run = self.extents.channels == 1 && !T::DTYPE.is_integer();
        if self.extents.is_depthwise() && !is_run {
            return self.depthwise(isa);
        }
        if self.has_patches::<I>() {
            return self.patched(isa);
        }
        if I::TILED {
            return self.tiled(isa);
        }
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = (self.first * out_columns * filters) as u32;
        let mut at = locate(self.first, out_planes, out_rows);
        let (out, slope) = (
            core::mem::take(&mut self.out),
            core::mem::take(&mut self.slope),
        );
        let mut slopes = rows_of_mut(slope, filters);
        for out in rows_of_mut(out, out_columns * filters) {
            for (column, out) in rows_of_mut(out, filters).enumerate() {
                let mut weights = rows_of(self.weight, filter_len);
                let mut biases = self.finish.biases();
                let mut channel = 0;
                let (mut group_start, mut filters_left) = (0, group_filters);
                let mut slopes = slopes.next().unwrap_or_default().chunks_mut(TILE);
                for out in out.chunks_mut(TILE) {
                    let mut sums = [T::Acc::default(); TILE];
                    let pairs = sums.iter_mut().zip(weights.by_ref());
                    for (sum, filter) in pairs.take(out.len()) {
                        if let Some(bias) = biases.next() {
                            *sum = bias;
                        }
                        *sum += self.products::<I, DEEP>(isa, at, column, filter, group_start);
                        filters_left -= 1;
                        if filters_left == 0 {
                            (group_start, filters_left) =
                                (group_start + group_channels, group_filters);
                        }
                    }
                    let sums = sums.get_mut(..out.len()).unwrap_or_default();
                    let slope = slopes.next().unwrap_or_default();
                    (self.finish).block(sums, channel, element, &mut range, out, slope);
                    element = element.wrapping_add(out.len() as u32);
                    channel += out.len();
                }
            }
            advance(&mut at, out_planes, out_rows);
        }
        range.bits()
    }
}
