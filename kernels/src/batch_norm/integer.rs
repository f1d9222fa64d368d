//! Batch normalisation in integers: LayerNorm's arithmetic by channel, running statistics in units
//! of 2^-32.

use super::{
    BackwardInput, ErrorSums, Exponents, Folding, Forward, Infer, Kernels, Running, Statistics,
    SumErrors,
};
use crate::arch::scalar::TILE;
use crate::arch::{self, Isa, Kernel};
use crate::element::{Blank, Element};
use crate::fixed::{
    Accumulator, InverseRoot, Magnitude, Reciprocal, rsqrt, rsqrt_u128, sat_i128, shift_rne_i64,
    shift_rne_i128, shl_sat_i64, shl_sat_i128,
};
use crate::norm::{Normal, normal};
use crate::requantize::BLOCK;
use crate::short::{Short, put_block};
use crate::split::{rows_of, rows_of_mut};

/// Statistics of a channel of integers, cut to 15 bits: `S1`, `S2`, and `1/√V` where
/// `V = N · S2 - S1²`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transform {
    /// Below 2^31.
    factor: i64,
    shift: i32,
    /// At most 61 bits.
    offset: i64,
}

impl Blank for Transform {
    const BLANK: Self = Self {
        factor: 0,
        shift: 0,
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
        let n = shape.rows as i64;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = first;
        let rows = rows_of(x, shape.channels).zip(rows_of_mut(out, shape.channels));
        for (x, out) in rows {
            let mut betas = affine.beta.map_or(&[][..], |beta| beta.values).iter();
            let shift = affine.beta.map_or(0, |beta| beta.shift);
            let mut channels = statistics.iter().zip(affine.gamma);
            for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
                let mut acc = [[T::Acc::default(); BLOCK]];
                let places = acc.as_flattened_mut().iter_mut();
                for ((acc, x), (channel, &gamma)) in places.zip(x).zip(channels.by_ref()) {
                    let normal = normal(n * i64::from(x.cut()) - channel.sum, channel.root);
                    *acc = T::scaled(normal, gamma);
                }
                let places = acc.as_flattened_mut().iter_mut().take(out.len());
                for (acc, &beta) in places.zip(betas.by_ref()) {
                    *acc += T::offset(beta, shift);
                }
                store.block_by(isa, &mut acc, element, &mut range, out);
                element = element.wrapping_add(out.len() as u32);
            }
        }
        range.bits()
    }
}

impl<T> Kernel for Integer<SumErrors<'_, T>>
where
    T: Short + Kernels<Channel = Channel, Statistic = i64>,
{
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
        let n = shape.rows as i64;
        for out in out.chunks_mut(TILE) {
            out.fill(ErrorSums::default());
            let tile = start..start + out.len();
            let channels = statistics.get(tile.clone()).unwrap_or_default();
            for (x, dy) in rows_of(x, shape.channels).zip(rows_of(dy, shape.channels)) {
                let x = x.get(tile.clone()).unwrap_or_default();
                let dy = dy.get(tile.clone()).unwrap_or_default();
                for (((sums, x), d), channel) in out.iter_mut().zip(x).zip(dy).zip(channels) {
                    let normal = normal(n * i64::from(x.cut()) - channel.sum, channel.root);
                    let d = i64::from(d.cut());
                    sums.dy += d;
                    sums.product += d * i64::from(normal);
                }
            }
            start += out.len();
        }
    }
}

impl<T> Kernel for Integer<BackwardInput<'_, T>>
where
    T: Short + Kernels<Channel = Channel, Statistic = i64>,
{
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let BackwardInput {
            shape,
            saved,
            errors,
            gamma,
            store,
            first,
            dx,
        } = self.0;
        let n = shape.rows as i64;
        let mut range = 0u64;
        let mut element = first;
        let rows = rows_of(saved.x, shape.channels).zip(rows_of(errors.dy, shape.channels));
        for ((x, dy), dx) in rows.zip(rows_of_mut(dx, shape.channels)) {
            let mut channels = saved.statistics.iter().zip(errors.sums).zip(gamma);
            let blocks = x.chunks(BLOCK).zip(dy.chunks(BLOCK));
            for ((x, dy), dx) in blocks.zip(dx.chunks_mut(BLOCK)) {
                let mut acc = [0; BLOCK];
                let places = acc.iter_mut().zip(x).zip(dy);
                for (((acc, x), d), ((channel, sums), gamma)) in places.zip(channels.by_ref()) {
                    let normal = normal(n * i64::from(x.cut()) - channel.sum, channel.root);
                    // With 15 bits of dy and |x̂| at most 8: w has at most 19 bits more than N, and
                    // w / √V at most 19 + 24/2 + 15 + 1 with those of the root, as V is N - 1 or more.
                    let slope = i64::from(normal) * shift_rne_i64(sums.product, 12);
                    let w = n * i64::from(d.cut()) - sums.dy - shift_rne_i64(slope, 12);
                    let root = channel.root;
                    let scaled = shift_rne_i64(w * i64::from(root.mantissa), 15 - root.places);
                    *acc = scaled * i64::from(gamma.cut());
                }
                put_block(store, &mut acc, element, &mut range, dx);
                element = element.wrapping_add(dx.len() as u32);
            }
        }
        range.bits()
    }
}

impl<T: Short + Kernels<Transform = Transform>> Kernel for Integer<Infer<'_, T>> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let Infer {
            channels,
            x,
            transform,
            store,
            first,
            out,
        } = self.0;
        let mut range = 0u64;
        let mut element = first;
        for (x, out) in rows_of(x, channels).zip(rows_of_mut(out, channels)) {
            let blocks = x.chunks(BLOCK).zip(transform.chunks(BLOCK));
            for ((x, transform), out) in blocks.zip(out.chunks_mut(BLOCK)) {
                let mut acc = [0; BLOCK];
                for ((acc, x), transform) in acc.iter_mut().zip(x).zip(transform) {
                    let product = i64::from(x.cut()) * transform.factor;
                    *acc = shift_rne_i64(product, transform.shift) + transform.offset;
                }
                put_block(store, &mut acc, element, &mut range, out);
                element = element.wrapping_add(out.len() as u32);
            }
        }
        range.bits()
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

/// [`super::fold`].
fn fold<T>(
    folding: Folding<'_, T>,
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
    let inputs = weight.len().checked_div(transform.len()).unwrap_or(0);
    // A unit of `q · factor / 2^shift` for a unit of the layer's own output.
    let unit = out_exponent - x_exponent;
    let mut folded = exponents;

    let product = |w: T, channel: &Transform| w.to_i128() * i128::from(channel.factor);
    let products = rows_of(weight, inputs).zip(transform);
    let products = products.flat_map(|(row, channel)| {
        row.iter()
            .map(move |&w| (product(w, channel), channel.shift))
    });
    if let Some(top) = top(products) {
        let rise = top - T::MAGNITUDE_BITS as i32;
        for (row, channel) in rows_of_mut(weight, inputs).zip(transform) {
            for w in row {
                *w = T::from_i128(shift_rne_i128(product(*w, channel), rise + channel.shift));
            }
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
    if let Some(top) = top(sums) {
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
                exponents: Exponents,
                weight: &mut [Self],
                bias: &mut [<Self as Element>::Bias],
            ) -> Exponents {
                fold(folding, exponents, weight, bias)
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
