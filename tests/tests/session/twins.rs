//! Layers beside their typed twins, in small networks of their own: the same bytes.

use super::zoo::check;
use selvedge_core::net;
use selvedge_core::net::rotary::{Interleaved, Linear};
use selvedge_core::net::{
    AllSteps, Attention, Balance, Cache, Carried, Causal, Clustering, CrossAttention, Embedding,
    Everything, Fresh, Gru, KMeans, LastStep, Lstm, Means, Padded, Plain, Positions, Recent,
    Reversed, Rnn, Rotary,
};
use selvedge_core::tensor::{D1, D2};
use selvedge_digits::{CLASSES, SIDE};
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

#[test]
fn recurrent() {
    let json = r#"{
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
    check::<Recurrent<i8, Plain>>("recurrent", json);
    check::<Recurrent<u16, Plain>>("recurrent", json);
    check::<Recurrent<f32, Plain>>("recurrent", json);
}

/// Checks a network in three types.
macro_rules! twins {
    ($($(#[$doc:meta])* $name:ident: $typed:ident, $json:literal;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            check::<$typed<i8, Plain>>(stringify!($name), $json);
            check::<$typed<u16, Plain>>(stringify!($name), $json);
            check::<$typed<f32, Plain>>(stringify!($name), $json);
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

twins! {
    mixtures: Mixed, r#"{
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
    clusters: Snapped, r#"{
        "input": [8, 8],
        "layers": [
            {"name": "entry", "type": "dense", "outputs": 6, "activation": "tanh"},
            {"name": "means", "type": "k_means", "clusters": 5, "gives": "means", "metric": "manhattan",
             "temperature": 1.5},
            {"name": "shares", "type": "k_means", "clusters": 4, "metric": "cosine", "temperature": 0.25},
            {"name": "flat", "type": "flatten"},
            {"name": "snap", "type": "k_means", "clusters": 3, "gives": "means", "metric": "manhattan",
             "temperature": 1.5},
            {"name": "head", "type": "dense", "outputs": 10}
        ]
    }"#;
    tokens: Tokens, r#"{
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
    attention_turned_and_cached: Turned, r#"{
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
