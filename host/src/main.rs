//! The `selvedge` command.

fn main() -> std::process::ExitCode {
    selvedge::cli::main()
}
