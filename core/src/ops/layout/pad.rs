//! Elements around the edges.

use crate::ops::call::{Attributes, Call, Direction, Result, read, write};
use crate::ops::{Fault, Kernel, Kind};
use selvedge_kernels::Element;
use selvedge_kernels::axes::{Extents, MAX_RANK};
use selvedge_kernels::layout::{self, Padding, PaddingMode};
use selvedge_kernels::requantize::Store;

crate::ops::groups! {
    /// Padding.
    run, train: Pad forward, PadBackward backward;
}

/// What an image says of edges.
struct Edges<T> {
    extents: Extents,
    sides: [[usize; 2]; MAX_RANK],
    mode: PaddingMode<T>,
}

impl<T: Element> Edges<T> {
    /// Attributes: extents of a sample; elements before and behind each axis; what they are.
    fn read(batch: usize, attributes: &mut Attributes<'_>) -> Result<Self> {
        let extents = attributes.extents(batch)?;
        let mut sides = [[0; 2]; MAX_RANK];
        for sides in sides.iter_mut().take(extents.rank()).skip(1) {
            *sides = attributes.sizes()?;
        }
        Ok(Self {
            extents,
            sides,
            mode: match attributes.word()? {
                0 => PaddingMode::Constant(T::ZERO),
                1 => PaddingMode::Reflect,
                2 => PaddingMode::Edge,
                _ => return Err(Fault::Malformed),
            },
        })
    }

    fn padding(&self) -> Padding<'_, T> {
        Padding {
            sides: self.sides.get(..self.extents.rank()).unwrap_or_default(),
            mode: self.mode,
        }
    }
}

/// Values: x, y.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let edges = Edges::<T>::read(call.batch, &mut call.attributes())?;
    let (exec, exponent) = (call.exec, call.exponent(0));
    let [x, y] = call.views([0, 1])?;
    layout::pad(exec, edges.extents, edges.padding(), read(x)?, write(y)?)?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: dy, dx.
fn backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let edges = Edges::<T>::read(call.batch, &mut call.attributes())?;
    let exponent = call.exponent(0);
    let exponent = call.with::<T, _, 2>(Direction::Backward, 0, [0, 1], |context, [dy, dx]| {
        let (exec, dy, dx) = (context.exec, read::<T>(dy)?, write::<T>(dx)?);
        let mut run =
            |store| layout::pad_backward(exec, edges.extents, edges.padding(), dy, store, dx);
        Ok(match edges.mode {
            PaddingMode::Constant(_) => run(Store::EXACT).map(|_| exponent)?, // no errors are added
            PaddingMode::Reflect | PaddingMode::Edge => context.rescale(exponent, run)?,
        })
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::ops::Kind;
    use crate::ops::function::{Function, counted};
    use alloc::vec::Vec;

    pub(crate) static PAD: Function = Function {
        forward: Kind::Pad,
        backward: Kind::PadBackward,
        asks_input: false,
        states: [0, 1],
    };

    /// Sides of a sample of `shape`: 0 are zeros, 1 reflects, 2 repeats the edge.
    pub(crate) fn attributes(shape: &[usize], sides: &[[usize; 2]], beyond: u32) -> Vec<u32> {
        let mut attributes = counted(shape);
        attributes.extend(sides.as_flattened().iter().map(|&cells| cells as u32));
        attributes.push(beyond);
        attributes
    }
}
