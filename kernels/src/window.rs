//! Windows that slide over one to three axes: kernel, stride, padding, dilation, and the extents
//! they give.

use crate::error::{Arg, Error, Result};

/// A window over the `N` spatial axes of a tensor: columns; rows and columns; planes, rows and
/// columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window<const N: usize = 2> {
    /// Cells of the kernel along each axis.
    pub kernel: [usize; N],
    /// Step between windows.
    pub stride: [usize; N],
    /// Cells added before the first and after the last: `[[top, bottom], [left, right]]` for two axes.
    pub padding: [[usize; 2]; N],
    /// Distance between the kernel's cells; 1 for a dense kernel.
    pub dilation: [usize; N],
}

impl<const N: usize> Window<N> {
    /// A window of `kernel` cells along each axis, moved by `stride`, with `padding` cells on each
    /// side.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::window::Window;
    /// assert_eq!(Window::uniform(3, 1, 1).outputs([8, 8]), Ok([8, 8]));
    /// assert_eq!(Window::uniform(2, 2, 0).outputs([8, 7]), Ok([4, 3]));
    /// assert_eq!(Window::uniform(3, 2, 0).outputs([9]), Ok([4]));
    /// ```
    #[must_use]
    pub const fn uniform(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel: [kernel; N],
            stride: [stride; N],
            padding: [[padding; 2]; N],
            dilation: [1; N],
        }
    }

    /// The window whose one position covers the whole of `inputs`: global pooling.
    #[must_use]
    pub const fn whole(inputs: [usize; N]) -> Self {
        Self {
            kernel: inputs,
            ..Self::uniform(1, 1, 0)
        }
    }

    /// The same without padding.
    #[must_use]
    pub const fn valid(self) -> Self {
        Self {
            padding: [[0; 2]; N],
            ..self
        }
    }

    /// The same with the padding that gives `ceil(input / stride)` windows along each axis. An odd
    /// number of cells puts the larger half behind.
    ///
    /// # Errors
    /// [`Error::Zero`] for an empty kernel, stride, dilation or input, [`Error::Overflow`] for extents
    /// beyond `usize`.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::window::Window;
    /// let window = Window::uniform(3, 2, 0).same([8, 5])?;
    /// assert_eq!(window.padding, [[0, 1], [1, 1]]);
    /// assert_eq!(window.outputs([8, 5]), Ok([4, 3]));
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    ///
    /// Source: the padding "SAME" of TensorFlow.
    pub const fn same(self, inputs: [usize; N]) -> Result<Self> {
        let mut padding = [[0; 2]; N];
        let mut axis = 0;
        while axis < N {
            let span = match self.span(axis, inputs[axis]) {
                Ok(span) => span,
                Err(error) => return Err(error),
            };
            let (input, stride) = (inputs[axis], self.stride[axis]);
            let Some(reach) = (input.div_ceil(stride) - 1).checked_mul(stride) else {
                return Err(Arg::Shape.overflow());
            };
            let Some(covered) = reach.checked_add(span) else {
                return Err(Arg::Shape.overflow());
            };
            let total = covered.saturating_sub(input);
            padding[axis] = [total / 2, total - total / 2];
            axis += 1;
        }
        Ok(Self { padding, ..self })
    }

    /// The extents of the output for an input of `inputs` cells:
    /// `(input + padding - dilation · (kernel - 1) - 1) / stride + 1`, rounded down.
    ///
    /// # Errors
    /// [`Error::Zero`] for an empty kernel, stride, dilation or input, [`Error::Overflow`] for
    /// extents beyond `usize`, [`Error::Window`] if the kernel does not fit into the padded input.
    pub const fn outputs(&self, inputs: [usize; N]) -> Result<[usize; N]> {
        let mut outputs = [0; N];
        let mut axis = 0;
        while axis < N {
            outputs[axis] = match self.output(axis, inputs[axis]) {
                Ok(output) => output,
                Err(error) => return Err(error),
            };
            axis += 1;
        }
        Ok(outputs)
    }

    /// The extents of which [`Window::outputs`] makes `outputs`, if the window fits without a
    /// remainder: `(output - 1) · stride + dilation · (kernel - 1) + 1 - padding`. They are those
    /// that a transposed convolution gives.
    ///
    /// # Errors
    /// As [`Window::outputs`]; [`Error::Window`] if the padding is not less than what is covered.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::window::Window;
    /// assert_eq!(Window::uniform(3, 2, 1).inputs([4, 2]), Ok([7, 3]));
    /// ```
    pub const fn inputs(&self, outputs: [usize; N]) -> Result<[usize; N]> {
        let mut inputs = [0; N];
        let mut axis = 0;
        while axis < N {
            let span = match self.span(axis, outputs[axis]) {
                Ok(span) => span,
                Err(error) => return Err(error),
            };
            let Some(reach) = (outputs[axis] - 1).checked_mul(self.stride[axis]) else {
                return Err(Arg::Shape.overflow());
            };
            let Some(covered) = reach.checked_add(span) else {
                return Err(Arg::Shape.overflow());
            };
            let [before, after] = self.padding[axis];
            let Some(padding) = before.checked_add(after) else {
                return Err(Arg::Shape.overflow());
            };
            inputs[axis] = match covered.checked_sub(padding) {
                Some(input) if input > 0 => input,
                _ => {
                    return Err(Error::Window {
                        axis: axis as u8,
                        span: covered,
                        input: padding,
                    });
                }
            };
            axis += 1;
        }
        Ok(inputs)
    }

    /// Cells that the dilated kernel spans along `axis`, on which there are `cells`.
    const fn span(&self, axis: usize, cells: usize) -> Result<usize> {
        let (kernel, dilation) = (self.kernel[axis], self.dilation[axis]);
        let arg = match (kernel, self.stride[axis], dilation, cells) {
            (0, ..) => Some(Arg::Kernel),
            (_, 0, ..) => Some(Arg::Stride),
            (_, _, 0, _) => Some(Arg::Dilation),
            (.., 0) => Some(Arg::Shape),
            _ => None,
        };
        if let Some(arg) = arg {
            return Err(Error::Zero { arg });
        }
        let overflow = Err(Arg::Shape.overflow());
        let Some(reach) = dilation.checked_mul(kernel - 1) else {
            return overflow;
        };
        match reach.checked_add(1) {
            Some(span) => Ok(span),
            None => overflow,
        }
    }

    #[cfg_attr(target_os = "none", inline(never))] // one copy where size counts
    const fn output(&self, axis: usize, input: usize) -> Result<usize> {
        let overflow = Err(Arg::Shape.overflow());
        if axis >= N {
            return overflow; // no caller asks: but a copy of its own would check each index
        }
        let span = match self.span(axis, input) {
            Ok(span) => span,
            Err(error) => return Err(error),
        };
        let [before, after] = self.padding[axis];
        let Some(padding) = before.checked_add(after) else {
            return overflow;
        };
        let Some(input) = input.checked_add(padding) else {
            return overflow;
        };
        match input.checked_sub(span) {
            Some(rest) => match rest.checked_div(self.stride[axis]) {
                Some(steps) => Ok(steps + 1),
                None => Err(Error::Zero { arg: Arg::Stride }),
            },
            None => Err(Error::Window {
                axis: axis as u8,
                span,
                input,
            }),
        }
    }

    /// Whether windows share cells: along some axis, a multiple of the stride is less than `kernel` steps of the
    /// dilation.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::window::Window;
    /// assert!(!Window::<1>::uniform(2, 2, 0).overlaps());
    /// // Cells 0 and 2, then 2 and 4.
    /// let dilated = Window::<1> { kernel: [2], stride: [2], padding: [[0; 2]], dilation: [2] };
    /// assert!(dilated.overlaps());
    /// ```
    #[must_use]
    pub const fn overlaps(&self) -> bool {
        let mut axis = 0;
        while axis < N {
            // Euclid's algorithm.
            let (mut common, mut rest) = (self.stride[axis], self.dilation[axis]);
            while rest > 0 {
                (common, rest) = (rest, common % rest);
            }
            match self.stride[axis].checked_div(common) {
                Some(steps) if steps < self.kernel[axis] => return true,
                _ => axis += 1,
            }
        }
        false
    }

    /// Whether each window has a cell of an input of `inputs` cells, so that none stands on padding alone.
    #[must_use]
    pub const fn covers(&self, inputs: [usize; N]) -> bool {
        let Ok(outputs) = self.outputs(inputs) else {
            return false;
        };
        let mut axis = 0;
        while axis < N {
            let (before, end) = (self.padding[axis][0], self.padding[axis][0] + inputs[axis]);
            let mut window = 0;
            while window < outputs[axis] {
                let (mut cell, mut left) = (window * self.stride[axis], self.kernel[axis]);
                while cell < before && left > 1 {
                    (cell, left) = (cell + self.dilation[axis], left - 1);
                }
                if cell < before || cell >= end {
                    return false;
                }
                window += 1;
            }
            axis += 1;
        }
        true
    }

    /// The axes for the loops of kernels over `inputs` cells, which know three: those that `N` lacks come
    /// first and have one cell. Steps beyond the padded input are cut to it: they reach nothing, and no
    /// product with them overflows.
    #[cfg_attr(target_os = "none", inline(never))]
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub(crate) fn axes(&self, inputs: [usize; N]) -> [Axis; 3] {
        // Indices that cannot fail, and no zip from its end: each links the panic of what guards it.
        let missing = 3usize.saturating_sub(N);
        core::array::from_fn(|place| {
            let Some(axis) = place.checked_sub(missing) else {
                return Axis::UNIT;
            };
            let (Some(&kernel), Some(&[before, after]), Some(&input)) = (
                self.kernel.get(axis),
                self.padding.get(axis),
                inputs.get(axis),
            ) else {
                return Axis::UNIT;
            };
            let end = input.saturating_add(before).saturating_add(after).max(1);
            let step = |steps: &[usize; N]| steps.get(axis).map_or(1, |&step| step.min(end));
            Axis {
                kernel,
                stride: step(&self.stride),
                before,
                dilation: step(&self.dilation),
            }
        })
    }

    /// Axis `axis`, of the `N` that there are.
    #[inline(always)]
    pub(crate) const fn axis(&self, axis: usize) -> Axis {
        Axis {
            kernel: self.kernel[axis],
            stride: self.stride[axis],
            before: self.padding[axis][0],
            dilation: self.dilation[axis],
        }
    }
}

/// The extents of `N` axes as three: those that `N` lacks come first and are 1.
#[cfg_attr(target_os = "none", inline(never))]
#[cfg_attr(not(target_os = "none"), inline(always))]
pub(crate) fn three_axes<const N: usize>(extents: [usize; N]) -> [usize; 3] {
    let mut three = [1; 3];
    for (to, &extent) in three.iter_mut().rev().zip(extents.iter().rev()) {
        *to = extent;
    }
    three
}

/// A computation over three axes. Without it the compiler knows that the first axis has one cell, and
/// a program that has no planes links no loop over them.
pub struct Deep<K>(pub(crate) K);

/// One axis of a [`Window`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Padding before the first cell.
    pub(crate) before: usize,
    pub(crate) dilation: usize,
}

/// Cells, or windows, at equal distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) first: usize,
    pub(crate) step: usize,
    pub(crate) len: usize,
}

impl Steps {
    const NONE: Self = Self {
        first: 0,
        step: 1,
        len: 0,
    };
    /// The first one alone.
    pub(crate) const ONE: Self = Self {
        len: 1,
        ..Self::NONE
    };

    /// Those that lie below `extent`, of up to `len`.
    #[inline] // a function of its own where size counts
    const fn below(first: usize, step: usize, len: usize, extent: usize) -> Self {
        if first >= extent {
            return Self::NONE;
        }
        let room = quotient(extent - 1 - first, step) + 1;
        let len = if len < room { len } else { room };
        Self { first, step, len }
    }

    #[inline(always)]
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..self.len).map(move |i| self.first + i * self.step)
    }
}

/// `a / b`, rounded down. Most windows have a stride or a dilation of 1, and small cores divide slowly.
#[inline(always)]
const fn quotient(a: usize, b: usize) -> usize {
    if b == 1 {
        return a;
    }
    match a.checked_div(b) {
        Some(quotient) => quotient,
        None => 0,
    }
}

/// The greatest common divisor of two positive numbers.
const fn common_divisor(a: usize, b: usize) -> usize {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = match a.checked_rem(b) {
            Some(rest) => (b, rest),
            None => (b, 0),
        };
    }
    a
}

impl Axis {
    pub(crate) const UNIT: Self = Self {
        kernel: 1,
        stride: 1,
        before: 0,
        dilation: 1,
    };

    /// The input cell under cell `k` of window `output`, unless it is padding. `extent` is that of
    /// the input.
    #[inline(always)]
    pub(crate) fn input(&self, output: usize, k: usize, extent: usize) -> Option<usize> {
        let cell = (output * self.stride + k * self.dilation).checked_sub(self.before)?;
        (cell < extent).then_some(cell)
    }

    /// The first of `outputs` windows that stands on padding alone. A dilated window may miss a small
    /// input in the middle of its way, too.
    #[inline(never)]
    pub(crate) fn uncovered(&self, outputs: usize, extent: usize) -> Option<usize> {
        let on_input = |output| (0..self.kernel).any(|k| self.input(output, k, extent).is_some());
        (0..outputs).find(|&output| !on_input(output))
    }

    /// The input cells under window `output`, without padding: those of [`Axis::input`] for all `k`.
    #[inline] // a function of its own where size counts
    pub(crate) const fn cells(&self, output: usize, extent: usize) -> Steps {
        let start = output * self.stride;
        let missing = self.before.saturating_sub(start);
        let skip = quotient(missing + self.dilation - 1, self.dilation);
        if skip >= self.kernel {
            return Steps::NONE;
        }
        let first = start + skip * self.dilation - self.before;
        Steps::below(first, self.dilation, self.kernel - skip, extent)
    }

    /// The windows, among `extent`, over input cell `cell`: those of [`Axis::output`] for all `k`.
    #[inline] // a function of its own where size counts
    pub(crate) fn windows(&self, cell: usize, extent: usize) -> Steps {
        let (kernel, stride, dilation) = (self.kernel, self.stride, self.dilation);
        let end = cell + self.before;
        // A window starts at `end - k · dilation`. The largest `k` gives the first one; from it on
        // every `period`th does.
        let common = if dilation == 1 {
            1
        } else {
            common_divisor(stride, dilation)
        };
        let period = quotient(stride, common);
        let largest = quotient(end, dilation).min(kernel - 1);
        for k in (0..=largest).rev().take(period) {
            let start = end - k * dilation;
            let first = quotient(start, stride);
            if first * stride == start {
                let step = quotient(dilation, common);
                return Steps::below(first, step, quotient(k, period) + 1, extent);
            }
        }
        Steps::NONE
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

    /// The kernel's cells of window `output` that lie on the input.
    #[inline]
    pub(crate) fn cells_on(&self, output: usize, extent: usize) -> core::ops::Range<usize> {
        let is_on = |&k: &usize| self.input(output, k, extent).is_some();
        let first = (0..self.kernel).find(is_on).unwrap_or(0);
        let end = (first..self.kernel)
            .rev()
            .find(is_on)
            .map_or(first, |k| k + 1);
        first..end
    }

    /// The windows that lie on the input with all cells, among `outputs` windows: the first, and
    /// one past the last.
    #[inline]
    pub(crate) fn inner(&self, extent: usize, outputs: usize) -> (usize, usize) {
        let first = self.before.div_ceil(self.stride.max(1)).min(outputs);
        let reach = self.dilation * (self.kernel - 1);
        // The last cell of window c lies on c · stride + reach - before, which is below `extent`.
        let end = (extent + self.before)
            .saturating_sub(reach)
            .div_ceil(self.stride.max(1))
            .min(outputs);
        (first, end.max(first))
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

/// Image, plane and row of the row with number `row` over all images, which have `planes` planes of
/// `rows` rows.
#[inline(always)]
pub(crate) fn locate(row: usize, planes: usize, rows: usize) -> [usize; 3] {
    let plane = row.checked_div(rows).unwrap_or(0);
    let image = plane.checked_div(planes).unwrap_or(0);
    [image, plane - image * planes, row - plane * rows]
}

/// The place of the row after that at `[image, plane, row]`.
#[inline(always)]
pub(crate) fn advance(at: &mut [usize; 3], planes: usize, rows: usize) {
    let [image, plane, row] = at;
    *row += 1;
    if *row == rows {
        (*plane, *row) = (*plane + 1, 0);
        if *plane == planes {
            (*image, *plane) = (*image + 1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::{Axis, Steps};
    use std::vec::Vec;

    /// Cells and windows against their definitions, for all small windows.
    #[test]
    fn steps_are_what_a_search_finds() {
        let mut cases = 0;
        for code in 0..4 * 5 * 4 * 4 * 7 {
            let axis = Axis {
                kernel: code % 4 + 1,
                stride: code / 4 % 5 + 1,
                before: code / 20 % 4,
                dilation: code / 80 % 4 + 1,
            };
            let input = code / 320 + 1;
            for output in 0..9 {
                let found: Vec<_> = (0..axis.kernel)
                    .filter_map(|k| axis.input(output, k, input))
                    .collect();
                let steps = axis.cells(output, input);
                assert!(steps.iter().eq(found), "{axis:?}: cells of {output}");
            }
            for outputs in 1..9 {
                for cell in 0..input {
                    let mut found: Vec<_> = (0..axis.kernel)
                        .filter_map(|k| axis.output(cell, k, outputs))
                        .collect();
                    found.reverse();
                    let steps = axis.windows(cell, outputs);
                    assert!(steps.iter().eq(found), "{axis:?}: windows over {cell}");
                    cases += steps.len;
                }
            }
        }
        assert!(cases > 10_000);
        assert_eq!(Steps::NONE.iter().count(), 0);
    }
}
