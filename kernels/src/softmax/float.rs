//! Rows of floats, in the accumulator's type.

use super::number::{Number, private::Sealed};
use super::temperature::{Alpha, Kind, Temperature};
use crate::rng::Words;

macro_rules! impl_float {
    ($($t:ident: exp $exp:ident, ln $ln:ident, pow $pow:ident;)*) => {$(
        impl Sealed for $t {}

        impl Number for $t {
            type Product = $t;
            type Sum = $t;
            const ONE: Self = 1.0;
            const LEFT_OUT: Self = $t::NEG_INFINITY;

            fn softmax(z: &mut [Self], _: i32, temperature: Temperature, target: usize) -> $t {
                let t = $t::from(temperature.value());
                let largest = z.iter().copied().fold($t::NEG_INFINITY, $t::max);
                let mut total = 0.0;
                let mut distance = $t::INFINITY;
                for (i, z) in z.iter_mut().enumerate() {
                    let d = (*z - largest) / t;
                    if i == target {
                        distance = d;
                    }
                    *z = libm::$exp(d);
                    total += *z;
                }
                for p in z {
                    *p /= total;
                }
                libm::$ln(total) - distance
            }

            fn excess(z: &mut [Self], _: i32, temperature: Temperature, alpha: Alpha) {
                let gap = $t::from(alpha.value()) - 1.0;
                let power = 1.0 / gap;
                let factor = gap / $t::from(temperature.value());
                let largest = z.iter().copied().fold($t::NEG_INFINITY, $t::max);
                let mut is_bad = false;
                for z in z.iter_mut() {
                    *z = (largest - *z) * factor;
                    is_bad |= z.is_nan();
                }
                if is_bad {
                    return z.fill($t::NAN);
                }
                // The sum of probabilities less 1 is a convex, rising function of the threshold, and
                // not negative at 1. From there Newton's steps fall towards the root without passing
                // it; they end where rounding does. For alpha = 2 a step is the exact threshold of the
                // support so far.
                let mut threshold: $t = 1.0;
                for _ in 0..z.len().saturating_add(MOST_STEPS) {
                    let (mut sum, mut slopes) = (0.0, 0.0);
                    for &d in z.iter() {
                        if d < threshold {
                            let slope = (threshold - d).slope(alpha);
                            sum += (threshold - d) * slope;
                            slopes += slope;
                        }
                    }
                    let next = threshold - (sum - 1.0) / (slopes * power);
                    let is_lower = next < threshold; // not for NaN
                    if !is_lower {
                        break;
                    }
                    threshold = next;
                }
                for d in z {
                    *d = (threshold - *d).max(0.0);
                }
            }

            #[inline(always)]
            fn mass(self, alpha: Alpha) -> Self {
                match alpha.kind {
                    Kind::Softmax => self,
                    _ => self * self.slope(alpha),
                }
            }

            #[inline(always)]
            fn slope(self, alpha: Alpha) -> Self {
                let is_out = self <= 0.0;
                match alpha.kind {
                    Kind::Softmax | Kind::ThreeHalves => self,
                    _ if is_out => 0.0,
                    Kind::Sparsemax => if self.is_nan() { self } else { 1.0 },
                    Kind::General => {
                        let alpha = $t::from(alpha.value());
                        libm::$pow(self, (2.0 - alpha) / (alpha - 1.0))
                    }
                }
            }

            fn add_noise(z: &mut [Self], exponent: i32, words: Words, first: u32) -> i32 {
                for (z, element) in z.iter_mut().zip(first..) {
                    // In f64, which holds all words of 32 bits and their distances to 1.
                    let u = (f64::from(words.word(element)) + 0.5) / 4_294_967_296.0;
                    *z += -libm::log(-libm::log(u)) as $t;
                }
                exponent
            }

            #[inline(always)]
            fn times(self, probability: Self) -> Self {
                self * probability
            }

            fn mean(pairs: impl Iterator<Item = (Self, Self)>) -> Self {
                let (mut total, mut sum): ($t, $t) = (0.0, 0.0);
                for (weight, value) in pairs {
                    total += weight;
                    sum += weight * value;
                }
                if total == 0.0 { 0.0 } else { sum / total }
            }

            #[inline(always)]
            fn gradient(weight: Self, difference: Self, temperature: Temperature) -> $t {
                weight * difference / $t::from(temperature.value())
            }

            fn normalise(weights: &mut [Self]) {
                let total: $t = weights.iter().sum();
                for w in weights {
                    *w /= total;
                }
            }
        }
    )*};
}

/// Steps beyond one for each element that may leave the support. Measured: up to 12 for rows of 1,000.
const MOST_STEPS: usize = 100;

impl_float! {
    f32: exp expf, ln logf, pow powf;
    f64: exp exp, ln log, pow pow;
}
