//! Windows that slide over an image: kernel, stride, padding, dilation, and the extents they give.

use crate::error::{Arg, Error, Result};

/// A window over rows (axis 0) and columns (axis 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Cells of the kernel: rows, columns.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Cells added before the first and after the last: `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
    /// Distance between the kernel's cells; 1 for a dense kernel.
    pub dilation: [usize; 2],
}

impl Window {
    /// A square window of `kernel` cells, moved by `stride`, with `padding` cells on each side.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::window::Window;
    /// assert_eq!(Window::square(3, 1, 1).outputs([8, 8]), Ok([8, 8]));
    /// assert_eq!(Window::square(2, 2, 0).outputs([8, 7]), Ok([4, 3]));
    /// ```
    #[must_use]
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [[padding; 2]; 2],
            dilation: [1; 2],
        }
    }

    /// The extents of the output for an input of `inputs` rows and columns:
    /// `(input + padding - dilation · (kernel - 1) - 1) / stride + 1`, rounded down.
    ///
    /// # Errors
    /// [`Error::Zero`] for an empty kernel, stride, dilation or input, [`Error::Overflow`] for
    /// extents beyond `usize`, [`Error::Window`] if the kernel does not fit into the padded input.
    pub const fn outputs(&self, inputs: [usize; 2]) -> Result<[usize; 2]> {
        let rows = match self.output(0, inputs[0]) {
            Ok(rows) => rows,
            Err(error) => return Err(error),
        };
        match self.output(1, inputs[1]) {
            Ok(columns) => Ok([rows, columns]),
            Err(error) => Err(error),
        }
    }

    const fn output(&self, axis: usize, input: usize) -> Result<usize> {
        let (kernel, stride, [before, after], dilation) = if axis == 0 {
            (
                self.kernel[0],
                self.stride[0],
                self.padding[0],
                self.dilation[0],
            )
        } else {
            (
                self.kernel[1],
                self.stride[1],
                self.padding[1],
                self.dilation[1],
            )
        };
        if kernel == 0 || stride == 0 || dilation == 0 || input == 0 {
            return Err(Error::Zero { arg: Arg::Shape });
        }
        let overflow = Err(Error::Overflow { arg: Arg::Shape });
        let Some(reach) = dilation.checked_mul(kernel - 1) else {
            return overflow;
        };
        let Some(span) = reach.checked_add(1) else {
            return overflow;
        };
        let Some(padding) = before.checked_add(after) else {
            return overflow;
        };
        let Some(input) = input.checked_add(padding) else {
            return overflow;
        };
        match input.checked_sub(span) {
            Some(rest) => match rest.checked_div(stride) {
                Some(steps) => Ok(steps + 1),
                None => Err(Error::Zero { arg: Arg::Shape }),
            },
            None => Err(Error::Window {
                axis: axis as u8,
                span,
                input,
            }),
        }
    }

    /// Whether windows share cells.
    #[must_use]
    pub const fn overlaps(&self) -> bool {
        self.stride[0] < self.kernel[0] || self.stride[1] < self.kernel[1]
    }

    /// The two axes, for the loops of kernels.
    #[inline(always)]
    pub(crate) fn axes(&self) -> [Axis; 2] {
        let axis = |kernel, stride, before, dilation| Axis {
            kernel,
            stride,
            before,
            dilation,
        };
        let [[top, _], [left, _]] = self.padding;
        [
            axis(self.kernel[0], self.stride[0], top, self.dilation[0]),
            axis(self.kernel[1], self.stride[1], left, self.dilation[1]),
        ]
    }
}

/// One axis of a [`Window`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Padding before the first cell.
    pub(crate) before: usize,
    pub(crate) dilation: usize,
}

impl Axis {
    /// The input cell under cell `k` of window `output`, unless it is padding. `extent` is that of
    /// the input.
    #[inline(always)]
    pub(crate) fn input(&self, output: usize, k: usize, extent: usize) -> Option<usize> {
        let cell = (output * self.stride + k * self.dilation).checked_sub(self.before)?;
        (cell < extent).then_some(cell)
    }

    /// The window whose cell `k` lies on input cell `cell`, if there is one among `extent` windows.
    #[inline(always)]
    pub(crate) fn output(&self, cell: usize, k: usize, extent: usize) -> Option<usize> {
        let start = (cell + self.before).checked_sub(k * self.dilation)?;
        let output = if self.stride == 1 {
            start
        } else {
            start.checked_div(self.stride)?
        };
        (output * self.stride == start && output < extent).then_some(output)
    }

    /// The kernel's cells of window `output` that lie on the input, for a kernel that is not
    /// dilated: the first, and one past the last.
    #[inline(always)]
    pub(crate) fn dense_cells(&self, output: usize, extent: usize) -> (usize, usize) {
        let start = output * self.stride;
        let first = self.before.saturating_sub(start);
        (
            first,
            self.kernel
                .min((extent + self.before).saturating_sub(start)),
        )
    }
}
