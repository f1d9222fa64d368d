//! Gumbel softmax: a differentiable draw from the distribution of the logits.

use super::number::Number;
use super::rows::{Backward, Forward, Rule};
use super::{Errors, Logits, Shape, Temperature};
use crate::element::Element;
use crate::error::Result;
use crate::rng::Words;

pub use super::integer::gumbel_q16 as noise_q16;

/// What a forward pass puts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The probabilities.
    Soft,
    /// 1 at the largest noisy logit, the first of several, and 0 elsewhere. The gradient is that of
    /// the soft form (straight-through).
    Hard,
}

/// The noise of a call.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    words: Option<Words>,
    form: Form,
    classes: usize,
}

impl Noise {
    fn add<N: Number>(self, row: usize, z: &mut [N], exponent: i32) -> i32 {
        match self.words {
            Some(words) => {
                let first = row.saturating_mul(self.classes) as u32; // elements are counted in 32 bits
                N::add_noise(z, exponent, words, first)
            }
            None => exponent,
        }
    }
}

impl Rule for Noise {
    fn prepare<N: Number>(self, row: usize, z: &mut [N], exponent: i32, temperature: Temperature) {
        let exponent = self.add(row, z, exponent);
        N::softmax(z, exponent, temperature, 0);
    }

    fn prepare_forward<N: Number>(
        self,
        row: usize,
        z: &mut [N],
        exponent: i32,
        temperature: Temperature,
    ) {
        match self.form {
            Form::Soft => self.prepare(row, z, exponent, temperature),
            Form::Hard => {
                self.add(row, z, exponent);
                let mut largest: Option<N> = None;
                let mut winner = 0;
                for (i, &z) in z.iter().enumerate() {
                    // A NaN wins and stays: there is no draw from such a row, but one is put out.
                    let is_nan = z.partial_cmp(&z).is_none();
                    let is_larger = largest.is_none_or(|largest| z > largest || is_nan);
                    if is_larger && largest.is_none_or(|l| l.partial_cmp(&l).is_some()) {
                        (largest, winner) = (Some(z), i);
                    }
                }
                for (i, z) in z.iter_mut().enumerate() {
                    *z = if i == winner { N::ONE } else { N::default() };
                }
            }
        }
    }
}

/// Gumbel softmax, forward: `softmax((z + G) / T)`, `G = -ln(-ln u)`, `u = (word + 1/2) / 2^32` of the
/// element's word. Without `words`, as at inference, there is no noise.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits.x` | `[R, N]` | |
/// | `words` | | of (seed, stream, step); the element's index is its row-major place |
/// | `out` | `[R, N]` | overwritten; integers at the exponent `-M` |
/// | `scratch` | [`scratch_len`](super::scratch_len) | |
///
/// Integers: logits and noise are summed in steps of 2^-11, the logits clamped to ±2^17; noise is
/// [`noise_q16`], within 0.0005 of the true value before it is rounded to that step. Floats: the noise
/// in `f64`. A NaN makes its row NaN; in the hard form the first NaN is chosen.
///
/// # Errors
/// As [`softmax::forward`](super::forward).
///
/// # Example
/// ```
/// use selvedge_kernels::{rng::Words, softmax::{Logits, Shape, gumbel::{self, Form}}};
/// let logits = Logits::new(&[0i8, 0, 0, 0], -4);
/// let (mut draw, mut scratch) = ([0; 4], [0; 4]);
/// let words = Words::new(1, 2, 3);
/// gumbel::forward(Shape { rows: 1, classes: 4 }, logits, Some(words), Form::Hard, &mut draw, &mut scratch)?;
/// assert_eq!(draw.iter().filter(|&&p| p == 127).count(), 1);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017.
pub fn forward<T: Element>(
    shape: Shape,
    logits: Logits<'_, T>,
    words: Option<Words>,
    form: Form,
    out: &mut [T],
    scratch: &mut [T::Number],
) -> Result<()> {
    let noise = Noise {
        words,
        form,
        classes: shape.classes,
    };
    T::softmax_noisy_forward(Forward::new(shape, logits, noise, out, scratch)?);
    Ok(())
}

/// Gumbel softmax, backward, of either form: `J(p) g / T` with the probabilities of the soft form, the
/// noise being drawn again from the same `words`.
///
/// # Errors
/// As [`softmax::backward`](super::backward).
pub fn backward<T: Element>(
    shape: Shape,
    logits: Logits<'_, T>,
    words: Option<Words>,
    errors: Errors<'_, T>,
    dx: &mut [T],
    scratch: &mut [T::Number],
) -> Result<u32> {
    let noise = Noise {
        words,
        form: Form::Soft,
        classes: shape.classes,
    };
    Ok(T::softmax_noisy_backward(Backward::new(
        shape, logits, noise, errors, dx, scratch,
    )?))
}
