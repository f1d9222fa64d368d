//! Integer elements in at most 15 bits, for statistics whose sums would leave 64 bits otherwise
//! (`docs/numerics.md` §15).

use crate::element::{Element, Output};
use crate::fixed::{Accumulator, shift_rne_i32, shift_rne_i64};
use crate::requantize::{BLOCK, Store, put_all};

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

/// The same for as many as `out` has, the first of which has row-major index `element`: [`put_all`].
#[inline(always)]
pub(crate) fn put_block<T: Short>(
    store: Store,
    acc: &mut [i64; BLOCK],
    element: u32,
    range: &mut u64,
    out: &mut [T],
) {
    put_all(store, acc, element, range, out, T::from_i64);
}
