//! Fixed-point arithmetic: rounding shifts, saturation, integer square root.
//!
//! Each operation is the one of `docs/numerics.md` §2 and gives the same result in every width in
//! which it exists.

use crate::element::Blank;
use core::ops::{Add, AddAssign, Neg};

/// How an accumulator is rounded when it is shifted right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest value, ties to even.
    NearestEven,
    /// Up with a probability equal to the fraction lost, by the word of the element.
    Stochastic(crate::rng::Words),
}

/// The type in which products are summed.
///
/// Integers are exact within the limits that each kernel checks; floats are `f32` or `f64`.
pub trait Accumulator:
    Blank
    + bytemuck::Pod
    + Default
    + PartialEq
    + core::fmt::Debug
    + PartialOrd
    + Add<Output = Self>
    + AddAssign
    + Neg<Output = Self>
    + private::Sealed
{
    /// What collects the range of many values; `()` for floats.
    type Magnitude: Magnitude;

    /// Value `x` where it is positive, else zero. NaN stays.
    fn relu(self) -> Self;

    /// `|x|`; nothing for floats, which have no exponent state.
    fn magnitude(self) -> Self::Magnitude;

    /// `x / 2^shift`, rounded; `x · 2^-shift`, saturating, for negative shifts. Floats are scaled
    /// exactly and not rounded.
    fn shift(self, shift: i32, rounding: Rounding, element: u32) -> Self;

    /// [`Accumulator::shift`] of many at once, `element` telling the index of each. What they have in
    /// common is decided once, so that they can be computed side by side.
    fn shift_all(values: &mut [Self], shift: i32, rounding: Rounding, element: impl Fn(u32) -> u32);

    /// Clamped to `±(2^bits - 1)`. Floats are returned as they are.
    fn saturate(self, bits: u32) -> Self;
}

/// Collects the bit length of the largest magnitude of many accumulators: the bitwise "or" of
/// magnitudes has the bit length of their maximum.
pub trait Magnitude: Copy + Default + Send + Sync + private::Sealed {
    /// Both seen.
    #[must_use]
    fn or(self, other: Self) -> Self;

    /// Bits of the largest magnitude seen; 0 if all were zero.
    fn bits(self) -> u32;
}

/// Bits needed for `m`; 0 for 0.
#[must_use]
#[inline(always)]
pub const fn bit_len(m: u64) -> u32 {
    64 - m.leading_zeros()
}

/// Floor of the square root, bit by bit, without division.
#[must_use]
pub const fn isqrt(n: u64) -> u64 {
    let (mut rest, mut root) = (n, 0u64);
    let mut bit = if n == 0 {
        0
    } else {
        1u64 << ((bit_len(n) - 1) & !1)
    };
    while bit != 0 {
        if rest >= root + bit {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
        bit >>= 2;
    }
    root
}

/// Quotient and remainder, bit by bit: 32-bit cores link no 64-bit division for what is done once.
/// 0 and the dividend for a divisor of 0; the divisor is below 2^63.
#[must_use]
pub const fn div_rem(dividend: u64, divisor: u64) -> (u64, u64) {
    if divisor == 0 {
        return (0, dividend);
    }
    let (mut quotient, mut remainder) = (0, 0);
    let mut bit = bit_len(dividend);
    while bit > 0 {
        bit -= 1;
        remainder = remainder << 1 | (dividend >> bit & 1);
        quotient <<= 1;
        if remainder >= divisor {
            remainder -= divisor;
            quotient |= 1;
        }
    }
    (quotient, remainder)
}

/// [`isqrt`] for 128 bits.
#[must_use]
pub const fn isqrt_u128(n: u128) -> u128 {
    let (mut rest, mut root) = (n, 0u128);
    let mut bit = if n == 0 {
        0
    } else {
        1u128 << ((127 - n.leading_zeros()) & !1)
    };
    while bit != 0 {
        if rest >= root + bit {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
        bit >>= 2;
    }
    root
}

/// The reciprocal of a square root: `1/√v ≈ mantissa · 2^(places - 30)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct InverseRoot {
    /// Above 2^15 and at most 2^16; 0 for the root of 0.
    pub mantissa: i32,
    /// `j` in `docs/numerics.md` §15: -49 to 14.
    pub places: i32,
}

impl InverseRoot {
    /// Of a number of 28 or 29 bits more than `2^28 - 1`, and how far it was shifted.
    const fn of(normal: u64, places: i32) -> Self {
        let root = isqrt(normal) as u32; // 2^14 to 2^15 - 1
        Self {
            mantissa: match (1u32 << 30).checked_div(root) {
                Some(mantissa) => mantissa as i32,
                None => 0,
            },
            places,
        }
    }
}

/// `1/√v` as a mantissa and places, by one integer square root and one 32-bit division; both 0 for
/// `v = 0`.
///
/// The relative error is between `-2^-15` (the floor of the division) and `2^-14 + 2^-28` (the
/// floors of the root and of `v · 4^places`).
///
/// # Example
/// ```
/// let root = selvedge_kernels::fixed::rsqrt(9);
/// let third = root.mantissa as f64 * 2f64.powi(root.places - 30);
/// assert!((third - 1.0 / 3.0).abs() < 1.0 / 32_768.0);
/// ```
#[must_use]
pub const fn rsqrt(v: u64) -> InverseRoot {
    if v == 0 {
        return InverseRoot {
            mantissa: 0,
            places: 0,
        };
    }
    let places = (30 - bit_len(v) as i32) >> 1;
    let normal = if places >= 0 {
        v << (2 * places)
    } else {
        v >> (-2 * places)
    };
    InverseRoot::of(normal, places)
}

/// [`rsqrt`] for 128 bits.
#[must_use]
pub const fn rsqrt_u128(v: u128) -> InverseRoot {
    if v >> 64 == 0 {
        return rsqrt(v as u64);
    }
    let places = (30 - (128 - v.leading_zeros()) as i32) >> 1; // negative
    InverseRoot::of((v >> (-2 * places)) as u64, places)
}

/// A divisor by which many numbers are divided: `1/n ≈ factor / 2^places`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reciprocal {
    /// 2^31 or more; 0 for the divisor 0.
    factor: u32,
    /// 31 to 63.
    places: u32,
}

impl Reciprocal {
    /// `places = 31 + bit_len(n - 1)` and `factor = (2^places + n/2) / n`, with one division bit by
    /// bit. The relative error is at most 2^-32; powers of two are exact. A divisor of 0 gives 0.
    #[must_use]
    pub const fn new(n: u32) -> Self {
        let places = 31 + bit_len(n.saturating_sub(1) as u64);
        let n = n as u64;
        let (factor, _) = div_rem((1 << places) + (n >> 1), n);
        Self {
            factor: factor as u32, // below 2^32, as n > 2^(places - 32)
            places,
        }
    }

    /// `x / n · 2^fraction` to nearest even, for `|x|` below 2^95: off by at most half a unit and
    /// 2^-32 of the quotient. Saturates where the result leaves `i128`.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::fixed::Reciprocal;
    /// assert_eq!(Reciprocal::new(7).divide(-700, 0), -100);
    /// assert_eq!(Reciprocal::new(3).divide(1, 4), 5); // 16/3
    /// ```
    #[must_use]
    pub const fn divide(self, x: i128, fraction: i32) -> i128 {
        let shift = (self.places as i32).saturating_sub(fraction);
        // The factor has 32 bits: 125 places to the left saturate whatever is not 0.
        let shift = if shift < -125 { -125 } else { shift };
        shift_rne_i128(x * self.factor as i128, shift)
    }
}

macro_rules! impl_integer {
    ($signed:ident, $unsigned:ident, $shl_sat:ident, $left:ident, $shift_rne:ident, $right_rne:ident, $shift_sr:ident,
     $right_sr:ident, $sat:ident, $cap:expr, $places:expr) => {
        /// `x · 2^k`, saturating at the accumulator's range; 0 for `k` from the definition's width
        /// on, which is 62 places (126 for `i128`).
        #[must_use]
        #[inline]
        pub const fn $shl_sat(x: $signed, k: u32) -> $signed {
            if k >= $places {
                return 0;
            }
            if k >= $cap {
                // Nothing but 0 fits.
                return if $cap < $places {
                    $left(x.signum(), $cap)
                } else {
                    0
                };
            }
            $left(x, k)
        }

        /// The same for fewer places than the accumulator has, without a branch.
        #[inline(always)]
        const fn $left(x: $signed, k: u32) -> $signed {
            const LIMIT: $signed = (1 << $cap) - 1;
            let limit = LIMIT.wrapping_shr(k);
            // The definition drops the bits below 2^k. A narrow accumulator saturates before, and
            // the clamp that follows must find no less than its own limit.
            let saturated = if $cap < $places {
                LIMIT
            } else {
                limit.wrapping_shl(k)
            };
            if x > limit {
                saturated
            } else if x < -limit {
                -saturated
            } else {
                x.wrapping_shl(k)
            }
        }

        /// `x / 2^s` to the nearest integer, ties to even; `s <= 0` shifts left and saturates.
        #[must_use]
        #[inline]
        pub const fn $shift_rne(x: $signed, s: i32) -> $signed {
            if s <= 0 {
                return $shl_sat(x, s.unsigned_abs());
            }
            if s >= $signed::BITS as i32 {
                return 0; // |x / 2^s| is at most one half, and 0 is even
            }
            $right_rne(x, s.unsigned_abs())
        }

        /// The same for places from 1 to the width less 1, without a branch.
        #[inline(always)]
        const fn $right_rne(x: $signed, s: u32) -> $signed {
            let floor = x.wrapping_shr(s);
            let rest = x.wrapping_sub(floor.wrapping_shl(s)) as $unsigned;
            let half = (1 as $unsigned).wrapping_shl(s.wrapping_sub(1));
            // At half, an odd floor decides.
            let up = rest.wrapping_add((floor & 1) as $unsigned) > half;
            floor.wrapping_add(up as $signed)
        }

        /// `x / 2^s`, rounded up with a probability equal to the fraction lost: the floor of
        /// `x / 2^s + u / 2^32`. `s <= 0` shifts left and saturates. Beyond 32 places, the lowest
        /// `s - 32` bits are dropped first.
        #[must_use]
        #[inline]
        pub const fn $shift_sr(x: $signed, s: i32, u: u32) -> $signed {
            if s <= 0 {
                return $shl_sat(x, s.unsigned_abs());
            }
            if s < 32 {
                return $right_sr(x, s.unsigned_abs(), u);
            }
            let drop = if s - 32 < $signed::BITS as i32 {
                s - 32
            } else {
                $signed::BITS as i32 - 1
            };
            let x = x >> drop;
            let carry = x as u32 > u32::MAX - u;
            let floor = if $signed::BITS > 32 {
                x.wrapping_shr(32)
            } else {
                x >> ($signed::BITS - 1)
            };
            floor + carry as $signed
        }

        /// The same for 1 to 31 places, without a branch.
        #[inline(always)]
        const fn $right_sr(x: $signed, s: u32, u: u32) -> $signed {
            // The fraction and the word are numbers of s bits; whether their sum carries is the
            // rounding. Asked this way, no intermediate needs a bit more than `x`.
            let above = 32u32.wrapping_sub(s);
            let mask = u32::MAX.wrapping_shr(above);
            let carry = (x as u32 & mask) > mask.wrapping_sub(u.wrapping_shr(above));
            x.wrapping_shr(s).wrapping_add(carry as $signed)
        }

        /// Clamps to `±(2^bits - 1)`.
        #[must_use]
        #[inline(always)]
        pub const fn $sat(x: $signed, bits: u32) -> $signed {
            let limit = (1 << bits) - 1;
            if x > limit {
                limit
            } else if x < -limit {
                -limit
            } else {
                x
            }
        }

        impl Accumulator for $signed {
            type Magnitude = $unsigned;

            #[inline(always)]
            fn relu(self) -> Self {
                self.max(0)
            }

            #[inline(always)]
            fn magnitude(self) -> $unsigned {
                self.unsigned_abs()
            }

            #[inline]
            fn shift(self, shift: i32, rounding: Rounding, element: u32) -> Self {
                match rounding {
                    Rounding::NearestEven => $shift_rne(self, shift),
                    Rounding::Stochastic(words) => $shift_sr(self, shift, words.word(element)),
                }
            }

            #[inline(always)]
            fn shift_all(
                values: &mut [Self],
                shift: i32,
                rounding: Rounding,
                element: impl Fn(u32) -> u32,
            ) {
                match rounding {
                    Rounding::NearestEven if shift > 0 && shift < $signed::BITS as i32 => {
                        let places = shift.unsigned_abs();
                        for x in values {
                            *x = $right_rne(*x, places);
                        }
                    }
                    Rounding::Stochastic(words) if shift > 0 && shift < 32 => {
                        let places = shift.unsigned_abs();
                        for (x, i) in values.iter_mut().zip(0u32..) {
                            *x = $right_sr(*x, places, words.word(element(i)));
                        }
                    }
                    _ if shift <= 0 && shift > -$cap => {
                        let places = shift.unsigned_abs();
                        for x in values {
                            *x = $left(*x, places);
                        }
                    }
                    _ => {
                        for (x, i) in values.iter_mut().zip(0u32..) {
                            *x = x.shift(shift, rounding, element(i));
                        }
                    }
                }
            }

            #[inline(always)]
            fn saturate(self, bits: u32) -> Self {
                $sat(self, bits)
            }
        }

        impl Magnitude for $unsigned {
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }

            #[inline(always)]
            fn bits(self) -> u32 {
                $unsigned::BITS - self.leading_zeros()
            }
        }

        impl private::Sealed for $signed {}
        impl private::Sealed for $unsigned {}
    };
}

macro_rules! impl_float {
    ($float:ident) => {
        impl Accumulator for $float {
            type Magnitude = ();

            #[inline(always)]
            fn relu(self) -> Self {
                if self < 0.0 { 0.0 } else { self }
            }

            #[inline(always)]
            fn magnitude(self) {}

            #[inline(always)]
            fn shift(self, shift: i32, _: Rounding, _: u32) -> Self {
                if shift == 0 {
                    self
                } else {
                    self * pow2(-shift) as $float
                }
            }

            #[inline(always)]
            fn shift_all(values: &mut [Self], shift: i32, _: Rounding, _: impl Fn(u32) -> u32) {
                if shift != 0 {
                    let scale = pow2(-shift) as $float;
                    values.iter_mut().for_each(|x| *x *= scale);
                }
            }

            #[inline(always)]
            fn saturate(self, _: u32) -> Self {
                self
            }
        }

        impl private::Sealed for $float {}
    };
}

/// `2^exponent`, exact between -126 and 127 and clamped to that range.
#[must_use]
pub const fn pow2(exponent: i32) -> f32 {
    let exponent = if exponent < -126 {
        -126
    } else if exponent > 127 {
        127
    } else {
        exponent
    };
    f32::from_bits(((exponent + 127) as u32) << 23)
}

mod private {
    pub trait Sealed {}
}

// 62 is the reference's saturation point, and the number of places that shift everything out; 30
// and 126 are its counterparts, and a clamp to at most as many bits follows wherever they are used.
impl_integer!(
    i32,
    u32,
    shl_sat_i32,
    left_i32,
    shift_rne_i32,
    right_rne_i32,
    shift_sr_i32,
    right_sr_i32,
    sat_i32,
    30,
    62
);
impl_integer!(
    i64,
    u64,
    shl_sat_i64,
    left_i64,
    shift_rne_i64,
    right_rne_i64,
    shift_sr_i64,
    right_sr_i64,
    sat_i64,
    62,
    62
);
impl_integer!(
    i128,
    u128,
    shl_sat_i128,
    left_i128,
    shift_rne_i128,
    right_rne_i128,
    shift_sr_i128,
    right_sr_i128,
    sat_i128,
    126,
    126
);
impl_float!(f32);
impl_float!(f64);

/// A product of bytes of at most 15 bits: 16 bits in vectors, and 32 on devices, whose registers have them.
#[cfg(not(target_os = "none"))]
pub(crate) type Slim = i16;
#[cfg(target_os = "none")]
pub(crate) type Slim = i32;

/// [`shift_rne_i32`] for 1 to 14 places.
#[inline(always)]
pub(crate) const fn shift_rne_slim(x: Slim, s: i32) -> Slim {
    let floor = x >> s;
    let rest = x - (floor << s);
    // At half, an odd floor decides.
    let up = rest + (floor & 1) > 1 << (s - 1);
    floor + up as Slim
}

/// [`sat_i32`].
#[inline(always)]
pub(crate) const fn sat_slim(x: Slim, bits: u32) -> Slim {
    let limit = (1 << bits) - 1;
    if x > limit {
        limit
    } else if x < -limit {
        -limit
    } else {
        x
    }
}

impl Magnitude for () {
    fn or(self, (): Self) {}

    fn bits(self) -> u32 {
        0
    }
}

impl private::Sealed for () {}
