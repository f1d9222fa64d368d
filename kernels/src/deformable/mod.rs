//! Deformable attention: each query and head reads a few positions of a feature map, which the network has computed,
//! and sums what is there under weights that it has computed, too. Floats only.
//!
//! ```
//! use selvedge_kernels::deformable::{self, Inputs, Level, Shape};
//! use selvedge_kernels::exec::Serial;
//! // One query of one head on a map of 2×2 cells with one feature: a point between all four, one at the last.
//! let shape = Shape {
//!     batch: 1, queries: 1, levels: &[Level { height: 2, width: 2 }], heads: 1, size: 1, points: 2,
//! };
//! let inputs = Inputs {
//!     values: &[1.0f32, 2.0, 3.0, 4.0],
//!     positions: &[0.5, 0.5, 0.75, 0.75],
//!     weights: &[0.5, 0.25],
//! };
//! let mut out = [0.0];
//! deformable::forward(&Serial, shape, inputs, &mut out)?;
//! assert_eq!(out, [0.5 * 2.5 + 0.25 * 4.0]);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! **Positions** are those of the paper's operator: a column and then a row, as shares of the level's width and
//! height. Cell `j` of `W` has its centre at `(j + ½) / W`, 0 and 1 are the outer edges (`align_corners=false`);
//! between centres the map is bilinear, beyond it are zeros. (Positions of [`sample`](crate::sample) are a row and a
//! column, in cells.)
//!
//! **Beyond the map.** A point whose four neighbours are all outside contributes nothing and has no gradient, whatever
//! its weight; so do infinite positions. A NaN in a position makes its head's output NaN, and all gradients of the
//! point; the values' gradient is then NaN in the first cells of the level. Of a value, NaN reaches the points
//! next to its cell, even those that it has a share of 0 in.
//!
//! Source: Zhu et al. 2021, "Deformable DETR: Deformable Transformers for End-to-End Object Detection", §4.1;
//! numbers: `docs/numerics.md` §30.

mod backward;
mod forward;
mod point;
mod positions;

use crate::arch;
use crate::attention::{check_scratch, total};
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};

pub use backward::Backward;
pub use forward::Forward;
pub use positions::{Offsets, Positions, initial_offsets, positions, positions_backward};

/// The extents of one level of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// The extents of a deformable attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape<'a> {
    /// Samples, `B`.
    pub batch: usize,
    /// Queries of a sample, `Q`.
    pub queries: usize,
    /// The levels, `L` of them, whose cells lie one level after the other: `S` cells in all.
    pub levels: &'a [Level],
    /// Heads, `H`.
    pub heads: usize,
    /// Features of a head, `D`.
    pub size: usize,
    /// Points that a query's head reads of each level, `P`.
    pub points: usize,
}

impl Shape<'_> {
    /// Cells of all levels, `S`.
    ///
    /// # Errors
    /// [`Error::Zero`](crate::Error::Zero) for no level or an empty one,
    /// [`Error::Overflow`](crate::Error::Overflow).
    pub fn cells(self) -> Result<usize> {
        let mut cells = 0usize;
        for level in self.levels {
            let own = Arg::Shape.product(&[level.height, level.width])?;
            cells = cells.checked_add(own).ok_or(Arg::Shape.overflow())?;
        }
        Arg::Shape.product(&[cells])
    }

    /// Returns the number of cells.
    fn check(self) -> Result<usize> {
        let cells = self.cells()?;
        Arg::Shape.product(&[self.batch, cells, self.heads, self.size])?;
        Arg::Shape.product(&[self.batch, self.queries, self.heads, self.size])?;
        Arg::Shape.product(&[self.batch, self.queries, self.heads, self.taps(), 2])?;
        Ok(cells)
    }

    /// Points of a query's head on all levels.
    fn taps(self) -> usize {
        self.levels.len().saturating_mul(self.points)
    }

    /// Elements of a cell, and of a query's output: those of all heads.
    fn width(self) -> usize {
        self.heads.wrapping_mul(self.size)
    }
}

/// What deformable attention reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a, T: Element> {
    /// `[B, S, H, D]`: the map, level by level.
    pub values: &'a [T],
    /// `[B, Q, H, L, P, 2]`: column and row, from 0 to 1 over the level. In the accumulator's type, `f32` of 16 bits:
    /// those would tell a cell of a map of 256 from its neighbour, and no more.
    pub positions: &'a [T::Acc],
    /// `[B, Q, H, L, P]`: of any sum; the paper's are the softmax over levels and points.
    pub weights: &'a [T],
}

impl<T: Element> Inputs<'_, T> {
    /// Returns the number of cells.
    fn check(&self, shape: Shape<'_>) -> Result<usize> {
        let cells = shape.check()?;
        let lens = [self.values.len(), self.positions.len(), self.weights.len()];
        check_lens(shape, cells, lens)?;
        Ok(cells)
    }
}

/// Refuses tensors of other lengths than those of values, positions and weights.
fn check_lens(
    shape: Shape<'_>,
    cells: usize,
    [values, positions, weights]: [usize; 3],
) -> Result<()> {
    let Shape {
        batch,
        queries,
        heads,
        size,
        ..
    } = shape;
    let taps = shape.taps();
    Arg::Value.check_len(values, &[batch, cells, heads, size])?;
    Arg::Positions.check_len(positions, &[batch, queries, heads, taps, 2])?;
    Arg::Weight.check_len(weights, &[batch, queries, heads, taps])
}

/// Deformable attention, forward: `out[b, q, h] = Σ_l Σ_p weights[b, q, h, l, p] · v`, where `v` is the bilinear
/// mixture of head `h` of level `l` at `positions[b, q, h, l, p]`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `inputs` | `[B, S, H, D]`, `[B, Q, H, L, P, 2]`, `[B, Q, H, L, P]` | values; positions; weights |
/// | `out` | `[B, Q, H·D]` | overwritten |
///
/// Each feature is a sum in the accumulator's type, in the order of levels, points and neighbours (above left, above
/// right, below left, below right), of `(weight · share) · value`; neighbours beyond the map are left out. Queries
/// are split over tasks. Beyond the map, NaN: the module's words.
///
/// # Errors
/// [`Error::Length`](crate::Error::Length) if a slice does not fit, [`Error::Zero`](crate::Error::Zero) for an empty
/// extent or no level, [`Error::Overflow`](crate::Error::Overflow). `out` is then untouched.
///
/// Source: Zhu et al. 2021, equation 3, without the two projections.
pub fn forward<T: Float>(
    exec: &impl Executor,
    shape: Shape<'_>,
    inputs: Inputs<'_, T>,
    out: &mut [T],
) -> Result<()> {
    let cells = inputs.check(shape)?;
    let width = shape.width();
    Arg::Out.check_len(out.len(), &[shape.batch, shape.queries, width])?;
    exec::rows(exec, out, width, |first, out| {
        T::deformable_forward(Forward {
            shape,
            cells,
            inputs,
            first,
            out,
        });
        0
    });
    Ok(())
}

/// What [`backward`] writes.
#[derive(Debug)]
pub struct Errors<'a, T: Element> {
    /// `[B, S, H, D]`: of the values.
    pub values: &'a mut [T],
    /// `[B, Q, H, L, P, 2]`: of the positions.
    pub positions: &'a mut [T::Acc],
    /// `[B, Q, H, L, P]`: of the weights.
    pub weights: &'a mut [T],
}

/// Elements of the scratch memory of [`backward`] for `tasks` tasks, as many as an executor's parallelism: the sums
/// of one head of all cells each, `S · D`.
///
/// # Errors
/// Those of `shape`.
pub fn backward_scratch_len(shape: Shape<'_>, tasks: usize) -> Result<usize> {
    total(backward_part(shape, shape.check()?), tasks)
}

fn backward_part(shape: Shape<'_>, cells: usize) -> usize {
    cells.saturating_mul(shape.size)
}

/// Gradients of [`forward`] with respect to values, positions and weights, the error of the output being `dy`.
///
/// With `g_k = dy[b, q, h] · value_k` of the neighbours `k` of a point and their shares `s_k`, which are products of
/// those along rows and columns: `dweight = Σ_k s_k · g_k`; the position's gradient is the weight times the level's
/// extent times the slope of that between its neighbours, at the centre of a cell towards larger positions; each
/// `dvalue_k` gets `(weight · s_k) · dy`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `inputs` | as [`forward`] | |
/// | `dy` | `[B, Q, H·D]` | |
/// | `errors` | `[B, S, H, D]`, `[B, Q, H, L, P, 2]`, `[B, Q, H, L, P]` | overwritten |
/// | `scratch` | [`backward_scratch_len`], or more than that of one task | overwritten |
///
/// Products `g_k` are summed as [`Element::dot`] does, the values' errors in the accumulator's type in the order of
/// queries, levels and points. Samples are split over tasks.
///
/// # Errors
/// As [`forward`]; nothing is then written.
///
/// Source: the derivative of [`forward`].
pub fn backward<T: Float>(
    exec: &impl Executor,
    shape: Shape<'_>,
    inputs: Inputs<'_, T>,
    dy: &[T],
    errors: Errors<'_, T>,
    scratch: &mut [T::Acc],
) -> Result<()> {
    let cells = inputs.check(shape)?;
    Arg::Dy.check_len(dy.len(), &[shape.batch, shape.queries, shape.width()])?;
    let lens = [
        errors.values.len(),
        errors.positions.len(),
        errors.weights.len(),
    ];
    check_lens(shape, cells, lens)?;
    let part = backward_part(shape, cells);
    check_scratch(scratch.len(), part)?;
    let tasks = scratch.len().checked_div(part).unwrap_or(1);
    let call = Backward {
        shape,
        cells,
        inputs,
        dy,
        first: 0,
        errors,
        scratch,
    };
    let run = T::deformable_backward;
    exec::split_into(exec, tasks, shape.batch, call, run, |(), ()| ());
    Ok(())
}

/// A float: the types that this family has, with its kernels.
#[diagnostic::on_unimplemented(
    message = "deformable attention has no integers: `{Self}` is not a float",
    label = "not one of f16, bf16, f32, f64"
)]
pub trait Float: Element<Bias = Self> {
    #[doc(hidden)]
    fn deformable_forward(call: Forward<'_, Self>);
    #[doc(hidden)]
    fn deformable_backward(call: Backward<'_, Self>);
    #[doc(hidden)]
    fn deformable_positions(call: Positions<'_, Self>);
    #[doc(hidden)]
    fn deformable_offsets(call: Offsets<'_, Self>);
}

macro_rules! impl_float {
    ($($t:ty)*) => {$(
        impl Float for $t {
            #[inline(never)]
            fn deformable_forward(call: Forward<'_, Self>) {
                arch::dispatch(call);
            }

            #[inline(never)]
            fn deformable_backward(call: Backward<'_, Self>) {
                arch::dispatch(call);
            }

            #[inline(never)]
            fn deformable_positions(call: Positions<'_, Self>) {
                positions::fill(call);
            }

            #[inline(never)]
            fn deformable_offsets(call: Offsets<'_, Self>) {
                positions::to_offsets(call);
            }
        }
    )*};
}

impl_float! { half::f16 half::bf16 f32 f64 }
