//! Rows of integers: numerators by table, probabilities in Q15, thresholds by bisection, no float.
//!
//! Source: `docs/numerics.md` §18.

use super::number::{Number, private::Sealed};
use super::temperature::{Alpha, Kind, Ratio, Temperature};
use crate::fixed::{shift_rne_i64, shl_sat_i64};
use crate::lut::{self, EXP2_MAX, LN_2_Q16, LOG2_E_Q14};
use crate::rng::Words;

/// Exponent of logits with noise: steps of 2^-11, the table functions' own.
const NOISY: i32 = -11;
/// Largest magnitude of a logit.
const LARGEST: i64 = (1 << 29) - 1;
/// Places after the point of an excess.
const EXCESS: u32 = 24;

/// Distances from the largest logit as octaves in Q16.
struct Octaves {
    /// `log2(e) / T` with 14 places and those of the ratio.
    factor: u64,
    /// From the product's exponent to -16.
    places: i32,
}

impl Octaves {
    fn new(exponent: i32, inverse: Ratio) -> Self {
        // At T = 1 the factor is log2(e) in Q14 and this is the softmax of the loss, to the byte.
        let factor = shift_rne_i64(i64::from(LOG2_E_Q14) * i64::from(inverse.mantissa), 14);
        Self {
            factor: factor as u64, // below 2^17
            places: exponent
                .saturating_sub(i32::from(inverse.shift))
                .saturating_add(16),
        }
    }

    /// `distance` is at most 2^30.
    #[inline(always)]
    fn of(&self, distance: u32) -> u32 {
        let t = u64::from(distance) * self.factor; // below 2^47
        let t = if self.places >= 0 {
            // From 2^21 on, anything but 0 is too far, and 0 stays 0.
            let places = self.places.min(21) as u32;
            t.min(u64::from(EXP2_MAX)) << places
        } else {
            t >> self.places.unsigned_abs().min(63)
        };
        t.min(u64::from(EXP2_MAX)) as u32
    }
}

fn largest(z: &[i32]) -> i32 {
    z.iter().copied().max().unwrap_or(0)
}

/// `-log2(excess)` in Q16, of an excess of 1 or more.
#[inline(always)]
fn octaves_below_one(excess: u32) -> u32 {
    (EXCESS << 16).saturating_sub(lut::log2(u64::from(excess)))
}

/// `excess^((2 - alpha) / (alpha - 1))` in Q24.
#[inline(always)]
fn slope_q24(excess: u32, alpha: Alpha) -> u32 {
    if excess == 0 {
        return 0;
    }
    match alpha.kind {
        Kind::Softmax | Kind::Sparsemax => 1 << EXCESS,
        Kind::ThreeHalves => excess,
        Kind::General => {
            let Ratio { mantissa, shift } = alpha.power; // at most 2^23: the shift is -9 or more
            let t = u64::from(octaves_below_one(excess)) * u64::from(mantissa); // below 2^36
            let t = if shift >= 0 {
                t >> shift.unsigned_abs().min(63)
            } else {
                t << shift.unsigned_abs().min(27)
            };
            lut::exp2_neg(t.min(u64::from(EXP2_MAX)) as u32) << (EXCESS - 16)
        }
    }
}

impl Sealed for i32 {}

impl Number for i32 {
    type Product = i64;
    type Sum = i64;
    const ONE: Self = 1 << 15;
    const LEFT_OUT: Self = Self::MIN;

    fn softmax(z: &mut [Self], exponent: i32, temperature: Temperature, target: usize) -> i64 {
        let octaves = Octaves::new(exponent, temperature.inverse());
        let largest = largest(z);
        let mut total = 0u32;
        let mut target_octaves = EXP2_MAX;
        for (i, z) in z.iter_mut().enumerate() {
            let mut numerator = 0;
            if *z != Self::LEFT_OUT {
                let t = octaves.of(largest.wrapping_sub(*z) as u32);
                numerator = lut::exp2_neg(t);
                if i == target {
                    target_octaves = t;
                }
            }
            total = total.wrapping_add(numerator); // at most 32,767 · 2^16
            *z = numerator as i32;
        }
        for p in z {
            let numerator = (*p as u32) << 15; // at most 2^31
            *p = (numerator + (total >> 1)).checked_div(total).unwrap_or(0) as i32;
        }
        lut::cross_entropy(total, target_octaves)
    }

    fn excess(z: &mut [Self], exponent: i32, temperature: Temperature, alpha: Alpha) {
        let Ratio { mantissa, shift } = temperature.inverse().times(alpha.gap);
        let largest = largest(z);
        // From the product's exponent to -24.
        let places = exponent
            .saturating_sub(i32::from(shift))
            .saturating_add(EXCESS as i32);
        for z in z.iter_mut() {
            let distance = i64::from(largest) - i64::from(*z);
            let distance = shift_rne_i64(distance * i64::from(mantissa), places.saturating_neg());
            // Beyond 1 nothing is in the support: the largest probability is 1. Left shifts from 62
            // places on give 0 by the definition of the shift, which a distance must not.
            let is_far = places > 61 && largest != *z;
            *z = if is_far {
                1 << EXCESS
            } else {
                distance.min(1 << EXCESS) as i32
            };
        }
        // The largest threshold at which the probabilities sum to 1 or less; the sum grows with it.
        let sum_is_at_most_one = |threshold: u32, distances: &[i32]| {
            let mut rest = 1u64 << (2 * EXCESS);
            distances.iter().all(|&d| {
                let excess = threshold.saturating_sub(d as u32);
                let mass = u64::from(excess) * u64::from(slope_q24(excess, alpha));
                let fits = mass <= rest;
                rest = rest.saturating_sub(mass);
                fits
            })
        };
        let mut threshold = 0u32;
        for bit in (0..=EXCESS).rev() {
            let next = threshold | 1 << bit;
            if next <= 1 << EXCESS && sum_is_at_most_one(next, z) {
                threshold = next;
            }
        }
        for z in z {
            *z = threshold.saturating_sub(*z as u32) as i32;
        }
    }

    #[inline(always)]
    fn mass(self, alpha: Alpha) -> Self {
        if alpha.kind == Kind::Softmax {
            return self;
        }
        let slope = slope_q24(self as u32, alpha);
        shift_rne_i64(i64::from(self) * i64::from(slope), 2 * EXCESS as i32 - 15) as i32
    }

    #[inline(always)]
    fn slope(self, alpha: Alpha) -> Self {
        if alpha.kind == Kind::Softmax {
            return self;
        }
        shift_rne_i64(i64::from(slope_q24(self as u32, alpha)), EXCESS as i32 - 15) as i32
    }

    fn add_noise(z: &mut [Self], exponent: i32, words: Words, first: u32) -> i32 {
        for (z, element) in z.iter_mut().zip(first..) {
            let noise = shift_rne_i64(i64::from(gumbel_q16(words.word(element))), NOISY + 16);
            let logit = shift_rne_i64(i64::from(*z), NOISY - exponent);
            // As above: what is shifted out of the range is large, not 0.
            let logit = if exponent - NOISY > 61 {
                i64::from(z.signum()) * LARGEST
            } else {
                logit
            };
            *z = logit.clamp(-LARGEST / 2, LARGEST / 2) as i32 + noise as i32;
        }
        NOISY
    }

    #[inline(always)]
    fn times(self, probability: Self) -> Self {
        shift_rne_i64(i64::from(self) * i64::from(probability), 15) as i32
    }

    fn mean(pairs: impl Iterator<Item = (Self, Self)>) -> Self {
        let (mut total, mut sum) = (0i64, 0i64);
        for (weight, value) in pairs {
            total += i64::from(weight);
            sum += i64::from(weight) * i64::from(value); // 32 bits; rows have fewer than 2^30 elements
        }
        // To the nearest, halves away from zero: one signed 64-bit division a row.
        let half = if sum < 0 { -(total >> 1) } else { total >> 1 };
        (sum + half).checked_div(total).unwrap_or(0) as i32
    }

    #[inline(always)]
    fn gradient(weight: Self, difference: Self, temperature: Temperature) -> i64 {
        // 16 + 17 + 15 bits.
        i64::from(weight) * i64::from(difference) * i64::from(temperature.inverse().mantissa)
    }

    fn normalise(weights: &mut [Self]) {
        let total: i64 = weights.iter().map(|&w| i64::from(w)).sum();
        for w in weights {
            let numerator = shl_sat_i64(i64::from(*w), 15) + (total >> 1);
            *w = numerator.checked_div(total).unwrap_or(0) as i32;
        }
    }
}

/// Gumbel's noise `-ln(-ln u)`, `u = (word + 1/2) / 2^32`, in Q16: -3.13 to 22.87, within 0.0005 of
/// the true value.
///
/// # Example
/// ```
/// let half = selvedge_kernels::softmax::gumbel::noise_q16(1 << 31);
/// assert_eq!(half, 24_020); // -ln(ln 2) = 0.36651
/// ```
#[must_use]
pub fn gumbel_q16(word: u32) -> i32 {
    let odd = 2 * u64::from(word) + 1; // u in Q33
    let rest = (1 << 33) - odd; // 1 - u
    // -ln u, as a number and its places after the point.
    let (exponential, places) = if rest < 1 << 30 {
        // Near u = 1 the logarithm is a difference of almost equal numbers; its series is not:
        // -ln(1 - v) = v (1 + v/2 + v²/3 + v³/4 + ..), v < 1/8, the rest below v⁴/4.
        let v = rest >> 3; // Q30
        let v2 = (v * v) >> 30;
        let v3 = (v2 * v) >> 30;
        (rest * ((1 << 30) + v / 2 + v2 / 3 + v3 / 4), 63)
    } else {
        (
            (33u64 << 16).saturating_sub(u64::from(lut::log2(odd))) * LN_2_Q16 as u64,
            32,
        )
    };
    let log2 = i64::from(lut::log2(exponential)) - (places << 16);
    (-((log2 * LN_2_Q16 + 32_768) >> 16)) as i32
}
