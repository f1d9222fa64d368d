//! From a description to a trained image that is measured and run, by the `selvedge` binary.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests, which the lint's own rule misses

#[path = "../binary/mod.rs"]
mod binary;
mod refusals;
mod running;
mod training;

use binary::done;
use serde_json::Value;
use std::path::Path;

/// The demo's network.
const CNN: &str = include_str!("../../../digits/networks/cnn.json");
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
