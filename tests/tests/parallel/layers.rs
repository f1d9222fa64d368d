//! Typed layers against definitions, central differences and `f64`, in all types.

use selvedge_core::net::{
    Balance, Dense, DenseOver, Grid, Line, Mean, Mixture, Negate, Parallel, Residual, Scatter,
    Skip, Softmax, Square, Stitch, Tanh, TopKSoftmax, Total,
};
use selvedge_core::tensor::{D1, D2};
use selvedge_tests::check_layer;
use selvedge_tests::layers::Case;

type Rows = D2<3, 4>;

/// Branches have stored their outputs, and the layer another: a unit of each.
const TWICE: [f64; 2] = [1.0 / 64.0, 1.0 / 16_384.0];

/// The same behind a table: integers wider than 16 bits have tanh within 4.4 units of 2^-15, of which four are weighed
/// by up to 7/8 and summed.
const TABLE: [f64; 2] = [1.0 / 32.0, 16.0 / 32_768.0];

/// Weights of a gate in 8 bits, products with outputs of 8 bits at a common exponent, and the output: three units, of
/// experts that are several times as large as their mixture.
const MIXED: [f64; 2] = [1.0 / 16.0, 1.0 / 4096.0];

fn case<'a>(name: &'a str) -> Case<'a> {
    Case::new(name).off_by(TWICE)
}

fn mixed<'a>(name: &'a str) -> Case<'a> {
    Case::new(name).off_by(MIXED).roundings(64.0)
}

/// Takes the parameters of a dense layer off `parameters`, and gives its outputs for each row of `inputs` elements.
fn dense(x: &[f64], parameters: &mut &[f64], [inputs, outputs]: [usize; 2]) -> Vec<f64> {
    let (weights, rest) = parameters.split_at(inputs * outputs);
    let (bias, rest) = rest.split_at(outputs);
    *parameters = rest;
    let row = |x: &[f64]| -> Vec<f64> {
        let products = weights
            .chunks(inputs)
            .map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>());
        products.zip(bias).map(|(sum, b)| sum + b).collect()
    };
    x.chunks(inputs).flat_map(row).collect()
}

/// The softmax of each row of `classes` elements, of the `k` largest.
fn softmax(x: &[f64], classes: usize, k: usize) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let mut sorted = x.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let least = sorted[k - 1];
        let e: Vec<f64> = x
            .iter()
            .map(|&x| if x < least { 0.0 } else { x.exp() })
            .collect();
        let total: f64 = e.iter().sum();
        e.iter().map(|e| e / total).collect()
    };
    x.chunks(classes).flat_map(row).collect()
}

/// `Σ_i weights[r, i] · experts_i[r, f]`.
fn mixture(weights: &[f64], experts: &[Vec<f64>]) -> Vec<f64> {
    let features = experts[0].len() * experts.len() / weights.len();
    let element = |at: usize| {
        let weights = &weights[at / features * experts.len()..];
        experts.iter().zip(weights).map(|(y, w)| w * y[at]).sum()
    };
    (0..experts[0].len()).map(element).collect()
}

#[test]
fn branches_are_summed_and_averaged() {
    let of_each = |f: fn(f64) -> f64| move |x: &[f64]| x.iter().map(|&x| f(x)).collect::<Vec<_>>();
    check_layer!(
        T => Parallel<(Skip<T, Rows>, Square<T, Rows>, Skip<T, Rows>), Total>,
        case("total").defined(&of_each(|x| 2.0 * x + x * x))
    );
    check_layer!(
        T => Parallel<[Square<T, Rows>; 1], Total>,
        case("total of one").defined(&of_each(|x| x * x))
    );
    check_layer!(
        T => Parallel<(Skip<T, Rows>, Square<T, Rows>, Negate<T, Rows>, Square<T, Rows>), Mean>,
        case("mean").defined(&of_each(|x| x * x / 2.0))
    );
    let three = |x: &[f64], parameters: &[f64]| {
        let mut rest = parameters;
        let first = dense(x, &mut rest, [5, 3]);
        let inner: Vec<f64> = dense(x, &mut rest, [5, 4])
            .iter()
            .map(|x| x.tanh())
            .collect();
        let second = dense(&inner, &mut rest, [4, 3]);
        let third = dense(x, &mut rest, [5, 3]);
        (0..3).map(|i| first[i] + second[i] + third[i]).collect()
    };
    check_layer!(
        T => Parallel<(Dense<T, 5, 3>, (Dense<T, 5, 4, Tanh>, Dense<T, 4, 3>), Dense<T, 5, 3>), Total>,
        Case::new("total of layers").off_by(TABLE).defined_by(&three)
    );
    let average = |x: &[f64], parameters: &[f64]| {
        let mut rest = parameters;
        let all: Vec<_> = (0..5).map(|_| dense(x, &mut rest, [5, 3])).collect();
        (0..3)
            .map(|i| all.iter().map(|y| y[i]).sum::<f64>() / 5.0)
            .collect()
    };
    check_layer!(
        T => Parallel<[Dense<T, 5, 3>; 5], Mean>,
        case("mean of layers").defined_by(&average)
    );
}

struct Corners;

impl Grid for Corners {
    const EXTENTS: [usize; 3] = [2, 3, 2];
    // Last, first, and between.
    const CELLS: &'static [[usize; 3]] = &[[1, 2, 1], [0, 0, 0], [1, 0, 1]];
}

#[test]
fn branches_stand_side_by_side() {
    let parts = |x: &[f64], parameters: &[f64]| {
        let mut rest = parameters;
        let first = dense(x, &mut rest, [4, 2]);
        let last = dense(x, &mut rest, [4, 1]);
        [first, x.to_vec(), last]
    };
    let in_order = |order: [usize; 3]| {
        move |x: &[f64], parameters: &[f64]| {
            let parts = parts(x, parameters);
            let row = |row: usize| {
                let parts = &parts;
                order.into_iter().flat_map(move |i| {
                    let width = parts[i].len() / 3;
                    parts[i][row * width..][..width].to_vec()
                })
            };
            (0..3).flat_map(row).collect()
        }
    };
    check_layer!(
        T => Parallel<(DenseOver<T, Rows, 2>, Skip<T, Rows>, DenseOver<T, Rows, 1>), Line<D2<3, 7>>>,
        case("line").defined_by(&in_order([0, 1, 2]))
    );
    check_layer!(
        T => Parallel<(DenseOver<T, Rows, 2>, Skip<T, Rows>, DenseOver<T, Rows, 1>), Scatter<Corners, D2<3, 7>>>,
        case("scatter").defined_by(&in_order([1, 2, 0]))
    );
}

#[test]
fn up_to_six_types_and_nests_of_them() {
    type Inner<T> = Parallel<(Square<T, D1<4>>, Dense<T, 4, 4>), Total>;
    let nested = |x: &[f64], parameters: &[f64]| {
        let mut rest = parameters;
        let inner = dense(x, &mut rest, [4, 4]);
        let first: Vec<f64> = inner.iter().zip(x).map(|(y, x)| y + x * x).collect();
        let second = dense(x, &mut rest, [4, 1]);
        let squares = x.iter().map(|x| x * x);
        let negated = x.iter().map(|x| -x);
        let more = first.into_iter().chain(second).chain(squares);
        more.chain(negated)
            .chain(x.iter().copied())
            .chain(x.iter().copied())
            .collect()
    };
    check_layer!(
        T => Parallel<
            (Inner<T>, Dense<T, 4, 1>, Square<T, D1<4>>, Negate<T, D1<4>>, Skip<T, D1<4>>, Skip<T, D1<4>>),
            Line<D1<21>>,
        >,
        case("nested").defined_by(&nested)
    );
    let five = |x: &[f64]| x.iter().map(|x| (2.0 * x + 2.0 * x * x) / 5.0).collect();
    check_layer!(
        T => Parallel<
            (Skip<T, D1<4>>, Square<T, D1<4>>, Parallel<[Negate<T, D1<4>>; 2], Mean>, Square<T, D1<4>>,
                Parallel<[Skip<T, D1<4>>; 2], Total>),
            Mean,
        >,
        case("five").defined(&five)
    );
}

#[test]
fn gates_weigh_samples_and_rows() {
    let soft = |x: &[f64], parameters: &[f64]| {
        let mut rest = parameters;
        let weights = softmax(&dense(x, &mut rest, [5, 3]), 3, 3);
        let experts: Vec<_> = (0..3).map(|_| dense(x, &mut rest, [5, 4])).collect();
        mixture(&weights, &experts)
    };
    check_layer!(
        T => Mixture<(Dense<T, 5, 3>, Softmax<T, D1<3>>), [Dense<T, 5, 4>; 3]>,
        mixed("mixture").defined_by(&soft)
    );
    let by_row = |x: &[f64], parameters: &[f64]| {
        let mut rest = parameters;
        let weights = softmax(&dense(x, &mut rest, [4, 2]), 2, 2);
        let experts: Vec<_> = (0..2).map(|_| dense(x, &mut rest, [4, 5])).collect();
        mixture(&weights, &experts)
    };
    check_layer!(
        T => Mixture<(DenseOver<T, Rows, 2>, Softmax<T, D2<3, 2>>), [DenseOver<T, Rows, 5>; 2]>,
        mixed("mixture of rows").defined_by(&by_row)
    );
    // A gate without parameters.
    let given = |x: &[f64], parameters: &[f64]| {
        let mut rest = parameters;
        let experts: Vec<_> = (0..2).map(|_| dense(x, &mut rest, [2, 3])).collect();
        mixture(&softmax(x, 2, 2), &experts)
    };
    check_layer!(
        T => Mixture<Softmax<T, D1<2>>, [Dense<T, 2, 3>; 2]>,
        mixed("given weights").defined_by(&given)
    );
    // Experts without parameters, weighed as whole samples.
    let whole = |x: &[f64]| {
        let weights = softmax(&x[..2], 2, 2);
        mixture(&weights, &[x.iter().map(|x| x * x).collect(), x.to_vec()])
    };
    check_layer!(
        T => Mixture<Softmax<T, D1<2>>, (Square<T, D1<2>>, Skip<T, D1<2>>)>,
        mixed("frozen experts").defined(&whole)
    );
}

/// Two layers, of `H` hidden features.
type Expert<T, const H: usize> = (Dense<T, 4, H, Tanh>, Stitch<T, H, 3>);

fn expert(x: &[f64], rest: &mut &[f64], hidden: usize) -> Vec<f64> {
    let inner: Vec<f64> = dense(x, rest, [4, hidden])
        .iter()
        .map(|x| x.tanh())
        .collect();
    dense(&inner, rest, [hidden, 3])
}

#[test]
fn experts_of_different_sizes_are_stitched() {
    let sparse = |x: &[f64], parameters: &[f64]| {
        let mut rest = parameters;
        let weights = softmax(&dense(x, &mut rest, [4, 3]), 3, 2);
        let experts = [2, 5, 3].map(|hidden| expert(x, &mut rest, hidden));
        mixture(&weights, &experts)
    };
    check_layer!(
        T => Mixture<
            (Dense<T, 4, 3>, (TopKSoftmax<T, D1<3>, 2>, Balance<T, D1<3>, 0>)),
            (Expert<T, 2>, Expert<T, 5>, Expert<T, 3>),
        >,
        mixed("two of three").defined_by(&sparse)
    );
}

#[test]
fn residuals_surround_mixtures() {
    let around = |x: &[f64], parameters: &[f64]| {
        let mut rest = parameters;
        let weights = softmax(&dense(x, &mut rest, [4, 2]), 2, 2);
        let experts: Vec<_> = (0..2).map(|_| dense(x, &mut rest, [4, 4])).collect();
        let mixed = mixture(&weights, &experts);
        mixed.iter().zip(x).map(|(y, x)| x + y).collect()
    };
    check_layer!(
        T => Residual<Mixture<(Dense<T, 4, 2>, Softmax<T, D1<2>>), [Dense<T, 4, 4>; 2]>>,
        mixed("residual").defined_by(&around)
    );
}

#[test]
fn gates_of_the_largest() {
    let largest = |k: usize| move |x: &[f64]| softmax(x, 4, k);
    check_layer!(
        T => TopKSoftmax<T, Rows, 2>,
        Case::new("two of four").off_by([1.0 / 128.0, 1.0 / 16_384.0]).defined(&largest(2))
    );
    check_layer!(
        T => TopKSoftmax<T, Rows, 4>,
        Case::new("four of four").off_by([1.0 / 128.0, 1.0 / 16_384.0]).defined(&largest(4))
    );
    let same = |x: &[f64]| x.to_vec();
    check_layer!(T => Balance<T, Rows, 0>, Case::new("no balance").defined(&same));
}
