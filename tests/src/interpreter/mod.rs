//! A small interpreter over the kernels' public API: networks as lists of layers in `Vec`s, for
//! proving kernels against the reference program without any of `selvedge-core`.

mod attention;
mod average;
mod branches;
mod layer;
mod norm;
mod parameter;
mod recurrent;

use crate::golden::{Config, Layer as LayerConfig, Run};
use layer::{Layer, Place};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{self, Outcome};
use selvedge_kernels::optim::{Decay, Learn, Rate, Sgd};
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Exponent, Mode, Scale};
use selvedge_kernels::{Element, Result};
use serde_json::{Value, json};

/// Elements with the exponent and the extents that they have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    /// Row-major, batch first.
    pub values: Vec<T>,
    /// 0 for floats.
    pub exponent: i32,
    /// The batch, then the extents of a sample.
    pub extents: Vec<usize>,
}

impl<T: Element> Tensor<T> {
    /// Samples `from..to`.
    #[must_use]
    pub fn samples(&self, from: usize, to: usize) -> Self {
        let len: usize = self.extents[1..].iter().product();
        let mut extents = self.extents.clone();
        extents[0] = to - from;
        Self {
            values: self.values[from * len..to * len].to_vec(),
            exponent: self.exponent,
            extents,
        }
    }

    fn describe(&self, what: &str, layer: Option<usize>) -> Value {
        json!({
            "what": what,
            "layer": layer,
            "exp": self.exponent,
            "shape": self.extents,
            "q": self.values.iter().map(|&x| stored(x)).collect::<Vec<_>>(),
        })
    }
}

/// The number that an element's bytes are in memory: unsigned types in offset binary.
#[must_use]
pub fn stored<T: Element>(x: T) -> Value {
    let (mut bytes, mut len) = ([0u8; 8], 0);
    x.le_bytes(|part| {
        bytes[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    });
    let bits = u64::from_le_bytes(bytes);
    if T::DTYPE.name().starts_with('u') {
        json!(bits)
    } else {
        let unused = 64 - 8 * len as u32;
        json!((bits << unused) as i64 >> unused)
    }
}

/// An integer type of the recipe, whose whole state can be listed.
pub trait Integer:
    Element<Scale = Exponent, LossSum = i64, Velocity: Into<i64>, Bias: Learn<Velocity: Into<i64>>>
{
}

impl<T> Integer for T where
    T: Element<
            Scale = Exponent,
            LossSum = i64,
            Velocity: Into<i64>,
            Bias: Learn<Velocity: Into<i64>>,
        >
{
}

/// What a network is trained towards.
#[derive(Clone, Debug)]
pub enum Target<T: Element> {
    /// One class for each sample.
    Labels(Vec<u16>),
    /// Values for squared error.
    Values(Tensor<T::Head>),
}

/// The tensors of a forward pass.
struct Pass<T: Element> {
    /// The input of each layer.
    inputs: Vec<Tensor<T>>,
    out: Tensor<T::Head>,
}

/// A network, with all its state.
#[derive(Clone)]
pub struct Network<T: Element> {
    layers: Vec<Layer<T>>,
    loss_scale: T::Scale,
    sgd: Sgd,
    seed: u32,
    step: u32,
}

impl<T: Element> Network<T> {
    /// The network of a golden file, initialised.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn new(config: &Config) -> Result<Self> {
        let sgd = Sgd {
            rate: Rate {
                mantissa: config.lr.0,
                exponent: config.lr.1,
            },
            momentum: config.beta,
            nesterov: config.nesterov,
            decay: config
                .decay
                .map(|(mantissa, shift)| Decay { mantissa, shift }),
        };
        let is_trained = |layer: &LayerConfig| {
            matches!(
                layer,
                LayerConfig::Dense { .. } | LayerConfig::Conv2d { .. }
            )
        };
        let head = config.net.iter().rposition(is_trained);
        assert_eq!(
            head,
            Some(config.net.len() - 1),
            "the last layer must be the head"
        );
        let mut extents = config.shape.clone();
        let mut passes_error = false;
        let mut layers = Vec::new();
        let mut number = 0;
        for (i, layer) in config.net.iter().enumerate() {
            let place = Place {
                number,
                seed: config.seed,
                passes_error,
                is_head: head == Some(i),
                is_bare: config.kind.ends_with('p'),
                has_momentum: config.beta != 0,
            };
            let layer = Layer::new(layer, &extents, place)?;
            extents = layer.outputs(&extents)?;
            passes_error |= layer.is_trained();
            number += layer.count();
            layers.push(layer);
        }
        Ok(Self {
            layers,
            loss_scale: T::Scale::UNSET,
            sgd,
            seed: config.seed,
            step: 0,
        })
    }

    /// The output for `x`, without a change of any state.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn infer(&mut self, exec: &impl Executor, x: &Tensor<T>) -> Result<Tensor<T::Head>> {
        Ok(self.forward(exec, x, Mode::Infer)?.out)
    }

    fn forward(&mut self, exec: &impl Executor, x: &Tensor<T>, mode: Mode) -> Result<Pass<T>> {
        let mut inputs = vec![x.clone()];
        for layer in &mut self.layers {
            let x = inputs.last().expect("one input at least");
            match layer {
                Layer::Weighted(head) if head.is_head() => {
                    let out = head.forward(exec, x, mode)?;
                    return Ok(Pass { inputs, out });
                }
                layer => {
                    let y = layer.forward(exec, x, mode)?;
                    inputs.push(y);
                }
            }
        }
        unreachable!("the last layer is the head");
    }

    /// One step of training; returns the loss summed over the batch. `trace` gets every tensor.
    ///
    /// # Errors
    /// Those of the kernels.
    pub fn train_step(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        target: &Target<T>,
        mut trace: Option<&mut Vec<Value>>,
    ) -> Result<T::LossSum> {
        let Pass { inputs, out } = self.forward(exec, x, Mode::Train)?;
        if let Some(trace) = &mut trace {
            for (layer, y) in self.layers.iter_mut().zip(&inputs[1..]) {
                trace.extend(layer.take_trace());
                trace.push(y.describe("forward", Some(layer.number() as usize)));
            }
            let head = self.layers.last().map(|head| head.number() as usize);
            trace.push(out.describe("forward", head));
        }
        let (mut d, loss) = self.loss_gradient(&out, target)?;
        if let Some(trace) = &mut trace {
            trace.push(d.describe("loss", None));
        }
        let mut y = None; // output of the layer, where it is not the head
        for (layer, x) in self.layers.iter_mut().zip(&inputs).rev() {
            let Some(dx) = layer.backward(exec, x, y, d, &self.sgd, self.step)? else {
                break;
            };
            d = dx;
            y = Some(x);
            if let Some(trace) = &mut trace {
                trace.extend(layer.take_trace());
                trace.push(d.describe("backward", Some(layer.number() as usize)));
            }
        }
        self.step += 1;
        Ok(loss)
    }

    fn loss_gradient(
        &mut self,
        out: &Tensor<T::Head>,
        target: &Target<T>,
    ) -> Result<(Tensor<T>, T::LossSum)> {
        let words = Words::new(self.seed, stream::LOSS, self.step);
        let mut values = vec![T::ZERO; out.values.len()];
        let mut sum = T::LossSum::default();
        let gradient_exponent = match target {
            Target::Labels(_) => T::LOSS_EXPONENT,
            Target::Values(_) => out.exponent + T::MSE_EXPONENT,
        };
        let exponent = self.loss_scale.requantize(
            gradient_exponent,
            T::MAGNITUDE_BITS,
            Mode::Train,
            Rounding::Stochastic(words),
            |store| {
                let Outcome { range, loss } = match target {
                    Target::Labels(labels) => {
                        let classes = *out.extents.last().expect("an extent at least");
                        loss::cross_entropy(
                            classes,
                            &out.values,
                            out.exponent,
                            labels,
                            store,
                            &mut values,
                        )?
                    }
                    Target::Values(y) => loss::squared_error(
                        &out.values,
                        out.exponent,
                        &y.values,
                        y.exponent,
                        store,
                        &mut values,
                    )?,
                };
                sum = loss;
                Ok(range)
            },
        )?;
        let d = Tensor {
            values,
            exponent,
            extents: out.extents.clone(),
        };
        Ok((d, sum))
    }
}

impl<T: Integer> Network<T> {
    /// Everything that must match bit for bit, as the golden files list it.
    #[must_use]
    pub fn state(&self) -> Value {
        json!({
            "step": self.step,
            "loss_exp": layer::scale_state(self.loss_scale),
            "layers": self.layers.iter().flat_map(Layer::states).collect::<Vec<_>>(),
        })
    }
}

/// The whole input of a recorded run.
#[must_use]
pub fn inputs<T: Element>(run: &Run) -> Tensor<T> {
    let mut extents = vec![run.x.len()];
    extents.extend(&run.config.shape);
    Tensor {
        values: run.x.iter().flatten().map(|&p| T::from_pixel(p)).collect(),
        exponent: T::PIXEL_EXPONENT,
        extents,
    }
}

/// What samples `from..to` of a recorded run are trained towards: their labels, or for squared
/// error one-hot values of 128 at exponent -7.
#[must_use]
pub fn targets<T: Element>(run: &Run, from: usize, to: usize) -> Target<T> {
    let labels = &run.y[from..to];
    if run.config.loss == "ce" {
        return Target::Labels(labels.to_vec());
    }
    let one_hot = |label: u16| {
        (0..run.config.classes).map(move |c| if c == usize::from(label) { 128.0 } else { 0.0 })
    };
    Target::Values(Tensor {
        values: labels
            .iter()
            .flat_map(|&label| one_hot(label))
            .map(<T::Head as Element>::from_f64)
            .collect(),
        exponent: -7,
        extents: vec![labels.len(), run.config.classes],
    })
}
