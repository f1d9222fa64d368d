//! From a graph to an image: which operators a program needs, where its values lie, and all of it as bytes.

mod budget;
mod map;
mod plan;

use crate::graph::{self, Error, Graph, Node, ValueId};
use crate::image::Role;
use crate::image::format::{
    self, ALIGN, CHECKED, CHECKSUM, Entry, Header, MAGIC, NONE, Outside, Parameter, Place,
    ProgramHeader, Section, Storing, VERSION, Value,
};
use crate::ops::Kind;
use alloc::vec;
use alloc::vec::Vec;
pub use budget::Budget;
use bytemuck::{bytes_of, cast_slice};
pub use map::{MemoryMap, Placed, Step};
use plan::{Lifetime, offsets};

/// Numbers of the values of a program: what stays first, in the same order in each program.
struct Numbers {
    of: Vec<Option<u16>>,
    values: Vec<ValueId>,
}

impl Numbers {
    /// The number of a value's memory.
    fn take(&mut self, root: ValueId) -> Result<u16, Error> {
        let next = u16::try_from(self.values.len()).ok();
        let place = self.of.get_mut(root.0).ok_or(Error::Size)?;
        if let Some(number) = *place {
            return Ok(number);
        }
        let number = next.filter(|&next| next != NONE).ok_or(Error::Size)?;
        *place = Some(number);
        self.values.push(root);
        Ok(number)
    }
}

fn word(n: usize) -> Result<u32, Error> {
    u32::try_from(n).map_err(|_| Error::Size)
}

const fn aligned(n: usize) -> usize {
    n.next_multiple_of(ALIGN)
}

impl Graph {
    /// The graph as an image, for up to `samples` samples at a time: a program that runs it, and one that trains it where
    /// it has been differentiated.
    ///
    /// # Errors
    /// [`Error::Size`] for more values or bytes than an image has room for.
    pub fn compile(&self, samples: usize) -> Result<Vec<u8>, Error> {
        self.compile_with(samples, Vec::new())
    }

    /// The same with a description, if it is not empty.
    pub(crate) fn compile_with(
        &self,
        samples: usize,
        description: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        self.lowered()?.write(samples, description, None)
    }

    /// The graph as an image without the parameters of its layers, and these beside it.
    ///
    /// # Errors
    /// As [`Graph::compile`].
    pub fn compile_outside(&self, samples: usize) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
        let mut outside = Vec::new();
        let image = self
            .lowered()?
            .write(samples, Vec::new(), Some(&mut outside))?;
        Ok((image, outside))
    }

    /// The bytes of an image; `outside` takes the parameters of layers, if there is one.
    fn write(
        &self,
        samples: usize,
        description: Vec<u8>,
        outside: Option<&mut Vec<Vec<u8>>>,
    ) -> Result<Vec<u8>, Error> {
        let mut storage = self.storage(outside.is_some())?;
        let mut parameters = Vec::new();
        for (parameter, &stored) in self.parameters.iter().zip(&storage.stored) {
            let number = |id: Option<ValueId>| {
                let place = storage.numbers.iter().position(|&kept| Some(kept) == id);
                place
                    .and_then(|place| u16::try_from(place).ok())
                    .unwrap_or(NONE)
            };
            let record = Parameter {
                value: number(Some(parameter.value)),
                residual: number(parameter.residual),
                velocity: number(parameter.velocity),
                kind: parameter.kind,
                stored: 0,
            };
            let record = record.stored(stored).ok_or(Error::Size)?;
            parameters.extend_from_slice(bytes_of(&record));
        }
        let mut sections = vec![
            (Section::PARAMETERS, parameters),
            (Section::WEIGHTS, storage.weights.clone()),
            (
                Section::INFER,
                self.program(Role::Infer, samples, &storage)?,
            ),
        ];
        if self.nodes.len() > self.forward {
            let train = self.program(Role::Train, samples, &storage)?;
            sections.push((Section::TRAIN, train));
        }
        if self.nodes.len() > self.backward {
            let update = self.program(Role::Update, samples, &storage)?;
            sections.push((Section::UPDATE, update));
        }
        if !self.step.is_empty() {
            let step = self.program(Role::Step, samples, &storage)?;
            sections.push((Section::STEP, step));
        }
        if let Some(outside) = outside {
            let mut slices = Vec::new();
            for slice in &storage.outside {
                slices.extend_from_slice(bytes_of(&Outside {
                    len: word(slice.len())?,
                    checksum: CHECKSUM.checksum(slice),
                }));
            }
            sections.push((Section::OUTSIDE, slices));
            outside.append(&mut storage.outside);
        }
        if !description.is_empty() {
            sections.push((Section::DESCRIPTION, description));
        }

        if !self.states_before.is_empty() {
            sections.push((Section::STATES, self.states_before.clone()));
        }

        let table = size_of::<Header>() + sections.len() * size_of::<Entry>();
        let mut bodies = Vec::new();
        let mut entries = Vec::new();
        for (kind, body) in sections {
            bodies.resize(aligned(table + bodies.len()) - table, 0);
            let entry = Entry {
                kind,
                offset: word(table + bodies.len())?,
                len: word(body.len())?,
                checksum: CHECKSUM.checksum(&body),
            };
            bodies.extend_from_slice(&body);
            entries.push(entry);
        }
        let mut header = Header {
            magic: MAGIC,
            checksum: 0,
            version: VERSION,
            sections: entries.len() as u16, // at most nine
            len: word(table + bodies.len())?,
            persistent: word(storage.bytes)?,
            states: word(self.states)?,
            seed: self.seed,
            steps: self.steps,
        };
        let mut digest = CHECKSUM.digest();
        digest.update(bytes_of(&header).get(CHECKED..).unwrap_or_default());
        digest.update(cast_slice(&entries));
        header.checksum = digest.finalize();
        Ok([bytes_of(&header), cast_slice(&entries), &*bodies].concat())
    }

    /// Where parameters lie: those that are trained in the arena, the others in the weights of the image, or `outside`.
    fn storage(&self, outside: bool) -> Result<Storage, Error> {
        let mut storage = Storage {
            weights: Vec::new(),
            is_outside: outside,
            outside: Vec::new(),
            stored: Vec::new(),
            numbers: Vec::new(),
            offsets: vec![0; self.values.len()],
            bytes: 0,
        };
        for parameter in &self.parameters {
            let place = |offsets: &mut Vec<usize>, id: ValueId, at: usize| {
                if let Some(offset) = offsets.get_mut(id.0) {
                    *offset = at;
                }
            };
            let is_constant = self.place(parameter.value) == Place::Constant;
            let mut stored = &*parameter.stored;
            if is_constant {
                let elements = stored.get(..self.bytes(parameter.value, 1));
                stored = elements.ok_or(Error::Size)?; // no masters
            }
            let storing = if outside && parameter.kind == format::Parameter::TRAINED {
                storage.outside.push(stored.to_vec());
                Storing::Outside(storage.outside.len() - 1)
            } else {
                let weights = &mut storage.weights;
                weights.resize(aligned(weights.len()), 0);
                let at = weights.len();
                let (first, rest) = stored.split_at_checked(ALIGN).unwrap_or_default();
                let repeats = rest.chunks(ALIGN).all(|of| first.starts_with(of));
                if is_constant || rest.is_empty() || !repeats {
                    weights.extend_from_slice(stored);
                    Storing::Plain(at)
                } else {
                    weights.extend_from_slice(first);
                    Storing::Repeated(at)
                }
            };
            storage.stored.push(storing);
            if is_constant {
                storage.numbers.push(parameter.value);
                let (Storing::Plain(at) | Storing::Repeated(at) | Storing::Outside(at)) = storing;
                place(&mut storage.offsets, parameter.value, at);
                continue;
            }
            let companions = [parameter.residual, parameter.velocity];
            for id in [Some(parameter.value)]
                .into_iter()
                .chain(companions)
                .flatten()
            {
                storage.numbers.push(id);
                place(&mut storage.offsets, id, storage.bytes);
                storage.bytes += aligned(self.bytes(id, 1));
            }
        }
        for &total in &self.totals {
            storage.numbers.push(total);
            if let Some(offset) = storage.offsets.get_mut(total.0) {
                *offset = storage.bytes;
            }
            storage.bytes += aligned(self.bytes(total, 1));
        }
        Ok(storage)
    }

    fn place(&self, id: ValueId) -> Place {
        self.values
            .get(id.0)
            .map_or(Place::Transient, |value| value.place)
    }

    /// Bytes of a value for `samples` samples.
    fn bytes(&self, id: ValueId, samples: usize) -> usize {
        self.values.get(id.0).map_or(0, |value| {
            let samples = if value.varies { samples } else { 1 };
            value.len() * value.dtype.bytes() * samples
        })
    }

    /// The nodes of a program.
    fn nodes_of(&self, role: Role) -> &[Node] {
        let nodes = match role {
            Role::Infer => self.nodes.get(..self.forward),
            Role::Train => self.nodes.get(..self.backward),
            Role::Update => self.nodes.get(self.backward..),
            Role::Step => Some(&*self.step),
        };
        nodes.unwrap_or_default()
    }

    /// The outputs of a program, if it computes them.
    fn outputs_of(&self, role: Role) -> &[ValueId] {
        match role {
            Role::Step => &self.step_outputs,
            Role::Infer | Role::Train | Role::Update => &self.outputs,
        }
    }

    /// The operators of a program with the numbers of their values, and where these lie.
    fn schedule(
        &self,
        role: Role,
        samples: usize,
        storage: &Storage,
    ) -> Result<Schedule<'_>, Error> {
        let nodes = self.nodes_of(role);
        let is_read = self.read(role);
        let is_read_at_all = |id: &&ValueId| is_read.get(self.root(**id).0) == Some(&true);
        let lifetimes = self.lives(role, samples);
        let mut numbers = Numbers {
            of: vec![None; self.values.len()],
            values: Vec::new(),
        };
        for &id in &storage.numbers {
            numbers.take(id)?;
        }
        let mut inputs = Vec::new();
        for &id in self.inputs.iter().filter(is_read_at_all) {
            inputs.push(u32::from(numbers.take(self.root(id))?));
        }
        let mut operators = Vec::new();
        for node in nodes.iter().filter(|node| node.kind != Kind::View) {
            let values = self.values_of(node, &is_read);
            let mut ids = Vec::new();
            for id in node.mentions.iter().copied().map(Some).chain(values) {
                ids.push(match id {
                    Some(id) => numbers.take(self.root(id))?,
                    None => NONE,
                });
            }
            operators.push((node, ids));
        }
        let mut outputs = Vec::new();
        for &id in self.outputs_of(role).iter().filter(is_read_at_all) {
            outputs.push(u32::from(numbers.take(self.root(id))?));
        }

        let (transient, lifetimes): (Vec<ValueId>, Vec<Lifetime>) = (numbers.values.iter())
            .filter(|&&id| self.place(id) == Place::Transient)
            .filter_map(|&id| Some((id, lifetimes.get(id.0).copied().flatten()?)))
            .unzip();
        let (offsets, arena) = offsets(&lifetimes);
        Ok(Schedule {
            inputs,
            outputs,
            operators,
            values: numbers.values,
            transient,
            lifetimes,
            offsets,
            arena,
        })
    }

    /// The body of a program's section.
    fn program(&self, role: Role, samples: usize, storage: &Storage) -> Result<Vec<u8>, Error> {
        let schedule = self.schedule(role, samples, storage)?;
        let mut code = Vec::new();
        for (node, ids) in &schedule.operators {
            emit(node, ids, &mut code)?;
        }
        let mut offsets = storage.offsets.clone();
        for (id, &at) in schedule.transient.iter().zip(&schedule.offsets) {
            if let Some(offset) = offsets.get_mut(id.0) {
                *offset = at;
            }
        }
        let mut values = Vec::new();
        for &id in &schedule.values {
            let (value, offset) = (self.values.get(id.0), offsets.get(id.0));
            let (Some(value), Some(&offset)) = (value, offset) else {
                return Err(Error::Size);
            };
            let is_outside = |parameter: &graph::Parameter| {
                parameter.value == id && parameter.kind == format::Parameter::TRAINED
            };
            let place = match value.place {
                Place::Constant if storage.is_outside && self.parameters.iter().any(is_outside) => {
                    Place::Outside
                }
                place => place,
            };
            values.extend_from_slice(bytes_of(&Value {
                offset: word(offset)?,
                len: word(value.len())?,
                kind: Value::kind(value.dtype, place, value.varies),
                exponent: value.exponent,
            }));
        }
        let header = ProgramHeader {
            samples: word(samples)?,
            arena: word(schedule.arena)?,
            inputs: word(schedule.inputs.len())?,
            outputs: word(schedule.outputs.len())?,
            values: word(schedule.values.len())?,
            operators: word(schedule.operators.len())?,
            code: word(code.len())?,
        };
        let mut body = bytes_of(&header).to_vec();
        for words in [&schedule.inputs, &schedule.outputs] {
            body.extend_from_slice(cast_slice(words));
        }
        body.extend(values);
        body.extend_from_slice(cast_slice(&code));
        Ok(body)
    }

    /// The values of a call, in the order of its slots: outputs that nothing reads are left out, unless the operator needs one
    /// to run at all.
    fn values_of(&self, node: &Node, is_read: &[bool]) -> Vec<Option<ValueId>> {
        let is_kept = |(slot, id): (usize, &Option<ValueId>)| {
            let is_first = slot == 0 && node.is_repeated;
            id.filter(|id| is_first || is_read.get(id.0) == Some(&true))
        };
        let inputs = node.inputs.iter().copied();
        let outputs = node.outputs.iter().enumerate().map(is_kept);
        let scratch = node.scratch.iter().copied().map(Some);
        inputs.chain(outputs).chain(scratch).collect()
    }

    /// Whether something reads each value: an operator of the program, or who takes its outputs.
    fn read(&self, role: Role) -> Vec<bool> {
        let nodes = self.nodes_of(role);
        let mut is_read = vec![false; self.values.len()];
        let is_computed = |id: &&ValueId| {
            let root = self.root(**id);
            (nodes.iter()).any(|node| node.outputs.contains(&Some(root)))
                || self.inputs.contains(&root)
                || role == Role::Step
        };
        let inputs = nodes.iter().flat_map(|node| node.inputs.iter().flatten());
        for id in inputs.chain(self.outputs_of(role).iter().filter(is_computed)) {
            if let Some(place) = is_read.get_mut(self.root(*id).0) {
                *place = true;
            }
        }
        is_read
    }
}

/// A program before it is bytes.
struct Schedule<'g> {
    /// Numbers of values that are inputs, and outputs.
    inputs: Vec<u32>,
    outputs: Vec<u32>,
    /// Operators with the numbers of their values.
    operators: Vec<(&'g Node, Vec<u16>)>,
    /// Values, by their numbers.
    values: Vec<ValueId>,
    /// Those of them that lie in the arena while they are used, when that is, and where.
    transient: Vec<ValueId>,
    lifetimes: Vec<Lifetime>,
    offsets: Vec<usize>,
    /// Bytes that they take.
    arena: usize,
}

/// Where parameters lie.
struct Storage {
    /// The section of weights.
    weights: Vec<u8>,
    /// Whether the parameters of layers are slices of the caller, and these.
    is_outside: bool,
    outside: Vec<Vec<u8>>,
    /// How each parameter is stored.
    stored: Vec<Storing>,
    /// Parameters and what is kept beside them, in the order of their numbers.
    numbers: Vec<ValueId>,
    /// Of each value: in the arena, or in the weights.
    offsets: Vec<usize>,
    /// Bytes of the arena that stay.
    bytes: usize,
}

/// Appends the record of a node, whose values have these numbers.
fn emit(node: &Node, ids: &[u16], code: &mut Vec<u32>) -> Result<(), Error> {
    let byte = |n: usize| u8::try_from(n).map(u32::from).map_err(|_| Error::Size);
    let half = |n: usize| u16::try_from(n).map(u32::from).map_err(|_| Error::Size);
    let mut attributes = Vec::new();
    for attribute in &node.attributes {
        let encoded = postcard::to_allocvec(attribute).map_err(|_| Error::Size)?;
        attributes.extend(encoded);
    }
    attributes.resize(attributes.len().next_multiple_of(4), 0);
    let [dtype, out] = node.dtypes.map(|dtype| dtype as u32);
    let kind = byte(node.kind as usize)?;
    let words = byte(attributes.len() / 4)?;
    code.push(kind | byte(ids.len())? << 8 | words << 16 | dtype << 24 | out << 28);
    code.push(half(node.number as usize)? | half(node.state)? << 16);
    for pair in ids.chunks(2) {
        let [first, second] = [0, 1].map(|i| u32::from(pair.get(i).copied().unwrap_or(NONE)));
        code.push(first | second << 16);
    }
    for word in attributes.chunks_exact(4) {
        let word = <[u8; 4]>::try_from(word).map_err(|_| Error::Size)?;
        code.push(u32::from_le_bytes(word));
    }
    Ok(())
}
