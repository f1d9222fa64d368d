//! Where the largest and the smallest elements of an axis are, and the `k` largest.

use crate::axes::{Extents, MAX_RANK, Walk};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::reduce::{Extreme, Search};
use half::{bf16, f16};

/// Only NaN differs from itself.
#[inline(always)]
fn is_nan<A: PartialOrd + Copy>(x: A) -> bool {
    #[allow(clippy::eq_op)]
    let differs = x != x;
    differs
}

/// Whether the second of two numbers is taken as the larger one: it is, or it alone is NaN
/// (`docs/numerics.md` §21).
///
/// # Example
/// ```
/// use selvedge_kernels::select::wins;
/// assert!(wins(1, 2) && wins(9.0, f32::NAN) && !wins(2, 2) && !wins(f32::NAN, f32::NAN));
/// ```
#[must_use]
#[inline(always)]
pub fn wins<A: PartialOrd + Copy>(first: A, second: A) -> bool {
    second > first || (is_nan(second) && !is_nan(first))
}

/// The same for the smaller one.
#[inline(always)]
pub(crate) fn loses<A: PartialOrd + Copy>(first: A, second: A) -> bool {
    second < first || (is_nan(second) && !is_nan(first))
}

/// Index of the largest element along an axis: the first of several, or the first NaN.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `extents` |
/// | `out` | `extents` without `axis`, overwritten |
///
/// Indices have no gradient.
///
/// # Errors
/// [`Error::Axis`], [`Error::Length`]; `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{axes::Extents, exec::Serial, select};
/// let mut out = [0; 2];
/// select::argmax(&Serial, Extents::new(&[2, 3])?, 1, &[1i8, 5, 5, 0, -1, -2], &mut out)?;
/// assert_eq!(out, [1, 0]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definition.
pub fn argmax<T: Element>(
    exec: &impl Executor,
    extents: Extents,
    axis: usize,
    x: &[T],
    out: &mut [u32],
) -> Result<()> {
    find(exec, Extreme::Max, extents, axis, x, out)
}

/// Index of the smallest element along an axis; otherwise as [`argmax`]. The first NaN wins.
///
/// # Errors
/// Those of [`argmax`].
pub fn argmin<T: Element>(
    exec: &impl Executor,
    extents: Extents,
    axis: usize,
    x: &[T],
    out: &mut [u32],
) -> Result<()> {
    find(exec, Extreme::Min, extents, axis, x, out)
}

/// A walk over the positions beside an axis, and one along it.
fn walks(extents: &Extents, axis: usize) -> Result<(Walk<1>, Walk<1>)> {
    let mut taken = [false; MAX_RANK];
    if let Some(taken) = taken.get_mut(extents.place(axis)?) {
        *taken = true;
    }
    Ok(Walk::split(extents.padded(), taken, [extents.steps()]))
}

fn find<T: Element>(
    exec: &impl Executor,
    extreme: Extreme,
    extents: Extents,
    axis: usize,
    x: &[T],
    out: &mut [u32],
) -> Result<()> {
    let (outer, inner) = walks(&extents, axis)?;
    let [_, _, step] = extents.around(axis)?;
    Arg::X.check_len(x.len(), &[extents.elements()])?;
    Arg::Out.check_len(out.len(), &[outer.positions()])?;
    exec::rows(exec, out, 1, |first, out| {
        let mut outer = outer.from(first);
        for out in out {
            let start = outer.next();
            let at = T::reduce_extreme(Search {
                x,
                start,
                walk: inner,
                extreme,
            })
            .unwrap_or(start[0]);
            *out = (at - start[0]).checked_div(step).unwrap_or(0) as u32; // below the extent
        }
        0
    });
    Ok(())
}

/// The `k` largest elements along an axis and their indices: the largest first, of equal ones that
/// with the lower index. The exponent stays. NaN counts as larger than every number.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `extents` |
/// | `values` | `extents` with `k` along `axis`, overwritten |
/// | `indices` | the same, overwritten |
///
/// # Errors
/// [`Error::TopK`] if `k` is 0 or more than the axis has, [`Error::Axis`], [`Error::Length`];
/// nothing is then written.
///
/// # Example
/// ```
/// use selvedge_kernels::{axes::Extents, select};
/// let (mut values, mut indices) = ([0i8; 2], [0; 2]);
/// select::top_k(Extents::new(&[4])?, 0, 2, &[1i8, 7, 3, 7], &mut values, &mut indices)?;
/// assert_eq!((values, indices), ([7, 7], [1, 3]));
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definition; by insertion, `k` comparisons an element at most.
pub fn top_k<T: Element>(
    extents: Extents,
    axis: usize,
    k: usize,
    x: &[T],
    values: &mut [T],
    indices: &mut [u32],
) -> Result<()> {
    let kept = check_top_k(&extents, axis, k)?;
    Arg::X.check_len(x.len(), &[extents.elements()])?;
    Arg::Out.check_len(values.len(), &[kept.elements()])?;
    Arg::Indices.check_len(indices.len(), &[kept.elements()])?;
    T::top_k(TopK {
        around: extents.around(axis)?,
        k,
        x,
        values,
        indices,
    });
    Ok(())
}

/// Gradient of the values of [`top_k`]: each error goes where its value came from, the other
/// elements get 0. The exponent stays.
///
/// | argument | shape |
/// |---|---|
/// | `indices` | `extents` with `k` along `axis`; as [`top_k`] gave them |
/// | `dy` | the same |
/// | `dx` | `extents`, overwritten |
///
/// # Errors
/// Those of [`top_k`], and [`Error::Index`] for an index beyond the axis; `dx` is then untouched.
///
/// Source: the derivative of [`top_k`].
pub fn top_k_backward<T: Element>(
    extents: Extents,
    axis: usize,
    k: usize,
    indices: &[u32],
    dy: &[T],
    dx: &mut [T],
) -> Result<()> {
    let kept = check_top_k(&extents, axis, k)?;
    Arg::Indices.check_len(indices.len(), &[kept.elements()])?;
    Arg::Dy.check_len(dy.len(), &[kept.elements()])?;
    Arg::Dx.check_len(dx.len(), &[extents.elements()])?;
    let [_, extent, inner] = extents.around(axis)?;
    check_indices(indices, extent)?;
    dx.fill(T::ZERO);
    let kept = k * inner;
    for (row, (&index, &dy)) in indices.iter().zip(dy).enumerate() {
        let outer = row.checked_div(kept).unwrap_or(0);
        let at = row.checked_rem(inner).unwrap_or(0);
        let place = (outer * extent + index as usize) * inner + at;
        if let Some(dx) = dx.get_mut(place) {
            *dx = dy;
        }
    }
    Ok(())
}

/// The extents with `k` along the axis.
fn check_top_k(extents: &Extents, axis: usize, k: usize) -> Result<Extents> {
    let extent = extents.get(axis)?;
    if k == 0 || k > extent {
        return Err(Error::TopK { k, extent });
    }
    extents.with(axis, k)
}

/// Refuses indices beyond an axis of `extent` elements.
pub(crate) fn check_indices(indices: &[u32], extent: usize) -> Result<()> {
    for (row, &index) in indices.iter().enumerate() {
        if index as usize >= extent {
            return Err(Error::Index {
                row,
                index: index as usize,
                extent,
            });
        }
    }
    Ok(())
}

/// A checked call of [`top_k`].
pub struct TopK<'a, T> {
    /// Positions before the axis, along it, after it.
    around: [usize; 3],
    k: usize,
    x: &'a [T],
    values: &'a mut [T],
    indices: &'a mut [u32],
}

impl<T: Element> TopK<'_, T> {
    #[inline(always)]
    fn run(self) {
        let [outer, extent, inner] = self.around;
        for o in 0..outer {
            for at in 0..inner {
                let from = |i: usize| (o * extent + i) * inner + at;
                let place = |rank: usize| (o * self.k + rank) * inner + at;
                for i in 0..extent {
                    let Some(&value) = self.x.get(from(i)) else {
                        continue;
                    };
                    // From behind: what is smaller moves one place back.
                    let mut rank = i.min(self.k);
                    while rank > 0 {
                        let before = place(rank - 1);
                        let (Some(&kept), Some(&index)) =
                            (self.values.get(before), self.indices.get(before))
                        else {
                            break;
                        };
                        if !wins(kept.widen(), value.widen()) {
                            break;
                        }
                        if rank < self.k {
                            put(self.values, place(rank), kept);
                            put(self.indices, place(rank), index);
                        }
                        rank -= 1;
                    }
                    if rank < self.k {
                        put(self.values, place(rank), value);
                        put(self.indices, place(rank), i as u32);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn put<T>(to: &mut [T], at: usize, value: T) {
    if let Some(to) = to.get_mut(at) {
        *to = value;
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: Sized {
    /// The largest number up to which elements at exponent 0 hold all whole ones.
    const MOST_INDEX: u32;

    /// `index` as an element at exponent 0; the last bits are lost beyond [`Kernels::MOST_INDEX`].
    ///
    /// ```
    /// use selvedge_kernels::select::Kernels;
    /// assert_eq!((u8::MOST_INDEX, u8::from_index(3)), (127, 0x83)); // offset binary
    /// assert_eq!(f32::from_index(3), 3.0);
    /// ```
    fn from_index(index: u32) -> Self;

    #[doc(hidden)]
    fn top_k(call: TopK<'_, Self>);
}

macro_rules! impl_kernels {
    ($($t:ident: most $most:expr, |$index:ident| $from:expr;)*) => {$(
        impl Kernels for $t {
            const MOST_INDEX: u32 = $most;

            #[inline(always)]
            fn from_index($index: u32) -> Self {
                $from
            }

            #[inline(never)]
            fn top_k(call: TopK<'_, Self>) {
                call.run();
            }
        }
    )*};
}

impl_kernels! {
    i8: most 0x7F, |index| index as i8; u8: most 0x7F, |index| index as u8 ^ 0x80;
    i16: most 0x7FFF, |index| index as i16; u16: most 0x7FFF, |index| index as u16 ^ 0x8000;
    i32: most 0xFF_FFFF, |index| index as i32; u32: most 0xFF_FFFF, |index| index ^ 0x8000_0000;
    i64: most u32::MAX, |index| index.into(); u64: most u32::MAX, |index| u64::from(index) ^ (1 << 63);
    f16: most 1 << 11, |index| f16::from_f32(index as f32);
    bf16: most 1 << 8, |index| bf16::from_f32(index as f32);
    f32: most 1 << 24, |index| index as f32; f64: most u32::MAX, |index| index.into();
}
