//! Windows that move over one to three axes, as words of an image.

use super::Result;
use super::call::Attributes;
use selvedge_kernels::window::Window;

/// Kernel, stride, padding before and after, dilation.
pub(crate) fn read<const N: usize>(attributes: &mut Attributes<'_>) -> Result<Window<N>> {
    let kernel = attributes.sizes()?;
    let stride = attributes.sizes()?;
    let (before, after): ([usize; N], [usize; N]) = (attributes.sizes()?, attributes.sizes()?);
    let mut after = after.into_iter();
    Ok(Window {
        kernel,
        stride,
        padding: before.map(|before| [before, after.next().unwrap_or(0)]),
        dilation: attributes.sizes()?,
    })
}

/// Calls `$body` with the number of axes, which is the first attribute, as the constant `$n`.
macro_rules! by_axes {
    ($attributes:expr, $n:ident => $body:expr) => {
        match $attributes.word()? {
            1 => {
                const $n: usize = 1;
                $body
            }
            2 => {
                const $n: usize = 2;
                $body
            }
            3 => {
                const $n: usize = 3;
                $body
            }
            _ => Err(crate::ops::Fault::Malformed),
        }
    };
}
pub(crate) use by_axes;

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use alloc::vec::Vec;
    use selvedge_kernels::window::Window;

    /// A window as attributes.
    pub(crate) fn write<const N: usize>(window: &Window<N>, attributes: &mut Vec<u32>) {
        let before = window.padding.map(|[before, _]| before);
        let after = window.padding.map(|[_, after]| after);
        for extents in [window.kernel, window.stride, before, after, window.dilation] {
            attributes.extend(extents.map(|extent| extent as u32));
        }
    }
}
