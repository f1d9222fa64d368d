//! What lies on edges and beyond the map; NaN and infinity.

use super::{Gradients, Positioned, Tensors, backward, forward, level, shape};
use selvedge_kernels::deformable::{Level, Shape};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::{bf16, f16};
use selvedge_tests::compare::{elements, values};

/// 4×4 cells of two features: the first counts columns from 1, the second rows.
const MAP: &[Level] = &[level(4, 4)];

/// One query of one head with one point, whose error is that of the first feature.
fn point<T: Positioned>(position: [f64; 2], weight: f64) -> (Vec<f64>, Gradients<T>) {
    let one = shape(1, 1, MAP, [1, 2, 1]);
    let map = (0..16).flat_map(|cell| [1.0 + f64::from(cell % 4), 1.0 + f64::from(cell / 4)]);
    let tensors = Tensors::<T> {
        values: elements(&map.collect::<Vec<_>>(), 0),
        positions: elements(&position, 0),
        weights: elements(&[weight], 0),
        dy: elements(&[1.0, 0.0], 0),
    };
    let out = forward(&Serial, one, tensors.inputs());
    let gradients = backward(&Serial, 1, one, tensors.inputs(), &tensors.dy);
    (values(&out, 0), gradients)
}

/// Columns and rows whose centres are at eighths; all numbers are exact in every type.
fn edges<T: Positioned>() {
    for (place, position, out, slopes) in [
        ("a centre", [0.375, 0.625], [2.0, 3.0], [4.0, 0.0]),
        ("between four cells", [0.5, 0.5], [2.5, 2.5], [4.0, 0.0]),
        // Half of it is beyond: the slopes are those towards zeros.
        ("the left edge", [0.0, 0.375], [0.5, 1.0], [4.0, 0.0]),
        ("the right edge", [1.0, 0.375], [2.0, 1.0], [-16.0, 0.0]),
        ("the upper edge", [0.375, 0.0], [1.0, 0.5], [2.0, 8.0]),
        ("a corner", [1.0, 1.0], [1.0, 1.0], [-8.0, -8.0]),
        // Towards larger positions, where there is the first cell, and none behind the last.
        (
            "a cell before the first",
            [-0.125, 0.375],
            [0.0, 0.0],
            [4.0, 0.0],
        ),
        (
            "a cell behind the last",
            [1.125, 0.375],
            [0.0, 0.0],
            [0.0, 0.0],
        ),
        ("beyond", [-0.5, 0.375], [0.0, 0.0], [0.0, 0.0]),
        ("far beyond", [0.375, 3.0e4], [0.0, 0.0], [0.0, 0.0]),
    ] {
        let (y, gradients) = point::<T>(position, 1.0);
        let [dvalues, dpositions, dweights] = gradients.exact();
        assert_eq!(y, out, "{}, {place}", T::DTYPE);
        assert_eq!(dweights, [out[0]], "{}, {place}", T::DTYPE);
        assert_eq!(dpositions, slopes, "{}, {place}", T::DTYPE);
        // What the first feature's error gives all cells is what the point has of the map.
        let inside = |x: f64| (1.0 - (x - 0.5).abs() * 4.0 + 1.5).clamp(0.0, 1.0);
        let share = inside(position[0]) * inside(position[1]);
        assert_eq!(dvalues.iter().sum::<f64>(), share, "{}, {place}", T::DTYPE);
    }
}

#[test]
fn the_map_ends_in_zeros() {
    edges::<f32>();
    edges::<f16>();
    edges::<bf16>();
    edges::<f64>();
}

/// Whatever the weight: not even a NaN of it is seen.
fn nothing_is_seen_far_outside<T: Positioned>() {
    let most = f64::from(f32::MAX);
    for far in [f64::INFINITY, f64::NEG_INFINITY, most, -most, 1e12, -1e12] {
        for position in [[far, 0.5], [0.5, far], [far, far], [far, -far]] {
            for weight in [1.0, f64::INFINITY, f64::NAN] {
                let (y, gradients) = point::<T>(position, weight);
                let [dvalues, dpositions, dweights] = gradients.exact();
                let place = format!("{}, {position:?}, {weight}", T::DTYPE);
                assert_eq!(y, [0.0; 2], "{place}");
                assert_eq!(dvalues, [0.0; 32], "{place}");
                assert_eq!((dpositions, dweights), (vec![0.0; 2], vec![0.0]), "{place}");
            }
        }
    }
}

#[test]
fn infinite_positions_see_nothing() {
    nothing_is_seen_far_outside::<f32>();
    nothing_is_seen_far_outside::<f16>();
    nothing_is_seen_far_outside::<bf16>();
    nothing_is_seen_far_outside::<f64>();
}

/// Also where the other coordinate is far outside.
fn nan_positions_are_seen<T: Positioned>() {
    let nan = f64::NAN;
    for position in [[nan, 0.5], [0.5, nan], [nan, 1e9], [f64::INFINITY, nan]] {
        let (y, gradients) = point::<T>(position, 1.0);
        let [dvalues, dpositions, dweights] = gradients.exact();
        let place = format!("{}, {position:?}", T::DTYPE);
        let is_nan = |x: &[f64]| x.iter().all(|x| x.is_nan());
        assert!(is_nan(&y) && is_nan(&dweights), "{place}: {y:?}");
        assert!(is_nan(&dpositions), "{place}: {dpositions:?}");
        for (i, d) in dvalues.iter().enumerate() {
            let is_first = [0, 1, 4, 5].contains(&(i / 2));
            assert_eq!(d.is_nan(), is_first, "{place}: {dvalues:?}");
        }
    }
}

#[test]
fn a_nan_position_makes_its_head_nan() {
    nan_positions_are_seen::<f32>();
    nan_positions_are_seen::<f16>();
    nan_positions_are_seen::<bf16>();
    nan_positions_are_seen::<f64>();
}

#[test]
fn other_heads_and_queries_do_not_see_a_nan() {
    let two = Shape {
        heads: 2,
        queries: 2,
        size: 1,
        ..shape(1, 2, MAP, [2, 1, 1])
    };
    let mut positions = [0.5f32; 8];
    positions[2] = f32::NAN; // of the second head of the first query
    let mut map = [1.0f32; 32];
    map[0] = f32::NAN; // of the first head: a cell that no point is near
    let tensors = Tensors::<f32> {
        values: map.to_vec(),
        positions: positions.to_vec(),
        weights: vec![1.0; 4],
        dy: vec![1.0; 4],
    };
    let out = forward(&Serial, two, tensors.inputs());
    assert!(out[1].is_nan());
    assert_eq!([out[0], out[2], out[3]], [1.0; 3]);
}
