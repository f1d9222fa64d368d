//! Reverse-mode differentiation: appends the operators that take the gradient of a loss back to every parameter.

use super::{Error, Graph, Node, ValueId};
use alloc::vec;
use alloc::vec::Vec;

/// What an operator is asked with for its gradient.
#[derive(Debug)]
pub(crate) struct Walk<'g> {
    pub(crate) graph: &'g mut Graph,
    /// The gradient of each value of the forward pass, once it is known.
    errors: Vec<Option<ValueId>>,
    /// Whether a parameter lies below each value.
    learns: Vec<bool>,
}

impl Walk<'_> {
    /// The gradient of `value`.
    pub(crate) fn error(&self, value: ValueId) -> Option<ValueId> {
        self.errors.get(value.0).copied().flatten()
    }

    /// Whether a parameter lies below `value`, so that its gradient is needed.
    pub(crate) fn learns(&self, value: ValueId) -> bool {
        self.learns.get(value.0).copied().unwrap_or(false)
    }

    /// Says what the gradient of `value` is.
    pub(crate) fn set_error(&mut self, value: ValueId, error: ValueId) {
        if let Some(place) = self.errors.get_mut(value.0) {
            *place = Some(error);
        }
    }
}

impl Graph {
    /// Appends what trains the network, from the gradient `error` of `output` back.
    ///
    /// # Errors
    /// [`Error::Gradient`] for an operator that has none.
    pub(crate) fn differentiate(&mut self, output: ValueId, error: ValueId) -> Result<(), Error> {
        let nodes: Vec<Node> = self.nodes.get(..self.forward).unwrap_or_default().to_vec();
        let mut learns = vec![false; self.values.len()];
        for parameter in &self.parameters {
            if let Some(place) = learns.get_mut(parameter.value.0) {
                *place = true;
            }
        }
        for node in &nodes {
            let known = |id: &ValueId| learns.get(id.0).copied().unwrap_or(false);
            let learned = node.inputs.iter().flatten().any(known);
            for output in node.outputs.iter().flatten() {
                if let Some(place) = learns.get_mut(output.0) {
                    *place = learned;
                }
            }
        }
        let mut walk = Walk {
            errors: vec![None; self.values.len()],
            graph: self,
            learns,
        };
        walk.set_error(output, error);
        for node in nodes.iter().rev() {
            let reached = node
                .outputs
                .iter()
                .flatten()
                .any(|&y| walk.error(y).is_some());
            let learns = node.outputs.iter().flatten().any(|&y| walk.learns(y));
            if reached && learns {
                node.operator.differentiate(&mut walk, node)?;
            }
        }
        Ok(())
    }
}
