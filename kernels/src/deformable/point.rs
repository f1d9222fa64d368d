//! Points between cells, and weighted sums of rows.

use super::{Inputs, Level, Shape};
use crate::arch::Isa;
use crate::real::{FloatElement, Real};

/// A point of a query's head.
pub(super) struct Point<R> {
    /// Its number among all.
    pub(super) index: usize,
    /// The level that it lies on.
    pub(super) level: Level,
    /// Its neighbours above left, above right, below left and below right, as cells of all levels: those inside.
    pub(super) cells: [Option<usize>; 4],
    /// What it has of each column and of each row of them.
    pub(super) columns: [R; 2],
    pub(super) rows: [R; 2],
    pub(super) weight: R,
}

impl<R: Real> Point<R> {
    /// What it has of each neighbour.
    #[inline(always)]
    pub(super) fn shares(&self) -> [R; 4] {
        let ([above, below], [left, right]) = (self.rows, self.columns);
        [above * left, above * right, below * left, below * right]
    }

    /// What the neighbours are multiplied with.
    #[inline(always)]
    pub(super) fn factors(&self) -> [R; 4] {
        self.shares().map(|share| self.weight * share)
    }
}

impl Level {
    /// The number of a cell of the level, if it is inside.
    #[inline(always)]
    fn cell(self, row: isize, column: isize) -> Option<usize> {
        let (row, column) = (usize::try_from(row).ok()?, usize::try_from(column).ok()?);
        (row < self.height && column < self.width).then(|| row * self.width + column)
    }
}

/// A position along an axis: the neighbour below it, and the shares of both.
#[inline(always)]
fn along<R: Real>(position: R, extent: usize) -> (isize, [R; 2]) {
    let cell = position * R::from_count(extent) - R::from_f64(0.5);
    let low = cell.floor_index();
    let high = cell - R::from_index(low);
    (low, [R::ONE - high, high])
}

/// Calls `visit` with each point of head `head` of query `query`, counted over all samples, in order.
#[inline(always)]
pub(super) fn points<T: FloatElement>(
    shape: Shape<'_>,
    inputs: Inputs<'_, T>,
    [query, head]: [usize; 2],
    mut visit: impl FnMut(Point<T::Real>),
) {
    let mut index = (query * shape.heads + head) * shape.taps();
    let mut start = 0; // of the level's cells
    for &level in shape.levels {
        for _ in 0..shape.points {
            let position = inputs.positions.get(2 * index..);
            let position = position.and_then(<[T::Real]>::first_chunk);
            let [x, y] = position.copied().unwrap_or_default();
            let weight = inputs
                .weights
                .get(index)
                .copied()
                .unwrap_or(T::ZERO)
                .widen();
            let (mut column, mut columns) = along(x, level.width);
            let (mut row, mut rows) = along(y, level.height);
            if x.is_nan() || y.is_nan() {
                // At a cell inside, so that it is seen.
                (column, row) = (0, 0);
                (columns, rows) = ([x + y; 2], [x + y; 2]);
            }
            let cells = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(down, right)| {
                let cell = level.cell(row.wrapping_add(down), column.wrapping_add(right));
                cell.map(|cell| start + cell)
            });
            visit(Point {
                index,
                level,
                cells,
                columns,
                rows,
                weight,
            });
            index += 1;
        }
        start += level.height * level.width;
    }
}

/// Adds rows under their factors to sums, one row after the other.
#[inline(always)]
pub(super) fn add<T: FloatElement, I: Isa, const N: usize>(
    isa: I,
    factors: [T::Real; N],
    rows: [&[T]; N],
    sums: &mut [T::Real],
) {
    let (eights, rest) = sums.as_chunks_mut::<8>();
    let chunks = rows.map(|row| row.as_chunks::<8>().0);
    for (i, sums) in eights.iter_mut().enumerate() {
        let mut local = *sums;
        for (factor, chunks) in factors.into_iter().zip(chunks) {
            let Some(x) = chunks.get(i) else { continue };
            for (sum, x) in local.iter_mut().zip(T::widen8(isa, x)) {
                *sum += factor * x;
            }
        }
        *sums = local;
    }
    let done = 8 * eights.len();
    for (i, sum) in (done..).zip(rest) {
        for (factor, row) in factors.into_iter().zip(rows) {
            let Some(x) = row.get(i) else { continue };
            *sum += factor * x.widen();
        }
    }
}
