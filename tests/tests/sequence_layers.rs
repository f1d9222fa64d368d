//! Layers over sequences as types, against definitions: recurrent layers, attention, tables of tokens and positions,
//! streams.

#![recursion_limit = "256"]
// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_core::net::rotary::{Interleaved, Linear};
use selvedge_core::net::{
    AllSteps, Attention, Cache, Carried, Causal, Conv, CrossAttention, DenseOver, Embedding,
    Everything, Fresh, Gru, LastStep, Lstm, Plain, Positions, Recent, Reversed, Rnn, Rotary, Slide,
    Stream, Tanh, Tied,
};
use selvedge_core::tensor::{D2, D3};
use selvedge_kernels::rope::{self, Scaling};
use selvedge_tests::check_layer;
use selvedge_tests::compare::inner;
use selvedge_tests::layers::Case;
use selvedge_tests::tolerance;

/// What integer cells are off by.
const CELLS: [f64; 2] = [tolerance::RECURRENT_8_BITS, tolerance::RECURRENT_16_BITS];

/// Queries, keys, values and heads have been stored before the output.
const HEADS: [f64; 2] = [2e-2, 5e-4];

/// What the table of an activation costs: an argument rounded to 2^-11, and a few units of 2^-15.
const TABLE: [f64; 2] = [4e-4, 4e-4];

/// The same before a product: an output of 8 bits.
const HIDDEN: [f64; 2] = [8e-3, 4e-4];

/// Roundings of a step of a cell, for some steps.
const OF_STEPS: f64 = 64.0;

/// The first `len` of what is left.
fn take<'a>(rest: &mut &'a [f64], len: usize) -> &'a [f64] {
    let (first, others) = rest.split_at(len);
    *rest = others;
    first
}

/// `weight · x`, a row of weights for each output.
fn products(x: &[f64], weight: &[f64]) -> Vec<f64> {
    weight.chunks(x.len()).map(|w| inner(w, x)).collect()
}

/// A dense layer, whose weights and biases are taken off `parameters`, on each row of `inputs` elements.
fn dense(x: &[f64], parameters: &mut &[f64], [inputs, outputs]: [usize; 2]) -> Vec<f64> {
    let weight = take(parameters, inputs * outputs);
    let bias = take(parameters, outputs);
    let row = |x: &[f64]| -> Vec<f64> {
        let sums = products(x, weight);
        sums.iter().zip(bias).map(|(sum, b)| sum + b).collect()
    };
    x.chunks(inputs).flat_map(row).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// What a step of a cell makes of the gates' sums with the input and with the output before.
type Step = fn(of_x: &[f64], of_h: &[f64], h: &mut [f64], inner: &mut [f64]);

fn rnn(of_x: &[f64], of_h: &[f64], h: &mut [f64], _: &mut [f64]) {
    for (i, h) in h.iter_mut().enumerate() {
        *h = (of_x[i] + of_h[i]).tanh();
    }
}

/// Gates i, f, g, o.
fn lstm(of_x: &[f64], of_h: &[f64], h: &mut [f64], inner: &mut [f64]) {
    let units = h.len();
    for (i, (h, c)) in h.iter_mut().zip(inner).enumerate() {
        let [input, forget, new, output] =
            [0, 1, 2, 3].map(|gate| of_x[gate * units + i] + of_h[gate * units + i]);
        *c = sigmoid(forget) * *c + sigmoid(input) * new.tanh();
        *h = sigmoid(output) * c.tanh();
    }
}

/// Gates r, z, n.
fn gru(of_x: &[f64], of_h: &[f64], h: &mut [f64], _: &mut [f64]) {
    let units = h.len();
    for (i, h) in h.iter_mut().enumerate() {
        let [reset, update] =
            [0, 1].map(|gate| sigmoid(of_x[gate * units + i] + of_h[gate * units + i]));
        let new = (of_x[2 * units + i] + reset * of_h[2 * units + i]).tanh();
        *h = (1.0 - update) * new + update * *h;
    }
}

/// Whether the last element comes first, and all outputs are given.
#[derive(Clone, Copy)]
struct Given {
    is_reversed: bool,
    all: bool,
}

const ALL: Given = Given {
    is_reversed: false,
    all: true,
};
const LAST: Given = Given { all: false, ..ALL };
const BACK: Given = Given {
    is_reversed: true,
    ..ALL
};

/// A recurrent layer of `gates` gates.
fn recurrent(
    step: Step,
    gates: usize,
    [inputs, units]: [usize; 2],
    given: Given,
) -> impl Fn(&[f64], &[f64]) -> Vec<f64> {
    move |x, mut parameters| {
        let rows = gates * units;
        let [input, hidden] = [inputs, units].map(|columns| take(&mut parameters, rows * columns));
        let bias = take(&mut parameters, rows);
        let hidden_bias = if parameters.is_empty() {
            vec![0.0; rows]
        } else {
            parameters.to_vec()
        };
        let sum = |x: &[f64], weight: &[f64], bias: &[f64]| -> Vec<f64> {
            let sums = products(x, weight);
            sums.iter().zip(bias).map(|(sum, b)| sum + b).collect()
        };
        let (mut h, mut inner) = (vec![0.0; units], vec![0.0; units]);
        let mut elements: Vec<_> = x.chunks(inputs).enumerate().collect();
        if given.is_reversed {
            elements.reverse();
        }
        let mut out = vec![vec![]; elements.len()];
        for (place, x) in elements {
            let (of_x, of_h) = (sum(x, input, bias), sum(&h, hidden, &hidden_bias));
            step(&of_x, &of_h, &mut h, &mut inner);
            out[place] = h.clone();
        }
        if given.all { out.concat() } else { h }
    }
}

/// Inputs for which tanh is steep enough: where it is flat, 8 bits hardly tell its slope from 0. The gradients of gates
/// are small: at a lower rate an update of 16 bits is a few units.
fn case(name: &str) -> Case<'_> {
    Case::new(name)
        .within(0.5)
        .warmed_up()
        .at_rate(-3)
        .off_by(CELLS)
        .roundings(OF_STEPS)
}

#[test]
fn plain_recurrent_networks() {
    let [all, last] = [ALL, LAST].map(|given| recurrent(rnn, 1, [3, 4], given));
    check_layer!(T => Rnn<T, 4, 3, 4, AllSteps>, case("rnn, all steps").defined_by(&all));
    check_layer!(T => Rnn<T, 4, 3, 4, Carried<LastStep>>, case("rnn, last step").defined_by(&last));
}

#[test]
fn long_short_term_memories() {
    let [last, back] = [LAST, BACK].map(|given| recurrent(lstm, 4, [3, 4], given));
    check_layer!(T => Lstm<T, 4, 3, 4>, case("lstm, last step").defined_by(&last));
    check_layer!(T => Lstm<T, 4, 3, 4, Reversed<AllSteps>>, case("lstm, reversed").defined_by(&back));
}

#[test]
fn gated_recurrent_units() {
    let [all, back] = [ALL, BACK].map(|given| recurrent(gru, 3, [3, 4], given));
    check_layer!(T => Gru<T, 4, 3, 4, Carried<AllSteps>>, case("gru, all steps").defined_by(&all));
    check_layer!(T => Gru<T, 4, 3, 4, Reversed<AllSteps>>, case("gru, reversed").defined_by(&back));
}

/// Attention of `heads` heads of `size` features, which share those of `kv_heads` keys and values; position `i` sees
/// `j` where `sees(i, j)`.
fn attention(
    features: usize,
    [heads, kv_heads, size]: [usize; 3],
    sees: fn(usize, usize) -> bool,
) -> impl Fn(&[f64], &[f64]) -> Vec<f64> {
    attention_to(0, features, [heads, kv_heads, size], sees, |_, _| ())
}

/// The same of the first `own` positions to those behind them, or of all to all for 0; `turn` does what a position does to
/// queries and keys.
fn attention_to(
    own: usize,
    features: usize,
    [heads, kv_heads, size]: [usize; 3],
    sees: fn(usize, usize) -> bool,
    turn: impl Fn(&mut [f64], usize),
) -> impl Fn(&[f64], &[f64]) -> Vec<f64> {
    move |x, mut parameters| {
        let (first, memory) = match own {
            0 => (x, x),
            own => x.split_at(own * features),
        };
        let mut project = |x, heads: usize| dense(x, &mut parameters, [features, heads * size]);
        let (mut q, mut k) = (project(first, heads), project(memory, kv_heads));
        let v = project(memory, kv_heads);
        for (rows, heads) in [(&mut q, heads), (&mut k, kv_heads)] {
            for (place, row) in rows.chunks_mut(heads * size).enumerate() {
                row.chunks_mut(size).for_each(|row| turn(row, place));
            }
        }
        let mut out = vec![];
        for (i, q) in q.chunks(heads * size).enumerate() {
            for (head, q) in q.chunks(size).enumerate() {
                let shared = head * kv_heads / heads;
                let rows = |all: &[f64]| -> Vec<Vec<f64>> {
                    let rows = all.chunks(size).skip(shared).step_by(kv_heads).enumerate();
                    let seen = rows.filter(|&(j, _)| sees(i, j));
                    seen.map(|(_, row)| row.to_vec()).collect()
                };
                let scores = rows(&k).into_iter().map(|k| inner(q, &k));
                let weights: Vec<f64> = scores.map(|s| (s / (size as f64).sqrt()).exp()).collect();
                let (total, values) = (weights.iter().sum::<f64>(), rows(&v));
                let of = |f: usize| {
                    weights
                        .iter()
                        .zip(&values)
                        .map(|(w, v)| w * v[f])
                        .sum::<f64>()
                };
                out.extend((0..size).map(|f| of(f) / total));
            }
        }
        dense(&out, &mut parameters, [heads * size, features])
    }
}

#[test]
fn attention_over_positions() {
    let all = attention(5, [2, 2, 4], |_, _| true);
    let causal = attention(6, [4, 2, 3], |i, j| j <= i);
    let recent = attention(5, [2, 1, 4], |i, j| j <= i && i < j + 2);
    check_layer!(T => Attention<T, 4, 5, 2, 2, 4, Everything>,
        Case::new("attention").within(1.0).defined_by(&all).off_by(HEADS).roundings(OF_STEPS));
    check_layer!(T => Attention<T, 5, 6, 4, 2, 3, Causal>,
        Case::new("attention, causal, shared keys").within(1.0).defined_by(&causal).off_by(HEADS).roundings(OF_STEPS));
    check_layer!(T => Attention<T, 5, 5, 2, 1, 4, Recent<2>, Plain, Cache<7>>,
        Case::new("attention, recent positions").within(1.0).defined_by(&recent).off_by(HEADS).roundings(OF_STEPS));
}

/// Turns pairs by the angles of a position; `pair` says which features are one.
fn turned(
    base: u32,
    scaling: Scaling,
    pair: fn(usize, usize) -> [usize; 2],
) -> impl Fn(&mut [f64], usize) {
    move |row, place| {
        let pairs = row.len() / 2;
        for i in 0..pairs {
            let turns = rope::frequency(base, scaling, i, pairs).unwrap();
            let angle = f64::from(turns) * 2f64.powi(-32) * std::f64::consts::TAU * place as f64;
            let [a, b] = pair(i, pairs);
            let (sin, cos) = angle.sin_cos();
            (row[a], row[b]) = (row[a] * cos - row[b] * sin, row[a] * sin + row[b] * cos);
        }
    }
}

#[test]
fn attention_with_rotary_positions() {
    let halves = turned(rope::BASE, Scaling::None, |i, pairs| [i, i + pairs]);
    let halves = attention_to(0, 5, [2, 2, 4], |_, _| true, halves);
    check_layer!(T => Attention<T, 4, 5, 2, 2, 4, Everything, Plain, Fresh, Rotary>,
        Case::new("attention, turned").within(1.0).defined_by(&halves).off_by(HEADS).roundings(OF_STEPS));
    let neighbours = turned(500, Scaling::Linear { factor: 2000 }, |i, _| {
        [2 * i, 2 * i + 1]
    });
    let neighbours = attention_to(0, 5, [4, 2, 6], |i, j| j <= i, neighbours);
    check_layer!(
        T => Attention<T, 3, 5, 4, 2, 6, Causal, Plain, Cache<3>, Rotary<500, Interleaved, Linear<2000>>>,
        Case::new("attention, neighbours turned").within(1.0).defined_by(&neighbours).off_by(HEADS).roundings(OF_STEPS)
    );
}

#[test]
fn attention_to_a_memory() {
    let across = attention_to(3, 5, [4, 2, 3], |_, _| true, |_, _| ());
    check_layer!(T => CrossAttention<T, 7, 3, 4, 5, 4, 2, 3>,
        Case::new("cross-attention").within(1.0).defined_by(&across).off_by(HEADS).roundings(OF_STEPS));
}

#[test]
fn dense_layers_over_positions() {
    let rows = |x: &[f64], mut parameters: &[f64]| -> Vec<f64> {
        let sums = dense(x, &mut parameters, [4, 5]);
        sums.into_iter().map(f64::tanh).collect()
    };
    check_layer!(T => DenseOver<T, D3<2, 3, 4>, 5, Tanh>,
        Case::new("dense over positions").defined_by(&rows).off_by(TABLE));
}

/// The rows of a table that tokens stand for.
fn looked_up(tokens: &[f64], table: &[f64], size: usize) -> Vec<f64> {
    let row = |&token: &f64| table[token as usize * size..][..size].to_vec();
    tokens.iter().flat_map(row).collect()
}

#[test]
fn tables() {
    let embedding = |x: &[f64], table: &[f64]| looked_up(x, table, 4);
    check_layer!(T => Embedding<T, 6, 9, 4, u8>,
        Case::new("embedding").of_tokens(9).defined_by(&embedding));
    check_layer!(T => Embedding<T, 3, 300, 2>,
        Case::new("embedding, tokens of 16 bits").of_tokens(300).defined_by(&|x, table| looked_up(x, table, 2)));
    let positions = |x: &[f64], table: &[f64]| -> Vec<f64> {
        x.iter().zip(table).map(|(x, table)| x + table).collect()
    };
    check_layer!(T => Positions<T, D2<5, 3>>, Case::new("positions").defined_by(&positions));
}

#[test]
fn tied_tables() {
    let tied = |x: &[f64], mut parameters: &[f64]| -> Vec<f64> {
        let (table, bias) = (take(&mut parameters, 7 * 4), take(&mut parameters, 7));
        let rows = looked_up(x, table, 4);
        let hidden = dense(&rows, &mut parameters, [4, 4]);
        let hidden: Vec<f64> = hidden.into_iter().map(f64::tanh).collect();
        let logits = |h: &[f64]| -> Vec<f64> {
            let sums = products(h, table);
            sums.iter().zip(bias).map(|(sum, b)| sum + b).collect()
        };
        hidden.chunks(4).flat_map(logits).collect()
    };
    check_layer!(T => Tied<T, 5, 7, 4, DenseOver<T, D2<5, 4>, 4, Tanh>, u32>,
        Case::new("tied").of_tokens(7).defined_by(&tied).off_by(HIDDEN));
}

#[test]
fn streams() {
    let stream = |x: &[f64], parameters: &[f64]| -> Vec<f64> {
        let (weight, bias) = parameters.split_at(4 * 3 * 2);
        // Two rows of zeros before the first.
        let x = [&[0.0; 2 * 2], x].concat();
        let column = |at: usize| -> Vec<f64> {
            let sums = products(&x[at * 2..][..3 * 2], weight);
            sums.iter().zip(bias).map(|(sum, b)| sum + b).collect()
        };
        (0..6).flat_map(column).collect()
    };
    check_layer!(T => Stream<Conv<T, D2<8, 2>, D3<4, 3, 2>, D2<6, 4>, Slide>, 6, 2, 2>,
        Case::new("stream").defined_by(&stream));
}
