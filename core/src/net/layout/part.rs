//! Neighbours along one axis.

use super::{Parted, Range, Stands};
use crate::net::axes::{Along, agree_beside, batched, number};
use crate::net::{Context, Function, Values};
use crate::tensor::Shape;
use selvedge_kernels::axes::MAX_RANK;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result, layout};

impl<In: Shape, Out: Shape, A: Along, P: Stands> Parted<In, Out, A, P> {
    /// All of the batch and of each axis but one.
    const RANGES: [Range; MAX_RANK] = {
        let axis = number::<A, In>();
        let mut ranges = [Range::ALL; MAX_RANK];
        ranges[axis + 1] = Range {
            start: Some(P::BEFORE[axis] as isize),
            stop: Some((P::BEFORE[axis] + Out::EXTENTS[axis]) as isize),
            ..Range::ALL
        };
        ranges
    };

    fn ranges() -> &'static [Range] {
        const { &Self::RANGES }.get(..=In::RANK).unwrap_or_default()
    }
}

impl<In: Shape, Out: Shape, A: Along, P: Stands> Function for Parted<In, Out, A, P> {
    type Input = In;
    type Output = Out;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "part";
    const RESCALES: bool = false;
    const CHECKED: () = {
        let axis = number::<A, In>();
        assert!(axis < In::RANK, "part: the axis is not one of the input's");
        assert!(
            agree_beside::<In, Out>(axis),
            "part: input and output may differ in extent along the axis only"
        );
        let end = P::BEFORE[axis] + Out::EXTENTS[axis];
        assert!(
            Out::EXTENTS[axis] > 0 && end <= In::EXTENTS[axis],
            "part: the axis has no such part"
        );
        assert!(
            !P::ENDS || end == In::EXTENTS[axis],
            "split: together, the parts must have the extent of the whole"
        );
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
