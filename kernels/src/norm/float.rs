//! Normalisation in floats: two passes for the statistics, sums in a fixed order.

use super::{BackwardGamma, BackwardInput, Forward, Kernels, Kind, Statistics};
use crate::arch::scalar::TILE;
use crate::arch::{self, Isa, Kernel};
use crate::element::{Blank, impl_pod};
use crate::error::Found;
use crate::real::{FloatElement, Real, combine, sum};
use crate::split::{rows_of, rows_of_mut};
use half::{bf16, f16};

/// Statistics of a row of floats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Moments<R> {
    /// Mean; 0 for RMSNorm.
    pub mean: R,
    /// 1/√(variance + epsilon), or of the mean square.
    pub inverse: R,
}

impl_pod!(Moments);

impl<R: Blank> Blank for Moments<R> {
    const BLANK: Self = Self {
        mean: R::BLANK,
        inverse: R::BLANK,
    };
}

/// A call on floats.
struct Float<C>(C);

impl<T> Kernel for Float<Statistics<'_, T>>
where
    T: FloatElement + Kernels<Row = Moments<T::Real>, Epsilon = T::Real>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Statistics {
            features,
            kind,
            epsilon,
            x,
            out,
        } = self.0;
        let n = T::Real::from_count(features);
        for (x, out) in rows_of(x, features).zip(out) {
            let mean = match kind {
                Kind::Layer => sum(isa, x, |x| x) / n,
                Kind::Rms => T::Real::default(),
            };
            let variance = sum(isa, x, |x| (x - mean) * (x - mean)) / n;
            *out = Moments {
                mean,
                inverse: (variance + epsilon).inverse_root(),
            };
        }
    }
}

impl<T> Kernel for Float<Forward<'_, T>>
where
    T: FloatElement + Kernels<Row = Moments<T::Real>>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let Forward {
            features,
            saved,
            affine,
            store,
            out,
            ..
        } = self.0;
        for ((x, row), out) in saved.rows(features).zip(rows_of_mut(out, features)) {
            let betas = affine.beta.map_or(&[][..], |beta| beta.values);
            let mut betas = betas.iter();
            for ((x, gamma), out) in x.iter().zip(affine.gamma).zip(out) {
                let mut acc = (x.widen() - row.mean) * row.inverse * gamma.widen();
                if let Some(&beta) = betas.next() {
                    acc += T::bias(beta, 0);
                }
                store.one::<T, T>(acc, 0, &mut (), out);
            }
        }
        0
    }
}

impl<T> Kernel for Float<BackwardInput<'_, T>>
where
    T: FloatElement + Kernels<Row = Moments<T::Real>>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let BackwardInput {
            features,
            saved,
            dy,
            gamma,
            store,
            dx,
            ..
        } = self.0;
        let n = T::Real::from_count(features);
        let rows = saved.rows(features).zip(rows_of(dy, features));
        for (((x, row), dy), dx) in rows.zip(rows_of_mut(dx, features)) {
            let terms = x.iter().zip(dy).zip(gamma).map(|((x, d), gamma)| {
                let normal = (x.widen() - row.mean) * row.inverse;
                (d.widen() * gamma.widen(), normal)
            });
            let (mut sums, mut products) = ([T::Real::default(); 8], [T::Real::default(); 8]);
            let mut rest = terms.clone();
            'row: loop {
                for (sum, product) in sums.iter_mut().zip(&mut products) {
                    let Some((a, normal)) = rest.next() else {
                        break 'row;
                    };
                    *sum += a;
                    *product += a * normal;
                }
            }
            let mean = match saved.kind {
                Kind::Layer => combine(sums) / n,
                Kind::Rms => T::Real::default(),
            };
            let slope = combine(products) / n;
            for ((a, normal), dx) in terms.zip(dx) {
                let acc = (a - mean - normal * slope) * row.inverse;
                store.one::<T, T>(acc, 0, &mut (), dx);
            }
        }
        0
    }
}

impl<T> Kernel for Float<BackwardGamma<'_, '_, T>>
where
    T: FloatElement<Update = <T as FloatElement>::Real> + Kernels<Row = Moments<T::Real>>,
{
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let BackwardGamma {
            features,
            saved,
            dy,
            gradient,
        } = self.0;
        let mut start = 0;
        while start < features {
            let width = TILE.min(features - start);
            let mut sums = [T::Real::default(); TILE];
            for ((x, row), dy) in saved.rows(features).zip(rows_of(dy, features)) {
                let tile = start..start + width;
                let x = x.get(tile.clone()).unwrap_or_default();
                let dy = dy.get(tile).unwrap_or_default();
                for ((sum, x), d) in sums.iter_mut().zip(x).zip(dy) {
                    *sum += d.widen() * ((x.widen() - row.mean) * row.inverse);
                }
            }
            gradient.take(start, sums.get(..width).unwrap_or_default());
            start += width;
        }
    }
}

macro_rules! impl_kernels {
    ($($t:ident: $real:ident, one $one:expr;)*) => {$(
        impl Kernels for $t {
            type Epsilon = $real;
            type Row = Moments<$real>;
            const LAYER_EPSILON: $real = 1e-5;
            const RMS_EPSILON: $real = 1e-6;
            const ONE: Self = $one;
            const ONE_EXPONENT: i16 = 0;
            const NORMAL_EXPONENT: i32 = 0;
            const NORM_GRADIENT_EXPONENT: i32 = 0;
            const MAX_FEATURES: usize = usize::MAX;
            const MAX_NORM_ROWS: usize = usize::MAX;

            fn refused_epsilon(epsilon: $real) -> Option<Found> {
                let is_one = (0.0..$real::INFINITY).contains(&epsilon);
                (!is_one).then(|| Found::real(epsilon.into()))
            }

            #[inline(never)]
            fn norm_statistics(call: Statistics<'_, Self>) {
                arch::dispatch(Float(call));
            }

            #[inline(never)]
            fn norm_forward(call: Forward<'_, Self>) -> u32 {
                arch::dispatch(Float(call))
            }

            #[inline(never)]
            fn norm_backward_input(call: BackwardInput<'_, Self>) -> u32 {
                arch::dispatch(Float(call))
            }

            #[inline(never)]
            fn norm_backward_gamma(call: BackwardGamma<'_, '_, Self>) {
                arch::dispatch(Float(call));
            }
        }
    )*};
}

impl_kernels! {
    f16: f32, one f16::ONE;
    bf16: f32, one bf16::ONE;
    f32: f32, one 1.0;
    f64: f64, one 1.0;
}
