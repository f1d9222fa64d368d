//! Axes in another order.

use crate::ops::call::{Call, Result, read, write};
use crate::ops::{Fault, Kernel, Kind};
use selvedge_kernels::axes::MAX_RANK;
use selvedge_kernels::{Element, layout};

/// Axes in another order, which takes errors back as well.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Permute,
            dtypes: [T::DTYPE, T::DTYPE],
            run: forward::<T>,
        }]
    }
}

/// Attributes: extents of a sample, the axes in their order, the batch first. Values: x, y; or their errors the other way.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let mut attributes = call.attributes();
    let extents = attributes.extents(call.batch)?;
    let (order, count) = attributes.several::<MAX_RANK>()?;
    let order = order.get(..count).ok_or(Fault::Malformed)?;
    let (exec, exponent) = (call.exec, call.exponent(0));
    let [x, y] = call.views([0, 1])?;
    layout::permute::<T>(exec, extents, order, read(x)?, write(y)?)?;
    call.set_exponent(1, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::function::counted;
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::layout::inverse;

    #[derive(Debug)]
    struct Permute;

    fn node(
        graph: &Graph,
        number: u32,
        [from, to]: [ValueId; 2],
        order: &[usize], // with the batch
    ) -> Node {
        let attributes = [counted(&graph.shape_of(from)), counted(order)].concat();
        Node::new(&Permute, Kind::Permute, graph.dtype_of(from), number)
            .inputs([Some(from)])
            .outputs([Some(to)])
            .attributes(attributes)
    }

    /// `x` with its axes in this order, which names each once.
    pub(crate) fn append(graph: &mut Graph, number: u32, x: ValueId, order: &[usize]) -> ValueId {
        let shape = graph.shape_of(x);
        let ordered = order
            .iter()
            .filter_map(|&axis| shape.get(axis).copied())
            .collect();
        let y = graph.computed(graph.dtype_of(x), ordered);
        let mut all = vec![0];
        all.extend(order.iter().map(|axis| axis + 1));
        let node = node(graph, number, [x, y], &all);
        graph.node(node);
        y
    }

    impl Describe for Permute {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[x], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
                && let Some(dx) = walk.new_error(x)
            {
                let rank = walk.graph.shape_of(dx).len() + 1;
                let order = node.attributes.iter().skip(rank + 1);
                let order: Vec<usize> = order.map(|&axis| axis as usize).collect();
                let inverse = inverse(&order).map_err(|_| Error::Size)?;
                let inverse = inverse.get(..rank).unwrap_or_default();
                let back = self::node(walk.graph, node.number, [dy, dx], inverse);
                walk.graph.node(back);
            }
            Ok(())
        }
    }
}
