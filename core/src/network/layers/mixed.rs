//! Weights of 8 bits under activations of 16 bits.

use super::{Activation, Build};
use crate::graph::{Error, ValueId};
use crate::network::builder::Builder;
use crate::ops::{dense, learned, mixed};
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::DType;
use selvedge_kernels::init::Gain;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// Type of weights of 8 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Weights {
    /// Signed.
    #[default]
    I8,
    /// Unsigned.
    U8,
}

impl Weights {
    /// Weights of `shape` and a bias of `outputs`, as the layer `number` begins, and the types of its operator.
    pub(super) fn begin(
        self,
        to: &mut Builder<'_>,
        number: u32,
        fan_in: (Gain, usize),
        shape: Vec<usize>,
        outputs: usize,
    ) -> Result<([DType; 2], [ValueId; 2]), Error> {
        use learned::describe::mixed;
        let (dtype, trains, error) = (to.dtype, to.trains, to.kernel());
        let graph = &mut *to.graph;
        let (weights, parameters) = match (dtype, self) {
            (DType::I16, Self::I8) => (
                DType::I8,
                mixed::<i16, i8>(graph, trains, number, fan_in, shape, outputs),
            ),
            (DType::I16, Self::U8) => (
                DType::U8,
                mixed::<i16, u8>(graph, trains, number, fan_in, shape, outputs),
            ),
            (DType::U16, Self::I8) => (
                DType::I8,
                mixed::<u16, i8>(graph, trains, number, fan_in, shape, outputs),
            ),
            (DType::U16, Self::U8) => (
                DType::U8,
                mixed::<u16, u8>(graph, trains, number, fan_in, shape, outputs),
            ),
            _ => return Err(to.attribute_error("a network of i16 or u16", dtype)),
        };
        Ok(([dtype, weights], parameters.map_err(error)?))
    }
}

/// A [`Dense`](super::Dense) layer with weights of 8 bits under activations, errors and biases of 16 bits, in networks of
/// these types. Numerical behaviour: [`selvedge_kernels::mixed`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct MixedDense {
    /// Features of the output.
    pub outputs: usize,
    /// Type of the weights.
    #[cfg_attr(feature = "json", serde(default))]
    pub weights: Weights,
    /// What it applies to its sums.
    #[cfg_attr(feature = "json", serde(default))]
    pub activation: Activation,
}

impl MixedDense {
    /// With weights of type `i8`, without an activation.
    #[must_use]
    pub const fn new(outputs: usize) -> Self {
        Self {
            outputs,
            weights: Weights::I8,
            activation: Activation::None,
        }
    }

    /// With weights of this type.
    #[must_use]
    pub const fn weights(self, weights: Weights) -> Self {
        Self { weights, ..self }
    }

    /// With an activation.
    #[must_use]
    pub const fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }
}

impl Build for MixedDense {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let shape = to.shape_of(x);
        let Some(&features) = shape.last() else {
            return Err(to.shape_error("at least one axis", &shape));
        };
        to.check_size(&[self.outputs, features], 1)?;
        let rows = shape.iter().product::<usize>() / features;
        to.check_value(&[rows, self.outputs])?;
        let code = self.activation.code();
        let (_, gain) = to.output_of(code);
        let extents = vec![self.outputs, features];
        let (dtypes, [weight, bias]) =
            self.weights
                .begin(to, number, (gain, features), extents, self.outputs)?;
        Ok(dense::describe::append(
            &mixed::describe::DENSE,
            to.graph,
            dtypes,
            number,
            [x, weight, bias],
            self.outputs,
            code,
        ))
    }
}
