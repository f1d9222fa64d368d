//! Depthwise convolutions of bytes, for the instruction sets that have them: the columns under the windows
//! of some neighbouring pixels are interleaved once for all these windows.

use super::Extents;
use super::depthwise::Pass;
use crate::arch::Isa;
use crate::arch::cells::{CellWeights, PIXELS, ROOM, Strip, WIDTH, Windows};
use crate::element::{Element, Output};
use crate::finish::TileFinish;
use crate::fixed::{Accumulator, Magnitude};
use crate::window::{advance, locate};

/// Lines under a kernel at most: `QUADS` groups of four.
const LINES: usize = 64;

/// The pixels of a row that read the same columns of the kernel: `first`, `first + step` and so on.
///
/// An input gradient with stride `s` reads columns `b ≡ x + before` modulo `s` for pixel `x`: `s` phases, in
/// each of which neighbours read errors that are neighbours, by every `s`th column of the kernel, turned
/// around. Where the kernel is dilated it is one phase instead, over errors with zeros between them.
struct Phase {
    first: usize,
    step: usize,
    /// The first column of the kernel.
    cell: usize,
    /// From one error to the next; 1 where none is spread.
    spread: usize,
    /// Columns before the first.
    before: usize,
    windows: Windows,
}

impl<T: Element, O: Output<T>, F: TileFinish<T, O>> Pass<'_, T, O, F> {
    /// How many phases there are.
    #[inline(always)]
    fn phases<const BACK: bool>(&self) -> usize {
        let [_, _, columns] = self.extents.axes;
        let is_split = BACK && columns.dilation == 1 && columns.stride <= columns.kernel;
        if is_split { columns.stride } else { 1 }
    }

    /// Phase `first`, with as many windows as a strip has room for.
    #[inline(always)]
    fn phase<const BACK: bool>(&self, first: usize) -> Phase {
        let [planes, rows, columns] = self.extents.axes;
        let step = self.phases::<BACK>();
        // The first column of the kernel, under it the error that is `whole` columns from the first.
        let end = first + columns.before;
        let whole = end.checked_div(step).unwrap_or(0);
        let cell = end - whole * step;
        let mut windows = Windows {
            groups: (planes.kernel * rows.kernel).div_ceil(4),
            kernel: (columns.kernel - cell).div_ceil(step.max(1)),
            dilation: columns.dilation,
            stride: if BACK { 1 } else { columns.stride },
            pixels: 0,
        };
        windows.pixels = windows.room();
        Phase {
            first,
            step,
            cell,
            spread: if step == 1 { columns.stride } else { 1 },
            before: if BACK { whole } else { columns.before },
            windows,
        }
    }

    /// Whether these rows are computed so.
    #[inline(always)]
    pub(super) fn has_strips<I: Isa, const BACK: bool>(&self) -> bool {
        let has_room = |first| self.phase::<BACK>(first).windows.pixels > 0;
        T::has_cells::<I>() && (0..self.phases::<BACK>()).all(has_room)
    }

    /// Computes the rows by strips.
    #[inline(always)]
    pub(super) fn stripped<I: Isa, const BACK: bool>(mut self, isa: I) -> u32 {
        let channels = self.extents.channels;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut strip = Strip::new();
        for channel in (0..channels).step_by(WIDTH) {
            let count = WIDTH.min(channels - channel);
            for first in 0..self.phases::<BACK>() {
                let phase = self.phase::<BACK>(first);
                self.channels::<I, BACK>(isa, [channel, count], &phase, &mut strip, &mut range);
            }
        }
        range.bits()
    }

    /// The pixels of a phase in all rows, of `count` channels from `channel` on.
    #[inline(always)]
    fn channels<I: Isa, const BACK: bool>(
        &mut self,
        isa: I,
        [channel, count]: [usize; 2],
        phase: &Phase,
        strip: &mut Strip,
        range: &mut <T::Acc as Accumulator>::Magnitude,
    ) {
        let Extents {
            input,
            channels,
            out,
            ..
        } = self.extents;
        let [depth, height, width] = if BACK { input } else { out };
        let row_len = width * channels;
        let element = (self.first * row_len) as u32;
        let weights = self.cell_weights(channel, count, phase, BACK);
        let mut sums = [[T::Acc::default(); WIDTH]; PIXELS];
        let starts: [_; WIDTH] = (self.finish).starts(channel, || T::cell_sums(&weights));
        let in_row = width
            .saturating_sub(phase.first)
            .div_ceil(phase.step.max(1));
        let mut at = locate(self.first, depth, height);
        for row in (0..self.out.len()).step_by(row_len.max(1)) {
            let mut lines = [None; LINES];
            self.lines::<BACK>(at, channel, &mut lines);
            for pixel in (0..in_row).step_by(phase.windows.pixels.max(1)) {
                let pixels = phase.windows.pixels.min(in_row - pixel);
                let windows = Windows {
                    pixels,
                    ..phase.windows
                };
                self.fill::<I, BACK>(isa, &lines, phase, [pixel, pixels, count], strip);
                T::by_cells(isa, strip, windows, &weights, &starts, &mut sums);
                let start = row + (phase.first + pixel * phase.step) * channels + channel;
                self.finish.tile_by(
                    isa,
                    &mut sums,
                    channel,
                    [pixels, count, phase.step * channels],
                    element.wrapping_add(start as u32),
                    range,
                    self.out.get_mut(start..).unwrap_or_default(),
                    self.slope.get_mut(start..).unwrap_or_default(),
                );
            }
            advance(&mut at, depth, height);
        }
    }

    /// The filters of `count` channels from `channel` on, turned around for a gradient.
    #[inline(always)]
    fn cell_weights(
        &self,
        channel: usize,
        count: usize,
        phase: &Phase,
        is_back: bool,
    ) -> CellWeights {
        let filter_len = self.extents.filter_len;
        let [_, _, columns] = self.extents.axes;
        let Windows { groups, kernel, .. } = phase.windows;
        let mut weights = CellWeights::new();
        let filters = self.weight.get(channel * filter_len..).unwrap_or_default();
        for (c, filter) in filters.chunks(filter_len.max(1)).enumerate().take(count) {
            for (line, filter) in filter.chunks(columns.kernel.max(1)).enumerate() {
                let cells = filter.iter().skip(phase.cell).step_by(phase.step.max(1));
                for (b, &w) in cells.enumerate().take(kernel) {
                    let b = if is_back { kernel - 1 - b } else { b };
                    weights.set(c, b * groups + line / 4, line % 4, w.signed());
                }
            }
        }
        weights
    }

    /// Where the lines start that lie under the kernel in the row at `at`.
    #[inline(always)]
    fn lines<const BACK: bool>(
        &self,
        [image, z, y]: [usize; 3],
        channel: usize,
        lines: &mut [Option<usize>; LINES],
    ) {
        let Extents {
            input,
            channels,
            out,
            axes: [planes, rows, _],
            ..
        } = self.extents;
        let [depth, height, width] = if BACK { out } else { input };
        let mut lines = lines.iter_mut();
        for p in 0..planes.kernel {
            let z = if BACK {
                planes.output(z, p, depth)
            } else {
                planes.input(z, p, depth)
            };
            for (a, line) in (0..rows.kernel).zip(lines.by_ref()) {
                let y = if BACK {
                    rows.output(y, a, height)
                } else {
                    rows.input(y, a, height)
                };
                if let (Some(z), Some(y)) = (z, y) {
                    *line = Some(((image * depth + z) * height + y) * width * channels + channel);
                }
            }
        }
    }

    /// Interleaves the columns under `pixels` windows of a phase from `pixel` on.
    #[inline(always)]
    fn fill<I: Isa, const BACK: bool>(
        &self,
        isa: I,
        lines: &[Option<usize>; LINES],
        phase: &Phase,
        [pixel, pixels, count]: [usize; 3],
        strip: &mut Strip,
    ) {
        let Extents {
            input: [_, _, input],
            channels,
            out: [_, _, out],
            ..
        } = self.extents;
        let (windows, padding) = (phase.windows, self.finish.padding());
        let reach = (windows.kernel - 1) * windows.dilation;
        // The column that stands at `place` of a line of the padded input, or of the spread errors.
        let column = |place: usize| {
            if !BACK {
                let column = place.checked_sub(phase.before)?;
                return (column < input).then_some(column);
            }
            let spread = (place + phase.before).checked_sub(reach)?;
            let column = if phase.spread == 1 {
                spread
            } else {
                spread.checked_div(phase.spread)?
            };
            (column < out && column * phase.spread == spread).then_some(column)
        };
        let first = pixel * windows.stride;
        let needed = (pixels - 1) * windows.stride + reach + 1;
        let mut quads = strip.quads.iter_mut();
        for place in (first..first + needed).take(ROOM) {
            let column = column(place);
            for (lines, quad) in lines.chunks(4).zip(quads.by_ref()).take(windows.groups) {
                let mut cells: [&[T]; 4] = [&[]; 4];
                for (cell, &line) in cells.iter_mut().zip(lines) {
                    if let (Some(line), Some(column)) = (line, column) {
                        let start = line + column * channels;
                        *cell = self.source.get(start..start + count).unwrap_or_default();
                    }
                }
                T::interleave(isa, cells, padding, quad);
            }
        }
    }
}
