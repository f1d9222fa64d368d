//! What can be wrong with a call of a network.

use core::fmt;
use selvedge_kernels as kernels;

/// The result of a network's methods.
pub type Result<T> = core::result::Result<T, Error>;

/// Why a network refused its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A kernel of layer `layer` (numbered as in `docs/numerics.md` §3) refused.
    Layer {
        /// The layer.
        layer: u32,
        /// What the kernel said.
        source: kernels::Error,
    },
    /// The loss refused its arguments.
    Loss(kernels::Error),
    /// Momentum, which the parameters of layer `layer` keep no velocities for.
    Momentum {
        /// The first such layer.
        layer: u32,
    },
    /// A backward pass of layer `layer` over `got` samples that does not follow a forward pass of as many in
    /// [`Mode::Train`](kernels::scale::Mode::Train), or is the second to do so: what it would read is not there.
    Tape {
        /// The layer.
        layer: u32,
        /// Samples that a forward pass has left; 0 for none.
        expected: usize,
        /// Samples of the backward pass.
        got: usize,
    },
    /// A batch of `got` samples; the trainer takes 1 to `capacity`.
    Batch {
        /// Samples that there is room for.
        capacity: usize,
        /// Samples that were given.
        got: usize,
    },
    /// The order of an epoch has `got` places for `samples` samples; a shuffle takes at most 65,536.
    Order {
        /// Samples of the epoch.
        samples: usize,
        /// Places in the order.
        got: usize,
    },
    /// A set of `samples` samples has no sample `index`, or it is not as long as the input.
    Sample {
        /// The sample asked for.
        index: usize,
        /// Samples of the set.
        samples: usize,
    },
    /// No sample has arrived at the end of a pipeline: that takes `expected` ticks.
    Ticks {
        /// Ticks from input to output.
        expected: usize,
        /// Ticks that there have been.
        got: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer { layer, source } => write!(f, "layer {layer}: {source}"),
            Self::Loss(source) => write!(f, "loss: {source}"),
            Self::Momentum { layer } => {
                write!(f, "layer {layer}: no velocities are kept for momentum")
            }
            Self::Tape {
                layer,
                expected,
                got,
            } => write!(
                f,
                "layer {layer}: a forward pass in training left {expected} samples, found a backward pass over {got}"
            ),
            Self::Batch { capacity, got } => {
                write!(f, "batch: expected 1 to {capacity} samples, found {got}")
            }
            Self::Order { samples, got } => {
                write!(
                    f,
                    "order: expected {samples} places, at most 65536, found {got}"
                )
            }
            Self::Sample { index, samples } => {
                write!(
                    f,
                    "sample {index} of {samples} is missing or not as long as the input"
                )
            }
            Self::Ticks { expected, got } => {
                write!(f, "pipeline: expected {expected} ticks, found {got}")
            }
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Layer { source, .. } | Self::Loss(source) => Some(source),
            _ => None,
        }
    }
}

/// Names the layer in a kernel's error.
pub(crate) fn in_layer(layer: u32) -> impl Fn(kernels::Error) -> Error {
    move |source| Error::Layer { layer, source }
}
