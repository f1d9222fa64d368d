//! The gradient of the weights of a mixture.

use super::{elements, inner, temperatures, tolerance};
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
