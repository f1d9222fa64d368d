//! Images at computed positions, as deformable convolution and attention read them; and the
//! gradients with respect to the image and to the positions.
//!
//! A position is a row and a column in pixels: (0, 0) is the centre of the first pixel, and the
//! image reaches to `(H - 1, W - 1)`. The integers: `docs/numerics.md` §14.

use crate::element::Element;
use crate::error::{Arg, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude, Rounding};
use crate::long::Long;
use crate::requantize::Store;
use crate::resize::{self, WEIGHT_BITS, most_terms};
use crate::split::{rows_of, rows_of_mut};

/// What stands beyond the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Zeros.
    Zeros,
    /// The nearest pixel of the edge: positions are taken back into the image.
    Border,
}

/// The extents of a sampled image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Images, `N`.
    pub batch: usize,
    /// Rows of an image, `H`.
    pub height: usize,
    /// Columns of an image, `W`.
    pub width: usize,
    /// Channels, `C`.
    pub channels: usize,
    /// Positions in each image, `P`.
    pub points: usize,
    /// What stands beyond the image.
    pub outside: Outside,
}

/// Positions in images.
#[derive(Clone, Copy, Debug)]
pub struct Positions<'a, T> {
    /// `[N, P, 2]`: row, column.
    pub values: &'a [T],
    /// Their exponent; not used by floats.
    pub exponent: i32,
}

impl Shape {
    fn check(self, x: (Arg, usize), positions: (Arg, usize), y: (Arg, usize)) -> Result<()> {
        let Self {
            batch,
            height,
            width,
            channels,
            points,
            ..
        } = self;
        x.0.check_len(x.1, &[batch, height, width, channels])?;
        positions.0.check_len(positions.1, &[batch, points, 2])?;
        y.0.check_len(y.1, &[batch, points, channels])
    }

    fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Where the pixel in row `y` and column `x` of an image begins, if it is inside.
    #[inline(always)]
    fn pixel(self, y: isize, x: isize) -> Option<usize> {
        let (y, x) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        (y < self.height && x < self.width).then(|| (y * self.width + x) * self.channels)
    }
}

/// Samples images: `out[n, p]` is the bilinear mixture of the four pixels of image `n` around
/// `positions[n, p]`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, H, W, C]` | |
/// | `positions` | `[N, P, 2]` | row and column, in pixels |
/// | `out` | `[N, P, C]` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest accumulator (0 for floats), at the exponent of `x` less
/// [`resize::bilinear_places`]. Integer positions are rounded to 2^-11 of a pixel, to nearest even;
/// the mixture of those is exact. A NaN position gives NaN where one of the four pixels is inside; so does a NaN
/// pixel next to it, even one of weight 0.
///
/// # Errors
/// [`Error::Length`](crate::Error::Length), [`Error::Zero`](crate::Error::Zero),
/// [`Error::Overflow`](crate::Error::Overflow). `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::sample::{self, Outside, Positions, Shape};
/// use selvedge_kernels::{exec::Serial, requantize::Store};
/// let shape = Shape {
///     batch: 1, height: 2, width: 2, channels: 1, points: 1, outside: Outside::Zeros,
/// };
/// let positions = Positions { values: &[0.5f32, 0.5], exponent: 0 };
/// let mut out = [0.0];
/// sample::forward(&Serial, shape, &[1.0, 2.0, 3.0, 4.0], positions, Store::EXACT, &mut out)?;
/// assert_eq!(out, [2.5]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: Jaderberg et al. 2015, "Spatial Transformer Networks", §3.3; PyTorch's `grid_sample`
/// in pixels.
pub fn forward<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    positions: Positions<'_, T>,
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    shape.check(
        (Arg::X, x.len()),
        (Arg::Positions, positions.values.len()),
        (Arg::Out, out.len()),
    )?;
    Ok(exec::rows(exec, out, shape.channels, |first, out| {
        T::sample_forward(Rows {
            shape,
            x,
            positions,
            dy: &[],
            store,
            first,
            out,
        })
    }))
}

/// How many sums [`backward_input`] wants as scratch: one image, `H · W · C`.
///
/// # Errors
/// [`Error::Zero`](crate::Error::Zero), [`Error::Overflow`](crate::Error::Overflow).
pub fn scratch_len(shape: Shape) -> Result<usize> {
    Arg::Shape.product(&[shape.height, shape.width, shape.channels])
}

/// Gradient with respect to the image: `dx = store(Σ weight · dy)`, in the order of the
/// positions.
///
/// | argument | shape | |
/// |---|---|---|
/// | `positions` | `[N, P, 2]` | as in the forward pass |
/// | `dy` | `[N, P, C]` | |
/// | `dx` | `[N, H, W, C]` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
/// | `scratch` | [`scratch_len`] | sums of an image |
///
/// Returns the bit length of the largest sum (0 for floats), at the exponent of `dy` less
/// [`resize::bilinear_places`]: the exact transpose of the forward pass. It runs on one thread,
/// since positions may share pixels.
///
/// # Errors
/// Those of [`forward`]; [`Error::Accumulator`](crate::Error::Accumulator) for more points than sums allow
/// (2^16 in 32 bits). `dx` and `scratch` are then untouched.
///
/// Source: the derivative of [`forward`] with respect to `x`.
pub fn backward_input<T: Element>(
    shape: Shape,
    positions: Positions<'_, T>,
    dy: &[T],
    store: Store,
    dx: &mut [T],
    scratch: &mut [T::Long],
) -> Result<u32> {
    shape.check(
        (Arg::Dx, dx.len()),
        (Arg::Positions, positions.values.len()),
        (Arg::Dy, dy.len()),
    )?;
    Arg::Scratch.check_len(scratch.len(), &[scratch_len(shape)?])?;
    crate::dense::limit(shape.points, most_terms::<T>())?;
    Ok(T::sample_backward_input(Scatter {
        shape,
        positions,
        dy,
        store,
        dx,
        scratch,
    }))
}

/// How far the exponent of the accumulator of [`backward_positions`] is above the sum of those of
/// `x` and `dy`: -11, and 2 · (M - 15) for the wider types. 0 for floats.
#[must_use]
pub const fn position_places<T: Element>() -> i32 {
    match T::MAGNITUDE_BITS as i32 {
        0 => 0,
        m if m > 15 => 2 * (m - 15) - WEIGHT_BITS as i32,
        _ => -(WEIGHT_BITS as i32),
    }
}

/// Gradient with respect to the positions, per pixel: `dp = store(Σ_c dy · slope)`, the slope
/// being that of the mixture between its pixels, along rows and along columns.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, H, W, C]` | input of the forward pass |
/// | `positions` | `[N, P, 2]` | |
/// | `dy` | `[N, P, C]` | |
/// | `dp` | `[N, P, 2]` | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest sum (0 for floats), at the sum of the exponents of `x` and
/// `dy` and [`position_places`]; the wider types cut both to 15 bits first. At a pixel's centre the
/// slope towards larger positions is taken; with [`Outside::Border`] it is 0 on the edge and beyond.
///
/// # Errors
/// Those of [`forward`]; [`Error::Accumulator`](crate::Error::Accumulator) for more channels than sums allow
/// (2^16 in 32 bits). `dp` is then untouched.
///
/// Source: the derivative of [`forward`] with respect to `positions`.
pub fn backward_positions<T: Element>(
    exec: &impl Executor,
    shape: Shape,
    x: &[T],
    positions: Positions<'_, T>,
    dy: &[T],
    store: Store,
    dp: &mut [T],
) -> Result<u32> {
    shape.check(
        (Arg::X, x.len()),
        (Arg::Positions, positions.values.len()),
        (Arg::Dy, dy.len()),
    )?;
    Arg::Dx.check_len(dp.len(), &[positions.values.len()])?;
    crate::dense::limit(shape.channels, most_terms::<T>())?;
    Ok(exec::rows(exec, dp, 2, |first, dp| {
        T::sample_backward_positions(Rows {
            shape,
            x,
            positions,
            dy,
            store,
            first,
            out: dp,
        })
    }))
}

/// A position along one axis.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Coordinate<W> {
    /// The neighbour below it; the other one is the next.
    low: isize,
    /// Weights of both.
    weights: [W; 2],
    /// Whether the mixture changes with the position.
    moves: bool,
}

/// Some points of a forward pass, or of the gradient of positions.
pub struct Rows<'a, T: Element> {
    shape: Shape,
    x: &'a [T],
    positions: Positions<'a, T>,
    dy: &'a [T],
    store: Store,
    first: usize,
    out: &'a mut [T],
}

/// The row and the column of a point.
#[inline(always)]
fn coordinates<T: Element>(
    shape: Shape,
    positions: Positions<'_, T>,
    point: usize,
) -> [Coordinate<T::Weight>; 2] {
    let at = |axis: usize, extent: usize| {
        let q = positions.values.get(2 * point + axis);
        let q = q.copied().unwrap_or(T::ZERO);
        T::coordinate(q, positions.exponent, extent, shape.outside)
    };
    [at(0, shape.height), at(1, shape.width)]
}

impl<T: Element> Rows<'_, T> {
    /// The four pixels of a point, from channel 0 on: above left, above right, below left, below
    /// right.
    #[inline(always)]
    fn pixels(&self, point: usize, [v, h]: [isize; 2]) -> [Option<&[T]>; 4] {
        let image = point.checked_div(self.shape.points).unwrap_or(0);
        let start = image * self.shape.pixels() * self.shape.channels;
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(a, b)| {
            let at = start + self.shape.pixel(v.wrapping_add(a), h.wrapping_add(b))?;
            self.x.get(at..at + self.shape.channels)
        })
    }

    #[inline(always)]
    fn forward(mut self) -> u32 {
        let channels = self.shape.channels;
        let mut range = <<T as Long>::Long as Accumulator>::Magnitude::default();
        let mut element = (self.first * channels) as u32;
        let out = core::mem::take(&mut self.out);
        for (point, out) in (self.first..).zip(rows_of_mut(out, channels)) {
            let [v, h] = coordinates(self.shape, self.positions, point);
            let pixels = self.pixels(point, [v.low, h.low]);
            let [above, below] = v.weights;
            let [left, right] = h.weights;
            let weights = [(above, left), (above, right), (below, left), (below, right)];
            for (c, out) in out.iter_mut().enumerate() {
                let mut acc = T::to_long(T::Acc::default());
                for (pixel, (v, h)) in pixels.iter().zip(weights) {
                    if let Some(&x) = pixel.and_then(|pixel| pixel.get(c)) {
                        acc += T::weighted(x, v, h);
                    }
                }
                T::store_long(self.store, acc, element, &mut range, out);
                element = element.wrapping_add(1);
            }
        }
        range.bits()
    }

    #[inline(always)]
    fn backward_positions(mut self) -> u32 {
        let channels = self.shape.channels;
        let mut range = <<T as Long>::Long as Accumulator>::Magnitude::default();
        let mut element = (self.first * 2) as u32;
        let out = core::mem::take(&mut self.out);
        for (point, out) in (self.first..).zip(rows_of_mut(out, 2)) {
            let [v, h] = coordinates(self.shape, self.positions, point);
            let pixels = self.pixels(point, [v.low, h.low]);
            let errors = self.dy.get(point * channels..).unwrap_or_default();
            let mut sums = [T::to_long(T::Acc::default()); 2];
            for (c, &d) in errors.iter().take(channels).enumerate() {
                let [a, b, below_a, below_b] = pixels.map(|pixel| {
                    let x = pixel.and_then(|pixel| pixel.get(c));
                    x.copied().unwrap_or(T::ZERO)
                });
                let [row, column] = &mut sums;
                if v.moves {
                    *row += T::slope(d, a, below_a, h.weights[0]);
                    *row += T::slope(d, b, below_b, h.weights[1]);
                }
                if h.moves {
                    *column += T::slope(d, a, b, v.weights[0]);
                    *column += T::slope(d, below_a, below_b, v.weights[1]);
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                T::store_long(self.store, sum, element, &mut range, out);
                element = element.wrapping_add(1);
            }
        }
        range.bits()
    }
}

/// A gradient of images.
pub struct Scatter<'a, T: Element> {
    shape: Shape,
    positions: Positions<'a, T>,
    dy: &'a [T],
    store: Store,
    dx: &'a mut [T],
    scratch: &'a mut [T::Long],
}

impl<T: Element> Scatter<'_, T> {
    #[inline(always)]
    fn run(self) -> u32 {
        let Self {
            shape,
            positions,
            dy,
            store,
            dx,
            scratch,
        } = self;
        let mut range = <<T as Long>::Long as Accumulator>::Magnitude::default();
        let (mut point, mut element) = (0, 0u32);
        let images = rows_of(dy, shape.points * shape.channels).zip(rows_of_mut(dx, scratch.len()));
        for (dy, dx) in images {
            scratch.fill(T::to_long(T::Acc::default()));
            for errors in rows_of(dy, shape.channels) {
                let [v, h] = coordinates(shape, positions, point);
                point += 1;
                for (a, above) in (0..2).zip(v.weights) {
                    for (b, left) in (0..2).zip(h.weights) {
                        let at = shape.pixel(v.low.wrapping_add(a), h.low.wrapping_add(b));
                        let Some(sums) = at.and_then(|at| scratch.get_mut(at..)) else {
                            continue;
                        };
                        for (sum, &d) in sums.iter_mut().zip(errors) {
                            *sum += T::weighted(d, above, left);
                        }
                    }
                }
            }
            for (dx, &sum) in dx.iter_mut().zip(scratch.iter()) {
                T::store_long(store, sum, element, &mut range, dx);
                element = element.wrapping_add(1);
            }
        }
        range.bits()
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: resize::Kernels {
    /// A position as neighbours and weights.
    #[doc(hidden)]
    fn coordinate(
        q: Self,
        exponent: i32,
        extent: usize,
        outside: Outside,
    ) -> Coordinate<Self::Weight>;
    /// `d · (to - from) · weight`, of operands cut to 15 bits.
    #[doc(hidden)]
    fn slope(d: Self, from: Self, to: Self, weight: Self::Weight) -> Self::Long;
    #[doc(hidden)]
    fn sample_forward(rows: Rows<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn sample_backward_input(scatter: Scatter<'_, Self>) -> u32
    where
        Self: Element;
    #[doc(hidden)]
    fn sample_backward_positions(rows: Rows<'_, Self>) -> u32
    where
        Self: Element;
}

macro_rules! kernels {
    () => {
        #[inline(never)]
        fn sample_forward(rows: Rows<'_, Self>) -> u32 {
            rows.forward()
        }

        #[inline(never)]
        fn sample_backward_input(scatter: Scatter<'_, Self>) -> u32 {
            scatter.run()
        }

        #[inline(never)]
        fn sample_backward_positions(rows: Rows<'_, Self>) -> u32 {
            rows.backward_positions()
        }
    };
}

/// A position in units of 2^-11 pixels; far beyond every image where it saturates.
#[inline(always)]
fn fixed_coordinate(p: i64, extent: usize, outside: Outside) -> Coordinate<i32> {
    let last = (extent as i64 - 1) << WEIGHT_BITS; // extents fit 32 bits
    let (p, moves) = match outside {
        Outside::Zeros => (p, true),
        Outside::Border => (p.min(last).max(0), p > 0 && p < last),
    };
    let high = (p & ((1 << WEIGHT_BITS) - 1)) as i32;
    Coordinate {
        low: (p >> WEIGHT_BITS) as isize,
        weights: [(1 << WEIGHT_BITS) - high, high],
        moves,
    }
}

macro_rules! impl_integer {
    ($($t:ident)*) => {$(
        impl Kernels for $t {
            #[inline(always)]
            fn coordinate(q: Self, exponent: i32, extent: usize, outside: Outside) -> Coordinate<i32> {
                let q = Self::to_long(q.to_acc());
                // Beyond 61 places to the left, a shift gives 0; there, all but 0 is far outside already.
                let shift = (-(WEIGHT_BITS as i32)).saturating_sub(exponent).max(-61);
                // 42 bits: rows and columns of a 32-bit address.
                let p = q.shift(shift, Rounding::NearestEven, 0).saturate(42) as i64;
                fixed_coordinate(p, extent, outside)
            }

            #[inline(always)]
            fn slope(d: Self, from: Self, to: Self, weight: i32) -> Self::Long {
                const CUT: i32 = if <$t as Element>::MAGNITUDE_BITS > 15 {
                    <$t as Element>::MAGNITUDE_BITS as i32 - 15
                } else {
                    0
                };
                let cut = |x: Self| Self::to_long(x.to_acc()).shift(CUT, Rounding::NearestEven, 0);
                cut(d) * (cut(to) - cut(from)) * <Self as Long>::Long::from(weight)
            }

            kernels!();
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ty: $acc:ident, $floor:ident;)*) => {$(
        impl Kernels for $t {
            #[inline(always)]
            fn coordinate(q: Self, _: i32, extent: usize, outside: Outside) -> Coordinate<$acc> {
                let (p, last) = (q.widen(), (extent - 1) as $acc);
                let (p, moves) = match outside {
                    Outside::Zeros => (p, true),
                    Outside::Border if p <= 0.0 => (0.0, false),
                    Outside::Border if p >= last => (last, false),
                    Outside::Border => (p, true), // NaN, too
                };
                let low = libm::$floor(p);
                let high = p - low;
                Coordinate {
                    low: low as isize, // saturates; 0 for NaN
                    weights: [1.0 - high, high],
                    moves,
                }
            }

            #[inline(always)]
            fn slope(d: Self, from: Self, to: Self, weight: $acc) -> $acc {
                d.widen() * ((to.widen() - from.widen()) * weight)
            }

            kernels!();
        }
    )*};
}

impl_integer! { i8 u8 i16 u16 i32 u32 i64 u64 }
impl_float! {
    half::f16: f32, floorf; half::bf16: f32, floorf; f32: f32, floorf; f64: f64, floor;
}
