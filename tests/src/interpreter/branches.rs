//! Layers with several branches on one input, and averages over windows that lie side by side.

use super::layer::{Layer, Place};
use super::{Integer, Tensor};
use crate::golden::{Combine, Layer as Config};
use selvedge_kernels::axes::{Extents, Operand};
use selvedge_kernels::elementwise::{self, Operation, Term, aligned_exponent};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{Element, Result, layout};
use serde_json::{Value, json};

pub(super) fn identity(store: Store) -> Store {
    store
}

/// Branches, each a list of layers (an empty one is the identity), and how they come together.
#[derive(Clone)]
pub(super) struct Parallel<T: Element> {
    branches: Vec<Vec<Layer<T>>>,
    combine: Combine,
    scale: T::Scale,
    error: T::Scale,
    /// Of the errors of both factors of a product.
    parts: [T::Scale; 2],
    place: Place,
    /// Inputs of each layer, and the branch's output, of the last forward pass.
    saved: Vec<Vec<Tensor<T>>>,
    trace: Vec<Value>,
}

impl<T: Element> Parallel<T> {
    /// Numbers its layers from the one after its own on.
    pub(super) fn new(
        combine: Combine,
        branches: &[Vec<Config>],
        extents: &[usize],
        place: Place,
    ) -> Result<Self> {
        let mut number = place.number + 1;
        let mut chains = Vec::new();
        for branch in branches {
            let mut extents = extents.to_vec();
            let mut passes_error = place.passes_error;
            let mut chain = Vec::new();
            for layer in branch {
                let place = Place {
                    number,
                    passes_error,
                    is_head: false,
                    ..place
                };
                let layer = Layer::new(layer, &extents, place)?;
                extents = layer.outputs(&extents)?;
                passes_error |= layer.is_trained();
                number += layer.count();
                chain.push(layer);
            }
            chains.push(chain);
        }
        Ok(Self {
            branches: chains,
            combine,
            scale: T::Scale::UNSET,
            error: T::Scale::UNSET,
            parts: [T::Scale::UNSET; 2],
            place,
            saved: Vec::new(),
            trace: Vec::new(),
        })
    }

    pub(super) fn number(&self) -> u32 {
        self.place.number
    }

    /// How many numbers it takes.
    pub(super) fn count(&self) -> u32 {
        1 + self
            .branches
            .iter()
            .flatten()
            .map(Layer::count)
            .sum::<u32>()
    }

    pub(super) fn is_trained(&self) -> bool {
        self.branches.iter().flatten().any(Layer::is_trained)
    }

    pub(super) fn outputs(&self, extents: &[usize]) -> Result<Vec<usize>> {
        let mut sum = 0;
        let mut out = extents.to_vec();
        for branch in &self.branches {
            out = extents.to_vec();
            for layer in branch {
                out = layer.outputs(&out)?;
            }
            sum += out.last().expect("an axis");
        }
        if self.combine == Combine::Concat {
            *out.last_mut().expect("an axis") = sum;
        }
        Ok(out)
    }

    pub(super) fn take_trace(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.trace)
    }

    pub(super) fn forward(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        extents: Vec<usize>,
        mode: Mode,
    ) -> Result<Tensor<T>> {
        self.saved.clear();
        for branch in &mut self.branches {
            let mut tensors = vec![x.clone()];
            for layer in branch {
                let y = layer.forward(exec, tensors.last().expect("one"), mode)?;
                self.trace.extend(layer.take_trace());
                self.trace
                    .push(y.describe("forward", Some(layer.number() as usize)));
                tensors.push(y);
            }
            self.saved.push(tensors);
        }
        let outs: Vec<&Tensor<T>> = self.saved.iter().filter_map(|all| all.last()).collect();
        let mut values = vec![T::ZERO; extents.iter().product()];
        let nearest = Rounding::NearestEven;
        let exponent = match self.combine {
            Combine::Add => {
                let terms = terms(&outs);
                let exponent = aligned_exponent(terms.iter().map(|term| term.exponent));
                self.scale
                    .requantize(exponent, T::MAGNITUDE_BITS, mode, nearest, |store| {
                        elementwise::sum(exec, &terms, identity(store), &mut values)
                    })?
            }
            Combine::Concat => {
                let parts: Vec<_> = outs.iter().map(|y| operand(y)).collect();
                layout::concat(extents.len() - 1, &parts, &mut values)?
            }
            Combine::Mul => {
                let (a, b) = (operand(outs[0]), operand(outs[1]));
                let exponent = Operation::Mul.exponent::<T>(a.exponent, b.exponent);
                self.scale
                    .requantize(exponent, T::MAGNITUDE_BITS, mode, nearest, |store| {
                        let store = identity(store);
                        elementwise::forward(exec, Operation::Mul, a, b, store, &mut values)
                    })?
            }
        };
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
        dy: Tensor<T>,
        sgd: &Sgd,
        step: u32,
    ) -> Result<Option<Tensor<T>>> {
        let errors = self.errors_of_branches(exec, dy, step)?;
        let mut below = Vec::new();
        for ((branch, saved), d) in self.branches.iter_mut().zip(&self.saved).zip(errors) {
            let mut d = Some(d);
            for (i, layer) in branch.iter_mut().enumerate().rev() {
                let Some(dy) = d.take() else { break };
                d = layer.backward(exec, &saved[i], Some(&saved[i + 1]), dy, sgd, step)?;
                self.trace.extend(layer.take_trace());
                if let Some(d) = &d {
                    let number = layer.number() as usize;
                    self.trace.push(d.describe("backward", Some(number)));
                }
            }
            below.extend(d);
        }
        if !self.place.passes_error {
            return Ok(None);
        }
        let below: Vec<_> = below.iter().collect();
        let terms = terms(&below);
        let mut values = vec![T::ZERO; x.values.len()];
        let exponent = self.error.requantize(
            aligned_exponent(terms.iter().map(|term| term.exponent)),
            T::MAGNITUDE_BITS,
            Mode::Train,
            self.place.rounding(step),
            |store| elementwise::sum(exec, &terms, identity(store), &mut values),
        )?;
        Ok(Some(Tensor {
            values,
            exponent,
            extents: x.extents.clone(),
        }))
    }

    fn errors_of_branches(
        &mut self,
        exec: &impl Executor,
        dy: Tensor<T>,
        step: u32,
    ) -> Result<Vec<Tensor<T>>> {
        let outs: Vec<&Tensor<T>> = self.saved.iter().filter_map(|all| all.last()).collect();
        let zeros = |y: &&Tensor<T>| Tensor {
            values: vec![T::ZERO; y.values.len()],
            exponent: dy.exponent,
            extents: y.extents.clone(),
        };
        let mut errors: Vec<_> = outs.iter().map(zeros).collect();
        match self.combine {
            Combine::Add => return Ok(vec![dy; outs.len()]),
            Combine::Concat => {
                let mut parts: Vec<_> = errors.iter_mut().map(|d| &mut d.values[..]).collect();
                let extents = Extents::new(&dy.extents)?;
                layout::split(extents, extents.rank() - 1, &dy.values, &mut parts)?;
            }
            Combine::Mul => {
                for (k, (d, scale)) in errors.iter_mut().zip(&mut self.parts).enumerate() {
                    let (a, b) = (operand(&dy), operand(outs[1 - k]));
                    let stream = stream::error(self.place.number) + 1 + k as u32;
                    let words = Words::new(self.place.seed, stream, step);
                    let values = &mut d.values;
                    d.exponent = scale.requantize(
                        Operation::Mul.exponent::<T>(a.exponent, b.exponent),
                        T::MAGNITUDE_BITS,
                        Mode::Train,
                        Rounding::Stochastic(words),
                        |store| {
                            let store = identity(store);
                            elementwise::forward(exec, Operation::Mul, a, b, store, values)
                        },
                    )?;
                }
            }
        }
        Ok(errors)
    }
}

impl<T: Integer> Parallel<T> {
    /// Its state, and those of its layers.
    pub(super) fn states(&self) -> Vec<Value> {
        let state = super::layer::scale_state;
        let mut exponents = Vec::new();
        if self.combine != Combine::Concat {
            exponents.push(state(self.scale));
        }
        exponents.push(state(self.error));
        if self.combine == Combine::Mul {
            exponents.extend(self.parts.map(state));
        }
        let mut states = vec![json!({ "params": {}, "exponents": exponents })];
        states.extend(self.branches.iter().flatten().flat_map(Layer::states));
        states
    }
}

pub(super) fn terms<'a, T: Element>(tensors: &[&'a Tensor<T>]) -> Vec<Term<'a, T>> {
    let term = |tensor: &&'a Tensor<T>| Term {
        values: &tensor.values,
        exponent: tensor.exponent,
    };
    tensors.iter().map(term).collect()
}

fn operand<T: Element>(tensor: &Tensor<T>) -> Operand<'_, T> {
    Operand {
        values: &tensor.values,
        extents: Extents::new(&tensor.extents).expect("extents of a tensor"),
        exponent: tensor.exponent,
    }
}
