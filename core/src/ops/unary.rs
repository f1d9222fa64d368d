//! Functions of one element, other than activations.

use super::call::{Call, Direction, read, write};
use super::{Kernel, Kind, Result};
use selvedge_kernels::{Element, elementwise};

super::groups! {
    /// Magnitudes.
    run_abs, train_abs: Abs abs, AbsBackward abs_backward;
    /// Squares.
    run_square, train_square: Square square, SquareBackward square_backward;
}

/// Opposites, which take errors back as well.
#[must_use]
pub const fn run_negate<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Negate,
            dtypes: [T::DTYPE, T::DTYPE],
            run: negate::<T>,
        }]
    }
}

/// Values: x, y; or their errors the other way.
fn negate<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let exponent = call.exponent(0);
    let [x, y] = call.views([0, 1])?;
    elementwise::negate(read::<T>(x)?, write(y)?)?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: x, y.
fn abs<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let exponent = call.exponent(0);
    let [x, y] = call.views([0, 1])?;
    elementwise::abs(read::<T>(x)?, write(y)?)?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: x, dy, dx.
fn abs_backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let exponent = call.exponent(1);
    let [x, dy, dx] = call.views([0, 1, 2])?;
    elementwise::abs_backward(read::<T>(x)?, read(dy)?, write(dx)?)?;
    call.set_exponent(2, exponent);
    Ok(())
}

/// Values: x, y.
fn square<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let exponent = call.exponent(0);
    let exponent = call.with::<T, _, 2>(Direction::Forward, 0, [0, 1], |context, [x, y]| {
        let (exec, x, y) = (context.exec, read::<T>(x)?, write::<T>(y)?);
        let run = |store| elementwise::square(exec, x, store, y);
        Ok(context.rescale(exponent.saturating_mul(2), run)?)
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Values: x, dy, dx.
fn square_backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let exponent = call.exponent(0).saturating_add(call.exponent(1));
    let slots = [0, 1, 2];
    let exponent =
        call.with::<T, _, 3>(Direction::Backward, 0, slots, |context, [x, dy, dx]| {
            let (x, dy, dx) = (read::<T>(x)?, read::<T>(dy)?, write::<T>(dx)?);
            let run = |store| elementwise::square_backward(x, dy, store, dx);
            Ok(context.rescale(exponent, run)?)
        })?;
    call.set_exponent(2, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::ops::Kind;
    use crate::ops::function::Function;

    pub(crate) static NEGATE: Function = Function {
        forward: Kind::Negate,
        backward: Kind::Negate,
        asks_input: false,
        states: [0, 0],
    };
    pub(crate) static ABS: Function = Function {
        forward: Kind::Abs,
        backward: Kind::AbsBackward,
        asks_input: true,
        states: [0, 0],
    };
    pub(crate) static SQUARE: Function = Function {
        forward: Kind::Square,
        backward: Kind::SquareBackward,
        asks_input: true,
        states: [1, 1],
    };
}
