//! Two proofs by reading images: training integers uses no float, and training links no panic, whatever the
//! layer.
//! Each check is also run on a control that must be caught.

use crate::Result;
use crate::board::{Board, named};
use crate::image::Image;
use crate::run::{command, have, output, root};
use std::path::{Path, PathBuf};

/// What the routines of soft floating point are called: the Arm run-time ABI's, and libgcc's.
const FLOAT_PREFIXES: &[&str] = &[
    "__aeabi_f",
    "__aeabi_d",
    "__aeabi_cf",
    "__aeabi_cd",
    "__aeabi_i2f",
    "__aeabi_i2d",
    "__aeabi_ui2f",
    "__aeabi_ui2d",
    "__aeabi_l2f",
    "__aeabi_l2d",
    "__aeabi_ul2f",
    "__aeabi_ul2d",
    "__aeabi_h2f",
    "__float",
    "__fix",
    "__extend",
    "__trunc",
    "__gnu_h2f",
    "__gnu_f2h",
    "__gnu_d2h",
    "__powi",
];
/// `__addsf3`, `__muldf3`, `__ltsf2` …: an operation, then one of these.
const FLOAT_SUFFIXES: &[&str] = &[
    "sf2", "df2", "hf2", "tf2", "sf3", "df3", "hf3", "tf3", "sf4", "df4",
];
/// Parts of the names that panics and formatting bring, mangled by either scheme.
const PANIC_PARTS: &[&str] = &[
    "9panicking",
    "rust_begin_unwind",
    "4core3fmt",
    "3fmt9Formatter",
    "3fmt5Write",
    "panic_fmt",
    "PanicInfo",
];

fn is_float(name: &str) -> bool {
    FLOAT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || (name.starts_with("__") && FLOAT_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)))
        || name.contains("compiler_builtins5float")
        || name.contains("4libm4math")
}

fn is_panic(name: &str) -> bool {
    PANIC_PARTS.iter().any(|part| name.contains(part))
}

/// The Cortex-M0 programs that train the demo's network, and one with each layer that there is, hold and call no
/// float routine; the f32 twin of the former does.
pub(crate) fn integers_only() -> Result<()> {
    let board = named("mps2-an385")?;
    for program in ["train-digits", "zoo"] {
        let found = float_routines(&board.build(program, "")?)?;
        if !found.is_empty() {
            return Err(format!(
                "{program} trains integers and holds float routines: {}",
                found.join(", ")
            ));
        }
    }
    if float_routines(&board.build("train-digits", "control-float")?)?.is_empty() {
        return Err(
            "the check finds no float routine in the f32 control: it cannot fail".to_owned(),
        );
    }
    Ok(())
}

/// The names of float routines among the labels, the targets of branches and the symbols.
fn float_routines(image: &Path) -> Result<Vec<String>> {
    let Some(objdump) = objdump() else {
        return Err("llvm-objdump is missing: cargo xtask setup".to_owned());
    };
    let mut dump = command(
        &objdump.to_string_lossy(),
        &["--disassemble", "--no-show-raw-insn"],
    );
    let text = output(dump.arg(image))?;
    if text.lines().count() < 500 {
        return Err(format!("{}: hardly any disassembly", image.display()));
    }
    // `1234: bl 0x5678 <name+0x4>` and `00001234 <name>:`
    let labels = text
        .split('<')
        .skip(1)
        .filter_map(|rest| rest.split(['>', '+']).next())
        .map(str::to_owned);
    let symbols = Image::read(image)?
        .symbols
        .into_iter()
        .map(|(name, _)| name);
    let mut found: Vec<_> = labels
        .chain(symbols)
        .filter(|name| is_float(name))
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// llvm-objdump from the path, else the newest versioned one.
pub(crate) fn objdump() -> Option<PathBuf> {
    if have("llvm-objdump") {
        return Some("llvm-objdump".into());
    }
    (11..30)
        .rev()
        .map(|version| format!("llvm-objdump-{version}"))
        .find(|name| have(name))
        .map(PathBuf::from)
}

/// The boards whose images are read for panics.
pub(crate) const BOARDS: [&str; 2] = ["mps2-an386", "mps2-an385"];

/// What trains on a board links no panic and no formatting: the demo's step, and one with each layer that there is,
/// those of floats alone in an image of their own, and a session of an image. One bounds check more does.
pub(crate) fn no_panic(board: &Board) -> Result<()> {
    for program in [
        "no-panic",
        "no-panic-zoo",
        "no-panic-floats",
        "no-panic-session",
    ] {
        let found = panics(&board.build(program, "")?)?;
        if !found.is_empty() {
            return Err(format!("{program} links {}", found.join(", ")));
        }
    }
    if panics(&board.build("no-panic", "control-panic")?)?.is_empty() {
        return Err("the check finds no panic in the control: it cannot fail".to_owned());
    }
    Ok(())
}

fn panics(image: &Path) -> Result<Vec<String>> {
    let image = Image::read(image)?;
    if image.symbols.len() < 5 {
        return Err(format!(
            "the image has no symbols to read, below {}",
            root().display()
        ));
    }
    Ok(image
        .symbols
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| is_panic(name))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{is_float, is_panic};

    #[test]
    fn float_routines_are_told_from_integer_ones() {
        for name in [
            "__aeabi_fadd",
            "__aeabi_dmul",
            "__addsf3",
            "__floatsisf",
            "__aeabi_i2f",
            "__fixsfsi",
            "__aeabi_cfcmple",
        ] {
            assert!(is_float(name), "{name}");
        }
        for name in [
            "__aeabi_uldivmod",
            "__aeabi_memcpy",
            "__aeabi_lmul",
            "__aeabi_uidiv",
            "main",
            "__muldi3",
        ] {
            assert!(!is_float(name), "{name}");
        }
    }

    #[test]
    fn panics_are_found_in_both_manglings() {
        assert!(is_panic(
            "_ZN4core9panicking18panic_bounds_check17h0123456789abcdefE"
        ));
        assert!(is_panic("_RNvNtCs1_4core9panicking9panic_fmt"));
        assert!(!is_panic("_ZN8selvedge5dense7forward17h0E"));
    }
}
