//! What layers over windows are, as plain loops over the cells under each window.

use selvedge_tests::plain::index;
use selvedge_tests::plain::places;

/// How a window moves over planes, rows and columns; a signal has one plane of one row.
#[derive(Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) kernel: [usize; 3],
    pub(crate) stride: [usize; 3],
    /// Cells before the first.
    pub(crate) before: [usize; 3],
    pub(crate) dilation: [usize; 3],
}

impl Windows {
    /// Side by side, without padding.
    pub(crate) fn of(kernel: [usize; 3]) -> Self {
        Self {
            kernel,
            stride: [1; 3],
            before: [0; 3],
            dilation: [1; 3],
        }
    }

    pub(crate) fn stride(self, stride: [usize; 3]) -> Self {
        Self { stride, ..self }
    }

    pub(crate) fn before(self, before: [usize; 3]) -> Self {
        Self { before, ..self }
    }

    pub(crate) fn dilation(self, dilation: [usize; 3]) -> Self {
        Self { dilation, ..self }
    }

    /// The cells of `wide` under the window at `at`, each with its place in the kernel.
    fn cells(self, wide: [usize; 3], at: [usize; 3]) -> Vec<([usize; 3], [usize; 3])> {
        let mut cells = Vec::new();
        for k in places(self.kernel) {
            let reach =
                [0, 1, 2].map(|axis| at[axis] * self.stride[axis] + k[axis] * self.dilation[axis]);
            let is_inside = |axis: usize| {
                reach[axis] >= self.before[axis] && reach[axis] - self.before[axis] < wide[axis]
            };
            if (0..3).all(is_inside) {
                cells.push((k, [0, 1, 2].map(|axis| reach[axis] - self.before[axis])));
            }
        }
        cells
    }
}

fn len(extents: [usize; 3]) -> usize {
    extents.iter().product()
}

/// Channels in `groups`, from how many to how many.
#[derive(Clone, Copy)]
pub(crate) struct Channels {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) groups: usize,
}

/// A convolution from `wide` to `narrow`: filters `[to, kernel, from / groups]`, then biases.
pub(crate) fn conv(
    windows: Windows,
    [wide, narrow]: [[usize; 3]; 2],
    Channels { from, to, groups }: Channels,
    activation: fn(f64) -> f64,
) -> impl Fn(&[f64], &[f64]) -> Vec<f64> {
    let (group, filters, cells) = (from / groups, to / groups, len(windows.kernel));
    move |x, parameters| {
        let (weight, bias) = parameters.split_at(to * cells * group);
        let mut y = Vec::new();
        for at in places(narrow) {
            for o in 0..to {
                let mut sum = bias[o];
                for (k, cell) in windows.cells(wide, at) {
                    for c in 0..group {
                        let x = x[index(wide, cell) * from + o / filters * group + c];
                        sum += x * weight[(o * cells + index(windows.kernel, k)) * group + c];
                    }
                }
                y.push(activation(sum));
            }
        }
        y
    }
}

/// The transpose of a convolution, from `narrow` to `wide`: filters `[from, kernel, to / groups]`, then biases.
pub(crate) fn conv_transpose(
    windows: Windows,
    [narrow, wide]: [[usize; 3]; 2],
    Channels { from, to, groups }: Channels,
    activation: fn(f64) -> f64,
) -> impl Fn(&[f64], &[f64]) -> Vec<f64> {
    let (inputs, group, cells) = (from / groups, to / groups, len(windows.kernel));
    move |x, parameters| {
        let (weight, bias) = parameters.split_at(from * cells * group);
        let mut y = bias.repeat(len(wide));
        for at in places(narrow) {
            for (k, cell) in windows.cells(wide, at) {
                for i in 0..from {
                    for o in 0..group {
                        let x = x[index(narrow, at) * from + i];
                        let w = weight[(i * cells + index(windows.kernel, k)) * group + o];
                        y[index(wide, cell) * to + i / inputs * group + o] += x * w;
                    }
                }
            }
        }
        y.into_iter().map(activation).collect()
    }
}

/// What `f` makes of the cells of each channel under each window.
pub(crate) fn pool(
    windows: Windows,
    [wide, narrow]: [[usize; 3]; 2],
    channels: usize,
    f: impl Fn(&[f64]) -> f64,
) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| {
        let mut y = Vec::new();
        for at in places(narrow) {
            for c in 0..channels {
                let cells = windows.cells(wide, at).into_iter();
                let cells: Vec<f64> = cells
                    .map(|(_, cell)| x[index(wide, cell) * channels + c])
                    .collect();
                y.push(f(&cells));
            }
        }
        y
    }
}

/// What `f` makes of the cells of each channel in each of `parts`, from `floor(i · H / o)` to before
/// `ceil((i + 1) · H / o)`.
pub(crate) fn adaptive(
    [wide, parts]: [[usize; 3]; 2],
    channels: usize,
    f: impl Fn(&[f64]) -> f64,
) -> impl Fn(&[f64]) -> Vec<f64> {
    move |x| {
        let mut y = Vec::new();
        for at in places(parts) {
            let is_inside = |cell: [usize; 3]| {
                (0..3).all(|axis| {
                    let (i, h, o) = (at[axis], wide[axis], parts[axis]);
                    (i * h / o..((i + 1) * h).div_ceil(o)).contains(&cell[axis])
                })
            };
            for c in 0..channels {
                let cells = places(wide).filter(|&cell| is_inside(cell));
                let cells: Vec<f64> = cells
                    .map(|cell| x[index(wide, cell) * channels + c])
                    .collect();
                y.push(f(&cells));
            }
        }
        y
    }
}

pub(crate) fn largest(x: &[f64]) -> f64 {
    x.iter().copied().fold(f64::MIN, f64::max)
}

pub(crate) fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// The mean of windows of `cells`, padding among them.
pub(crate) fn counted(cells: usize) -> impl Fn(&[f64]) -> f64 {
    move |x| x.iter().sum::<f64>() / cells as f64
}

pub(crate) fn identity(x: f64) -> f64 {
    x
}

/// Cells in steps of 1, two apart, padded to as many windows as there are cells: 2, 3 and 2 cells reach over 3, 5
/// and 3, so that 2, 4 and 2 cells are added.
pub(crate) fn spread() -> Windows {
    Windows::of([2, 3, 2]).before([1, 2, 1]).dilation([2; 3])
}
