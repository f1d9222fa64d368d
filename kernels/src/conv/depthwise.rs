//! Convolutions whose groups have one channel and one filter: many channels side by side.
//!
//! The order of float sums is that of the general loops: cell after cell of the kernel, or position
//! after position.

use super::Extents;
use super::backward::{RowsBack, WeightGradient};
use super::forward::Rows;
use crate::arch::Isa;
use crate::dense::Bias;
use crate::element::{Element, Output};
use crate::finish::{Shared, TileFinish};
use crate::fixed::{Accumulator, Magnitude};
use crate::window::{Axis, advance, locate};

/// Channels that are computed together.
const WIDTH: usize = 64;
/// Cells of the largest kernel that is computed so: 7 by 7.
const CELLS: usize = 49;

/// The weights of some channels: `[cells, WIDTH]`.
type Weights<W> = [[W; WIDTH]; CELLS];

impl Extents {
    /// Whether this is a convolution for these loops. Devices have neither vectors nor the stack.
    #[inline(always)]
    pub(super) fn is_depthwise(&self) -> bool {
        !cfg!(target_os = "none") && self.group == [1, 1] && self.filter_len <= CELLS
    }
}

/// `sum += x · w` of each channel, with the factor that `centre` makes of `x`.
#[inline(always)]
fn add<T: Element>(
    sums: &mut [T::Acc],
    x: &[T],
    weight: &[T::Wide],
    centre: impl Fn(T::Wide) -> T::Wide,
) {
    for ((sum, &x), &w) in sums.iter_mut().zip(x).zip(weight) {
        *sum += T::mul(centre(x.widen()), w);
    }
}

/// Output rows of a forward pass, or of an input gradient, which reads errors instead.
pub(super) struct Pass<'a, T, O, F> {
    pub(super) extents: Extents,
    pub(super) source: &'a [T],
    pub(super) weight: &'a [T],
    pub(super) finish: F,
    pub(super) first: usize,
    pub(super) out: &'a mut [O],
    pub(super) slope: &'a mut [T],
}

impl<T: Element, O: Output<T>, F: TileFinish<T, O>> Pass<'_, T, O, F> {
    #[inline(always)]
    fn compute<I: Isa, const BACK: bool>(self, isa: I) -> u32 {
        if self.has_strips::<I, BACK>() {
            return self.stripped::<I, BACK>(isa);
        }
        let Extents {
            input,
            channels,
            out,
            axes: [planes, rows, columns],
            filter_len,
            ..
        } = self.extents;
        let ([depth, height, width], [out_depth, out_height, out_width]) =
            if BACK { (out, input) } else { (input, out) };
        let source = |axis: Axis, at: usize, k: usize, extent: usize| {
            if BACK {
                axis.output(at, k, extent)
            } else {
                axis.input(at, k, extent)
            }
        };
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut weights: Weights<T::Wide> = [[T::Wide::default(); WIDTH]; CELLS];
        let (mut lines, mut places) = ([(0, 0); CELLS], [(0, 0); CELLS]);
        let out_len = out_width * channels;
        for channel in (0..channels).step_by(WIDTH) {
            let count = WIDTH.min(channels - channel);
            let filters = self.weight.get(channel * filter_len..).unwrap_or_default();
            for (c, filter) in filters.chunks(filter_len.max(1)).enumerate().take(count) {
                for (weights, &w) in weights.iter_mut().zip(filter) {
                    if let Some(to) = weights.get_mut(c) {
                        *to = w.widen();
                    }
                }
            }
            let biases: [_; WIDTH] = self.finish.biases_from(channel);
            let centre = |x| self.finish.centre(x);
            let mut at = locate(self.first, out_depth, out_height);
            let mut start = channel;
            for _ in 0..self.out.len().checked_div(out_len).unwrap_or(0) {
                let [image, z, y] = at;
                // Where rows under the kernel start, and the first of their cells.
                let mut line_count = 0;
                for p in 0..planes.kernel {
                    let Some(z) = source(planes, z, p, depth) else {
                        continue;
                    };
                    for a in 0..rows.kernel {
                        let Some(y) = source(rows, y, a, height) else {
                            continue;
                        };
                        let line = ((image * depth + z) * height + y) * width * channels + channel;
                        if let Some(to) = lines.get_mut(line_count) {
                            *to = (line, (p * rows.kernel + a) * columns.kernel);
                        }
                        line_count += 1;
                    }
                }
                let lines = lines.get(..line_count).unwrap_or_default();
                for x in 0..out_width {
                    let mut sums = [[T::Acc::default(); WIDTH]];
                    let [all] = &mut sums;
                    let sum = all.get_mut(..count).unwrap_or_default();
                    // Which of their cells, the same in each.
                    let mut place_count = 0;
                    for b in 0..columns.kernel {
                        let Some(x) = source(columns, x, b, width) else {
                            continue;
                        };
                        if let Some(to) = places.get_mut(place_count) {
                            *to = (x * channels, b);
                        }
                        place_count += 1;
                    }
                    let places = places.get(..place_count).unwrap_or_default();
                    for &(line, first_cell) in lines {
                        for &(place, b) in places {
                            let (from, cell) = (line + place, first_cell + b);
                            let Some(values) = self.source.get(from..from + count) else {
                                continue;
                            };
                            if let Some(weights) = weights.get(cell) {
                                add(sum, values, weights, centre);
                            }
                        }
                    }
                    for (sum, &bias) in sum.iter_mut().zip(&biases) {
                        *sum += bias;
                    }
                    let end = start + count;
                    self.finish.tile(
                        &mut sums,
                        channel,
                        [1, count, count],
                        ((self.first * out_len) as u32).wrapping_add(start as u32),
                        &mut range,
                        self.out.get_mut(start..end).unwrap_or_default(),
                        self.slope.get_mut(start..end).unwrap_or_default(),
                    );
                    start += channels;
                }
                advance(&mut at, out_depth, out_height);
            }
        }
        range.bits()
    }
}

impl<T: Element, O: Output<T>, F: TileFinish<T, O>> Rows<'_, T, O, F> {
    #[inline(always)]
    pub(super) fn depthwise<I: Isa>(self, isa: I) -> u32 {
        let pass = Pass {
            extents: self.extents,
            source: self.x,
            weight: self.weight,
            finish: self.finish,
            first: self.first,
            out: self.out,
            slope: self.slope,
        };
        pass.compute::<I, false>(isa)
    }
}

impl<T: Element, O: Output<T>> RowsBack<'_, T, O> {
    #[inline(always)]
    pub(super) fn depthwise<I: Isa>(self, isa: I) -> u32 {
        let pass = Pass {
            extents: self.extents,
            source: self.dy,
            weight: self.weight,
            finish: Shared::new(self.bias.unwrap_or(Bias::NONE), self.epilogue),
            first: self.first,
            out: self.out,
            slope: self.slope,
        };
        pass.compute::<I, true>(isa)
    }
}

impl<T: Element> WeightGradient<'_, '_, T> {
    #[inline(always)]
    pub(super) fn depthwise(self) {
        let Extents {
            batch,
            input: [depth, height, width],
            channels,
            out: [out_planes, out_rows, out_columns],
            axes: [planes, rows, columns],
            filter_len,
            ..
        } = self.extents;
        for channel in (0..channels).step_by(WIDTH) {
            let count = WIDTH.min(channels - channel);
            let mut sums: Weights<T::Acc> = [[T::Acc::default(); WIDTH]; CELLS];
            let mut at = [0; 3];
            for out_row in 0..batch * out_planes * out_rows {
                let [image, plane, row] = at;
                for column in 0..out_columns {
                    let from = (out_row * out_columns + column) * channels + channel;
                    let Some(dy) = self.dy.get(from..from + count) else {
                        continue;
                    };
                    let mut factors = [T::Wide::default(); WIDTH];
                    for (to, &d) in factors.iter_mut().zip(dy) {
                        *to = d.widen();
                    }
                    for p in 0..planes.kernel {
                        let Some(z) = planes.input(plane, p, depth) else {
                            continue;
                        };
                        for a in 0..rows.kernel {
                            let Some(y) = rows.input(row, a, height) else {
                                continue;
                            };
                            for b in 0..columns.kernel {
                                let Some(x) = columns.input(column, b, width) else {
                                    continue;
                                };
                                let position = ((image * depth + z) * height + y) * width + x;
                                let from = position * channels + channel;
                                let cell = (p * rows.kernel + a) * columns.kernel + b;
                                let values = self.x.get(from..from + count);
                                if let (Some(x), Some(sums)) = (values, sums.get_mut(cell)) {
                                    add(sums, x, &factors, |x| x);
                                }
                            }
                        }
                    }
                }
                advance(&mut at, out_planes, out_rows);
            }
            for c in 0..count {
                let mut filter = [T::Acc::default(); CELLS];
                for (to, sums) in filter.iter_mut().zip(&sums) {
                    *to = sums.get(c).copied().unwrap_or_default();
                }
                let filter = filter.get(..filter_len).unwrap_or_default();
                self.gradient.take((channel + c) * filter_len, filter);
            }
        }
    }
}
