//! The weight gradients: as those of [`dense`](crate::dense) and [`conv`](crate::conv), into parameters
//! of another type than the activations.

use crate::arch::scalar::{TILE, add_row};
use crate::arch::{Isa, Kernel};
use crate::conv::Extents;
use crate::element::Element;
use crate::optim::Gradient;
use crate::split::rows_of;
use crate::window::advance;

/// A weight gradient of a dense layer.
pub struct DenseGradient<'a, 'g, A, W: Element> {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) x: &'a [A],
    pub(crate) dy: &'a [A],
    pub(crate) gradient: &'a mut Gradient<'g, W, i64>,
}

impl<A: Element<Acc = i64>, W: Element> Kernel for DenseGradient<'_, '_, A, W>
where
    i64: Into<W::Update>,
{
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let mut element = 0;
        for o in 0..self.outputs {
            let mut start = 0;
            while start < self.inputs {
                let width = TILE.min(self.inputs - start);
                let mut sums = [0; TILE];
                for (x, dy) in rows_of(self.x, self.inputs).zip(rows_of(self.dy, self.outputs)) {
                    let (Some(x), Some(&d)) = (x.get(start..start + width), dy.get(o)) else {
                        continue;
                    };
                    add_row::<A, I>(isa, &mut sums, d.widen(), x);
                }
                self.gradient
                    .take(element, sums.get(..width).unwrap_or_default());
                element += width;
                start += width;
            }
        }
    }
}

/// A filter gradient.
pub struct ConvGradient<'a, 'g, A, W: Element> {
    pub(crate) extents: Extents,
    pub(crate) x: &'a [A],
    pub(crate) dy: &'a [A],
    pub(crate) gradient: &'a mut Gradient<'g, W, i64>,
}

impl<A: Element<Acc = i64>, W: Element> ConvGradient<'_, '_, A, W> {
    /// Sums of `tile` channels from number `channel` of the image on, at place `(p, a, b)` of a filter.
    #[inline(always)]
    fn sums<I: Isa>(
        &self,
        isa: I,
        filter: usize,
        [p, a, b]: [usize; 3],
        channel: usize,
        tile: usize,
    ) -> [i64; TILE] {
        let Extents {
            batch,
            input: [depth, height, width],
            channels,
            filters,
            out: [out_planes, out_rows, out_columns],
            axes: [planes, rows, columns],
            ..
        } = self.extents;
        let mut sums = [0; TILE];
        let mut at = [0; 3];
        for out_row in 0..batch * out_planes * out_rows {
            let [image, plane, row] = at;
            advance(&mut at, out_planes, out_rows);
            let (Some(z), Some(y)) = (planes.input(plane, p, depth), rows.input(row, a, height))
            else {
                continue;
            };
            let x_row = ((image * depth + z) * height + y) * width;
            for column in 0..out_columns {
                let Some(x) = columns.input(column, b, width) else {
                    continue;
                };
                let position = out_row * out_columns + column;
                let Some(&d) = self.dy.get(position * filters + filter) else {
                    continue;
                };
                let start = (x_row + x) * channels + channel;
                let part = self.x.get(start..start + tile).unwrap_or_default();
                add_row::<A, I>(isa, &mut sums, d.widen(), part);
            }
        }
        sums
    }

    /// The cells of a filter, from the first on.
    #[inline(always)]
    fn cells(&self) -> impl Iterator<Item = [usize; 3]> + use<A, W> {
        let [planes, rows, columns] = self.extents.axes.map(|axis| axis.kernel);
        (0..planes)
            .flat_map(move |p| (0..rows).flat_map(move |a| (0..columns).map(move |b| [p, a, b])))
    }
}

impl<A: Element<Acc = i64>, W: Element> Kernel for ConvGradient<'_, '_, A, W>
where
    i64: Into<W::Update>,
{
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Extents {
            filters,
            group: [group_channels, group_filters],
            ..
        } = self.extents;
        let mut element = 0;
        let (mut group_start, mut filters_left) = (0, group_filters);
        for filter in 0..filters {
            for cell in self.cells() {
                let mut channel = 0;
                while channel < group_channels {
                    let tile = TILE.min(group_channels - channel);
                    let sums = self.sums(isa, filter, cell, group_start + channel, tile);
                    self.gradient
                        .take(element, sums.get(..tile).unwrap_or_default());
                    element += tile;
                    channel += tile;
                }
            }
            filters_left -= 1;
            if filters_left == 0 {
                (group_start, filters_left) = (group_start + group_channels, group_filters);
            }
        }
    }
}
