//! Parts.

use super::{Range, Ranges, Sliced};
use crate::net::axes::batched;
use crate::net::{Context, Function, Values};
use crate::tensor::Shape;
use selvedge_kernels::axes::MAX_RANK;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result, layout};

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
