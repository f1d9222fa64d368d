//! PyTorch's numbers (`tests/golden/torch/make_softmax.py`), in f64 and f32.

use super::cases::{Call, Variant};
use selvedge_kernels::Element;
use selvedge_kernels::loss::Sum;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::softmax::adaptive::{self, Clusters};
use selvedge_kernels::softmax::mixture::{self, Weights};
use selvedge_kernels::softmax::{Errors, Logits, Temperature};
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
        "gumbel" => {
            let words = indices(&case["words"]);
            let [seed, stream, step] = [0, 1, 2].map(|i| words[i] as u32);
            Variant::Gumbel(width, Words::new(seed, stream, step))
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
    assert_eq!(cases.len(), 11);
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

/// The values of `key`, as elements.
fn elements<T: Element>(case: &Value, key: &str) -> Vec<T> {
    let values = numbers(&case[key]).into_iter();
    values.map(T::from_f64).collect()
}

fn temperature(case: &Value, key: &str) -> Temperature {
    Temperature::new(case[key].as_f64().unwrap() as f32).unwrap()
}

/// Five rows of three components of four classes.
fn replay_mixtures<T: Element>(tolerance: f64, value: fn(T::Acc) -> f64) {
    let shape = mixture::Shape {
        rows: 5,
        components: 3,
        classes: 4,
    };
    let file = golden::read("torch/softmax.json");
    let cases = file["mixtures"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for (number, case) in cases.iter().enumerate() {
        let place = format!("{}, mixture {number}", T::DTYPE);
        let [weights, x, dy] = ["weights", "x", "dy"].map(|key| elements::<T>(case, key));
        let weights = if case["is_given"] == true {
            Weights::Given(&weights)
        } else {
            Weights::Logits(Logits::new(&weights, 0).at(temperature(case, "weights_temperature")))
        };
        let logits = Logits::new(&x, 0).at(temperature(case, "temperature"));
        let (mut y, mut dx) = (vec![T::ZERO; 20], vec![T::ZERO; 60]);
        let mut scratch = vec![Default::default(); mixture::scratch_len(shape).unwrap()];
        mixture::forward(shape, weights, logits, &mut y, &mut scratch).unwrap();
        assert_close(&place, &y, &numbers(&case["y"]), tolerance);
        let errors = Errors {
            dy: &dy,
            store: Store::EXACT,
        };
        mixture::backward(shape, weights, logits, errors, &mut dx, &mut scratch).unwrap();
        assert_close(&place, &dx, &numbers(&case["dx"]), tolerance);
        let (mut dweights, mut sums) = ([T::Acc::default(); 3], [T::Acc::default(); 3]);
        let mut scratch = vec![Default::default(); mixture::weights_scratch_len(shape).unwrap()];
        let mut gradient = Gradient::<'_, T, T::Acc>::Store(&mut dweights);
        mixture::backward_weights(
            shape,
            weights,
            logits,
            &dy,
            &mut gradient,
            &mut scratch,
            &mut sums,
        )
        .unwrap();
        let want = numbers(&case["dweights"]);
        assert_close(&place, &dweights.map(value), &want, tolerance);
    }
}

#[test]
fn gradients_of_mixed_weights_are_those_of_pytorch() {
    replay_mixtures::<f64>(F64, f64::from);
    replay_mixtures::<f32>(F32, f64::from);
}

fn replay_adaptive_losses<T: Element>(tolerance: f64) {
    let file = golden::read("torch/softmax.json");
    let cases = file["adaptive_losses"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for (number, case) in cases.iter().enumerate() {
        let place = format!("{}, adaptive loss {number}", T::DTYPE);
        let [ids, targets] = ["ids", "targets"].map(|key| -> Vec<u32> {
            let indices = indices(&case[key]).into_iter();
            indices.map(|i| i as u32).collect()
        });
        let sizes = indices(&case["sizes"]);
        let clusters = Clusters::new(&ids, &sizes, &mut vec![false; ids.len()]).unwrap();
        let x = elements::<T>(case, "x");
        let logits = Logits::new(&x, 0).at(temperature(case, "temperature"));
        let mut scratch = vec![Default::default(); adaptive::scratch_len(clusters).unwrap()];
        let mut log_prob = vec![Default::default(); targets.len()];
        adaptive::log_prob(clusters, logits, &targets, &mut log_prob, &mut scratch).unwrap();
        for (got, want) in log_prob.iter().zip(numbers(&case["log_prob"])) {
            let error = (got.to_f64() - want).abs();
            assert!(error <= tolerance, "{place}: {got:?}, PyTorch {want}");
        }
        let mut dx = vec![T::ZERO; x.len()];
        let store = Store::EXACT;
        let outcome =
            adaptive::cross_entropy(clusters, logits, &targets, store, &mut dx, &mut scratch)
                .unwrap();
        let (got, want) = (outcome.loss.to_f64(), case["loss"].as_f64().unwrap());
        assert!(
            (got - want).abs() <= tolerance * targets.len() as f64,
            "{place}: {got}, PyTorch {want}"
        );
        assert_close(&place, &dx, &numbers(&case["dx"]), tolerance);
    }
}

#[test]
fn adaptive_losses_are_those_of_pytorch() {
    replay_adaptive_losses::<f64>(F64);
    replay_adaptive_losses::<f32>(F32);
}
