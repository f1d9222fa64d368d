//! Which windows have which cells, along one axis.

use crate::window::{Axis, Steps};

/// Which windows have which cells, along one axis.
pub(super) trait Cover: Copy + Send + Sync {
    /// Whether there may be planes. If not, the compiler knows that the first axis has one cell, and a
    /// program that has no planes links no loop over them.
    const IS_DEEP: bool;

    /// The cells of a window, in order.
    fn cells(&self, window: usize) -> Steps;

    /// The windows that have a cell, in order.
    fn windows(&self, cell: usize) -> Steps;

    /// Extents of input and output.
    fn extents(&self) -> [usize; 2];
}

/// Windows that slide, over planes if `DEEP`.
#[derive(Clone, Copy, Debug)]
pub struct Sliding<const DEEP: bool> {
    pub(super) axis: Axis,
    pub(super) input: usize,
    pub(super) outputs: usize,
}

impl<const DEEP: bool> Sliding<DEEP> {
    /// The largest number of cells that a window has on the input.
    pub(super) const fn most_cells(&self) -> usize {
        let (mut most, mut window) = (0, 0);
        while window < self.outputs && most < self.axis.kernel {
            let len = self.axis.cells(window, self.input).len;
            most = if len > most { len } else { most };
            window += 1;
        }
        most
    }
}

impl<const DEEP: bool> Cover for Sliding<DEEP> {
    const IS_DEEP: bool = DEEP;

    #[inline(always)]
    fn cells(&self, window: usize) -> Steps {
        self.axis.cells(window, self.input)
    }

    #[inline(always)]
    fn windows(&self, cell: usize) -> Steps {
        self.axis.windows(cell, self.outputs)
    }

    fn extents(&self) -> [usize; 2] {
        [self.input, self.outputs]
    }
}

/// Windows that divide an axis: number `i` of `outputs` has the cells from `i · input / outputs`,
/// rounded down, to `(i + 1) · input / outputs`, rounded up.
#[derive(Clone, Copy, Debug)]
pub struct Even {
    pub(super) input: usize,
    pub(super) outputs: usize,
}

impl Even {
    /// From `at · to / from` rounded down to `(at + 1) · to / from` rounded up.
    #[inline]
    const fn part(at: usize, from: usize, to: usize) -> Steps {
        let (first, end) = match (
            (at * to).checked_div(from),
            ((at + 1) * to + from - 1).checked_div(from),
        ) {
            (Some(first), Some(end)) => (first, end),
            _ => (0, 0),
        };
        Steps {
            first,
            step: 1,
            len: end - first,
        }
    }

    /// The largest number of cells that a window has.
    pub(super) const fn most_cells(&self) -> usize {
        let (mut most, mut window) = (0, 0);
        while window < self.outputs {
            let len = Self::part(window, self.outputs, self.input).len;
            most = if len > most { len } else { most };
            window += 1;
        }
        most
    }
}

impl Cover for Even {
    const IS_DEEP: bool = true;

    #[inline(always)]
    fn cells(&self, window: usize) -> Steps {
        Self::part(window, self.outputs, self.input)
    }

    /// Window `i` has cell `c` if `i · input < (c + 1) · outputs` and `c · outputs < (i + 1) · input`:
    /// the same rule with the axes exchanged.
    #[inline(always)]
    fn windows(&self, cell: usize) -> Steps {
        Self::part(cell, self.input, self.outputs)
    }

    fn extents(&self) -> [usize; 2] {
        [self.input, self.outputs]
    }
}
