//! Writes memory.x for the board that the target and the features name.

use std::{env, fs, io, path::Path};

const MICROBIT: &str = "MEMORY { FLASH : ORIGIN = 0x00000000, LENGTH = 256K  RAM : ORIGIN = 0x20000000, LENGTH = 16K }\n";
const MPS2: &str =
    "MEMORY { FLASH : ORIGIN = 0x00000000, LENGTH = 4M  RAM : ORIGIN = 0x20000000, LENGTH = 4M }\n";
const VIRT: &str = "\
MEMORY { RAM : ORIGIN = 0x80000000, LENGTH = 4M }
REGION_ALIAS(\"REGION_TEXT\", RAM);
REGION_ALIAS(\"REGION_RODATA\", RAM);
REGION_ALIAS(\"REGION_DATA\", RAM);
REGION_ALIAS(\"REGION_BSS\", RAM);
REGION_ALIAS(\"REGION_HEAP\", RAM);
REGION_ALIAS(\"REGION_STACK\", RAM);
";

fn main() -> io::Result<()> {
    let variable = |name| env::var(name).map_err(io::Error::other);
    let memory = match variable("TARGET")? {
        target if target.starts_with("riscv32") => VIRT,
        _ if env::var_os("CARGO_FEATURE_MICROBIT").is_some() => MICROBIT,
        _ => MPS2,
    };
    let out = variable("OUT_DIR")?;
    fs::write(Path::new(&out).join("memory.x"), memory)?;
    fs::write(
        Path::new(&out).join("device.x"),
        "/* no device interrupt is used */\n",
    )?;
    // Nothing unwinds: tables for it would be flash for nothing.
    fs::write(
        Path::new(&out).join("discard.x"),
        "SECTIONS { /DISCARD/ : { *(.eh_frame .eh_frame.*) } }\n",
    )?;
    println!("cargo::rustc-link-search={out}");
    println!("cargo::rustc-link-arg=-Tdiscard.x");
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo::rustc-link-arg=-Tdefmt.x");
    }
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
