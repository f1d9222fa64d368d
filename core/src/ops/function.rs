//! Operators of one tensor, without parameters, as nodes of a graph.

use super::{Describe, Kind};
use crate::graph::{Error, Graph, Node, ValueId, Walk};
use alloc::vec::Vec;

/// What takes a tensor to another, and an error back. Values of the way there are: input, constants; output; scratch. Of the
/// way back: input, if it asks for it, error, constants; error of the input; scratch.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) forward: Kind,
    pub(crate) backward: Kind,
    /// Whether the way back asks what came in.
    pub(crate) asks_input: bool,
    /// Exponent states of both ways.
    pub(crate) states: [usize; 2],
}

/// What a call of a [`Function`] has beside its input.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) attributes: Vec<u32>,
    pub(crate) constants: Vec<Option<ValueId>>,
    /// What it works in, which the way back has, too.
    pub(crate) scratch: Vec<ValueId>,
}

impl Function {
    /// What it makes of `x`, in `shape`.
    pub(crate) fn append(
        &'static self,
        graph: &mut Graph,
        number: u32,
        x: ValueId,
        shape: Vec<usize>,
        given: Given,
    ) -> ValueId {
        let dtype = graph.dtype_of(x);
        let y = graph.computed(dtype, shape);
        let [states, _] = self.states;
        let node = Node::new(self, self.forward, dtype, number)
            .inputs([Some(x)])
            .inputs(given.constants)
            .outputs([Some(y)])
            .scratch(given.scratch)
            .attributes(given.attributes)
            .states(states);
        graph.node(node);
        y
    }
}

impl Describe for Function {
    fn repeats(&self) -> bool {
        true
    }

    fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
        if let ([x, constants @ ..], &[Some(y)]) = (&*node.inputs, &*node.outputs)
            && let Some(dy) = walk.error(y, node.number)
            && let Some(dx) = walk.new_error(*x)
        {
            let scratch: Vec<ValueId> = (node.scratch.iter())
                .map(|&id| walk.graph.alike(id))
                .collect();
            let [_, states] = self.states;
            let back = Node::new(self, self.backward, node.dtypes[0], node.number)
                .inputs(self.asks_input.then_some(*x))
                .inputs([Some(dy)])
                .inputs(constants.iter().copied())
                .outputs([Some(dx)])
                .scratch(scratch)
                .attributes(node.attributes.clone())
                .states(states);
            walk.graph.node(back);
        }
        Ok(())
    }
}

/// The number of extents, and the extents.
pub(crate) fn counted(extents: &[usize]) -> Vec<u32> {
    let mut words = Vec::from([extents.len() as u32]);
    words.extend(extents.iter().map(|&extent| extent as u32));
    words
}
