//! Functions of one element, other than activations.

use super::{Apply, Context, Function, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result, elementwise};

/// `-x`. Numerical behaviour: [`selvedge_kernels::elementwise::negate`].
pub type Negate<T, S> = Apply<T, Negative<S>>;

/// `|x|`, whose gradient at 0 is 0. Numerical behaviour: [`selvedge_kernels::elementwise::abs`].
pub type Abs<T, S> = Apply<T, Magnitude<S>>;

/// `x²`. Numerical behaviour: [`selvedge_kernels::elementwise::square`].
pub type Square<T, S> = Apply<T, Squared<S>>;

/// See [`Negate`].
pub struct Negative<S>(PhantomData<S>);

/// See [`Abs`].
pub struct Magnitude<S>(PhantomData<S>);

/// See [`Square`].
pub struct Squared<S>(PhantomData<S>);

impl<S: Shape> Function for Negative<S> {
    type Input = S;
    type Output = S;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "negate";
    const RESCALES: bool = false;
    const CHECKED: () = ();

    fn forward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        elementwise::negate(x.data, out)?;
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
        elementwise::negate(dy.data, dx)?;
        Ok(dy.exponent)
    }
}

impl<S: Shape> Function for Magnitude<S> {
    type Input = S;
    type Output = S;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "abs";
    const RESCALES: bool = false;
    const CHECKED: () = ();

    fn forward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        elementwise::abs(x.data, out)?;
        Ok(x.exponent)
    }

    fn backward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        elementwise::abs_backward(x.data, dy.data, dx)?;
        Ok(dy.exponent)
    }
}

impl<S: Shape> Function for Squared<S> {
    type Input = S;
    type Output = S;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "square";
    const RESCALES: bool = true;
    const CHECKED: () = ();

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let exec = context.exec;
        context.rescale(2 * x.exponent, |store| {
            elementwise::square(exec, x.data, store, out)
        })
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        context.rescale(x.exponent + dy.exponent, |store| {
            elementwise::square_backward(x.data, dy.data, store, dx)
        })
    }
}
