//! Tables of vectors.

use super::Build;
use crate::graph::{Error, ValueId};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::{embedding, learned};
use alloc::vec;
use selvedge_kernels::init::Gain;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// A vector for each token, from `[L]` tokens to `[L, size]`: the first layer of a network whose input are tokens.
/// Numerical behaviour: [`selvedge_kernels::embedding::forward`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Embedding {
    /// How many tokens there are.
    pub vocabulary: usize,
    /// Features of a vector.
    pub size: usize,
}

impl Embedding {
    /// Vectors of `size` features for `vocabulary` tokens.
    #[must_use]
    pub const fn new(vocabulary: usize, size: usize) -> Self {
        Self { vocabulary, size }
    }
}

impl Build for Embedding {
    fn takes_tokens(&self) -> bool {
        true
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let shape = to.shape_of(x);
        to.check_tokens(x)?;
        to.check_size(&[self.vocabulary, self.size], 1)?;
        let mut out = shape.clone();
        out.push(self.size);
        to.check_value(&out)?;
        to.check_sums(x, shape.iter().product(), 0)?;
        let (dtype, trains, error) = (to.dtype, to.trains, to.kernel());
        let extents = vec![self.vocabulary, self.size];
        let (table, _) = by_dtype!(dtype, T => {
            learned::describe::random::<T>(to.graph, trains, [number, 0], (Gain::LeCun, 1), extents)
        })
        .map_err(error)?;
        Ok(embedding::describe::append(to.graph, x, table, number))
    }
}

/// A vector added to each position, from `[L, F]` to `[L, F]`. Numerical behaviour: [`selvedge_kernels::elementwise::forward`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Positions {}

impl Build for Positions {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let shape = to.shape_of(x);
        to.check_sums(x, 1, 0)?;
        let (dtype, trains, error) = (to.dtype, to.trains, to.kernel());
        let (table, _) = by_dtype!(dtype, T => {
            learned::describe::random::<T>(to.graph, trains, [number, 0], (Gain::LeCun, 1), shape)
        })
        .map_err(error)?;
        Ok(embedding::describe::append_positions(
            to.graph, x, table, number,
        ))
    }
}
