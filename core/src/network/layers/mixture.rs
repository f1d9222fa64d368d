//! Mixtures of experts.

use super::containers::numbers;
use super::{Branch, Build, Inside, Layer, Rows, Type, rows_of};
use crate::graph::{Error, ValueId, shown};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::{mixture, view};
use alloc::string::String;
use alloc::vec::Vec;
use selvedge_kernels::elementwise::MAX_TERMS;
use selvedge_kernels::experts;
use selvedge_kernels::{self as kernels, Element};
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// Experts on one input, `Σ_i w_i · y_i`, whose weights the layers `gate` find, mostly with a softmax behind a dense layer.
/// A gate to `[N]` weighs whole samples of `N` branches, one to `[L, N]` each of `L` rows `[L, F]`, and so on for more
/// leading axes. Numerical behaviour: [`selvedge_kernels::experts`]. Source: Jacobs et al. 1991.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Mixture {
    /// Layers to a weight for each branch.
    pub gate: Vec<Layer>,
    /// The experts.
    pub branches: Vec<Branch>,
}

impl Mixture {
    /// Without a gate and branches.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            gate: Vec::new(),
            branches: Vec::new(),
        }
    }

    /// With one layer more in the gate.
    #[must_use]
    pub fn gate(mut self, name: impl Into<String>, layer: impl Into<Type>) -> Self {
        self.gate.push(Layer::new(name, layer));
        self
    }

    /// With one expert more.
    #[must_use]
    pub fn branch(mut self, branch: Branch) -> Self {
        self.branches.push(branch);
        self
    }
}

impl Build for Mixture {
    fn rows(&self) -> Vec<Rows<'_>> {
        let mut rows = rows_of(&self.branches);
        rows.insert(0, (Some("gate"), &self.gate));
        rows
    }

    fn inside(&mut self) -> Vec<Inside<'_>> {
        let mut parts = Inside::branches(&mut self.branches);
        let gate = Inside {
            name: Some("gate"),
            layers: &mut self.gate,
        };
        parts.insert(0, gate);
        parts
    }

    fn takes_tokens(&self) -> bool {
        true
    }

    fn numbers(&self) -> u32 {
        let experts = self.branches.iter().map(|branch| numbers(&branch.layers));
        1 + numbers(&self.gate) + experts.sum::<u32>()
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let names: Vec<&str> = self.branches.iter().map(|branch| &*branch.name).collect();
        to.check_names(&names)?;
        to.check_range("branches", self.branches.len(), MAX_TERMS - 1)?;
        let (weights, outputs) = to.inside(|to| {
            let x = view::describe::fork(to.graph, x, number);
            let own = view::describe::fork(to.graph, x, number);
            let weights = to.named("gate", |to| to.sequence(&self.gate, own))?;
            let mut outputs = Vec::new();
            for branch in &self.branches {
                let x = view::describe::fork(to.graph, x, number);
                let output = to.named(&branch.name, |to| to.sequence(&branch.layers, x))?;
                outputs.push(output);
            }
            Ok((weights, outputs))
        })?;
        let rows = check(to, weights, &outputs)?;
        Ok(mixture::describe::append(
            to.graph, weights, &outputs, rows, number,
        ))
    }
}

/// Refuses outputs and weights that do not belong together; returns rows of a sample that have weights of their own.
fn check(to: &Builder<'_>, weights: ValueId, outputs: &[ValueId]) -> Result<usize, Error> {
    let mut shapes = outputs.iter().map(|&output| to.shape_of(output));
    let shape = shapes.next().unwrap_or_default();
    if let Some(other) = shapes.find(|other| *other != shape) {
        return Err(to.shape_error(&alloc::format!("{} of each branch", shown(&shape)), &other));
    }
    let of_gate = to.shape_of(weights);
    let leading = match of_gate.split_last() {
        Some((&experts, leading)) if experts == outputs.len() => leading,
        _ => {
            let expected = alloc::format!("a gate to [.., {}], a weight for each", outputs.len());
            return Err(to.shape_error(&expected, &of_gate));
        }
    };
    if leading.len() >= shape.len() || !shape.starts_with(leading) {
        let expected = alloc::format!("a gate for samples or rows of {}", shown(&shape));
        return Err(to.shape_error(&expected, &of_gate));
    }
    let rows: usize = leading.iter().product();
    let terms = shape.iter().skip(leading.len()).product();
    let limit = by_dtype!(to.dtype, T => <T as Element>::MAX_PRODUCTS);
    if to.options.train && terms > limit {
        return Err(to.kernel()(kernels::Error::Accumulator { terms, limit }));
    }
    Ok(rows)
}

/// Passes the probabilities of a gate on; training adds the gradient of a loss that keeps experts in use, for each row of
/// the last axis; any shape. A mixture's gate ends with it. Numerical behaviour:
/// [`selvedge_kernels::experts::balance_backward`]. Source: Fedus et al. 2021, §2.2.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(default, deny_unknown_fields))]
pub struct Balance {
    /// The weight of the loss in thousandths; 0 for none.
    pub thousandths: u32,
}

impl Default for Balance {
    /// 0.01, that of the source.
    fn default() -> Self {
        Self { thousandths: 10 }
    }
}

impl Balance {
    /// With this weight of the loss, in thousandths.
    #[must_use]
    pub const fn new(thousandths: u32) -> Self {
        Self { thousandths }
    }
}

impl Build for Balance {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let shape = to.shape_of(x);
        let Some(&experts) = shape.last() else {
            return Err(to.shape_error("at least one axis", &shape));
        };
        experts::Balance::new(self.thousandths, experts).map_err(to.kernel())?;
        Ok(if self.thousandths == 0 {
            view::describe::append(to.graph, x, shape, number)
        } else {
            mixture::describe::append_balance(to.graph, x, self.thousandths, number)
        })
    }
}
