//! Tensors side by side along an axis, and apart again.

use crate::axes::{Extents, Operand};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::fixed::{Accumulator, Rounding};
use crate::split::{rows_of, rows_of_mut};

/// The extents of tensors side by side along `axis`.
///
/// # Errors
/// [`Error::Extents`] if the parts differ along another axis, [`Error::Axis`],
/// [`Error::Zero`] for no parts, [`Error::Overflow`].
pub fn concat_extents<T>(axis: usize, parts: &[Operand<'_, T>]) -> Result<Extents> {
    let Some(first) = parts.first() else {
        return Err(Error::Zero { arg: Arg::Parts });
    };
    let mut sum = 0usize;
    for part in parts {
        if part.extents.rank() != first.extents.rank() {
            return Err(Error::Extents {
                expected: first.extents,
                got: part.extents,
            });
        }
        let extent = part.extents.get(axis)?;
        let expected = first.extents.with(axis, extent)?;
        if expected != part.extents {
            return Err(Error::Extents {
                expected,
                got: part.extents,
            });
        }
        sum = sum.checked_add(extent).ok_or(Arg::Shape.overflow())?;
    }
    first.extents.with(axis, sum)
}

/// Tensors side by side along an axis.
///
/// | argument | shape | |
/// |---|---|---|
/// | `parts` | equal but for `axis` | |
/// | `out` | [`concat_extents`] | overwritten |
///
/// Returns the exponent of `out`: the largest of the parts', to which the others are shifted, to
/// nearest even; there is no exponent state. Floats are copied, and the result is the largest
/// exponent all the same.
///
/// The gradient is [`split()`].
///
/// # Errors
/// Those of [`concat_extents`], [`Error::Length`]; `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{axes::{Extents, Operand}, layout};
/// let a = Operand { values: &[1i8, 2], extents: Extents::new(&[2, 1])?, exponent: 0 };
/// let b = Operand { values: &[4, 6, 8, 9], extents: Extents::new(&[2, 2])?, exponent: -1 };
/// let mut out = [0; 6];
/// assert_eq!(layout::concat(1, &[a, b], &mut out)?, 0);
/// assert_eq!(out, [1, 2, 3, 2, 4, 4]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: `docs/numerics.md` §13.
pub fn concat<T: Element>(axis: usize, parts: &[Operand<'_, T>], out: &mut [T]) -> Result<i32> {
    let extents = concat_extents(axis, parts)?;
    for part in parts {
        Arg::Parts.check_len(part.values.len(), &[part.extents.elements()])?;
    }
    Arg::Out.check_len(out.len(), &[extents.elements()])?;
    let [_, all, inner] = extents.around(axis)?;
    let exponent = parts.iter().map(|part| part.exponent).max().unwrap_or(0);
    let mut start = 0;
    for part in parts {
        let len = part.extents.get(axis)? * inner;
        let shift = exponent - part.exponent;
        for (from, to) in rows_of(part.values, len).zip(rows_of_mut(out, all * inner)) {
            let to = to.get_mut(start..start + len).unwrap_or_default();
            for (to, &from) in to.iter_mut().zip(from) {
                *to = if shift == 0 || !T::DTYPE.is_integer() {
                    from
                } else {
                    T::store(from.to_acc().shift(shift, Rounding::NearestEven, 0))
                };
            }
        }
        start += len;
    }
    Ok(exponent)
}

/// A tensor in parts along an axis: the inverse of [`concat()`], and its gradient. The exponent
/// stays.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `extents` | |
/// | `parts` | as `x` but for `axis` | overwritten; their lengths tell their extents along `axis` |
///
/// # Errors
/// [`Error::Length`] if a part is no whole number of rows or together they are not as long as `x`,
/// [`Error::Axis`]; the parts are then untouched.
///
/// Source: the definition.
pub fn split<T: Element>(
    extents: Extents,
    axis: usize,
    x: &[T],
    parts: &mut [&mut [T]],
) -> Result<()> {
    let [outer, all, inner] = extents.around(axis)?;
    Arg::X.check_len(x.len(), &[extents.elements()])?;
    let unit = outer * inner;
    let mut sum = 0usize;
    for part in &*parts {
        let extent = part.len().checked_div(unit).unwrap_or(0).max(1);
        Arg::Parts.check_len(part.len(), &[extent, unit])?;
        sum = sum.saturating_add(part.len());
    }
    Arg::Parts.check_len(sum, &[extents.elements()])?;
    let mut start = 0;
    for part in parts {
        let len = part.len().checked_div(outer).unwrap_or(0);
        for (to, from) in rows_of_mut(part, len).zip(rows_of(x, all * inner)) {
            let from = from.get(start..start + len).unwrap_or_default();
            for (to, &from) in to.iter_mut().zip(from) {
                *to = from;
            }
        }
        start += len;
    }
    Ok(())
}
