//! The register tile, written once for all element types and vector lengths.

use crate::arch::tile::{COLUMNS, Operand, ROWS, Segments, Tile};
use core::ops::AddAssign;

/// How the products of one element type are summed in registers.
///
/// # Safety
/// The methods use the instructions of the set that they are written for, of which their callers
/// have the proof. Loads read [`Lanes::LEN`] elements, or the first `n` of them: the others count
/// as zeros.
pub(super) trait Lanes {
    /// What the operands hold.
    type Element: Copy;
    /// What a sum ends in.
    type Acc: Copy + Default + AddAssign;
    /// Elements of `x`, ready to be multiplied.
    type X: Copy;
    /// Elements of the weights, ready to be multiplied.
    type Weight: Copy;
    /// The partial sums of one output.
    type Sum: Copy;
    /// What is summed once a row of the weights, for all rows of `x`.
    type Correction: Copy;

    /// Elements of a vector.
    const LEN: usize;
    /// Vectors that a sum has room for. Float sums never run full: their order is fixed.
    const ROOM: usize = usize::MAX;

    unsafe fn zero() -> (Self::Sum, Self::Correction);
    unsafe fn x(p: *const Self::Element) -> Self::X;
    unsafe fn x_first(p: *const Self::Element, n: usize) -> Self::X;
    unsafe fn weight(p: *const Self::Element) -> Self::Weight;
    unsafe fn weight_first(p: *const Self::Element, n: usize) -> Self::Weight;
    /// `sum + x · weight` of four outputs.
    unsafe fn add(
        sums: [Self::Sum; GROUP],
        x: Self::X,
        weights: [Self::Weight; GROUP],
    ) -> [Self::Sum; GROUP];
    /// What `weight` adds to the correction.
    #[inline(always)]
    unsafe fn correct(correction: Self::Correction, _: Self::Weight) -> Self::Correction {
        correction
    }
    /// Writes the totals of four outputs.
    unsafe fn totals(
        sums: [Self::Sum; GROUP],
        corrections: [Self::Correction; GROUP],
        to: &mut [Self::Acc; GROUP],
    );
}

/// Columns whose totals are computed together.
pub(super) const GROUP: usize = 4;

/// Pointers to rows of the weights, in `G` groups.
type Weights<T, const G: usize> = [[*const T; GROUP]; G];

/// Computes a tile in blocks of `R` rows and `G` groups of columns, of which a whole number makes
/// up a tile.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn tile<L: Lanes, const R: usize, const G: usize>(
    x: Operand<'_, L::Element>,
    weight: Operand<'_, L::Element>,
    segments: &Segments,
    tile: &mut Tile<L::Acc>,
) {
    const { assert!(ROWS.is_multiple_of(R) && COLUMNS.is_multiple_of(GROUP * G)) };
    if !segments.fit(x, weight) {
        *tile = [[L::Acc::default(); COLUMNS]; ROWS];
        return;
    }
    let mut column = 0;
    while column < weight.rows.min(COLUMNS) {
        // A few last columns would leave most of a wide block idle.
        let is_narrow = G > 1 && weight.rows - column <= GROUP;
        let mut row = 0;
        while row < x.rows.min(ROWS) {
            // SAFETY: the segments of all rows fit, as just checked; the block lies in the tile, as
            // `R` and `G` divide it; the instructions are the caller's promise.
            unsafe {
                let to = tile.as_mut_ptr().add(row).cast::<L::Acc>().add(column);
                if is_narrow {
                    block::<L, R, 1>(x, row, weight, column, segments, to);
                } else {
                    block::<L, R, G>(x, row, weight, column, segments, to);
                }
            }
            row += R;
        }
        column += GROUP * G;
    }
}

/// Pointers to `N` rows from `first` on; those beyond the last repeat it.
#[inline(always)]
pub(super) fn rows<T, const N: usize>(operand: Operand<'_, T>, first: usize) -> [*const T; N] {
    let mut rows = [operand.values.as_ptr(); N];
    let last = operand.rows.saturating_sub(1);
    for (i, row) in rows.iter_mut().enumerate() {
        *row = row.wrapping_add(operand.step.wrapping_mul(last.min(first + i)));
    }
    rows
}

/// Computes the block of a tile that begins at `row` and `column`; `to` is its first element.
///
/// # Safety
/// As [`tile`], the segments fit the operands, and the block can be written.
#[inline(always)]
unsafe fn block<L: Lanes, const R: usize, const G: usize>(
    x: Operand<'_, L::Element>,
    row: usize,
    weight: Operand<'_, L::Element>,
    column: usize,
    segments: &Segments,
    to: *mut L::Acc,
) {
    let xs = rows(x, row);
    let mut ws = [[weight.values.as_ptr(); GROUP]; G];
    for (g, ws) in ws.iter_mut().enumerate() {
        *ws = rows(weight, column + GROUP * g);
    }
    // SAFETY: the promise of the caller.
    let mut sums = unsafe { Sums::<L, R, G>::zero() };
    let (len, whole) = (segments.len(), segments.len() - segments.len() % L::LEN);
    for (x0, w0) in segments.starts() {
        let (mut xi, mut wi) = (x0, w0);
        while xi < x0 + whole {
            // SAFETY: a whole vector lies in the segment, which the operand holds by the caller's promise.
            unsafe {
                sums.step::<true>(&xs, xi, &ws, wi, L::LEN);
                sums.make_room(to);
            }
            (xi, wi) = (xi + L::LEN, wi + L::LEN);
        }
        if whole < len {
            // SAFETY: this is what is left of the segment.
            unsafe {
                sums.step::<false>(&xs, xi, &ws, wi, len - whole);
                sums.make_room(to);
            }
        }
    }
    // SAFETY: the promise of the caller.
    unsafe { sums.store(to) };
}

/// The sums of a block under way.
struct Sums<L: Lanes, const R: usize, const G: usize> {
    sums: [[[L::Sum; GROUP]; G]; R],
    corrections: [[L::Correction; GROUP]; G],
    /// Vectors until the sums may be full.
    room: usize,
    /// Whether nothing has been stored yet.
    is_first: bool,
}

impl<L: Lanes, const R: usize, const G: usize> Sums<L, R, G> {
    /// # Safety
    /// The processor has the instructions of `L`.
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the promise of the caller.
        let (sum, correction) = unsafe { L::zero() };
        Self {
            sums: [[[sum; GROUP]; G]; R],
            corrections: [[correction; GROUP]; G],
            room: L::ROOM,
            is_first: true,
        }
    }

    /// Adds the products of one vector of each row, which is whole or has `n` elements.
    ///
    /// # Safety
    /// As [`Sums::zero`], and so many elements can be read.
    #[inline(always)]
    unsafe fn step<const WHOLE: bool>(
        &mut self,
        xs: &[*const L::Element; R],
        xi: usize,
        ws: &Weights<L::Element, G>,
        wi: usize,
        n: usize,
    ) {
        // SAFETY: the promise of the caller.
        unsafe {
            for (g, (ws, corrections)) in ws.iter().zip(&mut self.corrections).enumerate() {
                let load = |w: *const L::Element| {
                    let w = w.wrapping_add(wi);
                    if WHOLE {
                        L::weight(w)
                    } else {
                        L::weight_first(w, n)
                    }
                };
                let [a, b, c, d] = *ws; // `map` would not be inlined for all types
                let ws = [load(a), load(b), load(c), load(d)];
                for (correction, &w) in corrections.iter_mut().zip(&ws) {
                    *correction = L::correct(*correction, w);
                }
                for (sums, x) in self.sums.iter_mut().zip(xs) {
                    let x = x.wrapping_add(xi);
                    let x = if WHOLE { L::x(x) } else { L::x_first(x, n) };
                    if let Some(sums) = sums.get_mut(g) {
                        *sums = L::add(*sums, x, ws);
                    }
                }
            }
        }
    }

    /// Counts a step, and stores the sums if they may be full.
    ///
    /// # Safety
    /// As [`block`].
    #[inline(always)]
    unsafe fn make_room(&mut self, to: *mut L::Acc) {
        if L::ROOM == usize::MAX {
            return;
        }
        self.room -= 1;
        if self.room == 0 {
            // SAFETY: the promise of the caller.
            unsafe {
                self.store(to);
                *self = Self::zero();
            }
            self.is_first = false;
        }
    }

    /// Writes the totals, or adds them to those that were written before.
    ///
    /// # Safety
    /// As [`block`].
    #[inline(always)]
    unsafe fn store(&self, to: *mut L::Acc) {
        for (r, sums) in self.sums.iter().enumerate() {
            for (g, (&sums, &corrections)) in sums.iter().zip(&self.corrections).enumerate() {
                // SAFETY: group `g` of row `r` of the block, which can be written by the caller's
                // promise.
                unsafe {
                    let to = &mut *to.add(r * COLUMNS + g * GROUP).cast::<[L::Acc; GROUP]>();
                    if L::ROOM == usize::MAX || self.is_first {
                        L::totals(sums, corrections, to);
                    } else {
                        let mut totals = [L::Acc::default(); GROUP];
                        L::totals(sums, corrections, &mut totals);
                        for (to, total) in to.iter_mut().zip(totals) {
                            *to += total;
                        }
                    }
                }
            }
        }
    }
}
