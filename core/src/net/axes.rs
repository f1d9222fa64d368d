//! Axes of a sample, as types. Axis 0 is the first of a sample: the batch is not counted.

use crate::tensor::Shape;
use selvedge_kernels::Result;
use selvedge_kernels::axes::{Extents, MAX_RANK};

/// Some axes of a sample, in an order.
pub trait Axes: 'static {
    /// Their numbers.
    const AXES: &'static [usize];
}

macro_rules! axes {
    ($($(#[$doc:meta])* $name:ident<$($axis:ident),*>;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name<$(const $axis: usize),*>;

        impl<$(const $axis: usize),*> Axes for $name<$($axis),*> {
            const AXES: &'static [usize] = &[$($axis),*];
        }
    )*};
}

axes! {
    /// Axis `A`.
    Axis<A>;
    /// Axes `A` and `B`.
    Axes2<A, B>;
    /// Axes `A`, `B` and `C`.
    Axes3<A, B, C>;
    /// Axes `A` to `D`.
    Axes4<A, B, C, D>;
    /// Axes `A` to `E`.
    Axes5<A, B, C, D, E>;
}

/// One axis of a sample, which may be the last whatever its number: [`Axis`] or [`LastAxis`].
pub trait Along: 'static {
    /// Its number; `None` for the last.
    const NUMBER: Option<usize>;
}

impl<const A: usize> Along for Axis<A> {
    const NUMBER: Option<usize> = Some(A);
}

/// The last axis: channels, features.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastAxis;

impl Along for LastAxis {
    const NUMBER: Option<usize> = None;
}

/// The number of the axis `A` of `S`.
pub(super) const fn number<A: Along, S: Shape>() -> usize {
    match A::NUMBER {
        Some(number) => number,
        None => S::RANK - 1,
    }
}

/// The axes as kernels count them, behind axis 0, which is the batch.
pub(super) const fn behind_batch<A: Axes>() -> [usize; MAX_RANK] {
    let mut axes = [0; MAX_RANK];
    let mut i = 0;
    while i < A::AXES.len() && i + 1 < MAX_RANK {
        axes[i + 1] = A::AXES[i] + 1;
        i += 1;
    }
    axes
}

/// Whether axis `axis` is among `A`.
pub(super) const fn names<A: Axes>(axis: usize) -> bool {
    let mut i = 0;
    while i < A::AXES.len() {
        if A::AXES[i] == axis {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether `A` names axes of `S`, none twice.
pub(super) const fn are_axes<S: Shape, A: Axes>() -> bool {
    let mut named = 0;
    let mut axis = 0;
    while axis < S::RANK {
        if names::<A>(axis) {
            named += 1;
        }
        axis += 1;
    }
    named == A::AXES.len()
}

/// Whether two shapes are equal in their first `axes` axes.
pub(super) const fn agree<A: Shape, B: Shape>(axes: usize) -> bool {
    let mut axis = 0;
    while axis < axes {
        if A::EXTENTS[axis] != B::EXTENTS[axis] {
            return false;
        }
        axis += 1;
    }
    true
}

/// Whether two shapes are equal in all axes but `axis`.
pub(super) const fn agree_beside<A: Shape, B: Shape>(axis: usize) -> bool {
    let mut other = 0;
    while other < A::RANK {
        if other != axis && A::EXTENTS[other] != B::EXTENTS[other] {
            return false;
        }
        other += 1;
    }
    A::RANK == B::RANK
}

/// The extents of `batch` samples of shape `S`.
pub(super) fn batched<S: Shape>(batch: usize) -> Result<Extents> {
    let mut extents = [batch; MAX_RANK];
    for (to, extent) in extents.iter_mut().skip(1).zip(S::EXTENTS) {
        *to = extent;
    }
    Extents::new(extents.get(..=S::RANK).unwrap_or_default())
}
