//! Functions of one element, other than activations.

use super::Build;
use crate::graph::{Error, ValueId};
use crate::network::builder::Builder;
use crate::ops::function::Given;
use crate::ops::scale::describe::SCALE;
use crate::ops::unary::describe::{ABS, NEGATE, SQUARE};
use alloc::vec;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident: $operator:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
        #[cfg_attr(feature = "json", serde(deny_unknown_fields))]
        pub struct $name {}

        impl Build for $name {
            fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
                let (number, shape) = (to.number(), to.shape_of(x));
                Ok($operator.append(to.graph, number, x, shape, Given::default()))
            }
        }
    )*};
}

layers! {
    /// `-x`; any shape. Numerical behaviour: [`selvedge_kernels::elementwise::negate`].
    Negate: NEGATE;
    /// `|x|`, whose gradient at 0 is 0; any shape. Numerical behaviour: [`selvedge_kernels::elementwise::abs`].
    Abs: ABS;
    /// `x²`; any shape. Numerical behaviour: [`selvedge_kernels::elementwise::square`].
    Square: SQUARE;
}

/// `x · 2^power`; any shape. Exact: integers change their exponent alone, and of floats one that leaves the range of normal numbers
/// is rounded or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Scale {
    /// The power of two, -126 to 126.
    pub power: i32,
}

impl Scale {
    /// By `2^power`.
    #[must_use]
    pub const fn new(power: i32) -> Self {
        Self { power }
    }
}

impl Build for Scale {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, shape) = (to.number(), to.shape_of(x));
        if !(-126..=126).contains(&self.power) {
            return Err(to.attribute_error("a power of -126 to 126", self.power));
        }
        let given = Given {
            attributes: vec![self.power as u32],
            ..Given::default()
        };
        Ok(SCALE.append(to.graph, number, x, shape, given))
    }
}
