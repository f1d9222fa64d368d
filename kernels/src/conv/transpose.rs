//! The transpose of a convolution: it scatters where a convolution gathers, and makes images larger.
//!
//! A transposed convolution from `I` to `O` channels is described by the [`Shape`] of the convolution
//! that it is the transpose of: `filters` are its input channels, `channels` its output channels,
//! [`Shape::outputs`] the extents of its input and [`Shape::input`] those of its output, usually
//! [`Window::inputs`](crate::window::Window::inputs) of them. Where windows move by more than a cell,
//! several extents give as many windows: with up to `stride - 1` cells more, [`Shape::outputs`] stays,
//! and the cells behind the last window's reach get the bias alone. Other libraries call them output
//! padding.

use super::{Rows, RowsBack, Shape};
use crate::activation::check_slope;
use crate::dense::Bias;
use crate::element::{Element, Output};
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::finish::Shared;
use crate::optim::Gradient;
use crate::requantize::{Epilogue, Store};
use crate::window::Deep;

/// Transposed convolution, forward: each input cell adds `x[.., i] · weight[i, a, b, o]` to every
/// output cell under its window; then the bias, then the epilogue.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, rows, columns, I]`, of [`Shape::outputs`] | activations |
/// | `weight` | `[I, kernel rows, kernel columns, O / groups]` | |
/// | `bias` | `[O]` | rounded to the accumulator's exponent, to nearest even |
/// | `out` | `[N, H, W, O]`, of [`Shape::input`] | overwritten, or untouched by [`Store::Measure`] |
/// | `slope` | as `out`, or empty | what [`activation::backward`](crate::activation::backward) wants of some activations |
///
/// Returns the bit length of the largest activated accumulator (0 for floats). Floats are summed in
/// the order of `(a, b, i)`, the bias last. NaN propagates.
///
/// # Errors
/// As [`super::forward`]; nothing is written then.
///
/// # Example
/// ```
/// use selvedge_kernels::conv::{Shape, transpose};
/// use selvedge_kernels::{dense::Bias, exec::Serial, requantize::Epilogue, window::Window};
/// // Two cells, each spread over two.
/// let window = Window::uniform(2, 2, 0);
/// let shape = Shape { batch: 1, input: window.inputs([2])?, channels: 1, filters: 1, groups: 1, window };
/// let bias = Bias { values: &[0.0f32], shift: 0 };
/// let mut out = [0.0f32; 4];
/// transpose::forward(&Serial, shape, &[1.0f32, 2.0], &[1.0, 0.5], bias, Epilogue::EXACT, &mut out, &mut [])?;
/// assert_eq!(out, [1.0, 0.5, 2.0, 1.0]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the adjoint of [`super::forward`]; Dumoulin & Visin 2016, ch. 4.
#[allow(clippy::too_many_arguments)] // those of `conv::forward`
pub fn forward<T: Element, O: Output<T>, const N: usize>(
    exec: &impl Executor,
    shape: Shape<N>,
    x: &[T],
    weight: &[T],
    bias: Bias<'_, T>,
    epilogue: Epilogue<T>,
    out: &mut [O],
    slope: &mut [T],
) -> Result<u32> {
    let extents = shape.check_scatter::<T>()?;
    extents.check_y(Arg::X, x.len())?;
    extents.check_weight(weight.len())?;
    Arg::Bias.check_len(bias.values.len(), &[shape.channels])?;
    extents.check_x(Arg::Out, out.len())?;
    check_slope(slope.len(), out.len())?;
    let row_len = extents.input[2] * extents.channels;
    let task = |first: usize, out: &mut [O], slope: &mut [T]| {
        let kernel = RowsBack {
            extents,
            dy: x,
            weight,
            bias: Some(bias),
            epilogue,
            first,
            out,
            slope,
        };
        if N == 3 {
            O::conv_backward_input_deep(Deep(kernel))
        } else {
            O::conv_backward_input(kernel)
        }
    };
    Ok(exec::rows_with(exec, out, row_len, slope, task))
}

/// Gradient with respect to the input: the convolution of `dy`.
///
/// | argument | shape |
/// |---|---|
/// | `dy` | `[N, H, W, O]`, of [`Shape::input`] |
/// | `weight` | `[I, kernel rows, kernel columns, O / groups]` |
/// | `dx` | `[N, rows, columns, I]`, overwritten, or untouched by [`Store::Measure`] |
///
/// Returns the bit length of the largest accumulator (0 for floats), which has the exponent of `dy`
/// plus that of `weight`.
///
/// # Errors
/// As [`super::forward`]; `dx` is then untouched.
pub fn backward_input<T: Element, const N: usize>(
    exec: &impl Executor,
    shape: Shape<N>,
    dy: &[T],
    weight: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let extents = shape.check_gather::<T>()?;
    extents.check_x(Arg::Dy, dy.len())?;
    extents.check_weight(weight.len())?;
    extents.check_y(Arg::Dx, dx.len())?;
    let row_len = extents.out[2] * extents.filters;
    Ok(exec::rows(exec, dx, row_len, |first, dx| {
        let kernel = Rows {
            extents,
            x: dy,
            weight,
            finish: Shared::without_bias(store),
            first,
            out: dx,
            slope: &mut [],
        };
        if N == 3 {
            T::conv_forward_deep(Deep(kernel))
        } else {
            T::conv_forward(kernel)
        }
    }))
}

/// Gradient with respect to the weights, `[I, kernel rows, kernel columns, O / groups]`: that of the
/// convolution, with input and error exchanged. Its exponent is that of `dy` plus that of `x`.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `[N, rows, columns, I]`, of [`Shape::outputs`] |
/// | `dy` | `[N, H, W, O]`, of [`Shape::input`] |
///
/// The bias' gradient is [`dense::backward_bias`](crate::dense::backward_bias).
///
/// # Errors
/// As [`super::backward_weight`], with `x` and `dy` exchanged; the sink is then untouched.
pub fn backward_weight<T: Element, const N: usize>(
    shape: Shape<N>,
    x: &[T],
    dy: &[T],
    gradient: &mut Gradient<'_, T, T::Acc>,
) -> Result<()> {
    super::weight_gradient(shape, [Arg::Dy, Arg::X], dy, x, gradient)
}
