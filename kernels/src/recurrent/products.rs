//! The matrix products of recurrent layers, as raw accumulators: of rows with the weights, and of errors
//! with the hidden weights transposed.

use crate::arch::block::{self, Block, Factors, HEIGHT, WIDTH};
use crate::arch::panel::{self, LANES, Panel};
use crate::arch::scalar::{TILE, add_row};
use crate::arch::tile::{COLUMNS, Operand, ROWS, Segments};
use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::split::{rows_of, rows_of_mut};

/// Rows at equal distances.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    /// From the first element of the first row on.
    pub(super) values: &'a [T],
    /// Elements from the start of a row to that of the next.
    pub(super) step: usize,
    pub(super) count: usize,
}

impl<'a, T> Rows<'a, T> {
    /// From row `first` on, at most `most` rows.
    #[inline(always)]
    fn from(self, first: usize, most: usize) -> Operand<'a, T> {
        Operand {
            values: self.values.get(first * self.step..).unwrap_or_default(),
            step: self.step,
            rows: most.min(self.count - first),
        }
    }
}

/// Which way a product goes.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// `out[r, o] = Σ_i rows[r, i] · weight[o, i]`; floats in the order of [`Element::dot`].
    Ahead,
    /// `out[r, i] = Σ_o rows[r, o] · weight[o, i]`; floats in the order of `o`.
    Back,
}

/// A product of rows with weights, `[outputs, inputs]`: a kernel of its own, so that all products of a layer share
/// one copy.
pub(super) struct Product<'a, T: Element> {
    pub(super) way: Way,
    pub(super) rows: Rows<'a, T>,
    pub(super) weight: &'a [T],
    /// Inputs and outputs.
    pub(super) extents: [usize; 2],
    pub(super) out: &'a mut [T::Acc],
}

impl<T: Element> Kernel for Product<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self {
            way,
            rows,
            weight,
            extents,
            out,
        } = self;
        match way {
            Way::Ahead => ahead(isa, rows, weight, extents, out),
            Way::Back => back(isa, rows, weight, extents, out),
        }
    }
}

#[inline(always)]
fn ahead<T: Element, I: Isa>(
    isa: I,
    x: Rows<'_, T>,
    weight: &[T],
    [inputs, outputs]: [usize; 2],
    out: &mut [T::Acc],
) {
    if inputs == 0 || outputs == 0 {
        return;
    }
    if T::has_panels::<I>() && x.count >= panel::worth(inputs) {
        paneled(isa, x, weight, [inputs, outputs], out);
    } else if I::TILED {
        tiled(isa, x, weight, [inputs, outputs], out);
    } else {
        for (r, out) in rows_of_mut(out, outputs).enumerate().take(x.count) {
            let x = x.values.get(r * x.step..).unwrap_or_default();
            let x = x.get(..inputs).unwrap_or_default();
            for (out, weight) in out.iter_mut().zip(rows_of(weight, inputs)) {
                *out = T::dot(isa, x, weight);
            }
        }
    }
}

/// The same by panels of the weights.
#[inline(always)]
fn paneled<T: Element, I: Isa>(
    isa: I,
    x: Rows<'_, T>,
    weight: &[T],
    [inputs, outputs]: [usize; 2],
    out: &mut [T::Acc],
) {
    let segments = Segments::one(inputs);
    let mut panel = Panel::new();
    let mut sums = [[[T::Acc::default(); LANES]; ROWS]; 2];
    let mut column = 0;
    while column < outputs {
        let weight = Operand {
            values: weight.get(column * inputs..).unwrap_or_default(),
            step: inputs,
            rows: panel::take(inputs, outputs - column),
        };
        T::pack(isa, weight, inputs, &mut panel);
        for row in (0..x.count).step_by(ROWS) {
            T::by_panel(isa, x.from(row, ROWS), &panel, &segments, &mut sums);
            let (mut start, mut left) = (row * outputs + column, weight.rows);
            for sums in &sums {
                let count = left.min(LANES);
                store(sums, count, outputs, out.get_mut(start..));
                (start, left) = (start + count, left - count);
            }
        }
        column += weight.rows;
    }
}

/// The same in register tiles.
#[inline(always)]
fn tiled<T: Element, I: Isa>(
    isa: I,
    x: Rows<'_, T>,
    weight: &[T],
    [inputs, outputs]: [usize; 2],
    out: &mut [T::Acc],
) {
    let segments = Segments::one(inputs);
    let mut tile = [[T::Acc::default(); COLUMNS]; ROWS];
    for column in (0..outputs).step_by(COLUMNS) {
        let weight = Operand {
            values: weight.get(column * inputs..).unwrap_or_default(),
            step: inputs,
            rows: COLUMNS.min(outputs - column),
        };
        for row in (0..x.count).step_by(ROWS) {
            T::tile(isa, x.from(row, ROWS), weight, &segments, &mut tile);
            let start = row * outputs + column;
            store(&tile, weight.rows, outputs, out.get_mut(start..));
        }
    }
}

/// Stores `columns` sums of each row, as far as `out` goes.
#[inline(always)]
fn store<A: Copy, const W: usize>(
    sums: &[[A; W]],
    columns: usize,
    step: usize,
    out: Option<&mut [A]>,
) {
    let rows = out.unwrap_or_default().chunks_mut(step.max(1));
    for (sums, out) in sums.iter().zip(rows) {
        if let (Some(out), true) = (out.first_chunk_mut::<W>(), columns == W) {
            *out = *sums;
        } else {
            let sums = sums.iter().take(columns);
            out.iter_mut().zip(sums).for_each(|(out, &sum)| *out = sum);
        }
    }
}

#[inline(always)]
fn back<T: Element, I: Isa>(
    isa: I,
    d: Rows<'_, T>,
    weight: &[T],
    [inputs, outputs]: [usize; 2],
    out: &mut [T::Acc],
) {
    if T::blocks_pay::<I>(inputs) {
        by_blocks(isa, d, weight, [inputs, outputs], out);
        return;
    }
    for (r, out) in rows_of_mut(out, inputs).enumerate().take(d.count) {
        let d = d.values.get(r * d.step..).unwrap_or_default();
        for (tile, out) in out.chunks_mut(TILE).enumerate() {
            let mut sums = [T::Acc::default(); TILE];
            for (&d, row) in d.iter().zip(rows_of(weight, inputs)) {
                let row = row.get(tile * TILE..).unwrap_or_default();
                let row = row.get(..out.len()).unwrap_or_default();
                add_row::<T, I>(isa, &mut sums, d.widen(), row);
            }
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
        }
    }
}

/// The same by blocks.
#[inline(always)]
fn by_blocks<T: Element, I: Isa>(
    isa: I,
    d: Rows<'_, T>,
    weight: &[T],
    [inputs, outputs]: [usize; 2],
    out: &mut [T::Acc],
) {
    for column in (0..inputs).step_by(WIDTH) {
        let rows = block::Rows {
            values: weight.get(column..).unwrap_or_default(),
            step: inputs,
            count: outputs,
            width: WIDTH.min(inputs - column),
        };
        for row in (0..d.count).step_by(HEIGHT) {
            let factors = Factors {
                values: d.values.get(row * d.step..).unwrap_or_default(),
                sum_step: d.step,
                row_step: 1,
            };
            let mut sums: Block<T::Acc> = [[T::Acc::default(); WIDTH]; HEIGHT];
            let sums = sums.get_mut(..HEIGHT.min(d.count - row));
            let sums = sums.unwrap_or_default();
            T::add_block(isa, factors, rows, sums);
            let out = out.get_mut(row * inputs + column..);
            store(sums, rows.width, inputs, out);
        }
    }
}
