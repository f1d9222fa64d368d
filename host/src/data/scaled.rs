//! Samples as the elements of a network.

use super::{Features, Part};
use selvedge_core::Element;
use selvedge_core::train::{Pixels, Samples};

/// Samples whose numbers are divided by powers of two, which brings them between -1 and 1: what all element types stand for.
#[derive(Clone, Debug)]
pub struct Scaled<'a> {
    part: &'a Part,
    /// What each number of a sample is multiplied by, over and over.
    factors: Vec<f64>,
}

impl Part {
    /// The powers of two that numbers are divided by, so that none of this part is larger than 1: one for each number of a
    /// sample where it has one axis, else one for all; none for pixels.
    ///
    /// # Example
    /// ```
    /// use selvedge::data::{Features, Part};
    /// let part = Part {
    ///     file: "flat".into(),
    ///     shape: vec![2],
    ///     features: Features::Numbers(vec![0.1, -80.0, 0.25, 16.0]),
    ///     labels: vec![0, 1],
    /// };
    /// assert_eq!(part.exponents(), [-2, 7]); // 1/4 and 128
    /// ```
    #[must_use]
    pub fn exponents(&self) -> Vec<i16> {
        let Features::Numbers(numbers) = &self.features else {
            return Vec::new();
        };
        let columns = match *self.shape {
            [columns] => columns,
            _ => 1,
        };
        let largest = |column: usize| {
            let numbers = numbers.iter().skip(column).step_by(columns.max(1));
            numbers.fold(0.0f32, |largest, number| largest.max(number.abs()))
        };
        (0..columns)
            .map(|column| exponent(largest(column)))
            .collect()
    }

    /// The samples with their numbers divided by these powers of two: [`Part::exponents`] of what was learned from. As they
    /// are, if there is none.
    #[must_use]
    pub fn scaled(&self, exponents: &[i16]) -> Scaled<'_> {
        let exponents = if exponents.is_empty() {
            &[0]
        } else {
            exponents
        };
        let factors = exponents
            .iter()
            .map(|&exponent| (-f64::from(exponent)).exp2());
        Scaled {
            part: self,
            factors: factors.collect(),
        }
    }
}

/// The smallest power of two that is at least `largest`.
fn exponent(largest: f32) -> i16 {
    if largest == 0.0 {
        return 0;
    }
    let largest = f64::from(largest);
    let exponent = largest.log2().ceil();
    // `log2` may be off by its last bit.
    let exponent = if exponent.exp2() < largest {
        exponent + 1.0
    } else if (exponent - 1.0).exp2() >= largest {
        exponent - 1.0
    } else {
        exponent
    };
    exponent as i16 // -149 to 128
}

impl Samples for Scaled<'_> {
    fn len(&self) -> usize {
        self.part.len()
    }

    fn read<T: Element>(&self, index: usize, x: &mut [T]) -> Option<u16> {
        if x.len() != self.part.features() {
            return None;
        }
        let numbers = match &self.part.features {
            Features::Pixels(pixels) => {
                let labels = &[]; // its own are bytes
                Pixels { pixels, labels }.read(index, x);
                return self.part.labels.get(index).copied();
            }
            Features::Numbers(numbers) => numbers,
        };
        let numbers = numbers.chunks_exact(x.len().max(1)).nth(index)?;
        let unit = (-f64::from(T::PIXEL_EXPONENT)).exp2();
        let factors = self.factors.iter().cycle();
        for ((x, &number), factor) in x.iter_mut().zip(numbers).zip(factors) {
            *x = T::from_f64(f64::from(number) * factor * unit);
        }
        self.part.labels.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{Features, Part, exponent};
    use selvedge_core::train::Samples;

    #[test]
    fn exponents_are_the_smallest_that_hold() {
        for (largest, expected) in [(0.0, 0), (1.0, 0), (1.000_001, 1), (0.5, -1), (96.0, 7)] {
            assert_eq!(exponent(largest), expected, "{largest}");
        }
        for power in -149..=127 {
            let largest = f64::from(power).exp2() as f32;
            assert_eq!(exponent(largest), power as i16);
            assert_eq!(exponent(largest.next_up()), power as i16 + 1);
        }
        assert_eq!(exponent(f32::MAX), 128);
    }

    #[test]
    fn numbers_and_pixels_are_fractions_in_each_type() {
        let part = |features| Part {
            file: "part".into(),
            shape: vec![2],
            features,
            labels: vec![4, 5],
        };
        let numbers = part(Features::Numbers(vec![3.0, -100.0, -4.0, 50.0]));
        let scaled = numbers.scaled(&[2, 7]);
        let (mut bytes, mut floats) = ([0i8; 2], [0.0f32; 2]);
        assert_eq!(scaled.read(0, &mut bytes), Some(4));
        assert_eq!(bytes, [96, -100]);
        assert_eq!(scaled.read(1, &mut floats), Some(5));
        assert_eq!(floats, [-1.0, 50.0 / 128.0]);
        let mut unsigned = [0u8; 2];
        scaled.read(0, &mut unsigned);
        assert_eq!(unsigned, [128 + 96, 28]);
        assert_eq!(numbers.scaled(&[]).read(0, &mut bytes), Some(4));
        assert_eq!(bytes, [127, -127]); // beyond 1, the nearest there is

        let pixels = part(Features::Pixels(vec![0, 255, 128, 64]));
        assert_eq!(
            pixels.scaled(&pixels.exponents()).read(1, &mut floats),
            Some(5)
        );
        assert_eq!(floats, [0.5, 0.25]);
        assert_eq!(pixels.scaled(&[]).read(2, &mut floats), None);
        assert_eq!(pixels.scaled(&[]).read(0, &mut [0i8; 3]), None);
    }
}
