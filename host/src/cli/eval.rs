//! `selvedge eval`.

use super::show;
use crate::data::{DataSet, Source};
use crate::error::Result;
use crate::files::{self, Aligned};
use crate::runner::{Runner, description};
use clap::ValueEnum;
use serde_json::json;
use std::path::PathBuf;

/// Measure how well an image recognises samples.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge eval model.svi --data digits
  selvedge eval model.svi --data idx:mnist --json
  selvedge eval model.svi --data csv:more.csv:label=species --part all

`selvedge train --help` tells what --data may be. Numbers are divided as they were when the image was trained.")]
pub(super) struct Eval {
    /// The image.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Where samples come from: `digits`, `idx:DIR`, `csv:FILE:label=COLUMN` or `npy:X.npy:Y.npy`.
    #[arg(long, value_name = "SPEC")]
    data: Source,
    /// Which of them: those that `train` tests with, those that it learns from, or all.
    #[arg(long, value_enum, default_value_t = Which::Test)]
    part: Which,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Test,
    Train,
    All,
}

impl Eval {
    pub(super) fn run(&self) -> Result<()> {
        let file = Aligned::new(&files::read(&self.model)?);
        let image = file.image(&self.model)?;
        let mut arena = vec![0; image.arena_bytes()];
        let mut runner = Runner::new(&image, &mut arena, &self.model)?;
        runner.check_numbers()?;
        let DataSet { name, train, test } = self.data.load()?;
        let parts = match self.part {
            Which::Test => vec![test],
            Which::Train => vec![train],
            Which::All => vec![train, test],
        };
        for part in &parts {
            part.check(runner.input.len, runner.output.len)?;
        }
        let description = description(file.bytes());
        let samples = parts.iter().map(|part| part.len()).sum();
        runner.check_samples(description.as_ref(), samples, 1)?;
        let exponents = description.map(|description| description.input_exponents);
        let exponents = exponents.unwrap_or_default();
        let scaled: Vec<_> = parts.iter().map(|part| part.scaled(&exponents)).collect();
        let evaluation = runner.evaluate(&scaled)?;
        if self.json {
            let object = json!({
                "model": self.model.display().to_string(),
                "data": name,
                "samples": evaluation.len(),
                "accuracy": evaluation.accuracy(),
                "confusion": evaluation.confusion(),
            });
            println!("{}", serde_json::to_string_pretty(&object)?);
            return Ok(());
        }
        let (right, all) = (evaluation.right(), evaluation.len());
        let share = 100.0 * evaluation.accuracy();
        println!("{right} of {all} samples: {share:.2} %\n");
        println!("{}", show::confusion(runner.input.dtype, &evaluation));
        Ok(())
    }
}
