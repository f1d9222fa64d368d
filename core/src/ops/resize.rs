//! Images at other sizes.

use super::call::{Attributes, Call, Direction, read, write};
use super::{Fault, Kernel, Kind, Result};
use selvedge_kernels::Element;
use selvedge_kernels::resize::{self, Coordinates, Shape};

super::groups! {
    /// The nearest pixels.
    run_nearest, train_nearest: ResizeNearest nearest, ResizeNearestBackward nearest_backward;
    /// Mixtures of four pixels.
    run_bilinear, train_bilinear: ResizeBilinear bilinear, ResizeBilinearBackward bilinear_backward;
}

/// Attributes: rows, columns and channels of an image, rows and columns of what it becomes, which positions pixels have.
fn shape(batch: usize, attributes: &mut Attributes<'_>) -> Result<Shape> {
    let [height, width, channels] = attributes.sizes()?;
    Ok(Shape {
        batch,
        height,
        width,
        channels,
        outputs: attributes.sizes()?,
        coordinates: match attributes.word()? {
            0 => Coordinates::HalfPixel,
            1 => Coordinates::AlignCorners,
            2 => Coordinates::Asymmetric,
            _ => return Err(Fault::Malformed),
        },
    })
}

/// Values: x, y.
fn nearest<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let shape = shape(call.batch, &mut call.attributes())?;
    let (exec, exponent) = (call.exec, call.exponent(0));
    let [x, y] = call.views([0, 1])?;
    resize::nearest(exec, shape, read::<T>(x)?, write(y)?)?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: dy, dx.
fn nearest_backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let shape = shape(call.batch, &mut call.attributes())?;
    let exponent = call.exponent(0);
    let exponent = call.with::<T, _, 2>(Direction::Backward, 0, [0, 1], |context, [dy, dx]| {
        let (exec, dy, dx) = (context.exec, read::<T>(dy)?, write::<T>(dx)?);
        let run = |store| resize::nearest_backward(exec, shape, dy, store, dx);
        Ok(context.rescale(exponent, run)?)
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: x, y.
fn bilinear<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let shape = shape(call.batch, &mut call.attributes())?;
    let exponent = call.exponent(0) - resize::bilinear_places::<T>();
    let exponent = call.with::<T, _, 2>(Direction::Forward, 0, [0, 1], |context, [x, y]| {
        let (exec, x, y) = (context.exec, read::<T>(x)?, write::<T>(y)?);
        let run = |store| resize::bilinear(exec, shape, x, store, y);
        Ok(context.rescale(exponent, run)?)
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: dy, dx.
fn bilinear_backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let shape = shape(call.batch, &mut call.attributes())?;
    let exponent = call.exponent(0) - resize::bilinear_places::<T>();
    let exponent = call.with::<T, _, 2>(Direction::Backward, 0, [0, 1], |context, [dy, dx]| {
        let (exec, dy, dx) = (context.exec, read::<T>(dy)?, write::<T>(dx)?);
        let run = |store| resize::bilinear_backward(exec, shape, dy, store, dx);
        Ok(context.rescale(exponent, run)?)
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::ops::Kind;
    use crate::ops::function::Function;

    pub(crate) static NEAREST: Function = Function {
        forward: Kind::ResizeNearest,
        backward: Kind::ResizeNearestBackward,
        asks_input: false,
        states: [0, 1],
    };
    pub(crate) static BILINEAR: Function = Function {
        forward: Kind::ResizeBilinear,
        backward: Kind::ResizeBilinearBackward,
        asks_input: false,
        states: [1, 1],
    };
}
