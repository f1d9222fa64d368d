//! The reference program's training runs, replayed by typed networks: parameters after each snapshot, losses, and
//! logits, to the byte.

use selvedge_core::net::{
    Attention, Causal, Embedding, Everything, Gru, LastStep, Lstm, Momentum, Positions, Rnn,
};
use selvedge_core::tensor::D2;
use selvedge_core::{Element, net};
use selvedge_tests::replay::replay;

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
