//! Entries by number.

use crate::ops::call::{Attributes, Call, Direction, Result, read, write};
use crate::ops::{Fault, Kernel, Kind};
use selvedge_kernels::axes::Extents;
use selvedge_kernels::{Element, layout};

crate::ops::groups! {
    /// Entries of an axis.
    run, train: Gather forward, GatherBackward backward;
}

/// Attributes: extents of a sample, the axis counted behind the batch.
fn shape(batch: usize, attributes: &mut Attributes<'_>) -> Result<(Extents, usize)> {
    let extents = attributes.extents(batch)?;
    match attributes.size()? {
        0 => Err(Fault::Malformed),
        axis => Ok((extents, axis)),
    }
}

/// Values: x, indices, y.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (extents, axis) = shape(call.batch, &mut call.attributes())?;
    let exponent = call.exponent(0);
    let [x, indices, y] = call.views([0, 1, 2])?;
    layout::gather::<T>(extents, axis, read(indices)?, read(x)?, write(y)?)?;
    call.set_exponent(2, exponent);
    Ok(())
}

/// Values: dy, indices, dx.
fn backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (extents, axis) = shape(call.batch, &mut call.attributes())?;
    let (exponent, slots) = (call.exponent(0), [0, 1, 2]);
    let exponent = call.with::<T, _, 3>(Direction::Backward, 0, slots, |context, views| {
        let [dy, indices, dx] = views;
        let (exec, dy, indices) = (context.exec, read::<T>(dy)?, read(indices)?);
        let dx = write::<T>(dx)?;
        let run = |store| layout::gather_backward(exec, extents, axis, indices, dy, store, dx);
        Ok(context.rescale(exponent, run)?)
    })?;
    call.set_exponent(2, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::ops::Kind;
    use crate::ops::function::Function;

    pub(crate) static GATHER: Function = Function {
        forward: Kind::Gather,
        backward: Kind::GatherBackward,
        asks_input: false,
        states: [0, 1],
    };
}
