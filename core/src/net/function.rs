//! Layers without parameters: what one computes is a type, [`Function`]; [`Apply`] makes a layer of it.

use super::{
    Backward, Errors, Info, Layer, OutputTape, Pass, Tape, Values, Visitor, VisitorMut,
    hand_scales, part, show_scales,
};
use crate::error::{Result, in_layer};
use crate::tensor::Shape;
use core::marker::PhantomData;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{Element, Result as KernelResult};

/// What a function is called with beside its tensors.
#[derive(Debug)]
pub struct Context<'a, T: Element, E> {
    /// Who runs the kernels' tasks.
    pub exec: &'a E,
    /// Whether exponent states adapt.
    pub mode: Mode,
    scale: &'a mut T::Scale,
    rounding: Rounding,
    mask: Words,
}

impl<'a, T: Element, E> Context<'a, T, E> {
    /// For what layer `number` passes up.
    pub(crate) fn forward(pass: &'a Pass<'_, E>, number: u32, scale: &'a mut T::Scale) -> Self {
        Self {
            exec: pass.exec,
            mode: pass.mode,
            scale,
            rounding: Rounding::NearestEven,
            mask: Words::new(pass.seed, stream::mask(number), pass.step),
        }
    }

    /// For what layer `number` passes down.
    pub(crate) fn backward(pass: &'a Pass<'_, E>, number: u32, scale: &'a mut T::Scale) -> Self {
        Self {
            rounding: Rounding::Stochastic(pass.error_words(number)),
            ..Self::forward(pass, number, scale)
        }
    }

    /// For part `part` of what layer `number` passes down, where that is several tensors.
    pub(crate) fn backward_part(
        pass: &'a Pass<'_, E>,
        number: u32,
        part: u32,
        scale: &'a mut T::Scale,
    ) -> Self {
        let words = Words::new(pass.seed, stream::error(number) + 1 + part, pass.step);
        Self {
            rounding: Rounding::Stochastic(words),
            ..Self::forward(pass, number, scale)
        }
    }

    /// The words of the layer's random mask.
    #[must_use]
    pub fn mask(&self) -> Words {
        self.mask
    }

    /// Runs a kernel whose accumulators have `exponent`, with the store that its exponent state asks for;
    /// returns the exponent of what was stored.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn rescale(
        self,
        exponent: i32,
        run: impl FnMut(Store) -> KernelResult<u32>,
    ) -> KernelResult<i32> {
        self.scale
            .requantize(exponent, T::MAGNITUDE_BITS, self.mode, self.rounding, run)
    }

    /// The same for accumulators that lie within -1 and 1: integers are stored at `-M`, without a state.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn bounded(
        self,
        exponent: i32,
        run: impl FnOnce(Store) -> KernelResult<u32>,
    ) -> KernelResult<i32> {
        if !T::DTYPE.is_integer() {
            run(Store::EXACT)?;
            return Ok(0);
        }
        let fixed = -(T::MAGNITUDE_BITS as i32);
        let (shift, rounding) = (fixed - exponent, self.rounding);
        run(Store::Shift { shift, rounding })?;
        Ok(fixed)
    }
}

/// What a layer without parameters computes, with its gradient: how to write a layer. [`Apply`] keeps its
/// output and the exponents of integers, and has the error of its input computed where that is asked for.
///
/// # Example
/// ```
/// use selvedge_core::net::{Apply, Context, Function, Values};
/// use selvedge_core::{Element, Executor, Rate, Serial, Sgd, net, tensor::D1, train::Trainer};
/// use selvedge_kernels::Result;
///
/// /// Eight features in reverse order. Moving elements keeps their exponent.
/// struct Reversed;
///
/// fn reverse<T: Element>(x: Values<'_, T>, out: &mut [T]) -> Result<i32> {
///     for (x, out) in x.data.chunks_exact(8).zip(out.chunks_exact_mut(8)) {
///         out.iter_mut().zip(x.iter().rev()).for_each(|(out, x)| *out = *x);
///     }
///     Ok(x.exponent)
/// }
///
/// impl Function for Reversed {
///     type Input = D1<8>;
///     type Output = D1<8>;
///     type Scratch<T: Element> = ();
///     const KIND: &'static str = "reversed";
///     const RESCALES: bool = false;
///     const CHECKED: () = ();
///
///     fn forward<T: Element, E: Executor>(
///         _: Context<'_, T, E>, (): &mut (), x: Values<'_, T>, out: &mut [T],
///     ) -> Result<i32> {
///         reverse(x, out)
///     }
///
///     fn backward<T: Element, E: Executor>(
///         _: Context<'_, T, E>, (): &mut (), _: Values<'_, T>, _: Values<'_, T>,
///         dy: Values<'_, T>, dx: &mut [T],
///     ) -> Result<i32> {
///         reverse(dy, dx)
///     }
/// }
///
/// net! { struct Net: [8] { hidden: dense(8), back: layer(Apply<T, Reversed> => [8]), head: dense(2) } }
/// let mut trainer = Trainer::<Net<i8>, 1>::BLANK;
/// trainer.init(1)?;
/// trainer.input_mut().copy_from_slice(&[90, -10, 20, 110, 0, 70, 5, -40]);
/// trainer.step(&Serial, &[1], &Sgd::new(Rate { mantissa: 1, exponent: -3 }))?;
/// # Ok::<(), selvedge_core::Error>(())
/// ```
/// Where a kernel's accumulators are wider than elements, [`Context::rescale`] finds the exponent to store at.
pub trait Function: 'static {
    /// Shape of one input sample.
    type Input: Shape;
    /// Shape of one output sample.
    type Output: Shape;
    /// Memory that its kernels work in.
    type Scratch<T: Element>: Tape;

    /// What [`Info::kind`] says.
    const KIND: &'static str;
    /// Whether the output of integers has an exponent of its own.
    const RESCALES: bool;
    /// Refuses shapes that do not belong together, when the program is compiled.
    const CHECKED: ();

    /// Computes `out` of `x`, and returns its exponent.
    ///
    /// # Errors
    /// Those of its kernels.
    fn forward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        scratch: &mut Self::Scratch<T>,
        x: Values<'_, T>,
        out: &mut [T],
    ) -> KernelResult<i32>;

    /// Takes the error `dy` of the output `y` to that of the input `x`, and returns its exponent.
    ///
    /// # Errors
    /// Those of its kernels.
    fn backward<T: Element, E: Executor>(
        context: Context<'_, T, E>,
        scratch: &mut Self::Scratch<T>,
        x: Values<'_, T>,
        y: Values<'_, T>,
        dy: Values<'_, T>,
        dx: &mut [T],
    ) -> KernelResult<i32>;
}

/// The layer that applies a [`Function`]. It keeps its output on the tape.
pub struct Apply<T: Element, F: Function> {
    output_scale: T::Scale,
    error_scale: T::Scale,
    scratch: F::Scratch<T>,
    function: PhantomData<F>,
}

impl<T: Element, F: Function> Layer for Apply<T, F> {
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = F::Input;
    type Output = F::Output;
    type Tape<const B: usize> = OutputTape<T, F::Output, B>;

    const BLANK: Self = {
        let () = F::CHECKED;
        Self {
            output_scale: Scale::UNSET,
            error_scale: Scale::UNSET,
            scratch: Tape::BLANK,
            function: PhantomData,
        }
    };

    const INFO: Info = Info {
        kind: F::KIND,
        numbers: 1,
        flash_bytes: if F::RESCALES && T::DTYPE.is_integer() {
            2
        } else {
            0
        },
        errors: Errors {
            error: F::Output::LEN,
            spare: F::Input::LEN,
            swaps: true,
        },
        ..Info::EMPTY
    };

    fn init(&mut self, _: u32, _: u32) -> Result<()> {
        (self.output_scale, self.error_scale) = (Scale::UNSET, Scale::UNSET);
        Ok(())
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        let context = Context::forward(pass, number, &mut self.output_scale);
        let out = tape.samples_mut(x.batch);
        let exponent = F::forward(context, &mut self.scratch, x, out).map_err(in_layer(number))?;
        Ok(tape.keep(pass.mode, x.batch, exponent))
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
        if !is_needed {
            return Ok(errors);
        }
        tape.begin_backward(number, x.batch)?;
        let Backward {
            error,
            spare,
            exponent,
        } = errors;
        let dy = Values {
            data: part(error, x.batch * F::Output::LEN),
            exponent,
            batch: x.batch,
        };
        let dx = part(spare, x.batch * F::Input::LEN);
        let context = Context::backward(pass, number, &mut self.error_scale);
        let y = tape.values(x.batch);
        let exponent =
            F::backward(context, &mut self.scratch, x, y, dy, dx).map_err(in_layer(number))?;
        Ok(Backward {
            error: spare,
            spare: error,
            exponent,
        })
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        show_scales::<T>(visitor, &[self.output_scale, self.error_scale]);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        hand_scales::<T, 2>(visitor, [&mut self.output_scale, &mut self.error_scale]);
    }
}
