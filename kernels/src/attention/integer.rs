//! Attention in integers: operands of at most 15 bits, logits in Q10, probabilities in Q15, one division a row.

use super::forward::copy;
use super::numbers::{Core, WIDTH};
use super::{Backward, Exponents, Forward, Kernels, Ranges, Shape, Stores};
use crate::arch::block::{Factors, Rows};
use crate::arch::tile::{COLUMNS, Operand, Segments, Tile};
use crate::arch::{self, Isa};
use crate::element::Element;
use crate::fixed::{Accumulator, Magnitude, Rounding, isqrt, sat_i64, shift_rne_i64};
use crate::lut::{LOG2_E_Q14, exp2_neg};
use crate::requantize::{Store, put_all};
use crate::short::Short;

/// Exponent of a logit: Q10.
const LOGIT: i32 = -10;

/// From a product to a logit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scaling {
    /// `1/√size` in Q15.
    scale: i64,
    /// Places by which the product is shifted right then.
    places: i32,
}

impl Scaling {
    #[inline(always)]
    fn new(size: usize, exponent: i32) -> Self {
        let square = (1u64 << 32).checked_div(size as u64).unwrap_or(0);
        Self {
            scale: ((isqrt(square) + 1) >> 1) as i64,
            places: (LOGIT + 15i32).saturating_sub(exponent),
        }
    }

    /// Products as logits of 15 bits: at most 30 + 8 + 11 bits before they are shifted.
    #[inline(always)]
    fn logits(self, dots: [i64; COLUMNS]) -> [i32; COLUMNS] {
        let mut z = dots.map(|dot| dot * self.scale);
        i64::shift_all(&mut z, self.places, Rounding::NearestEven, |_| 0);
        z.map(|z| sat_i64(z, 15) as i32)
    }
}

/// The softmax of a row of logits, in place, in Q15.
#[inline(always)]
fn softmax(row: &mut [i32]) {
    let most = row.iter().fold(-32_768, |most, &z| z.max(most));
    let mut total = 0u32;
    for z in row.iter_mut() {
        // Octaves in Q16: 31 bits before the shift.
        let t = (most - *z) as u32 * LOG2_E_Q14 as u32;
        let numerator = exp2_neg(t >> -(LOGIT + 2));
        total = total.wrapping_add(numerator); // at most 32,768 · 2^16
        *z = numerator as i32;
    }
    let total = u64::from(total);
    let inverse = ((1u64 << 47) + (total >> 1))
        .checked_div(total)
        .unwrap_or(0); // at most 2^31
    for p in row {
        let product = *p as u32 as u64 * inverse; // at most 2^47
        *p = shift_rne_i64(product as i64, 32) as i32;
    }
}

/// Errors of scores of a row: `dp` has at most 38 bits, and so has `dp - mean` but one.
#[inline(always)]
fn score_errors(
    p: &[i32],
    dp: &mut [i64],
    scaling: Scaling,
    store: Store,
    element: u32,
    range: &mut u64,
    ds: &mut [i32],
) {
    let mut sum = 0;
    for (&p, &dp) in p.iter().zip(&*dp) {
        sum += i64::from(p) * dp;
    }
    let mean = shift_rne_i64(sum, 15);
    let mut seen = 0u64;
    for (&p, g) in p.iter().zip(&mut *dp) {
        *g = shift_rne_i64(i64::from(p) * (*g - mean), 7) * scaling.scale;
        seen |= g.unsigned_abs();
    }
    *range = range.or(seen);
    let Store::Shift { shift, rounding } = store else {
        return;
    };
    i64::shift_all(dp, shift, rounding, |i| element.wrapping_add(i));
    for (ds, &g) in ds.iter_mut().zip(&*dp) {
        *ds = sat_i64(g, Stores::SCORE_BITS) as i32;
    }
}

/// Columns that are summed at a time.
const LANES: usize = if cfg!(target_os = "none") { 8 } else { 16 };

/// What integers add to the common operations.
trait Parts: Short {
    /// Sums of some products: of 15 and 15 bits.
    type Part: Accumulator + Into<i64>;
    /// How many such products fit.
    const PRODUCTS: usize;

    /// A product of 15 and 15 bits.
    fn part(factor: i32, x: i32) -> Self::Part;

    /// Adds at most [`Parts::PRODUCTS`] weighted rows by the instruction set, if it has that.
    #[inline(always)]
    fn by<I: Isa, const H: usize>(
        _: I,
        _: Factors<'_, i32>,
        _: Rows<'_, Self>,
        _: &mut [[Self::Part; WIDTH]; H],
    ) -> bool {
        false
    }
}

/// Adds weighted rows to sums.
#[inline(always)]
fn weigh<T: Parts, I: Isa, const H: usize>(
    isa: I,
    factors: Factors<'_, i32>,
    rows: Rows<'_, T>,
    sums: &mut [[i64; WIDTH]; H],
) {
    let mut start = 0;
    while start < rows.count {
        let count = T::PRODUCTS.min(rows.count - start);
        let factors = Factors {
            values: (factors.values)
                .get(start * factors.row_step..)
                .unwrap_or_default(),
            ..factors
        };
        let rows = Rows {
            values: rows.values.get(start * rows.step..).unwrap_or_default(),
            count,
            ..rows
        };
        let mut parts = [[T::Part::default(); WIDTH]; H];
        if !T::by(isa, factors, rows, &mut parts) {
            add_parts(factors, rows, &mut parts);
        }
        for (sums, parts) in sums.iter_mut().zip(&parts) {
            for (sum, &part) in sums.iter_mut().zip(parts) {
                *sum += part.into();
            }
        }
        start += count;
    }
}

/// The same for as many rows as a part holds.
#[inline(always)]
fn add_parts<T: Parts, const H: usize>(
    factors: Factors<'_, i32>,
    rows: Rows<'_, T>,
    sums: &mut [[T::Part; WIDTH]; H],
) {
    let mut column = 0;
    while column < rows.width {
        let values = rows.values.get(column..).unwrap_or_default();
        let width = rows.width - column;
        let mut local = [[T::Part::default(); LANES]; H];
        for k in 0..rows.count {
            let row = values.get(k * rows.step..).unwrap_or_default();
            let mut x = [0; LANES];
            match row.first_chunk::<LANES>() {
                Some(row) if width >= LANES => x = row.map(T::cut),
                _ => {
                    for (x, row) in x.iter_mut().zip(row).take(width) {
                        *x = row.cut();
                    }
                }
            }
            let factors = factors.of_row::<H>(k);
            for (local, factor) in local.iter_mut().zip(factors) {
                for (sum, &x) in local.iter_mut().zip(&x) {
                    *sum += T::part(factor, x);
                }
            }
        }
        for (local, sums) in local.iter().zip(sums.iter_mut()) {
            copy(local, sums.get_mut(column..).unwrap_or_default());
        }
        column += LANES;
    }
}

/// Products of rows of elements that are cut as they are read.
#[inline(always)]
fn cut_dots<T: Short>(x: Operand<'_, T>, w: Operand<'_, T>, size: usize, tile: &mut Tile<i64>) {
    for (r, dots) in tile.iter_mut().enumerate().take(x.rows) {
        let x = x.values.get(r * x.step..).unwrap_or_default();
        for (c, dot) in dots.iter_mut().enumerate().take(w.rows) {
            let w = w.values.get(c * w.step..).unwrap_or_default();
            let pairs = x.iter().zip(w).take(size);
            *dot = pairs.map(|(x, w)| i64::from(x.cut() * w.cut())).sum();
        }
    }
}

macro_rules! impl_kernels {
    ($($t:ident: dot $dot:ident, |$isa:ident, $x:ident, $w:ident, $segments:ident, $tile:ident| $dots:expr,
       part $part:ident, products $products:expr $(, by $by:ident)?;)*) => {$(
        impl Parts for $t {
            type Part = $part;
            const PRODUCTS: usize = $products;

            #[inline(always)]
            fn part(factor: i32, x: i32) -> $part {
                $part::from(factor * x) // at most 2^30
            }

            $(
                #[inline(always)]
                fn by<I: Isa, const H: usize>(
                    isa: I,
                    factors: Factors<'_, i32>,
                    rows: Rows<'_, Self>,
                    sums: &mut [[i32; WIDTH]; H],
                ) -> bool {
                    isa.$by(factors, rows, sums)
                }
            )?
        }

        impl Core for $t {
            type Dot = $dot;
            type Scaling = Scaling;

            #[inline(always)]
            fn scaling(shape: Shape, exponents: Exponents) -> Scaling {
                let exponent = exponents.q.saturating_add(exponents.k);
                Scaling::new(shape.size, exponent.saturating_add(2 * Self::CUT))
            }

            #[inline(always)]
            fn dots<I: Isa>(
                $isa: I,
                $x: Operand<'_, Self>,
                $w: Operand<'_, Self>,
                $segments: &Segments,
                $tile: &mut Tile<$dot>,
            ) {
                $dots
            }

            #[inline(always)]
            fn logits(dots: &[$dot; COLUMNS], scaling: Scaling) -> [i32; COLUMNS] {
                scaling.logits(dots.map(i64::from))
            }

            #[inline(always)]
            fn softmax(row: &mut [i32]) -> i32 {
                softmax(row);
                1
            }

            #[inline(always)]
            fn settle(_: &mut [i32], _: i32) {}

            #[inline(always)]
            fn scale_all(_: &mut [i64; WIDTH], _: i32) {}

            #[inline(always)]
            fn errors(dots: &[$dot; COLUMNS]) -> [i64; COLUMNS] {
                dots.map(i64::from)
            }

            #[inline(always)]
            fn score_errors(
                p: &[i32],
                dp: &mut [i64],
                scaling: Scaling,
                store: Store,
                element: u32,
                range: &mut u64,
                ds: &mut [i32],
            ) {
                score_errors(p, dp, scaling, store, element, range, ds);
            }

            #[inline(always)]
            fn weigh<I: Isa, const H: usize>(
                isa: I,
                factors: Factors<'_, i32>,
                rows: Rows<'_, Self>,
                sums: &mut [[i64; WIDTH]; H],
            ) {
                weigh(isa, factors, rows, sums);
            }

            #[inline(always)]
            fn put(
                store: Store,
                sums: &mut [i64; WIDTH],
                element: u32,
                range: &mut u64,
                out: &mut [Self],
            ) {
                if let Some(rest) = sums.get_mut(out.len()..) {
                    rest.fill(0); // columns beyond a head's are undefined
                }
                put_all(store, sums, element, range, out, Self::from_i64);
            }
        }

        impl Kernels for $t {
            type AttentionScore = i32;
            type AttentionSum = i64;
            const MAX_HEAD_SIZE: usize = 256;
            const MAX_KEYS: usize = 1 << 15;

            #[inline(never)]
            fn attention_forward(call: Forward<'_, Self>) -> u32 {
                arch::dispatch(call)
            }

            #[inline(never)]
            fn attention_backward(call: Backward<'_, Self>) -> Ranges {
                arch::dispatch(call)
            }
        }
    )*};
}

// 2^22 · 2^8 of 8 bits stay below 2^31; 2^30 · 2^33 of others below 2^63.
impl_kernels! {
    i8: dot i32, |isa, x, w, segments, tile| <Self as Element>::tile(isa, x, w, segments, tile), part i32, products 256, by weigh_i8;
    u8: dot i32, |isa, x, w, segments, tile| <Self as Element>::tile(isa, x, w, segments, tile), part i32, products 256, by weigh_u8;
    i16: dot i64, |isa, x, w, segments, tile| <Self as Element>::tile(isa, x, w, segments, tile), part i64, products usize::MAX;
    u16: dot i64, |isa, x, w, segments, tile| <Self as Element>::tile(isa, x, w, segments, tile), part i64, products usize::MAX;
    i32: dot i64, |_isa, x, w, segments, tile| cut_dots(x, w, segments.len(), tile), part i64, products usize::MAX;
    u32: dot i64, |_isa, x, w, segments, tile| cut_dots(x, w, segments.len(), tile), part i64, products usize::MAX;
    i64: dot i64, |_isa, x, w, segments, tile| cut_dots(x, w, segments.len(), tile), part i64, products usize::MAX;
    u64: dot i64, |_isa, x, w, segments, tile| cut_dots(x, w, segments.len(), tile), part i64, products usize::MAX;
}
