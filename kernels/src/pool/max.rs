//! Max pooling, and its gradient.

use super::cover::{Cover, Even, Sliding};
use super::{Extents, Shape};
use crate::arch::scalar::TILE;
use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude};
use crate::requantize::Store;
use crate::split::rows_of_mut;
use crate::window::{advance, locate};

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
    forward(exec, shape.covered()?, x, out, T::max_pool)
}

/// Gradient of max pooling: the error of a window goes to its first maximum in row-major order.
/// Errors of overlapping windows are added, in the order of the windows.
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
    let kernel = T::max_pool_backward;
    backward(exec, shape.covered()?, x, y, dy, store, dx, kernel)
}

/// The forward pass of any windows, by `kernel`.
pub(super) fn forward<T: Element, C: Cover>(
    exec: &impl Executor,
    extents: Extents<C>,
    x: &[T],
    out: &mut [T],
    kernel: fn(Rows<'_, T, C>),
) -> Result<()> {
    extents.check_x(Arg::X, x.len())?;
    extents.check_y(Arg::Out, out.len())?;
    let [_, row_len] = extents.row_lens();
    exec::rows(exec, out, row_len, |first, out| {
        kernel(Rows {
            extents,
            x,
            first,
            out,
        });
        0
    });
    Ok(())
}

/// The backward pass of any windows, by `kernel`.
#[allow(clippy::too_many_arguments)] // those of `max_backward`, and the kernel
pub(super) fn backward<T: Element, C: Cover>(
    exec: &impl Executor,
    extents: Extents<C>,
    x: &[T],
    y: &[T],
    dy: &[T],
    store: Store,
    dx: &mut [T],
    kernel: fn(RowsBack<'_, T, C>) -> u32,
) -> Result<u32> {
    extents.check_x(Arg::X, x.len())?;
    extents.check_y(Arg::Y, y.len())?;
    extents.check_y(Arg::Dy, dy.len())?;
    extents.check_x(Arg::Dx, dx.len())?;
    let [row_len, _] = extents.row_lens();
    Ok(exec::rows(exec, dx, row_len, |first, dx| {
        kernel(RowsBack {
            extents,
            x,
            y,
            dy,
            store,
            first,
            dx,
        })
    }))
}

/// Some output rows of a forward pass.
pub struct Rows<'a, T, C> {
    extents: Extents<C>,
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

impl<T: Element, C: Cover> Kernel for Rows<'_, T, C> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let extents = self.extents;
        let channels = extents.channels;
        let [out_planes, out_rows, out_columns] = extents.out;
        let [planes, rows, columns] = extents.cover;
        let mut at = locate(self.first, out_planes, out_rows);
        for out in rows_of_mut(self.out, out_columns * channels) {
            let [image, plane, row] = at;
            let (planes, rows) = (planes.cells(plane), rows.cells(row));
            for (column, out) in rows_of_mut(out, channels).enumerate() {
                let mut is_first = true;
                for z in planes.iter() {
                    for y in rows.iter() {
                        for x in columns.cells(column).iter() {
                            let start = extents.input_at(image, [z, y, x]);
                            let cell = self.x.get(start..start + channels).unwrap_or_default();
                            if is_first {
                                for (out, &value) in out.iter_mut().zip(cell) {
                                    *out = value;
                                }
                            } else {
                                for (out, &value) in out.iter_mut().zip(cell) {
                                    *out = if wins(value, *out) { value } else { *out };
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
pub struct RowsBack<'a, T, C> {
    extents: Extents<C>,
    x: &'a [T],
    y: &'a [T],
    dy: &'a [T],
    store: Store,
    first: usize,
    dx: &'a mut [T],
}

#[allow(private_bounds)] // only this module makes one
impl<T: Element, C: Cover> RowsBack<'_, T, C> {
    /// Takes from `winners` the channels in which the window at `at` has its maximum before `cell`, too.
    #[inline(always)]
    fn keep_first(
        &self,
        image: usize,
        at: [usize; 3],
        cell: [usize; 3],
        channel: usize,
        maxima: &[T],
        winners: &mut [bool; TILE],
    ) {
        let [planes, rows, columns] = self.extents.cover;
        // In row-major order, so the search ends at `cell`.
        for z in planes.cells(at[0]).iter() {
            for y in rows.cells(at[1]).iter() {
                for x in columns.cells(at[2]).iter() {
                    if [z, y, x] == cell {
                        return;
                    }
                    let start = self.extents.input_at(image, [z, y, x]) + channel;
                    let others = self.x.get(start..start + maxima.len()).unwrap_or_default();
                    for ((winner, other), maximum) in winners.iter_mut().zip(others).zip(maxima) {
                        *winner &= other != maximum;
                    }
                }
            }
        }
    }

    /// The errors that reach channels `channel..channel + width` of the cell with column `x`, in the row
    /// at `[image, z, y]`.
    #[inline(always)]
    fn sums(
        &self,
        [image, z, y]: [usize; 3],
        x: usize,
        channel: usize,
        width: usize,
    ) -> [T::Acc; TILE] {
        let [planes, rows, columns] = self.extents.cover;
        let start = self.extents.input_at(image, [z, y, x]) + channel;
        let cell = self.x.get(start..start + width).unwrap_or_default();
        let mut sums = [T::Acc::default(); TILE];
        for plane in planes.windows(z).iter() {
            for row in rows.windows(y).iter() {
                for column in columns.windows(x).iter() {
                    let at = [plane, row, column];
                    let start = self.extents.output_at(image, at) + channel;
                    let maxima = self.y.get(start..start + width).unwrap_or_default();
                    let errors = self.dy.get(start..start + width).unwrap_or_default();
                    let mut winners = [false; TILE];
                    for ((winner, value), maximum) in winners.iter_mut().zip(cell).zip(maxima) {
                        *winner = value == maximum;
                    }
                    if winners == [false; TILE] {
                        continue;
                    }
                    self.keep_first(image, at, [z, y, x], channel, maxima, &mut winners);
                    for ((sum, &error), winner) in sums.iter_mut().zip(errors).zip(winners) {
                        if winner {
                            *sum += error.to_acc();
                        }
                    }
                }
            }
        }
        sums
    }
}

impl<T: Element, C: Cover> Kernel for RowsBack<'_, T, C> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(mut self, _: I) -> u32 {
        let channels = self.extents.channels;
        let [depth, height, width] = self.extents.input;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = (self.first * width * channels) as u32;
        let mut at = locate(self.first, depth, height);
        for dx in rows_of_mut(core::mem::take(&mut self.dx), width * channels) {
            for (x, dx) in rows_of_mut(dx, channels).enumerate() {
                let mut channel = 0;
                for dx in dx.chunks_mut(TILE) {
                    let sums = self.sums(at, x, channel, dx.len());
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
    fn max_pool(rows: Rows<'_, Self, Sliding>);
    #[doc(hidden)]
    fn max_pool_backward(rows: RowsBack<'_, Self, Sliding>) -> u32;
    #[doc(hidden)]
    fn adaptive_max_pool(rows: Rows<'_, Self, Even>);
    #[doc(hidden)]
    fn adaptive_max_pool_backward(rows: RowsBack<'_, Self, Even>) -> u32;
}

macro_rules! impl_kernels {
    ($($t:ty)*) => {$(
        impl Kernels for $t {
            #[inline(never)]
            fn max_pool(rows: Rows<'_, Self, Sliding>) {
                arch::dispatch(rows);
            }

            #[inline(never)]
            fn max_pool_backward(rows: RowsBack<'_, Self, Sliding>) -> u32 {
                arch::dispatch(rows)
            }

            #[inline(never)]
            fn adaptive_max_pool(rows: Rows<'_, Self, Even>) {
                arch::dispatch(rows);
            }

            #[inline(never)]
            fn adaptive_max_pool_backward(rows: RowsBack<'_, Self, Even>) -> u32 {
                arch::dispatch(rows)
            }
        }
    )*};
}

impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64 }
