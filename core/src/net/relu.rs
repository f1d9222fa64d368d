//! ReLU as a layer of its own, on stored values.

use super::{Backward, Errors, Info, Layer, OutputTape, Pass, Values, Visitor, part};
use crate::error::{Result, in_layer};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::{Element, activation};

/// `max(x, 0)` on values that are stored already; the exponent stays. Where a layer with weights
/// comes before it, the activation [`Relu`](super::Relu) of that layer is better: it reads the
/// accumulator, and keeps no tensor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relu<T, S> {
    shape: PhantomData<(T, S)>,
}

impl<T: Element, S: Shape> Layer for Relu<T, S> {
    type Elem = T;
    type Out = T;
    type Input = S;
    type Output = S;
    type Tape<const B: usize> = OutputTape<T, S, B>;

    const BLANK: Self = Self { shape: PhantomData };

    const INFO: Info = Info {
        kind: "relu",
        numbers: 1,
        errors: Errors {
            error: S::LEN,
            spare: 0,
            swaps: false,
        },
        ..Info::EMPTY
    };

    fn init(&mut self, _: u32, _: u32) -> Result<()> {
        Ok(())
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        _: &Pass<'_, E>,
        _: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        tape.exponent = x.exponent;
        let y = tape.samples_mut(x.batch);
        for (y, &x) in y.iter_mut().zip(x.data) {
            *y = x;
        }
        activation::relu(y);
        Ok(tape.values(x.batch))
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, T>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, T> {
        tape.values(x.batch)
    }

    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        _: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
        tape: &Self::Tape<B>,
        errors: Backward<'e, T>,
        is_needed: bool,
    ) -> Result<Backward<'e, T>> {
        if is_needed {
            let dy = part(&mut *errors.error, x.batch * S::LEN);
            activation::relu_backward(tape.values(x.batch).data, dy).map_err(in_layer(number))?;
        }
        Ok(errors)
    }

    fn visit(&self, _: &mut impl Visitor) {}
}
