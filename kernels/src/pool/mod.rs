//! Pooling over one, two or three axes, and its gradients: the largest element or the mean of each
//! window. Windows slide ([`Shape`]), one covers the whole input ([`Window::whole`]), or a given number
//! of them divides it ([`Adaptive`]).

mod adaptive;
mod average;
mod cover;
mod max;
mod mean;

pub use adaptive::{
    Adaptive, adaptive_average_backward, adaptive_average_forward, adaptive_max_backward,
    adaptive_max_forward,
};
pub use average::{average_backward, average_forward};
pub use max::{max_backward, max_forward};

use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::window::{Steps, Window, three_axes};
use cover::{Cover, Even, Sliding};

/// The extents of a pooling layer over `N` spatial axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape<const N: usize = 2> {
    /// Samples, `N`.
    pub batch: usize,
    /// Spatial extents of an input sample: columns; rows and columns; planes, rows and columns.
    pub input: [usize; N],
    /// Channels, `C`; each is pooled on its own.
    pub channels: usize,
    /// The window and how it moves.
    pub window: Window<N>,
}

/// What padding is to a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Zeros: every window has as many cells as the kernel.
    Counted,
    /// Nothing: a window has those cells of the kernel that lie on the input.
    NotCounted,
}

impl<const N: usize> Shape<N> {
    /// Spatial extents of the output.
    ///
    /// # Errors
    /// Those of [`Window::outputs`].
    pub const fn outputs(&self) -> Result<[usize; N]> {
        self.window.outputs(self.input)
    }

    /// The exponent of the accumulators of [`average_forward`] for an input of exponent `exponent`,
    /// and of [`average_backward`] for an error of that exponent: `exponent - 15 - bit_len(n - 1)`
    /// with `n` cells in the largest window. That of floats stays.
    ///
    /// # Errors
    /// Those of [`Window::outputs`]; [`Error::Overflow`] for windows of 2^32 cells or more.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::{pool::{Padding, Shape}, window::Window};
    /// let shape = Shape { batch: 1, input: [2, 2], channels: 1, window: Window::uniform(3, 1, 1) };
    /// assert_eq!(shape.average_exponent::<i8>(Padding::Counted, -7), Ok(-7 - 15 - 4)); // 9 cells
    /// assert_eq!(shape.average_exponent::<i8>(Padding::NotCounted, -7), Ok(-7 - 15 - 2)); // 4 cells
    /// assert_eq!(shape.average_exponent::<f32>(Padding::Counted, 0), Ok(0));
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    pub const fn average_exponent<T: Element>(
        &self,
        padding: Padding,
        exponent: i32,
    ) -> Result<i32> {
        let outputs = match self.outputs() {
            Ok(outputs) => outputs,
            Err(error) => return Err(error),
        };
        let mut cells = 1u64;
        let mut axis = 0;
        while axis < N {
            let along = match padding {
                Padding::Counted => self.window.kernel[axis],
                Padding::NotCounted => {
                    let windows = Sliding::<true> {
                        axis: self.window.axis(axis),
                        input: self.input[axis],
                        outputs: outputs[axis],
                    };
                    windows.most_cells()
                }
            };
            cells = match cells.checked_mul(along as u64) {
                Some(cells) if cells <= u32::MAX as u64 => cells,
                _ => return Err(Arg::Shape.overflow()),
            };
            axis += 1;
        }
        Ok(mean::exponent::<T>(exponent, cells))
    }

    /// The extents, if they can be counted.
    fn extents<const DEEP: bool>(self) -> Result<Extents<Sliding<DEEP>>> {
        const { assert!(N >= 1 && N <= 3, "pooling has one to three spatial axes") };
        let out = three_axes(self.outputs()?);
        let input = three_axes(self.input);
        let [planes, height, width] = input;
        Arg::Shape.product(&[self.batch, planes, height, width, self.channels])?;
        let mut cover = self.window.axes(self.input).map(|axis| Sliding {
            axis,
            input: 1,
            outputs: 1,
        });
        for ((cover, input), outputs) in cover.iter_mut().zip(input).zip(out) {
            (cover.input, cover.outputs) = (input, outputs);
        }
        Ok(Extents {
            batch: self.batch,
            input,
            channels: self.channels,
            out,
            cover,
        })
    }

    /// The same, if no window stands on padding alone: it has no maximum, and no mean unless padding
    /// counts.
    fn covered<const DEEP: bool>(self) -> Result<Extents<Sliding<DEEP>>> {
        let extents = self.extents::<DEEP>()?;
        for (number, cover) in extents.cover.iter().enumerate() {
            if let Some(window) = cover.axis.uncovered(cover.outputs, cover.input) {
                return Err(Error::Padding {
                    axis: (number + N).saturating_sub(3) as u8,
                    window,
                });
            }
        }
        Ok(extents)
    }
}

/// A shape that has been checked. Spatial axes are three.
#[derive(Clone, Copy, Debug)]
struct Extents<C> {
    batch: usize,
    input: [usize; 3],
    channels: usize,
    out: [usize; 3],
    /// Which windows have which cells, along each axis.
    cover: [C; 3],
}

impl<C: Cover> Extents<C> {
    fn check_x(&self, arg: Arg, len: usize) -> Result<()> {
        let [planes, height, width] = self.input;
        arg.check_len(len, &[self.batch, planes, height, width, self.channels])
    }

    fn check_y(&self, arg: Arg, len: usize) -> Result<()> {
        let [planes, rows, columns] = self.out;
        arg.check_len(len, &[self.batch, planes, rows, columns, self.channels])
    }

    /// Elements of an input row and of an output row.
    fn row_lens(&self) -> [usize; 2] {
        [self.input[2] * self.channels, self.out[2] * self.channels]
    }

    /// Planes of input and output.
    #[inline(always)]
    fn planes(&self) -> [usize; 2] {
        let ([input, ..], [out, ..]) = (self.input, self.out);
        if C::IS_DEEP { [input, out] } else { [1, 1] }
    }

    /// The planes of a window, by its own.
    #[inline(always)]
    fn planes_of(&self, window: usize) -> Steps {
        let [cover, ..] = self.cover;
        if C::IS_DEEP {
            cover.cells(window)
        } else {
            Steps::ONE
        }
    }

    /// The planes of the windows over a plane.
    #[inline(always)]
    fn planes_over(&self, plane: usize) -> Steps {
        let [cover, ..] = self.cover;
        if C::IS_DEEP {
            cover.windows(plane)
        } else {
            Steps::ONE
        }
    }

    /// The channels of an input cell, from its index on.
    #[inline(always)]
    fn input_at(&self, image: usize, [z, y, x]: [usize; 3]) -> usize {
        let ([_, height, width], [depth, _]) = (self.input, self.planes());
        (((image * depth + z) * height + y) * width + x) * self.channels
    }

    /// Those of an output cell.
    #[inline(always)]
    fn output_at(&self, image: usize, [plane, row, column]: [usize; 3]) -> usize {
        let ([_, rows, columns], [_, planes]) = (self.out, self.planes());
        (((image * planes + plane) * rows + row) * columns + column) * self.channels
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
#[doc(hidden)]
pub trait Kernels: On<Sliding<false>> + On<Sliding<true>> + On<Even> {}

impl<T: On<Sliding<false>> + On<Sliding<true>> + On<Even>> Kernels for T {}

/// Those for one way to lay windows.
#[doc(hidden)]
pub trait On<C>: max::Kernels<C> + average::Kernels<C> {}

impl<C, T: max::Kernels<C> + average::Kernels<C>> On<C> for T {}
