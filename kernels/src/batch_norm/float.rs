//! Batch normalisation in floats: two passes for the statistics, sums of 256 rows at a time.

use super::{
    BackwardInput, ErrorSums, Exponents, Folding, Forward, Infer, Kernels, Running, Statistics,
    SumErrors, grouped_mut,
};
use crate::arch::scalar::TILE;
use crate::arch::{self, Isa, Kernel};
use crate::element::{Blank, Element, Output, impl_pod};
use crate::real::{FloatElement, Real};
use crate::split::{rows_of, rows_of_mut};
use half::{bf16, f16};

/// Statistics of a channel of floats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Moments<R> {
    /// Mean.
    pub mean: R,
    /// Biased variance.
    pub variance: R,
    /// 1/√(variance + epsilon).
    pub inverse: R,
}

impl_pod!(Moments Scaling);

impl<R: Blank> Blank for Moments<R> {
    const BLANK: Self = Self {
        mean: R::BLANK,
        variance: R::BLANK,
        inverse: R::BLANK,
    };
}

/// What inference does to an element: `(x - mean) · factor + offset`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Scaling<R> {
    /// Running mean.
    pub mean: R,
    /// Gain over the running standard deviation.
    pub factor: R,
    /// Bias.
    pub offset: R,
}

impl<R: Blank> Blank for Scaling<R> {
    const BLANK: Self = Self {
        mean: R::BLANK,
        factor: R::BLANK,
        offset: R::BLANK,
    };
}

/// Rows that are summed before their sum is added to the others': the error then grows with
/// `256 + N/256` roundings instead of `N`.
const BLOCK: usize = 256;

/// Sums over rows: `add` adds row `n`'s terms to a block's sums.
#[inline(always)]
fn sum_rows<R: Real>(rows: usize, mut add: impl FnMut(&mut [R; TILE]) -> bool) -> [R; TILE] {
    let mut sums = [R::default(); TILE];
    let mut left = rows;
    while left > 0 {
        let mut block = [R::default(); TILE];
        for _ in 0..left.min(BLOCK) {
            if !add(&mut block) {
                return sums;
            }
        }
        for (sum, &block) in sums.iter_mut().zip(&block) {
            *sum += block;
        }
        left -= left.min(BLOCK);
    }
    sums
}

/// `x̂`.
#[inline(always)]
fn normal<R: Real>(x: R, channel: &Moments<R>) -> R {
    (x - channel.mean) * channel.inverse
}

/// A call on floats.
struct Float<C>(C);

impl<T> Kernel for Float<Statistics<'_, T>>
where
    T: FloatElement + Kernels<Channel = Moments<T::Real>> + Element<Epsilon = T::Real>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Statistics {
            shape,
            epsilon,
            x,
            mut start,
            out,
        } = self.0;
        let n = T::Real::from_count(shape.rows);
        for out in out.chunks_mut(TILE) {
            let tile = start..start + out.len();
            let mut rows = rows_of(x, shape.channels);
            let mut means = sum_rows::<T::Real>(shape.rows, |sums| {
                let Some(row) = rows.next() else { return false };
                for (sum, x) in sums
                    .iter_mut()
                    .zip(row.get(tile.clone()).unwrap_or_default())
                {
                    *sum += x.widen();
                }
                true
            });
            for mean in &mut means {
                *mean = *mean / n;
            }
            let mut rows = rows_of(x, shape.channels);
            let squares = sum_rows::<T::Real>(shape.rows, |sums| {
                let Some(row) = rows.next() else { return false };
                let row = row.get(tile.clone()).unwrap_or_default();
                for ((sum, x), &mean) in sums.iter_mut().zip(row).zip(&means) {
                    let distance = x.widen() - mean;
                    *sum += distance * distance;
                }
                true
            });
            for ((out, &mean), &squares) in out.iter_mut().zip(&means).zip(&squares) {
                let variance = squares / n;
                *out = Moments {
                    mean,
                    variance,
                    inverse: (variance + epsilon).inverse_root(),
                };
            }
            start += out.len();
        }
    }
}

impl<T> Kernel for Float<Forward<'_, T>>
where
    T: FloatElement + Kernels<Channel = Moments<T::Real>>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let Forward {
            shape,
            x,
            statistics,
            affine,
            store,
            out,
            ..
        } = self.0;
        let rows = rows_of(x, shape.channels).zip(rows_of_mut(out, shape.channels));
        for (x, out) in rows {
            let mut betas = affine.beta.map_or(&[][..], |beta| beta.values).iter();
            let channels = statistics.iter().zip(affine.gamma);
            for ((x, (channel, gamma)), out) in x.iter().zip(channels).zip(out) {
                let mut acc = normal(x.widen(), channel) * gamma.widen();
                if let Some(&beta) = betas.next() {
                    acc += T::bias(beta, 0);
                }
                store.one::<T, T>(acc, 0, &mut (), out);
            }
        }
        0
    }
}

impl<T> Kernel for Float<SumErrors<'_, T>>
where
    T: FloatElement
        + Kernels<Channel = Moments<<T as FloatElement>::Real>, Statistic = <T as FloatElement>::Real>,
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
        for out in out.chunks_mut(TILE) {
            let tile = start..start + out.len();
            let channels = statistics.get(tile.clone()).unwrap_or_default();
            let mut rows = rows_of(dy, shape.channels);
            let errors = sum_rows::<T::Real>(shape.rows, |sums| {
                let Some(dy) = rows.next() else { return false };
                for (sum, d) in sums
                    .iter_mut()
                    .zip(dy.get(tile.clone()).unwrap_or_default())
                {
                    *sum += d.widen();
                }
                true
            });
            let mut rows = rows_of(x, shape.channels).zip(rows_of(dy, shape.channels));
            let products = sum_rows::<T::Real>(shape.rows, |sums| {
                let Some((x, dy)) = rows.next() else {
                    return false;
                };
                let x = x.get(tile.clone()).unwrap_or_default();
                let dy = dy.get(tile.clone()).unwrap_or_default();
                for (((sum, x), d), channel) in sums.iter_mut().zip(x).zip(dy).zip(channels) {
                    *sum += d.widen() * normal(x.widen(), channel);
                }
                true
            });
            for ((out, &dy), &product) in out.iter_mut().zip(&errors).zip(&products) {
                *out = ErrorSums { dy, product };
            }
            start += out.len();
        }
    }
}

impl<T> Kernel for Float<BackwardInput<'_, T>>
where
    T: FloatElement
        + Kernels<Channel = Moments<<T as FloatElement>::Real>, Statistic = <T as FloatElement>::Real>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let BackwardInput {
            shape,
            saved,
            errors,
            gamma,
            store,
            dx,
            ..
        } = self.0;
        let n = T::Real::from_count(shape.rows);
        let rows = rows_of(saved.x, shape.channels).zip(rows_of(errors.dy, shape.channels));
        for ((x, dy), dx) in rows.zip(rows_of_mut(dx, shape.channels)) {
            let channels = saved.statistics.iter().zip(errors.sums).zip(gamma);
            for (((x, d), dx), ((channel, sums), gamma)) in x.iter().zip(dy).zip(dx).zip(channels) {
                let slope = normal(x.widen(), channel) * (sums.product / n);
                let centred = d.widen() - sums.dy / n - slope;
                let acc = centred * channel.inverse * gamma.widen();
                store.one::<T, T>(acc, 0, &mut (), dx);
            }
        }
        0
    }
}

impl<T> Kernel for Float<Infer<'_, T>>
where
    T: FloatElement + Kernels<Transform = Scaling<T::Real>>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let Infer {
            channels,
            x,
            transform,
            store,
            out,
            ..
        } = self.0;
        for (x, out) in rows_of(x, channels).zip(rows_of_mut(out, channels)) {
            for ((x, channel), out) in x.iter().zip(transform).zip(out) {
                let acc = (x.widen() - channel.mean) * channel.factor + channel.offset;
                store.one::<T, T>(acc, 0, &mut (), out);
            }
        }
        0
    }
}

macro_rules! impl_kernels {
    ($($t:ident: $real:ident;)*) => {$(
        impl Kernels for $t {
            type Statistic = $real;
            type Channel = Moments<$real>;
            type Transform = Scaling<$real>;
            const RUNNING_START: Running<$real> = Running { mean: 0.0, variance: 1.0 };
            const BATCH_GRADIENT_EXPONENT: i32 = 0;
            const TRANSFORM_EXPONENT: i32 = 0;
            const MAX_BATCH_ROWS: usize = usize::MAX;

            #[inline(never)]
            fn batch_statistics(call: Statistics<'_, Self>) {
                arch::dispatch(Float(call));
            }

            #[inline(never)]
            fn batch_forward(call: Forward<'_, Self>) -> u32 {
                arch::dispatch(Float(call))
            }

            fn batch_update(
                rows: usize,
                _: i32,
                momentum: u32,
                channel: &Moments<$real>,
                running: &mut Running<$real>,
            ) {
                let momentum = momentum as $real / 65_536.0;
                let unbiased = rows as $real / (rows as $real - 1.0);
                running.mean += momentum * (channel.mean - running.mean);
                running.variance += momentum * (channel.variance * unbiased - running.variance);
            }

            #[inline(never)]
            fn batch_error_sums(call: SumErrors<'_, Self>) {
                arch::dispatch(Float(call));
            }

            #[inline(never)]
            fn batch_backward_input(call: BackwardInput<'_, Self>) -> u32 {
                arch::dispatch(Float(call))
            }

            fn batch_gradient(sum: $real) -> $real {
                sum
            }

            fn batch_transform(
                epsilon: $real,
                _: i32,
                gamma: Self,
                beta: Option<(Self, i32)>,
                running: &Running<$real>,
            ) -> Scaling<$real> {
                Scaling {
                    mean: running.mean,
                    factor: gamma.widen() * (running.variance + epsilon).inverse_root(),
                    offset: beta.map_or(0.0, |(beta, _)| beta.widen()),
                }
            }

            #[inline(never)]
            fn batch_infer(call: Infer<'_, Self>) -> u32 {
                arch::dispatch(Float(call))
            }

            fn batch_fold(
                folding: Folding<'_, Self>,
                per_group: usize,
                _: Exponents,
                weight: &mut [Self],
                bias: &mut [Self],
            ) -> Exponents {
                for (w, channel) in grouped_mut(weight, folding.transform, per_group) {
                    *w = <$t as Output<$t>>::store(w.widen() * channel.factor);
                }
                for (b, channel) in bias.iter_mut().zip(folding.transform) {
                    let folded = (b.widen() - channel.mean) * channel.factor + channel.offset;
                    *b = <$t as Output<$t>>::store(folded);
                }
                Exponents::default()
            }
        }
    )*};
}

impl_kernels! {
    f16: f32; bf16: f32; f32: f32; f64: f64;
}
