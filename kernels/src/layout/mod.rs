//! Moving elements: other orders of axes, parts, edges, joins. Reshaping moves nothing and needs no
//! kernel; a stitch is a [dense layer](crate::dense) without activation.

mod concat;
mod gather;
mod pad;

pub use concat::{concat, concat_extents, split};
pub use gather::{Gather, gather, gather_backward};
pub use pad::{Pad, Padded, Padding, PaddingMode, pad, pad_backward};

use crate::axes::{Extents, MAX_RANK, Walk};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use core::mem::take;

/// The order of axes that undoes `order`: its inverse permutation, which is also how a gradient
/// goes back. What is beyond the axes is 0.
///
/// # Errors
/// [`Error::Rank`] for more than six axes, [`Error::Axis`] if `order` is no permutation.
///
/// # Example
/// ```
/// use selvedge_kernels::layout::inverse;
/// assert_eq!(inverse(&[1, 2, 0])?[..3], [2, 0, 1]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn inverse(order: &[usize]) -> Result<[usize; MAX_RANK]> {
    let rank = order.len();
    if rank > MAX_RANK {
        return Err(Error::Rank { rank });
    }
    let mut inverse = [0; MAX_RANK];
    let mut seen = [false; MAX_RANK];
    for (to, &from) in order.iter().enumerate() {
        let places = inverse.get_mut(from).zip(seen.get_mut(from));
        match places {
            Some((place, seen)) if from < rank && !*seen => (*place, *seen) = (to, true),
            _ => return Err(Error::Axis { axis: from, rank }),
        }
    }
    Ok(inverse)
}

/// Axes in another order: axis `i` of `out` is axis `order[i]` of `x`. The exponent stays.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `extents` |
/// | `out` | `extents` in the order of `order`, overwritten |
///
/// Returns the extents of `out`. The gradient is the same with [`inverse`] of `order`.
///
/// # Errors
/// [`Error::Axis`] if `order` does not name each axis once, [`Error::Length`]; `out` is then
/// untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{axes::Extents, exec::Serial, layout};
/// let mut out = [0i8; 6];
/// layout::permute(&Serial, Extents::new(&[2, 3])?, &[1, 0], &[1, 2, 3, 4, 5, 6], &mut out)?;
/// assert_eq!(out, [1, 4, 2, 5, 3, 6]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definition.
pub fn permute<T: Element>(
    exec: &impl Executor,
    extents: Extents,
    order: &[usize],
    x: &[T],
    out: &mut [T],
) -> Result<Extents> {
    inverse(order)?;
    if order.len() != extents.rank() {
        return Err(Error::Axes {
            expected: extents.rank(),
            got: order.len(),
        });
    }
    let (own, own_steps) = (extents.padded(), extents.steps());
    let (mut ordered, mut steps) = ([1; MAX_RANK], [0; MAX_RANK]);
    let leading = MAX_RANK - extents.rank();
    for ((to, step), &axis) in ordered.iter_mut().zip(&mut steps).skip(leading).zip(order) {
        let place = extents.place(axis)?;
        *to = own.get(place).copied().unwrap_or(1);
        *step = own_steps.get(place).copied().unwrap_or(0);
    }
    Arg::X.check_len(x.len(), &[extents.elements()])?;
    Arg::Out.check_len(out.len(), &[extents.elements()])?;
    copy(exec, Walk::new(ordered, [steps], [0]), x, out);
    Extents::new(ordered.get(leading..).unwrap_or_default())
}

/// Part of an axis, as in Python: from `start` on, before `stop`, every `step`-th element.
/// Negative positions count from the end; those beyond an end are cut off. A negative step goes
/// backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first; `None` for the first in the direction of the step.
    pub start: Option<isize>,
    /// Where to end, itself left out; `None` for beyond the last.
    pub stop: Option<isize>,
    /// Distance of elements, not 0.
    pub step: isize,
}

impl core::fmt::Display for Range {
    /// As in Python: `start:stop:step`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if let Some(start) = self.start {
            write!(f, "{start}")?;
        }
        f.write_str(":")?;
        if let Some(stop) = self.stop {
            write!(f, "{stop}")?;
        }
        write!(f, ":{}", self.step)
    }
}

impl Range {
    /// The whole axis.
    pub const ALL: Self = Self {
        start: None,
        stop: None,
        step: 1,
    };

    /// The first element and the number of elements on an axis of `extent`; none for step 0.
    fn resolve(self, extent: usize) -> Option<(usize, usize)> {
        let n = extent as isize; // extents fit 32 bits
        let backwards = self.step < 0;
        // Where a position may lie: 0 to n forwards, -1 to n - 1 backwards.
        let (low, high) = if backwards { (-1, n - 1) } else { (0, n) };
        let place = |at: isize| {
            let at = if at < 0 { at.saturating_add(n) } else { at };
            at.max(low).min(high) // `clamp` may panic
        };
        let (first, end) = if backwards { (high, low) } else { (low, high) };
        let start = self.start.map_or(first, place);
        let stop = self.stop.map_or(end, place);
        let distance = if backwards {
            start - stop
        } else {
            stop - start
        };
        if distance <= 0 {
            return None;
        }
        let step = self.step.unsigned_abs();
        let len = (distance as usize - 1).checked_div(step)? + 1;
        Some((start as usize, len))
    }
}

/// What a slice takes of each axis.
fn slices(extents: &Extents, ranges: &[Range]) -> Result<(Extents, Walk<1>)> {
    let rank = extents.rank();
    if ranges.len() != rank {
        return Err(Error::Axes {
            expected: rank,
            got: ranges.len(),
        });
    }
    let leading = MAX_RANK - rank;
    let (mut lens, mut steps, mut offset) = ([1; MAX_RANK], extents.steps(), 0usize);
    let places = lens.iter_mut().zip(&mut steps).skip(leading);
    for ((axis, (len, step)), (&range, extent)) in
        places.enumerate().zip(ranges.iter().zip(extents.iter()))
    {
        let (start, taken) = range.resolve(extent).ok_or(Error::Range {
            axis,
            extent,
            range,
        })?;
        *len = taken;
        offset = offset.wrapping_add(start.wrapping_mul(*step));
        *step = step.wrapping_mul(range.step as usize); // two's complement
    }
    let sliced = Extents::new(lens.get(leading..).unwrap_or_default())?;
    Ok((sliced, Walk::new(lens, [steps], [offset])))
}

/// The extents of a slice.
///
/// # Errors
/// [`Error::Range`] for step 0 or an empty slice, [`Error::Axes`] unless there is one range for
/// each axis.
pub fn slice_extents(extents: Extents, ranges: &[Range]) -> Result<Extents> {
    Ok(slices(&extents, ranges)?.0)
}

/// Part of a tensor: one [`Range`] for each axis. The exponent stays.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `extents` |
/// | `out` | [`slice_extents`], overwritten |
///
/// # Errors
/// [`Error::Range`] for step 0 or an empty slice, [`Error::Axes`] unless there is one range for
/// each axis, [`Error::Length`]; `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{axes::Extents, exec::Serial, layout::{self, Range}};
/// let every_other_backwards = Range { step: -2, ..Range::ALL };
/// let mut out = [0i8; 3];
/// layout::slice(&Serial, Extents::new(&[5])?, &[every_other_backwards], &[0, 1, 2, 3, 4], &mut out)?;
/// assert_eq!(out, [4, 2, 0]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: Python's slices.
pub fn slice<T: Element>(
    exec: &impl Executor,
    extents: Extents,
    ranges: &[Range],
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    let (sliced, walk) = slices(&extents, ranges)?;
    Arg::X.check_len(x.len(), &[extents.elements()])?;
    Arg::Out.check_len(out.len(), &[sliced.elements()])?;
    copy(exec, walk, x, out);
    Ok(())
}

/// Gradient of [`slice()`]: errors go where their elements came from, the others get 0. The exponent
/// stays.
///
/// | argument | shape |
/// |---|---|
/// | `dy` | [`slice_extents`] |
/// | `dx` | `extents`, overwritten |
///
/// # Errors
/// Those of [`slice()`]; `dx` is then untouched.
///
/// Source: the derivative of [`slice()`].
pub fn slice_backward<T: Element>(
    extents: Extents,
    ranges: &[Range],
    dy: &[T],
    dx: &mut [T],
) -> Result<()> {
    let (sliced, mut walk) = slices(&extents, ranges)?;
    Arg::Dy.check_len(dy.len(), &[sliced.elements()])?;
    Arg::Dx.check_len(dx.len(), &[extents.elements()])?;
    dx.fill(T::ZERO);
    for &dy in dy {
        let [at] = walk.next();
        if let Some(dx) = dx.get_mut(at) {
            *dx = dy;
        }
    }
    Ok(())
}

/// Fills `out` with the elements of `x` that `walk` visits.
pub(crate) fn copy<T: Element>(exec: &impl Executor, walk: Walk<1>, x: &[T], out: &mut [T]) {
    exec::rows(exec, out, 1, |first, out| {
        T::layout_copy(Moved {
            walk: walk.from(first),
            x,
            out,
        });
        0
    });
}

/// Some elements of a copy.
pub struct Moved<'a, T> {
    walk: Walk<1>,
    x: &'a [T],
    out: &'a mut [T],
}

impl<T: Element> Moved<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self {
            mut walk,
            x,
            mut out,
        } = self;
        let [step] = walk.inner_steps();
        while !out.is_empty() {
            let ([at], len) = walk.run(out.len());
            let Some((row, rest)) = take(&mut out).split_at_mut_checked(len.max(1)) else {
                break;
            };
            out = rest;
            if step == 1 {
                let from = at..at.wrapping_add(len);
                if let Some(from) = x.get(from).filter(|from| from.len() == row.len()) {
                    for (to, &from) in row.iter_mut().zip(from) {
                        *to = from;
                    }
                }
            } else {
                let mut at = at;
                for to in row {
                    if let Some(&from) = x.get(at) {
                        *to = from;
                    }
                    at = at.wrapping_add(step);
                }
            }
        }
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn layout_copy(call: Moved<'_, Self>);
    #[doc(hidden)]
    fn layout_pad(call: Pad<'_, Self>);
    #[doc(hidden)]
    fn layout_pad_backward(call: Padded<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn layout_gather_backward(call: Gather<'_, Self>) -> u32
    where
        Self: Element;
}

macro_rules! impl_kernels {
    ($($t:ty)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn layout_copy(call: Moved<'_, Self>) {
                call.run();
            }

            #[inline(never)]
            fn layout_pad(call: Pad<'_, Self>) {
                call.run();
            }

            #[inline(never)]
            fn layout_pad_backward(call: Padded<'_, Self>) -> u32 {
                call.run()
            }

            #[inline(never)]
            fn layout_gather_backward(call: Gather<'_, Self>) -> u32 {
                call.run()
            }
        }
    )*};
}

impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64 }
