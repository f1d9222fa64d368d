//! PyTorch's results.

use super::pass;
use selvedge_kernels::Element;
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::norm::{Kind, Shape};
use selvedge_kernels::requantize::Store;
use selvedge_tests::compare::{assert_within, elements, values};
use selvedge_tests::{golden, tolerance};
use serde_json::Value;

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let values = case[key].as_array().unwrap_or_else(|| panic!("no {key}"));
    values.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn replays_torch<T: Element<Update: Default + Into<f64>, Bias = T>>(tolerance: f64) -> usize {
    let file = golden::read("torch/norm.json");
    let cases = file["cases"].as_array().unwrap();
    let cases = cases.iter().filter(|case| case["kind"] != "batch");
    for case in cases.clone() {
        let kind = if case["kind"] == "layer" {
            Kind::Layer
        } else {
            Kind::Rms
        };
        let extent = |key: &str| case[key].as_u64().unwrap() as usize;
        let shape = Shape {
            rows: extent("rows"),
            features: extent("features"),
        };
        let place = format!("{}, {shape:?}, {kind:?}", T::DTYPE);
        let read = |key| elements::<T>(&numbers(case, key), 0);
        let beta = (kind == Kind::Layer).then(|| read("beta"));
        let bias = beta.as_ref().map(|values| Bias { values, shift: 0 });
        let arguments = [&read("x")[..], &read("dy"), &read("gamma")];
        let got = pass::<T>(&Serial, shape, kind, arguments, bias, [Store::EXACT; 2]);
        // A row of one feature divides by √epsilon, about 1/316, and multiplies its roundings.
        let limit = |want: f64| tolerance * (1.0 + want.abs());
        let y = values(&got.y, 0);
        assert_within(&format!("{place}: y"), &numbers(case, "y"), &y, limit);
        assert_within(
            &format!("{place}: dx"),
            &numbers(case, "dx"),
            &values(&got.dx, 0),
            limit,
        );
        let dgamma: Vec<f64> = got.dgamma.into_iter().map(Into::into).collect();
        assert_within(
            &format!("{place}: dgamma"),
            &numbers(case, "dgamma"),
            &dgamma,
            limit,
        );
    }
    cases.count()
}

#[test]
fn pytorch_agrees() {
    assert_eq!(replays_torch::<f64>(tolerance::TORCH_F64), 6);
    assert_eq!(replays_torch::<f32>(tolerance::TORCH_F32), 6);
}
