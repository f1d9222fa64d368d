//! The layers of a description.

use crate::ops::activation::LEAKY;
use alloc::string::String;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// A named layer.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
pub struct Layer {
    /// Its name, unique among its neighbours.
    pub name: String,
    /// What it is.
    #[cfg_attr(feature = "json", serde(flatten))]
    pub layer: Type,
}

/// What a layer is.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(tag = "type", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Type {
    /// See [`Dense`].
    Dense(Dense),
    /// See [`Conv2d`].
    Conv2d(Conv2d),
    /// See [`MaxPool2d`].
    MaxPool2d(MaxPool2d),
    /// All axes in a row.
    Flatten,
}

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
    pub(super) fn code(self) -> u32 {
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

/// Cells of zero around an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Padding {
    /// None.
    #[default]
    Valid,
    /// As many as give an output of the input's extents over the stride, rounded up; an odd one after the last.
    Same,
    /// These, on each side.
    #[cfg_attr(feature = "json", serde(untagged))]
    Each(usize),
}

/// A convolution over rows and columns, from `[H, W, C]` to `[H', W', filters]`; filters are
/// `[filters, kernel rows, kernel columns, C / groups]`. Numerical behaviour: [`selvedge_kernels::conv::forward`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Conv2d {
    /// Output channels.
    pub filters: usize,
    /// Rows and columns of a filter.
    pub kernel: [usize; 2],
    /// Step between windows.
    #[cfg_attr(feature = "json", serde(default = "ones"))]
    pub stride: [usize; 2],
    /// Cells around the image.
    #[cfg_attr(feature = "json", serde(default))]
    pub padding: Padding,
    /// Distance of a filter's cells.
    #[cfg_attr(feature = "json", serde(default = "ones"))]
    pub dilation: [usize; 2],
    /// Groups of channels that do not see each other.
    #[cfg_attr(feature = "json", serde(default = "one"))]
    pub groups: usize,
    /// What it applies to its sums.
    #[cfg_attr(feature = "json", serde(default))]
    pub activation: Activation,
}

impl Conv2d {
    /// With square filters of `kernel` cells, a stride of 1, no padding.
    #[must_use]
    pub const fn new(filters: usize, kernel: usize) -> Self {
        Self {
            filters,
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: Padding::Valid,
            dilation: [1; 2],
            groups: 1,
            activation: Activation::None,
        }
    }

    /// With a stride along both axes.
    #[must_use]
    pub const fn stride(mut self, stride: usize) -> Self {
        self.stride = [stride; 2];
        self
    }

    /// With padding.
    #[must_use]
    pub const fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// With groups of channels.
    #[must_use]
    pub const fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// With an activation.
    #[must_use]
    pub const fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }
}

/// The largest element of each channel under a window, from `[H, W, C]` to `[H', W', C]`. Numerical behaviour:
/// [`selvedge_kernels::pool::max_forward`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct MaxPool2d {
    /// Rows and columns of the window.
    #[cfg_attr(feature = "json", serde(default = "twos"))]
    pub kernel: [usize; 2],
    /// Step between windows.
    #[cfg_attr(feature = "json", serde(default = "twos"))]
    pub stride: [usize; 2],
}

impl Default for MaxPool2d {
    /// Windows of 2×2, two steps at a time.
    fn default() -> Self {
        Self {
            kernel: [2; 2],
            stride: [2; 2],
        }
    }
}

#[cfg(feature = "json")]
const fn one() -> usize {
    1
}

#[cfg(feature = "json")]
const fn ones() -> [usize; 2] {
    [1; 2]
}

#[cfg(feature = "json")]
const fn twos() -> [usize; 2] {
    [2; 2]
}

macro_rules! from {
    ($($name:ident)*) => {$(
        impl From<$name> for Type {
            fn from(layer: $name) -> Self {
                Self::$name(layer)
            }
        }
    )*};
}
from!(Dense Conv2d MaxPool2d);
