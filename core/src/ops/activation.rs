//! The activation of an operator, as a word of an image.

use super::{Fault, Result};
use selvedge_kernels::Element;
use selvedge_kernels::activation::Activation;
#[cfg(feature = "alloc")]
use selvedge_kernels::init::Gain;

/// Which activations a program links.
pub trait Activations: 'static {
    /// The activation of this code, if it is one of them.
    #[doc(hidden)]
    fn find<T: Element>(code: u32) -> Option<Activation<T>>;
}

/// None, and ReLU.
#[derive(Clone, Copy, Debug)]
pub struct Few;

/// All of them.
#[derive(Clone, Copy, Debug)]
pub struct All;

impl Activations for Few {
    fn find<T: Element>(code: u32) -> Option<Activation<T>> {
        match code {
            0 => Some(Activation::Identity),
            1 => Some(Activation::Relu),
            _ => None,
        }
    }
}

macro_rules! functions {
    ($($code:literal = $value:ident, gain $gain:ident, slopes $slopes:literal;)*) => {
        impl Activations for All {
            fn find<T: Element>(code: u32) -> Option<Activation<T>> {
                match code & 255 {
                    $($code => Some(Activation::$value),)*
                    LEAKY => Some(Activation::leaky_relu((code >> 8) as u16)), // its thousandths
                    code => Few::find(code),
                }
            }
        }

        /// How weights before it begin.
        #[cfg(feature = "alloc")]
        pub(crate) fn gain(code: u32) -> Gain {
            match code & 255 {
                0 => Gain::LeCun,
                $($code => Gain::$gain,)*
                _ => Gain::He,
            }
        }

        /// Whether it keeps slopes for the backward pass.
        #[cfg(feature = "alloc")]
        pub(crate) fn keeps_slopes(code: u32) -> bool {
            match code & 255 {
                LEAKY => true,
                $($code => $slopes,)*
                _ => false,
            }
        }
    };
}

/// The code of leaky ReLU; above it, thousandths.
pub(crate) const LEAKY: u32 = 12;

functions! {
    2 = MASKED_RELU, gain He, slopes true;
    3 = LIFTED_RELU, gain He, slopes false;
    4 = RELU6, gain He, slopes true;
    5 = SCALED_RELU, gain He, slopes false;
    6 = SIGMOID, gain LeCun, slopes false;
    7 = TANH, gain LeCun, slopes false;
    8 = SOFTPLUS, gain LeCun, slopes true;
    9 = GELU, gain He, slopes true;
    10 = SILU, gain He, slopes true;
    11 = HARD_SWISH, gain He, slopes true;
}

/// The activation of this code.
pub(crate) fn find<T: Element, A: Activations>(code: u32) -> Result<Activation<T>> {
    A::find(code).ok_or(Fault::Malformed)
}
