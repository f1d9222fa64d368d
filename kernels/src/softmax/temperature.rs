//! Real parameters as integers, so that an integer network decodes no float: a temperature, and the
//! `alpha` of entmax.

use crate::error::{Arg, Error, Found, Result};
use crate::fixed::bit_len;

/// A positive factor `mantissa · 2^-shift` with a mantissa of 15 bits, so within 2^-15 of what it
/// stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// 2^14 to 2^15 - 1.
    pub mantissa: u16,
    /// Places to the right.
    pub shift: i16,
}

impl Ratio {
    /// 1.
    pub const ONE: Self = Self {
        mantissa: 1 << 14,
        shift: 14,
    };

    /// The nearest to `number · 2^exponent`; 0 is taken for 1.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::softmax::Ratio;
    /// assert_eq!(Ratio::new(3, -2), Ratio { mantissa: 3 << 13, shift: 15 }); // 0.75
    /// ```
    #[must_use]
    pub const fn new(number: u64, exponent: i32) -> Self {
        let number = if number == 0 { 1 } else { number };
        let spare = bit_len(number) as i32 - 15;
        let (mantissa, spare) = if spare <= 0 {
            (number << -spare, spare)
        } else {
            let rounded = (number >> (spare - 1)).div_ceil(2);
            // 2^15 - 1/2 and above become 2^15.
            if rounded >> 15 == 0 {
                (rounded, spare)
            } else {
                (rounded >> 1, spare + 1)
            }
        };
        Self {
            mantissa: mantissa as u16,
            shift: clamp_shift(-(exponent + spare)),
        }
    }

    /// The nearest to the reciprocal of `number · 2^exponent`, for numbers of 24 bits.
    const fn reciprocal(number: u32, exponent: i32) -> Self {
        let number = if number == 0 { 1 } else { number as u64 };
        Self::new(((1 << 62) + number / 2) / number, -62 - exponent)
    }

    /// The nearest to the product.
    #[must_use]
    pub const fn times(self, other: Self) -> Self {
        let product = self.mantissa as u64 * other.mantissa as u64;
        Self::new(product, -(self.shift as i32 + other.shift as i32))
    }
}

const fn clamp_shift(shift: i32) -> i16 {
    if shift > i16::MAX as i32 {
        i16::MAX
    } else if shift < i16::MIN as i32 {
        i16::MIN
    } else {
        shift as i16
    }
}

/// What logits are divided by before they are normalised: sharp below 1, flat above.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature {
    value: f32,
    inverse: Ratio,
}

impl Temperature {
    /// No division.
    pub const ONE: Self = Self {
        value: 1.0,
        inverse: Ratio::ONE,
    };

    /// The temperature `value`; 0 stands for 1. To be called on the host, or in a constant: the
    /// integers divide by [`Temperature::inverse`], which is a constant then.
    ///
    /// # Errors
    /// [`Error::Value`] for negative numbers, infinities and NaN.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::softmax::{Ratio, Temperature};
    /// let sharp = Temperature::new(0.5)?;
    /// assert_eq!(sharp.inverse(), Ratio { mantissa: 1 << 14, shift: 13 }); // 2
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    pub const fn new(value: f32) -> Result<Self> {
        match decode(value) {
            Some((0, _)) => Ok(Self::ONE),
            Some((number, exponent)) => Ok(Self {
                value,
                inverse: Ratio::reciprocal(number, exponent),
            }),
            None => Err(Error::Value {
                arg: Arg::Temperature,
                expected: "a finite number of 0 or more",
                got: Some(Found::real(value as f64)),
            }),
        }
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> f32 {
        self.value
    }

    /// `1 / value`, for integers.
    #[must_use]
    pub const fn inverse(self) -> Ratio {
        self.inverse
    }
}

/// `value` as a number of 24 bits and an exponent; nothing for what is negative or not finite.
pub(crate) const fn decode(value: f32) -> Option<(u32, i32)> {
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> 23) as i32, bits & 0x7F_FFFF);
    match exponent {
        0 => Some((fraction, -149)),
        1..=254 => Some((fraction | 1 << 23, exponent - 150)),
        256 if fraction == 0 => Some((0, 0)), // -0
        _ => None,
    }
}

/// The family's parameter: 1 is softmax, 2 is sparsemax, between them lie maps that give exact zeros
/// yet keep a smooth shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alpha {
    value: f32,
    pub(crate) kind: Kind,
    /// `alpha - 1`.
    pub(crate) gap: Ratio,
    /// `(2 - alpha) / (alpha - 1)`.
    pub(crate) power: Ratio,
}

/// The values of alpha that need no logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Softmax,
    Sparsemax,
    ThreeHalves,
    General,
}

impl Alpha {
    /// 1.
    pub const SOFTMAX: Self = Self {
        value: 1.0,
        kind: Kind::Softmax,
        gap: Ratio::ONE,
        power: Ratio::ONE,
    };
    /// 1.5.
    pub const ENTMAX_1_5: Self = Self {
        value: 1.5,
        kind: Kind::ThreeHalves,
        gap: Ratio {
            mantissa: 1 << 14,
            shift: 15,
        },
        power: Ratio::ONE,
    };
    /// 2.
    pub const SPARSEMAX: Self = Self {
        value: 2.0,
        kind: Kind::Sparsemax,
        gap: Ratio::ONE,
        power: Ratio::ONE,
    };

    /// The map of `value`, from 1 to 2. To be called on the host, or in a constant.
    ///
    /// # Errors
    /// [`Error::Value`] for numbers outside, and NaN.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::softmax::Alpha;
    /// assert_eq!(Alpha::new(1.5)?, Alpha::ENTMAX_1_5);
    /// assert!(Alpha::new(2.5).is_err());
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    pub const fn new(value: f32) -> Result<Self> {
        const ONE: u32 = 0x3F80_0000; // the bits of 1.0; 2.0 is 2^23 further, and floats are ordered
        let bits = value.to_bits();
        if bits < ONE || bits > ONE + (1 << 23) {
            return Err(Error::Value {
                arg: Arg::Alpha,
                expected: "1 to 2",
                got: Some(Found::real(value as f64)),
            });
        }
        let gap = bits - ONE; // (alpha - 1) · 2^23
        Ok(match gap {
            0 => Self::SOFTMAX,
            0x40_0000 => Self::ENTMAX_1_5,
            0x80_0000 => Self::SPARSEMAX,
            _ => {
                let rest = ((1 << 23) - gap) as u64;
                // gap is 1 or more, which `checked_div` need not be told.
                let power = match (rest << 40).checked_div(gap as u64) {
                    Some(power) => power,
                    None => 0,
                };
                Self {
                    value,
                    kind: Kind::General,
                    gap: Ratio::new(gap as u64, -23),
                    power: Ratio::new(power, -40),
                }
            }
        })
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> f32 {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::{Alpha, Ratio, Temperature};

    fn value(ratio: Ratio) -> f64 {
        f64::from(ratio.mantissa) * libm::exp2(-f64::from(ratio.shift))
    }

    #[test]
    fn ratios_are_within_2_to_the_minus_15() {
        let mut word = 1u32;
        for _ in 0..20_000 {
            word = crate::rng::mix32(word);
            let temperature = f32::from_bits(word >> 1);
            if let (Ok(made), true) = (Temperature::new(temperature), temperature > 0.0) {
                let want = 1.0 / f64::from(temperature);
                let got = value(made.inverse());
                assert!(
                    (got / want - 1.0).abs() <= libm::exp2(-15.0) * 1.001,
                    "{temperature}: {got}"
                );
                assert!((1 << 14..1 << 15).contains(&made.inverse().mantissa));
            }
            let alpha = f32::from_bits(0x3F80_0000 + (word >> 9));
            if let Ok(made) = Alpha::new(alpha) {
                let gap = f64::from(alpha) - 1.0;
                if gap > 0.0 && gap < 1.0 {
                    assert!((value(made.gap) / gap - 1.0).abs() <= libm::exp2(-15.0) * 1.001);
                    let power = (1.0 - gap) / gap;
                    assert!((value(made.power) / power - 1.0).abs() <= libm::exp2(-15.0) * 1.001);
                }
            }
        }
    }

    #[test]
    fn only_positive_numbers_are_temperatures() {
        assert_eq!(Temperature::new(0.0), Ok(Temperature::ONE));
        assert_eq!(Temperature::new(-0.0), Ok(Temperature::ONE));
        assert_eq!(Temperature::new(1.0), Ok(Temperature::ONE));
        for bad in [-1.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN, -f32::NAN] {
            assert!(Temperature::new(bad).is_err(), "{bad}");
        }
        for bad in [0.999_999_9, 2.000_000_2, -1.5, f32::NAN, f32::INFINITY] {
            assert!(Alpha::new(bad).is_err(), "{bad}");
        }
    }
}
