//! Integers against the rule on big integers, and the bound over all bytes.

use super::{SHAPES, parameters, pass};
use selvedge_kernels::Element;
use selvedge_kernels::batch_norm::Shape;
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::isqrt_u128;
use selvedge_tests::compare::{integer, noise, sat, shift_rne, shifted};
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

/// `(j, r)` of a variance.
fn root(v: i128) -> (i32, i128) {
    if v == 0 {
        return (0, 0);
    }
    let j = (30 - (128 - v.leading_zeros() as i32)).div_euclid(2);
    let normal = if j >= 0 { v << (2 * j) } else { v >> (-2 * j) };
    (j, (1i128 << 30) / isqrt_u128(normal as u128) as i128)
}

/// The rule of `docs/numerics.md` §15 on big integers. Returns accumulators of `y` and `dx`, and sums.
fn model(
    shape: Shape,
    m: i32,
    [x, dy, gamma, beta]: [&[i128]; 4],
    beta_shift: i32,
) -> [Vec<i128>; 4] {
    let (n, channels) = (shape.rows as i128, shape.channels);
    let cut = (m - 15).max(0);
    let [mut y, mut dx] = [(); 2].map(|()| vec![0; x.len()]);
    let [mut errors, mut products] = [(); 2].map(|()| vec![0; channels]);
    for c in 0..channels {
        let places: Vec<usize> = (c..x.len()).step_by(channels).collect();
        let q: Vec<i128> = places.iter().map(|&i| shift_rne(x[i], cut)).collect();
        let d: Vec<i128> = places.iter().map(|&i| shift_rne(dy[i], cut)).collect();
        let s1: i128 = q.iter().sum();
        let v = n * q.iter().map(|q| q * q).sum::<i128>() - s1 * s1;
        let (j, r) = root(v);
        let normal: Vec<i128> = q
            .iter()
            .map(|q| sat(shift_rne((n * q - s1) * r, 18 - j), 15))
            .collect();
        errors[c] = d.iter().sum();
        products[c] = d.iter().zip(&normal).map(|(d, x)| d * x).sum();
        for (k, &i) in places.iter().enumerate() {
            let cap = [30, 61, 125][usize::from(m > 15) + usize::from(m > 24)];
            y[i] = normal[k] * gamma[c] + sat(shift_rne(beta[c], beta_shift), cap);
            let w = n * d[k] - errors[c] - shift_rne(normal[k] * shift_rne(products[c], 12), 12);
            dx[i] = shift_rne(w * r, 15 - j) * shift_rne(gamma[c], cut);
        }
    }
    [y, dx, errors, products]
}

fn integers_follow_the_rule<T>()
where
    T: Element<Statistic = i64, Update: Default + Clone + Into<i128>>,
{
    let m = T::MAGNITUDE_BITS as i32;
    let cut = (m - 15).max(0);
    let largest = ((1u64 << m) - 1) as f64;
    // Bytes of up to 64 rows or so are computed in 32 bits.
    let shapes = SHAPES.into_iter().chain([(60, 5), (65, 66), (300, 2)]);
    for (seed, (rows, channels)) in shapes.enumerate() {
        for fill in 0..5 {
            let shape = Shape { rows, channels };
            let place = format!("{}, {shape:?}, fill {fill}", T::DTYPE);
            let mut source = Noise::new(440 + seed as u32);
            let count = rows * channels;
            let x: Vec<T> = match fill {
                0 => noise(&mut source, count),
                1 => vec![T::from_f64(largest); count],
                2 => (0..count)
                    .map(|i| T::from_f64(f64::from(i < channels)))
                    .collect(),
                3 => (0..count)
                    .map(|i| T::from_f64(if i % 3 == 0 { largest } else { -largest }))
                    .collect(),
                _ => (0..count)
                    .map(|_| T::from_f64(source.signed() * 3.0))
                    .collect(),
            };
            let dy: Vec<T> = noise(&mut source, count);
            let gamma: Vec<T> = noise(&mut source, channels);
            let beta: Vec<T::Bias> = noise(&mut source, channels);
            let big = |x: &[T]| x.iter().map(|&x| integer(x)).collect::<Vec<_>>();
            let big_beta: Vec<i128> = beta.iter().map(|&b| integer(b)).collect();
            for (beta_shift, shifts) in [(-12, [12, 10]), (2, [20, 30]), (-20, [0, 45])] {
                let [y, dx, errors, products] = model(
                    shape,
                    m,
                    [&big(&x), &big(&dy), &big(&gamma), &big_beta],
                    beta_shift,
                );
                let bias = Some(Bias {
                    values: &beta[..],
                    shift: beta_shift,
                });
                let got = pass::<T>(&Serial, shape, [&x, &dy, &gamma], bias, shifts.map(shifted));
                for (what, want, out, shift, range) in [
                    ("y", &y, &got.y, shifts[0], got.ranges[0]),
                    ("dx", &dx, &got.dx, shifts[1], got.ranges[1]),
                ] {
                    let stored: Vec<i128> = want
                        .iter()
                        .map(|&acc| sat(shift_rne(acc, shift), m as u32))
                        .collect();
                    assert_eq!(stored, big(out), "{place}: {what}");
                    let most = want.iter().map(|acc| acc.unsigned_abs()).max().unwrap();
                    assert_eq!(
                        range,
                        128 - most.leading_zeros(),
                        "{place}: range of {what}"
                    );
                }
                let [dgamma, dbeta] = parameters::<T>(&got.sums);
                for (want, got) in [(&products, dgamma), (&errors, dbeta)] {
                    let got: Vec<i128> = got.into_iter().map(Into::into).collect();
                    let want: Vec<i128> = want.iter().map(|g| g << cut).collect();
                    assert_eq!(want, got, "{place}");
                }
            }
        }
    }
}

#[test]
fn integers_follow_the_rule_on_big_integers() {
    integers_follow_the_rule::<i8>();
    integers_follow_the_rule::<u8>();
    integers_follow_the_rule::<i16>();
    integers_follow_the_rule::<u16>();
    integers_follow_the_rule::<i32>();
    integers_follow_the_rule::<u32>();
    integers_follow_the_rule::<i64>();
    integers_follow_the_rule::<u64>();
}

/// All pairs of bytes as channels of two rows, and with a third at the end of the range: normalised as bytes, and in
/// 16 bits, which store Q12 as it is.
fn bytes_are_normalised_within_the_bound<T>(places: i32)
where
    T: Element<Statistic = i64, Update: Default + Clone + Into<i128>>,
{
    let bytes = || -127i32..=127;
    let pairs: Vec<[i32; 2]> = bytes().flat_map(|a| bytes().map(move |b| [a, b])).collect();
    for third in [None, Some(127)] {
        let rows = 2 + usize::from(third.is_some());
        let shape = Shape {
            rows,
            channels: pairs.len(),
        };
        let at = |row: usize| {
            let element = move |pair: &[i32; 2]| pair.get(row).copied().or(third).unwrap_or(0);
            pairs.iter().map(element)
        };
        let x: Vec<T> = (0..rows)
            .flat_map(at)
            .map(|x| T::from_f64(x.into()))
            .collect();
        let gamma = vec![T::from_f64(1.0); pairs.len()];
        let stores = [shifted(places), shifted(0)];
        let got = pass::<T>(&Serial, shape, [&x, &x, &gamma], None, stores);
        let unit = 2f64.powi(places - 12);
        for (c, pair) in pairs.iter().enumerate() {
            let channel: Vec<f64> = (0..rows)
                .map(|r| f64::from(pair.get(r).copied().or(third).unwrap_or(0)))
                .collect();
            let n = rows as f64;
            let mean = channel.iter().sum::<f64>() / n;
            let variance = channel.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            for (r, x) in channel.iter().enumerate() {
                let want = if variance == 0.0 {
                    0.0
                } else {
                    (x - mean) / variance.sqrt()
                };
                let stored = if places > 0 { unit / 2.0 } else { 0.0 };
                let y = got.y[r * pairs.len() + c].to_f64() * unit;
                let error = (y - want).abs();
                assert!(
                    error <= tolerance::normal(want) + stored,
                    "{}: {channel:?}, row {r}: {y}, {want}",
                    T::DTYPE
                );
            }
        }
    }
}

#[test]
fn every_pair_of_bytes_is_normalised_within_the_bound() {
    // Below 1.5: units of 2^-6 fit bytes.
    bytes_are_normalised_within_the_bound::<i8>(6);
    bytes_are_normalised_within_the_bound::<u8>(6);
    bytes_are_normalised_within_the_bound::<i16>(0);
}
