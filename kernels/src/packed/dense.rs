//! Dense layers with packed weights.

use super::{Narrow, Scale, Weights, Wide};
use crate::activation::check_slope;
use crate::decoded::{self, Fitted, Floats, Integers};
use crate::dense::{Bias, Shape};
use crate::element::{self, Element};
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::finish::Shared;
use crate::requantize::{Epilogue, Store};
use core::marker::PhantomData;
use half::{bf16, f16};

/// Dense layer with packed weights, forward:
/// `out[n, o] = epilogue(bias[o] + Σ_i x[n, i] · weights[o, i])`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, I]` | activations: integers with power-of-two scales, floats with any |
/// | `weights` | `[O, I]` | frozen |
/// | `bias` | `[O]` | rounded to the accumulator's exponent, to nearest even |
/// | `out` | `[N, O]` | overwritten, or untouched by [`Store::Measure`] |
/// | `slope` | `[N, O]`, or empty | what [`activation::backward`](crate::activation::backward) wants of some activations |
///
/// Returns the bit length of the largest activated accumulator (0 for floats). The exponent of
/// integer accumulators is that of `x` plus [`Weights::unit`] for `I` terms. `f32` and `f64` results
/// are those of [`dense::forward`](crate::dense::forward) with the decoded weights, bit by bit; `f16` and
/// `bf16` products take decoded weights in `f32`, unrounded. Integers are exact up to the epilogue,
/// apart from the places that [`Weights::unit`] drops. NaN propagates.
///
/// # Errors
/// [`Error::Length`](crate::Error::Length) if a slice does not fit `shape`, [`Error::Zero`](crate::Error::Zero) for an empty extent,
/// [`Error::Overflow`](crate::Error::Overflow) and [`Error::Accumulator`](crate::Error::Accumulator) for extents beyond the type's limits. `out` is
/// then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{dense::{Bias, Shape}, exec::Serial, packed::{self, Format, Weights}, requantize::Epilogue};
/// // (1, -1) and (-1, -1), times 2^1.
/// let weights = Weights::new(Format::Binary, 2, 2, &[0b01, 0b00], &[1i8])?;
/// let shape = Shape { batch: 1, inputs: 2, outputs: 2 };
/// let bias = Bias { values: &[0, 0], shift: 0 };
/// let mut out = [0i8; 2];
/// packed::dense::forward(&Serial, shape, &[5i8, 3], weights, bias, Epilogue::EXACT, &mut out, &mut [])?;
/// assert_eq!((out, weights.unit::<i8>(2)?), ([2, -8], 1));
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definition; the numbers are those of `docs/numerics.md` §4 and §20.
#[allow(clippy::too_many_arguments)] // as `dense::forward`
pub fn forward<T: Input<S>, S: Scale, O: Output<T, S>>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    weights: Weights<'_, S>,
    bias: Bias<'_, T>,
    epilogue: Epilogue<T>,
    out: &mut [O],
    slope: &mut [T],
) -> Result<u32> {
    let Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    let Fitted { weights, drop } = check::<T, S>(shape, weights, inputs)?;
    Arg::X.check_len(x.len(), &[batch, inputs])?;
    Arg::Bias.check_len(bias.values.len(), &[outputs])?;
    Arg::Out.check_len(out.len(), &[batch, outputs])?;
    check_slope(slope.len(), out.len())?;
    let task = |first: usize, out: &mut [O], slope: &mut [T]| {
        O::packed_dense_forward(Call {
            inputs,
            outputs,
            x: x.get(first * inputs..).unwrap_or_default(),
            weights,
            drop,
            finish: Shared::new(bias, epilogue),
            first: (first * outputs) as u32,
            out,
            slope,
        })
    };
    Ok(exec::rows_with(exec, out, outputs, slope, task))
}

/// Gradient with respect to the input: `dx[n, i] = epilogue(Σ_o dy[n, o] · weights[o, i])`. The weights
/// are frozen and have none.
///
/// | argument | shape |
/// |---|---|
/// | `dy` | `[N, O]` |
/// | `weights` | `[O, I]` |
/// | `dx` | `[N, I]`, overwritten |
///
/// Returns the bit length of the largest accumulator (0 for floats), whose exponent is that of `dy`
/// plus [`Weights::unit`] for `O` terms. Floats are summed in the order of `o`.
///
/// # Errors
/// As [`forward`]; `dx` is then untouched.
///
/// Source: the derivative of [`forward`], transposed.
pub fn backward_input<T: Input<S>, S: Scale>(
    exec: &impl Executor,
    shape: Shape,
    dy: &[T],
    weights: Weights<'_, S>,
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    let Fitted { weights, drop } = check::<T, S>(shape, weights, outputs)?;
    Arg::Dy.check_len(dy.len(), &[batch, outputs])?;
    Arg::Dx.check_len(dx.len(), &[batch, inputs])?;
    Ok(exec::rows(exec, dx, inputs, |first, dx| {
        T::packed_dense_backward_input(Call {
            inputs,
            outputs,
            x: dy.get(first * outputs..).unwrap_or_default(),
            weights,
            drop,
            finish: Shared::without_bias(store),
            first: (first * inputs) as u32,
            out: dx,
            slope: &mut [],
        })
    }))
}

/// Checks extents and weights; returns the weights for sums of `terms` products.
fn check<T: Input<S>, S: Scale>(
    shape: Shape,
    weights: Weights<'_, S>,
    terms: usize,
) -> Result<Fitted<Weights<'_, S>>> {
    let Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    for tensor in [[batch, inputs], [batch, outputs], [outputs, inputs]] {
        Arg::Shape.product(&tensor)?;
    }
    weights.check(outputs, inputs)?;
    T::packed_fitted(weights, terms)
}

/// Some rows of either pass.
type Call<'a, T, S, O> = decoded::dense::Call<'a, T, Weights<'a, S>, Shared<'a, T>, O>;

/// A type of activations for weights with scales of type `S`.
pub trait Input<S: Scale>: Element + super::conv::Input<S> {
    #[doc(hidden)]
    fn packed_fitted(weights: Weights<'_, S>, terms: usize) -> Result<Fitted<Weights<'_, S>>>;
    #[doc(hidden)]
    fn packed_dense_backward_input(call: Call<'_, Self, S, Self>) -> u32;
}

/// What a forward pass from elements `T` stores.
pub trait Output<T: Input<S>, S: Scale>: element::Output<T> + super::conv::Output<T, S> {
    #[doc(hidden)]
    fn packed_dense_forward(call: Call<'_, T, S, Self>) -> u32;
}

macro_rules! impl_integer {
    ($($t:ty => $($out:ty),+;)*) => {$(
        impl Input<i8> for $t {
            fn packed_fitted(weights: Weights<'_, i8>, terms: usize) -> Result<Fitted<Weights<'_, i8>>> {
                weights.fitted::<Self>(terms)
            }

            #[inline(never)]
            fn packed_dense_backward_input(call: Call<'_, Self, i8, Self>) -> u32 {
                if call.weights.format().is_wide() {
                    let products = Integers::new(Wide(call.weights), call.drop);
                    call.backward(products)
                } else {
                    let products = Integers::new(Narrow(call.weights), call.drop);
                    call.backward(products)
                }
            }
        }

        $(impl Output<$t, i8> for $out {
            #[inline(never)]
            fn packed_dense_forward(call: Call<'_, $t, i8, Self>) -> u32 {
                if call.weights.format().is_wide() {
                    let products = Integers::new(Wide(call.weights), call.drop);
                    call.forward(products)
                } else {
                    let products = Integers::new(Narrow(call.weights), call.drop);
                    call.forward(products)
                }
            }
        })+
    )*};
}

macro_rules! impl_float {
    ($($t:ty: $($scale:ty),+;)*) => {$($(
        impl Input<$scale> for $t {
            fn packed_fitted(weights: Weights<'_, $scale>, _: usize) -> Result<Fitted<Weights<'_, $scale>>> {
                Ok(Fitted { weights, drop: 0 })
            }

            #[inline(never)]
            fn packed_dense_backward_input(call: Call<'_, Self, $scale, Self>) -> u32 {
                let weights = call.weights;
                call.backward(Floats { weights, elements: PhantomData })
            }
        }

        impl Output<$t, $scale> for $t {
            #[inline(never)]
            fn packed_dense_forward(call: Call<'_, $t, $scale, Self>) -> u32 {
                let weights = call.weights;
                call.forward(Floats { weights, elements: PhantomData })
            }
        }
    )+)*};
}

impl_integer! {
    i8 => i8, i16; u8 => u8, u16; i16 => i16; u16 => u16; i32 => i32; u32 => u32; i64 => i64; u64 => u64;
}

impl_float! {
    f16: i8, f16; bf16: i8, f16; f32: i8, f16; f64: i8, f16;
}
