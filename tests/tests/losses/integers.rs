//! Integers against the rule on big integers.

use super::{ELEMENTS, Io, LABELS, Loss, ROWS, WIDTH, all, quantized};
use selvedge_kernels::Element;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{Distance, SampleWeights, Sum};
use selvedge_kernels::lut::{cross_entropy, exp2_neg};
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

/// [`nearest`], which saturates at 62 bits to the left.
fn saturating(x: i128, s: i32) -> i128 {
    if s > 0 {
        return nearest(x, s);
    }
    let limit = ((1i128 << 62) - 1) >> -s;
    x.clamp(-limit, limit) << -s
}

/// `½·a·b·2^(2·exponent)` in Q16, of the first 31 bits of each.
fn half_product([a, b]: [i128; 2], exponent: i32) -> i128 {
    let dropped = [a, b].map(|x| (97 - x.leading_zeros() as i32).max(0));
    let product = (a >> dropped[0]) * (b >> dropped[1]);
    nearest(product, -(2 * exponent + dropped[0] + dropped[1] + 15))
}

/// The rule's accumulators of one call and its displayed loss, in `i128`. Exponents are those that
/// `integers_follow_the_rule` uses: no accumulator saturates.
fn accumulators(
    loss: Loss,
    m: i32,
    io: [&[i128]; 2],
    exponents: [i32; 2],
    w: Option<&[i128]>,
    weight_exponent: i32,
) -> (Vec<i128>, i128) {
    let drop = (m - 15).max(0);
    let [e, e_t] = exponents;
    let cut = |x: i128| nearest(x, drop);
    let octaves = |distance: i128| {
        let (t, s) = (distance * 23_637, e + drop + 2);
        let t = if s < 0 { t >> s.unsigned_abs() } else { t << s };
        t.min(31 << 16) as u32
    };
    let quotient = |a: u32, total: i128| ((i128::from(a) << 15) + total / 2) / total;
    let (mut all, mut displayed) = (vec![], 0);
    for r in 0..ROWS {
        let (x, y) = (&io[0][r * WIDTH..][..WIDTH], &io[1][r * WIDTH..][..WIDTH]);
        let weight = w.map(|w| cut(w[r]));
        let mut losses = vec![];
        let mut cross = |t: Vec<i128>, smoothing: f32| -> Vec<i128> {
            let share = nearest((f64::from(smoothing) * 2f64.powi(30)) as i128, 15);
            let classes = WIDTH as i128;
            let t: Vec<i128> = t
                .iter()
                .map(|t| ((1 << 15) - share) * t + ((share << 15) + classes / 2) / classes)
                .collect();
            let largest = x.iter().map(|&x| cut(x)).max().unwrap();
            let octaves: Vec<u32> = x.iter().map(|&x| octaves(largest - cut(x))).collect();
            let numerators: Vec<u32> = octaves.iter().map(|&t| exp2_neg(t)).collect();
            let total: i128 = numerators.iter().map(|&n| i128::from(n)).sum();
            let terms = octaves.iter().zip(&t);
            let terms = terms.map(|(&octaves, &t)| {
                nearest(t, 8) * i128::from(cross_entropy(total as u32, octaves))
            });
            losses.push(nearest(terms.sum(), 22));
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
                    let t = octaves(cut(x).abs());
                    let other = exp2_neg(t);
                    let total = 65_536 + i128::from(other);
                    let p = quotient(if cut(x) < 0 { other } else { 65_536 }, total);
                    let wanted = nearest(y, -15 - e_t).clamp(0, 1 << 15);
                    let [yes, no] = if cut(x) < 0 { [t, 0] } else { [0, t] }
                        .map(|t| i128::from(cross_entropy(total as u32, t)));
                    losses.push(nearest(wanted * yes + ((1 << 15) - wanted) * no, 15));
                    p - wanted
                })
                .collect(),
            Loss::Regression(distance) => x
                .iter()
                .zip(y)
                .map(|(&x, &y)| {
                    let d = x - nearest(y, e - e_t);
                    let size = d.abs();
                    let d = match distance {
                        Distance::Squared => {
                            losses.push(half_product([size; 2], e));
                            d
                        }
                        Distance::Absolute => {
                            losses.push(nearest(size, -16 - e));
                            return d.signum();
                        }
                        Distance::Huber(delta) => {
                            let steps = f64::from(delta.value()) * 2f64.powi(-e);
                            assert_eq!(steps.fract(), 0.0);
                            let steps = steps as i128;
                            let factors = if size > steps {
                                [steps, 2 * size - steps]
                            } else {
                                [size; 2]
                            };
                            losses.push(half_product(factors, e));
                            d.clamp(-steps, steps)
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
        let limit = (1i128 << 46) - 1;
        for loss in losses {
            let loss = match weight {
                None => loss,
                Some(weight) => {
                    saturating(loss.clamp(-limit, limit) * weight, -weight_exponent - drop)
                }
            };
            displayed = (displayed + loss).clamp(i64::MIN.into(), i64::MAX.into());
        }
    }
    (all, displayed)
}

fn integers_follow_the_rule<T: Element>() {
    let mut noise = Noise::new(203);
    let m = <T::Head as Element>::MAGNITUDE_BITS as i32;
    let exact = |x: &[T::Head]| -> Vec<i128> { x.iter().map(|x| x.to_f64() as i128).collect() };
    for loss in all() {
        // Weights at which the displayed loss of wide types saturates, and at which none does.
        for (with_weights, weight_exponent, exponents) in [
            (false, 0, [2 - m, 1 - m]),
            (true, -3, [3 - m, 1 - m]),
            (true, -1 - m, [1 - m, 2 - m]),
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
                exponent: weight_exponent,
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
            let (want, displayed) = accumulators(
                loss,
                m,
                [&exact(&x), &exact(&y)],
                exponents,
                with_weights.then_some(&w),
                weight_exponent,
            );
            let largest = want.iter().fold(0, |all, w| all | w.unsigned_abs());
            let range = 128 - largest.leading_zeros();
            let name = format!("{} {loss:?}, weights {with_weights}", T::DTYPE);
            let mut dy = vec![T::ZERO; ELEMENTS];
            let measured = loss.run(io, Store::Measure, &mut dy).unwrap();
            assert_eq!(measured.range, range, "{name}");
            let shown = measured.loss.to_f64() * 65_536.0;
            assert_eq!(shown, displayed as f64, "{name}: the loss");
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
