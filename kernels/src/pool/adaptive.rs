//! Pooling to given extents: windows divide the input as evenly as whole cells allow.

use super::average;
use super::cover::Even;
use super::max;
use super::mean;
use super::{Extents, three_axes};
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::exec::Executor;
use crate::requantize::Store;

/// The extents of an adaptive pooling layer over `N` spatial axes: window `i` of `o` along an axis of `H`
/// cells has those from `⌊i · H / o⌋` to `⌈(i + 1) · H / o⌉`. Windows overlap where `o` does not divide `H`.
///
/// # Example
/// ```
/// use selvedge_kernels::{exec::Serial, pool::{self, Adaptive}, requantize::Store};
/// let shape = Adaptive { batch: 1, input: [5], channels: 1, output: [2] };
/// let mut out = [0.0f32; 2]; // of cells 0 to 2 and 2 to 4
/// pool::adaptive_average_forward(&Serial, shape, &[0.0, 3.0, 6.0, 9.0, 12.0], Store::EXACT, &mut out)?;
/// assert_eq!(out, [3.0, 9.0]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
///
/// Source: `AdaptiveAvgPool2d` and `AdaptiveMaxPool2d` of PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adaptive<const N: usize = 2> {
    /// Samples, `N`.
    pub batch: usize,
    /// Spatial extents of an input sample.
    pub input: [usize; N],
    /// Channels, `C`; each is pooled on its own.
    pub channels: usize,
    /// Spatial extents of an output sample.
    pub output: [usize; N],
}

impl<const N: usize> Adaptive<N> {
    /// The exponent of the accumulators of [`adaptive_average_forward`] for an input of exponent
    /// `exponent`, and of [`adaptive_average_backward`] for an error of that exponent:
    /// `exponent - 15 - bit_len(n - 1)` with `n` cells in the largest window. That of floats stays.
    ///
    /// # Errors
    /// [`Error::Zero`] for an empty extent, [`Error::Overflow`] for extents whose products leave `usize`.
    pub const fn average_exponent<T: Element>(&self, exponent: i32) -> Result<i32> {
        let mut cells = 1u64;
        let mut axis = 0;
        while axis < N {
            let cover = match even(self.input[axis], self.output[axis]) {
                Ok(cover) => cover,
                Err(error) => return Err(error),
            };
            cells = match cells.checked_mul(cover.most_cells() as u64) {
                Some(cells) if cells <= u32::MAX as u64 => cells,
                _ => return Err(Arg::Shape.overflow()),
            };
            axis += 1;
        }
        Ok(mean::exponent::<T>(exponent, cells))
    }

    fn extents(self) -> Result<Extents<Even>> {
        const { assert!(N >= 1 && N <= 3, "pooling has one to three spatial axes") };
        let Self {
            batch, channels, ..
        } = self;
        let (input, out) = (three_axes(self.input), three_axes(self.output));
        for [planes, rows, columns] in [input, out] {
            Arg::Shape.product(&[batch, planes, rows, columns, channels])?;
        }
        let mut cover = [Even {
            input: 1,
            outputs: 1,
        }; 3];
        for ((cover, &input), &outputs) in cover.iter_mut().zip(&input).zip(&out) {
            *cover = even(input, outputs)?;
        }
        Ok(Extents {
            batch,
            input,
            channels,
            out,
            cover,
        })
    }
}

/// One axis, if its places can be computed.
const fn even(input: usize, outputs: usize) -> Result<Even> {
    if input == 0 || outputs == 0 {
        return Err(Error::Zero { arg: Arg::Shape });
    }
    let product = match input.checked_mul(outputs) {
        Some(product) => product,
        None => return Err(Arg::Shape.overflow()),
    };
    // Rounding up adds the divisor.
    match product.checked_add(if input > outputs { input } else { outputs }) {
        Some(_) => Ok(Even { input, outputs }),
        None => Err(Arg::Shape.overflow()),
    }
}

/// Adaptive max pooling, forward: [`max_forward`](super::max_forward) with the windows of [`Adaptive`].
///
/// # Errors
/// [`Error::Length`] if a slice does not fit, [`Error::Zero`] for an empty extent, [`Error::Overflow`]
/// for extents beyond 32 bits. `out` is then untouched.
pub fn adaptive_max_forward<T: Element, const N: usize>(
    exec: &impl Executor,
    shape: Adaptive<N>,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    max::forward(exec, shape.extents()?, x, out)
}

/// Gradient of adaptive max pooling: [`max_backward`](super::max_backward) with the windows of
/// [`Adaptive`].
///
/// # Errors
/// As [`adaptive_max_forward`]; `dx` is then untouched.
pub fn adaptive_max_backward<T: Element, const N: usize>(
    exec: &impl Executor,
    shape: Adaptive<N>,
    x: &[T],
    y: &[T],
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    max::backward(exec, shape.extents()?, x, y, dy, store, dx)
}

/// Adaptive average pooling, forward: [`average_forward`](super::average_forward) with the windows of
/// [`Adaptive`]. The exponent of the accumulators is [`Adaptive::average_exponent`].
///
/// # Errors
/// Those of [`adaptive_max_forward`]; [`Error::Accumulator`] as [`average_forward`](super::average_forward).
pub fn adaptive_average_forward<T: Element, const N: usize>(
    exec: &impl Executor,
    shape: Adaptive<N>,
    x: &[T],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    average::forward(exec, shape.extents()?, None, x, store, out)
}

/// Gradient of adaptive average pooling: [`average_backward`](super::average_backward) with the
/// windows of [`Adaptive`]. The exponent of the accumulators is [`Adaptive::average_exponent`] of that
/// of `dy`.
///
/// # Errors
/// As [`adaptive_average_forward`]; `dx` is then untouched.
pub fn adaptive_average_backward<T: Element, const N: usize>(
    exec: &impl Executor,
    shape: Adaptive<N>,
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    average::backward(exec, shape.extents()?, None, dy, store, dx)
}
