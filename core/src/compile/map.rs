//! What lies where in the arena, and when: for people and tools.

use crate::graph::{Error, Graph, ValueId};
use crate::image::Role;
use crate::ops::Kind;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// The arena of a program: [`Graph::memory_map`]. Parameters are not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryMap {
    /// The program.
    pub role: Role,
    /// Its operators, in order.
    pub operators: Vec<Step>,
    /// Its values, in the order of their numbers.
    pub values: Vec<Placed>,
    /// Bytes of the arena that they take.
    pub peak: usize,
    /// The most bytes of values that one operator sees alive: no plan takes less.
    pub lower_bound: usize,
    /// That operator.
    pub busiest: usize,
    /// Bytes that stay from run to run: parameters that are trained, and what training keeps beside them.
    pub persistent: usize,
}

/// An operator of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What it is.
    pub kind: Kind,
    /// Path of its layer; empty for a loss.
    pub layer: String,
}

/// A value in the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placed {
    /// The value.
    pub value: ValueId,
    /// Where it lies, behind what stays.
    pub offset: usize,
    /// Its bytes.
    pub bytes: usize,
    /// The first operator that has it.
    pub first: usize,
    /// The last one.
    pub last: usize,
    /// The operator that makes it; none for an input of the program.
    pub made_by: Option<usize>,
}

impl Graph {
    /// Where the values of a program lie for up to `samples` samples.
    ///
    /// # Errors
    /// As [`Graph::compile`].
    ///
    /// # Example
    /// ```
    /// use selvedge_core::{DType, image::Role};
    /// use selvedge_core::network::{Dense, Network, Options};
    /// let network = Network::new([12]).layer("hidden", Dense::new(8)).layer("head", Dense::new(4));
    /// let map = network.graph(DType::F32, &Options::default())?.memory_map(Role::Infer, 1)?;
    /// // `hidden` sees twelve inputs and eight outputs of four bytes.
    /// assert_eq!((map.lower_bound, map.busiest), (80, 0));
    /// assert!(map.peak >= map.lower_bound);
    /// # Ok::<(), selvedge_core::network::Error>(())
    /// ```
    pub fn memory_map(&self, role: Role, samples: usize) -> Result<MemoryMap, Error> {
        let graph = self.lowered()?;
        let storage = graph.storage(false)?;
        let schedule = graph.schedule(role, samples, &storage)?;
        let path = |number: &u32| self.paths.get(number).cloned().unwrap_or_default();
        let steps = schedule.operators.iter().map(|(node, _)| Step {
            kind: node.kind,
            layer: match node.kind {
                // Of no layer, and numbered all the same.
                Kind::CrossEntropy | Kind::Regression | Kind::BinaryCrossEntropy => String::new(),
                _ => path(&node.number),
            },
        });
        let operators: Vec<Step> = steps.collect();
        // Steps 0 and behind the last are the caller's, who has inputs and outputs.
        let end = operators.len().saturating_sub(1);
        let operator = |step: usize| step.saturating_sub(1).min(end);
        let placed = schedule.transient.iter().zip(&schedule.lifetimes);
        let placed = placed.zip(&schedule.offsets);
        let values = placed.map(|((&value, life), &offset)| Placed {
            value,
            offset,
            bytes: life.bytes,
            first: operator(life.first),
            last: operator(life.last),
            made_by: life.first.checked_sub(1),
        });
        let mut map = MemoryMap {
            role,
            operators,
            values: values.collect(),
            peak: schedule.arena,
            lower_bound: 0,
            busiest: 0,
            persistent: storage.bytes,
        };
        for (at, bytes) in map.alive().into_iter().enumerate() {
            if bytes > map.lower_bound {
                (map.lower_bound, map.busiest) = (bytes, at);
            }
        }
        Ok(map)
    }

    /// The programs that its image has.
    #[must_use]
    pub fn roles(&self) -> Vec<Role> {
        let has = |&role: &Role| match role {
            Role::Infer => true,
            Role::Train => self.nodes.len() > self.forward,
            Role::Update => self.nodes.len() > self.backward,
            Role::Step => !self.step.is_empty(),
        };
        Role::ALL.into_iter().filter(has).collect()
    }
}

impl MemoryMap {
    /// Bytes of the values that each operator sees alive.
    #[must_use]
    pub fn alive(&self) -> Vec<usize> {
        let mut alive = vec![0; self.operators.len().max(1)];
        for value in &self.values {
            let steps = alive.get_mut(value.first..=value.last).unwrap_or_default();
            steps.iter_mut().for_each(|bytes| *bytes += value.bytes);
        }
        alive
    }

    /// What a value is to people: its layer and operator, with a number where that makes several.
    #[must_use]
    pub fn name(&self, value: &Placed) -> String {
        let same = self
            .values
            .iter()
            .filter(|other| other.made_by == value.made_by);
        let mut before = same.clone().take_while(|other| *other != value);
        let (is_one, at) = (same.count() == 1, before.by_ref().count());
        let step = value.made_by.and_then(|at| self.operators.get(at));
        let name = match step {
            None => String::from("input"),
            Some(step) if step.layer.is_empty() => String::from(step.kind.name()),
            Some(step) => alloc::format!("{} {}", step.layer, step.kind.name()),
        };
        if is_one {
            name
        } else {
            alloc::format!("{name} {at}")
        }
    }
}
