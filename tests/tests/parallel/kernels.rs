//! Mixtures and balancing of floats: definitions, differences, order, NaN.

use selvedge_kernels::Element;
use selvedge_kernels::elementwise::Term;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::experts::{self, Balance, Shape};
use selvedge_kernels::requantize::Store;
use selvedge_tests::compare::{assert_within, central, inner};
use selvedge_tests::for_floats;
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::{elements, rounding, values};
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance::SMOOTH_DIFFERENCE;

const SHAPE: Shape = Shape {
    rows: 5,
    experts: 3,
    features: 70, // more than a block
};

/// Weights, outputs of experts, errors.
fn operands<T: Element>(noise: &mut Noise) -> (Vec<T>, Vec<Vec<T>>, Vec<T>) {
    let Shape {
        rows,
        experts,
        features,
    } = SHAPE;
    let outputs = (0..experts).map(|_| elements(noise, rows * features));
    let outputs = outputs.collect();
    (
        elements(noise, rows * experts),
        outputs,
        elements(noise, rows * features),
    )
}

fn terms<T>(outputs: &[Vec<T>]) -> Vec<Term<'_, T>> {
    let term = |values| Term {
        values,
        exponent: 0,
    };
    outputs.iter().map(|y| term(&y[..])).collect()
}

fn mixtures_are_the_definition<T: Element>() {
    let Shape {
        rows,
        experts,
        features,
    } = SHAPE;
    let (weights, outputs, dy) = operands::<T>(&mut Noise::new(21));
    let (w, d) = (values(&weights), values(&dy));
    let y: Vec<_> = outputs.iter().map(|y| values(y)).collect();
    // Sums of a few products within 4, in `f32` or `f64`, then stored.
    let wide = f64::from(f32::EPSILON).min(2.0 * rounding::<T>());
    let off = |terms: f64| move |want: f64| 4.0 * terms * wide + want.abs() * 2.0 * rounding::<T>();

    let mut out = vec![T::ZERO; rows * features];
    let mut dw = vec![T::ZERO; rows * experts];
    let experts_of = terms(&outputs);
    let store = Store::EXACT;
    for threads in [1, 4] {
        let exec = Threads(threads);
        experts::forward(&exec, SHAPE, &weights, &experts_of, store, &mut out).unwrap();
        let element = |at: usize| {
            let weights = &w[at / features * experts..];
            (0..experts).map(|i| weights[i] * y[i][at]).sum()
        };
        let want: Vec<f64> = (0..out.len()).map(element).collect();
        assert_within("forward", &want, &values(&out), off(3.0));

        experts::backward_weights(&exec, SHAPE, &experts_of, &dy, store, &mut dw).unwrap();
        let element = |at: usize| {
            let row = at / experts * features;
            (row..row + features)
                .map(|f| d[f] * y[at % experts][f])
                .sum()
        };
        let want: Vec<f64> = (0..dw.len()).map(element).collect();
        assert_within("backward weights", &want, &values(&dw), off(70.0));

        for expert in 0..experts {
            experts::backward(&exec, SHAPE, expert, &weights, &dy, store, &mut out).unwrap();
            let element = |at: usize| w[at / features * experts + expert] * d[at];
            let want: Vec<f64> = (0..out.len()).map(element).collect();
            assert_within("backward", &want, &values(&out), off(1.0));
        }
    }
}

#[test]
fn mixtures_of_floats_are_the_definition() {
    for_floats!(mixtures_are_the_definition);
}

#[test]
fn gradients_are_those_of_differences() {
    let (weights, outputs, dy) = operands::<f64>(&mut Noise::new(22));
    let loss = |weights: &[f64], outputs: &[Vec<f64>]| {
        let mut y = vec![0.0; dy.len()];
        let store = Store::EXACT;
        experts::forward(&Serial, SHAPE, weights, &terms(outputs), store, &mut y).unwrap();
        inner(&y, &dy)
    };
    let close = |_| SMOOTH_DIFFERENCE;
    let (mut dw, store) = (vec![0.0; weights.len()], Store::EXACT);
    experts::backward_weights(&Serial, SHAPE, &terms(&outputs), &dy, store, &mut dw).unwrap();
    let want = central(&weights, |weights| loss(weights, &outputs));
    assert_within("weights", &want, &dw, close);
    for expert in 0..SHAPE.experts {
        let mut dx = vec![0.0; dy.len()];
        experts::backward(&Serial, SHAPE, expert, &weights, &dy, store, &mut dx).unwrap();
        let want = central(&outputs[expert], |x| {
            let mut outputs = outputs.clone();
            outputs[expert] = x.to_vec();
            loss(&weights, &outputs)
        });
        assert_within("expert", &want, &dx, close);
    }
}

/// The balancing loss of some rows, times their number, with given shares.
fn balancing(p: &[f64], shares: &[f64], alpha: f64) -> f64 {
    let experts = shares.len();
    let rows = p.chunks(experts);
    let sum = rows.map(|p| p.iter().zip(shares).map(|(p, f)| f * p).sum::<f64>());
    alpha * experts as f64 * sum.sum::<f64>()
}

fn balances_are_the_definition<T: Element>() {
    let mut noise = Noise::new(23);
    let (rows, experts) = (9, 4);
    let probabilities = elements::<T>(&mut noise, rows * experts);
    let dy = elements::<T>(&mut noise, rows * experts);
    let p = values(&probabilities);
    let mut shares = vec![0.0; experts];
    for p in p.chunks(experts) {
        let largest = p.iter().copied().fold(f64::MIN, f64::max);
        shares[p.iter().position(|&p| p == largest).unwrap()] += 1.0 / rows as f64;
    }
    // Errors that are scaled, as those of f16 are.
    for exponent in [0, -10] {
        let scale = 2f64.powi(-exponent);
        let slope = central(&p, |p| balancing(p, &shares, 0.25));
        let want: Vec<f64> = values(&dy)
            .iter()
            .zip(slope)
            .map(|(d, g)| d + scale * g)
            .collect();
        let (mut dx, mut counts) = (vec![T::ZERO; dy.len()], vec![7; experts]);
        let balance = Balance::new(250, experts).unwrap();
        assert_eq!(balance.exponent::<T>(exponent), exponent);
        let dy = Term {
            values: &dy,
            exponent,
        };
        let (p, store) = (&probabilities, Store::EXACT);
        experts::balance_backward(rows, balance, p, dy, store, &mut dx, &mut counts).unwrap();
        assert_eq!(counts.iter().sum::<u32>(), rows as u32);
        assert_within("balance", &want, &values(&dx), |want| {
            scale * 1e-6 + want.abs() * 2.0 * rounding::<T>()
        });
    }
}

#[test]
fn balances_of_floats_are_the_definition() {
    for_floats!(balances_are_the_definition);
}

fn nan_is_seen<T: Element>() {
    let nan = T::from_f64(f64::NAN);
    let one = T::from_f64(1.0);
    let shape = Shape {
        rows: 2,
        experts: 2,
        features: 1,
    };
    let (a, b) = ([nan, one], [one, one]);
    let experts = [&a, &b].map(|values| Term {
        values: &values[..],
        exponent: 0,
    });
    let mut y = [T::ZERO; 2];
    let weights = [T::ZERO, one, T::ZERO, one];
    let store = Store::EXACT;
    experts::forward(&Serial, shape, &weights, &experts, store, &mut y).unwrap();
    assert!(y[0].to_f64().is_nan(), "of an expert of weight 0");
    assert_eq!(y[1], one, "and of no other row");
    // A NaN among the probabilities is the largest.
    let balance = Balance::new(1000, 2).unwrap();
    let dy = Term {
        values: &[T::ZERO; 4],
        exponent: 0,
    };
    let (p, mut dx, mut counts) = ([one, nan, one, T::ZERO], [one; 4], [0; 2]);
    experts::balance_backward(2, balance, &p, dy, store, &mut dx, &mut counts).unwrap();
    assert_eq!((counts, dx), ([1, 1], [one; 4]));
}

#[test]
fn nan_is_handed_on() {
    for_floats!(nan_is_seen);
}
