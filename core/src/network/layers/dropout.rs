//! Elements left out at random in training.

use super::Build;
use crate::graph::{Error, ValueId};
use crate::network::builder::Builder;
use crate::ops::dropout::describe::DROPOUT;
use crate::ops::dropout::threshold;
use crate::ops::function::Given;
use alloc::vec;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// In training, elements are 0 with this probability, and the others scaled up so that sums keep their mean; at inference
/// nothing changes; any shape. Numerical behaviour: [`selvedge_kernels::dropout::forward`]; with 500 (and 0, 750, 875),
/// integers keep their bits. Source: Srivastava et al. 2014.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Dropout {
    /// The probability in thousandths, below 1000.
    #[cfg_attr(feature = "json", serde(default = "half"))]
    pub probability: u32,
}

const fn half() -> u32 {
    500
}

impl Default for Dropout {
    /// Every second element.
    fn default() -> Self {
        Self::new(half())
    }
}

impl Dropout {
    /// With a probability of so many thousandths.
    #[must_use]
    pub const fn new(probability: u32) -> Self {
        Self { probability }
    }
}

impl Build for Dropout {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let (number, shape) = (to.number(), to.shape_of(x));
        if self.probability >= 1000 {
            let expected = "a probability of less than 1000 thousandths";
            return Err(to.attribute_error(expected, self.probability));
        }
        let given = Given {
            attributes: vec![threshold(self.probability)],
            ..Given::default()
        };
        Ok(DROPOUT.append(to.graph, number, x, shape, given))
    }
}
