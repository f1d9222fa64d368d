//! Convolution over one, two or three axes: direct, with stride, padding per side, dilation and
//! groups (depthwise: as many groups as channels), its two gradients, and its transpose. The bias
//! gradient is [`dense::backward_bias`](crate::dense::backward_bias).

mod backward;
mod blocked;
mod depthwise;
mod forward;
mod patched;
mod strips;
mod tiled;
pub mod transpose;

pub use backward::{RowsBack, WeightGradient};
pub use forward::Rows;

use crate::activation::{Activation, check_slope};
use crate::arch;
use crate::dense::{Bias, limit};
use crate::element::{Element, Output};
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::finish::Shared;
use crate::optim::Gradient;
use crate::requantize::{Epilogue, Store};
use crate::window::{Axis, Deep, Window, three_axes};

/// The extents of a convolution over `N` spatial axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape<const N: usize = 2> {
    /// Samples, `N`.
    pub batch: usize,
    /// Spatial extents of an input sample: columns; rows and columns; planes, rows and columns.
    pub input: [usize; N],
    /// Input channels, `C`.
    pub channels: usize,
    /// Output channels, `O`.
    pub filters: usize,
    /// Output channel `o` reads the `C / groups` channels of group `o / (O / groups)`.
    pub groups: usize,
    /// The kernel and how it moves.
    pub window: Window<N>,
}

/// A shape that has been checked, with what follows from it. Spatial axes are three.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub(crate) batch: usize,
    pub(crate) input: [usize; 3],
    pub(crate) channels: usize,
    pub(crate) filters: usize,
    pub(crate) out: [usize; 3],
    /// Channels and filters of a group.
    pub(crate) group: [usize; 2],
    pub(crate) axes: [Axis; 3],
    /// Elements of one filter.
    pub(crate) filter_len: usize,
}

impl<const N: usize> Shape<N> {
    /// Spatial extents of the output.
    ///
    /// # Errors
    /// Those of [`Window::outputs`].
    pub const fn outputs(&self) -> Result<[usize; N]> {
        self.window.outputs(self.input)
    }

    /// For a pass that gathers, as the convolution itself.
    fn check_gather<T: Element>(&self) -> Result<Extents> {
        self.check([T::MAX_PRODUCTS, usize::MAX])
    }

    /// For a pass that scatters, as its input gradient.
    fn check_scatter<T: Element>(&self) -> Result<Extents> {
        self.check([usize::MAX, T::MAX_PRODUCTS])
    }

    /// The extents, where a sum of the forward pass and one of the input gradient have no more products than these:
    /// one copy for all passes, as in flash it is larger than some of them.
    #[inline(never)]
    pub(crate) fn check(&self, [most, most_backward]: [usize; 2]) -> Result<Extents> {
        let (extents, backward_len) = self.extents()?;
        limit(extents.filter_len, most)?;
        limit(backward_len, most_backward)?;
        Ok(extents)
    }

    /// The extents, and the products of an input gradient's sum.
    #[inline(always)]
    pub(crate) fn extents(&self) -> Result<(Extents, usize)> {
        const {
            assert!(
                N >= 1 && N <= 3,
                "a convolution has one to three spatial axes"
            )
        };
        let Self {
            batch,
            input: inputs,
            channels,
            filters,
            groups,
            window,
        } = *self;
        let input = three_axes(inputs);
        let out = three_axes(self.outputs()?);
        if groups == 0 {
            return Err(Error::Zero { arg: Arg::Shape });
        }
        let refuse = Error::Groups {
            channels,
            filters,
            groups,
        };
        let per_group = |n: usize| {
            n.checked_div(groups)
                .filter(|q| q * groups == n)
                .ok_or(refuse)
        };
        let group = [per_group(channels)?, per_group(filters)?];
        let cells = Arg::Shape.product(&window.kernel)?;
        // Each tensor for itself, and the products of a sum: those of all may exceed 32 bits.
        for extents in [
            &[batch, input[0], input[1], input[2], channels][..],
            &[batch, out[0], out[1], out[2], filters],
            &[filters, cells, group[0]],
            &[cells, group[1]],
        ] {
            Arg::Shape.product(extents)?;
        }
        let [filter_len, backward_len] = group.map(|channels| cells * channels);
        let extents = Extents {
            batch,
            input,
            channels,
            filters,
            out,
            group,
            axes: window.axes(inputs),
            filter_len,
        };
        Ok((extents, backward_len))
    }
}

impl Extents {
    /// The same where the compiler knows that the first axis has one cell, unless `DEEP`.
    #[inline(always)]
    fn known<const DEEP: bool>(self) -> Self {
        if DEEP {
            return self;
        }
        let ([_, height, width], [_, rows, columns]) = (self.input, self.out);
        let [_, row_axis, column_axis] = self.axes;
        Self {
            input: [1, height, width],
            out: [1, rows, columns],
            axes: [Axis::UNIT, row_axis, column_axis],
            ..self
        }
    }

    pub(crate) fn check_x(&self, arg: Arg, len: usize) -> Result<()> {
        let [planes, height, width] = self.input;
        arg.check_len(len, &[self.batch, planes, height, width, self.channels])
    }

    pub(crate) fn check_y(&self, arg: Arg, len: usize) -> Result<()> {
        let [planes, rows, columns] = self.out;
        arg.check_len(len, &[self.batch, planes, rows, columns, self.filters])
    }

    pub(crate) fn check_weight(&self, len: usize) -> Result<()> {
        Arg::Weight.check_len(len, &[self.filters, self.filter_len])
    }

    /// Elements of a row of output positions.
    #[inline(always)]
    pub(crate) const fn out_row_len(&self) -> usize {
        self.out[2] * self.filters
    }

    /// Elements of a row of input cells.
    #[inline(always)]
    pub(crate) const fn x_row_len(&self) -> usize {
        self.input[2] * self.channels
    }
}

/// Convolution, forward, here for two axes:
/// `out[n, r, c, o] = epilogue(bias[o] + Σ_(a, b, k) x[n, r·s + a·d - p, c·s + b·d - p, k] · weight[o, a, b, k])`
/// with stride `s`, dilation `d` and padding `p` of each axis, `k` over the channels of `o`'s group.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, H, W, C]` (one axis: `[N, W, C]`, three: `[N, D, H, W, C]`) | activations |
/// | `weight` | `[O, kernel rows, kernel columns, C / groups]` | filters |
/// | `bias` | `[O]` | rounded to the accumulator's exponent, to nearest even |
/// | `out` | `[N, rows, columns, O]` | overwritten, or untouched by [`Store::Measure`] |
/// | `slope` | as `out`, or empty | what [`activation::backward`](crate::activation::backward) wants of some activations |
///
/// Returns the bit length of the largest activated accumulator (0 for floats). Padding adds
/// nothing. Floats: products that lie side by side in memory form a run (a kernel row, or the
/// channels of one cell where cells are dilated or grouped); the product with number `i` of its run
/// goes to partial sum `i mod 8`, and the eight are combined as in [`crate::dense::forward`]. NaN
/// propagates.
///
/// # Errors
/// [`Error::Length`] if a slice does not fit, [`Error::Window`] if the kernel does not fit into the
/// padded input, [`Error::Groups`] if the groups do not divide the channels, [`Error::Zero`],
/// [`Error::Overflow`] for extents beyond 32 bits, [`Error::Accumulator`] for filters of more elements than
/// the type can sum products of. `out` is then untouched.
///
/// Source: the definition; the epilogue is `docs/numerics.md` §4.
#[allow(clippy::too_many_arguments)] // executor, shape, two inputs, two parameters, two outputs
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
    let extents = shape.check_gather::<T>()?;
    extents.check_x(Arg::X, x.len())?;
    extents.check_weight(weight.len())?;
    Arg::Bias.check_len(bias.values.len(), &[shape.filters])?;
    extents.check_y(Arg::Out, out.len())?;
    check_slope(slope.len(), out.len())?;
    let row_len = extents.out_row_len();
    let finish = Shared::new(bias, epilogue);
    let task = |first: usize, out: &mut [O], slope: &mut [T]| {
        let kernel = Rows {
            extents,
            x,
            weight,
            finish,
            first,
            out,
            slope,
        };
        if N == 3 {
            O::conv_forward_deep(Deep(kernel))
        } else {
            O::conv_forward(kernel)
        }
    };
    Ok(exec::rows_with(exec, out, row_len, slope, task))
}

/// The epilogue of a gradient.
const fn only<T: Element>(store: Store) -> Epilogue<T> {
    Epilogue {
        activation: Activation::Identity,
        exponent: 0,
        store,
    }
}

/// Gradient with respect to the input: each input cell gets, from every window that contains it,
/// `Σ_o dy[.., o] · weight[o, a, b, k]`, summed over its place `(a, b)` in the kernel.
///
/// | argument | shape |
/// |---|---|
/// | `dy` | `[N, rows, columns, O]` |
/// | `weight` | `[O, kernel rows, kernel columns, C / groups]` |
/// | `dx` | `[N, H, W, C]`, overwritten |
///
/// Returns the bit length of the largest accumulator (0 for floats), which has the exponent of `dy`
/// plus that of `weight`. Floats are summed in the order of `(a, b, o)`.
///
/// # Errors
/// As [`forward`]; `dx` is then untouched.
///
/// Source: the derivative of [`forward`], transposed.
pub fn backward_input<T: Element, const N: usize>(
    exec: &impl Executor,
    shape: Shape<N>,
    dy: &[T],
    weight: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let extents = shape.check_scatter::<T>()?;
    extents.check_y(Arg::Dy, dy.len())?;
    extents.check_weight(weight.len())?;
    extents.check_x(Arg::Dx, dx.len())?;
    let row_len = extents.x_row_len();
    Ok(exec::rows(exec, dx, row_len, |first, dx| {
        let kernel = RowsBack {
            extents,
            dy,
            weight,
            bias: None,
            epilogue: only(store),
            first,
            out: dx,
            slope: &mut [],
        };
        if N == 3 {
            T::conv_backward_input_deep(Deep(kernel))
        } else {
            T::conv_backward_input(kernel)
        }
    }))
}

/// Gradient with respect to the filters:
/// `dw[o, a, b, k] = Σ_(n, r, c) dy[n, r, c, o] · x[n, r·s + a·d - p, c·s + b·d - p, k]`, handed to
/// `gradient`, which stores it or applies it at once.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `[N, H, W, C]` |
/// | `dy` | `[N, rows, columns, O]` |
/// | `gradient` | `[O, kernel rows, kernel columns, C / groups]` |
///
/// Its exponent is that of `dy` plus that of `x`. Floats are summed in the order of `(n, r, c)`.
///
/// # Errors
/// As [`forward`]; the sink is then untouched.
///
/// Source: the derivative of [`forward`] with respect to `weight`.
pub fn backward_weight<T: Element, const N: usize>(
    shape: Shape<N>,
    x: &[T],
    dy: &[T],
    gradient: &mut Gradient<'_, T, T::Acc>,
) -> Result<()> {
    weight_gradient(shape, [Arg::X, Arg::Dy], x, dy, gradient)
}

/// [`backward_weight`], with what `x` and `dy` are called in errors.
fn weight_gradient<T: Element, const N: usize>(
    shape: Shape<N>,
    [x_name, dy_name]: [Arg; 2],
    x: &[T],
    dy: &[T],
    gradient: &mut Gradient<'_, T, T::Acc>,
) -> Result<()> {
    let extents = shape.check([usize::MAX; 2])?;
    let [planes, rows, columns] = extents.out;
    let positions = Arg::Shape.product(&[extents.batch, planes, rows, columns])?;
    limit(positions, T::MAX_GRADIENT_PRODUCTS)?;
    extents.check_x(x_name, x.len())?;
    extents.check_y(dy_name, dy.len())?;
    gradient.check_len(&[extents.filters, extents.filter_len])?;
    let kernel = WeightGradient {
        extents,
        x,
        dy,
        gradient,
    };
    if N == 3 {
        T::conv_backward_weight_deep(Deep(kernel))
    } else {
        T::conv_backward_weight(kernel)
    }
    Ok(())
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn conv_backward_weight(gradient: WeightGradient<'_, '_, Self>)
    where
        Self: Element;
    #[doc(hidden)]
    fn conv_backward_weight_deep(gradient: Deep<WeightGradient<'_, '_, Self>>)
    where
        Self: Element;
}

/// The forward kernel from elements `T` to `Self`.
pub trait Stored<T: Element>: Sized {
    #[doc(hidden)]
    fn conv_forward(rows: Rows<'_, T, Self>) -> u32;
    #[doc(hidden)]
    fn conv_forward_deep(rows: Deep<Rows<'_, T, Self>>) -> u32;
    #[doc(hidden)]
    fn conv_backward_input(rows: RowsBack<'_, T, Self>) -> u32;
    #[doc(hidden)]
    fn conv_backward_input_deep(rows: Deep<RowsBack<'_, T, Self>>) -> u32;
}

macro_rules! impl_kernels {
    ($($t:ty => $($out:ty),+;)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn conv_backward_weight(gradient: WeightGradient<'_, '_, Self>) {
                arch::dispatch(gradient);
            }

            #[inline(never)]
            fn conv_backward_weight_deep(gradient: Deep<WeightGradient<'_, '_, Self>>) {
                arch::dispatch(gradient);
            }
        }

        $(impl Stored<$t> for $out {
            #[inline(never)]
            fn conv_forward(rows: Rows<'_, $t, Self>) -> u32 {
                arch::dispatch(rows)
            }

            #[inline(never)]
            fn conv_forward_deep(rows: Deep<Rows<'_, $t, Self>>) -> u32 {
                arch::dispatch(rows)
            }

            #[inline(never)]
            fn conv_backward_input(rows: RowsBack<'_, $t, Self>) -> u32 {
                arch::dispatch(rows)
            }

            #[inline(never)]
            fn conv_backward_input_deep(rows: Deep<RowsBack<'_, $t, Self>>) -> u32 {
                arch::dispatch(rows)
            }
        })+
    )*};
}

impl_kernels! {
    i8 => i8, i16; u8 => u8, u16; i16 => i16; u16 => u16; i32 => i32; u32 => u32; i64 => i64; u64 => u64;
    half::f16 => half::f16; half::bf16 => half::bf16; f32 => f32; f64 => f64;
}
