//! Windows that move over one to three axes.

use crate::graph::{Error, shown};
use crate::network::builder::Builder;
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::window::Window;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// An extent for each axis, or one for all: `3`, `[5, 3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(untagged))]
pub enum Extents {
    /// The same along all axes.
    All(usize),
    /// Along each.
    Each(Vec<usize>),
}

impl From<usize> for Extents {
    fn from(extent: usize) -> Self {
        Self::All(extent)
    }
}

impl<const N: usize> From<[usize; N]> for Extents {
    fn from(extents: [usize; N]) -> Self {
        Self::Each(extents.to_vec())
    }
}

impl Extents {
    pub(super) const fn one() -> Self {
        Self::All(1)
    }

    /// Parts of an input of these extents: no more than it has cells.
    pub(super) fn parts<const N: usize>(
        &self,
        to: &Builder<'_>,
        input: [usize; N],
    ) -> Result<[usize; N], Error> {
        let parts = self.of("output", to)?;
        for (part, cells) in parts.iter().zip(input) {
            to.check_range("parts along an axis", *part, cells)?;
        }
        Ok(parts)
    }

    /// The extents of an attribute for `N` axes.
    fn of<const N: usize>(&self, name: &str, to: &Builder<'_>) -> Result<[usize; N], Error> {
        let found = match self {
            Self::All(extent) => vec![*extent; N],
            Self::Each(extents) => extents.clone(),
        };
        let most = 1 << 16;
        match <[usize; N]>::try_from(found) {
            Ok(extents) if extents.iter().all(|extent| (1..=most).contains(extent)) => Ok(extents),
            Ok(extents) => {
                let expected = alloc::format!("{name} of 1 to {most}");
                Err(to.attribute_error(expected, shown(&extents)))
            }
            Err(found) => {
                let expected = alloc::format!("a {name} of {N} axes");
                Err(to.attribute_error(expected, shown(&found)))
            }
        }
    }
}

/// Cells around an image that are not there: zeros for sums, nothing for maxima.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Padding {
    /// None.
    #[default]
    Valid,
    /// As many as give an output of the input's extents over the stride, rounded up; an odd one after the last.
    Same,
    /// As many after the last as a window needs that does not fit any more. Not for convolutions.
    Ceil,
    /// These, on each side.
    #[cfg_attr(feature = "json", serde(untagged))]
    All(usize),
    /// These, before and after, along each axis.
    #[cfg_attr(feature = "json", serde(untagged))]
    Each(Vec<[usize; 2]>),
}

/// What windows have in common.
pub(super) struct Sliding<'a> {
    pub(super) kernel: &'a Extents,
    pub(super) stride: &'a Extents,
    pub(super) padding: &'a Padding,
    pub(super) dilation: &'a Extents,
}

impl Sliding<'_> {
    /// The window over an input of these extents.
    pub(super) fn window<const N: usize>(
        &self,
        to: &Builder<'_>,
        input: [usize; N],
    ) -> Result<Window<N>, Error> {
        const MOST: usize = 1 << 16;
        let kernel = self.kernel.of("kernel", to)?;
        let stride = self.stride.of("stride", to)?;
        let dilation = self.dilation.of("dilation", to)?;
        let window = Window {
            kernel,
            stride,
            dilation,
            ..Window::uniform(1, 1, 0)
        };
        let padding = match self.padding {
            Padding::Valid => [[0; 2]; N],
            Padding::Same => return window.same(input).map_err(to.kernel()),
            Padding::Ceil => {
                let axes = window.outputs(input).map_err(to.kernel())?;
                let mut padding = [[0; 2]; N];
                let extents = axes
                    .iter()
                    .zip(input)
                    .zip(kernel)
                    .zip(stride.iter().zip(dilation));
                for (to, (((windows, input), kernel), (stride, dilation))) in
                    padding.iter_mut().zip(extents)
                {
                    let begin = windows * stride; // of the first that does not fit
                    let reach = (kernel - 1) * dilation + 1;
                    let fits = (input - reach).is_multiple_of(*stride);
                    if !fits && begin < input {
                        *to = [0, begin + reach - input];
                    }
                }
                padding
            }
            Padding::All(cells) => [[*cells; 2]; N],
            Padding::Each(cells) => match <[[usize; 2]; N]>::try_from(&**cells) {
                Ok(cells) => cells,
                Err(_) => {
                    let expected = alloc::format!("a padding of {N} axes");
                    return Err(
                        to.attribute_error(expected, alloc::format!("{} axes", cells.len()))
                    );
                }
            },
        };
        if let Some(cells) = padding.iter().flatten().find(|&&cells| cells > MOST) {
            let expected = alloc::format!("a padding of at most {MOST}");
            return Err(to.attribute_error(expected, cells));
        }
        Ok(Window { padding, ..window })
    }
}

impl Sliding<'_> {
    /// The extents that a transposed convolution makes of `narrow`, and its window over them.
    pub(super) fn spread<const N: usize>(
        &self,
        to: &Builder<'_>,
        narrow: [usize; N],
    ) -> Result<([usize; N], Window<N>), Error> {
        let kernel: [usize; N] = self.kernel.of("kernel", to)?;
        let stride: [usize; N] = self.stride.of("stride", to)?;
        let dilation: [usize; N] = self.dilation.of("dilation", to)?;
        let mut wide = narrow;
        let axes = wide.iter_mut().zip(kernel).zip(stride.iter().zip(dilation));
        for ((wide, kernel), (stride, dilation)) in axes {
            *wide = match self.padding {
                Padding::Same => wide.saturating_mul(*stride),
                _ => wide.saturating_sub(1).saturating_mul(*stride) + (kernel - 1) * dilation + 1,
            };
        }
        // What the window lies over is not known before its padding is.
        let window = self.window(to, wide)?;
        if *self.padding == Padding::Same {
            return Ok((wide, window));
        }
        let shape = wide;
        for (wide, [before, after]) in wide.iter_mut().zip(window.padding) {
            *wide = wide.saturating_sub(before + after);
        }
        if wide.contains(&0) {
            let expected = "a padding that leaves something of the output";
            return Err(to.attribute_error(expected, shown(&shape)));
        }
        Ok((wide, window))
    }
}

/// Calls `$body` with the number of axes of an input as `$n`, the last extent being channels, as `$input` and
/// `$channels`.
macro_rules! by_rank {
    ($to:expr, $shape:expr, ($input:ident, $channels:ident) => $body:expr) => {
        match *$shape {
            [a, $channels] => {
                let $input = [a];
                $body
            }
            [a, b, $channels] => {
                let $input = [a, b];
                $body
            }
            [a, b, c, $channels] => {
                let $input = [a, b, c];
                $body
            }
            _ => Err($to.shape_error("one to three axes and channels", &$shape)),
        }
    };
}
pub(super) use by_rank;
