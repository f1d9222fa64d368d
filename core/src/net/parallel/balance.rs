//! The loss that keeps experts in use, behind the gate of a mixture.

use crate::net::join::copy;
use crate::net::scratch::Scratch;
use crate::net::{Apply, Context, Function, Values};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::elementwise::Term;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, Result, experts};

/// Passes the probabilities of a gate on, and adds the gradient of a load-balancing loss to their errors: for each row of
/// `S`, its last axis, `α · N · f_i` to the error of expert `i`, where `f_i` is the share of rows of the batch whose
/// largest probability is that of `i`, and `α` is `THOUSANDTHS / 1000` (0 for none). A mixture's gate ends with it.
///
/// Only the backward pass of training knows of it: outputs are the inputs, at inference and in training. Like every
/// loss here it is a sum over rows, whose mean the rate takes: with a rate that contains 1/batch, it is the
/// `α · N · Σ_i f_i · P_i` of the source. Numerical behaviour: [`selvedge_kernels::experts::balance_backward`].
///
/// # Example
/// ```
/// use selvedge_core::net::{Balance, Dense, Layer, Softmax};
/// use selvedge_core::tensor::D1;
/// type Gate<T> = (Dense<T, 8, 4>, (Softmax<T, D1<4>>, Balance<T, D1<4>, 20>));
/// static GATE: Gate<i8> = Layer::BLANK;
/// ```
///
/// Source: Fedus et al. 2021, "Switch Transformers", §2.2, where `α` is 0.01.
pub type Balance<T, S, const THOUSANDTHS: u32 = 10> = Apply<T, Balanced<S, THOUSANDTHS>>;

/// See [`Balance`].
pub struct Balanced<S, const THOUSANDTHS: u32>(PhantomData<S>);

impl<S: Shape, const THOUSANDTHS: u32> Balanced<S, THOUSANDTHS> {
    const BALANCE: experts::Balance = match experts::Balance::new(THOUSANDTHS, S::CHANNELS) {
        Ok(balance) => balance,
        Err(_) => experts::Balance::NONE, // does not compile: see `CHECKED`
    };
}

impl<S: Shape, const THOUSANDTHS: u32> Function for Balanced<S, THOUSANDTHS> {
    type Input = S;
    type Output = S;
    /// Rows for each expert.
    type Scratch<T: Element> = Scratch<u32, S::Last, 1>;

    const KIND: &'static str = "balance";
    const RESCALES: bool = false;
    const CHECKED: () = assert!(
        experts::Balance::new(THOUSANDTHS, S::CHANNELS).is_ok(),
        "balance: a weight that times the number of experts is 16,777 or more"
    );

    fn forward<T: Element, E: Executor>(
        _: Context<'_, T, E>,
        _: &mut Self::Scratch<T>,
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        copy(x.data, out);
        Ok(x.exponent)
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        counts: &mut Self::Scratch<T>,
        x: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        if THOUSANDTHS == 0 {
            copy(dy.data, dx);
            return Ok(dy.exponent);
        }
        let (balance, rows) = (Self::BALANCE, x.batch * S::Leading::LEN);
        let errors = Term {
            values: dy.data,
            exponent: dy.exponent,
        };
        context.rescale(balance.exponent::<T>(dy.exponent), |store| {
            experts::balance_backward(rows, balance, x.data, errors, store, dx, counts.all())
        })
    }
}
