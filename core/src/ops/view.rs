//! The same elements in another shape: no code, no memory.

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Alias, Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec::Vec;

    #[derive(Debug)]
    struct View;

    /// `x` in `shape`, which has as many elements.
    pub(crate) fn append(graph: &mut Graph, x: ValueId, shape: Vec<usize>, number: u32) -> ValueId {
        let y = graph.alias(Alias::View(x), shape);
        let node = Node::new(&View, Kind::View, graph.dtype_of(x), number);
        graph.node(node.inputs([Some(x)]).outputs([Some(y)]));
        y
    }

    /// `x` for the readers of the container `number`: what they say of its gradient is added at once, with the words of
    /// that number.
    pub(crate) fn fork(graph: &mut Graph, x: ValueId, number: u32) -> ValueId {
        let shape = graph.shape_of(x);
        append(graph, x, shape, number)
    }

    impl Describe for View {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[Some(x)], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
            {
                let shape = walk.graph.shape_of(x);
                let dx = walk.graph.alias(Alias::View(dy), shape);
                walk.add_error(x, dx);
            }
            Ok(())
        }
    }
}
