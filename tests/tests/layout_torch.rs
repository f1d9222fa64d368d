//! Arithmetic, moved, resized and sampled tensors and their gradients against PyTorch:
//! `golden/torch/layout.json` and `arithmetic.json`, made by `make_layout.py` beside them.

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
            "concat" => return self.concat(),
            "split" => {
                let sizes = counts(&json["sizes"]);
                let axis = json["axis"].as_u64().unwrap() as usize;
                let unit = x.len() / sizes.iter().sum::<usize>();
                let (mut rest, mut errors) = (&mut y[..], dy);
                let (mut parts, mut operands) = (Vec::new(), Vec::new());
                for size in sizes {
                    let mut shape = self.inputs[0].0.clone();
                    shape[axis] = size;
                    let (part, after) = rest.split_at_mut(size * unit);
                    let (error, errors_after) = errors.split_at(size * unit);
                    parts.push(part);
                    operands.push(Operand {
                        values: error,
                        extents: extents(&shape),
                        exponent: 0,
                    });
                    (rest, errors) = (after, errors_after);
                }
                layout::split(all, axis, x, &mut parts).unwrap();
                layout::concat(axis, &operands, &mut dx).unwrap(); // its gradient
            }
            "argmax" | "argmin" => {
                let axis = json["axis"].as_u64().unwrap() as usize;
                let mut indices = vec![0; y.len()];
                if json["kind"] == "argmax" {
                    select::argmax(&Serial, all, axis, x, &mut indices).unwrap();
                } else {
                    select::argmin(&Serial, all, axis, x, &mut indices).unwrap();
                }
                let y = indices.into_iter().map(|i| T::from_f64(i.into()));
                return (y.collect(), Vec::new());
            }
            "max" | "min" => {
                let axes = counts(&json["axes"]);
                let shape = reduce::Shape {
                    extents: all,
                    axes: &axes,
                };
                if json["kind"] == "max" {
                    reduce::max(&Serial, shape, x, &mut y).unwrap();
                    reduce::max_backward(shape, x, dy, &mut dx).unwrap();
                } else {
                    reduce::min(&Serial, shape, x, &mut y).unwrap();
                    reduce::min_backward(shape, x, dy, &mut dx).unwrap();
                }
            }
            "abs" => {
                elementwise::abs(x, &mut y).unwrap();
                elementwise::abs_backward(x, dy, &mut dx).unwrap();
            }
            "square" => {
                elementwise::square(&Serial, x, exact, &mut y).unwrap();
                elementwise::square_backward(x, dy, exact, &mut dx).unwrap();
            }
            "negate" => {
                elementwise::negate(x, &mut y).unwrap();
                elementwise::negate(dy, &mut dx).unwrap();
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

    fn concat(&self) -> Results<T> {
        let axis = self.json["axis"].as_u64().unwrap() as usize;
        let part = |(shape, x): &(Vec<usize>, Vec<T>)| (extents(shape), x.clone());
        let parts: Vec<(Extents, Vec<T>)> = self.inputs.iter().map(part).collect();
        let operands: Vec<Operand<'_, T>> = parts
            .iter()
            .map(|(extents, values)| Operand {
                values,
                extents: *extents,
                exponent: 0,
            })
            .collect();
        let mut y = vec![T::ZERO; self.dy.len()];
        layout::concat(axis, &operands, &mut y).unwrap();
        let mut gradients: Vec<Vec<T>> =
            parts.iter().map(|(_, x)| vec![T::ZERO; x.len()]).collect();
        let mut slices: Vec<&mut [T]> = gradients.iter_mut().map(|dx| &mut dx[..]).collect();
        layout::split(extents(&self.shape), axis, &self.dy, &mut slices).unwrap();
        (y, gradients)
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

fn replay<T: Element>(name: &str, epsilon: f64) {
    let file = golden::read(name);
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
        assert_eq!(gradients.len(), want.len(), "case {number}");
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
    for name in ["torch/layout.json", "torch/arithmetic.json"] {
        replay::<f64>(name, f64::EPSILON);
        replay::<f32>(name, f64::from(f32::EPSILON));
    }
}

#[test]
fn arithmetic_has_a_case_of_each_kind() {
    let file = golden::read("torch/arithmetic.json");
    let cases = file["cases"].as_array().unwrap();
    let mut kinds: Vec<&str> = cases
        .iter()
        .filter_map(|case| case["kind"].as_str())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let all = [
        "abs", "argmax", "argmin", "concat", "max", "min", "negate", "split", "square",
    ];
    assert_eq!(kinds, all);
}
