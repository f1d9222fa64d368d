//! Layers beside their typed twins, in small networks of their own: the same bytes, in training, at inference alone with
//! what is carried from run to run, and of padded samples.

use super::with_image;
use super::zoo::{bits, check, in_all_types};
use selvedge_core::image::Role;
use selvedge_core::net;
use selvedge_core::net::Network as Typed;
use selvedge_core::net::rotary::{Interleaved, Linear};
use selvedge_core::net::{
    AllSteps, Attention, Balance, Cache, Carried, Causal, Clustering, CrossAttention,
    DeformableAttention, Embedding, Everything, Float, Fresh, Gru, KMeans, LastStep, Lstm, Means,
    Momentum, Padded, Plain, Positions, Recent, Reversed, Rnn, Rotary,
};
use selvedge_core::network::{Network, Options};
use selvedge_core::session::Session;
use selvedge_core::tensor::{D1, D2};
use selvedge_core::train::{Samples, Trainer};
use selvedge_core::{Element, Rate, Serial, Sgd, ops};
use selvedge_digits::zoo::{self, BATCH};
use selvedge_digits::{CLASSES, SEED, SIDE, test, train};
use selvedge_kernels::bf16;
use selvedge_kernels::cluster::{Metric, Temperature};

net! {
    /// Rows through recurrent layers of all cells.
    struct Recurrent: [SIDE, SIDE] {
        first: layer(Gru<T, SIDE, SIDE, 9, Carried<AllSteps>, R> => [SIDE, 9]),
        both: concat {
            forth: layer(Lstm<T, SIDE, 9, 6, Carried<AllSteps>, R> => [SIDE, 6]),
        } {
            back: layer(Gru<T, SIDE, 9, 5, Reversed<AllSteps>, R> => [SIDE, 5]),
        },
        deep: layer(Rnn<T, SIDE, 11, 7, Reversed<Carried<AllSteps>>, R> => [SIDE, 7]),
        last: concat {
            lstm: layer(Lstm<T, SIDE, 7, 4, Reversed<LastStep>, R> => [4]),
        } {
            rnn: layer(Rnn<T, SIDE, 7, 5, LastStep, R> => [5]),
        },
        head: dense(CLASSES),
    }
}

pub(super) const RECURRENT: &str = r#"{
    "input": [8, 8],
    "layers": [
        {"name": "first", "type": "gru", "units": 9, "steps": "all", "carried": true},
        {"name": "both", "type": "parallel", "combine": "concat", "branches": [
            {"name": "forth", "layers": [
                {"name": "lstm", "type": "lstm", "units": 6, "steps": "all", "carried": true}
            ]},
            {"name": "back", "layers": [
                {"name": "gru", "type": "gru", "units": 5, "steps": "all", "reversed": true}
            ]}
        ]},
        {"name": "deep", "type": "rnn", "units": 7, "steps": "all", "reversed": true, "carried": true},
        {"name": "last", "type": "parallel", "combine": "concat", "branches": [
            {"name": "lstm", "layers": [{"name": "lstm", "type": "lstm", "units": 4, "reversed": true}]},
            {"name": "rnn", "layers": [{"name": "rnn", "type": "rnn", "units": 5}]}
        ]},
        {"name": "head", "type": "dense", "outputs": 10}
    ]
}"#;

#[test]
fn recurrent() {
    in_all_types!("recurrent", RECURRENT, Recurrent);
}

/// Checks a network in all types.
macro_rules! twins {
    ($($(#[$doc:meta])* $name:ident: $typed:ident $($tokens:ident)?, $json:expr;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            in_all_types!(stringify!($name), $json, $typed $(, $tokens)?);
        }
    )*};
}

net! {
    struct Tokens: [SIDE] {
        tokens: layer(Embedding<T, SIDE, CLASSES, 12, u8, R> => [SIDE, 12]),
        places: layer(Positions<T, D2<SIDE, 12>, R> => [SIDE, 12]),
        head: dense(CLASSES),
    }
}

net! {
    struct Plainly: [SIDE, SIDE] {
        a: layer(Attention<T, SIDE, SIDE, 4, 2, 3, Everything, R> => [SIDE, SIDE]),
        b: layer(Attention<T, SIDE, SIDE, 2, 2, 4, Causal, R> => [SIDE, SIDE]),
        pool: global_average_pool,
        head: dense(CLASSES),
    }
}

net! {
    struct Turned: [SIDE, SIDE] {
        a: layer(Attention<T, SIDE, SIDE, 4, 1, 2, Recent<3>, R, Cache<12>, Rotary> => [SIDE, SIDE]),
        b: layer(Attention<T, SIDE, SIDE, 2, 2, 4, Everything, R, Fresh, Rotary<500, Interleaved, Linear<2000>>> => [SIDE, SIDE]),
        pool: global_average_pool,
        head: dense(CLASSES),
    }
}

pub(super) const TURNED: &str = r#"{
    "input": [8, 8],
    "layers": [
        {"name": "a", "type": "attention", "heads": 4, "kv_heads": 1, "size": 2, "sight": {"recent": 3},
         "cache": 12, "rotary": {}},
        {"name": "b", "type": "attention", "heads": 2, "size": 4,
         "rotary": {"base": 500, "pairs": "interleaved", "scaling": {"linear": {"factor": 2000}}}},
        {"name": "pool", "type": "global_average_pool"},
        {"name": "head", "type": "dense", "outputs": 10}
    ]
}"#;

net! {
    struct Crossed: [SIDE, SIDE] {
        first: dense(6),
        cross: layer(CrossAttention<T, SIDE, 3, 5, 6, 4, 2, 3, Padded, R> => [3, 6]),
        pool: global_average_pool,
        head: dense(CLASSES),
    }
}

net! {
    /// Experts for rows, and for whole samples.
    struct Mixed: [SIDE, SIDE] {
        entry: dense(8, activation = relu),
        rows: mixture {
            gate: dense(3, activation = sigmoid),
            balance: layer(Balance<T, D2<SIDE, 3>, 900> => [SIDE, 3]),
        } {
            narrow: dense(3, activation = relu), stitch: dense(8),
        } {} {
            alone: dense(8, activation = tanh),
        },
        whole: mixture {
            pool: global_average_pool,
            gate: dense(2, activation = sigmoid),
        } {
            one: dense(6),
        } {
            two: dense(6, activation = silu),
        },
        pool: global_average_pool,
        head: dense(CLASSES),
    }
}

pub(super) const MIXTURES: &str = r#"{
    "input": [8, 8],
    "layers": [
        {"name": "entry", "type": "dense", "outputs": 8, "activation": "relu"},
        {"name": "rows", "type": "mixture",
         "gate": [
            {"name": "gate", "type": "dense", "outputs": 3, "activation": "sigmoid"},
            {"name": "balance", "type": "balance", "thousandths": 900}
         ],
         "branches": [
            {"name": "pair", "layers": [
                {"name": "narrow", "type": "dense", "outputs": 3, "activation": "relu"},
                {"name": "stitch", "type": "dense", "outputs": 8}
            ]},
            {"name": "skip"},
            {"name": "alone", "layers": [
                {"name": "alone", "type": "dense", "outputs": 8, "activation": "tanh"}
            ]}
         ]},
        {"name": "whole", "type": "mixture",
         "gate": [
            {"name": "pool", "type": "global_average_pool"},
            {"name": "gate", "type": "dense", "outputs": 2, "activation": "sigmoid"}
         ],
         "branches": [
            {"name": "one", "layers": [{"name": "one", "type": "dense", "outputs": 6}]},
            {"name": "two", "layers": [{"name": "two", "type": "dense", "outputs": 6, "activation": "silu"}]}
         ]},
        {"name": "pool", "type": "global_average_pool"},
        {"name": "head", "type": "dense", "outputs": 10}
    ]
}"#;

/// By the sum of absolute differences, softly.
struct Manhattan;

impl Clustering for Manhattan {
    const METRIC: Metric = Metric::Manhattan;
    const TEMPERATURE: Temperature = Temperature {
        mantissa: 3,
        exponent: -1,
    };
}

/// By the angle, sharply.
struct Cosine;

impl Clustering for Cosine {
    const METRIC: Metric = Metric::Cosine;
    const TEMPERATURE: Temperature = Temperature {
        mantissa: 1,
        exponent: -2,
    };
}

net! {
    struct Snapped: [SIDE, SIDE] {
        entry: dense(6, activation = tanh),
        means: layer(KMeans<T, D2<SIDE, 6>, D2<5, 6>, D2<SIDE, 5>, Means, Manhattan, R> => [SIDE, 6]),
        shares: layer(KMeans<T, D2<SIDE, 6>, D2<4, 6>, D2<SIDE, 4>, selvedge_core::net::Shares, Cosine, R>
            => [SIDE, 4]),
        flat: flatten,
        snap: layer(KMeans<T, D1<32>, D2<3, 32>, D1<3>, Means, Manhattan, R> => [32]),
        head: dense(CLASSES),
    }
}

net! {
    struct Looking<T: Float = f32>: [SIDE, SIDE, 1] {
        entry: conv2d(4, kernel = 3, stride = 2, padding = same, activation = silu),
        around: layer(DeformableAttention<T, 4, 4, 4, 2, 3, 5, R> => [4, 4, 4]),
        again: layer(DeformableAttention<T, 4, 4, 4, 1, 2, 4, R> => [4, 4, 4]),
        pool: global_average_pool,
        head: dense(CLASSES),
    }
}

#[test]
fn deformable_attention() {
    let json = r#"{
        "input": [8, 8, 1],
        "layers": [
            {"name": "entry", "type": "conv", "filters": 4, "kernel": 3, "stride": 2, "padding": "same",
             "activation": "silu"},
            {"name": "around", "type": "deformable_attention", "heads": 2, "points": 3, "size": 5},
            {"name": "again", "type": "deformable_attention", "heads": 1, "points": 2, "size": 4},
            {"name": "pool", "type": "global_average_pool"},
            {"name": "head", "type": "dense", "outputs": 10}
        ]
    }"#;
    check::<Looking<f32, Plain>>("deformable", json);
    check::<Looking<f64, Plain>>("deformable", json);
    check::<Looking<bf16, Plain>>("deformable", json);
}

twins! {
    mixtures: Mixed, MIXTURES;
    clusters: Snapped, r#"{
        "input": [8, 8],
        "layers": [
            {"name": "entry", "type": "dense", "outputs": 6, "activation": "tanh"},
            {"name": "means", "type": "k_means", "clusters": 5, "gives": "means", "metric": "manhattan",
             "temperature": 1500},
            {"name": "shares", "type": "k_means", "clusters": 4, "metric": "cosine", "temperature": 250},
            {"name": "flat", "type": "flatten"},
            {"name": "snap", "type": "k_means", "clusters": 3, "gives": "means", "metric": "manhattan",
             "temperature": 1500},
            {"name": "head", "type": "dense", "outputs": 10}
        ]
    }"#;
    tokens: Tokens tokens, r#"{
        "input": [8], "tokens": "u8",
        "layers": [
            {"name": "tokens", "type": "embedding", "vocabulary": 10, "size": 12},
            {"name": "places", "type": "positions"},
            {"name": "head", "type": "dense", "outputs": 10}
        ]
    }"#;
    attention: Plainly, r#"{
        "input": [8, 8],
        "layers": [
            {"name": "a", "type": "attention", "heads": 4, "kv_heads": 2, "size": 3},
            {"name": "b", "type": "attention", "heads": 2, "size": 4, "sight": "causal"},
            {"name": "pool", "type": "global_average_pool"},
            {"name": "head", "type": "dense", "outputs": 10}
        ]
    }"#;
    attention_turned_and_cached: Turned, TURNED;
    cross_attention: Crossed, r#"{
        "input": [8, 8],
        "layers": [
            {"name": "first", "type": "dense", "outputs": 6},
            {"name": "cross", "type": "cross_attention", "queries": 3, "heads": 4, "kv_heads": 2, "size": 3},
            {"name": "pool", "type": "global_average_pool"},
            {"name": "head", "type": "dense", "outputs": 10}
        ]
    }"#;
}

/// Samples of a run, of [`BATCH`] that there is room for.
const SAMPLES: usize = 3;

/// Outputs of runs one after the other, with what is carried between them; a new sequence begins before the last.
fn runs<N: Typed<In = <N as Typed>::Elem>>(json: &str) {
    let network = Network::from_json(json).unwrap();
    let options = Options {
        samples: BATCH,
        seed: SEED,
        ..Options::default()
    };
    let bytes = network.compile(N::Elem::DTYPE, &options).unwrap();
    let mut trainer = Box::new(Trainer::<N, BATCH>::BLANK);
    trainer.init(SEED).unwrap();
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        let mut first = None;
        for run in [0, 1, 2, 3, 0] {
            if run == 0 {
                trainer.reset();
                session.begin_sequence().unwrap();
            }
            let x = session.input_mut::<N::Elem>(Role::Infer, 0).unwrap();
            let each = x.len() / BATCH;
            for (i, x) in x.chunks_mut(each).enumerate() {
                test().read(run * BATCH + i, x).unwrap();
            }
            trainer.input_mut().copy_from_slice(x);
            session.run(&Serial, SAMPLES).unwrap();
            let y = session.output::<<N::Elem as Element>::Head>(0).unwrap();
            let expected = trainer.predict(&Serial, SAMPLES).unwrap();
            assert_eq!(bits(y.data), bits(expected.data), "run {run}");
            assert_eq!(y.exponent, expected.exponent, "run {run}");
            let y = bits(y.data);
            if run == 0 {
                assert_eq!(
                    *first.get_or_insert_with(|| y.clone()),
                    y,
                    "not a new sequence"
                );
            }
        }
    });
}

#[test]
fn what_is_carried_is_carried_at_inference_alone() {
    runs::<Recurrent<i8, Plain>>(RECURRENT);
    runs::<Recurrent<u16, Plain>>(RECURRENT);
    runs::<Recurrent<f32, Plain>>(RECURRENT);
    runs::<Turned<i8, Plain>>(TURNED);
    runs::<Turned<u16, Plain>>(TURNED);
    runs::<Turned<f32, Plain>>(TURNED);
    let rows = include_str!("zoo/rows.json");
    runs::<zoo::Rows<i8, Plain>>(rows);
    runs::<zoo::Rows<u16, Plain>>(rows);
    runs::<zoo::Rows<f32, Plain>>(rows);
}

net! {
    struct Short: [SIDE, SIDE] {
        own: layer(Attention<T, SIDE, SIDE, 2, 1, 4, Padded<Causal>, R> => [SIDE, SIDE]),
        cross: layer(CrossAttention<T, SIDE, 3, 5, SIDE, 2, 2, 4, Padded, R> => [3, SIDE]),
        pool: global_average_pool,
        head: dense(CLASSES),
    }
}

pub(super) const SHORT: &str = r#"{
    "input": [8, 8],
    "layers": [
        {"name": "own", "type": "attention", "heads": 2, "kv_heads": 1, "size": 4, "sight": "causal", "padded": true},
        {"name": "cross", "type": "cross_attention", "queries": 3, "heads": 2, "size": 4, "padded": true},
        {"name": "pool", "type": "global_average_pool"},
        {"name": "head", "type": "dense", "outputs": 10}
    ]
}"#;

/// A few steps, then outputs; of samples of these lengths, if they are padded.
fn steps<N: Typed<In = <N as Typed>::Elem>>(
    json: &str,
    lengths: Option<[u32; BATCH]>,
    momentum: u8,
) {
    let network = Network::from_json(json).unwrap();
    let options = Options {
        samples: BATCH,
        train: true,
        momentum: momentum != 0,
        seed: SEED,
        ..Options::default()
    };
    let bytes = network.compile(N::Elem::DTYPE, &options).unwrap();
    let mut trainer = Box::new(Trainer::<N, BATCH>::BLANK);
    trainer.init(SEED).unwrap();
    trainer.set_lengths(lengths);
    let sgd = Sgd {
        momentum,
        ..Sgd::new(Rate {
            mantissa: 1,
            exponent: -5,
        })
    };
    with_image(&bytes, |image| {
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
        for (step, role) in [Role::Train, Role::Train, Role::Train, Role::Infer]
            .into_iter()
            .enumerate()
        {
            let mut labels = Vec::new();
            let x = session.input_mut::<N::Elem>(role, 0).unwrap();
            for (i, x) in x.chunks_mut(SIDE * SIDE).enumerate() {
                labels.push(train().read(step * BATCH + i, x).unwrap());
            }
            trainer.input_mut().copy_from_slice(x);
            if let Some(lengths) = lengths {
                let given = session.input_mut::<u32>(role, 1).unwrap();
                given.copy_from_slice(&lengths);
            }
            if role == Role::Train {
                let asked = session
                    .input_mut::<u16>(role, 1 + usize::from(lengths.is_some()))
                    .unwrap();
                asked.copy_from_slice(&labels);
                session.train_step(&Serial, BATCH, &sgd).unwrap();
                trainer.step(&Serial, &labels, &sgd).unwrap();
            }
        }
        session.run(&Serial, BATCH).unwrap();
        let y = session.output::<<N::Elem as Element>::Head>(0).unwrap();
        let y = (bits(y.data), y.exponent);
        let found = session.fingerprint().unwrap();
        assert_eq!(found, trainer.fingerprint(), "{}", N::Elem::DTYPE);
        let expected = trainer.predict(&Serial, BATCH).unwrap();
        assert_eq!(
            y,
            (bits(expected.data), expected.exponent),
            "{}",
            N::Elem::DTYPE
        );
        // A length beyond the memory is the kernel's to refuse.
        if lengths.is_some() {
            session.input_mut::<u32>(Role::Infer, 1).unwrap().fill(9);
            assert!(session.run(&Serial, BATCH).is_err());
        }
    });
}

#[test]
fn padding_is_not_seen() {
    let lengths = Some([5, 0, 3, 4]);
    steps::<Short<i8, Plain>>(SHORT, lengths, 0);
    steps::<Short<u16, Plain>>(SHORT, lengths, 0);
    steps::<Short<f32, Plain>>(SHORT, lengths, 0);
}

#[test]
fn velocities_are_kept() {
    steps::<Recurrent<i8, Momentum>>(RECURRENT, None, 200);
    steps::<Recurrent<f32, Momentum>>(RECURRENT, None, 200);
    steps::<Turned<i8, Momentum>>(TURNED, None, 200);
    steps::<Mixed<u16, Momentum>>(MIXTURES, None, 200);
    let clusters = include_str!("zoo/clusters.json");
    steps::<zoo::Clusters<i8, Momentum>>(clusters, None, 200);
}

/// Layers that are not trained stay as they are, and pass errors on: those around them learn.
#[test]
fn frozen_layers_pass_errors_on() {
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: -5,
    });
    for json in [
        RECURRENT,
        TURNED,
        MIXTURES,
        SHORT,
        include_str!("zoo/clusters.json"),
    ] {
        let mut network = Network::from_json(json).unwrap();
        let trained = network.clone();
        let inner = network.layers.len() - 1;
        for layer in &mut network.layers[1..inner] {
            layer.frozen = true;
        }
        let options = Options {
            train: true,
            ..Options::default()
        };
        let bytes = network.compile(i8::DTYPE, &options).unwrap();
        let all = trained.compile(i8::DTYPE, &options).unwrap();
        let arena_bytes = with_image(&all, |image| image.arena_bytes());
        with_image(&bytes, |image| {
            assert!(image.arena_bytes() < arena_bytes, "{json}");
            let mut arena = vec![0; image.arena_bytes()];
            let mut session = Session::new(image, &mut arena, ops::ALL).unwrap();
            let before = session.fingerprint().unwrap();
            for step in 0..4 {
                let x = session.input_mut::<i8>(Role::Train, 0).unwrap();
                let label = train().read(step, x).unwrap();
                let padded = json == SHORT;
                if padded {
                    session.input_mut::<u32>(Role::Train, 1).unwrap().fill(5);
                }
                let asked = session.input_mut::<u16>(Role::Train, 1 + usize::from(padded));
                asked.unwrap().fill(label);
                session.train_step(&Serial, 1, &sgd).unwrap();
            }
            assert_ne!(session.fingerprint().unwrap(), before, "{json}");
        });
    }
}
