//! Sums of tensors of equal shapes: what brings branches together, and what adds errors that belong to one value.

use super::call::{Call, Direction};
use super::{Fault, Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::elementwise::{self, MAX_TERMS, Term, aligned_exponent};

/// The sum of up to [`MAX_TERMS`] tensors.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Sum,
            dtypes: [T::DTYPE, T::DTYPE],
            run: sum::<T>,
        }]
    }
}

/// Attributes: whether errors are added, and the number of terms. Values: the terms, their sum.
fn sum<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let direction = match attributes.word()? {
        0 => Direction::Forward,
        _ => Direction::Backward,
    };
    let count = attributes.size()?;
    let (pass, number) = (call.pass(), call.number());
    let mut scale: T::Scale = call.scale(0);
    let context = direction.context::<T, _>(&pass, number, &mut scale);
    let (values, out) = call.many::<T, MAX_TERMS>(count, count)?;
    let terms = values.map(|values| Term {
        values: values.data,
        exponent: values.exponent,
    });
    let terms = terms.get(..count).ok_or(Fault::Malformed)?;
    let exponent = aligned_exponent(terms.iter().map(|term| term.exponent));
    let exec = context.exec;
    let exponent = context.rescale(exponent, |store| elementwise::sum(exec, terms, store, out))?;
    call.set_scale(0, scale);
    call.set_exponent(count, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use alloc::vec::Vec;

    #[derive(Debug)]
    struct Sum;

    fn node(graph: &mut Graph, terms: Vec<ValueId>, number: u32, are_errors: bool) -> ValueId {
        let first = terms.first().copied();
        let (dtype, shape) = first.map_or((selvedge_kernels::DType::F32, Vec::new()), |first| {
            (graph.dtype_of(first), graph.shape_of(first))
        });
        let y = graph.computed(dtype, shape);
        let attributes = vec![are_errors.into(), terms.len() as u32];
        let node = Node::new(&Sum, Kind::Sum, dtype, number)
            .inputs(terms.into_iter().map(Some))
            .outputs([Some(y)])
            .attributes(attributes)
            .states(1);
        graph.node(node);
        y
    }

    /// The sum of `terms`, of equal shapes, at least one.
    pub(crate) fn append(graph: &mut Graph, terms: Vec<ValueId>, number: u32) -> ValueId {
        node(graph, terms, number, false)
    }

    /// The sum of errors.
    pub(crate) fn append_errors(graph: &mut Graph, terms: Vec<ValueId>, number: u32) -> ValueId {
        node(graph, terms, number, true)
    }

    impl Describe for Sum {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let &[Some(y)] = &*node.outputs
                && let Some(dy) = walk.error(y, node.number)
            {
                for &term in node.inputs.iter().flatten() {
                    if walk.learns(term) {
                        walk.add_error(term, dy);
                    }
                }
            }
            Ok(())
        }
    }
}
