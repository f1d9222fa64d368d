//! Adaptive softmax: what it touches and what it reads.

use super::cases::{Call, Variant};
use super::{EXACT, elements};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::Sum;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::softmax::adaptive::{self, Clusters};
use selvedge_kernels::softmax::{Logits, Temperature};
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::for_integers;
use selvedge_tests::noise::Noise;

fn adaptive_touches_head_and_one_tail<T: Element>(tolerance: f64) {
    let (ids, sizes) = ([4u32, 0, 1, 6, 3, 2, 5], [2usize, 3, 2]);
    let clusters = Clusters::new(&ids, &sizes, &mut [false; 7]).unwrap();
    let variant = Variant::Adaptive(ids.to_vec(), sizes.to_vec());
    let mut noise = Noise::new(161);
    let temperature = Temperature::new(0.5).unwrap();
    let targets = [4u32, 6, 5, 2];
    let (x, exponent, values) = elements::<T>(&mut noise, 4 * 9, 1.5);
    let logits = Logits::new(&x, exponent).at(temperature);
    let mut scratch = vec![Default::default(); adaptive::scratch_len(clusters).unwrap()];
    let mut log_p = vec![Default::default(); 4];
    adaptive::log_prob(clusters, logits, &targets, &mut log_p, &mut scratch).unwrap();
    let p = variant.definition(&values, 0.5);
    for (r, (got, &target)) in log_p.iter().zip(&targets).enumerate() {
        let (got, want) = (got.to_f64(), p[r * 7 + target as usize].ln());
        assert!(
            (got - want).abs() <= tolerance,
            "{}: {got}, {want}",
            T::DTYPE
        );
    }
    let mark = T::from_f64(85.0);
    let mut dx = vec![mark; x.len()];
    let words = Words::new(1, 1, 1);
    let call = |store, dx: &mut Vec<T>, scratch: &mut Vec<_>| {
        adaptive::cross_entropy(clusters, logits, &targets, store, dx, scratch).unwrap()
    };
    let outcome = call(Store::Measure, &mut dx, &mut scratch);
    assert!(dx.iter().all(|&d| d == mark), "measuring wrote");
    let want: f64 = targets
        .iter()
        .enumerate()
        .map(|(r, &t)| -p[r * 7 + t as usize].ln())
        .sum();
    assert!((outcome.loss.to_f64() - want).abs() <= 4.0 * tolerance);
    let shift = if T::DTYPE.is_integer() {
        outcome.range as i32 - T::MAGNITUDE_BITS as i32
    } else {
        0
    };
    let rounding = Rounding::Stochastic(words);
    call(Store::Shift { shift, rounding }, &mut dx, &mut scratch);
    let scale = 2f64.powi(adaptive::loss_exponent::<T>(temperature) + shift);
    // d(-ln p_t) / dz by the full backward pass with the error -1 / p_t.
    let mut dy = vec![0.0; 28];
    for (r, &t) in targets.iter().enumerate() {
        dy[r * 7 + t as usize] = -1.0 / p[r * 7 + t as usize];
    }
    let (want, _) = variant.backward(
        Call {
            x: &values,
            exponent: 0,
            temperature,
        },
        &dy,
        EXACT,
    );
    let tails: [&[usize]; 2] = [&[1, 6, 3], &[2, 5]];
    let mut untouched = 0;
    for (r, &t) in targets.iter().enumerate() {
        for i in 0..9 {
            let d = dx[r * 9 + i];
            if tails
                .iter()
                .any(|tail| tail.contains(&i) && !tail.contains(&(t as usize)))
            {
                assert_eq!(d, mark, "{}: row {r} wrote logit {i}", T::DTYPE);
                untouched += 1;
                continue;
            }
            let (got, want) = (d.to_f64() * scale, want[r * 9 + i]);
            let step = if T::DTYPE.is_integer() { scale } else { 0.0 };
            assert!(
                (got - want).abs() <= 4.0 * tolerance + step,
                "{}: {got}, {want}",
                T::DTYPE
            );
        }
    }
    assert_eq!(untouched, 5 + 2 + 3 + 3);
}

#[test]
fn adaptive_touches_head_and_one_tail_in_every_type() {
    // Q16 logarithms of two softmaxes, each within 2^-13, of logits cut to 15 bits of ±4, at T = 0.5.
    let fixed = 2.0 * 2.0 / 8192.0;
    for_integers!(adaptive_touches_head_and_one_tail, fixed);
    adaptive_touches_head_and_one_tail::<f16>(0.005); // 2^-11 of gradients up to 2, and sums of f32
    adaptive_touches_head_and_one_tail::<bf16>(0.02);
    adaptive_touches_head_and_one_tail::<f32>(1e-5);
    adaptive_touches_head_and_one_tail::<f64>(1e-13);
}

/// Other tails' logits are not read: NaN there does no harm.
#[test]
fn adaptive_reads_no_other_tail() {
    let (ids, sizes) = ([0u32, 1, 2, 3], [1usize, 1, 2]);
    let clusters = Clusters::new(&ids, &sizes, &mut [false; 4]).unwrap();
    let x = [0.5, 0.25, f64::NAN, f64::NAN, 0.0, 1.0];
    let (mut out, mut scratch) = ([0.0], [0.0; 12]);
    adaptive::log_prob(clusters, Logits::new(&x, 0), &[1], &mut out, &mut scratch).unwrap();
    assert!(out[0] < 0.0);
    adaptive::log_prob(clusters, Logits::new(&x, 0), &[2], &mut out, &mut scratch).unwrap();
    assert!(out[0].is_nan());
}

// Mixture: the gradient of its weights.
