//! The training in WebAssembly, under node.

use crate::run::{check, command, output, root};
use crate::{Result, firmware};

const TARGET: &str = "wasm32-unknown-unknown";

/// Builds the module, runs it under node, and compares the fingerprint with the host's.
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
    let fingerprint = output(node.arg(module))?;
    let expected = firmware::host_cnn();
    if fingerprint.trim() == expected {
        Ok(())
    } else {
        Err(format!(
            "wasm's fingerprint is {}, the host's is {expected}",
            fingerprint.trim()
        ))
    }
}
