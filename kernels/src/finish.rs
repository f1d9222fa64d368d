//! Where the sums of a layer with weights start and what becomes of them, channel by channel: what the
//! shared-exponent layers of [`crate::dense`] and [`crate::conv`] differ in from affine ones.

use crate::arch::Isa;
use crate::arch::tile::{Operand, Segments};
use crate::dense::Bias;
use crate::element::{Element, Output};
use crate::fixed::Accumulator;
use crate::requantize::{Epilogue, Store};

/// Where the sums of tiles start and what becomes of them; that of one sum after the other is
/// [`decoded::Finish`](crate::decoded::Finish).
///
/// Activations may have a zero point, which [`TileFinish::centre`] takes off. Loops that multiply elements as
/// they are stored start at a bias less that zero point times the sum of the weights that they meet.
pub trait TileFinish<T: Element, O: Output<T>>: Copy {
    /// The element that stands for zero, on which padding lies.
    fn padding(&self) -> T;
    /// A factor less the zero point.
    fn centre(&self, x: T::Wide) -> T::Wide;
    /// Adds the products of centred activations.
    fn add_products<I: Isa>(&self, isa: I, sums: &mut T::Sums, x: &[T], weight: &[T]);
    /// The biases of all channels; none where the layer has none.
    fn biases(&self) -> impl Iterator<Item = T::Acc>;
    /// Those of `N` channels from `channel` on, zeros beyond the last.
    fn biases_from<const N: usize>(&self, channel: usize) -> [T::Acc; N];
    /// Where the sums of these channels start if weights with the given sums meet elements as they are
    /// stored.
    fn starts<const N: usize>(
        &self,
        channel: usize,
        weight_sums: impl FnOnce() -> [T::Acc; N],
    ) -> [T::Acc; N];
    /// The same of the weights in `segments` of the rows of `weight`.
    fn starts_of_tile<I: Isa, const N: usize>(
        &self,
        isa: I,
        channel: usize,
        weight: Operand<'_, T>,
        segments: &Segments,
    ) -> [T::Acc; N];
    /// Takes the accumulators of consecutive channels from `channel` on to `out`: [`Epilogue::block`].
    fn block(
        &self,
        acc: &mut [T::Acc],
        channel: usize,
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    );
    /// The same of the rows of a tile, whose columns are the channels: [`Epilogue::tile`].
    #[allow(clippy::too_many_arguments)] // what a tile is, and where it goes
    fn tile<const W: usize, const R: usize>(
        &self,
        acc: &mut [[T::Acc; W]; R],
        channel: usize,
        place: [usize; 3],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    );
    /// The same by the instruction set: [`Epilogue::tile_by`].
    #[allow(clippy::too_many_arguments)] // as `tile`
    fn tile_by<I: Isa, const W: usize, const R: usize>(
        &self,
        isa: I,
        acc: &mut [[T::Acc; W]; R],
        channel: usize,
        place: [usize; 3],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    );
}

/// The shared-exponent epilogue, with the layer's biases in units of the accumulator: the same for all channels.
pub struct Shared<'a, T: Element> {
    /// Empty in the gradients.
    pub(crate) bias: &'a [T::Bias],
    pub(crate) bias_shift: i32,
    pub(crate) epilogue: Epilogue<T>,
}

impl<'a, T: Element> Shared<'a, T> {
    pub(crate) fn new(bias: Bias<'a, T>, epilogue: Epilogue<T>) -> Self {
        Self {
            bias: bias.values,
            bias_shift: bias.shift,
            epilogue,
        }
    }

    pub(crate) fn without_bias(store: Store) -> Self {
        let epilogue = Epilogue {
            store,
            ..Epilogue::EXACT
        };
        Self::new(Bias::NONE, epilogue)
    }
}

impl<T: Element> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Element> Copy for Shared<'_, T> {}

impl<T: Element, O: Output<T>> TileFinish<T, O> for Shared<'_, T> {
    #[inline(always)]
    fn padding(&self) -> T {
        T::ZERO
    }

    #[inline(always)]
    fn centre(&self, x: T::Wide) -> T::Wide {
        x
    }

    #[inline(always)]
    fn add_products<I: Isa>(&self, isa: I, sums: &mut T::Sums, x: &[T], weight: &[T]) {
        T::add_products(isa, sums, x, weight);
    }

    #[inline(always)]
    fn biases(&self) -> impl Iterator<Item = T::Acc> {
        let shift = self.bias_shift;
        self.bias.iter().map(move |&bias| T::bias(bias, shift))
    }

    #[inline(always)]
    fn biases_from<const N: usize>(&self, channel: usize) -> [T::Acc; N] {
        let mut biases = [T::Acc::default(); N];
        let values = self.bias.get(channel..).unwrap_or_default();
        for (to, &value) in biases.iter_mut().zip(values) {
            *to = T::bias(value, self.bias_shift);
        }
        biases
    }

    #[inline(always)]
    fn starts<const N: usize>(
        &self,
        channel: usize,
        _: impl FnOnce() -> [T::Acc; N],
    ) -> [T::Acc; N] {
        TileFinish::<T, O>::biases_from(self, channel)
    }

    #[inline(always)]
    fn starts_of_tile<I: Isa, const N: usize>(
        &self,
        _: I,
        channel: usize,
        _: Operand<'_, T>,
        _: &Segments,
    ) -> [T::Acc; N] {
        TileFinish::<T, O>::biases_from(self, channel)
    }

    #[inline(always)]
    fn block(
        &self,
        acc: &mut [T::Acc],
        _: usize,
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        self.epilogue.block(acc, element, range, out, slope);
    }

    #[inline(always)]
    fn tile<const W: usize, const R: usize>(
        &self,
        acc: &mut [[T::Acc; W]; R],
        _: usize,
        place: [usize; 3],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        self.epilogue.tile(acc, place, element, range, out, slope);
    }

    #[inline(always)]
    fn tile_by<I: Isa, const W: usize, const R: usize>(
        &self,
        isa: I,
        acc: &mut [[T::Acc; W]; R],
        _: usize,
        place: [usize; 3],
        element: u32,
        range: &mut <T::Acc as Accumulator>::Magnitude,
        out: &mut [O],
        slope: &mut [T],
    ) {
        (self.epilogue).tile_by(isa, acc, place, element, range, out, slope);
    }
}
