//! Integers against the rule on big integers, bounds over all bytes, and against floats.

use super::{KINDS, SHAPES, normalised, pass, statistics};
use selvedge_kernels::Element;
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::{Rounding, isqrt_u128};
use selvedge_kernels::norm::{self, Affine, Kind, Saved, Shape};
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_tests::compare::{
    assert_within, cosine, elements, inner, integer, noise, sat, settled, shift_rne, shifted,
    values,
};
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

/// The rule of `docs/numerics.md` §15 on big integers: accumulators of the output, of the input's
/// gradient, and the gain's gradient. `M` is the only thing that it knows of the type.
struct Model {
    y: Vec<i128>,
    dx: Vec<i128>,
    dgamma: Vec<i128>,
}

fn model(
    shape: Shape,
    kind: Kind,
    m: i32,
    [x, dy, gamma, beta]: [&[i128]; 4],
    beta_shift: i32,
) -> Model {
    let n = shape.features;
    let big = n as i128;
    let mut out = Model {
        y: Vec::new(),
        dx: Vec::new(),
        dgamma: vec![0; n],
    };
    for (x, dy) in x.chunks(n).zip(dy.chunks(n)) {
        let q: Vec<i128> = x.iter().map(|&x| shift_rne(x, (m - 15).max(0))).collect();
        let s2: i128 = q.iter().map(|q| q * q).sum();
        let s1: i128 = if kind == Kind::Layer {
            q.iter().sum()
        } else {
            0
        };
        let v = big * s2 - s1 * s1;
        let bits = 128 - v.leading_zeros() as i32;
        let (mut j, mut r) = (0, 0);
        if v != 0 {
            j = (30 - bits).div_euclid(2);
            let normal = if j >= 0 { v << (2 * j) } else { v >> (-2 * j) };
            r = (1i128 << 30) / isqrt_u128(normal as u128) as i128;
        }
        let normal = |q: &i128| sat(shift_rne((big * q - s1) * r, 18 - j), 15);
        let normal: Vec<i128> = q.iter().map(normal).collect();
        let k = (2 * m - 23).max(0);
        let a: Vec<i128> = (0..n).map(|i| shift_rne(dy[i] * gamma[i], k)).collect();
        let sum: i128 = if kind == Kind::Layer {
            a.iter().sum()
        } else {
            0
        };
        let product: i128 = (0..n).map(|i| a[i] * normal[i]).sum();
        let product = shift_rne(product, 12);
        for i in 0..n {
            let cap = [30, 61, 125][usize::from(m > 15) + usize::from(m > 24)];
            out.y
                .push(normal[i] * gamma[i] + sat(shift_rne(beta[i], beta_shift), cap));
            let w = big * a[i] - sum - shift_rne(normal[i] * product, 12);
            out.dx.push(shift_rne(w * r, 15 - j));
            out.dgamma[i] += dy[i] * normal[i];
        }
    }
    out
}

fn integers_follow_the_rule<T: Element<Update: Default + Into<i128>>>() {
    let m = T::MAGNITUDE_BITS as i32;
    let largest = ((1u64 << m) - 1) as f64;
    let long = [(2, 300), (1, 5000)];
    for (seed, (rows, features)) in SHAPES.into_iter().chain(long).enumerate() {
        for kind in KINDS {
            for fill in 0..6 {
                let shape = Shape { rows, features };
                let place = format!("{}, {shape:?}, {kind:?}, fill {fill}", T::DTYPE);
                let mut source = Noise::new(350 + seed as u32);
                let count = rows * features;
                let x: Vec<T> = match fill {
                    0 | 1 => noise(&mut source, count),
                    2 => vec![T::from_f64(largest); count],
                    3 => (0..count)
                        .map(|i| T::from_f64(if i % 2 == 0 { largest } else { -largest }))
                        .collect(),
                    4 => (0..count)
                        .map(|i| T::from_f64(f64::from(i % features == 0)))
                        .collect(),
                    _ => (0..count)
                        .map(|_| T::from_f64(source.signed() * 3.0))
                        .collect(),
                };
                let dy: Vec<T> = if fill == 1 {
                    vec![T::from_f64(-largest); count]
                } else {
                    noise(&mut source, count)
                };
                let gamma: Vec<T> = noise(&mut source, features);
                let beta: Vec<T::Bias> = noise(&mut source, features);
                for (beta_shift, shifts) in [(-12, [12, 10]), (3, [20, 30]), (-20, [0, 45])] {
                    let integers = |x: &[T]| x.iter().map(|&x| integer(x)).collect::<Vec<_>>();
                    let want = model(
                        shape,
                        kind,
                        m,
                        [
                            &integers(&x),
                            &integers(&dy),
                            &integers(&gamma),
                            &beta.iter().map(|&b| integer(b)).collect::<Vec<_>>(),
                        ],
                        beta_shift,
                    );
                    let bias = Some(Bias {
                        values: &beta[..],
                        shift: beta_shift,
                    });
                    let got = pass::<T>(
                        &Serial,
                        shape,
                        kind,
                        [&x, &dy, &gamma],
                        bias,
                        shifts.map(shifted),
                    );
                    for (what, want, out, shift, range) in [
                        ("y", &want.y, &got.y, shifts[0], got.ranges[0]),
                        ("dx", &want.dx, &got.dx, shifts[1], got.ranges[1]),
                    ] {
                        let stored: Vec<i128> = want
                            .iter()
                            .map(|&acc| sat(shift_rne(acc, shift), m as u32))
                            .collect();
                        assert_eq!(stored, integers(out), "{place}: {what}");
                        let most = want.iter().map(|acc| acc.unsigned_abs()).max().unwrap();
                        assert_eq!(
                            range,
                            128 - most.leading_zeros(),
                            "{place}: range of {what}"
                        );
                    }
                    let dgamma: Vec<i128> = got.dgamma.into_iter().map(Into::into).collect();
                    assert_eq!(want.dgamma, dgamma, "{place}: dgamma");
                }
            }
        }
    }
}

#[test]
fn integers_follow_the_rule_on_big_integers() {
    integers_follow_the_rule::<i8>();
    integers_follow_the_rule::<u8>();
    integers_follow_the_rule::<i16>();
    integers_follow_the_rule::<u16>();
    integers_follow_the_rule::<i32>();
    integers_follow_the_rule::<u32>();
    integers_follow_the_rule::<i64>();
    integers_follow_the_rule::<u64>();
}

/// All pairs of bytes as rows of two, and of each byte with a third at the end of the range.
#[test]
fn every_pair_of_bytes_is_normalised_within_the_bound() {
    let bytes = -127i32..=127;
    let mut x = Vec::new();
    for a in bytes.clone() {
        for b in bytes.clone() {
            x.extend([a as i8, b as i8, 127]);
        }
    }
    for kind in KINDS {
        let shape = Shape {
            rows: x.len() / 3,
            features: 3,
        };
        // Gains of 1 at exponent 0, accumulators at -12 shifted by 5: x̂ in units of 2^-7, below 1.8.
        let got = pass::<i8>(
            &Serial,
            shape,
            kind,
            [&x, &x, &[1; 3]],
            None,
            [shifted(6), shifted(0)],
        );
        let want = normalised(shape, kind, 0.0, &values(&x, 0));
        let limit = |x: f64| tolerance::normal(x) + 0.5 / 64.0;
        assert_within(&format!("{kind:?}"), &want, &values(&got.y, -6), limit);
    }
}

/// Rows whose normalised elements are stored as they are, in Q12, with gains of 1.
fn normalises_within_the_bound<T: Element<Update: Default + Into<i128>>>() {
    let m = T::MAGNITUDE_BITS as i32;
    let cut = (m - 15).max(0);
    let largest = 2f64.powi(m) - 1.0;
    let mut source = Noise::new(385);
    // At most 64 features: the largest normalised element is below 8.
    for features in [1, 2, 3, 7, 33, 64] {
        let shape = Shape { rows: 80, features };
        let mut x = Vec::new();
        for row in 0..shape.rows {
            // Of every magnitude; one element that stands alone; near the ends, where sums are largest.
            let size = 2f64.powi(-((row * (m as usize) / shape.rows) as i32)) * largest;
            x.extend((0..features).map(|i| {
                T::from_f64(match row % 4 {
                    0 if i == row % features => size,
                    0 => -largest,
                    1 => largest - (source.signed() + 1.0) * size / 2.0,
                    _ => source.signed() * size,
                })
            }));
        }
        let short = |x: &T| shift_rne(integer(*x), cut) as f64;
        for kind in KINDS {
            let saved = &statistics(&Serial, shape, kind, &x)[..];
            let saved = Saved {
                kind,
                x: &x,
                statistics: saved,
            };
            let gamma = vec![T::from_f64(1.0); features];
            let affine = Affine {
                gamma: &gamma,
                beta: None,
            };
            let mut y = vec![T::ZERO; x.len()];
            norm::forward(&Serial, shape, saved, affine, Store::EXACT, &mut y).unwrap();
            let exact: Vec<f64> = x.iter().map(short).collect();
            let want = normalised(shape, kind, 0.0, &exact);
            let place = format!("{}, {kind:?}, {features} features", T::DTYPE);
            assert_within(&place, &want, &values(&y, -12), tolerance::normal);
        }
    }
}

#[test]
fn wide_elements_are_normalised_within_the_bound() {
    normalises_within_the_bound::<i16>();
    normalises_within_the_bound::<u16>();
    normalises_within_the_bound::<i32>();
    normalises_within_the_bound::<u32>();
    normalises_within_the_bound::<i64>();
    normalises_within_the_bound::<u64>();
}

/// Integer gradients against those of floats on the same numbers.
fn gradients_are_parallel<T: Element<Update: Default + Into<i128>>>(limit: f64) {
    for kind in KINDS {
        let shape = Shape {
            rows: 32,
            features: 24,
        };
        let m = T::MAGNITUDE_BITS as i32;
        let mut source = Noise::new(380);
        let x: Vec<T> = elements(&source.vector(32 * 24, 1.0), -m);
        let dy: Vec<T> = elements(&source.vector(32 * 24, 1.0), -m);
        let mut gamma = vec![T::ZERO; 24];
        let exponent = i32::from(norm::ones(&mut gamma));
        assert_eq!(values(&gamma, exponent), [1.0; 24], "{}", T::DTYPE);
        for gamma in &mut gamma {
            *gamma = T::from_f64(gamma.to_f64() * (1.0 + 0.5 * source.signed()));
        }
        let floats = [values(&x, -m), values(&dy, -m), values(&gamma, exponent)];
        let want = pass::<f64>(
            &Serial,
            shape,
            kind,
            [&floats[0], &floats[1], &floats[2]],
            None,
            [Store::EXACT; 2],
        );
        let statistics = statistics(&Serial, shape, kind, &x);
        let saved = Saved {
            kind,
            x: &x,
            statistics: &statistics,
        };
        let affine = Affine {
            gamma: &gamma,
            beta: None,
        };
        let (mut y, mut dx) = (vec![T::ZERO; x.len()], vec![T::ZERO; x.len()]);
        let bits = T::MAGNITUDE_BITS;
        let y_exponent = settled(exponent + T::NORMAL_EXPONENT, bits, |store| {
            norm::forward(&Serial, shape, saved, affine, store, &mut y)
        });
        let acc = -m + exponent + m + T::NORM_GRADIENT_EXPONENT;
        let words = Words::new(1, 24, 0);
        let dx_exponent = settled(acc, bits, |store| {
            let store = match store {
                Store::Measure => Store::Measure,
                Store::Shift { shift, .. } => Store::Shift {
                    shift,
                    rounding: Rounding::Stochastic(words),
                },
            };

            norm::backward_input(&Serial, shape, saved, &dy, &gamma, store, &mut dx)
        });
        let mut dgamma = vec![T::Update::default(); 24];
        norm::backward_gamma(shape, saved, &dy, &mut Gradient::Store(&mut dgamma)).unwrap();
        let dgamma: Vec<f64> = dgamma.into_iter().map(|g| g.into() as f64).collect();
        for (what, want, got, exponent) in [
            ("y", &want.y, values(&y, 0), y_exponent),
            ("dx", &want.dx, values(&dx, 0), dx_exponent),
            ("dgamma", &want.dgamma, dgamma, -m + T::NORMAL_EXPONENT),
        ] {
            let cosine = cosine(want, &got);
            assert!(
                cosine >= limit,
                "{}, {kind:?}, {what}: cosine {cosine}",
                T::DTYPE
            );
            // The exponent is right, too.
            let length = (inner(&got, &got) / inner(want, want)).sqrt() * 2f64.powi(exponent);
            assert!(
                (length - 1.0).abs() < 0.01,
                "{}, {kind:?}, {what}: length {length}",
                T::DTYPE
            );
        }
    }
}

#[test]
fn integer_gradients_are_parallel_to_floats() {
    gradients_are_parallel::<i8>(tolerance::COSINE_8_BITS.0);
    gradients_are_parallel::<u8>(tolerance::COSINE_8_BITS.0);
    gradients_are_parallel::<i16>(tolerance::COSINE_16_BITS.0);
    gradients_are_parallel::<i32>(tolerance::COSINE_32_BITS.0);
    gradients_are_parallel::<i64>(tolerance::COSINE_32_BITS.0);
}
