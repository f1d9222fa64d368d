//! Max pooling over two dimensions, and its gradient.

use crate::arch::scalar::TILE;
use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude};
use crate::requantize::Epilogue;
use crate::split::rows_of_mut;
use crate::window::{Axis, Window};

/// The extents of a pooling layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Images, `N`.
    pub batch: usize,
    /// Rows of an input image, `H`.
    pub height: usize,
    /// Columns of an input image, `W`.
    pub width: usize,
    /// Channels, `C`; each is pooled on its own.
    pub channels: usize,
    /// The window and how it moves.
    pub window: Window,
}

#[derive(Clone, Copy, Debug)]
struct Extents {
    shape: Shape,
    out: [usize; 2],
    rows: Axis,
    columns: Axis,
}

impl Shape {
    /// Rows and columns of the output.
    ///
    /// # Errors
    /// Those of [`Window::outputs`].
    pub const fn outputs(&self) -> Result<[usize; 2]> {
        self.window.outputs([self.height, self.width])
    }

    fn check(self) -> Result<Extents> {
        let Self {
            batch,
            height,
            width,
            channels,
            window,
        } = self;
        Arg::Shape.product(&[batch, height, width, channels])?;
        let out = self.outputs()?;
        let [rows, columns] = window.axes();
        for (number, (axis, (input, outputs))) in
            [(rows, (height, out[0])), (columns, (width, out[1]))]
                .iter()
                .enumerate()
        {
            // A window on padding alone has no maximum. A dilated one may miss a small input in
            // the middle of its way, too.
            let covered =
                |output: usize| (0..axis.kernel).any(|k| axis.input(output, k, *input).is_some());
            if !(0..*outputs).all(covered) {
                return Err(Error::Window {
                    axis: number as u8,
                    span: axis.kernel,
                    input: *input,
                });
            }
        }
        Ok(Extents {
            shape: self,
            out,
            rows,
            columns,
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
                self.shape.channels,
            ],
        )
    }
}

/// Max pooling, forward: `out[n, r, c, k]` is the largest element of channel `k` under window
/// `(r, c)`. Padding never wins. The exponent stays.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `[N, H, W, C]` |
/// | `out` | `[N, rows, columns, C]`, overwritten |
///
/// NaN wins over every number.
///
/// # Errors
/// [`Error::Length`] if a slice does not fit, [`Error::Window`] if the window does not fit into the
/// padded input or would stand on padding alone, [`Error::Zero`], [`Error::Overflow`]. `out` is
/// then untouched.
///
/// Source: the definition.
pub fn max_forward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    let extents = shape.check()?;
    extents.check_x(Arg::X, x.len())?;
    extents.check_y(Arg::Out, out.len())?;
    let row_len = extents.out[1] * shape.channels;
    exec::rows(exec, out, row_len, |first, out| {
        T::max_pool(Rows {
            extents,
            x,
            first,
            out,
        });
        0
    });
    Ok(())
}

/// Gradient of max pooling: the error of a window goes to its first maximum in row-major order.
/// Errors of overlapping windows are added.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, H, W, C]` | input of the forward pass |
/// | `y` | `[N, rows, columns, C]` | its output |
/// | `dy` | `[N, rows, columns, C]` | |
/// | `dx` | `[N, H, W, C]` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest sum (0 for floats), which has the exponent of `dy`. A
/// window whose maximum is NaN passes no error.
///
/// # Errors
/// As [`max_forward`]; `dx` is then untouched.
///
/// Source: the derivative of [`max_forward`].
pub fn max_backward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    y: &[T],
    dy: &[T],
    epilogue: Epilogue,
    dx: &mut [T],
) -> Result<u32> {
    let extents = shape.check()?;
    extents.check_x(Arg::X, x.len())?;
    extents.check_y(Arg::Y, y.len())?;
    extents.check_y(Arg::Dy, dy.len())?;
    extents.check_x(Arg::Dx, dx.len())?;
    let row_len = shape.width * shape.channels;
    Ok(exec::rows(exec, dx, row_len, |first, dx| {
        T::max_pool_backward(RowsBack {
            extents,
            x,
            y,
            dy,
            epilogue,
            first,
            dx,
        })
    }))
}

/// Some output rows of a forward pass.
pub struct Rows<'a, T> {
    extents: Extents,
    x: &'a [T],
    first: usize,
    out: &'a mut [T],
}

/// Whether `a` replaces the maximum `b`: it is larger, or the first NaN.
#[inline(always)]
fn wins<T: Element>(a: T, b: T) -> bool {
    let (a, b) = (a.widen(), b.widen());
    #[allow(clippy::eq_op)] // only NaN differs from itself
    let is_nan = |x: T::Wide| x != x;
    a > b || (is_nan(a) && !is_nan(b))
}

impl<T: Element> Kernel for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Extents {
            shape,
            out: [out_rows, out_columns],
            rows,
            columns,
        } = self.extents;
        let Shape {
            height,
            width,
            channels,
            ..
        } = shape;
        if out_rows == 0 || out_columns == 0 || channels == 0 {
            return;
        }
        let (mut image, mut row) = (self.first / out_rows, self.first % out_rows);
        for out in rows_of_mut(self.out, out_columns * channels) {
            for (column, out) in rows_of_mut(out, channels).enumerate() {
                let mut is_first = true;
                for a in 0..rows.kernel {
                    let Some(y) = rows.input(row, a, height) else {
                        continue;
                    };
                    for b in 0..columns.kernel {
                        let Some(x) = columns.input(column, b, width) else {
                            continue;
                        };
                        let start = ((image * height + y) * width + x) * channels;
                        let cell = self.x.get(start..start + channels).unwrap_or_default();
                        for (out, &value) in out.iter_mut().zip(cell) {
                            if is_first || wins(value, *out) {
                                *out = value;
                            }
                        }
                        is_first = false;
                    }
                }
            }
            row += 1;
            if row == out_rows {
                (image, row) = (image + 1, 0);
            }
        }
    }
}

/// Some input rows of a gradient.
pub struct RowsBack<'a, T> {
    extents: Extents,
    x: &'a [T],
    y: &'a [T],
    dy: &'a [T],
    epilogue: Epilogue,
    first: usize,
    dx: &'a mut [T],
}

impl<T: Element> RowsBack<'_, T> {
    /// Whether the window at `(row, column)` has `value` before its cell `(a, b)`, in the channel.
    #[inline(always)]
    fn comes_later(
        &self,
        image: usize,
        at: [usize; 2],
        cell: [usize; 2],
        channel: usize,
        value: T,
    ) -> bool {
        let Extents {
            shape,
            rows,
            columns,
            ..
        } = &self.extents;
        (0..=cell[0]).any(|a| {
            let end = if a == cell[0] {
                cell[1]
            } else {
                columns.kernel
            };
            let Some(y) = rows.input(at[0], a, shape.height) else {
                return false;
            };
            (0..end).any(|b| {
                columns.input(at[1], b, shape.width).is_some_and(|x| {
                    let start = ((image * shape.height + y) * shape.width + x) * shape.channels;
                    self.x.get(start + channel) == Some(&value)
                })
            })
        })
    }
}

impl<T: Element> Kernel for RowsBack<'_, T> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(mut self, _: I) -> u32 {
        let Extents {
            shape,
            out: [out_rows, out_columns],
            rows,
            columns,
        } = self.extents;
        let Shape {
            height,
            width,
            channels,
            ..
        } = shape;
        if height == 0 || width == 0 || channels == 0 {
            return 0;
        }
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = (self.first * width * channels) as u32;
        let (mut image, mut y) = (self.first / height, self.first % height);
        for dx in rows_of_mut(core::mem::take(&mut self.dx), width * channels) {
            for (x, dx) in rows_of_mut(dx, channels).enumerate() {
                let cell_start = ((image * height + y) * width + x) * channels;
                let mut channel = 0;
                for dx in dx.chunks_mut(TILE) {
                    let mut sums = [T::Acc::default(); TILE];
                    let cell = self.x.get(cell_start + channel..).unwrap_or_default();
                    for a in 0..rows.kernel {
                        let Some(row) = rows.output(y, a, out_rows) else {
                            continue;
                        };
                        for b in 0..columns.kernel {
                            let Some(column) = columns.output(x, b, out_columns) else {
                                continue;
                            };
                            let start = ((image * out_rows + row) * out_columns + column)
                                * channels
                                + channel;
                            let maxima = self.y.get(start..start + dx.len()).unwrap_or_default();
                            let errors = self.dy.get(start..).unwrap_or_default();
                            let pairs = cell.iter().zip(maxima).zip(errors).zip(&mut sums);
                            for (k, (((&value, &maximum), &error), sum)) in pairs.enumerate() {
                                if value == maximum
                                    && !self.comes_later(
                                        image,
                                        [row, column],
                                        [a, b],
                                        channel + k,
                                        value,
                                    )
                                {
                                    *sum += error.to_acc();
                                }
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
            y += 1;
            if y == height {
                (image, y) = (image + 1, 0);
            }
        }
        range.bits()
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn max_pool(rows: Rows<'_, Self>);
    #[doc(hidden)]
    fn max_pool_backward(rows: RowsBack<'_, Self>) -> u32;
}

macro_rules! impl_kernels {
    ($($t:ty)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn max_pool(rows: Rows<'_, Self>) {
                arch::dispatch(rows);
            }

            #[inline(never)]
            fn max_pool_backward(rows: RowsBack<'_, Self>) -> u32 {
                arch::dispatch(rows)
            }
        }
    )*};
}

impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64 }
