//! Recurrent layers: RNN, LSTM and GRU.

use super::layer::{Place, scale_state};
use super::parameter::Parameter;
use super::{Integer, Tensor};
use crate::golden::{self, Given};
use selvedge_kernels::element::Blank;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::init::Gain;
use selvedge_kernels::optim::{Role, Sgd};
use selvedge_kernels::recurrent::{
    self, Cell, Errors, Exponents, Input, Keep, Output, Shape, State, Weights, Windows,
};
use selvedge_kernels::rng::stream;
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{Element, Result, dense};
use serde_json::{Value, json};

/// A recurrent layer with its parameters.
#[derive(Clone)]
pub(super) struct Recurrent<T: Element> {
    /// Of one sample.
    shape: Shape,
    input: Parameter<T>,
    hidden: Parameter<T>,
    bias: Parameter<T::Bias>,
    /// Empty but for a GRU.
    hidden_bias: Parameter<T::Bias>,
    /// Windows of errors of the state and of the gates.
    windows: [T::Scale; 2],
    error: T::Scale,
    place: Place,
    /// What the last forward pass kept.
    before: Vec<T>,
    gates: Vec<T::Inner>,
}

impl<T: Element> Recurrent<T> {
    pub(super) fn new(
        cell: Cell,
        config: golden::Recurrent,
        extents: &[usize],
        place: Place,
    ) -> Result<Self> {
        let shape = Shape {
            cell,
            batch: 1,
            steps: extents[0],
            inputs: config.n_in,
            units: config.n_hid,
            output: match config.out {
                Given::Last => Output::Last,
                Given::All => Output::All,
            },
            is_reversed: false,
        };
        let rows = cell.gates() * shape.units;
        let weight = |k, inputs| -> Result<Parameter<T>> {
            let mut weight = Parameter::zeros(
                rows * inputs,
                Role::Weight,
                !place.is_bare,
                place.has_momentum,
                place.seed,
                stream::parameter(place.number, k),
            );
            weight.fill_uniform(Gain::LeCun, inputs)?;
            Ok(weight)
        };
        let bias = |k, rows, cell| {
            let mut bias = Parameter::<T::Bias>::zeros(
                rows,
                Role::Bias,
                false,
                place.has_momentum,
                place.seed,
                stream::parameter(place.number, k),
            );
            bias.exponent = recurrent::biases(cell, &mut bias.values);
            bias
        };
        Ok(Self {
            shape,
            input: weight(0, shape.inputs)?,
            hidden: weight(1, shape.units)?,
            bias: bias(2, rows, cell),
            hidden_bias: bias(3, if cell == Cell::Gru { rows } else { 0 }, cell),
            windows: [T::Scale::UNSET; 2],
            error: T::Scale::UNSET,
            place,
            before: Vec::new(),
            gates: Vec::new(),
        })
    }

    pub(super) fn number(&self) -> u32 {
        self.place.number
    }

    /// Extents of an output sample.
    pub(super) fn outputs(&self) -> Vec<usize> {
        match self.shape.output {
            Output::All => vec![self.shape.steps, self.shape.units],
            Output::Last => vec![self.shape.units],
        }
    }

    fn weights(&self) -> Weights<'_, T> {
        Weights {
            input: &self.input.values,
            hidden: &self.hidden.values,
            bias: &self.bias.values,
            hidden_bias: &self.hidden_bias.values,
            exponents: Exponents {
                input: self.input.exponent.into(),
                hidden: self.hidden.exponent.into(),
                bias: self.bias.exponent.into(),
                hidden_bias: self.hidden_bias.exponent.into(),
            },
        }
    }

    pub(super) fn forward(
        &mut self,
        exec: &impl Executor,
        x: &Tensor<T>,
        extents: Vec<usize>,
        mode: Mode,
    ) -> Result<Tensor<T>> {
        let batch = x.extents[0];
        let shape = Shape {
            batch,
            ..self.shape
        };
        let Shape {
            cell, steps, units, ..
        } = shape;
        let inner = if cell.has_inner() { batch * units } else { 0 };
        let (mut h, mut inner) = (vec![T::ZERO; batch * units], vec![T::Inner::BLANK; inner]);
        let kept = match mode {
            Mode::Train => batch * steps * units,
            Mode::Infer | Mode::Calibrate => 0,
        };
        let mut before = vec![T::ZERO; kept];
        let mut gates = vec![T::Inner::BLANK; kept * cell.kept()];
        let mut values = vec![T::ZERO; extents.iter().product()];
        // Some steps at a time, so that a remainder is left.
        let scratch = recurrent::forward_scratch_len(shape, 2)?;
        let mut scratch = vec![T::Acc::default(); scratch];
        recurrent::forward(
            exec,
            shape,
            Input {
                values: &x.values,
                exponent: x.exponent,
            },
            self.weights(),
            State {
                h: &mut h,
                inner: &mut inner,
            },
            Keep {
                before: &mut before,
                gates: &mut gates,
            },
            &mut values,
            &mut scratch,
        )?;
        if mode == Mode::Train {
            (self.before, self.gates) = (before, gates);
        }
        Ok(Tensor {
            values,
            exponent: recurrent::output_exponent::<T>(),
            extents,
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
        let shape = Shape {
            batch: x.extents[0],
            ..self.shape
        };
        let Shape {
            cell,
            batch,
            steps,
            inputs,
            units,
            ..
        } = shape;
        let rows = cell.gates() * units;
        let [of_state, of_gates] = &mut self.windows;
        let state = of_state.begin(Windows::first_state::<T>(dy.exponent));
        let gates = of_gates.begin(Windows::first_gates::<T>(state));
        let windows = Windows { state, gates };
        let mut dz = vec![T::ZERO; batch * steps * rows];
        let mut dzu = vec![T::ZERO; if cell == Cell::Gru { dz.len() } else { 0 }];
        let mut scratch = vec![T::Acc::default(); recurrent::backward_scratch_len(shape)?];
        let tops = recurrent::backward(
            exec,
            shape,
            self.weights(),
            &self.gates,
            Errors {
                dy: &dy.values,
                exponent: dy.exponent,
                windows,
            },
            &mut dz,
            &mut dzu,
            &mut scratch,
        )?;
        let [of_state, of_gates] = &mut self.windows;
        of_state.end(tops.state, Windows::STATE_BITS);
        of_gates.end(tops.gates, T::MAGNITUDE_BITS);
        let dense = dense::Shape {
            batch: batch * steps,
            inputs,
            outputs: rows,
        };
        let mut dx = None;
        if self.place.passes_error {
            let mut values = vec![T::ZERO; x.values.len()];
            let exponent = self.error.requantize(
                gates + i32::from(self.input.exponent),
                T::MAGNITUDE_BITS,
                Mode::Train,
                self.place.rounding(step),
                |store| {
                    let weight = &self.input.values;
                    dense::backward_input(exec, dense, &dz, weight, store, &mut values)
                },
            )?;
            dx = Some(Tensor {
                values,
                exponent,
                extents: x.extents.clone(),
            });
        }
        self.input
            .update(sgd, gates + x.exponent, step, |gradient| {
                dense::backward_weight(dense, &x.values, &dz, gradient)
            })?;
        let of_h = if cell == Cell::Gru { &dzu } else { &dz };
        let exponent = gates + recurrent::output_exponent::<T>();
        self.hidden.update(sgd, exponent, step, |gradient| {
            let dense = dense::Shape {
                inputs: units,
                ..dense
            };
            dense::backward_weight(dense, &self.before, of_h, gradient)
        })?;
        self.bias.update(sgd, gates, step, |gradient| {
            dense::backward_bias::<T>(rows, &dz, gradient)
        })?;
        if cell == Cell::Gru {
            self.hidden_bias.update(sgd, gates, step, |gradient| {
                dense::backward_bias::<T>(rows, &dzu, gradient)
            })?;
        }
        Ok(dx)
    }
}

impl<T: Integer> Recurrent<T> {
    pub(super) fn state(&self) -> Value {
        let mut params = json!({
            "W": self.input.state(), "U": self.hidden.state(), "b": self.bias.state()
        });
        if self.shape.cell == Cell::Gru {
            params["c"] = self.hidden_bias.state();
        }
        let [of_state, of_gates] = self.windows;
        let exponents = [of_state, of_gates, self.error].map(scale_state);
        json!({ "params": params, "exponents": exponents })
    }
}
