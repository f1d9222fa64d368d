//! Blocks: weighted sums of rows, `sums[r] += Σ_k factor[r, k] · row[k]`, which gradients are made of.
//! Several sums share each row that is loaded.

use super::Isa;
use crate::element::Element;

/// Columns of a block.
pub const WIDTH: usize = 32;
/// Sums of a block.
pub const HEIGHT: usize = 4;

/// The sums of a block.
pub type Block<A> = [[A; WIDTH]; HEIGHT];

/// Factors: that of sum `r` and row `k` is element `r · sum_step + k · row_step`.
#[derive(Clone, Copy, Debug)]
pub struct Factors<'a, T> {
    /// From the first on.
    pub values: &'a [T],
    /// From one sum to the next.
    pub sum_step: usize,
    /// From one row to the next.
    pub row_step: usize,
}

impl<T: Copy + Default> Factors<'_, T> {
    /// Those of row `k`, of the first `H` sums; zeros where there are none.
    #[inline(always)]
    pub(crate) fn of_row<const H: usize>(&self, k: usize) -> [T; H] {
        let values = self.values.get(k * self.row_step..).unwrap_or_default();
        if let (1, Some(neighbours)) = (self.sum_step, values.first_chunk()) {
            return *neighbours;
        }
        core::array::from_fn(|r| values.get(r * self.sum_step).copied().unwrap_or_default())
    }
}

/// Rows, at equal distances.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// From the first element of the first row on.
    pub values: &'a [T],
    /// Elements from the start of a row to that of the next.
    pub step: usize,
    /// How many.
    pub count: usize,
    /// Elements of a row, at most [`WIDTH`].
    pub width: usize,
}

/// The same elements as bytes.
///
/// # Safety
/// `T` is a byte, signed or not.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn bytes<T>(values: &[T]) -> &[u8] {
    // SAFETY: the promise of the caller; any bits are valid in a byte.
    unsafe { core::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
}

/// The same, to be written.
///
/// # Safety
/// `T` is a byte, signed or not.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn bytes_mut<T>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: the promise of the caller; any bits are valid in a byte, signed or not.
    unsafe { core::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

impl<T> Factors<'_, T> {
    /// Those of the sums from `sum` on.
    #[inline(always)]
    fn skip(self, sum: usize) -> Self {
        let first = sum * self.sum_step;
        Self {
            values: self.values.get(first..).unwrap_or_default(),
            ..self
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl<'a, T> Factors<'a, T> {
    /// # Safety
    /// `T` is a byte, signed or not.
    #[inline(always)]
    pub(super) unsafe fn bytes(self) -> Factors<'a, u8> {
        Factors {
            // SAFETY: the promise of the caller.
            values: unsafe { bytes(self.values) },
            sum_step: self.sum_step,
            row_step: self.row_step,
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl<'a, T> Rows<'a, T> {
    /// # Safety
    /// `T` is a byte, signed or not.
    #[inline(always)]
    pub(super) unsafe fn bytes(self) -> Rows<'a, u8> {
        Rows {
            // SAFETY: the promise of the caller.
            values: unsafe { bytes(self.values) },
            step: self.step,
            count: self.count,
            width: self.width,
        }
    }
}

/// Whether `sums` sums can be computed: all factors and rows lie in their slices.
#[inline(always)]
pub(super) fn fit<F, T>(sums: usize, factors: Factors<'_, F>, rows: Rows<'_, T>) -> bool {
    let end = || {
        let last_row = rows.count.checked_sub(1)?;
        let last_sum = sums.checked_sub(1)?.checked_mul(factors.sum_step)?;
        let factor = last_row
            .checked_mul(factors.row_step)?
            .checked_add(last_sum)?;
        let end = last_row.checked_mul(rows.step)?.checked_add(rows.width)?;
        Some(factor < factors.values.len() && end <= rows.values.len())
    };
    rows.width <= WIDTH && end() == Some(true)
}

/// Adds weighted rows to `sums`, in the order of the rows: plain code, of which compilers make vectors.
#[inline(always)]
pub(super) fn plain<T: Element, I: Isa>(
    isa: I,
    factors: Factors<'_, T>,
    rows: Rows<'_, T>,
    sums: &mut [[T::Acc; WIDTH]],
) {
    if !fit(sums.len(), factors, rows) {
        return;
    }
    let (blocks, rest) = sums.as_chunks_mut::<HEIGHT>();
    let mut factors = factors;
    for sums in blocks {
        add(isa, factors, rows, sums);
        factors = factors.skip(HEIGHT);
    }
    for sum in rest {
        add(isa, factors, rows, core::array::from_mut(sum));
        factors = factors.skip(1);
    }
}

/// The same for `R` sums, which stay in registers.
#[inline(always)]
fn add<T: Element, I: Isa, const R: usize>(
    isa: I,
    factors: Factors<'_, T>,
    rows: Rows<'_, T>,
    to: &mut [[T::Acc; WIDTH]; R],
) {
    let mut sums = *to;
    // Behind a narrow row are other elements, which make sums that nobody asks for: a load of known length costs
    // less than one of as many as there are.
    let last = rows.values.len().checked_sub(WIDTH);
    let whole = last.map_or(0, |last| last.checked_div(rows.step).map_or(0, |k| k + 1));
    let whole = whole.min(rows.count);
    for k in 0..whole {
        let row = rows.values.get(k * rows.step..).unwrap_or_default();
        let Some(row) = row.first_chunk() else { break };
        add_row(isa, factors, k, row, &mut sums);
    }
    for k in whole..rows.count {
        let mut room = [T::ZERO; WIDTH];
        let row = rows.values.get(k * rows.step..).unwrap_or_default();
        room.iter_mut().zip(row).for_each(|(to, &x)| *to = x);
        add_row(isa, factors, k, &room, &mut sums);
    }
    *to = sums;
}

/// Adds row `k`.
#[inline(always)]
fn add_row<T: Element, I: Isa, const R: usize>(
    isa: I,
    factors: Factors<'_, T>,
    k: usize,
    row: &[T; WIDTH],
    sums: &mut [[T::Acc; WIDTH]; R],
) {
    let mut wide = [T::Wide::default(); WIDTH];
    for (wide, row) in wide.as_chunks_mut().0.iter_mut().zip(row.as_chunks().0) {
        *wide = T::widen8(isa, row);
    }
    for (r, sums) in sums.iter_mut().enumerate() {
        let factor = factors
            .values
            .get(r * factors.sum_step + k * factors.row_step);
        let factor = factor.map_or_else(T::Wide::default, |factor| factor.widen());
        for (sum, &x) in sums.iter_mut().zip(&wide) {
            *sum += T::mul(factor, x);
        }
    }
}

/// Element types of which some instruction set makes blocks.
pub trait Blocks: Sized {
    /// Whether `I` does by instructions of its own, which pays also where blocks are narrow.
    #[inline(always)]
    fn has_blocks<I: Isa>() -> bool {
        false
    }

    /// Whether blocks of rows of `width` pay on `I`.
    #[inline(always)]
    fn blocks_pay<I: Isa>(width: usize) -> bool {
        Self::has_blocks::<I>() || I::TILED && width >= WIDTH / 2
    }

    /// Adds weighted rows to `sums`, in the order of the rows; nothing if factors or rows do not fit. Columns from
    /// the width on are undefined.
    #[inline(always)]
    fn add_block<I: Isa>(
        isa: I,
        factors: Factors<'_, Self>,
        rows: Rows<'_, Self>,
        sums: &mut [[Self::Acc; WIDTH]],
    ) where
        Self: Element,
    {
        plain(isa, factors, rows, sums);
    }
}

macro_rules! no_blocks {
    ($($t:ty)*) => {$(impl Blocks for $t {})*};
}

no_blocks! { i16 u16 i32 u32 i64 u64 half::f16 half::bf16 f32 f64 }

macro_rules! blocks {
    ($($t:ty: $block:ident;)*) => {$(
        impl Blocks for $t {
            #[inline(always)]
            fn has_blocks<I: Isa>() -> bool {
                I::HAS_BLOCKS
            }

            #[inline(always)]
            fn add_block<I: Isa>(
                isa: I,
                factors: Factors<'_, Self>,
                rows: Rows<'_, Self>,
                sums: &mut [[<Self as Element>::Acc; WIDTH]],
            ) {
                isa.$block(factors, rows, sums);
            }
        }
    )*};
}

blocks! { i8: block_i8; u8: block_u8; }
