//! Elements in other places: other orders of axes, edges, parts, entries by number, the largest.

use super::Build;
use crate::graph::{Error, ValueId, shown};
use crate::network::builder::Builder;
use crate::ops::function::{Given, counted};
use crate::ops::layout::gather::describe::GATHER;
use crate::ops::layout::pad::describe::PAD;
use crate::ops::layout::slice::describe::{MOST, SLICE};
use crate::ops::layout::{pad, permute, slice, top_k};
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::layout::{self as kernels, Padding, PaddingMode};
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// Axis `i` of the output is axis `order[i]` of the input; up to five axes. Numerical behaviour:
/// [`selvedge_kernels::layout::permute`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Permute {
    /// Each axis of a sample once, the first being 0.
    pub order: Vec<usize>,
}

/// What stands beyond an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Beyond {
    /// Zeros.
    #[default]
    Zeros,
    /// The elements in reverse order, without the outermost.
    Reflect,
    /// The outermost element.
    Edge,
}

/// Elements around the edges; up to five axes. Numerical behaviour: [`selvedge_kernels::layout::pad`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Pad {
    /// Elements before and behind each axis of a sample.
    pub sides: Vec<[usize; 2]>,
    /// What they are.
    #[cfg_attr(feature = "json", serde(default))]
    pub beyond: Beyond,
}

/// Part of an axis, as in Python: from `start` on, before `stop`, every `step`-th element. Negative positions count from
/// the end, a negative step goes backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Range {
    /// The first; if it is not given, the first in the direction of the step.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub start: Option<i32>,
    /// Where to end, itself left out; if it is not given, beyond the last.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub stop: Option<i32>,
    /// Distance of elements, not 0.
    #[cfg_attr(feature = "json", serde(default = "one"))]
    pub step: i32,
}

#[cfg(feature = "json")]
const fn one() -> i32 {
    1
}

impl Range {
    /// The whole axis.
    pub const ALL: Self = Self {
        start: None,
        stop: None,
        step: 1,
    };
}

/// Part of a sample; up to five axes. Numerical behaviour: [`selvedge_kernels::layout::slice()`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Slice {
    /// A range for each axis.
    pub ranges: Vec<Range>,
}

/// Neighbours along one axis: `len` of them, behind the first `from`; up to five axes. Numerical behaviour:
/// [`selvedge_kernels::layout::slice()`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Part {
    /// The axis of a sample; the last if it is not given.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub axis: Option<usize>,
    /// Elements before it.
    #[cfg_attr(feature = "json", serde(default))]
    pub from: usize,
    /// Elements of it.
    pub len: usize,
}

/// Entries of an axis by number; up to five axes. Numerical behaviour: [`selvedge_kernels::layout::gather`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Gather {
    /// The axis of a sample.
    #[cfg_attr(feature = "json", serde(default))]
    pub axis: usize,
    /// The entries, in any order, also repeated.
    pub indices: Vec<u32>,
}

/// The largest elements along an axis, the largest first; up to five axes. Numerical behaviour:
/// [`selvedge_kernels::select::top_k`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct TopK {
    /// How many.
    pub k: usize,
    /// The axis of a sample.
    #[cfg_attr(feature = "json", serde(default))]
    pub axis: usize,
}

impl Permute {
    /// With the axes in this order.
    #[must_use]
    pub fn new(order: impl Into<Vec<usize>>) -> Self {
        Self {
            order: order.into(),
        }
    }
}

impl Pad {
    /// With zeros, so many before and behind each axis.
    #[must_use]
    pub fn new(sides: impl Into<Vec<[usize; 2]>>) -> Self {
        Self {
            sides: sides.into(),
            beyond: Beyond::Zeros,
        }
    }

    /// With other elements.
    #[must_use]
    pub fn beyond(self, beyond: Beyond) -> Self {
        Self { beyond, ..self }
    }
}

impl Slice {
    /// These ranges, one for each axis.
    #[must_use]
    pub fn new(ranges: impl Into<Vec<Range>>) -> Self {
        Self {
            ranges: ranges.into(),
        }
    }
}

impl Part {
    /// `len` elements of the last axis, behind the first `from`.
    #[must_use]
    pub const fn new(from: usize, len: usize) -> Self {
        Self {
            axis: None,
            from,
            len,
        }
    }

    /// Along this axis.
    #[must_use]
    pub const fn axis(self, axis: usize) -> Self {
        Self {
            axis: Some(axis),
            ..self
        }
    }
}

impl Gather {
    /// These entries of the first axis.
    #[must_use]
    pub fn new(indices: impl Into<Vec<u32>>) -> Self {
        Self {
            axis: 0,
            indices: indices.into(),
        }
    }

    /// Of this axis.
    #[must_use]
    pub fn axis(self, axis: usize) -> Self {
        Self { axis, ..self }
    }
}

impl TopK {
    /// So many along the first axis.
    #[must_use]
    pub const fn new(k: usize) -> Self {
        Self { k, axis: 0 }
    }

    /// Along this axis.
    #[must_use]
    pub const fn axis(self, axis: usize) -> Self {
        Self { axis, ..self }
    }
}

impl Build for Permute {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, shape) = (to.number(), to.shape_of(x));
        to.extents(&shape)?;
        if self.order.len() != shape.len() || kernels::inverse(&self.order).is_err() {
            let expected = alloc::format!("an order of {} axes, each once", shape.len());
            return Err(to.attribute_error(expected, shown(&self.order)));
        }
        Ok(permute::describe::append(to.graph, number, x, &self.order))
    }
}

impl Build for Pad {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, shape) = (to.number(), to.shape_of(x));
        let (mode, code) = match self.beyond {
            Beyond::Zeros => (PaddingMode::Constant(0u8), 0),
            Beyond::Reflect => (PaddingMode::Reflect, 1),
            Beyond::Edge => (PaddingMode::Edge, 2),
        };
        let padding = Padding {
            sides: &self.sides,
            mode,
        };
        let padded = padding.outputs(to.extents(&shape)?).map_err(to.kernel())?;
        let padded: Vec<usize> = padded.iter().collect();
        to.check_value(&padded)?;
        let given = Given {
            attributes: pad::describe::attributes(&shape, &self.sides, code),
            ..Given::default()
        };
        Ok(PAD.append(to.graph, number, x, padded, given))
    }
}

impl Build for Slice {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        slice(to, number, x, &self.ranges)
    }
}

impl Build for Part {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, shape) = (to.number(), to.shape_of(x));
        let axis = self.axis.unwrap_or(shape.len().saturating_sub(1));
        let extent = to.check_axis(axis, &shape)?;
        let until = self.from.saturating_add(self.len);
        if self.len == 0 || until > extent {
            let expected = alloc::format!("a part of the {extent} elements of axis {axis}");
            let found = alloc::format!("{} from {} on", self.len, self.from);
            return Err(to.attribute_error(expected, found));
        }
        let mut ranges = vec![Range::ALL; shape.len()];
        if let Some(range) = ranges.get_mut(axis) {
            *range = Range {
                start: i32::try_from(self.from).ok(),
                stop: i32::try_from(until).ok(),
                step: 1,
            };
        }
        slice(to, number, x, &ranges)
    }
}

fn slice(
    to: &mut Builder<'_>,
    number: u32,
    x: ValueId,
    ranges: &[Range],
) -> Result<ValueId, Error> {
    let shape = to.shape_of(x);
    let words: Vec<[Option<i32>; 3]> = ranges
        .iter()
        .map(|range| [range.start, range.stop, Some(range.step)])
        .collect();
    let given = words.as_flattened().iter().flatten();
    if let Some(at) = given.copied().find(|at| !(-MOST..=MOST).contains(at)) {
        let expected = alloc::format!("positions of -{MOST} to {MOST}");
        return Err(to.attribute_error(expected, at));
    }
    let ranges: Vec<kernels::Range> = ranges
        .iter()
        .map(|range| kernels::Range {
            start: range.start.map(|at| at as isize),
            stop: range.stop.map(|at| at as isize),
            step: range.step as isize,
        })
        .collect();
    let taken = kernels::slice_extents(to.extents(&shape)?, &ranges).map_err(to.kernel())?;
    let given = Given {
        attributes: slice::describe::attributes(&shape, &words),
        ..Given::default()
    };
    Ok(SLICE.append(to.graph, number, x, taken.iter().collect(), given))
}

impl Build for Gather {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, shape) = (to.number(), to.shape_of(x));
        to.extents(&shape)?;
        let extent = to.check_axis(self.axis, &shape)?;
        let is_beyond = |index: &&u32| usize::try_from(**index).is_ok_and(|index| index >= extent);
        if let Some(index) = self.indices.iter().find(is_beyond) {
            let expected = alloc::format!("indices below {extent}");
            return Err(to.attribute_error(expected, index));
        }
        let mut gathered = shape.clone();
        if let Some(place) = gathered.get_mut(self.axis) {
            *place = self.indices.len();
        }
        to.check_value(&gathered)?;
        let stored = self.indices.iter().flat_map(|index| index.to_le_bytes());
        let indices = to.graph.constant(stored.collect());
        let mut attributes = counted(&shape);
        attributes.push(self.axis as u32 + 1);
        let given = Given {
            attributes,
            constants: vec![Some(indices)],
            ..Given::default()
        };
        Ok(GATHER.append(to.graph, number, x, gathered, given))
    }
}

impl Build for TopK {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, mut shape) = (to.number(), to.shape_of(x));
        to.extents(&shape)?;
        let extent = to.check_axis(self.axis, &shape)?;
        to.check_range("k", self.k, extent)?;
        if let Some(place) = shape.get_mut(self.axis) {
            *place = self.k;
        }
        let what = [self.axis, self.k];
        Ok(top_k::describe::append(to.graph, number, x, what, shape))
    }
}
