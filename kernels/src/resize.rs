//! Images at other sizes: the nearest pixel, or a bilinear mixture of four; and the gradients.
//!
//! Positions are quotients of integers and computed as such, in floats too, so that no rounding of a
//! scale can pick another pixel. The integers: `docs/numerics.md` §14.

use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude};
use crate::long::Long;
use crate::requantize::{BLOCK, Lines, Store};
use crate::split::rows_of_mut;

/// Bits of a weight of integers along one axis.
pub(crate) const WEIGHT_BITS: u32 = 11;

/// How far the exponent of the accumulator of bilinear mixtures is below that of what comes in: 22,
/// two weights of 11 bits; 0 for floats.
#[must_use]
pub const fn bilinear_places<T: Element>() -> i32 {
    if T::MAGNITUDE_BITS == 0 {
        0
    } else {
        2 * WEIGHT_BITS as i32
    }
}

/// Which position of the input the output's pixel `o` stands for, of `out` to `input` pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// Centres of pixels at halves: `(o + ½) · input / out - ½`, not below 0. PyTorch's
    /// `bilinear` and `nearest-exact`, TFLite's `half_pixel_centers`.
    HalfPixel,
    /// The outermost pixels stay: `o · (input - 1) / (out - 1)`; 0 for a single one. PyTorch's and
    /// TFLite's `align_corners`.
    AlignCorners,
    /// `o · input / out`: PyTorch's `nearest`, TFLite without either option.
    Asymmetric,
}

/// The extents of a resized image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Images, `N`.
    pub batch: usize,
    /// Rows of an input image, `H`.
    pub height: usize,
    /// Columns of an input image, `W`.
    pub width: usize,
    /// Channels, `C`.
    pub channels: usize,
    /// Rows and columns of an output image.
    pub outputs: [usize; 2],
    /// Where the output's pixels stand.
    pub coordinates: Coordinates,
}

/// One axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    input: usize,
    output: usize,
    coordinates: Coordinates,
}

/// The neighbours of a position, and where it lies between them.
#[derive(Clone, Copy, Debug)]
struct Tap {
    low: usize,
    high: usize,
    /// Distance from the lower neighbour, in units of `1 / whole`.
    rest: u64,
    whole: u64,
}

impl Axis {
    /// The position of the output's pixel `o` as a quotient. Extents are below 2^30.
    #[inline(always)]
    fn position(self, o: usize) -> (u64, u64) {
        let (o, input, output) = (o as u64, self.input as u64, self.output as u64);
        match self.coordinates {
            Coordinates::HalfPixel => (((2 * o + 1) * input).saturating_sub(output), 2 * output),
            Coordinates::AlignCorners if output < 2 => (0, 1),
            Coordinates::AlignCorners => (o * (input - 1), output - 1),
            Coordinates::Asymmetric => (o * input, output),
        }
    }

    #[inline(always)]
    fn tap(self, o: usize, is_nearest: bool) -> Tap {
        let last = self.input.saturating_sub(1);
        let (position, whole) = self.position(o);
        if is_nearest {
            // Halves go up, but an asymmetric position is rounded down.
            let doubled = 2 * position
                + match self.coordinates {
                    Coordinates::Asymmetric => 0,
                    Coordinates::HalfPixel | Coordinates::AlignCorners => whole,
                };
            let low = doubled.checked_div(2 * whole).unwrap_or(0) as usize;
            let low = low.min(last);
            return Tap {
                low,
                high: low,
                rest: 0,
                whole: 1,
            };
        }
        let low = position.checked_div(whole).unwrap_or(0) as usize;
        let low = low.min(last);
        Tap {
            low,
            high: (low + 1).min(last),
            rest: position.checked_rem(whole).unwrap_or(0),
            whole,
        }
    }

    /// A bound on how many outputs an input has a part in: all that lie less than a pixel from it, and where
    /// positions go on past the last pixel or before the first, those.
    fn reach(self) -> usize {
        let between = match self.coordinates {
            Coordinates::AlignCorners => self.input.saturating_sub(1),
            Coordinates::HalfPixel | Coordinates::Asymmetric => self.input,
        };
        let reach = 2 * self.output.div_ceil(between.max(1)) + 2;
        reach.min(self.output)
    }
}

impl Shape {
    fn check(self, x: (Arg, usize), y: (Arg, usize)) -> Result<()> {
        let Self {
            batch,
            height,
            width,
            channels,
            outputs: [rows, columns],
            ..
        } = self;
        let got = height.max(width).max(rows).max(columns);
        if got >= 1 << 30 {
            return Err(Error::Overflow {
                arg: Arg::Shape,
                got: Some(got),
            });
        }
        x.0.check_len(x.1, &[batch, height, width, channels])?;
        y.0.check_len(y.1, &[batch, rows, columns, channels])
    }

    /// The same for a gradient, which sums.
    fn check_sums<T: Element>(self, dx: usize, dy: usize) -> Result<()> {
        self.check((Arg::Dx, dx), (Arg::Dy, dy))?;
        let [vertical, horizontal] = self.axes();
        let terms = vertical.reach().saturating_mul(horizontal.reach());
        crate::dense::limit(terms, most_terms::<T>())
    }

    fn axes(self) -> [Axis; 2] {
        let axis = |input, output| Axis {
            input,
            output,
            coordinates: self.coordinates,
        };
        let [rows, columns] = self.outputs;
        [axis(self.height, rows), axis(self.width, columns)]
    }
}

/// The most weighted elements that a long sum holds.
pub(crate) fn most_terms<T: Element>() -> usize {
    let holds = match T::MAGNITUDE_BITS {
        0 => return usize::MAX,
        53 => 126,
        _ => 62,
    };
    1usize
        .checked_shl(holds - T::MAGNITUDE_BITS - 2 * WEIGHT_BITS)
        .unwrap_or(usize::MAX)
}

/// The nearest pixel. The exponent stays.
///
/// | argument | shape |
/// |---|---|
/// | `x` | `[N, H, W, C]` |
/// | `out` | `[N, rows, columns, C]`, overwritten |
///
/// Halves go up; [`Coordinates::Asymmetric`] positions are rounded down (both as PyTorch and
/// TFLite).
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`], [`Error::Overflow`]; `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{exec::Serial, resize::{self, Coordinates, Shape}};
/// let shape = Shape {
///     batch: 1, height: 1, width: 2, channels: 1, outputs: [1, 4], coordinates: Coordinates::HalfPixel,
/// };
/// let mut out = [0i8; 4];
/// resize::nearest(&Serial, shape, &[1, 2], &mut out)?;
/// assert_eq!(out, [1, 1, 2, 2]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definition.
pub fn nearest<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    shape.check((Arg::X, x.len()), (Arg::Out, out.len()))?;
    let row_len = shape.outputs[1] * shape.channels;
    exec::rows(exec, out, row_len, |first, out| {
        T::resize_nearest(Rows {
            shape,
            x,
            store: Store::EXACT,
            first,
            out,
        });
        0
    });
    Ok(())
}

/// Gradient of [`nearest`]: `dx = store(Σ dy)` over all pixels that show an input's.
///
/// | argument | shape | |
/// |---|---|---|
/// | `dy` | `[N, rows, columns, C]` | |
/// | `dx` | `[N, H, W, C]` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest sum (0 for floats), which has the exponent of `dy`.
///
/// # Errors
/// Those of [`nearest`], [`Error::Accumulator`] for too large a magnification; `dx` is then untouched.
///
/// Source: the derivative of [`nearest`].
pub fn nearest_backward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    shape.check_sums::<T>(dx.len(), dy.len())?;
    let row_len = shape.width * shape.channels;
    Ok(exec::rows(exec, dx, row_len, |first, dx| {
        T::resize_nearest_backward(Rows {
            shape,
            x: dy,
            store,
            first,
            out: dx,
        })
    }))
}

/// A mixture of the four pixels around a position, weighted by nearness; beyond an edge its own
/// pixel stands.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, H, W, C]` | |
/// | `out` | `[N, rows, columns, C]` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest accumulator (0 for floats), at the exponent of `x` less
/// [`bilinear_places`]. Integers: the weight of the farther neighbour along an axis is
/// `round(2^11 · distance)`, that of the nearer one the rest; an accumulator is within
/// `2^-10 · max|x|` of the exact mixture, half of it along each axis. Floats: within `5ε · max|x|`. NaN propagates.
///
/// # Errors
/// Those of [`nearest`]; `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{exec::Serial, requantize::Store, resize::{self, Coordinates, Shape}};
/// let shape = Shape {
///     batch: 1, height: 1, width: 2, channels: 1, outputs: [1, 3], coordinates: Coordinates::AlignCorners,
/// };
/// let mut out = [0.0f32; 3];
/// resize::bilinear(&Serial, shape, &[1.0, 2.0], Store::EXACT, &mut out)?;
/// assert_eq!(out, [1.0, 1.5, 2.0]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: the definition.
pub fn bilinear<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    shape.check((Arg::X, x.len()), (Arg::Out, out.len()))?;
    let row_len = shape.outputs[1] * shape.channels;
    Ok(exec::rows(exec, out, row_len, |first, out| {
        T::resize_bilinear(Rows {
            shape,
            x,
            store,
            first,
            out,
        })
    }))
}

/// Gradient of [`bilinear`]: `dx = store(Σ weight · dy)` with the weights of the forward pass.
///
/// | argument | shape | |
/// |---|---|---|
/// | `dy` | `[N, rows, columns, C]` | |
/// | `dx` | `[N, H, W, C]` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest sum (0 for floats), at the exponent of `dy` less
/// [`bilinear_places`]: the exact transpose of the forward pass. Floats are summed in row-major
/// order of the outputs.
///
/// # Errors
/// Those of [`nearest_backward`].
///
/// Source: the derivative of [`bilinear`].
pub fn bilinear_backward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    shape.check_sums::<T>(dx.len(), dy.len())?;
    let row_len = shape.width * shape.channels;
    Ok(exec::rows(exec, dx, row_len, |first, dx| {
        T::resize_bilinear_backward(Rows {
            shape,
            x: dy,
            store,
            first,
            out: dx,
        })
    }))
}

/// Some rows of the output, or of the gradient.
pub struct Rows<'a, T: Element> {
    shape: Shape,
    x: &'a [T],
    store: Store,
    first: usize,
    out: &'a mut [T],
}

impl<T: Element> Rows<'_, T> {
    #[inline(always)]
    fn nearest(self) {
        let Shape {
            height,
            width,
            channels,
            outputs: [rows, columns],
            ..
        } = self.shape;
        let [vertical, horizontal] = self.shape.axes();
        for (row, out) in (self.first..).zip(rows_of_mut(self.out, columns * channels)) {
            let image = row.checked_div(rows).unwrap_or(0);
            let y = vertical.tap(row.checked_rem(rows).unwrap_or(0), true).low;
            for (column, out) in rows_of_mut(out, channels).enumerate() {
                let x = horizontal.tap(column, true).low;
                let start = ((image * height + y) * width + x) * channels;
                let pixel = self.x.get(start..start + channels).unwrap_or_default();
                for (out, &x) in out.iter_mut().zip(pixel) {
                    *out = x;
                }
            }
        }
    }

    #[inline(always)]
    fn bilinear<I: Isa>(self, isa: I) -> u32 {
        let Shape {
            height,
            width,
            channels,
            outputs: [rows, columns],
            ..
        } = self.shape;
        let [vertical, horizontal] = self.shape.axes();
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = (self.first * columns * channels) as u32;
        for (row, out) in (self.first..).zip(rows_of_mut(self.out, columns * channels)) {
            let image = row.checked_div(rows).unwrap_or(0);
            let v = vertical.tap(row.checked_rem(rows).unwrap_or(0), false);
            let [above, below] = T::weights(v.rest, v.whole);
            for (column, out) in rows_of_mut(out, channels).enumerate() {
                let h = horizontal.tap(column, false);
                let [left, right] = T::weights(h.rest, h.whole);
                let pixel = |y: usize, x: usize| {
                    let start = ((image * height + y) * width + x) * channels;
                    self.x.get(start..start + channels).unwrap_or_default()
                };
                let corners = [
                    (pixel(v.low, h.low), above, left),
                    (pixel(v.low, h.high), above, right),
                    (pixel(v.high, h.low), below, left),
                    (pixel(v.high, h.high), below, right),
                ];
                let mut channel = 0;
                for out in out.chunks_mut(BLOCK) {
                    let mut sums = Lines([[T::Acc::default(); BLOCK]]);
                    for (number, (pixel, vertical, horizontal)) in corners.into_iter().enumerate() {
                        let pixel = pixel.get(channel..channel + out.len()).unwrap_or_default();
                        for (sum, &x) in sums.as_flattened_mut().iter_mut().zip(pixel) {
                            let term = T::mixed(x, vertical, horizontal);
                            // Not 0 + term: a float's -0 stays.
                            *sum = if number == 0 { term } else { *sum + term };
                        }
                    }
                    self.store
                        .block_by(isa, &mut sums, element, &mut range, out);
                    element = element.wrapping_add(out.len() as u32);
                    channel += out.len();
                }
            }
        }
        range.bits()
    }

    /// The transpose of either: sums what each pixel of the input has a part in.
    #[inline(always)]
    fn backward(self, is_nearest: bool) -> u32 {
        let Shape {
            height,
            width,
            channels,
            outputs: [rows, columns],
            ..
        } = self.shape;
        let [vertical, horizontal] = self.shape.axes();
        let mut range = <<T as Long>::Long as Accumulator>::Magnitude::default();
        let mut element = (self.first * width * channels) as u32;
        // The first outputs that may reach a row, and a column: both only go on.
        let mut first_row = 0;
        for (row, out) in (self.first..).zip(rows_of_mut(self.out, width * channels)) {
            let image = row.checked_div(height).unwrap_or(0);
            let y = row.checked_rem(height).unwrap_or(0);
            if y == 0 {
                first_row = 0;
            }
            while first_row < rows && vertical.tap(first_row, is_nearest).high < y {
                first_row += 1;
            }
            let mut first_column = 0;
            for (x, out) in rows_of_mut(out, channels).enumerate() {
                while first_column < columns && horizontal.tap(first_column, is_nearest).high < x {
                    first_column += 1;
                }
                let mut channel = 0;
                for out in out.chunks_mut(BLOCK) {
                    let mut sums = Lines([T::to_long(T::Acc::default()); BLOCK]);
                    for r in first_row..rows {
                        let v = vertical.tap(r, is_nearest);
                        if v.low > y {
                            break;
                        }
                        for c in first_column..columns {
                            let h = horizontal.tap(c, is_nearest);
                            if h.low > x {
                                break;
                            }
                            let start = ((image * rows + r) * columns + c) * channels + channel;
                            let errors = self.x.get(start..).unwrap_or_default();
                            if is_nearest {
                                for (sum, d) in sums.iter_mut().zip(errors) {
                                    *sum += T::to_long(d.to_acc());
                                }
                                continue;
                            }
                            // At an edge both neighbours are the same pixel.
                            let (above, left) =
                                (T::weights(v.rest, v.whole), T::weights(h.rest, h.whole));
                            for (y_at, above) in [v.low, v.high].into_iter().zip(above) {
                                for (x_at, left) in [h.low, h.high].into_iter().zip(left) {
                                    if (y_at, x_at) == (y, x) {
                                        for (sum, &d) in sums.iter_mut().zip(errors) {
                                            *sum += T::weighted(d, above, left);
                                        }
                                    }
                                }
                            }
                        }
                    }
                    channel += out.len();
                    T::store_longs(self.store, &mut sums, element, &mut range, out);
                    element = element.wrapping_add(out.len() as u32);
                }
            }
        }
        range.bits()
    }
}

/// A call of [`bilinear`].
struct Bilinear<'a, T: Element>(Rows<'a, T>);

impl<T: Element> Kernel for Bilinear<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        self.0.bilinear(isa)
    }
}

/// A call of [`nearest_backward`], if that is told, or of [`bilinear_backward`].
struct Backward<'a, T: Element>(Rows<'a, T>, bool);

impl<T: Element> Kernel for Backward<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        self.0.backward(self.1)
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: Long {
    /// A weight along one axis.
    #[doc(hidden)]
    type Weight: Copy;
    /// The weights of both neighbours at a distance of `rest / whole` from the lower one.
    #[doc(hidden)]
    fn weights(rest: u64, whole: u64) -> [Self::Weight; 2];
    /// `x · vertical · horizontal`.
    #[doc(hidden)]
    fn weighted(x: Self, vertical: Self::Weight, horizontal: Self::Weight) -> Self::Long;
    /// The same as a part of one mixture, whose weights sum to 2^22: 30 bits hold it and the sum of bytes.
    #[doc(hidden)]
    fn mixed(x: Self, vertical: Self::Weight, horizontal: Self::Weight) -> Self::Acc
    where
        Self: Element;
    #[doc(hidden)]
    fn resize_nearest(rows: Rows<'_, Self>)
    where
        Self: Element;
    #[doc(hidden)]
    fn resize_nearest_backward(rows: Rows<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn resize_bilinear(rows: Rows<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn resize_bilinear_backward(rows: Rows<'_, Self>) -> u32
    where
        Self: Element;
}

macro_rules! kernels {
    () => {
        #[inline(never)]
        fn resize_nearest(rows: Rows<'_, Self>) {
            rows.nearest();
        }

        #[inline(never)]
        fn resize_nearest_backward(rows: Rows<'_, Self>) -> u32 {
            arch::dispatch(Backward(rows, true))
        }

        #[inline(never)]
        fn resize_bilinear(rows: Rows<'_, Self>) -> u32 {
            arch::dispatch(Bilinear(rows))
        }

        #[inline(never)]
        fn resize_bilinear_backward(rows: Rows<'_, Self>) -> u32 {
            arch::dispatch(Backward(rows, false))
        }
    };
}

macro_rules! impl_integer {
    ($($t:ident)*) => {$(
        impl Kernels for $t {
            type Weight = i32;

            #[inline(always)]
            fn weights(rest: u64, whole: u64) -> [i32; 2] {
                let doubled = (rest << (WEIGHT_BITS + 1)) + whole;
                let high = doubled.checked_div(2 * whole).unwrap_or(0) as i32;
                [(1 << WEIGHT_BITS) - high, high]
            }

            #[inline(always)]
            fn weighted(x: Self, vertical: i32, horizontal: i32) -> Self::Long {
                Self::to_long(x.to_acc()) * <Self as Long>::Long::from(vertical * horizontal)
            }

            #[inline(always)]
            fn mixed(x: Self, vertical: i32, horizontal: i32) -> <Self as Element>::Acc {
                x.to_acc() * <Self as Element>::Acc::from(vertical * horizontal)
            }

            kernels!();
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ty: $acc:ident;)*) => {$(
        impl Kernels for $t {
            type Weight = $acc;

            #[inline(always)]
            fn weights(rest: u64, whole: u64) -> [$acc; 2] {
                let high = rest as $acc / whole as $acc;
                [1.0 - high, high]
            }

            #[inline(always)]
            fn weighted(x: Self, vertical: $acc, horizontal: $acc) -> $acc {
                x.widen() * (vertical * horizontal)
            }

            #[inline(always)]
            fn mixed(x: Self, vertical: $acc, horizontal: $acc) -> $acc {
                Self::weighted(x, vertical, horizontal)
            }

            kernels!();
        }
    )*};
}

impl_integer! { i8 u8 i16 u16 i32 u32 i64 u64 }
impl_float! { half::f16: f32; half::bf16: f32; f32: f32; f64: f64; }
