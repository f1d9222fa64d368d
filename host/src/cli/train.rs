//! `selvedge train`.

use super::compile::{Loss, read};
use super::{Options, dtype, show, unit};
use crate::DType;
use crate::data::{DataSet, Source};
use crate::error::{Error, Result};
use crate::files;
use crate::report::Report;
use crate::training::{Descent, Described, check};
use selvedge_core::network::Budget;
use std::path::{Path, PathBuf};

/// Train a network on a data set: a described one, or a small convolutional one that is built in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge train --data digits --dtype i16
  selvedge train --data idx:mnist --epochs 3 --report mnist.html
  selvedge train --config net.json --data digits --dtype i8 --out model.svi
  selvedge train --config net.json --data digits --dtype i8 --out device.svi --only-run
  selvedge train --config net.json --data csv:iris.csv:label=species --epochs 100 --rate 0.5
  selvedge train --config net.json --data npy:x.npy:y.npy --dtype f32 --batch 32 --momentum 0.9 --json

With --config, the network that the file describes is trained, and --out is the image of what it has learned:
`selvedge eval` and `selvedge run` take it, and a session goes on training it. Without, a built-in network is, for
images of 8x8 or 28x28.

Data:
  digits                    1,797 handwritten digits, 8x8, built in
  idx:DIR                   the files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
                            t10k-labels-idx1-ubyte in DIR, each plain or with .gz behind its name
  csv:FILE:label=COLUMN     a table with a header: classes (0, 1 ..) in COLUMN, numbers in all others
  npy:X.npy:Y.npy           arrays of NumPy: samples along the first axis of X, the class of each in Y
Of a table or an array, one sample in five is to test with, always the same ones. A network takes numbers from -1 to
1: pixels (uint8 in X) are divided by 256; other numbers by the smallest power of two that makes none to train on
larger than 1, each column of a table by its own. The image remembers them.")]
pub(super) struct Train {
    /// Where samples come from: `digits`, `idx:DIR`, `csv:FILE:label=COLUMN` or `npy:X.npy:Y.npy`.
    #[arg(long, value_name = "SPEC")]
    data: Source,
    /// Element types, separated by commas; one with --config.
    #[arg(long, value_delimiter = ',', value_parser = dtype, value_name = "TYPE,..", default_value = "i8")]
    dtype: Vec<DType>,
    /// The network: a description in JSON.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the trained network to this image.
    #[arg(long, value_name = "FILE", requires = "config")]
    out: Option<PathBuf>,
    /// The image only runs, a sample at a time: as small as it gets, without heads and what training needs.
    #[arg(long, requires = "out")]
    only_run: bool,
    /// Samples of a step.
    #[arg(long, value_name = "N", default_value_t = selvedge_digits::BATCH as u16, requires = "config",
          value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Learning rate, of the mean over a batch: a number or a fraction, rounded to 8 bits; halved after two thirds and after
    /// five sixths of the epochs.
    #[arg(long, value_name = "RATE", default_value = "1/8", value_parser = rate, requires = "config")]
    rate: f64,
    /// How much of the last step is kept in the next, below 1, in 256ths.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, requires = "config")]
    momentum: f64,
    /// What training makes small; all but cross-entropy ask for 1 at the class of a sample and 0 elsewhere.
    #[arg(long, value_enum, default_value_t = Loss::CrossEntropy, requires = "config")]
    loss: Loss,
    /// Where Huber's loss turns linear.
    #[arg(
        long,
        default_value_t = 1.0,
        value_name = "DISTANCE",
        requires = "config"
    )]
    delta: f32,
    /// Bytes that training may take: activations are computed again where it would need more.
    #[arg(long, value_name = "BYTES", requires = "config")]
    ram: Option<usize>,
    /// Write curves and tables to this HTML file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// Reads `0.1` or `1/8`.
fn rate(text: &str) -> std::result::Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let rate = match text.split_once('/') {
        None => number(text),
        Some((over, under)) => number(over)
            .zip(number(under))
            .map(|(over, under)| over / under),
    };
    let rate = rate.filter(|&rate| Descent::new(rate, 1, 0.0).is_some());
    rate.ok_or_else(|| "expected a positive number, such as 0.1 or 1/8".to_owned())
}

impl Train {
    pub(super) fn run(&self) -> Result<()> {
        if let Some(config) = &self.config {
            let network = self.described(config)?;
            return self.train(network, &self.data.load()?);
        }
        let set = self.data.load()?;
        check(&set)?;
        let report = self.report.as_deref().map(Report::new).transpose()?;
        self.options.run(&self.dtype, &set, report, false)
    }

    /// The network of the file `config`, and how it is trained.
    fn described(&self, config: &Path) -> Result<Described> {
        let &[dtype] = &*self.dtype else {
            let message = "--dtype: expected one type with --config";
            return Err(Error::Usage(message.to_owned()));
        };
        let batch = usize::from(self.batch);
        let descent = Descent::new(self.rate, batch, self.momentum);
        let message = "--momentum: expected a number of at least 0 and below 1; or --rate is too small for --batch";
        Ok(Described {
            batch,
            descent: descent.ok_or_else(|| Error::Usage(message.to_owned()))?,
            loss: self.loss.with(self.delta),
            budget: self.ram.map_or(Budget::NONE, Budget::bytes),
            only_runs: self.only_run,
            ..Described::new(config, read(config)?, dtype, self.options.settings())
        })
    }

    fn train(&self, described: Described, set: &DataSet) -> Result<()> {
        let (batch, settings) = (described.batch, described.settings);
        let prepared = described.prepare(set)?;
        let out = self.out.as_deref().map(files::target).transpose()?;
        let report = self.report.as_deref().map(Report::new).transpose()?;
        let bar = self.options.progress(set, batch, 1);
        let trained = prepared.train(&|samples| bar.inc(samples));
        bar.finish_and_clear();
        let trained = trained?;
        let outcome = &trained.outcome;
        if let Some(out) = &out {
            let failed = files::failed(out.path());
            out.write(&trained.image).map_err(failed)?;
        }
        if let Some(report) = report {
            report.write(set, settings, std::slice::from_ref(outcome))?;
        }
        if self.options.json {
            let written = [&self.out, &self.report].map(Option::as_deref);
            println!("{}", show::trained(set, settings, outcome, written)?);
            return Ok(());
        }
        println!("{}", show::table(std::slice::from_ref(outcome)));
        println!("{}", show::confusion(outcome.dtype, &outcome.test));
        if let Some(out) = &self.out {
            println!("{}: {}", out.display(), unit(trained.image.len()));
        }
        if let Some(report) = &self.report {
            println!("Curves: {}", report.display());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn rates_are_numbers_or_fractions() {
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(rate("1/8"), Ok(0.125));
        for text in ["", "x", "1/0", "0", "-1", "nan", "1/2/3", "/"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
