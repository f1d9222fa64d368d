//! Average pooling: windows over an image, or one over everything.

use super::layer::{Place, scale_state};
use super::{Integer, Tensor};
use crate::golden::{Pair, Sides};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::pool::{self, Padding};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, Result};
use serde_json::{Value, json};

/// A layer with two exponent states.
#[derive(Clone)]
pub(super) struct Average<T: Element> {
    /// Of one sample.
    shape: pool::Shape,
    is_global: bool,
    scale: T::Scale,
    error: T::Scale,
    place: Place,
}

impl<T: Element> Average<T> {
    pub(super) fn number(&self) -> u32 {
        self.place.number
    }

    /// `extents` are those of a sample, channels last; without `k`, one window covers the others.
    pub(super) fn new(
        k: Option<Pair>,
        stride: Option<Pair>,
        pad: Sides,
        extents: &[usize],
        place: Place,
    ) -> Self {
        let (&channels, spatial) = extents.split_last().expect("an axis");
        let (input, window) = match k {
            None => {
                let input = [spatial.iter().product(), 1];
                (input, Window::whole(input))
            }
            Some(k) => {
                let window = Window {
                    kernel: k.get(),
                    stride: stride.unwrap_or(k).get(),
                    padding: pad.get(),
                    dilation: [1, 1],
                };
                ([spatial[0], spatial[1]], window)
            }
        };
        Self {
            shape: pool::Shape {
                batch: 1,
                input,
                channels,
                window,
            },
            is_global: k.is_none(),
            scale: T::Scale::UNSET,
            error: T::Scale::UNSET,
            place,
        }
    }

    /// Extents of an output sample.
    pub(super) fn outputs(&self) -> Result<Vec<usize>> {
        let [rows, columns] = self.shape.outputs()?;
        Ok(match self.is_global {
            true => vec![self.shape.channels],
            false => vec![rows, columns, self.shape.channels],
        })
    }

    pub(super) fn forward(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        extents: Vec<usize>,
        mode: Mode,
    ) -> Result<Tensor<T>> {
        let batch = x.extents[0];
        let shape = pool::Shape {
            batch,
            ..self.shape
        };
        let mut values = vec![T::ZERO; extents.iter().product()];
        let exponent = self.scale.requantize(
            shape.average_exponent::<T>(Padding::Counted, x.exponent)?,
            T::MAGNITUDE_BITS,
            mode,
            Rounding::NearestEven,
            |store| {
                let (x, out) = (&x.values, &mut values);
                pool::average_forward(exec, shape, Padding::Counted, x, store, out)
            },
        )?;
        Ok(Tensor {
            values,
            exponent,
            extents,
        })
    }

    pub(super) fn backward(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        dy: &Tensor<T>,
        step: u32,
    ) -> Result<Tensor<T>> {
        let batch = x.extents[0];
        let shape = pool::Shape {
            batch,
            ..self.shape
        };
        let mut values = vec![T::ZERO; x.values.len()];
        let exponent = self.error.requantize(
            shape.average_exponent::<T>(Padding::Counted, dy.exponent)?,
            T::MAGNITUDE_BITS,
            Mode::Train,
            self.place.rounding(step),
            |store| {
                let (dy, dx) = (&dy.values, &mut values);
                pool::average_backward(exec, shape, Padding::Counted, dy, store, dx)
            },
        )?;
        Ok(Tensor {
            values,
            exponent,
            extents: x.extents.clone(),
        })
    }
}

impl<T: Integer> Average<T> {
    pub(super) fn state(&self) -> Value {
        json!({ "params": {}, "exponents": [scale_state(self.scale), scale_state(self.error)] })
    }
}
