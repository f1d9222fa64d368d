//! Networks over sequences: an image row by row, and tokens.

use crate::{CLASSES, SIDE};
use selvedge_core::net;
use selvedge_core::net::{
    AllSteps, Attention, Axis, Cache, Carried, Causal, Concat, Conv, CrossAttention, DenseOver,
    Embedding, Fork, Fresh, Gru, LastStep, Lstm, Padded, Positions, Recent, Relu, Reversed, Rnn,
    Rotary, Silu, Skip, Slide, Stream, Tied,
};
use selvedge_core::tensor::{D2, D3};

/// A convolution that sees three rows: the two before the first of a piece, too.
type Window<T, R> = Conv<T, D2<{ SIDE + 2 }, SIDE>, D3<8, 3, SIDE>, D2<SIDE, 8>, Slide, Relu, R>;

net! {
    /// The rows of an image as a stream: what came last in the image before is seen, and carried on.
    pub struct Rows: [SIDE, SIDE] {
        entry: layer(Stream<Window<T, R>, SIDE, SIDE, 2> => [SIDE, 8]),
        late: residual {
            norm: rms_norm,
            attention: layer(Attention<T, SIDE, 8, 2, 2, 4, Recent<3>, R, Cache<{ SIDE + 2 }>> => [SIDE, 8]),
        },
        both: concat {
            forth: layer(Lstm<T, SIDE, 8, 6, AllSteps, R> => [SIDE, 6]),
        } {
            back: layer(Gru<T, SIDE, 8, 5, Reversed<AllSteps>, R> => [SIDE, 5]),
        },
        last: layer(Rnn<T, SIDE, 11, 12, Carried<LastStep>, R> => [12]),
        head: dense(CLASSES),
    }
}

/// Positions, and below them what a layer makes of each.
type Noted<T, R> = Fork<
    Skip<T, D2<SIDE, 12>>,
    DenseOver<T, D2<SIDE, 12>, 12, Relu, R>,
    Concat<D2<{ 2 * SIDE }, 12>, Axis<0>>,
>;

net! {
    /// A decoder of one block, whose positions look at notes of all.
    pub struct Decoder: [SIDE] {
        tokens: layer(Embedding<T, SIDE, CLASSES, 12, u8, R> => [SIDE, 12]),
        places: layer(Positions<T, D2<SIDE, 12>, R> => [SIDE, 12]),
        mixed: residual {
            norm: layer_norm,
            attention: layer(Attention<T, SIDE, 12, 4, 2, 4, Causal, R, Fresh, Rotary> => [SIDE, 12]),
        },
        thought: residual {
            rms: rms_norm,
            both: product {
                gate: dense(16, activation = silu),
            } {
                up: dense(16),
            },
            down: dense(12),
        },
        noted: layer(Noted<T, R> => [{ 2 * SIDE }, 12]),
        notes: layer(CrossAttention<T, { 2 * SIDE }, SIDE, SIDE, 12, 2, 2, 4, Padded, R> => [SIDE, 12]),
        head: dense(CLASSES),
    }
}

/// From each token to what the next one should look like.
type Next<T, R> = (
    DenseOver<T, D2<SIDE, 12>, 16, Silu, R>,
    Gru<T, SIDE, 16, 12, AllSteps, R>,
);

net! {
    /// Tokens whose table is that of the output, too.
    pub struct Speller: [SIDE] {
        both: layer(Tied<T, SIDE, CLASSES, 12, Next<T, R>, u8, R> => [SIDE, CLASSES]),
    }
}
