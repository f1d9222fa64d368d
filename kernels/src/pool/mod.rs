//! Pooling over one, two or three axes, and its gradients.

mod max;

#[doc(hidden)]
pub use max::{Kernels, Rows, RowsBack};
pub use max::{max_backward, max_forward};

use crate::error::{Arg, Error, Result};
use crate::window::{Axis, Window, three_axes};

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

/// A shape that has been checked. Spatial axes are three.
#[derive(Clone, Copy, Debug)]
struct Extents {
    batch: usize,
    input: [usize; 3],
    channels: usize,
    out: [usize; 3],
    axes: [Axis; 3],
}

impl<const N: usize> Shape<N> {
    /// Spatial extents of the output.
    ///
    /// # Errors
    /// Those of [`Window::outputs`].
    pub const fn outputs(&self) -> Result<[usize; N]> {
        self.window.outputs(self.input)
    }

    fn check(self) -> Result<Extents> {
        const { assert!(N >= 1 && N <= 3, "pooling has one to three spatial axes") };
        let out = three_axes(self.outputs()?);
        let input = three_axes(self.input);
        let [planes, height, width] = input;
        Arg::Shape.product(&[self.batch, planes, height, width, self.channels])?;
        let axes = self.window.axes();
        for (number, (axis, (input, outputs))) in axes.iter().zip(input.iter().zip(out)).enumerate()
        {
            // A window on padding alone has no maximum. A dilated one may miss a small input in
            // the middle of its way, too.
            let covered =
                |output: usize| (0..axis.kernel).any(|k| axis.input(output, k, *input).is_some());
            if !(0..outputs).all(covered) {
                return Err(Error::Window {
                    axis: (number + N).saturating_sub(3) as u8,
                    span: axis.kernel,
                    input: *input,
                });
            }
        }
        Ok(Extents {
            batch: self.batch,
            input,
            channels: self.channels,
            out,
            axes,
        })
    }
}

impl Extents {
    /// The same where the compiler knows that the first axis has one cell, unless `DEEP`.
    #[inline(always)]
    fn known<const DEEP: bool>(self) -> Self {
        if DEEP {
            return self;
        }
        let ([_, height, width], [_, rows, columns]) = (self.input, self.out);
        let [_, row_axis, column_axis] = self.axes;
        Self {
            input: [1, height, width],
            out: [1, rows, columns],
            axes: [Axis::UNIT, row_axis, column_axis],
            ..self
        }
    }

    fn check_x(&self, arg: Arg, len: usize) -> Result<()> {
        let [planes, height, width] = self.input;
        arg.check_len(len, &[self.batch, planes, height, width, self.channels])
    }

    fn check_y(&self, arg: Arg, len: usize) -> Result<()> {
        let [planes, rows, columns] = self.out;
        arg.check_len(len, &[self.batch, planes, rows, columns, self.channels])
    }
}
