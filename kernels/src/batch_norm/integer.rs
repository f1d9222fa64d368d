//! Batch normalisation in integers: LayerNorm's arithmetic by channel, running statistics in units
//! of 2^-32.

use super::{
    BackwardInput, ErrorSums, Exponents, Folding, Forward, Infer, Kernels, Running, Statistics,
    SumErrors, grouped, grouped_mut,
};
use crate::arch::scalar::TILE;
use crate::arch::{self, Isa, Kernel};
use crate::element::{Blank, Element};
use crate::fixed::{
    Accumulator, InverseRoot, Magnitude, Reciprocal, Rounding, rsqrt, rsqrt_u128, sat_i128,
    shift_rne_i64, shift_rne_i128, shl_sat_i64, shl_sat_i128,
};
use crate::norm::{Normal, offsets};
use crate::requantize::{BLOCK, Lines, block_at};
use crate::short::{Short, WORD_LIMIT, Word, fit_words, put_block};
use crate::split::{blocks_of, rows_of, rows_of_mut};

/// Statistics of a channel of integers, cut to 15 bits: `S1`, `S2`, and `1/√V` where
/// `V = N · S2 - S1²`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Channel {
    sum: i64,
    squares: i64,
    root: InverseRoot,
}

impl Blank for Channel {
    const BLANK: Self = Self {
        sum: 0,
        squares: 0,
        root: InverseRoot {
            mantissa: 0,
            places: 0,
        },
    };
}

/// What inference does to an element cut to 15 bits: `q · factor / 2^shift + offset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Transform {
    /// Below 2^31.
    factor: i64,
    shift: i32,
    /// 0: no byte between the fields is left out.
    spare: i32,
    /// At most 61 bits.
    offset: i64,
}

impl Blank for Transform {
    const BLANK: Self = Self {
        factor: 0,
        shift: 0,
        spare: 0,
        offset: 0,
    };
}

/// `N² σ²` of a channel: at most 78 bits.
fn variance(rows: usize, channel: &Channel) -> i128 {
    rows as i128 * i128::from(channel.squares) - i128::from(channel.sum) * i128::from(channel.sum)
}

/// A call on integers.
struct Integer<C>(C);

impl<T: Short + Kernels<Channel = Channel>> Kernel for Integer<Statistics<'_, T>> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Statistics {
            shape,
            x,
            mut start,
            out,
            ..
        } = self.0;
        for out in out.chunks_mut(TILE) {
            let (mut sums, mut squares) = ([0i64; TILE], [0i64; TILE]);
            for row in rows_of(x, shape.channels) {
                let row = row.get(start..start + out.len()).unwrap_or_default();
                for ((x, sum), squares) in row.iter().zip(&mut sums).zip(&mut squares) {
                    let q = i64::from(x.cut());
                    *sum += q;
                    *squares += q * q;
                }
            }
            for ((out, &sum), &squares) in out.iter_mut().zip(&sums).zip(&squares) {
                let channel = Channel {
                    sum,
                    squares,
                    root: InverseRoot::default(),
                };
                *out = Channel {
                    root: rsqrt_u128(variance(shape.rows, &channel) as u128),
                    ..channel
                };
            }
            start += out.len();
        }
    }
}

impl<T: Normal + Kernels<Channel = Channel>> Kernel for Integer<Forward<'_, T>> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Forward {
            shape,
            x,
            statistics,
            affine,
            store,
            first,
            out,
        } = self.0;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut start = 0;
        let blocks = blocks_of(statistics, BLOCK).zip(blocks_of(affine.gamma, BLOCK));
        for (channels, gamma) in blocks {
            let tile = start..start + channels.len();
            let lanes = Lanes::<i64>::new(shape.rows, channels);
            let offsets = offsets::<T>(&affine, tile.clone());
            let (mut x_room, mut gammas) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
            let gamma = block_at(gamma, &mut gammas);
            let mut element = first.wrapping_add(start as u32);
            let rows = rows_of(x, shape.channels).zip(rows_of_mut(out, shape.channels));
            for (x, out) in rows {
                let normals =
                    lanes.normals(block_at(x.get(start..).unwrap_or_default(), &mut x_room));
                let mut acc = Lines([[T::Acc::default(); BLOCK]]);
                let places = acc.as_flattened_mut().iter_mut().zip(&offsets);
                for (((acc, &offset), &gamma), &normal) in places.zip(gamma).zip(&*normals) {
                    *acc = T::scaled(normal as i32, gamma) + offset; // 15 bits
                }
                let out = out.get_mut(tile.clone()).unwrap_or_default();
                store.block_by(isa, &mut acc, element, &mut range, out);
                element = element.wrapping_add(shape.channels as u32);
            }
            start = tile.end;
        }
        range.bits()
    }
}

/// Statistics of neighbouring channels side by side.
struct Lanes<W> {
    rows: W,
    sums: Lines<[W; BLOCK]>,
    mantissas: Lines<[W; BLOCK]>,
    /// To `x̂`.
    shifts: Shifts<W>,
}

impl<W: Word> Lanes<W> {
    #[inline(always)]
    fn new(rows: usize, channels: &[Channel]) -> Self {
        let mantissas = channels.iter().map(|channel| channel.root.mantissa.into());
        Self {
            rows: W::of(rows as i64),
            sums: block_of(channels.iter().map(|channel| channel.sum)),
            mantissas: block_of(mantissas),
            shifts: Shifts::new(channels.iter().map(|channel| 18 - channel.root.places)),
        }
    }

    /// `x̂` in Q12 of as many elements as there are, one of each channel: at most 15 bits. The product has
    /// at most 57 bits, with 40 of the deviation `N q - S1` (2^24 rows) and 17 of the root.
    #[inline(always)]
    fn normals<T: Short>(&self, x: &[T; BLOCK]) -> Lines<[W; BLOCK]> {
        let mut normals = Lines([W::default(); BLOCK]);
        let lanes = self.sums.iter().zip(&*self.mantissas);
        for ((normal, x), (&sum, &mantissa)) in normals.iter_mut().zip(x).zip(lanes) {
            *normal = (self.rows * W::of(x.cut().into()) - sum) * mantissa;
        }
        self.shifts.round(&mut normals);
        for normal in &mut *normals {
            *normal = normal.saturate(15);
        }
        normals
    }
}

impl<T> Kernel for Integer<SumErrors<'_, T>>
where
    T: Short + Kernels<Channel = Channel, Statistic = i64>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let SumErrors {
            shape,
            x,
            statistics,
            dy,
            mut start,
            out,
        } = self.0;
        for out in out.chunks_mut(BLOCK) {
            let tile = start..start + out.len();
            let channels = statistics.get(tile.clone()).unwrap_or_default();
            let lanes = Lanes::<i64>::new(shape.rows, channels);
            let (mut sums, mut products) = (Lines([0i64; BLOCK]), Lines([0i64; BLOCK]));
            let (mut x_room, mut dy_room) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
            for (x, dy) in rows_of(x, shape.channels).zip(rows_of(dy, shape.channels)) {
                let normals =
                    lanes.normals(block_at(x.get(start..).unwrap_or_default(), &mut x_room));
                let dy = block_at(dy.get(start..).unwrap_or_default(), &mut dy_room);
                let places = sums.iter_mut().zip(&mut *products);
                for (((sum, product), normal), d) in places.zip(*normals).zip(dy) {
                    let d = i64::from(d.cut());
                    *sum += d;
                    *product += d * normal;
                }
            }
            for ((out, dy), product) in out.iter_mut().zip(*sums).zip(*products) {
                *out = ErrorSums { dy, product };
            }
            start = tile.end;
        }
    }
}

impl<T> Kernel for Integer<BackwardInput<'_, T>>
where
    T: Short + Kernels<Channel = Channel, Statistic = i64>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(mut self, _: I) -> u32 {
        let call = &mut self.0;
        let mut range = 0u64;
        let mut start = 0;
        let (channels, sums) = (call.saved.statistics, call.errors.sums);
        let blocks = blocks_of(channels, BLOCK).zip(blocks_of(sums, BLOCK));
        for ((channels, sums), gamma) in blocks.zip(blocks_of(call.gamma, BLOCK)) {
            let block = Gradients {
                start,
                channels,
                sums,
                gamma,
            };
            range |= if fit_words::<T>() && block.fits(call.shape.rows) {
                block.run::<i32>(call)
            } else {
                block.run::<i64>(call)
            };
            start += channels.len();
        }
        range.bits()
    }
}

/// Neighbouring channels of a gradient.
struct Gradients<'a, T> {
    /// The first.
    start: usize,
    channels: &'a [Channel],
    sums: &'a [ErrorSums<i64>],
    gamma: &'a [T],
}

impl<T: Short + Kernels<Channel = Channel, Statistic = i64>> Gradients<'_, T> {
    /// Whether no number of [`Gradients::run`] reaches [`WORD_LIMIT`], for bytes, of which none is above 2^7.
    #[inline(always)]
    fn fits(&self, rows: usize) -> bool {
        // Of more rows, the first product does not.
        let bytes = (rows.min(1 << 8) as i64) << 7;
        rows <= 1 << 8
            && self.channels.iter().zip(self.sums).all(|(channel, sums)| {
                let InverseRoot { mantissa, places } = channel.root;
                let all_below = |numbers: [u64; 3], limit: u64| numbers.iter().all(|&n| n < limit);
                let slope = (sums.product.unsigned_abs() >> 12) + 1;
                let [sum, errors] = [channel.sum, sums.dy].map(i64::unsigned_abs);
                // x̂ · slope, and sums that are multiplied by the root.
                if !all_below([slope, errors >> 1, sum >> 1], 1 << 15) {
                    return false;
                }
                let root = i64::from(mantissa).unsigned_abs();
                let deviation = (bytes.unsigned_abs() + sum) * root;
                let w = (bytes.unsigned_abs() + errors + 8 * slope + 1) * root;
                let scaled = ((w >> (15 - places).clamp(1, 63)) + 1) << 7;
                all_below([deviation, w, scaled], WORD_LIMIT as u64)
            })
    }

    #[inline(always)]
    fn run<W: Word>(&self, call: &mut BackwardInput<'_, T>) -> u64 {
        let BackwardInput {
            shape,
            saved,
            errors,
            store,
            first,
            ..
        } = *call;
        let mut range = 0u64;
        let tile = self.start..self.start + self.channels.len();
        let lanes = Lanes::<W>::new(shape.rows, self.channels);
        let slopes = self.sums.iter().map(|sums| shift_rne_i64(sums.product, 12));
        let slopes: Lines<[W; BLOCK]> = block_of(slopes);
        let sums: Lines<[W; BLOCK]> = block_of(self.sums.iter().map(|sums| sums.dy));
        let gammas: Lines<[W; BLOCK]> = block_of(self.gamma.iter().map(|gamma| gamma.cut().into()));
        let shifts = Shifts::<W>::new(self.channels.iter().map(|channel| 15 - channel.root.places));
        let (mut x_room, mut dy_room) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
        let mut element = first.wrapping_add(self.start as u32);
        let (q12, below_half) = (W::places(12), W::below_half(W::places(12)));
        let rows = rows_of(saved.x, shape.channels).zip(rows_of(errors.dy, shape.channels));
        for ((x, dy), dx) in rows.zip(rows_of_mut(call.dx, shape.channels)) {
            let mut acc = lanes.normals(block_at(
                x.get(self.start..).unwrap_or_default(),
                &mut x_room,
            ));
            let dy = block_at(dy.get(self.start..).unwrap_or_default(), &mut dy_room);
            // With 15 bits of dy and |x̂| at most 8: w has at most 19 bits more than N, and
            // w / √V at most 19 + 24/2 + 15 + 1 with those of the root, as V is N - 1 or more.
            for (acc, &slope) in acc.iter_mut().zip(&*slopes) {
                *acc = (*acc * slope).nearest(q12, below_half);
            }
            let terms = dy.iter().zip(&*sums).zip(&*lanes.mantissas);
            for (acc, ((d, &sum), &mantissa)) in acc.iter_mut().zip(terms) {
                *acc = (lanes.rows * W::of(d.cut().into()) - sum - *acc) * mantissa;
            }
            shifts.round(&mut acc);
            for (acc, &gamma) in acc.iter_mut().zip(&*gammas) {
                *acc = *acc * gamma;
            }
            let dx = dx.get_mut(tile.clone()).unwrap_or_default();
            put_block(store, &mut acc, element, &mut range, dx);
            element = element.wrapping_add(shape.channels as u32);
        }
        range
    }
}

/// Places to the right, of neighbouring channels.
struct Shifts<W> {
    places: [i32; BLOCK],
    words: Lines<[W; BLOCK]>,
    /// [`Word::below_half`] of each.
    below_half: Lines<[W; BLOCK]>,
    /// Whether each is one at least, and fewer than all.
    are_plain: bool,
}

impl<W: Word> Shifts<W> {
    #[inline(always)]
    fn new(places: impl Iterator<Item = i32>) -> Self {
        let mut all = [1; BLOCK];
        for (place, places) in all.iter_mut().zip(places) {
            *place = places;
        }
        let words = Lines(all.map(W::places));
        Self {
            are_plain: all.iter().all(|places| (1..64).contains(places)),
            places: all,
            words,
            below_half: Lines(words.map(W::below_half)),
        }
    }

    /// Rounds each value to nearest even, by its own places.
    #[inline(always)]
    fn round(&self, values: &mut [W; BLOCK]) {
        if self.are_plain {
            let places = self.words.iter().zip(&*self.below_half);
            for (x, (&places, &below)) in values.iter_mut().zip(places) {
                *x = x.nearest(places, below);
            }
        } else {
            for (x, &places) in values.iter_mut().zip(&self.places) {
                *x = x.shift(places, Rounding::NearestEven, 0);
            }
        }
    }
}

/// As many values as there are, and zeros behind them.
#[inline(always)]
fn block_of<W: Word>(values: impl Iterator<Item = i64>) -> Lines<[W; BLOCK]> {
    let mut block = Lines([W::default(); BLOCK]);
    for (place, value) in block.iter_mut().zip(values) {
        *place = W::of(value);
    }
    block
}

impl<T: Short + Kernels<Transform = Transform>> Kernel for Integer<Infer<'_, T>> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(mut self, _: I) -> u32 {
        let call = &mut self.0;
        let mut range = 0u64;
        let mut start = 0;
        for transform in call.transform.chunks(BLOCK) {
            range |= if fit_words::<T>() && transform.iter().all(Transform::fits) {
                call.channels_from::<i32>(start, transform)
            } else {
                call.channels_from::<i64>(start, transform)
            };
            start += transform.len();
        }
        range.bits()
    }
}

impl Transform {
    /// Whether 32 bits hold what it makes of bytes: their products with 16 bits of a root and 7 of a gain have
    /// 30, half of that is left of a product, and the offset has no more.
    fn fits(&self) -> bool {
        let is_short = self.factor.unsigned_abs() <= 1 << 23;
        is_short && self.shift > 0 && self.offset.unsigned_abs() < WORD_LIMIT as u64
    }
}

#[allow(private_bounds)] // only this module makes one
impl<T: Short> Infer<'_, T> {
    /// Some channels, the first of which is `start`.
    #[inline(always)]
    fn channels_from<W: Word>(&mut self, start: usize, transform: &[Transform]) -> u64
    where
        T: Kernels<Transform = Transform>,
    {
        let mut range = 0u64;
        let tile = start..start + transform.len();
        let factors: Lines<[W; BLOCK]> =
            block_of(transform.iter().map(|transform| transform.factor));
        let shifts = Shifts::<W>::new(transform.iter().map(|transform| transform.shift));
        let offsets: Lines<[W; BLOCK]> =
            block_of(transform.iter().map(|transform| transform.offset));
        let mut x_room = [T::ZERO; BLOCK];
        let mut element = self.first.wrapping_add(start as u32);
        for (x, out) in rows_of(self.x, self.channels).zip(rows_of_mut(self.out, self.channels)) {
            let x = block_at(x.get(start..).unwrap_or_default(), &mut x_room);
            let mut acc = Lines([W::default(); BLOCK]);
            for ((acc, x), &factor) in acc.iter_mut().zip(x).zip(&*factors) {
                *acc = W::of(x.cut().into()) * factor;
            }
            shifts.round(&mut acc);
            for (acc, &offset) in acc.iter_mut().zip(&*offsets) {
                *acc += offset;
            }
            let out = out.get_mut(tile.clone()).unwrap_or_default();
            put_block(self.store, &mut acc, element, &mut range, out);
            element = element.wrapping_add(self.channels as u32);
        }
        range
    }
}

/// [`super::update_running`] of a channel of a type that cuts `cut` places.
fn update(
    rows: usize,
    exponent: i32,
    momentum: u32,
    channel: &Channel,
    running: &mut Running<i64>,
) {
    let by_rows = Reciprocal::new(rows as u32);
    let mean = by_rows.divide(i128::from(channel.sum), exponent + 32);
    // N²σ² / (N (N - 1)), with 16 bits of fraction between the divisions.
    let squares = by_rows.divide(variance(rows, channel), 16);
    let variance = Reciprocal::new(rows as u32 - 1).divide(squares, 2 * exponent + 16);
    for (running, batch) in [(&mut running.mean, mean), (&mut running.variance, variance)] {
        let change = (sat_i128(batch, 62) - i128::from(*running)) * i128::from(momentum);
        *running = sat_i128(i128::from(*running) + shift_rne_i128(change, 16), 62) as i64;
    }
}

/// [`super::transform`] of a channel: `gamma` is cut, `exponent` that of cut inputs, and `beta`
/// already in units of the accumulator.
fn transform(exponent: i32, gamma: i32, beta: i64, running: &Running<i64>) -> Transform {
    // 1/√variance = mantissa · 2^(places - 30 + 16), and the accumulator holds 2^12 to the unit.
    let root = rsqrt(running.variance.max(0) as u64);
    let factor = i64::from(gamma) * i64::from(root.mantissa);
    let mean = shift_rne_i128(
        i128::from(running.mean) * i128::from(factor),
        34 - root.places,
    );
    Transform {
        factor,
        shift: 2 - exponent - root.places,
        spare: 0,
        offset: sat_i128(i128::from(beta) - mean, 61) as i64,
    }
}

/// Bits of the largest `|value| / 2^shift`; `None` if all are zero.
fn top(values: impl Iterator<Item = (i128, i32)>) -> Option<i32> {
    values
        .filter(|(value, _)| *value != 0)
        .map(|(value, shift)| 128 - value.unsigned_abs().leading_zeros() as i32 - shift)
        .max()
}

/// [`super::fold_transposed`].
fn fold<T>(
    folding: Folding<'_, T>,
    per_group: usize,
    exponents: Exponents,
    weight: &mut [T],
    bias: &mut [T::Bias],
) -> Exponents
where
    T: Short<Bias: Short> + Kernels<Transform = Transform>,
{
    let Folding {
        transform,
        x_exponent,
        out_exponent,
    } = folding;
    let x_exponent = x_exponent + T::CUT;
    // A unit of `q · factor / 2^shift` for a unit of the layer's own output.
    let unit = out_exponent - x_exponent;
    let mut folded = exponents;

    let product = |w: T, channel: &Transform| w.to_i128() * i128::from(channel.factor);
    let products = grouped(weight, transform, per_group)
        .map(|(&w, channel)| (product(w, channel), channel.shift));
    let top_product = top(products);
    if top_product.is_none() {
        weight.fill(T::ZERO);
    }
    if let Some(top) = top_product {
        let rise = top - T::MAGNITUDE_BITS as i32;
        for (w, channel) in grouped_mut(weight, transform, per_group) {
            *w = T::from_i128(shift_rne_i128(product(*w, channel), rise + channel.shift));
        }
        folded.weight += unit + rise;
    }

    // Biases with 16 bits of fraction below the accumulator of `infer`.
    let sum = |b: T::Bias, channel: &Transform| {
        let product = b.to_i128() * i128::from(channel.factor);
        let shift = channel.shift - 16 - (exponents.bias - x_exponent);
        sat_i128(shift_rne_i128(product, shift), 120) + (i128::from(channel.offset) << 16)
    };
    let sums = bias
        .iter()
        .zip(transform)
        .map(|(&b, channel)| (sum(b, channel), 0));
    let top_sum = top(sums);
    if top_sum.is_none() {
        bias.fill(T::Bias::ZERO);
    }
    if let Some(top) = top_sum {
        let rise = top - <T::Bias as Element>::MAGNITUDE_BITS as i32;
        for (b, channel) in bias.iter_mut().zip(transform) {
            *b = T::Bias::from_i128(shift_rne_i128(sum(*b, channel), rise));
        }
        folded.bias = out_exponent - 16 + rise;
    }
    folded
}

macro_rules! impl_kernels {
    ($($t:ident: update $update:ident, $shl_sat:ident;)*) => {$(
        impl Kernels for $t {
            type Statistic = i64;
            type Channel = Channel;
            type Transform = Transform;
            const RUNNING_START: Running<i64> = Running { mean: 0, variance: 1 << 32 };
            const BATCH_GRADIENT_EXPONENT: i32 = Self::CUT - 15;
            const TRANSFORM_EXPONENT: i32 = Self::CUT - 12;
            const MAX_BATCH_ROWS: usize = 1 << 24;

            #[inline(never)]
            fn batch_statistics(call: Statistics<'_, Self>) {
                arch::dispatch(Integer(call));
            }

            #[inline(never)]
            fn batch_forward(call: Forward<'_, Self>) -> u32 {
                arch::dispatch(Integer(call))
            }

            fn batch_update(
                rows: usize,
                x_exponent: i32,
                momentum: u32,
                channel: &Channel,
                running: &mut Running<i64>,
            ) {
                update(rows, x_exponent + Self::CUT, momentum, channel, running);
            }

            #[inline(never)]
            fn batch_error_sums(call: SumErrors<'_, Self>) {
                arch::dispatch(Integer(call));
            }

            #[inline(never)]
            fn batch_backward_input(call: BackwardInput<'_, Self>) -> u32 {
                arch::dispatch(Integer(call))
            }

            fn batch_gradient(sum: i64) -> $update {
                $shl_sat($update::from(sum), Self::CUT as u32)
            }

            fn batch_transform(
                (): (),
                x_exponent: i32,
                gamma: Self,
                beta: Option<(<Self as Element>::Bias, i32)>,
                running: &Running<i64>,
            ) -> Transform {
                let beta = beta.map_or(0, |(beta, shift)| {
                    sat_i128(shift_rne_i128(beta.to_i128(), shift), 61) as i64
                });
                transform(x_exponent + Self::CUT, gamma.cut(), beta, running)
            }

            #[inline(never)]
            fn batch_infer(call: Infer<'_, Self>) -> u32 {
                arch::dispatch(Integer(call))
            }

            fn batch_fold(
                folding: Folding<'_, Self>,
                per_group: usize,
                exponents: Exponents,
                weight: &mut [Self],
                bias: &mut [<Self as Element>::Bias],
            ) -> Exponents {
                fold(folding, per_group, exponents, weight, bias)
            }
        }
    )*};
}

impl_kernels! {
    i8: update i64, shl_sat_i64; u8: update i64, shl_sat_i64;
    i16: update i64, shl_sat_i64; u16: update i64, shl_sat_i64;
    i32: update i64, shl_sat_i64; u32: update i64, shl_sat_i64;
    i64: update i128, shl_sat_i128; u64: update i128, shl_sat_i128;
}
