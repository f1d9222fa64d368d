//! Epilogues: what happens to accumulators before they are stored.

use crate::activation::{Activation, Function};
use crate::arch::Isa;
use crate::arch::narrow::{Extent, Narrowing};
use crate::arch::scalar::TILE;
use crate::element::{Element, Output};
use crate::fixed::{Accumulator, Magnitude, Rounding};
use crate::split::{blocks_of, blocks_of_mut};
use core::ops::{Deref, DerefMut};

/// Accumulators that are stored together; few on devices, for their stacks.
pub(crate) const BLOCK: usize = if cfg!(target_os = "none") { TILE } else { 64 };

/// A block that begins with a line of the cache, as vectors should: what is stored across lines and loaded again
/// must wait for the cache.
#[cfg_attr(not(target_os = "none"), repr(align(64)))]
#[derive(Clone, Copy)]
pub(crate) struct Lines<B>(pub(crate) B);

impl<B> Deref for Lines<B> {
    type Target = B;

    #[inline(always)]
    fn deref(&self) -> &B {
        &self.0
    }
}

impl<B> DerefMut for Lines<B> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut B {
        &mut self.0
    }
}

/// A block of accumulators, as a tile of one row.
pub(crate) type Accumulators<A> = [[A; BLOCK]; 1];

/// What becomes of accumulators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Their range is measured; nothing is stored.
    Measure,
    /// They are shifted right by `shift` (left where it is negative), rounded and saturated.
    /// Floats are only scaled, by `2^-shift` of a shift cut to -127 to 126, the normal powers of `f32`.
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
        if out.len() == BLOCK {
            // Plain loops of a known length take no call.
            epilogue.tile(acc, place, element, range, out, &mut []);
        } else {
            epilogue.tile_by(isa, acc, place, element, range, out, &mut []);
        }
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

/// Takes accumulators of any width to as many elements as `out` has, at most `W`, the first of which has
/// row-major index `element`, and adds them to `range`: side by side, with the accumulators as scratch.
#[inline(always)]
pub(crate) fn put_all<A: Accumulator, T, const W: usize>(
    store: Store,
    acc: &mut [A; W],
    element: u32,
    range: &mut A::Magnitude,
    out: &mut [T],
    narrow: impl Fn(A) -> T,
) {
    // Of a known number, none is left for a loop of its own.
    if let Some(out) = out.first_chunk_mut::<W>() {
        put(store, acc, element, range, out, narrow);
    } else {
        let acc = acc.get_mut(..out.len()).unwrap_or_default();
        put(store, acc, element, range, out, narrow);
    }
}

/// [`put_all`] of as many accumulators as `out` has elements.
#[inline(always)]
fn put<A: Accumulator, T>(
    store: Store,
    acc: &mut [A],
    element: u32,
    range: &mut A::Magnitude,
    out: &mut [T],
    narrow: impl Fn(A) -> T,
) {
    *range = (acc.iter()).fold(*range, |range, acc| range.or(acc.magnitude()));
    if let Store::Shift { shift, rounding } = store {
        A::shift_all(acc, shift, rounding, |i| element.wrapping_add(i));
        for (out, &acc) in out.iter_mut().zip(&*acc) {
            *out = narrow(acc);
        }
    }
}

/// The first [`BLOCK`] of `values`; where there are fewer, those, in `room`.
#[inline(always)]
pub(crate) fn block_at<'a, T: Copy>(values: &'a [T], room: &'a mut [T; BLOCK]) -> &'a [T; BLOCK] {
    values.first_chunk().unwrap_or_else(|| {
        room.iter_mut().zip(values).for_each(|(to, &x)| *to = x);
        room
    })
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
                store = self.apply(&function, acc, element, range, slope);
            }
        }
        store.block::<T, O>(acc, element, range, out);
    }

    /// Applies a function to consecutive accumulators, as [`Epilogue::block`], and tells what is left to do.
    #[inline(always)]
    fn apply(
        &self,
        function: &Function<T>,
        acc: &mut [T::Acc],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        slope: &mut [T],
    ) -> Store {
        function.forward(self.exponent, acc, slope);
        match function.round {
            None => self.store,
            Some(round) => {
                let (rest, largest) = round(self.store, acc, element);
                *range = range.or(largest.magnitude());
                rest
            }
        }
    }

    /// Applies a function to the rows of a tile, and returns an epilogue without one.
    #[inline(always)]
    fn applied<const W: usize, const R: usize>(
        &self,
        acc: &mut [[T::Acc; W]; R],
        [rows, columns, step]: [usize; 3],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        slope: &mut [T],
    ) -> Self {
        let Activation::Function(function) = self.activation else {
            return *self;
        };
        let mut rest = self.with(Activation::Identity);
        for (r, acc) in acc.iter_mut().enumerate().take(rows) {
            let start = r * step;
            rest.store = self.apply(
                &function,
                acc.get_mut(..columns).unwrap_or_default(),
                element.wrapping_add(start as u32),
                range,
                slope.get_mut(start..start + columns).unwrap_or_default(),
            );
        }
        rest
    }

    /// [`Epilogue::tile`] by the instruction set, where it has one for such elements.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)] // as `tile`
    pub(crate) fn tile_by<I: Isa, O: Output<T>, const W: usize, const R: usize>(
        &self,
        isa: I,
        acc: &mut [[T::Acc; W]; R],
        place: [usize; 3],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        let plain = self.applied(acc, place, element, range, slope);
        let [rows, columns, step] = place;
        let is_relu = plain.activation.is_relu();
        if let Store::Shift { shift, rounding } = plain.store
            && shift > 0
        {
            let extent = Extent {
                rows,
                width: W,
                columns,
                step,
            };
            let narrowing = Narrowing {
                is_relu,
                shift: shift.unsigned_abs(),
                rounding,
                element,
            };
            if let Some(seen) = O::narrow(isa, acc.as_flattened(), extent, narrowing, out) {
                *range = range.or(seen);
                return;
            }
        }
        plain.plain(acc, place, element, range, out);
    }

    /// The same for the rows of a tile, which go to `out` and `slope` at distances of `step`; each has
    /// `columns` elements in use. They are computed side by side.
    #[inline(always)]
    pub(crate) fn tile<O: Output<T>, const W: usize, const R: usize>(
        &self,
        acc: &mut [[T::Acc; W]; R],
        place: [usize; 3],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        let plain = self.applied(acc, place, element, range, slope);
        plain.plain(acc, place, element, range, out);
    }

    /// The same without a function.
    #[inline(always)]
    fn plain<O: Output<T>, const W: usize, const R: usize>(
        &self,
        acc: &mut [[T::Acc; W]; R],
        [rows, columns, step]: [usize; 3],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
    ) {
        let acc = acc.get_mut(..rows).unwrap_or_default();
        let acc = acc.as_flattened_mut();
        if columns < W && T::DTYPE.is_integer() {
            for row in acc.chunks_exact_mut(W) {
                let unused = row.iter_mut().skip(columns);
                unused.for_each(|acc| *acc = T::Acc::default());
            }
        }
        if self.activation.is_relu() {
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
        for (r, acc) in acc.chunks_exact(W).enumerate() {
            let out = out.get_mut(r * step..).unwrap_or_default();
            if let (Some(out), true) = (out.first_chunk_mut::<W>(), columns == W) {
                for (out, &acc) in out.iter_mut().zip(acc) {
                    *out = O::store(acc);
                }
                continue;
            }
            let mut stored = [O::store(T::Acc::default()); W];
            for (to, &acc) in stored.iter_mut().zip(acc) {
                *to = O::store(acc);
            }
            let out = out.get_mut(..columns).unwrap_or_default();
            for (out, stored) in blocks_of_mut(out, TILE).zip(blocks_of(&stored, TILE)) {
                match (out.first_chunk_mut::<TILE>(), stored.first_chunk()) {
                    (Some(out), Some(stored)) => *out = *stored,
                    _ => out.iter_mut().zip(stored).for_each(|(out, &x)| *out = x),
                }
            }
        }
    }
}
