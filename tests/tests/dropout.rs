//! Dropout: one mask for all types, made again in the backward pass.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use selvedge_kernels::dropout::{self, Dropout};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::{Arg, Element, Error, Found, bf16, f16};
use selvedge_tests::compare::{
    assert_within, central, inner, integer, noise, sat, shift_rne, shifted,
};
use selvedge_tests::noise::Noise;
use selvedge_tests::threads::Threads;
use selvedge_tests::tolerance;

const COUNT: usize = 4096;

fn words() -> Words {
    Words::new(7, stream::mask(2), 5)
}

fn run<T: Element>(dropout: Dropout, x: &[T], store: Store) -> Vec<T> {
    let mut y = vec![T::ZERO; x.len()];
    dropout::forward(&Serial, dropout, words(), x, store, &mut y).unwrap();
    y
}

/// The definition: words at or above the threshold keep.
fn mask(threshold: u32, n: usize) -> Vec<bool> {
    (0..n as u32)
        .map(|i| words().word(i) >= threshold)
        .collect()
}

fn masks_agree<T: Element>() {
    for threshold in [0, 1 << 20, 0x1999_999A, 1 << 31, 0xE000_0000, u32::MAX] {
        let dropout = Dropout::new(threshold);
        let ones = vec![T::from_f64(1.0); COUNT];
        let want = mask(threshold, COUNT);
        let forward: Vec<bool> = run(dropout, &ones, shifted(0))
            .iter()
            .map(|&y| y != T::ZERO)
            .collect();
        assert_eq!(forward, want, "{}, {threshold:#x}", T::DTYPE);
        let mut dx = vec![T::from_f64(3.0); COUNT];
        dropout::backward(&Serial, dropout, words(), &ones, shifted(0), &mut dx).unwrap();
        let backward: Vec<bool> = dx.iter().map(|&d| d != T::ZERO).collect();
        assert_eq!(backward, want, "{}, {threshold:#x}: backward", T::DTYPE);
        // As many as the probability says.
        let p = f64::from(threshold) / 2f64.powi(32);
        let kept = want.iter().filter(|&&kept| kept).count() as f64;
        let deviation = (COUNT as f64 * p * (1.0 - p)).sqrt();
        let limit = tolerance::ROUNDING_SHARE_DEVIATIONS * deviation + 1e-3;
        assert!(
            (kept - COUNT as f64 * (1.0 - p)).abs() <= limit,
            "{threshold:#x}: {kept} kept"
        );
    }
}

#[test]
fn every_type_and_both_directions_have_one_mask() {
    masks_agree::<i8>();
    masks_agree::<u8>();
    masks_agree::<i16>();
    masks_agree::<u16>();
    masks_agree::<i32>();
    masks_agree::<u32>();
    masks_agree::<i64>();
    masks_agree::<u64>();
    masks_agree::<f16>();
    masks_agree::<bf16>();
    masks_agree::<f32>();
    masks_agree::<f64>();
}

#[test]
fn the_scale_is_the_nearest_of_8_bits() {
    let mut source = Noise::new(500);
    let random = (0..100_000).map(|_| source.word() | 0x8000_0000 >> source.below(32));
    let edges = (0..32).flat_map(|bit| [1u32 << bit, (1 << bit) - 1, u32::MAX << bit]);
    for threshold in edges.chain(random.collect::<Vec<_>>()) {
        let (m, k) = Dropout::new(threshold).scale();
        let got = f64::from(m) * 2f64.powi(-k);
        let want = 2f64.powi(32) / (2f64.powi(32) - f64::from(threshold));
        let error = (got / want - 1.0).abs();
        assert!(
            error <= tolerance::DROPOUT_SCALE,
            "{threshold:#x}: {got}, {want}"
        );
        assert!(m == 1 || m > 128, "{threshold:#x}: {m}");
    }
    assert_eq!(Dropout::OFF.scale(), (1, 0));
    assert_eq!(Dropout::new(1 << 31).scale(), (1, -1));
    assert_eq!(Dropout::new(3 << 30).scale(), (1, -2));
}

fn integers_are_exact<T: Element>() {
    let m = T::MAGNITUDE_BITS;
    let x = noise::<T>(&mut Noise::new(510), 500);
    for threshold in [0x1999_999A, 1 << 31, 0xCCCC_CCCC] {
        let dropout = Dropout::new(threshold);
        let (mantissa, _) = dropout.scale();
        for shift in [-2, 0, 5, 8] {
            let want: Vec<i128> = x
                .iter()
                .zip(mask(threshold, 500))
                .map(|(&x, kept)| {
                    if kept {
                        integer(x) * i128::from(mantissa)
                    } else {
                        0
                    }
                })
                .collect();
            let mut y = vec![T::ZERO; 500];
            let range = dropout::forward(&Threads(3), dropout, words(), &x, shifted(shift), &mut y)
                .unwrap();
            let most = want.iter().map(|acc| acc.unsigned_abs()).max().unwrap();
            assert_eq!(range, 128 - most.leading_zeros(), "{}", T::DTYPE);
            let want: Vec<i128> = want
                .iter()
                .map(|&acc| sat(shift_rne(acc, shift), m))
                .collect();
            let got: Vec<i128> = y.iter().map(|&y| integer(y)).collect();
            assert_eq!(want, got, "{}, {threshold:#x}, shift {shift}", T::DTYPE);
        }
        // Rounded by other words than those of the mask, threads give the same bytes.
        let store = Store::Shift {
            shift: 3,
            rounding: Rounding::Stochastic(Words::new(7, stream::error(2), 5)),
        };
        let (mut one, mut many) = (vec![T::ZERO; 500], vec![T::ZERO; 500]);
        dropout::backward(&Serial, dropout, words(), &x, store, &mut one).unwrap();
        dropout::backward(&Threads(4), dropout, words(), &x, store, &mut many).unwrap();
        assert_eq!(one, many, "{}", T::DTYPE);
    }
    // At inference, and with p = 1/2 and an exponent one higher, elements are what they were.
    assert_eq!(run(Dropout::OFF, &x, Store::EXACT), x);
    for ((y, &x), kept) in run(Dropout::new(1 << 31), &x, Store::EXACT)
        .into_iter()
        .zip(&x)
        .zip(mask(1 << 31, 500))
    {
        assert_eq!(y, if kept { x } else { T::ZERO });
    }
}

#[test]
fn integers_are_scaled_exactly() {
    integers_are_exact::<i8>();
    integers_are_exact::<u8>();
    integers_are_exact::<i16>();
    integers_are_exact::<u16>();
    integers_are_exact::<i32>();
    integers_are_exact::<u32>();
    integers_are_exact::<i64>();
    integers_are_exact::<u64>();
}

#[test]
fn gradients_are_the_differences_and_floats_keep_their_mean() {
    let mut source = Noise::new(520);
    let (x, dy) = (source.vector(37, 1.0), source.vector(37, 1.0));
    for p in [0.0, 0.1, 0.5, 0.9] {
        let dropout = Dropout::from_f64(p).unwrap();
        let loss = |x: &[f64]| inner(&run(dropout, x, Store::EXACT), &dy);
        let mut dx = vec![0.0; 37];
        dropout::backward(&Serial, dropout, words(), &dy, Store::EXACT, &mut dx).unwrap();
        assert_within(&format!("p = {p}"), &central(&x, loss), &dx, |_| {
            10.0 * tolerance::LINEAR_DIFFERENCE
        });
        for y in run(dropout, &[1.0f64; 100], Store::EXACT) {
            assert!(
                y == 0.0 || (y * (1.0 - p) - 1.0).abs() < 1e-9,
                "p = {p}: {y}"
            );
        }
    }
    // A NaN that is left out is gone; one that is kept stays.
    let y = run(Dropout::new(1 << 31), &[f32::NAN; 64], Store::EXACT);
    for (y, kept) in y.iter().zip(mask(1 << 31, 64)) {
        assert_eq!(y.is_nan(), kept);
        assert!(kept || *y == 0.0);
    }
}

#[test]
fn bad_input_is_refused_and_nothing_written() {
    for p in [-0.1, 1.0, 1.5, f64::NAN, f64::INFINITY, -f64::INFINITY] {
        assert_eq!(
            Dropout::from_f64(p),
            Err(Error::Value {
                arg: Arg::Probability,
                expected: "0 or more and less than 1",
                got: Some(Found::real(p)),
            }),
            "{p}"
        );
    }
    assert_eq!(
        Dropout::from_f64(1.0 - f64::EPSILON),
        Ok(Dropout::new(u32::MAX))
    );
    let mut out = [85i8; 3];
    let half = Dropout::new(1 << 31);
    let forward =
        |x: &[i8], out: &mut [i8]| dropout::forward(&Serial, half, words(), x, Store::EXACT, out);
    assert_eq!(
        forward(&[1; 2], &mut out),
        Err(Error::Length {
            arg: Arg::Out,
            expected: 2,
            got: 3
        })
    );
    assert_eq!(forward(&[], &mut out), Err(Error::Zero { arg: Arg::X }));
    let backward =
        |dy: &[i8], dx: &mut [i8]| dropout::backward(&Serial, half, words(), dy, Store::EXACT, dx);
    assert_eq!(
        backward(&[1; 4], &mut out),
        Err(Error::Length {
            arg: Arg::Dx,
            expected: 4,
            got: 3
        })
    );
    assert_eq!(backward(&[], &mut out), Err(Error::Zero { arg: Arg::Dy }));
    assert_eq!(out, [85; 3]);
}
