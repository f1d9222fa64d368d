//! Division by reciprocal (`docs/numerics.md` §13).
//!
//! `r = round(2^(n+P) / |b|)` with `n = bit_len |b|` lies between 2^P and 2^(P+1), so a product with
//! it keeps the dividend's bits; `P = max(15, M)` makes its own error, 2^-(P+1) of the quotient,
//! smaller than what storing rounds.

use crate::element::Element;
use crate::fixed;

/// Division for one element type.
pub trait Divide: Sized {
    /// `a / b` at the exponent of `a` less that of `b` less M.
    #[doc(hidden)]
    fn quotient(a: Self, b: Self) -> Self::Acc
    where
        Self: Element;
    /// The same for an error `d` and the divisor `b`; 0 where integers divide by 0.
    #[doc(hidden)]
    fn gradient_of_dividend(d: Self, b: Self) -> Self::Acc
    where
        Self: Element;
    /// `-d · y / b` at the exponent of `d` plus that of `y` less that of `b`; 0 where integers
    /// divide by 0.
    #[doc(hidden)]
    fn gradient_of_divisor(d: Self, y: Self, b: Self) -> Self::Acc
    where
        Self: Element;
}

/// `$word`: unsigned, holds the reciprocal and 2^(n+P); `$product`: holds `d · y · r` after
/// `d · y` has lost `$drop` bits.
macro_rules! impl_integer {
    ($($t:ident: acc $acc:ident $shift_acc:ident, magnitude $m:expr, fraction $p:expr, word $word:ident,
       product $product:ident $shift:ident, drop $drop:expr;)*) => {$(
        impl Divide for $t {
            #[inline(always)]
            fn quotient(a: Self, b: Self) -> $acc {
                let a = a.to_acc();
                #[cfg(not(target_os = "none"))]
                if $m == 7 {
                    let r = RECIPROCALS.get(usize::from(b.to_acc() as u8)).map_or(0, |&r| r);
                    let infinite = a.signum() * (((1 << $m) - 1) << $m);
                    let quotient = fixed::$shift_acc(a * r as $acc, 16);
                    return if r == 0 { infinite } else { quotient };
                }
                match reciprocal(b) {
                    Some((r, n)) => fixed::$shift_acc(a * r as $acc, n + $p - $m),
                    None => a.signum() * (((1 << $m) - 1) << $m),
                }
            }

            #[inline(always)]
            fn gradient_of_dividend(d: Self, b: Self) -> $acc {
                if b == Self::ZERO { 0 } else { Self::quotient(d, b) }
            }

            #[inline(always)]
            fn gradient_of_divisor(d: Self, y: Self, b: Self) -> $acc {
                let Some((r, n)) = reciprocal(b) else {
                    return 0;
                };
                let p = $product::from(Self::mul(d.widen(), y.widen()));
                let p = fixed::$shift(p, $drop);
                fixed::$shift(-p * r as $product, n + $p - $drop) as $acc // at most 2M bits
            }
        }

        impl Reciprocal for $t {
            #[inline(always)]
            fn reciprocal(self) -> Option<(i64, i32)> {
                let b = self.to_acc().unsigned_abs() as $word;
                let n = $word::BITS as i32 - b.leading_zeros() as i32;
                let r = ((1 << (n + $p)) + (b >> 1)).checked_div(b)?;
                let signed = r as i64; // at most 2^(P + 1)
                Some((if self.to_acc() < 0 { -signed } else { signed }, n))
            }
        }
    )*};
}

/// The reciprocal of an integer.
trait Reciprocal: Sized {
    /// `±round(2^(n+P) / |b|)` with the sign of `b`, and `n = bit_len |b|`; nothing for 0.
    fn reciprocal(self) -> Option<(i64, i32)>;
}

#[inline(always)]
fn reciprocal(b: impl Reciprocal) -> Option<(i64, i32)> {
    b.reciprocal()
}

macro_rules! impl_float {
    ($($t:ty)*) => {$(
        impl Divide for $t {
            #[inline(always)]
            fn quotient(a: Self, b: Self) -> <Self as Element>::Acc {
                a.widen() / b.widen()
            }

            #[inline(always)]
            fn gradient_of_dividend(d: Self, b: Self) -> <Self as Element>::Acc {
                d.widen() / b.widen()
            }

            #[inline(always)]
            fn gradient_of_divisor(d: Self, y: Self, b: Self) -> <Self as Element>::Acc {
                -(d.widen() * y.widen()) / b.widen()
            }
        }
    )*};
}

// Words: n + P is at most 8 + 15, 16 + 15, 25 + 24 and 54 + 53 bits. Products with the reciprocal of
// P + 1 bits: 14 + 16 = 30, 30 + 16 = 46 and 48 + 25 = 73 bits; of 106 bits, 34 are rounded away,
// which leaves 72 + 54 = 126.
impl_integer! {
    i8: acc i32 shift_rne_i32, magnitude 7, fraction 15, word u32, product i32 shift_rne_i32, drop 0;
    u8: acc i32 shift_rne_i32, magnitude 7, fraction 15, word u32, product i32 shift_rne_i32, drop 0;
    i16: acc i64 shift_rne_i64, magnitude 15, fraction 15, word u32, product i64 shift_rne_i64, drop 0;
    u16: acc i64 shift_rne_i64, magnitude 15, fraction 15, word u32, product i64 shift_rne_i64, drop 0;
    i32: acc i64 shift_rne_i64, magnitude 24, fraction 24, word u64, product i128 shift_rne_i128, drop 0;
    u32: acc i64 shift_rne_i64, magnitude 24, fraction 24, word u64, product i128 shift_rne_i128, drop 0;
    i64: acc i128 shift_rne_i128, magnitude 53, fraction 53, word u128, product i128 shift_rne_i128, drop 34;
    u64: acc i128 shift_rne_i128, magnitude 53, fraction 53, word u128, product i128 shift_rne_i128, drop 34;
}

/// `±round(2^(n + 15) / |b|) · 2^(8 - n)` of each byte `b`, in two's complement, with the sign of `b`; 0 for 0. A
/// product with a byte has 30 bits, and is the quotient after 16 places.
#[cfg(not(target_os = "none"))]
static RECIPROCALS: [i32; 256] = {
    let mut table = [0; 256];
    let mut byte = 1;
    while byte < 256 {
        let b = (byte as u8).cast_signed();
        let (size, n) = (
            b.unsigned_abs() as i32,
            8 - b.unsigned_abs().leading_zeros(),
        );
        let scaled = (((1 << (n + 15)) + (size >> 1)) / size) << (8 - n);
        table[byte] = if b < 0 { -scaled } else { scaled };
        byte += 1;
    }
    table
};

impl_float! { half::f16 half::bf16 f32 f64 }
