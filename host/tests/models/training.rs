//! Described networks that are trained, and measured.

use super::binary::{done, refused};
use super::{CNN, FLOWERS, flowers, json, npy, table};
use std::fs;

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

/// An auxiliary classifier helps to train, and is gone from what is deployed.
#[test]
fn heads_train_and_are_left_out_of_what_only_runs() {
    const NET: &str = r#"{
        "input": [8, 8, 1],
        "layers": [
            {"name": "flat", "type": "flatten"},
            {"name": "trunk", "type": "dense", "outputs": 24, "activation": "relu"},
            {"name": "aux", "type": "head", "loss": "cross_entropy", "weight": -1,
             "layers": [{"name": "digit", "type": "dense", "outputs": 10}]},
            {"name": "deep", "type": "dense", "outputs": 24, "activation": "relu"},
            {"name": "head", "type": "dense", "outputs": 10}
        ]
    }"#;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("net.json"), NET).unwrap();
    let args = [
        "train", "--config", "net.json", "--data", "digits", "--epochs", "4", "--dtype", "i8",
        "--out",
    ];
    let whole = json(folder, &[&args[..], &["whole.svi"]].concat());
    let runs = json(folder, &[&args[..], &["runs.svi", "--only-run"]].concat());
    assert_eq!(whole["fingerprint"], runs["fingerprint"]);
    let accuracy = whole["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.85, "{accuracy}");
    let sizes = ["whole.svi", "runs.svi"].map(|name| {
        let measured = json(folder, &["eval", name, "--data", "digits"]);
        assert_eq!(measured["accuracy"], whole["accuracy"], "{name}");
        fs::metadata(folder.join(name)).unwrap().len()
    });
    let inspected = ["whole.svi", "runs.svi"].map(|name| {
        json(folder, &["inspect", name])["parameters"]
            .as_u64()
            .unwrap()
    });
    assert_eq!(inspected[0] - inspected[1], 24 * 10 + 10);
    assert!(2 * sizes[1] < sizes[0], "{sizes:?}");

    // A head whose output is no class of the data is refused before anything is trained.
    let odd = NET.replace(
        r#""cross_entropy", "weight": -1,"#,
        r#""squared", "weight": -1,"#,
    );
    let odd = odd.replace(
        r#""digit", "type": "dense", "outputs": 10"#,
        r#""digit", "type": "dense", "outputs": 7"#,
    );
    fs::write(folder.join("net.json"), odd).unwrap();
    let args = [&args[..], &["odd.svi"]].concat();
    refused(folder, &args, 1, &["net.json", "7 numbers", "10"]);
    assert!(!folder.join("odd.svi").exists());
}
