//! Batch normalisation: each channel is normalised by its statistics over the batch, and at inference
//! by running ones.

use super::{
    Backward, Context, Errors, Info, Layer, Optimizer, OutputTape, Param, Pass, Plain, Tape,
    Values, Visitor, VisitorMut, hand_scales, show_scales,
};
use crate::error::{Result, in_layer};
use crate::tensor::{Shape, Tensor};
use selvedge_kernels::batch_norm::{self, ErrorSums, Running, Saved};
use selvedge_kernels::dense::Bias;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::norm::Affine;
use selvedge_kernels::optim::{Gradient, Role};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{Element, Result as KernelResult};

/// BatchNorm over all axes but the last: `gamma · (x - mean) / σ + beta` of each channel. Training takes
/// mean and σ of the batch, which must have two rows or more, and keeps running ones for inference; epsilon
/// is 1e-5 and a batch counts for 0.1. Numerical behaviour: [`selvedge_kernels::batch_norm`].
///
/// # Errors
/// Of a pass in training: [`Error::Layer`](crate::Error::Layer) for a batch of one row.
///
/// # Example
/// ```
/// use selvedge_core::net::{BatchNorm, Layer};
/// use selvedge_core::tensor::D3;
/// // Gain, bias and running statistics for each of 16 channels.
/// type Norm = BatchNorm<i8, D3<8, 8, 16>>;
/// static NORM: Norm = Layer::BLANK;
/// assert_eq!(Norm::INFO.parameters, 2 * 16);
/// assert_eq!(NORM.running().elements().len(), 16);
/// ```
/// Source: Ioffe & Szegedy 2015.
pub struct BatchNorm<T: Element, S: Shape, R: Optimizer = Plain> {
    gamma: Param<T, S::Last, R>,
    beta: Param<T::Bias, S::Last, R>,
    pub(super) running: Tensor<Running<T::Statistic>, S::Last>,
    sums: Tensor<ErrorSums<T::Statistic>, S::Last>,
    pub(super) output_scale: T::Scale,
    error_scale: T::Scale,
}

/// The output of a batch normalisation, the statistics of the batch, and what inference does instead.
pub struct BatchNormTape<T: Element, S: Shape, const B: usize> {
    output: OutputTape<T, S, B>,
    statistics: Tensor<T::Channel, S::Last>,
    transform: Tensor<T::Transform, S::Last>,
}

impl<T: Element, S: Shape, const B: usize> Tape for BatchNormTape<T, S, B> {
    const BLANK: Self = Self {
        output: Tape::BLANK,
        statistics: Tensor::BLANK,
        transform: Tensor::BLANK,
    };

    fn reset(&mut self) {
        self.output.reset();
    }
}

impl<T: Element, S: Shape, R: Optimizer> BatchNorm<T, S, R> {
    /// The gains, one for each channel.
    pub const fn gamma(&self) -> &Param<T, S::Last, R> {
        &self.gamma
    }

    /// The biases, one for each channel.
    pub const fn beta(&self) -> &Param<T::Bias, S::Last, R> {
        &self.beta
    }

    /// The running statistics, of each channel.
    pub const fn running(&self) -> &Tensor<Running<T::Statistic>, S::Last> {
        &self.running
    }

    const fn extents(batch: usize) -> batch_norm::Shape {
        batch_norm::Shape {
            rows: batch * S::Leading::LEN,
            channels: S::CHANNELS,
        }
    }

    /// Gain and bias for accumulators that are finer than the gain by `places`, with their exponent.
    pub(super) fn affine(&self, places: i32) -> (Affine<'_, T>, i32) {
        let exponent = i32::from(self.gamma.exponent()) + places;
        let beta = Bias {
            values: self.beta.elements(),
            shift: exponent - i32::from(self.beta.exponent()),
        };
        let affine = Affine {
            gamma: self.gamma.elements(),
            beta: Some(beta),
        };
        (affine, exponent)
    }

    /// Returns the exponent of the output.
    fn normalise<E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
        tape: &mut BatchNormTape<T, S, B>,
    ) -> KernelResult<i32> {
        let shape = Self::extents(x.batch);
        let exec = pass.exec;
        let out = tape.output.samples_mut(x.batch);
        let mut scale = self.output_scale;
        let context = Context::<T, E>::forward(pass, number, &mut scale);
        let exponent = match pass.mode {
            Mode::Train => {
                let statistics = tape.statistics.elements_mut();
                batch_norm::statistics(exec, shape, T::LAYER_EPSILON, x.data, statistics)?;
                let statistics = &*statistics;
                let (affine, exponent) = self.affine(T::NORMAL_EXPONENT);
                let exponent = context.rescale(exponent, |store| {
                    batch_norm::forward(exec, shape, x.data, statistics, affine, store, out)
                })?;
                let running = self.running.elements_mut();
                let momentum = batch_norm::MOMENTUM;
                batch_norm::update_running::<T>(
                    shape.rows, x.exponent, momentum, statistics, running,
                )?;
                exponent
            }
            Mode::Infer | Mode::Calibrate => {
                let transform = tape.transform.elements_mut();
                let (affine, exponent) = self.affine(T::TRANSFORM_EXPONENT);
                let running = self.running.elements();
                batch_norm::transform(T::LAYER_EPSILON, x.exponent, affine, running, transform)?;
                context.rescale(exponent, |store| {
                    batch_norm::infer(exec, shape, x.data, transform, store, out)
                })?
            }
        };
        self.output_scale = scale;
        Ok(exponent)
    }

    /// Takes the error to `dx`, where that is asked for, and returns its exponent; updates.
    fn differentiate<E: Executor>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, T>,
        statistics: &[T::Channel],
        dy: Values<'_, T>,
        dx: Option<&mut [T]>,
    ) -> KernelResult<i32> {
        let shape = Self::extents(x.batch);
        let sums = self.sums.elements_mut();
        batch_norm::error_sums(pass.exec, shape, x.data, statistics, dy.data, sums)?;
        let sums = &*sums;
        let mut below = dy.exponent;
        if let Some(dx) = dx {
            let gamma = self.gamma.elements();
            let exponent = dy.exponent + i32::from(self.gamma.exponent()) - x.exponent
                + T::BATCH_GRADIENT_EXPONENT;
            let saved = Saved {
                x: x.data,
                statistics,
            };
            let errors = batch_norm::Errors { dy: dy.data, sums };
            let context = Context::<T, E>::backward(pass, number, &mut self.error_scale);
            below = context.rescale(exponent, |store| {
                batch_norm::backward_input(pass.exec, shape, saved, errors, gamma, store, dx)
            })?;
        }
        let words = pass.update_words(number, 0);
        let gamma = self.gamma.parameter(Role::Bias);
        let update = gamma.update(pass.sgd, dy.exponent + T::NORMAL_EXPONENT, words)?;
        let mut gradient = Gradient::Apply(update);
        batch_norm::backward_gamma::<T>(sums, &mut gradient)?;
        gradient.finish();
        let words = pass.update_words(number, 1);
        let beta = self.beta.parameter(Role::Bias);
        let mut gradient = Gradient::Apply(beta.update(pass.sgd, dy.exponent, words)?);
        batch_norm::backward_beta::<T>(sums, &mut gradient)?;
        gradient.finish();
        Ok(below)
    }
}

impl<T: Element, S: Shape, R: Optimizer> Layer for BatchNorm<T, S, R> {
    type Elem = T;
    type In = T;
    type Out = T;
    type Input = S;
    type Output = S;
    type Tape<const B: usize> = BatchNormTape<T, S, B>;

    const BLANK: Self = Self {
        gamma: Param::BLANK,
        beta: Param::BLANK,
        running: Tensor::BLANK,
        sums: Tensor::BLANK,
        output_scale: Scale::UNSET,
        error_scale: Scale::UNSET,
    };

    const INFO: Info = Info {
        kind: "batch_norm",
        numbers: 1,
        parameters: 2 * S::CHANNELS,
        flash_bytes: Param::<T, S::Last, R>::FLASH_BYTES
            + Param::<T::Bias, S::Last, R>::FLASH_BYTES
            + S::CHANNELS * size_of::<Running<T::Statistic>>()
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
        ..Info::EMPTY
    };

    fn init(&mut self, _: u32, _: u32) -> Result<()> {
        self.gamma.set_one();
        let below = T::Bias::MAGNITUDE_BITS as i16 - T::MAGNITUDE_BITS as i16;
        self.beta.set_zero(self.gamma.exponent() - below);
        self.running.elements_mut().fill(T::RUNNING_START);
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
        let exponent = self
            .normalise(pass, number, x, tape)
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
        let (batch, statistics) = (x.batch, tape.statistics.elements());
        errors
            .through([batch * S::LEN; 2], is_needed, |dy, exponent, dx| {
                let dy = Values {
                    data: &*dy,
                    exponent,
                    batch,
                };
                self.differentiate(pass, number, x, statistics, dy, dx)
            })
            .map_err(in_layer(number))
    }

    fn visit(&self, visitor: &mut impl Visitor) {
        self.gamma.visit(visitor);
        self.beta.visit(visitor);
        visitor.running(self.running.elements());
        show_scales::<T>(visitor, &[self.output_scale, self.error_scale]);
    }

    fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.gamma.visit_mut(visitor);
        self.beta.visit_mut(visitor);
        visitor.running(self.running.elements_mut());
        hand_scales::<T, 2>(visitor, [&mut self.output_scale, &mut self.error_scale]);
    }
}
