//! How the outputs of several branches come together.

use super::branches::{Branches, Extent};
use crate::net::join::copy;
use crate::net::{Context, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::axes::{Extents, Operand};
use selvedge_kernels::elementwise::{self, Term, aligned_exponent, average_places};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Result, layout};

/// How the outputs of branches come together: what [`Parallel`](super::Parallel) is given last. [`Total`], [`Mean`],
/// [`Line`] and [`Scatter`] do.
pub trait Combine<Bs: Branches>: 'static {
    /// Shape of one output sample.
    type Output: Shape;

    /// What [`Info::kind`](crate::net::Info::kind) says.
    const KIND: &'static str;
    /// Whether the output of integers has an exponent of its own.
    const RESCALES: bool;
    /// Refuses branches that do not belong together, when the program is compiled.
    const CHECKED: ();

    /// Computes `out` of the outputs, in their order, and returns its exponent.
    ///
    /// # Errors
    /// Those of its kernels.
    fn forward<E: Executor>(
        context: Context<'_, Bs::Elem, E>,
        outputs: &[Values<'_, Bs::Elem>],
        out: &mut [Bs::Elem],
    ) -> Result<i32>;

    /// Takes the error `dy` of the output to those of the branches, in their order, and returns their exponent.
    ///
    /// # Errors
    /// Those of its kernels.
    fn backward<E: Executor>(
        context: Context<'_, Bs::Elem, E>,
        dy: Values<'_, Bs::Elem>,
        parts: &mut [&mut [Bs::Elem]],
    ) -> Result<i32>;
}

/// The sum of all outputs, of equal shapes. Numerical behaviour: [`selvedge_kernels::elementwise::sum()`], of all at
/// once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Total;

/// The average of all outputs, of equal shapes. Numerical behaviour: [`selvedge_kernels::elementwise::average`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean;

/// The outputs side by side along the last axis, in the shape `Out`. Integers get the coarsest exponent. Numerical
/// behaviour: [`selvedge_kernels::layout::concat`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Line<Out>(PhantomData<Out>);

/// The same in the order of the cells of `G`, where there is a place for each branch.
///
/// # Example
/// ```
/// use selvedge_core::net::{Dense, Grid, Layer, Parallel, Scatter};
/// use selvedge_core::tensor::D1;
/// struct Swapped;
/// impl Grid for Swapped {
///     const EXTENTS: [usize; 3] = [1, 2, 1];
///     const CELLS: &'static [[usize; 3]] = &[[0, 1, 0], [0, 0, 0]];
/// }
/// // Two features of the second branch, then three of the first.
/// type Swap<T> = Parallel<(Dense<T, 4, 3>, Dense<T, 4, 2>), Scatter<Swapped, D1<5>>>;
/// static SWAP: Swap<i8> = Layer::BLANK;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Scatter<G, Out>(PhantomData<(G, Out)>);

/// Cells of a grid for branches: rows, columns, layers. Empty ones take no space.
pub trait Grid: 'static {
    /// Rows, columns and layers of the grid.
    const EXTENTS: [usize; 3];
    /// Row, column and layer of each branch, in their order. No cell has two.
    const CELLS: &'static [[usize; 3]];
}

/// Whether all outputs have one shape.
pub(super) const fn are_equal(outputs: &[Extent]) -> bool {
    let mut branch = 1;
    while branch < outputs.len() {
        if !outputs[0].agrees(&outputs[branch], 5) {
            return false;
        }
        branch += 1;
    }
    true
}

/// The outputs as terms of a sum.
pub(super) fn terms<'a, Bs: Branches>(
    outputs: &[Values<'a, Bs::Elem>],
) -> Bs::Each<Term<'a, Bs::Elem>> {
    Bs::each(|branch| {
        let (values, exponent) = outputs
            .get(branch)
            .map_or((&[][..], 0), |y| (y.data, y.exponent));
        Term { values, exponent }
    })
}

fn aligned<T>(terms: &[Term<'_, T>]) -> i32 {
    aligned_exponent(terms.iter().map(|term| term.exponent))
}

impl<Bs: Branches> Combine<Bs> for Total {
    type Output = Bs::First;

    const KIND: &'static str = "total";
    const RESCALES: bool = true;
    const CHECKED: () = assert!(
        are_equal(Bs::OUTPUTS),
        "total: all branches must have outputs of the same shape"
    );

    fn forward<E: Executor>(
        context: Context<'_, Bs::Elem, E>,
        outputs: &[Values<'_, Bs::Elem>],
        out: &mut [Bs::Elem],
    ) -> Result<i32> {
        let terms = terms::<Bs>(outputs);
        let (exec, terms) = (context.exec, terms.as_ref());
        context.rescale(aligned(terms), |store| {
            elementwise::sum(exec, terms, store, out)
        })
    }

    fn backward<E: Executor>(
        _: Context<'_, Bs::Elem, E>,
        dy: Values<'_, Bs::Elem>,
        parts: &mut [&mut [Bs::Elem]],
    ) -> Result<i32> {
        for part in parts {
            copy(dy.data, part);
        }
        Ok(dy.exponent)
    }
}

impl<Bs: Branches> Combine<Bs> for Mean {
    type Output = Bs::First;

    const KIND: &'static str = "mean";
    const RESCALES: bool = true;
    const CHECKED: () = assert!(
        are_equal(Bs::OUTPUTS),
        "mean: all branches must have outputs of the same shape"
    );

    fn forward<E: Executor>(
        context: Context<'_, Bs::Elem, E>,
        outputs: &[Values<'_, Bs::Elem>],
        out: &mut [Bs::Elem],
    ) -> Result<i32> {
        let terms = terms::<Bs>(outputs);
        let (exec, terms) = (context.exec, terms.as_ref());
        let exponent = aligned(terms) - average_places::<Bs::Elem>(Bs::COUNT);
        context.rescale(exponent, |store| {
            elementwise::average(exec, terms, store, out)
        })
    }

    fn backward<E: Executor>(
        context: Context<'_, Bs::Elem, E>,
        dy: Values<'_, Bs::Elem>,
        parts: &mut [&mut [Bs::Elem]],
    ) -> Result<i32> {
        let Some((first, others)) = parts.split_first_mut() else {
            return Ok(dy.exponent);
        };
        let exponent = dy.exponent - average_places::<Bs::Elem>(Bs::COUNT);
        let exponent = context.rescale(exponent, |store| {
            elementwise::average_backward(Bs::COUNT, dy.data, store, first)
        })?;
        for part in others {
            copy(first, part);
        }
        Ok(exponent)
    }
}

/// Whether `out` has the outputs side by side along its last axis.
const fn are_side_by_side(outputs: &[Extent], out: Extent) -> bool {
    let (mut branch, mut channels) = (0, 0);
    while branch < outputs.len() {
        if !out.agrees(&outputs[branch], out.rank - 1) {
            return false;
        }
        channels += outputs[branch].channels;
        branch += 1;
    }
    channels == out.channels
}

/// The rows of some samples: `channels` elements in each.
fn rows<T>(data: &[T], channels: usize) -> Result<Extents> {
    Extents::new(&[data.len().checked_div(channels).unwrap_or(0), channels])
}

/// Outputs side by side, the one with number `at(i)` in place `i`; returns their exponent.
fn join<Bs: Branches>(
    at: impl Fn(usize) -> usize,
    outputs: &[Values<'_, Bs::Elem>],
    out: &mut [Bs::Elem],
) -> Result<i32> {
    let nothing = Extents::new(&[1, 1])?;
    let parts = Bs::each(|place| {
        let branch = at(place);
        let (values, exponent) = outputs
            .get(branch)
            .map_or((&[][..], 0), |y| (y.data, y.exponent));
        let channels = Bs::OUTPUTS.get(branch).map_or(0, |output| output.channels);
        Operand {
            values,
            extents: rows(values, channels).unwrap_or(nothing), // which the kernel refuses
            exponent,
        }
    });
    layout::concat(1, parts.as_ref(), out)
}

/// The opposite.
fn part<Bs: Branches, Out: Shape>(
    at: impl Fn(usize) -> usize,
    dy: Values<'_, Bs::Elem>,
    parts: &mut [&mut [Bs::Elem]],
) -> Result<i32> {
    let mut parts = Bs::each(|place| {
        let part = parts.get_mut(at(place));
        part.map(core::mem::take).unwrap_or_default()
    });
    let extents = rows(dy.data, Out::CHANNELS)?;
    layout::split(extents, 1, dy.data, parts.as_mut())?;
    Ok(dy.exponent)
}

impl<Bs: Branches, Out: Shape> Combine<Bs> for Line<Out> {
    type Output = Out;

    const KIND: &'static str = "line";
    const RESCALES: bool = false;
    const CHECKED: () = assert!(
        are_side_by_side(Bs::OUTPUTS, Extent::of::<Out>()),
        "line: the output must have the channels of all branches, and be equal to each in all other axes"
    );

    fn forward<E: Executor>(
        _: Context<'_, Bs::Elem, E>,
        outputs: &[Values<'_, Bs::Elem>],
        out: &mut [Bs::Elem],
    ) -> Result<i32> {
        join::<Bs>(|place| place, outputs, out)
    }

    fn backward<E: Executor>(
        _: Context<'_, Bs::Elem, E>,
        dy: Values<'_, Bs::Elem>,
        parts: &mut [&mut [Bs::Elem]],
    ) -> Result<i32> {
        part::<Bs, Out>(|place| place, dy, parts)
    }
}

/// The number of a cell: row by row, column by column.
const fn cell(extents: [usize; 3], [row, column, layer]: [usize; 3]) -> usize {
    (row * extents[1] + column) * extents[2] + layer
}

/// The branch in the cell that `place` others come before.
fn branch_at<G: Grid>(place: usize) -> usize {
    let number = |at: &[usize; 3]| cell(G::EXTENTS, *at);
    let before = |own: usize| G::CELLS.iter().filter(|at| number(at) < own).count();
    let mut cells = G::CELLS.iter().map(number);
    cells.position(|own| before(own) == place).unwrap_or(place)
}

/// Whether each cell is one of the grid.
const fn is_within<G: Grid>() -> bool {
    let mut branch = 0;
    while branch < G::CELLS.len() {
        let mut axis = 0;
        while axis < 3 {
            if G::CELLS[branch][axis] >= G::EXTENTS[axis] {
                return false;
            }
            axis += 1;
        }
        branch += 1;
    }
    true
}

/// Whether no cell has two branches.
const fn is_unique<G: Grid>() -> bool {
    let mut branch = 0;
    while branch < G::CELLS.len() {
        let mut other = 0;
        while other < branch {
            let cells = [G::CELLS[branch], G::CELLS[other]];
            if cell(G::EXTENTS, cells[0]) == cell(G::EXTENTS, cells[1]) {
                return false;
            }
            other += 1;
        }
        branch += 1;
    }
    true
}

impl<Bs: Branches, G: Grid, Out: Shape> Combine<Bs> for Scatter<G, Out> {
    type Output = Out;

    const KIND: &'static str = "scatter";
    const RESCALES: bool = false;
    const CHECKED: () = {
        assert!(
            G::CELLS.len() == Bs::COUNT,
            "scatter: the grid must have a cell for each branch"
        );
        assert!(is_within::<G>(), "scatter: a cell is outside the grid");
        assert!(is_unique::<G>(), "scatter: two branches are in one cell");
        assert!(
            are_side_by_side(Bs::OUTPUTS, Extent::of::<Out>()),
            "scatter: the output must have the channels of all branches, and be equal to each in all other axes"
        );
    };

    fn forward<E: Executor>(
        _: Context<'_, Bs::Elem, E>,
        outputs: &[Values<'_, Bs::Elem>],
        out: &mut [Bs::Elem],
    ) -> Result<i32> {
        join::<Bs>(branch_at::<G>, outputs, out)
    }

    fn backward<E: Executor>(
        _: Context<'_, Bs::Elem, E>,
        dy: Values<'_, Bs::Elem>,
        parts: &mut [&mut [Bs::Elem]],
    ) -> Result<i32> {
        part::<Bs, Out>(branch_at::<G>, dy, parts)
    }
}
