//! Random words, shuffles, rounding shifts, tables, softmax and loss against `primitives.json`, and
//! beyond it against 128-bit arithmetic.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use selvedge_kernels::fixed::{
    Accumulator, Rounding, isqrt, isqrt_u128, sat_i32, sat_i64, shift_rne_i32, shift_rne_i64,
    shift_rne_i128, shift_sr_i32, shift_sr_i64, shift_sr_i128, shl_sat_i32, shl_sat_i64,
    shl_sat_i128,
};
use selvedge_kernels::loss::cross_entropy;
use selvedge_kernels::lut;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, mix32, shuffle};
use selvedge_tests::golden;
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn recorded<T: DeserializeOwned>(key: &str) -> T {
    let mut all = golden::read("primitives.json");
    serde_json::from_value(all[key].take()).unwrap_or_else(|e| panic!("{key}: {e}"))
}

#[test]
fn words_and_shuffle_are_the_recorded_ones() {
    for (x, want) in recorded::<Vec<(u32, u32)>>("mix32") {
        assert_eq!(mix32(x), want, "mix32({x})");
    }
    #[derive(Deserialize)]
    struct Stream {
        seed: u32,
        stream: u32,
        step: u32,
        key: u32,
        first8: Vec<u32>,
    }
    let want: Stream = recorded("stream");
    let words = Words::new(want.seed, want.stream, want.step);
    assert_eq!(words.key(), want.key);
    assert_eq!(
        (0..8).map(|i| words.word(i)).collect::<Vec<_>>(),
        want.first8
    );
    #[derive(Deserialize)]
    struct Shuffle {
        n: usize,
        seed: u32,
        epoch: u32,
        perm: Vec<u16>,
    }
    let want: Shuffle = recorded("shuffle");
    let mut order = vec![0; want.n];
    shuffle(want.seed, want.epoch, &mut order).unwrap();
    assert_eq!(order, want.perm);
}

#[test]
fn shifts_are_the_recorded_ones_in_every_width() {
    for (x, s, want) in recorded::<Vec<(i64, i32, i64)>>("shift_rne") {
        assert_eq!(shift_rne_i64(x, s), want, "i64: {x} by {s}");
        assert_eq!(shift_rne_i128(x.into(), s), want.into(), "i128: {x} by {s}");
        if s >= 0 {
            let got = shift_rne_i32(x as i32, s);
            assert_eq!(i64::from(got), want, "i32: {x} by {s}");
        }
    }
    for (x, s, u, want) in recorded::<Vec<(i64, i32, u32, i64)>>("shift_sr") {
        assert_eq!(shift_sr_i64(x, s, u), want, "i64: {x} by {s} with {u}");
        assert_eq!(
            shift_sr_i128(x.into(), s, u),
            want.into(),
            "i128: {x} by {s} with {u}"
        );
        if s >= 0 {
            let got = shift_sr_i32(x as i32, s, u);
            assert_eq!(i64::from(got), want, "i32: {x} by {s} with {u}");
        }
    }
}

/// The definitions of `docs/numerics.md` §2 in 128 bits, for `|x| < 2^63`.
mod definition {
    pub(super) fn shl_sat(x: i128, k: u32) -> i128 {
        let k = k.min(62);
        let limit = ((1 << 62) - 1) >> k;
        x.clamp(-limit, limit) << k
    }

    pub(super) fn shift_rne(x: i128, s: i32) -> i128 {
        if s <= 0 {
            return shl_sat(x, s.unsigned_abs());
        }
        if s > 62 {
            return 0;
        }
        let floor = x >> s;
        let (rest, half) = (x - (floor << s), 1 << (s - 1));
        floor + i128::from(rest > half || (rest == half && floor % 2 != 0))
    }

    pub(super) fn shift_sr(x: i128, s: i32, u: u32) -> i128 {
        if s <= 0 {
            return shl_sat(x, s.unsigned_abs());
        }
        let (x, s) = if s > 32 {
            (x >> (s - 32).min(62), 32)
        } else {
            (x, s)
        };
        (x + i128::from(u >> (32 - s))) >> s
    }
}

/// Numbers at which rounding, carries and saturation change, up to `2^bits`.
fn edges(bits: u32) -> Vec<i64> {
    let mut edges = vec![0];
    for k in 0..=bits {
        for near in -2i64..=2 {
            let x = (1i64 << k) + near;
            if x <= 1 << bits {
                edges.extend(
                    [x, -x, (3 * x) >> 1, -((3 * x) >> 1)]
                        .iter()
                        .filter(|x| x.abs() <= 1 << bits),
                );
            }
        }
    }
    edges
}

const WORDS: [u32; 6] = [0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_0000, u32::MAX];

#[test]
fn shifts_of_64_bits_are_the_definition() {
    for x in edges(61) {
        let wide = i128::from(x);
        for s in -80..=80 {
            assert_eq!(
                i128::from(shift_rne_i64(x, s)),
                definition::shift_rne(wide, s),
                "{x} by {s}"
            );
            for u in WORDS {
                let want = definition::shift_sr(wide, s, u);
                assert_eq!(
                    i128::from(shift_sr_i64(x, s, u)),
                    want,
                    "{x} by {s} with {u}"
                );
            }
        }
        for k in 0..80 {
            assert_eq!(
                i128::from(shl_sat_i64(x, k)),
                definition::shl_sat(wide, k),
                "{x} by {k}"
            );
        }
    }
}

#[test]
fn shifts_of_32_bits_are_the_definition_once_clamped() {
    // 30 bits: a bias beside products; 15 and 7: stored elements.
    for x in edges(30) {
        let wide = i128::from(x);
        let x = x as i32;
        for s in -80..=80 {
            for bits in [7, 15, 30] {
                let clamped = |x: i128| x.clamp(1 - (1 << bits), (1 << bits) - 1);
                let want = clamped(definition::shift_rne(wide, s));
                let got = sat_i32(shift_rne_i32(x, s), bits);
                assert_eq!(i128::from(got), want, "{x} by {s} to {bits} bits");
                for u in WORDS {
                    let want = clamped(definition::shift_sr(wide, s, u));
                    let got = sat_i32(shift_sr_i32(x, s, u), bits);
                    assert_eq!(i128::from(got), want, "{x} by {s} with {u} to {bits} bits");
                }
            }
        }
        assert_eq!(
            shl_sat_i32(x, 0).unsigned_abs(),
            x.unsigned_abs().min((1 << 30) - 1)
        );
    }
}

/// [`Accumulator::shift_all`] of `values` is [`Accumulator::shift`] of each, by every number of places that a caller
/// has, and words are those of the elements that the caller names.
fn all_shift_as_one<A: Accumulator>(values: &[A]) {
    let words = Words::new(71, 3, 2);
    let element = |i: u32| i.wrapping_mul(5).wrapping_add(u32::MAX - 3);
    for shift in -140..=140 {
        for rounding in [Rounding::NearestEven, Rounding::Stochastic(words)] {
            let mut got = values.to_vec();
            A::shift_all(&mut got, shift, rounding, element);
            for ((&x, &got), i) in values.iter().zip(&got).zip(0..) {
                let want = x.shift(shift, rounding, element(i));
                assert_eq!(got, want, "{x:?} by {shift}, {rounding:?}, element {i}");
            }
        }
    }
    A::shift_all(&mut [], 1, Rounding::NearestEven, element);
}

/// Random numbers of every length, and both signs of those at which a width's rounding or saturation changes.
fn of_every_length(bits: u32) -> Vec<i128> {
    let mut noise = Noise::new(72);
    let mut values = vec![0, i128::MIN >> (127 - bits), i128::MAX >> (127 - bits)];
    for length in 0..=bits {
        let power = 1i128 << length.min(126);
        let word = |noise: &mut Noise| u128::from(noise.word());
        for _ in 0..8 {
            let x = (0..4).fold(0, |x, _| x << 32 | word(&mut noise));
            values.push((x >> (128 - length.max(1))) as i128);
        }
        values.extend([power - 1, power, power | power >> 1]);
    }
    let fits = |x: &i128| *x >> bits == 0 || *x >> bits == -1;
    let both = values.iter().flat_map(|&x| [x, x.wrapping_neg()]);
    both.filter(fits).collect()
}

#[test]
fn many_shift_as_one_does() {
    let values = of_every_length(31);
    all_shift_as_one(&values.iter().map(|&x| x as i32).collect::<Vec<_>>());
    let values = of_every_length(63);
    all_shift_as_one(&values.iter().map(|&x| x as i64).collect::<Vec<_>>());
    all_shift_as_one(&of_every_length(127));
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(
        proptest::test_runner::FileFailurePersistence::WithSource("regressions")
    ))]

    #[test]
    fn rounding_to_nearest_is_odd(x in -(1i64 << 61)..1 << 61, s in -70i32..70) {
        prop_assert_eq!(shift_rne_i64(-x, s), -shift_rne_i64(x, s));
        prop_assert_eq!(shift_rne_i128(-i128::from(x), s), -shift_rne_i128(x.into(), s));
        let x = (x >> 32) as i32;
        prop_assert_eq!(shift_rne_i32(-x, s), -shift_rne_i32(x, s));
    }

    #[test]
    fn rounding_moves_by_less_than_a_unit(x in -(1i64 << 61)..1 << 61, s in 1i32..62, u: u32) {
        // 4 |nearest - x / 2^s| <= 2, and the stochastic one is the floor or one more.
        let nearest = i128::from(shift_rne_i64(x, s)) << s;
        prop_assert!((nearest - i128::from(x)).abs() * 2 <= 1 << s);
        let stochastic = shift_sr_i64(x, s, u);
        prop_assert!(stochastic == x >> s || stochastic == (x >> s) + 1);
    }

    #[test]
    fn wide_shifts_agree_with_exact_arithmetic(high: i64, low: u64, s in 1i32..126, u: u32) {
        // |x| < 2^126
        let x = ((i128::from(high) << 64) | i128::from(low)) >> 2;
        let floor = x >> s;
        let (rest, half) = (x - (floor << s), 1i128 << (s - 1));
        let nearest = floor + i128::from(rest > half || (rest == half && floor & 1 == 1));
        prop_assert_eq!(shift_rne_i128(x, s), nearest);
        let (cut, places) = if s > 32 { (x >> (s - 32), 32) } else { (x, s) };
        let word = i128::from(u >> (32 - places));
        prop_assert_eq!(shift_sr_i128(x, s, u), (cut + word) >> places);
    }

    #[test]
    fn wide_left_shifts_saturate(x: i64, k in 0u32..200) {
        let limit = (1i128 << 126) - 1;
        let got = shl_sat_i128(x.into(), k);
        match i128::from(x).checked_mul(1i128.checked_shl(k).unwrap_or(0)) {
            Some(exact) if exact.abs() <= limit && k < 126 => prop_assert_eq!(got, exact),
            _ if k < 126 => prop_assert!(got.signum() == i128::from(x.signum()) && got.abs() > limit >> 2),
            _ => prop_assert_eq!(got, 0), // as the definition does from 62 on
        }
    }

    #[test]
    fn square_roots_are_floors(n: u64, high: u64) {
        for n in [n, n >> 32, n >> 60] {
            let root = u128::from(isqrt(n));
            prop_assert!(root * root <= n.into() && (root + 1) * (root + 1) > n.into());
        }
        let n = ((u128::from(high) << 64) | u128::from(n)) >> 2;
        let root = isqrt_u128(n);
        prop_assert!(root * root <= n && (root + 1) * (root + 1) > n);
    }

    #[test]
    fn shuffles_are_permutations(seed: u32, epoch: u32, n in 0usize..2000) {
        let mut order = vec![7; n];
        shuffle(seed, epoch, &mut order).unwrap();
        order.sort_unstable();
        prop_assert!(order.iter().zip(0u32..).all(|(&a, b)| u32::from(a) == b));
    }
}

#[test]
fn the_largest_shuffle_is_a_permutation() {
    let mut order = vec![0; 1 << 16];
    shuffle(3, 1, &mut order).unwrap();
    assert!(
        order
            .iter()
            .zip(0u32..)
            .filter(|&(&a, b)| u32::from(a) == b)
            .count()
            < 10,
        "hardly shuffled"
    );
    order.sort_unstable();
    assert!(order.iter().zip(0..=u16::MAX).all(|(&a, b)| a == b));
}

#[test]
fn stochastic_shifts_have_the_right_expectation() {
    // Over all words whose upper 16 bits differ, x / 2^s is hit exactly for s <= 16.
    for (x, s) in [
        (37, 4),
        (-37, 4),
        (1, 16),
        (-1, 16),
        (12_345, 15),
        (-70_001, 16),
    ] {
        let words = (0..1u32 << 16).map(|u| u << 16);
        let total: i64 = words.map(|u| shift_sr_i64(x, s, u)).sum();
        assert_eq!(total, x << (16 - s), "{x} by {s}, 64 bits");
        let total: i64 = (0..1u32 << 16)
            .map(|u| i64::from(shift_sr_i32(x as i32, s, u << 16)))
            .sum();
        assert_eq!(total, x << (16 - s), "{x} by {s}, 32 bits");
    }
}

#[test]
fn tables_are_the_recorded_ones() {
    let tables: serde_json::Value = recorded("tables");
    assert_eq!(
        serde_json::json!(lut::EXP2_Q16.to_vec()),
        tables["exp2_q16"]
    );
    assert_eq!(
        serde_json::json!(lut::LOG2_Q16.to_vec()),
        tables["log2_q16"]
    );
}

#[test]
fn exp2_neg_keeps_its_bound() {
    let mut largest = 0f64;
    for t in 0..=(31 << 16) + 5 {
        let want = (16.0 - f64::from(t) / 65_536.0).exp2();
        largest = largest.max((f64::from(lut::exp2_neg(t)) - want).abs());
    }
    println!("exp2_neg: largest error {largest} units");
    assert!(largest <= tolerance::EXP2_NEG_UNITS, "{largest}");
    assert!(
        largest > tolerance::EXP2_NEG_UNITS - 0.1,
        "the stated bound is too wide: {largest}"
    );
    assert_eq!(lut::exp2_neg(u32::MAX), 0);
}

/// All small numbers, and all fractions of 16 bits with the least and the most below them, which is cut off.
#[test]
fn log2_keeps_its_bounds() {
    let error = |n: u64| (f64::from(lut::log2(n)) - (n as f64).log2() * 65_536.0).abs();
    let exact = (1..1 << 17).map(error).fold(0.0, f64::max);
    let mut cut = 0f64;
    for top in 1u64 << 16..1 << 17 {
        for places in [1, 5, 20, 36, 47] {
            let least = top << places;
            let most = least | ((1 << places) - 1);
            cut = cut.max(error(least)).max(error(most));
        }
    }
    println!("log2: off by {exact} units, {cut} where bits are cut off");
    for (error, bound) in [exact, cut].into_iter().zip(tolerance::LOG2_UNITS) {
        assert!(error <= bound, "{error} of {bound}");
        assert!(
            error > bound - 0.1,
            "the stated bound is too wide: {error} of {bound}"
        );
    }
    assert_eq!(lut::log2(0), 0);
}

#[test]
fn displayed_loss_is_close_to_the_logarithm() {
    let mut noise = Noise::new(31);
    let mut largest = 0f64;
    for case in 0..20_000 {
        let total = (noise.word() >> (1 + noise.below(15))).max(1 << 16);
        let t = noise.word() % (20 << 16);
        let want = (f64::from(total) / 65_536.0).ln() + f64::from(t) / 65_536.0 * 2f64.ln();
        let got = lut::cross_entropy(total, t) as f64 / 65_536.0;
        let octaves = f64::from(total).log2() - 16.0 + f64::from(t) / 65_536.0;
        let bound = tolerance::displayed_loss(octaves);
        let error = (got - want).abs();
        assert!(error <= bound, "case {case}: off by {error} of {bound}");
        largest = largest.max(error / bound);
    }
    println!("cross_entropy: largest error {largest} of its bound");
    assert!(largest > 0.8, "the stated bound is too wide: {largest}");
}

#[test]
fn softmax_and_loss_are_the_recorded_ones() {
    #[derive(Deserialize)]
    struct Case {
        exp: i32,
        z: Vec<Vec<i16>>,
        p_q15: Vec<Vec<i32>>,
        loss_q16_label0: Vec<i64>,
    }
    // Q15 fits 16 bits only after a shift by one; p[0] - 2^15 and the others are compared in two
    // calls, exact in i32 (24 bits, no shift).
    for case in recorded::<Vec<Case>>("softmax") {
        for ((z, p), loss) in case.z.iter().zip(&case.p_q15).zip(&case.loss_q16_label0) {
            let logits: Vec<i32> = z.iter().map(|&z| i32::from(z) << 9).collect();
            let mut dy = vec![0i32; z.len()];
            let store = Store::Shift {
                shift: 0,
                rounding: Rounding::NearestEven,
            };
            let outcome =
                cross_entropy::<i32>(z.len(), &logits, case.exp - 9, &[0], store, &mut dy).unwrap();
            let mut want = p.clone();
            want[0] -= 1 << 15;
            assert_eq!(dy, want, "exponent {}, logits {z:?}", case.exp);
            assert_eq!(outcome.loss, *loss, "exponent {}, logits {z:?}", case.exp);
            let largest = want.iter().map(|g| g.unsigned_abs()).max().unwrap();
            assert_eq!(outcome.range, 32 - largest.leading_zeros());

            // 16-bit logits as they are, with a shift that keeps all of 15 bits and one of sign.
            let mut dy = vec![0i16; z.len()];
            let store = Store::Shift {
                shift: 1,
                rounding: Rounding::NearestEven,
            };
            cross_entropy::<i16>(z.len(), z, case.exp, &[0], store, &mut dy).unwrap();
            let want: Vec<i64> = want.iter().map(|&g| shift_rne_i64(g.into(), 1)).collect();
            assert_eq!(dy.iter().map(|&g| i64::from(g)).collect::<Vec<_>>(), want);
        }
    }
}

#[test]
fn softmax_is_close_to_the_exponential() {
    let mut noise = Noise::new(32);
    for case in 0..200 {
        let classes = 2 + noise.below(12);
        let logits: Vec<i16> = (0..classes)
            .map(|_| (noise.signed() * 32_767.0) as i16)
            .collect();
        let exponent = -(noise.below(8) as i32) - 10;
        let label = noise.below(classes);
        let mut dy = vec![0i32; classes];
        let wide: Vec<i32> = logits.iter().map(|&z| i32::from(z) << 9).collect();
        let store = Store::Shift {
            shift: 0,
            rounding: Rounding::NearestEven,
        };
        let labels = [label as u16];
        cross_entropy::<i32>(classes, &wide, exponent - 9, &labels, store, &mut dy).unwrap();
        let values = || {
            logits
                .iter()
                .map(|&z| (f64::from(z) * f64::from(exponent).exp2()).exp())
        };
        let total: f64 = values().sum();
        for (class, (value, &got)) in values().zip(&dy).enumerate() {
            let p = value / total;
            let want = p - f64::from(u8::from(class == label));
            let error = (f64::from(got) / 32_768.0 - want).abs();
            let bound = tolerance::probability(classes, p).min(tolerance::DRAWN_PROBABILITY);
            assert!(
                error <= bound,
                "case {case}, class {class}: off by {error} of {bound}"
            );
        }
    }
}

/// Where the errors of a tail do all go one way: some classes are as likely as the first, the others alike and far
/// below, so that each numerator loses what the final shift cuts off. Random logits do not find this.
#[test]
fn softmax_keeps_its_bound_with_any_tail() {
    let mut beyond = 0f64;
    for classes in [2, 3, 4, 5, 13, 100, 1000, 32_767] {
        let (mut largest, mut share) = (0f64, 0f64);
        for equal in [1, 2, classes / 2] {
            if equal >= classes {
                continue;
            }
            // 0.01 to 17 nats below, close to one another.
            for below in (1..1700).step_by(if classes > 100 { 37 } else { 1 }) {
                let mut logits = vec![0i32; classes];
                logits[equal..].fill(-below * 1024 / 100);
                let z = -f64::from(below * 1024 / 100) / 1024.0;
                let wide: Vec<i32> = logits.iter().map(|&z| z << 9).collect();
                let mut dy = vec![0i32; classes];
                let store = Store::Shift {
                    shift: 0,
                    rounding: Rounding::NearestEven,
                };
                // The last is the label: of the tail.
                let labels = [(classes - 1) as u16];
                cross_entropy::<i32>(classes, &wide, -19, &labels, store, &mut dy).unwrap();
                let total = equal as f64 + (classes - equal) as f64 * z.exp();
                let tail = dy[classes - 1] + (1 << 15);
                for (got, value) in [(dy[0], 1.0), (tail, z.exp())] {
                    let p = value / total;
                    let error = (f64::from(got) / 32_768.0 - p).abs();
                    let bound = tolerance::probability(classes, p);
                    assert!(
                        error <= bound,
                        "{classes} classes, {equal} equal, {z}: {error} of {bound}"
                    );
                    (largest, share) = (largest.max(error), share.max(error / bound));
                }
            }
        }
        println!("{classes} classes: off by {largest}, {share} of the bound");
        assert!(share > 0.5, "the stated bound is too wide: {share}");
        beyond = beyond.max(largest);
    }
    assert!(
        beyond > 1000.0 * tolerance::DRAWN_PROBABILITY,
        "a constant would do: {beyond}"
    );
}

/// `docs/numerics/softmax.md` states `(2 + N·p) · 2^-15`, which is simpler; few classes have no more than random
/// ones.
#[test]
fn the_bound_of_the_softmax_is_within_the_documented_one() {
    for classes in (2..200).chain([1000, 10_000, 32_767]) {
        for p in (0..=1000).map(|p| f64::from(p) / 1000.0) {
            let bound = tolerance::probability(classes, p);
            let documented = (2.0 + classes as f64 * p) / 32_768.0;
            assert!(bound <= documented, "{classes}, {p}: {bound}, {documented}");
        }
        let any = tolerance::any_probability(classes);
        assert_eq!(
            any <= 1.0002 * tolerance::DRAWN_PROBABILITY,
            classes <= 4,
            "{classes}: {any}"
        );
    }
}

#[test]
fn saturation_is_symmetric() {
    for (x, bits, want) in [
        (200, 7, 127),
        (-200, 7, -127),
        (-128, 7, -127),
        (127, 7, 127),
        (0, 7, 0),
    ] {
        assert_eq!(sat_i32(x, bits), want);
        assert_eq!(sat_i64(x.into(), bits), i64::from(want));
    }
}
