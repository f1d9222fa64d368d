//! The gradient of the weights of a mixture: differences, the rule on big integers, `f64`.

use super::{elements, inner, model, temperatures, tolerance};
use selvedge_kernels::Element;
use selvedge_kernels::optim::Gradient;
use selvedge_kernels::softmax::mixture::{self, Weights};
use selvedge_kernels::softmax::{Logits, Temperature};
use selvedge_tests::noise::Noise;
use selvedge_tests::{for_floats, for_integers};

fn weight_sums<T: Element>(
    shape: mixture::Shape,
    weights: Weights<'_, T>,
    x: (&[T], i32),
    dy: &[T],
) -> Vec<f64>
where
    T::Acc: ToF64,
{
    let mut stored = vec![T::Acc::default(); shape.components];
    let mut sums = stored.clone();
    let mut scratch = vec![Default::default(); mixture::weights_scratch_len(shape).unwrap()];
    let mut gradient = Gradient::<'_, T, T::Acc>::Store(&mut stored);
    mixture::backward_weights(
        shape,
        weights,
        Logits::new(x.0, x.1),
        dy,
        &mut gradient,
        &mut scratch,
        &mut sums,
    )
    .unwrap();
    stored.into_iter().map(ToF64::to_f64).collect()
}

/// An accumulator as a float.
trait ToF64 {
    fn to_f64(self) -> f64;
}

macro_rules! impl_to_f64 {
    ($($t:ident)*) => {$(
        impl ToF64 for $t {
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

impl_to_f64! { i32 i64 i128 f32 f64 }

#[test]
fn mixture_weights_get_their_gradient() {
    let shape = mixture::Shape {
        rows: 5,
        components: 3,
        classes: 4,
    };
    let mut noise = Noise::new(171);
    let (x, dy) = (noise.vector(60, 2.0), noise.vector(20, 1.0));
    let mut gate = noise.vector(3, 1.0);
    let loss = |weights: Weights<'_, f64>| {
        let (mut p, mut scratch) = (vec![0.0; 20], vec![0.0; 11]);
        mixture::forward(shape, weights, Logits::new(&x, 0), &mut p, &mut scratch).unwrap();
        inner(&p, &dy)
    };
    for t in temperatures() {
        fn of(gate: &[f64], temperature: Temperature) -> Weights<'_, f64> {
            Weights::Logits(Logits::new(gate, 0).at(temperature))
        }
        let got = weight_sums(shape, of(&gate, t), (&x, 0), &dy);
        for k in 0..3 {
            let at = gate[k];
            gate[k] = at + tolerance::STEP;
            let above = loss(of(&gate, t));
            gate[k] = at - tolerance::STEP;
            let below = loss(of(&gate, t));
            gate[k] = at;
            let want = (above - below) / (2.0 * tolerance::STEP);
            assert!(
                (got[k] - want).abs() <= tolerance::DIFFERENCE,
                "{got:?}, {want}"
            );
        }
    }
    // Given weights are normalised; the gradient is that of the normalised ones, in which p is linear.
    let given = [3.0, 1.0, 0.5];
    let got = weight_sums(shape, Weights::Given(&given), (&x, 0), &dy);
    for (k, got) in got.iter().enumerate() {
        let mut one = [0.0; 3];
        one[k] = 1.0;
        assert!((got - loss(Weights::Given(&one))).abs() < 1e-13);
    }
    let total = inner(&got, &given.map(|w| w / 4.5));
    assert!((total - loss(Weights::Given(&given))).abs() < 1e-13);
}

fn mixture_weights_follow_f64<T: Element>(bound: f64)
where
    T::Acc: ToF64,
{
    let shape = mixture::Shape {
        rows: 30,
        components: 4,
        classes: 5,
    };
    let mut noise = Noise::new(172);
    let (x, exponent, values) = elements::<T>(&mut noise, 600, 3.0);
    let (dy, dy_exponent, errors) = elements::<T>(&mut noise, 150, 3.9);
    let (gate, gate_exponent, gates) = elements::<T>(&mut noise, 4, 1.0);
    let weights = Weights::Logits(Logits::new(&gate, gate_exponent));
    let scale = 2f64.powi(weights.gradient_exponent(dy_exponent));
    let got = weight_sums(shape, weights, (&x, exponent), &dy);
    let weights = Weights::Logits(Logits::new(&gates, 0));
    let want = weight_sums(shape, weights, (&values, 0), &errors);
    for (got, want) in got.iter().zip(&want) {
        let error = (got * scale - want).abs();
        assert!(error < bound, "{}: {want}, off by {error}", T::DTYPE);
        assert!(want.abs() > 0.1, "nothing to see");
    }
}

#[test]
fn mixture_weights_follow_f64_in_every_type() {
    // 30 rows, each rounded to 16 bits of ±8 and weighted by Q15, of errors in 15 bits.
    let integers = 30.0 * 8.0 * 4.0 / 16_384.0;
    for_integers!(mixture_weights_follow_f64, integers);
    // Computed in f32 from the same numbers: 30 rows of up to 8, of some 16 roundings each.
    let floats = 30.0 * 8.0 * 16.0 * f64::from(f32::EPSILON);
    for_floats!(mixture_weights_follow_f64, floats);
}

/// The rule's sums over rows of cut logits, given π, the errors in 15 bits and the factor of 1 / T.
fn rule(
    shape: mixture::Shape,
    z: (&[i128], i32, Temperature),
    pi: &[i128],
    errors: &[i128],
    mantissa: Option<u16>,
) -> Vec<i128> {
    let (x, exponent, temperature) = z;
    let mut sums = vec![0; shape.components];
    let rows = x.chunks(shape.components * shape.classes);
    for (x, g) in rows.zip(errors.chunks(shape.classes)) {
        let means: Vec<i128> = (x.chunks(shape.classes))
            .map(|z| {
                let z: Vec<_> = z.iter().copied().map(Some).collect();
                model::mean(&model::softmax(&z, exponent, temperature.inverse()), g)
            })
            .collect();
        let mean = model::mean(pi, &means);
        for ((sum, a), pi) in sums.iter_mut().zip(&means).zip(pi) {
            *sum += match mantissa {
                Some(m) => model::nearest(pi * (a - mean) * i128::from(m), 30),
                None => model::nearest((1 << 15) * a * (1 << 14), 30),
            };
        }
    }
    sums
}

fn mixture_weights_follow_the_rule<T: Element>()
where
    T::Acc: ToF64,
{
    let m = T::MAGNITUDE_BITS as i32;
    let drop = (m - 15).max(0);
    let zeros = if m > 15 { 16 } else { 0 };
    let mut noise = Noise::new(173);
    let full = 2f64.powi(m) - 1.0;
    for (rows, components, classes) in [(5, 3, 4), (1, 1, 1), (30, 2, 7)] {
        let shape = mixture::Shape {
            rows,
            components,
            classes,
        };
        for (t, exponent) in [(1.0, 2 - m), (0.5, 1 - m), (1.7, 4 - m), (0.001, -m)] {
            let t = Temperature::new(t).unwrap();
            let place = format!("{} {shape:?} at T = {}", T::DTYPE, t.value());
            let mut make = |n: usize| -> Vec<T> {
                let values = noise.vector(n, full);
                values.into_iter().map(T::from_f64).collect()
            };
            let (x, dy) = (make(rows * components * classes), make(rows * classes));
            let gate = make(components);
            let cut = |x: &[T], s: i32| -> Vec<i128> {
                let exact = x.iter().map(|x| x.to_f64() as i128);
                exact.map(|x| model::nearest(x, s)).collect()
            };
            let (z, errors) = (cut(&x, drop), cut(&dy, m - 15));
            let z = (&z[..], exponent + drop, Temperature::ONE);
            let check = |weights: Weights<'_, T>, pi: &[i128], mantissa, shift: i32| {
                let want = rule(shape, z, pi, &errors, mantissa);
                let want: Vec<f64> = want.iter().map(|&w| (w << zeros) as f64).collect();
                let got = weight_sums(shape, weights, (&x, exponent), &dy);
                assert_eq!(want, got, "{place}, {weights:?}");
                assert_eq!(
                    weights.gradient_exponent(-7),
                    -7 + m - shift - zeros,
                    "{place}"
                );
            };
            let some: Vec<_> = cut(&gate, drop).into_iter().map(Some).collect();
            let ratio = t.inverse();
            let pi = model::softmax(&some, exponent + drop, ratio);
            let weights = Weights::Logits(Logits::new(&gate, exponent).at(t));
            check(weights, &pi, Some(ratio.mantissa), ratio.shift.into());
            let given: Vec<T> = gate.iter().map(|g| T::from_f64(g.to_f64().abs())).collect();
            let w = cut(&given, drop);
            let total: i128 = w.iter().sum();
            let pi: Vec<i128> = w.iter().map(|w| ((w << 15) + total / 2) / total).collect();
            check(Weights::Given(&given), &pi, None, 14);
        }
    }
}

#[test]
fn mixture_weights_follow_the_rule_in_every_type() {
    for_integers!(mixture_weights_follow_the_rule);
}
