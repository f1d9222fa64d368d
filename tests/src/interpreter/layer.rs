//! The layers of the interpreter: each calls its kernels and keeps its parameters and exponents.

use super::attention::Attention;
use super::average::Average;
use super::branches::Parallel;
use super::norm::Norm;
use super::parameter::{self, Parameter};
use super::recurrent::Recurrent;
use super::{Integer, Tensor};
use crate::golden::{Act, Layer as Config};
use selvedge_kernels::activation::Activation;
use selvedge_kernels::dense::Bias;
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::init::Gain;
use selvedge_kernels::norm::Kind;
use selvedge_kernels::optim::{Role, Sgd};
use selvedge_kernels::recurrent::Cell;
use selvedge_kernels::requantize::{Epilogue, Store};
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Exponent, Mode, Scale};
use selvedge_kernels::window::Window;
use selvedge_kernels::{Element, Result, activation, conv, dense, pool};
use serde_json::{Value, json};

/// Where a layer stands in its network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) number: u32,
    pub(super) seed: u32,
    /// Something below has parameters.
    pub(super) passes_error: bool,
    pub(super) is_head: bool,
    /// Weights without residuals.
    pub(super) is_bare: bool,
    pub(super) has_momentum: bool,
}

impl Place {
    /// How the error that this layer passes down is rounded.
    pub(super) fn rounding(&self, step: u32) -> Rounding {
        Rounding::Stochastic(Words::new(self.seed, stream::error(self.number), step))
    }
}

/// One layer.
#[derive(Clone)]
pub(super) enum Layer<T: Element> {
    Weighted(Box<Weighted<T>>),
    Pool(Pool<T>),
    Average(Average<T>),
    /// With its number.
    Flatten(u32),
    Activation(Box<Alone<T>>),
    Norm(Box<Norm<T>>),
    Recurrent(Box<Recurrent<T>>),
    Attention(Box<Attention<T>>),
    Parallel(Box<Parallel<T>>),
}

impl<T: Element> Layer<T> {
    /// The layer of a configuration; `extents` are those of an input sample.
    pub(super) fn new(config: &Config, extents: &[usize], place: Place) -> Result<Self> {
        Ok(match config {
            Config::Dense { n_in, n_out, act } => {
                Self::Weighted(Box::new(Weighted::dense(*n_in, *n_out, *act, place)?))
            }
            Config::Conv2d {
                c_in,
                c_out,
                k,
                pad,
                act,
                stride,
                groups,
                dil,
            } => {
                let shape = conv::Shape {
                    batch: 1,
                    input: [extents[0], extents[1]],
                    channels: *c_in,
                    filters: *c_out,
                    groups: *groups,
                    window: Window {
                        kernel: k.get(),
                        stride: stride.get(),
                        padding: pad.get(),
                        dilation: dil.get(),
                    },
                };
                Self::Weighted(Box::new(Weighted::new(Product::Conv(shape), *act, place)?))
            }
            Config::MaxPool { k, stride, pad } => Self::Pool(Pool {
                shape: pool::Shape {
                    batch: 1,
                    input: [extents[0], extents[1]],
                    channels: extents[2],
                    window: Window {
                        kernel: k.get(),
                        stride: stride.unwrap_or(*k).get(),
                        padding: pad.get(),
                        dilation: [1, 1],
                    },
                },
                error: T::Scale::UNSET,
                place,
            }),
            Config::AvgPool { k, stride, pad } => {
                Self::Average(Average::new(*k, *stride, *pad, extents, place))
            }
            Config::Flatten {} => Self::Flatten(place.number),
            Config::Activation { act } => Self::Activation(Box::new(Alone {
                number: place.number,
                activation: activation_of(Some(*act)),
                scale: T::Scale::UNSET,
                slope: Vec::new(),
            })),
            Config::LayerNorm { n } => Self::Norm(Box::new(Norm::new(Kind::Layer, *n, place))),
            Config::RmsNorm { n } => Self::Norm(Box::new(Norm::new(Kind::Rms, *n, place))),
            Config::Rnn(layer) => Self::recurrent(Cell::Rnn, *layer, extents, place)?,
            Config::Lstm(layer) => Self::recurrent(Cell::Lstm, *layer, extents, place)?,
            Config::Gru(layer) => Self::recurrent(Cell::Gru, *layer, extents, place)?,
            Config::Attention {
                d,
                heads,
                causal,
                kv_heads,
                size,
            } => {
                let kv_heads = kv_heads.unwrap_or(*heads);
                let size = size.unwrap_or(d / heads);
                let extents = [*d, *heads, kv_heads, size];
                Self::Attention(Box::new(Attention::new(extents, *causal, place)?))
            }
            Config::Parallel { branches, combine } => {
                Self::Parallel(Box::new(Parallel::new(*combine, branches, extents, place)?))
            }
        })
    }

    fn recurrent(
        cell: Cell,
        config: crate::golden::Recurrent,
        extents: &[usize],
        place: Place,
    ) -> Result<Self> {
        Ok(Self::Recurrent(Box::new(Recurrent::new(
            cell, config, extents, place,
        )?)))
    }

    /// Extents of an output sample.
    pub(super) fn outputs(&self, extents: &[usize]) -> Result<Vec<usize>> {
        Ok(match self {
            Self::Weighted(layer) => match layer.product {
                // Everything before the last axis is batch.
                Product::Dense(shape) => {
                    let (_, leading) = extents.split_last().expect("an axis");
                    [leading, &[shape.outputs]].concat()
                }
                Product::Conv(shape) => {
                    let [rows, columns] = shape.outputs()?;
                    vec![rows, columns, shape.filters]
                }
            },
            Self::Pool(layer) => {
                let [rows, columns] = layer.shape.outputs()?;
                vec![rows, columns, layer.shape.channels]
            }
            Self::Average(layer) => layer.outputs()?,
            Self::Flatten(_) => vec![extents.iter().product()],
            Self::Activation(_) | Self::Norm(_) | Self::Attention(_) => extents.to_vec(),
            Self::Recurrent(layer) => layer.outputs(),
            Self::Parallel(layer) => layer.outputs(extents)?,
        })
    }

    /// Its number.
    pub(super) fn number(&self) -> u32 {
        match self {
            Self::Weighted(layer) => layer.place.number,
            Self::Pool(layer) => layer.place.number,
            Self::Flatten(number) => *number,
            Self::Activation(layer) => layer.number,
            Self::Norm(layer) => layer.number(),
            Self::Average(layer) => layer.number(),
            Self::Recurrent(layer) => layer.number(),
            Self::Attention(layer) => layer.number(),
            Self::Parallel(layer) => layer.number(),
        }
    }

    /// How many numbers it takes: its own, and those of the layers in its branches.
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Parallel(layer) => layer.count(),
            Self::Attention(_) => Attention::<T>::COUNT,
            _ => 1,
        }
    }

    /// Whether it has parameters.
    pub(super) fn is_trained(&self) -> bool {
        match self {
            Self::Weighted(_) | Self::Norm(_) | Self::Recurrent(_) | Self::Attention(_) => true,
            Self::Parallel(layer) => layer.is_trained(),
            _ => false,
        }
    }

    /// What its branches recorded since it was asked last.
    pub(super) fn take_trace(&mut self) -> Vec<Value> {
        match self {
            Self::Parallel(layer) => layer.take_trace(),
            Self::Attention(layer) => layer.take_trace(),
            _ => Vec::new(),
        }
    }

    pub(super) fn forward(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        mode: Mode,
    ) -> Result<Tensor<T>> {
        let mut extents = vec![x.extents[0]];
        extents.extend(self.outputs(&x.extents[1..])?);
        Ok(match self {
            Self::Weighted(layer) => layer.forward(exec, x, mode)?,
            Self::Pool(layer) => {
                let mut values = vec![T::ZERO; extents.iter().product()];
                pool::max_forward(exec, layer.batched(x), &x.values, &mut values)?;
                Tensor {
                    values,
                    exponent: x.exponent,
                    extents,
                }
            }
            Self::Average(layer) => layer.forward(exec, x, extents, mode)?,
            Self::Flatten(_) => Tensor {
                extents,
                ..x.clone()
            },
            Self::Activation(layer) => layer.forward(x, mode)?,
            Self::Norm(layer) => layer.forward(exec, x, mode)?,
            Self::Recurrent(layer) => layer.forward(exec, x, extents, mode)?,
            Self::Attention(layer) => layer.forward(exec, x, mode)?,
            Self::Parallel(layer) => layer.forward(exec, x, extents, mode)?,
        })
    }

    /// Updates the layer and returns the error below, unless nothing below needs it. `y` is the
    /// output of the forward pass, which the head does not need.
    pub(super) fn backward(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        y: Option<&Tensor<T>>,
        mut dy: Tensor<T>,
        sgd: &Sgd,
        step: u32,
    ) -> Result<Option<Tensor<T>>> {
        Ok(match self {
            Self::Weighted(layer) => layer.backward(exec, x, y, dy, sgd, step)?,
            Self::Pool(layer) => {
                let y = y.expect("the head is the last layer");
                Some(layer.backward(exec, x, y, &dy, step)?)
            }
            Self::Average(layer) => Some(layer.backward(exec, x, &dy, step)?),
            Self::Flatten(_) => {
                dy.extents.clone_from(&x.extents);
                Some(dy)
            }
            Self::Activation(layer) => {
                let y = y.expect("the head is the last layer");
                activation::backward(layer.activation, &y.values, &layer.slope, &mut dy.values)?;
                Some(dy)
            }
            Self::Norm(layer) => layer.backward(exec, x, &dy, sgd, step)?,
            Self::Recurrent(layer) => layer.backward(exec, x, &dy, sgd, step)?,
            Self::Attention(layer) => layer.backward(exec, x, dy, sgd, step)?,
            Self::Parallel(layer) => layer.backward(exec, x, dy, sgd, step)?,
        })
    }
}

impl<T: Integer> Layer<T> {
    /// Its state, and those of the layers in its branches.
    pub(super) fn states(&self) -> Vec<Value> {
        match self {
            Self::Parallel(layer) => layer.states(),
            Self::Attention(layer) => layer.states(),
            layer => vec![layer.state()],
        }
    }

    fn state(&self) -> Value {
        match self {
            Self::Weighted(layer) => layer.state(),
            Self::Pool(layer) if layer.shape.window.overlaps() => {
                json!({ "params": {}, "exponents": [scale_state(layer.error)] })
            }
            Self::Average(layer) => layer.state(),
            Self::Pool(_) | Self::Flatten(_) => json!({ "params": {}, "exponents": [] }),
            Self::Parallel(_) | Self::Attention(_) => unreachable!("listed with its layers"),
            // The reference lists a state that a ReLU alone does not use.
            Self::Activation(layer) => {
                json!({ "params": {}, "exponents": [scale_state(layer.scale)] })
            }
            Self::Norm(layer) => layer.state(),
            Self::Recurrent(layer) => layer.state(),
        }
    }
}

/// An exponent state as the golden files list it.
pub(super) fn scale_state(scale: Exponent) -> Value {
    json!([scale.get(), scale.low()])
}

/// The activation that the reference calls `act`.
fn activation_of<T: Element>(act: Option<Act>) -> Activation<T> {
    match act {
        None => Activation::Identity,
        Some(Act::Relu) => Activation::Relu,
        Some(Act::Lifted) => Activation::LIFTED_RELU,
        Some(Act::Leaky) => Activation::leaky_relu(100),
        Some(Act::Tanh) => Activation::TANH,
        Some(Act::Sigmoid) => Activation::SIGMOID,
        Some(Act::Softplus) => Activation::SOFTPLUS,
        Some(Act::Gelu) => Activation::GELU,
        Some(Act::Silu) => Activation::SILU,
    }
}

/// Runs a kernel whose accumulators have exponent `exponent` before the activation.
fn requantize<T: Element, O: Element>(
    activation: Activation<T>,
    exponent: i32,
    scale: &mut T::Scale,
    mode: Mode,
    mut run: impl FnMut(Epilogue<T>) -> Result<u32>,
) -> Result<i32> {
    let rounding = Rounding::NearestEven;
    let mut run = |store| {
        run(Epilogue {
            activation,
            exponent,
            store,
        })
    };
    let exponent = activation.exponent(exponent);
    if activation.is_bounded() {
        let fixed = -(O::MAGNITUDE_BITS as i32);
        let shift = fixed - exponent;
        run(Store::Shift { shift, rounding })?;
        return Ok(fixed);
    }
    scale.requantize(exponent, O::MAGNITUDE_BITS, mode, rounding, run)
}

/// An activation as a layer of its own.
#[derive(Clone)]
pub(super) struct Alone<T: Element> {
    number: u32,
    activation: Activation<T>,
    scale: T::Scale,
    slope: Vec<T>,
}

impl<T: Element> Alone<T> {
    fn forward(&mut self, x: &Tensor<T>, mode: Mode) -> Result<Tensor<T>> {
        let mut y = x.clone();
        if matches!(self.activation, Activation::Relu) {
            activation::relu(&mut y.values);
            return Ok(y);
        }
        self.slope = vec![T::ZERO; x.values.len()];
        let (slope, values) = (&mut self.slope, &mut y.values);
        y.exponent = requantize::<T, T>(
            self.activation,
            x.exponent,
            &mut self.scale,
            mode,
            |epilogue| {
                let Epilogue {
                    activation,
                    exponent,
                    store,
                } = epilogue;
                activation::forward(activation, exponent, &x.values, store, values, slope)
            },
        )?;
        Ok(y)
    }
}

/// What is multiplied with the weights; `batch` is 1.
#[derive(Clone, Copy, Debug)]
enum Product {
    Dense(dense::Shape),
    Conv(conv::Shape),
}

/// A dense layer or a convolution.
#[derive(Clone)]
pub(super) struct Weighted<T: Element> {
    product: Product,
    activation: Activation<T>,
    /// What the activation keeps.
    slope: Vec<T>,
    weight: Parameter<T>,
    bias: Parameter<T::Bias>,
    scale: T::Scale,
    error: T::Scale,
    place: Place,
}

impl<T: Element> Weighted<T> {
    fn new(product: Product, act: Option<Act>, place: Place) -> Result<Self> {
        let (outputs, fan_in) = match product {
            Product::Dense(shape) => (shape.outputs, shape.inputs),
            Product::Conv(shape) => {
                let cells: usize = shape.window.kernel.iter().product();
                (shape.filters, cells * shape.channels / shape.groups)
            }
        };
        let parameter = |k| stream::parameter(place.number, k);
        let mut weight = Parameter::zeros(
            outputs * fan_in,
            Role::Weight,
            !place.is_bare,
            place.has_momentum,
            place.seed,
            parameter(0),
        );
        let gain = match act {
            Some(Act::Relu | Act::Lifted | Act::Leaky | Act::Gelu | Act::Silu) => Gain::He,
            None if place.is_head => Gain::He,
            _ => Gain::LeCun,
        };
        weight.fill_uniform(gain, fan_in)?;
        let mut bias = Parameter::zeros(
            outputs,
            Role::Bias,
            false,
            place.has_momentum,
            place.seed,
            parameter(1),
        );
        let more_bits = <T::Bias as Element>::MAGNITUDE_BITS - T::MAGNITUDE_BITS;
        bias.exponent = weight.exponent - more_bits as i16;
        Ok(Self {
            product,
            activation: activation_of(act),
            slope: Vec::new(),
            weight,
            bias,
            scale: T::Scale::UNSET,
            error: T::Scale::UNSET,
            place,
        })
    }

    /// A dense layer over the last axis.
    pub(super) fn dense(
        inputs: usize,
        outputs: usize,
        act: Option<Act>,
        place: Place,
    ) -> Result<Self> {
        let shape = dense::Shape {
            batch: 1,
            inputs,
            outputs,
        };
        Self::new(Product::Dense(shape), act, place)
    }

    pub(super) fn number(&self) -> u32 {
        self.place.number
    }

    /// Rows that it multiplies.
    fn batch(&self, x: &Tensor<T>) -> usize {
        match self.product {
            Product::Dense(shape) => x.values.len() / shape.inputs,
            Product::Conv(_) => x.extents[0],
        }
    }

    pub(super) fn is_head(&self) -> bool {
        self.place.is_head
    }

    /// The forward pass; the head's output has a wider type than that of other layers.
    pub(super) fn forward<O: Element + Output<T>>(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        mode: Mode,
    ) -> Result<Tensor<O>> {
        let batch = self.batch(x);
        let mut extents = vec![x.extents[0]];
        match self.product {
            Product::Dense(shape) => {
                extents.extend(&x.extents[1..x.extents.len() - 1]);
                extents.push(shape.outputs);
            }
            Product::Conv(shape) => {
                extents.extend(shape.outputs()?);
                extents.push(shape.filters);
            }
        }
        let acc_exponent = x.exponent + i32::from(self.weight.exponent);
        let weight = &self.weight.values;
        let bias = Bias::<T> {
            values: &self.bias.values,
            shift: acc_exponent - i32::from(self.bias.exponent),
        };
        let mut values = vec![O::ZERO; extents.iter().product()];
        self.slope = match self.activation.keeps_slope() {
            true => vec![T::ZERO; values.len()],
            false => Vec::new(),
        };
        let (values_mut, slope) = (&mut values, &mut self.slope);
        let exponent = requantize::<T, O>(
            self.activation,
            acc_exponent,
            &mut self.scale,
            mode,
            |epilogue| {
                let x = &x.values;
                match self.product {
                    Product::Dense(shape) => {
                        let shape = dense::Shape { batch, ..shape };
                        dense::forward(exec, shape, x, weight, bias, epilogue, values_mut, slope)
                    }
                    Product::Conv(shape) => {
                        let shape = conv::Shape { batch, ..shape };
                        conv::forward(exec, shape, x, weight, bias, epilogue, values_mut, slope)
                    }
                }
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
        y: Option<&Tensor<T>>,
        mut dy: Tensor<T>,
        sgd: &Sgd,
        step: u32,
    ) -> Result<Option<Tensor<T>>> {
        let batch = self.batch(x);
        if let Some(y) = y {
            activation::backward(self.activation, &y.values, &self.slope, &mut dy.values)?;
        }
        let dx = if self.place.passes_error {
            Some(self.backward_input(exec, x, &dy, step)?)
        } else {
            None
        };
        let product = self.product;
        self.weight.update(
            sgd,
            dy.exponent + x.exponent,
            step,
            |gradient| match product {
                Product::Dense(shape) => {
                    let shape = dense::Shape { batch, ..shape };
                    dense::backward_weight(shape, &x.values, &dy.values, gradient)
                }
                Product::Conv(shape) => {
                    let shape = conv::Shape { batch, ..shape };
                    conv::backward_weight(shape, &x.values, &dy.values, gradient)
                }
            },
        )?;
        let outputs = self.bias.values.len();
        self.bias.update(sgd, dy.exponent, step, |gradient| {
            dense::backward_bias::<T>(outputs, &dy.values, gradient)
        })?;
        Ok(dx)
    }

    fn backward_input(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        dy: &Tensor<T>,
        step: u32,
    ) -> Result<Tensor<T>> {
        let batch = self.batch(x);
        let weight = &self.weight.values;
        let mut values = vec![T::ZERO; x.values.len()];
        let exponent = self.error.requantize(
            dy.exponent + i32::from(self.weight.exponent),
            T::MAGNITUDE_BITS,
            Mode::Train,
            self.place.rounding(step),
            |store| match self.product {
                Product::Dense(shape) => {
                    let shape = dense::Shape { batch, ..shape };
                    dense::backward_input(exec, shape, &dy.values, weight, store, &mut values)
                }
                Product::Conv(shape) => {
                    let shape = conv::Shape { batch, ..shape };
                    conv::backward_input(exec, shape, &dy.values, weight, store, &mut values)
                }
            },
        )?;
        Ok(Tensor {
            values,
            exponent,
            extents: x.extents.clone(),
        })
    }
}

impl<T: Integer> Weighted<T> {
    pub(super) fn state(&self) -> Value {
        json!({
            "params": parameter::both(&self.weight, &self.bias),
            "exponents": [scale_state(self.scale), scale_state(self.error)],
        })
    }
}

/// Maximum pooling.
#[derive(Clone)]
pub(super) struct Pool<T: Element> {
    shape: pool::Shape,
    /// Used where windows overlap.
    error: T::Scale,
    place: Place,
}

impl<T: Element> Pool<T> {
    fn batched(&self, x: &Tensor<T>) -> pool::Shape {
        pool::Shape {
            batch: x.extents[0],
            ..self.shape
        }
    }

    fn backward(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        y: &Tensor<T>,
        dy: &Tensor<T>,
        step: u32,
    ) -> Result<Tensor<T>> {
        let shape = self.batched(x);
        let mut values = vec![T::ZERO; x.values.len()];
        let mut run = |store| {
            let (x, y, dy) = (&x.values, &y.values, &dy.values);
            pool::max_backward(exec, shape, x, y, dy, store, &mut values)
        };
        let exponent = if shape.window.overlaps() {
            self.error.requantize(
                dy.exponent,
                T::MAGNITUDE_BITS,
                Mode::Train,
                self.place.rounding(step),
                run,
            )?
        } else {
            run(Store::EXACT)?;
            dy.exponent
        };
        Ok(Tensor {
            values,
            exponent,
            extents: x.extents.clone(),
        })
    }
}
