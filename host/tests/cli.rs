//! The `selvedge` binary as its users call it.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, which the lint's own rule misses

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

mod binary;

use binary::{refused, selvedge, text};

#[test]
fn help_has_examples() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["--help"][..],
        &["demo", "--help"],
        &["train", "--help"],
        &["eval", "--help"],
        &["run", "--help"],
        &["convert", "--help"],
        &["inspect", "--help"],
    ] {
        let output = selvedge(folder.path(), args);
        assert!(output.status.success());
        let help = text(&output.stdout);
        assert!(help.contains("Usage:"), "{args:?}");
        assert_eq!(args.len() == 1, !help.contains("Examples:"), "{args:?}");
    }
}

#[test]
fn bad_usage_is_code_2() {
    let folder = tempfile::tempdir().unwrap();
    refused(
        folder.path(),
        &["demo", "--dtype", "int4"],
        2,
        &["int4", "bf16"],
    );
    refused(folder.path(), &["demo", "--epochs", "0"], 2, &["--epochs"]);
    refused(folder.path(), &["demo", "--seed", "x"], 2, &["--seed"]);
    refused(folder.path(), &["train"], 2, &["--data"]);
    refused(
        folder.path(),
        &["train", "--data", "csv:x"],
        2,
        &["idx:DIR"],
    );
    refused(folder.path(), &["fly"], 2, &["fly"]);
    refused(folder.path(), &[], 2, &["Usage:"]);
}

#[test]
fn demo_shows_a_table_digits_and_confusion_and_writes_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let output = selvedge(
        folder.path(),
        &["demo", "--dtype", "i8,u8", "--epochs", "1"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    for part in [
        "i8 ",
        "u8 ",
        "read as",
        "Confusion of i8",
        "report.html",
        "██",
    ] {
        assert!(stdout.contains(part), "no `{part}` in: {stdout}");
    }
    let files: Vec<_> = fs::read_dir(folder.path().join("selvedge-demo"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(files, ["report.html"]);
}

#[test]
fn json_is_one_object_and_the_same_for_the_same_seed() {
    let folder = tempfile::tempdir().unwrap();
    let run = |seed: &str| {
        let args = [
            "train", "--data", "digits", "--dtype", "i8,u8", "--epochs", "2", "--json", "--seed",
            seed,
        ];
        let output = selvedge(folder.path(), &args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let (first, again, other) = (run("1"), run("1"), run("2"));
    assert_eq!(first["runs"][0]["dtype"], "i8");
    assert_eq!(first["runs"][1]["dtype"], "u8");
    assert_eq!(first["train"], 1437);
    assert_eq!(first["runs"][0]["loss"].as_array().unwrap().len(), 2);
    let fingerprint =
        |run: &serde_json::Value| run["runs"][0]["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(fingerprint(&first).len(), 64);
    assert_eq!(fingerprint(&first), fingerprint(&again));
    assert_ne!(fingerprint(&first), fingerprint(&other));
    // The unsigned type learns the same numbers.
    assert_eq!(first["runs"][0]["loss"], first["runs"][1]["loss"]);
    assert_eq!(first["runs"][0]["confusion"], first["runs"][1]["confusion"]);
}

#[test]
fn an_unwritable_report_is_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    // So many epochs would take minutes: it must fail before.
    refused(
        folder.path(),
        &["demo", "--out", "file/x", "--epochs", "9999"],
        1,
        &["file/x", "report"],
    );
    let args = [
        "train", "--data", "digits", "--epochs", "9999", "--report", "folder",
    ];
    refused(folder.path(), &args, 1, &["folder", "report", "directory"]);
    assert_eq!(
        fs::read_dir(folder.path().join("folder")).unwrap().count(),
        0
    );
}

/// An IDX file of `images` images of `side`², each with grey values that go with its label.
fn images(images: u32, side: u32) -> Vec<u8> {
    let mut bytes = [0x803, images, side, side]
        .map(u32::to_be_bytes)
        .as_flattened()
        .to_vec();
    for image in 0..images {
        bytes.extend((0..side * side).map(|pixel| if pixel % 10 == image % 10 { 255 } else { 0 }));
    }
    bytes
}

fn labels(labels: &[u8]) -> Vec<u8> {
    let mut bytes = [0x801, labels.len() as u32]
        .map(u32::to_be_bytes)
        .as_flattened()
        .to_vec();
    bytes.extend(labels);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A whole data set of 16 training and 4 test images, the training part as gzip.
fn data_set(folder: &Path) {
    let classes: Vec<u8> = (0..16).map(|i| i % 10).collect();
    fs::write(
        folder.join("train-images-idx3-ubyte.gz"),
        gzip(&images(16, 28)),
    )
    .unwrap();
    fs::write(
        folder.join("train-labels-idx1-ubyte.gz"),
        gzip(&labels(&classes)),
    )
    .unwrap();
    fs::write(folder.join("t10k-images-idx3-ubyte"), images(4, 28)).unwrap();
    fs::write(folder.join("t10k-labels-idx1-ubyte"), labels(&classes[..4])).unwrap();
}

#[test]
fn idx_files_train() {
    let folder = tempfile::tempdir().unwrap();
    data_set(folder.path());
    let args = [
        "train",
        "--data",
        "idx:.",
        "--epochs",
        "1",
        "--report",
        "report.html",
    ];
    let output = selvedge(folder.path(), &args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        fs::read_to_string(folder.path().join("report.html"))
            .unwrap()
            .contains("</html>")
    );
}

#[test]
fn broken_idx_files_are_named_with_the_reason() {
    const TRAIN_IMAGES: &str = "train-images-idx3-ubyte.gz";
    const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
    const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";
    let whole = gzip(&images(16, 28));
    let mut trailing = images(4, 28);
    trailing.push(0);
    let cases: Vec<(&str, &str, Option<Vec<u8>>, &str)> = vec![
        ("missing", TEST_LABELS, None, "no such file"),
        (
            "truncated",
            TEST_IMAGES,
            Some(images(4, 28)[..1000].to_vec()),
            "truncated",
        ),
        (
            "truncated header",
            TEST_IMAGES,
            Some(images(4, 28)[..7].to_vec()),
            "header",
        ),
        ("empty", TEST_LABELS, Some(Vec::new()), "header"),
        ("longer", TEST_IMAGES, Some(trailing), "more than"),
        (
            "no gzip",
            TRAIN_IMAGES,
            Some(images(16, 28)),
            "not a gzip file",
        ),
        (
            "gzip cut off",
            TRAIN_IMAGES,
            Some(whole[..whole.len() / 2].to_vec()),
            "truncated",
        ),
        (
            "magic",
            TEST_IMAGES,
            Some(labels(&[1, 2, 3, 4])),
            "not an IDX file of images",
        ),
        (
            "magic of labels",
            TEST_LABELS,
            Some(images(4, 28)),
            "not an IDX file of labels",
        ),
        (
            "label out of range",
            TEST_LABELS,
            Some(labels(&[1, 2, 10, 4])),
            "label 10 at position 2",
        ),
        ("zero images", TEST_IMAGES, Some(images(0, 28)), "no images"),
        (
            "fewer labels",
            TEST_LABELS,
            Some(labels(&[1])),
            "1 labels for 4 images",
        ),
        ("another size", TEST_IMAGES, Some(images(4, 14)), "14x14"),
        (
            "too many",
            TEST_IMAGES,
            Some([0x803u32, 65_537, 28, 28].map(u32::to_be_bytes).concat()),
            "65537",
        ),
    ];
    for (name, file, content, reason) in cases {
        let folder = tempfile::tempdir().unwrap();
        data_set(folder.path());
        let path = folder.path().join(file);
        match content {
            Some(content) => fs::write(path, content).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        println!("{name}");
        let args = ["train", "--data", "idx:.", "--report", "out/report.html"];
        refused(folder.path(), &args, 1, &[file, reason]);
        assert!(
            !folder.path().join("out").exists(),
            "{name}: left something behind"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    refused(
        folder.path(),
        &["train", "--data", "idx:nowhere"],
        1,
        &["nowhere", "no such file"],
    );
}

#[test]
fn mnist_files_train_to_what_is_known_of_such_networks() {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/mnist-10k");
    if !data.is_dir() {
        println!("skipped: no MNIST files in ../shared/data/mnist-10k");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = format!("idx:{}", data.display());
    let output = selvedge(
        folder.path(),
        &["train", "--data", &source, "--epochs", "1", "--json"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let run: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(run["runs"][0]["accuracy"].as_f64().unwrap() > 0.9, "{run}");
}

const DESCRIPTION: &str = r#"{
    "input": [6, 6, 2],
    "layers": [
        {"name": "block", "type": "sequential", "layers": [
            {"name": "edges", "type": "conv", "filters": 4, "kernel": 3, "activation": "relu"},
            {"name": "halve", "type": "max_pool"}
        ]},
        {"name": "flat", "type": "flatten"},
        {"name": "head", "type": "dense", "outputs": 3, "frozen": true}
    ]
}"#;

/// What `inspect --json` prints.
fn inspected(folder: &Path, args: &[&str]) -> serde_json::Value {
    let args = [&["inspect", "--json"], args].concat();
    let output = selvedge(folder, &args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn inspect_shows_a_description_and_the_image_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("net.json"), DESCRIPTION).unwrap();
    let options = ["--dtype", "i16", "--samples", "4", "--train"];
    let found = inspected(folder, &[&["net.json"], &options[..]].concat());
    assert_eq!(found["parameters"], 4 * 18 + 4 + 3 * 16 + 3);
    assert_eq!(found["macs"], 4 * 4 * 4 * 18 + 3 * 16);
    let layers = found["layers"].as_array().unwrap();
    let paths: Vec<_> = layers
        .iter()
        .map(|layer| layer["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["block.edges", "block.halve", "flat", "head"]);
    let expected = serde_json::json!({
        "path": "block.edges", "type": "conv", "dtype": "i16", "input_shape": [6, 6, 2], "output_shape": [4, 4, 4],
        "parameters": 76, "macs": 1152, "bytes": 2 * 76, "trainable": true,
    });
    assert_eq!(layers[0], expected);
    assert_eq!(layers[3]["trainable"], false);

    // An image says what it was compiled from, and needs the same RAM with that and without.
    let convert = [&["convert", "net.json", "-o", "with.svi"], &options[..]].concat();
    assert!(selvedge(folder, &convert).status.success());
    assert_eq!(inspected(folder, &["with.svi"]), found);
    let convert = [
        &["convert", "net.json", "-o", "bare.svi", "--no-description"],
        &options[..],
    ]
    .concat();
    assert!(selvedge(folder, &convert).status.success());
    let bare = inspected(folder, &["bare.svi"]);
    assert_eq!(bare["arena_bytes"], found["arena_bytes"]);
    assert!(bare["layers"].is_null());
    let shown = text(&selvedge(folder, &["inspect", "bare.svi"]).stdout);
    for part in [
        "section weights",
        "infer: 3 operators",
        "1 conv_step",
        "train: ",
    ] {
        assert!(shown.contains(part), "no `{part}` in: {shown}");
    }
}

#[test]
fn inspect_shows_and_draws_the_arena() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("net.json"), DESCRIPTION).unwrap();
    let args = [
        "inspect", "net.json", "--train", "--values", "--map", "map.svg",
    ];
    let shown = text(&selvedge(folder, &args).stdout);
    for part in [
        "  edges",
        "frozen",
        "block.edges conv_step",
        "cross_entropy 1",
        "█",
    ] {
        assert!(shown.contains(part), "no `{part}` in: {shown}");
    }
    let svg = fs::read_to_string(folder.join("map.svg")).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains("<title>block.edges conv, 64 bytes"),
        "{svg}"
    );
}

#[test]
fn inspect_refuses_what_is_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("net.json"), DESCRIPTION).unwrap();
    let convert = ["convert", "net.json", "-o", "bare.svi", "--no-description"];
    assert!(selvedge(folder, &convert).status.success());
    let image = fs::read(folder.join("bare.svi")).unwrap();
    fs::write(folder.join("short.svi"), &image[..image.len() - 1]).unwrap();
    fs::write(folder.join("head.svi"), &image[..20]).unwrap();
    fs::write(folder.join("text.json"), "a network").unwrap();
    fs::write(folder.join("empty.json"), "").unwrap();
    fs::write(
        folder.join("other.json"),
        r#"{"input": [2], "layers": [{"name": "a", "type": "magic"}]}"#,
    )
    .unwrap();
    for (file, parts) in [
        ("missing.json", &["missing.json"][..]),
        ("text.json", &["text.json", "neither"]),
        ("empty.json", &["empty.json", "neither"]),
        ("other.json", &["other.json", "magic", "line 1"]),
        ("short.svi", &["short.svi", "ends early"]),
        ("head.svi", &["head.svi", "section 0", "ends early"]),
    ] {
        refused(folder, &["inspect", file], 1, parts);
    }
    refused(
        folder,
        &["inspect", "bare.svi", "--map", "a.svg"],
        1,
        &["no description"],
    );
    refused(
        folder,
        &["inspect", "net.json", "--loss", "squared"],
        2,
        &["--train"],
    );
    refused(folder, &["inspect"], 2, &["FILE"]);
}
