//! Reverse-mode differentiation: appends the operators that take the gradient of a loss back to every parameter.

use super::{Alias, Error, Graph, Node, Value, ValueId};
use crate::image::format::Place;
use crate::ops::{copy, sgd, sum};
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::DType;

/// What an operator is asked with for its gradient.
#[derive(Debug)]
pub(crate) struct Walk<'g> {
    pub(crate) graph: &'g mut Graph,
    /// Of each value of the forward pass, the gradients by the operators that read it; the last reader's first.
    errors: Vec<Vec<ValueId>>,
    /// How many operators read each value.
    readers: Vec<usize>,
    /// Gradients that are stored, and have not been applied.
    pub(crate) pending: Vec<Pending>,
}

/// A gradient of a parameter by one operator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// The parameter.
    pub(crate) value: ValueId,
    /// Its gradient.
    pub(crate) sums: ValueId,
    /// Type that the operator computes with.
    pub(crate) dtype: DType,
    /// Number of the layer, and of its parameter: they address the words of the update.
    pub(crate) number: u32,
    pub(crate) index: u32,
    /// Whether weight decay applies.
    pub(crate) is_weight: bool,
    /// Whether sums have the type of updates.
    pub(crate) is_wide: bool,
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

    /// Whether the gradient of the parameter `value` is kept for an update of its own: it accumulates, or is one of several.
    pub(crate) fn stores(&self, value: ValueId) -> bool {
        let readers = self.readers.get(value.0).copied().unwrap_or(0);
        self.learns(value) && (self.graph.accumulates || readers > 1)
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
    /// Appends what trains the network, from outputs with the gradients of their losses back.
    ///
    /// # Errors
    /// [`Error::Gradient`] for an operator that has none.
    pub(crate) fn differentiate(&mut self, outputs: &[(ValueId, ValueId)]) -> Result<(), Error> {
        let nodes: Vec<Node> = self.nodes.get(..self.forward).unwrap_or_default().to_vec();
        let mut readers = vec![0; self.values.len()];
        for input in nodes.iter().flat_map(|node| node.inputs.iter().flatten()) {
            if let Some(readers) = readers.get_mut(input.0) {
                *readers += 1;
            }
        }
        let mut walk = Walk {
            errors: vec![Vec::new(); self.values.len()],
            readers,
            pending: Vec::new(),
            graph: self,
        };
        for &(output, error) in outputs {
            walk.add_error(output, error);
        }
        for node in nodes.iter().rev() {
            let of = |y: &ValueId| walk.errors.get(y.0).is_some_and(|of| !of.is_empty());
            let reached = node.outputs.iter().flatten().any(of);
            let learns = node.outputs.iter().flatten().any(|&y| walk.learns(y));
            if reached && learns {
                node.operator.differentiate(&mut walk, node)?;
            }
        }
        // In the order of the forward pass.
        let pending: Vec<Pending> = walk.pending.into_iter().rev().collect();
        self.update(&pending);
        self.protect();
        Ok(())
    }

    /// Appends the updates of parameters whose gradients are stored.
    fn update(&mut self, pending: &[Pending]) {
        let mut updates = Vec::new();
        for (i, first) in pending.iter().enumerate() {
            let is_same = |other: &&Pending| other.value == first.value;
            if pending.iter().take(i).any(|other| is_same(&other)) {
                continue; // it is among the uses of that one
            }
            let uses = pending.iter().skip(i).filter(is_same);
            let mut sums = uses.map(|pending| pending.sums);
            let mut total = sums.next();
            if self.accumulates {
                let shape = self.shape_of(first.sums);
                let kept = self.push(Value {
                    varies: false,
                    place: Place::Persistent,
                    ..Value::computed(DType::U8, shape)
                });
                self.totals.push(kept);
                if let Some(sums) = total.replace(kept) {
                    sgd::describe::accumulate(self, *first, kept, sums, true);
                }
            }
            let Some(total) = total else {
                continue;
            };
            for sums in sums {
                sgd::describe::accumulate(self, *first, total, sums, false);
            }
            updates.push((*first, total));
        }
        self.backward = self.nodes.len();
        for (pending, total) in updates {
            sgd::describe::append(self, pending, total);
        }
        if !self.accumulates {
            self.backward = self.nodes.len();
        }
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
        if at < self.backward {
            self.backward += 1;
        }
    }
}
