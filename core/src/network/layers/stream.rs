//! Layers over a stream.

use super::containers::numbers;
use super::{Build, Inside, Layer, Rows, Type, is_within};
use crate::graph::{Error, ValueId};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::stream;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::Element;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// Layers over a stream of rows, of which a run is given `[L, F]`: they are given `[context + L, F]`, those of earlier runs
/// first, and zeros before the first run. Training is truncated: no error goes to rows of earlier runs. Where exponents
/// change, rows are rounded to the new one, to nearest even. It takes no number.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Stream {
    /// Rows before those of a run.
    pub context: usize,
    /// The layers.
    pub layers: Vec<Layer>,
}

impl Stream {
    /// With so many rows before those of a run.
    #[must_use]
    pub const fn new(context: usize) -> Self {
        Self {
            context,
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

impl Build for Stream {
    fn rows(&self) -> Vec<Rows<'_>> {
        [(None, &*self.layers)].into()
    }

    fn inside(&mut self) -> Vec<Inside<'_>> {
        [Inside::of(&mut self.layers)].into()
    }

    fn numbers(&self) -> u32 {
        numbers(&self.layers)
    }

    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.next_number();
        let shape = to.shape_of(x);
        let &[rows, features] = &*shape else {
            return Err(to.shape_error("[L, F]", &shape));
        };
        if is_within(&self.layers, |layer| matches!(layer, Type::Head(_))) {
            let expected = "no head in a stream, whose rows are given several times";
            return Err(to.attribute_error(expected, "one"));
        }
        to.check_range("rows of context", self.context, 1 << 24)?;
        to.check_value(&[self.context + rows, features])?;
        if to.graph.dtype_of(x) != to.dtype {
            return Err(to.attribute_error(to.dtype, to.graph.dtype_of(x)));
        }
        let len = to.options.samples * self.context * features;
        let zeros = by_dtype!(to.dtype, T => {
            bytemuck::cast_slice::<T, u8>(&vec![<T as Element>::ZERO; len]).to_vec()
        });
        let kept = to.graph.carried(zeros);
        let extents = [self.context, rows, features];
        let seen = stream::describe::append(to.graph, x, kept, extents, number);
        to.sequence(&self.layers, seen)
    }
}
