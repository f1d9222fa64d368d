//! Convolution with packed filters, over one to three axes.

use super::dense;
use super::{Narrow, Scale, Weights, Wide};
use crate::activation::check_slope;
use crate::conv::Shape;
use crate::decoded::{self, Fitted, Floats, Integers};
use crate::dense::Bias;
use crate::element::{self, Element};
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::finish::Shared;
use crate::requantize::{Epilogue, Store};
use core::marker::PhantomData;
use half::{bf16, f16};

/// Convolution with packed filters, forward: [`conv::forward`](crate::conv::forward) with weights that
/// are decoded as they are read. A row of `weights` is a filter, `[kernel rows, kernel columns, C / groups]`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, H, W, C]` (one axis: `[N, W, C]`, three: `[N, D, H, W, C]`) | activations: integers with power-of-two scales, floats with any |
/// | `weights` | `[O, filter]` | frozen |
/// | `bias` | `[O]` | rounded to the accumulator's exponent, to nearest even |
/// | `out` | `[N, rows, columns, O]` | overwritten, or untouched by [`Store::Measure`] |
/// | `slope` | as `out`, or empty | what [`activation::backward`](crate::activation::backward) wants of some activations |
///
/// Returns and numbers: as [`dense::forward`], a filter's elements being the terms.
///
/// # Errors
/// Those of [`conv::forward`](crate::conv::forward); `out` is then untouched.
///
/// Source: the definition; the numbers are those of `docs/numerics.md` §4 and §20.
#[allow(clippy::too_many_arguments)] // as `conv::forward`
pub fn forward<T: dense::Input<S>, S: Scale, O: dense::Output<T, S>, const N: usize>(
    exec: &impl Executor,
    shape: Shape<N>,
    x: &[T],
    weights: Weights<'_, S>,
    bias: Bias<'_, T>,
    epilogue: Epilogue<T>,
    out: &mut [O],
    slope: &mut [T],
) -> Result<u32> {
    let extents = shape.check([usize::MAX; 2])?;
    weights.check(shape.filters, extents.filter_len)?;
    let Fitted { weights, drop } = T::packed_fitted(weights, extents.filter_len)?;
    extents.check_x(Arg::X, x.len())?;
    Arg::Bias.check_len(bias.values.len(), &[shape.filters])?;
    extents.check_y(Arg::Out, out.len())?;
    check_slope(slope.len(), out.len())?;
    let task = |first: usize, out: &mut [O], slope: &mut [T]| {
        O::packed_conv_forward(Call {
            extents,
            x,
            weights,
            drop,
            finish: Shared::new(bias, epilogue),
            first,
            out,
            slope,
        })
    };
    Ok(exec::rows_with(
        exec,
        out,
        extents.out_row_len(),
        slope,
        task,
    ))
}

/// Gradient with respect to the input: [`conv::backward_input`](crate::conv::backward_input) with packed
/// filters, which are frozen and have none.
///
/// | argument | shape |
/// |---|---|
/// | `dy` | `[N, rows, columns, O]` |
/// | `weights` | `[O, filter]` |
/// | `dx` | `[N, H, W, C]`, overwritten |
///
/// Returns the bit length of the largest accumulator (0 for floats), whose exponent is that of `dy`
/// plus [`Weights::unit`] for as many terms as the kernel has cells times the filters of a group.
/// Floats are summed in the order of `(a, b, o)`.
///
/// # Errors
/// As [`forward`]; `dx` is then untouched.
///
/// Source: the derivative of [`forward`], transposed.
pub fn backward_input<T: dense::Input<S>, S: Scale, const N: usize>(
    exec: &impl Executor,
    shape: Shape<N>,
    dy: &[T],
    weights: Weights<'_, S>,
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let (extents, backward_len) = shape.extents()?;
    weights.check(shape.filters, extents.filter_len)?;
    let Fitted { weights, drop } = T::packed_fitted(weights, backward_len)?;
    extents.check_y(Arg::Dy, dy.len())?;
    extents.check_x(Arg::Dx, dx.len())?;
    Ok(exec::rows(exec, dx, extents.x_row_len(), |first, dx| {
        T::packed_conv_backward_input(Call {
            extents,
            x: dy,
            weights,
            drop,
            finish: Shared::without_bias(store),
            first,
            out: dx,
            slope: &mut [],
        })
    }))
}

/// Some rows of either pass.
type Call<'a, T, S, O> = decoded::conv::Call<'a, T, Weights<'a, S>, Shared<'a, T>, O>;

/// The convolution's part of [`dense::Input`].
pub trait Input<S: Scale>: Element {
    #[doc(hidden)]
    fn packed_conv_backward_input(call: Call<'_, Self, S, Self>) -> u32;
}

/// The convolution's part of [`dense::Output`].
pub trait Output<T: Element, S: Scale>: element::Output<T> {
    #[doc(hidden)]
    fn packed_conv_forward(call: Call<'_, T, S, Self>) -> u32;
}

macro_rules! impl_integer {
    ($($t:ty => $($out:ty),+;)*) => {$(
        impl Input<i8> for $t {
            #[inline(never)]
            fn packed_conv_backward_input(call: Call<'_, Self, i8, Self>) -> u32 {
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
            fn packed_conv_forward(call: Call<'_, $t, i8, Self>) -> u32 {
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
            #[inline(never)]
            fn packed_conv_backward_input(call: Call<'_, Self, $scale, Self>) -> u32 {
                let weights = call.weights;
                call.backward(Floats { weights, elements: PhantomData })
            }
        }

        impl Output<$t, $scale> for $t {
            #[inline(never)]
            fn packed_conv_forward(call: Call<'_, $t, $scale, Self>) -> u32 {
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
