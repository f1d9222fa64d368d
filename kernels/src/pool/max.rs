//! Max pooling, and its gradient.

use super::{Extents, Shape};
use crate::arch::scalar::TILE;
use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude};
use crate::requantize::Store;
use crate::split::rows_of_mut;
use crate::window::{Deep, advance, locate};

/// Max pooling, forward, here for two axes: `out[n, r, c, k]` is the largest element of channel `k` under window
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
/// [`Error::Length`](crate::Error::Length) if a slice does not fit, [`Error::Window`](crate::Error::Window) if the window does not fit into the
/// padded input or would stand on padding alone, [`Error::Zero`](crate::Error::Zero), [`Error::Overflow`](crate::Error::Overflow). `out` is
/// then untouched.
///
/// Source: the definition.
pub fn max_forward<T: Element, const N: usize>(
    exec: &impl Executor,
    shape: Shape<N>,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    let extents = shape.check()?;
    extents.check_x(Arg::X, x.len())?;
    extents.check_y(Arg::Out, out.len())?;
    let row_len = extents.out[2] * extents.channels;
    exec::rows(exec, out, row_len, |first, out| {
        let kernel = Rows {
            extents,
            x,
            first,
            out,
        };
        if N == 3 {
            T::max_pool_deep(Deep(kernel))
        } else {
            T::max_pool(kernel)
        }
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
/// | `dx` | `[N, H, W, C]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Returns the bit length of the largest sum (0 for floats), which has the exponent of `dy`. A
/// window whose maximum is NaN passes no error.
///
/// # Errors
/// As [`max_forward`]; `dx` is then untouched.
///
/// Source: the derivative of [`max_forward`].
pub fn max_backward<T: Element, const N: usize>(
    exec: &impl Executor,
    shape: Shape<N>,
    x: &[T],
    y: &[T],
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let extents = shape.check()?;
    extents.check_x(Arg::X, x.len())?;
    extents.check_y(Arg::Y, y.len())?;
    extents.check_y(Arg::Dy, dy.len())?;
    extents.check_x(Arg::Dx, dx.len())?;
    let row_len = extents.input[2] * extents.channels;
    Ok(exec::rows(exec, dx, row_len, |first, dx| {
        let kernel = RowsBack {
            extents,
            x,
            y,
            dy,
            store,
            first,
            dx,
        };
        if N == 3 {
            T::max_pool_backward_deep(Deep(kernel))
        } else {
            T::max_pool_backward(kernel)
        }
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
        self.compute::<false>();
    }
}

impl<T: Element> Kernel for Deep<Rows<'_, T>> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        self.0.compute::<true>();
    }
}

impl<T: Element> Rows<'_, T> {
    #[inline(always)]
    fn compute<const DEEP: bool>(self) {
        let Extents {
            input: [depth, height, width],
            channels,
            out: [out_planes, out_rows, out_columns],
            axes: [planes, rows, columns],
            ..
        } = self.extents.known::<DEEP>();
        let mut at = locate(self.first, out_planes, out_rows);
        for out in rows_of_mut(self.out, out_columns * channels) {
            let [image, plane, row] = at;
            for (column, out) in rows_of_mut(out, channels).enumerate() {
                let mut is_first = true;
                for p in 0..planes.kernel {
                    let Some(z) = planes.input(plane, p, depth) else {
                        continue;
                    };
                    for a in 0..rows.kernel {
                        let Some(y) = rows.input(row, a, height) else {
                            continue;
                        };
                        for b in 0..columns.kernel {
                            let Some(x) = columns.input(column, b, width) else {
                                continue;
                            };
                            let start = (((image * depth + z) * height + y) * width + x) * channels;
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
            }
            advance(&mut at, out_planes, out_rows);
        }
    }
}

/// Some input rows of a gradient.
pub struct RowsBack<'a, T> {
    extents: Extents,
    x: &'a [T],
    y: &'a [T],
    dy: &'a [T],
    store: Store,
    first: usize,
    dx: &'a mut [T],
}

impl<T: Element> RowsBack<'_, T> {
    /// Whether the window at `at` of image `image` has `value` before its cell `cell`, in the channel.
    #[inline(always)]
    fn comes_later<const DEEP: bool>(
        &self,
        image: usize,
        at: [usize; 3],
        cell: [usize; 3],
        channel: usize,
        value: T,
    ) -> bool {
        let Extents {
            input: [depth, height, width],
            channels,
            axes: [planes, rows, columns],
            ..
        } = self.extents.known::<DEEP>();
        // In row-major order, so the search ends at `cell`.
        for p in 0..planes.kernel {
            let Some(z) = planes.input(at[0], p, depth) else {
                continue;
            };
            for a in 0..rows.kernel {
                let Some(y) = rows.input(at[1], a, height) else {
                    continue;
                };
                for b in 0..columns.kernel {
                    if [p, a, b] == cell {
                        return false;
                    }
                    let Some(x) = columns.input(at[2], b, width) else {
                        continue;
                    };
                    let start = (((image * depth + z) * height + y) * width + x) * channels;
                    if self.x.get(start + channel) == Some(&value) {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// The errors that reach channels `channel..channel + width` of cell `[z, y, x]`.
    #[inline(always)]
    fn sums<const DEEP: bool>(
        &self,
        [image, z, y]: [usize; 3],
        x: usize,
        channel: usize,
        width: usize,
    ) -> [T::Acc; TILE] {
        let Extents {
            input: [depth, height, columns_in],
            channels,
            out: [out_planes, out_rows, out_columns],
            axes: [planes, rows, columns],
            ..
        } = self.extents.known::<DEEP>();
        let cell_start = (((image * depth + z) * height + y) * columns_in + x) * channels;
        let cell = self.x.get(cell_start + channel..).unwrap_or_default();
        let mut sums = [T::Acc::default(); TILE];
        for p in 0..planes.kernel {
            let Some(plane) = planes.output(z, p, out_planes) else {
                continue;
            };
            for a in 0..rows.kernel {
                let Some(row) = rows.output(y, a, out_rows) else {
                    continue;
                };
                for b in 0..columns.kernel {
                    let Some(column) = columns.output(x, b, out_columns) else {
                        continue;
                    };
                    let position =
                        ((image * out_planes + plane) * out_rows + row) * out_columns + column;
                    let start = position * channels + channel;
                    let maxima = self.y.get(start..start + width).unwrap_or_default();
                    let errors = self.dy.get(start..).unwrap_or_default();
                    let each = cell.iter().zip(maxima).zip(errors).zip(&mut sums);
                    for (k, (((&value, &maximum), &error), sum)) in each.enumerate() {
                        let at = [plane, row, column];
                        if value == maximum
                            && !self.comes_later::<DEEP>(image, at, [p, a, b], channel + k, value)
                        {
                            *sum += error.to_acc();
                        }
                    }
                }
            }
        }
        sums
    }
}

impl<T: Element> Kernel for RowsBack<'_, T> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        self.compute::<false>()
    }
}

impl<T: Element> Kernel for Deep<RowsBack<'_, T>> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        self.0.compute::<true>()
    }
}

impl<T: Element> RowsBack<'_, T> {
    #[inline(always)]
    fn compute<const DEEP: bool>(mut self) -> u32 {
        let Extents {
            input: [depth, height, width],
            channels,
            ..
        } = self.extents.known::<DEEP>();
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = (self.first * width * channels) as u32;
        let mut at = locate(self.first, depth, height);
        for dx in rows_of_mut(core::mem::take(&mut self.dx), width * channels) {
            for (x, dx) in rows_of_mut(dx, channels).enumerate() {
                let mut channel = 0;
                for dx in dx.chunks_mut(TILE) {
                    let sums = self.sums::<DEEP>(at, x, channel, dx.len());
                    self.store.block::<T, T>(&sums, element, &mut range, dx);
                    element = element.wrapping_add(dx.len() as u32);
                    channel += dx.len();
                }
            }
            advance(&mut at, depth, height);
        }
        range.bits()
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: Sized {
    #[doc(hidden)]
    fn max_pool(rows: Rows<'_, Self>);
    #[doc(hidden)]
    fn max_pool_deep(rows: Deep<Rows<'_, Self>>);
    #[doc(hidden)]
    fn max_pool_backward(rows: RowsBack<'_, Self>) -> u32;
    #[doc(hidden)]
    fn max_pool_backward_deep(rows: Deep<RowsBack<'_, Self>>) -> u32;
}

macro_rules! impl_kernels {
    ($($t:ty)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn max_pool(rows: Rows<'_, Self>) {
                arch::dispatch(rows);
            }

            #[inline(never)]
            fn max_pool_deep(rows: Deep<Rows<'_, Self>>) {
                arch::dispatch(rows);
            }

            #[inline(never)]
            fn max_pool_backward(rows: RowsBack<'_, Self>) -> u32 {
                arch::dispatch(rows)
            }

            #[inline(never)]
            fn max_pool_backward_deep(rows: Deep<RowsBack<'_, Self>>) -> u32 {
                arch::dispatch(rows)
            }
        }
    )*};
}

impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64 }
