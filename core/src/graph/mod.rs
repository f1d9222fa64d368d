//! Graphs: operators on values, each value computed once.
//!
//! A [`Network`](crate::network::Network) becomes a graph; differentiation appends what trains it. Gradients are
//! operators like all others, so that planner, image and session know nothing of training.

mod continued;
mod dead;
mod differentiate;
mod error;
mod fuse;
mod steps;

pub use crate::compile::{Budget, MemoryMap, Placed, Step};
pub(crate) use differentiate::{Pending, Walk};
pub use error::Error;

use crate::image::format::{self, Place};
use crate::ops::{Describe, Kind};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use selvedge_kernels::{DType, Element};
use steps::Boundary;

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
    /// Whose memory it shares.
    pub(crate) alias: Option<Alias>,
    /// Whether a parameter that is trained is, or lies below, this value.
    pub(crate) learns: bool,
}

/// Why a value has no memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alias {
    /// The same elements, perhaps in another shape.
    View(ValueId),
    /// What an operator makes of a value where it lies.
    InPlace(ValueId),
}

impl Alias {
    pub(crate) const fn of(self) -> ValueId {
        match self {
            Self::View(of) | Self::InPlace(of) => of,
        }
    }
}

impl Value {
    /// What an operator computes for each sample.
    pub(crate) fn computed(dtype: DType, shape: Vec<usize>) -> Self {
        Self {
            dtype,
            shape,
            varies: true,
            place: Place::Transient,
            exponent: 0,
            alias: None,
            learns: false,
        }
    }

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
pub(crate) struct Node {
    pub(crate) operator: &'static dyn Describe,
    pub(crate) kind: Kind,
    /// Types of what it computes with, and of what it stores.
    pub(crate) dtypes: [DType; 2],
    /// Number of the layer that it belongs to.
    pub(crate) number: u32,
    pub(crate) inputs: Vec<Option<ValueId>>,
    /// What it computes; left out where nothing reads it.
    pub(crate) outputs: Vec<Option<ValueId>>,
    /// What it works in, whether something reads it or not.
    pub(crate) scratch: Vec<ValueId>,
    pub(crate) attributes: Vec<u32>,
    /// How many exponent states it has.
    pub(crate) states: usize,
    /// The first of them, which [`Graph::node`] says.
    pub(crate) state: usize,
    /// The input whose memory it writes over.
    pub(crate) consumes: Option<usize>,
    /// A value whose exponent it reads, but not its elements.
    pub(crate) mentions: Option<ValueId>,
    /// Whether it is a second run, of which not all outputs may be read.
    pub(crate) is_repeated: bool,
}

impl Node {
    /// A call of `operator` as `kind`, of elements of `dtype`, for the layer `number`.
    pub(crate) fn new(
        operator: &'static dyn Describe,
        kind: Kind,
        dtype: DType,
        number: u32,
    ) -> Self {
        Self {
            operator,
            kind,
            dtypes: [dtype; 2],
            number,
            inputs: Vec::new(),
            outputs: Vec::new(),
            scratch: Vec::new(),
            attributes: Vec::new(),
            states: 0,
            state: 0,
            consumes: None,
            mentions: None,
            is_repeated: false,
        }
    }

    /// With inputs behind those that it has.
    pub(crate) fn inputs(mut self, inputs: impl IntoIterator<Item = Option<ValueId>>) -> Self {
        self.inputs.extend(inputs);
        self
    }

    /// With outputs behind those that it has.
    pub(crate) fn outputs(mut self, outputs: impl IntoIterator<Item = Option<ValueId>>) -> Self {
        self.outputs.extend(outputs);
        self
    }

    /// With what it works in.
    pub(crate) fn scratch(mut self, scratch: impl IntoIterator<Item = ValueId>) -> Self {
        self.scratch.extend(scratch);
        self
    }

    /// With these attributes.
    pub(crate) fn attributes(self, attributes: Vec<u32>) -> Self {
        Self { attributes, ..self }
    }

    /// With so many exponent states.
    pub(crate) fn states(self, states: usize) -> Self {
        Self { states, ..self }
    }

    /// What it writes over.
    pub(crate) fn consumes(self, input: usize) -> Self {
        Self {
            consumes: Some(input),
            ..self
        }
    }
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
    /// Whether it is trained or another state: see [`format::Parameter`].
    pub(crate) kind: u16,
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
    /// Nodes up to the end of the backward pass; what follows updates parameters of gradients that have accumulated.
    pub(crate) backward: usize,
    /// Gradients that stay from run to run.
    pub(crate) totals: Vec<ValueId>,
    /// Whether parameters have velocities.
    pub(crate) has_momentum: bool,
    /// Whether gradients accumulate over several runs before they update anything.
    pub(crate) accumulates: bool,
    /// Parameters that are taken before new ones are made.
    pub(crate) shared: VecDeque<ValueId>,
    /// Exponent states of a network that has run, four bytes each.
    pub(crate) states_before: Vec<u8>,
    /// Training steps before.
    pub(crate) steps: u32,
    /// Whether passes that change how floats round are left out.
    pub(crate) exact: bool,
    /// Paths of layers, by their numbers.
    pub(crate) paths: BTreeMap<u32, String>,
    /// Where the layers of the row end.
    pub(crate) boundaries: Vec<Boundary>,
    /// The program that advances each layer by a tick, and its outputs.
    pub(crate) step: Vec<Node>,
    pub(crate) step_outputs: Vec<ValueId>,
}

impl Graph {
    /// An input whose samples have `shape`; integers stand for fractions at `exponent`.
    pub(crate) fn input(&mut self, dtype: DType, shape: &[usize], exponent: i16) -> ValueId {
        let id = self.push(Value {
            exponent,
            ..Value::computed(dtype, shape.to_vec())
        });
        self.inputs.push(id);
        id
    }

    /// Says that `value` is an output.
    pub(crate) fn output(&mut self, value: ValueId) {
        self.outputs.push(value);
    }

    /// What a value is.
    #[must_use]
    pub fn value(&self, id: ValueId) -> Option<&Value> {
        self.values.get(id.0)
    }

    fn push(&mut self, value: Value) -> ValueId {
        self.values.push(value);
        ValueId(self.values.len() - 1)
    }

    /// A value that an operator computes for each sample.
    pub(crate) fn computed(&mut self, dtype: DType, shape: Vec<usize>) -> ValueId {
        self.push(Value::computed(dtype, shape))
    }

    /// A value that an operator computes for all samples together.
    pub(crate) fn computed_once(&mut self, dtype: DType, shape: Vec<usize>) -> ValueId {
        self.room(dtype, shape, false)
    }

    /// A value that an operator computes for each sample or for all together.
    pub(crate) fn room(&mut self, dtype: DType, shape: Vec<usize>, varies: bool) -> ValueId {
        self.push(Value {
            varies,
            ..Value::computed(dtype, shape)
        })
    }

    /// Bytes that an operator gives a meaning to, for each sample or for all together.
    pub(crate) fn raw(&mut self, shape: Vec<usize>, varies: bool) -> ValueId {
        self.room(DType::U8, shape, varies)
    }

    /// A value of the type and extents of another.
    pub(crate) fn alike(&mut self, id: ValueId) -> ValueId {
        let (dtype, shape) = (self.dtype_of(id), self.shape_of(id));
        let varies = self.value(id).is_some_and(|value| value.varies);
        self.room(dtype, shape, varies)
    }

    /// The same memory in another shape, or as what an operator makes of it in place.
    pub(crate) fn alias(&mut self, alias: Alias, shape: Vec<usize>) -> ValueId {
        let of = self.values.get(alias.of().0).cloned();
        self.push(Value {
            alias: Some(alias),
            shape,
            ..of.unwrap_or_else(|| Value::computed(DType::F32, Vec::new()))
        })
    }

    /// A parameter of these elements, which is trained if there are masters for it.
    pub(crate) fn parameter<T: Element>(
        &mut self,
        shape: Vec<usize>,
        elements: &[T],
        masters: Masters<'_>,
        exponent: i16,
    ) -> ValueId {
        let is_same = |value: &Value| value.dtype == T::DTYPE && value.shape == shape;
        if let Some(&value) = self.shared.front()
            && self.value(value).is_some_and(is_same)
        {
            self.shared.pop_front();
            return value;
        }
        let mut stored = Vec::new();
        for &element in elements {
            element.le_bytes(|bytes| stored.extend_from_slice(bytes));
        }
        let learns = masters != Masters::Frozen;
        let constant = |dtype, exponent| Value {
            varies: false,
            place: if learns {
                Place::Persistent
            } else {
                Place::Constant
            },
            exponent,
            learns,
            ..Value::computed(dtype, shape.clone())
        };
        let value = self.push(constant(T::DTYPE, exponent));
        let residual = match masters {
            Masters::Low(low) if !low.is_empty() => {
                stored.extend(low.iter().map(|&byte| byte as u8));
                Some(self.push(constant(DType::I8, 0)))
            }
            _ => None,
        };
        let velocity =
            (learns && self.has_momentum).then(|| self.push(constant(T::Velocity::DTYPE, 0)));
        self.parameters.push(Parameter {
            value,
            residual,
            velocity,
            stored,
            kind: format::Parameter::TRAINED,
        });
        value
    }

    /// Numbers that stay from run to run beside parameters, such as running statistics; not trained, but changed by training
    /// if this is an image to be trained. Integers are `i64` in units of 2^-32.
    pub(crate) fn state(&mut self, dtype: DType, stored: Vec<u8>, changes: bool) -> ValueId {
        let place = if changes {
            Place::Persistent
        } else {
            Place::Constant
        };
        self.beside(dtype, stored, place, format::Parameter::STATE)
    }

    /// Bytes that never change.
    pub(crate) fn constant(&mut self, stored: Vec<u8>) -> ValueId {
        self.beside(DType::U8, stored, Place::Constant, format::Parameter::STATE)
    }

    /// Bytes that a run leaves to the next one of the same sequence.
    pub(crate) fn carried(&mut self, stored: Vec<u8>) -> ValueId {
        self.carried_as(DType::U8, stored)
    }

    /// The same in elements of type `dtype`.
    pub(crate) fn carried_as(&mut self, dtype: DType, stored: Vec<u8>) -> ValueId {
        self.beside(dtype, stored, Place::Persistent, format::Parameter::CARRIED)
    }

    fn beside(&mut self, dtype: DType, stored: Vec<u8>, place: Place, kind: u16) -> ValueId {
        let elements = stored.len() / dtype.bytes();
        let value = self.push(Value {
            varies: false,
            place,
            ..Value::computed(dtype, [elements].into())
        });
        self.parameters.push(Parameter {
            value,
            residual: None,
            velocity: None,
            stored,
            kind,
        });
        value
    }

    /// Appends a node, and finds room for its exponent states.
    pub(crate) fn node(&mut self, node: Node) {
        let state = self.states;
        self.states += node.states;
        if node.inputs.iter().flatten().any(|&id| self.learns(id)) {
            for output in node.outputs.iter().flatten() {
                if let Some(value) = self.values.get_mut(output.0) {
                    value.learns = true;
                }
            }
        }
        self.nodes.push(Node { state, ..node });
    }

    /// Whether a parameter that is trained lies below `value`, so that its gradient is needed.
    pub(crate) fn learns(&self, value: ValueId) -> bool {
        self.value(value).is_some_and(|value| value.learns)
    }

    /// The value whose memory `id` lies in.
    pub(crate) fn root(&self, mut id: ValueId) -> ValueId {
        while let Some(alias) = self.value(id).and_then(|value| value.alias) {
            id = alias.of();
        }
        id
    }

    /// The first value that has the elements of `id`.
    pub(crate) fn content(&self, mut id: ValueId) -> ValueId {
        while let Some(Alias::View(of)) = self.value(id).and_then(|value| value.alias) {
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

    /// The type of a value.
    pub(crate) fn dtype_of(&self, id: ValueId) -> DType {
        self.value(id).map_or(DType::F32, |value| value.dtype)
    }
}

/// What a parameter that is trained has beside its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Masters<'a> {
    /// It is not trained.
    Frozen,
    /// Low bytes of its masters; none where the type has none.
    Low(&'a [i8]),
}

/// A shape as messages show it.
pub(crate) fn shown(shape: &[usize]) -> String {
    let extents: Vec<_> = shape
        .iter()
        .map(|extent| alloc::format!("{extent}"))
        .collect();
    alloc::format!("[{}]", extents.join(", "))
}
