//! Memory against time: activations that are computed again where a gradient needs them, to fit a budget.

use super::plan::Lifetime;
use crate::graph::{Alias, Error, Graph, Node, ValueId};
use crate::image::Role;
use crate::image::format::Place;
use crate::ops::restate;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

/// A bound for the memory of a session.
///
/// Where training needs more, activations are dropped, and computed again when their gradients are: those first that save
/// most for their cost. The numbers do not change, to the bit. Source: Chen et al. 2016, "Training Deep Nets with Sublinear
/// Memory Cost"; which to drop is chosen by the plan, as in Jain et al. 2020, "Checkmate", but greedily.
///
/// # Example
/// ```
/// use selvedge_core::DType;
/// use selvedge_core::network::{Activation, Budget, Conv, Dense, Error, Flatten, Network, Options, Padding};
/// let conv = || Conv::new(8, 3).padding(Padding::Same).activation(Activation::Relu);
/// let network = Network::new([8, 8, 1]).layer("a", conv()).layer("b", conv()).layer("c", conv())
///     .layer("flat", Flatten::default()).layer("head", Dense::new(10));
/// let options = |bytes| Options { train: true, budget: Budget::bytes(bytes), ..Options::default() };
/// assert!(network.compile(DType::I8, &options(19_500)).is_ok());
/// let refused = network.compile(DType::I8, &options(10_000));
/// assert!(matches!(refused, Err(Error::Budget { budget: 10_000, .. })));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(transparent))]
pub struct Budget(Option<usize>);

impl Budget {
    /// As much as the fastest program needs.
    pub const NONE: Self = Self(None);

    /// An arena of so many bytes.
    #[must_use]
    pub const fn bytes(bytes: usize) -> Self {
        Self(Some(bytes))
    }

    /// The bytes, if there is a bound.
    #[must_use]
    pub const fn get(self) -> Option<usize> {
        self.0
    }
}

/// By which part of the peak a search goes down at a time.
const PART: usize = 16;

/// How far a program is from what it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Excess {
    /// Bytes beyond the limit, summed over all operators.
    bytes: u64,
    /// The most that is alive at one of them.
    peak: usize,
}

impl Graph {
    /// Has the program that trains compute activations again until a session needs no more than `budget`.
    ///
    /// # Errors
    /// [`Error::Budget`] if that is not possible.
    pub(crate) fn fit(&mut self, samples: usize, budget: Budget) -> Result<(), Error> {
        let Some(bytes) = budget.get() else {
            return Ok(());
        };
        let mut least = usize::MAX;
        loop {
            let needed = self.lowered()?.arena_bytes(samples)?;
            least = least.min(needed);
            if needed <= bytes {
                return Ok(());
            }
            // A part at a time: what is cheap for the first bytes is not what is cheap for all of them. The plan adds to what
            // is alive, and so the last part may be beyond the budget.
            let peak = self.excess(samples, 0).peak;
            let over = needed - bytes;
            let limits = [over.clamp(1, peak / PART + 1), 1].map(|less| peak.saturating_sub(less));
            let trains = self.nodes.len() > self.forward;
            if !trains || !limits.iter().any(|&limit| self.repeat_one(samples, limit)) {
                return Err(Error::Budget {
                    needed: least,
                    budget: bytes,
                });
            }
        }
    }

    /// Bytes of the arena of a session.
    fn arena_bytes(&self, samples: usize) -> Result<usize, Error> {
        let storage = self.storage(false)?;
        let (mut transient, mut values, mut operators) = (0, 0, 0);
        for role in self.roles() {
            let schedule = self.schedule(role, samples, &storage)?;
            transient = transient.max(schedule.arena);
            values = values.max(schedule.values.len());
            operators += schedule.operators.len();
        }
        let of_parameter = |id| {
            self.parameters
                .iter()
                .any(|parameter| parameter.value == id)
        };
        let last = storage.numbers.iter().rposition(|&id| of_parameter(id));
        let frozen = last.map_or(0, |last| last / 32 + 1);
        let words = [values, self.states, operators, frozen];
        Ok(crate::image::arena_bytes(words, storage.bytes, transient))
    }

    /// What training has alive beyond `limit`.
    fn excess(&self, samples: usize, limit: usize) -> Excess {
        let alive = self.alive(samples);
        let beyond = alive
            .iter()
            .map(|&bytes| bytes.saturating_sub(limit) as u64);
        Excess {
            bytes: beyond.sum(),
            peak: alive.iter().copied().max().unwrap_or(0),
        }
    }

    /// Bytes alive at each step of the program that trains.
    fn alive(&self, samples: usize) -> Vec<usize> {
        let steps = self.nodes_of(Role::Train).len() + 3;
        // Differences, then sums of them.
        let mut alive = vec![0isize; steps];
        for life in self.lives(Role::Train, samples).iter().flatten() {
            let bytes = life.bytes as isize;
            for (at, change) in [(life.first, bytes), (life.last + 1, -bytes)] {
                if let Some(place) = alive.get_mut(at) {
                    *place += change;
                }
            }
        }
        let sums = alive.iter().scan(0, |sum, change| {
            *sum += change;
            Some(*sum as usize)
        });
        sums.collect()
    }

    /// Has one operator run again: that which saves most beyond `limit` for what it costs. Whether there was one.
    fn repeat_one(&mut self, samples: usize, limit: usize) -> bool {
        let before = self.excess(samples, limit).bytes;
        let mut best: Option<(f64, usize)> = None;
        for at in 0..self.forward {
            let Some(node) = self.nodes.get(at) else {
                break;
            };
            if !self.may_repeat(node) {
                continue;
            }
            let elements: u64 = self.made_by(node).iter().map(|&id| self.size(id)).sum();
            let cost = node.operator.macs(self, node) + elements;
            let kept = (
                self.nodes.clone(),
                self.values.len(),
                self.states,
                self.backward,
            );
            let repeats = self.repeat(at);
            let after = self.excess(samples, limit).bytes;
            (self.nodes, self.states, self.backward) = (kept.0, kept.2, kept.3);
            self.values.truncate(kept.1);
            if repeats && after < before {
                let gain = (before - after) as f64 / cost.max(1) as f64;
                if best.is_none_or(|(most, _)| gain > most) {
                    best = Some((gain, at));
                }
            }
        }
        best.is_some_and(|(_, at)| self.repeat(at))
    }

    fn size(&self, id: ValueId) -> u64 {
        self.value(id).map_or(0, |value| value.len() as u64)
    }

    /// All that an operator writes.
    fn made_by(&self, node: &Node) -> Vec<ValueId> {
        let outputs = node.outputs.iter().flatten().copied();
        outputs.chain(node.scratch.iter().copied()).collect()
    }

    /// Whether a run with the same inputs gives the same, and changes nothing that stays.
    fn may_repeat(&self, node: &Node) -> bool {
        node.operator.repeats() && node.states <= 1 && !self.carries(node)
    }

    /// Inserts the operator at `at` a second time, before its results are first needed to go back, which take those of the
    /// second run then. Whether they are needed at all.
    fn repeat(&mut self, at: usize) -> bool {
        let Some(node) = self.nodes.get(at).cloned() else {
            return false;
        };
        let made = self.made_by(&node);
        let is_made = |graph: &Self, id: ValueId| made.contains(&graph.root(id));
        if self.outputs.iter().any(|&id| is_made(self, id)) {
            return false; // it is there until the end
        }
        let in_place = |alias: Option<Alias>| matches!(alias, Some(Alias::InPlace(_)));
        let changed = (0..self.values.len()).map(ValueId);
        let mut changed = changed.filter(|&id| in_place(self.value(id).and_then(|v| v.alias)));
        if changed.any(|id| is_made(self, id)) {
            return false;
        }
        let later = self
            .nodes
            .get(self.forward..self.backward)
            .unwrap_or_default();
        let reads = |node: &Node| node.inputs.iter().flatten().any(|&id| is_made(self, id));
        let Some(first) = later.iter().position(reads) else {
            return false;
        };
        let first = self.forward + first;
        let mut fresh: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        for &id in &made {
            let new = self.alike(id);
            fresh.insert(id, new);
        }
        // Views of what was made become views of what is made again.
        for i in first..self.backward {
            let inputs = self.nodes.get(i).map(|node| node.inputs.clone());
            for id in inputs.unwrap_or_default().into_iter().flatten() {
                if fresh.contains_key(&id) {
                    continue;
                }
                if let Some(&of) = fresh.get(&self.root(id)) {
                    let view = self.alias(Alias::View(of), self.shape_of(id));
                    fresh.insert(id, view);
                }
            }
        }
        let new = |id: ValueId| fresh.get(&id).copied().unwrap_or(id);
        for node in self.nodes.get_mut(first..self.backward).unwrap_or_default() {
            for input in node.inputs.iter_mut().flatten() {
                *input = new(*input);
            }
        }
        let again = Node {
            outputs: node.outputs.iter().map(|id| id.map(new)).collect(),
            scratch: node.scratch.iter().map(|&id| new(id)).collect(),
            state: self.states,
            is_repeated: true,
            ..node.clone()
        };
        self.states += node.states;
        let mut inserted = vec![again];
        if let Some(&Some(y)) = node.outputs.first()
            && node.states == 1
            && self.dtype_of(y).is_integer()
        {
            let (state, [dtype, _]) = (self.states - 1, node.dtypes);
            inserted.insert(0, restate::describe::node(dtype, y, state, node.number));
        }
        self.backward += inserted.len();
        self.nodes.splice(first..first, inserted);
        true
    }

    /// When each value of a program is in use, by its root.
    pub(super) fn lives(&self, role: Role, samples: usize) -> Vec<Option<Lifetime>> {
        let (nodes, is_read) = (self.nodes_of(role), self.read(role));
        let mut lives: Vec<Option<Lifetime>> = vec![None; self.values.len()];
        let mut touch = |id: ValueId, at: usize| {
            let root = self.root(id);
            if self.place(root) != Place::Transient {
                return;
            }
            if let Some(place) = lives.get_mut(root.0) {
                let life = place.get_or_insert_with(|| Lifetime {
                    first: at,
                    last: at,
                    bytes: self.bytes(root, samples),
                });
                life.last = at;
            }
        };
        for &id in self
            .inputs
            .iter()
            .filter(|&&id| is_read.get(self.root(id).0) == Some(&true))
        {
            touch(id, 0);
        }
        let mut step = 0;
        for node in nodes
            .iter()
            .filter(|node| node.kind != crate::ops::Kind::View)
        {
            step += 1;
            for id in self.values_of(node, &is_read).into_iter().flatten() {
                touch(id, step);
            }
        }
        for &id in self
            .outputs_of(role)
            .iter()
            .filter(|&&id| is_read.get(self.root(id).0) == Some(&true))
        {
            touch(id, step + 1);
        }
        lives
    }
}
