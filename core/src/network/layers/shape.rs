//! The same elements in another shape, or in other places.

use super::Build;
use crate::graph::{Error, ValueId};
use crate::network::builder::Builder;
use crate::ops::view;
use alloc::vec;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// All axes in a row, from any shape to `[F]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Flatten {}

impl Build for Flatten {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let len = to.shape_of(x).iter().product();
        Ok(view::describe::append(to.graph, x, vec![len], number))
    }
}
