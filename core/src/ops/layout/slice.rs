//! Parts of axes.

use crate::ops::call::{Attributes, Call, Result, read, write};
use crate::ops::{Fault, Kernel, Kind};
use selvedge_kernels::Element;
use selvedge_kernels::axes::{Extents, MAX_RANK};
use selvedge_kernels::layout::{self, Range};

crate::ops::groups! {
    /// Slices.
    run, train: Slice forward, SliceBackward backward;
}

/// What an image says of a slice.
struct Slice {
    extents: Extents,
    ranges: [Range; MAX_RANK],
}

/// A position, or none.
fn position(word: u32) -> Result<Option<isize>> {
    let Some(word) = word.checked_sub(1) else {
        return Ok(None);
    };
    let at = (word >> 1) as i32 ^ -((word & 1) as i32);
    isize::try_from(at).map(Some).map_err(|_| Fault::Malformed)
}

impl Slice {
    /// Attributes: extents of a sample; start, stop and step for each axis, as `describe` writes them.
    fn read(batch: usize, attributes: &mut Attributes<'_>) -> Result<Self> {
        let extents = attributes.extents(batch)?;
        let mut ranges = [Range::ALL; MAX_RANK];
        for range in ranges.iter_mut().take(extents.rank()).skip(1) {
            *range = Range {
                start: position(attributes.word()?)?,
                stop: position(attributes.word()?)?,
                step: position(attributes.word()?)?.ok_or(Fault::Malformed)?,
            };
        }
        Ok(Self { extents, ranges })
    }

    fn ranges(&self) -> &[Range] {
        self.ranges.get(..self.extents.rank()).unwrap_or_default()
    }
}

/// Values: x, y.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let slice = Slice::read(call.batch, &mut call.attributes())?;
    let (exec, exponent) = (call.exec, call.exponent(0));
    let [x, y] = call.views([0, 1])?;
    layout::slice::<T>(exec, slice.extents, slice.ranges(), read(x)?, write(y)?)?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: dy, dx.
fn backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let slice = Slice::read(call.batch, &mut call.attributes())?;
    let exponent = call.exponent(0);
    let [dy, dx] = call.views([0, 1])?;
    layout::slice_backward::<T>(slice.extents, slice.ranges(), read(dy)?, write(dx)?)?;
    call.set_exponent(1, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::ops::Kind;
    use crate::ops::function::{Function, counted};
    use alloc::vec::Vec;

    pub(crate) static SLICE: Function = Function {
        forward: Kind::Slice,
        backward: Kind::SliceBackward,
        asks_input: false,
        states: [0, 0],
    };

    /// Positions of start, stop and step beyond which [`attributes`] writes none.
    pub(crate) const MOST: i32 = 1 << 30;

    /// Of a sample of `shape`, from start to stop by a step along each axis.
    pub(crate) fn attributes(shape: &[usize], ranges: &[[Option<i32>; 3]]) -> Vec<u32> {
        let mut attributes = counted(shape);
        let words = ranges.as_flattened().iter().map(|at| match at {
            None => 0,
            Some(at) => ((at << 1 ^ at >> 31) as u32).wrapping_add(1), // small ones in few bytes
        });
        attributes.extend(words);
        attributes
    }
}
