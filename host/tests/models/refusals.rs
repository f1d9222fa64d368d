//! What does not go together, before anything is done.

use super::binary::{done, refused};
use super::{CNN, FLOWERS, flowers, npy, table};
use std::fs;

#[test]
fn what_does_not_fit_is_refused_before_the_first_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("cnn.json"), CNN).unwrap();
    fs::write(folder.join("net.json"), FLOWERS).unwrap();
    fs::write(folder.join("flowers.csv"), table(&flowers(50))).unwrap();
    fs::write(
        folder.join("nan.csv"),
        "a,b,kind,c,d\n1,2,0,3,4\n1,nan,0,3,4\n",
    )
    .unwrap();
    fs::write(folder.join("empty.csv"), "a,b,kind,c,d\n").unwrap();
    fs::write(folder.join("few.csv"), table(&flowers(7))).unwrap();
    fs::write(
        folder.join("four.csv"),
        table(&flowers(50)).replace(",2,", ",3,"),
    )
    .unwrap();
    fs::write(folder.join("one.csv"), table(&flowers(1))).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    let tokens = r#"{"input": [4], "tokens": "u8", "layers": [
        {"name": "table", "type": "embedding", "vocabulary": 9, "size": 4},
        {"name": "flat", "type": "flatten"}, {"name": "head", "type": "dense", "outputs": 3}]}"#;
    fs::write(folder.join("tokens.json"), tokens).unwrap();
    let rows = r#"{"input": [2, 2], "layers": [{"name": "head", "type": "dense", "outputs": 3}]}"#;
    fs::write(folder.join("rows.json"), rows).unwrap();
    for (config, data, options, parts) in [
        (
            "net.json",
            "digits",
            &[][..],
            &["digits", "64 features", "takes 4"][..],
        ),
        (
            "cnn.json",
            "csv:flowers.csv:label=kind",
            &[],
            &["flowers.csv", "4 features", "takes 64"],
        ),
        (
            "net.json",
            "csv:flowers.csv:label=sort",
            &[],
            &["flowers.csv", "`sort`", "a, b, kind, c, d"],
        ),
        (
            "net.json",
            "csv:nowhere.csv:label=kind",
            &[],
            &["nowhere.csv", "No such file"],
        ),
        (
            "net.json",
            "csv:nan.csv:label=kind",
            &[],
            &["nan.csv", "line 3", "`b`", "nan"],
        ),
        (
            "net.json",
            "csv:empty.csv:label=kind",
            &[],
            &["empty.csv", "no samples"],
        ),
        (
            "net.json",
            "csv:one.csv:label=kind",
            &[],
            &["0 samples", "batch of 8"],
        ),
        (
            "net.json",
            "csv:few.csv:label=kind",
            &[],
            &["5 samples", "batch of 8"],
        ),
        (
            "net.json",
            "csv:four.csv:label=kind",
            &[],
            &["four.csv", "label 3", "0 to 2"],
        ),
        (
            "net.json",
            "npy:net.json:net.json",
            &[],
            &["net.json", "no NumPy array"],
        ),
        (
            "tokens.json",
            "csv:flowers.csv:label=kind",
            &[],
            &["tokens.json", "tokens"],
        ),
        (
            "rows.json",
            "csv:flowers.csv:label=kind",
            &[],
            &["rows.json", "2 numbers"],
        ),
        (
            "nowhere.json",
            "digits",
            &[],
            &["nowhere.json", "No such file"],
        ),
        ("flowers.csv", "digits", &[], &["flowers.csv", "line 1"]),
        (
            "cnn.json",
            "digits",
            &["--out", "folder"],
            &["folder", "directory"],
        ),
        (
            "cnn.json",
            "digits",
            &["--out", "net.json/model.svi"],
            &["net.json/model.svi"],
        ),
        (
            "cnn.json",
            "digits",
            &["--report", "folder"],
            &["folder", "report"],
        ),
        (
            "cnn.json",
            "digits",
            &["--loss", "huber", "--delta", "0"],
            &["cnn.json", "loss"],
        ),
    ] {
        let before = fs::read_dir(folder).unwrap().count();
        // So many epochs would take minutes.
        let args = [
            "train", "--config", config, "--data", data, "--epochs", "9999",
        ];
        refused(folder, &[&args[..], options].concat(), 1, parts);
        assert_eq!(
            fs::read_dir(folder).unwrap().count(),
            before,
            "{config}, {data}"
        );
    }
    for (options, part) in [
        (&["--data", "digits", "--out", "model.svi"][..], "--config"),
        (
            &[
                "--data", "digits", "--config", "cnn.json", "--dtype", "i8,u8",
            ],
            "one type",
        ),
        (
            &["--data", "digits", "--config", "cnn.json", "--rate", "0"],
            "1/8",
        ),
        (
            &["--data", "digits", "--config", "cnn.json", "--batch", "0"],
            "--batch",
        ),
        (
            &[
                "--data",
                "digits",
                "--config",
                "cnn.json",
                "--momentum",
                "1",
            ],
            "--momentum",
        ),
        (
            &["--data", "csv:x", "--config", "cnn.json"],
            "csv:FILE:label=COLUMN",
        ),
    ] {
        refused(folder, &[&["train"], options].concat(), 2, &[part]);
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("cnn.json"), CNN).unwrap();
    let args = [
        "train",
        "--config",
        "cnn.json",
        "--data",
        "digits",
        "--dtype",
        "f32",
        "--rate",
        "999",
        "--loss",
        "squared",
        "--out",
        "model.svi",
    ];
    refused(folder, &args, 1, &["epoch 1", "--rate"]);
    assert!(!folder.join("model.svi").exists());
}

#[test]
fn what_is_no_model_or_no_input_of_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("net.json"), FLOWERS).unwrap();
    fs::write(folder.join("flowers.csv"), table(&flowers(50))).unwrap();
    done(folder, &["convert", "net.json", "-o", "net.svi"]);
    let image = fs::read(folder.join("net.svi")).unwrap();
    fs::write(folder.join("short.svi"), &image[..image.len() - 1]).unwrap();
    let floats = |shape: &[usize]| npy("<f4", shape, &vec![0; shape.iter().product::<usize>() * 4]);
    fs::write(folder.join("x.npy"), floats(&[2, 4])).unwrap();
    fs::write(folder.join("five.npy"), floats(&[2, 5])).unwrap();
    fs::write(folder.join("flat.npy"), floats(&[4])).unwrap();
    fs::write(folder.join("none.npy"), floats(&[0, 4])).unwrap();
    fs::write(folder.join("wide.npy"), npy("<i4", &[1, 4], &[0; 16])).unwrap();
    fs::write(
        folder.join("nan.npy"),
        npy("<f4", &[1, 4], &f32::NAN.to_le_bytes().repeat(4)),
    )
    .unwrap();
    let numbers: Vec<u8> = [0.5f32, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    fs::write(folder.join("two.npy"), npy("<f4", &[2, 4], &numbers)).unwrap();
    for (model, x, parts) in [
        ("nowhere.svi", "x.npy", &["nowhere.svi"][..]),
        ("net.json", "x.npy", &["net.json", "SLVG"]),
        ("short.svi", "x.npy", &["short.svi", "ends early"]),
        ("net.svi", "nowhere.npy", &["nowhere.npy"]),
        ("net.svi", "net.json", &["net.json", "no NumPy array"]),
        ("net.svi", "five.npy", &["five.npy", "[2, 5]", "4 elements"]),
        ("net.svi", "flat.npy", &["flat.npy", "[4]"]),
        ("net.svi", "none.npy", &["none.npy", "no samples"]),
        ("net.svi", "wide.npy", &["wide.npy", "i32", "its own i8"]),
        ("net.svi", "nan.npy", &["nan.npy", "element 0", "NaN"]),
        (
            "net.svi",
            "two.npy",
            &["net.svi", "not been trained", "--samples"],
        ),
    ] {
        refused(
            folder,
            &["run", model, "--input", x, "--output", "y.npy"],
            1,
            parts,
        );
        assert!(!folder.join("y.npy").exists());
    }
    refused(
        folder,
        &[
            "run",
            "net.svi",
            "--input",
            "x.npy",
            "--output",
            "net.svi/y.npy",
        ],
        1,
        &["net.svi/y.npy"],
    );
    refused(folder, &["run", "net.svi"], 2, &["--input"]);
    for (model, data, parts) in [
        ("short.svi", "digits", &["short.svi"][..]),
        ("net.svi", "digits", &["64 features", "takes 4"]),
        ("net.svi", "csv:nowhere.csv:label=a", &["nowhere.csv"]),
        (
            "net.svi",
            "csv:flowers.csv:label=c",
            &["flowers.csv", "class"],
        ),
    ] {
        refused(folder, &["eval", model, "--data", data], 1, parts);
    }
}
