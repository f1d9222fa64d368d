//! How a window moves over one to three axes, as a type.

use crate::tensor::Shape;
use core::marker::PhantomData;
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
    /// As many as give `ceil(input / stride)` windows; see [`Window::same`].
    Same,
    /// `[before, after]` of planes, rows and columns.
    Explicit([[usize; 2]; 3]),
    /// The same, and as many cells after as a last window lacks that begins within the input or before it:
    /// PyTorch's `ceil_mode`.
    Ceil([[usize; 2]; 3]),
}

/// How a window moves. Axes are planes, rows and columns; a signal has columns alone, an image rows
/// and columns. [`Step`] does for most; padding of another number on each side is a type of its own:
/// ```
/// use selvedge_core::net::{Geometry, Padding};
///
/// /// Looks back: three columns before the first.
/// struct Causal;
///
/// impl Geometry for Causal {
///     const STRIDE: [usize; 3] = [1; 3];
///     const PADDING: Padding = Padding::Explicit([[0, 0], [0, 0], [3, 0]]);
/// }
/// ```
pub trait Geometry: 'static {
    /// Step between windows.
    const STRIDE: [usize; 3];
    /// Cells beside the input.
    const PADDING: Padding;
    /// Distance between the kernel's cells.
    const DILATION: [usize; 3] = [1; 3];
}

/// Cells beside the input, as a type.
pub trait Pads: 'static {
    /// The same as a value.
    const PADDING: Padding;
}

/// `CELLS` before and after, along all axes; 0 is the padding "valid".
#[derive(Clone, Copy, Debug, Default)]
pub struct PadBy<const CELLS: usize = 0>;

impl<const CELLS: usize> Pads for PadBy<CELLS> {
    const PADDING: Padding = Padding::Explicit([[CELLS; 2]; 3]);
}

/// As many as give `ceil(input / stride)` windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct PadSame;

impl Pads for PadSame {
    const PADDING: Padding = Padding::Same;
}

/// `CELLS` before and after, along all axes, and what a last window lacks that begins within the input:
/// PyTorch's `ceil_mode`. For pools; a mean that counts padding does not compile with it, as there the last
/// window's missing cells do not count.
///
/// # Example
/// ```
/// use selvedge_core::net::{Layer, MaxPool, PadCeil, Step};
/// use selvedge_core::tensor::{D1, D2};
/// // Five columns by two: two windows, and one that has a single column.
/// static HALVE: MaxPool<i8, D2<5, 3>, D2<3, 3>, D1<2>, Step<2, 2, PadCeil>> = Layer::BLANK;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct PadCeil<const CELLS: usize = 0>;

impl<const CELLS: usize> Pads for PadCeil<CELLS> {
    const PADDING: Padding = Padding::Ceil([[CELLS; 2]; 3]);
}

/// A step of `DOWN` rows (and planes) and `ACROSS` columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step<const DOWN: usize, const ACROSS: usize, P = PadBy, const DILATION: usize = 1>(
    PhantomData<P>,
);

impl<const DOWN: usize, const ACROSS: usize, P: Pads, const DILATION: usize> Geometry
    for Step<DOWN, ACROSS, P, DILATION>
{
    const STRIDE: [usize; 3] = [DOWN, DOWN, ACROSS];
    const PADDING: Padding = P::PADDING;
    const DILATION: [usize; 3] = [DILATION; 3];
}

/// The same stride, dilation and number of padded cells along all axes and on both sides.
pub type Slide<const STRIDE: usize = 1, const PADDING: usize = 0, const DILATION: usize = 1> =
    Step<STRIDE, STRIDE, PadBy<PADDING>, DILATION>;

/// The same stride and dilation along all axes, padded to `ceil(input / stride)` windows.
pub type Same<const STRIDE: usize = 1, const DILATION: usize = 1> =
    Step<STRIDE, STRIDE, PadSame, DILATION>;

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
        match G::PADDING {
            Padding::Same => (),
            Padding::Explicit(padding) => window.padding[axis] = padding[of],
            Padding::Ceil(padding) => {
                let reach = (kernel[axis] - 1) * G::DILATION[of] + 1;
                window.padding[axis] = ceil(input[axis], reach, G::STRIDE[of], padding[of]);
            }
        }
        axis += 1;
    }
    if !matches!(G::PADDING, Padding::Same) {
        return window;
    }
    let same = window.same(input);
    assert!(
        same.is_ok(),
        "a window without kernel, stride, dilation or input"
    );
    match same {
        Ok(window) => window,
        Err(_) => window,
    }
}

/// Padding with what the last window lacks, if one begins behind those that fit and before the padding after.
///
/// # Panics
/// In a constant, if no window fits or the stride is 0: the build fails.
const fn ceil(
    input: usize,
    reach: usize,
    stride: usize,
    [before, after]: [usize; 2],
) -> [usize; 2] {
    let cells = before + input + after;
    assert!(
        stride > 0 && reach <= cells,
        "a window that does not fit into its padded input"
    );
    let begin = ((cells - reach) / stride + 1) * stride; // of the first that does not fit
    if (cells - reach).is_multiple_of(stride) || begin >= before + input {
        return [before, after];
    }
    [before, begin + reach - before - input]
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

/// Channels of each of `groups` groups.
///
/// # Panics
/// If they do not divide the channels: `net!` calls it in constants only, where that fails the build.
#[doc(hidden)]
#[must_use]
pub const fn per_group(channels: usize, groups: usize) -> usize {
    assert!(
        groups > 0 && channels.is_multiple_of(groups),
        "net!: the groups do not divide the channels"
    );
    channels / groups
}

/// How many windows of `kernel` cells stand on an axis of `extent` cells, `stride` apart; `padding` is that of
/// the last axis. Source: [`selvedge_kernels::window`].
///
/// # Panics
/// If none does: `net!` calls it in constants only, where that fails the build.
#[doc(hidden)]
#[must_use]
pub const fn windows(
    extent: usize,
    kernel: usize,
    stride: usize,
    padding: Padding,
    dilation: usize,
) -> usize {
    assert!(stride > 0, "net!: a stride is zero");
    let [before, after] = match padding {
        Padding::Same => return extent.div_ceil(stride),
        Padding::Explicit([.., last]) => last,
        Padding::Ceil([.., last]) => ceil(extent, (kernel - 1) * dilation + 1, stride, last),
    };
    let extent = extent + before + after;
    assert!(
        kernel > 0 && (kernel - 1) * dilation < extent,
        "net!: a window does not fit into its padded input"
    );
    (extent - (kernel - 1) * dilation - 1) / stride + 1
}

/// How many cells the transpose of such a convolution gives for `extent` cells.
///
/// # Panics
/// If there are none: `net!` calls it in constants only, where that fails the build.
#[doc(hidden)]
#[must_use]
pub const fn spread(
    extent: usize,
    kernel: usize,
    stride: usize,
    padding: Padding,
    dilation: usize,
) -> usize {
    let [before, after] = match padding {
        Padding::Same => return extent * stride,
        Padding::Explicit([.., last]) | Padding::Ceil([.., last]) => last,
    };
    assert!(
        extent > 0 && kernel > 0,
        "net!: a transposed convolution without input or kernel"
    );
    let reach = (extent - 1) * stride + (kernel - 1) * dilation + 1;
    assert!(
        reach > before + after,
        "net!: the padding leaves nothing of a transposed convolution"
    );
    reach - before - after
}
