//! How a window moves over one to three axes, as a type.

use crate::tensor::Shape;
use selvedge_kernels::window::Window;

/// `$body` with the constant `$n`, the number of spatial axes of `$shape`: its rank without
/// channels. A program links the kernels of that number only.
macro_rules! by_axes {
    ($shape:ty, $n:ident => $body:expr) => {
        match <$shape as Shape>::RANK {
            2 => {
                const $n: usize = 1;
                $body
            }
            3 => {
                const $n: usize = 2;
                $body
            }
            _ => {
                const $n: usize = 3;
                $body
            }
        }
    };
}
pub(super) use by_axes;

/// Cells beside the input that a window may stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// None: windows stay on the input.
    Valid,
    /// As many as give `ceil(input / stride)` windows; see [`Window::same`].
    Same,
    /// `[before, after]` of planes, rows and columns.
    Explicit([[usize; 2]; 3]),
}

/// How a window moves. Axes are planes, rows and columns; a signal has columns alone, an image rows
/// and columns.
pub trait Geometry: 'static {
    /// Step between windows.
    const STRIDE: [usize; 3];
    /// Cells beside the input.
    const PADDING: Padding;
    /// Distance between the kernel's cells.
    const DILATION: [usize; 3] = [1; 3];
}

/// The same stride, dilation and number of padded cells along all axes and on both sides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slide<const STRIDE: usize = 1, const PADDING: usize = 0, const DILATION: usize = 1>;

impl<const STRIDE: usize, const PADDING: usize, const DILATION: usize> Geometry
    for Slide<STRIDE, PADDING, DILATION>
{
    const STRIDE: [usize; 3] = [STRIDE; 3];
    const PADDING: Padding = Padding::Explicit([[PADDING; 2]; 3]);
    const DILATION: [usize; 3] = [DILATION; 3];
}

/// The same stride and dilation along all axes, padded to `ceil(input / stride)` windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Same<const STRIDE: usize = 1, const DILATION: usize = 1>;

impl<const STRIDE: usize, const DILATION: usize> Geometry for Same<STRIDE, DILATION> {
    const STRIDE: [usize; 3] = [STRIDE; 3];
    const PADDING: Padding = Padding::Same;
    const DILATION: [usize; 3] = [DILATION; 3];
}

/// A stride and padded cells of their own for rows and columns: `TOP` and `BOTTOM`, `LEFT` and `RIGHT`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sides<
    const DOWN: usize,
    const ACROSS: usize,
    const TOP: usize,
    const BOTTOM: usize,
    const LEFT: usize,
    const RIGHT: usize,
>;

impl<
    const DOWN: usize,
    const ACROSS: usize,
    const TOP: usize,
    const BOTTOM: usize,
    const LEFT: usize,
    const RIGHT: usize,
> Geometry for Sides<DOWN, ACROSS, TOP, BOTTOM, LEFT, RIGHT>
{
    const STRIDE: [usize; 3] = [1, DOWN, ACROSS];
    const PADDING: Padding = Padding::Explicit([[0; 2], [TOP, BOTTOM], [LEFT, RIGHT]]);
}

/// The first `N` extents of `S` from axis `from` on.
pub(super) const fn extents<S: Shape, const N: usize>(from: usize) -> [usize; N] {
    let mut extents = [1; N];
    let mut axis = 0;
    while axis < N {
        extents[axis] = S::EXTENTS[from + axis];
        axis += 1;
    }
    extents
}

/// The window of `kernel` cells that moves as `G` says over `input`.
///
/// # Panics
/// In a constant, if the padding "same" cannot be counted: the build fails.
pub(super) const fn window<G: Geometry, const N: usize>(
    kernel: [usize; N],
    input: [usize; N],
) -> Window<N> {
    let mut window = Window {
        kernel,
        ..Window::uniform(1, 1, 0)
    };
    let mut axis = 0;
    while axis < N {
        let of = 3 - N + axis;
        window.stride[axis] = G::STRIDE[of];
        window.dilation[axis] = G::DILATION[of];
        if let Padding::Explicit(padding) = G::PADDING {
            window.padding[axis] = padding[of];
        }
        axis += 1;
    }
    match G::PADDING {
        Padding::Same => match window.same(input) {
            Ok(window) => window,
            Err(_) => panic!("a window without kernel, stride, dilation or input"),
        },
        _ => window,
    }
}

/// Whether inputs `In` under `window` give outputs `Out`, channels aside.
pub(super) const fn gives<In: Shape, Out: Shape, const N: usize>(window: &Window<N>) -> bool {
    let outputs = match window.outputs(extents::<In, N>(0)) {
        Ok(outputs) => outputs,
        Err(_) => return false,
    };
    let mut axis = 0;
    while axis < N {
        if outputs[axis] != Out::EXTENTS[axis] {
            return false;
        }
        axis += 1;
    }
    true
}

/// The name of a layer over one, two or three axes.
pub(super) const fn named<In: Shape>(names: [&'static str; 3]) -> &'static str {
    by_axes!(In, N => names[N - 1])
}
