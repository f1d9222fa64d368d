//! An activation as a layer of its own, on stored values.

use super::{
    ActivatedTape, Activation, Backward, Errors, Info, Layer, Pass, Slopes, Values, Visitor,
    VisitorMut, hand_scales, part, show_scales,
};
use crate::error::{Result, in_layer};
use crate::ops::activation::apply;
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::Element;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::scale::{Mode, Scale};

/// The activation `A` of values that are stored already. Where a layer with weights comes before
/// it, the activation of that layer is better: it reads the accumulator, and keeps no tensor more.
/// Errors are changed in place.
///
/// Numerical behaviour: [`selvedge_kernels::activation::forward`]; under ReLU the exponent stays.
pub struct Activate<T: Element, S, A> {
    output_scale: T::Scale,
    shapes: PhantomData<(S, A)>,
}

impl<T: Element, S: Shape, A: Activation> Layer for Activate<T, S, A> {
    type Elem = T;
    type In = T;
    type Out = A::Out<T>;
    type Input = S;
    type Output = S;
    type Tape<const B: usize> = ActivatedTape<T, A, S, B>;

    const BLANK: Self = Self {
        output_scale: Scale::UNSET,
        shapes: PhantomData,
    };

    const INFO: Info = Info {
        kind: "activation",
        numbers: 1,
        flash_bytes: if T::DTYPE.is_integer() { 2 } else { 0 },
        errors: Errors {
            error: S::LEN,
            spare: 0,
            swaps: false,
        },
        ..Info::EMPTY
    };

    fn init(&mut self, _: u32, _: u32) -> Result<()> {
        self.output_scale = Scale::UNSET;
        Ok(())
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, Self::Out>> {
        let activation = A::of::<T>();
        let slope = match pass.mode {
            Mode::Train => tape.slopes.samples_mut(x.batch),
            Mode::Infer | Mode::Calibrate => &mut [],
        };
        let out = tape.output.samples_mut(x.batch);
        let x_values = (x.data, x.exponent);
        let exponent = apply(
            activation,
            x_values,
            &mut self.output_scale,
            pass.mode,
            out,
            slope,
        );
        let exponent = exponent.map_err(in_layer(number))?;
        Ok(tape.output.keep(pass.mode, x.batch, exponent))
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, T>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, Self::Out> {
        tape.output.values(x.batch)
    }

    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        _: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, T>,
        is_needed: bool,
    ) -> Result<Backward<'e, T>> {
        if is_needed {
            tape.output.begin_backward(number, x.batch)?;
            let dy = part(&mut *errors.error, x.batch * S::LEN);
            let y = tape.output.values(x.batch).data;
            A::backward(y, tape.slopes.samples(x.batch), dy).map_err(in_layer(number))?;
        }
        Ok(errors)
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        show_scales::<T>(visitor, &[self.output_scale]);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        hand_scales::<T, 1>(visitor, [&mut self.output_scale]);
    }
}
