//! Softmax over the allowed elements of a row.

use super::number::Number;
use super::rows::{Backward, Forward, Rule};
use super::{Errors, Logits, Shape, Temperature};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::split::rows_of;

/// Which elements take part.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    allowed: &'a [bool],
    rows: usize,
    classes: usize,
}

impl<'a> Mask<'a> {
    fn new(shape: Shape, allowed: &'a [bool]) -> Result<Self> {
        let Shape { rows, classes } = shape;
        let given = allowed.len().checked_div(classes).unwrap_or(rows);
        // Fewer rows than the logits have repeat.
        let rests = (allowed.len().checked_rem(classes), rows.checked_rem(given));
        let own = match rests {
            (Some(0), Some(0)) => given,
            _ => rows,
        };
        Arg::Mask.check_len(allowed.len(), &[own, classes])?;
        for (row, allowed) in rows_of(allowed, classes).enumerate() {
            if !allowed.contains(&true) {
                return Err(Error::AllMasked { row });
            }
        }
        Ok(Self {
            allowed,
            rows: own,
            classes,
        })
    }
}

impl Rule for Mask<'_> {
    fn prepare<N: Number>(self, row: usize, z: &mut [N], exponent: i32, temperature: Temperature) {
        let row = row.checked_rem(self.rows).unwrap_or(0);
        let start = row.saturating_mul(self.classes);
        let allowed = self.allowed.get(start..).unwrap_or_default();
        for (z, &is_allowed) in z.iter_mut().zip(allowed) {
            if !is_allowed {
                *z = N::LEFT_OUT;
            }
        }
        N::softmax(z, exponent, temperature, 0);
    }

    #[inline(always)]
    fn takes(self, row: usize, place: usize) -> bool {
        let row = row.checked_rem(self.rows).unwrap_or(0);
        let at = row.saturating_mul(self.classes).saturating_add(place);
        self.allowed.get(at).copied().unwrap_or(false)
    }
}

/// Masked softmax, forward: the softmax of the elements that `allowed` marks; the others are exactly 0,
/// whatever their logits, NaN included. Where an allowed one makes the row NaN, all of it is.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits.x` | `[R, N]` | |
/// | `allowed` | `[P, N]` | at least one of each row; of `P` rows that divide `R`, row `r % P` holds for row `r` |
/// | `out` | `[R, N]` | overwritten; integers at the exponent `-M` |
/// | `scratch` | [`scratch_len`](super::scratch_len) | |
///
/// # Errors
/// [`Error::AllMasked`] for a row with nothing allowed, and as [`softmax::forward`](super::forward).
///
/// # Example
/// ```
/// use selvedge_kernels::softmax::{Logits, Shape, masked};
/// let logits = Logits::new(&[1.0f32, f32::NAN, 1.0], 0);
/// let (mut p, mut scratch) = ([9.0; 3], [0.0; 3]);
/// masked::forward(Shape { rows: 1, classes: 3 }, logits, &[true, false, true], &mut p, &mut scratch)?;
/// assert_eq!(p, [0.5, 0.0, 0.5]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn forward<T: Element>(
    shape: Shape,
    logits: Logits<'_, T>,
    allowed: &[bool],
    out: &mut [T],
    scratch: &mut [T::Number],
) -> Result<()> {
    let mask = Mask::new(shape, allowed)?;
    T::softmax_masked_forward(Forward::new(shape, logits, mask, out, scratch)?);
    Ok(())
}

/// Masked softmax, backward: the gradient of [`softmax::backward`](super::backward) on the allowed set,
/// 0 elsewhere, whatever the errors there, NaN included.
///
/// # Errors
/// [`Error::AllMasked`], and as [`softmax::backward`](super::backward).
pub fn backward<T: Element>(
    shape: Shape,
    logits: Logits<'_, T>,
    allowed: &[bool],
    errors: Errors<'_, T>,
    dx: &mut [T],
    scratch: &mut [T::Number],
) -> Result<u32> {
    let mask = Mask::new(shape, allowed)?;
    Ok(T::softmax_masked_backward(Backward::new(
        shape, logits, mask, errors, dx, scratch,
    )?))
}
