//! Kernels against the model, element by element.

use super::model::{Model, sat};
use super::{bit_len, elements, exact, exacts, nearest, of};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::{Element, activation};
use selvedge_tests::curve::Curve;
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

/// Whether a stored result is as near to the definition as documented, given the real argument.
fn assert_near<T: Element>(curve: Curve, x: f64, exponent: i32, stored: i128, to: i32, q: i128) {
    if x.abs() >= 32_767.0 / 2048.0 || exponent > 1 || q.abs() == (1 << T::MAGNITUDE_BITS) - 1 {
        return; // saturated arguments or results, and exponents that 6 is no multiple of
    }
    let unit = |e: i32| f64::from(e).exp2();
    let (units, _) = tolerance::q11_units(curve);
    let of_function = if units > 0.0 {
        units * unit(-15) + tolerance::STEEPEST * tolerance::Q11_ROUNDING
    } else if matches!(curve, Curve::ScaledRelu | Curve::LeakyRelu) {
        x.abs() * tolerance::FACTOR_256 + unit(exponent - 1)
    } else {
        0.0
    };
    let error = (q as f64 * unit(to) - curve.value(x)).abs();
    // Half a step by rounding; a lifted value is further off.
    let steps = match curve {
        Curve::LiftedRelu if q == 1 => 1.0,
        _ => 0.5,
    };
    assert!(
        error <= of_function + steps * unit(to) + 1e-14,
        "{}, {curve:?} at {x} ({stored} at {exponent}): off by {error}",
        T::DTYPE
    );
}

fn forward_is_the_model<T: Element>() {
    let (name, m) = (T::DTYPE.name(), T::MAGNITUDE_BITS as i32);
    let model = Model::of::<T>();
    let x = elements::<T>(90);
    let extremes = [i32::MIN, -32_767, -1000, 1000, 32_767, i32::MAX];
    let step = if m == 7 { 1 } else { 3 };
    for exponent in (-140..=70).step_by(step).chain(extremes) {
        for curve in Curve::ALL {
            let activation = curve.activation::<T>();
            let place = format!("{name}, {curve:?} at exponent {exponent}");
            let (want, kept): (Vec<i128>, Vec<Option<i128>>) = x
                .iter()
                .map(|&x| model.forward(curve, exact(x), exponent))
                .unzip();
            let range = want.iter().map(|&v| bit_len(v)).max().unwrap();
            let mut y = vec![of::<T>(77); x.len()];
            let got =
                activation::forward(activation, exponent, &x, Store::Measure, &mut y, &mut []);
            assert_eq!(got, Ok(range), "{place}: measured");
            assert!(y.iter().all(|&y| y == of(77)), "{place}: written");
            let fits = if activation.is_bounded() {
                15 - m
            } else {
                range as i32 - m
            };
            for shift in [fits, fits - 2, fits + 3, 0] {
                let place = format!("{place}, shift {shift}");
                let mut slope = vec![of::<T>(77); x.len()];
                let got = activation::forward(
                    activation,
                    exponent,
                    &x,
                    nearest(shift),
                    &mut y,
                    &mut slope,
                );
                assert_eq!(got, Ok(range), "{place}: range");
                for (i, &x) in x.iter().enumerate() {
                    let stored = model.stored(curve, want[i], shift);
                    assert_eq!(exact(y[i]), stored, "{place}: of {x:?}");
                    // What keeps nothing leaves the place alone.
                    assert_eq!(
                        exact(slope[i]),
                        kept[i].unwrap_or(77),
                        "{place}: slope of {x:?}"
                    );
                    if (-100..100).contains(&exponent) {
                        let real = exact(x) as f64 * f64::from(exponent).exp2();
                        let to = activation.exponent(exponent) + shift;
                        assert_near::<T>(curve, real, exponent, exact(x), to, stored);
                    }
                }
            }
        }
    }
}

#[test]
fn forward_kernels_are_the_model() {
    for_each_integer!(forward_is_the_model);
}

/// Accumulators far wider than elements, from a layer of one input: a product and a shifted bias.
fn wide_accumulators_are_the_model<T: Element>() {
    let name = T::DTYPE.name();
    let model = Model::of::<T>();
    let cap = match T::MAGNITUDE_BITS {
        7 => 30,
        53 => 125,
        _ => 61,
    };
    let mut noise = Noise::new(91);
    let largest = (1i128 << T::MAGNITUDE_BITS) - 1;
    let mut bias = vec![0, 1, -1, 2, -2, 3, -3, 1 << 30, -(1 << 30)];
    let wide = (<T::Bias as Element>::MAGNITUDE_BITS as f64).exp2();
    bias.extend((0..40).map(|_| (noise.signed() * wide) as i128));
    let bias: Vec<T::Bias> = bias.iter().flat_map(|&b| [of(b); 3]).collect();
    let weight: Vec<T> = (0..bias.len())
        .map(|i| match i % 3 {
            0 => T::ZERO,
            1 => of((noise.signed() * largest as f64) as i128),
            _ => of(noise.below(3) as i128 - 1),
        })
        .collect();
    let x: T = of(largest);
    let shape = dense::Shape {
        batch: 1,
        inputs: 1,
        outputs: bias.len(),
    };
    for left in [
        0, 3, 10, 15, 22, 26, 28, 29, 30, 37, 45, 50, 59, 60, 61, 62, 73, 100, 124, 125,
    ] {
        let acc: Vec<i128> = bias
            .iter()
            .zip(&weight)
            .map(|(&b, &w)| sat(model.shift_rne(exact(b), -left), cap) + exact(x) * exact(w))
            .collect();
        for exponent in [
            -32_767, -128, -127, -126, -64, -63, -62, -61, -60, -29, -28, -27, -4, 1, 60,
        ]
        .into_iter()
        .chain((-8..=20).step_by(4).map(|e| -left - e))
        {
            for curve in Curve::ALL {
                let activation = curve.activation::<T>();
                let (want, kept): (Vec<i128>, Vec<Option<i128>>) = acc
                    .iter()
                    .map(|&a| model.forward(curve, a, exponent))
                    .unzip();
                let range = want.iter().map(|&v| bit_len(v)).max().unwrap();
                let shift = range as i32 - T::MAGNITUDE_BITS as i32;
                let epilogue = Epilogue {
                    activation,
                    exponent,
                    store: nearest(shift),
                };
                let bias = Bias {
                    values: &bias,
                    shift: -left,
                };
                let place = format!("{name}, {curve:?}, bias << {left}, exponent {exponent}");
                let (mut y, mut slope) = (vec![T::ZERO; acc.len()], vec![T::ZERO; acc.len()]);
                let got = dense::forward(
                    &Serial,
                    shape,
                    &[x],
                    &weight,
                    bias,
                    epilogue,
                    &mut y,
                    &mut slope,
                );
                assert_eq!(got, Ok(range), "{place}: range");
                for (i, acc) in acc.iter().enumerate() {
                    let stored = model.stored(curve, want[i], shift);
                    assert_eq!(exact(y[i]), stored, "{place}: of {acc}");
                    assert_eq!(
                        exact(slope[i]),
                        kept[i].unwrap_or(0),
                        "{place}: slope of {acc}"
                    );
                }
            }
        }
    }
}

#[test]
fn wide_accumulators_are_activated_as_the_model_does() {
    for_each_integer!(wide_accumulators_are_the_model);
}

fn backward_is_the_model<T: Element>() {
    let name = T::DTYPE.name();
    let model = Model::of::<T>();
    let d = elements::<T>(92);
    for curve in Curve::ALL {
        let activation = curve.activation::<T>();
        for &y in &elements::<T>(93) {
            // The same numbers as outputs and as slopes: of these, the kernel reads one.
            let (y_row, mut dy) = (vec![y; d.len()], d.clone());
            activation::backward(activation, &y_row, &y_row, &mut dy).unwrap();
            let want: Vec<i128> = d
                .iter()
                .map(|&d| model.backward(curve, exact(d), exact(y), exact(y)))
                .collect();
            assert_eq!(exacts(&dy), want, "{name}, {curve:?}: y or slope {y:?}");
        }
    }
}

#[test]
fn backward_kernels_are_the_model() {
    for_each_integer!(backward_is_the_model);
}
