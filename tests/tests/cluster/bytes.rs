//! Cosines and shares of all pairs of bytes within their bounds.

use selvedge_kernels::Element;
use selvedge_kernels::cluster::{self, Clusters, Member, Metric, Shape, Temperature};
use selvedge_kernels::exec::Serial;
use selvedge_tests::tolerance;

/// Centres at the ends of the range, along the axes, near them and between: bytes.
const CENTRES: [[f64; 2]; 7] = [
    [127.0, -127.0],
    [1.0, 0.0],
    [0.0, -127.0],
    [-126.0, 1.0],
    [-1.0, -1.0],
    [50.0, 90.0],
    [0.0, 0.0],
];

/// Shows all pairs of bytes, each with its members.
fn every_pair<T: Element<Member = Member<i64>>>(
    metric: Metric,
    temperature: Temperature,
    mut see: impl FnMut([f64; 2], &[Member<i64>]),
) {
    let bytes = || -127i32..=127;
    let pairs: Vec<[f64; 2]> = bytes()
        .flat_map(|a| bytes().map(move |b| [a, b].map(f64::from)))
        .collect();
    let elements =
        |x: &[[f64; 2]]| -> Vec<T> { x.as_flattened().iter().map(|&x| T::from_f64(x)).collect() };
    let centres = elements(&CENTRES);
    // As many rows as a call may have.
    for pairs in pairs.chunks(1 << 15) {
        let shape = Shape {
            rows: pairs.len(),
            features: 2,
            clusters: CENTRES.len(),
        };
        let layer = Clusters {
            metric,
            temperature,
            centres: &centres,
            exponent: -7,
            x_exponent: -7,
        };
        let mut members = vec![Member::default(); pairs.len() * CENTRES.len()];
        cluster::members(&Serial, shape, layer, &elements(pairs), &mut members).unwrap();
        for (&pair, members) in pairs.iter().zip(members.chunks(CENTRES.len())) {
            see(pair, members);
        }
    }
}

fn cosines_are_within_the_bound<T: Element<Member = Member<i64>>>() {
    let mut largest = 0f64;
    every_pair::<T>(Metric::Cosine, Temperature::ONE, |x, members| {
        for (c, member) in CENTRES.iter().zip(members) {
            let lengths = x[0].hypot(x[1]) * c[0].hypot(c[1]);
            let inner = x[0] * c[0] + x[1] * c[1];
            let want = if lengths == 0.0 { 0.0 } else { inner / lengths };
            let got = 1.0 - member.distance as f64 / 32_768.0;
            let error = (got - want).abs();
            assert!(
                error <= tolerance::COSINE,
                "{}: {x:?}, {c:?}: {got}, {want}",
                T::DTYPE
            );
            largest = largest.max(error);
        }
    });
    println!(
        "{}: cosines are off by {}",
        T::DTYPE,
        largest / tolerance::COSINE
    );
    assert!(
        largest > 0.4 * tolerance::COSINE,
        "the bound is too wide: {largest}"
    );
}

#[test]
fn cosines_of_every_pair_of_bytes_are_within_the_bound() {
    cosines_are_within_the_bound::<i8>();
    cosines_are_within_the_bound::<u8>();
}

/// Shares beside what their distances are, at temperatures that leave one cluster or all of them.
fn shares_are_within_the_bound<T: Element<Member = Member<i64>>>() {
    let mut largest = 0f64;
    for metric in [Metric::Euclidean, Metric::Manhattan, Metric::Cosine] {
        for (mantissa, exponent) in [(1, 0), (1, -2), (181, -7), (255, -8), (3, -4), (129, -5)] {
            let temperature = Temperature { mantissa, exponent };
            let tau = f64::from(mantissa) * 2f64.powi(exponent.into());
            every_pair::<T>(metric, temperature, |x, members| {
                let squares = members.iter().map(|member| {
                    let d = member.distance as f64;
                    match metric {
                        Metric::Euclidean => d / 128f64.powi(2),
                        Metric::Manhattan => (d / 128.0).powi(2),
                        Metric::Cosine => (d / 32_768.0).powi(2),
                    }
                });
                let squares: Vec<f64> = squares.collect();
                let least = squares.iter().copied().fold(f64::MAX, f64::min);
                let weight = |square: &f64| (-(square - least) / (2.0 * tau * tau)).exp();
                let total: f64 = squares.iter().map(weight).sum();
                for (square, member) in squares.iter().zip(members) {
                    let want = weight(square) / total;
                    let error = (member.share as f64 / 32_768.0 - want).abs();
                    let bound = tolerance::probability(CENTRES.len(), want);
                    assert!(
                        error <= bound,
                        "{}, {metric:?} at {tau}: {x:?}: {member:?}, {want}, {error} of {bound}",
                        T::DTYPE
                    );
                    largest = largest.max(error / bound);
                }
            });
        }
    }
    println!("{}: shares are off by {largest} of their bound", T::DTYPE);
    assert!(largest > 0.5, "the bound is too wide: {largest}");
}

#[test]
fn shares_of_every_pair_of_bytes_are_within_the_bound() {
    shares_are_within_the_bound::<i8>();
    shares_are_within_the_bound::<u8>();
}
