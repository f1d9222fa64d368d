//! Recurrent layers.

use super::Build;
use crate::graph::{Error, Graph, ValueId};
use crate::network::builder::{Builder, by_dtype};
use crate::ops::learned;
use crate::ops::recurrent::describe::{self, Inputs};
use alloc::vec;
use alloc::vec::Vec;
use selvedge_kernels::init::Gain;
use selvedge_kernels::recurrent::{self, Cell, Output, Shape};
use selvedge_kernels::{self as kernels, Element};
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// Which outputs a recurrent layer gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Steps {
    /// That of the step which comes last, `[units]`.
    #[default]
    Last,
    /// That of each step, `[L, units]`.
    All,
}

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident: $cell:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Weights start random, biases at 0, but for 1 at the forget gate of an LSTM. Numerical behaviour:
        /// [`selvedge_kernels::recurrent`].
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
        #[cfg_attr(feature = "json", serde(deny_unknown_fields))]
        pub struct $name {
            /// Features of an output.
            pub units: usize,
            /// Which outputs are given.
            #[cfg_attr(feature = "json", serde(default))]
            pub steps: Steps,
            /// Whether the last element comes first.
            #[cfg_attr(feature = "json", serde(default))]
            pub reversed: bool,
            /// Whether a run begins with the state that the one before has left: streams, of which each is given a piece.
            /// Training is then back-propagation that is truncated at the piece.
            #[cfg_attr(feature = "json", serde(default))]
            pub carried: bool,
        }

        impl $name {
            /// With the output of the step that comes last.
            #[must_use]
            pub const fn new(units: usize) -> Self {
                Self { units, steps: Steps::Last, reversed: false, carried: false }
            }

            /// With the outputs of these steps.
            #[must_use]
            pub const fn steps(self, steps: Steps) -> Self {
                Self { steps, ..self }
            }

            /// From the last element to the first.
            #[must_use]
            pub const fn reversed(self) -> Self {
                Self { reversed: true, ..self }
            }

            /// With the state that the run before has left.
            #[must_use]
            pub const fn carried(self) -> Self {
                Self { carried: true, ..self }
            }
        }

        impl Build for $name {
            fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
                let layer = Recurrent {
                    cell: Cell::$cell,
                    units: self.units,
                    steps: self.steps,
                    reversed: self.reversed,
                    carried: self.carried,
                };
                layer.build(to, x)
            }
        }
    )*};
}

layers! {
    /// A plain recurrent network, `h = tanh(W x + b + U h)`, from `[L, F]` to `[units]` or `[L, units]`. Source: Elman
    /// 1990.
    Rnn: Rnn;
    /// Long short-term memory, from `[L, F]` to `[units]` or `[L, units]`. Source: Hochreiter & Schmidhuber 1997, Gers et
    /// al. 2000.
    Lstm: Lstm;
    /// Gated recurrent units, from `[L, F]` to `[units]` or `[L, units]`. Source: Cho et al. 2014.
    Gru: Gru;
}

/// A layer of any cell.
struct Recurrent {
    cell: Cell,
    units: usize,
    steps: Steps,
    reversed: bool,
    carried: bool,
}

impl Recurrent {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        let number = to.number();
        let shape = to.shape_of(x);
        let &[steps, inputs] = &*shape else {
            return Err(to.shape_error("[L, F]", &shape));
        };
        let gates = self.cell.gates();
        to.check_range("units", self.units, 1 << 24)?;
        to.check_size(&[gates, self.units, inputs.max(self.units)], 1)?;
        // Gates and their inner states, the largest that is kept.
        to.check_value(&[steps, self.cell.kept(), self.units])?;
        to.check_sums(x, steps, gates * self.units)?;
        let output = match self.steps {
            Steps::Last => Output::Last,
            Steps::All => Output::All,
        };
        if to.options.sequence {
            to.check_one(&shape)?;
            if self.steps != Steps::All {
                let expected = "all steps, where the samples of a run are the steps";
                return Err(to.attribute_error(expected, "the last step alone"));
            }
        }
        let shape = Shape {
            cell: self.cell,
            batch: to.sequences(),
            steps: if to.options.sequence { 0 } else { steps },
            inputs,
            units: self.units,
            output,
            is_reversed: self.reversed,
        };
        let (dtype, trains, error) = (to.dtype, to.trains, to.kernel());
        by_dtype!(dtype, T => self.append::<T>(to.graph, trains, number, x, shape)).map_err(error)
    }

    fn append<T: Element>(
        &self,
        graph: &mut Graph,
        trains: bool,
        number: u32,
        x: ValueId,
        shape: Shape,
    ) -> kernels::Result<ValueId> {
        let (gates, inputs, units) = (self.cell.gates(), shape.inputs, self.units);
        let (terms, limit) = (inputs.max(gates * units), T::MAX_PRODUCTS);
        if terms > limit {
            return Err(kernels::Error::Accumulator { terms, limit });
        }
        let mut weights = |index, columns| {
            let (at, extents) = ([number, index], vec![gates, units, columns]);
            learned::describe::random::<T>(graph, trains, at, (Gain::LeCun, columns), extents)
        };
        let ((w, _), (u, _)) = (weights(0, inputs)?, weights(1, units)?);
        let extents = vec![gates, units];
        let mut bias = vec![T::Bias::ZERO; gates * units];
        let exponent = recurrent::biases(self.cell, &mut bias);
        let bias = learned::describe::given(graph, trains, extents.clone(), &bias, exponent);
        let second = (self.cell == Cell::Gru)
            .then(|| learned::describe::zeros::<T::Bias>(graph, trains, extents, exponent));
        let carried = self.carried.then(|| {
            let len = shape.batch * units;
            let h: Vec<u8> = bytemuck::cast_slice(&vec![T::ZERO; len]).to_vec();
            let h = graph.carried(h);
            let inner = vec![0; len * size_of::<T::Inner>()];
            let inner = (self.cell.has_inner()).then(|| graph.carried(inner));
            [Some(h), inner]
        });
        let inputs = Inputs {
            x,
            weights: [w, u],
            biases: [Some(bias), second],
            carried,
        };
        Ok(describe::append::<T>(graph, inputs, shape, number))
    }
}
