//! How the outputs of two branches come together: sums, gates, concatenation.

use super::axes::agree;
use super::{Context, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::axes::{Extents, Operand};
use selvedge_kernels::elementwise::{self, Operation, Side, Term, aligned_exponent};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result as KernelResult, layout};

/// How the outputs of two branches, of shapes `A` and `B`, come together.
pub trait Join<A: Shape, B: Shape>: 'static {
    /// Shape of one output sample.
    type Output: Shape;

    /// What [`Info::kind`] says.
    const KIND: &'static str;
    /// Whether the output of integers has an exponent of its own.
    const RESCALES: bool;
    /// Refuses shapes that do not belong together, when the program is compiled.
    const CHECKED: ();

    /// Computes `out` of `a` and `b`, and returns its exponent.
    ///
    /// # Errors
    /// Those of its kernels.
    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32>;

    /// Takes the error `dy` of the output to those of `a` and `b`, and returns their exponents.
    ///
    /// # Errors
    /// Those of its kernels.
    fn backward<T: Element, E: Executor>(
        contexts: [Context<'_, T, E>; 2],
        a: Values<'_, T>,
        b: Values<'_, T>,
        dy: Values<'_, T>,
        da: &mut [T],
        db: &mut [T],
    ) -> KernelResult<[i32; 2]>;
}

/// `a + b`, of equal shapes. Numerical behaviour: [`selvedge_kernels::elementwise::sum()`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum;

/// `a · b`, where axes of extent 1 stretch, and leading axes may be left out: a gate for each channel is
/// `[C]`. Numerical behaviour: [`selvedge_kernels::elementwise::forward`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Product;

/// The channels of `a` and then those of `b`, in the shape `Out`. Integers get the coarser of both
/// exponents. Numerical behaviour: [`selvedge_kernels::layout::concat`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Concat<Out>(PhantomData<Out>);

impl<A: Shape, B: Shape> Join<A, B> for Sum {
    type Output = A;

    const KIND: &'static str = "sum";
    const RESCALES: bool = true;
    const CHECKED: () = assert!(
        A::RANK == B::RANK && agree::<A, B>(5),
        "sum: both branches must have outputs of the same shape"
    );

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32> {
        add(context, a, b, out)
    }

    fn backward<T: Element, E: Executor>(
        _: [Context<'_, T, E>; 2],
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        da: &mut [T],
        db: &mut [T],
    ) -> KernelResult<[i32; 2]> {
        copy(dy.data, da);
        copy(dy.data, db);
        Ok([dy.exponent; 2])
    }
}

/// `a + b`, at the exponent that the state of `context` asks for.
pub(super) fn add<T: Element, E: Executor>(
    context: Context<'_, T, E>,
    a: Values<'_, T>,
    b: Values<'_, T>,
    out: &mut [T],
) -> KernelResult<i32> {
    let terms = [a, b].map(|Values { data, exponent, .. }| Term {
        values: data,
        exponent,
    });
    let exec = context.exec;
    context.rescale(aligned_exponent([a.exponent, b.exponent]), |store| {
        elementwise::sum(exec, &terms, store, out)
    })
}

pub(super) fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from;
    }
}

/// The samples `values` of shape `S` as an operand of `rank` axes beside the batch.
fn operand<S: Shape, T>(values: Values<'_, T>, rank: usize) -> KernelResult<Operand<'_, T>> {
    let mut extents = [1; 6];
    let own = S::EXTENTS.iter().take(S::RANK);
    for (to, &extent) in extents.iter_mut().skip(1 + rank - S::RANK).zip(own) {
        *to = extent;
    }
    if let Some(batch) = extents.first_mut() {
        *batch = values.batch;
    }
    Ok(Operand {
        values: values.data,
        extents: Extents::new(extents.get(..=rank).unwrap_or_default())?,
        exponent: values.exponent,
    })
}

impl<A: Shape, B: Shape> Join<A, B> for Product {
    type Output = A;

    const KIND: &'static str = "product";
    const RESCALES: bool = true;
    const CHECKED: () = {
        assert!(
            B::RANK <= A::RANK,
            "product: the second branch has more axes than the first"
        );
        let mut axis = 0;
        while axis < B::RANK {
            let extent = B::EXTENTS[axis];
            assert!(
                extent == 1 || extent == A::EXTENTS[A::RANK - B::RANK + axis],
                "product: the second branch does not stretch to the shape of the first"
            );
            axis += 1;
        }
    };

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        a: Values<'_, T>,
        b: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32> {
        let exec = context.exec;
        let exponent = Operation::Mul.exponent::<T>(a.exponent, b.exponent);
        let (a, b) = (operand::<A, _>(a, A::RANK)?, operand::<B, _>(b, A::RANK)?);
        context.rescale(exponent, |store| {
            elementwise::forward(exec, Operation::Mul, a, b, store, out)
        })
    }

    fn backward<T: Element, E: Executor>(
        [first, second]: [Context<'_, T, E>; 2],
        a: Values<'_, T>,
        b: Values<'_, T>,
        dy: Values<'_, T>,
        da: &mut [T],
        db: &mut [T],
    ) -> KernelResult<[i32; 2]> {
        let operands = [operand::<A, _>(a, A::RANK)?, operand::<B, _>(b, A::RANK)?];
        Ok([
            factor(first, Side::A, operands, dy, da)?,
            factor(second, Side::B, operands, dy, db)?,
        ])
    }
}

/// The error of one factor of a product.
fn factor<T: Element, E: Executor>(
    context: Context<'_, T, E>,
    side: Side,
    [a, b]: [Operand<'_, T>; 2],
    dy: Values<'_, T>,
    d: &mut [T],
) -> KernelResult<i32> {
    let exec = context.exec;
    // Its own output is not read: the gradient of a factor asks for the other one.
    let exponent =
        Operation::Mul.gradient_exponent::<T>(side, a.exponent, b.exponent, 0, dy.exponent);
    context.rescale(exponent, |store| {
        elementwise::backward(exec, Operation::Mul, side, a, b, &[], dy.data, store, d)
    })
}

impl<A: Shape, B: Shape, Out: Shape> Join<A, B> for Concat<Out> {
    type Output = Out;

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
        _: [Context<'_, T, E>; 2],
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
