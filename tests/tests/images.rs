//! Resized and sampled images: integers against exact models, floats against definitions, gradients
//! against differences.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::resize::{self, Coordinates, Shape};
use selvedge_kernels::sample::{self, Outside, Positions};
use selvedge_kernels::{Arg, Element, Error};
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::{
    MEASURE, assert_close, assert_stores, assert_transposed, central, cosine, elements, inner,
    nearest, number, numbers, rne, rounding, values,
};
use selvedge_tests::threads::Threads;
use selvedge_tests::{for_floats, for_integers, tolerance};

const COORDINATES: [Coordinates; 3] = [
    Coordinates::HalfPixel,
    Coordinates::AlignCorners,
    Coordinates::Asymmetric,
];

const SIZES: [([usize; 2], [usize; 2]); 8] = [
    ([3, 4], [5, 7]),
    ([5, 6], [3, 2]),
    ([2, 3], [4, 6]),
    ([1, 4], [3, 1]),
    ([4, 1], [1, 5]),
    ([3, 3], [3, 3]),
    ([2, 7], [9, 3]),
    ([1, 1], [4, 4]),
];

fn shape([height, width]: [usize; 2], outputs: [usize; 2], coordinates: Coordinates) -> Shape {
    Shape {
        batch: 2,
        height,
        width,
        channels: 3,
        outputs,
        coordinates,
    }
}

/// The position of an output, as a quotient of integers.
fn position(coordinates: Coordinates, o: usize, input: usize, output: usize) -> (i128, i128) {
    let (o, input, output) = (o as i128, input as i128, output as i128);
    match coordinates {
        Coordinates::HalfPixel => ((2 * o + 1) * input - output, 2 * output),
        Coordinates::AlignCorners if output == 1 => (0, 1),
        Coordinates::AlignCorners => (o * (input - 1), output - 1),
        Coordinates::Asymmetric => (o * input, output),
    }
}

/// The nearest pixel, by the definition.
fn nearest_pixel(coordinates: Coordinates, o: usize, input: usize, output: usize) -> usize {
    let (p, whole) = position(coordinates, o, input, output);
    let i = if coordinates == Coordinates::Asymmetric {
        p.div_euclid(whole)
    } else {
        (2 * p + whole).div_euclid(2 * whole) // halves go up
    };
    i.clamp(0, input as i128 - 1) as usize
}

/// Neighbours and their weights in Q11.
fn taps(coordinates: Coordinates, o: usize, input: usize, output: usize) -> [(usize, i128); 2] {
    let (p, whole) = position(coordinates, o, input, output);
    let p = p.max(0);
    let last = input - 1;
    let low = ((p / whole) as usize).min(last);
    let rest = p % whole;
    let high = (2 * (rest << 11) + whole) / (2 * whole);
    [(low, 2048 - high), ((low + 1).min(last), high)]
}

/// Each output as a weighted sum of inputs: (output, input, weight).
fn matrix(shape: Shape, is_nearest: bool) -> Vec<(usize, usize, i128)> {
    let [rows, columns] = shape.outputs;
    let mut all = Vec::new();
    for n in 0..shape.batch {
        for r in 0..rows {
            for c in 0..columns {
                let axis = |o, input, output| {
                    if is_nearest {
                        vec![(nearest_pixel(shape.coordinates, o, input, output), 1)]
                    } else {
                        taps(shape.coordinates, o, input, output).to_vec()
                    }
                };
                for (y, v) in axis(r, shape.height, rows) {
                    for (x, h) in axis(c, shape.width, columns) {
                        for k in 0..shape.channels {
                            let out = ((n * rows + r) * columns + c) * shape.channels + k;
                            let from =
                                ((n * shape.height + y) * shape.width + x) * shape.channels + k;
                            all.push((out, from, v * h));
                        }
                    }
                }
            }
        }
    }
    all
}

fn lens(shape: Shape) -> [usize; 2] {
    let images = shape.batch * shape.channels;
    [
        images * shape.height * shape.width,
        images * shape.outputs[0] * shape.outputs[1],
    ]
}

fn resized_integers_are_the_model<T: Element>() {
    let mut noise = Noise::new(30);
    for (size, outputs) in SIZES {
        for coordinates in COORDINATES {
            let shape = shape(size, outputs, coordinates);
            let [inputs, out_len] = lens(shape);
            let (x, dy) = (
                elements::<T>(&mut noise, inputs),
                elements::<T>(&mut noise, out_len),
            );
            for is_nearest in [true, false] {
                let place = format!("{shape:?}, nearest: {is_nearest}");
                let (mut y, mut dx) = (vec![0; out_len], vec![0; inputs]);
                for (out, from, weight) in matrix(shape, is_nearest) {
                    y[out] += number(x[from]) * weight;
                    dx[from] += number(dy[out]) * weight;
                }
                if is_nearest {
                    let mut out = vec![T::ZERO; out_len];
                    resize::nearest(&Threads(3), shape, &x, &mut out).unwrap();
                    assert_eq!(numbers(&out), y, "{place}");
                    assert_stores::<T>(&place, &dx, |store, dx| {
                        resize::nearest_backward(&Threads(3), shape, &dy, store, dx).unwrap()
                    });
                } else {
                    for threads in [1, 3] {
                        let exec = Threads(threads);
                        assert_stores::<T>(&place, &y, |store, out| {
                            resize::bilinear(&exec, shape, &x, store, out).unwrap()
                        });
                        assert_stores::<T>(&place, &dx, |store, dx| {
                            resize::bilinear_backward(&exec, shape, &dy, store, dx).unwrap()
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn resized_integers_are_the_models() {
    for_integers!(resized_integers_are_the_model);
}

fn resized_floats_are_the_definition<T: Element>() {
    let mut noise = Noise::new(31);
    for (size, outputs) in SIZES {
        for coordinates in COORDINATES {
            let shape = shape(size, outputs, coordinates);
            let [inputs, out_len] = lens(shape);
            let x = elements::<T>(&mut noise, inputs);
            let mut out = vec![T::ZERO; out_len];
            resize::nearest(&Serial, shape, &x, &mut out).unwrap();
            for (to, from, _) in matrix(shape, true) {
                assert_eq!(out[to], x[from], "{shape:?}");
            }
            resize::bilinear(&Serial, shape, &x, Store::EXACT, &mut out).unwrap();
            let exact = |o, input, output| {
                let (p, whole) = position(coordinates, o, input, output);
                (p as f64 / whole as f64).max(0.0)
            };
            let [rows, columns] = outputs;
            for (i, out) in out.iter().enumerate() {
                let (k, c, r, n) = (
                    i % 3,
                    i / 3 % columns,
                    i / 3 / columns % rows,
                    i / 3 / columns / rows,
                );
                let (v, h) = (exact(r, size[0], rows), exact(c, size[1], columns));
                let pixel = |y: f64, x_at: f64| {
                    let (y, x_at) = (
                        (y as usize).min(size[0] - 1),
                        (x_at as usize).min(size[1] - 1),
                    );
                    x[((n * size[0] + y) * size[1] + x_at) * 3 + k].to_f64()
                };
                let (below, right) = (v - v.floor(), h - h.floor());
                let (v, h) = (v.floor(), h.floor());
                let want = (1.0 - below)
                    * ((1.0 - right) * pixel(v, h) + right * pixel(v, h + 1.0))
                    + below * ((1.0 - right) * pixel(v + 1.0, h) + right * pixel(v + 1.0, h + 1.0));
                // Elements within ±2; six roundings of the accumulator, one of the element.
                let accumulator = if T::DTYPE.name() == "f64" {
                    f64::EPSILON
                } else {
                    f64::from(f32::EPSILON)
                };
                let limit = 6.0 * accumulator * 2.0 + 2.0 * rounding::<T>();
                assert!(
                    (out.to_f64() - want).abs() <= limit,
                    "{shape:?}: {out:?}, {want}"
                );
            }
        }
    }
}

#[test]
fn resized_floats_are_the_definitions() {
    for_floats!(resized_floats_are_the_definition);
}

#[test]
fn gradients_of_resizing_are_the_differences_and_transposes() {
    let mut noise = Noise::new(32);
    for (size, outputs) in SIZES {
        for coordinates in COORDINATES {
            let shape = shape(size, outputs, coordinates);
            let [inputs, out_len] = lens(shape);
            let x = noise.vector(inputs, 1.0);
            let weights = noise.vector(out_len, 1.0);
            let place = format!("{shape:?}");
            let loss = |x: &[f64]| {
                let mut y = vec![0.0; out_len];
                resize::bilinear(&Serial, shape, x, Store::EXACT, &mut y).unwrap();
                inner(&y, &weights)
            };
            let mut dx = vec![0.0; inputs];
            resize::bilinear_backward(&Serial, shape, &weights, Store::EXACT, &mut dx).unwrap();
            assert_close(
                &place,
                &central(&x, loss),
                &dx,
                tolerance::LINEAR_DIFFERENCE,
            );
            assert_transposed(
                &place,
                &mut noise,
                [inputs, out_len],
                |x, y| {
                    resize::bilinear(&Serial, shape, x, Store::EXACT, y).unwrap();
                },
                |y, x| {
                    resize::bilinear_backward(&Serial, shape, y, Store::EXACT, x).unwrap();
                },
            );
            assert_transposed(
                &place,
                &mut noise,
                [inputs, out_len],
                |x, y| resize::nearest(&Serial, shape, x, y).unwrap(),
                |y, x| {
                    resize::nearest_backward(&Serial, shape, y, Store::EXACT, x).unwrap();
                },
            );
        }
    }
}

fn sampled(outside: Outside) -> sample::Shape {
    sample::Shape {
        batch: 2,
        height: 4,
        width: 5,
        channels: 3,
        points: 12,
        outside,
    }
}

/// Neighbours of an integer position along an axis, with weights in Q11, and whether it is free to
/// move.
fn neighbours(p: i128, extent: usize, outside: Outside) -> ([(i128, i128); 2], bool) {
    let last = (extent as i128 - 1) << 11;
    let (p, moves) = match outside {
        Outside::Zeros => (p, true),
        Outside::Border => (p.clamp(0, last), p > 0 && p < last),
    };
    let high = p.rem_euclid(2048);
    let low = p.div_euclid(2048);
    ([(low, 2048 - high), (low + 1, high)], moves)
}

fn sampled_integers_are_the_model<T: Element>() {
    let m = T::MAGNITUDE_BITS as i32;
    let mut noise = Noise::new(33);
    for outside in [Outside::Zeros, Outside::Border] {
        let shape = sampled(outside);
        // Positions over the image and a little around; far away; coarse and fine; where a shift to the left
        // has its last place (50), and beyond.
        for exponent in [3 - m, 40 - m, -11, 1, 50, 51] {
            let x = elements::<T>(&mut noise, 2 * 4 * 5 * 3);
            let p = elements::<T>(&mut noise, 2 * 12 * 2);
            let dy = elements::<T>(&mut noise, 2 * 12 * 3);
            let positions = Positions {
                values: &p,
                exponent,
            };
            let cut = (m - 15).max(0);
            let (mut y, mut dx, mut dp) = (vec![0; dy.len()], vec![0; x.len()], vec![0; p.len()]);
            for point in 0..24 {
                let at = |axis: usize, extent| {
                    let q = number(p[2 * point + axis]);
                    neighbours(rne(q, -11 - exponent), extent, outside)
                };
                let ((vertical, v_moves), (horizontal, h_moves)) = (at(0, 4), at(1, 5));
                let pixel = |y: i128, x_at: i128, k: usize| {
                    let inside = (0..4).contains(&y) && (0..5).contains(&x_at);
                    inside.then(|| ((point / 12 * 4 + y as usize) * 5 + x_at as usize) * 3 + k)
                };
                for k in 0..3 {
                    let i = 3 * point + k;
                    for (row, v) in vertical {
                        for (column, h) in horizontal {
                            if let Some(from) = pixel(row, column, k) {
                                y[i] += number(x[from]) * v * h;
                                dx[from] += number(dy[i]) * v * h;
                            }
                        }
                    }
                    let value =
                        |y, x_at| pixel(y, x_at, k).map_or(0, |from| rne(number(x[from]), cut));
                    let d = rne(number(dy[i]), cut);
                    let [(top, above), (bottom, below)] = vertical;
                    let [(left, near), (right, far)] = horizontal;
                    if v_moves {
                        dp[2 * point] += d
                            * ((value(bottom, left) - value(top, left)) * near
                                + (value(bottom, right) - value(top, right)) * far);
                    }
                    if h_moves {
                        dp[2 * point + 1] += d
                            * ((value(top, right) - value(top, left)) * above
                                + (value(bottom, right) - value(bottom, left)) * below);
                    }
                }
            }
            let place = format!("{outside:?} at {exponent}");
            for threads in [1, 3] {
                let exec = Threads(threads);
                assert_stores::<T>(&format!("y {place}"), &y, |store, out| {
                    sample::forward(&exec, shape, &x, positions, store, out).unwrap()
                });
                assert_stores::<T>(&format!("dp {place}"), &dp, |store, dp| {
                    sample::backward_positions(&exec, shape, &x, positions, &dy, store, dp).unwrap()
                });
            }
            let mut scratch = vec![Default::default(); sample::scratch_len(shape).unwrap()];
            assert_stores::<T>(&format!("dx {place}"), &dx, |store, dx| {
                sample::backward_input(shape, positions, &dy, store, dx, &mut scratch).unwrap()
            });
        }
    }
}

#[test]
fn sampled_integers_are_the_models() {
    for_integers!(sampled_integers_are_the_model);
}

/// However coarse positions are, all but 0 are outside; however fine, all are 0.
fn any_exponent_of_positions_is_defined<T: Element>() {
    let shape = sample::Shape {
        batch: 1,
        height: 2,
        width: 3,
        channels: 1,
        points: 3,
        outside: Outside::Border,
    };
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].map(T::from_f64);
    let p = [1.0, 1.0, -1.0, 1.0, 0.0, -1.0].map(T::from_f64);
    // Exact: an accumulator has 22 places below the pixels.
    let store = Store::Shift {
        shift: 22,
        rounding: Rounding::NearestEven,
    };
    let coarse = [50, 51, 52, 63, 1000, i32::MAX].map(|exponent| (exponent, [6.0, 3.0, 1.0]));
    let fine = [-80, -1000, i32::MIN].map(|exponent| (exponent, [1.0; 3]));
    for (exponent, bordered) in coarse.into_iter().chain(fine) {
        let zeros = if exponent > 0 { [0.0; 3] } else { [1.0; 3] };
        for (outside, want) in [(Outside::Border, bordered), (Outside::Zeros, zeros)] {
            let shape = sample::Shape { outside, ..shape };
            let positions = Positions {
                values: &p,
                exponent,
            };
            let mut y = [T::ZERO; 3];
            sample::forward(&Serial, shape, &x, positions, store, &mut y).unwrap();
            assert_eq!(y.map(T::to_f64), want, "{outside:?}, exponent {exponent}");
        }
    }
}

#[test]
fn any_exponent_of_positions_is_defined_in_every_type() {
    for_integers!(any_exponent_of_positions_is_defined);
}

#[test]
fn gradients_of_sampling_are_the_differences() {
    let mut noise = Noise::new(34);
    for outside in [Outside::Zeros, Outside::Border] {
        let shape = sampled(outside);
        let x = noise.vector(2 * 4 * 5 * 3, 1.0);
        // Off the pixels' centres, where slopes jump; some outside.
        let p: Vec<f64> = noise
            .vector(2 * 12 * 2, 3.5)
            .iter()
            .map(|p| p + 1.5)
            .map(|p| p.floor() + (p - p.floor()).clamp(0.01, 0.99))
            .collect();
        assert!(
            p.iter().any(|&p| p < 0.0) && p.iter().any(|&p| p > 4.0),
            "some outside"
        );
        let weights = noise.vector(2 * 12 * 3, 1.0);
        let loss = |x: &[f64], p: &[f64]| {
            let mut y = vec![0.0; weights.len()];
            let p = Positions {
                values: p,
                exponent: 0,
            };
            sample::forward(&Serial, shape, x, p, Store::EXACT, &mut y).unwrap();
            inner(&y, &weights)
        };
        let positions = Positions {
            values: &p[..],
            exponent: 0,
        };
        let (mut dx, mut dp) = (vec![0.0; x.len()], vec![0.0; p.len()]);
        let mut scratch = vec![0.0; 60];
        let exact = Store::EXACT;
        sample::backward_input(shape, positions, &weights, exact, &mut dx, &mut scratch).unwrap();
        sample::backward_positions(&Serial, shape, &x, positions, &weights, exact, &mut dp)
            .unwrap();
        let place = format!("{outside:?}");
        let limit = tolerance::LINEAR_DIFFERENCE; // linear between pixels
        assert_close(
            &format!("dx, {place}"),
            &central(&x, |x| loss(x, &p)),
            &dx,
            limit,
        );
        assert_close(
            &format!("dp, {place}"),
            &central(&p, |p| loss(&x, p)),
            &dp,
            limit,
        );
    }
}

fn sampling_cosines<T: Element>() -> [f64; 2] {
    let shape = sampled(Outside::Zeros);
    let mut noise = Noise::new(35);
    let m = T::MAGNITUDE_BITS as i32;
    let unit = 2f64.powi(-m);
    let quantized =
        |x: &[f64], unit: f64| -> Vec<T> { x.iter().map(|x| T::from_f64(x / unit)).collect() };
    let real = |x: &[T], unit: f64| -> Vec<f64> { values(x).iter().map(|x| x * unit).collect() };
    let x = quantized(&noise.vector(120, 1.0), unit);
    let at: Vec<f64> = noise.vector(48, 1.9).iter().map(|p| p + 1.95).collect();
    let p = quantized(&at, 4.0 * unit);
    let dy = quantized(&noise.vector(72, 1.0), unit);
    let positions = Positions {
        values: &p,
        exponent: 2 - m,
    };
    let (mut dx, mut dp) = (vec![T::ZERO; 120], vec![T::ZERO; 48]);
    let mut scratch = vec![Default::default(); 60];
    let store = |range: u32| nearest(range as i32 - m);
    let mut input = |store, dx: &mut [T]| {
        sample::backward_input(shape, positions, &dy, store, dx, &mut scratch).unwrap()
    };
    let range = input(MEASURE, &mut dx);
    input(store(range), &mut dx);
    let back = |store, dp: &mut [T]| {
        sample::backward_positions(&Serial, shape, &x, positions, &dy, store, dp).unwrap()
    };
    let range = back(MEASURE, &mut dp);
    back(store(range), &mut dp);
    // Floats at positions rounded as the kernel rounds them, so that both stand on one side of a
    // pixel's centre.
    let (rx, rd) = (real(&x, unit), real(&dy, unit));
    let rp: Vec<f64> = real(&p, 4.0 * unit)
        .iter()
        .map(|p| (p * 2048.0).round_ties_even() / 2048.0)
        .collect();
    let positions = Positions {
        values: &rp[..],
        exponent: 0,
    };
    let (mut want_dx, mut want_dp) = (vec![0.0; 120], vec![0.0; 48]);
    let exact = Store::EXACT;
    sample::backward_input(
        shape,
        positions,
        &rd,
        exact,
        &mut want_dx,
        &mut vec![0.0; 60],
    )
    .unwrap();
    sample::backward_positions(&Serial, shape, &rx, positions, &rd, exact, &mut want_dp).unwrap();
    [
        cosine(&want_dx, &values(&dx)),
        cosine(&want_dp, &values(&dp)),
    ]
}

#[test]
fn integer_gradients_of_sampling_point_where_those_of_floats_do() {
    for cosine in sampling_cosines::<i8>() {
        assert!(cosine >= tolerance::COSINE_8_BITS.0, "{cosine}");
    }
    for cosine in [
        sampling_cosines::<i16>(),
        sampling_cosines::<i32>(),
        sampling_cosines::<i64>(),
    ]
    .concat()
    {
        assert!(cosine >= tolerance::COSINE_16_BITS.0, "{cosine}");
    }
}

fn nan_is_defined<T: Element>() {
    let nan = T::from_f64(f64::NAN);
    let shape = sample::Shape {
        batch: 1,
        height: 2,
        width: 2,
        channels: 1,
        points: 3,
        outside: Outside::Zeros,
    };
    let number = T::from_f64(0.5);
    let infinite = T::from_f64(f64::INFINITY);
    let p = [nan, number, infinite, number, number, number];
    for outside in [Outside::Zeros, Outside::Border] {
        let shape = sample::Shape { outside, ..shape };
        let positions = Positions {
            values: &p[..],
            exponent: 0,
        };
        let mut out = [T::ZERO; 3];
        sample::forward(
            &Serial,
            shape,
            &[number; 4],
            positions,
            Store::EXACT,
            &mut out,
        )
        .unwrap();
        assert!(out[0].to_f64().is_nan(), "{outside:?}: a NaN position");
        let far = if outside == Outside::Zeros { 0.0 } else { 0.5 };
        assert_eq!(
            (out[1].to_f64(), out[2].to_f64()),
            (far, 0.5),
            "{outside:?}: at infinity"
        );
        let x = [number, nan, number, number];
        sample::forward(&Serial, shape, &x, positions, Store::EXACT, &mut out).unwrap();
        assert!(out[2].to_f64().is_nan());
    }
    let shape = Shape {
        batch: 1,
        channels: 1,
        ..super_resized()
    };
    let mut out = [T::ZERO; 16];
    let x = [nan, number, number, number];
    resize::bilinear(&Serial, shape, &x, Store::EXACT, &mut out).unwrap();
    assert!(out[0].to_f64().is_nan() && !out[15].to_f64().is_nan());
}

fn super_resized() -> Shape {
    shape([2, 2], [4, 4], Coordinates::HalfPixel)
}

#[test]
fn nan_propagates() {
    for_floats!(nan_is_defined);
}

#[test]
fn bad_input_is_refused() {
    const MARK: i8 = 85;
    let fine = shape([2, 2], [1, 3], Coordinates::HalfPixel);
    let x = [1i8; 24];
    let mut out = [MARK; 24];
    let length = |arg, expected, got| Error::Length { arg, expected, got };
    let exact = Store::EXACT;
    assert_eq!(
        resize::nearest(&Serial, fine, &x[..23], &mut out[..18]),
        Err(length(Arg::X, 24, 23))
    );
    assert_eq!(
        resize::nearest(&Serial, fine, &x, &mut out),
        Err(length(Arg::Out, 18, 24))
    );
    assert_eq!(
        resize::bilinear(&Serial, fine, &x, exact, &mut out),
        Err(length(Arg::Out, 18, 24))
    );
    let back = resize::bilinear_backward(&Serial, fine, &x, exact, &mut out);
    assert_eq!(back, Err(length(Arg::Dy, 18, 24)));
    let back = resize::nearest_backward(&Serial, fine, &x[..18], exact, &mut out[..23]);
    assert_eq!(back, Err(length(Arg::Dx, 24, 23)));
    let empty = Shape {
        outputs: [0, 3],
        ..fine
    };
    assert_eq!(
        resize::nearest(&Serial, empty, &x, &mut out),
        Err(Error::Zero { arg: Arg::Out })
    );
    let huge = Shape {
        outputs: [1 << 30, 3],
        ..fine
    };
    assert_eq!(
        resize::nearest(&Serial, huge, &x, &mut out),
        Err(Error::Overflow {
            arg: Arg::Shape,
            got: Some(1 << 30),
        })
    );
    // 300 times as many rows and columns: more than 2^16 parts in a pixel.
    let wide = Shape {
        batch: 1,
        height: 1,
        width: 1,
        channels: 1,
        outputs: [300, 300],
        coordinates: fine.coordinates,
    };
    let (dy, terms) = (vec![0i32; 90_000], 300 * 300); // all show the one pixel
    let refused = resize::bilinear_backward(&Serial, wide, &dy, exact, &mut [0]);
    assert_eq!(
        refused,
        Err(Error::Accumulator {
            terms,
            limit: 1 << 16
        })
    );

    let shape = sample::Shape {
        batch: 1,
        height: 2,
        width: 3,
        channels: 2,
        points: 2,
        outside: Outside::Zeros,
    };
    let p = Positions {
        values: &x[..4],
        exponent: 0,
    };
    let short = Positions {
        values: &x[..3],
        exponent: 0,
    };
    let forward = |x: &[i8], p, out: &mut [i8]| sample::forward(&Serial, shape, x, p, exact, out);
    assert_eq!(
        forward(&x[..11], p, &mut out[..4]),
        Err(length(Arg::X, 12, 11))
    );
    assert_eq!(
        forward(&x[..12], short, &mut out[..4]),
        Err(length(Arg::Positions, 4, 3))
    );
    assert_eq!(forward(&x[..12], p, &mut out), Err(length(Arg::Out, 4, 24)));
    let mut scratch = [7; 12];
    let back = sample::backward_input(shape, p, &x[..4], exact, &mut out[..12], &mut scratch[..11]);
    assert_eq!(back, Err(length(Arg::Scratch, 12, 11)));
    let back = sample::backward_input(shape, p, &x[..3], exact, &mut out[..12], &mut scratch);
    assert_eq!(back, Err(length(Arg::Dy, 4, 3)));
    let back = sample::backward_positions(&Serial, shape, &x[..12], p, &x[..4], exact, &mut out);
    assert_eq!(back, Err(length(Arg::Dx, 4, 24)));
    assert!(
        out.iter().all(|&x| x == MARK) && scratch == [7; 12],
        "a refused call wrote something"
    );
}
