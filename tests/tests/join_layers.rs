//! Two branches that come together: arithmetic with stretched operands, images at computed positions.

use selvedge_core::net::layout::{Range, Ranges};
use selvedge_core::net::{
    Abs, Addition, Axis, Concat, Difference, Fork, Maximum, Minimum, Negate, Product, Quotient,
    ReduceSum, Residual, Sample, Skip, Slice, Split, Square,
};
use selvedge_core::tensor::{D2, D3};
use selvedge_tests::check_layer;
use selvedge_tests::layers::Case;

type Rows = D2<3, 4>;

struct LastRow;

impl Ranges for LastRow {
    const RANGES: &'static [Range] = &[
        Range {
            start: Some(-1),
            ..Range::ALL
        },
        Range::ALL,
    ];
}

/// `x ∘ last row`: the second operand stretches.
type WithLast<T, J> = Fork<Skip<T, Rows>, Slice<T, Rows, D2<1, 4>, LastRow>, J>;

fn with_last(f: fn(f64, f64) -> f64) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| (0..12).map(|i| f(x[i], x[8 + i % 4])).collect()
}

fn of_each(f: fn(f64) -> f64) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| x.iter().map(|&x| f(x)).collect()
}

/// A branch has stored its output, and the join another: a unit of each.
const TWICE: [f64; 2] = [1.0 / 64.0, 1.0 / 16_384.0];

fn case<'a>(name: &'a str) -> Case<'a> {
    Case::new(name).off_by(TWICE)
}

#[test]
fn operands_stretch() {
    check_layer!(
        T => WithLast<T, Addition>,
        case("addition").defined(&with_last(|a, b| a + b))
    );
    check_layer!(
        T => WithLast<T, Product>,
        case("product").defined(&with_last(|a, b| a * b))
    );
    check_layer!(
        T => WithLast<T, Difference>,
        case("difference").defined(&with_last(|a, b| a - b))
    );
    check_layer!(
        T => WithLast<T, Quotient>,
        case("quotient").away_from_zero(0.5).defined(&with_last(|a, b| a / b))
    );
    check_layer!(
        T => WithLast<T, Minimum>,
        case("minimum").defined(&with_last(f64::min))
    );
    check_layer!(
        T => WithLast<T, Maximum>,
        case("maximum").defined(&with_last(f64::max))
    );
}

#[test]
fn operands_of_one_shape_come_together() {
    check_layer!(
        T => Fork<Skip<T, Rows>, Square<T, Rows>, Product>,
        case("cube").defined(&of_each(|x| x * x * x))
    );
    check_layer!(
        T => Fork<Square<T, Rows>, Skip<T, Rows>, Difference>,
        case("square less itself").defined(&of_each(|x| x * x - x))
    );
    check_layer!(
        T => Fork<Skip<T, Rows>, Negate<T, Rows>, Minimum>,
        case("minus magnitude").away_from_zero(0.1).defined(&of_each(|x| -x.abs()))
    );
    check_layer!(
        T => Residual<Abs<T, Rows>>,
        case("twice the positive").away_from_zero(0.1).defined(&of_each(|x| x + x.abs()))
    );
    let both = |x: &[f64]| -> Vec<f64> {
        let rows = x.chunks(4);
        rows.flat_map(|row| [row.to_vec(), row.iter().map(|x| -x).collect()].concat())
            .collect()
    };
    check_layer!(
        T => Fork<Skip<T, Rows>, Negate<T, Rows>, Concat<D2<3, 8>>>,
        case("both signs").defined(&both)
    );
}

/// Rows, their opposites below them, and their squares below these.
type Below<T> = Fork<
    Skip<T, Rows>,
    Fork<Negate<T, Rows>, Square<T, Rows>, Concat<D2<6, 4>, Axis<0>>>,
    Concat<D2<9, 4>, Axis<0>>,
>;

#[test]
fn branches_come_together_along_any_axis() {
    let below = |x: &[f64]| -> Vec<f64> {
        let opposites = x.iter().map(|x| -x);
        let squares = x.iter().map(|x| x * x);
        x.iter().copied().chain(opposites).chain(squares).collect()
    };
    check_layer!(T => Below<T>, case("rows below each other").defined(&below));
    let beside = |x: &[f64]| -> Vec<f64> {
        let columns = x.chunks(4);
        columns
            .flat_map(|column| [column.to_vec(), column.iter().map(|x| x.abs()).collect()].concat())
            .collect()
    };
    check_layer!(
        T => Fork<Skip<T, D3<3, 2, 2>>, Abs<T, D3<3, 2, 2>>, Concat<D3<3, 4, 2>, Axis<1>>>,
        case("columns beside each other").away_from_zero(0.1).defined(&beside)
    );
}

/// The first column squared, the second as it is, the others with the opposite sign.
type Columns<T> = Split<
    Rows,
    Square<T, D2<3, 1>>,
    Split<D2<3, 3>, Skip<T, D2<3, 1>>, Negate<T, D2<3, 2>>, Concat<D2<3, 3>>>,
    Concat<Rows>,
>;

#[test]
fn parts_go_their_own_ways() {
    let columns = |x: &[f64]| -> Vec<f64> {
        let one = |(i, &x): (usize, &f64)| match i % 4 {
            0 => x * x,
            1 => x,
            _ => -x,
        };
        x.iter().enumerate().map(one).collect()
    };
    check_layer!(T => Columns<T>, case("three parts").defined(&columns));
    let rows = |x: &[f64]| -> Vec<f64> { (0..4).map(|i| (x[i] + x[4 + i]) * x[8 + i]).collect() };
    check_layer!(
        T => Split<Rows, ReduceSum<T, D2<2, 4>, D2<1, 4>, Axis<0>>, Skip<T, D2<1, 4>>, Product, Axis<0>>,
        case("rows times the last").defined(&rows)
    );
}

type Image = D3<3, 4, 2>;

struct Corner;

impl Ranges for Corner {
    const RANGES: &'static [Range] = &[
        Range {
            stop: Some(2),
            ..Range::ALL
        },
        Range {
            start: Some(1),
            ..Range::ALL
        },
        Range::ALL,
    ];
}

/// An image at the positions that a corner of itself tells.
type AtItself<T, const IS_BORDERED: bool> =
    Fork<Skip<T, Image>, Slice<T, Image, D3<2, 3, 2>, Corner>, Sample<D3<2, 3, 2>, IS_BORDERED>>;

/// The same by definition.
fn at_itself(is_bordered: bool) -> impl Fn(&[f64]) -> Vec<f64> {
    let pixel = move |x: &[f64], row: i32, column: i32, channel: usize| {
        let (r, c) = (row.clamp(0, 2), column.clamp(0, 3));
        if is_bordered || (r, c) == (row, column) {
            x[(r as usize * 4 + c as usize) * 2 + channel]
        } else {
            0.0
        }
    };
    move |x| {
        let mut out = Vec::new();
        for (row, column) in [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)] {
            let at = (row * 4 + column) * 2;
            let clamp = |p: f64, last| if is_bordered { p.clamp(0.0, last) } else { p };
            let (p, q) = (clamp(x[at], 2.0), clamp(x[at + 1], 3.0));
            let (r, c) = (p.floor(), q.floor());
            for channel in 0..2 {
                let mut sum = 0.0;
                for (dr, v) in [(0, 1.0 - (p - r)), (1, p - r)] {
                    for (dc, h) in [(0, 1.0 - (q - c)), (1, q - c)] {
                        sum += v * h * pixel(x, r as i32 + dr, c as i32 + dc, channel);
                    }
                }
                out.push(sum);
            }
        }
        out
    }
}

/// Positions of 11 bits behind the point, and slopes of up to 4 between pixels within ±2 along both axes,
/// relative to outputs around 1.
const POSITION: [f64; 2] = [1.0 / 128.0, 8.0 / 2048.0];

#[test]
fn images_are_sampled_where_a_branch_says() {
    check_layer!(
        T => AtItself<T, false>,
        Case::new("zeros outside").off_by(POSITION).defined(&at_itself(false))
    );
    check_layer!(
        T => AtItself<T, true>,
        Case::new("edges outside").off_by(POSITION).defined(&at_itself(true))
    );
}
