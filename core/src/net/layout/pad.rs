//! Elements around the edges.

use super::{Beyond, Edges, Padded};
use crate::net::axes::batched;
use crate::net::{Context, Function, Values};
use crate::tensor::Shape;
use selvedge_kernels::axes::MAX_RANK;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::layout::{self, Padding, PaddingMode};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::{Element, Result};

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
