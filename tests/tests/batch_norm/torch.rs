//! PyTorch's results, with running statistics.

use super::{parameters, pass};
use selvedge_kernels::Element;
use selvedge_kernels::batch_norm::{self, Shape};
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::norm::Affine;
use selvedge_kernels::requantize::Store;
use selvedge_tests::compare::{assert_within, elements, values};
use selvedge_tests::{golden, tolerance};
use serde_json::Value;

fn numbers(case: &Value, key: &str) -> Vec<f64> {
    let values = case[key].as_array().unwrap_or_else(|| panic!("no {key}"));
    values.iter().map(|x| x.as_f64().unwrap()).collect()
}

fn replays_torch<T>(tolerance: f64) -> usize
where
    T: Element<Bias = T, Update: Default + Clone + Into<f64>, Statistic: Into<f64> + Copy>,
{
    let file = golden::read("torch/norm.json");
    let cases = file["cases"].as_array().unwrap();
    let cases = cases.iter().filter(|case| case["kind"] == "batch");
    for case in cases.clone() {
        let extent = |key: &str| case[key].as_u64().unwrap() as usize;
        let shape = Shape {
            rows: extent("rows"),
            channels: extent("features"),
        };
        let read = |key| elements::<T>(&numbers(case, key), 0);
        let (x, gamma, beta) = (read("x"), read("gamma"), read("beta"));
        let bias = Some(Bias {
            values: &beta[..],
            shift: 0,
        });
        let got = pass::<T>(
            &Serial,
            shape,
            [&x, &read("dy"), &gamma],
            bias,
            [Store::EXACT; 2],
        );
        let [dgamma, dbeta] = parameters::<T>(&got.sums);
        let wide = |g: Vec<T::Update>| g.into_iter().map(Into::into).collect::<Vec<f64>>();

        // Two batches with momentum 1/4, then inference.
        let mut running = vec![T::RUNNING_START; shape.channels];
        batch_norm::update_running::<T>(shape.rows, 0, 1 << 14, &got.statistics, &mut running)
            .unwrap();
        let second: Vec<f64> = numbers(case, "x").iter().map(|x| 2.0 * x + 1.0).collect();
        let mut statistics = got.statistics.clone();
        batch_norm::statistics(
            &Serial,
            shape,
            T::LAYER_EPSILON,
            &elements::<T>(&second, 0),
            &mut statistics,
        )
        .unwrap();
        batch_norm::update_running::<T>(shape.rows, 0, 1 << 14, &statistics, &mut running).unwrap();
        let mut transform = vec![T::Transform::default(); shape.channels];
        let affine = Affine {
            gamma: &gamma,
            beta: bias,
        };
        batch_norm::transform(T::LAYER_EPSILON, 0, affine, &running, &mut transform).unwrap();
        let mut y = vec![T::ZERO; x.len()];
        batch_norm::infer(&Serial, shape, &x, &transform, Store::EXACT, &mut y).unwrap();

        let mean: Vec<f64> = running.iter().map(|r| r.mean.into()).collect();
        let variance: Vec<f64> = running.iter().map(|r| r.variance.into()).collect();
        for (key, got) in [
            ("y", values(&got.y, 0)),
            ("dx", values(&got.dx, 0)),
            ("dgamma", wide(dgamma)),
            ("dbeta", wide(dbeta)),
            ("running_mean", mean),
            ("running_var", variance),
            ("infer", values(&y, 0)),
        ] {
            let limit = |want: f64| tolerance * (1.0 + want.abs());
            assert_within(
                &format!("{}, {shape:?}: {key}", T::DTYPE),
                &numbers(case, key),
                &got,
                limit,
            );
        }
    }
    cases.count()
}

#[test]
fn pytorch_agrees() {
    assert_eq!(replays_torch::<f64>(tolerance::TORCH_F64), 3);
    assert_eq!(replays_torch::<f32>(tolerance::TORCH_F32), 3);
}
