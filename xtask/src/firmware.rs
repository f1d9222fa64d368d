//! `cargo xtask firmware`: builds and runs the firmware on every emulated board.

use crate::board::{ALL, Board, named};
use crate::host::Fingerprints;
use crate::image::Image;
use crate::{Result, host, run};
use std::collections::BTreeMap;

/// Build the firmware, run it on the emulated boards, compare its fingerprints with the host's.
#[derive(clap::Args)]
pub(crate) struct Firmware {
    /// Only this board.
    #[arg(long)]
    board: Option<String>,
}

impl Firmware {
    pub(crate) fn run(&self) -> Result<()> {
        let boards: Vec<&Board> = match &self.board {
            Some(name) => vec![named(name)?],
            None => ALL.iter().collect(),
        };
        let mut failures = Vec::new();
        println!(
            "{:<11} {:<15} {:>8} {:>8} {:>12} {:>8} {:>8} {:>8} {:>8}  fingerprint",
            "board",
            "core",
            "before",
            "after",
            "instr./step",
            "net RAM",
            "statics",
            "stack",
            "flash*"
        );
        for board in boards {
            if let Err(error) = run_on(board) {
                failures.push(format!("{}: {error}", board.name));
            }
        }
        if self
            .board
            .as_deref()
            .is_none_or(|name| name == "mps2-an386")
            && let Err(error) = run_defmt()
        {
            failures.push(format!("defmt: {error}"));
        }
        println!("* without the data set's 116,805 bytes");
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures.join("\n"))
        }
    }
}

/// What the board printed: `key = value` lines.
struct Report(BTreeMap<String, String>);

impl Report {
    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(" = "));
        Self(
            pairs
                .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    fn text(&self, key: &str) -> Result<&str> {
        self.0
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| format!("printed no {key}"))
    }

    fn number(&self, key: &str) -> Result<u64> {
        self.text(key)?
            .parse()
            .map_err(|error| format!("{key}: {error}"))
    }
}

/// Both programs of one board; prints a line of the table.
pub(crate) fn run_on(board: &Board) -> Result<()> {
    if !run::have(board.emulator) {
        return Err(format!("{} is missing: cargo xtask setup", board.emulator));
    }
    let path = board.build("train-digits", "")?;
    let report = Report::parse(&board.emulate(&path)?);
    let image = Image::read(&path)?;
    let samples = report.number("test_samples")?.max(1);
    let percent = |key| -> Result<String> {
        let count = report.number(key)?;
        Ok(format!("{:.1} %", 100.0 * count as f64 / samples as f64))
    };
    let host = host::fingerprints()?;
    let expected = if board.is_large {
        host.cnn()?
    } else {
        host.mlp()?
    };
    let data_set = image.data_set_bytes();
    if data_set == 0 {
        return Err("the image holds no data set".to_owned());
    }
    let flash = image.flash_bytes() - data_set;
    let ram = image.static_bytes() + report.number("stack_bytes")?;
    let fingerprint = report.text("fingerprint")?;
    let is_equal = fingerprint == expected;
    println!(
        "{:<11} {:<15} {:>8} {:>8} {:>12} {:>8} {:>8} {:>8} {:>8}  {} {}",
        board.name,
        board.core,
        percent("correct_before")?,
        percent("correct_after")?,
        report.number("step_instructions")?,
        report.number("train_ram_bytes")?,
        image.static_bytes(),
        report.number("stack_bytes")?,
        flash,
        fingerprint.get(..16).unwrap_or(fingerprint),
        if is_equal {
            "= host"
        } else {
            "DIFFERS from the host's"
        },
    );
    if !is_equal {
        return Err(format!(
            "fingerprint {fingerprint}, the host's is {expected}"
        ));
    }
    let share = report.number("correct_after")? as f64 / samples as f64;
    board.budget.check(flash, ram, share)?;
    session(board, expected, report.number("step_instructions")?)?;
    if !board.is_large {
        return Ok(());
    }
    equal(
        &board.emulate(&board.build("fingerprints", "")?)?,
        host.one_epoch(),
    )?;
    println!("{:<11} i8, u8, i16, u16 after one epoch = host", "");
    equal(&board.emulate(&board.build("zoo", "")?)?, host.zoo())?;
    println!("{:<11} a network of each kind, in two types, = host", "");
    describes(board, host)
}

/// Networks that are described and compiled on the board: that of the micro:bit, trained as a whole; and small ones, which have
/// what images and sessions do.
fn describes(board: &Board, host: &Fingerprints) -> Result<()> {
    let path = board.build("describe-on-device", "")?;
    let report = Report::parse(&board.emulate(&path)?);
    let image = Image::read(&path)?;
    let (fingerprint, expected) = (report.text("fingerprint")?, host.mlp()?);
    println!(
        "{:<11} described and compiled in {} instructions, {} bytes of a heap of {} and {} of stack: {} of image, {} of arena, {} of flash*",
        "",
        report.number("compile_instructions")?,
        report.number("heap_bytes")?,
        report.number("heap_reach_bytes")?,
        report.number("stack_bytes")?,
        report.number("image_bytes")?,
        report.number("arena_bytes")?,
        image.flash_bytes() - image.data_set_bytes(),
    );
    if fingerprint != expected {
        return Err(format!(
            "described: fingerprint {fingerprint}, the host's is {expected}"
        ));
    }
    let printed = board.emulate(&board.build("described", "")?)?;
    equal(&printed, host.described())?;
    println!(
        "{:<11} networks that are described, in two types, = host",
        ""
    );
    Ok(())
}

/// Holds what a board printed against the host's fingerprints.
fn equal<'a>(printed: &str, host: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
    let report = Report::parse(printed);
    for (name, expected) in host {
        let fingerprint = report.text(name)?;
        if fingerprint != expected {
            return Err(format!(
                "{name}: fingerprint {fingerprint}, the host's is {expected}"
            ));
        }
    }
    Ok(())
}

/// What a session of the same network may take beside its typed twin, in instructions of a step.
const SESSION_PERCENT: u64 = 105;

/// The same training as a session of an image; `typed` are the instructions of a step of its typed twin.
fn session(board: &Board, expected: &str, typed: u64) -> Result<()> {
    let path = board.build("session", "")?;
    let report = Report::parse(&board.emulate(&path)?);
    let image = Image::read(&path)?;
    let fingerprint = report.text("fingerprint")?;
    let instructions = report.number("step_instructions")?;
    println!(
        "{:<11} as a session: {instructions} instructions a step ({:+.1} %), {} bytes of flash* with {} of the image, {} of arena, {} of stack",
        "",
        100.0 * (instructions as f64 / typed.max(1) as f64 - 1.0),
        image.flash_bytes() - image.data_set_bytes(),
        report.number("image_bytes")?,
        report.number("arena_bytes")?,
        report.number("stack_bytes")?,
    );
    if fingerprint != expected {
        return Err(format!(
            "session: fingerprint {fingerprint}, the host's is {expected}"
        ));
    }
    if 100 * instructions > SESSION_PERCENT * typed {
        return Err(format!(
            "session: {instructions} instructions a step, at most {SESSION_PERCENT} % of {typed} are asked for"
        ));
    }
    Ok(())
}

/// The training program once more, logging through defmt: the same report.
pub(crate) fn run_defmt() -> Result<()> {
    let board = named("mps2-an386")?;
    let report = Report::parse(&board.emulate_defmt(&board.build("train-digits", "defmt")?)?);
    let (fingerprint, expected) = (report.text("fingerprint")?, host::fingerprints()?.cnn()?);
    if fingerprint != expected {
        return Err(format!(
            "fingerprint {fingerprint}, the host's is {expected}"
        ));
    }
    println!("{:<11} logged through defmt = host", board.name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn a_report_is_read() {
        let report = Report::parse("noise\nsteps = 20\nfingerprint = ab\n");
        assert_eq!(report.number("steps"), Ok(20));
        assert_eq!(report.text("fingerprint"), Ok("ab"));
        assert_eq!(report.text("x"), Err("printed no x".to_owned()));
        assert!(report.number("fingerprint").is_err());
    }
}
