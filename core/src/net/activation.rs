//! Activations as types: what a layer with weights applies to its accumulators.

use super::{SampleTape, Slopes};
use crate::tensor::Shape;
use selvedge_kernels as kernels;
use selvedge_kernels::Element;
use selvedge_kernels::element::Output;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::init::Gain;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::scale::{Mode, Scale};

/// An activation as a type. Numerical behaviour: [`selvedge_kernels::activation`].
pub trait Activation: 'static {
    /// How weights before it are initialised.
    const GAIN: Gain;
    /// The type of the layer's output.
    type Out<T: Element>: Element + Output<T>;
    /// What is kept for the backward pass beside the output.
    type Slopes<T: Element, S: Shape, const B: usize>: Slopes<T>;

    /// The same for kernels.
    fn of<T: Element>() -> kernels::activation::Activation<T>;

    /// Takes the error `dy` of the output `y` to that of the accumulators, in place.
    ///
    /// # Errors
    /// Those of [`selvedge_kernels::activation::backward`].
    fn backward<T: Element>(y: &[Self::Out<T>], slope: &[T], dy: &mut [T]) -> kernels::Result<()>;
}

/// Runs a kernel that applies `activation` to accumulators of exponent `accumulator`, with the store that
/// the output's state asks for; returns the output's exponent.
pub(crate) fn requantize<T: Element, O: Output<T> + Element>(
    activation: kernels::activation::Activation<T>,
    accumulator: i32,
    scale: &mut T::Scale,
    mode: Mode,
    mut run: impl FnMut(Store) -> kernels::Result<u32>,
) -> kernels::Result<i32> {
    let exponent = activation.exponent(accumulator);
    let rounding = Rounding::NearestEven;
    if activation.is_bounded() {
        let fixed = -(O::MAGNITUDE_BITS as i32);
        let shift = fixed - exponent;
        run(Store::Shift { shift, rounding })?;
        return Ok(fixed);
    }
    scale.requantize(exponent, O::MAGNITUDE_BITS, mode, rounding, run)
}

/// The head of a network: no activation, and an output of at least 16 bits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Logits;

impl Activation for Logits {
    const GAIN: Gain = Gain::He;
    type Out<T: Element> = T::Head;
    type Slopes<T: Element, S: Shape, const B: usize> = ();

    fn of<T: Element>() -> kernels::activation::Activation<T> {
        kernels::activation::Activation::Identity
    }

    fn backward<T: Element>(_: &[T::Head], _: &[T], _: &mut [T]) -> kernels::Result<()> {
        Ok(())
    }
}

/// Leaky ReLU: `x` where it is not negative, else `x · THOUSANDTHS / 1000`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeakyRelu<const THOUSANDTHS: u16 = 100>;

macro_rules! impl_activation {
    ($($(#[$doc:meta])* $name:ident $(<const $parameter:ident: u16>)?: gain $gain:ident, slopes $slopes:ty, $value:expr;)*) => {$(
        impl $(<const $parameter: u16>)? Activation for $name $(<$parameter>)? {
            const GAIN: Gain = Gain::$gain;
            type Out<T: Element> = T;
            type Slopes<T: Element, S: Shape, const B: usize> = $slopes;

            fn of<T: Element>() -> kernels::activation::Activation<T> {
                $value
            }

            fn backward<T: Element>(y: &[T], slope: &[T], dy: &mut [T]) -> kernels::Result<()> {
                kernels::activation::backward(Self::of::<T>(), y, slope, dy)
            }
        }
    )*};
}

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;
    )*};
}

activations! {
    /// No activation.
    Identity;
    /// `max(x, 0)`.
    Relu;
    /// `max(x, 0)`, with a flag per output for the backward pass: whether the accumulator was positive. In
    /// integers, values that are rounded to 0 then pass their error on. For deep stacks of depthwise
    /// layers without normalisation in 8 bits whose outputs shall be those of [`Relu`] to the
    /// byte; costs a tape of flags. [`LiftedRelu`] does without.
    MaskedRelu;
    /// `max(x, 0)`, but what is positive stays positive: integers that would be rounded to 0 become 1, so that
    /// they pass their error on. For deep stacks of depthwise layers without normalisation in 8 bits,
    /// where channels that round to 0 as a whole would never be trained again. Keeps nothing for the
    /// backward pass. Floats: as [`Relu`]. A network trained with it runs with it.
    LiftedRelu;
    /// `min(max(x, 0), 6)`.
    Relu6;
    /// `1.1 · max(x, 0)`.
    ScaledRelu;
    /// `1 / (1 + exp(-x))`.
    Sigmoid;
    /// The hyperbolic tangent.
    Tanh;
    /// `ln(1 + exp(x))`.
    Softplus;
    /// `x · Φ(x)`, with the standard normal distribution.
    Gelu;
    /// `x / (1 + exp(-x))`.
    Silu;
    /// `x · min(max(x + 3, 0), 6) / 6`.
    HardSwish;
}

impl_activation! {
    Identity: gain LeCun, slopes (), kernels::activation::Activation::Identity;
    Relu: gain He, slopes (), kernels::activation::Activation::Relu;
    MaskedRelu: gain He, slopes SampleTape<T, S, B>, kernels::activation::Activation::MASKED_RELU;
    LiftedRelu: gain He, slopes (), kernels::activation::Activation::LIFTED_RELU;
    Relu6: gain He, slopes SampleTape<T, S, B>, kernels::activation::Activation::RELU6;
    ScaledRelu: gain He, slopes (), kernels::activation::Activation::SCALED_RELU;
    LeakyRelu<const THOUSANDTHS: u16>: gain He, slopes SampleTape<T, S, B>, kernels::activation::Activation::leaky_relu(THOUSANDTHS);
    Sigmoid: gain LeCun, slopes (), kernels::activation::Activation::SIGMOID;
    Tanh: gain LeCun, slopes (), kernels::activation::Activation::TANH;
    Softplus: gain LeCun, slopes SampleTape<T, S, B>, kernels::activation::Activation::SOFTPLUS;
    Gelu: gain He, slopes SampleTape<T, S, B>, kernels::activation::Activation::GELU;
    Silu: gain He, slopes SampleTape<T, S, B>, kernels::activation::Activation::SILU;
    HardSwish: gain He, slopes SampleTape<T, S, B>, kernels::activation::Activation::HARD_SWISH;
}
