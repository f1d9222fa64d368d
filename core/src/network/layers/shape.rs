//! The same elements in another shape.

use super::Build;
use crate::graph::{Error, ValueId, shown};
use crate::network::builder::Builder;
use crate::ops::view;
use alloc::vec;
use alloc::vec::Vec;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// All axes in a row, from any shape to `[F]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Flatten {}

/// The same elements in the same order, in another shape. It moves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Reshape {
    /// Extents of the output, which has as many elements as the input.
    pub shape: Vec<usize>,
}

impl Reshape {
    /// To these extents.
    #[must_use]
    pub fn new(shape: impl Into<Vec<usize>>) -> Self {
        Self {
            shape: shape.into(),
        }
    }
}

impl Build for Flatten {
    fn takes_tokens(&self) -> bool {
        true
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let len = to.shape_of(x).iter().product();
        Ok(view::describe::append(to.graph, x, vec![len], number))
    }
}

impl Build for Reshape {
    fn takes_tokens(&self) -> bool {
        true
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let len = to.shape_of(x).iter().product();
        let mut extents = self.shape.iter().copied();
        if extents.try_fold(1usize, usize::checked_mul) != Some(len) || self.shape.is_empty() {
            let expected = alloc::format!("a shape of {len} elements");
            return Err(to.attribute_error(expected, shown(&self.shape)));
        }
        let shape = self.shape.clone();
        Ok(view::describe::append(to.graph, x, shape, number))
    }
}
