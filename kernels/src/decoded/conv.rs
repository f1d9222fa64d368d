//! The convolution over images.

use super::{CHUNK, Finish, Products, TILE, tiles_of_mut};
use crate::arch::{self, Isa, Kernel};
use crate::conv::Shape;
use crate::error::{Arg, Error, Result};
use crate::split::rows_of_mut;
use crate::window::Axis;

/// A shape that has been checked, with what follows from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub(crate) shape: Shape,
    /// Output rows and columns.
    pub(crate) out: [usize; 2],
    /// Channels and filters of a group.
    pub(crate) group: [usize; 2],
    pub(crate) rows: Axis,
    pub(crate) columns: Axis,
    /// Elements of one filter.
    pub(crate) filter_len: usize,
    /// Products of an input gradient's sum.
    pub(crate) backward_len: usize,
}

impl Extents {
    pub(crate) fn new(shape: Shape) -> Result<Self> {
        let Shape {
            batch,
            input: [height, width],
            channels,
            filters,
            groups,
            window,
        } = shape;
        // Each tensor for itself: the number of products may exceed 32 bits.
        Arg::Shape.product(&[batch, height, width, channels])?;
        let out = shape.outputs()?;
        Arg::Shape.product(&[batch, out[0], out[1], filters])?;
        Arg::Shape.product(&[groups])?;
        let refuse = Error::Groups {
            channels,
            filters,
            groups,
        };
        let per_group = |n: usize| {
            n.checked_div(groups)
                .filter(|q| q * groups == n)
                .ok_or(refuse)
        };
        let group = [per_group(channels)?, per_group(filters)?];
        let cells = Arg::Shape.product(&window.kernel)?;
        let filter_len = Arg::Shape.product(&[cells, group[0]])?;
        Arg::Shape.product(&[filters, filter_len])?;
        let backward_len = Arg::Shape.product(&[cells, group[1]])?;
        let [_, rows, columns] = window.axes(shape.input);
        Ok(Self {
            shape,
            out,
            group,
            rows,
            columns,
            filter_len,
            backward_len,
        })
    }

    pub(crate) fn check_x(&self, arg: Arg, len: usize) -> Result<()> {
        let Shape {
            batch,
            input: [height, width],
            channels,
            ..
        } = self.shape;
        arg.check_len(len, &[batch, height, width, channels])
    }

    pub(crate) fn check_y(&self, arg: Arg, len: usize) -> Result<()> {
        let [rows, columns] = self.out;
        arg.check_len(len, &[self.shape.batch, rows, columns, self.shape.filters])
    }

    /// Elements of a row of output positions.
    pub(crate) fn out_row_len(&self) -> usize {
        self.out[1] * self.shape.filters
    }

    /// Elements of a row of input cells.
    pub(crate) fn x_row_len(&self) -> usize {
        self.shape.input[1] * self.shape.channels
    }
}

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
}

impl<X, W, F, O> Call<'_, X, W, F, O> {
    #[inline(always)]
    pub(crate) fn forward<P>(self, products: P) -> u32
    where
        P: Products<X = X>,
        F: Finish<P::Acc, O>,
    {
        arch::dispatch(Forward {
            extents: self.extents,
            products,
            finish: self.finish,
            x: self.x,
            first: self.first,
            out: self.out,
        })
    }

    #[inline(always)]
    pub(crate) fn backward<P>(self, products: P) -> u32
    where
        P: Products<X = X>,
        F: Finish<P::Acc, O>,
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
}

/// A run of a filter's elements, and where the activations that they meet start, for each position
/// of a tile on which the run does not lie on padding.
struct Run {
    weight: usize,
    len: usize,
    x: [Option<usize>; TILE],
}

impl<P: Products, F: Finish<P::Acc, O>, O> Forward<'_, P, F, O> {
    /// Adds a run's products to the sums of a tile.
    #[inline(always)]
    fn add<I: Isa>(
        products: P,
        isa: I,
        sums: &mut [P::Sum; TILE],
        filter: usize,
        run: &Run,
        x: &[P::X],
    ) {
        let mut at = 0;
        while at < run.len {
            let len = CHUNK.min(run.len - at);
            let chunk = products.decode(filter, run.weight + at, len);
            for (sum, start) in sums.iter_mut().zip(run.x) {
                if let Some(start) = start {
                    let x = x.get(start + at..start + at + len).unwrap_or_default();
                    products.add(isa, sum, x, &chunk);
                }
            }
            at += len;
        }
    }
}

impl<P: Products, F: Finish<P::Acc, O>, O> Kernel for Forward<'_, P, F, O> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Extents {
            shape,
            out: [out_rows, out_columns],
            group: [group_channels, group_filters],
            rows,
            columns,
            ..
        } = self.extents;
        let Shape {
            input: [height, width],
            channels,
            filters,
            ..
        } = shape;
        let (products, finish) = (self.products, self.finish);
        if out_rows == 0 || filters == 0 || group_filters == 0 {
            return 0;
        }
        // Cells of a kernel row that lie side by side in memory are one run.
        let contiguous = columns.dilation == 1 && group_channels == channels;
        let mut range = F::Range::default();
        let mut first = (self.first * out_columns * filters) as u32;
        let (mut image, mut row) = (self.first / out_rows, self.first % out_rows);
        for out in rows_of_mut(self.out, out_columns * filters) {
            let mut column = 0;
            while column < out_columns {
                // A tile: columns whose kernel rows are cut off alike, if they are runs.
                let cells = columns.dense_cells(column, width);
                let mut tile = 1;
                while tile < TILE
                    && column + tile < out_columns
                    && (!contiguous || columns.dense_cells(column + tile, width) == cells)
                {
                    tile += 1;
                }
                let (mut group_start, mut filters_left) = (0, group_filters);
                for filter in 0..filters {
                    let bias = finish.start(filter);
                    let mut sums = [products.begin(bias); TILE];
                    for a in 0..rows.kernel {
                        let Some(y) = rows.input(row, a, height) else {
                            continue;
                        };
                        let x_row = (image * height + y) * width; // cells before this input row
                        let w_row = a * columns.kernel;
                        let mut x = [None; TILE];
                        if contiguous {
                            let (first_cell, end_cell) = cells;
                            for (p, start) in x.iter_mut().take(tile).enumerate() {
                                let cell = (column + p) * columns.stride + first_cell;
                                *start = Some((x_row + cell - columns.before) * channels);
                            }
                            let run = Run {
                                weight: (w_row + first_cell) * channels,
                                len: end_cell.saturating_sub(first_cell) * channels,
                                x,
                            };
                            Self::add(products, isa, &mut sums, filter, &run, self.x);
                        } else {
                            for b in 0..columns.kernel {
                                for (p, start) in x.iter_mut().take(tile).enumerate() {
                                    *start = columns
                                        .input(column + p, b, width)
                                        .map(|cell| (x_row + cell) * channels + group_start);
                                }
                                let run = Run {
                                    weight: (w_row + b) * group_channels,
                                    len: group_channels,
                                    x,
                                };
                                Self::add(products, isa, &mut sums, filter, &run, self.x);
                            }
                        }
                    }
                    for (p, &sum) in sums.iter().take(tile).enumerate() {
                        let at = (column + p) * filters + filter;
                        if let Some(out) = out.get_mut(at) {
                            let element = first.wrapping_add(at as u32);
                            let acc = products.end(sum, bias);
                            finish.store(acc, filter, element, &mut range, out);
                        }
                    }
                    filters_left -= 1;
                    if filters_left == 0 {
                        (group_start, filters_left) = (group_start + group_channels, group_filters);
                    }
                }
                column += tile;
            }
            first = first.wrapping_add(out.len() as u32);
            row += 1;
            if row == out_rows {
                (image, row) = (image + 1, 0);
            }
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

impl<P: Products, F: Finish<P::Acc, O>, O> Kernel for Backward<'_, P, F, O> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let Extents {
            shape,
            out: [out_rows, out_columns],
            group: [group_channels, group_filters],
            rows,
            columns,
            ..
        } = self.extents;
        let Shape {
            input: [height, width],
            channels,
            filters,
            groups,
            ..
        } = shape;
        let (products, finish) = (self.products, self.finish);
        if height == 0 || width == 0 || channels == 0 {
            return 0;
        }
        let mut range = F::Range::default();
        let mut first = (self.first * width * channels) as u32;
        let (mut image, mut y) = (self.first / height, self.first % height);
        for dx in rows_of_mut(self.dx, width * channels) {
            let mut x = 0;
            for dx in tiles_of_mut(dx, TILE * channels) {
                for group in 0..groups {
                    let mut channel = 0;
                    while channel < group_channels {
                        let len = CHUNK.min(group_channels - channel);
                        let mut parts = [[P::Part::default(); CHUNK]; TILE];
                        for a in 0..rows.kernel {
                            let Some(row) = rows.output(y, a, out_rows) else {
                                continue;
                            };
                            for b in 0..columns.kernel {
                                // Where each cell of the tile finds its errors.
                                let mut starts = [None; TILE];
                                for (p, start) in starts.iter_mut().enumerate() {
                                    *start = columns.output(x + p, b, out_columns).map(|column| {
                                        let position =
                                            (image * out_rows + row) * out_columns + column;
                                        position * filters
                                    });
                                }
                                if starts.iter().all(Option::is_none) {
                                    continue;
                                }
                                let cell = (a * columns.kernel + b) * group_channels + channel;
                                let group_start = group * group_filters;
                                for filter in group_start..group_start + group_filters {
                                    let chunk = products.decode(filter, cell, len);
                                    for (parts, start) in parts.iter_mut().zip(starts) {
                                        let d = start.and_then(|start| self.dy.get(start + filter));
                                        if let Some(&d) = d {
                                            products.add_row(parts, d, &chunk);
                                        }
                                    }
                                }
                            }
                        }
                        let start = group * group_channels + channel;
                        let mut cell = first.wrapping_add((x * channels + start) as u32);
                        for (parts, dx) in parts.iter().zip(rows_of_mut(dx, channels)) {
                            let dx = dx.get_mut(start..start + len).unwrap_or_default();
                            let mut element = cell;
                            for (i, (dx, &part)) in dx.iter_mut().zip(parts).enumerate() {
                                let acc = products.total(part);
                                finish.store(acc, start + i, element, &mut range, dx);
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
            y += 1;
            if y == height {
                (image, y) = (image + 1, 0);
            }
        }
        F::bits(range)
    }
}
