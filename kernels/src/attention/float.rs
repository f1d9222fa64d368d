//! Attention in floats: sums in a fixed order, in the accumulator's type.

use super::forward::copy;
use super::numbers::{Core, WIDTH};
use super::{Backward, Exponents, Forward, Kernels, Ranges, Shape};
use crate::arch::block::{Factors, Rows};
use crate::arch::tile::{COLUMNS, Operand, Segments, Tile};
use crate::arch::{self, Isa};
use crate::real::{FloatElement, Real, combine};
use crate::requantize::Store;
use half::{bf16, f16};

/// The softmax of a row, but for the division by the sum, of which the reciprocal is returned; 0 for a row of
/// nothing.
#[inline(always)]
fn softmax<R: Real>(row: &mut [R]) -> R {
    let Some(&first) = row.first() else {
        return R::default();
    };
    let mut most = [first; 8];
    let larger = |a: R, b: R| if b > a { b } else { a };
    let (eights, rest) = row.as_chunks::<8>();
    for z in eights {
        for (most, &z) in most.iter_mut().zip(z) {
            *most = larger(*most, z);
        }
    }
    for (most, &z) in most.iter_mut().zip(rest) {
        *most = larger(*most, z);
    }
    let most = most.into_iter().fold(first, larger);
    // A loop of its own: it is computed side by side.
    for z in row.iter_mut() {
        *z = (*z - most).exp();
    }
    let mut sums = [R::default(); 8];
    let (eights, rest) = row.as_chunks::<8>();
    for z in eights {
        for (sum, &z) in sums.iter_mut().zip(z) {
            *sum += z;
        }
    }
    for (sum, &z) in sums.iter_mut().zip(rest) {
        *sum += z;
    }
    R::ONE / combine(sums)
}

/// Errors of scores of a row.
#[inline(always)]
fn score_errors<R: Real>(p: &[R], dp: &[R], scale: R, store: Store, ds: &mut [R]) {
    let mut sums = [R::default(); 8];
    let ((p8, p_rest), (dp8, dp_rest)) = (p.as_chunks::<8>(), dp.as_chunks::<8>());
    for (p, dp) in p8.iter().zip(dp8) {
        for ((sum, &p), &dp) in sums.iter_mut().zip(p).zip(dp) {
            *sum += p * dp;
        }
    }
    for ((sum, &p), &dp) in sums.iter_mut().zip(p_rest).zip(dp_rest) {
        *sum += p * dp;
    }
    let mean = combine(sums);
    let Store::Shift { shift, rounding } = store else {
        return;
    };
    for ((ds, &p), &dp) in ds.iter_mut().zip(p).zip(dp) {
        *ds = (p * (dp - mean) * scale).shift(shift, rounding, 0);
    }
}

/// Columns that are summed at a time.
const LANES: usize = if cfg!(target_os = "none") { 8 } else { 16 };

/// Adds weighted rows to sums.
#[inline(always)]
fn weigh<T: FloatElement, I: Isa, const H: usize>(
    isa: I,
    factors: Factors<'_, T::Real>,
    rows: Rows<'_, T>,
    sums: &mut [[T::Real; WIDTH]; H],
) {
    let mut column = 0;
    while column < rows.width {
        let values = rows.values.get(column..).unwrap_or_default();
        let width = rows.width - column;
        let mut local = [[T::Real::default(); LANES]; H];
        for (local, sums) in local.iter_mut().zip(&*sums) {
            copy(sums.get(column..).unwrap_or_default(), local);
        }
        for k in 0..rows.count {
            let row = values.get(k * rows.step..).unwrap_or_default();
            let mut x = [T::Real::default(); LANES];
            match row.first_chunk::<LANES>() {
                Some(row) if width >= LANES => {
                    for (x, row) in x.as_chunks_mut::<8>().0.iter_mut().zip(row.as_chunks().0) {
                        *x = T::widen8(isa, row);
                    }
                }
                _ => {
                    for (x, row) in x.iter_mut().zip(row).take(width) {
                        *x = row.widen();
                    }
                }
            }
            let factors = factors.of_row::<H>(k);
            for (local, factor) in local.iter_mut().zip(factors) {
                for (sum, &x) in local.iter_mut().zip(&x) {
                    *sum += factor * x;
                }
            }
        }
        for (local, sums) in local.iter().zip(sums.iter_mut()) {
            copy(local, sums.get_mut(column..).unwrap_or_default());
        }
        column += LANES;
    }
}

macro_rules! impl_kernels {
    ($($t:ident: $real:ident, |$isa:ident, $factors:ident, $rows:ident, $sums:ident| $weigh:expr;)*) => {$(
        impl Core for $t {
            type Dot = $real;
            type Scaling = $real;

            #[inline(always)]
            fn scaling(shape: Shape, _: Exponents) -> $real {
                $real::from_count(shape.size).inverse_root()
            }

            #[inline(always)]
            fn dots<I: Isa>(
                isa: I,
                x: Operand<'_, Self>,
                w: Operand<'_, Self>,
                segments: &Segments,
                tile: &mut Tile<$real>,
            ) {
                <Self as crate::Element>::tile(isa, x, w, segments, tile);
            }

            #[inline(always)]
            fn logits(dots: &[$real; COLUMNS], scale: $real) -> [$real; COLUMNS] {
                dots.map(|dot| dot * scale)
            }

            #[inline(always)]
            fn softmax(row: &mut [$real]) -> $real {
                softmax(row)
            }

            #[inline(always)]
            fn settle(row: &mut [$real], rest: $real) {
                row.iter_mut().for_each(|p| *p *= rest);
            }

            #[inline(always)]
            fn scale_all(sums: &mut [$real; WIDTH], rest: $real) {
                sums.iter_mut().for_each(|sum| *sum *= rest);
            }

            #[inline(always)]
            fn errors(dots: &[$real; COLUMNS]) -> [$real; COLUMNS] {
                *dots
            }

            #[inline(always)]
            fn score_errors(
                p: &[$real],
                dp: &mut [$real],
                scale: $real,
                store: Store,
                _: u32,
                (): &mut (),
                ds: &mut [$real],
            ) {
                score_errors(p, dp, scale, store, ds);
            }

            #[inline(always)]
            fn weigh<I: Isa, const H: usize>(
                $isa: I,
                $factors: Factors<'_, $real>,
                $rows: Rows<'_, Self>,
                $sums: &mut [[$real; WIDTH]; H],
            ) {
                if !$weigh {
                    weigh($isa, $factors, $rows, $sums);
                }
            }

            #[inline(always)]
            fn put(
                store: Store,
                sums: &mut [$real; WIDTH],
                element: u32,
                range: &mut (),
                out: &mut [Self],
            ) {
                store.block::<Self, Self>(sums, element, range, out);
            }
        }

        impl Kernels for $t {
            type AttentionScore = $real;
            type AttentionSum = $real;
            const MAX_HEAD_SIZE: usize = usize::MAX;
            const MAX_KEYS: usize = usize::MAX;

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

impl_kernels! {
    f16: f32, |isa, factors, rows, sums| false;
    bf16: f32, |isa, factors, rows, sums| false;
    f32: f32, |isa, factors, rows, sums| isa.weigh_f32(factors, rows, sums);
    f64: f64, |isa, factors, rows, sums| false;
}
