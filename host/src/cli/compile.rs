//! What descriptions are compiled with.

use super::dtype;
pub(super) use crate::error::compile_refused as refused;
use crate::error::{Error, Result};
use crate::{DType, files};
use clap::ValueEnum;
use selvedge_core::network::{self, Network, Options};
use std::path::Path;

/// What a description is compiled for.
#[derive(Debug, clap::Args)]
pub(super) struct Compile {
    /// Element type.
    #[arg(long, value_parser = dtype, value_name = "TYPE", default_value = "i8")]
    pub(super) dtype: DType,
    /// The most samples of a run.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(super) samples: usize,
    /// With a program that trains.
    #[arg(long)]
    train: bool,
    /// What training makes small.
    #[arg(long, value_enum, default_value_t = Loss::CrossEntropy, requires = "train")]
    loss: Loss,
    /// Where Huber's loss turns linear.
    #[arg(long, default_value_t = 1.0, value_name = "DISTANCE")]
    delta: f32,
    /// With velocities for momentum.
    #[arg(long, requires = "train")]
    momentum: bool,
    /// Gradients accumulate over several runs before they update parameters.
    #[arg(long, requires = "train")]
    accumulate: bool,
    /// Leave out passes that change how floats round: batch normalisation is not folded into weights.
    #[arg(long)]
    exact: bool,
    /// With a program that advances each layer by a tick: for streams.
    #[arg(long)]
    step: bool,
    /// The samples of a run are the positions of one sequence, up to `--samples`: prompts and single tokens.
    #[arg(long, conflicts_with = "step")]
    sequence: bool,
    /// Without the outputs of heads, and what only they need: for deployment.
    #[arg(long, conflicts_with = "train")]
    headless: bool,
    /// Seed of weights and rounding.
    #[arg(long, default_value_t = selvedge_digits::SEED)]
    seed: u32,
    /// Bytes that a session may take: training computes activations again where it would need more.
    #[arg(long, value_name = "BYTES")]
    ram: Option<usize>,
}

/// A loss by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Loss {
    CrossEntropy,
    Squared,
    Absolute,
    Huber,
    BinaryCrossEntropy,
}

impl Loss {
    /// The loss, `delta` being where Huber's turns linear.
    pub(super) const fn with(self, delta: f32) -> network::Loss {
        match self {
            Self::CrossEntropy => network::Loss::CrossEntropy,
            Self::Squared => network::Loss::Squared,
            Self::Absolute => network::Loss::Absolute,
            Self::Huber => network::Loss::Huber(delta),
            Self::BinaryCrossEntropy => network::Loss::BinaryCrossEntropy,
        }
    }
}

impl Compile {
    pub(super) fn options(&self) -> Options {
        Options {
            samples: self.samples,
            train: self.train,
            loss: self.loss.with(self.delta),
            accumulate: self.accumulate,
            momentum: self.momentum,
            step: self.step,
            exact: self.exact,
            sequence: self.sequence,
            headless: self.headless,
            seed: self.seed,
            budget: self
                .ram
                .map_or(network::Budget::NONE, network::Budget::bytes),
        }
    }
}

/// The network that a file describes.
///
/// # Errors
/// [`Error::File`], [`Error::Description`].
pub(super) fn read(path: &Path) -> Result<Network> {
    Network::from_json(&files::read_text(path)?).map_err(|source| Error::Description {
        path: path.to_owned(),
        source,
    })
}
