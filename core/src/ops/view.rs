//! The same elements in another shape: no code, no memory.

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;
    use alloc::vec::Vec;
    use selvedge_kernels::DType;

    #[derive(Debug)]
    struct View;

    /// `x` in `shape`, which has as many elements.
    pub(crate) fn append(graph: &mut Graph, x: ValueId, shape: Vec<usize>, number: u32) -> ValueId {
        let dtype = graph.value(x).map_or(DType::F32, |value| value.dtype);
        let y = graph.alias(x, shape);
        graph.node(Node {
            operator: &View,
            kind: Kind::View,
            dtypes: [dtype, dtype],
            number,
            inputs: vec![Some(x)],
            outputs: vec![Some(y)],
            attributes: vec![],
            states: 0,
            state: 0,
        });
        y
    }

    impl Describe for View {
        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[Some(x)], &[Some(y)]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y)
            {
                let shape = walk.graph.shape_of(x);
                let dx = walk.graph.alias(dy, shape);
                walk.set_error(x, dx);
            }
            Ok(())
        }
    }
}
