//! A network whose output layer has the table of its embedding for weights.

use super::containers::numbers;
use super::{Build, Inside, Layer, Rows, Type};
use crate::graph::{Error, ValueId};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::{learned, tied};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::init::Gain;
use selvedge_kernels::{self as kernels, Element};
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// An embedding, layers on it, and an output layer that shares its table with the embedding: from `[L]` tokens to
/// `[L, vocabulary]` logits, `layers(table[x]) · tableᵀ + bias`. The layers go from `[L, size]` to the same. The last layer
/// of a network whose input are tokens, and the first. Its number comes before those of the layers. Numerical behaviour:
/// [`selvedge_kernels::embedding::backward_tied`]. Source: Press & Wolf 2017.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Tied {
    /// How many tokens there are.
    pub vocabulary: usize,
    /// Features of a vector.
    pub size: usize,
    /// The layers in between.
    pub layers: Vec<Layer>,
}

impl Tied {
    /// Vectors of `size` features for `vocabulary` tokens, without layers in between.
    #[must_use]
    pub const fn new(vocabulary: usize, size: usize) -> Self {
        Self {
            vocabulary,
            size,
            layers: Vec::new(),
        }
    }

    /// With one layer more.
    #[must_use]
    pub fn layer(mut self, name: impl Into<String>, layer: impl Into<Type>) -> Self {
        self.layers.push(Layer::new(name, layer));
        self
    }
}

impl Build for Tied {
    fn rows(&self) -> Vec<Rows<'_>> {
        [(None, &*self.layers)].into()
    }

    fn inside(&mut self) -> Vec<Inside<'_>> {
        [Inside::of(&mut self.layers)].into()
    }

    fn takes_tokens(&self) -> bool {
        true
    }

    fn numbers(&self) -> u32 {
        1 + numbers(&self.layers)
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let shape = to.shape_of(x);
        let &[positions] = &*shape else {
            return Err(to.shape_error("[L]", &shape));
        };
        to.check_tokens(x)?;
        if !to.is_last {
            return Err(to.attribute_error("the last layer of the network", "one before others"));
        }
        let (vocabulary, size) = (self.vocabulary, self.size);
        to.check_size(&[vocabulary, size], 1)?;
        to.check_value(&[positions, size])?;
        to.check_value(&[positions, vocabulary])?;
        let ([dtype, head], _) = to.output_of(0);
        let (trains, error) = (to.trains, to.kernel());
        let [table, bias] = by_dtype!(dtype, T => {
            learned::describe::affine::<T>(
                to.graph, trains, number, (Gain::LeCun, size), vec![vocabulary, size], vocabulary,
            )
        })
        .map_err(&error)?;
        let rows = tied::describe::append_rows(to.graph, x, table, number);
        to.check_sums(rows, positions, vocabulary)?;
        let h = to.inside(|to| to.sequence(&self.layers, rows))?;
        if to.shape_of(h) != [positions, size] {
            let expected = alloc::format!("layers to [{positions}, {size}]");
            return Err(to.shape_error(&expected, &to.shape_of(h)));
        }
        let limit = by_dtype!(dtype, T => <T as Element>::MAX_PRODUCTS);
        if to.options.train && vocabulary > limit {
            return Err(error(kernels::Error::Accumulator {
                terms: vocabulary,
                limit,
            }));
        }
        let extents = [positions, size, vocabulary];
        let inputs = [h, table, bias];
        Ok(tied::describe::append_output(
            to.graph,
            [dtype, head],
            inputs,
            extents,
            number,
        ))
    }
}
