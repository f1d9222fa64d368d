//! The activation of an operator, as a word of an image, and activations of stored values as operators.

use super::call::{Call, read, write};
use super::{Fault, Kernel, Kind, Result};
use crate::net::requantize;
use selvedge_kernels::activation::{self, Activation};
use selvedge_kernels::element::Output;
#[cfg(feature = "alloc")]
use selvedge_kernels::init::Gain;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::scale::Mode;
use selvedge_kernels::{self as kernels, Element};

/// An activation on its own, any of them.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Activate,
            dtypes: [T::DTYPE, T::DTYPE],
            run: forward::<T, All>,
        }]
    }
}

/// Takes errors back through it.
#[must_use]
pub const fn train<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::ActivateBackward,
            dtypes: [T::DTYPE, T::DTYPE],
            run: backward::<T, All>,
        }]
    }
}

/// An activation of stored values; returns the exponent of `out`.
pub(crate) fn apply<T: Element, O: Element + Output<T>>(
    activation: Activation<T>,
    (x, exponent): (&[T], i32),
    scale: &mut T::Scale,
    mode: Mode,
    out: &mut [O],
    slope: &mut [T],
) -> kernels::Result<i32> {
    let mut run =
        |store| activation::forward(activation, exponent, x, store, &mut *out, &mut *slope);
    match activation {
        Activation::Identity | Activation::Relu => run(Store::EXACT).map(|_| exponent),
        Activation::Function(_) => requantize::<T, O>(activation, exponent, scale, mode, run),
    }
}

/// Attributes: activation. Values: x, y, slopes where it keeps some for training.
fn forward<T: Element, A: Activations>(call: &mut Call<'_, '_>) -> Result<()> {
    let activation = find::<T, A>(call.attributes().word()?)?;
    let (exponent, mode) = (call.exponent(0), call.mode);
    let mut scale: T::Scale = call.scale(0);
    let [x, y, slope] = call.views([0, 1, 2])?;
    let (x, y, slope) = ((read(x)?, exponent), write::<T>(y)?, write(slope)?);
    let exponent = apply(activation, x, &mut scale, mode, y, slope)?;
    call.set_scale(0, scale);
    call.set_exponent(1, exponent);
    Ok(())
}

/// Attributes: activation. Values: y, slopes, dy, which becomes the error of x.
fn backward<T: Element, A: Activations>(call: &mut Call<'_, '_>) -> Result<()> {
    let activation = find::<T, A>(call.attributes().word()?)?;
    let [y, slope, dy] = call.views([0, 1, 2])?;
    activation::backward(activation, read(y)?, read(slope)?, write(dy)?)?;
    Ok(())
}

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

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use super::keeps_slopes;
    use crate::graph::{Alias, Error, Graph, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use alloc::vec;

    #[derive(Debug)]
    struct Activate;

    /// The activation `code` of `x`.
    pub(crate) fn append(graph: &mut Graph, x: ValueId, code: u32, number: u32) -> ValueId {
        let (dtype, shape) = (graph.dtype_of(x), graph.shape_of(x));
        let y = graph.computed(dtype, shape.clone());
        let slope = keeps_slopes(code).then(|| graph.computed(dtype, shape));
        let node = Node::new(&Activate, Kind::Activate, dtype, number)
            .inputs([Some(x)])
            .outputs([Some(y), slope])
            .attributes(vec![code])
            .states(1);
        graph.node(node);
        y
    }

    impl Describe for Activate {
        fn repeats(&self) -> bool {
            true
        }

        fn differentiate(&'static self, walk: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            if let (&[Some(x)], &[Some(y), slope]) = (&*node.inputs, &*node.outputs)
                && let Some(dy) = walk.error(y, node.number)
                && walk.learns(x)
            {
                let shape = walk.graph.shape_of(x);
                let dx = walk.graph.alias(Alias::InPlace(dy), shape);
                let back = Node::new(self, Kind::ActivateBackward, node.dtypes[0], node.number)
                    .inputs([Some(y), slope, Some(dy)])
                    .outputs([Some(dx)])
                    .attributes(node.attributes.clone())
                    .consumes(2);
                walk.graph.node(back);
                walk.add_error(x, dx);
            }
            Ok(())
        }
    }
}
