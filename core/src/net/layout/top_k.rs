//! The largest elements.

use super::Largest;
use crate::net::axes::agree_beside;
use crate::net::rows::{rows_of, rows_of_mut};
use crate::net::scratch::Scratch;
use crate::net::{Axes, Context, Function, Values};
use crate::tensor::Shape;
use selvedge_kernels::axes::Extents;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Arg, Element, Error, Result, select};

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
        check_len(Arg::X, x.data.len(), x.batch * In::LEN)?;
        check_len(Arg::Out, out.len(), x.batch * Out::LEN)?;
        let samples = rows_of(x.data, In::LEN);
        for (x, out) in samples.zip(rows_of_mut(out, Out::LEN)) {
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
        check_len(Arg::X, x.data.len(), x.batch * In::LEN)?;
        check_len(Arg::Dy, dy.data.len(), x.batch * Out::LEN)?;
        check_len(Arg::Dx, dx.len(), x.batch * In::LEN)?;
        let samples = rows_of(x.data, In::LEN);
        let errors = rows_of(dy.data, Out::LEN);
        for ((x, dy), dx) in samples.zip(errors).zip(rows_of_mut(dx, In::LEN)) {
            let (values, places) = (values.all(), places.all());
            select::top_k(extents, Self::AXIS, Self::K, x, values, places)?;
            select::top_k_backward(extents, Self::AXIS, Self::K, places, dy, dx)?;
        }
        Ok(dy.exponent)
    }
}

/// Refuses all samples together where kernels see one at a time.
fn check_len(arg: Arg, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        Ok(())
    } else {
        Err(Error::Length { arg, expected, got })
    }
}

fn sample<S: Shape>() -> Result<Extents> {
    Extents::new(S::EXTENTS.get(..S::RANK).unwrap_or_default())
}
