//! The training in WebAssembly, under node.

use crate::run::{check, command, output, root};
use crate::{Result, host};

const TARGET: &str = "wasm32-unknown-unknown";

/// Builds the module, runs it under node, and compares the fingerprints with the host's.
pub(crate) fn test() -> Result<()> {
    let folder = root().join("target/wasm");
    let mut cargo = command(
        "cargo",
        &[
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--target",
            TARGET,
        ],
    );
    check(
        cargo
            .current_dir(root().join("tests/wasm"))
            .env("CARGO_TARGET_DIR", &folder),
    )?;
    let module = folder.join(TARGET).join("release/selvedge_wasm_test.wasm");
    let mut node = command("node", &["tests/wasm/run.mjs"]);
    let printed = output(node.arg(module))?;
    // Typed, and as a session of an image.
    let host = host::fingerprints()?;
    let cnn = host.cnn()?;
    let mut expected = format!("whole_i8 {cnn}\nsession_i8 {cnn}\n");
    let compared = host.one_epoch().chain(host.zoo()).chain(host.described());
    for (name, fingerprint) in compared {
        expected += &format!("{name} {fingerprint}\n");
    }
    if sorted(&printed) == sorted(&expected) {
        Ok(())
    } else {
        Err(format!("wasm printed\n{printed}the host has\n{expected}"))
    }
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<_> = lines.lines().collect();
    lines.sort_unstable();
    lines
}
