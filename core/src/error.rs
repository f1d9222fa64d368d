//! What can be wrong with a call of a network.

use core::fmt;
use selvedge_kernels as kernels;

/// The result of a network's methods.
pub type Result<T> = core::result::Result<T, Error>;

/// Why a network refused its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A kernel of layer `layer` (numbered as in `docs/numerics.md`) refused.
    Layer {
        /// The layer.
        layer: u32,
        /// What the kernel said.
        source: kernels::Error,
    },
    /// The loss refused its arguments.
    Loss(kernels::Error),
    /// The input holds `got` elements: not a whole number, from one up, of samples of `sample`.
    Input {
        /// Elements of one sample.
        sample: usize,
        /// Elements that were given.
        got: usize,
    },
    /// The batch has `got` samples; the network keeps room for `capacity`.
    Batch {
        /// Samples that there is room for.
        capacity: usize,
        /// Samples that were given.
        got: usize,
    },
    /// There are `labels` labels or classes for `samples` samples.
    Labels {
        /// Samples in the input.
        samples: usize,
        /// Places for their classes.
        labels: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer { layer, source } => write!(f, "layer {layer}: {source}"),
            Self::Loss(source) => write!(f, "loss: {source}"),
            Self::Input { sample, got } => {
                write!(f, "input: expected samples of {sample} elements, found {got} elements")
            }
            Self::Batch { capacity, got } => {
                write!(f, "batch: expected at most {capacity} samples, found {got}")
            }
            Self::Labels { samples, labels } => {
                write!(f, "labels: expected one for each of {samples} samples, found {labels}")
            }
        }
    }
}

impl core::error::Error for Error {}

/// Names the layer in a kernel's error.
pub(crate) fn in_layer(layer: u32) -> impl Fn(kernels::Error) -> Error {
    move |source| Error::Layer { layer, source }
}
