//! Convolutions for tests: random shapes, and the products that a shape is made of.

use crate::noise::Noise;
use selvedge_kernels::conv::Shape;
use selvedge_kernels::window::Window;

/// A shape with extents at which the dilated kernel just fits or has some room; groups up to depthwise.
#[must_use]
pub fn random_shape(noise: &mut Noise) -> Shape {
    let mut window = Window::uniform(1, 1, 0);
    let mut extents = [0; 2];
    for (axis, extent) in extents.iter_mut().enumerate() {
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
        input: [extents[0], extents[1]],
        channels: groups * group_channels,
        filters: groups * (1 + noise.below(3)),
        groups,
        window,
    }
}

/// Elements of a filter.
#[must_use]
pub fn filter_len(shape: &Shape) -> usize {
    shape.window.kernel[0] * shape.window.kernel[1] * shape.channels / shape.groups
}

/// Elements of the input and of the output.
///
/// # Panics
/// If the window does not fit.
#[must_use]
pub fn lens(shape: &Shape) -> [usize; 2] {
    let [rows, columns] = shape.outputs().unwrap();
    [
        shape.batch * shape.input[0] * shape.input[1] * shape.channels,
        shape.batch * rows * columns * shape.filters,
    ]
}

/// Calls `visit(output, input, weight)` with the indices of every product of a convolution.
///
/// # Panics
/// If the window does not fit.
pub fn products(shape: &Shape, mut visit: impl FnMut(usize, usize, usize)) {
    let window = shape.window;
    let [rows, columns] = shape.outputs().unwrap();
    let channels = shape.channels / shape.groups;
    let filters = shape.filters / shape.groups;
    let cell = |axis: usize, output: usize, k: usize| {
        let cell = output * window.stride[axis] + k * window.dilation[axis];
        cell.wrapping_sub(window.padding[axis][0])
    };
    for position in 0..shape.batch * rows * columns {
        let (n, r, c) = (
            position / columns / rows,
            position / columns % rows,
            position % columns,
        );
        for o in 0..shape.filters {
            for tap in 0..window.kernel[0] * window.kernel[1] {
                let y = cell(0, r, tap / window.kernel[1]);
                let x = cell(1, c, tap % window.kernel[1]);
                if y >= shape.input[0] || x >= shape.input[1] {
                    continue;
                }
                for k in 0..channels {
                    let input = ((n * shape.input[0] + y) * shape.input[1] + x) * shape.channels
                        + o / filters * channels
                        + k;
                    let weight = o * filter_len(shape) + tap * channels + k;
                    visit(position * shape.filters + o, input, weight);
                }
            }
        }
    }
}
