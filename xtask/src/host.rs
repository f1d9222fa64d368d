//! What the host trains, for the fingerprints that every target must give.

use crate::Result;
use crate::run::{check, command, output, root};
use std::path::PathBuf;
use std::sync::OnceLock;

/// The program that trains and prints: an example of `selvedge-digits`.
pub(crate) const EXAMPLE: &str = "fingerprints";

/// The networks that it trains, each with its fingerprint.
pub(crate) struct Fingerprints(Vec<(String, String)>);

impl Fingerprints {
    /// Reads lines of a name and a fingerprint.
    pub(crate) fn parse(printed: &str) -> Self {
        let lines = printed.lines().filter_map(|line| line.split_once(' '));
        Self(
            lines
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn get(&self, wanted: &str) -> Result<&str> {
        let found = self.0.iter().find(|(name, _)| name == wanted);
        found
            .map(|(_, fingerprint)| fingerprint.as_str())
            .ok_or_else(|| format!("the host trains no {wanted}"))
    }

    /// The larger boards' network.
    pub(crate) fn cnn(&self) -> Result<&str> {
        self.get("cnn")
    }

    /// The micro:bit's network.
    pub(crate) fn mlp(&self) -> Result<&str> {
        self.get("mlp")
    }

    /// Each integer type of the demo after one epoch, `one_epoch_i8` …
    pub(crate) fn one_epoch(&self) -> impl Iterator<Item = (&str, &str)> {
        self.starting_with("one_epoch_")
    }

    /// Each network of the zoo in its two types, `zoo_dense_i8` …
    pub(crate) fn zoo(&self) -> impl Iterator<Item = (&str, &str)> {
        self.starting_with("zoo_")
    }

    /// Each network that is described and compiled where it is trained, in its two types, `described_types_i8` …
    pub(crate) fn described(&self) -> impl Iterator<Item = (&str, &str)> {
        self.starting_with("described_")
    }

    fn starting_with(&self, prefix: &'static str) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        pairs.filter(move |(name, _)| name.starts_with(prefix))
    }

    /// An error with the first network whose fingerprint is another.
    pub(crate) fn compare(&self, other: &Self, target: &str) -> Result<()> {
        for (name, expected) in &self.0 {
            let found = other
                .get(name)
                .map_err(|_| format!("{target} trained no {name}"))?;
            if found != expected {
                return Err(format!("{name}: {target} has {found}, the host {expected}"));
            }
        }
        Ok(())
    }
}

/// What this machine gives, trained once.
pub(crate) fn fingerprints() -> Result<&'static Fingerprints> {
    static ONCE: OnceLock<Result<Fingerprints>> = OnceLock::new();
    ONCE.get_or_init(train).as_ref().map_err(Clone::clone)
}

fn train() -> Result<Fingerprints> {
    // With the features of the tests, so that what they build serves again.
    let mut cargo = command("cargo", &["build", "--quiet", "--workspace", "--example"]);
    check(cargo.arg(EXAMPLE))?;
    let program = target_folder().join("debug/examples").join(EXAMPLE);
    let all = Fingerprints::parse(&output(&mut command(&program.to_string_lossy(), &[]))?);
    if all.zoo().next().is_none() || all.described().next().is_none() {
        return Err(format!(
            "{} trained no zoo, or nothing described",
            program.display()
        ));
    }
    Ok(all)
}

/// Where cargo builds the workspace.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
