//! Positions around the cells of a map, for attention of a map to itself: its queries are the cells of all levels.

use super::{Float, Level, Shape};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::lut;
use crate::real::{FloatElement, Real};
use crate::split::{rows_of, rows_of_mut};

/// The positions of a map's attention to itself: `out = (j + ½) / W_q + dx / W_l, (i + ½) / H_q + dy / H_l`, where
/// query `q` is the cell in column `j` and row `i` of a level of `W_q` columns and `H_q` rows, and `dx, dy` are
/// offsets in cells of the level `l` that is read.
///
/// | argument | shape | |
/// |---|---|---|
/// | `offsets` | `[B, S, H, L, P, 2]` | columns and rows, in cells |
/// | `out` | `[B, S, H, L, P, 2]` | overwritten |
///
/// Three roundings in the accumulator's type.
///
/// # Errors
/// Those of [`forward`](super::forward); [`Error::Value`] unless there are as many queries as cells. `out` is then
/// untouched.
///
/// Source: Zhu et al. 2021, §4.1, whose encoder takes cell centres as reference points.
pub fn positions<T: Float>(
    exec: &impl Executor,
    shape: Shape<'_>,
    offsets: &[T],
    out: &mut [T::Acc],
) -> Result<()> {
    let row_len = check(shape)?;
    let extents = [shape.batch, shape.queries, row_len];
    Arg::X.check_len(offsets.len(), &extents)?;
    Arg::Positions.check_len(out.len(), &extents)?;
    exec::rows(exec, out, row_len, |first, out| {
        T::deformable_positions(Positions {
            shape,
            offsets: offsets.get(first * row_len..).unwrap_or_default(),
            first,
            out,
        });
        0
    });
    Ok(())
}

/// The gradient of [`positions`] with respect to the offsets: that with respect to positions over the extents of the
/// levels that are read.
///
/// | argument | shape | |
/// |---|---|---|
/// | `dpositions` | `[B, S, H, L, P, 2]` | |
/// | `doffsets` | `[B, S, H, L, P, 2]` | overwritten |
///
/// # Errors
/// As [`positions`]; `doffsets` is then untouched.
///
/// Source: the derivative of [`positions`].
pub fn positions_backward<T: Float>(
    exec: &impl Executor,
    shape: Shape<'_>,
    dpositions: &[T::Acc],
    doffsets: &mut [T],
) -> Result<()> {
    let row_len = check(shape)?;
    let extents = [shape.batch, shape.queries, row_len];
    Arg::Positions.check_len(dpositions.len(), &extents)?;
    Arg::Dx.check_len(doffsets.len(), &extents)?;
    exec::rows(exec, doffsets, row_len, |first, doffsets| {
        T::deformable_offsets(Offsets {
            shape,
            errors: dpositions.get(first * row_len..).unwrap_or_default(),
            out: doffsets,
        });
        0
    });
    Ok(())
}

/// Fills `out`, `[H, L, P, 2]`, with the offsets that training begins at: head `h` looks into direction `h / H` of a
/// turn, from the column to the right on, and its point `p` as far as the edge of a square with `2 (p + 1)` cells a
/// side. The same numbers on every target, within 2^-14 of the true ones.
///
/// # Errors
/// [`Error::Length`] if `out` does not fit, [`Error::Zero`], [`Error::Overflow`]; `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::deformable::initial_offsets;
/// let mut offsets = [0.0f32; 4 * 2 * 2];
/// initial_offsets([4, 1, 2], &mut offsets)?; // four heads, two points of one level
/// assert_eq!(offsets[..8], [1.0, 0.0, 2.0, 0.0, 0.0, 1.0, 0.0, 2.0]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: Zhu et al. 2021, §A.3.
pub fn initial_offsets<T: Float>(extents: [usize; 3], out: &mut [T]) -> Result<()> {
    let [heads, levels, points] = extents;
    Arg::Out.check_len(out.len(), &[heads, levels, points, 2])?;
    for (head, out) in rows_of_mut(out, levels * points * 2).enumerate() {
        let turn = ((head as u64) << 32).checked_div(heads as u64).unwrap_or(0) as u32;
        let direction = [lut::cosine(turn), lut::sine(turn)].map(f64::from);
        let [x, y] = direction.map(|along| if along < 0.0 { -along } else { along });
        let longest = if x > y { x } else { y }; // not 0: cosine and sine never are at once
        for out in rows_of_mut(out, points * 2) {
            let mut distance = 0.0;
            for out in rows_of_mut(out, 2) {
                distance += 1.0;
                for (out, along) in out.iter_mut().zip(direction) {
                    *out = T::from_f64(along / longest * distance);
                }
            }
        }
    }
    Ok(())
}

/// Returns the elements of a query's positions.
fn check(shape: Shape<'_>) -> Result<usize> {
    let cells = shape.check()?;
    if shape.queries != cells {
        return Err(Error::Value {
            arg: Arg::Shape,
            expected: "as many queries as cells",
            got: None,
        });
    }
    Ok(row_len(shape))
}

fn row_len(shape: Shape<'_>) -> usize {
    shape.heads * shape.taps() * 2
}

/// A checked call of [`positions`], for some queries.
pub struct Positions<'a, T: Element> {
    shape: Shape<'a>,
    /// From the first query on.
    offsets: &'a [T],
    /// Queries of all samples before the first.
    first: usize,
    out: &'a mut [T::Acc],
}

/// A checked call of [`positions_backward`], for some queries.
pub struct Offsets<'a, T: Element> {
    shape: Shape<'a>,
    /// Those of positions, from the first query on.
    errors: &'a [T::Acc],
    out: &'a mut [T],
}

/// The level of a cell, and its row and column.
#[inline(always)]
fn place(levels: &[Level], mut cell: usize) -> Option<(Level, [usize; 2])> {
    for &level in levels {
        let own = level.height * level.width;
        if cell < own {
            let row = cell.checked_div(level.width)?;
            return Some((level, [row, cell - row * level.width]));
        }
        cell -= own;
    }
    None
}

/// Positions around the centres of some cells.
#[inline(always)]
pub(super) fn fill<T: FloatElement>(call: Positions<'_, T>) {
    let Positions {
        shape,
        offsets,
        first,
        out,
    } = call;
    let half = T::Real::from_f64(0.5);
    let rows = rows_of(offsets, row_len(shape)).zip(rows_of_mut(out, row_len(shape)));
    for (query, (offsets, out)) in (first..).zip(rows) {
        let cell = query.checked_rem(shape.queries).unwrap_or(0);
        let Some((own, [row, column])) = place(shape.levels, cell) else {
            continue;
        };
        let centre = [(column, own.width), (row, own.height)]
            .map(|(at, extent)| (T::Real::from_count(at) + half) / T::Real::from_count(extent));
        let len = 2 * shape.taps();
        for (offsets, out) in rows_of(offsets, len).zip(rows_of_mut(out, len)) {
            let len = 2 * shape.points;
            let levels = rows_of(offsets, len).zip(rows_of_mut(out, len));
            for ((offsets, out), level) in levels.zip(shape.levels) {
                let extents = [level.width, level.height].map(T::Real::from_count);
                for (offset, out) in rows_of(offsets, 2).zip(rows_of_mut(out, 2)) {
                    let axes = out.iter_mut().zip(offset).zip(centre).zip(extents);
                    for (((out, offset), centre), extent) in axes {
                        *out = centre + offset.widen() / extent;
                    }
                }
            }
        }
    }
}

/// Errors of positions of some queries to those of their offsets.
#[inline(always)]
pub(super) fn to_offsets<T: FloatElement>(call: Offsets<'_, T>) {
    let Offsets { shape, errors, out } = call;
    let len = 2 * shape.taps();
    for (errors, out) in rows_of(errors, len).zip(rows_of_mut(out, len)) {
        let len = 2 * shape.points;
        let levels = rows_of(errors, len).zip(rows_of_mut(out, len));
        for ((errors, out), level) in levels.zip(shape.levels) {
            let extents = [level.width, level.height].map(T::Real::from_count);
            for (errors, out) in rows_of(errors, 2).zip(rows_of_mut(out, 2)) {
                for ((out, &error), extent) in out.iter_mut().zip(errors).zip(extents) {
                    *out = T::store(error / extent);
                }
            }
        }
    }
}
