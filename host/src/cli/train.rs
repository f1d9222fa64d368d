//! `selvedge train`.

use super::{Options, dtype};
use crate::DType;
use crate::data::DataSet;
use crate::error::Result;
use crate::report::Report;
use std::path::PathBuf;

/// Train a small convolutional network on a data set.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge train --data digits --dtype i16
  selvedge train --data idx:mnist --epochs 3 --report mnist.html

`idx:DIR` reads the files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte
and t10k-labels-idx1-ubyte in DIR, each plain or with .gz behind its name; images are 28x28.")]
pub(super) struct Train {
    /// `digits` (built in, 8x8), or `idx:DIR` (MNIST-format files, 28x28).
    #[arg(long, value_parser = source, value_name = "SOURCE")]
    data: Source,
    /// Element types, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = dtype, value_name = "TYPE,..", default_value = "i8")]
    dtype: Vec<DType>,
    /// Write curves and tables to this HTML file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// Where the images come from.
#[derive(Clone, Debug)]
enum Source {
    Digits,
    Idx(PathBuf),
}

fn source(text: &str) -> std::result::Result<Source, String> {
    match text.split_once(':') {
        None if text == "digits" => Ok(Source::Digits),
        Some(("idx", folder)) if !folder.is_empty() => Ok(Source::Idx(folder.into())),
        _ => Err("expected `digits` or `idx:DIR`".to_owned()),
    }
}

impl Train {
    pub(super) fn run(&self) -> Result<()> {
        let set = match &self.data {
            Source::Digits => DataSet::digits(),
            Source::Idx(folder) => DataSet::idx(folder)?,
        };
        let report = self.report.as_deref().map(Report::new).transpose()?;
        self.options.run(&self.dtype, &set, report, false)
    }
}
