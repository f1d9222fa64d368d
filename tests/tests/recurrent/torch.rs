//! PyTorch's results, both directions of its bidirectional layers.

use super::floats::{Gradients, gradients};
use super::{Layer, Pass};
use selvedge_kernels::Element;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::recurrent::{Cell, Exponents, Output, Shape};
use selvedge_tests::compare::{assert_within, elements, values};
use selvedge_tests::{golden, tolerance};
use serde_json::Value;

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let values = case[key].as_array().unwrap_or_else(|| panic!("no {key}"));
    values.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn replays_torch<T>(
    tolerance: f64,
    inner: fn(f64) -> T::Inner,
    of_inner: fn(&T::Inner) -> f64,
) -> usize
where
    T: Element<Bias = T, Acc: Into<f64>>,
{
    let file = golden::read("torch/recurrent.json");
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        let extent = |key: &str| case[key].as_u64().unwrap() as usize;
        let cell = match case["cell"].as_str().unwrap() {
            "rnn" => Cell::Rnn,
            "lstm" => Cell::Lstm,
            _ => Cell::Gru,
        };
        let shape = Shape {
            cell,
            batch: extent("batch"),
            steps: extent("steps"),
            inputs: extent("inputs"),
            units: extent("units"),
            output: Output::All,
            is_reversed: case["reversed"].as_bool().unwrap(),
        };
        let read = |key| elements::<T>(&numbers(case, key), 0);
        let layer = Layer {
            shape,
            x: read("x"),
            x_exponent: 0,
            input: read("W"),
            hidden: read("U"),
            bias: read("b"),
            hidden_bias: if cell == Cell::Gru {
                read("c")
            } else {
                Vec::new()
            },
            exponents: Exponents::default(),
            h: read("h0"),
            inner: match cell {
                Cell::Rnn => Vec::new(),
                Cell::Lstm => numbers(case, "c0").into_iter().map(inner).collect(),
                Cell::Gru => numbers(case, "h0").into_iter().map(inner).collect(),
            },
        };
        let pass: Pass<T> = layer.forward(&Serial, 2);
        let Gradients { dx, dw, du, db, dc } = gradients(&layer, &pass, &read("dy"));
        let mut got = vec![
            ("y", values(&pass.out, 0)),
            ("h", values(&pass.h, 0)),
            ("dx", dx),
            ("dW", dw),
            ("dU", du),
            ("db", db),
        ];
        match cell {
            Cell::Rnn => {}
            Cell::Lstm => got.push(("c_last", pass.inner.iter().map(of_inner).collect())),
            Cell::Gru => got.push(("dc", dc)),
        }
        for (key, got) in got {
            let place = format!("{}, {shape:?}: {key}", T::DTYPE);
            let limit = |want: f64| tolerance * (1.0 + want.abs());
            assert_within(&place, &numbers(case, key), &got, limit);
        }
    }
    cases.len()
}

#[test]
fn pytorch_agrees() {
    assert_eq!(
        replays_torch::<f64>(tolerance::TORCH_F64, |x| x, |&x| x),
        10
    );
    assert_eq!(
        replays_torch::<f32>(tolerance::TORCH_F32, |x| x as f32, |&x| x.into()),
        10
    );
}
