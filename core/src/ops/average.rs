//! Averages of tensors of equal shapes.

use super::call::{Call, Direction, read, write};
use super::{Fault, Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::elementwise::{self, MAX_TERMS, Term, aligned_exponent, average_places};

super::groups! {
    /// The average of up to [`MAX_TERMS`] tensors.
    run, train: Average average, AverageBackward backward;
}

/// Attributes: number of terms. Values: the terms, their average.
fn average<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let count = call.attributes().size()?;
    let (pass, number) = (call.pass(), call.number());
    let mut scale: T::Scale = call.scale(0);
    let context = Direction::Forward.context::<T, _>(&pass, number, &mut scale);
    let (values, out) = call.many::<T, MAX_TERMS>(count, count)?;
    let terms = values.map(|values| Term {
        values: values.data,
        exponent: values.exponent,
    });
    let terms = terms.get(..count).ok_or(Fault::Malformed)?;
    let exponent = aligned_exponent(terms.iter().map(|term| term.exponent));
    let (exec, exponent) = (context.exec, exponent - average_places::<T>(count));
    let run = |store| elementwise::average(exec, terms, store, out);
    let exponent = context.rescale(exponent, run)?;
    call.set_scale(0, scale);
    call.set_exponent(count, exponent);
    Ok(())
}

/// Attributes: number of terms. Values: dy, the error of each term.
fn backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (count, exponent) = (call.attributes().size()?, call.exponent(0));
    let exponent = call.with::<T, _, 2>(Direction::Part(0), 0, [0, 1], |context, [dy, dx]| {
        let (dy, dx) = (read::<T>(dy)?, write::<T>(dx)?);
        let exponent = exponent - average_places::<T>(count);
        let run = |store| elementwise::average_backward(count, dy, store, dx);
        Ok(context.rescale(exponent, run)?)
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;

    #[derive(Debug)]
    struct Average;

    /// The average of `terms`, of equal shapes.
    pub(crate) fn append(graph: &mut Graph, terms: &[ValueId], number: u32) -> Option<ValueId> {
        let first = *terms.first()?;
        let (dtype, shape) = (graph.dtype_of(first), graph.shape_of(first));
        let y = graph.computed(dtype, shape);
        let node = Node::new(&Average, Kind::Average, dtype, number)
            .inputs(terms.iter().copied().map(Some))
            .outputs([Some(y)])
            .attributes(vec![terms.len() as u32])
            .states(1);
        graph.node(node);
        Some(y)
    }

    impl Describe for Average {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let &[Some(y)] = &*node.outputs
                && let Some(dy) = walk.error(y, node.number)
            {
                let (dtype, shape) = (walk.graph.dtype_of(dy), walk.graph.shape_of(dy));
                let dx = walk.graph.computed(dtype, shape);
                let back = Node::new(self, Kind::AverageBackward, dtype, node.number)
                    .inputs([Some(dy)])
                    .outputs([Some(dx)])
                    .attributes(node.attributes.clone())
                    .states(1);
                walk.graph.node(back);
                for &term in node.inputs.iter().flatten() {
                    if walk.learns(term) {
                        walk.add_error(term, dx);
                    }
                }
            }
            Ok(())
        }
    }
}
