//! Elements left out at random in training.

use super::{Apply, Context, Function, Values};
use crate::ops::dropout::{scaled, threshold};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::dropout;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::scale::Mode;
use selvedge_kernels::{Element, Result};

/// In training, elements are 0 with a probability of `THOUSANDTHS / 1000`, and the others scaled up so that
/// sums keep their mean; at inference nothing changes. Numerical behaviour:
/// [`selvedge_kernels::dropout::forward`]; with 500 (and 0, 750, 875), integers keep their bits.
pub type Dropout<T, S, const THOUSANDTHS: u32 = 500> = Apply<T, LeftOut<S, THOUSANDTHS>>;

/// See [`Dropout`].
pub struct LeftOut<S, const THOUSANDTHS: u32>(PhantomData<S>);

impl<S: Shape, const THOUSANDTHS: u32> LeftOut<S, THOUSANDTHS> {
    const DROPOUT: dropout::Dropout = dropout::Dropout::new(threshold(THOUSANDTHS));
}

impl<S: Shape, const THOUSANDTHS: u32> Function for LeftOut<S, THOUSANDTHS> {
    type Input = S;
    type Output = S;
    type Scratch<T: Element> = ();

    const KIND: &'static str = "dropout";
    const RESCALES: bool = false; // not in a deployed network
    const CHECKED: () = assert!(
        THOUSANDTHS < 1000,
        "dropout: a probability is less than 1000 thousandths"
    );

    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        x: Values<'_, T>,
        out: &mut [T],
    ) -> Result<i32> {
        let (exec, words) = (context.exec, context.mask());
        match context.mode {
            Mode::Train => scaled(
                context,
                const { Self::DROPOUT.scale() },
                x.exponent,
                |store| dropout::forward(exec, Self::DROPOUT, words, x.data, store, out),
            ),
            Mode::Infer | Mode::Calibrate => {
                let off = dropout::Dropout::OFF;
                dropout::forward(exec, off, words, x.data, Store::EXACT, out)?;
                Ok(x.exponent)
            }
        }
    }

    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        (): &mut (),
        _: Values<'_, T>,
        _: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> Result<i32> {
        let (exec, words) = (context.exec, context.mask());
        scaled(
            context,
            const { Self::DROPOUT.scale() },
            dy.exponent,
            |store| dropout::backward(exec, Self::DROPOUT, words, dy.data, store, dx),
        )
    }
}
