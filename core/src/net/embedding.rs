//! Tables of vectors: of tokens, and of positions.

use super::join::stretched;
use super::{
    Add, Backward, BatchSum, Context, Errors, Info, Layer, Operator, Optimizer, OutputTape, Param,
    Pass, Plain, SampleTape, Slopes, Tape, Values, Visitor, VisitorMut, hand_scales, show_scales,
};
use crate::error::{Result, in_layer};
use crate::tensor::{D1, D2, Shape};
use core::marker::PhantomData;
use selvedge_kernels::embedding::{self, Token};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::init::Gain;
use selvedge_kernels::optim::{Gradient, Role};
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::Scale;
use selvedge_kernels::{Element, elementwise};

/// Row `x[n]` of a table for each of `L` tokens: from `[L]`, numbers of type `I` below `VOCABULARY`, to
/// `[L, SIZE]`. It is the first layer of its network: there are no gradients of tokens. Numerical behaviour:
/// [`selvedge_kernels::embedding`]. Weights start uniform with variance 1.
///
/// # Errors
/// Of a pass: [`Error::Layer`](crate::Error::Layer) with [`Index`](selvedge_kernels::Error::Index) for a token beyond
/// the vocabulary.
///
/// # Example
/// ```
/// use selvedge_core::net::{Embedding, Positions};
/// use selvedge_core::tensor::D2;
/// use selvedge_core::{Rate, Serial, Sgd, net, train::Trainer};
/// // Does a word of four letters begin with a letter of the first half of the alphabet?
/// net! {
///     struct Word: [4] {
///         letters: layer(Embedding<T, 4, 26, 8, u8, R> => [4, 8]),
///         places: layer(Positions<T, D2<4, 8>, R> => [4, 8]),
///         flat: flatten,
///         head: dense(2),
///     }
/// }
/// let mut trainer = Trainer::<Word<i8>, 2>::BLANK;
/// trainer.init(1)?;
/// for step in 0..200u32 {
///     let letter = |i: u32| (i.wrapping_mul(0x9E37_79B9) >> 16) % 26;
///     let words: [u8; 8] = core::array::from_fn(|i| letter(8 * step + i as u32) as u8);
///     trainer.input_mut().copy_from_slice(&words);
///     let labels = [words[0], words[4]].map(|first| u16::from(first < 13));
///     trainer.step(&Serial, &labels, &Sgd::new(Rate { mantissa: 1, exponent: -3 }))?;
/// }
/// trainer.input_mut().copy_from_slice(b"catsword".map(|c| c - b'a').as_slice());
/// let mut classes = [0; 2];
/// trainer.classify(&Serial, &mut classes)?;
/// assert_eq!(classes, [1, 0]);
/// # Ok::<(), selvedge_core::Error>(())
/// ```
pub struct Embedding<
    T: Element,
    const L: usize,
    const VOCABULARY: usize,
    const SIZE: usize,
    I = u16,
    R: Optimizer = Plain,
> {
    table: Param<T, D2<VOCABULARY, SIZE>, R>,
    tokens: PhantomData<I>,
}

/// The rows that were looked up, and room for the order of tokens.
pub struct EmbeddingTape<T: Element, const L: usize, const SIZE: usize, const B: usize> {
    output: OutputTape<T, D2<L, SIZE>, B>,
    order: SampleTape<u32, D1<L>, B>,
}

impl<T: Element, const L: usize, const SIZE: usize, const B: usize> Tape
    for EmbeddingTape<T, L, SIZE, B>
{
    const BLANK: Self = Self {
        output: Tape::BLANK,
        order: Tape::BLANK,
    };

    fn reset(&mut self) {
        self.output.reset();
    }
}

impl<T: Element, const L: usize, const V: usize, const SIZE: usize, I, R: Optimizer>
    Embedding<T, L, V, SIZE, I, R>
{
    /// The table, `[VOCABULARY, SIZE]`.
    pub const fn table(&self) -> &Param<T, D2<V, SIZE>, R> {
        &self.table
    }

    const fn extents(batch: usize) -> embedding::Shape {
        embedding::Shape {
            tokens: batch * L,
            vocabulary: V,
            size: SIZE,
        }
    }
}

impl<T, const L: usize, const V: usize, const SIZE: usize, I, R> Layer
    for Embedding<T, L, V, SIZE, I, R>
where
    T: Element,
    I: Token,
    R: Optimizer,
{
    type Elem = T;
    type In = I;
    type Out = T;
    type Input = D1<L>;
    type Output = D2<L, SIZE>;
    type Tape<const B: usize> = EmbeddingTape<T, L, SIZE, B>;

    const BLANK: Self = Self {
        table: Param::BLANK,
        tokens: PhantomData,
    };

    const INFO: Info = {
        let errors = Errors {
            error: L * SIZE,
            spare: 0,
            swaps: false,
        };
        Info {
            kind: "embedding",
            numbers: 1,
            parameters: V * SIZE,
            flash_bytes: Param::<T, D2<V, SIZE>, R>::FLASH_BYTES,
            errors,
            errors_first: errors,
            without_velocities: Info::without_velocities::<R>(),
            sum: BatchSum::of(L, T::MAX_GRADIENT_PRODUCTS),
            ..Info::EMPTY
        }
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        let words = Words::new(seed, stream::parameter(number, 0), 0);
        self.table
            .init(words, Gain::LeCun, 1)
            .map_err(in_layer(number))
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, I>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        let out = tape.output.samples_mut(x.batch);
        let table = self.table.elements();
        embedding::forward(Self::extents(x.batch), x.data, table, out).map_err(in_layer(number))?;
        let exponent = i32::from(self.table.exponent());
        Ok(tape.output.keep(pass.mode, x.batch, exponent))
    }

    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, I>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, T> {
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
        tape.output.begin_backward(number, x.batch)?;
        let order = tape.order.samples_mut(x.batch);
        errors
            .through([x.batch * L * SIZE, 0], false, |dy, exponent, _| {
                let words = pass.update_words(number, 0);
                let table = self.table.parameter(Role::Weight);
                let mut gradient = Gradient::Apply(table.update(pass.sgd, exponent, words)?);
                let shape = Self::extents(x.batch);
                embedding::backward(shape, x.data, dy, order, &mut gradient)?;
                gradient.finish();
                Ok(exponent)
            })
            .map_err(in_layer(number))
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.table.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.table.visit_mut(visitor);
    }
}

/// `x + table`, where the table has the shape of a sample: learned positions. Numerical behaviour:
/// [`selvedge_kernels::elementwise::forward`]. Weights start uniform with variance 1. Example: [`Embedding`].
pub struct Positions<T: Element, S: Shape, R: Optimizer = Plain> {
    table: Param<T, S, R>,
    output_scale: T::Scale,
}

impl<T: Element, S: Shape, R: Optimizer> Positions<T, S, R> {
    /// The table, in the shape of a sample.
    pub const fn table(&self) -> &Param<T, S, R> {
        &self.table
    }
}

impl<T: Element, S: Shape, R: Optimizer> Layer for Positions<T, S, R> {
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = S;
    type Output = S;
    type Tape<const B: usize> = OutputTape<T, S, B>;

    const BLANK: Self = Self {
        table: Param::BLANK,
        output_scale: Scale::UNSET,
    };

    const INFO: Info = {
        let errors = Errors {
            error: S::LEN,
            spare: 0,
            swaps: false,
        };
        Info {
            kind: "positions",
            numbers: 1,
            parameters: S::LEN,
            flash_bytes: Param::<T, S, R>::FLASH_BYTES + if T::DTYPE.is_integer() { 2 } else { 0 },
            errors,
            errors_first: errors,
            without_velocities: Info::without_velocities::<R>(),
            sum: BatchSum::of(1, T::MAX_GRADIENT_PRODUCTS),
            ..Info::EMPTY
        }
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        self.output_scale = Scale::UNSET;
        let words = Words::new(seed, stream::parameter(number, 0), 0);
        self.table
            .init(words, Gain::LeCun, 1)
            .map_err(in_layer(number))
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, T>> {
        let table = Values {
            data: self.table.elements(),
            exponent: i32::from(self.table.exponent()),
            batch: 1,
        };
        let out = tape.samples_mut(x.batch);
        let context = Context::<T, E>::forward(pass, number, &mut self.output_scale);
        let exponent = Add::OPERATION.exponent::<T>(x.exponent, table.exponent);
        let run = |store| {
            let (x, table) = (stretched::<S, _>(x)?, stretched::<S, _>(table)?);
            elementwise::forward(pass.exec, Add::OPERATION, x, table, store, out)
        };
        let exponent = context.rescale(exponent, run).map_err(in_layer(number))?;
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
        _: bool,
    ) -> Result<Backward<'e, T>> {
        tape.begin_backward(number, x.batch)?;
        // The error passes unchanged.
        errors
            .through([x.batch * S::LEN, 0], false, |dy, exponent, _| {
                let words = pass.update_words(number, 0);
                let table = self.table.parameter(Role::Weight);
                let mut gradient = Gradient::Apply(table.update(pass.sgd, exponent, words)?);
                embedding::backward_positions(S::LEN, dy, &mut gradient)?;
                gradient.finish();
                Ok(exponent)
            })
            .map_err(in_layer(number))
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.table.visit(visitor);
        show_scales::<T>(visitor, &[self.output_scale]);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.table.visit_mut(visitor);
        hand_scales::<T, 1>(visitor, [&mut self.output_scale]);
    }
}
