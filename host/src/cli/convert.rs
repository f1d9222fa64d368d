//! `selvedge convert`.

use super::compile::{Compile, read, refused};
use super::unit;
use crate::error::Result;
use crate::files;
use serde_json::json;
use std::path::PathBuf;

/// Compile a description of a network to an image, which a session runs and trains.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge convert net.json -o model.svi --dtype i8             to be run, a sample at a time
  selvedge convert net.json -o model.svi --samples 8 --train    to be trained, eight at a time
  selvedge convert net.json -o model.svi --train --loss squared --momentum
  selvedge convert net.json -o model.svi --no-description       as few bytes as it takes

Weights begin as --seed says. docs/image-format.md tells what an image is.")]
pub(super) struct Convert {
    /// The description: JSON.
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// The image.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    compile: Compile,
    /// Without the description in it, which tells `selvedge inspect` what the layers are.
    #[arg(long)]
    no_description: bool,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Convert {
    pub(super) fn run(&self) -> Result<()> {
        let network = read(&self.from)?;
        let (dtype, options) = (self.compile.dtype, self.compile.options());
        let bytes = if self.no_description {
            network.compile(dtype, &options)
        } else {
            network.compile_described(dtype, &options)
        };
        let bytes = bytes.map_err(refused(&self.from))?;
        let arena = files::with_image(&bytes, &self.from, |image, _| image.arena_bytes())?;
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
