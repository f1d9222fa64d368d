//! Sums.

use super::{Asked, Join};
use crate::net::axes::agree;
use crate::net::{Context, Values};
use crate::tensor::Shape;
use selvedge_kernels::elementwise::{self, Term, aligned_exponent};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result as KernelResult};

/// `a + b`, of equal shapes. Numerical behaviour: [`selvedge_kernels::elementwise::sum()`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum;

impl<A: Shape, B: Shape> Join<A, B> for Sum {
    type Output = A;
    type Scratch<T: Element> = ();

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
        asked: Asked,
        _: [Context<'_, T, E>; 2],
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        da: &mut [T],
        db: &mut [T],
    ) -> KernelResult<[i32; 2]> {
        if asked.first {
            copy(dy.data, da);
        }
        if asked.second {
            copy(dy.data, db);
        }
        Ok([dy.exponent; 2])
    }
}

/// `a + b`, at the exponent that the state of `context` asks for.
pub(in crate::net) fn add<T: Element, E: Executor>(
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

pub(crate) fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from;
    }
}
