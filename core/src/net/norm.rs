//! LayerNorm and RMSNorm: each row is normalised by its own statistics.

use super::{
    Backward, BatchSum, Context, Errors, Info, Layer, Optimizer, OutputTape, Param, Pass, Plain,
    SampleTape, Slopes, Tape, Values, Visitor, VisitorMut, hand_scales, show_scales,
};
use crate::error::{Result, in_layer};
use crate::tensor::{D1, Shape};
use core::marker::PhantomData;
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::norm::{self, Affine, Kind, Saved};
use selvedge_kernels::optim::{Gradient, Role};
use selvedge_kernels::scale::Scale;
use selvedge_kernels::{Element, Result as KernelResult};

/// What a row is normalised by, as a type.
pub trait Normal: 'static {
    /// The same for kernels.
    const KIND: Kind;
    /// What [`Info::kind`] says.
    const NAME: &'static str;
    /// Shape of the bias; no element if there is none.
    type Bias<C: Shape>: Shape;

    /// What is added to a variance.
    fn epsilon<T: Element>() -> T::Epsilon;
}

/// Its mean is subtracted, then it is divided by its standard deviation; epsilon is 1e-5.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deviation;

/// It is divided by the root of its mean square; epsilon is 1e-6.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeanSquare;

impl Normal for Deviation {
    const KIND: Kind = Kind::Layer;
    const NAME: &'static str = "layer_norm";
    type Bias<C: Shape> = C;

    fn epsilon<T: Element>() -> T::Epsilon {
        T::LAYER_EPSILON
    }
}

impl Normal for MeanSquare {
    const KIND: Kind = Kind::Rms;
    const NAME: &'static str = "rms_norm";
    type Bias<C: Shape> = D1<0>;

    fn epsilon<T: Element>() -> T::Epsilon {
        T::RMS_EPSILON
    }
}

/// LayerNorm over the last axis: `gamma · (x - mean) / σ + beta`. Numerical behaviour:
/// [`selvedge_kernels::norm::forward`]. Source: Ba, Kiros & Hinton 2016.
///
/// # Example
/// ```
/// use selvedge_core::net::{Layer, LayerNorm, RmsNorm};
/// use selvedge_core::tensor::D2;
/// // Each of 12 rows of 40: by mean and deviation, or by the root mean square alone, which has no bias.
/// type Centred = LayerNorm<i16, D2<12, 40>>;
/// type Scaled = RmsNorm<i16, D2<12, 40>>;
/// static CENTRED: Centred = Layer::BLANK;
/// static SCALED: Scaled = Layer::BLANK;
/// assert_eq!([Centred::INFO.parameters, Scaled::INFO.parameters], [80, 40]);
/// ```
pub type LayerNorm<T, S, R = Plain> = Norm<T, S, Deviation, R>;

/// RMSNorm over the last axis: `gamma · x / √mean(x²)`. Numerical behaviour:
/// [`selvedge_kernels::norm::forward`]. Example: [`LayerNorm`]. Source: Zhang & Sennrich 2019.
pub type RmsNorm<T, S, R = Plain> = Norm<T, S, MeanSquare, R>;

/// A normalisation of each row of `S` by statistics `N`, with a gain, and a bias where `N` has one, for each
/// element of a row.
pub struct Norm<T: Element, S: Shape, N: Normal, R: Optimizer = Plain> {
    gamma: Param<T, S::Last, R>,
    beta: Param<T::Bias, N::Bias<S::Last>, R>,
    output_scale: T::Scale,
    error_scale: T::Scale,
    kind: PhantomData<N>,
}

/// The output of a normalisation, and the statistics of each row.
pub struct NormTape<T: Element, S: Shape, const B: usize> {
    output: OutputTape<T, S, B>,
    statistics: SampleTape<T::Row, S::Leading, B>,
}

impl<T: Element, S: Shape, const B: usize> Tape for NormTape<T, S, B> {
    const BLANK: Self = Self {
        output: Tape::BLANK,
        statistics: Tape::BLANK,
    };

    fn reset(&mut self) {
        self.output.reset();
    }
}

impl<T: Element, S: Shape, N: Normal, R: Optimizer> Norm<T, S, N, R> {
    /// The gains, one for each element of a row.
    pub const fn gamma(&self) -> &Param<T, S::Last, R> {
        &self.gamma
    }

    /// The biases, as many, or none.
    pub const fn beta(&self) -> &Param<T::Bias, N::Bias<S::Last>, R> {
        &self.beta
    }

    const fn extents(batch: usize) -> norm::Shape {
        norm::Shape {
            rows: batch * S::Leading::LEN,
            features: S::CHANNELS,
        }
    }

    /// Updates gain and bias.
    fn update<E>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        saved: Saved<'_, T>,
        dy: &[T],
        exponent: i32,
        batch: usize,
    ) -> KernelResult<()> {
        let words = pass.update_words(number, 0);
        let gamma = self.gamma.parameter(Role::Bias);
        let update = gamma.update(pass.sgd, exponent + T::NORMAL_EXPONENT, words)?;
        let mut gradient = Gradient::Apply(update);
        norm::backward_gamma(Self::extents(batch), saved, dy, &mut gradient)?;
        gradient.finish();
        if N::KIND == Kind::Layer {
            let words = pass.update_words(number, 1);
            let beta = self.beta.parameter(Role::Bias);
            let mut gradient = Gradient::Apply(beta.update(pass.sgd, exponent, words)?);
            dense::backward_bias::<T>(S::CHANNELS, dy, &mut gradient)?;
            gradient.finish();
        }
        Ok(())
    }
}

impl<T: Element, S: Shape, N: Normal, R: Optimizer> Layer for Norm<T, S, N, R> {
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = S;
    type Output = S;
    type Tape<const B: usize> = NormTape<T, S, B>;

    const BLANK: Self = Self {
        gamma: Param::BLANK,
        beta: Param::BLANK,
        output_scale: Scale::UNSET,
        error_scale: Scale::UNSET,
        kind: PhantomData,
    };

    const INFO: Info = Info {
        kind: N::NAME,
        numbers: 1,
        parameters: S::CHANNELS + N::Bias::<S::Last>::LEN,
        flash_bytes: Param::<T, S::Last, R>::FLASH_BYTES
            + if N::Bias::<S::Last>::LEN > 0 {
                Param::<T::Bias, S::Last, R>::FLASH_BYTES
            } else {
                0
            }
            + if T::DTYPE.is_integer() { 2 } else { 0 },
        errors: Errors {
            error: S::LEN,
            spare: S::LEN,
            swaps: true,
        },
        errors_first: Errors {
            error: S::LEN,
            spare: 0,
            swaps: false,
        },
        without_velocities: Info::without_velocities::<R>(),
        sum: BatchSum::of(S::LEN / S::CHANNELS, T::MAX_NORM_ROWS),
        ..Info::EMPTY
    };

    fn init(&mut self, _: u32, _: u32) -> Result<()> {
        self.gamma.set_one();
        let below = T::Bias::MAGNITUDE_BITS as i16 - T::MAGNITUDE_BITS as i16;
        self.beta.set_zero(self.gamma.exponent() - below);
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
        let shape = Self::extents(x.batch);
        let rows = tape.statistics.samples_mut(x.batch);
        norm::statistics(pass.exec, shape, N::KIND, N::epsilon::<T>(), x.data, rows)
            .map_err(in_layer(number))?;
        let saved = Saved {
            kind: N::KIND,
            x: x.data,
            statistics: tape.statistics.samples(x.batch),
        };
        let exponent = i32::from(self.gamma.exponent()) + T::NORMAL_EXPONENT;
        let beta = Bias {
            values: self.beta.elements(),
            shift: exponent - i32::from(self.beta.exponent()),
        };
        let affine = Affine {
            gamma: self.gamma.elements(),
            beta: (N::KIND == Kind::Layer).then_some(beta),
        };
        let out = tape.output.samples_mut(x.batch);
        let context = Context::<T, E>::forward(pass, number, &mut self.output_scale);
        let exponent = context
            .rescale(exponent, |store| {
                norm::forward(pass.exec, shape, saved, affine, store, out)
            })
            .map_err(in_layer(number))?;
        Ok(tape.output.keep(pass.mode, x.batch, exponent))
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
        tape.output.begin_backward(number, x.batch)?;
        let saved = Saved {
            kind: N::KIND,
            x: x.data,
            statistics: tape.statistics.samples(x.batch),
        };
        errors
            .through([x.batch * S::LEN; 2], is_needed, |dy, exponent, dx| {
                let mut below = exponent;
                if let Some(dx) = dx {
                    let gamma = self.gamma.elements();
                    let gain = i32::from(self.gamma.exponent());
                    let context = Context::<T, E>::backward(pass, number, &mut self.error_scale);
                    let accumulator = exponent + gain - x.exponent + T::NORM_GRADIENT_EXPONENT;
                    let shape = Self::extents(x.batch);
                    below = context.rescale(accumulator, |store| {
                        norm::backward_input(pass.exec, shape, saved, dy, gamma, store, dx)
                    })?;
                }
                self.update(pass, number, saved, dy, exponent, x.batch)?;
                Ok(below)
            })
            .map_err(in_layer(number))
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.gamma.visit(visitor);
        if N::KIND == Kind::Layer {
            self.beta.visit(visitor);
        }
        show_scales::<T>(visitor, &[self.output_scale, self.error_scale]);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.gamma.visit_mut(visitor);
        if N::KIND == Kind::Layer {
            self.beta.visit_mut(visitor);
        }
        hand_scales::<T, 2>(visitor, [&mut self.output_scale, &mut self.error_scale]);
    }
}
