//! A pass over any graph: operators of the forward pass whose results nothing reads are left out.

use super::{Graph, Node, ValueId};
use crate::image::format::{Parameter, Place};
use alloc::vec;
use alloc::vec::Vec;

impl Graph {
    /// The operators of the forward pass that neither lead to an output, nor to what trains, nor change what stays from run
    /// to run: their places, the last first.
    pub(super) fn dead(&self) -> Vec<usize> {
        let mut is_read = vec![false; self.values.len()];
        let (forward, rest) = self
            .nodes
            .split_at_checked(self.forward)
            .unwrap_or((&self.nodes, &[]));
        let read = rest.iter().flat_map(Node::read);
        self.mark(self.outputs.iter().copied().chain(read), &mut is_read);
        let mut dead = Vec::new();
        for (at, node) in forward.iter().enumerate().rev() {
            let mut results = node.outputs.iter().flatten();
            let is_asked = results.any(|&id| is_read.get(self.root(id).0) == Some(&true));
            if is_asked || self.carries(node) {
                self.mark(node.read(), &mut is_read);
            } else {
                dead.push(at);
            }
        }
        dead
    }

    /// Marks values, by the memory that they have.
    fn mark(&self, ids: impl Iterator<Item = ValueId>, marks: &mut [bool]) {
        for id in ids {
            if let Some(mark) = marks.get_mut(self.root(id).0) {
                *mark = true;
            }
        }
    }

    /// Leaves out operators of the forward pass, the last first.
    pub(super) fn leave_out(&mut self, dead: &[usize]) {
        for &at in dead {
            if at < self.forward {
                self.nodes.remove(at);
                self.forward -= 1;
                self.backward = self.backward.saturating_sub(1);
            }
        }
    }

    /// Whether it changes what stays from run to run: anything but a parameter.
    pub(crate) fn carries(&self, node: &Node) -> bool {
        node.inputs.iter().flatten().any(|&id| {
            let stays = self
                .value(id)
                .is_some_and(|value| value.place == Place::Persistent);
            let parameter = self.parameter_of(id);
            stays && parameter.is_none_or(|parameter| parameter.kind != Parameter::TRAINED)
        })
    }
}

impl Node {
    /// What it reads.
    fn read(&self) -> impl Iterator<Item = ValueId> {
        self.inputs.iter().flatten().copied().chain(self.mentions)
    }
}
