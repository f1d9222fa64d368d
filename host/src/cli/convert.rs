//! `selvedge convert`.

use super::{dtype, unit};
use crate::error::{Error, Result};
use crate::{DType, files};
use clap::ValueEnum;
use selvedge_core::network::{self, Network, Options};
use serde_json::json;
use std::path::PathBuf;

/// Compile a description of a network to an image, which a session runs and trains.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge convert net.json -o model.svi --dtype i8             to be run, a sample at a time
  selvedge convert net.json -o model.svi --samples 8 --train    to be trained, eight at a time
  selvedge convert net.json -o model.svi --train --loss squared --momentum

Weights begin as --seed says. docs/image-format.md tells what an image is.")]
pub(super) struct Convert {
    /// The description: JSON.
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// The image.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Element type.
    #[arg(long, value_parser = dtype, value_name = "TYPE", default_value = "i8")]
    dtype: DType,
    /// The most samples of a run.
    #[arg(long, default_value_t = 1, value_name = "N")]
    samples: usize,
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
    /// Seed of weights and rounding.
    #[arg(long, default_value_t = selvedge_digits::SEED)]
    seed: u32,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// A loss by its name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Loss {
    CrossEntropy,
    Squared,
    Absolute,
    Huber,
    BinaryCrossEntropy,
}

impl Convert {
    pub(super) fn run(&self) -> Result<()> {
        let text = files::read_text(&self.from)?;
        let network = Network::from_json(&text).map_err(|source| Error::Description {
            path: self.from.clone(),
            source,
        })?;
        let options = Options {
            samples: self.samples,
            train: self.train,
            loss: match self.loss {
                Loss::CrossEntropy => network::Loss::CrossEntropy,
                Loss::Squared => network::Loss::Squared,
                Loss::Absolute => network::Loss::Absolute,
                Loss::Huber => network::Loss::Huber(self.delta),
                Loss::BinaryCrossEntropy => network::Loss::BinaryCrossEntropy,
            },
            accumulate: self.accumulate,
            momentum: self.momentum,
            seed: self.seed,
        };
        let bytes = network
            .compile(self.dtype, &options)
            .map_err(|source| Error::Compile {
                path: self.from.clone(),
                source,
            })?;
        let arena = files::with_image(&bytes, &self.from, |image| image.arena_bytes())?;
        files::write(&self.output, &bytes)?;
        let path = self.output.display();
        if self.json {
            let path = path.to_string();
            let outcome = json!({ "path": path, "bytes": bytes.len(), "arena_bytes": arena });
            println!("{outcome}");
        } else {
            println!(
                "{path}: {}; a session needs {} of RAM",
                unit(bytes.len()),
                unit(arena)
            );
        }
        Ok(())
    }
}
