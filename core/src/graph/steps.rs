//! The program of a clocked pipeline: every layer of the row advances once, on what the one before it gave at the last tick.

use super::{Alias, Error, Graph, ValueId};
use crate::network::builder::by_dtype;
use crate::ops::{copy, stream};
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::Element;

/// Where a layer of the row ends: behind which node, and with what output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boundary {
    pub(crate) nodes: usize,
    pub(crate) output: ValueId,
}

impl Graph {
    /// Says that a layer of the row ends here.
    pub(crate) fn end_layer(&mut self, output: ValueId) {
        let nodes = self.nodes.len();
        self.boundaries.push(Boundary { nodes, output });
    }

    /// Appends the program: the last layer first, so that one set of outputs is enough; they stay from run to run. So do the
    /// inputs of as many ticks as there are layers, for the gradient of the one whose output has arrived. Layers that move
    /// nothing take no tick. Source: `docs/numerics.md` §28.
    ///
    /// # Errors
    /// [`Error::Attribute`] for a network in which no layer takes a tick.
    pub(crate) fn add_step(&mut self, samples: usize) -> Result<(), Error> {
        let (Some(&x), Some(&y)) = (self.inputs.first(), self.outputs.first()) else {
            return Ok(());
        };
        let mut row: Vec<Boundary> = Vec::new();
        for &boundary in &self.boundaries {
            let before = row.last().map_or(x, |layer| layer.output);
            if self.root(boundary.output) != self.root(before) {
                row.push(boundary);
            }
        }
        let Some(last) = row.last_mut() else {
            return Err(Error::Attribute {
                path: "step".into(),
                expected: "a layer that computes".into(),
                found: "none".into(),
            });
        };
        (last.nodes, last.output) = (self.forward, y);
        let ticks = row.len();
        let kept = self.blank(x, ticks * samples);
        let mut outputs = vec![y, kept];
        for layer in row.iter().take(ticks - 1) {
            outputs.push(self.blank(layer.output, samples));
        }
        let size = self.shape_of(x).iter().product();
        let mut nodes = vec![stream::describe::keep(self, x, kept, [ticks, size])];
        for (i, layer) in row.iter().enumerate().rev() {
            let before = i.checked_sub(1).and_then(|i| row.get(i).copied());
            let first = before.map_or(0, |before| before.nodes);
            let own = self.nodes.get(first..layer.nodes).unwrap_or_default();
            let mut own = own.to_vec();
            if let (Some(before), Some(&given)) = (before, outputs.get(i + 1)) {
                let root = self.root(before.output);
                for id in own.iter_mut().flat_map(|node| &mut node.inputs).flatten() {
                    if self.root(*id) == root {
                        *id = self.alias(Alias::View(given), self.shape_of(*id));
                    }
                }
            }
            let number = own.last().map_or(0, |node| node.number);
            nodes.extend(own);
            if let Some(&stays) = outputs.get(i + 2).filter(|_| i + 1 < ticks) {
                let dtype = self.dtype_of(layer.output);
                nodes.push(copy::describe::node(dtype, layer.output, stays, number));
            }
        }
        (self.step, self.step_outputs) = (nodes, outputs);
        Ok(())
    }

    /// Zeros for `count` of `like`, which stay from run to run.
    fn blank(&mut self, like: ValueId, count: usize) -> ValueId {
        let (dtype, shape) = (self.dtype_of(like), self.shape_of(like));
        let elements = count * shape.iter().product::<usize>();
        let zeros = by_dtype!(dtype, T => {
            bytemuck::cast_slice::<T, u8>(&vec![<T as Element>::ZERO; elements]).to_vec()
        });
        self.carried_as(dtype, zeros)
    }
}
