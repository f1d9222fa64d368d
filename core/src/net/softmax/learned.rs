//! A mixture of softmaxes whose weights are learned.

use super::{check_mixture, rows, temperature};
use crate::error::{Result, in_layer};
use crate::net::scratch::Scratch;
use crate::net::{
    Backward, BatchSum, Context, Errors as Buffers, Info, Layer, Optimizer, OutputTape, Param,
    Pass, Plain, Tape, Values, Visitor, VisitorMut, hand_scales, show_scales,
};
use crate::ops::softmax::{Mixed, Step, stored};
use crate::tensor::{Shape, Tensor};
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::optim::Role;
use selvedge_kernels::scale::Scale;
use selvedge_kernels::softmax::{Logits, Temperature, mixture};
use selvedge_kernels::{Element, Result as KernelResult};

/// `[.., K, N]` to `[.., N]`: the sum of K softmaxes, weighted by the softmax of K logits of its own,
/// which are the same for all rows and learned; they start equal. `P` is `[K]`. The logits of the
/// components are divided by a temperature of `THOUSANDTHS / 1000`. With given weights:
/// [`MixtureSoftmax`](super::MixtureSoftmax).
///
/// Numerical behaviour: [`selvedge_kernels::softmax::mixture`]; integers are stored at the exponent `-M`, and
/// the learned logits start with room for ±4.
///
/// # Errors
/// Of a pass: [`Error::Layer`](crate::Error::Layer) for more than 16,384 rows in training. Shapes that do not
/// belong together do not compile, nor do more components than classes.
///
/// # Example
/// ```
/// use selvedge_core::net::{Dense, Layer, LearnedMixture, Logits, Reshape};
/// use selvedge_core::tensor::{D1, D2};
/// // Two softmaxes over five classes of 16 features.
/// type Head<T> = (Dense<T, 16, 10>, (Reshape<T, D1<10>, D2<2, 5>>, LearnedMixture<T, D2<2, 5>, D1<5>, D1<2>>));
/// static HEAD: Head<i16> = Layer::BLANK;
/// assert_eq!(<Head<i16> as Layer>::INFO.parameters, 16 * 10 + 10 + 2);
/// ```
///
/// Source: Yang et al. 2018.
pub struct LearnedMixture<
    T: Element,
    In: Shape,
    Out,
    P: Shape,
    R: Optimizer = Plain,
    const THOUSANDTHS: u32 = 1000,
> {
    weight: Param<T, P, R>,
    /// The weights before an update, whose gradient reads them.
    before: Tensor<T, P>,
    error_scale: T::Scale,
    /// Of which a call takes up to `2K + N` or `K + 2N`, where `K <= N`.
    scratch: Scratch<T::Number, In::Last, 3>,
    sums: Tensor<T::Acc, P>,
    shapes: PhantomData<(In, Out)>,
}

impl<T: Element, In: Shape, Out: Shape, P: Shape, R: Optimizer, const THOUSANDTHS: u32>
    LearnedMixture<T, In, Out, P, R, THOUSANDTHS>
{
    const TEMPERATURE: Temperature = temperature(THOUSANDTHS);

    const CHECKED: () = {
        check_mixture::<In, Out>(P::LEN);
        assert!(P::RANK == 1, "softmax: learned weights are a row");
        let _ = Self::TEMPERATURE;
    };

    /// The logits of the weights, `[K]`.
    pub const fn weight(&self) -> &Param<T, P, R> {
        &self.weight
    }

    const fn extents(batch: usize) -> mixture::Shape {
        mixture::Shape {
            rows: batch * rows::<Out>(),
            components: P::LEN,
            classes: In::CHANNELS,
        }
    }

    fn logits(x: Values<'_, T>) -> Logits<'_, T> {
        Logits::new(x.data, x.exponent).at(Self::TEMPERATURE)
    }

    /// Takes the error to `dx`, where that is asked for, and returns its exponent; updates.
    fn differentiate<E: Executor>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
        dy: Values<'_, T>,
        dx: Option<&mut [T]>,
    ) -> KernelResult<i32> {
        let mixed = Mixed {
            shape: Self::extents(x.batch),
            logits: Self::logits(x),
        };
        let words = pass.update_words(number, 0);
        let scale = &mut self.error_scale;
        let dx = dx.map(|dx| (Context::<T, E>::backward(pass, number, scale), dx));
        let weight = self.weight.parameter(Role::Bias);
        let room = Step {
            before: self.before.elements_mut(),
            numbers: self.scratch.all(),
            sums: self.sums.elements_mut(),
        };
        mixed.step((dy.data, dy.exponent), dx, weight, (pass.sgd, words), room)
    }
}

impl<T: Element, In: Shape, Out: Shape, P: Shape, R: Optimizer, const THOUSANDTHS: u32> Layer
    for LearnedMixture<T, In, Out, P, R, THOUSANDTHS>
{
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = In;
    type Output = Out;
    type Tape<const B: usize> = OutputTape<T, Out, B>;

    const BLANK: Self = {
        let () = Self::CHECKED;
        Self {
            weight: Param::BLANK,
            before: Tensor::BLANK,
            error_scale: Scale::UNSET,
            scratch: Tape::BLANK,
            sums: Tensor::BLANK,
            shapes: PhantomData,
        }
    };

    const INFO: Info = Info {
        kind: "learned_mixture",
        numbers: 1,
        parameters: P::LEN,
        flash_bytes: Param::<T, P, R>::FLASH_BYTES,
        errors: Buffers {
            error: Out::LEN,
            spare: In::LEN,
            swaps: true,
        },
        errors_first: Buffers {
            error: Out::LEN,
            spare: 0,
            swaps: false,
        },
        without_velocities: Info::without_velocities::<R>(),
        sum: BatchSum::of(rows::<Out>(), mixture::Shape::MOST_ROWS),
        ..Info::EMPTY
    };

    fn init(&mut self, _: u32, _: u32) -> Result<()> {
        self.weight.set_zero(2 - T::MAGNITUDE_BITS as i16);
        self.error_scale = Scale::UNSET;
        Ok(())
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        let exponent = i32::from(self.weight.exponent());
        let weights = mixture::Weights::Logits(Logits::new(self.weight.elements(), exponent));
        let (shape, logits) = (Self::extents(x.batch), Self::logits(x));
        let scratch = self.scratch.first(P::LEN + 2 * In::CHANNELS);
        let out = tape.samples_mut(x.batch);
        mixture::forward(shape, weights, logits, out, scratch).map_err(in_layer(number))?;
        Ok(tape.keep(pass.mode, x.batch, stored::<T>()))
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
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, T>,
        is_needed: bool,
    ) -> Result<Backward<'e, T>> {
        tape.begin_backward(number, x.batch)?;
        let batch = x.batch;
        errors
            .through(
                [batch * Out::LEN, batch * In::LEN],
                is_needed,
                |dy, exponent, dx| {
                    let dy = Values {
                        data: &*dy,
                        exponent,
                        batch,
                    };
                    self.differentiate(pass, number, x, dy, dx)
                },
            )
            .map_err(in_layer(number))
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.weight.visit(visitor);
        show_scales::<T>(visitor, &[self.error_scale]);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.weight.visit_mut(visitor);
        hand_scales::<T, 1>(visitor, [&mut self.error_scale]);
    }
}
