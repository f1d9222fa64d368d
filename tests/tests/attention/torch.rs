//! PyTorch's results.

use super::{Tensors, backward, forward};
use selvedge_kernels::Element;
use selvedge_kernels::attention::{Exponents, Mask, Shape, Stores};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::Store;
use selvedge_tests::compare::{assert_within, elements, values};
use selvedge_tests::{golden, tolerance};
use serde_json::Value;

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let values = case[key].as_array().unwrap_or_else(|| panic!("no {key}"));
    values.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn replays_torch<T: Element>(tolerance: f64) -> usize {
    let file = golden::read("torch/attention.json");
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        let extent = |key: &str| case[key].as_u64().unwrap() as usize;
        let shape = Shape {
            batch: extent("batch"),
            queries: extent("queries"),
            keys: extent("keys"),
            heads: extent("heads"),
            kv_heads: extent("kv_heads"),
            size: extent("size"),
        };
        let lengths = case["lengths"].as_array().unwrap().iter();
        let lengths: Vec<_> = lengths.map(|n| n.as_u64().unwrap() as u32).collect();
        let mask = Mask {
            causal: case["causal"].as_bool().unwrap(),
            offset: extent("offset"),
            window: case["window"].as_u64().map(|window| window as usize),
            lengths: &lengths,
        };
        let place = format!("{}, {shape:?}, {mask:?}", T::DTYPE);
        let read = |key| elements::<T>(&numbers(case, key), 0);
        let tensors = Tensors {
            q: read("q"),
            k: read("k"),
            v: read("v"),
            exponents: Exponents::default(),
        };
        let inputs = tensors.inputs(shape);
        let (out, _) = forward(&Serial, shape, mask, inputs, Store::EXACT);
        let dy = read("dy");
        let ([dq, dk, dv], _) = backward(&Serial, shape, mask, inputs, &dy, Stores::EXACT);
        for (what, got) in [("out", out), ("dq", dq), ("dk", dk), ("dv", dv)] {
            let want = numbers(case, what);
            let limit = |want: f64| tolerance * (1.0 + want.abs());
            assert_within(&format!("{place}: {what}"), &want, &values(&got, 0), limit);
        }
    }
    cases.len()
}

#[test]
fn pytorch_agrees() {
    assert_eq!(replays_torch::<f64>(tolerance::TORCH_F64), 6);
    assert_eq!(replays_torch::<f32>(tolerance::TORCH_F32), 6);
}
