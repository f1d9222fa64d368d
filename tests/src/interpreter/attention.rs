//! Attention between its four dense layers.

use super::branches::{identity, terms};
use super::layer::{Place, Weighted, scale_state};
use super::{Integer, Tensor};
use selvedge_kernels::attention::{
    self, Errors, Exponents, Inputs, Mask, Ranges, Scratch, Shape, Stores,
};
use selvedge_kernels::element::Blank;
use selvedge_kernels::elementwise::{self, aligned_exponent};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{Element, Result};
use serde_json::{Value, json};

/// The exponent states, as the golden files list them.
#[derive(Clone)]
struct States<S> {
    out: S,
    scores: S,
    error: S,
    parts: [S; 3],
}

/// An attention, and its layers.
#[derive(Clone)]
pub(super) struct Attention<T: Element> {
    heads: usize,
    kv_heads: usize,
    size: usize,
    mask: Mask<'static>,
    /// q, k, v, o.
    projections: [Weighted<T>; 4],
    states: States<T::Scale>,
    /// Queries, keys, values and the output before the last layer.
    saved: Vec<Tensor<T>>,
    place: Place,
    trace: Vec<Value>,
}

impl<T: Element> Attention<T> {
    /// Numbers that it takes.
    pub(super) const COUNT: u32 = 5;

    pub(super) fn new(
        [features, heads, kv_heads, size]: [usize; 4],
        is_causal: bool,
        place: Place,
    ) -> Result<Self> {
        let layer = |k: u32, inputs, outputs, passes_error| {
            let place = Place {
                number: place.number + 1 + k,
                passes_error,
                is_head: false,
                ..place
            };
            Weighted::dense(inputs, outputs, None, place)
        };
        let below = place.passes_error;
        let (all, shared) = (heads * size, kv_heads * size);
        let unset = T::Scale::UNSET;
        Ok(Self {
            heads,
            kv_heads,
            size,
            mask: if is_causal { Mask::CAUSAL } else { Mask::NONE },
            projections: [
                layer(0, features, all, below)?,
                layer(1, features, shared, below)?,
                layer(2, features, shared, below)?,
                layer(3, all, features, true)?,
            ],
            states: States {
                out: unset,
                scores: unset,
                error: unset,
                parts: [unset; 3],
            },
            saved: Vec::new(),
            place,
            trace: Vec::new(),
        })
    }

    pub(super) fn number(&self) -> u32 {
        self.place.number
    }

    pub(super) fn take_trace(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.trace)
    }

    fn describe(&mut self, what: &str, tensor: &Tensor<T>, number: u32) {
        self.trace
            .push(tensor.describe(what, Some(number as usize)));
    }

    fn shape(&self, x: &Tensor<T>) -> Shape {
        Shape {
            batch: x.extents[0],
            queries: x.extents[1],
            keys: x.extents[1],
            heads: self.heads,
            kv_heads: self.kv_heads,
            size: self.size,
        }
    }

    pub(super) fn forward(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        mode: Mode,
    ) -> Result<Tensor<T>> {
        let mut saved = Vec::new();
        for k in 0..3 {
            let y = self.projections[k].forward(exec, x, mode)?;
            self.describe("forward", &y, self.projections[k].number());
            saved.push(y);
        }
        let shape = self.shape(x);
        let inputs = inputs(&saved, shape);
        let tasks = exec.parallelism();
        let scratch_len = attention::forward_scratch_len::<T>(shape, tasks)?;
        let mut scratch = vec![T::AttentionScore::BLANK; scratch_len];
        let mut values = vec![T::ZERO; saved[0].values.len()];
        let exponent = self.states.out.requantize(
            inputs.exponents.out::<T>(),
            T::MAGNITUDE_BITS,
            mode,
            Rounding::NearestEven,
            |store| {
                let (out, scratch) = (&mut values, &mut scratch);
                attention::forward(exec, shape, self.mask, inputs, store, out, scratch)
            },
        )?;
        let heads = Tensor {
            values,
            exponent,
            extents: saved[0].extents.clone(),
        };
        self.describe("attention", &heads, self.place.number);
        let y = self.projections[3].forward(exec, &heads, mode)?;
        self.describe("forward", &y, self.projections[3].number());
        saved.push(heads);
        self.saved = saved;
        Ok(y)
    }

    pub(super) fn backward(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        dy: Tensor<T>,
        sgd: &Sgd,
        step: u32,
    ) -> Result<Option<Tensor<T>>> {
        let heads = &self.saved[3];
        let d = self.projections[3].backward(exec, heads, None, dy, sgd, step)?;
        let d = d.expect("the last layer passes its error");
        self.describe("backward", &d, self.projections[3].number());
        let mut below = Vec::new();
        for (k, d) in self.core(exec, x, &d, step)?.into_iter().enumerate() {
            self.describe("attention", &d, self.place.number);
            let dx = self.projections[k].backward(exec, x, None, d, sgd, step)?;
            if let Some(dx) = dx {
                self.describe("backward", &dx, self.projections[k].number());
                below.push(dx);
            }
        }
        if !self.place.passes_error {
            return Ok(None);
        }
        let below: Vec<_> = below.iter().collect();
        let terms = terms(&below);
        let mut values = vec![T::ZERO; x.values.len()];
        let exponent = self.states.error.requantize(
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

    /// The errors of queries, keys and values. Each is computed in a pass of its own, where one pass
    /// gives all three: what is measured only shall not touch the others.
    fn core(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        dy: &Tensor<T>,
        step: u32,
    ) -> Result<Vec<Tensor<T>>> {
        let shape = self.shape(x);
        let inputs = inputs(&self.saved, shape);
        let mut errors: Vec<_> = self.saved[..3].to_vec();
        let [scores, products, sums] =
            attention::backward_scratch_len::<T>(shape, exec.parallelism())?;
        let mut scores = vec![T::AttentionScore::BLANK; scores];
        let [mut products, mut sums] =
            [products, sums].map(|len| vec![T::AttentionSum::BLANK; len]);
        let mask = self.mask;
        let mut run = |errors: &mut [Tensor<T>], stores: Stores| -> Result<Ranges> {
            let [dq, dk, dv] = errors else {
                unreachable!("three")
            };
            let errors = Errors {
                dq: &mut dq.values,
                dk: &mut dk.values,
                dv: &mut dv.values,
            };
            let scratch = Scratch {
                scores: &mut scores,
                products: &mut products,
                sums: &mut sums,
            };
            attention::backward(
                exec, shape, mask, inputs, &dy.values, stores, errors, scratch,
            )
        };
        let mut stores = Stores {
            scores: Store::Measure,
            dq: Store::Measure,
            dk: Store::Measure,
            dv: Store::Measure,
        };
        let acc = inputs.exponents.scores::<T>(dy.exponent);
        let nearest = Rounding::NearestEven;
        let bits = Stores::SCORE_BITS;
        let scores_exponent =
            self.states
                .scores
                .requantize(acc, bits, Mode::Train, nearest, |store| {
                    stores.scores = store;
                    Ok(run(&mut errors, stores)?.scores)
                })?;
        let exponents = [
            inputs.exponents.dq::<T>(scores_exponent),
            inputs.exponents.dk::<T>(scores_exponent),
            Exponents::dv::<T>(dy.exponent),
        ];
        for (k, (scale, acc)) in self.states.parts.iter_mut().zip(exponents).enumerate() {
            let stream = stream::error(self.place.number) + 1 + k as u32;
            let words = Words::new(self.place.seed, stream, step);
            let rounding = Rounding::Stochastic(words);
            let bits = T::MAGNITUDE_BITS;
            let exponent = scale.requantize(acc, bits, Mode::Train, rounding, |store| {
                let mut stores = stores;
                match k {
                    0 => stores.dq = store,
                    1 => stores.dk = store,
                    _ => stores.dv = store,
                }
                let ranges = run(&mut errors, stores)?;
                Ok([ranges.dq, ranges.dk, ranges.dv][k])
            })?;
            errors[k].exponent = exponent;
        }
        Ok(errors)
    }
}

/// Queries, keys and values of one sequence.
fn inputs<T: Element>(saved: &[Tensor<T>], shape: Shape) -> Inputs<'_, T> {
    Inputs {
        q: &saved[0].values,
        k: &saved[1].values,
        v: &saved[2].values,
        capacity: shape.keys,
        exponents: Exponents {
            q: saved[0].exponent,
            k: saved[1].exponent,
            v: saved[2].exponent,
        },
    }
}

impl<T: Integer> Attention<T> {
    /// Its state, and those of its layers.
    pub(super) fn states(&self) -> Vec<Value> {
        let States {
            out,
            scores,
            error,
            parts: [q, k, v],
        } = self.states;
        let exponents = [out, scores, error, q, k, v].map(scale_state);
        let mut states = vec![json!({ "params": {}, "exponents": exponents })];
        states.extend(self.projections.iter().map(Weighted::state));
        states
    }
}
