//! PyTorch's results.

use super::{floats, pass};
use selvedge_kernels::cluster::{Metric, Mode, Shape, Temperature};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::compare::{assert_within, elements, values};
use selvedge_tests::{golden, tolerance};
use serde_json::Value;

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let values = case[key].as_array().unwrap_or_else(|| panic!("no {key}"));
    values.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn metric_of(case: &Value) -> (Metric, Mode, Temperature) {
    let metric = match case["metric"].as_str().unwrap() {
        "euclidean" => Metric::Euclidean,
        "manhattan" => Metric::Manhattan,
        "cosine" => Metric::Cosine,
        metric => panic!("{metric}"),
    };
    let mode = match case["mode"].as_str().unwrap() {
        "probabilities" => Mode::Probabilities,
        "features" => Mode::Features,
        mode => panic!("{mode}"),
    };
    let mantissa = case["mantissa"].as_u64().unwrap() as u8;
    let exponent = case["exponent"].as_i64().unwrap() as i16;
    (metric, mode, Temperature { mantissa, exponent })
}

fn replays_torch<T: Element<Update: Default + Clone + Into<f64>>>(tolerance: f64, storage: f64) {
    let file = golden::read("torch/cluster.json");
    let extent = |key: &str| file[key].as_u64().unwrap() as usize;
    let shape = Shape {
        rows: extent("rows"),
        features: extent("features"),
        clusters: extent("clusters"),
    };
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let (metric, mode, temperature) = metric_of(case);
        let read = |key| elements::<T>(&numbers(case, key), 0);
        let centres = read("centres");
        let clusters = floats(metric, temperature, &centres);
        let got = pass::<T>(&Serial, shape, clusters, mode, &read("x"), (&read("dy"), 0));
        let dcentres: Vec<f64> = got.dcentres.into_iter().map(Into::into).collect();
        for (key, got) in [
            ("y", values(&got.y, 0)),
            ("dx", values(&got.dx, 0)),
            ("dcentres", dcentres),
        ] {
            let limit = |want: f64| tolerance * (1.0 + want.abs()) + storage * want.abs();
            assert_within(
                &format!("{}, {metric:?}, {mode:?}: {key}", T::DTYPE),
                &numbers(case, key),
                &got,
                limit,
            );
        }
    }
}

#[test]
fn pytorch_agrees() {
    replays_torch::<f64>(tolerance::TORCH_F64, 0.0);
    replays_torch::<f32>(tolerance::TORCH_F32, 0.0);
    // Inputs are exact in 16 bits, and computed in f32.
    replays_torch::<f16>(tolerance::TORCH_F32, 1.0 / 2048.0);
    replays_torch::<bf16>(tolerance::TORCH_F32, 1.0 / 256.0);
}
