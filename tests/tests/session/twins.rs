//! Layers beside their typed twins, in small networks of their own: the same bytes.

use super::zoo::check;
use selvedge_core::net;
use selvedge_core::net::{AllSteps, Carried, Gru, LastStep, Lstm, Plain, Reversed, Rnn};
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
