//! What a layer costs, known when the program is compiled.

use super::{Layer, Optimizer};
use crate::error::{Error, Result};
use selvedge_kernels::Error as KernelError;
use selvedge_kernels::optim::Sgd;

/// The error buffers that a layer's backward pass wants, in elements a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errors {
    /// The buffer that holds the error of the output.
    pub error: usize,
    /// The other one.
    pub spare: usize,
    /// Whether the two change roles: the layer wrote the error of its input to the spare one.
    pub swaps: bool,
}

impl Errors {
    /// No buffer.
    pub const NONE: Self = Self {
        error: 0,
        spare: 0,
        swaps: false,
    };

    /// A layer whose error goes through `self` first and then through `below`.
    #[must_use]
    pub const fn then(self, below: Self) -> Self {
        let (error, spare) = if self.swaps {
            (below.spare, below.error)
        } else {
            (below.error, below.spare)
        };
        Self {
            error: max(self.error, error),
            spare: max(self.spare, spare),
            swaps: self.swaps != below.swaps,
        }
    }
}

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// What is known of a layer before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// What kind of layer: `dense`, `conv2d` …
    pub kind: &'static str,
    /// How many numbers it takes: 1, and those of the layers it contains.
    pub numbers: u32,
    /// Parameters, weights and biases.
    pub parameters: usize,
    /// Multiply-accumulates of the forward pass of one sample.
    pub macs: usize,
    /// Bytes that a deployed network stores for it: weights, biases, an exponent of two bytes for
    /// each tensor and each activation of an integer type.
    pub flash_bytes: usize,
    /// Error buffers where something below has parameters.
    pub errors: Errors,
    /// Error buffers where nothing below has.
    pub errors_first: Errors,
    /// The first layer whose parameters keep no velocities, counted from this one, if there is one:
    /// momentum is refused then.
    pub without_velocities: Option<u32>,
    /// The sum over a batch, of those that gradients of parameters are, that allows the smallest one.
    pub sum: Option<BatchSum>,
    /// The first layer whose error sums more products than the type holds, where something below has parameters:
    /// training is refused then.
    pub long_sum: Option<LongSum>,
    /// The same where nothing below has.
    pub long_sum_first: Option<LongSum>,
}

/// A sum of the error that a layer passes down, which its accumulator does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongSum {
    /// The layer, counted from the one that is asked.
    pub layer: u32,
    /// Products that would be summed.
    pub terms: usize,
    /// Products that the accumulator holds.
    pub limit: usize,
}

impl LongSum {
    /// A layer whose error is sums of `terms` products, of which `limit` are held; `None` if they are.
    #[must_use]
    pub const fn of(terms: usize, limit: usize) -> Option<Self> {
        if terms <= limit {
            return None;
        }
        Some(Self {
            layer: 0,
            terms,
            limit,
        })
    }

    /// The first of `sum` and of `next`, where `before` numbers come before the latter.
    pub(super) const fn or(sum: Option<Self>, before: u32, next: Option<Self>) -> Option<Self> {
        match (sum, next) {
            (None, Some(next)) => Some(Self {
                layer: before + next.layer,
                ..next
            }),
            _ => sum,
        }
    }
}

/// A gradient that is summed over the samples of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSum {
    /// The layer whose parameters it belongs to, counted from the one that is asked.
    pub layer: u32,
    /// Products of one sample.
    pub terms: usize,
    /// Products that the accumulator holds.
    pub limit: usize,
}

impl BatchSum {
    /// The gradient of a layer's own parameters: `terms` products of a sample, of which `limit` may be summed.
    #[must_use]
    pub const fn of(terms: usize, limit: usize) -> Option<Self> {
        Some(Self {
            layer: 0,
            terms,
            limit,
        })
    }

    /// Samples of the largest batch.
    const fn samples(self) -> usize {
        match self.limit.checked_div(self.terms) {
            Some(samples) => samples,
            None => usize::MAX,
        }
    }

    /// That of two which allows fewer samples; the first of equal ones.
    const fn tighter(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) if a.samples() <= b.samples() => Some(a),
            (_, Some(b)) => Some(b),
            (a, None) => a,
        }
    }

    /// The same where `before` numbers come first.
    const fn behind(before: u32, sum: Option<Self>) -> Option<Self> {
        match sum {
            Some(sum) => Some(Self {
                layer: before + sum.layer,
                ..sum
            }),
            None => None,
        }
    }
}

impl Info {
    /// Nothing.
    pub const EMPTY: Self = Self {
        kind: "sequential",
        numbers: 0,
        parameters: 0,
        macs: 0,
        flash_bytes: 0,
        errors: Errors::NONE,
        errors_first: Errors::NONE,
        without_velocities: None,
        sum: None,
        long_sum: None,
        long_sum_first: None,
    };

    /// What [`Info::without_velocities`] says of a layer whose parameters have the state `R`.
    #[must_use]
    pub const fn without_velocities<R: Optimizer>() -> Option<u32> {
        if R::KEEPS_VELOCITIES { None } else { Some(0) }
    }

    /// Refuses an update by `batch` samples that some layer would refuse, before another one has been updated:
    /// [`Layer::backward`] goes from the last layer to the first.
    ///
    /// # Errors
    /// [`Error::Momentum`] for momentum where parameters keep no velocities, [`Error::Layer`] for more samples
    /// than a gradient's accumulator can sum, and for a layer with more outputs than that of an error can.
    pub const fn check(&self, sgd: &Sgd, batch: usize) -> Result<()> {
        match (self.without_velocities, self.long_sum_first, self.sum) {
            (Some(layer), ..) if sgd.momentum != 0 => Err(Error::Momentum { layer }),
            (
                _,
                Some(LongSum {
                    layer,
                    terms,
                    limit,
                }),
                _,
            ) => Err(Error::Layer {
                layer,
                source: KernelError::Accumulator { terms, limit },
            }),
            (.., Some(sum)) if batch > sum.samples() => Err(Error::Layer {
                layer: sum.layer,
                source: KernelError::Accumulator {
                    terms: sum.terms.saturating_mul(batch),
                    limit: sum.limit,
                },
            }),
            _ => Ok(()),
        }
    }

    /// What `self` says of updates where the layer itself has number 0 and contains it.
    pub(super) const fn inside(self) -> Self {
        Self {
            without_velocities: behind(1, self.without_velocities),
            sum: BatchSum::behind(1, self.sum),
            long_sum: LongSum::or(None, 1, self.long_sum),
            long_sum_first: LongSum::or(None, 1, self.long_sum_first),
            ..self
        }
    }

    /// Layers one after the other, from the input to the output.
    #[must_use]
    pub const fn sequence(layers: &[Self]) -> Self {
        let mut all = Self::EMPTY;
        let mut rest = layers;
        while let [layer, above @ ..] = rest {
            rest = above;
            all.errors = layer.errors.then(all.errors);
            all.errors_first = if all.parameters > 0 {
                layer.errors.then(all.errors_first)
            } else {
                layer.errors_first
            };
            let long_sum = if all.parameters > 0 {
                layer.long_sum
            } else {
                layer.long_sum_first
            };
            all.long_sum_first = LongSum::or(all.long_sum_first, all.numbers, long_sum);
            all.long_sum = LongSum::or(all.long_sum, all.numbers, layer.long_sum);
            if all.without_velocities.is_none() {
                all.without_velocities = behind(all.numbers, layer.without_velocities);
            }
            all.sum = BatchSum::tighter(all.sum, BatchSum::behind(all.numbers, layer.sum));
            all.numbers += layer.numbers;
            all.parameters += layer.parameters;
            all.macs += layer.macs;
            all.flash_bytes += layer.flash_bytes;
        }
        all
    }
}

/// The number of a layer that is `layer` where `before` numbers come first.
const fn behind(before: u32, layer: Option<u32>) -> Option<u32> {
    match layer {
        Some(layer) => Some(before + layer),
        None => None,
    }
}

/// A layer's share of the memory, for [`assert_fits!`](crate::assert_fits!) and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerCost {
    /// Its name in the network.
    pub name: &'static str,
    /// What is known of it.
    pub info: Info,
    /// Bytes while training: parameters with their state, and the tape.
    pub ram_bytes: usize,
}

impl LayerCost {
    /// The cost of the layer `name` of type `L`, for training with up to `B` samples.
    #[must_use]
    pub const fn of<L: Layer, const B: usize>(name: &'static str) -> Self {
        Self {
            name,
            info: L::INFO,
            ram_bytes: size_of::<L>() + size_of::<L::Tape<B>>(),
        }
    }
}
