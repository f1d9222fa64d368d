//! Integer elements in at most 15 bits, for statistics whose sums would leave 64 bits otherwise
//! (`docs/numerics.md` §15).

use crate::element::{Element, Output};
use crate::fixed::{Accumulator, Magnitude, Rounding, shift_rne_i32, shift_rne_i64};
use crate::requantize::{BLOCK, Lines, Store, put_all};
use core::ops::{Mul, Sub};

/// An integer element that can be cut to 15 bits.
pub(crate) trait Short: Element {
    /// Places that [`Short::cut`] drops: what the exponent rises by.
    const CUT: i32 = if Self::MAGNITUDE_BITS > 15 {
        Self::MAGNITUDE_BITS as i32 - 15
    } else {
        0
    };

    /// `shift_rne(q, M - 15)` of the types with more than 15 bits. At most 2^15: the largest
    /// elements round up to it.
    fn cut(self) -> i32;

    /// An accumulator of 64 bits, of the output's exponent already, as an element: saturated.
    fn from_i64(acc: i64) -> Self;

    /// The same for 128 bits: what is done once a channel.
    fn from_i128(acc: i128) -> Self;

    /// `q` itself.
    fn to_i128(self) -> i128;
}

macro_rules! impl_short {
    ($($t:ident: acc $acc:ident, |$x:ident| $cut:expr;)*) => {$(
        impl Short for $t {
            #[inline(always)]
            fn cut(self) -> i32 {
                let $x = self.widen();
                $cut
            }

            #[inline(always)]
            fn from_i64(acc: i64) -> Self {
                <$t as Output<$t>>::store(acc.saturate(Self::MAGNITUDE_BITS) as $acc)
            }

            fn from_i128(acc: i128) -> Self {
                <$t as Output<$t>>::store(acc.saturate(Self::MAGNITUDE_BITS) as $acc)
            }

            fn to_i128(self) -> i128 {
                i128::from(self.widen())
            }
        }
    )*};
}

impl_short! {
    i8: acc i32, |x| x; u8: acc i32, |x| x;
    i16: acc i64, |x| x; u16: acc i64, |x| x;
    i32: acc i64, |x| shift_rne_i32(x, Self::CUT); u32: acc i64, |x| shift_rne_i32(x, Self::CUT);
    i64: acc i128, |x| shift_rne_i64(x, Self::CUT) as i32;
    u64: acc i128, |x| shift_rne_i64(x, Self::CUT) as i32;
}

/// [`Store::one`] for accumulators of 64 bits, whatever the type's own have.
#[inline(always)]
pub(crate) fn put<T: Short>(store: Store, acc: i64, element: u32, range: &mut u64, out: &mut T) {
    *range |= acc.unsigned_abs();
    if let Store::Shift { shift, rounding } = store {
        *out = T::from_i64(acc.shift(shift, rounding, element));
    }
}

/// The same for as many as `out` has, the first of which has row-major index `element`: [`put_all`]. Bytes are
/// made of words of 32 bits, of which vectors have twice as many, where all fit them.
#[inline(always)]
pub(crate) fn put_block<T: Short, W: Word>(
    store: Store,
    acc: &mut [W; BLOCK],
    element: u32,
    range: &mut u64,
    out: &mut [T],
) {
    if fit_words::<T>() && size_of::<W>() > size_of::<i32>() {
        let seen = acc.iter().fold(W::Magnitude::default(), |seen, acc| {
            seen.or(acc.magnitude())
        });
        if W::long(seen) < WORD_LIMIT as u64 {
            let mut words = Lines([0i32; BLOCK]);
            for (word, &acc) in words.iter_mut().zip(&*acc) {
                *word = i32::of(acc.into());
            }
            put_words(store, &mut words, element, range, out);
            return;
        }
    }
    put_words(store, acc, element, range, out);
}

/// [`put_block`] of words as they are.
#[inline(always)]
fn put_words<T: Short, W: Word>(
    store: Store,
    acc: &mut [W; BLOCK],
    element: u32,
    range: &mut u64,
    out: &mut [T],
) {
    let mut seen = W::Magnitude::default();
    put_all(store, acc, element, &mut seen, out, |acc| {
        T::from_i64(acc.into())
    });
    *range |= W::long(seen);
}

/// Whether elements are computed in 32 bits where they fit: bytes, and not on devices, which have room for one
/// copy only.
pub(crate) const fn fit_words<T: Element>() -> bool {
    T::MAGNITUDE_BITS == 7 && !cfg!(target_os = "none")
}

/// Below it in magnitude, a number of 32 bits can be rounded by [`Word::nearest`].
pub(crate) const WORD_LIMIT: i64 = 1 << 30;

/// An integer in which neighbouring elements are computed: 64 bits, or 32, of which vectors have twice as many,
/// where all that is computed is known to be below [`WORD_LIMIT`].
pub(crate) trait Word:
    Accumulator + Sub<Output = Self> + Mul<Output = Self> + Into<i64>
{
    /// A number that fits.
    fn of(x: i64) -> Self;
    /// Magnitudes in 64 bits.
    fn long(seen: Self::Magnitude) -> u64;
    /// The largest number below half of `2^places`.
    fn below_half(places: Self) -> Self;
    /// `self / 2^places` to nearest even, `below` being [`Word::below_half`]. For 1 to 63 places (31) and
    /// numbers below 2^62 ([`WORD_LIMIT`]), to which half of `2^places` can be added.
    fn nearest(self, places: Self, below: Self) -> Self;
    /// As many of `places` as can be lost: more give 0, too.
    fn places(places: i32) -> Self;
}

macro_rules! impl_word {
    ($($t:ident $unsigned:ident;)*) => {$(
        impl Word for $t {
            #[inline(always)]
            fn of(x: i64) -> Self {
                x as $t
            }

            #[inline(always)]
            fn long(seen: $unsigned) -> u64 {
                seen.into()
            }

            #[inline(always)]
            fn below_half(places: Self) -> Self {
                (1 as $t).wrapping_shl((places as u32).wrapping_sub(1)).wrapping_sub(1)
            }

            #[inline(always)]
            fn nearest(self, places: Self, below: Self) -> Self {
                // At half, an odd floor decides.
                let places = places as u32;
                let odd = self.wrapping_shr(places) & 1;
                self.wrapping_add(below).wrapping_add(odd).wrapping_shr(places)
            }

            #[inline(always)]
            fn places(places: i32) -> Self {
                places.min($t::BITS as i32 - 1).into()
            }
        }
    )*};
}

impl_word! { i32 u32; i64 u64; }

/// Rounds numbers of at most 61 bits to nearest even, `shift` places to the right: in fewer steps than
/// [`Accumulator::shift_all`], which knows nothing of them.
#[inline(always)]
pub(crate) fn round_all(values: &mut [i64; BLOCK], shift: i32) {
    if (1..64).contains(&shift) {
        let (places, below) = (shift.into(), i64::below_half(shift.into()));
        for x in values {
            *x = x.nearest(places, below);
        }
    } else {
        i64::shift_all(values, shift, Rounding::NearestEven, |_| 0);
    }
}
