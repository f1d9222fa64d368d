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
use crate::select::wins;
use crate::split::rows_of_mut;
use crate::window::{Steps, advance, locate};
use core::ops::Range;

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
    if N == 3 {
        forward(exec, shape.covered::<true>()?, x, out)
    } else {
        forward(exec, shape.covered::<false>()?, x, out)
    }
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
    if N == 3 {
        backward(exec, shape.covered::<true>()?, x, y, dy, store, dx)
    } else {
        backward(exec, shape.covered::<false>()?, x, y, dy, store, dx)
    }
}

/// The forward pass of any windows.
pub(super) fn forward<T: Element + Kernels<C>, C: Cover>(
    exec: &impl Executor,
    extents: Extents<C>,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    extents.check_x(Arg::X, x.len())?;
    extents.check_y(Arg::Out, out.len())?;
    let [_, row_len] = extents.row_lens();
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

/// The backward pass of any windows.
pub(super) fn backward<T: Element + Kernels<C>, C: Cover>(
    exec: &impl Executor,
    extents: Extents<C>,
    x: &[T],
    y: &[T],
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    extents.check_x(Arg::X, x.len())?;
    extents.check_y(Arg::Y, y.len())?;
    extents.check_y(Arg::Dy, dy.len())?;
    extents.check_x(Arg::Dx, dx.len())?;
    let [row_len, _] = extents.row_lens();
    Ok(exec::rows(exec, dx, row_len, |first, dx| {
        T::max_pool_backward(RowsBack {
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

impl<T: Element, C: Cover> Kernel for Rows<'_, T, C> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let extents = self.extents;
        let channels = extents.channels;
        let ([_, out_rows, out_columns], [_, out_planes]) = (extents.out, extents.planes());
        let [_, rows, columns] = extents.cover;
        let mut at = locate(self.first, out_planes, out_rows);
        for out in rows_of_mut(self.out, out_columns * channels) {
            let [image, plane, row] = at;
            let (planes, rows) = (extents.planes_of(plane), rows.cells(row));
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
                                    let is_larger = wins(out.widen(), value.widen());
                                    *out = if is_larger { value } else { *out };
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
        channels: Range<usize>,
        maxima: &[T; TILE],
        winners: &mut [bool; TILE],
    ) {
        let [_, rows, columns] = self.extents.cover;
        let columns = columns.cells(at[2]);
        // In row-major order, so the search ends at `cell`.
        for z in self.extents.planes_of(at[0]).iter() {
            for y in rows.cells(at[1]).iter() {
                if *winners == [false; TILE] {
                    return;
                }
                for x in columns.iter() {
                    if [z, y, x] == cell {
                        return;
                    }
                    let start = self.extents.input_at(image, [z, y, x]);
                    let others = tile(self.x, start, &channels);
                    for ((winner, other), maximum) in winners.iter_mut().zip(others).zip(maxima) {
                        *winner &= other != *maximum;
                    }
                }
            }
        }
    }

    /// The errors that reach `channels` of a cell from the windows over it.
    #[inline(always)]
    fn sums(
        &self,
        image: usize,
        cell: [usize; 3],
        [planes, rows, columns]: [Steps; 3],
        channels: Range<usize>,
    ) -> [T::Acc; TILE] {
        let values = tile(self.x, self.extents.input_at(image, cell), &channels);
        let mut sums = [T::Acc::default(); TILE];
        for plane in planes.iter() {
            for row in rows.iter() {
                for column in columns.iter() {
                    let at = [plane, row, column];
                    let start = self.extents.output_at(image, at);
                    let maxima = tile(self.y, start, &channels);
                    let mut winners = [false; TILE];
                    for ((winner, value), maximum) in winners.iter_mut().zip(values).zip(maxima) {
                        *winner = value == maximum;
                    }
                    if winners == [false; TILE] {
                        continue;
                    }
                    self.keep_first(image, at, cell, channels.clone(), &maxima, &mut winners);
                    let errors = tile(self.dy, start, &channels);
                    for ((sum, error), winner) in sums.iter_mut().zip(errors).zip(winners) {
                        *sum += if winner {
                            error.to_acc()
                        } else {
                            T::Acc::default()
                        };
                    }
                }
            }
        }
        sums
    }
}

/// Channels `channels` of the cell that starts at `start`; the rest of the tile is nobody's.
#[inline] // a function of its own where size counts
fn tile<T: Element>(x: &[T], start: usize, channels: &Range<usize>) -> [T; TILE] {
    let x = x
        .get(start + channels.start..start + channels.end)
        .unwrap_or_default();
    if let Some(tile) = x.first_chunk() {
        return *tile;
    }
    let mut tile = [T::ZERO; TILE];
    for (to, &x) in tile.iter_mut().zip(x) {
        *to = x;
    }
    tile
}

impl<T: Element, C: Cover> Kernel for RowsBack<'_, T, C> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(mut self, _: I) -> u32 {
        let channels = self.extents.channels;
        let ([_, height, width], [depth, _]) = (self.extents.input, self.extents.planes());
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = (self.first * width * channels) as u32;
        let mut at = locate(self.first, depth, height);
        let [_, rows, columns] = self.extents.cover;
        for dx in rows_of_mut(core::mem::take(&mut self.dx), width * channels) {
            let [image, z, y] = at;
            let (planes, rows) = (self.extents.planes_over(z), rows.windows(y));
            for (x, dx) in rows_of_mut(dx, channels).enumerate() {
                let windows = [planes, rows, columns.windows(x)];
                let mut channel = 0;
                for dx in dx.chunks_mut(TILE) {
                    let part = channel..channel + dx.len();
                    let sums = self.sums(image, [z, y, x], windows, part);
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

/// The kernels of this family for one element type and one way to lay windows, compiled here with
/// this crate's profile.
pub trait Kernels<C>: Sized {
    #[doc(hidden)]
    fn max_pool(rows: Rows<'_, Self, C>);
    #[doc(hidden)]
    fn max_pool_backward(rows: RowsBack<'_, Self, C>) -> u32;
}

macro_rules! impl_kernels {
    ($($t:ty)*; $windows:ty) => {$(
        impl Kernels<$windows> for $t {
            #[inline(never)]
            fn max_pool(rows: Rows<'_, Self, $windows>) {
                arch::dispatch(rows);
            }

            #[inline(never)]
            fn max_pool_backward(rows: RowsBack<'_, Self, $windows>) -> u32 {
                arch::dispatch(rows)
            }
        }
    )*};
}

impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64; Sliding<false> }
impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64; Sliding<true> }
impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64; Even }
