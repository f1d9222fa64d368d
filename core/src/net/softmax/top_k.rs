//! The softmax of the largest logits of a row.

use super::{check_logits, rows, temperature};
use crate::error::{Result, in_layer};
use crate::net::scratch::Scratch;
use crate::net::{
    Backward, Context, Errors as Buffers, Info, Layer, OutputTape, Pass, SampleTape, Slopes, Tape,
    Values, Visitor, VisitorMut, hand_scales, show_scales,
};
use crate::ops::softmax::{mark, stored};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::scale::Scale;
use selvedge_kernels::softmax::{self, Errors, Logits, Temperature, gradient_exponent, masked};
use selvedge_kernels::{Element, Result as KernelResult};

/// The softmax of the `K` largest logits of each row of `S`, the first of equal ones; the others are exactly 0 and get
/// no error. A gate with it routes a row to `K` experts of a [`Mixture`](crate::net::Mixture). A NaN counts as larger
/// than every number, and makes its row NaN. Numerical behaviour: [`selvedge_kernels::softmax::masked`]; integers are
/// stored at the exponent `-M`.
///
/// # Example
/// ```
/// use selvedge_core::net::{Layer, TopKSoftmax};
/// use selvedge_core::tensor::D2;
/// // For each of four positions, two of eight.
/// static GATE: TopKSoftmax<i8, D2<4, 8>, 2> = Layer::BLANK;
/// ```
/// More than there are do not compile:
/// ```compile_fail
/// # use selvedge_core::net::{Layer, TopKSoftmax};
/// # use selvedge_core::tensor::D2;
/// static GATE: TopKSoftmax<i8, D2<4, 8>, 9> = Layer::BLANK;
/// ```
///
/// Source: Shazeer et al. 2017, "Outrageously Large Neural Networks", without noise.
pub struct TopKSoftmax<T: Element, S: Shape, const K: usize, const THOUSANDTHS: u32 = 1000> {
    error_scale: T::Scale,
    numbers: Scratch<T::Number, S::Last, 1>,
    /// Of a row: the largest logits, and their places.
    largest: (Scratch<T, S::Last, 1>, Scratch<u32, S::Last, 1>),
    shape: PhantomData<S>,
}

/// What a [`TopKSoftmax`] keeps: probabilities, and which logits took part.
pub struct TopKTape<T: Element, S: Shape, const B: usize> {
    output: OutputTape<T, S, B>,
    allowed: SampleTape<bool, S, B>,
}

impl<T: Element, S: Shape, const B: usize> Tape for TopKTape<T, S, B> {
    const BLANK: Self = Self {
        output: Tape::BLANK,
        allowed: Tape::BLANK,
    };

    fn reset(&mut self) {
        self.output.reset();
    }
}

impl<T: Element, S: Shape, const K: usize, const THOUSANDTHS: u32>
    TopKSoftmax<T, S, K, THOUSANDTHS>
{
    const TEMPERATURE: Temperature = temperature(THOUSANDTHS);

    const CHECKED: () = {
        let _ = Self::TEMPERATURE;
        check_logits::<S>();
        assert!(
            0 < K && K <= S::CHANNELS,
            "top k: expected at least one, and no more than a row has"
        );
    };

    const fn extents(batch: usize) -> softmax::Shape {
        softmax::Shape {
            rows: batch * rows::<S>(),
            classes: S::CHANNELS,
        }
    }

    fn logits(x: Values<'_, T>) -> Logits<'_, T> {
        Logits::new(x.data, x.exponent).at(Self::TEMPERATURE)
    }

    /// Marks the largest logits of each row.
    fn mark(&mut self, x: &[T], allowed: &mut [bool]) -> KernelResult<()> {
        let (values, places) = &mut self.largest;
        let (values, places) = (values.first(K), places.first(K));
        mark([S::CHANNELS, K], x, values, places, allowed)
    }
}

impl<T: Element, S: Shape, const K: usize, const THOUSANDTHS: u32> Layer
    for TopKSoftmax<T, S, K, THOUSANDTHS>
{
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = S;
    type Output = S;
    type Tape<const B: usize> = TopKTape<T, S, B>;

    const BLANK: Self = {
        let () = Self::CHECKED;
        Self {
            error_scale: Scale::UNSET,
            numbers: Tape::BLANK,
            largest: Tape::BLANK,
            shape: PhantomData,
        }
    };

    const INFO: Info = Info {
        kind: "top_k_softmax",
        numbers: 1,
        errors: Buffers {
            error: S::LEN,
            spare: S::LEN,
            swaps: true,
        },
        ..Info::EMPTY
    };

    fn init(&mut self, _: u32, _: u32) -> Result<()> {
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
        let allowed = tape.allowed.samples_mut(x.batch);
        let out = tape.output.samples_mut(x.batch);
        self.mark(x.data, allowed).map_err(in_layer(number))?;
        let (shape, numbers) = (Self::extents(x.batch), self.numbers.all());
        masked::forward(shape, Self::logits(x), allowed, out, numbers).map_err(in_layer(number))?;
        Ok(tape.output.keep(pass.mode, x.batch, stored::<T>()))
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, T>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, T> {
        tape.output.values(x.batch)
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
        if !is_needed {
            return Ok(errors);
        }
        tape.output.begin_backward(number, x.batch)?;
        let (shape, allowed) = (Self::extents(x.batch), tape.allowed.samples(x.batch));
        let (state, numbers) = (&mut self.error_scale, &mut self.numbers);
        let len = x.batch * S::LEN;
        errors
            .through([len; 2], true, |dy, exponent, dx| {
                let (dy, dx) = (&*dy, dx.unwrap_or_default());
                let context = Context::<T, E>::backward(pass, number, state);
                let exponent = gradient_exponent::<T>(exponent, Self::TEMPERATURE);
                context.rescale(exponent, |store| {
                    let errors = Errors { dy, store };
                    masked::backward(shape, Self::logits(x), allowed, errors, dx, numbers.all())
                })
            })
            .map_err(in_layer(number))
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        show_scales::<T>(visitor, &[self.error_scale]);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        hand_scales::<T, 1>(visitor, [&mut self.error_scale]);
    }
}
