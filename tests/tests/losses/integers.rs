//! Integers against the rule on big integers.

use super::{ELEMENTS, Io, LABELS, Loss, ROWS, WIDTH, all, quantized};
use selvedge_kernels::Element;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{Distance, SampleWeights};
use selvedge_kernels::lut::exp2_neg;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_tests::noise::Noise;

/// `x / 2^s` to nearest even; exact to the left.
fn nearest(x: i128, s: i32) -> i128 {
    if s <= 0 {
        return x << s.unsigned_abs();
    }
    let (floor, half) = (x >> s, 1i128 << (s - 1));
    let rest = x - (floor << s);
    floor + i128::from(rest > half || (rest == half && floor & 1 == 1))
}

/// The rule's accumulators of one call, in `i128`. Exponents are those that `integers_follow_the_rule`
/// uses: none saturates.
fn accumulators(
    loss: Loss,
    m: i32,
    io: [&[i128]; 2],
    exponents: [i32; 2],
    w: Option<&[i128]>,
) -> Vec<i128> {
    let drop = (m - 15).max(0);
    let [e, e_t] = exponents;
    let cut = |x: i128| nearest(x, drop);
    let octaves = |distance: i128| {
        let (t, s) = (distance * 23_637, e + drop + 2);
        let t = if s < 0 { t >> s.unsigned_abs() } else { t << s };
        t.min(31 << 16) as u32
    };
    let quotient = |a: u32, total: i128| ((i128::from(a) << 15) + total / 2) / total;
    let mut all = vec![];
    for r in 0..ROWS {
        let (x, y) = (&io[0][r * WIDTH..][..WIDTH], &io[1][r * WIDTH..][..WIDTH]);
        let weight = w.map(|w| cut(w[r]));
        let cross = |t: Vec<i128>, smoothing: f32| -> Vec<i128> {
            let share = nearest((f64::from(smoothing) * 2f64.powi(30)) as i128, 15);
            let classes = WIDTH as i128;
            let t: Vec<i128> = t
                .iter()
                .map(|t| ((1 << 15) - share) * t + ((share << 15) + classes / 2) / classes)
                .collect();
            let largest = x.iter().map(|&x| cut(x)).max().unwrap();
            let numerators: Vec<u32> = x
                .iter()
                .map(|&x| exp2_neg(octaves(largest - cut(x))))
                .collect();
            let total: i128 = numerators.iter().map(|&n| i128::from(n)).sum();
            let shares: i128 = t.iter().sum();
            let p = numerators.iter().map(|&n| quotient(n, total));
            p.zip(&t)
                .map(|(p, t)| nearest(p * shares, 15) - t)
                .collect()
        };
        let row: Vec<i128> = match loss {
            Loss::Labels(smoothing) => {
                let hot = |i| i128::from(i == usize::from(LABELS[r])) << 15;
                cross((0..WIDTH).map(hot).collect(), smoothing)
            }
            Loss::Shares(smoothing) => cross(
                y.iter()
                    .map(|&y| nearest(y, -15 - e_t).clamp(-1 << 16, 1 << 16))
                    .collect(),
                smoothing,
            ),
            Loss::Binary => x
                .iter()
                .zip(y)
                .map(|(&x, &y)| {
                    let other = exp2_neg(octaves(cut(x).abs()));
                    let total = 65_536 + i128::from(other);
                    let p = quotient(if cut(x) < 0 { other } else { 65_536 }, total);
                    p - nearest(y, -15 - e_t).clamp(0, 1 << 15)
                })
                .collect(),
            Loss::Regression(distance) => x
                .iter()
                .zip(y)
                .map(|(&x, &y)| {
                    let d = x - nearest(y, e - e_t);
                    let d = match distance {
                        Distance::Squared => d,
                        Distance::Absolute => return d.signum(),
                        Distance::Huber(delta) => {
                            let steps = f64::from(delta.value()) * 2f64.powi(-e);
                            assert_eq!(steps.fract(), 0.0);
                            d.clamp(-(steps as i128), steps as i128)
                        }
                    };
                    if weight.is_some() {
                        nearest(d, (m - 45).max(0))
                    } else {
                        d
                    }
                })
                .collect(),
        };
        all.extend(row.into_iter().map(|d| d * weight.unwrap_or(1)));
    }
    all
}

fn integers_follow_the_rule<T: Element>() {
    let mut noise = Noise::new(203);
    let m = <T::Head as Element>::MAGNITUDE_BITS as i32;
    let exact = |x: &[T::Head]| -> Vec<i128> { x.iter().map(|x| x.to_f64() as i128).collect() };
    for loss in all() {
        for (with_weights, exponents) in [
            (false, [2 - m, 1 - m]),
            (true, [3 - m, 1 - m]),
            (true, [1 - m, 2 - m]),
        ] {
            let full = 2f64.powi(m) - 1.0;
            let make = |noise: &mut Noise, n| quantized::<T::Head>(&noise.vector(n, full), 0).0;
            let (x, y, w) = (
                make(&mut noise, ELEMENTS),
                make(&mut noise, ELEMENTS),
                make(&mut noise, ROWS),
            );
            let weights = with_weights.then_some(SampleWeights {
                values: &w[..],
                exponent: -3,
            });
            let [exponent, target_exponent] = exponents;
            let io = Io {
                x: &x,
                exponent,
                target: &y,
                target_exponent,
                weights,
            };
            let w = exact(&w);
            let want = accumulators(
                loss,
                m,
                [&exact(&x), &exact(&y)],
                exponents,
                with_weights.then_some(&w),
            );
            let largest = want.iter().fold(0, |all, w| all | w.unsigned_abs());
            let range = 128 - largest.leading_zeros();
            let name = format!("{} {loss:?}, weights {with_weights}", T::DTYPE);
            let mut dy = vec![T::ZERO; ELEMENTS];
            assert_eq!(
                loss.run(io, Store::Measure, &mut dy).unwrap().range,
                range,
                "{name}"
            );
            let words = Words::new(1, 8, 3);
            // Fewer than 32 places for the model; to the left where the accumulators are short.
            let shift = (range as i32 - T::MAGNITUDE_BITS as i32).clamp(-40, 32);
            let rounding = Rounding::Stochastic(words);
            loss.run(io, Store::Shift { shift, rounding }, &mut dy)
                .unwrap();
            let limit = (1i128 << T::MAGNITUDE_BITS) - 1;
            for (i, (d, want)) in (0..).zip(dy.iter().zip(&want)) {
                let want = if shift > 0 {
                    (want + i128::from(words.word(i) >> (32 - shift))) >> shift
                } else {
                    want << -shift
                };
                let want = want.clamp(-limit, limit);
                assert_eq!(d.to_f64() as i128, want, "{name}, element {i}");
            }
        }
    }
}

#[test]
fn integers_follow_the_rule_in_every_type() {
    integers_follow_the_rule::<i8>();
    integers_follow_the_rule::<u8>();
    integers_follow_the_rule::<i16>();
    integers_follow_the_rule::<u16>();
    integers_follow_the_rule::<i32>();
    integers_follow_the_rule::<u32>();
    integers_follow_the_rule::<i64>();
    integers_follow_the_rule::<u64>();
}
