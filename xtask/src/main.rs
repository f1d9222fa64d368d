//! Set-up and test matrix of the workspace: `cargo xtask --help`.
//!
//! One file per command. Every step runs the tools a developer would run by hand, from the
//! workspace's root; nothing here knows mathematics.

mod bench;
mod board;
mod firmware;
mod host;
mod image;
mod proof;
mod run;
mod setup;
mod size;
mod test;
mod wasm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What a command comes to: an error is a sentence for the terminal.
type Result<T> = std::result::Result<T, String>;

/// Set-up and test matrix of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Setup),
    Test(test::Test),
    Firmware(firmware::Firmware),
    Size(size::Size),
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Setup(command) => command.run(),
        Command::Test(command) => command.run(),
        Command::Firmware(command) => command.run(),
        Command::Size(command) => command.run(),
        Command::Bench(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
