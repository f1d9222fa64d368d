//! The largest elements.

use super::Largest;
use crate::net::axes::agree_beside;
use crate::net::scratch::Scratch;
use crate::net::{Axes, Context, Function, Values};
use crate::ops::layout::top_k;
use crate::tensor::Shape;
use selvedge_kernels::axes::Extents;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result};

impl<In: Shape, Out: Shape, A: Axes> Largest<In, Out, A> {
    const AXIS: usize = A::AXES[0];
    const K: usize = Out::EXTENTS[Self::AXIS];

    fn of(batch: usize) -> Result<top_k::Largest> {
        Ok(top_k::Largest {
            batch,
            extents: Extents::new(In::EXTENTS.get(..In::RANK).unwrap_or_default())?,
            axis: Self::AXIS,
            k: Self::K,
        })
    }
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
        Self::of(x.batch)?.forward(x.data, out, places.all())?;
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
        let (values, places) = (values.all(), places.all());
        Self::of(x.batch)?.backward(x.data, dy.data, dx, values, places)?;
        Ok(dy.exponent)
    }
}
