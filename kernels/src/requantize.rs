//! Epilogues: what happens to an accumulator before it is stored.

use crate::element::{Element, Output};
use crate::fixed::{Accumulator, Magnitude, Rounding};

/// What a layer applies to its accumulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `max(x, 0)`; negative values then do not widen the range.
    Relu,
}

/// What becomes of the activated accumulators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Their range is measured; nothing is stored.
    Measure,
    /// They are shifted right by `shift` (left where it is negative), rounded and saturated.
    /// Floats are only scaled, by `2^-shift`.
    Shift {
        /// Exponent of the output less that of the accumulator.
        shift: i32,
        /// How to round.
        rounding: Rounding,
    },
}

/// From an accumulator to a stored element: activation, range, shift, rounding, saturation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epilogue {
    /// Applied first.
    pub activation: Activation,
    /// Applied then.
    pub store: Store,
}

impl Epilogue {
    /// Stores accumulators at their own exponent: rounded to the nearest element for floats,
    /// saturated for integers.
    pub const EXACT: Self = Self {
        activation: Activation::Identity,
        store: Store::Shift {
            shift: 0,
            rounding: Rounding::NearestEven,
        },
    };

    /// The same with another activation.
    #[must_use]
    pub const fn with(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Takes one accumulator, of the output element with row-major index `element`, to `out`, and
    /// adds it to `range`.
    #[inline(always)]
    pub(crate) fn apply<T: Element, O: Output<T>>(
        self,
        acc: T::Acc,
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut O,
    ) {
        let acc = match self.activation {
            Activation::Identity => acc,
            Activation::Relu => acc.relu(),
        };
        *range = range.or(acc.magnitude());
        if let Store::Shift { shift, rounding } = self.store {
            *out = O::store(acc.shift(shift, rounding, element));
        }
    }
}
