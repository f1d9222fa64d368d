//! Clusters in integers: distances of 15-bit elements, softmax by table, scores in 15 bits.

use super::{
    BackwardCentres, BackwardInput, Clusters, Forward, Kernels, Member, Members, Metric, Mode,
    Scores, Temperature,
};
use crate::arch::{self, Isa, Kernel};
use crate::fixed::{
    Accumulator, InverseRoot, bit_len, div_rem, rsqrt, shift_rne_i32, shift_rne_i64,
};
use crate::lut::{EXP2_MAX, LOG2_E_Q14, exp2_neg};
use crate::requantize::Store;
use crate::short::{Short, put};
use crate::split::{rows_of, rows_of_mut};

/// Features that are summed at a time: what is computed of a pair of vectors is computed again for
/// each tile.
const TILE: usize = 64;

/// 1 in Q15.
const ONE: i64 = 1 << 15;

type IntegerMember = Member<i64>;

impl IntegerMember {
    /// The share within its bounds, whatever the caller kept of what [`members`](super::members) gave.
    #[inline(always)]
    fn share(self) -> i64 {
        self.share.clamp(0, ONE)
    }

    /// The same of a distance that a gradient asks for.
    #[inline(always)]
    fn distance(self, metric: Metric) -> i64 {
        match metric {
            Metric::Euclidean => 0, // its gradient has differences alone
            Metric::Manhattan => self.distance.clamp(0, 1 << 30),
            Metric::Cosine => self.distance.clamp(0, 2 * ONE),
        }
    }
}

impl Temperature {
    /// `1 / mantissa²` as `factor / 2^places`, with 16 bits.
    pub(super) fn inverse_square(self) -> (i64, i32) {
        let n = u64::from(self.mantissa) * u64::from(self.mantissa);
        let places = 15 + bit_len(n.saturating_sub(1));
        let (factor, _) = div_rem((1 << places) + (n >> 1), n);
        (factor as i64, places as i32)
    }

    /// `log2(e) / mantissa²` in Q46.
    fn octaves(self) -> u64 {
        let n = u64::from(self.mantissa) * u64::from(self.mantissa);
        div_rem(((LOG2_E_Q14 as u64) << 32) + (n >> 1), n).0
    }
}

/// How the elements of rows and centres are brought to a common exponent.
#[derive(Clone, Copy)]
struct Aligned {
    x: i32,
    centre: i32,
}

impl Aligned {
    fn new<T: Short>(clusters: &Clusters<'_, T>) -> Self {
        let common = clusters.common() - T::CUT;
        Self {
            x: common - clusters.x_exponent,
            centre: common - clusters.exponent,
        }
    }

    /// `x - c`: at most 16 bits.
    #[inline(always)]
    fn difference<T: Short>(self, x: T, centre: T) -> i64 {
        let (x, centre) = (x.cut(), centre.cut());
        i64::from(shift_rne_i32(x, self.x) - shift_rne_i32(centre, self.centre))
    }
}

/// `1/|v|` of a vector of elements cut to 15 bits.
#[inline(always)]
fn inverse_length<T: Short>(v: &[T]) -> InverseRoot {
    rsqrt(v.iter().map(|v| i64::from(v.cut()).pow(2)).sum::<i64>() as u64)
}

/// An element of `v / |v|`, in Q15.
#[inline(always)]
fn unit<T: Short>(v: T, length: InverseRoot) -> i64 {
    shift_rne_i64(
        i64::from(v.cut()) * i64::from(length.mantissa),
        15 - length.places,
    )
}

/// What [`Member::distance`] holds.
#[inline(always)]
fn distance<T: Short>(metric: Metric, aligned: Aligned, x: &[T], centre: &[T]) -> i64 {
    let pairs = x.iter().zip(centre);
    match metric {
        Metric::Euclidean => pairs.map(|(&x, &c)| aligned.difference(x, c).pow(2)).sum(),
        Metric::Manhattan => pairs.map(|(&x, &c)| aligned.difference(x, c).abs()).sum(),
        Metric::Cosine => {
            let product: i64 = pairs
                .map(|(x, c)| i64::from(x.cut()) * i64::from(c.cut()))
                .sum();
            let (a, b) = (inverse_length(x), inverse_length(centre));
            // 44 + 17 bits; then ⟨x, c⟩ / |x| in Q15, 38 bits, times 17.
            let along = shift_rne_i64(product * i64::from(a.mantissa), 15 - a.places);
            let cosine = shift_rne_i64(along * i64::from(b.mantissa), 30 - b.places);
            ONE - cosine.clamp(-ONE, ONE)
        }
    }
}

/// The square of a distance: at most 60 bits.
#[inline(always)]
fn squared(metric: Metric, distance: i64) -> u64 {
    match metric {
        Metric::Euclidean => distance as u64,
        Metric::Manhattan | Metric::Cosine => distance.unsigned_abs().pow(2),
    }
}

/// A call on integers.
struct Integer<C>(C);

impl<T: Short + Kernels<Member = IntegerMember>> Kernel for Integer<Members<'_, T>> {
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Members {
            shape,
            clusters,
            x,
            out,
        } = self.0;
        let metric = clusters.metric;
        let aligned = Aligned::new(&clusters);
        let factor = u128::from(clusters.temperature.octaves());
        let exponent = match metric {
            Metric::Euclidean | Metric::Manhattan => clusters.common(),
            Metric::Cosine => -15,
        };
        // Octaves in Q16: distance² · log2(e) / 2τ², the latter in Q46.
        let places = 2 * (exponent - i32::from(clusters.temperature.exponent)) - 31;
        let octaves = |distance: u64| {
            let product = u128::from(distance) * factor; // 60 + 47 bits
            let most = u128::from(EXP2_MAX);
            if places < 0 {
                (product >> places.unsigned_abs().min(127)).min(most) as u32
            } else if product > most >> places.min(127) {
                EXP2_MAX
            } else {
                (product << places.min(21)) as u32 // 0, or at most 21 places
            }
        };
        for (x, out) in rows_of(x, shape.features).zip(rows_of_mut(out, shape.clusters)) {
            let mut least = u64::MAX;
            for (member, centre) in out
                .iter_mut()
                .zip(rows_of(clusters.centres, shape.features))
            {
                member.distance = distance(metric, aligned, x, centre);
                least = least.min(squared(metric, member.distance));
            }
            let mut total = 0u32; // 2^16 to 2^30
            for member in &mut *out {
                let further = squared(metric, member.distance) - least;
                let numerator = exp2_neg(octaves(further));
                member.share = i64::from(numerator);
                total += numerator;
            }
            let (inverse, _) = div_rem((1 << 47) + u64::from(total >> 1), u64::from(total));
            for member in out {
                let share = member.share * inverse as i64;
                member.share = shift_rne_i64(share, 32);
            }
        }
    }
}

impl<T: Short + Kernels<Member = IntegerMember>> Kernel for Integer<Forward<'_, T>> {
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
            first,
            out,
        } = self.0;
        let mut range = 0u64;
        let mut element = first;
        let rows = rows_of(members, shape.clusters);
        for (members, out) in rows.zip(rows_of_mut(out, shape.outputs(mode))) {
            let mut start = 0;
            for out in out.chunks_mut(TILE) {
                let mut sums = [0i64; TILE];
                match mode {
                    Mode::Probabilities => {
                        let members = members.get(start..).unwrap_or_default();
                        for (sum, member) in sums.iter_mut().zip(members) {
                            *sum = member.share();
                        }
                    }
                    Mode::Features => {
                        let centres = rows_of(clusters.centres, shape.features);
                        for (member, centre) in members.iter().zip(centres) {
                            let centre = centre.get(start..start + out.len()).unwrap_or_default();
                            for (sum, c) in sums.iter_mut().zip(centre) {
                                *sum += member.share() * i64::from(c.cut());
                            }
                        }
                    }
                }
                for (out, &sum) in out.iter_mut().zip(&sums) {
                    put(store, sum, element, &mut range, out);
                    element = element.wrapping_add(1);
                }
                start += out.len();
            }
        }
        64 - range.leading_zeros()
    }
}

impl<T> Kernel for Integer<Scores<'_, T>>
where
    T: Short + Kernels<Member = IntegerMember, Score = i16>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let Scores {
            shape,
            clusters,
            errors,
            store,
            first,
            out,
        } = self.0;
        let mode = errors.mode;
        let cut = Clusters::<T>::score_cut(shape, mode);
        let (factor, _) = clusters.temperature.inverse_square();
        let mut range = 0u64;
        let mut element = first;
        let rows = rows_of(errors.dy, shape.outputs(mode));
        let rows = rows.zip(rows_of(errors.members, shape.clusters));
        for ((dy, members), out) in rows.zip(rows_of_mut(out, shape.clusters)) {
            // The gradient of each share: at most 30 bits and those of D.
            let gradient = |k: usize, centre: &[T]| -> i64 {
                match mode {
                    Mode::Probabilities => dy.get(k).map_or(0, |d| i64::from(d.cut())),
                    Mode::Features => {
                        let pairs = dy.iter().zip(centre);
                        pairs
                            .map(|(d, c)| i64::from(d.cut()) * i64::from(c.cut()))
                            .sum()
                    }
                }
            };
            let centres = || rows_of(clusters.centres, shape.features).enumerate();
            let mut mean = 0i64;
            for (member, (k, centre)) in members.iter().zip(centres()) {
                mean = mean.wrapping_add(member.share() * gradient(k, centre)); // shares add up to 1
            }
            let mean = shift_rne_i64(mean, 15);
            for ((member, (k, centre)), out) in members.iter().zip(centres()).zip(out) {
                let product = member.share() * (gradient(k, centre) - mean);
                let acc = shift_rne_i64(product, cut) * factor;
                range |= acc.unsigned_abs();
                if let Store::Shift { shift, rounding } = store {
                    *out = acc.shift(shift, rounding, element).saturate(15) as i16;
                }
                element = element.wrapping_add(1);
            }
        }
        64 - range.leading_zeros()
    }
}

/// A pair of a row and a centre, on the way back.
#[derive(Clone, Copy)]
struct Pair {
    metric: Metric,
    aligned: Aligned,
    score: i64,
    distance: i64,
}

impl Pair {
    /// The term of a feature in the gradient of `x`, but for what all terms of a row have in
    /// common: with lengths `x_length` and `centre_length`. That of the centre is the negative one;
    /// for cosine, it is this with both sides exchanged.
    #[inline(always)]
    fn term<T: Short>(self, x: T, centre: T, [x_length, centre_length]: [InverseRoot; 2]) -> i64 {
        match self.metric {
            Metric::Euclidean => -self.score * self.aligned.difference(x, centre),
            Metric::Manhattan => {
                -self.score * self.distance * self.aligned.difference(x, centre).signum()
            }
            Metric::Cosine => {
                // ∂cos/∂x = (ĉ - cos · x̂) / |x|
                let along = shift_rne_i64((ONE - self.distance) * unit(x, x_length), 15);
                self.score * self.distance * (unit(centre, centre_length) - along)
            }
        }
    }

    /// A sum of terms at the exponent of the gradient.
    #[inline(always)]
    fn scaled(metric: Metric, sum: i64, length: InverseRoot) -> i64 {
        match metric {
            Metric::Euclidean | Metric::Manhattan => sum,
            Metric::Cosine => {
                let sum = shift_rne_i64(sum, 15);
                shift_rne_i64(sum * i64::from(length.mantissa), 15 - length.places)
            }
        }
    }
}

/// Lengths are of use for cosine only.
#[inline(always)]
fn length<T: Short>(metric: Metric, v: &[T]) -> InverseRoot {
    match metric {
        Metric::Euclidean | Metric::Manhattan => InverseRoot::default(),
        Metric::Cosine => inverse_length(v),
    }
}

impl<T> Kernel for Integer<BackwardInput<'_, T>>
where
    T: Short + Kernels<Member = IntegerMember, Score = i16>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let BackwardInput {
            shape,
            clusters,
            saved,
            store,
            first,
            dx,
        } = self.0;
        let metric = clusters.metric;
        let aligned = Aligned::new(&clusters);
        let mut range = 0u64;
        let mut element = first;
        let rows = rows_of(saved.x, shape.features)
            .zip(rows_of(saved.members, shape.clusters))
            .zip(rows_of(saved.scores, shape.clusters));
        for (((x, members), scores), dx) in rows.zip(rows_of_mut(dx, shape.features)) {
            let x_length = length(metric, x);
            let mut start = 0;
            for dx in dx.chunks_mut(TILE) {
                let tile = start..start + dx.len();
                let x = x.get(tile.clone()).unwrap_or_default();
                let mut sums = [0i64; TILE];
                let centres = rows_of(clusters.centres, shape.features);
                for ((member, &score), centre) in members.iter().zip(scores).zip(centres) {
                    let lengths = [x_length, length(metric, centre)];
                    let centre = centre.get(tile.clone()).unwrap_or_default();
                    let pair = Pair {
                        metric,
                        aligned,
                        score: i64::from(score),
                        distance: member.distance(metric),
                    };
                    for ((sum, &x), &c) in sums.iter_mut().zip(x).zip(centre) {
                        *sum += pair.term(x, c, lengths);
                    }
                }
                for (dx, &sum) in dx.iter_mut().zip(&sums) {
                    let acc = Pair::scaled(metric, sum, x_length);
                    put(store, acc, element, &mut range, dx);
                    element = element.wrapping_add(1);
                }
                start += dx.len();
            }
        }
        64 - range.leading_zeros()
    }
}

impl<T> Kernel for Integer<BackwardCentres<'_, '_, T>>
where
    T: Short<Update: From<i64>> + Kernels<Member = IntegerMember, Score = i16>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let BackwardCentres {
            shape,
            clusters,
            saved,
            errors,
            score_exponent,
            dy_exponent,
            gradient,
        } = self.0;
        let metric = clusters.metric;
        let aligned = Aligned::new(&clusters);
        let mode = errors.mode;
        let exponent = clusters.gradient_exponent(mode, score_exponent, dy_exponent);
        let way = exponent - clusters.way_exponent(score_exponent);
        let direct = exponent - (dy_exponent + T::CUT - 15);
        let mut element = 0;
        for (k, centre) in rows_of(clusters.centres, shape.features).enumerate() {
            let centre_length = length(metric, centre);
            let mut start = 0;
            for centre in centre.chunks(TILE) {
                let tile = start..start + centre.len();
                let (mut sums, mut directs) = ([0i64; TILE], [0i64; TILE]);
                let rows = rows_of(saved.x, shape.features)
                    .zip(rows_of(saved.members, shape.clusters))
                    .zip(rows_of(saved.scores, shape.clusters))
                    .zip(rows_of(errors.dy, shape.outputs(mode)));
                for (((x, members), scores), dy) in rows {
                    let (Some(member), Some(&score)) = (members.get(k), scores.get(k)) else {
                        continue;
                    };
                    let x_length = length(metric, x);
                    let x = x.get(tile.clone()).unwrap_or_default();
                    let pair = Pair {
                        metric,
                        aligned,
                        score: i64::from(score),
                        distance: member.distance(metric),
                    };
                    for ((sum, &x), &c) in sums.iter_mut().zip(x).zip(centre) {
                        *sum += match metric {
                            Metric::Euclidean | Metric::Manhattan => {
                                -pair.term(x, c, [x_length, centre_length])
                            }
                            Metric::Cosine => pair.term(c, x, [centre_length, x_length]),
                        };
                    }
                    if mode == Mode::Features {
                        let dy = dy.get(tile.clone()).unwrap_or_default();
                        for (sum, d) in directs.iter_mut().zip(dy) {
                            *sum += member.share() * i64::from(d.cut());
                        }
                    }
                }
                for (&sum, &by_share) in sums.iter().zip(&directs).take(centre.len()) {
                    let sum = shift_rne_i64(Pair::scaled(metric, sum, centre_length), way);
                    let by_share = match mode {
                        Mode::Probabilities => 0,
                        Mode::Features => shift_rne_i64(by_share, direct),
                    };
                    gradient.take(element, &[T::Update::from(sum.saturating_add(by_share))]);
                    element += 1;
                }
                start += centre.len();
            }
        }
    }
}

macro_rules! impl_kernels {
    ($($t:ident)*) => {$(
        impl Kernels for $t {
            type Member = IntegerMember;
            type Score = i16;

            #[inline(never)]
            fn cluster_members(call: Members<'_, Self>) {
                arch::dispatch(Integer(call));
            }

            #[inline(never)]
            fn cluster_forward(call: Forward<'_, Self>) -> u32 {
                arch::dispatch(Integer(call))
            }

            #[inline(never)]
            fn cluster_scores(call: Scores<'_, Self>) -> u32 {
                arch::dispatch(Integer(call))
            }

            #[inline(never)]
            fn cluster_backward_input(call: BackwardInput<'_, Self>) -> u32 {
                arch::dispatch(Integer(call))
            }

            #[inline(never)]
            fn cluster_backward_centres(call: BackwardCentres<'_, '_, Self>) {
                arch::dispatch(Integer(call));
            }
        }
    )*};
}

impl_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 }
