//! A parameter tensor that owns its memory.

use super::{Integer, stored};
use selvedge_kernels::element::Blank;
use selvedge_kernels::init::{self, Gain};
use selvedge_kernels::optim::{self, Gradient, Learn, Role, Sgd};
use selvedge_kernels::rng::Words;
use selvedge_kernels::{Element, Result};
use serde_json::{Value, json};

/// A parameter and its state.
#[derive(Clone, Debug)]
pub(super) struct Parameter<P: Element> {
    pub(super) values: Vec<P>,
    residual: Vec<i8>,
    velocity: Vec<P::Velocity>,
    pub(super) exponent: i16,
    role: Role,
    seed: u32,
    stream: u32,
}

impl<P: Element> Parameter<P> {
    /// Zeros; with residuals if the type has them and `keeps_residual`.
    pub(super) fn zeros(
        len: usize,
        role: Role,
        keeps_residual: bool,
        has_momentum: bool,
        seed: u32,
        stream: u32,
    ) -> Self {
        let velocities = if has_momentum { len } else { 0 };
        let has_residual = keeps_residual && size_of::<P::Residual>() != 0;
        Self {
            values: vec![P::ZERO; len],
            residual: vec![0; if has_residual { len } else { 0 }],
            velocity: vec![P::Velocity::BLANK; velocities],
            exponent: 0,
            role,
            seed,
            stream,
        }
    }

    pub(super) fn fill_uniform(&mut self, gain: Gain, fan_in: usize) -> Result<()> {
        let words = Words::new(self.seed, self.stream, 0);
        self.exponent = init::uniform(&mut self.values, &mut self.residual, words, gain, fan_in)?;
        Ok(())
    }

    /// Hands the gradient that `sum` computes, of exponent `exponent`, to the update after `step`.
    pub(super) fn update<A: Copy + Into<P::Update>>(
        &mut self,
        sgd: &Sgd,
        exponent: i32,
        step: u32,
        sum: impl FnOnce(&mut Gradient<'_, P, A>) -> Result<()>,
    ) -> Result<()> {
        let parameter = optim::Parameter {
            value: &mut self.values,
            residual: &mut self.residual,
            velocity: &mut self.velocity,
            exponent: &mut self.exponent,
            role: self.role,
        };
        let words = Words::new(self.seed, self.stream, step + 1);
        let mut gradient = Gradient::Apply(parameter.update(sgd, exponent, words)?);
        sum(&mut gradient)?;
        gradient.finish();
        Ok(())
    }
}

impl<P: Element> Parameter<P>
where
    P: Learn<Velocity: Into<i64>>,
{
    /// Masters, weights, exponent and velocities. Biases are signed in every type.
    pub(super) fn state(&self) -> Value {
        let q = |x: &P| x.to_f64() as i64; // at most 53 bits: exact
        let masters: Vec<i64> = if self.residual.is_empty() {
            self.values.iter().map(q).collect()
        } else {
            let pairs = self.values.iter().zip(&self.residual);
            pairs
                .map(|(high, &low)| (q(high) << 8) + i64::from(low))
                .collect()
        };
        let mut state = json!({
            "exp": self.exponent,
            "master": masters,
            "q": self.values.iter().map(|&x| stored(x)).collect::<Vec<_>>(),
        });
        if !self.velocity.is_empty() {
            let velocity: Vec<i64> = self.velocity.iter().map(|&v| v.into()).collect();
            state["velocity"] = json!(velocity);
        }
        state
    }
}

/// State of a layer with weights and biases.
pub(super) fn both<T: Integer>(weight: &Parameter<T>, bias: &Parameter<T::Bias>) -> Value {
    json!({ "W": weight.state(), "b": bias.state() })
}
