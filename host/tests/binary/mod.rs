//! Calls of the `selvedge` binary.

use std::path::Path;
use std::process::{Command, Output};

pub(crate) fn selvedge(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_selvedge"))
        .current_dir(folder)
        .args(args)
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A call that must succeed; what it prints.
#[allow(dead_code)] // not each test file has one
pub(crate) fn done(folder: &Path, args: &[&str]) -> String {
    let output = selvedge(folder, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Calls that must fail with `code` and name each of `parts` on stderr.
pub(crate) fn refused(folder: &Path, args: &[&str], code: i32, parts: &[&str]) {
    let output = selvedge(folder, args);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: no `{part}` in: {stderr}");
    }
    assert!(
        output.stdout.is_empty(),
        "{args:?}: printed {}",
        text(&output.stdout)
    );
}
