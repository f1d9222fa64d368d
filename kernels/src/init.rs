//! Uniform initialisation, in integers for every type.
//!
//! Source: `docs/numerics.md` §3; the bounds are those of He et al. 2015 (6 / fan-in) and LeCun et
//! al. 1998 (3 / fan-in).

use crate::element::{Element, Output};
use crate::error::{Arg, Error, Result};
use crate::fixed::{div_rem, isqrt, isqrt_u128, pow2};
use crate::rng::Words;
use half::{bf16, f16};

/// The variance of a uniform initialisation: values lie within `±sqrt(n / fan_in)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// n = 6: before ReLU, and for the last layer.
    He,
    /// n = 3: otherwise.
    LeCun,
}

/// Fills `value` (and `residual`, where the type keeps one) with uniform random numbers within
/// `±sqrt(n / fan_in)` and returns the exponent of the tensor: the smallest one, at most 0, that
/// holds the bound. Floats get the numbers that `i32` (`f64`: `i64`) would get, rounded.
///
/// # Errors
/// [`Error::Zero`] if `fan_in` is zero, [`Error::Overflow`] if it exceeds 2^20, [`Error::Length`]
/// if `residual` is neither empty nor as long as `value`.
///
/// # Example
/// ```
/// use selvedge_kernels::{init::{uniform, Gain}, rng::Words};
/// let mut weight = [0i8; 4];
/// let mut residual = [0i8; 4];
/// let exponent = uniform(&mut weight, &mut residual, Words::new(1, 16, 0), Gain::He, 24)?;
/// assert_eq!(exponent, -7); // the bound is 0.5, and 64 · 2^-7 needs no more
/// assert!(weight.iter().all(|w| w.abs() <= 64));
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn uniform<T: Element>(
    value: &mut [T],
    residual: &mut [i8],
    words: Words,
    gain: Gain,
    fan_in: usize,
) -> Result<i16> {
    if fan_in == 0 {
        return Err(Error::Zero { arg: Arg::Shape });
    }
    if fan_in > 1 << 20 {
        return Err(Error::Overflow {
            arg: Arg::Shape,
            got: Some(fan_in),
        });
    }
    if !residual.is_empty() && residual.len() != value.len() {
        return Err(Error::Length {
            arg: Arg::Residual,
            expected: value.len(),
            got: residual.len(),
        });
    }
    let variance = match gain {
        Gain::He => 6,
        Gain::LeCun => 3,
    };
    Ok(T::fill_uniform(
        value,
        residual,
        words,
        variance,
        fan_in as u32,
    ))
}

/// Where the numbers of an initialisation come from, for a type with `magnitude` bits and
/// `residual` bits below.
#[derive(Clone, Copy)]
struct Range {
    exponent: i32,
    /// Masters lie within plus and minus this.
    bound: u64,
}

impl Range {
    /// For up to 24 magnitude bits, in 64 bits.
    fn narrow(magnitude: u32, residual: u32, variance: u32, fan_in: u32) -> Self {
        let (variance, fan_in) = (u64::from(variance), u64::from(fan_in));
        let largest = (1u64 << magnitude) - 1;
        let square = largest * largest;
        // area / 2^places, rounded down, for area = fan_in · largest², which may have 68 bits; it is
        // then of interest from 20 places on.
        let area = fan_in.checked_mul(square);
        let high = fan_in * (square >> 20) + ((fan_in * (square & 0xF_FFFF)) >> 20);
        let shifted = |places: u32| match area {
            Some(area) => area.checked_shr(places).unwrap_or(0),
            None => high.checked_shr(places.saturating_sub(20)).unwrap_or(0),
        };
        let mut below = 0u32; // the exponent is -below
        while variance <= shifted(2 * (below + 1)) {
            below += 1;
        }
        // variance · 2^places / fan_in in two steps, as in long division: the dividend may have 70
        // bits, the quotient has at most 49 and the remainder 20.
        let places = 2 * (residual + below);
        let (first, then) = (places.min(40), places.saturating_sub(40));
        let dividend = variance << first;
        let (quotient, remainder) = div_rem(dividend, fan_in);
        let (rest, _) = div_rem(remainder << then, fan_in);
        let bound = isqrt((quotient << then) + rest);
        Self {
            exponent: -(below as i32),
            bound: bound.min(largest << residual),
        }
    }

    /// For 53 magnitude bits: the same in 128.
    fn wide(magnitude: u32, variance: u32, fan_in: u32) -> Self {
        let (variance, fan_in) = (u128::from(variance), u128::from(fan_in));
        let largest = (1u128 << magnitude) - 1;
        let area = fan_in.saturating_mul(largest * largest);
        let mut below = 0u32;
        while below < 62 && variance << (2 * (below + 1)) <= area {
            below += 1;
        }
        let bound = isqrt_u128((variance << (2 * below)).checked_div(fan_in).unwrap_or(0));
        Self {
            exponent: -(below as i32),
            bound: bound.min(largest) as u64,
        }
    }

    /// The master of the element whose word is `u`.
    fn pick(self, u: u32) -> i64 {
        let bound = self.bound as i64;
        if self.bound <= 32_767 {
            i64::from(((u >> 16) * (2 * self.bound as u32 + 1)) >> 16) - bound
        } else {
            ((u128::from(u) * (2 * u128::from(self.bound) + 1)) >> 32) as i64 - bound
        }
    }

    /// The same below 2^32, without a 128-bit product.
    fn pick_narrow(self, u: u32) -> i64 {
        if self.bound <= 32_767 {
            self.pick(u)
        } else {
            ((u64::from(u) * (2 * self.bound + 1)) >> 32) as i64 - self.bound as i64
        }
    }
}

/// How an element type is initialised.
pub trait Uniform: Sized {
    #[doc(hidden)]
    fn fill_uniform(
        value: &mut [Self],
        residual: &mut [i8],
        words: Words,
        variance: u32,
        fan_in: u32,
    ) -> i16;
}

macro_rules! impl_integer {
    ($($t:ident as $signed:ident, flip $flip:expr, magnitude $m:expr;)*) => {$(
        impl Uniform for $t {
            fn fill_uniform(value: &mut [Self], residual: &mut [i8], words: Words, variance: u32, fan_in: u32) -> i16 {
                let residual_bits = if residual.is_empty() { 0 } else { 8 };
                let range = if $m <= 24 {
                    Range::narrow($m, residual_bits, variance, fan_in)
                } else {
                    Range::wide($m, variance, fan_in)
                };
                let mut residual = residual.iter_mut();
                for (value, element) in value.iter_mut().zip(0u32..) {
                    let u = words.word(element);
                    let master = if $m <= 24 { range.pick_narrow(u) } else { range.pick(u) };
                    let q = match residual.next() {
                        Some(low) => {
                            let q = (master + 128) >> 8;
                            *low = (master - (q << 8)) as i8;
                            q
                        }
                        None => master,
                    };
                    *value = q as $signed as $t ^ $flip;
                }
                range.exponent as i16
            }
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ident: $acc:ident;)*) => {$(
        impl Uniform for $t {
            fn fill_uniform(value: &mut [Self], _: &mut [i8], words: Words, variance: u32, fan_in: u32) -> i16 {
                let range = Range::narrow(24, 0, variance, fan_in);
                for (value, element) in value.iter_mut().zip(0u32..) {
                    let master = range.pick_narrow(words.word(element)) as i32; // exact in f32
                    *value = <$t as Output<$t>>::store(master as $acc * pow2(range.exponent));
                }
                0
            }
        }
    )*};
}

impl_integer! {
    i8 as i8, flip 0, magnitude 7;
    u8 as i8, flip 0x80, magnitude 7;
    i16 as i16, flip 0, magnitude 15;
    u16 as i16, flip 0x8000, magnitude 15;
    i32 as i32, flip 0, magnitude 24;
    u32 as i32, flip 0x8000_0000, magnitude 24;
    i64 as i64, flip 0, magnitude 53;
    u64 as i64, flip 0x8000_0000_0000_0000, magnitude 53;
}

impl_float! { f16: f32; bf16: f32; f32: f32; }

impl Uniform for f64 {
    fn fill_uniform(
        value: &mut [Self],
        _: &mut [i8],
        words: Words,
        variance: u32,
        fan_in: u32,
    ) -> i16 {
        let range = Range::wide(53, variance, fan_in);
        for (value, element) in value.iter_mut().zip(0u32..) {
            *value = range.pick(words.word(element)) as f64 * f64::from(pow2(range.exponent));
        }
        0
    }
}
