//! Arithmetic, moved, resized and sampled tensors and their gradients against PyTorch:
//! `golden/torch/layout.json`, made by `make_layout.py` beside it.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::axes::{Extents, Operand};
use selvedge_kernels::elementwise::{self, Operation, Side};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::layout::{self, Padding, PaddingMode, Range, inverse};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::resize::{self, Coordinates};
use selvedge_kernels::sample::{self, Outside, Positions};
use selvedge_kernels::{Element, reduce, select};
use selvedge_tests::tensors::{extents, values};
use selvedge_tests::{golden, tolerance};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

fn counts(value: &Value) -> Vec<usize> {
    numbers(value).iter().map(|&x| x as usize).collect()
}

struct Case<'a, T> {
    json: &'a Value,
    inputs: Vec<(Vec<usize>, Vec<T>)>,
    shape: Vec<usize>,
    dy: Vec<T>,
}

/// Output and gradients.
type Results<T> = (Vec<T>, Vec<Vec<T>>);

impl<T: Element> Case<'_, T> {
    fn x(&self) -> (Extents, &[T]) {
        let (shape, x) = &self.inputs[0];
        (extents(shape), x)
    }

    fn run(&self) -> Results<T> {
        let (all, x) = self.x();
        let exact = Store::EXACT;
        let (mut y, mut dx) = (vec![T::ZERO; self.dy.len()], vec![T::ZERO; x.len()]);
        let (json, dy) = (self.json, &self.dy[..]);
        match json["kind"].as_str().unwrap() {
            "resize" => {
                let shape = &self.inputs[0].0;
                let out = counts(&json["out"]);
                let shape = resize::Shape {
                    batch: shape[0],
                    height: shape[1],
                    width: shape[2],
                    channels: shape[3],
                    outputs: [out[0], out[1]],
                    coordinates: match json["coordinates"].as_str().unwrap() {
                        "HalfPixel" => Coordinates::HalfPixel,
                        "AlignCorners" => Coordinates::AlignCorners,
                        _ => Coordinates::Asymmetric,
                    },
                };
                if json["mode"] == "nearest" {
                    resize::nearest(&Serial, shape, x, &mut y).unwrap();
                    resize::nearest_backward(&Serial, shape, dy, exact, &mut dx).unwrap();
                } else {
                    resize::bilinear(&Serial, shape, x, exact, &mut y).unwrap();
                    resize::bilinear_backward(&Serial, shape, dy, exact, &mut dx).unwrap();
                }
            }
            "sample" => {
                let ((shape, _), (points, p)) = (&self.inputs[0], &self.inputs[1]);
                let outside = if json["outside"] == "zeros" {
                    Outside::Zeros
                } else {
                    Outside::Border
                };
                let shape = sample::Shape {
                    batch: shape[0],
                    height: shape[1],
                    width: shape[2],
                    channels: shape[3],
                    points: points[1],
                    outside,
                };
                let positions = Positions {
                    values: &p[..],
                    exponent: 0,
                };
                let mut dp = vec![T::ZERO; p.len()];
                let mut scratch = vec![Default::default(); sample::scratch_len(shape).unwrap()];
                sample::forward(&Serial, shape, x, positions, exact, &mut y).unwrap();
                sample::backward_input(shape, positions, dy, exact, &mut dx, &mut scratch).unwrap();
                sample::backward_positions(&Serial, shape, x, positions, dy, exact, &mut dp)
                    .unwrap();
                return (y, vec![dx, dp]);
            }
            "pad" => {
                let sides: Vec<[usize; 2]> = json["sides"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|side| counts(side).try_into().unwrap())
                    .collect();
                let mode = match json["mode"].as_str().unwrap() {
                    "reflect" => PaddingMode::Reflect,
                    "edge" => PaddingMode::Edge,
                    _ => PaddingMode::Constant(T::from_f64(0.5)),
                };
                let padding = Padding {
                    sides: &sides,
                    mode,
                };
                assert_eq!(padding.outputs(all).unwrap(), extents(&self.shape));
                layout::pad(&Serial, all, padding, x, &mut y).unwrap();
                layout::pad_backward(&Serial, all, padding, dy, exact, &mut dx).unwrap();
            }
            "permute" => {
                let order = counts(&json["order"]);
                let ordered = layout::permute(&Serial, all, &order, x, &mut y).unwrap();
                let undo = inverse(&order).unwrap();
                layout::permute(&Serial, ordered, &undo[..order.len()], dy, &mut dx).unwrap();
            }
            "gather" => {
                let axis = json["axis"].as_u64().unwrap() as usize;
                let indices: Vec<u32> =
                    counts(&json["indices"]).iter().map(|&i| i as u32).collect();
                layout::gather(all, axis, &indices, x, &mut y).unwrap();
                layout::gather_backward(&Serial, all, axis, &indices, dy, exact, &mut dx).unwrap();
            }
            "top_k" => {
                let [axis, k] = ["axis", "k"].map(|key| json[key].as_u64().unwrap() as usize);
                let mut indices = vec![0; y.len()];
                select::top_k(all, axis, k, x, &mut y, &mut indices).unwrap();
                let want: Vec<u32> = counts(&json["indices"]).iter().map(|&i| i as u32).collect();
                assert_eq!(indices, want, "indices of the largest");
                select::top_k_backward(all, axis, k, &indices, dy, &mut dx).unwrap();
            }
            "slice" => {
                let ranges: Vec<Range> = json["ranges"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|range| Range {
                        start: range[0].as_i64().map(|at| at as isize),
                        stop: range[1].as_i64().map(|at| at as isize),
                        step: range[2].as_i64().unwrap() as isize,
                    })
                    .collect();
                layout::slice(&Serial, all, &ranges, x, &mut y).unwrap();
                layout::slice_backward(all, &ranges, dy, &mut dx).unwrap();
            }
            "mean" | "sum" => {
                let axes = counts(&json["axes"]);
                let shape = reduce::Shape {
                    extents: all,
                    axes: &axes,
                };
                if json["kind"] == "mean" {
                    reduce::mean(&Serial, shape, x, exact, &mut y).unwrap();
                    reduce::mean_backward(&Serial, shape, dy, exact, &mut dx).unwrap();
                } else {
                    reduce::sum(&Serial, shape, x, exact, &mut y).unwrap();
                    reduce::sum_backward(&Serial, shape, dy, &mut dx).unwrap();
                }
            }
            "elementwise" => return self.elementwise(),
            kind => panic!("{kind}"),
        }
        (y, vec![dx])
    }

    fn elementwise(&self) -> Results<T> {
        let operation = match self.json["operation"].as_str().unwrap() {
            "Add" => Operation::Add,
            "Sub" => Operation::Sub,
            "Mul" => Operation::Mul,
            "Div" => Operation::Div,
            "Min" => Operation::Min,
            _ => Operation::Max,
        };
        let operand = |i: usize| Operand {
            values: &self.inputs[i].1[..],
            extents: extents(&self.inputs[i].0),
            exponent: 0,
        };
        let (a, b, exact) = (operand(0), operand(1), Store::EXACT);
        let mut y = vec![T::ZERO; self.dy.len()];
        elementwise::forward(&Serial, operation, a, b, exact, &mut y).unwrap();
        let gradient = |side, len: usize| {
            let mut dx = vec![T::ZERO; len];
            let y = if (operation, side) == (Operation::Div, Side::B) {
                &y[..]
            } else {
                &[]
            };
            elementwise::backward(&Serial, operation, side, a, b, y, &self.dy, exact, &mut dx)
                .unwrap();
            dx
        };
        let gradients = vec![
            gradient(Side::A, a.values.len()),
            gradient(Side::B, b.values.len()),
        ];
        (y, gradients)
    }
}

fn replay<T: Element>(epsilon: f64) {
    let file = golden::read("torch/layout.json");
    assert!(
        file["torch"].as_str().unwrap().starts_with('2'),
        "its version is recorded"
    );
    let from = |x: &Value| -> Vec<T> { numbers(x).into_iter().map(T::from_f64).collect() };
    for (number, json) in file["cases"].as_array().unwrap().iter().enumerate() {
        let inputs = json["inputs"].as_array().unwrap();
        let case = Case {
            json,
            inputs: inputs
                .iter()
                .map(|x| (counts(&x["shape"]), from(&x["q"])))
                .collect(),
            shape: counts(&json["y"]["shape"]),
            dy: from(&json["dy"]),
        };
        let (y, gradients) = case.run();
        let gradients: Vec<Vec<f64>> = gradients.iter().map(|dx| values(dx)).collect();
        let want: Vec<Vec<f64>> = json["gradients"]
            .as_array()
            .unwrap()
            .iter()
            .map(numbers)
            .collect();
        let wants = [numbers(&json["y"]["q"])].into_iter().chain(want);
        for (part, (want, got)) in wants
            .zip([values(&y)].into_iter().chain(gradients))
            .enumerate()
        {
            assert_eq!(want.len(), got.len());
            for (i, (want, got)) in want.iter().zip(got).enumerate() {
                let limit = tolerance::TORCH_LAYOUT_EPSILONS * epsilon;
                assert!(
                    (want - got).abs() <= limit,
                    "case {number} ({}, {}), part {part}, element {i}: PyTorch {want}, kernel {got}",
                    json["kind"],
                    T::DTYPE
                );
            }
        }
    }
}

#[test]
fn results_and_gradients_are_those_of_pytorch() {
    replay::<f64>(f64::EPSILON);
    replay::<f32>(f64::from(f32::EPSILON));
}
