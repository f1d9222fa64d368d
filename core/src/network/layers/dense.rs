//! Dense layers.

use super::{Activation, Build};
use crate::graph::{Error, ValueId};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::{dense, learned};
use alloc::vec;
use selvedge_kernels::DType;
use selvedge_kernels::init::Gain;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// `y = activation(weight · x + bias)` over the last axis, from `[.., F]` to `[.., outputs]`; `weight` is `[outputs, F]`.
/// The last layer of a network, if it is one without an activation, has an output of at least 16 bits
/// ([`Element::Head`](selvedge_kernels::Element::Head)). Numerical behaviour: [`selvedge_kernels::dense::forward`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Dense {
    /// Features of the output.
    pub outputs: usize,
    /// What it applies to its sums.
    #[cfg_attr(feature = "json", serde(default))]
    pub activation: Activation,
}

impl Dense {
    /// Without an activation.
    #[must_use]
    pub const fn new(outputs: usize) -> Self {
        Self {
            outputs,
            activation: Activation::None,
        }
    }

    /// With an activation.
    #[must_use]
    pub const fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }
}

impl Build for Dense {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let code = self.activation.code();
        let (dtypes, gain) = to.output_of(code);
        project(to, x, self.outputs, (dtypes, gain), code)
    }
}

/// A dense layer of `outputs` features with these types and weights, and the activation `code`.
pub(super) fn project(
    to: &mut Builder<'_>,
    x: ValueId,
    outputs: usize,
    (dtypes, gain): ([DType; 2], Gain),
    code: u32,
) -> Result<ValueId, Error> {
    project_by(to, x, outputs, (dtypes, code), |to, number, features| {
        let (weights, fan_in) = (vec![outputs, features], (gain, features));
        let (dtype, trains) = (to.dtype, to.trains);
        by_dtype!(dtype, T => {
            learned::describe::affine::<T>(to.graph, trains, number, fan_in, weights, outputs)
        })
        .map_err(to.kernel())
    })
}

/// The same with the weight and the bias that `begin` gives for the layer's number and so many features.
pub(super) fn project_by<'g>(
    to: &mut Builder<'g>,
    x: ValueId,
    outputs: usize,
    (dtypes, code): ([DType; 2], u32),
    begin: impl FnOnce(&mut Builder<'g>, u32, usize) -> Result<[ValueId; 2], Error>,
) -> Result<ValueId, Error> {
    let number = to.number();
    let shape = to.shape_of(x);
    let Some(&features) = shape.last() else {
        return Err(to.shape_error("at least one axis", &shape));
    };
    to.check_size(&[outputs, features], 1)?;
    let rows = shape.iter().product::<usize>() / features;
    to.check_value(&[rows, outputs])?;
    to.check_sums(x, rows, outputs)?;
    let [weight, bias] = begin(to, number, features)?;
    Ok(dense::describe::append(
        &dense::describe::DENSE,
        to.graph,
        dtypes,
        number,
        [x, weight, bias],
        outputs,
        code,
    ))
}
