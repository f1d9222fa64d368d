//! Concatenation.

use super::{Asked, Join, operand};
use crate::net::axes::agree;
use crate::net::{Context, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result as KernelResult, layout};

/// The channels of `a` and then those of `b`, in the shape `Out`. Integers get the coarser of both
/// exponents. Numerical behaviour: [`selvedge_kernels::layout::concat`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Concat<Out>(PhantomData<Out>);

impl<A: Shape, B: Shape, Out: Shape> Join<A, B> for Concat<Out> {
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "concat";
    const RESCALES: bool = false;
    const CHECKED: () = {
        assert!(
            A::RANK == B::RANK && Out::RANK == A::RANK,
            "concat: branches and output must have as many axes"
        );
        assert!(
            agree::<A, B>(A::RANK - 1) && agree::<A, Out>(A::RANK - 1),
            "concat: branches and output may differ in channels only"
        );
        assert!(
            A::CHANNELS + B::CHANNELS == Out::CHANNELS,
            "concat: the output must have the channels of both branches"
        );
    };

    fn forward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32> {
        let parts = [operand::<A, _>(a, A::RANK)?, operand::<B, _>(b, A::RANK)?];
        layout::concat(A::RANK, &parts, out)
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
        layout::split(extents, A::RANK, dy.data, &mut [da, db])?;
        Ok([dy.exponent; 2])
    }
}
