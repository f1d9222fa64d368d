//! LayerNorm and RMSNorm.

use super::layer::{Place, scale_state};
use super::parameter::Parameter;
use super::{Integer, Tensor};
use selvedge_kernels::dense::{self, Bias};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::norm::{self, Affine, Kind, Saved, Shape};
use selvedge_kernels::optim::{Role, Sgd};
use selvedge_kernels::rng::stream;
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{Element, Result};
use serde_json::{Value, json};

/// A normalisation with its parameters.
#[derive(Clone)]
pub(super) struct Norm<T: Element> {
    kind: Kind,
    gamma: Parameter<T>,
    /// Empty for RMSNorm.
    beta: Parameter<T::Bias>,
    scale: T::Scale,
    error: T::Scale,
    place: Place,
}

impl<T: Element> Norm<T> {
    pub(super) fn new(kind: Kind, features: usize, place: Place) -> Self {
        let parameter = |k| stream::parameter(place.number, k);
        let mut gamma = Parameter::zeros(
            features,
            Role::Bias,
            !place.is_bare,
            place.has_momentum,
            place.seed,
            parameter(0),
        );
        gamma.exponent = norm::ones(&mut gamma.values);
        let mut beta = Parameter::zeros(
            if kind == Kind::Layer { features } else { 0 },
            Role::Bias,
            false,
            place.has_momentum,
            place.seed,
            parameter(1),
        );
        let more_bits = <T::Bias as Element>::MAGNITUDE_BITS - T::MAGNITUDE_BITS;
        beta.exponent = gamma.exponent - more_bits as i16;
        Self {
            kind,
            gamma,
            beta,
            scale: T::Scale::UNSET,
            error: T::Scale::UNSET,
            place,
        }
    }

    fn epsilon(&self) -> T::Epsilon {
        match self.kind {
            Kind::Layer => T::LAYER_EPSILON,
            Kind::Rms => T::RMS_EPSILON,
        }
    }

    fn shape(&self, x: &Tensor<T>) -> Shape {
        let features = self.gamma.values.len();
        Shape {
            rows: x.values.len() / features,
            features,
        }
    }

    fn statistics(&self, exec: &impl Executor, x: &Tensor<T>) -> Result<Vec<T::Row>> {
        let shape = self.shape(x);
        let mut statistics = vec![T::Row::default(); shape.rows];
        norm::statistics(
            exec,
            shape,
            self.kind,
            self.epsilon(),
            &x.values,
            &mut statistics,
        )?;
        Ok(statistics)
    }

    pub(super) fn forward(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        mode: Mode,
    ) -> Result<Tensor<T>> {
        let shape = self.shape(x);
        let saved = Saved {
            kind: self.kind,
            x: &x.values,
            statistics: &self.statistics(exec, x)?,
        };
        let acc_exponent = i32::from(self.gamma.exponent) + T::NORMAL_EXPONENT;
        let beta = Bias {
            values: &self.beta.values,
            shift: acc_exponent - i32::from(self.beta.exponent),
        };
        let affine = Affine {
            gamma: &self.gamma.values,
            beta: (self.kind == Kind::Layer).then_some(beta),
        };
        let mut values = vec![T::ZERO; x.values.len()];
        let exponent = self.scale.requantize(
            acc_exponent,
            T::MAGNITUDE_BITS,
            mode,
            Rounding::NearestEven,
            |store| norm::forward(exec, shape, saved, affine, store, &mut values),
        )?;
        Ok(Tensor {
            values,
            exponent,
            extents: x.extents.clone(),
        })
    }

    pub(super) fn backward(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        dy: &Tensor<T>,
        sgd: &Sgd,
        step: u32,
    ) -> Result<Option<Tensor<T>>> {
        let shape = self.shape(x);
        // Computed again: the same bytes as in the forward pass.
        let saved = Saved {
            kind: self.kind,
            x: &x.values,
            statistics: &self.statistics(exec, x)?,
        };
        let gamma_exponent = i32::from(self.gamma.exponent);
        let mut dx = None;
        if self.place.passes_error {
            let gamma = &self.gamma.values;
            let mut values = vec![T::ZERO; x.values.len()];
            let exponent = self.error.requantize(
                dy.exponent + gamma_exponent - x.exponent + T::NORM_GRADIENT_EXPONENT,
                T::MAGNITUDE_BITS,
                Mode::Train,
                self.place.rounding(step),
                |store| {
                    let dx = &mut values;
                    norm::backward_input(exec, shape, saved, &dy.values, gamma, store, dx)
                },
            )?;
            dx = Some(Tensor {
                values,
                exponent,
                extents: x.extents.clone(),
            });
        }
        let exponent = dy.exponent + T::NORMAL_EXPONENT;
        self.gamma.update(sgd, exponent, step, |gradient| {
            norm::backward_gamma(shape, saved, &dy.values, gradient)
        })?;
        if self.kind == Kind::Layer {
            self.beta.update(sgd, dy.exponent, step, |gradient| {
                dense::backward_bias::<T>(shape.features, &dy.values, gradient)
            })?;
        }
        Ok(dx)
    }
}

impl<T: Integer> Norm<T> {
    pub(super) fn state(&self) -> Value {
        let params = match self.kind {
            Kind::Layer => json!({ "gamma": self.gamma.state(), "beta": self.beta.state() }),
            Kind::Rms => json!({ "gamma": self.gamma.state() }),
        };
        json!({ "params": params, "exponents": [scale_state(self.scale), scale_state(self.error)] })
    }
}
