//! Convolutions and pooling over one to three axes against recorded results of PyTorch, in `f32` and
//! `f64`.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::conv::{self, transpose};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::pool::{self, Adaptive, Padding, Shape};
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, Error};
use selvedge_tests::golden;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How far means may be apart, in units of the type's epsilon: of at most 36 terms of up to 9/4, each of
/// which rounds once. Sums of products are multiples of 1/16, and exact.
const ROUNDINGS: f64 = 36.0 * 9.0 / 4.0;

/// A case as `make_windows.py` writes it: tensors have channels last.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    kind: String,
    axes: usize,
    batch: usize,
    channels: usize,
    input: Vec<usize>,
    filters: usize,
    output: Vec<usize>,
    #[serde(default)]
    groups: usize,
    #[serde(default)]
    kernel: Vec<usize>,
    #[serde(default)]
    stride: Vec<usize>,
    #[serde(default)]
    padding: Vec<usize>,
    /// Padding that differs between the sides of an axis.
    #[serde(default)]
    sides: Vec<[usize; 2]>,
    #[serde(default)]
    dilation: Vec<usize>,
    /// Whether the padding is "same".
    #[serde(default)]
    is_same: bool,
    #[serde(default)]
    is_counted: bool,
    x: Vec<f64>,
    dx: Vec<f64>,
    #[serde(default)]
    weight: Vec<f64>,
    #[serde(default)]
    dweight: Vec<f64>,
    #[serde(default)]
    bias: Vec<f64>,
    #[serde(default)]
    dbias: Vec<f64>,
    y: Vec<f64>,
    dy: Vec<f64>,
}

fn axes<const N: usize>(extents: &[usize]) -> [usize; N] {
    extents.try_into().unwrap()
}

impl Case {
    fn window<const N: usize>(&self) -> Window<N> {
        let mut window = Window {
            kernel: axes(&self.kernel),
            stride: axes(&self.stride),
            dilation: axes(&self.dilation),
            ..Window::uniform(1, 1, 0)
        };
        if self.is_same {
            return window.same(axes(&self.input)).unwrap();
        }
        window.padding = match &self.sides[..] {
            [] => axes(&self.padding).map(|side| [side; 2]),
            sides => sides.try_into().unwrap(),
        };
        window
    }

    fn pool<const N: usize>(&self) -> Shape<N> {
        Shape {
            batch: self.batch,
            input: axes(&self.input),
            channels: self.channels,
            window: self.window(),
        }
    }

    fn adaptive<const N: usize>(&self) -> Adaptive<N> {
        Adaptive {
            batch: self.batch,
            input: axes(&self.input),
            channels: self.channels,
            output: axes(&self.output),
        }
    }

    /// The convolution, or that whose transpose it is.
    fn conv<const N: usize>(&self) -> conv::Shape<N> {
        let is_transposed = self.kind == "transpose";
        let (input, channels, filters) = match is_transposed {
            true => (&self.output, self.filters, self.channels),
            false => (&self.input, self.channels, self.filters),
        };
        conv::Shape {
            batch: self.batch,
            input: axes(input),
            channels,
            filters,
            groups: self.groups,
            window: self.window(),
        }
    }
}

fn numbers<T: Element>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&x| T::from_f64(x)).collect()
}

/// What a case's kernels compute: output, gradients of input, weights and bias.
type Results<T> = (Vec<T>, [Vec<T>; 3]);

fn convolution<T: Element<Bias = T, Acc = T> + Output<T>, const N: usize>(
    case: &Case,
) -> Result<Results<T>, Error> {
    let shape = case.conv::<N>();
    let (x, weight, values, dy) = (
        numbers::<T>(&case.x),
        numbers::<T>(&case.weight),
        numbers::<T>(&case.bias),
        numbers::<T>(&case.dy),
    );
    let bias = Bias {
        values: &values,
        shift: 0,
    };
    let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
    let (mut dw, mut db) = (vec![T::ZERO; weight.len()], vec![T::ZERO; values.len()]);
    let (exact, store) = (Epilogue::EXACT, Store::EXACT);
    let gradient = &mut Gradient::Store(&mut dw);
    if case.kind == "transpose" {
        transpose::forward(&Serial, shape, &x, &weight, bias, exact, &mut y, &mut [])?;
        transpose::backward_input(&Serial, shape, &dy, &weight, store, &mut dx)?;
        transpose::backward_weight(shape, &x, &dy, gradient)?;
    } else {
        conv::forward(&Serial, shape, &x, &weight, bias, exact, &mut y, &mut [])?;
        conv::backward_input(&Serial, shape, &dy, &weight, store, &mut dx)?;
        conv::backward_weight(shape, &x, &dy, gradient)?;
    }
    dense::backward_bias::<T>(case.filters, &dy, &mut Gradient::Store(&mut db))?;
    Ok((y, [dx, dw, db]))
}

fn pooling<T: Element, const N: usize>(case: &Case) -> Result<Results<T>, Error> {
    let (x, dy) = (numbers::<T>(&case.x), numbers::<T>(&case.dy));
    let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
    let store = Store::EXACT;
    match case.kind.as_str() {
        "average" => {
            let shape = case.pool::<N>();
            let padding = match case.is_counted {
                true => Padding::Counted,
                false => Padding::NotCounted,
            };
            pool::average_forward(&Serial, shape, padding, &x, store, &mut y)?;
            pool::average_backward(&Serial, shape, padding, &dy, store, &mut dx)?;
        }
        "max" => {
            let shape = case.pool::<N>();
            pool::max_forward(&Serial, shape, &x, &mut y)?;
            pool::max_backward(&Serial, shape, &x, &y, &dy, store, &mut dx)?;
        }
        "adaptive_average" => {
            let shape = case.adaptive::<N>();
            pool::adaptive_average_forward(&Serial, shape, &x, store, &mut y)?;
            pool::adaptive_average_backward(&Serial, shape, &dy, store, &mut dx)?;
        }
        "adaptive_max" => {
            let shape = case.adaptive::<N>();
            pool::adaptive_max_forward(&Serial, shape, &x, &mut y)?;
            pool::adaptive_max_backward(&Serial, shape, &x, &y, &dy, store, &mut dx)?;
        }
        kind => panic!("no kind {kind}"),
    }
    Ok((y, [dx, Vec::new(), Vec::new()]))
}

fn replay<T: Element<Bias = T, Acc = T> + Output<T>>(case: &Case, epsilon: f64) {
    let is_conv = ["conv", "transpose"].contains(&case.kind.as_str());
    let results = match (is_conv, case.axes) {
        (true, 1) => convolution::<T, 1>(case),
        (true, 2) => convolution::<T, 2>(case),
        (true, 3) => convolution::<T, 3>(case),
        (false, 1) => pooling::<T, 1>(case),
        (false, 2) => pooling::<T, 2>(case),
        (false, 3) => pooling::<T, 3>(case),
        (_, axes) => panic!("{axes} axes"),
    };
    let limit = match case.kind.ends_with("average") {
        true => ROUNDINGS * epsilon,
        false => 0.0,
    };
    let place = format!("{}, {} over {} axes", T::DTYPE, case.kind, case.axes);
    let (y, [dx, dw, db]) = results.expect(&place);
    for (what, want, got) in [
        ("y", &case.y, &y),
        ("dx", &case.dx, &dx),
        ("dw", &case.dweight, &dw),
        ("db", &case.dbias, &db),
    ] {
        assert_eq!(want.len(), got.len(), "{place}: {what}");
        for (i, (want, got)) in want.iter().zip(got).enumerate() {
            let error = (got.to_f64() - want).abs();
            assert!(
                error <= limit,
                "{place}, {what}[{i}]: {want}, off by {error}; {case:?}"
            );
        }
    }
}

/// Replays the cases of a file, and counts them by kind and axes.
fn replay_all(name: &str) -> (Vec<Case>, BTreeMap<(String, usize), usize>) {
    let file = golden::read(name);
    let cases: Vec<Case> = serde_json::from_value(file["cases"].clone()).unwrap();
    let mut kinds = BTreeMap::new();
    for case in &cases {
        replay::<f64>(case, f64::EPSILON);
        replay::<f32>(case, f64::from(f32::EPSILON));
        *kinds.entry((case.kind.clone(), case.axes)).or_insert(0) += 1;
    }
    (cases, kinds)
}

const KINDS: [&str; 6] = [
    "adaptive_average",
    "adaptive_max",
    "average",
    "conv",
    "max",
    "transpose",
];

#[test]
fn results_are_those_of_pytorch() {
    let (_, kinds) = replay_all("torch/windows.json");
    for axes in 1..=3 {
        for kind in KINDS {
            let count = kinds[&(kind.to_owned(), axes)];
            assert!(count >= 2, "{kind} over {axes} axes");
        }
    }
}

/// The padding "same", `ceil_mode`, and volumes in batches.
#[test]
fn padding_is_that_of_pytorch() {
    let (cases, _) = replay_all("torch/padding.json");
    for axes in 1..=3 {
        let of = |is: fn(&Case) -> bool| {
            let is_such = |case: &&Case| case.axes == axes && is(case);
            cases.iter().filter(is_such).count()
        };
        assert_eq!(of(|case| case.is_same), 2, "same over {axes} axes");
        assert_eq!(of(|case| !case.sides.is_empty()), 4, "ceil, {axes} axes");
    }
    for kind in KINDS {
        let is_volume = |case: &Case| case.kind == kind && case.axes == 3 && case.batch > 1;
        assert!(cases.iter().any(is_volume), "{kind} of volumes");
    }
}
