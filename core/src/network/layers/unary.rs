//! Functions of one element, other than activations.

use super::Build;
use crate::graph::{Error, ValueId};
use crate::network::builder::Builder;
use crate::ops::function::Given;
use crate::ops::unary::describe::{ABS, NEGATE, SQUARE};
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
