//! Two-dimensional convolution: direct, with stride, padding per side, dilation and groups
//! (depthwise: as many groups as channels), and its two gradients. The bias gradient is
//! [`dense::backward_bias`](crate::dense::backward_bias).

use crate::arch::scalar::{TILE, add_row};
use crate::arch::{self, Isa, Kernel};
use crate::dense::{Bias, limit};
use crate::element::{Element, Output};
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude};
use crate::optim::Gradient;
use crate::requantize::Epilogue;
use crate::split::{rows_of, rows_of_mut};
use crate::window::{Axis, Window};

/// The extents of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Images, `N`.
    pub batch: usize,
    /// Rows of an input image, `H`.
    pub height: usize,
    /// Columns of an input image, `W`.
    pub width: usize,
    /// Input channels, `C`.
    pub channels: usize,
    /// Output channels, `O`.
    pub filters: usize,
    /// Output channel `o` reads the `C / groups` channels of group `o / (O / groups)`.
    pub groups: usize,
    /// The kernel and how it moves.
    pub window: Window,
}

/// A shape that has been checked, with what follows from it.
#[derive(Clone, Copy, Debug)]
struct Extents {
    shape: Shape,
    /// Output rows and columns.
    out: [usize; 2],
    /// Channels and filters of a group.
    group: [usize; 2],
    rows: Axis,
    columns: Axis,
    /// Elements of one filter.
    filter_len: usize,
}

impl Shape {
    /// Rows and columns of the output.
    ///
    /// # Errors
    /// Those of [`Window::outputs`].
    pub const fn outputs(&self) -> Result<[usize; 2]> {
        self.window.outputs([self.height, self.width])
    }

    fn check<T: Element>(self) -> Result<Extents> {
        let Self {
            batch,
            height,
            width,
            channels,
            filters,
            groups,
            window,
        } = self;
        // Each tensor for itself: the number of products may exceed 32 bits.
        Arg::Shape.product(&[batch, height, width, channels])?;
        let out = self.outputs()?;
        Arg::Shape.product(&[batch, out[0], out[1], filters])?;
        Arg::Shape.product(&[groups])?;
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
        let filter_len = Arg::Shape.product(&[cells, group[0]])?;
        Arg::Shape.product(&[filters, filter_len])?;
        limit(filter_len, T::MAX_PRODUCTS)?;
        limit(Arg::Shape.product(&[cells, group[1]])?, T::MAX_PRODUCTS)?;
        let [rows, columns] = window.axes();
        Ok(Extents {
            shape: self,
            out,
            group,
            rows,
            columns,
            filter_len,
        })
    }
}

impl Extents {
    fn check_x(&self, arg: Arg, len: usize) -> Result<()> {
        let Shape {
            batch,
            height,
            width,
            channels,
            ..
        } = self.shape;
        arg.check_len(len, &[batch, height, width, channels])
    }

    fn check_y(&self, arg: Arg, len: usize) -> Result<()> {
        arg.check_len(
            len,
            &[
                self.shape.batch,
                self.out[0],
                self.out[1],
                self.shape.filters,
            ],
        )
    }
}

/// Convolution, forward:
/// `out[n, r, c, o] = epilogue(bias[o] + Σ_(a, b, k) x[n, r·s + a·d - p, c·s + b·d - p, k] · weight[o, a, b, k])`
/// with stride `s`, dilation `d` and padding `p` of each axis, `k` over the channels of `o`'s group.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, H, W, C]` | activations |
/// | `weight` | `[O, kernel rows, kernel columns, C / groups]` | filters |
/// | `bias` | `[O]` | rounded to the accumulator's exponent, to nearest even |
/// | `out` | `[N, rows, columns, O]` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest activated accumulator (0 for floats). Padding adds
/// nothing. Floats: each kernel row in eight partial sums, rows from top to bottom. NaN propagates.
///
/// # Errors
/// [`Error::Length`] if a slice does not fit, [`Error::Window`] if the kernel does not fit into the
/// padded input, [`Error::Groups`] if the groups do not divide the channels, [`Error::Zero`],
/// [`Error::Overflow`], [`Error::Accumulator`] for extents beyond the type's limits. `out` is then
/// untouched.
///
/// Source: the definition; the epilogue is `docs/numerics.md` §4.
pub fn forward<T: Element, O: Output<T>>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    weight: &[T],
    bias: Bias<'_, T>,
    epilogue: Epilogue,
    out: &mut [O],
) -> Result<u32> {
    let extents = shape.check::<T>()?;
    extents.check_x(Arg::X, x.len())?;
    Arg::Weight.check_len(weight.len(), &[shape.filters, extents.filter_len])?;
    Arg::Bias.check_len(bias.values.len(), &[shape.filters])?;
    extents.check_y(Arg::Out, out.len())?;
    let row_len = extents.out[1] * shape.filters;
    Ok(exec::rows(exec, out, row_len, |first, out| {
        O::conv_forward(Rows {
            extents,
            x,
            weight,
            bias,
            epilogue,
            first,
            out,
        })
    }))
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
pub fn backward_input<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    dy: &[T],
    weight: &[T],
    epilogue: Epilogue,
    dx: &mut [T],
) -> Result<u32> {
    let extents = shape.check::<T>()?;
    extents.check_y(Arg::Dy, dy.len())?;
    Arg::Weight.check_len(weight.len(), &[shape.filters, extents.filter_len])?;
    extents.check_x(Arg::Dx, dx.len())?;
    let row_len = shape.width * shape.channels;
    Ok(exec::rows(exec, dx, row_len, |first, dx| {
        T::conv_backward_input(RowsBack {
            extents,
            dy,
            weight,
            epilogue,
            first,
            dx,
        })
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
pub fn backward_weight<T: Element>(
    shape: Shape,
    x: &[T],
    dy: &[T],
    gradient: &mut Gradient<'_, T, T::Acc>,
) -> Result<()> {
    let extents = shape.check::<T>()?;
    let positions = Arg::Shape.product(&[shape.batch, extents.out[0], extents.out[1]])?;
    limit(positions, T::MAX_GRADIENT_PRODUCTS)?;
    extents.check_x(Arg::X, x.len())?;
    extents.check_y(Arg::Dy, dy.len())?;
    gradient.check_len(&[shape.filters, extents.filter_len])?;
    T::conv_backward_weight(WeightGradient {
        extents,
        x,
        dy,
        gradient,
    });
    Ok(())
}

/// Some output rows of a forward pass.
pub struct Rows<'a, T: Element, O> {
    extents: Extents,
    x: &'a [T],
    weight: &'a [T],
    bias: Bias<'a, T>,
    epilogue: Epilogue,
    /// Number of the first row, over all images.
    first: usize,
    out: &'a mut [O],
}

/// A dot product of two parts that have the same length by construction; 0 if they would not.
#[inline(always)]
fn dot_parts<T: Element, I: Isa>(
    isa: I,
    a: &[T],
    a_start: usize,
    b: &[T],
    b_start: usize,
    len: usize,
) -> T::Acc {
    match (a.get(a_start..a_start + len), b.get(b_start..b_start + len)) {
        (Some(a), Some(b)) => T::dot(isa, a, b),
        _ => T::Acc::default(),
    }
}

impl<T: Element, O: Output<T>> Kernel for Rows<'_, T, O> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Extents {
            shape,
            out: [out_rows, out_columns],
            group: [group_channels, group_filters],
            ..
        } = self.extents;
        let Extents {
            rows,
            columns,
            filter_len,
            ..
        } = self.extents;
        let Shape {
            height,
            width,
            channels,
            filters,
            ..
        } = shape;
        if out_rows == 0 || filters == 0 || filter_len == 0 || group_filters == 0 {
            return 0;
        }
        // Cells of a kernel row that lie side by side in memory are one dot product.
        let contiguous = columns.dilation == 1 && group_channels == channels;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = (self.first * out_columns * filters) as u32;
        let (mut image, mut row) = (self.first / out_rows, self.first % out_rows);
        for out in rows_of_mut(self.out, out_columns * filters) {
            for (column, out) in rows_of_mut(out, filters).enumerate() {
                let (first_cell, end_cell) = columns.dense_cells(column, width);
                let outputs = out
                    .iter_mut()
                    .zip(rows_of(self.weight, filter_len))
                    .zip(self.bias.values);
                let (mut group_start, mut filters_left) = (0, group_filters);
                for ((out, weight), &bias) in outputs {
                    let mut acc = T::bias(bias, self.bias.shift);
                    for a in 0..rows.kernel {
                        let Some(y) = rows.input(row, a, height) else {
                            continue;
                        };
                        let x_row = (image * height + y) * width; // cells before this input row
                        let w_row = a * columns.kernel;
                        if contiguous {
                            let cells = end_cell.saturating_sub(first_cell);
                            let x_start =
                                x_row + column * columns.stride + first_cell - columns.before;
                            acc += dot_parts(
                                isa,
                                self.x,
                                x_start * channels,
                                weight,
                                (w_row + first_cell) * channels,
                                cells * channels,
                            );
                        } else {
                            for b in 0..columns.kernel {
                                let Some(x) = columns.input(column, b, width) else {
                                    continue;
                                };
                                acc += dot_parts(
                                    isa,
                                    self.x,
                                    (x_row + x) * channels + group_start,
                                    weight,
                                    (w_row + b) * group_channels,
                                    group_channels,
                                );
                            }
                        }
                    }
                    self.epilogue.apply::<T, O>(acc, element, &mut range, out);
                    element = element.wrapping_add(1);
                    filters_left -= 1;
                    if filters_left == 0 {
                        (group_start, filters_left) = (group_start + group_channels, group_filters);
                    }
                }
            }
            row += 1;
            if row == out_rows {
                (image, row) = (image + 1, 0);
            }
        }
        range.bits()
    }
}

/// Some input rows of an input gradient.
pub struct RowsBack<'a, T> {
    extents: Extents,
    dy: &'a [T],
    weight: &'a [T],
    epilogue: Epilogue,
    first: usize,
    dx: &'a mut [T],
}

/// Whether an error adds nothing. Zero times NaN is NaN, so floats never skip.
#[inline(always)]
fn adds_nothing<T: Element>(d: T) -> bool {
    T::DTYPE.is_integer() && d == T::ZERO
}

impl<T: Element> Kernel for RowsBack<'_, T> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Extents {
            shape,
            out: [out_rows, out_columns],
            group: [group_channels, group_filters],
            ..
        } = self.extents;
        let Extents {
            rows,
            columns,
            filter_len,
            ..
        } = self.extents;
        let Shape {
            height,
            width,
            channels,
            filters,
            ..
        } = shape;
        if height == 0 || width == 0 || channels == 0 || group_channels == 0 || filter_len == 0 {
            return 0;
        }
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = (self.first * width * channels) as u32;
        let (mut image, mut y) = (self.first / height, self.first % height);
        for dx in rows_of_mut(self.dx, width * channels) {
            for (x, dx) in rows_of_mut(dx, channels).enumerate() {
                for (group, dx) in rows_of_mut(dx, group_channels).enumerate() {
                    let group_start = group * group_filters;
                    let weight = self
                        .weight
                        .get(group_start * filter_len..)
                        .unwrap_or_default();
                    let mut channel = 0;
                    for dx in dx.chunks_mut(TILE) {
                        let mut sums = [T::Acc::default(); TILE];
                        for a in 0..rows.kernel {
                            let Some(row) = rows.output(y, a, out_rows) else {
                                continue;
                            };
                            for b in 0..columns.kernel {
                                let Some(column) = columns.output(x, b, out_columns) else {
                                    continue;
                                };
                                let position = (image * out_rows + row) * out_columns + column;
                                let start = position * filters + group_start;
                                let dy = self
                                    .dy
                                    .get(start..start + group_filters)
                                    .unwrap_or_default();
                                let cell = (a * columns.kernel + b) * group_channels + channel;
                                for (&d, filter) in dy.iter().zip(rows_of(weight, filter_len)) {
                                    if adds_nothing(d) {
                                        continue;
                                    }
                                    let part =
                                        filter.get(cell..cell + dx.len()).unwrap_or_default();
                                    add_row::<T, I>(isa, &mut sums, d.widen(), part);
                                }
                            }
                        }
                        for (dx, &sum) in dx.iter_mut().zip(&sums) {
                            self.epilogue.apply::<T, T>(sum, element, &mut range, dx);
                            element = element.wrapping_add(1);
                        }
                        channel += dx.len();
                    }
                }
            }
            y += 1;
            if y == height {
                (image, y) = (image + 1, 0);
            }
        }
        range.bits()
    }
}

/// A filter gradient.
pub struct WeightGradient<'a, 'g, T: Element> {
    extents: Extents,
    x: &'a [T],
    dy: &'a [T],
    gradient: &'a mut Gradient<'g, T, T::Acc>,
}

impl<T: Element> Kernel for WeightGradient<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Extents {
            shape,
            out: [out_rows, out_columns],
            group: [group_channels, group_filters],
            ..
        } = self.extents;
        let Extents { rows, columns, .. } = self.extents;
        let Shape {
            batch,
            height,
            width,
            channels,
            filters,
            ..
        } = shape;
        let mut element = 0;
        let (mut group_start, mut filters_left) = (0, group_filters);
        for filter in 0..filters {
            for a in 0..rows.kernel {
                for b in 0..columns.kernel {
                    let mut channel = 0;
                    while channel < group_channels {
                        let tile = TILE.min(group_channels - channel);
                        let mut sums = [T::Acc::default(); TILE];
                        for image in 0..batch {
                            for row in 0..out_rows {
                                let Some(y) = rows.input(row, a, height) else {
                                    continue;
                                };
                                let out_row = (image * out_rows + row) * out_columns;
                                let x_row = (image * height + y) * width;
                                for column in 0..out_columns {
                                    let Some(x) = columns.input(column, b, width) else {
                                        continue;
                                    };
                                    let Some(&d) =
                                        self.dy.get((out_row + column) * filters + filter)
                                    else {
                                        continue;
                                    };
                                    if adds_nothing(d) {
                                        continue;
                                    }
                                    let start = (x_row + x) * channels + group_start + channel;
                                    let part = self.x.get(start..start + tile).unwrap_or_default();
                                    add_row::<T, I>(isa, &mut sums, d.widen(), part);
                                }
                            }
                        }
                        self.gradient
                            .take(element, sums.get(..tile).unwrap_or_default());
                        element += tile;
                        channel += tile;
                    }
                }
            }
            filters_left -= 1;
            if filters_left == 0 {
                (group_start, filters_left) = (group_start + group_channels, group_filters);
            }
        }
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn conv_backward_input(rows: RowsBack<'_, Self>) -> u32;
    #[doc(hidden)]
    fn conv_backward_weight(gradient: WeightGradient<'_, '_, Self>)
    where
        Self: Element;
}

/// The forward kernel from elements `T` to `Self`.
pub trait Stored<T: Element>: Sized {
    #[doc(hidden)]
    fn conv_forward(rows: Rows<'_, T, Self>) -> u32;
}

macro_rules! impl_kernels {
    ($($t:ty => $($out:ty),+;)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn conv_backward_input(rows: RowsBack<'_, Self>) -> u32 {
                arch::dispatch(rows)
            }

            #[inline(never)]
            fn conv_backward_weight(gradient: WeightGradient<'_, '_, Self>) {
                arch::dispatch(gradient);
            }
        }

        $(impl Stored<$t> for $out {
            #[inline(never)]
            fn conv_forward(rows: Rows<'_, $t, Self>) -> u32 {
                arch::dispatch(rows)
            }
        })+
    )*};
}

impl_kernels! {
    i8 => i8, i16; u8 => u8, u16; i16 => i16; u16 => u16; i32 => i32; u32 => u32; i64 => i64; u64 => u64;
    half::f16 => half::f16; half::bf16 => half::bf16; f32 => f32; f64 => f64;
}
