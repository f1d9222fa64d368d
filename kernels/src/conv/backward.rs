//! The gradients of a convolution. That with respect to the input is the forward pass of its
//! transpose, too.

use super::Extents;
use crate::arch::scalar::{TILE, add_row};
use crate::arch::{self, Isa, Kernel};
use crate::dense::Bias;
use crate::element::{Element, Output};
use crate::fixed::{Accumulator, Magnitude};
use crate::optim::Gradient;
use crate::requantize::Epilogue;
use crate::split::{rows_of, rows_of_mut};
use crate::window::{Deep, advance, locate};

/// Some rows of an input gradient, which are output rows of a transposed convolution.
pub struct RowsBack<'a, T: Element, O> {
    pub(super) extents: Extents,
    pub(super) dy: &'a [T],
    pub(super) weight: &'a [T],
    /// One for each input channel of the convolution, of a transposed one.
    pub(super) bias: Option<Bias<'a, T>>,
    pub(super) epilogue: Epilogue<T>,
    pub(super) first: usize,
    pub(super) out: &'a mut [O],
    /// As long as `out`, or empty.
    pub(super) slope: &'a mut [T],
}

/// Whether an error adds nothing. Zero times NaN is NaN, so floats never skip.
#[inline(always)]
fn adds_nothing<T: Element>(d: T) -> bool {
    T::DTYPE.is_integer() && d == T::ZERO
}

impl<T: Element, O: Output<T>> RowsBack<'_, T, O> {
    /// What reaches channels `channel..channel + width` of a group from all windows over a cell.
    #[inline(always)]
    fn sums<I: Isa, const DEEP: bool>(
        &self,
        isa: I,
        [image, z, y]: [usize; 3],
        x: usize,
        group: usize,
        channel: usize,
        width: usize,
    ) -> [T::Acc; TILE] {
        let Extents {
            filters,
            out: [out_planes, out_rows, out_columns],
            group: [group_channels, group_filters],
            axes: [planes, rows, columns],
            filter_len,
            ..
        } = self.extents.known::<DEEP>();
        let group_start = group * group_filters;
        let weight = (self.weight.get(group_start * filter_len..)).unwrap_or_default();
        let mut sums = [T::Acc::default(); TILE];
        for p in 0..planes.kernel {
            let Some(plane) = planes.output(z, p, out_planes) else {
                continue;
            };
            for a in 0..rows.kernel {
                let Some(row) = rows.output(y, a, out_rows) else {
                    continue;
                };
                for b in 0..columns.kernel {
                    let Some(column) = columns.output(x, b, out_columns) else {
                        continue;
                    };
                    let position =
                        ((image * out_planes + plane) * out_rows + row) * out_columns + column;
                    let start = position * filters + group_start;
                    let dy = (self.dy.get(start..start + group_filters)).unwrap_or_default();
                    let cell =
                        ((p * rows.kernel + a) * columns.kernel + b) * group_channels + channel;
                    for (&d, filter) in dy.iter().zip(rows_of(weight, filter_len)) {
                        if adds_nothing(d) {
                            continue;
                        }
                        let part = filter.get(cell..cell + width).unwrap_or_default();
                        add_row::<T, I>(isa, &mut sums, d.widen(), part);
                    }
                }
            }
        }
        sums
    }
}

impl<T: Element, O: Output<T>> Kernel for RowsBack<'_, T, O> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        self.compute::<I, false>(isa)
    }
}

impl<T: Element, O: Output<T>> Kernel for Deep<RowsBack<'_, T, O>> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        self.0.compute::<I, true>(isa)
    }
}

impl<T: Element, O: Output<T>> RowsBack<'_, T, O> {
    #[inline(always)]
    fn compute<I: Isa, const DEEP: bool>(mut self, isa: I) -> u32 {
        let Extents {
            input: [depth, height, width],
            channels,
            group: [group_channels, _],
            ..
        } = self.extents.known::<DEEP>();
        if self.extents.is_depthwise() {
            return self.depthwise(isa);
        }
        if T::has_blocks::<I>() {
            return self.blocked(isa);
        }
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = (self.first * width * channels) as u32;
        let mut at = locate(self.first, depth, height);
        let (out, slope) = (
            core::mem::take(&mut self.out),
            core::mem::take(&mut self.slope),
        );
        let mut slopes = rows_of_mut(slope, group_channels);
        for out in rows_of_mut(out, width * channels) {
            for (x, out) in rows_of_mut(out, channels).enumerate() {
                for (group, out) in rows_of_mut(out, group_channels).enumerate() {
                    let mut slopes = slopes.next().unwrap_or_default().chunks_mut(TILE);
                    let mut channel = 0;
                    for out in out.chunks_mut(TILE) {
                        let mut sums = self.sums::<I, DEEP>(isa, at, x, group, channel, out.len());
                        if let Some(bias) = self.bias {
                            let values = bias.values.get(group * group_channels + channel..);
                            for (sum, &b) in sums.iter_mut().zip(values.unwrap_or_default()) {
                                *sum += T::bias(b, bias.shift);
                            }
                        }
                        let sums = sums.get_mut(..out.len()).unwrap_or_default();
                        let slope = slopes.next().unwrap_or_default();
                        self.epilogue.block(sums, element, &mut range, out, slope);
                        element = element.wrapping_add(out.len() as u32);
                        channel += out.len();
                    }
                }
            }
            advance(&mut at, depth, height);
        }
        range.bits()
    }
}

/// A filter gradient.
pub struct WeightGradient<'a, 'g, T: Element> {
    pub(super) extents: Extents,
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) gradient: &'a mut Gradient<'g, T, T::Acc>,
}

impl<T: Element> WeightGradient<'_, '_, T> {
    /// The gradient of `width` weights of filter `filter` from channel `channel` of the input on,
    /// in cell `(p, a, b)` of the kernel.
    #[inline(always)]
    fn sums<I: Isa, const DEEP: bool>(
        &self,
        isa: I,
        filter: usize,
        [p, a, b]: [usize; 3],
        channel: usize,
        width: usize,
    ) -> [T::Acc; TILE] {
        let Extents {
            batch,
            input: [depth, height, columns_in],
            channels,
            filters,
            out: [out_planes, out_rows, out_columns],
            axes: [planes, rows, columns],
            ..
        } = self.extents.known::<DEEP>();
        let mut sums = [T::Acc::default(); TILE];
        for image in 0..batch {
            for plane in 0..out_planes {
                let Some(z) = planes.input(plane, p, depth) else {
                    continue;
                };
                for row in 0..out_rows {
                    let Some(y) = rows.input(row, a, height) else {
                        continue;
                    };
                    let out_row = ((image * out_planes + plane) * out_rows + row) * out_columns;
                    let x_row = ((image * depth + z) * height + y) * columns_in;
                    for column in 0..out_columns {
                        let Some(x) = columns.input(column, b, columns_in) else {
                            continue;
                        };
                        let Some(&d) = self.dy.get((out_row + column) * filters + filter) else {
                            continue;
                        };
                        if adds_nothing(d) {
                            continue;
                        }
                        let start = (x_row + x) * channels + channel;
                        let part = self.x.get(start..start + width).unwrap_or_default();
                        add_row::<T, I>(isa, &mut sums, d.widen(), part);
                    }
                }
            }
        }
        sums
    }
}

impl<T: Element> Kernel for WeightGradient<'_, '_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        self.compute::<I, false>(isa);
    }
}

impl<T: Element> Kernel for Deep<WeightGradient<'_, '_, T>> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        self.0.compute::<I, true>(isa);
    }
}

impl<T: Element> WeightGradient<'_, '_, T> {
    #[inline(always)]
    fn compute<I: Isa, const DEEP: bool>(self, isa: I) {
        let Extents {
            filters,
            group: [group_channels, group_filters],
            axes: [planes, rows, columns],
            ..
        } = self.extents.known::<DEEP>();
        if self.extents.is_depthwise() {
            return self.depthwise();
        }
        if T::has_blocks::<I>() {
            return self.blocked(isa);
        }
        let mut element = 0;
        let (mut group_start, mut filters_left) = (0, group_filters);
        for filter in 0..filters {
            for p in 0..planes.kernel {
                for a in 0..rows.kernel {
                    for b in 0..columns.kernel {
                        let mut channel = 0;
                        while channel < group_channels {
                            let width = TILE.min(group_channels - channel);
                            let start = group_start + channel;
                            let sums = self.sums::<I, DEEP>(isa, filter, [p, a, b], start, width);
                            self.gradient
                                .take(element, sums.get(..width).unwrap_or_default());
                            element += width;
                            channel += width;
                        }
                    }
                }
            }
            filters_left -= 1;
            if filters_left == 0 {
                (group_start, filters_left) = (group_start + group_channels, group_filters);
            }
        }
    }
}
