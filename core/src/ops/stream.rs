//! Streams: what windows see of earlier runs.

use super::call::{Call, read, write};
use super::{Kernel, Kind, Result};
use crate::net::{copy, part};
use selvedge_kernels::elementwise::{self, Term};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::split::{rows_of, rows_of_mut};
use selvedge_kernels::{self as kernels, Element};

/// Rows with those before them.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Stream,
            dtypes: [T::DTYPE, T::DTYPE],
            run: stream::<T>,
        }]
    }
}

/// Puts what windows see into `rows`: of each sample `context` elements of the stream before, and the `piece` of `x`. The
/// last of these are kept before the next run; those that are kept are rounded to the exponent of `x`, where it has changed.
/// Typed layers and operators both call it, so their bytes are the same.
#[inline(never)]
pub(crate) fn advance<T: Element>(
    exec: &impl Executor,
    [context, piece]: [usize; 2],
    (kept, before): (&mut [T], i32),
    (x, exponent): (&[T], i32),
    rows: &mut [T],
) -> kernels::Result<()> {
    if before != exponent {
        for kept in rows_of_mut(kept, context) {
            // The rows that windows see have gone: there is room to round to.
            let room = part(rows, kept.len());
            let term = Term {
                values: &*kept,
                exponent: before,
            };
            let store = Store::Shift {
                shift: exponent.saturating_sub(before),
                rounding: Rounding::NearestEven,
            };
            elementwise::sum(exec, &[term], store, room)?;
            copy(room, kept);
        }
    }
    let seen = rows_of_mut(rows, context.saturating_add(piece));
    for ((seen, piece_of_x), kept) in seen.zip(rows_of(x, piece)).zip(chunks(kept, context)) {
        let (first, last) = seen.split_at_mut_checked(context).unwrap_or_default();
        copy(kept, first);
        copy(piece_of_x, last);
        copy(seen.get(piece..).unwrap_or_default(), kept);
    }
    Ok(())
}

/// The samples of `len` elements each; empty ones without end where `len` is 0.
fn chunks<T>(mut values: &mut [T], len: usize) -> impl Iterator<Item = &mut [T]> {
    core::iter::from_fn(move || {
        let (first, rest) = core::mem::take(&mut values).split_at_mut_checked(len)?;
        values = rest;
        Some(first)
    })
}

/// Attributes: elements of a sample's context and piece. Values: x, what is kept, of all samples; what windows see.
fn stream<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (exec, sizes) = (call.exec, call.attributes().sizes()?);
    let [exponent, before] = [0, 1].map(|slot| call.exponent(slot));
    let [x, kept, rows] = call.views([0, 1, 2])?;
    let (kept, x) = ((write::<T>(kept)?, before), (read(x)?, exponent));
    advance(exec, sizes, kept, x, write(rows)?)?;
    call.set_exponent(1, exponent);
    call.set_exponent(2, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;

    #[derive(Debug)]
    struct Stream;

    /// `x`, `[rows, features]`, below the `context` rows before, which `kept` holds of all samples.
    pub(crate) fn append(
        graph: &mut Graph,
        x: ValueId,
        kept: ValueId,
        [context, rows, features]: [usize; 3],
        number: u32,
    ) -> ValueId {
        let dtype = graph.dtype_of(x);
        let y = graph.computed(dtype, vec![context + rows, features]);
        let attributes = [context, rows].map(|rows| (rows * features) as u32);
        let node = Node::new(&Stream, Kind::Stream, dtype, number)
            .inputs([Some(x), Some(kept)])
            .outputs([Some(y)])
            .attributes(attributes.to_vec());
        graph.node(node);
        y
    }

    /// Has `kept` take `x`, as a row of `size` elements, behind those of the runs before: `context` rows stay.
    pub(crate) fn keep(
        graph: &mut Graph,
        x: ValueId,
        kept: ValueId,
        [context, size]: [usize; 2],
    ) -> Node {
        let dtype = graph.dtype_of(x);
        let rows = graph.computed(dtype, vec![context + 1, size]);
        Node::new(&Stream, Kind::Stream, dtype, 0)
            .inputs([Some(x), Some(kept)])
            .scratch([rows])
            .attributes(vec![(context * size) as u32, size as u32])
    }

    impl Describe for Stream {
        /// The errors of earlier rows are left out.
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x, _], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let &[context, piece] = &*node.attributes
                && let Some(dy) = walk.error(y, node.number)
                && let Some(dx) = walk.new_error(x)
            {
                let part = Node::new(self, Kind::Part, node.dtypes[0], node.number)
                    .inputs([Some(dy)])
                    .outputs([Some(dx)])
                    .attributes(vec![1, context + piece, 1, context, piece]);
                walk.graph.node(part);
            }
            Ok(())
        }
    }
}
