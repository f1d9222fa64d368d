//! Floats of eight bits or fewer: sign, exponent, significand.

use crate::fixed::pow2;

/// The layout of a small float.
#[derive(Clone, Copy)]
pub(crate) struct Minifloat {
    exponent_bits: u32,
    /// Bits of the significand after the point.
    fraction_bits: u32,
    bias: i32,
    /// Code of the largest finite number.
    largest: u8,
    /// Code of infinity, where there is one.
    infinity: Option<u8>,
    /// Code of NaN, where there is one.
    nan: Option<u8>,
}

/// OCP E4M3, the variant without infinities ("FN").
pub(crate) const E4M3: Minifloat = Minifloat {
    exponent_bits: 4,
    fraction_bits: 3,
    bias: 7,
    largest: 0x7E,
    infinity: None,
    nan: Some(0x7F),
};

/// OCP E5M2: the upper half of an IEEE half.
pub(crate) const E5M2: Minifloat = Minifloat {
    exponent_bits: 5,
    fraction_bits: 2,
    bias: 15,
    largest: 0x7B,
    infinity: Some(0x7C),
    nan: Some(0x7E),
};

/// OCP E2M1: finite numbers only.
pub(crate) const E2M1: Minifloat = Minifloat {
    exponent_bits: 2,
    fraction_bits: 1,
    bias: 1,
    largest: 7,
    infinity: None,
    nan: None,
};

impl Minifloat {
    const fn sign(self) -> u8 {
        1 << (self.exponent_bits + self.fraction_bits)
    }

    /// Exponent of the smallest positive number.
    pub(crate) const fn smallest_exponent(self) -> i32 {
        1 - self.bias - self.fraction_bits as i32
    }

    /// The value in units of the smallest positive number; infinities saturate, NaN is 0.
    #[inline(always)]
    pub(crate) const fn integer(self, code: u8) -> i64 {
        let mut magnitude = code & (self.sign() - 1);
        if magnitude > self.largest {
            magnitude = match self.infinity {
                Some(infinity) if magnitude == infinity => self.largest,
                _ => 0,
            };
        }
        let exponent = magnitude >> self.fraction_bits;
        let fraction = (magnitude & ((1 << self.fraction_bits) - 1)) as i64;
        let integer = if exponent == 0 {
            fraction
        } else {
            (fraction + (1 << self.fraction_bits)) << (exponent - 1)
        };
        if code & self.sign() == 0 {
            integer
        } else {
            -integer
        }
    }

    /// The value.
    #[inline(always)]
    pub(crate) const fn value(self, code: u8) -> f32 {
        let magnitude = code & (self.sign() - 1);
        let value = if magnitude <= self.largest {
            // The exponent's lowest bit on that of an f32: the value, but for the distance of the
            // biases. Right for subnormal numbers, too; the product is exact.
            let bits = (magnitude as u32) << (23 - self.fraction_bits);
            f32::from_bits(bits) * pow2(127 - self.bias)
        } else {
            match self.infinity {
                Some(infinity) if magnitude == infinity => f32::INFINITY,
                _ => f32::NAN,
            }
        };
        if code & self.sign() == 0 {
            value
        } else {
            -value
        }
    }

    /// The code of the nearest value, ties to even. Finite values and infinities saturate, but an
    /// infinity stays one where there is one. NaN is 0 where there is none.
    pub(crate) fn code(self, value: f64) -> u8 {
        let sign = if value.is_sign_negative() {
            self.sign()
        } else {
            0
        };
        let magnitude = libm::fabs(value);
        let code = if value.is_nan() {
            return self.nan.unwrap_or(0);
        } else if magnitude.is_infinite() {
            self.infinity.unwrap_or(self.largest)
        } else {
            // Exponent of the value's leading bit, from the bits of an f64; a subnormal one is far
            // below the smallest number of any format.
            let leading = (magnitude.to_bits() >> 52) as i32 - 1023;
            let exponent = leading.max(1 - self.bias);
            // Beyond the largest exponent the shift below would overflow; the code would not.
            if exponent > 1 << (self.exponent_bits - 1) {
                self.largest
            } else {
                let unit = exponent - self.fraction_bits as i32;
                let steps = libm::rint(libm::scalbn(magnitude, -unit)) as u32;
                // The implicit bit and a carry both count up the exponent, as they should.
                let code = (((exponent + self.bias - 1) as u32) << self.fraction_bits) + steps;
                code.min(u32::from(self.largest)) as u8
            }
        };
        code | sign
    }
}
