//! How results are held against definitions: differences, cosines, elements of any type.

use crate::noise::Noise;
use selvedge_kernels::Element;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use std::fmt::Debug;

/// Half the distance between the two points of a difference.
pub const STEP: f64 = 1e-4;

/// The gradient of `loss` at `x` by central differences.
pub fn central(x: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let at = x[i];
            x[i] = at + STEP;
            let above = loss(&x);
            x[i] = at - STEP;
            let below = loss(&x);
            x[i] = at;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

/// Ends the test at the first element that is further off than `tolerance` allows for it.
pub fn assert_within(place: &str, want: &[f64], got: &[f64], tolerance: impl Fn(f64) -> f64) {
    assert_eq!(want.len(), got.len(), "{place}");
    for (i, (&want, &got)) in want.iter().zip(got).enumerate() {
        let limit = tolerance(want);
        assert!(
            (want - got).abs() <= limit,
            "{place}, element {i}: expected {want}, computed {got}, allowed {limit:e}"
        );
    }
}

/// The sum of products.
#[must_use]
pub fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The cosine of the angle between two vectors.
#[must_use]
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    inner(a, b) / (inner(a, a) * inner(b, b)).sqrt()
}

/// Elements of the values `x · 2^-exponent`, rounded to type `T`.
pub fn elements<T: Element>(x: &[f64], exponent: i32) -> Vec<T> {
    let unit = 2f64.powi(exponent);
    x.iter().map(|x| T::from_f64(x / unit)).collect()
}

/// What elements of an exponent stand for.
pub fn values<T: Element>(x: &[T], exponent: i32) -> Vec<f64> {
    let unit = 2f64.powi(exponent);
    x.iter().map(|x| x.to_f64() * unit).collect()
}

/// Random elements over the whole range of an integer type, with some at its ends; floats within 1.
pub fn noise<T: Element>(noise: &mut Noise, n: usize) -> Vec<T> {
    let largest = if T::DTYPE.is_integer() {
        (1u64 << T::MAGNITUDE_BITS) as f64 - 1.0
    } else {
        1.0
    };
    (0..n)
        .map(|_| {
            T::from_f64(match noise.below(16) {
                0 => largest,
                1 => -largest,
                2 => 0.0,
                _ => noise.signed() * largest,
            })
        })
        .collect()
}

/// An store that only shifts, to nearest even.
#[must_use]
pub fn shifted(shift: i32) -> Store {
    Store::Shift {
        shift,
        rounding: Rounding::NearestEven,
    }
}

/// Runs a kernel twice as a first batch does: measured, then stored at the exponent that fits its
/// range. Returns the exponent of the output for accumulators of the exponent `acc`.
pub fn settled<E: Debug>(acc: i32, bits: u32, mut run: impl FnMut(Store) -> Result<u32, E>) -> i32 {
    if bits == 0 {
        run(Store::EXACT).expect("a valid call");
        return acc;
    }
    let measure = Store::Measure;
    let range = run(measure).expect("a valid call") as i32;
    let shift = if range == 0 { 0 } else { range - bits as i32 };
    run(shifted(shift)).expect("a valid call");
    acc + shift
}

/// `x / 2^s` to nearest even on big integers, as `docs/numerics.md` §2 has it.
#[must_use]
pub fn shift_rne(x: i128, s: i32) -> i128 {
    if s <= 0 {
        return x << -s;
    }
    if s > 126 {
        return 0;
    }
    let floor = x >> s;
    let rest = x - (floor << s);
    let half = 1i128 << (s - 1);
    floor + i128::from(rest > half || (rest == half && floor & 1 == 1))
}

/// `x` clamped to `±(2^bits - 1)`.
#[must_use]
pub fn sat(x: i128, bits: u32) -> i128 {
    let limit = (1i128 << bits) - 1;
    x.clamp(-limit, limit)
}

/// The integer that an element stands for, without its exponent.
pub fn integer<T: Element>(x: T) -> i128 {
    x.to_f64() as i128 // at most 53 bits: exact
}

/// Calls a macro with each integer type and its unsigned twin.
#[macro_export]
macro_rules! for_twins {
    ($call:ident) => {
        $call!(i8, u8);
        $call!(i16, u16);
        $call!(i32, u32);
        $call!(i64, u64);
    };
}
