//! RNN, LSTM and GRU: definitions, gradients through time, PyTorch, the exact rule on big integers.
//!
//! Training runs of the reference program are replayed in `golden.rs` (`rnn-*`, `lstm-*`, `gru-*`).

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod floats;
mod integers;
mod refusals;
mod torch;

use selvedge_kernels::element::Blank;
use selvedge_kernels::exec::{Executor, Serial};
use selvedge_kernels::recurrent::{
    self, Cell, Errors, Exponents, Input, Keep, Output, Shape, State, Tops, Weights, Windows,
};
use selvedge_kernels::{DType, Element};
use selvedge_tests::compare::elements;
use selvedge_tests::for_each_type;
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;

const CELLS: [Cell; 3] = [Cell::Rnn, Cell::Lstm, Cell::Gru];
const OUTPUTS: [Output; 2] = [Output::All, Output::Last];
/// Batch, steps, inputs, units: more and fewer than any register holds.
const EXTENTS: [[usize; 4]; 5] = [
    [1, 1, 1, 1],
    [2, 3, 2, 3],
    [3, 5, 4, 6],
    [5, 2, 7, 19],
    [2, 4, 33, 37],
];

fn shapes() -> impl Iterator<Item = Shape> {
    EXTENTS
        .into_iter()
        .flat_map(|[batch, steps, inputs, units]| {
            CELLS.into_iter().flat_map(move |cell| {
                OUTPUTS.into_iter().flat_map(move |output| {
                    [false, true].map(|is_reversed| Shape {
                        cell,
                        batch,
                        steps,
                        inputs,
                        units,
                        output,
                        is_reversed,
                    })
                })
            })
        })
}

/// A layer with an input and the state that it starts from.
#[derive(Clone)]
struct Layer<T: Element> {
    shape: Shape,
    x: Vec<T>,
    x_exponent: i32,
    input: Vec<T>,
    hidden: Vec<T>,
    bias: Vec<T::Bias>,
    hidden_bias: Vec<T::Bias>,
    exponents: Exponents,
    h: Vec<T>,
    inner: Vec<T::Inner>,
}

/// What a forward pass leaves.
#[derive(Clone, Debug, PartialEq)]
struct Pass<T: Element> {
    out: Vec<T>,
    h: Vec<T>,
    inner: Vec<T::Inner>,
    before: Vec<T>,
    gates: Vec<T::Inner>,
}

/// What a backward pass gives.
#[derive(Clone, Debug, PartialEq)]
struct Back<T> {
    dz: Vec<T>,
    dzu: Vec<T>,
    tops: Tops,
}

/// Exponent of a bias as it begins; 0 for floats.
fn bias_exponent<T: Element>() -> i32 {
    match <T::Bias as Element>::MAGNITUDE_BITS {
        0 => 0,
        bits => 1 - bits as i32,
    }
}

impl<T: Element> Layer<T> {
    /// Random numbers; weights within `gain` over the root of their number, biases within 1. The state is zero.
    fn random(shape: Shape, seed: u32, gain: f64) -> Self {
        let mut noise = Noise::new(seed);
        let Shape {
            cell,
            batch,
            steps,
            inputs,
            units,
            ..
        } = shape;
        let rows = cell.gates() * units;
        let unit = recurrent::output_exponent::<T>();
        let mut within = |n, bound: f64| elements::<T>(&noise.vector(n, bound), unit);
        let x = within(batch * steps * inputs, 1.0);
        let input = within(rows * inputs, (gain / (inputs as f64).sqrt()).min(1.0));
        let hidden = within(rows * units, (gain / (units as f64).sqrt()).min(1.0));
        let mut bias = || elements(&noise.vector(rows, 1.0), bias_exponent::<T>());
        let is_gru = cell == Cell::Gru;
        Self {
            shape,
            x,
            x_exponent: unit,
            input,
            hidden,
            bias: bias(),
            hidden_bias: if is_gru { bias() } else { Vec::new() },
            exponents: Exponents {
                input: unit,
                hidden: unit,
                bias: bias_exponent::<T>(),
                hidden_bias: bias_exponent::<T>(),
            },
            h: vec![T::ZERO; batch * units],
            inner: vec![T::Inner::BLANK; if cell.has_inner() { batch * units } else { 0 }],
        }
    }

    fn weights(&self) -> Weights<'_, T> {
        Weights {
            input: &self.input,
            hidden: &self.hidden,
            bias: &self.bias,
            hidden_bias: &self.hidden_bias,
            exponents: self.exponents,
        }
    }

    fn outputs(&self) -> usize {
        let Shape {
            batch,
            steps,
            units,
            output,
            ..
        } = self.shape;
        batch * units * if output == Output::All { steps } else { 1 }
    }

    /// With room for the products of `at_a_time` steps.
    fn forward(&self, exec: &impl Executor, at_a_time: usize) -> Pass<T> {
        let Shape {
            cell,
            batch,
            steps,
            units,
            ..
        } = self.shape;
        let kept = batch * steps * units;
        let scratch = recurrent::forward_scratch_len(self.shape, at_a_time).unwrap();
        let mut pass = Pass {
            out: vec![T::ZERO; self.outputs()],
            h: self.h.clone(),
            inner: self.inner.clone(),
            before: vec![T::ZERO; kept],
            gates: vec![T::Inner::BLANK; kept * cell.kept()],
        };
        recurrent::forward(
            exec,
            self.shape,
            Input {
                values: &self.x,
                exponent: self.x_exponent,
            },
            self.weights(),
            State {
                h: &mut pass.h,
                inner: &mut pass.inner,
            },
            Keep {
                before: &mut pass.before,
                gates: &mut pass.gates,
            },
            &mut pass.out,
            &mut vec![T::Acc::default(); scratch],
        )
        .unwrap();
        pass
    }

    fn backward(
        &self,
        exec: &impl Executor,
        pass: &Pass<T>,
        dy: &[T],
        exponent: i32,
        windows: Windows,
    ) -> Back<T> {
        let Shape {
            cell,
            batch,
            steps,
            units,
            ..
        } = self.shape;
        let sums = batch * steps * cell.gates() * units;
        let scratch = recurrent::backward_scratch_len(self.shape).unwrap();
        let mut dz = vec![T::ZERO; sums];
        let mut dzu = vec![T::ZERO; if cell == Cell::Gru { sums } else { 0 }];
        let errors = Errors {
            dy,
            exponent,
            windows,
        };
        let tops = recurrent::backward(
            exec,
            self.shape,
            self.weights(),
            &pass.gates,
            errors,
            &mut dz,
            &mut dzu,
            &mut vec![T::Acc::default(); scratch],
        )
        .unwrap();
        Back { dz, dzu, tops }
    }

    /// The same layer on steps `from..to` of its input.
    fn piece(&self, from: usize, to: usize) -> Self {
        let Shape { steps, inputs, .. } = self.shape;
        let rows = self.x.chunks(steps * inputs);
        let mut piece = self.clone();
        piece.shape.steps = to - from;
        piece.x = rows
            .flat_map(|x| &x[from * inputs..to * inputs])
            .copied()
            .collect();
        piece
    }
}

/// The first windows of a training run.
fn windows<T: Element>(dy: i32) -> Windows {
    let state = Windows::first_state::<T>(dy);
    Windows {
        state,
        gates: Windows::first_gates::<T>(state),
    }
}

/// Rows of `len` in each of `batch` sequences of `steps`, the last first.
fn reversed<E: Copy>(values: &[E], steps: usize, len: usize) -> Vec<E> {
    let sequences = values.chunks(steps * len);
    let rows = sequences.flat_map(|sequence| sequence.chunks(len).rev());
    rows.flatten().copied().collect()
}

fn cuts_and_tasks_change_nothing<T: Element>() {
    for (seed, shape) in shapes().enumerate() {
        let place = format!("{}, {shape:?}", T::DTYPE);
        let layer = Layer::<T>::random(shape, 100 + seed as u32, 1.0);
        let Shape {
            steps,
            units,
            inputs,
            output,
            is_reversed,
            ..
        } = shape;
        let whole = layer.forward(&Serial, steps);
        for at_a_time in 1..steps {
            assert_eq!(
                whole,
                layer.forward(&Serial, at_a_time),
                "{place}: {at_a_time} at a time"
            );
        }
        let dy: Vec<T> = elements(
            &Noise::new(7).vector(layer.outputs(), 1.0),
            layer.x_exponent,
        );
        let windows = windows::<T>(layer.x_exponent);
        let back = layer.backward(&Serial, &whole, &dy, layer.x_exponent, windows);
        for threads in [2, 3, 7] {
            let threads = Threads(threads);
            assert_eq!(whole, layer.forward(&threads, 2), "{place}: {threads:?}");
            let got = layer.backward(&threads, &whole, &dy, layer.x_exponent, windows);
            assert_eq!(back, got, "{place}: {threads:?}, backward");
        }
        // In pieces, from the end that comes first.
        let mut part = layer.clone();
        let mut outs = Vec::new();
        for step in 0..steps {
            let t = if is_reversed { steps - 1 - step } else { step };
            let piece = Layer {
                x: layer.piece(t, t + 1).x,
                shape: Shape { steps: 1, ..shape },
                ..part.clone()
            };
            let pass = piece.forward(&Serial, 1);
            (part.h, part.inner) = (pass.h, pass.inner);
            outs.push((t, pass.out));
        }
        assert_eq!(
            (&whole.h, &whole.inner),
            (&part.h, &part.inner),
            "{place}: state"
        );
        for (t, out) in outs {
            for (b, out) in out.chunks(units).enumerate() {
                let at = (b * steps + t) * units;
                match output {
                    Output::All => assert_eq!(whole.out[at..at + units], *out, "{place}: step {t}"),
                    Output::Last => assert_eq!(whole.out.len(), whole.h.len()),
                }
            }
        }
        // Reversed is the reversed input forward.
        let other = Layer {
            x: reversed(&layer.x, steps, inputs),
            shape: Shape {
                is_reversed: !is_reversed,
                ..shape
            },
            ..layer.clone()
        };
        let got = other.forward(&Serial, steps);
        assert_eq!(
            (&whole.h, &whole.inner),
            (&got.h, &got.inner),
            "{place}: the other way"
        );
        match output {
            Output::All => assert_eq!(whole.out, reversed(&got.out, steps, units), "{place}"),
            Output::Last => assert_eq!(whole.out, got.out, "{place}"),
        }
        let rows = shape.cell.gates() * units;
        let dy = match output {
            Output::All => reversed(&dy, steps, units),
            Output::Last => dy,
        };
        let got = other.backward(&Serial, &got, &dy, layer.x_exponent, windows);
        assert_eq!(
            back.dz,
            reversed(&got.dz, steps, rows),
            "{place}: dz the other way"
        );
        assert_eq!(back.tops, got.tops, "{place}: tops the other way");
    }
}

#[test]
fn pieces_tasks_and_directions_give_the_same_bytes() {
    macro_rules! check {
        ($t:ty) => {
            cuts_and_tasks_change_nothing::<$t>();
        };
    }
    for_each_type!(check);
}

/// A sample of a batch is what it is alone, and a cleared state is that of a new layer.
fn sequences_are_independent<T: Element>() {
    for (seed, shape) in shapes().enumerate() {
        let layer = Layer::<T>::random(shape, 300 + seed as u32, 1.0);
        let Shape {
            batch,
            steps,
            inputs,
            units,
            ..
        } = shape;
        let all = layer.forward(&Serial, steps);
        let per_sequence = layer.outputs() / batch;
        for b in 0..batch {
            let mut alone = layer.clone();
            alone.shape.batch = 1;
            alone.x = layer.x[b * steps * inputs..][..steps * inputs].to_vec();
            (alone.h, alone.inner) = (all.h[..units].to_vec(), all.inner.clone());
            alone.inner.truncate(units);
            State {
                h: &mut alone.h,
                inner: &mut alone.inner,
            }
            .clear();
            let got = alone.forward(&Serial, steps);
            let want = &all.out[b * per_sequence..][..per_sequence];
            assert_eq!(want, got.out, "{}, {shape:?}, sequence {b}", T::DTYPE);
        }
    }
}

#[test]
fn a_sequence_of_a_batch_is_what_it_is_alone() {
    macro_rules! check {
        ($t:ty) => {
            sequences_are_independent::<$t>();
        };
    }
    for_each_type!(check);
}

/// A bias that lets an LSTM remember: 1 for the forget gate.
fn forget_gates_begin_at_one<T: Element>() {
    let mut bias = vec![T::Bias::from_f64(3.0); 12];
    let exponent = recurrent::biases(Cell::Lstm, &mut bias);
    let unit = 2f64.powi(exponent.into());
    let got: Vec<f64> = bias.iter().map(|b| b.to_f64() * unit).collect();
    let mut want = [0.0; 12];
    want[3..6].fill(1.0);
    assert_eq!(got, want, "{}", T::DTYPE);
    for cell in [Cell::Rnn, Cell::Gru] {
        assert_eq!(exponent, recurrent::biases(cell, &mut bias));
        assert!(bias.iter().all(|bias| bias.to_f64() == 0.0), "{}", T::DTYPE);
    }
    if T::DTYPE == DType::I8 {
        assert_eq!(exponent, -14);
    }
}

#[test]
fn an_lstm_begins_by_remembering() {
    macro_rules! check {
        ($t:ty) => {
            forget_gates_begin_at_one::<$t>();
        };
    }
    for_each_type!(check);
}
