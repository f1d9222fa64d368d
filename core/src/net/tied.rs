//! A network whose output layer has the table of its embedding for weights.

use super::activation::requantize;
use super::{
    Backward, BatchSum, Context, Errors, Info, Layer, LongSum, Optimizer, OutputTape, Param, Pass,
    Plain, SampleTape, Scratch, Slopes, Tape, Values, Visitor, VisitorMut, hand_scales, part,
    show_scales,
};
use crate::error::{Result, in_layer};
use crate::tensor::{D1, D2};
use core::marker::PhantomData;
use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::embedding::{self, Token, tied_exponent};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::init::Gain;
use selvedge_kernels::optim::{Gradient, Role};
use selvedge_kernels::requantize::Epilogue;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::Scale;
use selvedge_kernels::{Element, Result as KernelResult};

/// An embedding, the layers `Inner` on it, and an output layer that shares its table with the embedding: from `[L]`
/// tokens to `[L, VOCABULARY]` logits, `inner(table[x]) · tableᵀ + bias`. `Inner` goes from `[L, SIZE]` to the same.
///
/// It has a number of its own, that of the table (parameter 0) and the bias (parameter 1), and those of `Inner` come
/// behind. The gradient of the table is the sum of both its uses, applied once, as
/// [`selvedge_kernels::embedding::backward_tied`] says. The table starts uniform within `±sqrt(3 / SIZE)`, as an output
/// layer's weights. Source: Press & Wolf 2017.
///
/// # Errors
/// Of a pass: as [`Embedding`](super::Embedding).
///
/// # Example
/// ```
/// use selvedge_core::net::{DenseOver, Layer, Silu, Tied};
/// use selvedge_core::tensor::{D2, Shape};
/// // From each of 16 letters to the next, by a hidden layer.
/// type Inner = (DenseOver<i8, D2<16, 24>, 40, Silu>, DenseOver<i8, D2<16, 40>, 24>);
/// type Next = Tied<i8, 16, 28, 24, Inner, u8>;
/// static NEXT: Next = Layer::BLANK;
/// assert_eq!(Next::INFO.parameters, 28 * 24 + 28 + Inner::INFO.parameters);
/// assert_eq!(<Next as Layer>::Output::EXTENTS, [16, 28, 1, 1, 1]);
/// ```
pub struct Tied<
    T: Element,
    const L: usize,
    const VOCABULARY: usize,
    const SIZE: usize,
    Inner,
    I = u16,
    R: Optimizer = Plain,
> {
    table: Param<T, D2<VOCABULARY, SIZE>, R>,
    bias: Param<T::Bias, D1<VOCABULARY>, R>,
    inner: Inner,
    output_scale: T::Scale,
    error_scale: T::Scale,
    tokens: PhantomData<I>,
}

/// What a tied network keeps.
pub struct TiedTape<
    T: Element,
    const L: usize,
    const VOCABULARY: usize,
    const SIZE: usize,
    Inner: Layer,
    const B: usize,
> {
    rows: OutputTape<T, D2<L, SIZE>, B>,
    inner: Inner::Tape<B>,
    output: OutputTape<T::Head, D2<L, VOCABULARY>, B>,
    order: SampleTape<u32, D1<L>, B>,
    gradient: Scratch<T::Acc, D2<VOCABULARY, SIZE>, 1>,
}

impl<
    T: Element,
    const L: usize,
    const VOCABULARY: usize,
    const SIZE: usize,
    Inner: Layer,
    const B: usize,
> Tape for TiedTape<T, L, VOCABULARY, SIZE, Inner, B>
{
    const BLANK: Self = Self {
        rows: Tape::BLANK,
        inner: Tape::BLANK,
        output: Tape::BLANK,
        order: Tape::BLANK,
        gradient: Tape::BLANK,
    };

    fn reset(&mut self) {
        self.rows.reset();
        self.inner.reset();
        self.output.reset();
    }
}

impl<T: Element, const L: usize, const V: usize, const SIZE: usize, Inner, I, R: Optimizer>
    Tied<T, L, V, SIZE, Inner, I, R>
{
    /// The table, `[VOCABULARY, SIZE]`.
    pub const fn table(&self) -> &Param<T, D2<V, SIZE>, R> {
        &self.table
    }

    /// The bias of the logits, `[VOCABULARY]`.
    pub const fn bias(&self) -> &Param<T::Bias, D1<V>, R> {
        &self.bias
    }

    /// The layers in between.
    pub const fn inner(&self) -> &Inner {
        &self.inner
    }

    const fn lookup(batch: usize) -> embedding::Shape {
        embedding::Shape {
            tokens: batch * L,
            vocabulary: V,
            size: SIZE,
        }
    }

    const fn output_rows(batch: usize) -> dense::Shape {
        dense::Shape {
            batch: batch * L,
            inputs: SIZE,
            outputs: V,
        }
    }
}

impl<T, const L: usize, const V: usize, const SIZE: usize, Inner, I, R> Layer
    for Tied<T, L, V, SIZE, Inner, I, R>
where
    T: Element,
    Inner: Layer<Elem = T, In = T, Out = T, Input = D2<L, SIZE>, Output = D2<L, SIZE>>,
    I: Token,
    R: Optimizer,
{
    type Elem = T;
    type In = I;
    type Out = T::Head;
    type Input = D1<L>;
    type Output = D2<L, V>;
    type Tape<const B: usize> = TiedTape<T, L, V, SIZE, Inner, B>;

    const BLANK: Self = Self {
        table: Param::BLANK,
        bias: Param::BLANK,
        inner: Inner::BLANK,
        output_scale: Scale::UNSET,
        error_scale: Scale::UNSET,
        tokens: PhantomData,
    };

    const INFO: Info = {
        let own = Info {
            kind: "tied",
            numbers: 1,
            parameters: V * SIZE + V,
            macs: L * V * SIZE,
            flash_bytes: Param::<T, D2<V, SIZE>, R>::FLASH_BYTES
                + Param::<T::Bias, D1<V>, R>::FLASH_BYTES
                + if T::DTYPE.is_integer() { 2 } else { 0 },
            errors: Errors {
                error: L * V,
                spare: L * SIZE,
                swaps: true,
            },
            errors_first: Errors {
                error: L * V,
                spare: L * SIZE,
                swaps: true,
            },
            without_velocities: Info::without_velocities::<R>(),
            sum: BatchSum::of(L, T::MAX_GRADIENT_PRODUCTS),
            long_sum: LongSum::of(V, T::MAX_PRODUCTS),
            long_sum_first: LongSum::of(V, T::MAX_PRODUCTS),
        };
        let both = Info::sequence(&[own, Inner::INFO]);
        let errors = own.errors.then(Inner::INFO.errors);
        Info {
            kind: own.kind,
            errors,
            errors_first: errors,
            ..both
        }
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        let words = Words::new(seed, stream::parameter(number, 0), 0);
        (self.table.init(words, Gain::LeCun, SIZE)).map_err(in_layer(number))?;
        let below = T::Bias::MAGNITUDE_BITS as i16 - T::MAGNITUDE_BITS as i16;
        self.bias.set_zero(self.table.exponent() - below);
        (self.output_scale, self.error_scale) = (Scale::UNSET, Scale::UNSET);
        self.inner.init(seed, number + 1)
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, I>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T::Head>> {
        let batch = x.batch;
        let (table, at) = (self.table.elements(), i32::from(self.table.exponent()));
        let rows = tape.rows.samples_mut(batch);
        embedding::forward(Self::lookup(batch), x.data, table, rows).map_err(in_layer(number))?;
        let rows = tape.rows.keep(pass.mode, batch, at);
        let h = (self.inner).forward::<E, B>(pass, number + 1, rows, &mut tape.inner)?;

        let exponent = h.exponent + at;
        let bias = Bias {
            values: self.bias.elements(),
            shift: exponent - i32::from(self.bias.exponent()),
        };
        let out = tape.output.samples_mut(batch);
        let run = |store| {
            let epilogue = Epilogue {
                activation: Activation::Identity,
                exponent,
                store,
            };
            let shape = Self::output_rows(batch);
            dense::forward(
                pass.exec,
                shape,
                h.data,
                table,
                bias,
                epilogue,
                out,
                &mut [],
            )
        };
        let scale = &mut self.output_scale;
        let exponent =
            requantize::<T, T::Head>(Activation::Identity, exponent, scale, pass.mode, run)
                .map_err(in_layer(number))?;
        Ok(tape.output.keep(pass.mode, batch, exponent))
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, I>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, T::Head> {
        tape.output.values(x.batch)
    }

    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, I>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, T>,
        _: bool,
    ) -> Result<Backward<'e, T>> {
        let batch = x.batch;
        tape.output.begin_backward(number, batch)?;
        let rows = tape.rows.values(batch);
        let h = self.inner.output::<B>(rows, &tape.inner);
        let gradient = tape.gradient.all();
        let mut at_output = 0;
        let below = errors
            .through(
                [batch * L * V, batch * L * SIZE],
                true,
                |dy, exponent, dh| {
                    at_output = exponent + h.exponent;
                    self.through_output(
                        pass,
                        number,
                        h,
                        dy,
                        exponent,
                        dh.unwrap_or_default(),
                        gradient,
                    )
                },
            )
            .map_err(in_layer(number))?;
        let below =
            (self.inner).backward::<E, B>(pass, number + 1, rows, &mut tape.inner, below, true)?;

        let exponents = [at_output, below.exponent];
        let dy = part(&mut *below.error, batch * L * SIZE);
        let order = tape.order.samples_mut(batch);
        let mut update = || -> KernelResult<()> {
            let exponent = tied_exponent(at_output, below.exponent);
            let words = pass.update_words(number, 0);
            let table = self.table.parameter(Role::Weight);
            let mut sink = Gradient::Apply(table.update(pass.sgd, exponent, words)?);
            let (shape, output) = (Self::lookup(batch), &*tape.gradient.all());
            embedding::backward_tied(shape, x.data, output, dy, exponents, order, &mut sink)?;
            sink.finish();
            Ok(())
        };
        update().map_err(in_layer(number))?;
        Ok(below)
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.table.visit(visitor);
        self.bias.visit(visitor);
        show_scales::<T>(visitor, &[self.output_scale, self.error_scale]);
        self.inner.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.table.visit_mut(visitor);
        self.bias.visit_mut(visitor);
        hand_scales::<T, 2>(visitor, [&mut self.output_scale, &mut self.error_scale]);
        self.inner.visit_mut(visitor);
    }
}

impl<T: Element, const L: usize, const V: usize, const SIZE: usize, Inner, I, R: Optimizer>
    Tied<T, L, V, SIZE, Inner, I, R>
{
    /// Takes the error of the logits to `dh`, whose exponent it returns, updates the bias, and puts the table's
    /// gradient as an output layer into `gradient`.
    #[allow(clippy::too_many_arguments)] // pass, number, both sides of the output layer, room
    fn through_output<E: Executor>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        h: Values<'_, T>,
        dy: &[T],
        exponent: i32,
        dh: &mut [T],
        gradient: &mut [T::Acc],
    ) -> KernelResult<i32> {
        let shape = Self::output_rows(h.batch);
        let table = self.table.elements();
        let accumulator = exponent + i32::from(self.table.exponent());
        let context = Context::<T, E>::backward(pass, number, &mut self.error_scale);
        let below = context.rescale(accumulator, |store| {
            dense::backward_input(pass.exec, shape, dy, table, store, dh)
        })?;
        dense::backward_weight(shape, h.data, dy, &mut Gradient::Store(gradient))?;
        let words = pass.update_words(number, 1);
        let bias = self.bias.parameter(Role::Bias);
        let mut sink = Gradient::Apply(bias.update(pass.sgd, exponent, words)?);
        dense::backward_bias::<T>(V, dy, &mut sink)?;
        sink.finish();
        Ok(below)
    }
}
