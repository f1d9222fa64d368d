//! Reciprocals and reciprocal roots in fixed point: their stated bounds.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::fixed::{Reciprocal, bit_len, rsqrt, rsqrt_u128};
use selvedge_tests::noise::Noise;
use selvedge_tests::tolerance;

#[test]
fn inverse_roots_are_within_their_bounds() {
    assert_eq!(rsqrt(0).mantissa, 0);
    let mut source = Noise::new(395);
    let wide = |source: &mut Noise| (0..4).fold(0u128, |v, _| v << 32 | u128::from(source.word()));
    let small = (1u32..1 << 18).map(u128::from);
    let edges = (0..128).flat_map(|bit| {
        [
            1u128 << bit,
            (1u128 << bit).wrapping_sub(1),
            (1u128 << bit) + 1,
        ]
    });
    let random: Vec<_> = (0..200_000)
        .map(|_| wide(&mut source) >> source.below(128))
        .collect();
    let (mut least, mut most) = (0.0f64, 0.0f64);
    for v in small.chain(edges).chain(random).filter(|&v| v != 0) {
        let root = rsqrt_u128(v);
        if let Ok(v) = u64::try_from(v) {
            assert_eq!(root, rsqrt(v), "{v}");
            assert_eq!(root.places, (30 - bit_len(v) as i32).div_euclid(2), "{v}");
        }
        let error =
            f64::from(root.mantissa) * 2f64.powi(root.places - 30) * (v as f64).sqrt() - 1.0;
        (least, most) = (least.min(error), most.max(error));
        let (low, high) = tolerance::INVERSE_ROOT;
        assert!(error > low && error < high, "{v}: {error:e}");
    }
    // The bounds are nearly met: no others would do.
    assert!(
        least < -0.9 / 32_768.0 && most > 0.9 / 16_384.0,
        "{least:e} to {most:e}"
    );
}

#[test]
fn reciprocals_are_within_their_bounds() {
    assert_eq!(Reciprocal::new(0).divide(5, 0), 0);
    let mut source = Noise::new(396);
    let random: Vec<_> = (0..100_000)
        .map(|_| source.word() >> source.below(32))
        .collect();
    let edges = (0..32).flat_map(|bit| {
        [
            1u32 << bit,
            (1u32 << bit) - 1,
            (1u32 << bit).wrapping_add(1),
        ]
    });
    for n in (1..5000).chain(edges).chain(random).filter(|&n| n != 0) {
        let reciprocal = Reciprocal::new(n);
        let x = i128::from(source.word()) << source.below(60);
        for (x, fraction) in [(x, 0), (-x, 3), (1, 40), (i128::from(n), 0), (x, -7)] {
            let want = x as f64 * 2f64.powi(fraction) / f64::from(n);
            let got = reciprocal.divide(x, fraction) as f64;
            let limit = 0.5 + want.abs() * (tolerance::RECIPROCAL + 4.0 * f64::EPSILON);
            assert!(
                (got - want).abs() <= limit,
                "{x} · 2^{fraction} / {n}: {got}, {want}"
            );
        }
    }
    assert_eq!(Reciprocal::new(1 << 31).divide(1 << 62, 0), 1 << 31);
}
