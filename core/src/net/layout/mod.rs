//! Elements in other places: other orders of axes, parts, edges, entries by number, the largest. A change of
//! shape alone is [`Flatten`](super::Flatten).

mod gather;
mod pad;
mod part;
mod permute;
mod slice;
mod top_k;

use super::{Apply, Axis, LastAxis};
use crate::tensor::Shape;
use core::marker::PhantomData;

pub use selvedge_kernels::layout::Range;

/// The same elements in another shape: an alias of [`Flatten`](super::Flatten), for what does not get
/// flatter.
pub type Reshape<T, In, Out> = super::Flatten<T, In, Out>;

/// Axis `i` of `Out` is axis `O::AXES[i]` of `In`. Numerical behaviour:
/// [`selvedge_kernels::layout::permute`].
///
/// # Example
/// ```
/// use selvedge_core::net::{Axes2, Layer, Permute};
/// use selvedge_core::tensor::D2;
/// static TRANSPOSE: Permute<i8, D2<3, 5>, D2<5, 3>, Axes2<1, 0>> = Permute::BLANK;
/// ```
/// Extents that are not in this order do not compile:
/// ```compile_fail
/// # use selvedge_core::net::{Axes2, Layer, Permute};
/// # use selvedge_core::tensor::D2;
/// static TRANSPOSE: Permute<i8, D2<3, 5>, D2<3, 5>, Axes2<1, 0>> = Permute::BLANK;
/// ```
pub type Permute<T, In, Out, O> = Apply<T, Permuted<In, Out, O>>;

/// Elements around the edges of `In`, in the shape `Out`. Numerical behaviour:
/// [`selvedge_kernels::layout::pad`].
pub type Pad<T, In, Out, E> = Apply<T, Padded<In, Out, E>>;

/// Part of `In`, in the shape `Out`. Numerical behaviour: [`selvedge_kernels::layout::slice()`].
pub type Slice<T, In, Out, R> = Apply<T, Sliced<In, Out, R>>;

/// Neighbours along the axis `A` of `In`, in the shape `Out`: from the first on, or from where `P` says. Numerical
/// behaviour: [`selvedge_kernels::layout::slice()`]. What [`Split`](super::Split) gives each of its branches.
///
/// # Example
/// ```
/// use selvedge_core::net::layout::Behind;
/// use selvedge_core::net::{Axis, LastAxis, Layer, Part};
/// use selvedge_core::tensor::{D2, D3};
/// // The first three of eight channels, and the five behind them.
/// static FIRST: Part<i8, D3<4, 4, 8>, D3<4, 4, 3>> = Layer::BLANK;
/// static OTHERS: Part<i8, D3<4, 4, 8>, D3<4, 4, 5>, LastAxis, Behind<D3<4, 4, 3>>> = Layer::BLANK;
/// // The first of twelve rows.
/// static HEADER: Part<f32, D2<12, 5>, D2<1, 5>, Axis<0>> = Layer::BLANK;
/// ```
/// What is behind a part is all of the rest:
/// ```compile_fail
/// # use selvedge_core::net::layout::Behind;
/// # use selvedge_core::net::{LastAxis, Layer, Part};
/// # use selvedge_core::tensor::D3;
/// static OTHERS: Part<i8, D3<4, 4, 8>, D3<4, 4, 4>, LastAxis, Behind<D3<4, 4, 3>>> = Layer::BLANK;
/// ```
pub type Part<T, In, Out, A = LastAxis, P = Front> = Apply<T, Parted<In, Out, A, P>>;

/// Entries of an axis of `In` by number, in the shape `Out`. Numerical behaviour:
/// [`selvedge_kernels::layout::gather`].
pub type Gather<T, In, Out, N> = Apply<T, Gathered<In, Out, N>>;

/// The largest elements along axis `A` of `In`, the largest first: as many as `Out` has. Numerical behaviour:
/// [`selvedge_kernels::select::top_k`].
pub type TopK<T, In, Out, A = Axis<0>> = Apply<T, Largest<In, Out, A>>;

/// What stands beyond an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// Zeros.
    Zeros,
    /// The elements in reverse order, without the outermost.
    Reflect,
    /// The outermost element.
    Edge,
}

/// What [`Pad`] adds.
pub trait Edges: 'static {
    /// Elements before and behind each axis of a sample.
    const SIDES: &'static [[usize; 2]];
    /// What they are.
    const BEYOND: Beyond = Beyond::Zeros;
}

/// What [`Slice`] takes.
pub trait Ranges: 'static {
    /// A range for each axis of a sample, as in Python.
    const RANGES: &'static [Range];
}

/// Where a [`Part`] stands.
pub trait Stands: 'static {
    /// Elements before it, along each axis that it may be of.
    const BEFORE: [usize; 5];
    /// Whether it reaches the end.
    const ENDS: bool;
}

/// The first elements.
#[derive(Clone, Copy, Debug, Default)]
pub struct Front;

impl Stands for Front {
    const BEFORE: [usize; 5] = [0; 5];
    const ENDS: bool = false;
}

/// The elements behind those of the shape `S`, all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Behind<S>(PhantomData<S>);

impl<S: Shape> Stands for Behind<S> {
    const BEFORE: [usize; 5] = S::EXTENTS;
    const ENDS: bool = true;
}

/// What [`Gather`] takes.
pub trait Entries: 'static {
    /// The axis of a sample.
    const AXIS: usize = 0;
    /// The entries, in any order, also repeated.
    const INDICES: &'static [u32];
}

/// See [`Permute`].
pub struct Permuted<In, Out, O>(PhantomData<(In, Out, O)>);

/// See [`Pad`].
pub struct Padded<In, Out, E>(PhantomData<(In, Out, E)>);

/// See [`Slice`].
pub struct Sliced<In, Out, R>(PhantomData<(In, Out, R)>);

/// See [`Part`].
pub struct Parted<In, Out, A, P>(PhantomData<(In, Out, A, P)>);

/// See [`Gather`].
pub struct Gathered<In, Out, N>(PhantomData<(In, Out, N)>);

/// See [`TopK`].
pub struct Largest<In, Out, A>(PhantomData<(In, Out, A)>);
