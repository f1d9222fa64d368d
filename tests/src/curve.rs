//! The activations by their definitions, in f64, beside what the kernels call them.

use selvedge_kernels::Element;
use selvedge_kernels::activation::Activation;

/// An activation of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the variants are their own names
pub enum Curve {
    Identity,
    Relu,
    MaskedRelu,
    LiftedRelu,
    ScaledRelu,
    LeakyRelu,
    Relu6,
    Sigmoid,
    Tanh,
    Softplus,
    Gelu,
    Silu,
    HardSwish,
}

impl Curve {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Identity,
        Self::Relu,
        Self::MaskedRelu,
        Self::LiftedRelu,
        Self::ScaledRelu,
        Self::LeakyRelu,
        Self::Relu6,
        Self::Sigmoid,
        Self::Tanh,
        Self::Softplus,
        Self::Gelu,
        Self::Silu,
        Self::HardSwish,
    ];

    /// The kernels' activation; leaky ReLU with a tenth.
    #[must_use]
    pub const fn activation<T: Element>(self) -> Activation<T> {
        match self {
            Self::Identity => Activation::Identity,
            Self::Relu => Activation::Relu,
            Self::MaskedRelu => Activation::MASKED_RELU,
            Self::LiftedRelu => Activation::LIFTED_RELU,
            Self::ScaledRelu => Activation::SCALED_RELU,
            Self::LeakyRelu => Activation::leaky_relu(100),
            Self::Relu6 => Activation::RELU6,
            Self::Sigmoid => Activation::SIGMOID,
            Self::Tanh => Activation::TANH,
            Self::Softplus => Activation::SOFTPLUS,
            Self::Gelu => Activation::GELU,
            Self::Silu => Activation::SILU,
            Self::HardSwish => Activation::HARD_SWISH,
        }
    }

    /// The value at `x`.
    #[must_use]
    pub fn value(self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            Self::Relu | Self::MaskedRelu | Self::LiftedRelu => x.max(0.0),
            Self::ScaledRelu => 1.1 * x.max(0.0),
            Self::LeakyRelu => x.max(0.0) + 0.1 * x.min(0.0),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Self::Gelu => x * normal(x),
            Self::Silu => x * sigmoid(x),
            Self::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        }
    }

    /// The derivative at `x`; at a kink, that which the kernels document.
    #[must_use]
    pub fn derivative(self, x: f64) -> f64 {
        let positive = f64::from(u8::from(x > 0.0));
        match self {
            Self::Identity => 1.0,
            Self::Relu | Self::MaskedRelu | Self::LiftedRelu => positive,
            Self::ScaledRelu => 1.1 * positive,
            Self::LeakyRelu if x < 0.0 => 0.1,
            Self::LeakyRelu => 1.0,
            Self::Relu6 if x >= 6.0 => 0.0,
            Self::Relu6 => positive,
            Self::Sigmoid => sigmoid(x) * sigmoid(-x),
            Self::Tanh => 4.0 * sigmoid(2.0 * x) * sigmoid(-2.0 * x),
            Self::Softplus => sigmoid(x),
            Self::Gelu => normal(x) + x * density(x),
            Self::Silu => sigmoid(x) + x * sigmoid(x) * sigmoid(-x),
            Self::HardSwish if x.abs() >= 3.0 => positive,
            Self::HardSwish => (2.0 * x + 3.0) / 6.0,
        }
    }

    /// Where the derivative jumps.
    #[must_use]
    pub const fn kinks(self) -> &'static [f64] {
        match self {
            Self::Relu
            | Self::MaskedRelu
            | Self::LiftedRelu
            | Self::ScaledRelu
            | Self::LeakyRelu => &[0.0],
            Self::Relu6 => &[0.0, 6.0],
            Self::HardSwish => &[-3.0, 3.0],
            _ => &[],
        }
    }
}

/// `1 / (1 + exp(-x))`.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x < 0.0 {
        e / (1.0 + e)
    } else {
        1.0 / (1.0 + e)
    }
}

/// The standard normal density.
#[must_use]
pub fn density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

/// The standard normal distribution, to 15 digits of its value: by the series of Abramowitz and
/// Stegun 26.2.11 near 0, and by the continued fraction 26.2.14 of its tail.
#[must_use]
pub fn normal(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() || a > 40.0 {
        return if x < 0.0 { 0.0 } else { x.signum() };
    }
    if a < 3.0 {
        // density(a) · (a + a^3 / 3 + a^5 / (3 · 5) + ..): terms of one sign
        let (mut term, mut sum) = (a, 0.0);
        for k in 1..100 {
            sum += term;
            term *= a * a / f64::from(2 * k + 1);
        }
        0.5 + x.signum() * density(a) * sum
    } else {
        let fraction = (1..200).rev().fold(a, |rest, k| a + f64::from(k) / rest);
        let tail = density(a) / fraction;
        if x < 0.0 { tail } else { 1.0 - tail }
    }
}
