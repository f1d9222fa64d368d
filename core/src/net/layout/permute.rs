//! Axes in another order.

use super::Permuted;
use crate::net::axes::{are_axes, batched, behind_batch};
use crate::net::{Axes, Context, Function, Values};
use crate::tensor::Shape;
use selvedge_kernels::axes::MAX_RANK;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result, layout};

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
            O::AXES.len() == In::RANK && are_axes::<In, O>(),
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
