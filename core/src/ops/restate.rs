//! States of operators that run again.

use super::call::{Call, Result};
use super::{Kernel, Kind};
use selvedge_kernels::Element;
use selvedge_kernels::scale::{Scale, State};

/// What an image needs that computes activations again to fit a budget: of integers, their exponents are those of before.
#[must_use]
pub const fn run<T: Element>() -> &'static [Kernel] {
    const {
        &[Kernel {
            kind: Kind::Restate,
            dtypes: [T::DTYPE, T::DTYPE],
            run: restate::<T>,
        }]
    }
}

/// Gives the state of the operator behind it the exponent of a value. Values: that one, the memory of which may serve others.
fn restate<T: Element>(call: &mut Call<'_, '_>) -> Result<()> {
    let limits = i32::from(i16::MIN)..=i32::from(i16::MAX);
    let exponent = call.exponent(0).clamp(*limits.start(), *limits.end());
    let state = State {
        exponent: exponent as i16, // clamped
        low: 0,
    };
    call.set_scale(0, T::Scale::from_state(Some(state)));
    Ok(())
}

#[cfg(feature = "alloc")]
pub(crate) mod describe {
    use crate::graph::{Error, Node, ValueId, Walk};
    use crate::ops::{Describe, Kind};
    use selvedge_kernels::DType;

    #[derive(Debug)]
    struct Restate;

    /// What goes before an operator that makes `value` a second time, whose state is `state`.
    pub(crate) fn node(dtype: DType, value: ValueId, state: usize, number: u32) -> Node {
        Node {
            mentions: Some(value),
            states: 1,
            state,
            ..Node::new(&Restate, Kind::Restate, dtype, number)
        }
    }

    impl Describe for Restate {
        fn differentiate(&'static self, _: &mut Walk<'_>, node: &Node) -> Result<(), Error> {
            Err(Error::Gradient {
                operator: node.kind.name(),
            })
        }
    }
}
