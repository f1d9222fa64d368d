//! Sums, means, maxima and minima over any set of axes, and their gradients.
//!
//! Whether the reduced axes stay, with extent 1, changes no element: [`Shape::outputs`] tells both
//! extents.

use crate::axes::{Extents, MAX_RANK, Walk, taken};
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude};
use crate::long::{Long, Mean};
use crate::requantize::Store;
use crate::select::{loses, wins};

/// What is reduced: the extents of the input, and the axes that disappear.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// Extents of the input.
    pub extents: Extents,
    /// The axes that are reduced, in any order; none twice.
    pub axes: &'a [usize],
}

/// Whether reduced axes stay as axes of extent 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduced {
    /// They stay.
    Keep,
    /// They disappear.
    Drop,
}

impl Shape<'_> {
    /// The extents of the output.
    ///
    /// # Errors
    /// [`Error::Axis`](crate::Error::Axis) for an axis that is not there, or named twice.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::{axes::Extents, reduce::{Reduced, Shape}};
    /// let shape = Shape { extents: Extents::new(&[2, 3, 4])?, axes: &[0, 2] };
    /// assert_eq!(shape.outputs(Reduced::Keep)?, Extents::new(&[1, 3, 1])?);
    /// assert_eq!(shape.outputs(Reduced::Drop)?, Extents::new(&[3])?);
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    pub fn outputs(&self, reduced: Reduced) -> Result<Extents> {
        let taken = taken(&self.extents, self.axes)?;
        let leading = MAX_RANK - self.extents.rank();
        let (mut extents, mut rank) = ([1usize; MAX_RANK], 0);
        let all = self.extents.padded().into_iter().zip(taken);
        for (extent, taken) in all.skip(leading) {
            if taken && reduced == Reduced::Drop {
                continue;
            }
            if let Some(to) = extents.get_mut(rank) {
                *to = if taken { 1 } else { extent };
            }
            rank += 1;
        }
        Extents::new(extents.get(..rank).unwrap_or_default())
    }

    /// A walk over the outputs, in order, and one over what each is made of. The offsets are those
    /// of the input.
    fn walks(&self) -> Result<(Walk<1>, Walk<1>)> {
        let taken = taken(&self.extents, self.axes)?;
        let steps = [self.extents.steps()];
        Ok(Walk::split(self.extents.padded(), taken, steps))
    }
}

/// Sum over axes: `out = store(Σ x)`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `shape.extents` | |
/// | `out` | [`Shape::outputs`] | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest sum (0 for floats), which has the exponent of `x`.
/// Integers are exact up to the store. Floats are summed in row-major order of the reduced
/// axes; the error is at most `n · ε · Σ|x|`. NaN propagates.
///
/// # Errors
/// [`Error::Axis`](crate::Error::Axis), [`Error::Length`](crate::Error::Length),
/// [`Error::Accumulator`](crate::Error::Accumulator) for more terms than the accumulator holds
/// (2^23 for 8 bits). `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{axes::Extents, exec::Serial, reduce::{self, Shape}, requantize::Store};
/// let shape = Shape { extents: Extents::new(&[2, 3])?, axes: &[0] };
/// let mut out = [0i16; 3];
/// reduce::sum(&Serial, shape, &[1i16, 2, 3, 10, 20, 30], Store::EXACT, &mut out)?;
/// assert_eq!(out, [11, 22, 33]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definition.
pub fn sum<T: Element>(
    exec: &impl Executor,
    shape: Shape<'_>,
    x: &[T],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    let (outer, inner) = shape.walks()?;
    Arg::X.check_len(x.len(), &[shape.extents.elements()])?;
    Arg::Out.check_len(out.len(), &[outer.positions()])?;
    crate::dense::limit(inner.positions(), most_terms::<T>(0))?;
    Ok(exec::rows(exec, out, 1, |first, out| {
        T::reduce_sum(Rows {
            outer: outer.from(first),
            inner,
            x,
            store,
            first: first as u32,
            out,
        })
    }))
}

/// Gradient of [`sum`]: every element gets the error of the sum that it went into. The exponent
/// stays.
///
/// | argument | shape |
/// |---|---|
/// | `dy` | [`Shape::outputs`] |
/// | `dx` | `shape.extents`, overwritten |
///
/// It is also what repeats a tensor along axes (broadcasting alone).
///
/// # Errors
/// [`Error::Axis`](crate::Error::Axis), [`Error::Length`](crate::Error::Length); `dx` is then
/// untouched.
///
/// Source: the derivative of [`sum`].
pub fn sum_backward<T: Element>(
    exec: &impl Executor,
    shape: Shape<'_>,
    dy: &[T],
    dx: &mut [T],
) -> Result<()> {
    let walk = spread(shape)?;
    Arg::Dy.check_len(dy.len(), &[shape.outputs(Reduced::Keep)?.elements()])?;
    Arg::Dx.check_len(dx.len(), &[shape.extents.elements()])?;
    crate::layout::copy(exec, walk, dy, dx);
    Ok(())
}

/// A walk over the input; the offsets are those of the output.
fn spread(shape: Shape<'_>) -> Result<Walk<1>> {
    let outputs = shape.outputs(Reduced::Keep)?;
    let mut steps = outputs.steps();
    for (step, taken) in steps.iter_mut().zip(taken(&shape.extents, shape.axes)?) {
        if taken {
            *step = 0;
        }
    }
    Ok(Walk::new(shape.extents.padded(), [steps], [0]))
}

/// Mean over axes: `out = store(Σ x / n)`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `shape.extents` | |
/// | `out` | [`Shape::outputs`] | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest accumulator (0 for floats). Integers multiply the sum by
/// `f = round(2^k / n)`, `k = 15 + bit_len(n - 1)`: the accumulator's exponent is that of `x` less
/// [`mean_places`], and a mean is off by at most 2^-16 of itself before it is stored. Floats divide
/// the sum, which has the order of [`sum`].
///
/// # Errors
/// As [`sum`]; [`Error::Accumulator`](crate::Error::Accumulator) for more than 2^22 terms in 32 bits.
///
/// Source: `docs/numerics.md` §13.
pub fn mean<T: Element>(
    exec: &impl Executor,
    shape: Shape<'_>,
    x: &[T],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    let (outer, inner) = shape.walks()?;
    Arg::X.check_len(x.len(), &[shape.extents.elements()])?;
    Arg::Out.check_len(out.len(), &[outer.positions()])?;
    let limit = most_terms::<T>(0).min(most_terms::<T>(16));
    crate::dense::limit(inner.positions(), limit)?;
    Ok(exec::rows(exec, out, 1, |first, out| {
        T::reduce_mean(Rows {
            outer: outer.from(first),
            inner,
            x,
            store,
            first: first as u32,
            out,
        })
    }))
}

/// How far the exponent of the accumulators of [`mean`] and [`mean_backward`] is below that of
/// what comes in; 0 for floats.
///
/// # Errors
/// [`Error::Axis`](crate::Error::Axis).
pub fn mean_places<T: Element>(shape: Shape<'_>) -> Result<i32> {
    let (_, inner) = shape.walks()?;
    Ok(Mean::of(inner.positions()).places::<T>())
}

/// Gradient of [`mean`]: `dx = store(dy / n)`, the same for all elements of a mean.
///
/// | argument | shape | |
/// |---|---|---|
/// | `dy` | [`Shape::outputs`] | |
/// | `dx` | `shape.extents` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest accumulator (0 for floats): `dy · f`, at the exponent of
/// `dy` less [`mean_places`]. Each element is rounded by its own word.
///
/// # Errors
/// [`Error::Axis`](crate::Error::Axis), [`Error::Length`](crate::Error::Length); `dx` is then
/// untouched.
///
/// Source: the derivative of [`mean`].
pub fn mean_backward<T: Element>(
    exec: &impl Executor,
    shape: Shape<'_>,
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let (outer, inner) = shape.walks()?;
    let walk = spread(shape)?;
    Arg::Dy.check_len(dy.len(), &[outer.positions()])?;
    Arg::Dx.check_len(dx.len(), &[shape.extents.elements()])?;
    let mean = Mean::of(inner.positions());
    Ok(exec::rows(exec, dx, 1, |first, dx| {
        T::reduce_mean_backward(Spread {
            walk: walk.from(first),
            mean,
            dy,
            store,
            first: first as u32,
            dx,
        })
    }))
}

/// Largest element over axes. The exponent stays.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `shape.extents` |
/// | `out` | [`Shape::outputs`], overwritten |
///
/// NaN wins over every number.
///
/// # Errors
/// [`Error::Axis`](crate::Error::Axis), [`Error::Length`](crate::Error::Length); `out` is then
/// untouched.
///
/// Source: the definition.
pub fn max<T: Element>(
    exec: &impl Executor,
    shape: Shape<'_>,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    extreme(exec, Extreme::Max, shape, x, out)
}

/// Smallest element over axes; otherwise as [`max`]. NaN wins over every number.
///
/// # Errors
/// Those of [`max`].
pub fn min<T: Element>(
    exec: &impl Executor,
    shape: Shape<'_>,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    extreme(exec, Extreme::Min, shape, x, out)
}

/// Gradient of [`max`]: the error goes to the first of the largest elements in row-major order, or
/// to the first NaN; the others get 0. The exponent stays.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `shape.extents`; input of the forward pass |
/// | `dy` | [`Shape::outputs`] |
/// | `dx` | `shape.extents`, overwritten |
///
/// # Errors
/// [`Error::Axis`](crate::Error::Axis), [`Error::Length`](crate::Error::Length); `dx` is then
/// untouched.
///
/// Source: the derivative of [`max`]; at ties a subgradient.
pub fn max_backward<T: Element>(shape: Shape<'_>, x: &[T], dy: &[T], dx: &mut [T]) -> Result<()> {
    extreme_backward(Extreme::Max, shape, x, dy, dx)
}

/// Gradient of [`min`]; otherwise as [`max_backward`].
///
/// # Errors
/// Those of [`max_backward`].
pub fn min_backward<T: Element>(shape: Shape<'_>, x: &[T], dy: &[T], dx: &mut [T]) -> Result<()> {
    extreme_backward(Extreme::Min, shape, x, dy, dx)
}

fn extreme<T: Element>(
    exec: &impl Executor,
    extreme: Extreme,
    shape: Shape<'_>,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    let (outer, inner) = shape.walks()?;
    Arg::X.check_len(x.len(), &[shape.extents.elements()])?;
    Arg::Out.check_len(out.len(), &[outer.positions()])?;
    exec::rows(exec, out, 1, |first, out| {
        let mut outer = outer.from(first);
        for out in out {
            let search = Search {
                x,
                start: outer.next(),
                walk: inner,
                extreme,
            };
            if let Some(winner) = T::reduce_extreme(search) {
                *out = x.get(winner).copied().unwrap_or(T::ZERO);
            }
        }
        0
    });
    Ok(())
}

fn extreme_backward<T: Element>(
    extreme: Extreme,
    shape: Shape<'_>,
    x: &[T],
    dy: &[T],
    dx: &mut [T],
) -> Result<()> {
    let (mut outer, inner) = shape.walks()?;
    Arg::X.check_len(x.len(), &[shape.extents.elements()])?;
    Arg::Dy.check_len(dy.len(), &[outer.positions()])?;
    Arg::Dx.check_len(dx.len(), &[shape.extents.elements()])?;
    dx.fill(T::ZERO);
    // Each element belongs to one output: nothing is written twice.
    for &dy in dy {
        let winner = T::reduce_extreme(Search {
            x,
            start: outer.next(),
            walk: inner,
            extreme,
        });
        if let Some(dx) = winner.and_then(|winner| dx.get_mut(winner)) {
            *dx = dy;
        }
    }
    Ok(())
}

/// The most terms whose sum, times a factor of `bits` bits, an accumulator holds.
pub(crate) fn most_terms<T: Element>(bits: u32) -> usize {
    // 30 bits of i32, 62 of i64 and 126 of i128; a mean of 8 bits is an i64.
    let holds = match T::MAGNITUDE_BITS {
        0 => return usize::MAX,
        7 if bits == 0 => 30,
        53 => 126,
        _ => 62,
    };
    1usize
        .checked_shl(holds - T::MAGNITUDE_BITS - bits)
        .unwrap_or(usize::MAX)
}

/// Which element of several is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extreme {
    Max,
    Min,
}

/// Elements among which the first extreme is looked for: those that `walk` visits from `start` on.
pub struct Search<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) start: [usize; 1],
    pub(crate) walk: Walk<1>,
    pub(crate) extreme: Extreme,
}

impl<T: Element> Search<'_, T> {
    /// Its offset.
    #[inline(always)]
    fn run(self) -> Option<usize> {
        let mut walk = self.walk;
        let mut best: Option<(usize, T::Wide)> = None;
        let (mut left, [step]) = (walk.positions(), walk.inner_steps());
        while left > 0 {
            let ([at], len) = walk.run(left);
            let at = at.wrapping_add(self.start[0]);
            for i in 0..len {
                let at = at.wrapping_add(i.wrapping_mul(step));
                let Some(value) = self.x.get(at).map(|x| x.widen()) else {
                    continue;
                };
                let replaces = best.is_none_or(|(_, best)| match self.extreme {
                    Extreme::Max => wins(best, value),
                    Extreme::Min => loses(best, value),
                });
                if replaces {
                    best = Some((at, value));
                }
            }
            left -= len.max(1);
        }
        best.map(|(at, _)| at)
    }
}

/// Some outputs.
pub struct Rows<'a, T> {
    outer: Walk<1>,
    inner: Walk<1>,
    x: &'a [T],
    store: Store,
    first: u32,
    out: &'a mut [T],
}

impl<T: Element> Rows<'_, T> {
    /// Calls `put` with each sum, the number of its element, and the place for the result.
    #[inline(always)]
    fn sums(self, mut put: impl FnMut(T::Acc, u32, &mut T)) {
        let mut outer = self.outer;
        let (terms, [step]) = (self.inner.positions(), self.inner.inner_steps());
        for (out, element) in self.out.iter_mut().zip(self.first..) {
            let [start] = outer.next();
            let (mut inner, mut left) = (self.inner, terms);
            let mut sum = T::Acc::default();
            while left > 0 {
                let ([at], len) = inner.run(left);
                let row = self.x.get(start + at..).unwrap_or_default();
                if step == 1 {
                    for x in row.iter().take(len) {
                        sum += x.to_acc();
                    }
                } else {
                    for i in 0..len {
                        sum += row.get(i * step).map_or(T::Acc::default(), |x| x.to_acc());
                    }
                }
                left -= len.max(1);
            }
            put(sum, element, out);
        }
    }
}

/// Some elements of the gradient of a mean.
pub struct Spread<'a, T> {
    walk: Walk<1>,
    mean: Mean,
    dy: &'a [T],
    store: Store,
    first: u32,
    dx: &'a mut [T],
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn reduce_sum(rows: Rows<'_, Self>) -> u32;
    #[doc(hidden)]
    fn reduce_mean(rows: Rows<'_, Self>) -> u32;
    #[doc(hidden)]
    fn reduce_mean_backward(spread: Spread<'_, Self>) -> u32;
    #[doc(hidden)]
    fn reduce_extreme(search: Search<'_, Self>) -> Option<usize>;
}

macro_rules! impl_kernels {
    ($($t:ty)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn reduce_sum(rows: Rows<'_, Self>) -> u32 {
                let store = rows.store;
                let mut range = <<Self as Element>::Acc as Accumulator>::Magnitude::default();
                rows.sums(|sum, element, out| {
                    store.one::<Self, Self>(sum, element, &mut range, out);
                });
                range.bits()
            }

            #[inline(never)]
            fn reduce_mean(rows: Rows<'_, Self>) -> u32 {
                let (store, mean) = (rows.store, Mean::of(rows.inner.positions()));
                let mut range = <<Self as Long>::Long as Accumulator>::Magnitude::default();
                rows.sums(|sum, element, out| {
                    let acc = Self::mean(Self::to_long(sum), mean);
                    Self::store_long(store, acc, element, &mut range, out);
                });
                range.bits()
            }

            #[inline(never)]
            fn reduce_mean_backward(spread: Spread<'_, Self>) -> u32 {
                let Spread { mut walk, mean, dy, store, first, dx } = spread;
                let mut range = <<Self as Long>::Long as Accumulator>::Magnitude::default();
                for (dx, element) in dx.iter_mut().zip(first..) {
                    let [at] = walk.next();
                    let dy = dy.get(at).copied().unwrap_or(<Self as Element>::ZERO);
                    let acc = Self::mean(Self::to_long(dy.to_acc()), mean);
                    Self::store_long(store, acc, element, &mut range, dx);
                }
                range.bits()
            }

            #[inline(never)]
            fn reduce_extreme(search: Search<'_, Self>) -> Option<usize> {
                search.run()
            }
        }
    )*};
}

impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64 }
