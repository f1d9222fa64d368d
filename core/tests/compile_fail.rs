//! Programs that must not build, and what the compiler says of them: each file of `tests/ui` lists
//! in its first lines, after `//~ `, what must be in the message.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

#[test]
fn wrong_networks_do_not_build_and_the_message_says_why() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui");
    fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"ui\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nselvedge-core = {{ path = {core:?} }}\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(core.join("../Cargo.lock"), folder.join("Cargo.lock")).unwrap();

    let check = |source: &str| {
        fs::write(folder.join("src/main.rs"), source).unwrap();
        let output = Command::new(env!("CARGO"))
            .args(["check", "--offline", "--color=never", "--target-dir"])
            .arg(folder.join("target"))
            .current_dir(&folder)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };

    let mut files: Vec<_> = fs::read_dir(core.join("tests/ui"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 6);
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = fs::read_to_string(&path).unwrap();
        let expected: Vec<_> = source
            .lines()
            .filter_map(|line| line.strip_prefix("//~ "))
            .collect();
        let (builds, message) = check(&source);
        assert_eq!(builds, expected.is_empty(), "{name}:\n{message}");
        for part in expected {
            assert!(message.contains(part), "{name}: no `{part}` in:\n{message}");
        }
    }
}
