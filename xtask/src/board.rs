//! The emulated boards.

use crate::Result;
use crate::run::{check, command, output, root};
use crate::setup::TARGETS;
use defmt_decoder::{DecodeError, Table};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An emulated machine with the target and features that its firmware is built for.
pub(crate) struct Board {
    pub(crate) name: &'static str,
    pub(crate) core: &'static str,
    pub(crate) target: &'static str,
    pub(crate) features: &'static str,
    pub(crate) emulator: &'static str,
    machine: &'static [&'static str],
    /// Whether it holds the larger network, and so one of each integer type.
    pub(crate) is_large: bool,
    pub(crate) budget: Budget,
}

/// What the training program may take at most, and must reach.
pub(crate) struct Budget {
    /// Bytes of flash without the data set.
    flash: u64,
    /// Bytes of statics and stack.
    ram: u64,
    /// Share of the test images that are recognised after training.
    accuracy: f64,
}

impl Budget {
    pub(crate) fn check(&self, flash: u64, ram: u64, accuracy: f64) -> Result<()> {
        for (what, found, most) in [("flash", flash, self.flash), ("RAM", ram, self.ram)] {
            if found > most {
                return Err(format!("{found} bytes of {what}, the budget is {most}"));
            }
        }
        if accuracy < self.accuracy {
            let least = self.accuracy;
            return Err(format!(
                "accuracy {accuracy:.3}, at least {least} is asked for"
            ));
        }
        Ok(())
    }
}

/// All of them.
pub(crate) const ALL: &[Board] = &[
    Board {
        name: "mps2-an386",
        core: "Cortex-M4F",
        target: "thumbv7em-none-eabihf",
        features: "",
        emulator: "qemu-system-arm",
        machine: &["-M", "mps2-an386", "-icount", "shift=6"],
        is_large: true,
        budget: Budget {
            flash: 28 * 1024,
            ram: 24 * 1024,
            accuracy: 0.97,
        },
    },
    Board {
        name: "mps2-an385",
        core: "Cortex-M0 code",
        target: "thumbv6m-none-eabi",
        features: "",
        emulator: "qemu-system-arm",
        machine: &["-M", "mps2-an385", "-icount", "shift=6"],
        is_large: true,
        budget: Budget {
            flash: 29 * 1024,
            ram: 24 * 1024,
            accuracy: 0.97,
        },
    },
    Board {
        name: "virt",
        core: "RISC-V RV32IMC",
        target: "riscv32imc-unknown-none-elf",
        features: "",
        emulator: "qemu-system-riscv32",
        machine: &[
            "-M", "virt", "-cpu", "rv32", "-bios", "none", "-icount", "shift=0",
        ],
        is_large: true,
        budget: Budget {
            flash: 32 * 1024,
            ram: 24 * 1024,
            accuracy: 0.97,
        },
    },
    Board {
        name: "microbit",
        core: "Cortex-M0",
        target: "thumbv6m-none-eabi",
        features: "microbit",
        emulator: "qemu-system-arm",
        machine: &["-M", "microbit", "-icount", "shift=6"],
        is_large: false,
        budget: Budget {
            flash: 24 * 1024,
            ram: 16 * 1024,
            accuracy: 0.94,
        },
    },
];

/// The package of `firmware-examples` that has the program `bin`. No other is selected: features of what is built at a time
/// unify, and what trains typed networks and images is built without the compiler.
fn package_of(bin: &str) -> &'static str {
    match bin {
        "describe-on-device" | "described" => "describe-on-device",
        _ => "train-digits",
    }
}

/// The board of that name.
pub(crate) fn named(name: &str) -> Result<&'static Board> {
    ALL.iter().find(|board| board.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|board| board.name).collect();
        format!("no board is called {name}; there are {}", names.join(", "))
    })
}

impl Board {
    /// Builds the program `bin` and returns the image. `extra` are features beside the board's.
    pub(crate) fn build(&self, bin: &str, extra: &str) -> Result<PathBuf> {
        let features = format!("{} {extra}", self.features);
        let folder = root().join("target/firmware").join(self.target);
        let mut cargo = command(
            "cargo",
            &[
                "build",
                "--quiet",
                "--release",
                "--locked",
                "--package",
                package_of(bin),
            ],
        );
        cargo.args([
            "--bin",
            bin,
            "--target",
            self.target,
            "--features",
            features.trim(),
        ]);
        cargo
            .current_dir(root().join("firmware-examples"))
            .env("CARGO_TARGET_DIR", &folder);
        // Features change the image, not its name: a copy for each board and each set of them, before another build.
        let images = folder
            .join("images")
            .join(format!("{} {extra}", self.name).trim());
        let image = images.join(bin);
        let failed = |error: std::io::Error| format!("{}: {error}", image.display());
        let _building = self.lock();
        check(&mut cargo)?;
        fs::create_dir_all(&images).map_err(failed)?;
        let built = folder.join(self.target).join("release").join(bin);
        fs::copy(built, &image).map_err(failed)?;
        Ok(image)
    }

    /// Held from a build to its copy: of each target, one at a time.
    fn lock(&self) -> MutexGuard<'static, ()> {
        static LOCKS: [Mutex<()>; TARGETS.len()] = [const { Mutex::new(()) }; TARGETS.len()];
        let i = TARGETS.iter().position(|&target| target == self.target);
        let lock = &LOCKS[i.unwrap_or_default()];
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn qemu(&self, image: &Path) -> Command {
        let mut qemu = command("timeout", &["600", self.emulator]);
        qemu.args(self.machine)
            .args(["-nographic", "-monitor", "none", "-serial", "null"]);
        qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel"])
            .arg(image);
        qemu
    }

    /// Runs an image and returns what it printed.
    pub(crate) fn emulate(&self, image: &Path) -> Result<String> {
        output(&mut self.qemu(image))
    }

    /// Runs an image that logs through defmt and returns its messages, one a line.
    pub(crate) fn emulate_defmt(&self, image: &Path) -> Result<String> {
        let elf = fs::read(image).map_err(|error| format!("{}: {error}", image.display()))?;
        let table = Table::parse(&elf)
            .map_err(|error| error.to_string())?
            .ok_or("the image logs nothing through defmt")?;
        let logged = self
            .qemu(image)
            .output()
            .map_err(|error| error.to_string())?;
        if !logged.status.success() {
            return Err(format!("{}: {}", self.emulator, logged.status));
        }
        let mut decoder = table.new_stream_decoder();
        decoder.received(&logged.stdout);
        let mut lines = String::new();
        loop {
            match decoder.decode() {
                Ok(frame) => lines += &format!("{}\n", frame.display_message()),
                Err(DecodeError::UnexpectedEof) => return Ok(lines),
                Err(DecodeError::Malformed) => return Err("a defmt frame is malformed".to_owned()),
            }
        }
    }
}
