//! The graph as it is compiled: without dead code, and, where it is only run, with passes over floats: normalisation by running statistics folds into the weights before it, and
//! ReLU into the operator before it. Integers keep their bytes: nothing is fused that rounds on its own.

use super::{Error, Graph, Node, Parameter, Value, ValueId};
use crate::image::format::Place;
use crate::network::builder::by_dtype;
use crate::ops::Kind;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use selvedge_kernels::Element;
use selvedge_kernels::norm::Kernels as _;

/// The code of ReLU, which every operator with an activation has.
const RELU: u32 = 1;

impl Graph {
    /// The graph as it is compiled.
    pub(crate) fn lowered(&self) -> Result<Cow<'_, Self>, Error> {
        let mut graph = Cow::Borrowed(self);
        if !self.step.is_empty() {
            return Ok(graph); // what is dead in one program may be none in the other
        }
        let dead = self.dead();
        if !dead.is_empty() {
            graph.to_mut().leave_out(&dead);
        }
        let is_run = graph.nodes.len() == graph.forward;
        let kinds = [Kind::BatchNorm, Kind::Activate];
        let may_fuse = |node: &Node| kinds.contains(&node.kind) && !node.dtypes[0].is_integer();
        if is_run && graph.nodes.iter().any(may_fuse) {
            graph.to_mut().fuse()?;
        }
        // A training keeps what it was told to keep.
        if is_run && let Cow::Owned(graph) = &mut graph {
            let nodes = &graph.nodes;
            graph.parameters.retain(|parameter| {
                let mut read = nodes.iter().flat_map(|node| &node.inputs).flatten();
                read.any(|&id| id == parameter.value)
            });
        }
        Ok(graph)
    }

    /// Folds and absorbs what may be, of a graph that is only run.
    fn fuse(&mut self) -> Result<(), Error> {
        let mut at = 0;
        while let Some(node) = self.nodes.get(at) {
            let fuses = match (node.kind, self.before(node)) {
                (Kind::BatchNorm, Some(before)) if !self.exact => self.fold(before, at)?,
                (Kind::Activate, Some(before)) => self.absorb(before, at),
                _ => false,
            };
            if fuses {
                self.nodes.remove(at);
            } else {
                at += 1;
            }
        }
        self.forward = self.nodes.len();
        self.backward = self.forward;
        Ok(())
    }

    /// The dense layer or convolution of floats whose output `node` takes, if that has no activation and no other reader.
    fn before(&self, node: &Node) -> Option<usize> {
        let x = node.inputs.first().copied().flatten()?;
        let root = self.root(x);
        let gives = |node: &Node| node.outputs.first() == Some(&Some(x));
        let at = self.nodes.iter().position(gives)?;
        let before = self.nodes.get(at)?;
        let mut readers = self.nodes.iter().flat_map(|node| &node.inputs).flatten();
        let is_alone = readers
            .by_ref()
            .filter(|&&id| self.root(id) == root)
            .count()
            == 1
            && !self.outputs.iter().any(|&id| self.root(id) == root);
        let [dtype, stored] = before.dtypes;
        let is_float = !dtype.is_integer() && stored == dtype;
        let activation = before.attributes.get(activation(before)?)?;
        (is_alone && is_float && *activation == 0).then_some(at)
    }

    /// Has the operator at `before` apply the ReLU at `at`.
    fn absorb(&mut self, before: usize, at: usize) -> bool {
        let Some(node) = self.nodes.get(at).cloned() else {
            return false;
        };
        let (Some(&code), Some(&y)) = (node.attributes.first(), node.outputs.first()) else {
            return false;
        };
        let Some(before) = self.nodes.get_mut(before).filter(|_| code == RELU) else {
            return false;
        };
        let code = activation(before).and_then(|at| before.attributes.get_mut(at));
        if let (Some(code), Some(output)) = (code, before.outputs.first_mut()) {
            (*code, *output) = (RELU, y);
            return true;
        }
        false
    }

    /// Folds the normalisation at `at` into the weights before it: `w · s`, `(b - mean) · s + beta` with
    /// `s = gamma / √(variance + ε)` for each channel, in `f64`, rounded once.
    fn fold(&mut self, before: usize, at: usize) -> Result<bool, Error> {
        let (Some(layer), Some(norm)) = (self.nodes.get(before), self.nodes.get(at)) else {
            return Ok(false);
        };
        let (&[x, Some(weight), Some(bias)], &[_, Some(gamma), Some(beta), Some(running)]) =
            (&*layer.inputs, &*norm.inputs)
        else {
            return Ok(false);
        };
        let ids = [weight, bias, gamma, beta, running];
        let [weights, biases, gammas, betas, running] = ids.map(|id| self.numbers(id));
        let channels = gammas.len();
        if channels == 0 || self.shape_of(weight).first() != Some(&channels) {
            return Ok(false);
        }
        let statistics = running.chunks_exact(2);
        let scales: Vec<[f64; 2]> = (statistics.zip(gammas))
            .map(|(of, gamma)| match *of {
                [mean, variance] => [mean, gamma / libm::sqrt(variance + f64::LAYER_EPSILON)],
                _ => [0.0; 2], // there are two of each
            })
            .collect();
        let rows = weights.chunks_exact((weights.len() / channels).max(1));
        let folded: Vec<f64> = (rows.zip(&scales))
            .flat_map(|(row, [_, scale])| row.iter().map(move |weight| weight * scale))
            .collect();
        let shifted = biases.iter().zip(&scales).zip(betas);
        let shifted: Vec<f64> = shifted
            .map(|((bias, [mean, scale]), beta)| (bias - mean) * scale + beta)
            .collect();
        let inputs = [
            x,
            Some(self.number_parameter(weight, &folded)?),
            Some(self.number_parameter(bias, &shifted)?),
        ];
        let y = norm_output(self.nodes.get(at));
        let Some(layer) = self.nodes.get_mut(before) else {
            return Ok(false);
        };
        layer.inputs = inputs.to_vec();
        if let Some(output) = layer.outputs.first_mut() {
            *output = y;
        }
        Ok(true)
    }

    /// The numbers of a parameter of floats.
    fn numbers(&self, id: ValueId) -> Vec<f64> {
        let stored = self.parameter_of(id).map_or(&[][..], |of| &of.stored);
        by_dtype!(self.dtype_of(id), T => {
            let elements = stored.chunks_exact(size_of::<T>());
            elements.filter_map(T::from_le_bytes_of).map(T::to_f64).collect()
        })
    }

    /// A parameter as `like`, with these numbers.
    fn number_parameter(&mut self, like: ValueId, numbers: &[f64]) -> Result<ValueId, Error> {
        let value = self.value(like).cloned().ok_or(Error::Size)?;
        let mut stored = Vec::new();
        by_dtype!(value.dtype, T => {
            for &number in numbers {
                T::from_f64(number).le_bytes(|bytes| stored.extend_from_slice(bytes));
            }
        });
        let value = self.push(Value {
            place: Place::Constant,
            ..value
        });
        self.parameters.push(Parameter {
            value,
            residual: None,
            velocity: None,
            stored,
            kind: crate::image::format::Parameter::TRAINED,
        });
        Ok(value)
    }
}

fn norm_output(node: Option<&Node>) -> Option<ValueId> {
    node.and_then(|node| node.outputs.first().copied().flatten())
}

/// Which attribute is the activation.
fn activation(node: &Node) -> Option<usize> {
    match node.kind {
        Kind::Dense => Some(3),
        Kind::Conv => Some(1),
        _ => None,
    }
}
