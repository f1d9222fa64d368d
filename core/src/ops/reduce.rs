//! Sums, means, maxima and minima over axes of a sample.

use super::call::{Attributes, Call, Direction, read, write};
use super::{Fault, Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::axes::{Extents, MAX_RANK};
use selvedge_kernels::reduce::{self, Shape};

super::groups! {
    /// Sums.
    run_sum, train_sum: ReduceSum sum, ReduceSumBackward sum_backward;
    /// Means.
    run_mean, train_mean: ReduceMean mean, ReduceMeanBackward mean_backward;
    /// The largest elements.
    run_max, train_max: ReduceMax max, ReduceMaxBackward max_backward;
    /// The smallest elements.
    run_min, train_min: ReduceMin min, ReduceMinBackward min_backward;
}

/// What an image says of a reduction.
struct Reduced {
    extents: Extents,
    axes: [usize; MAX_RANK],
    count: usize,
}

impl Reduced {
    /// Attributes: extents of a sample, the axes counted behind the batch.
    fn read(batch: usize, attributes: &mut Attributes<'_>) -> Result<Self> {
        let extents = attributes.extents(batch)?;
        let (axes, count) = attributes.several()?;
        Ok(Self {
            extents,
            axes,
            count,
        })
    }

    fn shape(&self) -> Result<Shape<'_>> {
        Ok(Shape {
            extents: self.extents,
            axes: self.axes.get(..self.count).ok_or(Fault::Malformed)?,
        })
    }
}

/// Values: x, y.
fn sum<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let reduced = Reduced::read(call.batch, &mut call.attributes())?;
    let (shape, exponent) = (reduced.shape()?, call.exponent(0));
    let exponent = call.with::<T, _, 2>(Direction::Forward, 0, [0, 1], |context, [x, y]| {
        let (exec, x, y) = (context.exec, read::<T>(x)?, write::<T>(y)?);
        Ok(context.rescale(exponent, |store| reduce::sum(exec, shape, x, store, y))?)
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: dy, dx.
fn sum_backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let reduced = Reduced::read(call.batch, &mut call.attributes())?;
    let (exec, exponent) = (call.exec, call.exponent(0));
    let [dy, dx] = call.views([0, 1])?;
    reduce::sum_backward::<T>(exec, reduced.shape()?, read(dy)?, write(dx)?)?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: x, y.
fn mean<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let reduced = Reduced::read(call.batch, &mut call.attributes())?;
    let shape = reduced.shape()?;
    let exponent = call.exponent(0) - reduce::mean_places::<T>(shape)?;
    let exponent = call.with::<T, _, 2>(Direction::Forward, 0, [0, 1], |context, [x, y]| {
        let (exec, x, y) = (context.exec, read::<T>(x)?, write::<T>(y)?);
        Ok(context.rescale(exponent, |store| reduce::mean(exec, shape, x, store, y))?)
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: dy, dx.
fn mean_backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let reduced = Reduced::read(call.batch, &mut call.attributes())?;
    let shape = reduced.shape()?;
    let exponent = call.exponent(0) - reduce::mean_places::<T>(shape)?;
    let exponent = call.with::<T, _, 2>(Direction::Backward, 0, [0, 1], |context, [dy, dx]| {
        let (exec, dy, dx) = (context.exec, read::<T>(dy)?, write::<T>(dx)?);
        let run = |store| reduce::mean_backward(exec, shape, dy, store, dx);
        Ok(context.rescale(exponent, run)?)
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

macro_rules! choices {
    ($($forward:ident $backward:ident;)*) => {$(
        /// Values: x, y.
        fn $forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
            let reduced = Reduced::read(call.batch, &mut call.attributes())?;
            let (exec, exponent) = (call.exec, call.exponent(0));
            let [x, y] = call.views([0, 1])?;
            reduce::$forward::<T>(exec, reduced.shape()?, read(x)?, write(y)?)?;
            call.set_exponent(1, exponent);
            Ok(())
        }

        /// Values: x, dy, dx.
        fn $backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
            let reduced = Reduced::read(call.batch, &mut call.attributes())?;
            let exponent = call.exponent(1);
            let [x, dy, dx] = call.views([0, 1, 2])?;
            reduce::$backward::<T>(reduced.shape()?, read(x)?, read(dy)?, write(dx)?)?;
            call.set_exponent(2, exponent);
            Ok(())
        }
    )*};
}

choices! {
    max max_backward;
    min min_backward;
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::ops::Kind;
    use crate::ops::function::{Function, counted};
    use alloc::vec::Vec;

    macro_rules! functions {
        ($($name:ident: $forward:ident $backward:ident, $asks:literal, $states:expr;)*) => {$(
            pub(crate) static $name: Function = Function {
                forward: Kind::$forward,
                backward: Kind::$backward,
                asks_input: $asks,
                states: $states,
            };
        )*};
    }

    functions! {
        SUM: ReduceSum ReduceSumBackward, false, [1, 0];
        MEAN: ReduceMean ReduceMeanBackward, false, [1, 1];
        MAX: ReduceMax ReduceMaxBackward, true, [0, 0];
        MIN: ReduceMin ReduceMinBackward, true, [0, 0];
    }

    /// Over these axes of a sample of `shape`.
    pub(crate) fn attributes(shape: &[usize], axes: &[usize]) -> Vec<u32> {
        let behind: Vec<usize> = axes.iter().map(|axis| axis + 1).collect();
        [counted(shape), counted(&behind)].concat()
    }
}
