//! Deformable attention: the definition, its gradients, PyTorch, what lies beyond the map; the typed layer.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

mod beyond;
mod layer;
mod offsets;
mod refusals;
mod torch;

use selvedge_kernels::deformable::{self, Errors, Float, Inputs, Level, Shape};
use selvedge_kernels::exec::{Executor, Serial};
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::compare::{assert_within, central, elements, inner, values};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance;

/// A float with the type of its positions.
trait Positioned: Float + Element<Acc = Self::Position> {
    type Position: Element;
}

impl Positioned for f16 {
    type Position = f32;
}

impl Positioned for bf16 {
    type Position = f32;
}

impl Positioned for f32 {
    type Position = f32;
}

impl Positioned for f64 {
    type Position = f64;
}

const fn level(height: usize, width: usize) -> Level {
    Level { height, width }
}

/// Extents from a single cell to three levels and heads wider than a block, with odd sizes.
const SHAPES: [Shape<'static>; 6] = [
    shape(1, 1, &[level(1, 1)], [1, 1, 1]),
    shape(2, 3, &[level(3, 5), level(2, 1)], [2, 3, 2]),
    shape(3, 2, &[level(4, 4)], [3, 8, 1]),
    shape(1, 5, &[level(7, 3), level(1, 4), level(2, 2)], [1, 9, 3]),
    shape(2, 4, &[level(5, 6)], [2, 41, 4]),
    shape(1, 30, &[level(5, 6)], [4, 16, 4]),
];

const fn shape<'a>(
    batch: usize,
    queries: usize,
    levels: &'a [Level],
    [heads, size, points]: [usize; 3],
) -> Shape<'a> {
    Shape {
        batch,
        queries,
        levels,
        heads,
        size,
        points,
    }
}

/// Elements of values, positions, weights and outputs.
fn lens(shape: Shape<'_>) -> [usize; 4] {
    let rows = shape.batch * shape.queries * shape.heads;
    let taps = rows * shape.levels.len() * shape.points;
    let cells = shape.batch * shape.cells().unwrap();
    [
        cells * shape.heads * shape.size,
        2 * taps,
        taps,
        rows * shape.size,
    ]
}

/// What a call reads, and the error of its output.
#[derive(Clone)]
struct Tensors<T: Positioned> {
    values: Vec<T>,
    positions: Vec<T::Position>,
    weights: Vec<T>,
    dy: Vec<T>,
}

impl<T: Positioned> Tensors<T> {
    /// Values, weights and errors within 1; positions inside, on edges and beyond them, none of them at the centre
    /// of a cell, where slopes jump.
    fn noise(source: &mut Noise, shape: Shape<'_>) -> Self {
        let [values, positions, weights, out] = lens(shape);
        let mut draw = |len| elements::<T>(&source.vector(len, 1.0), 0);
        let [values, weights, dy] = [values, weights, out].map(&mut draw);
        let axes = shape.levels.iter().flat_map(|level| {
            let point = [level.width, level.height];
            core::iter::repeat_n(point, shape.points).flatten()
        });
        let axes: Vec<_> = axes.collect();
        let positions: Vec<_> = (0..positions)
            .map(|i| {
                let extent = axes[i % axes.len()];
                let cell = source.below(extent + 4) as f64 - 2.0;
                let between = 0.05 + 0.45 * (source.signed() + 1.0);
                match source.below(12) {
                    0 => 0.0,
                    1 => 1.0,
                    _ => (cell + between + 0.5) / extent as f64,
                }
            })
            .collect();
        Self {
            values,
            positions: elements(&positions, 0),
            weights,
            dy,
        }
    }

    fn inputs(&self) -> Inputs<'_, T> {
        Inputs {
            values: &self.values,
            positions: &self.positions,
            weights: &self.weights,
        }
    }

    /// As the definition reads them.
    fn exact(&self) -> [Vec<f64>; 4] {
        [
            values(&self.values, 0),
            values(&self.positions, 0),
            values(&self.weights, 0),
            values(&self.dy, 0),
        ]
    }
}

fn forward<T: Positioned>(exec: &impl Executor, shape: Shape<'_>, inputs: Inputs<'_, T>) -> Vec<T> {
    let mut out = vec![T::from_f64(85.0); lens(shape)[3]];
    deformable::forward(exec, shape, inputs, &mut out).unwrap();
    out
}

/// The errors of values, positions and weights.
struct Gradients<T: Positioned> {
    values: Vec<T>,
    positions: Vec<T::Position>,
    weights: Vec<T>,
}

impl<T: Positioned> Gradients<T> {
    fn exact(&self) -> [Vec<f64>; 3] {
        [
            values(&self.values, 0),
            values(&self.positions, 0),
            values(&self.weights, 0),
        ]
    }
}

/// With scratch memory for `tasks` tasks.
fn backward<T: Positioned>(
    exec: &impl Executor,
    tasks: usize,
    shape: Shape<'_>,
    inputs: Inputs<'_, T>,
    dy: &[T],
) -> Gradients<T> {
    let [values, positions, weights, _] = lens(shape);
    let stale = T::from_f64(85.0);
    let mut gradients = Gradients {
        values: vec![stale; values],
        positions: vec![T::Position::from_f64(85.0); positions],
        weights: vec![stale; weights],
    };
    let len = deformable::backward_scratch_len(shape, tasks).unwrap();
    let mut scratch = vec![T::Position::from_f64(77.0); len];
    let errors = Errors {
        values: &mut gradients.values,
        positions: &mut gradients.positions,
        weights: &mut gradients.weights,
    };
    deformable::backward(exec, shape, inputs, dy, errors, &mut scratch).unwrap();
    gradients
}

/// The share of a cell at a distance, and its slope towards larger positions.
fn hat(distance: f64) -> [f64; 2] {
    match distance {
        d if (-1.0..0.0).contains(&d) => [1.0 + d, 1.0],
        d if (0.0..1.0).contains(&d) => [1.0 - d, -1.0],
        _ => [0.0; 2],
    }
}

/// The definition in `f64`, plain, every point against every cell: outputs, and the errors of values, positions and
/// weights.
fn definition(shape: Shape<'_>, [values, positions, weights, dy]: [&[f64]; 4]) -> [Vec<f64>; 4] {
    let Shape {
        batch,
        queries,
        levels,
        heads,
        size,
        points,
    } = shape;
    let cells = shape.cells().unwrap();
    let [values_len, positions_len, weights_len, out_len] = lens(shape);
    let mut to = [out_len, values_len, positions_len, weights_len].map(|len| vec![0.0; len]);
    let mut point = 0;
    for row in 0..batch * queries * heads {
        let (sample, head) = (row / heads / queries, row % heads);
        let mut cell = sample * cells;
        for level in levels {
            for _ in 0..points {
                let (x, y, weight) = (
                    positions[2 * point],
                    positions[2 * point + 1],
                    weights[point],
                );
                let (width, height) = (level.width as f64, level.height as f64);
                for i in 0..level.height {
                    for j in 0..level.width {
                        let [row_share, row_slope] = hat(y * height - 0.5 - i as f64);
                        let [column_share, column_slope] = hat(x * width - 0.5 - j as f64);
                        let at = (cell + i * level.width + j) * heads * size + head * size;
                        for f in 0..size {
                            let (value, d) = (values[at + f], dy[row * size + f]);
                            let share = row_share * column_share;
                            to[0][row * size + f] += weight * share * value;
                            to[1][at + f] += weight * share * d;
                            to[2][2 * point] +=
                                weight * width * row_share * column_slope * value * d;
                            to[2][2 * point + 1] +=
                                weight * height * row_slope * column_share * value * d;
                            to[3][point] += share * value * d;
                        }
                    }
                }
                point += 1;
            }
            cell += level.height * level.width;
        }
    }
    to
}

#[test]
fn gradients_are_the_differences() {
    for (seed, shape) in SHAPES.into_iter().take(4).enumerate() {
        let tensors = Tensors::<f64>::noise(&mut Noise::new(5_000 + seed as u32), shape);
        let Tensors {
            values,
            positions,
            weights,
            dy,
        } = &tensors;
        let loss = |values: &[f64], positions: &[f64], weights: &[f64]| {
            let inputs = Inputs {
                values,
                positions,
                weights,
            };
            inner(&forward(&Serial, shape, inputs), dy)
        };
        let got = backward(&Serial, 1, shape, tensors.inputs(), dy);
        let limit = |_| tolerance::LINEAR_DIFFERENCE * 40.0; // positions times extents of up to 7
        let want = central(values, |values| loss(values, positions, weights));
        assert_within(&format!("{shape:?}: dvalues"), &want, &got.values, limit);
        let want = central(positions, |positions| loss(values, positions, weights));
        assert_within(
            &format!("{shape:?}: dpositions"),
            &want,
            &got.positions,
            limit,
        );
        let want = central(weights, |weights| loss(values, positions, weights));
        assert_within(&format!("{shape:?}: dweights"), &want, &got.weights, limit);
    }
}

fn floats_are_the_definition<T: Positioned>(epsilon: f64, storage: impl Fn(f64) -> f64) {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let tensors = Tensors::<T>::noise(&mut Noise::new(5_100 + seed as u32), shape);
        let out = values(&forward(&Serial, shape, tensors.inputs()), 0);
        let got = backward(&Serial, 1, shape, tensors.inputs(), &tensors.dy).exact();
        let [x, positions, weights, dy] = &tensors.exact();
        let want = definition(shape, [x, positions, weights, dy]);
        let bound = tolerance::deformable(epsilon, shape);
        let [dvalues, dpositions, dweights] = &got;
        for (what, want, got, own) in [
            ("out", &want[0], &out, bound.out),
            ("dvalues", &want[1], dvalues, bound.values),
            ("dpositions", &want[2], dpositions, bound.positions),
            ("dweights", &want[3], dweights, bound.weights),
        ] {
            let place = format!("{}, {shape:?}: {what}", T::DTYPE);
            let is_stored = what != "dpositions"; // those are accumulators
            let limit = |y: f64| own + if is_stored { storage(y) } else { 0.0 };
            assert_within(&place, want, got, limit);
        }
    }
}

#[test]
fn every_float_type_is_the_definition() {
    let single = f64::from(f32::EPSILON);
    floats_are_the_definition::<f32>(single, tolerance::storage::<f32>);
    floats_are_the_definition::<f16>(single, tolerance::storage::<f16>);
    floats_are_the_definition::<bf16>(single, tolerance::storage::<bf16>);
    floats_are_the_definition::<f64>(f64::EPSILON, |_| 0.0);
}

/// Sums run in the same order whoever computes them.
fn tasks_give_the_same_bytes<T: Positioned>() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let tensors = Tensors::<T>::noise(&mut Noise::new(5_200 + seed as u32), shape);
        let (inputs, dy) = (tensors.inputs(), &tensors.dy);
        let one = backward(&Serial, 1, shape, inputs, dy).exact();
        let out = forward(&Serial, shape, inputs);
        assert_eq!(forward(&Threads(3), shape, inputs), out, "{shape:?}");
        for tasks in 1..=3 {
            let several = backward(&Threads(3), tasks, shape, inputs, dy).exact();
            assert_eq!(several, one, "{}, {shape:?}, {tasks}", T::DTYPE);
        }
    }
}

#[test]
fn any_number_of_tasks_gives_the_same_bytes() {
    tasks_give_the_same_bytes::<f32>();
    tasks_give_the_same_bytes::<f16>();
    tasks_give_the_same_bytes::<bf16>();
    tasks_give_the_same_bytes::<f64>();
}

#[test]
fn samples_do_not_see_each_other_nor_do_queries() {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let tensors = Tensors::<f32>::noise(&mut Noise::new(5_300 + seed as u32), shape);
        let out = forward(&Serial, shape, tensors.inputs());
        let all = backward(&Serial, 1, shape, tensors.inputs(), &tensors.dy);
        let part = |x: &[f32], parts: usize, at: usize| -> Vec<f32> {
            x.chunks(x.len() / parts).nth(at).unwrap().to_vec()
        };
        for sample in 0..shape.batch {
            let alone = Shape { batch: 1, ..shape };
            let of = |x: &[f32]| part(x, shape.batch, sample);
            let own = Tensors::<f32> {
                values: of(&tensors.values),
                positions: of(&tensors.positions),
                weights: of(&tensors.weights),
                dy: of(&tensors.dy),
            };
            let y = forward(&Serial, alone, own.inputs());
            assert_eq!(y, of(&out), "{shape:?}");
            let got = backward(&Serial, 1, alone, own.inputs(), &own.dy);
            assert_eq!(got.values, of(&all.values), "{shape:?}");
            assert_eq!(got.positions, of(&all.positions), "{shape:?}");
            assert_eq!(got.weights, of(&all.weights), "{shape:?}");
            for query in 0..shape.queries {
                let single = Shape {
                    queries: 1,
                    ..alone
                };
                let of = |x: &[f32]| part(x, shape.queries, query);
                let inputs = Inputs {
                    values: &own.values,
                    positions: &of(&own.positions),
                    weights: &of(&own.weights),
                };
                assert_eq!(forward(&Serial, single, inputs), of(&y), "{shape:?}");
            }
        }
    }
}
