//! Graphs: operators on values, each value computed once.
//!
//! A [`Network`](crate::network::Network) becomes a graph; differentiation appends what trains it. Gradients are
//! operators like all others, so that planner, image and session know nothing of training.

mod differentiate;
mod error;

pub(crate) use differentiate::Walk;
pub use error::Error;

use crate::image::format::Place;
use crate::ops::{Describe, Kind};
use alloc::string::String;
use alloc::vec::Vec;
use selvedge_kernels::{DType, Element};

/// A value of a graph, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub(crate) usize);

/// A tensor of a graph.
#[derive(Clone, Debug)]
pub struct Value {
    /// Type of its elements.
    pub dtype: DType,
    /// Extents, of one sample where it `varies`.
    pub shape: Vec<usize>,
    /// Whether it has a sample for each of the batch.
    pub varies: bool,
    pub(crate) place: Place,
    /// The exponent of an input or of a parameter.
    pub(crate) exponent: i16,
    /// What shares the memory of this value: another view of it, or what it becomes in place.
    pub(crate) alias: Option<ValueId>,
}

impl Value {
    /// Elements, of one sample where it varies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product() // which `network` has checked
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A call of an operator.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) operator: &'static dyn Describe,
    pub(crate) kind: Kind,
    /// Types of what it computes with, and of what it stores.
    pub(crate) dtypes: [DType; 2],
    /// Number of the layer that it belongs to.
    pub(crate) number: u32,
    pub(crate) inputs: Vec<Option<ValueId>>,
    pub(crate) outputs: Vec<Option<ValueId>>,
    pub(crate) attributes: Vec<u32>,
    /// How many exponent states it has.
    pub(crate) states: usize,
    /// The first of them, which [`Graph::node`] says.
    pub(crate) state: usize,
}

/// A parameter tensor with what it begins with.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub(crate) value: ValueId,
    pub(crate) residual: Option<ValueId>,
    /// What momentum keeps; zeros at first.
    pub(crate) velocity: Option<ValueId>,
    /// Elements, then low bytes of the masters.
    pub(crate) stored: Vec<u8>,
}

/// Operators on values.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) states: usize,
    /// Nodes of the forward pass; what follows trains.
    pub(crate) forward: usize,
    pub(crate) seed: u32,
    /// Whether parameters have velocities.
    pub(crate) has_momentum: bool,
    /// Where parameters lie: in the arena if they are trained, else in the image.
    pub(crate) parameter_place: Place,
}

impl Graph {
    /// An input whose samples have `shape`; integers stand for fractions at `exponent`.
    pub fn input(&mut self, dtype: DType, shape: &[usize], exponent: i16) -> ValueId {
        let id = self.push(Value {
            dtype,
            shape: shape.to_vec(),
            varies: true,
            place: Place::Transient,
            exponent,
            alias: None,
        });
        self.inputs.push(id);
        id
    }

    /// Says that `value` is an output.
    pub fn output(&mut self, value: ValueId) {
        self.outputs.push(value);
    }

    /// What a value is.
    #[must_use]
    pub fn value(&self, id: ValueId) -> Option<&Value> {
        self.values.get(id.0)
    }

    pub(crate) fn push(&mut self, value: Value) -> ValueId {
        self.values.push(value);
        ValueId(self.values.len() - 1)
    }

    /// A value that an operator computes.
    pub(crate) fn computed(&mut self, dtype: DType, shape: Vec<usize>) -> ValueId {
        self.push(Value {
            dtype,
            shape,
            varies: true,
            place: Place::Transient,
            exponent: 0,
            alias: None,
        })
    }

    /// The same memory in another shape, or as what an operator makes of it in place.
    pub(crate) fn alias(&mut self, of: ValueId, shape: Vec<usize>) -> ValueId {
        let (dtype, place, varies) = (self.values)
            .get(of.0)
            .map_or((DType::F32, Place::Transient, true), |value| {
                (value.dtype, value.place, value.varies)
            });
        self.push(Value {
            dtype,
            shape,
            varies,
            place,
            exponent: 0,
            alias: Some(of),
        })
    }

    /// A parameter of these elements.
    pub(crate) fn parameter<T: Element>(
        &mut self,
        shape: Vec<usize>,
        elements: &[T],
        low: &[i8],
        exponent: i16,
    ) -> ValueId {
        let mut stored = Vec::new();
        for &element in elements {
            element.le_bytes(|bytes| stored.extend_from_slice(bytes));
        }
        stored.extend(low.iter().map(|&byte| byte as u8));
        let (has_momentum, place) = (self.has_momentum, self.parameter_place);
        let mut constant = |dtype, exponent| {
            self.push(Value {
                dtype,
                shape: shape.clone(),
                varies: false,
                place,
                exponent,
                alias: None,
            })
        };
        let value = constant(T::DTYPE, exponent);
        let residual = (!low.is_empty()).then(|| constant(DType::I8, 0));
        let velocity = has_momentum.then(|| constant(T::Velocity::DTYPE, 0));
        self.parameters.push(Parameter {
            value,
            residual,
            velocity,
            stored,
        });
        value
    }

    /// Appends a node, and finds room for its exponent states.
    pub(crate) fn node(&mut self, node: Node) {
        let state = self.states;
        self.states += node.states;
        self.nodes.push(Node { state, ..node });
    }

    /// The value whose memory `id` lies in.
    pub(crate) fn root(&self, mut id: ValueId) -> ValueId {
        while let Some(of) = self.values.get(id.0).and_then(|value| value.alias) {
            id = of;
        }
        id
    }

    pub(crate) fn parameter_of(&self, value: ValueId) -> Option<&Parameter> {
        self.parameters
            .iter()
            .find(|parameter| parameter.value == value)
    }

    /// A parameter, the low bytes of its masters and its velocities, for an operator that learns.
    pub(crate) fn with_companions(&self, value: Option<ValueId>) -> [Option<ValueId>; 3] {
        let parameter = value.and_then(|value| self.parameter_of(value));
        match parameter {
            None => [value, None, None],
            Some(parameter) => [value, parameter.residual, parameter.velocity],
        }
    }

    /// The extents of a value.
    pub(crate) fn shape_of(&self, id: ValueId) -> Vec<usize> {
        self.value(id)
            .map(|value| value.shape.clone())
            .unwrap_or_default()
    }
}

/// A shape as messages show it.
pub(crate) fn shown(shape: &[usize]) -> String {
    let extents: Vec<_> = shape
        .iter()
        .map(|extent| alloc::format!("{extent}"))
        .collect();
    alloc::format!("[{}]", extents.join(", "))
}
