//! Activations as layers of their own, on stored values, and their gradients.

use crate::element::Element;
use crate::error::{Arg, Result};

/// ReLU in place: `x = max(x, 0)`. The exponent stays. NaN stays.
///
/// # Example
/// ```
/// let mut x = [127u8, 128, 129]; // offset binary: -1, 0, 1
/// selvedge_kernels::activation::relu(&mut x);
/// assert_eq!(x, [128, 128, 129]);
/// ```
pub fn relu<T: Element>(x: &mut [T]) {
    for x in x {
        if x.widen() < T::ZERO.widen() {
            *x = T::ZERO;
        }
    }
}

/// Gradient of ReLU in place: `dy` stays where the output `y` is positive, and is zero elsewhere
/// (the derivative at 0 is taken as 0).
///
/// | argument | shape |
/// |---|---|
/// | `y` | any; the output of the forward pass |
/// | `dy` | the same, overwritten |
///
/// # Errors
/// [`Error::Length`](crate::Error::Length) if the lengths differ; `dy` is then untouched.
pub fn relu_backward<Y: Element, T: Element>(y: &[Y], dy: &mut [T]) -> Result<()> {
    if y.len() != dy.len() {
        return Err(crate::Error::Length {
            arg: Arg::Dy,
            expected: y.len(),
            got: dy.len(),
        });
    }
    let zero = Y::ZERO.widen();
    for (d, &y) in dy.iter_mut().zip(y) {
        let is_active = y.widen() > zero;
        if !is_active {
            *d = T::ZERO;
        }
    }
    Ok(())
}
