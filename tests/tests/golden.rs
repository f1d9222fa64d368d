//! Training runs recorded by the reference program, replayed byte for byte on the kernels.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::exec::{Executor, Serial};
use selvedge_tests::golden::{self, Run, assert_same};
use selvedge_tests::interpreter::{Integer, Network, inputs, stored, targets};
use selvedge_tests::threads::Threads;
use serde_json::{Value, json};

/// Trains as recorded and compares everything that was recorded.
fn replay<T: Integer>(run: &Run, exec: &impl Executor) {
    let config = &run.config;
    let name = &config.name;
    let x = inputs::<T>(run);
    assert_eq!(x.exponent, run.input_exp, "{name}: exponent of the input");
    let mut network = Network::<T>::new(config).expect(name);
    let mut losses = Vec::new();
    let mut compared = 0;
    for step in 0..=config.steps {
        if let Some(want) = run.snapshots.get(&step) {
            assert_same(
                &format!("{name}: state after {step} steps"),
                want,
                &network.state(),
            );
            compared += 1;
        }
        if step == config.steps {
            break;
        }
        // Batches never wrap in the middle: the number of samples is a multiple of the batch.
        let from = step as usize * config.batch % config.samples;
        let to = from + config.batch;
        let mut trace = Vec::new();
        let loss = network
            .train_step(
                exec,
                &x.samples(from, to),
                &targets(run, from, to),
                Some(&mut trace),
            )
            .expect(name);
        losses.push(loss);
        if step == 0 {
            let want = Value::Array(run.trace_step0.clone());
            assert_same(&format!("{name}: trace of step 0"), &want, &json!(trace));
        }
    }
    assert_eq!(compared, run.snapshots.len(), "{name}: snapshots compared");
    if config.loss == "ce" {
        assert_eq!(losses, run.loss_sum_q16, "{name}: losses");
    }
    let out = network.infer(exec, &x.samples(0, 8)).expect(name);
    let rows: Vec<Value> = out
        .values
        .chunks(config.classes)
        .map(|row| row.iter().map(|&z| stored(z)).collect())
        .collect();
    let logits = json!({ "exp": out.exponent, "q": rows });
    assert_same(&format!("{name}: logits"), &run.logits, &logits);
}

/// The run of the unsigned twin of a signed type: elements of tensors with the top bit flipped,
/// everything inside a layer unchanged. The output of 8-bit networks has 16 bits.
fn in_offset_binary(mut run: Run) -> Run {
    let (bits, kind) = match run.config.kind.as_str() {
        "i8" => (8, "u8"),
        "i8p" => (8, "u8p"),
        "i16" => (16, "u16"),
        "i32" => (32, "u32"),
        "i64" => (64, "u64"),
        kind => panic!("{kind} is not signed"),
    };
    run.config.kind = kind.to_owned();
    let flip = |values: &mut Value, bits: u32| {
        for q in values.as_array_mut().unwrap() {
            let top = 1u64 << (bits - 1);
            *q = json!((q.as_i64().unwrap() as u64 ^ top) & (u64::MAX >> (64 - bits)));
        }
    };
    for state in run.snapshots.values_mut() {
        for layer in state["layers"].as_array_mut().unwrap() {
            for name in ["W", "U", "gamma"] {
                if let Some(weight) = layer["params"].get_mut(name) {
                    flip(&mut weight["q"], bits);
                }
            }
        }
    }
    let is_forward = |tensor: &&Value| tensor["what"] == "forward";
    let head = run.trace_step0.iter().rfind(is_forward).unwrap()["layer"].clone();
    for tensor in &mut run.trace_step0 {
        let is_output = tensor["what"] == "forward" && tensor["layer"] == head;
        flip(
            &mut tensor["q"],
            if is_output { bits.max(16) } else { bits },
        );
    }
    for row in run.logits["q"].as_array_mut().unwrap() {
        flip(row, bits.max(16));
    }
    run
}

fn replay_as_recorded(run: &Run, exec: &impl Executor) {
    match run.config.kind.as_str() {
        "i8" | "i8p" => replay::<i8>(run, exec),
        "u8" | "u8p" => replay::<u8>(run, exec),
        "i16" => replay::<i16>(run, exec),
        "u16" => replay::<u16>(run, exec),
        "i32" => replay::<i32>(run, exec),
        "u32" => replay::<u32>(run, exec),
        "i64" => replay::<i64>(run, exec),
        "u64" => replay::<u64>(run, exec),
        kind => panic!("{}: no type {kind}", run.config.name),
    }
}

#[test]
fn every_recorded_run_is_reproduced() {
    let names = golden::names();
    assert!(names.len() >= 30, "golden files are missing: {names:?}");
    for name in names {
        replay_as_recorded(&golden::run(&name), &Serial);
    }
}

#[test]
fn unsigned_types_are_the_signed_ones_in_offset_binary() {
    let mut kinds = std::collections::BTreeSet::new();
    for name in golden::names() {
        let run = golden::run(&name);
        if run.config.kind.starts_with('i') {
            let run = in_offset_binary(run);
            replay_as_recorded(&run, &Serial);
            kinds.insert(run.config.kind);
        }
    }
    let kinds: Vec<_> = kinds.iter().map(String::as_str).collect();
    assert_eq!(kinds, ["u16", "u32", "u64", "u8", "u8p"]);
}

/// Trains half as long as recorded, then compares a batch with its samples one by one.
fn samples_do_not_influence_each_other<T: Integer>(name: &str) {
    let run = golden::run(name);
    let x = inputs::<T>(&run);
    let mut network = Network::<T>::new(&run.config).unwrap();
    for step in 0..run.config.steps as usize / 2 {
        let from = step * run.config.batch % run.config.samples;
        let to = from + run.config.batch;
        network
            .train_step(
                &Serial,
                &x.samples(from, to),
                &targets(&run, from, to),
                None,
            )
            .unwrap();
    }
    let before = network.state();
    let all = network.infer(&Threads(3), &x).unwrap();
    for i in 0..run.config.samples {
        let one = network.infer(&Serial, &x.samples(i, i + 1)).unwrap();
        assert_eq!(one, all.samples(i, i + 1), "{name}: sample {i}");
    }
    assert_eq!(
        network.state(),
        before,
        "{name}: inference changed the state"
    );
}

#[test]
fn samples_one_by_one_give_the_bytes_of_the_batch() {
    samples_do_not_influence_each_other::<i8>("mlp-i8");
    samples_do_not_influence_each_other::<u8>("cnn-u8");
    samples_do_not_influence_each_other::<i8>("conv-i8");
    samples_do_not_influence_each_other::<i16>("conv-i16");
    samples_do_not_influence_each_other::<i32>("conv-i32");
    samples_do_not_influence_each_other::<i64>("conv-i64");
    samples_do_not_influence_each_other::<i8>("lstm-i8");
    samples_do_not_influence_each_other::<i32>("gru-i32");
}

#[test]
fn threads_give_the_recorded_bytes() {
    for name in [
        "mlp-i8",
        "mlp-i16-momentum",
        "cnn-i8",
        "cnn-u8",
        "conv-i8",
        "conv-i16",
        "conv-i64",
        "norm-i8",
        "norm-i16",
        "norm-i64",
        "rnn-i8",
        "lstm-i16",
        "gru-i32",
    ] {
        for threads in [2, 3, 7] {
            replay_as_recorded(&golden::run(name), &Threads(threads));
        }
    }
}
