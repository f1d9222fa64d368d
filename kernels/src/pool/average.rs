//! Average pooling, and its gradient.

use super::cover::{Cover, Even, Sliding};
use super::mean::{Mean, Reciprocals, Sum};
use super::{Extents, Padding, Shape};
use crate::arch::scalar::TILE;
use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::fixed::Magnitude;
use crate::requantize::{BLOCK, Lines, Store, put_all};
use crate::split::rows_of_mut;
use crate::window::{Steps, advance, locate};
use core::marker::PhantomData;
use core::ops::Range;

/// Average pooling, forward, here for two axes: `out[n, r, c, k]` is the mean of channel `k` under window
/// `(r, c)`. [`Window::whole`](crate::window::Window::whole) makes it global.
///
/// | argument | shape | |
/// |---|---|---|
/// | `padding` | | whether it counts, as zeros |
/// | `x` | `[N, H, W, C]` (one axis: `[N, W, C]`, three: `[N, D, H, W, C]`) | |
/// | `out` | `[N, rows, columns, C]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Returns the bit length of the largest accumulator (0 for floats), whose exponent is
/// [`Shape::average_exponent`].
///
/// Integers: the exact sum of the `c` cells, times `(2^k + c/2) / c`; `k` is 15 + `bit_len(n - 1)` for up to
/// `n` cells. Before it is stored, a mean is off by a factor of at most `1 ± 2^-16`; it is exact where `c` is a
/// power of two. Floats: the sum in the order of the cells, times `1 / c`; the error is at most
/// `(c + 1) · ε/2 · Σ|x| / c`. NaN propagates.
///
/// # Errors
/// [`Error::Length`](crate::Error::Length) if a slice does not fit, [`Error::Window`](crate::Error::Window) if
/// the window does not fit into the padded input, or would stand on padding alone which does not
/// count, [`Error::Accumulator`](crate::Error::Accumulator) for windows of more than 2^23 cells of 24 bits,
/// [`Error::Zero`](crate::Error::Zero), [`Error::Overflow`](crate::Error::Overflow). `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::pool::{self, Padding, Shape};
/// use selvedge_kernels::{exec::Serial, requantize::Store, window::Window};
/// let shape = Shape { batch: 1, input: [4], channels: 1, window: Window::uniform(2, 2, 0) };
/// let mut out = [0.0f32; 2];
/// pool::average_forward(&Serial, shape, Padding::Counted, &[1.0, 2.0, 3.0, 5.0], Store::EXACT, &mut out)?;
/// assert_eq!(out, [1.5, 4.0]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definition; integers: `docs/numerics.md` §12.
pub fn average_forward<T: Element, const N: usize>(
    exec: &impl Executor,
    shape: Shape<N>,
    padding: Padding,
    x: &[T],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    if N == 3 {
        let (extents, cells) = windows::<true, N>(shape, padding)?;
        forward(exec, extents, cells, x, store, out)
    } else {
        let (extents, cells) = windows::<false, N>(shape, padding)?;
        forward(exec, extents, cells, x, store, out)
    }
}

/// Gradient of average pooling: each cell gets the errors of the windows that contain it, each
/// divided by the number of the window's cells.
///
/// | argument | shape | |
/// |---|---|---|
/// | `padding` | | as in the forward pass |
/// | `dy` | `[N, rows, columns, C]` | |
/// | `dx` | `[N, H, W, C]` | overwritten, or untouched by [`Store::Measure`] |
///
/// Returns the bit length of the largest accumulator (0 for floats), whose exponent is
/// [`Shape::average_exponent`] of that of `dy`. Integers: exact sums of errors times the factors of the
/// forward pass. Floats: errors are summed in the order of the windows, and multiplied by `1 / c` after
/// that if padding counts, before it otherwise. NaN propagates.
///
/// # Errors
/// As [`average_forward`]; [`Error::Accumulator`](crate::Error::Accumulator) also where so many windows share
/// a cell that the factors' sum leaves the accumulator. `dx` is then untouched.
///
/// Source: the derivative of [`average_forward`].
pub fn average_backward<T: Element, const N: usize>(
    exec: &impl Executor,
    shape: Shape<N>,
    padding: Padding,
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    if N == 3 {
        let (extents, cells) = windows::<true, N>(shape, padding)?;
        backward(exec, extents, cells, dy, store, dx)
    } else {
        let (extents, cells) = windows::<false, N>(shape, padding)?;
        backward(exec, extents, cells, dy, store, dx)
    }
}

/// The checked extents, with the cells of each window if padding counts.
fn windows<const DEEP: bool, const N: usize>(
    shape: Shape<N>,
    padding: Padding,
) -> Result<(Extents<Sliding<DEEP>>, Option<usize>)> {
    Ok(match padding {
        Padding::Counted => {
            let extents = shape.extents()?;
            (extents, Some(Arg::Shape.product(&shape.window.kernel)?))
        }
        Padding::NotCounted => (shape.covered()?, None),
    })
}

/// The forward pass of any windows, which have `cells` cells each or as many as lie on the input.
pub(super) fn forward<T: Element + Kernels<C>, C: Cover>(
    exec: &impl Executor,
    extents: Extents<C>,
    cells: Option<usize>,
    x: &[T],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    let mean = Mean::forward(&extents, cells, <T as Kernels<C>>::WEIGHT_BITS)?;
    extents.check_x(Arg::X, x.len())?;
    extents.check_y(Arg::Out, out.len())?;
    let [_, row_len] = extents.row_lens();
    Ok(exec::rows(exec, out, row_len, |first, out| {
        T::average_pool(Rows {
            extents,
            mean,
            x,
            store,
            first,
            out,
        })
    }))
}

/// The backward pass of any windows, which have `cells` cells each or as many as lie on the input.
pub(super) fn backward<T: Element + Kernels<C>, C: Cover>(
    exec: &impl Executor,
    extents: Extents<C>,
    cells: Option<usize>,
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    let mean = Mean::backward(&extents, cells, <T as Kernels<C>>::WEIGHT_BITS)?;
    extents.check_y(Arg::Dy, dy.len())?;
    extents.check_x(Arg::Dx, dx.len())?;
    let [row_len, _] = extents.row_lens();
    Ok(exec::rows(exec, dx, row_len, |first, dx| {
        T::average_pool_backward(RowsBack {
            extents,
            mean,
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
    mean: Mean,
    x: &'a [T],
    store: Store,
    first: usize,
    out: &'a mut [T],
}

/// Some input rows of a gradient.
pub struct RowsBack<'a, T, C> {
    extents: Extents<C>,
    mean: Mean,
    dy: &'a [T],
    store: Store,
    first: usize,
    dx: &'a mut [T],
}

/// `R` with sums in `A`.
struct SummedIn<A, R> {
    rows: R,
    sums: PhantomData<A>,
}

/// Channels of a cell that are summed together.
const LANES: usize = if BLOCK < 16 { BLOCK } else { 16 };

/// Adds elements, as many as there are: whole tiles of a number that the compiler knows, and what is left.
#[inline(always)]
fn add<T: Element, A: Sum<T>, I: Isa>(isa: I, sums: &mut [A; LANES], x: &[T]) {
    let (sums, (x, rest)) = (sums.as_chunks_mut::<TILE>().0, x.as_chunks::<TILE>());
    let mut sums = sums.iter_mut();
    for (x, sums) in x.iter().zip(sums.by_ref()) {
        for (sum, x) in sums.iter_mut().zip(A::of8(isa, x)) {
            *sum += x;
        }
    }
    if let Some(sums) = sums.next() {
        for (sum, &x) in sums.iter_mut().zip(rest) {
            *sum += A::of(x);
        }
    }
}

/// Computes a row of cells of `channels` channels by `cell`, which is told the column and some channels, and
/// stores it in blocks, which neighbouring cells share. `element` is the row-major index of the first.
#[inline(always)]
fn row<T: Element, A: Sum<T>>(
    stored: Store,
    channels: usize,
    element: &mut u32,
    range: &mut A::Magnitude,
    out: &mut [T],
    mut cell: impl FnMut(usize, Range<usize>) -> [A; LANES],
) {
    let (mut column, mut channel) = (0, 0);
    for out in out.chunks_mut(BLOCK) {
        let mut block = Lines([A::default(); BLOCK]);
        let mut left = block.get_mut(..out.len()).unwrap_or_default();
        while !left.is_empty() {
            let len = LANES.min(channels - channel).min(left.len());
            let Some((now, later)) = left.split_at_mut_checked(len) else {
                break;
            };
            let sums = cell(column, channel..channel + len);
            if let Some(now) = now.first_chunk_mut() {
                *now = sums;
            } else {
                now.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum);
            }
            left = later;
            channel += len;
            if channel >= channels {
                (column, channel) = (column + 1, 0);
            }
        }
        put_all(stored, &mut block, *element, range, out, Sum::store);
        *element = element.wrapping_add(out.len() as u32);
    }
}

impl<T: Element, C: Cover, A: Sum<T>> Kernel for SummedIn<A, Rows<'_, T, C>> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Rows {
            extents,
            mean,
            x,
            store,
            first,
            out,
        } = self.rows;
        let channels = extents.channels;
        let ([_, out_rows, out_columns], [_, out_planes]) = (extents.out, extents.planes());
        let [_, rows, columns] = extents.cover;
        let mut reciprocals = Reciprocals::<A>::new(mean);
        let mut range = A::Magnitude::default();
        let mut element = (first * out_columns * channels) as u32;
        let mut at = locate(first, out_planes, out_rows);
        for out in rows_of_mut(out, out_columns * channels) {
            let [image, plane, y] = at;
            let (planes, rows) = (extents.planes_of(plane), rows.cells(y));
            row(
                store,
                channels,
                &mut element,
                &mut range,
                out,
                |column, part| {
                    let columns = columns.cells(column);
                    let cells = planes.len * rows.len * columns.len;
                    let factor = reciprocals.of(mean.cells.unwrap_or(cells));
                    let mut sums = [A::default(); LANES];
                    for z in planes.iter() {
                        for y in rows.iter() {
                            for column in columns.iter() {
                                let start = extents.input_at(image, [z, y, column]);
                                let cell = x.get(start + part.start..start + part.end);
                                add(isa, &mut sums, cell.unwrap_or_default());
                            }
                        }
                    }
                    sums.map(|sum| sum.times(factor))
                },
            );
            advance(&mut at, out_planes, out_rows);
        }
        range.bits()
    }
}

#[allow(private_bounds)] // only this module makes one
impl<T: Element, C: Cover> RowsBack<'_, T, C> {
    /// What reaches `channels` of a cell from the windows over it.
    #[inline(always)]
    fn sums<A: Sum<T>, I: Isa>(
        &self,
        isa: I,
        image: usize,
        [planes, rows, columns]: [Steps; 3],
        channels: Range<usize>,
        reciprocals: &mut Reciprocals<A>,
    ) -> [A; LANES] {
        let [_, row_cover, column_cover] = self.extents.cover;
        let mut sums = [A::default(); LANES];
        for plane in planes.iter() {
            for row in rows.iter() {
                for column in columns.iter() {
                    let start = self.extents.output_at(image, [plane, row, column]);
                    let part = start + channels.start..start + channels.end;
                    let dy = self.dy.get(part).unwrap_or_default();
                    if self.mean.cells.is_some() {
                        add(isa, &mut sums, dy);
                        continue;
                    }
                    let cells = self.extents.planes_of(plane).len * row_cover.cells(row).len;
                    let factor = reciprocals.of(cells * column_cover.cells(column).len);
                    let mut errors = [A::default(); LANES];
                    add(isa, &mut errors, dy);
                    for (sum, error) in sums.iter_mut().zip(errors) {
                        *sum += error.times(factor);
                    }
                }
            }
        }
        if let Some(cells) = self.mean.cells {
            let factor = reciprocals.of(cells);
            sums = sums.map(|sum| sum.times(factor));
        }
        sums
    }
}

impl<T: Element, C: Cover, A: Sum<T>> Kernel for SummedIn<A, RowsBack<'_, T, C>> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let mut rows = self.rows;
        let channels = rows.extents.channels;
        let ([_, height, width], [depth, _]) = (rows.extents.input, rows.extents.planes());
        let mut reciprocals = Reciprocals::<A>::new(rows.mean);
        let mut range = A::Magnitude::default();
        let mut element = (rows.first * width * channels) as u32;
        let mut at = locate(rows.first, depth, height);
        let [_, row_cover, column_cover] = rows.extents.cover;
        for dx in rows_of_mut(core::mem::take(&mut rows.dx), width * channels) {
            let [image, z, y] = at;
            let over = (rows.extents.planes_over(z), row_cover.windows(y));
            row(
                rows.store,
                channels,
                &mut element,
                &mut range,
                dx,
                |x, part| {
                    let windows = [over.0, over.1, column_cover.windows(x)];
                    rows.sums(isa, image, windows, part, &mut reciprocals)
                },
            );
            advance(&mut at, depth, height);
        }
        range.bits()
    }
}

/// The kernels of this family for one element type and one way to lay windows, compiled here with
/// this crate's profile.
pub trait Kernels<C>: Sized {
    /// Bits that the accumulator has for the sum of factors, beside an element's magnitude and a
    /// sign.
    #[doc(hidden)]
    const WEIGHT_BITS: u32;
    #[doc(hidden)]
    fn average_pool(rows: Rows<'_, Self, C>) -> u32;
    #[doc(hidden)]
    fn average_pool_backward(rows: RowsBack<'_, Self, C>) -> u32;
}

/// The 31 bits of `i32` less the 7 of an element.
const NARROW_BITS: u32 = 24;

/// Runs `rows` with sums in `A`, or in the narrower `B` where that is enough.
#[inline(always)]
fn dispatch<A, B, R>(mean: Mean, rows: R) -> u32
where
    SummedIn<A, R>: Kernel<Output = u32>,
    SummedIn<B, R>: Kernel<Output = u32>,
{
    if size_of::<B>() < size_of::<A>() && mean.weight >> NARROW_BITS == 0 {
        let sums = PhantomData::<B>;
        arch::dispatch(SummedIn { rows, sums })
    } else {
        let sums = PhantomData::<A>;
        arch::dispatch(SummedIn { rows, sums })
    }
}

macro_rules! impl_kernels {
    ($($t:ty => $a:ty, $b:ty, weight $bits:expr;)*) => {$(
        impl_kernels! { $t => $a, $b, weight $bits; over Sliding<false> }
        impl_kernels! { $t => $a, $b, weight $bits; over Sliding<true> }
        impl_kernels! { $t => $a, $b, weight $bits; over Even }
    )*};
    ($t:ty => $a:ty, $b:ty, weight $bits:expr; over $windows:ty) => {
        impl Kernels<$windows> for $t {
            const WEIGHT_BITS: u32 = $bits;

            #[inline(never)]
            fn average_pool(rows: Rows<'_, Self, $windows>) -> u32 {
                dispatch::<$a, $b, _>(rows.mean, rows)
            }

            #[inline(never)]
            fn average_pool_backward(rows: RowsBack<'_, Self, $windows>) -> u32 {
                dispatch::<$a, $b, _>(rows.mean, rows)
            }
        }
    };
}

// 63 or 127 bits less those of an element; floats have no limit.
impl_kernels! {
    i8 => i64, i32, weight 56;
    u8 => i64, i32, weight 56;
    i16 => i64, i64, weight 48;
    u16 => i64, i64, weight 48;
    i32 => i64, i64, weight 39;
    u32 => i64, i64, weight 39;
    i64 => i128, i128, weight 74;
    u64 => i128, i128, weight 74;
    half::f16 => f32, f32, weight 64;
    half::bf16 => f32, f32, weight 64;
    f32 => f32, f32, weight 64;
    f64 => f64, f64, weight 64;
}
