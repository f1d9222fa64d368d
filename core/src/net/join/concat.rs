//! Concatenation.

use super::{Asked, Join, operand};
use crate::net::axes::{Along, agree_beside, number};
use crate::net::{Context, LastAxis, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result as KernelResult, layout};

/// The elements of `a` along the axis `A`, then those of `b`, in the shape `Out`: channels, where no axis is given. Integers
/// get the coarser of both exponents. More branches are joined one after the other: a branch is a
/// [`Fork`](crate::net::Fork) itself. Numerical behaviour: [`selvedge_kernels::layout::concat`].
///
/// # Example
/// ```
/// use selvedge_core::net::{Axis, Concat, Fork, Layer, Negate, Skip, Square};
/// use selvedge_core::tensor::D2;
/// // Four rows, their opposites below them, and their squares below these.
/// type Rows<T> = Fork<
///     Skip<T, D2<4, 3>>,
///     Fork<Negate<T, D2<4, 3>>, Square<T, D2<4, 3>>, Concat<D2<8, 3>, Axis<0>>>,
///     Concat<D2<12, 3>, Axis<0>>,
/// >;
/// static ROWS: Rows<i8> = Layer::BLANK;
/// ```
/// Branches that differ along another axis do not compile:
/// ```compile_fail
/// # use selvedge_core::net::{Axis, Concat, Fork, Layer, ReduceSum, Skip};
/// # use selvedge_core::tensor::D2;
/// static ROWS: Fork<Skip<i8, D2<4, 3>>, ReduceSum<i8, D2<4, 3>, D2<4, 1>, Axis<1>>, Concat<D2<8, 3>, Axis<0>>>
///     = Layer::BLANK;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Concat<Out, A = LastAxis>(PhantomData<(Out, A)>);

impl<A: Shape, B: Shape, Out: Shape, L: Along> Join<A, B> for Concat<Out, L> {
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "concat";
    const RESCALES: bool = false;
    const CHECKED: () = {
        let axis = number::<L, A>();
        assert!(
            axis < A::RANK,
            "concat: the axis is not one of the branches'"
        );
        assert!(
            A::RANK == B::RANK && Out::RANK == A::RANK,
            "concat: branches and output must have as many axes"
        );
        assert!(
            agree_beside::<A, B>(axis) && agree_beside::<A, Out>(axis),
            "concat: branches and output may differ along the axis only"
        );
        assert!(
            A::EXTENTS[axis] + B::EXTENTS[axis] == Out::EXTENTS[axis],
            "concat: the output must have the extents of both branches together"
        );
    };

    fn forward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32> {
        let parts = [operand::<A, _>(a, A::RANK)?, operand::<B, _>(b, A::RANK)?];
        layout::concat(const { number::<L, A>() + 1 }, &parts, out)
    }

    fn backward<T: Element, E: Executor>(
        _: Asked, // a copy of both
        _: [Context<'_, T, E>; 2],
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        da: &mut [T],
        db: &mut [T],
    ) -> KernelResult<[i32; 2]> {
        let extents = operand::<Out, _>(dy, A::RANK)?.extents;
        layout::split(
            extents,
            const { number::<L, A>() + 1 },
            dy.data,
            &mut [da, db],
        )?;
        Ok([dy.exponent; 2])
    }
}
