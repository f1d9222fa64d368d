//! Convolutions for tests: random shapes, and the products that a shape is made of.

use crate::noise::Noise;
use selvedge_kernels::conv::Shape;
use selvedge_kernels::window::Window;

/// A shape with extents at which the dilated kernel just fits or has some room; groups up to depthwise.
#[must_use]
pub fn random_shape<const N: usize>(noise: &mut Noise) -> Shape<N> {
    let mut window = Window::uniform(1, 1, 0);
    let mut input = [0; N];
    for (axis, extent) in input.iter_mut().enumerate() {
        let (kernel, dilation) = (1 + noise.below(3), 1 + noise.below(2));
        window.kernel[axis] = kernel;
        window.dilation[axis] = dilation;
        window.stride[axis] = 1 + noise.below(3);
        window.padding[axis] = [noise.below(3), noise.below(3)];
        let [before, after] = window.padding[axis];
        let span = (kernel - 1) * dilation + 1;
        *extent = (span + noise.below(9))
            .saturating_sub(before + after)
            .max(1);
    }
    let groups = 1 + noise.below(4);
    // Depthwise, a few channels, or more than a block of weights in one filter.
    let group_channels = [1, 3, 37][noise.below(3)];
    Shape {
        batch: 1 + noise.below(2),
        input,
        channels: groups * group_channels,
        filters: groups * (1 + noise.below(3)),
        groups,
        window,
    }
}

/// Elements of a filter.
#[must_use]
pub fn filter_len<const N: usize>(shape: &Shape<N>) -> usize {
    cells(shape) * shape.channels / shape.groups
}

/// Cells of the kernel.
#[must_use]
pub fn cells<const N: usize>(shape: &Shape<N>) -> usize {
    shape.window.kernel.iter().product()
}

/// Elements of the input and of the output.
///
/// # Panics
/// If the window does not fit.
#[must_use]
pub fn lens<const N: usize>(shape: &Shape<N>) -> [usize; 2] {
    let positions = shape.outputs().unwrap().iter().product::<usize>();
    [
        shape.batch * shape.input.iter().product::<usize>() * shape.channels,
        shape.batch * positions * shape.filters,
    ]
}

/// The place of number `index` among cells of these extents, in row-major order, and how many times those are
/// left before it.
fn place<const N: usize>(mut index: usize, extents: [usize; N]) -> (usize, [usize; N]) {
    let mut at = [0; N];
    for axis in (0..N).rev() {
        (index, at[axis]) = (index / extents[axis], index % extents[axis]);
    }
    (index, at)
}

/// Calls `visit(output, input, weight)` with the indices of every product of a convolution.
///
/// # Panics
/// If the window does not fit.
pub fn products<const N: usize>(shape: &Shape<N>, mut visit: impl FnMut(usize, usize, usize)) {
    let window = shape.window;
    let outputs = shape.outputs().unwrap();
    let channels = shape.channels / shape.groups;
    let filters = shape.filters / shape.groups;
    for position in 0..shape.batch * outputs.iter().product::<usize>() {
        let (sample, output) = place(position, outputs);
        for tap in 0..cells(shape) {
            let (_, k) = place(tap, window.kernel);
            let cell = (0..N).try_fold(sample, |before, axis| {
                let cell = output[axis] * window.stride[axis] + k[axis] * window.dilation[axis];
                let cell = cell.checked_sub(window.padding[axis][0])?;
                (cell < shape.input[axis]).then_some(before * shape.input[axis] + cell)
            });
            let Some(cell) = cell else {
                continue;
            };
            for o in 0..shape.filters {
                for k in 0..channels {
                    let input = cell * shape.channels + o / filters * channels + k;
                    let weight = o * filter_len(shape) + tap * channels + k;
                    visit(position * shape.filters + o, input, weight);
                }
            }
        }
    }
}
