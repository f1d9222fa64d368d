//! Attention with its projections.

use super::Build;
use super::dense::project;
use crate::graph::{Error, ValueId};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::attention::describe::{self, POSITIONS, Sight as Seen};
use crate::ops::attention::rotary::describe::{self as rotary, Turns};
use crate::ops::attention::rotary::{KEYS, QUERIES};
use crate::ops::attention::sequences;
use crate::ops::view;
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::attention::Shape;
use selvedge_kernels::init::Gain;
use selvedge_kernels::rope;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// Which positions a position sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Sight {
    /// All.
    #[default]
    Everything,
    /// None behind its own.
    Causal,
    /// Itself and those before it, so many in all: a sliding window.
    Recent(usize),
}

/// Which features are turned as a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Pairs {
    /// One of each half of a head.
    #[default]
    Halves,
    /// Neighbours.
    Interleaved,
}

/// How frequencies are scaled in longer contexts than that of the training; factors are in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(
    feature = "json",
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Scaling {
    /// Not at all.
    #[default]
    None,
    /// All divided by a factor.
    Linear {
        /// How many times longer the context is.
        factor: u32,
    },
    /// As Llama 3.1 does: [`selvedge_kernels::rope::Scaling::Llama3`].
    Llama3 {
        /// 8,000 for Llama 3.1.
        factor: u32,
        /// 1,000 for Llama 3.1.
        low: u32,
        /// 4,000 for Llama 3.1.
        high: u32,
        /// Positions of the old context, 8,192 for Llama 3.1.
        context: u32,
    },
}

/// Rotary position embedding: queries and keys are turned by angles that grow with the position. Numerical behaviour:
/// [`selvedge_kernels::rope`]. Source: Su et al. 2021.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(default, deny_unknown_fields))]
pub struct Rotary {
    /// The base of the frequencies.
    pub base: u32,
    /// Which features are a pair.
    pub pairs: Pairs,
    /// How frequencies are scaled.
    pub scaling: Scaling,
}

impl Default for Rotary {
    /// From 10,000 on, one of each half, unscaled.
    fn default() -> Self {
        Self {
            base: rope::BASE,
            pairs: Pairs::Halves,
            scaling: Scaling::None,
        }
    }
}

/// Self-attention over positions, from `[L, F]` to `[L, F]`, with `heads` heads of `size` features. It contains four
/// dense layers, with numbers behind its own: queries, keys, values and output. Numerical behaviour:
/// [`selvedge_kernels::attention`]. Source: Vaswani et al. 2017; Ainslie et al. 2023.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Attention {
    /// Heads.
    pub heads: usize,
    /// Heads of keys and values, which neighbours share: 1 for multi-query attention; as many as `heads` if it is not
    /// given.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub kv_heads: Option<usize>,
    /// Features of a head.
    pub size: usize,
    /// Which positions a position sees.
    #[cfg_attr(feature = "json", serde(default))]
    pub sight: Sight,
    /// Whether samples are padded: positions see none beyond the length of the sample, which is that of the memory in
    /// cross-attention. Lengths are an input of the network then, of type `u32`, behind its own.
    #[cfg_attr(feature = "json", serde(default))]
    pub padded: bool,
    /// How positions turn queries and keys, if they do.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub rotary: Option<Rotary>,
    /// Keys and values of how many positions are kept from run to run, those of a run among them: a KV cache. If it is not
    /// given, each run is a sequence of its own.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub cache: Option<usize>,
}

/// Cross-attention, from `[N, F]` to `[queries, F]`: the first positions are queries to those behind them, the memory,
/// whose keys and values they weigh. Heads and numbers are as those of [`Attention`]. Source: Vaswani et al. 2017, §3.2.3.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct CrossAttention {
    /// Positions that are queries.
    pub queries: usize,
    /// Heads.
    pub heads: usize,
    /// Heads of keys and values; as many as `heads` if it is not given.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub kv_heads: Option<usize>,
    /// Features of a head.
    pub size: usize,
    /// Whether samples are padded: positions see none beyond the length of the sample, which is that of the memory in
    /// cross-attention. Lengths are an input of the network then, of type `u32`, behind its own.
    #[cfg_attr(feature = "json", serde(default))]
    pub padded: bool,
}

impl Attention {
    /// Heads of so many features, each with keys and values of its own; every position sees all.
    #[must_use]
    pub const fn new(heads: usize, size: usize) -> Self {
        Self {
            heads,
            kv_heads: None,
            size,
            sight: Sight::Everything,
            padded: false,
            rotary: None,
            cache: None,
        }
    }

    /// With keys and values that heads share.
    #[must_use]
    pub const fn kv_heads(self, kv_heads: usize) -> Self {
        Self {
            kv_heads: Some(kv_heads),
            ..self
        }
    }

    /// With what a position sees.
    #[must_use]
    pub const fn sight(self, sight: Sight) -> Self {
        Self { sight, ..self }
    }

    /// Of padded samples.
    #[must_use]
    pub const fn padded(self) -> Self {
        Self {
            padded: true,
            ..self
        }
    }

    /// With rotary positions.
    #[must_use]
    pub const fn rotary(self, rotary: Rotary) -> Self {
        Self {
            rotary: Some(rotary),
            ..self
        }
    }

    /// With a cache of so many positions.
    #[must_use]
    pub const fn cache(self, positions: usize) -> Self {
        Self {
            cache: Some(positions),
            ..self
        }
    }
}

impl CrossAttention {
    /// So many queries, with heads of so many features.
    #[must_use]
    pub const fn new(queries: usize, heads: usize, size: usize) -> Self {
        Self {
            queries,
            heads,
            kv_heads: None,
            size,
            padded: false,
        }
    }

    /// With keys and values that heads share.
    #[must_use]
    pub const fn kv_heads(self, kv_heads: usize) -> Self {
        Self {
            kv_heads: Some(kv_heads),
            ..self
        }
    }

    /// Of padded samples.
    #[must_use]
    pub const fn padded(self) -> Self {
        Self {
            padded: true,
            ..self
        }
    }
}

/// Numbers of a layer with its four projections.
const NUMBERS: u32 = 5;

impl Build for Attention {
    fn numbers(&self) -> u32 {
        NUMBERS
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let shape = to.shape_of(x);
        let &[positions, _] = &*shape else {
            return Err(to.shape_error("[L, F]", &shape));
        };
        let (causal, window) = match self.sight {
            Sight::Everything => (false, 0),
            Sight::Causal => (true, 0),
            Sight::Recent(window) => {
                to.check_range("positions that are seen", window, 1 << 30)?;
                (true, window)
            }
        };
        let positions = if to.options.sequence {
            to.check_one(&shape)?;
            to.options.samples
        } else {
            positions
        };
        let capacity = match self.cache {
            None => 0,
            Some(capacity) => {
                let least = positions.saturating_add(window.saturating_sub(1));
                if capacity < least || capacity > 1 << 30 {
                    let expected = alloc::format!(
                        "a cache of at least {least} positions: a run, and what its first position sees before it"
                    );
                    return Err(to.attribute_error(expected, capacity));
                }
                if self.padded {
                    let expected = "samples without padding, if there is a cache";
                    return Err(to.attribute_error(expected, "padded ones"));
                }
                capacity
            }
        };
        let heads = Heads {
            heads: self.heads,
            kv_heads: self.kv_heads.unwrap_or(self.heads),
            size: self.size,
            seen: Seen {
                causal,
                window,
                capacity,
                is_one: to.options.sequence,
            },
            rotary: self.rotary,
            padded: self.padded,
        };
        if self.padded {
            to.check_samples("samples of padded positions")?;
        }
        heads.check(to, &[positions, positions])?;
        let x = view::describe::fork(to.graph, x, number);
        heads.build(to, [x; 2], number)
    }
}

impl Build for CrossAttention {
    fn numbers(&self) -> u32 {
        NUMBERS
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let shape = to.shape_of(x);
        let &[positions, features] = &*shape else {
            return Err(to.shape_error("[N, F]", &shape));
        };
        if positions < 2 {
            return Err(to.shape_error("positions of queries and of a memory", &shape));
        }
        to.check_range("queries", self.queries, positions - 1)?;
        let heads = Heads {
            heads: self.heads,
            kv_heads: self.kv_heads.unwrap_or(self.heads),
            size: self.size,
            seen: Seen {
                causal: false,
                window: 0,
                capacity: 0,
                is_one: false,
            },
            rotary: None,
            padded: self.padded,
        };
        let memory = positions - self.queries;
        heads.check(to, &[self.queries, memory])?;
        let extents = [self.queries, memory, features];
        let both = sequences::describe::append(to.graph, x, extents, number);
        heads.build(to, both, number)
    }
}

/// Heads with their projections, wherever they read queries, keys and values from.
struct Heads {
    heads: usize,
    kv_heads: usize,
    size: usize,
    seen: Seen,
    rotary: Option<Rotary>,
    padded: bool,
}

impl Heads {
    /// Refuses heads that do not belong together, for so many queries and keys.
    fn check(&self, to: &Builder<'_>, &[queries, keys]: &[usize; 2]) -> Result<(), Error> {
        to.check_range("heads", self.heads, 1 << 16)?;
        to.check_range("heads of keys and values", self.kv_heads, self.heads)?;
        to.check_range("features of a head", self.size, 1 << 16)?;
        if !self.heads.is_multiple_of(self.kv_heads) {
            let expected = alloc::format!("kv_heads that divide {} heads", self.heads);
            return Err(to.attribute_error(expected, self.kv_heads));
        }
        if self.rotary.is_some() && !self.size.is_multiple_of(2) {
            return Err(to.attribute_error("heads of an even size, which turn", self.size));
        }
        let keys = keys.max(self.seen.capacity);
        to.check_size(&[queries, self.heads, self.size], to.sequences())?;
        to.check_size(&[keys, self.heads, self.size], to.sequences())?;
        // Scores of a task, twice.
        to.check_size(&[keys, describe::ROWS, 2], 1)
    }

    /// Attends from `x` to `memory`.
    fn build(
        &self,
        to: &mut Builder<'_>,
        [x, memory]: [ValueId; 2],
        number: u32,
    ) -> Result<ValueId, Error> {
        let bound = to.options.sequence.then_some(to.options.samples);
        let [queries, keys] = [x, memory]
            .map(|x| bound.or_else(|| to.shape_of(x).first().copied()))
            .map(|positions| positions.unwrap_or(1));
        let features = to.shape_of(x).last().copied().unwrap_or(1);
        let own = ([to.dtype; 2], Gain::LeCun);
        let [wide, narrow] = [self.heads, self.kv_heads].map(|heads| heads * self.size);
        let mut q = to.named("query", |to| project(to, x, wide, own, 0))?;
        let mut k = to.named("key", |to| project(to, memory, narrow, own, 0))?;
        let v = to.named("value", |to| project(to, memory, narrow, own, 0))?;
        let samples = to.sequences();
        let dtype = to.dtype;
        let capacity = self.seen.capacity;
        let cache = (capacity > 0).then(|| {
            let zeros = by_dtype!(dtype, T => {
                let zeros = vec![<T as selvedge_kernels::Element>::ZERO; samples * capacity * narrow];
                bytemuck::cast_slice::<T, u8>(&zeros).to_vec()
            });
            let words = vec![0; POSITIONS * size_of::<u32>()];
            [zeros.clone(), zeros, words].map(|stored| to.graph.carried(stored))
        });
        let shape = Shape {
            batch: samples,
            queries,
            keys,
            heads: self.heads,
            kv_heads: self.kv_heads,
            size: self.size,
        };
        if let Some(rotary) = &self.rotary {
            let turns = Turns {
                frequencies: rotary.frequencies(to, self.size / 2)?,
                positions: cache.map(|[_, _, positions]| positions),
                pairs: match rotary.pairs {
                    Pairs::Halves => rope::Pairs::Halves,
                    Pairs::Interleaved => rope::Pairs::Interleaved,
                },
            };
            let of = |steps, heads| rope::Shape {
                batch: samples,
                steps: if bound.is_some() { 0 } else { steps },
                heads,
                size: self.size,
            };
            q = rotary::append(
                to.graph,
                q,
                turns,
                of(queries, self.heads),
                [number, QUERIES],
            );
            k = rotary::append(to.graph, k, turns, of(keys, self.kv_heads), [number, KEYS]);
        }
        let lengths = self.padded.then(|| to.lengths());
        let error = to.kernel();
        let y = by_dtype!(dtype, T => {
            describe::append::<T>(to.graph, [q, k, v], cache, lengths, shape, self.seen, number)
        })
        .map_err(error)?;
        to.named("output", |to| project(to, y, features, own, 0))
    }
}

impl Rotary {
    /// Turns a position of so many pairs, as a value.
    fn frequencies(&self, to: &mut Builder<'_>, pairs: usize) -> Result<ValueId, Error> {
        let scaling = match self.scaling {
            Scaling::None => rope::Scaling::None,
            Scaling::Linear { factor } => rope::Scaling::Linear { factor },
            Scaling::Llama3 {
                factor,
                low,
                high,
                context,
            } => rope::Scaling::Llama3 {
                factor,
                low,
                high,
                context,
            },
        };
        let mut turns = vec![0u32; pairs];
        rope::frequencies(self.base, scaling, &mut turns).map_err(to.kernel())?;
        let bytes: Vec<u8> = turns.iter().flat_map(|turns| turns.to_le_bytes()).collect();
        Ok(to.graph.constant(bytes))
    }
}
