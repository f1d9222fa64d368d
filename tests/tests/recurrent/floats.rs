//! Floats against the definition, gradients against differences, NaN.

use super::{Layer, Pass, shapes, windows};
use selvedge_kernels::dense;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::recurrent::{Cell, Output, Shape};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::compare::{assert_within, central, elements, inner as product, values};
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance::{self, Float};

/// The gradients of everything that a layer has.
pub(crate) struct Gradients {
    pub(crate) dx: Vec<f64>,
    pub(crate) dw: Vec<f64>,
    pub(crate) du: Vec<f64>,
    pub(crate) db: Vec<f64>,
    /// Empty but for a GRU.
    pub(crate) dc: Vec<f64>,
}

/// Those of a float layer.
pub(crate) fn gradients<T>(layer: &Layer<T>, pass: &Pass<T>, dy: &[T]) -> Gradients
where
    T: Element<Bias = T, Acc: Into<f64>>,
{
    let back = layer.backward(&Serial, pass, dy, 0, windows::<T>(0));
    let Shape {
        cell,
        batch,
        steps,
        inputs,
        units,
        ..
    } = layer.shape;
    let shape = dense::Shape {
        batch: batch * steps,
        inputs,
        outputs: cell.gates() * units,
    };
    let mut dx = vec![T::ZERO; layer.x.len()];
    dense::backward_input(
        &Serial,
        shape,
        &back.dz,
        &layer.input,
        Store::EXACT,
        &mut dx,
    )
    .unwrap();
    let weight = |inputs, x: &[T], dz: &[T]| {
        let mut sums = vec![T::Acc::default(); shape.outputs * inputs];
        let shape = dense::Shape { inputs, ..shape };
        dense::backward_weight(shape, x, dz, &mut Gradient::Store(&mut sums)).unwrap();
        sums.into_iter().map(Into::into).collect()
    };
    let bias = |dz: &[T]| -> Vec<f64> {
        let mut sums = vec![T::Acc::default(); shape.outputs];
        dense::backward_bias::<T>(shape.outputs, dz, &mut Gradient::Store(&mut sums)).unwrap();
        sums.into_iter().map(Into::into).collect()
    };
    let is_gru = cell == Cell::Gru;
    let of_h = if is_gru { &back.dzu } else { &back.dz };
    Gradients {
        dx: values(&dx, 0),
        dw: weight(inputs, &layer.x, &back.dz),
        du: weight(units, &pass.before, of_h),
        db: bias(&back.dz),
        dc: if is_gru { bias(&back.dzu) } else { Vec::new() },
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// All outputs by the definition; `store` rounds an output as the type does.
fn definition<T: Element>(layer: &Layer<T>, store: impl Fn(f64) -> f64) -> Vec<f64> {
    let Shape {
        cell,
        batch,
        steps,
        inputs,
        units,
        is_reversed,
        ..
    } = layer.shape;
    let [x, w, u] = [&layer.x, &layer.input, &layer.hidden].map(|values| {
        let values: Vec<f64> = values.iter().map(|x| x.to_f64()).collect();
        values
    });
    let bias = |bias: &[T::Bias], row: usize| bias.get(row).map_or(0.0, |b| b.to_f64());
    let mut out = vec![0.0; batch * steps * units];
    for b in 0..batch {
        let (mut h, mut inner) = (vec![0.0; units], vec![0.0; units]);
        for step in 0..steps {
            let t = if is_reversed { steps - 1 - step } else { step };
            let x = &x[(b * steps + t) * inputs..][..inputs];
            let before = h.clone();
            let of_x = |row: usize| {
                let w = &w[row * inputs..][..inputs];
                product(x, w) + bias(&layer.bias, row)
            };
            let of_h = |row: usize| {
                let u = &u[row * units..][..units];
                product(&before, u) + bias(&layer.hidden_bias, row)
            };
            for j in 0..units {
                let sum = |gate: usize| of_x(gate * units + j) + of_h(gate * units + j);
                h[j] = match cell {
                    Cell::Rnn => sum(0).tanh(),
                    Cell::Lstm => {
                        let [i, f, o] = [0, 1, 3].map(|gate| sigmoid(sum(gate)));
                        inner[j] = f * inner[j] + i * sum(2).tanh();
                        o * inner[j].tanh()
                    }
                    Cell::Gru => {
                        let [r, z] = [0, 1].map(|gate| sigmoid(sum(gate)));
                        let row = 2 * units + j;
                        let n = (of_x(row) + r * of_h(row)).tanh();
                        inner[j] = (1.0 - z) * n + z * inner[j];
                        inner[j]
                    }
                };
                h[j] = store(h[j]);
            }
            out[(b * steps + t) * units..][..units].copy_from_slice(&h);
        }
    }
    out
}

fn floats_are_the_definition<T: Element>(limit: impl Fn(usize) -> f64) {
    for (seed, shape) in shapes().enumerate() {
        let layer = Layer::<T>::random(shape, 500 + seed as u32, 2.0);
        let place = format!("{}, {shape:?}", T::DTYPE);
        let want = definition(&layer, |h| T::from_f64(h).to_f64());
        let got = layer.forward(&Serial, shape.steps);
        let Shape {
            steps,
            units,
            output,
            is_reversed,
            ..
        } = shape;
        let last = if is_reversed { 0 } else { steps - 1 };
        let want: Vec<f64> = match output {
            Output::All => want,
            Output::Last => want
                .chunks(steps * units)
                .flat_map(|sequence| &sequence[last * units..][..units])
                .copied()
                .collect(),
        };
        assert_within(&place, &want, &values(&got.out, 0), |_| limit(steps));
    }
}

#[test]
fn every_float_type_is_the_definition() {
    floats_are_the_definition::<f64>(|steps| tolerance::RECURRENT_F64 * steps as f64);
    floats_are_the_definition::<f32>(|steps| tolerance::RECURRENT_F32 * steps as f64);
    // An output may be rounded the other way, and the next ones see it.
    let stored =
        |of_one: f64| move |steps: usize| (2.0 * of_one + tolerance::RECURRENT_F32) * steps as f64;
    floats_are_the_definition::<f16>(stored(f16::ROUNDING));
    floats_are_the_definition::<bf16>(stored(bf16::ROUNDING));
}

#[test]
fn gradients_are_the_differences() {
    for (seed, shape) in shapes().enumerate() {
        if shape.units > 19 {
            continue; // as many differences as there are weights
        }
        let place = format!("{shape:?}");
        let mut layer = Layer::<f64>::random(shape, 700 + seed as u32, 2.0);
        let mut noise = Noise::new(800 + seed as u32);
        layer.h = noise.vector(layer.h.len(), 1.0);
        layer.inner = match shape.cell {
            Cell::Gru => layer.h.clone(),
            _ => noise.vector(layer.inner.len(), 1.0),
        };
        let dy = noise.vector(layer.outputs(), 1.0);
        let pass = layer.forward(&Serial, shape.steps);
        let got = gradients(&layer, &pass, &dy);
        let loss = |layer: &Layer<f64>| product(&layer.forward(&Serial, 1).out, &dy);
        let differences = |values: fn(&mut Layer<f64>) -> &mut Vec<f64>| {
            let at = values(&mut layer.clone()).clone();
            central(&at, |x| {
                let mut moved = layer.clone();
                values(&mut moved).copy_from_slice(x);
                loss(&moved)
            })
        };
        for (what, want, got) in [
            ("dx", differences(|layer| &mut layer.x), &got.dx),
            ("dW", differences(|layer| &mut layer.input), &got.dw),
            ("dU", differences(|layer| &mut layer.hidden), &got.du),
            ("db", differences(|layer| &mut layer.bias), &got.db),
            ("dc", differences(|layer| &mut layer.hidden_bias), &got.dc),
        ] {
            assert_within(&format!("{place}: {what}"), &want, got, |_| {
                tolerance::SMOOTH_DIFFERENCE
            });
        }
    }
}

/// Gradients of types that are narrower than the sums, against those of `f64` on the same numbers.
fn gradients_follow<T>(limit: f64)
where
    T: Element<Bias = T, Acc: Into<f64>>,
{
    for cell in super::CELLS {
        let shape = Shape {
            cell,
            batch: 3,
            steps: 6,
            inputs: 5,
            units: 21,
            output: Output::All,
            is_reversed: false,
        };
        let layer = Layer::<T>::random(shape, 900, 1.0);
        let wide = Layer::<f64> {
            shape,
            x: values(&layer.x, 0),
            x_exponent: 0,
            input: values(&layer.input, 0),
            hidden: values(&layer.hidden, 0),
            bias: values(&layer.bias, 0),
            hidden_bias: values(&layer.hidden_bias, 0),
            exponents: layer.exponents,
            h: vec![0.0; layer.h.len()],
            inner: vec![0.0; layer.inner.len()],
        };
        let dy: Vec<T> = elements(&Noise::new(901).vector(layer.outputs(), 1.0), 0);
        let got = gradients(&layer, &layer.forward(&Serial, 6), &dy);
        let want = gradients(&wide, &wide.forward(&Serial, 6), &values(&dy, 0));
        for (what, want, got) in [
            ("dx", &want.dx, &got.dx),
            ("dW", &want.dw, &got.dw),
            ("dU", &want.du, &got.du),
            ("db", &want.db, &got.db),
            ("dc", &want.dc, &got.dc),
        ] {
            let size = want.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            let place = format!("{}, {cell:?}: {what}", T::DTYPE);
            assert_within(&place, want, got, |_| limit * size);
        }
    }
}

#[test]
fn narrow_gradients_follow_those_of_f64() {
    gradients_follow::<f32>(tolerance::RECURRENT_GRADIENT_F32);
    gradients_follow::<f16>(tolerance::RECURRENT_GRADIENT * f16::ROUNDING);
    gradients_follow::<bf16>(tolerance::RECURRENT_GRADIENT * bf16::ROUNDING);
}

#[test]
fn nan_stays_in_its_sequence_from_its_step_on() {
    for shape in shapes() {
        if shape.steps < 2 {
            continue;
        }
        let Shape {
            batch,
            steps,
            inputs,
            units,
            output,
            is_reversed,
            ..
        } = shape;
        let mut layer = Layer::<f32>::random(shape, 950, 1.0);
        // In the second sequence, the second step in time.
        let t = if is_reversed { steps - 2 } else { 1 };
        layer.x[(steps + t) * inputs] = f32::NAN;
        let got = layer.forward(&Serial, steps);
        for b in 0..batch {
            for at in 0..units {
                assert_eq!(got.h[b * units + at].is_nan(), b == 1, "{shape:?}");
            }
        }
        if output == Output::All {
            for (i, y) in got.out.iter().enumerate() {
                let (b, at) = (i / (steps * units), i / units % steps);
                let is_after = if is_reversed { at <= t } else { at >= t };
                assert_eq!(y.is_nan(), b == 1 && is_after, "{shape:?}: element {i}");
            }
        }
        let dy = vec![1.0; layer.outputs()];
        let back = layer.backward(&Serial, &got, &dy, 0, windows::<f32>(0));
        let per_sequence = back.dz.len() / batch;
        for (b, dz) in back.dz.chunks(per_sequence).enumerate() {
            assert_eq!(dz.iter().any(|dz| dz.is_nan()), b == 1, "{shape:?}");
        }
    }
}
