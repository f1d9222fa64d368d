//! From a description to a trained image that is measured and run, by the `selvedge` binary.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests, which the lint's own rule misses

mod binary;

use binary::{done, refused};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The demo's network.
const CNN: &str = include_str!("../../digits/networks/cnn.json");
/// A network of four numbers to three classes.
const FLOWERS: &str = r#"{
    "input": [4],
    "layers": [
        {"name": "hidden", "type": "dense", "outputs": 16, "activation": "relu"},
        {"name": "head", "type": "dense", "outputs": 3}
    ]
}"#;

fn json(folder: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&done(folder, &[args, &["--json"]].concat())).unwrap()
}

/// An array of NumPy, version 1.
fn npy(descr: &str, shape: &[usize], elements: &[u8]) -> Vec<u8> {
    let shape: String = shape.iter().map(|extent| format!("{extent}, ")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    let header = format!("{header:117}\n");
    let len = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &len[..], header.as_bytes(), elements].concat()
}

/// The elements of an array.
fn elements(file: &[u8]) -> &[u8] {
    let len = usize::from(u16::from_le_bytes([file[8], file[9]]));
    &file[10 + len..]
}

/// Samples of four numbers of very different sizes, the largest of the last three, taken by its own size, being the class.
fn flowers(count: u32) -> Vec<([f32; 4], u16)> {
    let word = |sample: u32, column: u32| {
        let word = (sample * 4 + column + 1).wrapping_mul(0x9E37_79B9);
        ((word ^ word >> 15).wrapping_mul(0x846C_A68B) >> 16) as f32 / 65_536.0
    };
    (0..count)
        .map(|sample| {
            let parts = [1, 2, 3].map(|column| word(sample, column));
            let class = (0..3)
                .max_by(|&a: &usize, &b| parts[a].total_cmp(&parts[b]))
                .unwrap();
            let row = [word(sample, 0), 0.01 * parts[0], 900.0 * parts[1], parts[2]];
            (row, class as u16)
        })
        .collect()
}

/// The same as a table.
fn table(rows: &[([f32; 4], u16)]) -> String {
    let rows = rows
        .iter()
        .map(|([a, b, c, d], class)| format!("{a},{b},{class},{c},{d}\n"));
    format!("a,b,kind,c,d\n{}", rows.collect::<String>())
}

#[test]
fn a_described_network_is_trained_to_the_bytes_of_its_typed_twin() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("cnn.json"), CNN).unwrap();
    for dtype in ["i8", "u16", "f32", "bf16"] {
        let common = [
            "--data", "digits", "--dtype", dtype, "--epochs", "3", "--seed", "5",
        ];
        let args = [
            &["train", "--config", "cnn.json", "--out", "model.svi"],
            &common[..],
        ]
        .concat();
        let described = json(folder, &args);
        let typed = json(folder, &[&["train"], &common[..]].concat());
        let typed = &typed["runs"][0];
        for key in ["fingerprint", "accuracy", "confusion"] {
            assert_eq!(described[key], typed[key], "{dtype}: {key}");
        }
        assert_eq!(described["epochs"], 3);
        assert_eq!(described["losses"].as_array().unwrap().len(), 3);
        assert_eq!(described["loss"], described["losses"][2]);
        let [loss, expected] =
            [&described["loss"], &typed["loss"][2]].map(|loss| loss.as_f64().unwrap());
        assert!((loss - expected).abs() < 1e-6, "{loss}, {expected}"); // floats are summed in another type

        let measured = json(folder, &["eval", "model.svi", "--data", "digits"]);
        for key in ["accuracy", "confusion"] {
            assert_eq!(measured[key], described[key], "{dtype}: {key}");
        }
        assert_eq!(measured["samples"], 360);
        let all = json(
            folder,
            &["eval", "model.svi", "--data", "digits", "--part", "all"],
        );
        assert_eq!(all["samples"], 1797);
    }
}

#[test]
fn training_shows_tables_and_writes_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("cnn.json"), CNN).unwrap();
    let args = [
        "train",
        "--config",
        "cnn.json",
        "--data",
        "digits",
        "--epochs",
        "1",
        "--report",
        "curves/report.html",
        "--out",
        "models/cnn.svi",
    ];
    let shown = done(folder, &args);
    for part in [
        "fingerprint",
        "Confusion of i8",
        "models/cnn.svi: ",
        "Curves: curves/report.html",
    ] {
        assert!(shown.contains(part), "no `{part}` in: {shown}");
    }
    let report = fs::read_to_string(folder.join("curves/report.html")).unwrap();
    assert!(report.contains("figure") && report.contains("Confusion"));
    let inspected = json(folder, &["inspect", "models/cnn.svi"]);
    assert_eq!(
        inspected["parameters"],
        8 * 9 + 8 + 16 * 72 + 16 + 64 * 10 + 10
    );
    let shown = done(folder, &["eval", "models/cnn.svi", "--data", "digits"]);
    assert!(
        shown.contains("of 360 samples: ") && shown.contains("Confusion of i8"),
        "{shown}"
    );
}

#[test]
fn losses_momentum_batches_and_rates_are_those_that_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("cnn.json"), CNN).unwrap();
    let mut fingerprints = Vec::new();
    for (options, least) in [
        (&["--batch", "8"][..], 0.8),
        (&["--batch", "12"], 0.8),
        (&["--rate", "1/16"], 0.8),
        (&["--momentum", "0.5", "--rate", "1/16"], 0.8),
        (&["--loss", "squared"], 0.4),
        (&["--loss", "absolute", "--rate", "0.01"], 0.1), // 0 everywhere is a good answer to it
        (&["--loss", "huber", "--delta", "0.5"], 0.7),
        (&["--loss", "binary-cross-entropy"], 0.8),
    ] {
        let args = [
            "train", "--config", "cnn.json", "--data", "digits", "--epochs", "2", "--dtype", "i16",
        ];
        let trained = json(folder, &[&args, options].concat());
        assert!(
            trained["accuracy"].as_f64().unwrap() >= least,
            "{options:?}: {trained}"
        );
        let losses = [0, 1].map(|epoch| trained["losses"][epoch].as_f64().unwrap());
        assert!(losses[1] < losses[0], "{options:?}: {trained}");
        fingerprints.push(trained["fingerprint"].to_string());
    }
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 8);
}

#[test]
fn tables_and_arrays_are_the_same_samples() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("net.json"), FLOWERS).unwrap();
    let rows = flowers(500);
    fs::write(folder.join("flowers.csv"), table(&rows)).unwrap();
    let x: Vec<u8> = rows
        .iter()
        .flat_map(|(row, _)| row.map(f32::to_le_bytes))
        .flatten()
        .collect();
    fs::write(folder.join("x.npy"), npy("<f4", &[500, 4], &x)).unwrap();
    let y: Vec<u8> = rows
        .iter()
        .flat_map(|(_, class)| i64::from(*class).to_be_bytes())
        .collect();
    fs::write(folder.join("y.npy"), npy(">i8", &[500], &y)).unwrap();

    for (dtype, least) in [("i8", 0.8), ("u16", 0.9), ("f32", 0.9)] {
        let train = |data: &str, out: &str| {
            let args = [
                "train", "--config", "net.json", "--epochs", "40", "--rate", "0.5", "--dtype",
                dtype,
            ];
            json(
                folder,
                &[&args[..], &["--data", data, "--out", out]].concat(),
            )
        };
        let of_table = train("csv:flowers.csv:label=kind", "table.svi");
        let of_arrays = train("npy:x.npy:y.npy", "arrays.svi");
        assert_eq!(
            (&of_table["train"], &of_table["test"]),
            (&400.into(), &100.into())
        );
        for key in ["fingerprint", "confusion", "losses"] {
            assert_eq!(of_table[key], of_arrays[key], "{dtype}: {key}");
        }
        assert!(
            of_table["accuracy"].as_f64().unwrap() > least,
            "{dtype}: {of_table}"
        );

        // The image remembers what columns were divided by: other rows, of which none is as large, are read the same way.
        let small: Vec<_> = flowers(500)
            .into_iter()
            .filter(|(row, _)| row[2] < 450.0)
            .collect();
        fs::write(folder.join("small.csv"), table(&small)).unwrap();
        let args = [
            "eval",
            "table.svi",
            "--data",
            "csv:small.csv:label=kind",
            "--part",
            "all",
        ];
        let measured = json(folder, &args);
        assert_eq!(measured["samples"], small.len());
        assert!(
            measured["accuracy"].as_f64().unwrap() > least,
            "{dtype}: {measured}"
        );

        // What runs are classes of the same samples: in pieces of eight, the last of which is smaller.
        let run = json(folder, &["run", "arrays.svi", "--input", "x.npy"]);
        assert_eq!(run["shape"], serde_json::json!([500, 3]));
        let values = run["values"].as_array().unwrap();
        let right = values.iter().zip(&rows).filter(|(values, (_, class))| {
            let values: Vec<f64> = values
                .as_array()
                .unwrap()
                .iter()
                .map(|value| value.as_f64().unwrap())
                .collect();
            (0..3).all(|other| values[other] <= values[usize::from(*class)])
        });
        let all = json(
            folder,
            &[
                "eval",
                "arrays.svi",
                "--data",
                "npy:x.npy:y.npy",
                "--part",
                "all",
            ],
        );
        let expected = (all["accuracy"].as_f64().unwrap() * 500.0).round();
        assert!(
            (right.count() as f64 - expected).abs() <= 2.0,
            "{dtype}: {expected}"
        ); // equal logits
    }
}

#[test]
fn integer_networks_take_and_give_their_own_integers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("cnn.json"), CNN).unwrap();
    for (dtype, descr, x) in [
        ("i8", "|i1", vec![64u8; 64 * 20]),
        ("u8", "|u1", vec![128 + 64; 64 * 20]),
        ("i16", "<i2", [0, 64].repeat(64 * 20)),
    ] {
        let args = [
            "train",
            "--config",
            "cnn.json",
            "--data",
            "digits",
            "--epochs",
            "1",
            "--out",
            "model.svi",
        ];
        done(folder, &[&args[..], &["--dtype", dtype]].concat());
        fs::write(folder.join("own.npy"), npy(descr, &[20, 8, 8], &x)).unwrap();
        let half: Vec<u8> = (0..64 * 20).flat_map(|_| 0.5f32.to_le_bytes()).collect();
        fs::write(folder.join("half.npy"), npy("<f4", &[20, 8, 8, 1], &half)).unwrap();
        for x in ["own", "half"] {
            let (x, y) = (format!("{x}.npy"), format!("{x}-out.npy"));
            let shown = done(folder, &["run", "model.svi", "--input", &x, "--output", &y]);
            assert!(
                shown.contains("[20, 10]") && shown.contains("q * 2^"),
                "{shown}"
            );
        }
        let [own, half] =
            ["own", "half"].map(|name| fs::read(folder.join(format!("{name}-out.npy"))).unwrap());
        assert!(own == half, "{dtype}");
        assert_eq!(elements(&own).len(), 20 * 10 * 2); // logits have 16 bits
        // The same samples give the same, in whichever piece they are.
        let rows: Vec<_> = elements(&own).chunks(20).collect();
        assert!(rows.iter().all(|row| row == &rows[0]));
        let table = done(folder, &["run", "model.svi", "--input", "own.npy"]);
        assert!(
            table.contains("largest") && table.lines().count() == 23,
            "{table}"
        );
        let run = json(folder, &["run", "model.svi", "--input", "own.npy"]);
        let exponent = run["exponent"].as_i64().unwrap() as f64;
        let zero = if dtype == "u8" { 32_768.0 } else { 0.0 };
        let raw = if dtype == "u8" {
            f64::from(u16::from_le_bytes([rows[0][0], rows[0][1]]))
        } else {
            f64::from(i16::from_le_bytes([rows[0][0], rows[0][1]]))
        };
        assert_eq!(
            run["values"][0][0].as_f64(),
            Some((raw - zero) * exponent.exp2())
        );
    }
}

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
            &["rows.json", "2 rows"],
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
