//! PyTorch's results.

use super::{Positioned, Tensors, backward, forward, level};
use selvedge_kernels::deformable::Shape;
use selvedge_kernels::exec::Serial;
use selvedge_tests::compare::{assert_within, elements, values};
use selvedge_tests::{golden, tolerance};
use serde_json::Value;

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let values = case[key].as_array().unwrap();
    values.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn replays_torch<T: Positioned>(tolerance: f64) -> usize {
    let file = golden::read("torch/deformable.json");
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        let extent = |value: &Value| value.as_u64().unwrap() as usize;
        let levels = case["levels"].as_array().unwrap().iter();
        let levels: Vec<_> = levels
            .map(|of| level(extent(&of[0]), extent(&of[1])))
            .collect();
        let shape = Shape {
            batch: extent(&case["batch"]),
            queries: extent(&case["queries"]),
            levels: &levels,
            heads: extent(&case["heads"]),
            size: extent(&case["size"]),
            points: extent(&case["points"]),
        };
        let read = |key| elements::<T>(&numbers(case, key), 0);
        let tensors = Tensors {
            values: read("values"),
            positions: elements(&numbers(case, "positions"), 0),
            weights: read("weights"),
            dy: read("dy"),
        };
        let out = forward(&Serial, shape, tensors.inputs());
        let gradients = backward(&Serial, 1, shape, tensors.inputs(), &tensors.dy);
        let [dvalues, dpositions, dweights] = gradients.exact();
        for (what, got) in [
            ("out", values(&out, 0)),
            ("dvalues", dvalues),
            ("dpositions", dpositions),
            ("dweights", dweights),
        ] {
            let want = numbers(case, what);
            let limit = |want: f64| tolerance * (1.0 + want.abs());
            assert_within(
                &format!("{}, {shape:?}: {what}", T::DTYPE),
                &want,
                &got,
                limit,
            );
        }
    }
    cases.len()
}

#[test]
fn pytorch_agrees() {
    assert_eq!(replays_torch::<f64>(tolerance::TORCH_F64), 5);
    assert_eq!(replays_torch::<f32>(tolerance::TORCH_F32), 5);
}
