//! `selvedge demo`.

use super::{Options, dtype};
use crate::DType;
use crate::data::DataSet;
use crate::error::Result;
use crate::report::Report;
use std::path::PathBuf;

/// Train a small network on real handwritten digits in seven element types, and compare.
///
/// The convolutional network and the 1,797 digits are built in. Integer types train with integers
/// only; their fingerprints are the same on every processor.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selvedge demo                        seven types, a table, a report
  selvedge demo --dtype i8             one type
  selvedge demo --dtype i8,u8 --seed 7 two types, which learn the same
  selvedge demo --json > demo.json     for other programs")]
pub(super) struct Demo {
    /// Element types, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = dtype, value_name = "TYPE,..",
          default_value = "i8,u8,i16,u16,f16,bf16,f32")]
    dtype: Vec<DType>,
    /// Folder of report.html.
    #[arg(long, default_value = "selvedge-demo", value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    options: Options,
}

impl Demo {
    pub(super) fn run(&self) -> Result<()> {
        let report = Report::new(&self.out.join("report.html"))?;
        self.options
            .run(&self.dtype, &DataSet::digits(), Some(report), true)
    }
}
