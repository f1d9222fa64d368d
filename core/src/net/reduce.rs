//! Sums, means, maxima and minima over axes of a sample.

use super::axes::{are_axes, batched, behind_batch, names};
use super::{Apply, Axes, Context, Function, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::axes::MAX_RANK;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result, reduce};

/// The sums over the axes `A` of `In`, in the shape `Out`: that of the other axes, or with extents of
/// 1 for those that are summed; `[1]` if no axis is left. Numerical behaviour:
/// [`selvedge_kernels::reduce::sum`].
pub type ReduceSum<T, In, Out, A> = Apply<T, Sum<In, Out, A>>;

/// The means; otherwise as [`ReduceSum`]. Numerical behaviour: [`selvedge_kernels::reduce::mean`].
pub type ReduceMean<T, In, Out, A> = Apply<T, Mean<In, Out, A>>;

/// The largest elements; otherwise as [`ReduceSum`]. The error goes to the first of them. Numerical behaviour:
/// [`selvedge_kernels::reduce::max`].
pub type ReduceMax<T, In, Out, A> = Apply<T, Max<In, Out, A>>;

/// The smallest elements; otherwise as [`ReduceMax`].
pub type ReduceMin<T, In, Out, A> = Apply<T, Min<In, Out, A>>;

/// See [`ReduceSum`].
pub struct Sum<In, Out, A>(PhantomData<(In, Out, A)>);

/// See [`ReduceMean`].
pub struct Mean<In, Out, A>(PhantomData<(In, Out, A)>);

/// See [`ReduceMax`].
pub struct Max<In, Out, A>(PhantomData<(In, Out, A)>);

/// See [`ReduceMin`].
pub struct Min<In, Out, A>(PhantomData<(In, Out, A)>);

/// Whether `Out` has the axes of `In` without those of `A`.
const fn drops<In: Shape, Out: Shape, A: Axes>() -> bool {
    let (mut axis, mut left) = (0, 0);
    while axis < In::RANK {
        if !names::<A>(axis) {
            if Out::EXTENTS[left] != In::EXTENTS[axis] {
                return false;
            }
            left += 1;
        }
        axis += 1;
    }
    left == Out::RANK || (left == 0 && Out::LEN == 1)
}

/// Whether `Out` has the axes of `In`, those of `A` with extent 1.
const fn keeps<In: Shape, Out: Shape, A: Axes>() -> bool {
    let mut axis = 0;
    while axis < In::RANK {
        let extent = if names::<A>(axis) {
            1
        } else {
            In::EXTENTS[axis]
        };
        if Out::EXTENTS[axis] != extent {
            return false;
        }
        axis += 1;
    }
    In::RANK == Out::RANK
}

pub(super) const fn check<In: Shape, Out: Shape, A: Axes>() {
    assert!(
        are_axes::<In, A>(),
        "reduce: an axis is named twice, or not one of the input's"
    );
    assert!(
        drops::<In, Out, A>() || keeps::<In, Out, A>(),
        "reduce: the output's extents are not those of the axes that are left"
    );
}

/// The axes `A` behind the batch.
struct Reduced<A>(PhantomData<A>);

impl<A: Axes> Reduced<A> {
    const AXES: [usize; MAX_RANK] = behind_batch::<A>();

    fn of<In: Shape>(batch: usize) -> Result<reduce::Shape<'static>> {
        Ok(reduce::Shape {
            extents: batched::<In>(batch)?,
            axes: const { &Self::AXES }
                .get(1..=A::AXES.len())
                .unwrap_or_default(),
        })
    }
}

impl<In: Shape, Out: Shape, A: Axes> Function for Sum<In, Out, A> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "reduce_sum";
    const RESCALES: bool = true;
    const CHECKED: () = check::<In, Out, A>();

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let (exec, shape) = (context.exec, Reduced::<A>::of::<In>(x.batch)?);
        context.rescale(x.exponent, |store| {
            reduce::sum(exec, shape, x.data, store, out)
        })
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let shape = Reduced::<A>::of::<In>(dy.batch)?;
        reduce::sum_backward(context.exec, shape, dy.data, dx)?;
        Ok(dy.exponent)
    }
}

impl<In: Shape, Out: Shape, A: Axes> Function for Mean<In, Out, A> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "reduce_mean";
    const RESCALES: bool = true;
    const CHECKED: () = check::<In, Out, A>();

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let (exec, shape) = (context.exec, Reduced::<A>::of::<In>(x.batch)?);
        context.rescale(x.exponent - reduce::mean_places::<T>(shape)?, |store| {
            reduce::mean(exec, shape, x.data, store, out)
        })
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let (exec, shape) = (context.exec, Reduced::<A>::of::<In>(dy.batch)?);
        context.rescale(dy.exponent - reduce::mean_places::<T>(shape)?, |store| {
            reduce::mean_backward(exec, shape, dy.data, store, dx)
        })
    }
}

/// Implements the choice of one element, by two kernels.
macro_rules! impl_choice {
    ($($name:ident: $kind:literal, $forward:ident, $backward:ident;)*) => {$(
        impl<In: Shape, Out: Shape, A: Axes> Function for $name<In, Out, A> {
            type Input = In;
            type Output = Out;
            type Scratch<T: Element> = ();

            const KIND: &'static str = $kind;
            const RESCALES: bool = false;
            const CHECKED: () = check::<In, Out, A>();

            fn forward<T: Element, E: Executor>(
                context: Context<'_, T, E>,
                (): &mut (),
                x: Values<'_, T>,
                out: &mut [T],
            ) -> Result<i32> {
                let shape = Reduced::<A>::of::<In>(x.batch)?;
                reduce::$forward(context.exec, shape, x.data, out)?;
                Ok(x.exponent)
            }

            fn backward<T: Element, E: Executor>(
                _: Context<'_, T, E>,
                (): &mut (),
                x: Values<'_, T>,
                _: Values<'_, T>,
                dy: Values<'_, T>,
                dx: &mut [T],
            ) -> Result<i32> {
                let shape = Reduced::<A>::of::<In>(x.batch)?;
                reduce::$backward(shape, x.data, dy.data, dx)?;
                Ok(dy.exponent)
            }
        }
    )*};
}

impl_choice! {
    Max: "reduce_max", max, max_backward;
    Min: "reduce_min", min, min_backward;
}
