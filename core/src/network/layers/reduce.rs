//! Sums, means, extremes over axes of a sample, and where extremes are.

use super::Build;
use crate::graph::{Error, ValueId};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::argument;
use crate::ops::function::{Function, Given};
use crate::ops::reduce::describe::{MAX, MEAN, MIN, SUM, attributes};
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::reduce::{Reduced, Shape};
use selvedge_kernels::select::Kernels;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident: $operator:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
        #[cfg_attr(feature = "json", serde(deny_unknown_fields))]
        pub struct $name {
            /// The axes of a sample, the first being 0.
            pub axes: Vec<usize>,
            /// Whether they stay, with extents of 1.
            #[cfg_attr(feature = "json", serde(default, skip_serializing_if = "super::is_false"))]
            pub keeps: bool,
        }

        impl $name {
            /// Over these axes, which go.
            #[must_use]
            pub fn new(axes: impl Into<Vec<usize>>) -> Self {
                Self { axes: axes.into(), keeps: false }
            }
        }

        impl Build for $name {
            fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
                build(to, x, &$operator, &self.axes, self.keeps)
            }
        }
    )*};
}

layers! {
    /// The sums over axes of a sample, in the shape of the other axes; `[1]` if no axis is left; up to five axes. Numerical
    /// behaviour: [`selvedge_kernels::reduce::sum`].
    ReduceSum: SUM;
    /// The means; otherwise as [`ReduceSum`]. Numerical behaviour: [`selvedge_kernels::reduce::mean`].
    ReduceMean: MEAN;
    /// The largest elements; otherwise as [`ReduceSum`]. The error goes to the first of them. Numerical behaviour:
    /// [`selvedge_kernels::reduce::max`].
    ReduceMax: MAX;
    /// The smallest elements; otherwise as [`ReduceMax`].
    ReduceMin: MIN;
}

/// What is left of a sample of `shape`.
fn left(
    to: &Builder<'_>,
    shape: &[usize],
    axes: &[usize],
    keeps: bool,
) -> Result<Vec<usize>, Error> {
    let extents = to.extents(shape)?;
    let reduced = if keeps { Reduced::Keep } else { Reduced::Drop };
    let left = Shape { extents, axes }.outputs(reduced);
    let left: Vec<usize> = left.map_err(to.kernel())?.iter().collect();
    Ok(if left.is_empty() { vec![1] } else { left })
}

fn build(
    to: &mut Builder<'_>,
    x: ValueId,
    operator: &'static Function,
    axes: &[usize],
    keeps: bool,
) -> Result<ValueId, Error> {
    let (number, shape) = (to.number(), to.shape_of(x));
    if axes.is_empty() {
        return Err(to.attribute_error("at least one axis", "none"));
    }
    let left = left(to, &shape, axes, keeps)?;
    let given = Given {
        attributes: attributes(&shape, axes),
        ..Given::default()
    };
    Ok(operator.append(to.graph, number, x, left, given))
}

macro_rules! places {
    ($($(#[$doc:meta])* $name:ident: $is_largest:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
        #[cfg_attr(feature = "json", serde(deny_unknown_fields))]
        pub struct $name {
            /// The axis of a sample, the first being 0.
            pub axis: usize,
            /// Whether it stays, with an extent of 1.
            #[cfg_attr(feature = "json", serde(default, skip_serializing_if = "super::is_false"))]
            pub keeps: bool,
        }

        impl $name {
            /// Along this axis, which goes.
            #[must_use]
            pub const fn new(axis: usize) -> Self {
                Self { axis, keeps: false }
            }
        }

        impl Build for $name {
            fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
                place(to, x, (self.axis, $is_largest), self.keeps)
            }
        }
    )*};
}

places! {
    /// The index of the largest element along an axis, the first of several, as an element: a whole number from 0 on, of
    /// integers at exponent 0; in the shape of the other axes, `[1]` if no axis is left; up to five axes. The axis has no
    /// more elements than the type has whole numbers: 128 in 8 bits. The error passed down is 0, and what is below learns
    /// by other branches alone. Numerical behaviour: [`selvedge_kernels::select::argmax`].
    ArgMax: true;
    /// The index of the smallest element; otherwise as [`ArgMax`]. Numerical behaviour:
    /// [`selvedge_kernels::select::argmin`].
    ArgMin: false;
}

fn place(
    to: &mut Builder<'_>,
    x: ValueId,
    (axis, is_largest): (usize, bool),
    keeps: bool,
) -> Result<ValueId, Error> {
    let (number, shape) = (to.number(), to.shape_of(x));
    let left = left(to, &shape, &[axis], keeps)?;
    let extent = to.check_axis(axis, &shape)?;
    let most = by_dtype!(to.graph.dtype_of(x), T => <T as Kernels>::MOST_INDEX);
    if u32::try_from(extent).map_or(true, |extent| extent - 1 > most) {
        let expected = alloc::format!("an axis of at most {most} elements and one");
        return Err(to.attribute_error(expected, extent));
    }
    let what = (axis, is_largest);
    Ok(argument::describe::append(to.graph, number, x, what, left))
}
