//! Losses by their definitions, gradients by differences, PyTorch's results.

use super::{
    DIFFERENCE, DISPLAYED, ELEMENTS, EXACT, F32, F64, FIXED, Io, Loss, ROWS, STEP, all, inputs,
    quantized,
};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{
    self, Classes, Delta, Distance, SampleWeights, Smoothing, Sum, Targets,
};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::rounding;
use selvedge_tests::{golden, tolerance};

/// Losses and gradients in type `T` against f64, from the same rounded numbers. `bounds`: of a
/// gradient beside half a unit of what is stored, and of the loss.
fn losses_are_the_definition<T: Element>(bounds: [f64; 2], rounding: f64) {
    let mut noise = Noise::new(201);
    let m = <T::Head as Element>::MAGNITUDE_BITS as i32;
    for loss in all() {
        for with_weights in [false, true] {
            let [x, target, weights] = inputs(&mut noise, loss);
            let (x, x64) = quantized::<T::Head>(&x, 2 - m);
            let (y, y64) = quantized::<T::Head>(&target, 1 - m);
            let (w, w64) = quantized::<T::Head>(&weights, 1 - m);
            let w64 = if with_weights { w64 } else { vec![1.0; ROWS] };
            let weights = SampleWeights {
                values: &w,
                exponent: 1 - m,
            };
            let io = Io {
                x: &x,
                exponent: 2 - m,
                target: &y,
                target_exponent: 1 - m,
                weights: with_weights.then_some(weights),
            };
            let mut dy = vec![T::from_f64(85.0); ELEMENTS];
            let measured = loss.run(io, Store::Measure, &mut dy).unwrap();
            let name = format!("{} {loss:?}, weights {with_weights}", T::DTYPE);
            assert!(
                dy.iter().all(|d| *d == T::from_f64(85.0)),
                "{name}: measuring wrote"
            );
            let is_integer = T::DTYPE.is_integer();
            let shift = if is_integer {
                measured.range as i32 - T::MAGNITUDE_BITS as i32
            } else {
                0
            };
            let store = Store::Shift {
                shift,
                rounding: Rounding::NearestEven,
            };
            let outcome = loss.run(io, store, &mut dy).unwrap();
            let losses = [outcome.loss.to_f64(), measured.loss.to_f64()];
            assert_eq!(
                (outcome.range, losses[0]),
                (measured.range, losses[1]),
                "{name}"
            );
            let scale = 2f64.powi(loss.gradient_exponent::<T>(&io) + shift);
            let (want, gradient) = loss.definition(&x64, &y64, &w64);
            for (i, (d, want)) in dy.iter().zip(&gradient).enumerate() {
                let got = d.to_f64() * scale;
                let step = if is_integer {
                    scale
                } else {
                    want.abs() * rounding
                };
                let error = (got - want).abs();
                assert!(
                    error <= bounds[0] + step,
                    "{name}, element {i}: {got}, expected {want}"
                );
            }
            let error = (outcome.loss.to_f64() - want).abs();
            assert!(error <= bounds[1], "{name}: loss {want}, off by {error}");
        }
    }
}

#[test]
fn losses_are_the_definition_in_every_type() {
    losses_are_the_definition::<f64>([F64; 2], 0.0);
    losses_are_the_definition::<f32>([F32, 10.0 * F32], 0.0);
    losses_are_the_definition::<f16>([F32, 10.0 * F32], 1.0 / 1024.0);
    losses_are_the_definition::<bf16>([F32, 10.0 * F32], 1.0 / 128.0);
    losses_are_the_definition::<i8>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<u8>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<i16>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<u16>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<i32>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<u32>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<i64>([FIXED, DISPLAYED], 0.0);
    losses_are_the_definition::<u64>([FIXED, DISPLAYED], 0.0);
}

/// The kernel's own loss and gradient; the kinks of Huber and of the absolute value are never within
/// a step, and outputs lie on both sides of each.
#[test]
fn gradients_are_the_differences() {
    let mut noise = Noise::new(202);
    for loss in all() {
        let [mut x, target, weights] = inputs(&mut noise, loss);
        let mut dy = vec![0.0f64; ELEMENTS];
        if let Loss::Regression(_) = loss {
            let far: Vec<f64> = x.iter().zip(&target).map(|(x, y)| (x - y).abs()).collect();
            assert!(
                far.iter()
                    .all(|d| (d - 0.75).abs() > 2.0 * STEP && *d > 2.0 * STEP)
            );
            assert!(far.iter().any(|d| *d < 0.75) && far.iter().any(|d| *d > 0.75));
        }
        let run = |x: &[f64], dy: &mut [f64]| {
            let weights = Some(SampleWeights {
                values: &weights,
                exponent: 0,
            });
            let io = Io {
                x,
                exponent: 0,
                target: &target,
                target_exponent: 0,
                weights,
            };
            loss.run::<f64>(io, EXACT, dy).unwrap().loss
        };
        run(&x, &mut dy);
        let mut ignored = vec![0.0; ELEMENTS];
        for i in 0..ELEMENTS {
            let at = x[i];
            x[i] = at + STEP;
            let above = run(&x, &mut ignored);
            x[i] = at - STEP;
            let below = run(&x, &mut ignored);
            x[i] = at;
            let want = (above - below) / (2.0 * STEP);
            let error = (dy[i] - want).abs();
            assert!(
                error <= DIFFERENCE,
                "{loss:?}, element {i}: {}, difference {want}",
                dy[i]
            );
        }
    }
}

fn replay<T: Element<Head = T>>(tolerance: f64) {
    let file = golden::read("torch/softmax.json");
    let cases = file["losses"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let of = |key: &str| -> Vec<f64> {
            let values = case[key].as_array().map(Vec::as_slice).unwrap_or_default();
            values.iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let smoothing = case["smoothing"].as_f64().unwrap_or(0.0) as f32;
        let name = case["name"].as_str().unwrap();
        let loss = match name {
            "labels" => Loss::Labels(smoothing),
            "shares" => Loss::Shares(smoothing),
            "squared" => Loss::Regression(Distance::Squared),
            "absolute" => Loss::Regression(Distance::Absolute),
            "huber" => {
                let delta = case["delta"].as_f64().unwrap() as f32;
                Loss::Regression(Distance::Huber(Delta::new(delta).unwrap()))
            }
            "binary" => Loss::Binary,
            other => panic!("{other}: unknown loss"),
        };
        let typed = |key: &str| -> Vec<T> { of(key).into_iter().map(T::from_f64).collect() };
        let (x, target, weights) = (typed("x"), typed("target"), typed("weights"));
        let weights = (!weights.is_empty()).then_some(SampleWeights {
            values: &weights,
            exponent: 0,
        });
        let io = Io {
            x: &x,
            exponent: 0,
            target: &target,
            target_exponent: 0,
            weights,
        };
        let mut dy = vec![T::ZERO; ELEMENTS];
        let outcome = loss.run::<T>(io, EXACT, &mut dy).unwrap();
        let want = case["loss"].as_f64().unwrap();
        let error = (outcome.loss.to_f64() - want).abs();
        assert!(
            error <= 10.0 * tolerance,
            "{} {name}: PyTorch {want}, off by {error}",
            T::DTYPE
        );
        for (i, (got, want)) in dy.iter().zip(of("dx")).enumerate() {
            let error = (got.to_f64() - want).abs();
            assert!(
                error <= tolerance,
                "{} {name}, element {i}: {got:?}, PyTorch {want}",
                T::DTYPE
            );
        }
    }
}

#[test]
fn losses_are_those_of_pytorch() {
    replay::<f64>(F64);
    replay::<f32>(F32);
}

/// The gradient of cross-entropy is `p - t`, once: softmax's own Jacobian is in it (`docs/numerics/losses.md` §19).
#[test]
fn the_gradient_of_cross_entropy_is_not_doubled() {
    let x = [0.5f64, -0.25, 1.0];
    let (mut plain, mut soft) = ([0.0f64; 3], [0.0f64; 3]);
    let outcome = loss::cross_entropy(3, &x, 0, &[1], EXACT, &mut plain).unwrap();
    let options = Classes {
        classes: 3,
        smoothing: Smoothing::NONE,
        weights: None,
    };
    let same =
        loss::soft_cross_entropy(options, &x, 0, Targets::Labels(&[1]), EXACT, &mut soft).unwrap();
    assert_eq!((plain, outcome), (soft, same));
    let total: f64 = x.iter().map(|x| x.exp()).sum();
    assert!((soft[1] - (x[1].exp() / total - 1.0)).abs() < F64);
    assert!((soft[0] - x[0].exp() / total).abs() < F64);
    // Integers: Q15 and Q30 of the same quotients.
    let x = [8192i16, -4096, 16_384];
    let (mut plain, mut soft) = ([0i16; 3], [0i16; 3]);
    let store = |shift| Store::Shift {
        shift,
        rounding: Rounding::NearestEven,
    };
    loss::cross_entropy(3, &x, -14, &[1], store(0), &mut plain).unwrap();
    let options = Classes {
        classes: 3,
        smoothing: Smoothing::NONE,
        weights: None,
    };
    loss::soft_cross_entropy(
        options,
        &x,
        -14,
        Targets::Labels(&[1]),
        store(15),
        &mut soft,
    )
    .unwrap();
    assert_eq!(plain, soft);
}

/// `p - t` and `-ln p`, of three logits.
fn cross_entropy_is_the_definition<T: Element>() {
    let (x, label) = ([0.5f64, -0.25, 1.0], 1);
    let m = T::MAGNITUDE_BITS as i32;
    let is_integer = T::DTYPE.is_integer();
    // Logits in the head's type, at the exponent that holds ±2; errors at -M.
    let exponent = match is_integer {
        true => 1 - <T::Head as Element>::MAGNITUDE_BITS as i32,
        false => 0,
    };
    let store = match is_integer {
        true => Store::Shift {
            shift: 15 - m,
            rounding: Rounding::NearestEven,
        },
        false => EXACT,
    };
    let logits: [T::Head; 3] = x.map(|x| Element::from_f64(x * 2f64.powi(-exponent)));
    let mut dy = [T::ZERO; 3];
    let outcome = loss::cross_entropy::<T>(3, &logits, exponent, &[label], store, &mut dy).unwrap();
    let total: f64 = x.iter().map(|x| x.exp()).sum();
    let name = T::DTYPE.name();
    // `f16` scales gradients up (`docs/numerics.md` §9).
    let scale = if name == "f16" { 1024.0 } else { 1.0 };
    for (class, (dy, x)) in dy.iter().zip(&x).enumerate() {
        let p = x.exp() / total;
        let want = p - f64::from(u8::from(class == usize::from(label)));
        let got = dy.to_f64() * 2f64.powi(-m) / scale;
        let bound = match is_integer {
            // Half a unit, and a whole one where that rounds up to 2^M.
            true => tolerance::probability(3, p) + 2f64.powi(-m),
            false => tolerance::SOFTMAX_F32 + rounding::<T>(),
        };
        let error = (got - want).abs();
        assert!(
            error <= bound,
            "{name}, class {class}: {got}, expected {want}"
        );
    }
    let want = total.ln() - x[usize::from(label)];
    // Integers: each of three numerators and the rest, as `loss::cross_entropy` says.
    let bound = match is_integer {
        true => tolerance::displayed_loss(4.0) + 3.0 * tolerance::any_probability(3),
        false => tolerance::SOFTMAX_F32,
    };
    let error = (outcome.loss.to_f64() - want).abs();
    assert!(error <= bound, "{name}: off by {error}");
}

#[test]
fn cross_entropy_is_the_definition_in_every_type() {
    macro_rules! check {
        ($t:ty) => {
            cross_entropy_is_the_definition::<$t>();
        };
    }
    selvedge_tests::for_each_type!(check);
}

#[test]
fn squared_error_without_weights_is_the_old_one() {
    let mut noise = Noise::new(204);
    let make = |noise: &mut Noise| quantized::<i16>(&noise.vector(ELEMENTS, 32_767.0), 0).0;
    let (x, y) = (make(&mut noise), make(&mut noise));
    let io = Io {
        x: &x,
        exponent: -13,
        target: &y,
        target_exponent: -12,
        weights: None,
    };
    let store = Store::Shift {
        shift: 9,
        rounding: Rounding::Stochastic(Words::new(1, 2, 3)),
    };
    let (mut new, mut old) = ([0i8; ELEMENTS], [0i8; ELEMENTS]);
    let got = Loss::Regression(Distance::Squared)
        .run(io, store, &mut new)
        .unwrap();
    let want = loss::squared_error(&x, -13, &y, -12, store, &mut old).unwrap();
    assert_eq!((new, got), (old, want));
}
