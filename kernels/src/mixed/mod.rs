//! Activations of 16 bits with weights of 8, as audio wants them: the shared-exponent scheme with two
//! types in one layer.
//!
//! Activations, errors and biases are those of `A` (`i16`, `u16`): their exponents, their 15 magnitude
//! bits, their rounding. Weights, with their residuals, exponent and updates, are those of `W` (`i8`,
//! `u8`). Sums have 64 bits and are exact; results are those of the `A` kernels with the weights
//! widened to `A`, byte by byte, from half the weight memory.
//!
//! ```
//! use selvedge_kernels::{dense::{Bias, Shape}, exec::Serial, mixed, requantize::Epilogue};
//! let shape = Shape { batch: 1, inputs: 2, outputs: 1 };
//! let bias = Bias { values: &[1i16], shift: 0 };
//! let mut out = [0i16];
//! mixed::dense_forward(&Serial, shape, &[1000i16, -7], &[3i8, 100], bias, Epilogue::EXACT, &mut out, &mut [])?;
//! assert_eq!(out, [2301]);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! | gradient of | kernel |
//! |---|---|
//! | input | [`dense_backward_input`], [`conv_backward_input`] |
//! | weights | [`dense_backward_weight`], [`conv_backward_weight`], into a [`Gradient`] of `W` |
//! | bias | [`dense::backward_bias`] of `A` |

mod weight;

use crate::activation::check_slope;
use crate::arch;
use crate::conv::{self, Extents};
use crate::decoded::{self, Integers, Plain};
use crate::dense::{self, Bias};
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::finish::Shared;
use crate::optim::Gradient;
use crate::requantize::{Epilogue, Store};

use weight::{ConvGradient, DenseGradient};

/// An exact 64-bit sum of products of 22 bits, and one of gradients of 30.
const MAX_PRODUCTS: usize = 1 << 31;

/// Dense layer, forward: [`dense::forward`] with weights of another type.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, I]` | activations |
/// | `weight` | `[O, I]` | a row per output |
/// | `bias` | `[O]` | rounded to the accumulator's exponent, to nearest even |
/// | `out` | `[N, O]` | overwritten, or untouched by [`Store::Measure`] |
/// | `slope` | `[N, O]`, or empty | what [`activation::backward`](crate::activation::backward) wants of some activations |
///
/// Returns the bit length of the largest activated accumulator, whose exponent is that of `x` plus that
/// of `weight`. Exact up to the epilogue.
///
/// # Errors
/// Those of [`dense::forward`]; `out` is then untouched.
///
/// Source: the definition; the numbers are those of `docs/numerics.md` §4 and §20.
#[allow(clippy::too_many_arguments)] // as `dense::forward`
pub fn dense_forward<A: Activation<W>, W: Element>(
    exec: &impl Executor,
    shape: dense::Shape,
    x: &[A],
    weight: &[W],
    bias: Bias<'_, A>,
    epilogue: Epilogue<A>,
    out: &mut [A],
    slope: &mut [A],
) -> Result<u32> {
    let dense::Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    check_dense(shape)?;
    Arg::X.check_len(x.len(), &[batch, inputs])?;
    Arg::Weight.check_len(weight.len(), &[outputs, inputs])?;
    Arg::Bias.check_len(bias.values.len(), &[outputs])?;
    Arg::Out.check_len(out.len(), &[batch, outputs])?;
    check_slope(slope.len(), out.len())?;
    let task = |first: usize, out: &mut [A], slope: &mut [A]| {
        A::mixed_dense_forward(decoded::dense::Call {
            inputs,
            outputs,
            x: x.get(first * inputs..).unwrap_or_default(),
            weights: weight,
            drop: 0,
            finish: Shared::new(bias, epilogue),
            first: (first * outputs) as u32,
            out,
            slope,
        })
    };
    Ok(exec::rows_with(exec, out, outputs, slope, task))
}

/// Gradient with respect to the input: [`dense::backward_input`] with weights of another type.
///
/// | argument | shape |
/// |---|---|
/// | `dy` | `[N, O]` |
/// | `weight` | `[O, I]` |
/// | `dx` | `[N, I]`, overwritten |
///
/// Returns the bit length of the largest accumulator, which has the exponent of `dy` plus that of
/// `weight`.
///
/// # Errors
/// As [`dense_forward`]; `dx` is then untouched.
///
/// Source: the derivative of [`dense_forward`], transposed.
pub fn dense_backward_input<A: Activation<W>, W: Element>(
    exec: &impl Executor,
    shape: dense::Shape,
    dy: &[A],
    weight: &[W],
    store: Store,
    dx: &mut [A],
) -> Result<u32> {
    let dense::Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    check_dense(shape)?;
    Arg::Dy.check_len(dy.len(), &[batch, outputs])?;
    Arg::Weight.check_len(weight.len(), &[outputs, inputs])?;
    Arg::Dx.check_len(dx.len(), &[batch, inputs])?;
    Ok(exec::rows(exec, dx, inputs, |first, dx| {
        A::mixed_dense_backward_input(decoded::dense::Call {
            inputs,
            outputs,
            x: dy.get(first * outputs..).unwrap_or_default(),
            weights: weight,
            drop: 0,
            finish: Shared::without_bias(store),
            first: (first * inputs) as u32,
            out: dx,
            slope: &mut [],
        })
    }))
}

/// Gradient with respect to the weights: `dw[o, i] = Σ_n dy[n, o] · x[n, i]`, handed to `gradient`, which
/// stores it or applies it to weights of type `W` at once.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `[N, I]` |
/// | `dy` | `[N, O]` |
/// | `gradient` | `[O, I]` |
///
/// Its exponent is that of `dy` plus that of `x`.
///
/// # Errors
/// As [`dense_forward`]; the sink is then untouched.
///
/// Source: the derivative of [`dense_forward`] with respect to `weight`.
pub fn dense_backward_weight<A: Activation<W>, W: Element>(
    shape: dense::Shape,
    x: &[A],
    dy: &[A],
    gradient: &mut Gradient<'_, W, i64>,
) -> Result<()>
where
    i64: Into<W::Update>,
{
    let dense::Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    check_dense(shape)?;
    dense::limit(batch, MAX_PRODUCTS)?;
    Arg::X.check_len(x.len(), &[batch, inputs])?;
    Arg::Dy.check_len(dy.len(), &[batch, outputs])?;
    gradient.check_len(&[outputs, inputs])?;
    A::mixed_dense_backward_weight(DenseGradient {
        inputs,
        outputs,
        x,
        dy,
        gradient,
    });
    Ok(())
}

/// Convolution, forward: [`conv::forward`] with filters of another type.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, H, W, C]` (one axis: `[N, W, C]`, three: `[N, D, H, W, C]`) | activations |
/// | `weight` | `[O, kernel rows, kernel columns, C / groups]` | filters |
/// | `bias` | `[O]` | rounded to the accumulator's exponent, to nearest even |
/// | `out` | `[N, rows, columns, O]` | overwritten, or untouched by [`Store::Measure`] |
/// | `slope` | as `out`, or empty | what [`activation::backward`](crate::activation::backward) wants of some activations |
///
/// Returns: as [`dense_forward`].
///
/// # Errors
/// Those of [`conv::forward`]; `out` is then untouched.
///
/// Source: the definition; the numbers are those of `docs/numerics.md` §4 and §20.
#[allow(clippy::too_many_arguments)] // as `conv::forward`
pub fn conv_forward<A: Activation<W>, W: Element, const N: usize>(
    exec: &impl Executor,
    shape: conv::Shape<N>,
    x: &[A],
    weight: &[W],
    bias: Bias<'_, A>,
    epilogue: Epilogue<A>,
    out: &mut [A],
    slope: &mut [A],
) -> Result<u32> {
    let extents = check_conv(shape)?;
    extents.check_x(Arg::X, x.len())?;
    extents.check_weight(weight.len())?;
    Arg::Bias.check_len(bias.values.len(), &[shape.filters])?;
    extents.check_y(Arg::Out, out.len())?;
    check_slope(slope.len(), out.len())?;
    let task = |first: usize, out: &mut [A], slope: &mut [A]| {
        A::mixed_conv_forward(decoded::conv::Call {
            extents,
            x,
            weights: weight,
            drop: 0,
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

/// Gradient with respect to the input: [`conv::backward_input`] with filters of another type.
///
/// | argument | shape |
/// |---|---|
/// | `dy` | `[N, rows, columns, O]` |
/// | `weight` | `[O, kernel rows, kernel columns, C / groups]` |
/// | `dx` | `[N, H, W, C]`, overwritten |
///
/// Returns: as [`dense_backward_input`].
///
/// # Errors
/// As [`conv_forward`]; `dx` is then untouched.
///
/// Source: the derivative of [`conv_forward`], transposed.
pub fn conv_backward_input<A: Activation<W>, W: Element, const N: usize>(
    exec: &impl Executor,
    shape: conv::Shape<N>,
    dy: &[A],
    weight: &[W],
    store: Store,
    dx: &mut [A],
) -> Result<u32> {
    let extents = check_conv(shape)?;
    extents.check_y(Arg::Dy, dy.len())?;
    extents.check_weight(weight.len())?;
    extents.check_x(Arg::Dx, dx.len())?;
    Ok(exec::rows(exec, dx, extents.x_row_len(), |first, dx| {
        A::mixed_conv_backward_input(decoded::conv::Call {
            extents,
            x: dy,
            weights: weight,
            drop: 0,
            finish: Shared::without_bias(store),
            first,
            out: dx,
            slope: &mut [],
        })
    }))
}

/// Gradient with respect to the filters: [`conv::backward_weight`] into filters of another type.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `[N, H, W, C]` |
/// | `dy` | `[N, rows, columns, O]` |
/// | `gradient` | `[O, kernel rows, kernel columns, C / groups]` |
///
/// Its exponent is that of `dy` plus that of `x`.
///
/// # Errors
/// As [`conv_forward`]; the sink is then untouched.
///
/// Source: the derivative of [`conv_forward`] with respect to `weight`.
pub fn conv_backward_weight<A: Activation<W>, W: Element, const N: usize>(
    shape: conv::Shape<N>,
    x: &[A],
    dy: &[A],
    gradient: &mut Gradient<'_, W, i64>,
) -> Result<()>
where
    i64: Into<W::Update>,
{
    let extents = check_conv(shape)?;
    let [planes, rows, columns] = extents.out;
    let positions = Arg::Shape.product(&[shape.batch, planes, rows, columns])?;
    dense::limit(positions, MAX_PRODUCTS)?;
    extents.check_x(Arg::X, x.len())?;
    extents.check_y(Arg::Dy, dy.len())?;
    gradient.check_len(&[shape.filters, extents.filter_len])?;
    A::mixed_conv_backward_weight(ConvGradient {
        extents,
        x,
        dy,
        gradient,
    });
    Ok(())
}

fn check_dense(shape: dense::Shape) -> Result<()> {
    let dense::Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    // Each tensor for itself: the number of products may exceed 32 bits.
    for tensor in [[batch, inputs], [batch, outputs], [outputs, inputs]] {
        Arg::Shape.product(&tensor)?;
    }
    dense::limit(inputs.max(outputs), MAX_PRODUCTS)
}

fn check_conv<const N: usize>(shape: conv::Shape<N>) -> Result<Extents> {
    let (extents, backward_len) = shape.extents()?;
    dense::limit(extents.filter_len.max(backward_len), MAX_PRODUCTS)?;
    Ok(extents)
}

/// A forward or backward pass over a matrix of `W`; its output is of type `A`.
type DenseCall<'a, A, W> = decoded::dense::Call<'a, A, &'a [W], Shared<'a, A>, A>;
/// The same of a convolution.
type ConvCall<'a, A, W> = decoded::conv::Call<'a, A, &'a [W], Shared<'a, A>, A>;

/// A type of activations for weights of type `W`: its sums update those, and it is wide enough for logits.
pub trait Activation<W: Element>: Element<Acc = i64, Head = Self, Acc: Into<W::Update>> {
    #[doc(hidden)]
    fn mixed_dense_forward(call: DenseCall<'_, Self, W>) -> u32;
    #[doc(hidden)]
    fn mixed_dense_backward_input(call: DenseCall<'_, Self, W>) -> u32;
    #[doc(hidden)]
    fn mixed_dense_backward_weight(gradient: DenseGradient<'_, '_, Self, W>);
    #[doc(hidden)]
    fn mixed_conv_forward(call: ConvCall<'_, Self, W>) -> u32;
    #[doc(hidden)]
    fn mixed_conv_backward_input(call: ConvCall<'_, Self, W>) -> u32;
    #[doc(hidden)]
    fn mixed_conv_backward_weight(gradient: ConvGradient<'_, '_, Self, W>);
}

/// The weights as rows of `row_len`.
fn plain<A, W>(weight: &[W], row_len: usize) -> Integers<A, Plain<'_, W>, i64> {
    let source = Plain {
        weight,
        row_len,
        zero: 0,
    };
    Integers::new(source, 0)
}

macro_rules! impl_pair {
    ($($a:ty, $w:ty;)*) => {$(
        impl Activation<$w> for $a {
            #[inline(never)]
            fn mixed_dense_forward(call: DenseCall<'_, Self, $w>) -> u32 {
                let products = plain(call.weights, call.inputs);
                call.forward(products)
            }

            #[inline(never)]
            fn mixed_dense_backward_input(call: DenseCall<'_, Self, $w>) -> u32 {
                let products = plain(call.weights, call.inputs);
                call.backward(products)
            }

            #[inline(never)]
            fn mixed_dense_backward_weight(gradient: DenseGradient<'_, '_, Self, $w>) {
                arch::dispatch(gradient);
            }

            #[inline(never)]
            fn mixed_conv_forward(call: ConvCall<'_, Self, $w>) -> u32 {
                let products = plain(call.weights, call.extents.filter_len);
                call.forward(products)
            }

            #[inline(never)]
            fn mixed_conv_backward_input(call: ConvCall<'_, Self, $w>) -> u32 {
                let products = plain(call.weights, call.extents.filter_len);
                call.backward(products)
            }

            #[inline(never)]
            fn mixed_conv_backward_weight(gradient: ConvGradient<'_, '_, Self, $w>) {
                arch::dispatch(gradient);
            }
        }
    )*};
}

impl_pair! {
    i16, i8; i16, u8; u16, i8; u16, u8;
}
