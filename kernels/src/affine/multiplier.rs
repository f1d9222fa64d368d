//! Real factors as integers, and the two ways in which TensorFlow Lite multiplies by them.

/// How an accumulator times a [`Multiplier`] is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// Twice: a high product to nearest, ties up, then a right shift to nearest, ties away from zero.
    /// TensorFlow Lite Micro and CMSIS-NN.
    #[default]
    Double,
    /// Once, ties up. LiteRT's FULLY_CONNECTED, and all of TensorFlow Lite where it is built for a single
    /// rounding.
    Single,
}

/// A real factor `mantissa / 2^31 · 2^shift`, the mantissa being 2^30 to 2^31 - 1, or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Multiplier {
    /// Q31.
    pub mantissa: i32,
    /// Places to the left; -31 to 30.
    pub shift: i32,
}

impl Multiplier {
    /// The multiplier nearest to `real`, ties away from zero: `QuantizeMultiplier`. Factors below 2^-32 are
    /// 0; from 2^30 on, the largest.
    ///
    /// Negative factors, infinities and NaN have no multiplier: they give 0.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::affine::Multiplier;
    /// assert_eq!(Multiplier::from_f64(0.75), Multiplier { mantissa: 3 << 29, shift: 0 });
    /// assert_eq!(Multiplier::from_f64(3.0), Multiplier { mantissa: 3 << 29, shift: 2 });
    /// ```
    #[must_use]
    pub fn from_f64(real: f64) -> Self {
        if !(real > 0.0 && real < f64::INFINITY) {
            return Self::default();
        }
        let (significand, mut shift) = libm::frexp(real);
        let mut mantissa = libm::round(significand * 2_147_483_648.0) as i64;
        if mantissa == 1 << 31 {
            mantissa /= 2;
            shift += 1;
        }
        if shift < -31 {
            return Self::default();
        }
        if shift > 30 {
            return Self {
                mantissa: i32::MAX,
                shift: 30,
            };
        }
        Self {
            mantissa: mantissa as i32, // below 2^31
            shift,
        }
    }

    /// Whether the kernels take it: a mantissa of 0 or more, a shift in range.
    pub(crate) const fn is_valid(self, largest_shift: i32) -> bool {
        self.mantissa >= 0 && self.shift >= -31 && self.shift <= largest_shift
    }

    /// The product with a 32-bit accumulator. Saturates where TensorFlow Lite's result is undefined.
    #[must_use]
    #[inline(always)]
    pub const fn apply(self, acc: i32, rounding: Rounding) -> i32 {
        match rounding {
            Rounding::Double => self.twice(acc),
            Rounding::Single => self.once(acc),
        }
    }

    /// `RoundingDivideByPOT(SaturatingRoundingDoublingHighMul(acc << left, mantissa), right)`.
    #[inline(always)]
    const fn twice(self, acc: i32) -> i32 {
        if self.shift <= 0 {
            return self.twice_down(acc);
        }
        let up = Self { shift: 0, ..self };
        up.twice_down(saturate((acc as i64) << (self.shift & 31)))
    }

    /// The same where nothing is shifted left.
    #[inline(always)]
    pub(crate) const fn twice_down(self, acc: i32) -> i32 {
        // Rounding half up is what the C code's nudge, of the product's sign, and its division, which cuts off
        // towards zero, come to. It fits: the mantissa is not -2^31.
        let high = ((acc as i64 * self.mantissa as i64 + (1 << 30)) >> 31) as i32;
        let right = self.shift.wrapping_neg() & 31;
        let mask = (1i32 << right).wrapping_sub(1);
        let threshold = (mask >> 1) + (high < 0) as i32;
        (high >> right) + ((high & mask) > threshold) as i32
    }

    /// `(acc · mantissa + half) >> (31 - shift)`.
    #[inline(always)]
    const fn once(self, acc: i32) -> i32 {
        let shift = 31i32.wrapping_sub(self.shift) & 63; // 1 to 62
        let half = if shift == 0 { 0 } else { 1i64 << (shift - 1) };
        saturate((acc as i64 * self.mantissa as i64).saturating_add(half) >> shift)
    }

    /// The product with a 64-bit accumulator, as both of TensorFlow Lite's roundings compute it: the
    /// mantissa is rounded to 16 bits, the product rounded once, ties up. The accumulator is cut to
    /// 48 bits.
    #[must_use]
    #[inline(always)]
    pub const fn apply_wide(self, acc: i64) -> i32 {
        const LIMIT: i64 = (1 << 47) - 1;
        let acc = if acc > LIMIT {
            LIMIT
        } else if acc < -LIMIT {
            -LIMIT
        } else {
            acc
        };
        let mantissa = if self.mantissa < 0x7FFF_0000 {
            (self.mantissa + (1 << 15)) >> 16
        } else {
            0x7FFF
        };
        let shift = 15i32.wrapping_sub(self.shift) & 63; // 8 to 46
        let half = if shift == 0 { 0 } else { 1i64 << (shift - 1) };
        saturate((acc * mantissa as i64).saturating_add(half) >> shift)
    }
}

/// Clamps to 32 bits.
#[inline(always)]
pub(crate) const fn saturate(x: i64) -> i32 {
    if x > i32::MAX as i64 {
        i32::MAX
    } else if x < i32::MIN as i64 {
        i32::MIN
    } else {
        x as i32
    }
}

/// An activation that is a clamp of the stored integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fused {
    /// None.
    #[default]
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `min(max(x, -1), 1)`.
    ReluN1To1,
}

impl Fused {
    /// The smallest and the largest integer that may be stored, for an output of this scale and zero
    /// point within `low..=high`: `CalculateActivationRangeQuantized`.
    #[must_use]
    pub fn clamp(self, scale: f32, zero: i32, low: i32, high: i32) -> (i32, i32) {
        let quantize = |real: f32| zero.saturating_add(libm::roundf(real / scale) as i32);
        let (low, high) = match self {
            Self::Identity => (low, high),
            Self::Relu => (low.max(quantize(0.0)), high),
            Self::Relu6 => (low.max(quantize(0.0)), high.min(quantize(6.0))),
            Self::ReluN1To1 => (low.max(quantize(-1.0)), high.min(quantize(1.0))),
        };
        (low, high)
    }
}
