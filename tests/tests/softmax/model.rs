//! The integer rules of the family once more, in `i128` and without a thought for speed: thresholds
//! by sorting or by stepping, rows as vectors.

use crate::cases::Variant;
use selvedge_kernels::lut::{cross_entropy, exp2_neg, log2};
use selvedge_kernels::softmax::{Alpha, Ratio, Temperature, gumbel::noise_q16};

/// `x / 2^s` to nearest even; exact to the left.
pub(crate) fn nearest(x: i128, s: i32) -> i128 {
    if s <= 0 {
        return x << s.unsigned_abs();
    }
    let (floor, half) = (x >> s, 1i128 << (s - 1));
    let rest = x - (floor << s);
    floor + i128::from(rest > half || (rest == half && floor & 1 == 1))
}

/// One row: probabilities in Q15, and of each logit its weight and the difference of errors.
pub(crate) struct Row {
    pub(crate) p: Vec<i128>,
    pub(crate) gradient: Vec<(i128, i128)>,
}

const CAP: i128 = 31 << 16;

/// How far each logit is below the largest: octaves in Q16.
fn octaves(z: &[Option<i128>], exponent: i32, ratio: Ratio) -> Vec<Option<u32>> {
    let largest = z.iter().flatten().max().unwrap();
    let factor = nearest(23_637 * i128::from(ratio.mantissa), 14);
    let places = exponent - i32::from(ratio.shift) + 16;
    let octaves = |z: i128| {
        let t = (largest - z) * factor;
        let t = if places < 0 {
            t >> places.unsigned_abs()
        } else {
            t << places
        };
        t.min(CAP) as u32
    };
    z.iter().map(|z| z.map(octaves)).collect()
}

/// Numerators of a softmax, and their sum.
fn numerators(octaves: &[Option<u32>]) -> (Vec<i128>, i128) {
    let numerator = |t: &Option<u32>| t.map_or(0, |t| i128::from(exp2_neg(t)));
    let all: Vec<i128> = octaves.iter().map(numerator).collect();
    let total = all.iter().sum();
    (all, total)
}

pub(crate) fn softmax(z: &[Option<i128>], exponent: i32, ratio: Ratio) -> Vec<i128> {
    let (numerators, total) = numerators(&octaves(z, exponent, ratio));
    numerators
        .iter()
        .map(|n| ((n << 15) + total / 2) / total)
        .collect()
}

/// The displayed `-ln` of the probability of one of the logits, in Q16.
pub(crate) fn surprise(z: &[i128], exponent: i32, ratio: Ratio, target: usize) -> i128 {
    let some: Vec<Option<i128>> = z.iter().copied().map(Some).collect();
    let octaves = octaves(&some, exponent, ratio);
    let (_, total) = numerators(&octaves);
    i128::from(cross_entropy(total as u32, octaves[target].unwrap()))
}

pub(crate) fn mean(weights: &[i128], values: &[i128]) -> i128 {
    let total: i128 = weights.iter().sum();
    let sum: i128 = weights.iter().zip(values).map(|(w, v)| w * v).sum();
    if total == 0 {
        return 0;
    }
    // To nearest, halves away from zero.
    sum.signum() * ((sum.abs() + total / 2) / total)
}

/// A softmax's weights with the differences of `errors` to their mean.
fn jacobian(weights: &[i128], errors: &[i128]) -> Vec<(i128, i128)> {
    let mean = mean(weights, errors);
    weights
        .iter()
        .zip(errors)
        .map(|(&w, e)| (w, e - mean))
        .collect()
}

/// Slope in Q24 of an excess in Q24.
fn slope(w: i128, alpha: f32) -> i128 {
    match alpha {
        _ if w == 0 => 0,
        2.0 => 1 << 24,
        1.5 => w,
        _ => {
            // (2 - alpha) / (alpha - 1) in 15 bits, as the kernel's ratio of it.
            let gap = f64::from(alpha) - 1.0;
            let power = (1.0 - gap) / gap;
            let shift = 14 - power.log2().floor() as i32;
            let mantissa = (power * 2f64.powi(shift)).round() as i128;
            let t = ((24 << 16) - i128::from(log2(w as u64))) * mantissa;
            i128::from(exp2_neg((t >> shift).min(CAP) as u32)) << 8
        }
    }
}

fn entmax(
    z: &[i128],
    exponent: i32,
    temperature: Temperature,
    alpha: f32,
) -> (Vec<i128>, Vec<i128>) {
    let gap = f64::from(alpha) - 1.0;
    let shift = 14 - gap.log2().floor() as i32;
    let gap = Ratio {
        mantissa: (gap * 2f64.powi(shift)).round() as u16,
        shift: shift as i16,
    };
    let ratio = temperature.inverse().times(gap);
    let largest = z.iter().max().unwrap();
    let distances: Vec<i128> = z
        .iter()
        .map(|z| {
            let product = (largest - z) * i128::from(ratio.mantissa);
            nearest(product, i32::from(ratio.shift) - exponent - 24).min(1 << 24)
        })
        .collect();
    let mass = |w: i128| w * slope(w, alpha);
    let total =
        |threshold: i128| -> i128 { distances.iter().map(|d| mass((threshold - d).max(0))).sum() };
    let threshold = if alpha == 2.0 {
        // By sorting: with k elements in the support, k θ = 1 + Σ d.
        let mut sorted = distances.clone();
        sorted.sort_unstable();
        let mut sum = 1i128 << 24;
        let mut threshold = 0;
        for (k, d) in (1..).zip(&sorted) {
            sum += d;
            if sum > k * d {
                threshold = sum / k;
            }
        }
        threshold
    } else {
        // Steps from below that shrink: the largest threshold with a total of 1 or less.
        let mut threshold = 0;
        let mut step = 1i128 << 23;
        while step > 0 {
            while threshold + step <= 1 << 24 && total(threshold + step) <= 1 << 48 {
                threshold += step;
            }
            step /= 3;
        }
        threshold
    };
    let excess = distances.iter().map(|d| (threshold - d).max(0));
    let p = excess.clone().map(|w| nearest(mass(w), 33)).collect();
    (p, excess.map(|w| nearest(slope(w, alpha), 9)).collect())
}

/// The rule for a row of logits `x` (cut, at `exponent`) and errors `d` (of 15 bits); `first` is the
/// index of the row's first logit; `gate` are a mixture's gate logits and their exponent, cut too.
pub(crate) fn row(
    variant: &Variant,
    x: &[i128],
    exponent: i32,
    temperature: Temperature,
    d: &[i128],
    first: usize,
    gate: (&[i128], i32),
) -> Row {
    let ratio = temperature.inverse();
    let some = |x: &[i128]| x.iter().copied().map(Some).collect::<Vec<_>>();
    let plain = |z: &[i128]| softmax(&some(z), exponent, ratio);
    let chunks = |n: usize| {
        let p: Vec<i128> = x.chunks(n).flat_map(plain).collect();
        let gradient = p
            .chunks(n)
            .zip(d.chunks(n))
            .flat_map(|(p, d)| jacobian(p, d))
            .collect();
        Row { p, gradient }
    };
    match variant {
        Variant::Standard(n) => chunks(*n),
        Variant::Grid([_, n]) => chunks(*n),
        Variant::Groups(levels) => chunks(*levels.last().unwrap()),
        Variant::Masked(mask) => {
            let z: Vec<_> = x.iter().zip(mask).map(|(&x, &m)| m.then_some(x)).collect();
            let p = softmax(&z, exponent, ratio);
            let gradient = jacobian(&p, d);
            Row { p, gradient }
        }
        Variant::Gumbel(_, words) => {
            let noisy: Vec<_> = (first as u32..)
                .zip(x)
                .map(|(i, &x)| {
                    let limit = (1 << 28) - 1;
                    let noise = nearest(i128::from(noise_q16(words.word(i))), 5);
                    Some(nearest(x, -11 - exponent).clamp(-limit, limit) + noise)
                })
                .collect();
            let p = softmax(&noisy, -11, ratio);
            let gradient = jacobian(&p, d);
            Row { p, gradient }
        }
        Variant::Entmax(n, 1.0) => chunks(*n),
        Variant::Entmax(_, alpha) => {
            assert!(Alpha::new(*alpha).is_ok());
            let (p, s) = entmax(x, exponent, temperature, *alpha);
            Row {
                p,
                gradient: jacobian(&s, d),
            }
        }
        Variant::Tree(levels) => {
            let (mut given, mut way, mut rest) = (vec![], vec![vec![1i128 << 15]], x);
            for &children in levels {
                let above = way.last().unwrap().clone();
                let (level, after) = rest.split_at(above.len() * children);
                rest = after;
                let c: Vec<i128> = level.chunks(children).flat_map(plain).collect();
                let parents = above.iter().flat_map(|p| vec![*p; children]);
                way.push(
                    c.iter()
                        .zip(parents)
                        .map(|(c, p)| nearest(c * p, 15))
                        .collect(),
                );
                given.push(c);
            }
            // Errors from the leaves up.
            let mut below = vec![d.to_vec()];
            for (&children, c) in levels.iter().zip(&given).rev() {
                let s = below.last().unwrap();
                let up = c
                    .chunks(children)
                    .zip(s.chunks(children))
                    .map(|(c, s)| mean(c, s))
                    .collect();
                below.push(up);
            }
            below.reverse(); // root first
            let mut gradient = vec![];
            for (l, &children) in levels.iter().enumerate() {
                for (i, (&p, &s)) in way[l + 1].iter().zip(&below[l + 1]).enumerate() {
                    gradient.push((p, s - below[l][i / children]));
                }
            }
            Row {
                p: way.pop().unwrap(),
                gradient,
            }
        }
        Variant::Adaptive(ids, sizes) => {
            let n = ids.len();
            let at = |i: &u32| x[*i as usize];
            let heads = sizes[0];
            let mut head: Vec<i128> = ids[..heads].iter().map(at).collect();
            head.extend(&x[n..]);
            let head = plain(&head);
            let mut p = vec![0; n];
            let mut gradient = vec![(0, 0); x.len()];
            let mut errors: Vec<i128> = ids[..heads].iter().map(|&i| d[i as usize]).collect();
            for (&id, &h) in ids[..heads].iter().zip(&head) {
                p[id as usize] = h;
            }
            let mut start = heads;
            for (c, &size) in sizes[1..].iter().enumerate() {
                let tail = &ids[start..start + size];
                start += size;
                let given = plain(&tail.iter().map(at).collect::<Vec<_>>());
                let d: Vec<i128> = tail.iter().map(|&i| d[i as usize]).collect();
                errors.push(mean(&given, &d));
                for ((&id, g), d) in tail.iter().zip(&given).zip(&d) {
                    p[id as usize] = nearest(g * head[heads + c], 15);
                    gradient[id as usize] = (p[id as usize], d - errors[heads + c]);
                }
            }
            for (i, pair) in jacobian(&head, &errors).into_iter().enumerate() {
                let place = if i < heads {
                    ids[i] as usize
                } else {
                    n + i - heads
                };
                gradient[place] = pair;
            }
            Row { p, gradient }
        }
        Variant::Mixture(n, _) => {
            let pi = softmax(&some(gate.0), gate.1, Ratio::ONE);
            let mut p = vec![0; *n];
            let mut gradient = vec![];
            for (pi, z) in pi.iter().zip(x.chunks(*n)) {
                let given = plain(z);
                for (p, g) in p.iter_mut().zip(&given) {
                    *p += nearest(g * pi, 15);
                }
                let each = jacobian(&given, d);
                gradient.extend(each.iter().map(|(g, d)| (nearest(g * pi, 15), *d)));
            }
            Row { p, gradient }
        }
    }
}
