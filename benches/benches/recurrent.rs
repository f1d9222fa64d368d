//! RNN, LSTM and GRU over sequences, in each element type. Throughput counts multiplications.
#![allow(missing_docs)] // criterion's macros
#![allow(clippy::unwrap_used)] // a refused call is a broken benchmark

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_benches::{for_all_types, noise};
use selvedge_kernels::element::Blank;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::recurrent::{
    self, Cell, Errors, Exponents, Input, Keep, Output, Shape, State, Weights, Windows,
};
use selvedge_kernels::{Element, dense};
use std::hint::black_box;

const INPUTS: usize = 64;
const UNITS: usize = 128;

/// Benchmarks `work` as `kernel/type`.
fn measure<T: Element>(c: &mut Criterion, kernel: &str, per_call: usize, mut work: impl FnMut()) {
    let mut group = c.benchmark_group(kernel);
    group.throughput(Throughput::Elements(per_call as u64));
    group.bench_function(T::DTYPE.name(), |b| b.iter(&mut work));
    group.finish();
}

fn layer<T: Element>(c: &mut Criterion, name: &str, cell: Cell, [batch, steps]: [usize; 2]) {
    let shape = Shape {
        cell,
        batch,
        steps,
        inputs: INPUTS,
        units: UNITS,
        output: Output::All,
        is_reversed: false,
    };
    let rows = cell.gates() * UNITS;
    let (n, count) = (batch * steps, batch * steps * UNITS);
    let is_gru = cell == Cell::Gru;
    let x = noise::<T>(n * INPUTS, 1);
    let (input, hidden) = (noise::<T>(rows * INPUTS, 2), noise::<T>(rows * UNITS, 3));
    let bias = noise::<T::Bias>(rows, 4);
    // Sums of products of about 1, as after initialisation.
    let unit = recurrent::output_exponent::<T>();
    let weights = Weights {
        input: &input,
        hidden: &hidden,
        bias: &bias,
        hidden_bias: if is_gru { &bias } else { &[] },
        exponents: Exponents {
            input: unit - 3,
            hidden: unit - 3,
            bias: 1 - <T::Bias as Element>::MAGNITUDE_BITS as i32,
            hidden_bias: 1 - <T::Bias as Element>::MAGNITUDE_BITS as i32,
        },
    };
    let mut h = vec![T::ZERO; batch * UNITS];
    let inner = if cell.has_inner() { h.len() } else { 0 };
    let mut inner = vec![T::Inner::BLANK; inner];
    let mut before = vec![T::ZERO; count];
    let mut gates = vec![T::Inner::BLANK; count * cell.kept()];
    let mut out = vec![T::ZERO; count];
    let place = format!("B{batch} T{steps} {INPUTS}x{UNITS}");
    let work = n * rows * (INPUTS + UNITS);
    for at_a_time in [1, steps] {
        let scratch = recurrent::forward_scratch_len(shape, at_a_time).unwrap();
        let mut scratch = vec![T::Acc::default(); scratch];
        let kernel = format!("{name} forward {place}, {at_a_time} at a time");
        measure::<T>(c, &kernel, work, || {
            let mut state = State {
                h: &mut h,
                inner: &mut inner,
            };
            state.clear();
            let x = Input {
                values: black_box(&x),
                exponent: unit,
            };
            let keep = Keep {
                before: &mut before,
                gates: &mut gates,
            };
            recurrent::forward(
                &Serial,
                shape,
                x,
                weights,
                state,
                keep,
                &mut out,
                &mut scratch,
            )
            .unwrap();
        });
    }
    let dy = noise::<T>(count, 5);
    let state = Windows::first_state::<T>(unit);
    let windows = Windows {
        state,
        gates: Windows::first_gates::<T>(state),
    };
    let mut dz = vec![T::ZERO; n * rows];
    let mut dzu = vec![T::ZERO; if is_gru { dz.len() } else { 0 }];
    let mut scratch = vec![T::Acc::default(); recurrent::backward_scratch_len(shape).unwrap()];
    measure::<T>(
        c,
        &format!("{name} errors {place}"),
        n * rows * UNITS,
        || {
            let errors = Errors {
                dy: black_box(&dy),
                exponent: unit,
                windows,
            };
            recurrent::backward(
                &Serial,
                shape,
                weights,
                &gates,
                errors,
                &mut dz,
                &mut dzu,
                &mut scratch,
            )
            .unwrap();
        },
    );
    let mut du = vec![T::Acc::default(); rows * UNITS];
    let kernel = format!("{name} hidden weights' gradient {place}");
    measure::<T>(c, &kernel, n * rows * UNITS, || {
        let shape = dense::Shape {
            batch: n,
            inputs: UNITS,
            outputs: rows,
        };
        let dz = black_box(if is_gru { &dzu } else { &dz });
        let mut gradient = Gradient::<T, _>::Store(&mut du);
        dense::backward_weight(shape, &before, dz, &mut gradient).unwrap();
    });
}

fn layers<T: Element>(c: &mut Criterion) {
    layer::<T>(c, "LSTM", Cell::Lstm, [1, 28]);
    layer::<T>(c, "LSTM", Cell::Lstm, [32, 28]);
    layer::<T>(c, "GRU", Cell::Gru, [1, 28]);
    layer::<T>(c, "RNN", Cell::Rnn, [1, 28]);
}

/// Long sequences, in the types that networks are usually of.
fn long<T: Element>(c: &mut Criterion) {
    layer::<T>(c, "LSTM", Cell::Lstm, [1, 256]);
    layer::<T>(c, "LSTM", Cell::Lstm, [32, 256]);
}

fn all(c: &mut Criterion) {
    macro_rules! run {
        ($($t:ty),*) => {$( layers::<$t>(c); )*};
    }
    for_all_types!(run);
    long::<i8>(c);
    long::<i16>(c);
    long::<f32>(c);
}

criterion_group!(benches, all);
criterion_main!(benches);
