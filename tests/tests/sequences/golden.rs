//! The reference program's training runs, replayed by typed networks: parameters after each snapshot, losses, and
//! logits, to the byte.

use selvedge_core::net::{
    Attention, Causal, Embedding, Everything, Gru, LastStep, Lstm, Momentum, Network, Positions,
    Rnn, Visitor,
};
use selvedge_core::tensor::D2;
use selvedge_core::train::Trainer;
use selvedge_core::{Element, Rate, Serial, Sgd, net};
use selvedge_kernels::optim::Decay;
use selvedge_tests::golden::read;
use serde_json::Value;

/// Samples of a step in all of these runs.
const BATCH: usize = 8;

net! {
    struct Plain: [5, 4] {
        cell: layer(Rnn<T, 5, 4, 6, LastStep, R> => [6]),
        head: dense(4),
    }
}

net! {
    struct Long: [5, 4] {
        cell: layer(Lstm<T, 5, 4, 6, LastStep, R> => [6]),
        head: dense(4),
    }
}

net! {
    struct Gated: [5, 4] {
        cell: layer(Gru<T, 5, 4, 6, LastStep, R> => [6]),
        head: dense(4),
    }
}

net! {
    struct Attentive: [5, 4] {
        entry: dense(8),
        attention: layer(Attention<T, 5, 8, 1, 1, 8, Everything, R> => [5, 8]),
        pool: global_average_pool,
        head: dense(4),
    }
}

net! {
    /// A decoder of one block, a label for each position.
    struct Transformer: [6] {
        tokens: layer(Embedding<T, 6, 5, 8, u8, R> => [6, 8]),
        places: layer(Positions<T, D2<6, 8>, R> => [6, 8]),
        mixed: residual {
            norm: layer_norm,
            attention: layer(Attention<T, 6, 8, 2, 2, 4, Causal, R> => [6, 8]),
        },
        thought: residual {
            rms: rms_norm,
            both: product {
                gate: dense(10, activation = silu),
            } {
                up: dense(10),
            },
            down: dense(8),
        },
        last: layer_norm,
        head: dense(5),
    }
}

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

/// The state of all tensors in a snapshot, in layer order.
fn snapshot(run: &Value, step: u32) -> Option<Vec<(Vec<i64>, i64)>> {
    let layers = run["snapshots"].get(step.to_string())?["layers"]
        .as_array()
        .unwrap();
    let tensors = layers.iter().flat_map(|layer| {
        let params = &layer["params"];
        let names = ["W", "U", "gamma", "b", "c", "beta"];
        names.into_iter().filter_map(move |name| {
            let tensor = params.get(name)?;
            Some((numbers(&tensor["master"]), tensor["exp"].as_i64().unwrap()))
        })
    });
    Some(tensors.collect())
}

/// Trains a network as `name` says, and compares it with what the reference got.
fn replay<N: Network>(name: &str, input: impl Fn(u8) -> N::In) {
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
        selvedge_core::net::Layer::visit(trainer.network().layers(), &mut masters);
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

#[test]
fn recurrent_networks_give_the_reference_bytes() {
    replay::<Plain<i8>>("rnn-i8", i8::from_pixel);
    replay::<Plain<i16>>("rnn-i16", i16::from_pixel);
    replay::<Long<i8>>("lstm-i8", i8::from_pixel);
    replay::<Long<i16>>("lstm-i16", i16::from_pixel);
    replay::<Long<u16>>("lstm-u16", u16::from_pixel);
    replay::<Gated<i8>>("gru-i8", i8::from_pixel);
    replay::<Gated<i16>>("gru-i16", i16::from_pixel);
    replay::<Gated<i32>>("gru-i32", i32::from_pixel);
}

#[test]
fn attention_gives_the_reference_bytes() {
    replay::<Attentive<i8>>("attention-i8", i8::from_pixel);
    replay::<Attentive<i16>>("attention-i16", i16::from_pixel);
}

#[test]
fn transformers_give_the_reference_bytes() {
    replay::<Transformer<i8>>("sequences/transformer-i8", |token| token);
    replay::<Transformer<u8>>("sequences/transformer-u8", |token| token);
    replay::<Transformer<i16>>("sequences/transformer-i16", |token| token);
    replay::<Transformer<i32>>("sequences/transformer-i32", |token| token);
    replay::<Transformer<i8, Momentum>>("sequences/transformer-i8-decay-nesterov", |token| token);
    replay::<Transformer<i16, Momentum>>("sequences/transformer-i16-decay-nesterov", |token| token);
}
