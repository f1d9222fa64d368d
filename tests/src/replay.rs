//! Runs of the reference program, replayed by typed networks.

use crate::golden::read;
use selvedge_core::net::{Layer, Network, Visitor};
use selvedge_core::train::Trainer;
use selvedge_core::{Element, Rate, Serial, Sgd};
use selvedge_kernels::optim::Decay;
use serde_json::Value;

/// Samples of a step in all of these runs.
const BATCH: usize = 8;

/// What a golden file holds as the state of a tensor: masters and exponent.
#[derive(Default)]
struct Masters(Vec<(Vec<i64>, i64)>);

impl Visitor for Masters {
    fn parameter<P: Element>(&mut self, value: &[P], residual: &[i8], exponent: i16) {
        if value.is_empty() {
            return;
        }
        let q = value.iter().map(|q| q.to_f64() as i64);
        let masters = match residual {
            [] => q.collect(),
            low => q
                .zip(low)
                .map(|(q, &low)| 256 * q + i64::from(low))
                .collect(),
        };
        self.0.push((masters, i64::from(exponent)));
    }
}

fn numbers(value: &Value) -> Vec<i64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => vec![value.as_i64().unwrap()],
    }
}

/// Names of parameters, in the order in which layers show them.
const TENSORS: [&str; 6] = ["W", "U", "gamma", "b", "c", "beta"];

/// The state of all tensors in a snapshot, in layer order.
fn snapshot(run: &Value, step: u32) -> Option<Vec<(Vec<i64>, i64)>> {
    let layers = run["snapshots"].get(step.to_string())?["layers"]
        .as_array()
        .unwrap();
    let tensors = layers.iter().flat_map(|layer| {
        let params = &layer["params"];
        TENSORS.iter().filter_map(move |name| {
            let tensor = params.get(name)?;
            Some((numbers(&tensor["master"]), tensor["exp"].as_i64().unwrap()))
        })
    });
    Some(tensors.collect())
}

/// Trains a typed network as the recorded run `name` says, and ends the test where parameters after a snapshot, or
/// outputs after the last step, are not those of the reference program, to the byte.
pub fn replay<N: Network>(name: &str, input: impl Fn(u8) -> N::In) {
    let run = read(&format!("{name}.json"));
    let config = &run["config"];
    let whole = |key: &str| config[key].as_i64().unwrap();
    let (rate, decay) = (&config["lr"], &config["decay"]);
    let sgd = Sgd {
        rate: Rate {
            mantissa: rate[0].as_u64().unwrap().try_into().unwrap(),
            exponent: rate[1].as_i64().unwrap().try_into().unwrap(),
        },
        momentum: whole("beta").try_into().unwrap(),
        nesterov: config["nesterov"].as_bool().unwrap(),
        decay: decay.as_array().map(|decay| Decay {
            mantissa: decay[0].as_u64().unwrap().try_into().unwrap(),
            shift: decay[1].as_u64().unwrap().try_into().unwrap(),
        }),
    };
    assert_eq!(whole("batch"), BATCH as i64);
    let xs: Vec<_> = run["x"].as_array().unwrap().iter().map(numbers).collect();
    let ys: Vec<_> = run["y"].as_array().unwrap().iter().map(numbers).collect();

    let mut trainer = Box::new(Trainer::<N, BATCH>::BLANK);
    trainer.init(whole("seed").try_into().unwrap()).unwrap();
    let state = |trainer: &Trainer<N, BATCH>| {
        let mut masters = Masters::default();
        trainer.network().layers().visit(&mut masters);
        masters.0
    };
    assert_eq!(
        Some(state(&trainer)),
        snapshot(&run, 0),
        "{name}: before training"
    );
    for step in 0..whole("steps") as usize {
        let samples = (0..BATCH).map(|i| (step * BATCH + i) % xs.len());
        let x: Vec<_> = (samples.clone().flat_map(|i| &xs[i]))
            .map(|&x| input(x as u8))
            .collect();
        trainer.input_mut().copy_from_slice(&x);
        let labels: Vec<_> = samples.flat_map(|i| &ys[i]).map(|&y| y as u16).collect();
        trainer.step(&Serial, &labels, &sgd).unwrap();
        if let Some(expected) = snapshot(&run, step as u32 + 1) {
            let got = state(&trainer);
            for (number, (got, expected)) in got.iter().zip(&expected).enumerate() {
                assert_eq!(got, expected, "{name}: tensor {number} after step {step}");
            }
            assert_eq!(got.len(), expected.len());
        }
    }
    let x: Vec<_> = xs[..BATCH]
        .iter()
        .flatten()
        .map(|&x| input(x as u8))
        .collect();
    trainer.input_mut().copy_from_slice(&x);
    let logits = trainer.predict(&Serial, BATCH).unwrap();
    let got: Vec<_> = logits.data.iter().map(|q| q.to_f64() as i64).collect();
    let offset = if config["type"].as_str().unwrap().starts_with('u') {
        1 << 15
    } else {
        0
    };
    let expected = numbers(&run["logits"]["q"]);
    assert_eq!(
        got,
        expected.iter().map(|q| q - offset).collect::<Vec<_>>(),
        "{name}: logits"
    );
    assert_eq!(
        i64::from(logits.exponent),
        run["logits"]["exp"].as_i64().unwrap()
    );
}
