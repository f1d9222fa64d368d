//! Elements in other places: other orders of axes, parts, edges, entries by number, the largest. A change of
//! shape alone is [`Flatten`](super::Flatten).

mod gather;
mod pad;
mod permute;
mod slice;
mod top_k;

use super::{Apply, Axis};
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

/// See [`Gather`].
pub struct Gathered<In, Out, N>(PhantomData<(In, Out, N)>);

/// See [`TopK`].
pub struct Largest<In, Out, A>(PhantomData<(In, Out, A)>);
