//! What the variants are written in: probabilities and logits of one row, as Q15 integers or as
//! floats. Each operation stands once for all integer types, in `integer.rs`, and once for each float
//! accumulator, in `float.rs`.

use super::temperature::{Alpha, Temperature};
use crate::element::Blank;
use crate::loss::Sum;
use crate::rng::Words;
use core::ops::{Add, Sub};

/// A logit, a probability or an error of one row.
///
/// | | integers: `i32` | floats |
/// |---|---|---|
/// | logit | at an exponent, at most 2^29 | the number |
/// | probability | Q15: 0 to 32,768 | the number |
/// | error | 15 bits of the gradient that arrives | the number |
pub trait Number:
    Blank
    + bytemuck::Pod
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + private::Sealed
{
    /// Weight, difference and `1 / T` multiplied: 64 bits for integers.
    type Product;
    /// What the logarithms of probabilities are summed in.
    type Sum: Sum;
    /// Probability 1.
    const ONE: Self;
    /// A logit that takes no part.
    const LEFT_OUT: Self;

    /// Logits to probabilities, in place; returns `-ln` of that of element `target`, or of the last.
    fn softmax(z: &mut [Self], exponent: i32, temperature: Temperature, target: usize)
    -> Self::Sum;

    /// Logits to their excess over the threshold of [`Alpha`], in place.
    fn excess(z: &mut [Self], exponent: i32, temperature: Temperature, alpha: Alpha);

    /// The probability of an excess.
    fn mass(self, alpha: Alpha) -> Self;

    /// The weight of an excess in the Jacobian, `p^(2 - alpha)`.
    fn slope(self, alpha: Alpha) -> Self;

    /// Adds Gumbel's noise to logits at `exponent`; `first` is the index of the first. Returns the
    /// exponent of the sums.
    fn add_noise(z: &mut [Self], exponent: i32, words: Words, first: u32) -> i32;

    /// Times a probability.
    #[must_use]
    fn times(self, probability: Self) -> Self;

    /// The mean of values under weights, in pairs `(weight, value)`; the weights need not sum to 1. Zero if they
    /// sum to zero.
    fn mean(pairs: impl Iterator<Item = (Self, Self)>) -> Self;

    /// `weight · difference / T`, a gradient before it is stored.
    fn gradient(weight: Self, difference: Self, temperature: Temperature) -> Self::Product;

    /// Weights to probabilities, in place: each over the sum of all.
    fn normalise(weights: &mut [Self]);
}

pub(crate) mod private {
    pub trait Sealed {}
}
