//! Epilogues: what happens to accumulators before they are stored.

use crate::activation::Activation;
use crate::arch::Isa;
use crate::arch::narrow::{Extent, Narrowing};
use crate::arch::scalar::TILE;
use crate::element::{Element, Output};
use crate::fixed::{Accumulator, Magnitude, Rounding};

/// Accumulators that are stored together; few on devices, for their stacks.
pub(crate) const BLOCK: usize = if cfg!(target_os = "none") { TILE } else { 64 };

/// A block of accumulators, as a tile of one row.
pub(crate) type Accumulators<A> = [[A; BLOCK]; 1];

/// What becomes of accumulators.
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

impl Store {
    /// Stores accumulators at their own exponent: rounded to the nearest element for floats,
    /// saturated for integers.
    pub const EXACT: Self = Self::Shift {
        shift: 0,
        rounding: Rounding::NearestEven,
    };

    /// Takes one accumulator, of the output element with row-major index `element`, to `out`, and
    /// adds it to `range`.
    #[inline(always)]
    pub(crate) fn one<T: Element, O: Output<T>>(
        self,
        acc: T::Acc,
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut O,
    ) {
        *range = range.or(acc.magnitude());
        if let Self::Shift { shift, rounding } = self {
            *out = O::store(acc.shift(shift, rounding, element));
        }
    }

    /// The same for consecutive output elements, `out.len() <= BLOCK` of them and the first with index
    /// `element`: side by side, by the instruction set where it has one for that. Accumulators are scratch
    /// then.
    #[inline(always)]
    pub(crate) fn block_by<I: Isa, T: Element>(
        self,
        isa: I,
        acc: &mut Accumulators<T::Acc>,
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [T],
    ) {
        // Floats are scaled and rounded, which loops do side by side as it is.
        if cfg!(target_os = "none") || !T::DTYPE.is_integer() {
            self.block::<T, T>(acc.as_flattened(), element, range, out);
            return;
        }
        let epilogue = Epilogue {
            store: self,
            ..Epilogue::EXACT
        };
        let place = [1, out.len(), BLOCK];
        epilogue.tile_by(isa, acc, place, element, range, out, &mut []);
    }

    /// Takes the accumulators of consecutive output elements, the first with row-major index
    /// `element`, to `out`, and adds them to `range`. One copy on devices, for all kernels; elsewhere
    /// it takes on the instruction set of its caller.
    #[cfg_attr(target_os = "none", inline(never))]
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub(crate) fn block<T: Element, O: Output<T>>(
        self,
        acc: &[T::Acc],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
    ) {
        let mut element = element;
        for (out, &acc) in out.iter_mut().zip(acc) {
            self.one::<T, O>(acc, element, range, out);
            element = element.wrapping_add(1);
        }
    }
}

/// From accumulators to stored elements: activation, range, shift, rounding, saturation.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<T: Element> {
    /// Applied first.
    pub activation: Activation<T>,
    /// The exponent of the accumulators, which functions read from tables need; 0 for floats.
    pub exponent: i32,
    /// Applied then.
    pub store: Store,
}

impl<T: Element> Epilogue<T> {
    /// Stores accumulators at their own exponent: rounded to the nearest element for floats,
    /// saturated for integers.
    pub const EXACT: Self = Self {
        activation: Activation::Identity,
        exponent: 0,
        store: Store::EXACT,
    };

    /// The same with another activation.
    #[must_use]
    pub const fn with(self, activation: Activation<T>) -> Self {
        Self { activation, ..self }
    }

    /// Takes the accumulators of consecutive output elements, the first with row-major index
    /// `element`, to `out`, and adds them to `range`; `slope` gets what the activation keeps, if
    /// it is not empty. One copy on devices, as [`Store::block`].
    #[cfg_attr(target_os = "none", inline(never))]
    #[cfg_attr(not(target_os = "none"), inline(always))]
    pub(crate) fn block<O: Output<T>>(
        &self,
        acc: &mut [T::Acc],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        let mut store = self.store;
        match self.activation {
            Activation::Identity => {}
            Activation::Relu => acc.iter_mut().for_each(|acc| *acc = acc.relu()),
            Activation::Function(function) => {
                function.forward(self.exponent, acc, slope);
                if let Some(round) = function.round {
                    let (rest, largest) = round(store, acc, element);
                    store = rest;
                    *range = range.or(largest.magnitude());
                }
            }
        }
        store.block::<T, O>(acc, element, range, out);
    }

    /// [`Epilogue::tile`] by the instruction set, where it has one for such elements.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // as `tile`
    pub(crate) fn tile_by<I: Isa, O: Output<T>, const W: usize, const R: usize>(
        &self,
        isa: I,
        acc: &mut [[T::Acc; W]; R],
        [rows, columns, step]: [usize; 3],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        let is_relu = match self.activation {
            Activation::Identity => Some(false),
            Activation::Relu => Some(true),
            Activation::Function(_) => None,
        };
        if let (Some(is_relu), Store::Shift { shift, rounding }) = (is_relu, self.store) {
            let extent = Extent {
                rows,
                width: W,
                columns,
                step,
            };
            let narrowing = Narrowing {
                is_relu,
                shift: u32::try_from(shift).unwrap_or(0),
                rounding,
                element,
            };
            if let Some(seen) = O::narrow(isa, acc.as_flattened(), extent, narrowing, out) {
                *range = range.or(seen);
                return;
            }
        }
        self.tile(acc, [rows, columns, step], element, range, out, slope);
    }

    /// The same for the rows of a tile, which go to `out` and `slope` at distances of `step`; each has
    /// `columns` elements in use. They are computed side by side.
    #[inline(always)]
    pub(crate) fn tile<O: Output<T>, const W: usize, const R: usize>(
        &self,
        acc: &mut [[T::Acc; W]; R],
        [rows, columns, step]: [usize; 3],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        let acc = acc.get_mut(..rows).unwrap_or_default();
        if let Activation::Function(_) = self.activation {
            for (r, acc) in acc.iter_mut().enumerate() {
                let (start, end) = (r * step, r * step + columns);
                self.block(
                    acc.get_mut(..columns).unwrap_or_default(),
                    element.wrapping_add(start as u32),
                    range,
                    out.get_mut(start..end).unwrap_or_default(),
                    slope.get_mut(start..end).unwrap_or_default(),
                );
            }
            return;
        }
        let acc = acc.as_flattened_mut();
        if columns < W && T::DTYPE.is_integer() {
            for row in acc.chunks_exact_mut(W) {
                let unused = row.iter_mut().skip(columns);
                unused.for_each(|acc| *acc = T::Acc::default());
            }
        }
        if let Activation::Relu = self.activation {
            acc.iter_mut().for_each(|acc| *acc = acc.relu());
        }
        let none = <T::Acc as Accumulator>::Magnitude::default();
        let seen = (acc.iter()).fold(none, |seen, acc| seen.or(acc.magnitude()));
        *range = range.or(seen);
        let Store::Shift { shift, rounding } = self.store else {
            return;
        };
        let (width, step32) = (W as u32, step as u32);
        T::Acc::shift_all(acc, shift, rounding, |i| {
            let place = (i / width).wrapping_mul(step32).wrapping_add(i % width);
            element.wrapping_add(place)
        });
        let mut stored = [[O::store(T::Acc::default()); W]; R];
        for (to, &acc) in stored.as_flattened_mut().iter_mut().zip(acc.iter()) {
            *to = O::store(acc);
        }
        for (r, stored) in stored.iter().enumerate().take(rows) {
            let out = out.get_mut(r * step..).unwrap_or_default();
            if let (Some(out), true) = (out.first_chunk_mut(), columns == W) {
                *out = *stored;
                continue;
            }
            let out = out.get_mut(..columns).unwrap_or_default();
            for (out, stored) in out.chunks_mut(TILE).zip(stored.chunks(TILE)) {
                match (out.first_chunk_mut::<TILE>(), stored.first_chunk()) {
                    (Some(out), Some(stored)) => *out = *stored,
                    _ => out.iter_mut().zip(stored).for_each(|(out, &x)| *out = x),
                }
            }
        }
    }
}
