//! Activations: as an attribute of a layer, and as a layer.

use super::Build;
use crate::graph::{Error, ValueId};
use crate::network::builder::Builder;
use crate::ops::activation::{self, LEAKY};
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// What a layer applies to its sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)`, whose derivative asks the sum and not what is stored: [`MaskedRelu`](crate::net::MaskedRelu).
    MaskedRelu,
    /// `max(x, 0)`, but what is positive stays positive in integers: [`LiftedRelu`](crate::net::LiftedRelu).
    LiftedRelu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `1.1 · max(x, 0)`.
    ScaledRelu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `x · Φ(x)`, with the standard normal distribution.
    Gelu,
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x · min(max(x + 3, 0), 6) / 6`.
    HardSwish,
    /// `x` where it is not negative, else `x` times this slope, in thousandths.
    LeakyRelu(u16),
}

impl Activation {
    /// What stands for it in an image: `ops/activation.rs`.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Relu => 1,
            Self::MaskedRelu => 2,
            Self::LiftedRelu => 3,
            Self::Relu6 => 4,
            Self::ScaledRelu => 5,
            Self::Sigmoid => 6,
            Self::Tanh => 7,
            Self::Softplus => 8,
            Self::Gelu => 9,
            Self::Silu => 10,
            Self::HardSwish => 11,
            Self::LeakyRelu(thousandths) => LEAKY | u32::from(thousandths) << 8,
        }
    }
}

/// An activation on its own, of stored values; any shape. Numerical behaviour: [`selvedge_kernels::activation::forward`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Activate {
    /// Which.
    pub function: Activation,
}

impl Activate {
    /// With this function.
    #[must_use]
    pub const fn new(function: Activation) -> Self {
        Self { function }
    }
}

impl Build for Activate {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        Ok(activation::describe::append(
            to.graph,
            x,
            self.function.code(),
            number,
        ))
    }
}
