//! Normalisation in integers: statistics from at most 15 bits, `x̂` in Q12, one division a row.

use super::{Affine, BackwardGamma, BackwardInput, Forward, Kernels, Kind, Saved, Statistics};
use crate::arch::{self, Isa, Kernel};
use crate::element::{Blank, Element};
use crate::error::Found;
use crate::fixed::{
    Accumulator, InverseRoot, Magnitude, rsqrt, sat_i32, sat_i64, sat_i128, shift_rne_i32,
    shift_rne_i64, shift_rne_i128,
};
use crate::requantize::{BLOCK, Lines, block_at};
use crate::short::{Short, put_block, round_all};
use crate::split::{blocks_of, blocks_of_mut, rows_of, rows_of_mut};
use core::ops::Range;

/// Statistics of a row of integers: `S1` (0 for RMSNorm), and `1/√V` where
/// `V = F · Σq² - S1²`; all of the row cut to 15 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
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
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
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
    const HAS_VECTORS: bool = arch::has_narrow_vectors::<T>();
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
        let mut start = 0;
        for gamma in affine.gamma.chunks(BLOCK) {
            let tile = start..start + gamma.len();
            let offsets = offsets::<T>(&affine, tile.clone());
            let (mut room, mut gammas) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
            let gamma = block_at(gamma, &mut gammas);
            let mut element = first.wrapping_add(start as u32);
            for ((x, row), out) in saved.rows(features).zip(rows_of_mut(out, features)) {
                let x = x.get(start..).unwrap_or_default();
                let normals = row.normals(features, block_at(x, &mut room));
                let mut acc = Lines([[T::Acc::default(); BLOCK]]);
                let places = acc.as_flattened_mut().iter_mut().zip(&offsets);
                for (((acc, &offset), &gamma), &normal) in places.zip(gamma).zip(&*normals) {
                    *acc = T::scaled(normal as i32, gamma) + offset;
                }
                let out = out.get_mut(tile.clone()).unwrap_or_default();
                store.block_by(isa, &mut acc, element, &mut range, out);
                element = element.wrapping_add(features as u32);
            }
            start = tile.end;
        }
        range.bits()
    }
}

/// The biases of some features, in units of the accumulator.
#[inline(always)]
pub(crate) fn offsets<T: Normal>(affine: &Affine<'_, T>, tile: Range<usize>) -> [T::Acc; BLOCK] {
    let mut offsets = [T::Acc::default(); BLOCK];
    if let Some(beta) = affine.beta {
        let values = beta.values.get(tile).unwrap_or_default();
        for (offset, &value) in offsets.iter_mut().zip(values) {
            *offset = T::offset(value, beta.shift);
        }
    }
    offsets
}

impl Row {
    /// `x̂` in Q12 of elements of the row, at most 15 bits: of deviations `n · q - S1`, in 57 bits with the 17
    /// of the root.
    #[inline(always)]
    fn normals<T: Short>(&self, features: usize, x: &[T; BLOCK]) -> Lines<[i64; BLOCK]> {
        let mut normals = Lines([0; BLOCK]);
        for (normal, x) in normals.iter_mut().zip(x) {
            let deviation = features as i64 * i64::from(x.cut()) - self.sum;
            *normal = deviation * i64::from(self.root.mantissa);
        }
        round_all(&mut normals, 18 - self.root.places);
        for normal in &mut *normals {
            *normal = sat_i64(*normal, 15);
        }
        normals
    }
}

/// `dy · gamma` of a block of elements; zeros behind them.
#[inline(always)]
fn weighted<T: Normal>(dy: &[T], gamma: &[T]) -> Lines<[i64; BLOCK]> {
    let mut rooms = [[T::ZERO; BLOCK]; 2];
    let [dy_room, gamma_room] = &mut rooms;
    let mut products = Lines([0; BLOCK]);
    let pairs = block_at(dy, dy_room)
        .iter()
        .zip(block_at(gamma, gamma_room));
    for (product, (&d, &gamma)) in products.iter_mut().zip(pairs) {
        *product = T::cut_product(d, gamma);
    }
    products
}

impl<T: Normal<Row = Row>> Kernel for Integer<BackwardInput<'_, T>> {
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
            first,
            dx,
        } = self.0;
        let mut range = 0u64;
        let mut element = first;
        let n = features as i64;
        let rows = saved.rows(features).zip(rows_of(dy, features));
        for (((x, row), dy), dx) in rows.zip(rows_of_mut(dx, features)) {
            let blocks = || {
                blocks_of(x, BLOCK)
                    .zip(blocks_of(dy, BLOCK))
                    .zip(blocks_of(gamma, BLOCK))
            };
            let (mut sum, mut products) = (0i64, 0i64);
            let mut x_room = [T::ZERO; BLOCK];
            for ((x, dy), gamma) in blocks() {
                let terms = weighted(dy, gamma);
                let normals = row.normals(features, block_at(x, &mut x_room));
                for (&a, &normal) in terms.iter().zip(&*normals) {
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
            for (((x, dy), gamma), dx) in blocks().zip(blocks_of_mut(dx, BLOCK)) {
                let mut terms = weighted(dy, gamma);
                let mut normals = row.normals(features, block_at(x, &mut x_room));
                normals.iter_mut().for_each(|normal| *normal *= products);
                round_all(&mut normals, 12);
                for (a, normal) in terms.iter_mut().zip(*normals) {
                    *a = (n * *a - sum - normal) * i64::from(row.root.mantissa);
                }
                round_all(&mut terms, 15 - row.root.places);
                put_block(store, &mut terms, element, &mut range, dx);
                element = element.wrapping_add(dx.len() as u32);
            }
        }
        range.bits()
    }
}

impl<T: Normal<Row = Row>> Kernel for Integer<BackwardGamma<'_, '_, T>> {
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
            let width = BLOCK.min(features - start);
            let mut sums = Lines([T::NONE; BLOCK]);
            let (mut x_room, mut dy_room) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
            for ((x, row), dy) in saved.rows(features).zip(rows_of(dy, features)) {
                let x = x.get(start..).unwrap_or_default();
                let dy = dy.get(start..).unwrap_or_default();
                let normals = row.normals(features, block_at(x, &mut x_room));
                let dy = block_at(dy, &mut dy_room);
                for ((sum, &normal), &d) in sums.iter_mut().zip(&*normals).zip(dy) {
                    T::add(sum, T::product(d, normal as i32)); // 15 bits
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

            fn refused_epsilon((): ()) -> Option<Found> {
                None
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
    i16: flip 0, rows 1 << 25; u16: flip 0x8000, rows 1 << 25;
    i32: flip 0, rows 1 << 23; u32: flip 0x8000_0000, rows 1 << 23;
    i64: flip 0, rows usize::MAX; u64: flip 0x8000_0000_0000_0000, rows usize::MAX;
}
