//! Entmax, from softmax (`alpha` = 1) to sparsemax (`alpha` = 2): maps that give exact zeros.

use super::rows::{Backward, Forward};
use super::{Alpha, Errors, Logits, Shape};
use crate::element::Element;
use crate::error::Result;

/// Entmax, forward: `out_i = [(alpha - 1) z_i / T - τ]₊^(1 / (alpha - 1))`, with the τ that makes the
/// row sum to 1. [`Alpha::SPARSEMAX`] is the Euclidean projection on the simplex.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits.x` | `[R, N]` | |
/// | `out` | `[R, N]` | overwritten; integers at the exponent `-M` |
/// | `scratch` | [`scratch_len`](super::scratch_len) | |
///
/// Integers: the threshold by bisection on 24 bits, exact for the distances in fixed point; a
/// probability is within 2^-14 for `alpha` = 1.5 and 2, and within
/// `2^-14 + p·2^-14 / (alpha - 1)` for others, which take powers from the tables of `2^x` and `log2`.
/// Floats: Newton's method from above, which converges from one side until rounding ends it; exact for
/// `alpha` = 2.
///
/// # Errors
/// As [`softmax::forward`](super::forward).
///
/// # Example
/// ```
/// use selvedge_kernels::softmax::{Alpha, Logits, Shape, entmax};
/// let logits = Logits::new(&[2.0f32, 1.0, 0.1], 0);
/// let (mut p, mut scratch) = ([0.5; 3], [0.0; 3]);
/// entmax::forward(Shape { rows: 1, classes: 3 }, logits, Alpha::SPARSEMAX, &mut p, &mut scratch)?;
/// assert_eq!(p, [1.0, 0.0, 0.0]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: Peters, Niculae & Martins 2019; sparsemax: Martins & Astudillo 2016.
pub fn forward<T: Element>(
    shape: Shape,
    logits: Logits<'_, T>,
    alpha: Alpha,
    out: &mut [T],
    scratch: &mut [T::Number],
) -> Result<()> {
    T::softmax_entmax_forward(Forward::new(shape, logits, alpha, out, scratch)?);
    Ok(())
}

/// Entmax, backward: `dx = s ⊙ (g - ⟨s, g⟩ / Σ s) / T`, `s_i = p_i^(2 - alpha)` on the support and 0
/// elsewhere; for sparsemax `g` less its mean over the support.
///
/// Arguments, result and exponent are those of [`softmax::backward`](super::backward).
///
/// # Errors
/// As [`softmax::backward`](super::backward).
pub fn backward<T: Element>(
    shape: Shape,
    logits: Logits<'_, T>,
    alpha: Alpha,
    errors: Errors<'_, T>,
    dx: &mut [T],
    scratch: &mut [T::Number],
) -> Result<u32> {
    Ok(T::softmax_entmax_backward(Backward::new(
        shape, logits, alpha, errors, dx, scratch,
    )?))
}
