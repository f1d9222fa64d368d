//! Typed layers that move elements, reduce axes, resize images: against definitions, differences, and
//! `f64` in all types.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_core::net::layout::{Behind, Beyond, Edges, Entries, Range, Ranges};
use selvedge_core::net::resize::{AlignCorners, Asymmetric, HalfPixel};
use selvedge_core::net::{
    Addition, ArgMax, ArgMin, Axes2, Axes3, Axis, Fork, Gather, LastAxis, Pad, Part, Permute,
    Product, ReduceMax, ReduceMean, ReduceMin, ReduceSum, Reshape, ResizeBilinear, ResizeNearest,
    Skip, Slice, TopK,
};
use selvedge_core::tensor::{D1, D2, D3};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::resize::{self, Coordinates, Shape};
use selvedge_tests::layers::{Case, Driven};
use selvedge_tests::{check_layer, for_each_type, tolerance};

/// The elements of places.
fn at(places: Vec<usize>) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| places.iter().map(|&i| x[i]).collect()
}

#[test]
fn parts_are_neighbours() {
    check_layer!(
        T => Part<T, D2<3, 4>, D2<3, 1>>,
        Case::new("first channel").defined(&at(vec![0, 4, 8]))
    );
    check_layer!(
        T => Part<T, D2<3, 4>, D2<3, 3>, LastAxis, Behind<D2<3, 1>>>,
        Case::new("other channels").defined(&at(vec![1, 2, 3, 5, 6, 7, 9, 10, 11]))
    );
    check_layer!(
        T => Part<T, D2<3, 4>, D2<1, 4>, Axis<0>, Behind<D2<2, 4>>>,
        Case::new("last row").defined(&at(vec![8, 9, 10, 11]))
    );
}

/// The place of the first element of `x` that is as `best` says of it and the best one before.
fn place(x: impl Iterator<Item = f64>, best: fn(f64, f64) -> bool) -> f64 {
    let mut found = (0, f64::NAN);
    for (i, x) in x.enumerate() {
        if i == 0 || best(x, found.1) {
            found = (i, x);
        }
    }
    found.0 as f64
}

#[test]
fn places_of_extremes_are_numbers() {
    // Stored twice: by the join, and at its exponent.
    let case = |name| Case::new(name).off_by([1.0 / 64.0, 1.0 / 16_384.0]);
    let scaled = |x: &[f64]| -> Vec<f64> {
        let row = |column: usize| place(x[column..].iter().step_by(4).copied(), |a, b| a > b);
        (0..12).map(|i| x[i] * row(i % 4)).collect()
    };
    check_layer!(
        T => Fork<Skip<T, D2<3, 4>>, ArgMax<T, D2<3, 4>, D2<1, 4>, Axis<0>>, Product>,
        case("times the row of the largest").defined(&scaled)
    );
    let raised = |x: &[f64]| -> Vec<f64> {
        let column = |row: usize| place(x[row * 4..row * 4 + 4].iter().copied(), |a, b| a < b);
        (0..12).map(|i| x[i] + column(i / 4)).collect()
    };
    check_layer!(
        T => Fork<Skip<T, D2<3, 4>>, ArgMin<T, D2<3, 4>, D2<3, 1>, Axis<1>>, Addition>,
        case("with the column of the smallest").defined(&raised)
    );
}

#[test]
fn places_are_exact_and_pass_no_error_down() {
    macro_rules! check {
        ($t:ty) => {{
            let mut layer = Driven::<ArgMax<$t, D1<128>, D1<1>, Axis<0>>, 2>::new(1);
            for first in 0..127 {
                let mut x = vec![-0.5; 256];
                (x[first], x[128 + 127 - first], x[255]) = (1.0, 1.0, 1.0);
                let want = [first, 127 - first].map(|place| place as f64);
                assert_eq!(layer.forward(&x), want, "{}", stringify!($t));
            }
            assert!(layer.backward(&[1.0, -1.0]).iter().all(|&dx| dx == 0.0));
        }};
    }
    for_each_type!(check);
}

#[test]
fn permuting_and_reshaping_move_elements() {
    check_layer!(
        T => Permute<T, D2<2, 3>, D2<3, 2>, Axes2<1, 0>>,
        Case::new("transpose").defined(&at(vec![0, 3, 1, 4, 2, 5]))
    );
    // [2, 2, 3] to [3, 2, 2]: the axes of the output are 2, 0, 1.
    let cycled = at((0..3)
        .flat_map(|c| (0..4).map(move |r| r * 3 + c))
        .collect());
    check_layer!(
        T => Permute<T, D3<2, 2, 3>, D3<3, 2, 2>, Axes3<2, 0, 1>>,
        Case::new("permute").defined(&cycled)
    );
    check_layer!(
        T => Reshape<T, D2<2, 3>, D3<3, 1, 2>>,
        Case::new("reshape").defined(&at((0..6).collect()))
    );
}

struct Around;
struct Mirrored;
struct Repeated;

impl Edges for Around {
    const SIDES: &'static [[usize; 2]] = &[[1, 0], [0, 2]];
}

impl Edges for Mirrored {
    const SIDES: &'static [[usize; 2]] = &[[0, 0], [2, 1]];
    const BEYOND: Beyond = Beyond::Reflect;
}

impl Edges for Repeated {
    const SIDES: &'static [[usize; 2]] = &[[0, 1], [2, 0]];
    const BEYOND: Beyond = Beyond::Edge;
}

#[test]
fn padding_adds_zeros_mirrors_or_repeats() {
    let zeros = |x: &[f64]| {
        let row = |r: usize| [x[3 * r], x[3 * r + 1], x[3 * r + 2], 0.0, 0.0];
        [[0.0; 5], row(0), row(1)].concat()
    };
    check_layer!(
        T => Pad<T, D2<2, 3>, D2<3, 5>, Around>,
        Case::new("zeros").defined(&zeros)
    );
    check_layer!(
        T => Pad<T, D2<2, 3>, D2<2, 6>, Mirrored>,
        Case::new("reflect").defined(&at(vec![2, 1, 0, 1, 2, 1, 5, 4, 3, 4, 5, 4]))
    );
    check_layer!(
        T => Pad<T, D2<2, 3>, D2<3, 5>, Repeated>,
        Case::new("edge").defined(&at(vec![0, 0, 0, 1, 2, 3, 3, 3, 4, 5, 3, 3, 3, 4, 5]))
    );
}

struct Backwards;

impl Ranges for Backwards {
    const RANGES: &'static [Range] = &[
        Range {
            start: Some(-1),
            ..Range::ALL
        },
        Range {
            step: -2,
            ..Range::ALL
        },
    ];
}

struct Twice;

impl Entries for Twice {
    const AXIS: usize = 1;
    const INDICES: &'static [u32] = &[2, 0, 2, 1];
}

#[test]
fn slices_entries_and_the_largest_are_picked() {
    check_layer!(
        T => Slice<T, D2<2, 5>, D2<1, 3>, Backwards>,
        Case::new("slice").defined(&at(vec![9, 7, 5]))
    );
    check_layer!(
        T => Gather<T, D2<2, 3>, D2<2, 4>, Twice>,
        Case::new("gather").defined(&at(vec![2, 0, 2, 1, 5, 3, 5, 4]))
    );
    let two_largest = |x: &[f64]| {
        let mut columns = [0, 1].map(|c| [x[c], x[c + 2], x[c + 4], x[c + 6]]);
        columns
            .iter_mut()
            .for_each(|c| c.sort_by(|a, b| b.total_cmp(a)));
        let [a, b] = columns;
        vec![a[0], b[0], a[1], b[1]]
    };
    check_layer!(
        T => TopK<T, D2<4, 2>, D2<2, 2>>,
        Case::new("top k").defined(&two_largest)
    );
    check_layer!(T => TopK<T, D2<2, 5>, D2<2, 3>, Axis<1>>, Case::new("top k of rows"));
}

/// `f` of each column of `[2, 3]`.
fn of_columns(f: fn(f64, f64) -> f64) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| (0..3).map(|c| f(x[c], x[c + 3])).collect()
}

/// The reciprocal of a number of elements, in 16 bits.
const RECIPROCAL: [f64; 2] = [1.0 / 65_536.0; 2];

#[test]
fn reductions_take_axes_away() {
    check_layer!(
        T => ReduceSum<T, D2<2, 3>, D1<3>, Axis<0>>,
        Case::new("sum").defined(&of_columns(|a, b| a + b))
    );
    check_layer!(
        T => ReduceMean<T, D2<2, 3>, D2<1, 3>, Axis<0>>,
        Case::new("mean").defined(&of_columns(|a, b| (a + b) / 2.0))
    );
    check_layer!(
        T => ReduceMax<T, D2<2, 3>, D1<3>, Axis<0>>,
        Case::new("max").defined(&of_columns(f64::max))
    );
    check_layer!(
        T => ReduceMin<T, D2<2, 3>, D1<3>, Axis<0>>,
        Case::new("min").defined(&of_columns(f64::min))
    );
    let all = |x: &[f64]| vec![x.iter().sum::<f64>() / 6.0];
    check_layer!(
        T => ReduceMean<T, D2<2, 3>, D1<1>, Axes2<1, 0>>,
        Case::new("mean of all").defined(&all).off_by(RECIPROCAL)
    );
    let outer = |x: &[f64]| {
        (0..3)
            .map(|i| [0, 1, 6, 7].map(|j| x[2 * i + j]).iter().sum())
            .collect()
    };
    check_layer!(
        T => ReduceSum<T, D3<2, 3, 2>, D1<3>, Axes2<0, 2>>,
        Case::new("sum of outer axes").defined(&outer)
    );
}

/// The bilinear mixture of a row of 3 at `positions`.
fn mixed(positions: [f64; 5]) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| {
        let at = |p: f64| {
            let (low, rest) = (p.floor() as usize, p - p.floor());
            let high = (low + 1).min(2);
            x[low] * (1.0 - rest) + x[high] * rest
        };
        positions.map(|p| at(p.clamp(0.0, 2.0))).to_vec()
    }
}

/// Integer weights of 11 bits along one axis, and along both.
const WEIGHT: [f64; 2] = [tolerance::BILINEAR_AXIS; 2];
const WEIGHTS: [f64; 2] = [2.0 * tolerance::BILINEAR_AXIS; 2];

#[test]
fn images_are_resized() {
    check_layer!(
        T => ResizeNearest<T, D3<1, 2, 2>, D3<2, 4, 2>>,
        Case::new("nearest").defined(&at([[0, 1, 0, 1, 2, 3, 2, 3]; 2].concat()))
    );
    check_layer!(
        T => ResizeNearest<T, D3<1, 3, 1>, D3<1, 2, 1>, HalfPixel>,
        Case::new("nearest, half pixels").defined(&at(vec![0, 2]))
    );
    let corners = mixed([0.0, 0.5, 1.0, 1.5, 2.0]);
    check_layer!(
        T => ResizeBilinear<T, D3<1, 3, 1>, D3<1, 5, 1>, AlignCorners>,
        Case::new("bilinear, corners").defined(&corners)
    );
    let halves = mixed([0.5, 1.5, 2.5, 3.5, 4.5].map(|o| o * 0.6 - 0.5));
    check_layer!(
        T => ResizeBilinear<T, D3<1, 3, 1>, D3<1, 5, 1>>,
        Case::new("bilinear, half pixels").defined(&halves).off_by(WEIGHT)
    );
    let asymmetric = mixed([0.0, 0.6, 1.2, 1.8, 2.4]);
    check_layer!(
        T => ResizeBilinear<T, D3<1, 3, 1>, D3<1, 5, 1>, Asymmetric>,
        Case::new("bilinear, asymmetric").defined(&asymmetric).off_by(WEIGHT)
    );
    check_layer!(
        T => ResizeBilinear<T, D3<3, 4, 2>, D3<5, 3, 2>>,
        Case::new("bilinear, both axes").off_by(WEIGHTS)
    );
}

/// The position of an output pixel between two of the input, and where it lies between them.
fn tap(coordinates: Coordinates, o: usize, input: usize, output: usize) -> (usize, usize, f64) {
    let [at, inputs, outputs] = [o, input, output].map(|n| n as f64);
    let position = match coordinates {
        Coordinates::HalfPixel => ((2.0 * at + 1.0) * inputs - outputs).max(0.0) / (2.0 * outputs),
        Coordinates::AlignCorners => at * (inputs - 1.0) / (outputs - 1.0),
        Coordinates::Asymmetric => at * inputs / outputs,
    };
    let low = (position as usize).min(input - 1);
    (low, (low + 1).min(input - 1), position.fract())
}

/// The largest error of an accumulator of an image of elements within ±127, relative to 127.
fn bilinear_error(
    coordinates: Coordinates,
    [height, width]: [usize; 2],
    to: [usize; 2],
    x: &[i64],
) -> f64 {
    let shape = Shape {
        batch: 1,
        height,
        width,
        channels: 1,
        outputs: to,
        coordinates,
    };
    let mut out = vec![0i64; to[0] * to[1]];
    // Of 7 and 22 bits: the accumulator itself.
    resize::bilinear(&Serial, shape, x, Store::EXACT, &mut out).unwrap();
    let unit = 2f64.powi(-resize::bilinear_places::<i64>());
    let columns: Vec<_> = (0..to[1])
        .map(|o| tap(coordinates, o, width, to[1]))
        .collect();
    let mut largest = 0f64;
    for (row, out) in out.chunks(to[1]).enumerate() {
        let (above, below, down) = tap(coordinates, row, height, to[0]);
        for (&(left, right, along), &got) in columns.iter().zip(out) {
            let mix = |row: usize| {
                let [a, b] = [left, right].map(|column| x[row * width + column] as f64);
                a + (b - a) * along
            };
            let want = mix(above) + (mix(below) - mix(above)) * down;
            largest = largest.max((got as f64 * unit - want).abs());
        }
    }
    largest / 127.0
}

const COORDINATES: [Coordinates; 3] = [
    Coordinates::HalfPixel,
    Coordinates::AlignCorners,
    Coordinates::Asymmetric,
];

/// Along one axis, and along both, where neighbours of the largest magnitude have opposite signs and fractions lie
/// between two weights.
#[test]
fn bilinear_mixtures_keep_their_bound() {
    let axis = tolerance::BILINEAR_AXIS;
    let signs = |bits: usize| -> Vec<i64> {
        (0..9)
            .map(|i| if bits >> i & 1 == 1 { 127 } else { -127 })
            .collect()
    };
    let checkered = [0b0_1010_1010, 0b1_0101_0101];
    let (mut one, mut both) = (0f64, 0f64);
    for coordinates in COORDINATES {
        for bits in checkered {
            for (from, to) in [
                ([3, 1], [2048, 1]),
                ([1, 3], [1, 2048]),
                ([2, 1], [4097, 1]),
                ([1, 2], [1, 4097]),
            ] {
                // A row of alternating signs.
                let x = &signs(bits)[..from[0] * from[1]];
                one = one.max(bilinear_error(coordinates, from, to, x));
            }
            both = both.max(bilinear_error(
                coordinates,
                [3, 3],
                [2048, 2048],
                &signs(bits),
            ));
        }
        for bits in 0..16 {
            let x = &signs(bits)[..4];
            for to in [[2, 5], [4, 3], [7, 7], [9, 33], [65, 12]] {
                both = both.max(bilinear_error(coordinates, [2, 2], to, x));
            }
        }
    }
    println!("bilinear: {one} along an axis, {both} along both");
    for (error, bound) in [(one, axis), (both, 2.0 * axis)] {
        assert!(error <= bound, "{error} of {bound}");
        assert!(
            error > 0.99 * bound,
            "the stated bound is too wide: {error} of {bound}"
        );
    }
}
