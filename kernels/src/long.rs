//! Sums that outgrow the accumulator of 8-bit types: `i64` where that is `i32`.

use crate::element::{Blank, Element, Output};
use crate::fixed::{Accumulator, Magnitude, bit_len};
use crate::requantize::{BLOCK, Store, put_all};

/// A division by a number of elements, by the reciprocal in 16 bits or more: `sum · f / 2^k` with
/// `k = 15 + bit_len(n - 1)` and `f = round(2^k / n)`, between 2^15 and 2^16.
///
/// The quotient is off by at most 2^-16 of itself. Source: `docs/numerics.md` §12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mean {
    n: u32,
    f: i32,
    k: i32,
}

impl Mean {
    /// The mean of `n` elements, at least one.
    pub(crate) fn of(n: usize) -> Self {
        let n = (n as u64).clamp(1, u64::from(u32::MAX));
        let k = 15 + bit_len(n - 1);
        let f = ((1 << k) + n / 2).checked_div(n).unwrap_or(0);
        Self {
            n: n as u32,
            f: f as i32,
            k: k as i32,
        }
    }

    /// Whether 31 bits hold the product of a sum that is not above `largest` (below 2^40).
    pub(crate) const fn fits(self, largest: i64) -> bool {
        largest * (self.f as i64) < 1 << 31
    }

    /// `k`: how far the exponent of the accumulator is below that of the sum; 0 for floats.
    #[must_use]
    pub const fn places<T: Element>(self) -> i32 {
        if T::MAGNITUDE_BITS == 0 { 0 } else { self.k }
    }
}

/// Long sums of one element type.
pub trait Long: Sized {
    /// At least 62 bits and a sign, or the accumulator of floats.
    #[doc(hidden)]
    type Long: Accumulator + Blank;
    #[doc(hidden)]
    fn to_long(acc: Self::Acc) -> Self::Long
    where
        Self: Element;
    /// `sum · f`, or the quotient of floats.
    #[doc(hidden)]
    fn mean(sum: Self::Long, mean: Mean) -> Self::Long;
    /// The same of one element, or of a sum of as many bits.
    #[doc(hidden)]
    fn mean_of_one(x: Self::Acc, mean: Mean) -> Self::Acc
    where
        Self: Element;
    /// As [`Store::one`].
    #[doc(hidden)]
    fn store_long(
        store: Store,
        acc: Self::Long,
        element: u32,
        range: &mut <Self::Long as Accumulator>::Magnitude,
        out: &mut Self,
    );
    /// The same for as many as `out` has, the first of which has index `element`; side by side, with the sums
    /// as scratch.
    #[doc(hidden)]
    fn store_longs(
        store: Store,
        acc: &mut [Self::Long; BLOCK],
        element: u32,
        range: &mut <Self::Long as Accumulator>::Magnitude,
        out: &mut [Self],
    );
}

macro_rules! impl_integer {
    ($($t:ident: $acc:ident, $long:ident;)*) => {$(
        impl Long for $t {
            type Long = $long;

            #[inline(always)]
            fn to_long(acc: $acc) -> $long {
                $long::from(acc)
            }

            #[inline(always)]
            fn mean(sum: $long, mean: Mean) -> $long {
                sum * $long::from(mean.f)
            }

            #[inline(always)]
            fn mean_of_one(x: $acc, mean: Mean) -> $acc {
                x * $acc::from(mean.f) // 17 bits beside an element's
            }

            #[inline(always)]
            fn store_long(
                store: Store,
                acc: $long,
                element: u32,
                range: &mut <$long as Accumulator>::Magnitude,
                out: &mut Self,
            ) {
                *range = range.or(acc.magnitude());
                if let Store::Shift { shift, rounding } = store {
                    let stored = acc.shift(shift, rounding, element).saturate(Self::MAGNITUDE_BITS);
                    *out = <$t as Output<$t>>::store(stored as $acc); // M bits
                }
            }

            #[inline(always)]
            fn store_longs(
                store: Store,
                acc: &mut [$long; BLOCK],
                element: u32,
                range: &mut <$long as Accumulator>::Magnitude,
                out: &mut [Self],
            ) {
                put_all(store, acc, element, range, out, |acc| {
                    let stored = acc.saturate(Self::MAGNITUDE_BITS);
                    <$t as Output<$t>>::store(stored as $acc) // M bits
                });
            }
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ty: $acc:ident;)*) => {$(
        impl Long for $t {
            type Long = $acc;

            #[inline(always)]
            fn to_long(acc: $acc) -> $acc {
                acc
            }

            #[inline(always)]
            fn mean(sum: $acc, mean: Mean) -> $acc {
                sum / mean.n as $acc
            }

            #[inline(always)]
            fn mean_of_one(x: $acc, mean: Mean) -> $acc {
                Self::mean(x, mean)
            }

            #[inline(always)]
            fn store_long(store: Store, acc: $acc, element: u32, range: &mut (), out: &mut Self) {
                store.one::<$t, $t>(acc, element, range, out);
            }

            #[inline(always)]
            fn store_longs(
                store: Store,
                acc: &mut [$acc; BLOCK],
                element: u32,
                range: &mut (),
                out: &mut [Self],
            ) {
                store.block::<$t, $t>(acc, element, range, out);
            }
        }
    )*};
}

impl_integer! {
    i8: i32, i64; u8: i32, i64; i16: i64, i64; u16: i64, i64; i32: i64, i64; u32: i64, i64;
    i64: i128, i128; u64: i128, i128;
}

impl_float! { half::f16: f32; half::bf16: f32; f32: f32; f64: f64; }
