//! Rotary positions: frequencies, the definition, gradients, PyTorch, integers on big integers.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod refusals;

use selvedge_kernels::exec::{Executor, Serial};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::lut;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::rope::{self, Pairs, Rotation, Scaling, Shape};
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::compare::{
    assert_within, central, cosine, inner, integer, noise, sat, settled, shift_rne, shifted, values,
};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance::{self, Float};
use selvedge_tests::{for_twins, golden};
use serde_json::Value;
use std::f64::consts::TAU;

const PAIRS: [Pairs; 2] = [Pairs::Halves, Pairs::Interleaved];
const BASES: [u32; 5] = [2, 3, 10_000, 500_000, u32::MAX];
/// As Llama 3.1 has it.
const LLAMA: Scaling = Scaling::Llama3 {
    factor: 8_000,
    low: 1_000,
    high: 4_000,
    context: 8_192,
};
const SHAPES: [(usize, usize, usize, usize); 4] =
    [(1, 1, 1, 2), (2, 3, 2, 6), (1, 5, 3, 8), (2, 4, 1, 140)];

fn frequencies(size: usize) -> Vec<u32> {
    let mut frequencies = vec![0; size / 2];
    rope::frequencies(rope::BASE, Scaling::None, &mut frequencies).unwrap();
    frequencies
}

/// Turns a position, by the definition in `f64`.
fn turns(base: u32, scaling: Scaling, pair: usize, pairs: usize) -> f64 {
    let turns = f64::from(base).powf(-(pair as f64) / pairs as f64) / TAU;
    match scaling {
        Scaling::None => turns,
        Scaling::Linear { factor } => turns * 1e3 / f64::from(factor),
        Scaling::Llama3 {
            factor,
            low,
            high,
            context,
        } => {
            let [factor, low, high] = [factor, low, high].map(|x| f64::from(x) / 1e3);
            let all = f64::from(context) * turns;
            if all < low {
                turns / factor
            } else if all > high {
                turns
            } else {
                let share = (all - low) / (high - low);
                (1.0 - share) * turns / factor + share * turns
            }
        }
    }
}

#[test]
fn frequencies_are_the_powers() {
    for base in BASES {
        for scaling in [
            Scaling::None,
            Scaling::Linear { factor: 1_500 },
            LLAMA,
            Scaling::Llama3 {
                factor: 32_000,
                low: 1,
                high: 1_000_000,
                context: 1 << 20,
            },
        ] {
            for pairs in [1, 3, 32, 64, 500] {
                let mut got = vec![0; pairs];
                rope::frequencies(base, scaling, &mut got).unwrap();
                for (pair, got) in got.into_iter().enumerate() {
                    let want = turns(base, scaling, pair, pairs) * 4_294_967_296.0;
                    let limit = 0.5 + want / 32_768.0 / 65_536.0 + 1e-6;
                    assert!(
                        (f64::from(got) - want).abs() <= limit,
                        "base {base}, {scaling:?}, pair {pair} of {pairs}: {want}, {got}"
                    );
                }
            }
        }
    }
}

#[test]
fn sines_are_within_their_bound() {
    let mut worst = 0f64;
    for i in 0..1_000_003u32 {
        let angle = i.wrapping_mul(4_295);
        let radians = f64::from(angle) / 4_294_967_296.0 * TAU;
        let off = f64::from(lut::sine(angle)) - radians.sin() * 32_768.0;
        worst = worst.max(off.abs());
        let off = f64::from(lut::cosine(angle)) - radians.cos() * 32_768.0;
        worst = worst.max(off.abs());
        assert_eq!(lut::sine(angle.wrapping_neg()), -lut::sine(angle));
        assert_eq!(lut::cosine(angle.wrapping_neg()), lut::cosine(angle));
    }
    assert!(worst < tolerance::SINE_UNITS, "{worst}");
    for (quarter, sine) in [0, 32_768, 0, -32_768].into_iter().enumerate() {
        assert_eq!(lut::sine((quarter as u32) << 30), sine);
    }
}

fn run<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    rotation: Rotation<'_>,
    x: &[T],
    store: Store,
    is_back: bool,
) -> (Vec<T>, u32) {
    let mut out = vec![T::ZERO; x.len()];
    let range = if is_back {
        rope::backward(exec, shape, rotation, x, store, &mut out)
    } else {
        rope::forward(exec, shape, rotation, x, store, &mut out)
    };
    (out, range.unwrap())
}

/// The two features of each pair, with the angle by which it turns, in turns of 2^-32.
fn pairs(shape: Shape, rotation: Rotation<'_>, mut each: impl FnMut([usize; 2], u32)) {
    let half = shape.size / 2;
    for row in 0..shape.batch * shape.steps {
        let position = rotation.offset + row % shape.steps;
        for head in 0..shape.heads {
            let start = (row * shape.heads + head) * shape.size;
            for pair in 0..half {
                let angle = (position as u32).wrapping_mul(rotation.frequencies[pair]);
                each(
                    match rotation.pairs {
                        Pairs::Halves => [start + pair, start + half + pair],
                        Pairs::Interleaved => [start + 2 * pair, start + 2 * pair + 1],
                    },
                    angle,
                );
            }
        }
    }
}

fn definition(shape: Shape, rotation: Rotation<'_>, x: &[f64], is_back: bool) -> Vec<f64> {
    let mut out = vec![0.0; x.len()];
    pairs(shape, rotation, |[a, b], angle| {
        let radians = f64::from(angle) / 4_294_967_296.0 * TAU;
        let (sin, cos) = if is_back { -radians } else { radians }.sin_cos();
        out[a] = x[a] * cos - x[b] * sin;
        out[b] = x[a] * sin + x[b] * cos;
    });
    out
}

/// Each shape with each kind of pairs, from the start and from far on.
fn each_case(mut check: impl FnMut(Shape, Rotation<'_>, &mut Noise)) {
    for (seed, (batch, steps, heads, size)) in SHAPES.into_iter().enumerate() {
        let shape = Shape {
            batch,
            steps,
            heads,
            size,
        };
        for pairs in PAIRS {
            for offset in [0, 131_000] {
                let rotation = Rotation {
                    frequencies: &frequencies(size),
                    pairs,
                    offset,
                };
                check(shape, rotation, &mut Noise::new(5_000 + seed as u32));
            }
        }
    }
}

fn floats_are_the_definition<T: Element>(epsilon: f64, storage: impl Fn(f64) -> f64) {
    each_case(|shape, rotation, source| {
        let x: Vec<T> = noise(source, shape.batch * shape.steps * shape.heads * shape.size);
        for is_back in [false, true] {
            let want = definition(shape, rotation, &values(&x, 0), is_back);
            let (got, _) = run(&Serial, shape, rotation, &x, Store::EXACT, is_back);
            let place = format!("{}, {shape:?}, {rotation:?}, {is_back}", T::DTYPE);
            let limit = |y: f64| tolerance::ROTATION_EPSILONS * epsilon + storage(y);
            assert_within(&place, &want, &values(&got, 0), limit);
        }
    });
}

#[test]
fn every_float_type_is_the_definition() {
    let single = f64::from(f32::EPSILON);
    floats_are_the_definition::<f32>(single, tolerance::storage::<f32>);
    floats_are_the_definition::<f16>(single, tolerance::storage::<f16>);
    floats_are_the_definition::<bf16>(single, tolerance::storage::<bf16>);
    floats_are_the_definition::<f64>(f64::EPSILON, |_| 0.0);
    const { assert!(f16::ROUNDING > f32::ROUNDING) };
}

#[test]
fn gradients_are_the_differences() {
    each_case(|shape, rotation, source| {
        let len = shape.batch * shape.steps * shape.heads * shape.size;
        if len > 200 {
            return;
        }
        let (x, dy) = (source.vector(len, 1.0), source.vector(len, 1.0));
        let loss = |x: &[f64]| {
            let (y, _) = run(&Serial, shape, rotation, x, Store::EXACT, false);
            inner(&y, &dy)
        };
        let (dx, _) = run(&Serial, shape, rotation, &dy, Store::EXACT, true);
        let place = format!("{shape:?}, {rotation:?}");
        let limit = |_| tolerance::LINEAR_DIFFERENCE;
        assert_within(&place, &central(&x, loss), &dx, limit);
    });
}

fn integers_follow_the_rule<T: Element>() {
    let m = T::MAGNITUDE_BITS;
    each_case(|shape, rotation, source| {
        let x: Vec<T> = noise(source, shape.batch * shape.steps * shape.heads * shape.size);
        for is_back in [false, true] {
            let mut acc = vec![0i128; x.len()];
            pairs(shape, rotation, |[a, b], angle| {
                let angle = if is_back { angle.wrapping_neg() } else { angle };
                let (cos, sin) = (i128::from(lut::cosine(angle)), i128::from(lut::sine(angle)));
                let (xa, xb) = (integer(x[a]), integer(x[b]));
                acc[a] = xa * cos - xb * sin;
                acc[b] = xa * sin + xb * cos;
            });
            for shift in [15, 16, 12] {
                let place = format!("{}, {shape:?}, {rotation:?}, {is_back}, {shift}", T::DTYPE);
                let want: Vec<_> = acc
                    .iter()
                    .map(|&acc| sat(shift_rne(acc, shift), m))
                    .collect();
                let (got, range) = run(&Serial, shape, rotation, &x, shifted(shift), is_back);
                let got: Vec<_> = got.into_iter().map(integer).collect();
                assert_eq!(want, got, "{place}");
                let most = acc.iter().map(|acc| acc.unsigned_abs()).max().unwrap();
                assert_eq!(range, 128 - most.leading_zeros(), "{place}");
                let (y, measured) = run(&Serial, shape, rotation, &x, Store::Measure, is_back);
                assert_eq!(measured, range, "{place}");
                assert!(y.iter().all(|&y| y == T::ZERO), "{place}");
            }
        }
    });
}

#[test]
fn integers_are_the_rule_on_big_integers() {
    integers_follow_the_rule::<i8>();
    integers_follow_the_rule::<u8>();
    integers_follow_the_rule::<i16>();
    integers_follow_the_rule::<u16>();
    integers_follow_the_rule::<i32>();
    integers_follow_the_rule::<u32>();
    integers_follow_the_rule::<i64>();
    integers_follow_the_rule::<u64>();
}

/// The length of each pair, and the product of a query and a key at a distance, wherever they are.
fn lengths_and_distances_are_kept<T: Element>(least: f64) {
    let (size, steps) = (16, 40);
    let shape = Shape {
        batch: 1,
        steps,
        heads: 1,
        size,
    };
    let rotation = Rotation {
        frequencies: &frequencies(size),
        pairs: Pairs::Halves,
        offset: 0,
    };
    let mut source = Noise::new(5_100);
    let [query, key]: [Vec<T>; 2] = [(); 2].map(|()| noise(&mut source, size));
    let turned = |x: &[T]| {
        let mut y = Vec::new();
        let e = settled(-(T::MAGNITUDE_BITS as i32), T::MAGNITUDE_BITS, |store| {
            let (out, range) = run(&Serial, shape, rotation, &x.repeat(steps), store, false);
            y = out;
            Ok::<_, ()>(range)
        }) + rope::accumulator_places::<T>();
        values(&y, e)
    };
    let (queries, keys) = (turned(&query), turned(&key));
    let exponent = -(T::MAGNITUDE_BITS as i32);
    let row = |x: &[f64], t: usize| x[t * size..(t + 1) * size].to_vec();
    let (query, key) = (values(&query, exponent), values(&key, exponent));
    let size_of = |x: &[f64]| inner(x, x).sqrt();
    let scale = size_of(&query) * size_of(&key);
    for t in 0..steps {
        let length = size_of(&row(&queries, t)) / size_of(&query);
        assert!(
            (length - 1.0).abs() < least,
            "{}: length {length} at {t}",
            T::DTYPE
        );
        for distance in [0, 1, 7] {
            if t + distance < steps {
                let here = inner(&row(&queries, t + distance), &row(&keys, t));
                let first = inner(&row(&queries, distance), &row(&keys, 0));
                let off = (here - first).abs() / scale;
                assert!(off < least, "{}: {off} at {t}, {distance}", T::DTYPE);
            }
        }
    }
}

#[test]
fn products_depend_on_distances_only() {
    lengths_and_distances_are_kept::<f64>(1e-13);
    lengths_and_distances_are_kept::<f32>(1e-5);
    // A half step of the largest of 16 features, which all have about its size.
    lengths_and_distances_are_kept::<i8>(0.02);
    lengths_and_distances_are_kept::<i16>(tolerance::ROTATED_LENGTH + 1.0 / 16_384.0);
    lengths_and_distances_are_kept::<i32>(tolerance::ROTATED_LENGTH);
    lengths_and_distances_are_kept::<i64>(tolerance::ROTATED_LENGTH);
}

#[test]
fn integer_gradients_point_where_those_of_floats_do() {
    fn check<T: Element>(least: f64) {
        each_case(|shape, rotation, source| {
            let x: Vec<T> = noise(source, shape.batch * shape.steps * shape.heads * shape.size);
            let want = definition(shape, rotation, &values(&x, 0), true);
            let words = Words::new(1, 24, 0);
            let store = Store::Shift {
                shift: 16,
                rounding: Rounding::Stochastic(words),
            };
            let (got, _) = run(&Serial, shape, rotation, &x, store, true);
            let cosine = cosine(&want, &values(&got, 0));
            assert!(cosine >= least, "{}, {shape:?}: {cosine}", T::DTYPE);
        });
    }
    check::<i8>(tolerance::COSINE_8_BITS.0);
    check::<i16>(tolerance::COSINE_16_BITS.0);
    check::<i32>(tolerance::COSINE_16_BITS.0);
    check::<i64>(tolerance::COSINE_16_BITS.0);
}

#[test]
fn tasks_steps_and_twins_give_the_same_bytes() {
    macro_rules! check {
        ($signed:ident, $unsigned:ident) => {
            each_case(|shape, rotation, source| {
                let row_len = shape.heads * shape.size;
                let x: Vec<$signed> = noise(source, shape.batch * shape.steps * row_len);
                let store = Store::Shift {
                    shift: 15,
                    rounding: Rounding::Stochastic(Words::new(2, 40, 1)),
                };
                let want = run(&Serial, shape, rotation, &x, store, true);
                let got = run(&Threads(3), shape, rotation, &x, store, true);
                assert_eq!(want, got);
                let flip = |x: &[$signed]| {
                    let top = 1 << ($unsigned::BITS - 1);
                    x.iter().map(|&x| x as $unsigned ^ top).collect::<Vec<_>>()
                };
                let got = run(&Serial, shape, rotation, &flip(&x), store, true);
                assert_eq!((flip(&want.0), want.1), got);
                // One step at a time, to nearest.
                let (whole, _) = run(&Serial, shape, rotation, &x, shifted(15), false);
                for (row, (x, want)) in x.chunks(row_len).zip(whole.chunks(row_len)).enumerate() {
                    let one = Shape {
                        batch: 1,
                        steps: 1,
                        ..shape
                    };
                    let at = Rotation {
                        offset: rotation.offset + row % shape.steps,
                        ..rotation
                    };
                    assert_eq!(run(&Serial, one, at, x, shifted(15), false).0, want);
                }
            });
        };
    }
    for_twins!(check);
}

#[test]
fn pytorch_agrees() {
    let file = golden::read("torch/rope.json");
    let numbers = |case: &Value, key: &str| -> Vec<f64> {
        let values = case[key].as_array().unwrap().iter();
        values.map(|x| x.as_f64().unwrap()).collect()
    };
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let extent = |key: &str| case[key].as_u64().unwrap() as usize;
        let shape = Shape {
            batch: extent("batch"),
            steps: extent("steps"),
            heads: extent("heads"),
            size: extent("size"),
        };
        let scaling = match case["scaling"].as_str().unwrap() {
            "none" => Scaling::None,
            "linear" => Scaling::Linear { factor: 4_000 },
            "llama3" => LLAMA,
            other => panic!("{other}"),
        };
        let mut frequencies = vec![0; shape.size / 2];
        rope::frequencies(extent("base") as u32, scaling, &mut frequencies).unwrap();
        let pairs = if case["interleaved"].as_bool().unwrap() {
            Pairs::Interleaved
        } else {
            Pairs::Halves
        };
        let rotation = Rotation {
            frequencies: &frequencies,
            pairs,
            offset: extent("offset"),
        };
        let place = format!("{shape:?}, {rotation:?}");
        // What half a unit of a frequency turns the last position by.
        let last = (rotation.offset + shape.steps) as f64;
        let limit = |_: f64| last * 0.6 * TAU / 4_294_967_296.0 * 8.0 + tolerance::TORCH_F64;
        let store = Store::EXACT;
        let (y, _) = run(&Serial, shape, rotation, &numbers(case, "x"), store, false);
        assert_within(&format!("{place}: y"), &numbers(case, "y"), &y, limit);
        let (dx, _) = run(&Serial, shape, rotation, &numbers(case, "dy"), store, true);
        assert_within(&format!("{place}: dx"), &numbers(case, "dx"), &dx, limit);
    }
}
