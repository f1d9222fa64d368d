//! Adaptive softmax: what it touches, what it reads, and its loss by the rule.

use super::cases::{Call, Variant};
use super::{EXACT, elements, model, stored};
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::Sum;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::softmax::adaptive::{self, Clusters};
use selvedge_kernels::softmax::{Logits, Number, Temperature};
use selvedge_kernels::{Element, bf16, f16};
use selvedge_tests::noise::Noise;
use selvedge_tests::{for_each_type, for_integers};

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

/// The loss of a head's logits is that of logits of its type, with another type for the gradient.
fn a_head_gives_the_same<T: Element>() {
    let clusters = Clusters::new(&[4, 0, 1, 6, 3, 2, 5], &[2, 3, 2], &mut [false; 7]).unwrap();
    let targets = [4u32, 6, 5, 2];
    let (x, exponent, _) = elements::<T::Head>(&mut Noise::new(163), 4 * 9, 1.5);
    let logits = Logits::new(&x, exponent);
    let mut scratch = vec![Default::default(); adaptive::scratch_len(clusters).unwrap()];
    let mut wide = vec![<T::Head as Element>::ZERO; x.len()];
    let mut narrow = vec![T::ZERO; x.len()];
    let of_head = |store, dx: &mut [T], scratch: &mut [T::Number]| {
        adaptive::cross_entropy_of_head(clusters, logits, &targets, store, dx, scratch).unwrap()
    };
    let outcome = of_head(Store::Measure, &mut narrow, &mut scratch);
    let shift = outcome.range as i32 - T::MAGNITUDE_BITS as i32;
    let store = Store::Shift {
        shift: if T::DTYPE.is_integer() { shift } else { 0 },
        rounding: Rounding::Stochastic(Words::new(3, 8, 2)),
    };
    let got = of_head(store, &mut narrow, &mut scratch);
    let want = adaptive::cross_entropy(clusters, logits, &targets, store, &mut wide, &mut scratch)
        .unwrap();
    let sums = |loss: <T::Number as Number>::Sum| loss.to_f64();
    assert_eq!((got.range, sums(got.loss)), (want.range, sums(want.loss)));
    let numbers = |x: &[T]| x.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    // Rounding up at the edge saturates 8 bits alone.
    let most = if T::DTYPE.is_integer() {
        2f64.powi(T::MAGNITUDE_BITS as i32) - 1.0
    } else {
        f64::INFINITY
    };
    let want: Vec<_> = (wide.iter().map(|x| x.to_f64().clamp(-most, most))).collect();
    assert_eq!(want, numbers(&narrow), "{}", T::DTYPE);
    assert!(want.iter().any(|&d| d != 0.0));
}

#[test]
fn a_head_gives_the_same_in_every_type() {
    macro_rules! check {
        ($t:ty) => {
            a_head_gives_the_same::<$t>();
        };
    }
    for_each_type!(check);
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

/// Losses, logarithms and gradients of the integers by the rule: nothing is off.
fn adaptive_losses_follow_the_rule<T: Element>() {
    let (ids, sizes) = ([4u32, 0, 1, 6, 3, 2, 5], [2usize, 3, 2]);
    let clusters = Clusters::new(&ids, &sizes, &mut [false; 7]).unwrap();
    // What shares a softmax: the head's items and two entries, then each tail's.
    let groups: [&[usize]; 3] = [&[4, 0, 7, 8], &[1, 6, 3], &[2, 5]];
    let places: [&[(usize, usize)]; 7] = [
        &[(0, 1)],
        &[(0, 2), (1, 0)],
        &[(0, 3), (2, 0)],
        &[(0, 2), (1, 2)],
        &[(0, 0)],
        &[(0, 3), (2, 1)],
        &[(0, 2), (1, 1)],
    ];
    let targets = [4u32, 6, 5, 2, 0, 1, 3];
    let m = T::MAGNITUDE_BITS as i32;
    let drop = (m - 15).max(0);
    let exact = |x: &T| x.to_f64() as i128;
    let mut noise = Noise::new(162);
    for (t, exponent) in [
        (1.0, 2 - m),
        (0.5, 3 - m),
        (1.7, -m - 9),
        (300.0, 6 - m),
        (0.001, 1),
    ] {
        let temperature = Temperature::new(t).unwrap();
        let ratio = temperature.inverse();
        let place = format!("{} at T = {t}", T::DTYPE);
        let x: Vec<T> = noise
            .vector(7 * 9, 2f64.powi(m) - 1.0)
            .into_iter()
            .map(T::from_f64)
            .collect();
        let logits = Logits::new(&x, exponent).at(temperature);
        let mut scratch = vec![Default::default(); adaptive::scratch_len(clusters).unwrap()];
        let mut log_p = vec![Default::default(); 7];
        adaptive::log_prob(clusters, logits, &targets, &mut log_p, &mut scratch).unwrap();
        let mut accumulators = vec![None; x.len()];
        let mut total = 0;
        for (r, (&target, log_p)) in targets.iter().zip(&log_p).enumerate() {
            let row: Vec<i128> = x[r * 9..][..9]
                .iter()
                .map(|x| model::nearest(exact(x), drop))
                .collect();
            let mut loss = 0;
            for &(group, at) in places[target as usize] {
                let z: Vec<i128> = groups[group].iter().map(|&i| row[i]).collect();
                loss += model::surprise(&z, exponent + drop, ratio, at);
                let some: Vec<_> = z.into_iter().map(Some).collect();
                let p = model::softmax(&some, exponent + drop, ratio);
                for (i, (&to, p)) in groups[group].iter().zip(p).enumerate() {
                    let wanted = i128::from(i == at) << 15;
                    accumulators[r * 9 + to] =
                        Some(((p - wanted) * i128::from(ratio.mantissa)) << 15);
                }
            }
            total += loss;
            assert_eq!(
                log_p.to_f64() * 65_536.0,
                -(loss as f64),
                "{place}: item {target}"
            );
        }
        let largest = accumulators
            .iter()
            .flatten()
            .fold(0, |all, acc: &i128| all | acc.unsigned_abs());
        let range = 128 - largest.leading_zeros();
        let shift = (range as i32 - m.min(15)).clamp(1, 32);
        let rounding = Rounding::Stochastic(Words::new(1, 8, 5));
        let mark = T::from_f64(85.0);
        let mut dx = vec![mark; x.len()];
        let store = Store::Shift { shift, rounding };
        let outcome =
            adaptive::cross_entropy(clusters, logits, &targets, store, &mut dx, &mut scratch)
                .unwrap();
        assert_eq!(outcome.range, range, "{place}: range");
        assert_eq!(
            outcome.loss.to_f64() * 65_536.0,
            total as f64,
            "{place}: loss"
        );
        for ((i, acc), d) in (0u32..).zip(accumulators).zip(&dx) {
            let want = acc.map_or(exact(&mark), |acc| stored::<T>(acc, shift, rounding, i));
            assert_eq!(exact(d), want, "{place}: logit {i}");
        }
    }
}

#[test]
fn adaptive_losses_follow_the_rule_in_every_type() {
    for_integers!(adaptive_losses_follow_the_rule);
}
