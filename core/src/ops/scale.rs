//! Multiplication by a power of two.

use super::call::{Call, Result, read, write};
use super::{Kernel, Kind};
use crate::net::copy;
use selvedge_kernels::Element;
use selvedge_kernels::fixed::{Accumulator, Rounding};

/// Multiplies by a power of two, which takes errors back as well.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Scale,
            dtypes: [T::DTYPE, T::DTYPE],
            run: scale::<T>,
        }]
    }
}

/// Attributes: the power, as the `u32` of the same bits. Values: x, y; or their errors the other way. Integers change their
/// exponent alone.
fn scale<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let (power, exponent) = (call.attributes().word()? as i32, call.exponent(0));
    let [x, y] = call.views([0, 1])?;
    let (x, y) = (read::<T>(x)?, write::<T>(y)?);
    if T::DTYPE.is_integer() {
        copy(x, y);
        call.set_exponent(1, exponent.saturating_add(power));
        return Ok(());
    }
    for (x, y) in x.iter().zip(y) {
        let scaled = x
            .to_acc()
            .shift(power.saturating_neg(), Rounding::NearestEven, 0);
        *y = T::store(scaled);
    }
    call.set_exponent(1, exponent);
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Graph, ValueId};
    use crate::ops::Kind;
    use crate::ops::function::{Function, Given};
    use alloc::vec;

    pub(crate) static SCALE: Function = Function {
        forward: Kind::Scale,
        backward: Kind::Scale,
        asks_input: false,
        states: [0, 0],
    };

    /// `x · 2^power`; `x` itself where that is nothing.
    pub(crate) fn append(graph: &mut Graph, x: ValueId, power: i32, number: u32) -> ValueId {
        if power == 0 {
            return x;
        }
        let given = Given {
            attributes: vec![power as u32],
            ..Given::default()
        };
        let shape = graph.shape_of(x);
        SCALE.append(graph, number, x, shape, given)
    }
}
