//! The loss that keeps all experts in use.

use crate::element::Element;
use crate::elementwise::{Term, aligned_exponent};
use crate::error::{Arg, Error, Found, Result};
use crate::fixed::{Accumulator, Magnitude, Rounding, bit_len, div_rem};
use crate::real::Real;
use crate::requantize::Store;
use crate::select::wins;
use crate::split::rows_of;

/// A load-balancing loss over `N` experts, `α · N · Σ_i f_i · P_i`: `f_i` is the share of rows whose largest
/// probability is that of expert `i`, `P_i` the mean of its probabilities. It is 1 · α for experts that are used
/// alike, and up to `α · N` for one that gets all.
///
/// Source: Fedus et al. 2021, "Switch Transformers", §2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    experts: usize,
    /// `α · N` in thousandths, below 2^24.
    thousandths: u32,
}

/// Bits that `α · N` may have in thousandths, and those of a share's mantissa and 1000 together.
const BITS: u32 = 24;

impl Balance {
    /// No such loss, of no experts.
    pub const NONE: Self = Self {
        experts: 0,
        thousandths: 0,
    };

    /// `α` is `thousandths / 1000`; with 0 there is no such loss.
    ///
    /// # Errors
    /// [`Error::Zero`] for no experts, [`Error::Value`] if `α · N` is 16,777 or more.
    pub const fn new(thousandths: u32, experts: usize) -> Result<Self> {
        if experts == 0 {
            return Err(Error::Zero { arg: Arg::Shape });
        }
        match (thousandths as usize).checked_mul(experts) {
            Some(product) if product < 1 << BITS => Ok(Self {
                experts,
                thousandths: product as u32,
            }),
            _ => Err(Error::Value {
                arg: Arg::Balance,
                expected: "thousandths that times the number of experts are below 2^24",
                got: Some(Found::Integer(thousandths as i64)),
            }),
        }
    }

    /// The exponent of what is added to errors: its mantissa is below 2^14.04, and `α · N` has 13 bits at least.
    const fn own_exponent(self) -> i32 {
        bit_len(self.thousandths as u64) as i32 - BITS as i32
    }

    /// The exponent of the accumulator of [`balance_backward`], from that of `dy`.
    #[must_use]
    pub fn exponent<T: Element>(self, dy: i32) -> i32 {
        if T::DTYPE.is_integer() && self.thousandths != 0 {
            aligned_exponent([dy, self.own_exponent()])
        } else {
            dy
        }
    }

    /// `α · N · count / rows` at [`Balance::own_exponent`], to the nearest integer, halves up.
    fn mantissa(self, count: u32, rows: u32) -> u16 {
        let places = BITS.saturating_sub(bit_len(u64::from(self.thousandths)));
        let product = (u64::from(self.thousandths) << places) * u64::from(count); // 24 + 32 bits
        let divisor = 1000 * u64::from(rows);
        div_rem(product + divisor / 2, divisor).0 as u16 // at most 16,778
    }
}

/// Gradient of the sum over rows of a mean over rows, that is of `R` times a [`Balance`], with respect to
/// probabilities, added to their errors: `dx[r, i] = dy[r, i] + α · N · f_i`. Shares have no gradient. As with every
/// loss of this crate, what turns a sum over a batch into its mean is the rate.
///
/// | argument | shape | |
/// |---|---|---|
/// | `probabilities` | `[R, N]` | |
/// | `dy` | `[R, N]` | with its exponent, of floats too: that of the loss scale |
/// | `dx` | `[R, N]` | overwritten, or untouched by [`Store::Measure`] |
/// | `counts` | `[N]` | scratch: rows that have their largest probability there, the first of equal ones, the first NaN |
///
/// Returns the bit length of the largest accumulator (0 for floats), at [`Balance::exponent`]. Integers: what is added
/// is off by at most `2^-14 · α · N`, and what alignment rounds. Floats: what is added is scaled as errors are, by
/// `2^-exponent`.
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`], [`Error::Overflow`]; `dx` is then untouched.
///
/// Source: [`Balance`]; integers: `docs/numerics/experts.md`.
pub fn balance_backward<T: Element>(
    rows: usize,
    balance: Balance,
    probabilities: &[T],
    dy: Term<'_, T>,
    store: Store,
    dx: &mut [T],
    counts: &mut [u32],
) -> Result<u32> {
    let extents = [rows, balance.experts];
    Arg::X.check_len(probabilities.len(), &extents)?;
    Arg::Dy.check_len(dy.values.len(), &extents)?;
    Arg::Dx.check_len(dx.len(), &extents)?;
    Arg::Scratch.check_len(counts.len(), &[balance.experts])?;
    Ok(T::experts_balance_backward(BalanceBackward {
        rows: rows as u32, // checked with the lengths
        balance,
        probabilities,
        dy,
        store,
        dx,
        counts,
    }))
}

/// A checked call of [`balance_backward`].
pub struct BalanceBackward<'a, T> {
    rows: u32,
    balance: Balance,
    probabilities: &'a [T],
    dy: Term<'a, T>,
    store: Store,
    dx: &'a mut [T],
    counts: &'a mut [u32],
}

impl<T: Element> BalanceBackward<'_, T> {
    #[inline(always)]
    pub(super) fn run(self) -> u32 {
        let experts = self.balance.experts;
        self.counts.fill(0);
        for row in rows_of(self.probabilities, experts) {
            if let Some(count) = self.counts.get_mut(largest(row)) {
                *count += 1;
            }
        }
        let Term { values, exponent } = self.dy;
        let shift = if T::DTYPE.is_integer() {
            self.balance.exponent::<T>(exponent) - exponent
        } else {
            0
        };
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        for (i, &count) in self.counts.iter().enumerate() {
            let load = T::load(self.balance, count, self.rows, exponent);
            let elements = self.dx.iter_mut().zip(values).enumerate().skip(i);
            for (at, (dx, dy)) in elements.step_by(experts.max(1)) {
                let mut acc = dy.to_acc().shift(shift, Rounding::NearestEven, 0);
                acc += load;
                self.store.one::<T, T>(acc, at as u32, &mut range, dx);
            }
        }
        range.bits()
    }
}

/// The place of the largest element: the first of equal ones, the first NaN.
#[inline(always)]
fn largest<T: Element>(row: &[T]) -> usize {
    let (mut place, mut most) = (0, None);
    for (at, x) in row.iter().enumerate() {
        let x = x.widen();
        if most.is_none_or(|most| wins(most, x)) {
            (place, most) = (at, Some(x));
        }
    }
    place
}

/// What a balancing loss adds to errors, as accumulators.
pub trait Load: Sized {
    /// `α · N · count / rows` at [`Balance::exponent`], of errors at `exponent`.
    #[doc(hidden)]
    fn load(balance: Balance, count: u32, rows: u32, exponent: i32) -> Self::Acc
    where
        Self: Element;
}

macro_rules! impl_integer {
    ($($t:ident: $acc:ident;)*) => {$(
        impl Load for $t {
            fn load(balance: Balance, count: u32, rows: u32, exponent: i32) -> $acc {
                // Of 15 places to the left at most: below 2^29.04.
                let shift = balance.exponent::<Self>(exponent) - balance.own_exponent();
                let mantissa = $acc::from(balance.mantissa(count, rows));
                mantissa.shift(shift, Rounding::NearestEven, 0)
            }
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ty: $acc:ident;)*) => {$(
        impl Load for $t {
            fn load(balance: Balance, count: u32, rows: u32, exponent: i32) -> $acc {
                let weight = $acc::from_count(balance.thousandths as usize) / $acc::from_count(1000);
                let share = $acc::from_count(count as usize) / $acc::from_count(rows as usize);
                (weight * share).shift(exponent, Rounding::NearestEven, 0)
            }
        }
    )*};
}

impl_integer! { i8: i32; u8: i32; i16: i64; u16: i64; i32: i64; u32: i64; i64: i128; u64: i128; }
impl_float! { half::f16: f32; half::bf16: f32; f32: f32; f64: f64; }
