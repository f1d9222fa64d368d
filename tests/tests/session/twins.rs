//! Layers beside their typed twins, in small networks of their own: the same bytes.

use super::zoo::check;
use selvedge_core::net;
use selvedge_core::net::rotary::{Interleaved, Linear};
use selvedge_core::net::{
    AllSteps, Attention, Cache, Carried, Causal, CrossAttention, Embedding, Everything, Fresh, Gru,
    LastStep, Lstm, Padded, Plain, Positions, Recent, Reversed, Rnn, Rotary,
};
use selvedge_core::tensor::D2;
use selvedge_digits::{CLASSES, SIDE};

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

twins! {
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
