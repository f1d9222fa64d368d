//! Elements around the edges of a tensor.

use crate::axes::{Extents, MAX_RANK};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude};
use crate::requantize::Store;

/// What stands beyond an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaddingMode<T> {
    /// The same element everywhere: 0, or a number at the exponent of the tensor.
    Constant(T),
    /// The tensor mirrored at its outermost element, which is not repeated: `c b | a b c | b a`.
    Reflect,
    /// The outermost element again: `a a | a b c | c c`.
    Edge,
}

/// How much is added at each end of each axis, and what.
#[derive(Clone, Copy, Debug)]
pub struct Padding<'a, T> {
    /// Elements before and behind, for each axis.
    pub sides: &'a [[usize; 2]],
    /// What they are.
    pub mode: PaddingMode<T>,
}

/// The mode without the element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beyond {
    Constant,
    Reflect,
    Edge,
}

/// One axis.
#[derive(Clone, Copy, Debug)]
struct Side {
    before: usize,
    extent: usize,
    behind: usize,
}

impl Side {
    /// The input's element that stands at `at` of the output.
    #[inline(always)]
    fn source(self, beyond: Beyond, at: usize) -> Option<usize> {
        let last = self.extent.saturating_sub(1);
        match (at.checked_sub(self.before), beyond) {
            (Some(inside), _) if inside <= last => Some(inside),
            (_, Beyond::Constant) => None,
            (None, Beyond::Edge) => Some(0),
            (Some(_), Beyond::Edge) => Some(last),
            (None, Beyond::Reflect) => Some(self.before - at),
            (Some(inside), Beyond::Reflect) => (2 * last).checked_sub(inside),
        }
    }

    /// How many elements of the output are the input's element `i`.
    #[inline(always)]
    fn copies(self, beyond: Beyond, i: usize) -> usize {
        let last = self.extent.saturating_sub(1);
        match beyond {
            Beyond::Constant => 1,
            Beyond::Edge => {
                let before = if i == 0 { self.before } else { 0 };
                let behind = if i == last { self.behind } else { 0 };
                1 + before + behind
            }
            Beyond::Reflect => {
                let before = usize::from(self.is_mirrored_before(i));
                let behind = usize::from(i < last && last - i <= self.behind);
                1 + before + behind
            }
        }
    }

    #[inline(always)]
    fn is_mirrored_before(self, i: usize) -> bool {
        i >= 1 && i <= self.before
    }

    /// Where the copy `number` of the input's element `i` is, counted upwards.
    #[inline(always)]
    fn copy(self, beyond: Beyond, i: usize, number: usize) -> usize {
        let direct = self.before + i;
        match beyond {
            Beyond::Constant => direct,
            Beyond::Edge if i == 0 => number,
            Beyond::Edge => direct + number,
            Beyond::Reflect => match number + usize::from(!self.is_mirrored_before(i)) {
                0 => self.before - i,
                1 => direct,
                _ => self.before + 2 * self.extent.saturating_sub(1) - i,
            },
        }
    }
}

impl<T: Element> Padding<'_, T> {
    fn beyond(&self) -> Beyond {
        match self.mode {
            PaddingMode::Constant(_) => Beyond::Constant,
            PaddingMode::Reflect => Beyond::Reflect,
            PaddingMode::Edge => Beyond::Edge,
        }
    }

    /// The extents of the padded tensor.
    ///
    /// # Errors
    /// [`Error::Axes`] unless there are sides for each axis, [`Error::Reflection`] for more
    /// reflected elements than an axis has beside its edge, [`Error::Overflow`].
    pub fn outputs(&self, extents: Extents) -> Result<Extents> {
        let rank = extents.rank();
        if self.sides.len() != rank {
            return Err(Error::Axes {
                expected: rank,
                got: self.sides.len(),
            });
        }
        let mut padded = [1usize; MAX_RANK];
        let places = padded.iter_mut().zip(extents.iter().zip(self.sides));
        for (axis, (padded, (extent, &[before, behind]))) in places.enumerate() {
            let padding = before.max(behind);
            if self.beyond() == Beyond::Reflect && padding >= extent {
                return Err(Error::Reflection {
                    axis,
                    padding,
                    extent,
                });
            }
            *padded = extent
                .checked_add(before)
                .and_then(|sum| sum.checked_add(behind))
                .ok_or(Arg::Shape.overflow())?;
        }
        Extents::new(padded.get(..rank).unwrap_or_default())
    }

    fn sides(&self, extents: Extents) -> [Side; MAX_RANK] {
        let mut sides = [Side {
            before: 0,
            extent: 1,
            behind: 0,
        }; MAX_RANK];
        let leading = MAX_RANK - extents.rank();
        let places = sides.iter_mut().skip(leading);
        for (side, (extent, &[before, behind])) in places.zip(extents.iter().zip(self.sides)) {
            *side = Side {
                before,
                extent,
                behind,
            };
        }
        sides
    }
}

/// Elements around the edges of a tensor. The exponent stays.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `extents` |
/// | `out` | [`Padding::outputs`], overwritten |
///
/// # Errors
/// Those of [`Padding::outputs`], [`Error::Length`]; `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::axes::Extents;
/// use selvedge_kernels::{exec::Serial, layout::{self, Padding, PaddingMode}};
/// let padding = Padding { sides: &[[2, 1]], mode: PaddingMode::Reflect };
/// let mut out = [0i8; 6];
/// layout::pad(&Serial, Extents::new(&[3])?, padding, &[1, 2, 3], &mut out)?;
/// assert_eq!(out, [3, 2, 1, 2, 3, 2]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definitions; NumPy's `pad` has the same modes.
pub fn pad<T: Element>(
    exec: &impl Executor,
    extents: Extents,
    padding: Padding<'_, T>,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    let padded = padding.outputs(extents)?;
    Arg::X.check_len(x.len(), &[extents.elements()])?;
    Arg::Out.check_len(out.len(), &[padded.elements()])?;
    let sides = padding.sides(extents);
    let width = padded.padded().last().copied().unwrap_or(1);
    exec::rows(exec, out, width, |first, out| {
        T::layout_pad(Pad {
            sides,
            steps: extents.steps(),
            extents: padded.padded(),
            beyond: padding.beyond(),
            fill: match padding.mode {
                PaddingMode::Constant(fill) => fill,
                PaddingMode::Reflect | PaddingMode::Edge => T::ZERO,
            },
            x,
            first,
            out,
        });
        0
    });
    Ok(())
}

/// Gradient of [`pad`]: `dx = store(Σ dy)` over all places at which an element stands, in
/// row-major order. A constant has no gradient.
///
/// | argument | shape | |
/// |---|---|---|
/// | `dy` | [`Padding::outputs`] | |
/// | `dx` | `extents` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest sum (0 for floats), which has the exponent of `dy`. A
/// constant leaves nothing to sum: the exponent may stay.
///
/// # Errors
/// Those of [`pad`]; [`Error::Accumulator`] if more elements stand beyond an edge than sums allow.
/// `dx` is then untouched.
///
/// Source: the derivative of [`pad`].
pub fn pad_backward<T: Element>(
    exec: &impl Executor,
    extents: Extents,
    padding: Padding<'_, T>,
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let padded = padding.outputs(extents)?;
    Arg::Dy.check_len(dy.len(), &[padded.elements()])?;
    Arg::Dx.check_len(dx.len(), &[extents.elements()])?;
    let sides = padding.sides(extents);
    let beyond = padding.beyond();
    let mut most = 1usize;
    for side in sides {
        let ends = [0, side.extent.saturating_sub(1), side.extent / 2];
        let copies = ends.map(|i| side.copies(beyond, i));
        most = most.saturating_mul(copies.into_iter().max().unwrap_or(1));
    }
    crate::dense::limit(most, crate::reduce::most_terms::<T>(0))?;
    let width = extents.padded().last().copied().unwrap_or(1);
    Ok(exec::rows(exec, dx, width, |first, dx| {
        T::layout_pad_backward(Padded {
            sides,
            steps: padded.steps(),
            extents: extents.padded(),
            beyond,
            dy,
            store,
            first,
            dx,
        })
    }))
}

/// The position of row `row` in a grid of these extents; the last axis at 0.
#[inline(always)]
fn position(extents: &[usize; MAX_RANK], row: usize) -> [usize; MAX_RANK] {
    let (mut at, mut rest) = ([0; MAX_RANK], row);
    for (at, &extent) in at.iter_mut().zip(extents).rev().skip(1) {
        *at = rest.checked_rem(extent).unwrap_or(0);
        rest = rest.checked_div(extent).unwrap_or(0);
    }
    at
}

/// Some rows of a padded tensor.
pub struct Pad<'a, T> {
    sides: [Side; MAX_RANK],
    /// Of `x`.
    steps: [usize; MAX_RANK],
    /// Of the output.
    extents: [usize; MAX_RANK],
    beyond: Beyond,
    fill: T,
    x: &'a [T],
    first: usize,
    out: &'a mut [T],
}

impl<T: Element> Pad<'_, T> {
    #[inline(always)]
    pub(super) fn run(self) {
        let width = self.extents.last().copied().unwrap_or(1);
        let Some((columns, outer)) = self.sides.split_last() else {
            return;
        };
        for (row, out) in (self.first..).zip(crate::split::rows_of_mut(self.out, width)) {
            let at = position(&self.extents, row);
            let mut start = Some(0);
            for ((side, at), step) in outer.iter().zip(at).zip(self.steps) {
                let source = side.source(self.beyond, at);
                start = start.zip(source).map(|(start, i)| start + i * step);
            }
            for (column, out) in out.iter_mut().enumerate() {
                let source = columns.source(self.beyond, column);
                let from = start
                    .zip(source)
                    .and_then(|(start, i)| self.x.get(start + i));
                *out = from.copied().unwrap_or(self.fill);
            }
        }
    }
}

/// Some rows of the gradient.
pub struct Padded<'a, T: Element> {
    sides: [Side; MAX_RANK],
    /// Of `dy`.
    steps: [usize; MAX_RANK],
    /// Of `dx`.
    extents: [usize; MAX_RANK],
    beyond: Beyond,
    dy: &'a [T],
    store: Store,
    first: usize,
    dx: &'a mut [T],
}

impl<T: Element> Padded<'_, T> {
    #[inline(always)]
    pub(super) fn run(self) -> u32 {
        let width = self.extents.last().copied().unwrap_or(1);
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = (self.first * width) as u32;
        for (row, dx) in (self.first..).zip(crate::split::rows_of_mut(self.dx, width)) {
            let mut at = position(&self.extents, row);
            for (column, dx) in dx.iter_mut().enumerate() {
                if let Some(at) = at.last_mut() {
                    *at = column;
                }
                let mut copies = 1;
                for (side, &at) in self.sides.iter().zip(&at) {
                    copies *= side.copies(self.beyond, at);
                }
                let mut sum = T::Acc::default();
                for number in 0..copies {
                    // The digits of `number`, the last axis fastest, count the copies of each axis.
                    let (mut place, mut rest) = (0, number);
                    for ((side, &at), &step) in self.sides.iter().zip(&at).zip(&self.steps).rev() {
                        let all = side.copies(self.beyond, at);
                        let copy = rest.checked_rem(all).unwrap_or(0);
                        rest = rest.checked_div(all).unwrap_or(0);
                        place += side.copy(self.beyond, at, copy) * step;
                    }
                    sum += self.dy.get(place).map_or(T::Acc::default(), |d| d.to_acc());
                }
                self.store.one::<T, T>(sum, element, &mut range, dx);
                element = element.wrapping_add(1);
            }
        }
        range.bits()
    }
}
