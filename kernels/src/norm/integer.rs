//! Normalisation in integers: statistics from at most 15 bits, `x̂` in Q12, one division a row.

use super::{BackwardGamma, BackwardInput, Forward, Kernels, Kind, Saved, Statistics};
use crate::arch::scalar::TILE;
use crate::arch::{self, Isa, Kernel};
use crate::element::{Blank, Element};
use crate::fixed::{
    Accumulator, InverseRoot, Magnitude, Rounding, rsqrt, sat_i32, sat_i64, sat_i128,
    shift_rne_i32, shift_rne_i64, shift_rne_i128,
};
use crate::requantize::BLOCK;
use crate::short::{Short, put_block};
use crate::split::{rows_of, rows_of_mut};

/// Statistics of a row of integers: `S1` (0 for RMSNorm), and `1/√V` where
/// `V = F · Σq² - S1²`; all of the row cut to 15 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    sum: i64,
    root: InverseRoot,
}

impl Blank for Row {
    const BLANK: Self = Self {
        sum: 0,
        root: InverseRoot {
            mantissa: 0,
            places: 0,
        },
    };
}

/// `x̂` in Q12 of a deviation `n · q - S1`: at most 15 bits. The product has at most 57 bits, with
/// 40 of the deviation (2^24 rows of a channel) and 17 of the root.
#[inline(always)]
pub(crate) fn normal(deviation: i64, root: InverseRoot) -> i32 {
    let normal = shift_rne_i64(deviation * i64::from(root.mantissa), 18 - root.places);
    sat_i64(normal, 15) as i32
}

/// What normalisation adds to [`Short`]: products at the width of the type.
pub(crate) trait Normal: Short {
    /// `max(0, 2M - 23)`: places that bring `dy · gamma` to 23 bits.
    const PRODUCT_CUT: i32 = if Self::MAGNITUDE_BITS > 11 {
        2 * Self::MAGNITUDE_BITS as i32 - 23
    } else {
        0
    };

    /// `x̂ · gamma`.
    fn scaled(normal: i32, gamma: Self) -> Self::Acc;
    /// A bias in units of the accumulator.
    fn offset(beta: Self::Bias, shift: i32) -> Self::Acc;
    /// `dy · gamma` in at most 23 bits (and the 24th, where the largest round up).
    fn cut_product(dy: Self, gamma: Self) -> i64;
    /// `dy · x̂`, as an update takes it.
    fn product(dy: Self, normal: i32) -> Self::Update;
    /// A sum.
    fn add(sum: &mut Self::Update, term: Self::Update);
    /// No sum yet.
    const NONE: Self::Update;
}

macro_rules! impl_normal {
    ($($t:ident: wide $wide:ident, acc $acc:ident, update $update:ident, beta $rne_beta:ident $sat:ident $beta:expr,
       product $rne:ident;)*) => {$(
        impl Normal for $t {
            const NONE: $update = 0;

            #[inline(always)]
            fn scaled(normal: i32, gamma: Self) -> $acc {
                Self::mul($wide::from(normal), gamma.widen())
            }

            #[inline(always)]
            fn offset(beta: Self::Bias, shift: i32) -> $acc {
                $sat($rne_beta($acc::from(beta), shift), $beta)
            }

            #[inline(always)]
            fn cut_product(dy: Self, gamma: Self) -> i64 {
                $rne(Self::mul(dy.widen(), gamma.widen()), Self::PRODUCT_CUT) as i64
            }

            #[inline(always)]
            fn product(dy: Self, normal: i32) -> $update {
                $update::from(dy.widen()) * $update::from(normal)
            }

            #[inline(always)]
            fn add(sum: &mut $update, term: $update) {
                *sum += term;
            }
        }
    )*};
}

// The recipe clamps the bias to 30 bits in the 16-bit type, too, whose accumulator has 64.
impl_normal! {
    i8: wide i32, acc i32, update i64, beta shift_rne_i32 sat_i32 30, product shift_rne_i32;
    u8: wide i32, acc i32, update i64, beta shift_rne_i32 sat_i32 30, product shift_rne_i32;
    i16: wide i32, acc i64, update i64, beta shift_rne_i64 sat_i64 30, product shift_rne_i64;
    u16: wide i32, acc i64, update i64, beta shift_rne_i64 sat_i64 30, product shift_rne_i64;
    i32: wide i32, acc i64, update i64, beta shift_rne_i64 sat_i64 61, product shift_rne_i64;
    u32: wide i32, acc i64, update i64, beta shift_rne_i64 sat_i64 61, product shift_rne_i64;
    i64: wide i64, acc i128, update i128, beta shift_rne_i128 sat_i128 125, product shift_rne_i128;
    u64: wide i64, acc i128, update i128, beta shift_rne_i128 sat_i128 125, product shift_rne_i128;
}

/// A call on integers.
struct Integer<C>(C);

impl<T: Normal<Row = Row>> Kernel for Integer<Statistics<'_, T>> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Statistics {
            features,
            kind,
            x,
            out,
            ..
        } = self.0;
        for (x, out) in rows_of(x, features).zip(out) {
            let (mut sum, mut squares) = (0i64, 0i64);
            for x in x {
                let q = i64::from(x.cut());
                sum += q;
                squares += q * q;
            }
            if kind == Kind::Rms {
                sum = 0;
            }
            // At most 2^62, for 2^16 features of 2^15; not negative (Cauchy and Schwarz).
            let variance = features as i64 * squares - sum * sum;
            *out = Row {
                sum,
                root: rsqrt(variance as u64),
            };
        }
    }
}

impl<T: Normal<Row = Row>> Kernel for Integer<Forward<'_, T>> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Forward {
            features,
            saved,
            affine,
            store,
            first,
            out,
        } = self.0;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = first;
        for ((x, row), out) in saved.rows(features).zip(rows_of_mut(out, features)) {
            let mut betas = affine.beta.map_or(&[][..], |beta| beta.values).iter();
            let shift = affine.beta.map_or(0, |beta| beta.shift);
            let blocks = x.chunks(BLOCK).zip(affine.gamma.chunks(BLOCK));
            for ((x, gamma), out) in blocks.zip(out.chunks_mut(BLOCK)) {
                let mut normals = [0; BLOCK];
                row.normals(features, x, &mut normals);
                let mut acc = [[T::Acc::default(); BLOCK]];
                for ((acc, &gamma), &normal) in
                    acc.as_flattened_mut().iter_mut().zip(gamma).zip(&normals)
                {
                    *acc = T::scaled(normal as i32, gamma);
                }
                for (acc, &beta) in acc
                    .as_flattened_mut()
                    .iter_mut()
                    .zip(betas.by_ref().take(out.len()))
                {
                    *acc += T::offset(beta, shift);
                }
                store.block_by(isa, &mut acc, element, &mut range, out);
                element = element.wrapping_add(out.len() as u32);
            }
        }
        range.bits()
    }
}

impl Row {
    /// [`normal`] of elements of the row, as many as there are.
    #[inline(always)]
    fn normals<T: Short>(&self, features: usize, x: &[T], normals: &mut [i64; BLOCK]) {
        for (normal, x) in normals.iter_mut().zip(x) {
            let deviation = features as i64 * i64::from(x.cut()) - self.sum;
            *normal = deviation * i64::from(self.root.mantissa);
        }
        i64::shift_all(normals, 18 - self.root.places, Rounding::NearestEven, |_| 0);
        normals
            .iter_mut()
            .for_each(|normal| *normal = sat_i64(*normal, 15));
    }

    /// `dy · gamma` and `x̂` of a block of elements; zeros behind them.
    #[inline(always)]
    fn terms<T: Normal>(
        &self,
        features: usize,
        ((x, dy), gamma): ((&[T], &[T]), &[T]),
    ) -> [[i64; BLOCK]; 2] {
        let (mut terms, mut normals) = ([0; BLOCK], [0; BLOCK]);
        for ((a, &d), &gamma) in terms.iter_mut().zip(dy).zip(gamma) {
            *a = T::cut_product(d, gamma);
        }
        self.normals(features, x, &mut normals);
        [terms, normals]
    }
}

impl<T: Normal<Row = Row>> Kernel for Integer<BackwardInput<'_, T>> {
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> u32 {
        let BackwardInput {
            features,
            saved,
            dy,
            gamma,
            store,
            first,
            dx,
        } = self.0;
        let mut range = 0u64;
        let mut element = first;
        let n = features as i64;
        let rows = saved.rows(features).zip(rows_of(dy, features));
        for (((x, row), dy), dx) in rows.zip(rows_of_mut(dx, features)) {
            let blocks = || {
                x.chunks(BLOCK)
                    .zip(dy.chunks(BLOCK))
                    .zip(gamma.chunks(BLOCK))
            };
            let (mut sum, mut products) = (0i64, 0i64);
            for block in blocks() {
                let [terms, normals] = row.terms(features, block);
                for (&a, &normal) in terms.iter().zip(&normals) {
                    sum += a;
                    products += a * normal;
                }
            }
            if saved.kind == Kind::Rms {
                sum = 0;
            }
            // |Σ a·x̂| is at most 2^23 · 2^12 F, as the mean of x̂² is 1: w has at most 26 bits more
            // than F, and w · r 60 in all.
            let products = shift_rne_i64(products, 12);
            for (block, dx) in blocks().zip(dx.chunks_mut(BLOCK)) {
                let [mut terms, mut normals] = row.terms(features, block);
                normals.iter_mut().for_each(|normal| *normal *= products);
                i64::shift_all(&mut normals, 12, Rounding::NearestEven, |_| 0);
                for (a, normal) in terms.iter_mut().zip(normals) {
                    *a = (n * *a - sum - normal) * i64::from(row.root.mantissa);
                }
                i64::shift_all(
                    &mut terms,
                    15 - row.root.places,
                    Rounding::NearestEven,
                    |_| 0,
                );
                put_block(store, &mut terms, element, &mut range, dx);
                element = element.wrapping_add(dx.len() as u32);
            }
        }
        range.bits()
    }
}

impl<T: Normal<Row = Row>> Kernel for Integer<BackwardGamma<'_, '_, T>> {
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
            let mut sums = [T::NONE; TILE];
            for ((x, row), dy) in saved.rows(features).zip(rows_of(dy, features)) {
                let tile = start..start + width;
                let x = x.get(tile.clone()).unwrap_or_default();
                let dy = dy.get(tile).unwrap_or_default();
                for ((sum, x), &d) in sums.iter_mut().zip(x).zip(dy) {
                    let deviation = features as i64 * i64::from(x.cut()) - row.sum;
                    T::add(sum, T::product(d, normal(deviation, row.root)));
                }
            }
            gradient.take(start, sums.get(..width).unwrap_or_default());
            start += width;
        }
    }
}

impl<'a, T: Element> Saved<'a, T> {
    /// Each row with its statistics.
    #[inline(always)]
    pub(super) fn rows(self, features: usize) -> impl Iterator<Item = (&'a [T], &'a T::Row)> {
        rows_of(self.x, features).zip(self.statistics)
    }
}

macro_rules! impl_kernels {
    ($($t:ident: flip $flip:expr, rows $rows:expr;)*) => {$(
        impl Kernels for $t {
            type Epsilon = ();
            type Row = Row;
            const LAYER_EPSILON: () = ();
            const RMS_EPSILON: () = ();
            const ONE: Self = (1 << (Self::MAGNITUDE_BITS - 1)) ^ $flip;
            const ONE_EXPONENT: i16 = 1 - Self::MAGNITUDE_BITS as i16;
            const NORMAL_EXPONENT: i32 = -12;
            const NORM_GRADIENT_EXPONENT: i32 = Self::PRODUCT_CUT - Self::CUT - 15;
            const MAX_FEATURES: usize = 1 << 16;
            const MAX_NORM_ROWS: usize = $rows;

            fn is_epsilon((): ()) -> bool {
                true
            }

            #[inline(never)]
            fn norm_statistics(call: Statistics<'_, Self>) {
                arch::dispatch(Integer(call));
            }

            #[inline(never)]
            fn norm_forward(call: Forward<'_, Self>) -> u32 {
                arch::dispatch(Integer(call))
            }

            #[inline(never)]
            fn norm_backward_input(call: BackwardInput<'_, Self>) -> u32 {
                arch::dispatch(Integer(call))
            }

            #[inline(never)]
            fn norm_backward_gamma(call: BackwardGamma<'_, '_, Self>) {
                arch::dispatch(Integer(call));
            }
        }
    )*};
}

// A term has M + 15 bits and the sum 62; 24 + 15 leave 23 for the rows.
impl_kernels! {
    i8: flip 0, rows usize::MAX; u8: flip 0x80, rows usize::MAX;
    i16: flip 0, rows usize::MAX; u16: flip 0x8000, rows usize::MAX;
    i32: flip 0, rows 1 << 23; u32: flip 0x8000_0000, rows 1 << 23;
    i64: flip 0, rows usize::MAX; u64: flip 0x8000_0000_0000_0000, rows usize::MAX;
}
