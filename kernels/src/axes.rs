//! Tensors of up to six axes: their extents, and walks over their elements in row-major order.

use crate::error::{Arg, Error, Result};
use core::fmt;

/// Most axes that a tensor of these kernels has.
pub const MAX_RANK: usize = 6;

/// The extents of a tensor, outermost first: at most six, none of them zero, with a product that
/// fits 32 bits.
///
/// # Example
/// ```
/// use selvedge_kernels::axes::Extents;
/// let extents = Extents::new(&[2, 3, 4])?;
/// assert_eq!((extents.rank(), extents.elements()), (3, 24));
/// assert_eq!(extents.to_string(), "[2, 3, 4]");
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    rank: u8,
    /// The last `rank` of them; those before are 1.
    extents: [u32; MAX_RANK],
}

impl Extents {
    /// The extents of a tensor; none at all are those of a single element.
    ///
    /// # Errors
    /// [`Error::Rank`] for more than six axes, [`Error::Zero`] for an extent of zero,
    /// [`Error::Overflow`] if the product does not fit 32 bits.
    pub fn new(extents: &[usize]) -> Result<Self> {
        let rank = extents.len();
        let padding = MAX_RANK.checked_sub(rank).ok_or(Error::Rank { rank })?;
        Arg::Shape.product(extents)?;
        let mut padded = [1; MAX_RANK];
        for (to, &from) in padded.iter_mut().skip(padding).zip(extents) {
            *to = from as u32; // not above the product, which fits
        }
        Ok(Self {
            rank: rank as u8,
            extents: padded,
        })
    }

    /// How many axes there are.
    #[must_use]
    pub const fn rank(&self) -> usize {
        self.rank as usize
    }

    /// How many elements a tensor of these extents has.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.extents.iter().map(|&extent| extent as usize).product()
    }

    /// The extents, outermost first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let leading = MAX_RANK - self.rank();
        self.extents
            .iter()
            .skip(leading)
            .map(|&extent| extent as usize)
    }

    /// The extent of axis `axis`.
    ///
    /// # Errors
    /// [`Error::Axis`] if there is no such axis.
    pub fn get(&self, axis: usize) -> Result<usize> {
        let place = self.place(axis)?;
        Ok(self.extents.get(place).map_or(1, |&extent| extent as usize))
    }

    /// The same with another extent of axis `axis`.
    ///
    /// # Errors
    /// [`Error::Axis`], [`Error::Zero`], [`Error::Overflow`].
    pub fn with(&self, axis: usize, extent: usize) -> Result<Self> {
        let place = self.place(axis)?;
        let mut padded = self.padded();
        if let Some(at) = padded.get_mut(place) {
            *at = extent;
        }
        let leading = MAX_RANK - self.rank();
        Self::new(padded.get(leading..).unwrap_or_default())
    }

    /// The extents that two tensors have when each axis of extent 1 is repeated to the other's
    /// extent, and missing axes are put in front (NumPy's rule).
    ///
    /// # Errors
    /// [`Error::Broadcast`] if two extents differ and neither is 1, [`Error::Overflow`].
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::axes::Extents;
    /// let (a, b) = (Extents::new(&[2, 1, 4])?, Extents::new(&[3, 1])?);
    /// assert_eq!(a.broadcast(&b)?, Extents::new(&[2, 3, 4])?);
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    pub fn broadcast(&self, other: &Self) -> Result<Self> {
        let mut padded = [1usize; MAX_RANK];
        for (to, (&a, &b)) in padded
            .iter_mut()
            .zip(self.extents.iter().zip(&other.extents))
        {
            *to = match (a, b) {
                (a, 1) => a,
                (1, b) => b,
                (a, b) if a == b => a,
                _ => {
                    return Err(Error::Broadcast {
                        a: *self,
                        b: *other,
                    });
                }
            } as usize;
        }
        let leading = MAX_RANK - self.rank().max(other.rank());
        Self::new(padded.get(leading..).unwrap_or_default())
    }

    /// Where axis `axis` stands among six.
    pub(crate) fn place(&self, axis: usize) -> Result<usize> {
        let rank = self.rank();
        if axis < rank {
            Ok(MAX_RANK - rank + axis)
        } else {
            Err(Error::Axis { axis, rank })
        }
    }

    /// Six extents, the leading ones 1.
    pub(crate) fn padded(&self) -> [usize; MAX_RANK] {
        self.extents.map(|extent| extent as usize)
    }

    /// The distance in memory between neighbours along each of six axes.
    pub(crate) fn steps(&self) -> [usize; MAX_RANK] {
        let mut steps = [1; MAX_RANK];
        let mut step = 1usize;
        for (to, &extent) in steps.iter_mut().zip(&self.extents).rev() {
            *to = step;
            step = step.wrapping_mul(extent as usize);
        }
        steps
    }

    /// The same, with 0 along axes of extent 1: what is repeated there stays where it is.
    pub(crate) fn repeating_steps(&self) -> [usize; MAX_RANK] {
        let mut steps = self.steps();
        for (step, &extent) in steps.iter_mut().zip(&self.extents) {
            if extent == 1 {
                *step = 0;
            }
        }
        steps
    }

    /// Product of the extents before axis `axis`, its own, and product of those after it.
    pub(crate) fn around(&self, axis: usize) -> Result<[usize; 3]> {
        let place = self.place(axis)?;
        let product = |extents: Option<&[u32]>| {
            let extents = extents.unwrap_or_default().iter();
            extents.map(|&extent| extent as usize).product()
        };
        Ok([
            product(self.extents.get(..place)),
            self.get(axis)?,
            product(self.extents.get(place + 1..)),
        ])
    }
}

impl fmt::Display for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (axis, extent) in self.iter().enumerate() {
            write!(f, "{}{extent}", if axis == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// A tensor as an operand: its elements with their extents and the exponent that they have in
/// common, which floats do not use.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a, T> {
    /// Row-major.
    pub values: &'a [T],
    /// Their extents.
    pub extents: Extents,
    /// Their exponent.
    pub exponent: i32,
}

/// One axis of a walk over `K` tensors.
#[derive(Clone, Copy, Debug)]
struct Axis<const K: usize> {
    extent: usize,
    at: usize,
    /// Step of each tensor, in two's complement: some go backwards.
    steps: [usize; K],
}

/// Visits the positions of a grid in row-major order, and tells the offset of each of `K` tensors'
/// elements there. Neighbouring axes that all tensors step through evenly are one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk<const K: usize> {
    axes: [Axis<K>; MAX_RANK],
    offsets: [usize; K],
}

impl<const K: usize> Walk<K> {
    /// A walk over `extents` in which tensor `k` starts at `offsets[k]` and steps by `steps[k]`.
    pub(crate) fn new(
        extents: [usize; MAX_RANK],
        steps: [[usize; MAX_RANK]; K],
        offsets: [usize; K],
    ) -> Self {
        let nothing = Axis {
            extent: 1,
            at: 0,
            steps: [0; K],
        };
        let mut axes = [nothing; MAX_RANK];
        {
            let mut free = axes.iter_mut().rev();
            let mut last: Option<&mut Axis<K>> = None;
            for (place, &extent) in extents.iter().enumerate().rev() {
                if extent == 1 {
                    continue;
                }
                let steps = steps.map(|steps| steps.get(place).copied().unwrap_or(0));
                match &mut last {
                    Some(axis)
                        if axis
                            .steps
                            .iter()
                            .zip(&steps)
                            .all(|(&inner, &outer)| inner.wrapping_mul(axis.extent) == outer) =>
                    {
                        axis.extent = axis.extent.wrapping_mul(extent);
                    }
                    _ => {
                        last = free.next();
                        if let Some(axis) = &mut last {
                            **axis = Axis {
                                extent,
                                at: 0,
                                steps,
                            };
                        }
                    }
                }
            }
        }
        Self { axes, offsets }
    }

    /// Splits the axes of `extents`: a walk over those that are not `taken`, and one over those
    /// that are, from each position of the first on.
    pub(crate) fn split(
        extents: [usize; MAX_RANK],
        taken: [bool; MAX_RANK],
        steps: [[usize; MAX_RANK]; K],
    ) -> (Self, Self) {
        let (mut outer, mut inner) = (extents, extents);
        for ((outer, inner), taken) in outer.iter_mut().zip(&mut inner).zip(taken) {
            *if taken { outer } else { inner } = 1;
        }
        (
            Self::new(outer, steps, [0; K]),
            Self::new(inner, steps, [0; K]),
        )
    }

    /// How many positions there are.
    pub(crate) fn positions(&self) -> usize {
        self.axes.iter().map(|axis| axis.extent).product()
    }

    /// The walk from position number `index` on.
    pub(crate) fn from(mut self, index: usize) -> Self {
        let mut rest = index;
        for axis in self.axes.iter_mut().rev() {
            axis.at = rest.checked_rem(axis.extent).unwrap_or(0);
            rest = rest.checked_div(axis.extent).unwrap_or(0);
            for (offset, step) in self.offsets.iter_mut().zip(axis.steps) {
                *offset = offset.wrapping_add(step.wrapping_mul(axis.at));
            }
        }
        self
    }

    /// The step of each tensor along the innermost axis.
    pub(crate) fn inner_steps(&self) -> [usize; K] {
        self.axes.last().map_or([0; K], |axis| axis.steps)
    }

    /// The offsets at the next position. After the last one comes the first.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> [usize; K] {
        self.run(1).0
    }

    /// The offsets at the next position, and for how many positions, `limit` at most, they go on
    /// in [`Walk::inner_steps`].
    #[inline(always)]
    pub(crate) fn run(&mut self, limit: usize) -> ([usize; K], usize) {
        let now = self.offsets;
        let left = self.axes.last().map_or(0, |axis| axis.extent - axis.at);
        let len = left.min(limit);
        let mut moved = len;
        for axis in self.axes.iter_mut().rev() {
            axis.at += moved;
            let is_over = axis.at >= axis.extent;
            // Past the end of an axis, back to its start.
            let back = if is_over { axis.extent } else { 0 };
            for (offset, step) in self.offsets.iter_mut().zip(axis.steps) {
                *offset = offset.wrapping_add(step.wrapping_mul(moved.wrapping_sub(back)));
            }
            if !is_over {
                break;
            }
            axis.at = 0;
            moved = 1;
        }
        (now, len)
    }
}

/// Which of six places the axes `axes` take.
///
/// # Errors
/// [`Error::Axis`] for an axis that is not there, or is named twice.
pub(crate) fn taken(extents: &Extents, axes: &[usize]) -> Result<[bool; MAX_RANK]> {
    let mut taken = [false; MAX_RANK];
    for &axis in axes {
        let place = extents.place(axis)?;
        match taken.get_mut(place) {
            Some(taken) if !*taken => *taken = true,
            _ => {
                return Err(Error::Axis {
                    axis,
                    rank: extents.rank(),
                });
            }
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    // Test code: a broken assumption should end the test at once, with its place.
    #![allow(clippy::unwrap_used)]

    use super::{Extents, Walk};
    use std::vec::Vec;
    extern crate std;

    #[test]
    fn walks_visit_positions_in_order_from_anywhere() {
        let extents = Extents::new(&[3, 1, 4, 2]).unwrap();
        let wide = Extents::new(&[3, 5, 4, 2]).unwrap();
        let rows = Extents::new(&[4, 1]).unwrap();
        let walk = Walk::new(
            extents.padded(),
            [wide.steps(), rows.repeating_steps()],
            [7, 0],
        );
        assert_eq!(walk.positions(), 24);
        let want: Vec<_> = (0..24)
            .map(|i| [7 + i / 8 * 40 + i % 8, i / 2 % 4])
            .collect();
        for start in 0..24 {
            for limit in 1..5 {
                let (mut walk, mut got) = (walk.from(start), Vec::new());
                while got.len() < 24 - start {
                    let (at, len) = walk.run(limit.min(24 - start - got.len()));
                    let [a, b] = walk.inner_steps();
                    got.extend((0..len).map(|i| [at[0] + a * i, at[1] + b * i]));
                }
                assert_eq!(got, want[start..], "from {start}, {limit} at a time");
            }
        }
    }

    #[test]
    fn evenly_stepped_axes_are_one() {
        let extents = Extents::new(&[2, 3, 4, 5]).unwrap();
        let mut walk = Walk::new(
            extents.padded(),
            [extents.steps(), extents.repeating_steps()],
            [0; 2],
        );
        assert_eq!(walk.run(1000), ([0, 0], 120));
    }
}
