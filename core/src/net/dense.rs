//! A dense layer.

use super::weighted::Weighted;
use super::{
    ActivatedTape, Activation, Backward, BatchSum, Errors, Identity, Info, Layer, LongSum,
    Optimizer, Param, Pass, Plain, Values,
};
use super::{Visitor, VisitorMut};
use crate::error::Result;
use crate::tensor::{D1, Shape};
use core::marker::PhantomData;
use selvedge_kernels::Element;
use selvedge_kernels::dense::Shape as Extents;
use selvedge_kernels::exec::Executor;

/// `y = activation(weight · x + bias)`, from `[IN]` to `[OUT]`; `weight` is `[OUT, IN]`, `bias` `[OUT]`. Weights
/// start random, as the activation wants them, biases at 0. Numerical behaviour:
/// [`selvedge_kernels::dense::forward`].
///
/// # Errors
/// Of [`Layer::init`] and a pass: [`Error::Layer`](crate::Error::Layer) for more inputs than the element type
/// can sum; in training, where something below has parameters, also for more outputs.
///
/// # Example
/// ```
/// use selvedge_core::net::{Dense, Layer, Logits, Relu};
/// // Layers that meet are a layer: 64 features to 32, to 10 logits of at least 16 bits.
/// type Mlp = (Dense<i8, 64, 32, Relu>, Dense<i8, 32, 10, Logits>);
/// static MLP: Mlp = Layer::BLANK;
/// assert_eq!(Mlp::INFO.parameters, 64 * 32 + 32 + 32 * 10 + 10);
/// assert_eq!(MLP.0.weight().elements().len(), 64 * 32);
/// ```
pub type Dense<T, const IN: usize, const OUT: usize, A = Identity, R = Plain> =
    DenseOver<T, D1<IN>, OUT, A, R>;

/// Features of several branches to `OUT` features: a dense layer without an activation.
pub type Stitch<T, const IN: usize, const OUT: usize, R = Plain> = Dense<T, IN, OUT, Identity, R>;

/// A [`Dense`] layer over the last axis of `In`: what comes before, positions of a sequence, are rows that do
/// not see each other.
///
/// # Example
/// ```
/// use selvedge_core::net::{DenseOver, Layer, Relu};
/// use selvedge_core::tensor::{D2, Shape};
/// // Each of 12 positions from 16 features to 24, by the same weights.
/// type Wide = DenseOver<i8, D2<12, 16>, 24, Relu>;
/// static WIDE: Wide = Layer::BLANK;
/// assert_eq!((Wide::INFO.parameters, Wide::INFO.macs), (24 * 16 + 24, 12 * 24 * 16));
/// assert_eq!(<Wide as Layer>::Output::EXTENTS, [12, 24, 1, 1, 1]);
/// ```
pub struct DenseOver<T: Element, In: Shape, const OUT: usize, A = Identity, R: Optimizer = Plain> {
    pub(super) inner: Weighted<T, In::Rows<OUT>, D1<OUT>, R>,
    activation: PhantomData<A>,
}

impl<T: Element, In: Shape, const OUT: usize, A: Activation, R: Optimizer>
    DenseOver<T, In, OUT, A, R>
{
    /// The weights, `[OUT, IN]`.
    pub const fn weight(&self) -> &Param<T, In::Rows<OUT>, R> {
        &self.inner.weight
    }

    /// The bias, `[OUT]`.
    pub const fn bias(&self) -> &Param<T::Bias, D1<OUT>, R> {
        &self.inner.bias
    }

    const fn extents(batch: usize) -> Extents {
        Extents {
            batch: batch * In::Leading::LEN,
            inputs: In::CHANNELS,
            outputs: OUT,
        }
    }
}

impl<T: Element, In: Shape, const OUT: usize, A: Activation, R: Optimizer> Layer
    for DenseOver<T, In, OUT, A, R>
{
    type Elem = T;
    type In = T;
    type Out = A::Out<T>;
    type Input = In;
    type Output = In::Width<OUT>;
    type Tape<const B: usize> = ActivatedTape<T, A, In::Width<OUT>, B>;

    const BLANK: Self = Self {
        inner: Weighted::BLANK,
        activation: PhantomData,
    };

    const INFO: Info = Info {
        kind: "dense",
        numbers: 1,
        parameters: Weighted::<T, In::Rows<OUT>, D1<OUT>, R>::PARAMETERS,
        macs: OUT * In::LEN,
        flash_bytes: Weighted::<T, In::Rows<OUT>, D1<OUT>, R>::FLASH_BYTES,
        errors: Errors {
            error: In::Leading::LEN * OUT,
            spare: In::LEN,
            swaps: true,
        },
        errors_first: Errors {
            error: In::Leading::LEN * OUT,
            spare: 0,
            swaps: false,
        },
        without_velocities: Info::without_velocities::<R>(),
        sum: BatchSum::of(In::Leading::LEN, T::MAX_GRADIENT_PRODUCTS),
        long_sum: LongSum::of(OUT, T::MAX_PRODUCTS),
        long_sum_first: None,
    };

    fn init(&mut self, seed: u32, number: u32) -> Result<()> {
        self.inner
            .init::<A>(seed, number, In::CHANNELS, In::CHANNELS)
    }

    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, T>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, Self::Out>> {
        self.inner
            .forward::<A, _, B>(Self::extents(x.batch), pass, number, x, tape)
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
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, T>,
        is_needed: bool,
    ) -> Result<Backward<'e, T>> {
        self.inner.backward::<A, In, _, B>(
            Self::extents(x.batch),
            pass,
            number,
            x,
            tape,
            errors,
            is_needed,
        )
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.inner.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.inner.visit_mut(visitor);
    }
}
