//! Accumulators of 32 bits to bytes: activation, range, shift or product, rounding and saturation in one pass.

use super::Isa;
use crate::element::Element;
use crate::fixed::{Accumulator, Rounding};

/// What becomes of the accumulators.
#[derive(Clone, Copy, Debug)]
pub struct Narrowing {
    /// Whether those below zero become zero first.
    pub is_relu: bool,
    /// Places to the right: 1 to 31.
    pub shift: u32,
    /// What the places that are lost do.
    pub rounding: Rounding,
    /// Row-major index of the first element.
    pub element: u32,
}

/// What becomes of the accumulators of affine layers: products with the factors `mantissa / 2^31 · 2^shift`
/// of their columns, rounded twice as [`Multiplier`](crate::affine::Multiplier) says.
#[derive(Clone, Copy, Debug)]
pub struct Scaling<'a> {
    /// Of the columns, Q31.
    pub mantissas: &'a [i32],
    /// Of the columns, none above 0.
    pub shifts: &'a [i32],
    /// The smallest product.
    pub low: i32,
    /// The largest.
    pub high: i32,
    /// Added to it then.
    pub zero: i32,
}

/// Rows of accumulators, and where they go.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// How many.
    pub rows: usize,
    /// Accumulators from one row to the next: a multiple of 16.
    pub width: usize,
    /// Accumulators of a row that are in use.
    pub columns: usize,
    /// Elements from one row to the next.
    pub step: usize,
}

impl Extent {
    /// Whether rows lie in `from` accumulators and `to` elements.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn fits(&self, from: usize, to: usize) -> bool {
        let end = || {
            let last = self.rows.checked_sub(1)?;
            let acc = last.checked_mul(self.width)?.checked_add(self.width)?;
            let element = last.checked_mul(self.step)?.checked_add(self.columns)?;
            Some(acc <= from && element <= to)
        };
        let is_wide = self.width.is_multiple_of(16) && (1..=self.width).contains(&self.columns);
        is_wide && end() == Some(true)
    }
}

/// Elements to which some instruction set narrows the accumulators of `T`.
pub trait Narrow<T: Element>: Sized {
    /// The accumulators as elements, and the bitwise "or" of the magnitudes of those in use; nothing is
    /// done where the instruction set has no such instructions or the rows do not fit.
    #[inline(always)]
    fn narrow<I: Isa>(
        _: I,
        _acc: &[T::Acc],
        _extent: Extent,
        _narrowing: Narrowing,
        _out: &mut [Self],
    ) -> Option<<T::Acc as Accumulator>::Magnitude> {
        None
    }
}

macro_rules! not_narrow {
    ($($t:ty: $($from:ty)*;)*) => {$($(impl Narrow<$from> for $t {})*)*};
}

not_narrow! {
    i16: i8 i16; u16: u8 u16; i32: i32; u32: u32; i64: i64; u64: u64;
    half::f16: half::f16; half::bf16: half::bf16; f32: f32; f64: f64;
}

macro_rules! narrow {
    ($($t:ty: $narrow:ident;)*) => {$(
        impl Narrow<$t> for $t {
            #[inline(always)]
            fn narrow<I: Isa>(
                isa: I,
                acc: &[i32],
                extent: Extent,
                narrowing: Narrowing,
                out: &mut [Self],
            ) -> Option<u32> {
                isa.$narrow(acc, extent, narrowing, out)
            }
        }
    )*};
}

narrow! { i8: narrow_i8; u8: narrow_u8; }
