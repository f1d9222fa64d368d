//! `cargo xtask setup`: installs what `cargo xtask test` needs and does not find.

use crate::Result;
use crate::run::{check, command, have, output};
use std::path::Path;

/// The Rust targets of the test matrix.
pub(crate) const TARGETS: &[&str] = &[
    "thumbv6m-none-eabi",
    "thumbv7em-none-eabihf",
    "riscv32imc-unknown-none-elf",
    "wasm32-unknown-unknown",
    "aarch64-unknown-linux-gnu",
];

/// A tool, how it shows that it is there, and the Debian packages that hold it: in one release this
/// one, in another that one.
struct Tool {
    what: &'static str,
    packages: &'static [&'static str],
    is_present: fn() -> bool,
}

const TOOLS: &[Tool] = &[
    Tool {
        what: "qemu-system-arm",
        packages: &["qemu-system-arm"],
        is_present: || have("qemu-system-arm"),
    },
    Tool {
        what: "qemu-system-riscv32",
        packages: &["qemu-system-riscv", "qemu-system-misc"],
        is_present: || have("qemu-system-riscv32"),
    },
    Tool {
        what: "qemu-aarch64-static",
        packages: &["qemu-user-static"],
        is_present: || have("qemu-aarch64-static"),
    },
    Tool {
        what: "aarch64-linux-gnu-gcc",
        packages: &["gcc-aarch64-linux-gnu"],
        is_present: || have("aarch64-linux-gnu-gcc"),
    },
    Tool {
        what: "the C library for aarch64",
        packages: &["libc6-dev-arm64-cross"],
        is_present: || Path::new("/usr/aarch64-linux-gnu/include/stdio.h").exists(),
    },
    Tool {
        what: "llvm-objdump",
        packages: &["llvm"],
        is_present: || crate::proof::objdump().is_some(),
    },
    Tool {
        what: "node",
        packages: &["nodejs"],
        is_present: || have("node"),
    },
];

/// Install missing Rust targets, emulators and cross tools.
#[derive(clap::Args)]
pub(crate) struct Setup {
    /// Change nothing, only say what is missing.
    #[arg(long)]
    check: bool,
}

impl Setup {
    pub(crate) fn run(&self) -> Result<()> {
        let mut missing = Vec::new();
        for component in ["rustfmt", "clippy-driver"] {
            if !have(component) && output(&mut command(component, &["--version"])).is_err() {
                let name = component.trim_end_matches("-driver");
                if self.check || check(&mut command("rustup", &["component", "add", name])).is_err()
                {
                    missing.push(format!("{name} (rustup component add {name})"));
                }
            }
        }
        let mut is_updated = false;
        for tool in TOOLS {
            if !(tool.is_present)() && !self.check {
                for package in tool.packages {
                    if (tool.is_present)() {
                        break;
                    }
                    install(package, &mut is_updated);
                }
            }
            if (tool.is_present)() {
                println!("{:<32} present", tool.what);
            } else {
                println!("{:<32} missing", tool.what);
                missing.push(format!(
                    "{} (Debian package {})",
                    tool.what,
                    tool.packages.join(" or ")
                ));
            }
        }
        let absent: Vec<_> = TARGETS
            .iter()
            .copied()
            .filter(|target| !has_target(target))
            .collect();
        if !absent.is_empty() && !self.check {
            // The script reports on each; what it could not do is found below.
            if let Err(error) = check(command("bash", &["xtask/setup-targets.sh"]).args(&absent)) {
                eprintln!("{error}");
            }
        }
        for target in TARGETS {
            let is_present = has_target(target);
            println!(
                "{target:<32} {}",
                if is_present { "present" } else { "missing" }
            );
            if !is_present {
                missing.push(format!("{target} (rustup target add {target})"));
            }
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("missing:\n  {}", missing.join("\n  ")))
        }
    }
}

/// Whether the standard library, or core, of a target is in the sysroot.
pub(crate) fn has_target(target: &str) -> bool {
    let Ok(folder) = output(&mut command(
        "rustc",
        &["--print", "target-libdir", "--target", target],
    )) else {
        return false;
    };
    let Ok(files) = std::fs::read_dir(folder.trim()) else {
        return false;
    };
    files
        .flatten()
        .any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
}

/// By apt, as root or by sudo without asking; whether it worked shows in what is there after it.
fn install(package: &str, is_updated: &mut bool) {
    if !have("apt-get") {
        return;
    }
    let is_root = output(&mut command("id", &["-u"])).is_ok_and(|id| id.trim() == "0");
    let apt = |args: &[&str]| {
        let mut words = vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
        if !is_root {
            words.splice(0..0, ["sudo", "-n"]);
        }
        words.extend(args);
        words
            .split_first()
            .map_or(Ok(String::new()), |(program, args)| {
                output(&mut command(program, args))
            })
    };
    println!("installing {package}");
    if !*is_updated {
        *is_updated = true;
        if let Err(error) = apt(&["update", "-q"]) {
            eprintln!("{error}");
        }
    }
    if let Err(error) = apt(&["install", "-y", "-q", "--no-install-recommends", package]) {
        eprintln!("{error}");
    }
}
