//! Tensors for tests of kernels, and exact models of what integers do: the rules written down once
//! more, in `i128`.

pub use crate::compare::{STEP, central, cosine, inner};
use crate::noise::Noise;
use selvedge_kernels::axes::Extents;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Element, bf16, f16};

/// Extents that are fine.
#[must_use]
pub fn extents(extents: &[usize]) -> Extents {
    Extents::new(extents).expect("extents of a test")
}

/// `n` elements over the whole range of an integer type, with the ends and zero among them; floats
/// within ±2.
#[must_use]
pub fn elements<T: Element>(noise: &mut Noise, n: usize) -> Vec<T> {
    let bound = if T::DTYPE.is_integer() {
        2f64.powi(T::MAGNITUDE_BITS as i32) - 1.0
    } else {
        2.0
    };
    let element = |i| match (i + n) % 11 {
        0 => bound,
        1 => -bound,
        2 => 0.0,
        3 => (noise.signed() * 4.0).round(),
        _ => noise.signed() * bound,
    };
    (0..n).map(element).map(T::from_f64).collect()
}

/// The numbers that integers are, without their exponent.
#[must_use]
pub fn numbers<T: Element>(x: &[T]) -> Vec<i128> {
    x.iter().map(|&x| number(x)).collect()
}

/// The same of one element: at most 53 bits, so exact.
#[must_use]
pub fn number<T: Element>(x: T) -> i128 {
    x.to_f64() as i128
}

/// The values of floats.
#[must_use]
pub fn values<T: Element>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

/// `x / 2^s`, to nearest even.
#[must_use]
pub fn rne(x: i128, s: i32) -> i128 {
    if s <= 0 {
        return x << -s;
    }
    if s > 126 {
        return 0;
    }
    let floor = x >> s;
    let twice_the_rest = (x - (floor << s)) * 2;
    let whole = 1i128 << s;
    floor + i128::from(twice_the_rest > whole || (twice_the_rest == whole && floor & 1 == 1))
}

/// `x / 2^s`, rounded up where the word says so.
#[must_use]
pub fn stochastic(x: i128, s: i32, word: u32) -> i128 {
    if s <= 0 {
        return x << -s;
    }
    assert!(s <= 32, "longer shifts are the primitives' test");
    (x + i128::from(word >> (32 - s))) >> s
}

/// Clamped to `bits`.
#[must_use]
pub fn sat(x: i128, bits: u32) -> i128 {
    x.clamp(1 - (1 << bits), (1 << bits) - 1)
}

/// Bits of the largest magnitude.
#[must_use]
pub fn range(accumulators: &[i128]) -> u32 {
    let most = accumulators.iter().map(|acc| acc.unsigned_abs()).max();
    128 - most.unwrap_or(0).leading_zeros()
}

/// An store that shifts, to nearest even.
#[must_use]
pub fn nearest(shift: i32) -> Store {
    Store::Shift {
        shift,
        rounding: Rounding::NearestEven,
    }
}

/// An store that shifts, by the words of a seed.
#[must_use]
pub fn by_words(shift: i32, words: Words) -> Store {
    Store::Shift {
        shift,
        rounding: Rounding::Stochastic(words),
    }
}

/// An store that stores nothing.
pub const MEASURE: Store = Store::Measure;

/// Asserts that a kernel makes of its accumulators, which are known, what it should: the range,
/// nearest rounding, stochastic rounding, and nothing if it only measures.
pub fn assert_stores<T: Element>(
    place: &str,
    accumulators: &[i128],
    mut run: impl FnMut(Store, &mut [T]) -> u32,
) {
    let place = format!("{place}, {}", T::DTYPE);
    let bits = range(accumulators);
    let mark = T::from_f64(5.0);
    let mut out = vec![mark; accumulators.len()];
    assert_eq!(run(MEASURE, &mut out), bits, "{place}: measured");
    assert!(
        out.iter().all(|&x| x == mark),
        "{place}: measuring wrote something"
    );
    let fitting = bits as i32 - T::MAGNITUDE_BITS as i32;
    for shift in [fitting, fitting - 2, fitting + 3] {
        let stored = |round: &dyn Fn(i128, u32) -> i128| -> Vec<i128> {
            let rounded = accumulators.iter().zip(0..).map(|(&acc, i)| round(acc, i));
            rounded.map(|q| sat(q, T::MAGNITUDE_BITS)).collect()
        };
        assert_eq!(run(nearest(shift), &mut out), bits, "{place}: range");
        let want = stored(&|acc, _| rne(acc, shift));
        assert_eq!(numbers(&out), want, "{place}: shifted by {shift}");
        if shift <= 32 {
            let words = Words::new(3, 24, 7);
            run(by_words(shift, words), &mut out);
            let want = stored(&|acc, i| stochastic(acc, shift, words.word(i)));
            assert_eq!(numbers(&out), want, "{place}: by words, {shift}");
        }
    }
}

/// Ends the test where two vectors are further apart than allowed.
pub fn assert_close(place: &str, want: &[f64], got: &[f64], tolerance: f64) {
    assert_eq!(want.len(), got.len(), "{place}");
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        assert!(
            (want - got).abs() <= tolerance,
            "{place}, element {i}: expected {want}, kernel {got}"
        );
    }
}

/// Asserts `<f(x), y> = <x, g(y)>` in integers: that `g` is the transpose of the linear `f`.
pub fn assert_transposed(
    place: &str,
    noise: &mut Noise,
    [inputs, outputs]: [usize; 2],
    f: impl FnOnce(&[i64], &mut [i64]),
    g: impl FnOnce(&[i64], &mut [i64]),
) {
    let mut small =
        |n: usize| -> Vec<i64> { (0..n).map(|_| noise.below(201) as i64 - 100).collect() };
    let (x, y) = (small(inputs), small(outputs));
    let (mut fx, mut gy) = (vec![0; outputs], vec![0; inputs]);
    f(&x, &mut fx);
    g(&y, &mut gy);
    let inner = |a: &[i64], b: &[i64]| -> i128 {
        let products = a
            .iter()
            .zip(b)
            .map(|(&a, &b)| i128::from(a) * i128::from(b));
        products.sum()
    };
    assert_eq!(
        inner(&fx, &y),
        inner(&x, &gy),
        "{place}: <f(x), y> and <x, g(y)>"
    );
}

/// The multi-index of element `i` of a tensor.
#[must_use]
pub fn index(extents: &[usize], mut i: usize) -> Vec<usize> {
    let mut at = vec![0; extents.len()];
    for (at, &extent) in at.iter_mut().zip(extents).rev() {
        *at = i % extent;
        i /= extent;
    }
    at
}

/// The offset of a multi-index, which is 0 along repeated axes; leading axes may be missing.
#[must_use]
pub fn offset(extents: &[usize], at: &[usize]) -> usize {
    let at = &at[at.len() - extents.len()..];
    let mut offset = 0;
    for (&extent, &at) in extents.iter().zip(at) {
        offset = offset * extent + if extent == 1 { 0 } else { at };
    }
    offset
}

/// Calls a generic function for the eight integer types.
#[macro_export]
macro_rules! for_integers {
    ($test:ident $(, $arg:expr)*) => {
        $test::<i8>($($arg),*);
        $test::<u8>($($arg),*);
        $test::<i16>($($arg),*);
        $test::<u16>($($arg),*);
        $test::<i32>($($arg),*);
        $test::<u32>($($arg),*);
        $test::<i64>($($arg),*);
        $test::<u64>($($arg),*);
    };
}

/// The same for the four float types.
#[macro_export]
macro_rules! for_floats {
    ($test:ident $(, $arg:expr)*) => {
        $test::<selvedge_kernels::f16>($($arg),*);
        $test::<selvedge_kernels::bf16>($($arg),*);
        $test::<f32>($($arg),*);
        $test::<f64>($($arg),*);
    };
}

/// Half a unit in the last place of a stored float, relative; of what is computed in `f32` or `f64`.
#[must_use]
pub fn rounding<T: Element>() -> f64 {
    match T::DTYPE.name() {
        "f16" => f16::EPSILON.to_f64() / 2.0,
        "bf16" => bf16::EPSILON.to_f64() / 2.0,
        "f32" => f64::from(f32::EPSILON) / 2.0,
        _ => f64::EPSILON / 2.0,
    }
}
