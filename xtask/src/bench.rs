//! `cargo xtask bench`: the criterion benches.

use crate::Result;
use crate::run::{check, command};

/// Run the criterion benches; arguments after `--` go to criterion.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Passed on, for example a name to filter by.
    #[arg(last = true)]
    criterion: Vec<String>,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<()> {
        let mut cargo = command(
            "cargo",
            &["bench", "--package", "selvedge-benches", "--benches", "--"],
        );
        check(cargo.args(&self.criterion))
    }
}
