//! Elements in other places: other orders of axes, parts, edges, entries by number, the largest. A change of
//! shape alone is [`Flatten`](super::Flatten).

use super::axes::{agree_beside, batched, behind_batch};
use super::scratch::Scratch;
use super::{Apply, Axes, Axis, Context, Function, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::axes::{Extents, MAX_RANK};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::layout::{self, Padding, PaddingMode};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Element, Result, select};

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

impl<In: Shape, Out: Shape, O: Axes> Permuted<In, Out, O> {
    const ORDER: [usize; MAX_RANK] = behind_batch::<O>();

    fn order() -> &'static [usize] {
        const { &Self::ORDER }.get(..=In::RANK).unwrap_or_default()
    }
}

impl<In: Shape, Out: Shape, O: Axes> Function for Permuted<In, Out, O> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "permute";
    const RESCALES: bool = false;
    const CHECKED: () = {
        assert!(
            O::AXES.len() == In::RANK && super::axes::are_axes::<In, O>(),
            "permute: the order must name each axis once"
        );
        let mut axis = 0;
        while axis < In::RANK {
            assert!(
                Out::RANK == In::RANK && Out::EXTENTS[axis] == In::EXTENTS[O::AXES[axis]],
                "permute: the output's extents are not those of the input in this order"
            );
            axis += 1;
        }
    };

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let extents = batched::<In>(x.batch)?;
        layout::permute(context.exec, extents, Self::order(), x.data, out)?;
        Ok(x.exponent)
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let inverse = layout::inverse(Self::order())?;
        let order = inverse.get(..=In::RANK).unwrap_or_default();
        let extents = batched::<Out>(dy.batch)?;
        layout::permute(context.exec, extents, order, dy.data, dx)?;
        Ok(dy.exponent)
    }
}

impl<In: Shape, Out: Shape, G: Edges> Padded<In, Out, G> {
    /// The sides of the batch, which has none, and of each axis.
    const SIDES: [[usize; 2]; MAX_RANK] = {
        let mut sides = [[0; 2]; MAX_RANK];
        let mut axis = 0;
        while axis < In::RANK {
            sides[axis + 1] = G::SIDES[axis];
            axis += 1;
        }
        sides
    };

    fn padding<T: Element>() -> Padding<'static, T> {
        Padding {
            sides: const { &Self::SIDES }.get(..=In::RANK).unwrap_or_default(),
            mode: match G::BEYOND {
                Beyond::Zeros => PaddingMode::Constant(T::ZERO),
                Beyond::Reflect => PaddingMode::Reflect,
                Beyond::Edge => PaddingMode::Edge,
            },
        }
    }
}

impl<In: Shape, Out: Shape, G: Edges> Function for Padded<In, Out, G> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "pad";
    const RESCALES: bool = false;
    const CHECKED: () = {
        assert!(
            G::SIDES.len() == In::RANK && Out::RANK == In::RANK,
            "pad: expected two sides for each axis, and an output of as many axes"
        );
        let mut axis = 0;
        while axis < In::RANK {
            let ([before, behind], extent) = (G::SIDES[axis], In::EXTENTS[axis]);
            assert!(
                Out::EXTENTS[axis] == before + extent + behind,
                "pad: the output's extents are not those of the input with its edges"
            );
            assert!(
                !matches!(G::BEYOND, Beyond::Reflect) || (before < extent && behind < extent),
                "pad: fewer elements are there than an edge reflects"
            );
            axis += 1;
        }
    };

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let extents = batched::<In>(x.batch)?;
        layout::pad(context.exec, extents, Self::padding(), x.data, out)?;
        Ok(x.exponent)
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let (exec, extents) = (context.exec, batched::<In>(dy.batch)?);
        let mut run =
            |store| layout::pad_backward(exec, extents, Self::padding(), dy.data, store, dx);
        match G::BEYOND {
            Beyond::Zeros => run(Store::EXACT).map(|_| dy.exponent), // no errors are added
            Beyond::Reflect | Beyond::Edge => context.rescale(dy.exponent, run),
        }
    }
}

/// How many elements `range` takes of an axis of `extent`, as [`selvedge_kernels::layout::slice()`] does.
const fn taken(range: Range, extent: usize) -> usize {
    const fn place(at: isize, n: isize, low: isize, high: isize) -> isize {
        let at = if at < 0 { at + n } else { at };
        if at < low {
            low
        } else if at > high {
            high
        } else {
            at
        }
    }
    let n = extent as isize;
    let is_backwards = range.step < 0;
    let (low, high) = if is_backwards { (-1, n - 1) } else { (0, n) };
    let start = match range.start {
        Some(at) => place(at, n, low, high),
        None if is_backwards => high,
        None => low,
    };
    let stop = match range.stop {
        Some(at) => place(at, n, low, high),
        None if is_backwards => low,
        None => high,
    };
    let distance = if is_backwards {
        start - stop
    } else {
        stop - start
    };
    if distance <= 0 || range.step == 0 {
        return 0;
    }
    (distance as usize).div_ceil(range.step.unsigned_abs())
}

impl<In: Shape, Out: Shape, R: Ranges> Sliced<In, Out, R> {
    /// All of the batch, and the range of each axis.
    const RANGES: [Range; MAX_RANK] = {
        let mut ranges = [Range::ALL; MAX_RANK];
        let mut axis = 0;
        while axis < In::RANK {
            ranges[axis + 1] = R::RANGES[axis];
            axis += 1;
        }
        ranges
    };

    fn ranges() -> &'static [Range] {
        const { &Self::RANGES }.get(..=In::RANK).unwrap_or_default()
    }
}

impl<In: Shape, Out: Shape, R: Ranges> Function for Sliced<In, Out, R> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "slice";
    const RESCALES: bool = false;
    const CHECKED: () = {
        assert!(
            R::RANGES.len() == In::RANK && Out::RANK == In::RANK,
            "slice: expected a range for each axis, and an output of as many axes"
        );
        let mut axis = 0;
        while axis < In::RANK {
            let taken = taken(R::RANGES[axis], In::EXTENTS[axis]);
            assert!(taken > 0, "slice: a range takes nothing");
            assert!(
                Out::EXTENTS[axis] == taken,
                "slice: the output's extents are not those of what is taken"
            );
            axis += 1;
        }
    };

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let extents = batched::<In>(x.batch)?;
        layout::slice(context.exec, extents, Self::ranges(), x.data, out)?;
        Ok(x.exponent)
    }

    fn backward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let extents = batched::<In>(dy.batch)?;
        layout::slice_backward(extents, Self::ranges(), dy.data, dx)?;
        Ok(dy.exponent)
    }
}

impl<In: Shape, Out: Shape, N: Entries> Function for Gathered<In, Out, N> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "gather";
    const RESCALES: bool = false;
    const CHECKED: () = {
        assert!(
            N::AXIS < In::RANK,
            "gather: the axis is not one of the input's"
        );
        assert!(
            agree_beside::<In, Out>(N::AXIS) && Out::EXTENTS[N::AXIS] == N::INDICES.len(),
            "gather: the output's extents are not those of the input with an entry for each index"
        );
        let mut i = 0;
        while i < N::INDICES.len() {
            assert!(
                (N::INDICES[i] as usize) < In::EXTENTS[N::AXIS],
                "gather: an index is beyond the axis"
            );
            i += 1;
        }
    };

    fn forward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let extents = batched::<In>(x.batch)?;
        layout::gather(extents, N::AXIS + 1, N::INDICES, x.data, out)?;
        Ok(x.exponent)
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let (exec, extents) = (context.exec, batched::<In>(dy.batch)?);
        context.rescale(dy.exponent, |store| {
            layout::gather_backward(exec, extents, N::AXIS + 1, N::INDICES, dy.data, store, dx)
        })
    }
}

impl<In: Shape, Out: Shape, A: Axes> Largest<In, Out, A> {
    const AXIS: usize = A::AXES[0];
    const K: usize = Out::EXTENTS[Self::AXIS];
}

impl<In: Shape, Out: Shape, A: Axes> Function for Largest<In, Out, A> {
    type Input = In;
    type Output = Out;
    /// Values and places of one sample: places are found again in the backward pass.
    type Scratch<T: Element> = (Scratch<T, Out, 1>, Scratch<u32, Out, 1>);

    const KIND: &'static str = "top_k";
    const RESCALES: bool = false;
    const CHECKED: () = {
        assert!(
            A::AXES.len() == 1 && A::AXES[0] < In::RANK,
            "top k: expected one axis of the input"
        );
        assert!(
            agree_beside::<In, Out>(A::AXES[0]),
            "top k: input and output may differ in extent along the axis only"
        );
        assert!(
            Out::EXTENTS[A::AXES[0]] <= In::EXTENTS[A::AXES[0]],
            "top k: more elements than the axis has"
        );
    };

    fn forward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        (_, places): &mut Self::Scratch<T>,
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let extents = sample::<In>()?;
        let samples = x.data.chunks_exact(In::LEN.max(1));
        for (x, out) in samples.zip(out.chunks_exact_mut(Out::LEN.max(1))) {
            select::top_k(extents, Self::AXIS, Self::K, x, out, places.all())?;
        }
        Ok(x.exponent)
    }

    fn backward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        (values, places): &mut Self::Scratch<T>,
        x: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let extents = sample::<In>()?;
        let samples = x.data.chunks_exact(In::LEN.max(1));
        let errors = dy.data.chunks_exact(Out::LEN.max(1));
        for ((x, dy), dx) in samples.zip(errors).zip(dx.chunks_exact_mut(In::LEN.max(1))) {
            let (values, places) = (values.all(), places.all());
            select::top_k(extents, Self::AXIS, Self::K, x, values, places)?;
            select::top_k_backward(extents, Self::AXIS, Self::K, places, dy, dx)?;
        }
        Ok(dy.exponent)
    }
}

fn sample<S: Shape>() -> Result<Extents> {
    Extents::new(S::EXTENTS.get(..S::RANK).unwrap_or_default())
}
