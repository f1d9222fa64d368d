//! The convolution over one to three axes.

use super::{CHUNK, Finish, Products, TILE, tiles_of_mut};
use crate::arch::{self, Isa, Kernel};
use crate::conv::Extents;
use crate::split::rows_of_mut;
use crate::window::{advance, locate};

/// Some rows of either pass, with filters that have not met their [`Products`] yet. Of a backward
/// pass, `x` is `dy` and `out` is `dx`.
pub struct Call<'a, X, W, F, O> {
    pub(crate) extents: Extents,
    pub(crate) x: &'a [X],
    pub(crate) weights: W,
    /// Places that integer sums drop.
    pub(crate) drop: u32,
    pub(crate) finish: F,
    /// Number of the first row of `out`, over all images.
    pub(crate) first: usize,
    pub(crate) out: &'a mut [O],
    /// As long as `out`, or empty.
    pub(crate) slope: &'a mut [X],
}

impl<X, W, F, O> Call<'_, X, W, F, O> {
    #[inline(always)]
    pub(crate) fn forward<P>(self, products: P) -> u32
    where
        P: Products<X = X>,
        F: Finish<X, P::Acc, O>,
    {
        arch::dispatch(Forward {
            extents: self.extents,
            products,
            finish: self.finish,
            x: self.x,
            first: self.first,
            out: self.out,
            slope: self.slope,
        })
    }

    #[inline(always)]
    pub(crate) fn backward<P>(self, products: P) -> u32
    where
        P: Products<X = X>,
        F: Finish<X, P::Acc, O>,
    {
        arch::dispatch(Backward {
            extents: self.extents,
            products,
            finish: self.finish,
            dy: self.x,
            first: self.first,
            dx: self.out,
        })
    }
}

/// Some output rows of a forward pass.
struct Forward<'a, P: Products, F, O> {
    extents: Extents,
    products: P,
    finish: F,
    x: &'a [P::X],
    first: usize,
    out: &'a mut [O],
    slope: &'a mut [P::X],
}

/// Columns of an output row that are computed together: their kernel rows are cut off alike, if those are
/// runs.
#[derive(Clone, Copy)]
struct Columns {
    first: usize,
    len: usize,
    /// The kernel's cells that lie on the input, where cells side by side are one run.
    run: Option<(usize, usize)>,
}

/// A run of a filter's elements, and where the activations that they meet start, for each position
/// of a tile on which the run does not lie on padding.
struct Run {
    weight: usize,
    len: usize,
    x: [Option<usize>; TILE],
}

impl<P: Products, F: Finish<P::X, P::Acc, O>, O> Forward<'_, P, F, O> {
    /// The tile of columns from `first` on.
    #[inline(always)]
    fn tile(&self, first: usize) -> Columns {
        let Extents {
            input: [_, _, width],
            out: [_, _, out_columns],
            channels,
            group: [group_channels, _],
            axes: [_, _, columns],
            ..
        } = self.extents;
        // Cells of a kernel row that lie side by side in memory are one run.
        let is_contiguous = columns.dilation == 1 && group_channels == channels;
        let cells = columns.dense_cells(first, width);
        let mut len = 1;
        while len < TILE
            && first + len < out_columns
            && (!is_contiguous || columns.dense_cells(first + len, width) == cells)
        {
            len += 1;
        }
        Columns {
            first,
            len,
            run: is_contiguous.then_some(cells),
        }
    }

    /// Adds the products of one filter and the windows of a tile in the output row at `at`.
    #[inline(always)]
    fn add_filter<I: Isa>(
        &self,
        isa: I,
        sums: &mut [P::Sum; TILE],
        [image, plane, row]: [usize; 3],
        tile: Columns,
        filter: usize,
        group_start: usize,
    ) {
        let Extents {
            input: [depth, height, _],
            axes: [planes, rows, _],
            ..
        } = self.extents;
        for p in 0..planes.kernel {
            let Some(z) = planes.input(plane, p, depth) else {
                continue;
            };
            for a in 0..rows.kernel {
                let Some(y) = rows.input(row, a, height) else {
                    continue;
                };
                let x_row = (image * depth + z) * height + y;
                let w_row = p * rows.kernel + a;
                self.add_row(isa, sums, [x_row, w_row], tile, filter, group_start);
            }
        }
    }

    /// The same of one row of the kernel, which is number `w_row` of the filter and lies on row `x_row` of all
    /// images.
    #[inline(always)]
    fn add_row<I: Isa>(
        &self,
        isa: I,
        sums: &mut [P::Sum; TILE],
        [x_row, w_row]: [usize; 2],
        tile: Columns,
        filter: usize,
        group_start: usize,
    ) {
        let Extents {
            input: [_, _, width],
            channels,
            group: [group_channels, _],
            axes: [_, _, columns],
            ..
        } = self.extents;
        let (x_row, w_row) = (x_row * width, w_row * columns.kernel); // cells before
        let mut x = [None; TILE];
        if let Some((first_cell, end_cell)) = tile.run {
            for (p, start) in x.iter_mut().take(tile.len).enumerate() {
                let cell = (tile.first + p) * columns.stride + first_cell;
                *start = Some((x_row + cell - columns.before) * channels);
            }
            let run = Run {
                weight: (w_row + first_cell) * channels,
                len: end_cell.saturating_sub(first_cell) * channels,
                x,
            };
            self.add(isa, sums, filter, &run);
            return;
        }
        for b in 0..columns.kernel {
            for (p, start) in x.iter_mut().take(tile.len).enumerate() {
                *start = columns
                    .input(tile.first + p, b, width)
                    .map(|cell| (x_row + cell) * channels + group_start);
            }
            let run = Run {
                weight: (w_row + b) * group_channels,
                len: group_channels,
                x,
            };
            self.add(isa, sums, filter, &run);
        }
    }

    /// Adds a run's products to the sums of a tile.
    #[inline(always)]
    fn add<I: Isa>(&self, isa: I, sums: &mut [P::Sum; TILE], filter: usize, run: &Run) {
        let mut at = 0;
        while at < run.len {
            let len = CHUNK.min(run.len - at);
            let chunk = self.products.decode(filter, run.weight + at, len);
            for (sum, start) in sums.iter_mut().zip(run.x) {
                if let Some(start) = start {
                    let x = self.x.get(start + at..start + at + len);
                    self.products.add(isa, sum, x.unwrap_or_default(), &chunk);
                }
            }
            at += len;
        }
    }
}

impl<P: Products, F: Finish<P::X, P::Acc, O>, O> Kernel for Forward<'_, P, F, O> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) -> u32 {
        let Extents {
            filters,
            out: [out_planes, out_rows, out_columns],
            group: [group_channels, group_filters],
            ..
        } = self.extents;
        let (products, finish) = (self.products, self.finish);
        let (out, slope) = (
            core::mem::take(&mut self.out),
            core::mem::take(&mut self.slope),
        );
        let mut range = F::Range::default();
        let mut first = (self.first * out_columns * filters) as u32;
        let mut at = locate(self.first, out_planes, out_rows);
        let mut slopes = rows_of_mut(slope, out_columns * filters);
        for out in rows_of_mut(out, out_columns * filters) {
            let slope = slopes.next().unwrap_or_default();
            let mut column = 0;
            while column < out_columns {
                let tile = self.tile(column);
                let (mut group_start, mut filters_left) = (0, group_filters);
                for filter in 0..filters {
                    let bias = finish.start(filter);
                    let mut sums = [products.begin(bias); TILE];
                    self.add_filter(isa, &mut sums, at, tile, filter, group_start);
                    for (p, &sum) in sums.iter().take(tile.len).enumerate() {
                        let at = (column + p) * filters + filter;
                        if let Some(out) = out.get_mut(at) {
                            let element = first.wrapping_add(at as u32);
                            let acc = products.end(sum, bias);
                            let slope = slope.get_mut(at..=at).unwrap_or_default();
                            finish.store(acc, filter, element, &mut range, out, slope);
                        }
                    }
                    filters_left -= 1;
                    if filters_left == 0 {
                        (group_start, filters_left) = (group_start + group_channels, group_filters);
                    }
                }
                column += tile.len;
            }
            first = first.wrapping_add(out.len() as u32);
            advance(&mut at, out_planes, out_rows);
        }
        F::bits(range)
    }
}

/// Some input rows of an input gradient.
struct Backward<'a, P: Products, F, O> {
    extents: Extents,
    products: P,
    finish: F,
    dy: &'a [P::X],
    first: usize,
    dx: &'a mut [O],
}

/// The sums of some channels of the cells of a tile.
type Parts<P> = [[<P as Products>::Part; CHUNK]; TILE];

impl<P: Products, F, O> Backward<'_, P, F, O> {
    /// The sums of `len` channels from number `channel` of a group on, for the cells from column `x` on of the
    /// input row at `at`.
    #[inline(always)]
    fn parts(
        &self,
        [image, z, y]: [usize; 3],
        x: usize,
        group: usize,
        channel: usize,
        len: usize,
    ) -> Parts<P> {
        let Extents {
            out: [out_planes, out_rows, out_columns],
            filters,
            axes: [planes, rows, columns],
            ..
        } = self.extents;
        let mut parts = [[P::Part::default(); CHUNK]; TILE];
        for p in 0..planes.kernel {
            let Some(plane) = planes.output(z, p, out_planes) else {
                continue;
            };
            for a in 0..rows.kernel {
                let Some(row) = rows.output(y, a, out_rows) else {
                    continue;
                };
                let first = ((image * out_planes + plane) * out_rows + row) * out_columns;
                for b in 0..columns.kernel {
                    // Where each cell of the tile finds its errors.
                    let mut starts = [None; TILE];
                    for (p, start) in starts.iter_mut().enumerate() {
                        let column = columns.output(x + p, b, out_columns);
                        *start = column.map(|column| (first + column) * filters);
                    }
                    if starts.iter().any(Option::is_some) {
                        let cell = (p * rows.kernel + a) * columns.kernel + b;
                        self.add(&mut parts, starts, cell, group, channel, len);
                    }
                }
            }
        }
        parts
    }

    /// Adds the products of the errors that start at `starts` with a cell of each filter of a group.
    #[inline(always)]
    fn add(
        &self,
        parts: &mut Parts<P>,
        starts: [Option<usize>; TILE],
        cell: usize,
        group: usize,
        channel: usize,
        len: usize,
    ) {
        let [group_channels, group_filters] = self.extents.group;
        let place = cell * group_channels + channel;
        for filter in group * group_filters..(group + 1) * group_filters {
            let chunk = self.products.decode(filter, place, len);
            for (parts, start) in parts.iter_mut().zip(starts) {
                let d = start.and_then(|start| self.dy.get(start + filter));
                if let Some(&d) = d {
                    self.products.add_row(parts, d, &chunk);
                }
            }
        }
    }
}

impl<P: Products, F: Finish<P::X, P::Acc, O>, O> Kernel for Backward<'_, P, F, O> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(mut self, _: I) -> u32 {
        let Extents {
            input: [depth, height, width],
            channels,
            group: [group_channels, _],
            ..
        } = self.extents;
        let groups = channels.checked_div(group_channels).unwrap_or(0);
        let mut range = F::Range::default();
        let mut first = (self.first * width * channels) as u32;
        let mut at = locate(self.first, depth, height);
        let dx = core::mem::take(&mut self.dx);
        for dx in rows_of_mut(dx, width * channels) {
            let mut x = 0;
            for dx in tiles_of_mut(dx, TILE * channels) {
                for group in 0..groups {
                    let mut channel = 0;
                    while channel < group_channels {
                        let len = CHUNK.min(group_channels - channel);
                        let parts = self.parts(at, x, group, channel, len);
                        let start = group * group_channels + channel;
                        let mut cell = first.wrapping_add((x * channels + start) as u32);
                        for (parts, dx) in parts.iter().zip(rows_of_mut(dx, channels)) {
                            let dx = dx.get_mut(start..start + len).unwrap_or_default();
                            let mut element = cell;
                            for (i, (dx, &part)) in dx.iter_mut().zip(parts).enumerate() {
                                let acc = self.products.total(part);
                                let channel = start + i;
                                (self.finish).store(acc, channel, element, &mut range, dx, &mut []);
                                element = element.wrapping_add(1);
                            }
                            cell = cell.wrapping_add(channels as u32);
                        }
                        channel += len;
                    }
                }
                x += TILE;
            }
            first = first.wrapping_add(dx.len() as u32);
            advance(&mut at, depth, height);
        }
        F::bits(range)
    }
}
