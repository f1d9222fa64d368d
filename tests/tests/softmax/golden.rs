//! PyTorch's numbers (`tests/golden/torch/make_softmax.py`), in f64 and f32.

use super::cases::{Call, Variant};
use selvedge_kernels::Element;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::softmax::Temperature;
use selvedge_tests::golden;
use serde_json::Value;

/// PyTorch and the kernels in f64: some roundings each, of numbers up to 10.
const F64: f64 = 1e-13;
/// In f32: 2^-24 of numbers up to 10, some tens of times.
const F32: f64 = 2e-5;

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

fn indices(value: &Value) -> Vec<usize> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_u64().unwrap() as usize)
        .collect()
}

fn variant(case: &Value) -> Variant {
    let width = case["width"].as_u64().unwrap() as usize;
    match case["name"].as_str().unwrap() {
        "softmax" => Variant::Standard(width),
        "masked" => {
            let allowed = case["allowed"].as_array().unwrap();
            Variant::Masked(allowed.iter().map(|m| m.as_bool().unwrap()).collect())
        }
        "entmax" => Variant::Entmax(width, case["alpha"].as_f64().unwrap() as f32),
        "tree" => Variant::Tree(indices(&case["levels"])),
        "adaptive" => {
            let ids = indices(&case["ids"]).iter().map(|&i| i as u32).collect();
            Variant::Adaptive(ids, indices(&case["sizes"]))
        }
        "mixture" => {
            let gate = numbers(&case["gate"]);
            Variant::Mixture(width / gate.len(), gate)
        }
        other => panic!("{other}: unknown variant"),
    }
}

fn assert_close<T: Element>(place: &str, got: &[T], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{place}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got.to_f64() - want).abs();
        assert!(
            error <= tolerance,
            "{place}, element {i}: {got:?}, PyTorch {want}"
        );
    }
}

fn replay<T: Element>(tolerance: f64) {
    let file = golden::read("torch/softmax.json");
    let cases = file["variants"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let variant = variant(case);
        let place = format!("{} {variant:?}", T::DTYPE);
        let of =
            |key: &str| -> Vec<T> { numbers(&case[key]).into_iter().map(T::from_f64).collect() };
        let temperature = Temperature::new(case["temperature"].as_f64().unwrap() as f32).unwrap();
        let x = of("x");
        let call = Call {
            x: &x,
            exponent: 0,
            temperature,
        };
        assert_close(
            &place,
            &variant.forward(call),
            &numbers(&case["y"]),
            tolerance,
        );
        let (dx, _) = variant.backward(call, &of("dy"), Store::EXACT);
        assert_close(&place, &dx, &numbers(&case["dx"]), tolerance);
    }
}

#[test]
fn variants_are_those_of_pytorch() {
    replay::<f64>(F64);
    replay::<f32>(F32);
}
