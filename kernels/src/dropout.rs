//! Dropout: elements are left out at random in training, and the others scaled up, so that sums
//! keep their mean. The mask is not stored: addressed words make it again in the backward pass, and
//! it is the same in every element type.
//!
//! Source: Srivastava et al. 2014, "Dropout" (inverted, as everyone builds it); integers:
//! `docs/numerics.md` §17.

use crate::arch::{self, Isa, Kernel};
use crate::element::Element;
use crate::error::{Arg, Error, Found, Result};
use crate::exec::{self, Executor};
use crate::fixed::{Accumulator, Magnitude, bit_len, div_rem};
use crate::requantize::{BLOCK, Lines, Store, block_at};
use crate::rng::Words;
use crate::split::{blocks_of, blocks_of_mut};
use half::{bf16, f16};

/// The probability with which an element is left out, in units of 2^-32: never 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropout {
    threshold: u32,
}

impl Dropout {
    /// Nothing is left out: inference.
    pub const OFF: Self = Self { threshold: 0 };

    /// Probability `threshold / 2^32`.
    #[must_use]
    pub const fn new(threshold: u32) -> Self {
        Self { threshold }
    }

    /// Probability `p`, to 2^-32.
    ///
    /// # Errors
    /// [`Error::Value`] unless `0 <= p < 1`.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::dropout::Dropout;
    /// assert_eq!(Dropout::from_f64(0.5), Ok(Dropout::new(1 << 31)));
    /// assert!(Dropout::from_f64(1.0).is_err());
    /// ```
    pub fn from_f64(p: f64) -> Result<Self> {
        if (0.0..1.0).contains(&p) {
            let threshold = libm::rint(p * 4_294_967_296.0) as u32; // saturates at 1 - 2^-32
            Ok(Self { threshold })
        } else {
            Err(Error::Value {
                arg: Arg::Probability,
                expected: "0 or more and less than 1",
                got: Some(Found::real(p)),
            })
        }
    }

    /// What kept elements of integers are multiplied by: `(m, k)` for `m · 2^-k`, the number of 8
    /// bits nearest to `1 / (1 - p)`; off by at most 2^-8, and exact for powers of two, where `m`
    /// is 1: for p = 1/2, `k` is -1 and the exponent rises by one.
    #[must_use]
    pub const fn scale(self) -> (u8, i32) {
        let keep = (1u64 << 32) - self.threshold as u64; // 1 to 2^32
        // 2^32 / keep lies between 2^(32 - bits) and 2^(33 - bits), so that m has 8 bits or is 256.
        let bits = bit_len(keep);
        let (m, _) = div_rem((1 << (bits + 7)) + (keep >> 1), keep);
        let k = bits as i32 - 25;
        match m {
            256 => (1, k - 8),
            128 => (1, k - 7),
            m => (m as u8, k),
        }
    }

    /// Whether the element of this word is kept.
    #[inline(always)]
    const fn keeps(self, word: u32) -> bool {
        word >= self.threshold
    }
}

/// Dropout, forward: `out[i] = store(x[i] · scale)` where the word of `i` is at least the
/// threshold, and `store(0)` elsewhere.
///
/// | argument | shape | |
/// |---|---|---|
/// | `words` | | of [`stream::mask`](crate::rng::stream::mask) and the step |
/// | `x` | any | |
/// | `out` | the same | overwritten, or untouched by [`Store::Measure`](crate::requantize::Store) |
///
/// Returns the bit length of the largest accumulator (0 for floats), whose exponent is that of `x`
/// less `k` of [`Dropout::scale`]. With [`Dropout::OFF`], or p = 1/2 and an exponent one higher,
/// [`Store::EXACT`] needs no state: kept elements are what they were. Floats are multiplied by
/// `1 / (1 - p)` in the accumulator's type. A NaN that is left out is gone.
///
/// # Errors
/// [`Error::Length`], [`Error::Zero`], [`Error::Overflow`]; `out` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{dropout::{self, Dropout}, exec::Serial, requantize::Store, rng::{Words, stream}};
/// let words = Words::new(7, stream::mask(0), 0);
/// let mut y = [0.0f32; 64];
/// dropout::forward(&Serial, Dropout::new(1 << 31), words, &[1.0; 64], Store::EXACT, &mut y)?;
/// assert!(y.iter().all(|&y| y == 0.0 || y == 2.0));
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn forward<T: Element>(
    exec: &impl Executor,
    dropout: Dropout,
    words: Words,
    x: &[T],
    store: Store,
    out: &mut [T],
) -> Result<u32> {
    Arg::X.product(&[x.len()])?;
    Arg::Out.check_len(out.len(), &[x.len()])?;
    Ok(apply(exec, dropout, words, x, store, out))
}

/// Gradient with respect to the input: `dx[i] = store(dy[i] · scale)` where `i` was kept, and
/// `store(0)` elsewhere. `dropout` and `words` are those of [`forward`].
///
/// | argument | shape |
/// |---|---|
/// | `dy` | any |
/// | `dx` | the same, overwritten |
///
/// The exponent is that of `dy` less `k` of [`Dropout::scale`].
///
/// # Errors
/// As [`forward`]; `dx` is then untouched.
///
/// Source: [`forward`] is linear, and is its own derivative.
pub fn backward<T: Element>(
    exec: &impl Executor,
    dropout: Dropout,
    words: Words,
    dy: &[T],
    store: Store,
    dx: &mut [T],
) -> Result<u32> {
    Arg::Dy.product(&[dy.len()])?;
    Arg::Dx.check_len(dx.len(), &[dy.len()])?;
    Ok(apply(exec, dropout, words, dy, store, dx))
}

fn apply<T: Element>(
    exec: &impl Executor,
    dropout: Dropout,
    words: Words,
    x: &[T],
    store: Store,
    out: &mut [T],
) -> u32 {
    exec::rows(exec, out, 1, |first, out| {
        T::dropout(Apply {
            dropout,
            words,
            x: x.get(first..).unwrap_or_default(),
            store,
            first: first as u32,
            out,
        })
    })
}

/// A checked call, for some elements.
pub struct Apply<'a, T> {
    dropout: Dropout,
    words: Words,
    x: &'a [T],
    store: Store,
    /// Index of the first element of `out`.
    first: u32,
    out: &'a mut [T],
}

impl<T: Element> Kernel for Apply<'_, T> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let factor = T::dropout_factor(self.dropout);
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = self.first;
        let mut room = [T::ZERO; BLOCK];
        for (x, out) in blocks_of(self.x, BLOCK).zip(blocks_of_mut(self.out, BLOCK)) {
            let x = block_at(x, &mut room);
            let mut acc = Lines([[T::Acc::default(); BLOCK]]);
            for ((acc, x), at) in acc.as_flattened_mut().iter_mut().zip(x).zip(0u32..) {
                let word = self.words.word(element.wrapping_add(at));
                if self.dropout.keeps(word) {
                    *acc = T::mul(x.widen(), factor);
                }
            }
            self.store.block_by(isa, &mut acc, element, &mut range, out);
            element = element.wrapping_add(out.len() as u32);
        }
        range.bits()
    }
}

/// The kernels of this family for one element type.
pub trait Kernels: Sized {
    /// What kept elements are multiplied by.
    #[doc(hidden)]
    fn dropout_factor(dropout: Dropout) -> Self::Wide
    where
        Self: Element;
    #[doc(hidden)]
    fn dropout(call: Apply<'_, Self>) -> u32
    where
        Self: Element;
}

macro_rules! impl_kernels {
    ($($t:ident: $wide:ident, |$dropout:ident| $factor:expr;)*) => {$(
        impl Kernels for $t {
            #[inline(always)]
            fn dropout_factor($dropout: Dropout) -> $wide {
                $factor
            }

            #[inline(never)]
            fn dropout(call: Apply<'_, Self>) -> u32 {
                arch::dispatch(call)
            }
        }
    )*};
}

/// `2^32 / (2^32 - threshold)`.
fn inverse_share(dropout: Dropout) -> f64 {
    4_294_967_296.0 / (4_294_967_296.0 - f64::from(dropout.threshold))
}

impl_kernels! {
    i8: i32, |d| i32::from(d.scale().0); u8: i32, |d| i32::from(d.scale().0);
    i16: i32, |d| i32::from(d.scale().0); u16: i32, |d| i32::from(d.scale().0);
    i32: i32, |d| i32::from(d.scale().0); u32: i32, |d| i32::from(d.scale().0);
    i64: i64, |d| i64::from(d.scale().0); u64: i64, |d| i64::from(d.scale().0);
    f16: f32, |d| inverse_share(d) as f32; bf16: f32, |d| inverse_share(d) as f32;
    f32: f32, |d| inverse_share(d) as f32; f64: f64, |d| inverse_share(d);
}
