//! Mixtures and balancing of integers against exact models, element by element.

use selvedge_kernels::Element;
use selvedge_kernels::elementwise::{Term, aligned_exponent};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::experts::{self, Balance, Shape, common_exponent};
use selvedge_kernels::rng::Words;
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::{
    assert_stores, by_words, elements, number, numbers, range, rne, sat, stochastic,
};
use selvedge_tests::threads::Threads;
use selvedge_tests::{for_integers, for_twins};

/// Rows, experts, features; the last is longer than a block.
const SHAPES: [[usize; 3]; 4] = [[1, 1, 1], [5, 3, 4], [2, 64, 3], [3, 2, 131]];

fn shape([rows, experts, features]: [usize; 3]) -> Shape {
    Shape {
        rows,
        experts,
        features,
    }
}

/// Exponents of experts: equal, near each other, far apart.
fn exponents(kind: usize, experts: usize) -> Vec<i32> {
    (0..experts as i32)
        .map(|i| match kind {
            0 => -5,
            1 => -9 + i % 3,
            _ => 4 - 11 * (i % 4),
        })
        .collect()
}

fn mixtures_are_the_model<T: Element>() {
    let mut noise = Noise::new(11);
    for extents in SHAPES {
        let [rows, count, features] = extents;
        let weights = elements::<T>(&mut noise, rows * count);
        let outputs: Vec<Vec<T>> = (0..count)
            .map(|_| elements(&mut noise, rows * features))
            .collect();
        let dy = elements::<T>(&mut noise, rows * features);
        for kind in 0..3 {
            let exponents = exponents(kind, count);
            let experts: Vec<_> = (outputs.iter().zip(&exponents))
                .map(|(values, &exponent)| Term { values, exponent })
                .collect();
            let most = exponents.iter().copied().max().unwrap();
            assert_eq!(common_exponent(&experts), most);
            let place = format!("{extents:?} at {kind}");
            let value = |i: usize, at: usize| number(outputs[i][at]);
            let want: Vec<i128> = (0..rows * features)
                .map(|at| {
                    let weight = |i| number(weights[at / features * count + i]);
                    let term = |i| weight(i) * rne(value(i, at), most - exponents[i]);
                    (0..count).map(term).sum()
                })
                .collect();
            let shape = shape(extents);
            for threads in [1, 3] {
                assert_stores::<T>(&place, &want, |store, out| {
                    experts::forward(&Threads(threads), shape, &weights, &experts, store, out)
                        .unwrap()
                });
            }
            let want: Vec<i128> = (0..rows * count)
                .map(|at| {
                    let (row, i) = (at / count, at % count);
                    let places = row * features..(row + 1) * features;
                    let sum = places.map(|at| number(dy[at]) * value(i, at)).sum();
                    rne(sum, most - exponents[i])
                })
                .collect();
            for threads in [1, 3] {
                assert_stores::<T>(&place, &want, |store, dw| {
                    let exec = Threads(threads);
                    experts::backward_weights(&exec, shape, &experts, &dy, store, dw).unwrap()
                });
            }
        }
    }
}

#[test]
fn mixtures_of_integers_are_exact() {
    for_integers!(mixtures_are_the_model);
}

fn errors_of_experts_are_the_model<T: Element>() {
    let mut noise = Noise::new(12);
    for extents in SHAPES {
        let [rows, count, features] = extents;
        let weights = elements::<T>(&mut noise, rows * count);
        let dy = elements::<T>(&mut noise, rows * features);
        for expert in [0, count / 2, count - 1] {
            let place = format!("{extents:?}, expert {expert}");
            let want: Vec<i128> = (dy.iter().enumerate())
                .map(|(at, &d)| number(d) * number(weights[at / features * count + expert]))
                .collect();
            // Each expert's words are behind those of the experts before it.
            let first = (expert * rows * features) as u32;
            let (bits, words) = (range(&want), Words::new(3, 25, 9));
            let shift = bits as i32 - T::MAGNITUDE_BITS as i32;
            if shift <= 32 {
                let stored = want.iter().zip(first..);
                let stored = stored.map(|(&acc, i)| stochastic(acc, shift, words.word(i)));
                let stored: Vec<i128> = stored.map(|q| sat(q, T::MAGNITUDE_BITS)).collect();
                let mut dx = vec![T::ZERO; dy.len()];
                for threads in [1, 4] {
                    let (exec, store) = (Threads(threads), by_words(shift, words));
                    let shape = shape(extents);
                    let got =
                        experts::backward(&exec, shape, expert, &weights, &dy, store, &mut dx);
                    assert_eq!(
                        (got.unwrap(), numbers(&dx)),
                        (bits, stored.clone()),
                        "{place}"
                    );
                }
            }
            if expert == 0 {
                assert_stores::<T>(&place, &want, |store, dx| {
                    let shape = shape(extents);
                    experts::backward(&Serial, shape, 0, &weights, &dy, store, dx).unwrap()
                });
            }
        }
    }
}

#[test]
fn errors_of_experts_are_exact() {
    for_integers!(errors_of_experts_are_the_model);
}

/// `α · N · count / rows` at an exponent of its own, from the text of the rule.
fn load(thousandths: u32, experts: usize, count: usize, rows: usize) -> (i128, i32) {
    let weight = i128::from(thousandths) * experts as i128;
    let bits = 128 - weight.leading_zeros() as i32;
    let divisor = 1000 * rows as i128;
    let mantissa = ((weight << (24 - bits)) * count as i128 + divisor / 2) / divisor;
    (mantissa, bits - 24)
}

fn balances_are_the_model<T: Element>() {
    let mut noise = Noise::new(13);
    for [rows, count] in [[1, 1], [7, 3], [32, 2], [3, 40]] {
        let probabilities: Vec<T> = (0..rows * count)
            .map(|_| T::from_f64((noise.below(5) * 25) as f64)) // many are equal
            .collect();
        let dy = elements::<T>(&mut noise, rows * count);
        let mut counts = vec![0; count];
        for row in probabilities.chunks(count) {
            let largest = row.iter().map(|&p| number(p)).max().unwrap();
            counts[row.iter().position(|&p| number(p) == largest).unwrap()] += 1;
        }
        for thousandths in [1, 10, 999, 16_777_215 / count as u32] {
            let balance = Balance::new(thousandths, count).unwrap();
            for exponent in [-70, -20, -9, 0, 25] {
                let place = format!("{rows} rows of {count}, {thousandths} at {exponent}");
                let own = load(thousandths, count, 0, rows).1;
                let common = aligned_exponent([exponent, own]);
                assert_eq!(balance.exponent::<T>(exponent), common);
                let want: Vec<i128> = (dy.iter().enumerate())
                    .map(|(at, &d)| {
                        let (mantissa, own) = load(thousandths, count, counts[at % count], rows);
                        rne(number(d), common - exponent) + rne(mantissa, common - own)
                    })
                    .collect();
                let dy = Term {
                    values: &dy,
                    exponent,
                };
                assert_stores::<T>(&place, &want, |store, dx| {
                    let mut scratch = vec![9; count];
                    experts::balance_backward(
                        rows,
                        balance,
                        &probabilities,
                        dy,
                        store,
                        dx,
                        &mut scratch,
                    )
                    .unwrap()
                });
            }
        }
    }
}

#[test]
fn balances_of_integers_are_exact() {
    for_integers!(balances_are_the_model);
}

#[test]
fn what_balances_is_within_its_bound() {
    for thousandths in [1, 7, 10, 500, 4_000] {
        for experts in [2, 3, 8, 63] {
            for (count, rows) in [(1, 3), (5, 7), (1, 1), (999, 1000), (1, 4096)] {
                let (mantissa, exponent) = load(thousandths, experts, count, rows);
                let scale = f64::from(thousandths) / 1000.0 * experts as f64;
                let exact = scale * count as f64 / rows as f64;
                let off = (mantissa as f64 * 2f64.powi(exponent) - exact).abs();
                assert!(
                    off <= scale * 2f64.powi(-14),
                    "{thousandths} {experts} {count} {rows}"
                );
                assert!(mantissa < 1 << 15);
            }
        }
    }
}

#[test]
fn unsigned_integers_are_signed_ones_in_offset_binary() {
    macro_rules! check {
        ($signed:ty, $unsigned:ty) => {{
            let top = 1 << (<$unsigned>::BITS - 1);
            let flip = |x: &[$signed]| -> Vec<$unsigned> {
                x.iter().map(|&x| x as $unsigned ^ top).collect()
            };
            let mut noise = Noise::new(14);
            let (shape, extents) = (shape([5, 3, 7]), [5 * 3, 5 * 7]);
            let weights = elements::<$signed>(&mut noise, extents[0]);
            let outputs: Vec<_> = (0..3)
                .map(|_| elements::<$signed>(&mut noise, extents[1]))
                .collect();
            let twins: Vec<_> = outputs.iter().map(|y| flip(y)).collect();
            let store = by_words(<$signed>::MAGNITUDE_BITS as i32, Words::new(1, 2, 3));
            let (mut out, mut twin) = (vec![0; extents[1]], vec![0; extents[1]]);
            let terms: [_; 3] = std::array::from_fn(|i| Term {
                values: &outputs[i][..],
                exponent: i as i32,
            });
            experts::forward(&Serial, shape, &weights, &terms, store, &mut out).unwrap();
            let terms: [_; 3] = std::array::from_fn(|i| Term {
                values: &twins[i][..],
                exponent: i as i32,
            });
            experts::forward(&Serial, shape, &flip(&weights), &terms, store, &mut twin).unwrap();
            assert_eq!(flip(&out), twin);
        }};
    }
    for_twins!(check);
}
