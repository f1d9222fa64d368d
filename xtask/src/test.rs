//! `cargo xtask test`: the test matrix, with a summary of each step.

use crate::board::Board;
use crate::host::Fingerprints;
use crate::run::{check, command, have, output, root};
use crate::setup::has_target;
use crate::{Result, board, firmware, host, proof, wasm};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Test everything: host, Linux on Arm, WebAssembly, firmware on every board.
#[derive(clap::Args)]
pub(crate) struct Test {
    /// The host only.
    #[arg(long)]
    fast: bool,
    /// A step that is skipped counts as failed; also with CI=true in the environment.
    #[arg(long)]
    deny_skips: bool,
}

/// What a step needs beside a Rust toolchain for the host.
#[derive(Clone, Copy)]
enum Need {
    Program(&'static str),
    Target(&'static str),
    Disassembler,
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Program(name) => have(name),
            Self::Target(name) => has_target(name),
            Self::Disassembler => proof::objdump().is_some(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Program(name) | Self::Target(name) => name,
            Self::Disassembler => "llvm-objdump",
        }
    }
}

struct Step {
    name: String,
    needs: Vec<Need>,
    run: Box<dyn Fn() -> Result<()> + Send + Sync>,
}

impl Step {
    fn new(
        name: impl Into<String>,
        needs: &[Need],
        run: impl Fn() -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            needs: needs.to_vec(),
            run: Box::new(run),
        }
    }

    fn cargo(name: &str, args: &'static [&'static str]) -> Self {
        Self::new(name, &[], move || check(&mut command("cargo", args)))
    }
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

impl Test {
    pub(crate) fn run(&self) -> Result<()> {
        let deny_skips = self.deny_skips || std::env::var("CI").is_ok_and(|value| value == "true");
        let targets = if self.fast {
            Vec::new()
        } else {
            target_steps()
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let rows = side_by_side(&host_steps(), &targets, workers.min(4));
        summary(&rows, deny_skips)
    }
}

/// The name of a step, how it ended, and the seconds it took.
type Row = (String, Outcome, f64);

impl Step {
    fn take(&self) -> Row {
        println!("\n== {}", self.name);
        let start = Instant::now();
        let missing: Vec<_> = (self.needs.iter())
            .filter(|need| !need.is_met())
            .map(|need| need.name())
            .collect();
        let outcome = if !missing.is_empty() {
            Outcome::Skipped(format!("{} missing: cargo xtask setup", missing.join(", ")))
        } else {
            match (self.run)() {
                Ok(()) => Outcome::Passed,
                Err(error) => Outcome::Failed(error),
            }
        };
        if let Outcome::Failed(error) = &outcome {
            eprintln!("{}: {error}", self.name);
        }
        (self.name.clone(), outcome, start.elapsed().as_secs_f64())
    }
}

/// Takes the steps of the host in order, and those of targets beside them, as many at a time as there are workers: images are
/// optimised as a whole, on one core, and each target has a folder of its own.
fn side_by_side(host: &[Step], targets: &[Step], workers: usize) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let work = |own: &[Step]| {
        let mut rows: Vec<(usize, Row)> = own.iter().map(|step| (0, step.take())).collect();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(step) = targets.get(i) else {
                return rows;
            };
            rows.push((i + 1, step.take()));
        }
    };
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..workers).map(|_| scope.spawn(|| work(&[]))).collect();
        let mut rows = work(host);
        for helper in helpers {
            match helper.join() {
                Ok(others) => rows.extend(others),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        rows.sort_by_key(|&(i, _)| i);
        rows.into_iter().map(|(_, row)| row).collect()
    })
}

/// Prints the table and the closing line.
fn summary(rows: &[Row], deny_skips: bool) -> Result<()> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    println!();
    for (name, outcome, seconds) in rows {
        let (word, why) = match outcome {
            Outcome::Passed => {
                passed += 1;
                ("passed", "")
            }
            Outcome::Failed(error) => {
                failed += 1;
                ("FAILED", error.lines().next().unwrap_or_default())
            }
            Outcome::Skipped(why) => {
                skipped += 1;
                ("SKIPPED", why.as_str())
            }
        };
        println!("{name:<34} {word:<8} {seconds:>7.1} s  {why}");
    }
    if deny_skips {
        failed += skipped;
    }
    println!("{skipped} skipped");
    println!("{passed} passed, {failed} failed");
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} of {} steps failed", rows.len()))
    }
}

fn host_steps() -> Vec<Step> {
    let mut steps = vec![
        Step::cargo("format", &["fmt", "--all", "--check"]),
        Step::new("format of firmware, wasm and fuzz", &[], || {
            for manifest in ["firmware-examples", "fuzz", "tests/wasm"] {
                let manifest = &format!("{manifest}/Cargo.toml");
                check(&mut command(
                    "cargo",
                    &["fmt", "--all", "--check", "--manifest-path", manifest],
                ))?;
            }
            Ok(())
        }),
        Step::cargo(
            "clippy",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
        ),
        Step::cargo("tests and doctests", &["test", "--workspace", "--quiet"]),
        Step::cargo(
            "accuracy in each type",
            &[
                "test",
                "--quiet",
                "--workspace", // the features of the step before: what it has built serves again
                "--test",
                "digits",
                "--",
                "--ignored",
                "--nocapture",
            ],
        ),
        Step::cargo(
            "hostile bytes",
            &[
                "test",
                "--quiet",
                "--workspace",
                "--test",
                "hostile",
                "--",
                "--ignored",
                "--nocapture",
            ],
        ),
        Step::new("documentation", &[], || {
            let mut cargo = command("cargo", &["doc", "--workspace", "--no-deps", "--quiet"]);
            check(cargo.env("RUSTDOCFLAGS", "-D warnings"))
        }),
    ];
    // Each feature alone, none, and all.
    for package in ["selvedge-kernels", "selvedge-core"] {
        steps.push(Step::new(
            format!("features of {package}"),
            &[],
            move || {
                for features in [
                    &["--no-default-features"][..],
                    &["--features", "detect"],
                    &["--all-features"],
                ] {
                    let mut cargo = command("cargo", &["check", "--quiet", "--package", package]);
                    check(cargo.args(features))?;
                }
                Ok(())
            },
        ));
    }
    steps
}

const AARCH64: &str = "aarch64-unknown-linux-gnu";

/// The tests that an emulated Arm Linux runs beside the fingerprints, which have each layer in integers: exact models,
/// definitions, recorded runs, what floats are computed by.
const ON_ARM: [&str; 10] = [
    "activations",
    "attention",
    "definitions",
    "element",
    "elementwise",
    "golden",
    "norm",
    "precision",
    "primitives",
    "vectors",
];

/// The tests of [`ON_ARM`] and the fingerprints, in an emulator. Arm has no code of its own: what may differ is what the
/// compiler makes of the same source.
fn linux_on_arm() -> Result<()> {
    let cargo = |words: &[&str]| {
        let mut cargo = command("cargo", words);
        // Both packages, also for what only one has: others would be other features, and a second build of the kernels.
        cargo.args(["--quiet", "--package", "selvedge-tests"]);
        cargo.args(["--package", "selvedge-digits", "--target", AARCH64]);
        // An emulator is slow: properties are tried with fewer inputs than on the host.
        cargo.env("PROPTEST_CASES", "4");
        cargo
    };
    let mut tests = cargo(&["test"]);
    for test in ON_ARM {
        tests.args(["--test", test]);
    }
    // Networks that learn are the host's: the fingerprints show that the bytes are the same.
    check(tests.args(["--", "--skip", "learns"]))?;
    check(cargo(&["build"]).args(["--example", host::EXAMPLE]))?;
    let folder = host::target_folder().join(AARCH64).join("debug/examples");
    let program = folder.join(host::EXAMPLE);
    let arguments = ["-L", "/usr/aarch64-linux-gnu", &program.to_string_lossy()];
    let printed = output(&mut command("qemu-aarch64-static", &arguments))?;
    host::fingerprints()?.compare(&Fingerprints::parse(&printed), AARCH64)
}

fn target_steps() -> Vec<Step> {
    const M0: Need = Need::Target("thumbv6m-none-eabi");
    const M4: Need = Need::Target("thumbv7em-none-eabihf");
    let mut steps = vec![
        Step::new(
            "WebAssembly",
            &[
                Need::Target("wasm32-unknown-unknown"),
                Need::Program("node"),
            ],
            wasm::test,
        ),
        Step::new("clippy of the firmware", &[M4], || {
            let mut cargo = command("cargo", &["clippy", "--release", "--quiet", "--locked"]);
            cargo.args(["--target", "thumbv7em-none-eabihf", "--", "-D", "warnings"]);
            check(
                cargo
                    .current_dir(root().join("firmware-examples"))
                    .env("CARGO_TARGET_DIR", root().join("target/firmware/clippy")),
            )
        }),
    ];
    let on_board = |board: &'static Board| {
        let needs = [Need::Target(board.target), Need::Program(board.emulator)];
        let name = format!("firmware on {}", board.name);
        Step::new(name, &needs, move || firmware::run_on(board))
    };
    let (first, others) = board::ALL.split_at(board::ALL.len() / 2);
    steps.extend(first.iter().map(on_board));
    // Builds wait for each other in the folder that the host's tests are built in: late enough not to wait long.
    steps.push(Step::new(
        "Linux on Arm",
        &[
            Need::Target(AARCH64),
            Need::Program("aarch64-linux-gnu-gcc"),
            Need::Program("qemu-aarch64-static"),
        ],
        linux_on_arm,
    ));
    steps.extend(others.iter().map(on_board));
    steps.push(Step::new(
        "firmware logging through defmt",
        &[M4, Need::Program("qemu-system-arm")],
        firmware::run_defmt,
    ));
    steps.push(Step::new(
        "integers only (Cortex-M0)",
        &[M0, Need::Disassembler],
        proof::integers_only,
    ));
    let proved = |board: &&Board| proof::BOARDS.contains(&board.name);
    for board in board::ALL.iter().filter(proved) {
        let name = format!("no panic machinery ({})", board.core);
        let needs = [Need::Target(board.target)];
        steps.push(Step::new(name, &needs, move || proof::no_panic(board)));
    }
    steps
}
