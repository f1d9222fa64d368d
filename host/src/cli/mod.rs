//! The `selvedge` command.

mod compile;
mod convert;
mod demo;
mod eval;
mod inspect;
mod run;
mod show;
mod train;

use crate::error::{Error, Result};
use crate::report::Report;
use crate::training::{Settings, train_all};
use crate::{DType, data::DataSet};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;

/// Neural networks on the very edge: train and run them natively in integers.
#[derive(Debug, Parser)]
#[command(name = "selvedge", version, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Demo(demo::Demo),
    Train(train::Train),
    Eval(eval::Eval),
    Run(run::Run),
    Convert(convert::Convert),
    Inspect(inspect::Inspect),
}

/// Runs the command line; the exit code is 0 for done, 1 for failed, 2 for bad usage.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Command::parse().command {
        Task::Demo(demo) => demo.run(),
        Task::Train(train) => train.run(),
        Task::Eval(eval) => eval.run(),
        Task::Run(run) => run.run(),
        Task::Convert(convert) => convert.run(),
        Task::Inspect(inspect) => inspect.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            match error {
                Error::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Reads an element type by its name.
fn dtype(name: &str) -> std::result::Result<DType, String> {
    DType::from_name(name).ok_or_else(|| {
        let names: Vec<_> = DType::ALL.iter().map(|dtype| dtype.name()).collect();
        format!("no such type; there are {}", names.join(", "))
    })
}

/// Options that all trainings have.
#[derive(Debug, clap::Args)]
struct Options {
    /// Passes over the training part.
    #[arg(long, default_value_t = selvedge_digits::EPOCHS, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    epochs: u32,
    /// Seed of weights, order and rounding: the same seed gives the same network.
    #[arg(long, default_value_t = selvedge_digits::SEED)]
    seed: u32,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

impl Options {
    const fn settings(&self) -> Settings {
        Settings {
            epochs: self.epochs,
            seed: self.seed,
        }
    }

    /// Trains in each type with a progress bar, shows the outcomes, writes the report.
    fn run(
        &self,
        dtypes: &[DType],
        set: &DataSet,
        report: Option<Report>,
        draws: bool,
    ) -> Result<()> {
        let settings = self.settings();
        let bar = self.progress(set, selvedge_digits::BATCH, dtypes.len());
        let outcomes = train_all(dtypes, set, settings, &|samples| bar.inc(samples));
        bar.finish_and_clear();
        let outcomes = outcomes?;
        let path = report.as_ref().map(|report| report.path().to_owned());
        if let Some(report) = report {
            report.write(set, settings, &outcomes)?;
        }
        if self.json {
            println!("{}", show::runs(set, settings, &outcomes, path.as_deref())?);
            return Ok(());
        }
        println!("{}", show::table(&outcomes));
        if let Some(outcome) = outcomes.first() {
            if draws {
                println!("{}", show::digits(set, outcome));
            }
            println!("{}", show::confusion(outcome.dtype, &outcome.test));
        }
        if let Some(path) = path {
            println!("Curves: {}", path.display());
        }
        Ok(())
    }

    /// A bar on stderr for so many trainings; nothing where that is no terminal.
    fn progress(&self, set: &DataSet, batch: usize, trainings: usize) -> ProgressBar {
        let samples = set.train.len() / batch.max(1) * batch;
        let bar = ProgressBar::new(samples as u64 * u64::from(self.epochs) * trainings as u64);
        if let Ok(style) = ProgressStyle::with_template(
            "training [{bar:40}] {human_pos}/{human_len} samples, {per_sec}, {eta} left",
        ) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar
    }
}

/// A number of bytes as people read it.
fn unit(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::Command;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Command::command().debug_assert();
    }
}
