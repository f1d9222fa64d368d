//! Tensors side by side along an axis, and one of them taken out again.

use super::call::{Attributes, Call, read, write};
use super::{Fault, Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::axes::{Extents, Operand};
use selvedge_kernels::elementwise::MAX_TERMS;
use selvedge_kernels::layout;

super::groups! {
    /// Up to [`MAX_TERMS`] tensors side by side.
    run, train: Concat concat, Part part;
}

/// What lies before the axis and behind it in a sample, as a tensor of three axes whose middle one is that axis.
fn extents(batch: usize, [before, axis, behind]: [usize; 3]) -> Result<Extents> {
    let before = batch.checked_mul(before).ok_or(Fault::Malformed)?;
    Ok(Extents::new(&[before, axis, behind])?)
}

/// Attributes: number of tensors, elements before and behind the axis, extent of each. Values: the tensors, all of them.
fn concat<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let [count, before, behind] = attributes.sizes()?;
    let batch = call.batch;
    let (values, out) = call.many::<T, MAX_TERMS>(count, count)?;
    let nothing = Extents::new(&[1])?;
    let mut operands = [Operand {
        values: &[][..],
        extents: nothing,
        exponent: 0,
    }; MAX_TERMS];
    for (operand, values) in operands.iter_mut().zip(values).take(count) {
        *operand = Operand {
            values: values.data,
            extents: extents(batch, [before, attributes.size()?, behind])?,
            exponent: values.exponent,
        };
    }
    let operands = operands.get(..count).ok_or(Fault::Malformed)?;
    let exponent = layout::concat(1, operands, out)?;
    call.set_exponent(count, exponent);
    Ok(())
}

/// Elements before the axis and behind it, its extent, and what is taken of it: from, how many.
fn range(attributes: &mut Attributes<'_>) -> Result<([usize; 3], [usize; 2])> {
    let [before, axis, behind, from, len] = attributes.sizes()?;
    Ok(([before, axis, behind], [from, len]))
}

/// Attributes: [`range`]. Values: all, the part.
fn part<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (shape, [from, len]) = range(&mut call.attributes())?;
    let (exec, exponent) = (call.exec, call.exponent(0));
    let extents = extents(call.batch, shape)?;
    let until = from.checked_add(len).ok_or(Fault::Malformed)?;
    let taken = layout::Range {
        start: Some(isize::try_from(from).map_err(|_| Fault::Malformed)?),
        stop: Some(isize::try_from(until).map_err(|_| Fault::Malformed)?),
        ..layout::Range::ALL
    };
    let ranges = [layout::Range::ALL, taken, layout::Range::ALL];
    let [x, y] = call.views([0, 1])?;
    layout::slice(exec, extents, &ranges, read::<T>(x)?, write(y)?)?;
    call.set_exponent(1, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;

    #[derive(Debug)]
    struct Concat;

    /// `parts` side by side along `axis`; they agree in all other extents.
    pub(crate) fn append(
        graph: &mut Graph,
        parts: &[ValueId],
        axis: usize,
        number: u32,
    ) -> Option<ValueId> {
        let first = *parts.first()?;
        let dtype = graph.dtype_of(first);
        let mut shape = graph.shape_of(first);
        let (before, rest) = shape.split_at_checked(axis)?;
        let (_, behind) = rest.split_first()?;
        let [before, behind]: [usize; 2] = [before, behind].map(|extents| extents.iter().product());
        let mut attributes = vec![parts.len() as u32, before as u32, behind as u32];
        let mut all = 0;
        for &part in parts {
            let extent = *graph.shape_of(part).get(axis)?;
            attributes.push(extent as u32);
            all += extent;
        }
        *shape.get_mut(axis)? = all;
        let y = graph.computed(dtype, shape);
        let node = Node::new(&Concat, Kind::Concat, dtype, number)
            .inputs(parts.iter().copied().map(Some))
            .outputs([Some(y)])
            .attributes(attributes);
        graph.node(node);
        Some(y)
    }

    impl Describe for Concat {
        fn repeats(&self) -> bool {
            true
        }

        /// The error of each part is a part of the error.
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[Some(y)], [_, before, behind, extents @ ..]) =
                (&*node.outputs, &*node.attributes)
                && let Some(dy) = walk.error(y, node.number)
            {
                let (all, mut from) = (extents.iter().sum(), 0);
                for (&x, &extent) in node.inputs.iter().zip(extents) {
                    if let Some(dx) = walk.new_error(x) {
                        let part = Node::new(self, Kind::Part, node.dtypes[0], node.number)
                            .inputs([Some(dy)])
                            .outputs([Some(dx)])
                            .attributes(vec![*before, all, *behind, from, extent]);
                        walk.graph.node(part);
                    }
                    from += extent;
                }
            }
            Ok(())
        }
    }
}
