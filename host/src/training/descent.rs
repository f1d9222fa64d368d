//! How fast a network learns.

use selvedge_core::{Rate, Sgd};
use selvedge_digits::halvings;

/// Plain descent, or with momentum, at a rate that is halved after two thirds and after five sixths of the epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descent {
    /// Of one sample.
    rate: Rate,
    momentum: u8,
}

impl Descent {
    /// Descent by `rate` times the mean gradient of batches of `batch` samples, with so much of the velocity kept from step
    /// to step; `None` unless the rate is positive and the momentum at least 0 and below 1.
    ///
    /// Both are stored in 8 bits, as integer training has them: `m · 2^e`, and 256ths.
    ///
    /// # Example
    /// ```
    /// use selvedge::training::Descent;
    /// let descent = Descent::new(0.125, 8, 0.0).unwrap();
    /// let sgd = descent.at(0, 12);
    /// assert_eq!((sgd.rate.mantissa, sgd.rate.exponent), (1, -6));
    /// assert_eq!(descent.at(11, 12).rate.exponent, -8);
    /// assert!(Descent::new(-1.0, 8, 0.0).is_none());
    /// ```
    #[must_use]
    pub fn new(rate: f64, batch: usize, momentum: f64) -> Option<Self> {
        let momentum = (momentum * 256.0).round();
        let is_momentum = (0.0..=255.0).contains(&momentum);
        Some(Self {
            rate: nearest(rate / batch.max(1) as f64)?,
            momentum: is_momentum.then_some(momentum as u8)?,
        })
    }

    /// Whether velocities are kept.
    #[must_use]
    pub const fn has_momentum(&self) -> bool {
        self.momentum != 0
    }

    /// The step of epoch `epoch`, from 0, of `epochs`.
    #[must_use]
    pub const fn at(&self, epoch: u32, epochs: u32) -> Sgd {
        Sgd {
            momentum: self.momentum,
            ..Sgd::new(self.rate.halved(halvings(epoch, epochs)))
        }
    }
}

impl Default for Descent {
    /// As the demo learns: [`selvedge_digits::rate_at`].
    fn default() -> Self {
        Self {
            rate: selvedge_digits::rate_at(0, 1).rate,
            momentum: 0,
        }
    }
}

/// The nearest rate of 8 bits, with the smallest mantissa that is the same number.
fn nearest(rate: f64) -> Option<Rate> {
    const RANGE: std::ops::Range<f64> = 1e-9..1e3; // beyond, nothing is learned
    if !RANGE.contains(&rate) {
        return None;
    }
    let exponent = rate.log2().floor() - 7.0;
    let mantissa = (rate / exponent.exp2()).round() as u16; // 128 to 256
    let zeros = mantissa.trailing_zeros();
    Some(Rate {
        mantissa: (mantissa >> zeros) as u8,
        exponent: exponent as i16 + zeros as i16,
    })
}

#[cfg(test)]
mod tests {
    use super::{Descent, nearest};
    use selvedge_core::Rate;
    use selvedge_digits::{EPOCHS, rate_at};

    #[test]
    fn the_default_is_that_of_the_demo() {
        let descent = Descent::new(0.125, 8, 0.0).unwrap();
        assert_eq!(descent, Descent::default());
        for epoch in 0..EPOCHS {
            assert_eq!(descent.at(epoch, EPOCHS), rate_at(epoch, EPOCHS));
        }
    }

    #[test]
    fn rates_are_the_nearest_of_8_bits() {
        for (rate, mantissa, exponent) in [
            (1.0, 1, 0),
            (0.75, 3, -2),
            (0.1, 205, -11),
            (255.0, 255, 0),
            (255.9, 1, 8),
        ] {
            assert_eq!(nearest(rate), Some(Rate { mantissa, exponent }), "{rate}");
        }
        for i in 1..2000 {
            let rate = f64::from(i) / 700.0;
            let error = nearest(rate).unwrap().to_f64() / rate - 1.0;
            assert!(error.abs() <= 1.0 / 256.0, "{rate}: {error}");
        }
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-30, 1e9] {
            assert_eq!(nearest(rate), None);
        }
        for momentum in [-0.1, 1.0, f64::NAN] {
            assert_eq!(Descent::new(0.1, 8, momentum), None);
        }
        assert_eq!(Descent::new(0.1, 8, 0.9).unwrap().at(0, 1).momentum, 230);
    }
}
