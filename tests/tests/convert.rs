//! From one element type to another, each to each: integers against exact models, floats against what the
//! language rounds them to.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

use selvedge_kernels::convert::{convert, exponent, widened};
use selvedge_kernels::exec::Serial;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::Words;
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{DType, Element, Error, bf16, f16};
use selvedge_tests::noise::Noise;
use selvedge_tests::tensors::{
    assert_stores, by_words, elements, nearest, number, numbers, rne, values,
};
use selvedge_tests::threads::Threads;
use selvedge_tests::{for_floats, for_integers};

/// More than two blocks, and a part of one.
const N: usize = 150;

/// Calls a test with each type as its second.
macro_rules! to_each {
    ($test:ident, $t:ty) => {
        to_each!(@ $test, $t: i8 u8 i16 u16 i32 u32 i64 u64 f16 bf16 f32 f64);
    };
    (@ $test:ident, $t:ty: $($u:ty)*) => {$($test::<$t, $u>();)*};
}

/// To integers: the units are stored as all accumulators are.
fn integers_from<T: Element>() {
    fn to<T: Element, U: Element>() {
        if !U::DTYPE.is_integer() {
            return;
        }
        let x = elements::<T>(&mut Noise::new(3), N);
        let units: Vec<i128> = if T::DTYPE.is_integer() {
            numbers(&x)
        } else {
            // Elements within ±2 are a multiple of 2^-96 but for the last bits of the smallest, in f64.
            let units = x.iter().map(|x| x.to_f64() * 2f64.powi(96));
            units.map(|units| units as i128).collect()
        };
        let place = format!("from {}", T::DTYPE);
        assert_stores::<U>(&place, &units, |store, out| {
            let bits = convert(&Serial, &x, -9, store, out).unwrap();
            let mut again = out.to_vec();
            assert_eq!(
                convert(&Threads(3), &x, -9, store, &mut again).unwrap(),
                bits
            );
            assert_eq!(out, again, "{place} on threads");
            bits
        });
    }
    to_each!(to, T);
}

/// To floats: the value, rounded once, and in 16 bits from what `f32` makes of it.
fn floats_from<T: Element>() {
    fn to<T: Element, U: Element>() {
        if U::DTYPE.is_integer() {
            return;
        }
        let x = elements::<T>(&mut Noise::new(4), N);
        let (scale, shift) = (2f64.powi(-9), 3);
        let mut out = vec![U::ZERO; N];
        convert(&Serial, &x, -9, nearest(shift), &mut out).unwrap();
        for (x, out) in values(&x).into_iter().zip(out) {
            let exact = x * scale / 8.0;
            let want = match U::DTYPE {
                DType::F16 => f64::from(f16::from_f32(exact as f32)),
                DType::Bf16 => f64::from(bf16::from_f32(exact as f32)),
                DType::F32 => f64::from(exact as f32),
                _ => exact,
            };
            assert_eq!(out.to_f64(), want, "{} to {}: {x}", T::DTYPE, U::DTYPE);
        }
    }
    to_each!(to, T);
}

/// No narrower integer loses anything, there and back.
fn widening<T: Element>() {
    fn to<T: Element, U: Element>() {
        let widened = widened::<T, U>(-9);
        let is_wide = T::DTYPE.is_integer() && U::MAGNITUDE_BITS >= T::MAGNITUDE_BITS;
        assert_eq!(widened.is_some(), is_wide, "{} to {}", T::DTYPE, U::DTYPE);
        let Some((exponent, store)) = widened else {
            return;
        };
        let x = elements::<T>(&mut Noise::new(5), N);
        let mut wide = vec![U::ZERO; N];
        convert(&Serial, &x, -9, store, &mut wide).unwrap();
        for (&x, &wide) in x.iter().zip(&wide) {
            assert_eq!(number(x) << (-9 - exponent), number(wide));
        }
        let mut back = vec![T::ZERO; N];
        convert(&Serial, &wide, exponent, nearest(-9 - exponent), &mut back).unwrap();
        assert_eq!(x, back);
    }
    to_each!(to, T);
}

/// Through a state, as layers do it: what arrives is within half a unit of the largest.
fn through_a_state<T: Element>() {
    fn to<T: Element, U: Element>() {
        let x = elements::<T>(&mut Noise::new(6), N);
        let of_x = 1 - T::MAGNITUDE_BITS as i32; // within the range of `f16`
        let mut out = vec![U::ZERO; N];
        let mut scale = U::Scale::UNSET;
        let rounding = selvedge_kernels::fixed::Rounding::NearestEven;
        let acc = exponent::<T, U>(of_x);
        let of_out = scale
            .requantize(acc, U::MAGNITUDE_BITS, Mode::Train, rounding, |store| {
                convert(&Serial, &x, of_x, store, &mut out)
            })
            .unwrap();
        let value = |q: f64, exponent: i32| q * 2f64.powi(exponent);
        let most = values(&x).iter().fold(0f64, |most, x| most.max(x.abs()));
        let most = value(most, of_x);
        let bits = match U::DTYPE {
            DType::F16 => 11,
            DType::Bf16 => 8,
            DType::F32 => 24,
            DType::F64 => 53,
            _ => U::MAGNITUDE_BITS,
        };
        // Half a unit of `bits` bits below the largest number, which may take one bit less.
        let bound = most * 2f64.powi(-(bits as i32));
        for (x, out) in x.iter().zip(out) {
            let (x, out) = (value(x.to_f64(), of_x), value(out.to_f64(), of_out));
            assert!(
                (x - out).abs() <= bound,
                "{} to {}: {x} became {out}",
                T::DTYPE,
                U::DTYPE
            );
        }
    }
    to_each!(to, T);
}

#[test]
fn every_type_becomes_every_integer() {
    for_integers!(integers_from);
    for_floats!(integers_from);
}

#[test]
fn every_type_becomes_every_float() {
    for_integers!(floats_from);
    for_floats!(floats_from);
}

#[test]
fn integers_no_narrower_lose_nothing() {
    for_integers!(widening);
    for_floats!(widening);
}

#[test]
fn states_find_the_range_of_every_pair() {
    for_integers!(through_a_state);
    for_floats!(through_a_state);
}

#[test]
fn floats_that_no_integer_holds_saturate() {
    let x = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e30,
        -1e-30,
        1.0,
    ];
    let mut out = [7i8; 6];
    let bits = convert(&Serial, &x, 0, nearest(96 - 6), &mut out).unwrap();
    assert_eq!((out, bits), ([0, 127, -127, 127, 0, 64], 126));
    let mut floats = [0f64; 2];
    convert(&Serial, &x[..2], 0, Store::EXACT, &mut floats).unwrap();
    assert!(floats[0].is_nan());
    assert_eq!(floats[1], f64::INFINITY);
}

#[test]
fn errors_are_rounded_by_their_words() {
    let x = elements::<i16>(&mut Noise::new(8), N);
    let words = Words::new(5, 40, 2);
    let mut out = [0i8; N];
    convert(&Serial, &x, 0, by_words(8, words), &mut out).unwrap();
    for ((&x, out), i) in x.iter().zip(out).zip(0..) {
        let up = (i128::from(x) + i128::from(words.word(i) >> 24)) >> 8;
        assert_eq!(i128::from(out), up.clamp(-127, 127));
    }
    // Not all of them as the nearest would be.
    let to_nearest = x.iter().map(|&x| rne(i128::from(x), 8));
    assert!(
        to_nearest
            .zip(out)
            .any(|(near, out)| near != i128::from(out))
    );
}

#[test]
fn lengths_that_differ_are_refused() {
    let mut out = [7u16; 3];
    let refused = convert(&Serial, &[1.0f32; 4], 0, Store::EXACT, &mut out);
    assert!(matches!(refused, Err(Error::Length { .. })), "{refused:?}");
    assert_eq!(out, [7; 3]);
}
