//! Entries by number.

use super::{Entries, Gathered};
use crate::net::axes::{agree_beside, batched};
use crate::net::{Context, Function, Values};
use crate::tensor::Shape;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result, layout};

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
