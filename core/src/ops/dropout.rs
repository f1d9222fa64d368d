//! Elements left out at random in training.

use super::call::{Call, Direction, read, write};
use super::{Kernel, Kind, Result};
use crate::net::Context;
use selvedge_kernels::dropout::{self, Dropout};
use selvedge_kernels::requantize::Store;
use selvedge_kernels::scale::Mode;
use selvedge_kernels::{self as kernels, Element};

super::groups! {
    /// Dropout.
    run, train: Dropout forward, DropoutBackward backward;
}

/// The probability of so many thousandths, in units of 2^-32.
pub(crate) const fn threshold(thousandths: u32) -> u32 {
    (((thousandths as u64) << 32).wrapping_add(500) / 1000) as u32
}

/// Runs a kernel on elements of `exponent`, which it multiplies by `scale` of [`Dropout`].
pub(crate) fn scaled<T: Element, E>(
    context: Context<'_, T, E>,
    (factor, places): (u8, i32),
    exponent: i32,
    mut kernel: impl FnMut(Store) -> kernels::Result<u32>,
) -> kernels::Result<i32> {
    match (T::DTYPE.is_integer(), factor) {
        // A power of two: kept elements are what they were, at another exponent.
        (true, 1) => kernel(Store::EXACT).map(|_| exponent - places),
        (true, _) => context.rescale(exponent - places, kernel),
        (false, _) => kernel(Store::EXACT).map(|_| exponent),
    }
}

/// Attributes: threshold. Values: x, y.
fn forward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let asked = Dropout::new(call.attributes().word()?);
    let exponent = call.exponent(0);
    let exponent = call.with::<T, _, 2>(Direction::Forward, 0, [0, 1], |context, [x, y]| {
        let (exec, words, x, y) = (context.exec, context.mask(), read::<T>(x)?, write::<T>(y)?);
        match context.mode {
            Mode::Train => {
                let run = |store| dropout::forward(exec, asked, words, x, store, y);
                Ok(scaled(context, asked.scale(), exponent, run)?)
            }
            Mode::Infer | Mode::Calibrate => {
                dropout::forward(exec, Dropout::OFF, words, x, Store::EXACT, y)?;
                Ok(exponent)
            }
        }
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

/// Attributes: threshold. Values: dy, dx.
fn backward<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let asked = Dropout::new(call.attributes().word()?);
    let exponent = call.exponent(0);
    let exponent = call.with::<T, _, 2>(Direction::Backward, 0, [0, 1], |context, [dy, dx]| {
        let (exec, words) = (context.exec, context.mask());
        let (dy, dx) = (read::<T>(dy)?, write::<T>(dx)?);
        let run = |store| dropout::backward(exec, asked, words, dy, store, dx);
        Ok(scaled(context, asked.scale(), exponent, run)?)
    })?;
    call.set_exponent(1, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::ops::Kind;
    use crate::ops::function::Function;

    pub(crate) static DROPOUT: Function = Function {
        forward: Kind::Dropout,
        backward: Kind::DropoutBackward,
        asks_input: false,
        states: [1, 1],
    };
}
