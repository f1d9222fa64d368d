//! Reverse-mode differentiation: appends the operators that take the gradient of a loss back to every parameter.

use super::{Alias, Error, Graph, Node, ValueId};
use crate::ops::{copy, sum};
use alloc::vec;
use alloc::vec::Vec;

/// What an operator is asked with for its gradient.
#[derive(Debug)]
pub(crate) struct Walk<'g> {
    pub(crate) graph: &'g mut Graph,
    /// Of each value of the forward pass, the gradients by the operators that read it; the last reader's first.
    errors: Vec<Vec<ValueId>>,
}

impl Walk<'_> {
    /// Whether the gradient of `value` is needed: a parameter that is trained lies below it.
    pub(crate) fn learns(&self, value: ValueId) -> bool {
        self.graph.learns(value)
    }

    /// The gradient of `value`, which `number` has made: where several operators read it, the sum of what each says, in
    /// the order of these operators.
    pub(crate) fn error(&mut self, value: ValueId, number: u32) -> Option<ValueId> {
        let errors = core::mem::take(self.errors.get_mut(value.0)?);
        match *errors {
            [] => None,
            [error] => Some(error),
            _ => {
                let errors = errors.into_iter().rev().collect();
                Some(sum::describe::append_errors(self.graph, errors, number))
            }
        }
    }

    /// Says what the gradient of `value` is by one operator that reads it.
    pub(crate) fn add_error(&mut self, value: ValueId, error: ValueId) {
        if let Some(errors) = self.errors.get_mut(value.0) {
            errors.push(error);
        }
    }

    /// Room for the gradient of `value` by one operator, if it is needed.
    pub(crate) fn new_error(&mut self, value: Option<ValueId>) -> Option<ValueId> {
        let value = value.filter(|&value| self.learns(value))?;
        let (dtype, shape) = (self.graph.dtype_of(value), self.graph.shape_of(value));
        let error = self.graph.computed(dtype, shape);
        self.add_error(value, error);
        Some(error)
    }
}

impl Graph {
    /// Appends what trains the network, from the gradient `error` of `output` back.
    ///
    /// # Errors
    /// [`Error::Gradient`] for an operator that has none.
    pub(crate) fn differentiate(&mut self, output: ValueId, error: ValueId) -> Result<(), Error> {
        let nodes: Vec<Node> = self.nodes.get(..self.forward).unwrap_or_default().to_vec();
        let mut walk = Walk {
            errors: vec![Vec::new(); self.values.len()],
            graph: self,
        };
        walk.add_error(output, error);
        for node in nodes.iter().rev() {
            let of = |y: &ValueId| walk.errors.get(y.0).is_some_and(|of| !of.is_empty());
            let reached = node.outputs.iter().flatten().any(of);
            let learns = node.outputs.iter().flatten().any(|&y| walk.learns(y));
            if reached && learns {
                node.operator.differentiate(&mut walk, node)?;
            }
        }
        self.protect();
        Ok(())
    }

    /// Has operators that write over an input write over a copy, where another operator still reads it.
    fn protect(&mut self) {
        let mut at = 0;
        while let Some(node) = self.nodes.get(at) {
            let consumed = node
                .consumes
                .and_then(|slot| node.inputs.get(slot).copied()?);
            at += 1;
            let Some(consumed) = consumed else {
                continue;
            };
            let content = self.content(consumed);
            let later = self.nodes.get(at..).unwrap_or_default().iter();
            let mut read = later.flat_map(|node| node.inputs.iter().flatten());
            let is_read = read.any(|&id| self.content(id) == content);
            if is_read || self.outputs.iter().any(|&id| self.content(id) == content) {
                self.copy_before(at - 1, consumed);
                at += 1;
            }
        }
    }

    /// Inserts a copy of `value` before the node at `at`, which takes the copy instead.
    fn copy_before(&mut self, at: usize, value: ValueId) {
        let (dtype, shape) = (self.dtype_of(value), self.shape_of(value));
        let own = self.computed(dtype, shape);
        let Some(node) = self.nodes.get_mut(at) else {
            return;
        };
        for input in node
            .inputs
            .iter_mut()
            .filter(|input| **input == Some(value))
        {
            *input = Some(own);
        }
        let (number, outputs) = (node.number, node.outputs.clone());
        for output in outputs.into_iter().flatten() {
            if let Some(output) = self.values.get_mut(output.0)
                && output.alias == Some(Alias::InPlace(value))
            {
                output.alias = Some(Alias::InPlace(own));
            }
        }
        let node = copy::describe::node(dtype, value, own, number);
        self.nodes.insert(at, node);
    }
}
