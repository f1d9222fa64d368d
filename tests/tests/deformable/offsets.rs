//! Positions of a map's attention to itself.

use super::{Positioned, level, shape};
use selvedge_kernels::deformable::{self, Shape};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::compare::{assert_within, central, elements, inner, values};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance;

/// Every cell of two levels, of two samples.
const SHAPE: Shape<'static> = shape(2, 3 * 5 + 2, &[level(3, 5), level(2, 1)], [3, 1, 2]);
const LEN: usize = 2 * 17 * 3 * 2 * 2 * 2;

fn positions<T: Positioned>(offsets: &[T]) -> Vec<T::Position> {
    let [mut one, mut three] = [1, 2].map(|_| vec![T::Position::from_f64(85.0); LEN]);
    deformable::positions(&Serial, SHAPE, offsets, &mut one).unwrap();
    deformable::positions(&Threads(3), SHAPE, offsets, &mut three).unwrap();
    assert_eq!(one, three);
    one
}

fn offset_errors<T: Positioned>(errors: &[T::Position]) -> Vec<T> {
    let [mut one, mut three] = [1, 2].map(|_| vec![T::from_f64(85.0); LEN]);
    deformable::positions_backward(&Serial, SHAPE, errors, &mut one).unwrap();
    deformable::positions_backward(&Threads(3), SHAPE, errors, &mut three).unwrap();
    assert_eq!(one, three);
    one
}

/// Positions of some offsets in `f64`: cells counted one by one.
fn definition(offsets: &[f64]) -> Vec<f64> {
    let mut centres = Vec::new();
    for level in SHAPE.levels {
        for row in 0..level.height {
            for column in 0..level.width {
                let of = |at: usize, extent: usize| (at as f64 + 0.5) / extent as f64;
                centres.push([of(column, level.width), of(row, level.height)]);
            }
        }
    }
    let per_cell = 3 * 2 * 2 * 2;
    let position = |(i, offset): (usize, &f64)| {
        let level = SHAPE.levels[i / 4 % 2];
        let extent = [level.width, level.height][i % 2];
        centres[i / per_cell % centres.len()][i % 2] + offset / extent as f64
    };
    offsets.iter().enumerate().map(position).collect()
}

/// Offsets within 4: positions up to 5, of three roundings.
fn float_positions<T: Positioned>(epsilon: f64, storage: impl Fn(f64) -> f64) {
    let offsets: Vec<T> = elements(&Noise::new(5_400).vector(LEN, 4.0), 0);
    let want = definition(&values(&offsets, 0));
    let limit = |_| 3.0 * 5.0 * epsilon;
    assert_within(
        T::DTYPE.name(),
        &want,
        &values(&positions(&offsets), 0),
        limit,
    );
    let errors: Vec<T::Position> = elements(&Noise::new(5_401).vector(LEN, 1.0), 0);
    let exact = values(&errors, 0);
    let want = central(&exact, |x| inner(&exact, &definition(x)));
    let got = values(&offset_errors::<T>(&errors), 0);
    let limit = |x| epsilon + storage(x) + tolerance::LINEAR_DIFFERENCE;
    assert_within(T::DTYPE.name(), &want, &got, limit);
}

#[test]
fn positions_are_cell_centres_and_offsets() {
    let single = f64::from(f32::EPSILON);
    float_positions::<f32>(single, tolerance::storage::<f32>);
    float_positions::<f16>(single, tolerance::storage::<f16>);
    float_positions::<bf16>(single, tolerance::storage::<bf16>);
    float_positions::<f64>(f64::EPSILON, |_| 0.0);
}

fn offsets_begin_in_all_directions<T: Element + deformable::Float>(storage: impl Fn(f64) -> f64) {
    let mut offsets = vec![T::from_f64(85.0); 6 * 2 * 3 * 2];
    deformable::initial_offsets([6, 2, 3], &mut offsets).unwrap();
    let want = (0..offsets.len()).map(|i| {
        let (head, point) = (i / 12, i / 2 % 3);
        let angle = head as f64 / 6.0 * std::f64::consts::TAU;
        let (sin, cos) = angle.sin_cos();
        [cos, sin][i % 2] / cos.abs().max(sin.abs()) * (point as f64 + 1.0)
    });
    // Three times what the table and the quotient are off by.
    let limit = |x| 3.0 * 2.0 * tolerance::SINE_UNITS / 32_768.0 + storage(x);
    let place = T::DTYPE.name();
    assert_within(
        place,
        &want.collect::<Vec<_>>(),
        &values(&offsets, 0),
        limit,
    );
}

#[test]
fn heads_begin_in_all_directions() {
    offsets_begin_in_all_directions::<f32>(tolerance::storage::<f32>);
    offsets_begin_in_all_directions::<f16>(tolerance::storage::<f16>);
    offsets_begin_in_all_directions::<bf16>(tolerance::storage::<bf16>);
    offsets_begin_in_all_directions::<f64>(|_| 0.0);
}
