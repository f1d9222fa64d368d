//! Images that are run.

use super::binary::{done, refused};
use super::{CNN, elements, json, npy};
use std::fs;

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

/// Samples that are the positions of one sequence are no samples of a data set: they would see each other.
#[test]
fn sequences_are_not_taken_for_samples() {
    const NET: &str = r#"{
        "input": [1, 4],
        "layers": [
            {"name": "attention", "type": "attention", "heads": 1, "size": 4, "sight": "causal"},
            {"name": "head", "type": "dense", "outputs": 3}
        ]
    }"#;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("net.json"), NET).unwrap();
    let args = ["--dtype", "f32", "--samples", "4", "--sequence"];
    done(
        folder,
        &[&["convert", "net.json", "-o", "model.svi"], &args[..]].concat(),
    );
    let x = |rows: usize| npy("<f4", &[rows, 4], &[0; 16].repeat(rows));
    fs::write(folder.join("four.npy"), x(4)).unwrap();
    fs::write(folder.join("five.npy"), x(5)).unwrap();
    fs::write(
        folder.join("labels.npy"),
        npy("|u1", &[5], &[0, 1, 2, 0, 1]),
    )
    .unwrap();
    done(folder, &["run", "model.svi", "--input", "four.npy"]);
    let parts = ["model.svi", "4 positions"];
    refused(
        folder,
        &["run", "model.svi", "--input", "five.npy"],
        1,
        &parts,
    );
    let data = ["--data", "npy:five.npy:labels.npy", "--part", "all"];
    refused(
        folder,
        &[&["eval", "model.svi"], &data[..]].concat(),
        1,
        &parts,
    );
}
