//! Clusters in floats, computed in the accumulator's type.

use super::{
    BackwardCentres, BackwardInput, Forward, Kernels, Member, Members, Metric, Mode, Scores,
    Temperature,
};
use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::real::{FloatElement, Real, sum, sum2};
use crate::requantize::Store;
use crate::split::{rows_of, rows_of_mut};
use half::{bf16, f16};

/// Features that are summed at a time.
const TILE: usize = 64;

impl Temperature {
    /// `1/τ²`. Exact powers of two; the mantissa's part is rounded once.
    fn inverse_square_f64(self) -> f64 {
        let mantissa = f64::from(self.mantissa);
        libm::ldexp(1.0 / (mantissa * mantissa), -2 * i32::from(self.exponent))
    }
}

/// What [`Member::distance`] holds.
#[inline(always)]
fn distance<T: FloatElement, I: Isa>(isa: I, metric: Metric, x: &[T], centre: &[T]) -> T::Real {
    match metric {
        Metric::Euclidean => sum2(isa, x, centre, |x, c| (x - c) * (x - c)),
        Metric::Manhattan => sum2(isa, x, centre, |x, c| (x - c).abs()),
        Metric::Cosine => {
            let product = sum2(isa, x, centre, |x, c| x * c);
            T::Real::ONE - product * inverse_length(isa, x) * inverse_length(isa, centre)
        }
    }
}

/// `1/|v|`; 0 for a vector of zeros.
#[inline(always)]
fn inverse_length<T: FloatElement, I: Isa>(isa: I, v: &[T]) -> T::Real {
    sum(isa, v, |v| v * v).inverse_root()
}

#[inline(always)]
fn length<T: FloatElement, I: Isa>(isa: I, metric: Metric, v: &[T]) -> T::Real {
    match metric {
        Metric::Euclidean | Metric::Manhattan => T::Real::default(),
        Metric::Cosine => inverse_length(isa, v),
    }
}

#[inline(always)]
fn squared<R: Real>(metric: Metric, distance: R) -> R {
    match metric {
        Metric::Euclidean => distance,
        Metric::Manhattan | Metric::Cosine => distance * distance,
    }
}

/// `½ ∂distance²/∂x` of a feature; of a centre's, with both sides exchanged.
#[inline(always)]
fn slope<R: Real>(
    metric: Metric,
    distance: R,
    [x, centre]: [R; 2],
    [x_inverse, inverse]: [R; 2],
) -> R {
    match metric {
        Metric::Euclidean => x - centre,
        Metric::Manhattan if x > centre => distance,
        Metric::Manhattan if x < centre => -distance,
        Metric::Manhattan => (x - centre) * distance, // 0, or NaN
        Metric::Cosine => {
            // ∂cos/∂x = (ĉ - cos · x̂) / |x|
            let along = (R::ONE - distance) * (x * x_inverse);
            -distance * (centre * inverse - along) * x_inverse
        }
    }
}

/// A call on floats.
struct Float<C>(C);

impl<T> Kernel for Float<Members<'_, T>>
where
    T: FloatElement + Kernels<Member = Member<<T as FloatElement>::Real>>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Members {
            shape,
            clusters,
            x,
            out,
        } = self.0;
        let metric = clusters.metric;
        let factor = T::Real::from_f64(-0.5 * clusters.temperature.inverse_square_f64());
        for (x, out) in rows_of(x, shape.features).zip(rows_of_mut(out, shape.clusters)) {
            let mut least = None;
            for (member, centre) in out
                .iter_mut()
                .zip(rows_of(clusters.centres, shape.features))
            {
                member.distance = distance(isa, metric, x, centre);
                let squared = squared(metric, member.distance);
                least = Some(match least {
                    Some(least) if least <= squared => least,
                    _ => squared,
                });
            }
            let least = least.unwrap_or_default();
            let mut total = T::Real::default();
            for member in &mut *out {
                // The smallest distance is subtracted: its term is 1, and none is larger.
                let further = squared(metric, member.distance) - least;
                member.share = (further * factor).exp();
                total += member.share;
            }
            for member in out {
                member.share = member.share / total;
            }
        }
    }
}

impl<T> Kernel for Float<Forward<'_, T>>
where
    T: FloatElement + Kernels<Member = Member<<T as FloatElement>::Real>>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let Forward {
            shape,
            clusters,
            mode,
            members,
            store,
            out,
            ..
        } = self.0;
        let rows = rows_of(members, shape.clusters);
        for (members, out) in rows.zip(rows_of_mut(out, shape.outputs(mode))) {
            if mode == Mode::Probabilities {
                for (out, member) in out.iter_mut().zip(members) {
                    store.one::<T, T>(member.share, 0, &mut (), out);
                }
                continue;
            }
            let mut start = 0;
            for out in out.chunks_mut(TILE) {
                let mut sums = [T::Real::default(); TILE];
                let centres = rows_of(clusters.centres, shape.features);
                for (member, centre) in members.iter().zip(centres) {
                    let centre = centre.get(start..start + out.len()).unwrap_or_default();
                    for (sum, c) in sums.iter_mut().zip(centre) {
                        *sum += member.share * c.widen();
                    }
                }
                for (out, &sum) in out.iter_mut().zip(&sums) {
                    store.one::<T, T>(sum, 0, &mut (), out);
                }
                start += out.len();
            }
        }
        0
    }
}

impl<T> Kernel for Float<Scores<'_, T>>
where
    T: FloatElement
        + Kernels<Member = Member<<T as FloatElement>::Real>, Score = <T as FloatElement>::Real>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Scores {
            shape,
            clusters,
            errors,
            store,
            out,
            ..
        } = self.0;
        let mode = errors.mode;
        if store == Store::Measure {
            return 0;
        }
        let factor = T::Real::from_f64(clusters.temperature.inverse_square_f64());
        let rows = rows_of(errors.dy, shape.outputs(mode));
        let rows = rows.zip(rows_of(errors.members, shape.clusters));
        for ((dy, members), out) in rows.zip(rows_of_mut(out, shape.clusters)) {
            let centres = rows_of(clusters.centres, shape.features);
            let mut mean = T::Real::default();
            for (k, ((out, member), centre)) in out.iter_mut().zip(members).zip(centres).enumerate()
            {
                *out = match mode {
                    Mode::Probabilities => dy.get(k).map_or(T::Real::default(), |d| d.widen()),
                    Mode::Features => T::dot(isa, dy, centre),
                };
                mean += member.share * *out;
            }
            for (out, member) in out.iter_mut().zip(members) {
                *out = member.share * (*out - mean) * factor;
            }
        }
        0
    }
}

impl<T> Kernel for Float<BackwardInput<'_, T>>
where
    T: FloatElement
        + Kernels<Member = Member<<T as FloatElement>::Real>, Score = <T as FloatElement>::Real>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let BackwardInput {
            shape,
            clusters,
            saved,
            store,
            dx,
            ..
        } = self.0;
        let metric = clusters.metric;
        let rows = rows_of(saved.x, shape.features)
            .zip(rows_of(saved.members, shape.clusters))
            .zip(rows_of(saved.scores, shape.clusters));
        for (((x, members), scores), dx) in rows.zip(rows_of_mut(dx, shape.features)) {
            let x_inverse = length(isa, metric, x);
            let mut start = 0;
            for dx in dx.chunks_mut(TILE) {
                let tile = start..start + dx.len();
                let x = x.get(tile.clone()).unwrap_or_default();
                let mut sums = [T::Real::default(); TILE];
                let centres = rows_of(clusters.centres, shape.features);
                for ((member, &score), centre) in members.iter().zip(scores).zip(centres) {
                    let inverses = [x_inverse, length(isa, metric, centre)];
                    let centre = centre.get(tile.clone()).unwrap_or_default();
                    for ((sum, x), c) in sums.iter_mut().zip(x).zip(centre) {
                        let pair = [x.widen(), c.widen()];
                        *sum -= score * slope(metric, member.distance, pair, inverses);
                    }
                }
                for (dx, &sum) in dx.iter_mut().zip(&sums) {
                    store.one::<T, T>(sum, 0, &mut (), dx);
                }
                start += dx.len();
            }
        }
        0
    }
}

impl<T> Kernel for Float<BackwardCentres<'_, '_, T>>
where
    T: FloatElement
        + Element<Update = <T as FloatElement>::Real>
        + Kernels<Member = Member<<T as FloatElement>::Real>, Score = <T as FloatElement>::Real>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let BackwardCentres {
            shape,
            clusters,
            saved,
            errors,
            gradient,
            ..
        } = self.0;
        let (metric, mode) = (clusters.metric, errors.mode);
        let mut element = 0;
        for (k, centre) in rows_of(clusters.centres, shape.features).enumerate() {
            let inverse = length(isa, metric, centre);
            let mut start = 0;
            for centre in centre.chunks(TILE) {
                let tile = start..start + centre.len();
                let mut sums = [T::Real::default(); TILE];
                let rows = rows_of(saved.x, shape.features)
                    .zip(rows_of(saved.members, shape.clusters))
                    .zip(rows_of(saved.scores, shape.clusters))
                    .zip(rows_of(errors.dy, shape.outputs(mode)));
                for (((x, members), scores), dy) in rows {
                    let (Some(member), Some(&score)) = (members.get(k), scores.get(k)) else {
                        continue;
                    };
                    let inverses = [inverse, length(isa, metric, x)];
                    let x = x.get(tile.clone()).unwrap_or_default();
                    for ((sum, x), c) in sums.iter_mut().zip(x).zip(centre) {
                        let pair = [c.widen(), x.widen()];
                        *sum -= score * slope(metric, member.distance, pair, inverses);
                    }
                    if mode == Mode::Features {
                        let dy = dy.get(tile.clone()).unwrap_or_default();
                        for (sum, d) in sums.iter_mut().zip(dy) {
                            *sum += member.share * d.widen();
                        }
                    }
                }
                gradient.take(element, sums.get(..centre.len()).unwrap_or_default());
                element += centre.len();
                start += centre.len();
            }
        }
    }
}

macro_rules! impl_kernels {
    ($($t:ident: $real:ident;)*) => {$(
        impl Kernels for $t {
            type Member = Member<$real>;
            type Score = $real;

            #[inline(never)]
            fn cluster_members(call: Members<'_, Self>) {
                arch::dispatch(Float(call));
            }

            #[inline(never)]
            fn cluster_forward(call: Forward<'_, Self>) -> u32 {
                arch::dispatch(Float(call))
            }

            #[inline(never)]
            fn cluster_scores(call: Scores<'_, Self>) -> u32 {
                arch::dispatch(Float(call))
            }

            #[inline(never)]
            fn cluster_backward_input(call: BackwardInput<'_, Self>) -> u32 {
                arch::dispatch(Float(call))
            }

            #[inline(never)]
            fn cluster_backward_centres(call: BackwardCentres<'_, '_, Self>) {
                arch::dispatch(Float(call));
            }
        }
    )*};
}

impl_kernels! { f16: f32; bf16: f32; f32: f32; f64: f64; }
