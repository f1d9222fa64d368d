//! Signed bytes by the register tiles, patches and strips of the shared-exponent layers.
//!
//! Their weights have a zero point of 0, so of `Σ (x - zero) · w` two terms are left: `Σ x · w`, which those
//! loops compute, and `zero · Σ w`, which the sums start without. Patches and strips hold padding as `zero`
//! and know the sums of their filters; tiles leave padding out, and `Σ w` is that of the cells they meet.

use super::layers::{Affine, ConvCall, DenseCall};
use super::multiplier::{Multiplier, Rounding};
use crate::arch::narrow::{Extent, Scaling};
use crate::arch::scalar::TILE;
use crate::arch::tile::{Operand, Segments};
use crate::arch::{self, Isa};
use crate::decoded::Finish;
use crate::finish::TileFinish;
use crate::window::Deep;
use crate::{conv, dense};

/// The largest bias beside which no 32-bit sum overflows: that of 2^15 products less a zero point is smaller.
const LARGEST_BIAS: u32 = 1 << 30;

/// Computes the rows, or tells that these loops cannot.
pub(super) fn dense(call: &mut DenseCall<'_, i8>) -> bool {
    if !call.finish.has_tiles() {
        return false;
    }
    arch::dispatch(dense::Rows {
        inputs: call.inputs,
        outputs: call.outputs,
        x: call.x,
        weight: call.weights,
        finish: call.finish,
        first: call.first,
        out: &mut *call.out,
        slope: &mut [],
    });
    true
}

/// The same of a convolution.
pub(super) fn conv(call: &mut ConvCall<'_, i8>) -> bool {
    if !call.finish.has_tiles() {
        return false;
    }
    arch::dispatch(Deep(conv::Rows {
        extents: call.extents,
        x: call.x,
        weight: call.weights,
        finish: call.finish,
        first: call.first,
        out: &mut *call.out,
        slope: &mut [],
    }));
    true
}

/// Types without such loops.
pub(super) fn none<C>(_: &mut C) -> bool {
    false
}

/// The multipliers of `W` channels.
struct Multipliers<const W: usize> {
    mantissas: [i32; W],
    shifts: [i32; W],
}

impl<const W: usize> Multipliers<W> {
    /// Whether none shifts to the left.
    #[inline(always)]
    fn are_down(&self) -> bool {
        self.shifts.iter().all(|&shift| shift <= 0)
    }
}

/// What clamps a product with a multiplier, and is added to it then.
struct Limits {
    low: i32,
    high: i32,
    zero: i32,
}

impl Limits {
    /// Accumulators as elements.
    #[inline(always)]
    fn bytes<const N: usize>(
        &self,
        acc: &[i32; N],
        mantissas: &[i32; N],
        shifts: &[i32; N],
        apply: impl Fn(Multiplier, i32) -> i32,
    ) -> [i8; N] {
        let mut bytes = [0; N];
        let factors = mantissas.iter().zip(shifts);
        for ((to, &acc), (&mantissa, &shift)) in bytes.iter_mut().zip(acc).zip(factors) {
            let y = apply(Multiplier { mantissa, shift }, acc);
            *to = (y.max(self.low).min(self.high) + self.zero) as i8;
        }
        bytes
    }
}

impl Affine<'_, i8> {
    /// The multipliers of `W` channels from `channel` on; zeros beyond the last.
    #[inline(always)]
    fn multipliers_from<const W: usize>(&self, channel: usize) -> Multipliers<W> {
        let multipliers: [Multiplier; W] = self.quantization.multipliers_from(channel);
        Multipliers {
            mantissas: multipliers.map(|multiplier| multiplier.mantissa),
            shifts: multipliers.map(|multiplier| multiplier.shift),
        }
    }

    #[inline(always)]
    fn limits(&self) -> Limits {
        let (low, high) = self.quantization.limits::<i8>();
        let zero = self.quantization.output_zero;
        Limits {
            low: low - zero,
            high: high - zero,
            zero,
        }
    }

    /// Whether these loops compute the layer. Devices, which have no tiles, need no second loops for it.
    fn has_tiles(&self) -> bool {
        let biases = self.bias.unwrap_or_default();
        !cfg!(target_os = "none")
            && self.quantization.weight_zero == 0
            && biases
                .iter()
                .all(|bias| bias.unsigned_abs() <= LARGEST_BIAS)
    }

    /// The rows of a tile, each accumulator by `apply`: whole ones side by side, others [`TILE`] at a time.
    #[inline(always)]
    fn rows<const W: usize, const R: usize>(
        &self,
        acc: &[[i32; W]; R],
        multipliers: &Multipliers<W>,
        [rows, columns, step]: [usize; 3],
        out: &mut [i8],
        apply: impl Fn(Multiplier, i32) -> i32,
    ) {
        let limits = self.limits();
        let Multipliers { mantissas, shifts } = multipliers;
        let parts = (mantissas.as_chunks::<TILE>().0.iter()).zip(shifts.as_chunks::<TILE>().0);
        for (r, acc) in acc.iter().enumerate().take(rows) {
            let start = r * step;
            let out = out.get_mut(start..start + columns).unwrap_or_default();
            if let Some(out) = out.first_chunk_mut() {
                *out = limits.bytes(acc, mantissas, shifts, &apply);
                continue;
            }
            let accs = acc.as_chunks::<TILE>().0;
            for ((out, acc), (mantissas, shifts)) in
                out.chunks_mut(TILE).zip(accs).zip(parts.clone())
            {
                let bytes = limits.bytes(acc, mantissas, shifts, &apply);
                match out.first_chunk_mut() {
                    Some(out) => *out = bytes,
                    None => out.iter_mut().zip(bytes).for_each(|(out, y)| *out = y),
                }
            }
        }
    }
}

impl TileFinish<i8, i8> for Affine<'_, i8> {
    #[inline(always)]
    fn padding(&self) -> i8 {
        self.quantization.input_zero as i8 // has been checked
    }

    #[inline(always)]
    fn centre(&self, x: i32) -> i32 {
        x - self.quantization.input_zero
    }

    #[inline(always)]
    fn add_products<I: Isa>(&self, _: I, sums: &mut i32, x: &[i8], weight: &[i8]) {
        for (&x, &w) in x.iter().zip(weight) {
            *sums += self.centre(x.into()) * i32::from(w);
        }
    }

    #[inline(always)]
    fn biases(&self) -> impl Iterator<Item = i32> {
        let given = self.bias.unwrap_or_default().iter().copied();
        given.chain(core::iter::repeat(0))
    }

    #[inline(always)]
    fn biases_from<const N: usize>(&self, channel: usize) -> [i32; N] {
        let mut biases = [0; N];
        let given = self.bias.and_then(|bias| bias.get(channel..));
        for (to, &bias) in biases.iter_mut().zip(given.unwrap_or_default()) {
            *to = bias;
        }
        biases
    }

    #[inline(always)]
    fn starts<const N: usize>(
        &self,
        channel: usize,
        weight_sums: impl FnOnce() -> [i32; N],
    ) -> [i32; N] {
        let mut starts = self.biases_from(channel);
        let zero = self.quantization.input_zero;
        if zero != 0 {
            for (start, sum) in starts.iter_mut().zip(weight_sums()) {
                *start -= zero * sum; // of 29 bits
            }
        }
        starts
    }

    #[inline(always)]
    fn starts_of_tile<I: Isa, const N: usize>(
        &self,
        isa: I,
        channel: usize,
        weight: Operand<'_, i8>,
        segments: &Segments,
    ) -> [i32; N] {
        let mut starts = self.starts(channel, || {
            let mut sums = [0; N];
            for (row, sum) in sums.iter_mut().enumerate().take(weight.rows) {
                let weight = weight.values.get(row * weight.step..).unwrap_or_default();
                for (_, start) in segments.starts() {
                    let weight = weight.get(start..start + segments.len());
                    *sum += isa.sum_i8(weight.unwrap_or_default());
                }
            }
            sums
        });
        // Columns that are not in use keep what they had.
        (starts.iter_mut().skip(weight.rows)).for_each(|start| *start = 0);
        starts
    }

    #[inline(always)]
    fn block(
        &self,
        acc: &mut [i32],
        channel: usize,
        element: u32,
        _: &mut u32,
        out: &mut [i8],
        _: &mut [i8],
    ) {
        for (i, (out, &mut acc)) in out.iter_mut().zip(acc).enumerate() {
            Finish::store(
                self,
                i64::from(acc),
                channel + i,
                element,
                &mut (),
                out,
                &mut [],
            );
        }
    }

    #[inline(always)]
    fn tile<const W: usize, const R: usize>(
        &self,
        acc: &mut [[i32; W]; R],
        channel: usize,
        place: [usize; 3],
        _: u32,
        _: &mut u32,
        out: &mut [i8],
        _: &mut [i8],
    ) {
        let multipliers = self.multipliers_from(channel);
        match self.quantization.rounding {
            Rounding::Double if multipliers.are_down() => {
                self.rows(acc, &multipliers, place, out, Multiplier::twice_down);
            }
            rounding => self.rows(acc, &multipliers, place, out, |multiplier, acc| {
                multiplier.apply(acc, rounding)
            }),
        }
    }

    #[inline(always)]
    fn tile_by<I: Isa, const W: usize, const R: usize>(
        &self,
        isa: I,
        acc: &mut [[i32; W]; R],
        channel: usize,
        place: [usize; 3],
        element: u32,
        range: &mut u32,
        out: &mut [i8],
        slope: &mut [i8],
    ) {
        let multipliers: Multipliers<W> = self.multipliers_from(channel);
        if self.quantization.rounding == Rounding::Double && multipliers.are_down() {
            let [rows, columns, step] = place;
            let extent = Extent {
                rows,
                width: W,
                columns,
                step,
            };
            let Limits { low, high, zero } = self.limits();
            let scaling = Scaling {
                mantissas: &multipliers.mantissas,
                shifts: &multipliers.shifts,
                low,
                high,
                zero,
            };
            if isa.scale_i8(acc.as_flattened(), extent, scaling, out) {
                return;
            }
        }
        self.tile(acc, channel, place, element, range, out, slope);
    }
}
