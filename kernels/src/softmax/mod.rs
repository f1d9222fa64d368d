//! The softmax family: maps from rows of logits to probabilities, and their gradients.
//!
//! | variant | where | probabilities |
//! |---|---|---|
//! | standard, with temperature | [`forward`], [`backward`] | `softmax(z / T)` |
//! | grid, groups | the same, rows from [`Shape::grid`] and [`Shape::groups`] | each row of the grid by itself |
//! | masked | [`masked`] | over the allowed set, exactly 0 elsewhere |
//! | Gumbel | [`gumbel`] | `softmax((z + G) / T)`, soft or one-hot |
//! | sparsemax, entmax | [`entmax`] | projections with exact zeros |
//! | hierarchical tree | [`tree`] | products along the path to a leaf |
//! | adaptive | [`adaptive`] | a head, and tails entered through it |
//! | mixture | [`mixture`] | a weighted sum of softmaxes |
//!
//! ```
//! use selvedge_kernels::softmax::{self, Logits, Shape};
//! let logits = Logits::new(&[0.0f32, 0.0, 1e9, 0.0], 0);
//! let (mut p, mut scratch) = ([0.0; 4], [0.0; 2]);
//! softmax::forward(Shape { rows: 2, classes: 2 }, logits, &mut p, &mut scratch)?;
//! assert_eq!(p, [0.5, 0.5, 1.0, 0.0]);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! # Numbers
//! **Integers**: logits are cut to 15 bits (`shift_rne(q, M - 15)` for the wider types), numerators
//! `2^x` come from a table, probabilities are Q15, stored as `sat(shift_rne(p, 15 - M), M)` at the
//! exponent `-M`. So a probability `p` of `N` is within `(2 + N·p) · 2^-15` in the wider types and 8-bit
//! types saturate at 127/128. **Floats**: in the accumulator's type, with the largest logit subtracted (which cancels in
//! the quotient and keeps `exp` in range).
//!
//! A backward pass computes the probabilities again from the logits, so nothing but the logits is kept
//! and a gradient loses nothing to their rounding. With `p` the row and `g` its error, all variants
//! come down to `s ⊙ (g - mean of g under s) / T`, with `s = p` (entmax: `p^(2 - alpha)`). Integers:
//! the accumulator is `s · (g' - mean) · m`, `s` in Q15, `g'` the error cut or widened to 15 bits, the
//! mean rounded to an integer, `m · 2^-shift` being `1 / T`; its exponent is [`gradient_exponent`].
//!
//! **NaN** in a row makes the row NaN, and so do `+∞` and a row of `-∞` alone; a single `-∞` has the
//! probability 0. (Masked logits take no part, whatever they are.)
//!
//! Source: Martins & Astudillo 2016 (sparsemax), Peters et al. 2019 (entmax), Jang et al. 2017
//! (Gumbel), Grave et al. 2017 (adaptive), Yang et al. 2018 (mixture); the integers: `docs/numerics.md` §18.

pub mod adaptive;
pub mod entmax;
mod float;
pub mod gumbel;
mod integer;
pub mod masked;
pub mod mixture;
mod number;
mod rows;
mod temperature;
pub mod tree;

pub use number::Number;
pub(crate) use temperature::decode;
pub use temperature::{Alpha, Ratio, Temperature};

use crate::element::{Element, Output};
use crate::error::{Arg, Error, Result};
use crate::fixed::{Accumulator, Magnitude, shift_rne_i64};
use crate::requantize::Store;
use rows::{Backward, Forward, Plain};

/// The extents of a call: rows that are normalised each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of rows, `R`.
    pub rows: usize,
    /// Logits of a row, `N`; of integers at most 32,767, so that sums of numerators fit 32 bits.
    pub classes: usize,
}

impl Shape {
    /// Most classes of a row of integers.
    pub const MOST_CLASSES: usize = 32_767;

    /// Refuses more classes than a row of `T` may have.
    pub(crate) fn limit<T: Element>(classes: usize) -> Result<()> {
        let most = if T::DTYPE.is_integer() {
            Self::MOST_CLASSES
        } else {
            usize::MAX
        };
        crate::dense::limit(classes, most)
    }

    /// A batch of grids, each row of a grid normalised by itself.
    ///
    /// # Errors
    /// [`Error::Zero`], [`Error::Overflow`].
    pub fn grid(batch: usize, rows: usize, columns: usize) -> Result<Self> {
        Arg::Shape.product(&[batch, rows, columns])?;
        Ok(Self {
            rows: batch * rows,
            classes: columns,
        })
    }

    /// A batch of vectors of `n_1 · n_2 · .. · n_L` logits, normalised in groups of the last level: a
    /// vector then sums to the product of the others. For one that sums to 1, see [`tree`].
    ///
    /// # Errors
    /// [`Error::Zero`] also for no levels, [`Error::Overflow`].
    pub fn groups(batch: usize, levels: &[usize]) -> Result<Self> {
        let Some((&classes, above)) = levels.split_last() else {
            return Err(Error::Zero { arg: Arg::Shape });
        };
        let groups = Arg::Shape.product(above)?;
        Self::grid(batch, groups, classes)
    }

    fn check(self) -> Result<usize> {
        Arg::Shape.product(&[self.rows, self.classes])
    }
}

/// Logits with what they are scaled by.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a, T> {
    /// The elements, row-major.
    pub x: &'a [T],
    /// Their exponent; floats have none.
    pub exponent: i32,
    /// What they are divided by.
    pub temperature: Temperature,
}

impl<'a, T> Logits<'a, T> {
    /// Logits at temperature 1.
    #[must_use]
    pub const fn new(x: &'a [T], exponent: i32) -> Self {
        Self {
            x,
            exponent,
            temperature: Temperature::ONE,
        }
    }

    /// The same at another temperature.
    #[must_use]
    pub const fn at(self, temperature: Temperature) -> Self {
        Self {
            temperature,
            ..self
        }
    }
}

/// The error that arrives, and how the one that is passed down is stored.
#[derive(Clone, Copy, Debug)]
pub struct Errors<'a, T> {
    /// Gradient of the loss with respect to the probabilities.
    pub dy: &'a [T],
    /// What becomes of the gradient with respect to the logits.
    pub store: Store,
}

/// The exponent of the accumulators of a backward pass whose errors have the exponent `dy`.
///
/// Integers: `dy + M - 30 - shift`, with the shift of `1 / T`. Floats have no exponent: `dy`.
///
/// # Example
/// ```
/// use selvedge_kernels::softmax::{Temperature, gradient_exponent};
/// assert_eq!(gradient_exponent::<i8>(-9, Temperature::ONE), -9 + 7 - 30 - 14);
/// ```
#[must_use]
pub fn gradient_exponent<T: Element>(dy: i32, temperature: Temperature) -> i32 {
    if T::DTYPE.is_integer() {
        dy + T::MAGNITUDE_BITS as i32 - 30 - i32::from(temperature.inverse().shift)
    } else {
        dy
    }
}

/// Elements of scratch for [`forward`] and [`backward`], and their namesakes in [`masked`],
/// [`gumbel`] and [`entmax`]: a row.
///
/// # Errors
/// [`Error::Zero`], [`Error::Overflow`].
pub fn scratch_len(shape: Shape) -> Result<usize> {
    shape.check()?;
    Ok(shape.classes)
}

/// Softmax, forward: `out[r, i] = exp(z_i / T) / Σ_j exp(z_j / T)`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits.x` | `[R, N]` | |
/// | `out` | `[R, N]` | overwritten; integers at the exponent `-M` |
/// | `scratch` | [`scratch_len`] | |
///
/// Integers: within `(2 + N·p) · 2^-15` and half a unit of the output; a temperature's ratio adds about
/// `2^-14 · p · |z - Σ p z| / T`. At `T = 1` the probabilities of
/// [`loss::cross_entropy`](crate::loss::cross_entropy) to the byte. Floats: a handful of ULP. NaN: the
/// module's words.
///
/// # Errors
/// [`Error::Length`] if a slice does not fit `shape`, [`Error::Zero`] for an empty axis,
/// [`Error::Overflow`], [`Error::Accumulator`] for more than 32,767 classes; `out` is then untouched.
///
/// Source: the definition; integers: `docs/numerics.md` §6 and §18.
pub fn forward<T: Element>(
    shape: Shape,
    logits: Logits<'_, T>,
    out: &mut [T],
    scratch: &mut [T::Number],
) -> Result<()> {
    T::softmax_plain_forward(Forward::new(shape, logits, Plain, out, scratch)?);
    Ok(())
}

/// Softmax, backward: `dx_i = p_i (g_i - Σ_j p_j g_j) / T`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `logits.x` | `[R, N]` | as in the forward pass |
/// | `errors.dy` | `[R, N]` | `g` |
/// | `dx` | `[R, N]` | overwritten, or untouched by [`Store::Measure`] |
/// | `scratch` | [`scratch_len`] | |
///
/// Returns the bit length of the largest accumulator, 0 for floats; the accumulators have the exponent
/// [`gradient_exponent`].
///
/// # Errors
/// As [`forward`]; `dx` is then untouched.
///
/// # Example
/// ```
/// use selvedge_kernels::{requantize::Store, softmax::{self, Errors, Logits, Shape, Temperature}};
/// let logits = Logits::new(&[0.0f64, 0.0], 0).at(Temperature::new(0.5)?);
/// let errors = Errors { dy: &[1.0, 0.0], store: Store::EXACT };
/// let (mut dx, mut scratch) = ([0.0; 2], [0.0; 2]);
/// softmax::backward(Shape { rows: 1, classes: 2 }, logits, errors, &mut dx, &mut scratch)?;
/// assert_eq!(dx, [0.5, -0.5]); // ½ · ½ / T
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn backward<T: Element>(
    shape: Shape,
    logits: Logits<'_, T>,
    errors: Errors<'_, T>,
    dx: &mut [T],
    scratch: &mut [T::Number],
) -> Result<u32> {
    Ok(T::softmax_plain_backward(Backward::new(
        shape, logits, Plain, errors, dx, scratch,
    )?))
}

/// The place of gradients: how they are stored, and the range seen so far.
pub struct Sink {
    store: Store,
    range: u64,
}

impl Sink {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, range: 0 }
    }

    pub(crate) fn bits(&self) -> u32 {
        self.range.bits()
    }
}

/// The kernels of this family for one element type, compiled here with this crate's profile.
pub trait Kernels: Sized {
    /// What a row is computed in, and what scratch is made of: `i32` for integers, the accumulator
    /// for floats.
    type Number: Number;
    /// What the gradient of a loss is scaled by: [`Element::LOSS_EXPONENT`] of floats.
    #[doc(hidden)]
    const LOSS_WEIGHT: Self::Number;
    #[doc(hidden)]
    fn softmax_number(self) -> Self::Number;
    /// A weight, `drop` places shorter.
    #[doc(hidden)]
    fn softmax_weight(self, drop: u32) -> Self::Number;
    #[doc(hidden)]
    fn softmax_error(self) -> Self::Number;
    #[doc(hidden)]
    fn softmax_probability(p: Self::Number) -> Self;
    #[doc(hidden)]
    fn softmax_gradient(
        product: <Self::Number as Number>::Product,
        sink: &mut Sink,
        element: u32,
        dx: &mut Self,
    );
    #[doc(hidden)]
    fn softmax_sum(product: <Self::Number as Number>::Product) -> Self::Acc
    where
        Self: Element;
    #[doc(hidden)]
    fn softmax_plain_forward(call: Forward<'_, Self, Plain>);
    #[doc(hidden)]
    fn softmax_plain_backward(call: Backward<'_, Self, Plain>) -> u32;
    #[doc(hidden)]
    fn softmax_masked_forward(call: Forward<'_, Self, masked::Mask<'_>>);
    #[doc(hidden)]
    fn softmax_masked_backward(call: Backward<'_, Self, masked::Mask<'_>>) -> u32;
    #[doc(hidden)]
    fn softmax_noisy_forward(call: Forward<'_, Self, gumbel::Noise>);
    #[doc(hidden)]
    fn softmax_noisy_backward(call: Backward<'_, Self, gumbel::Noise>) -> u32;
    #[doc(hidden)]
    fn softmax_entmax_forward(call: Forward<'_, Self, Alpha>);
    #[doc(hidden)]
    fn softmax_entmax_backward(call: Backward<'_, Self, Alpha>) -> u32;
    #[doc(hidden)]
    fn softmax_tree_forward(call: tree::Forward<'_, Self>);
    #[doc(hidden)]
    fn softmax_tree_backward(call: tree::Backward<'_, Self>) -> u32;
    #[doc(hidden)]
    fn softmax_adaptive_forward(call: adaptive::Forward<'_, Self>);
    #[doc(hidden)]
    fn softmax_adaptive_backward(call: adaptive::Backward<'_, Self>) -> u32;
    #[doc(hidden)]
    fn softmax_adaptive_log_prob(call: adaptive::LogProb<'_, Self>);
    #[doc(hidden)]
    fn softmax_adaptive_cross_entropy(
        call: adaptive::CrossEntropy<'_, Self>,
    ) -> crate::loss::Outcome<<Self::Number as Number>::Sum>;
    #[doc(hidden)]
    fn softmax_adaptive_cross_entropy_of_head(
        call: adaptive::CrossEntropy<'_, Self, Self::Head>,
    ) -> crate::loss::Outcome<<Self::Number as Number>::Sum>
    where
        Self: Element;
    #[doc(hidden)]
    fn softmax_mixture_forward(call: mixture::Forward<'_, Self>);
    #[doc(hidden)]
    fn softmax_mixture_backward(call: mixture::Backward<'_, Self>) -> u32;
}

/// The checked entry points: the same generic bodies for each type, so that they are compiled here.
macro_rules! entry_points {
    () => {
        #[inline(never)]
        fn softmax_plain_forward(call: Forward<'_, Self, Plain>) {
            call.run();
        }

        #[inline(never)]
        fn softmax_plain_backward(call: Backward<'_, Self, Plain>) -> u32 {
            call.run()
        }

        #[inline(never)]
        fn softmax_masked_forward(call: Forward<'_, Self, masked::Mask<'_>>) {
            call.run();
        }

        #[inline(never)]
        fn softmax_masked_backward(call: Backward<'_, Self, masked::Mask<'_>>) -> u32 {
            call.run()
        }

        #[inline(never)]
        fn softmax_noisy_forward(call: Forward<'_, Self, gumbel::Noise>) {
            call.run();
        }

        #[inline(never)]
        fn softmax_noisy_backward(call: Backward<'_, Self, gumbel::Noise>) -> u32 {
            call.run()
        }

        #[inline(never)]
        fn softmax_entmax_forward(call: Forward<'_, Self, Alpha>) {
            call.run();
        }

        #[inline(never)]
        fn softmax_entmax_backward(call: Backward<'_, Self, Alpha>) -> u32 {
            call.run()
        }

        #[inline(never)]
        fn softmax_tree_forward(call: tree::Forward<'_, Self>) {
            call.run();
        }

        #[inline(never)]
        fn softmax_tree_backward(call: tree::Backward<'_, Self>) -> u32 {
            call.run()
        }

        #[inline(never)]
        fn softmax_adaptive_forward(call: adaptive::Forward<'_, Self>) {
            call.run();
        }

        #[inline(never)]
        fn softmax_adaptive_backward(call: adaptive::Backward<'_, Self>) -> u32 {
            call.run()
        }

        #[inline(never)]
        fn softmax_adaptive_log_prob(call: adaptive::LogProb<'_, Self>) {
            call.run();
        }

        #[inline(never)]
        fn softmax_adaptive_cross_entropy(
            call: adaptive::CrossEntropy<'_, Self>,
        ) -> crate::loss::Outcome<<Self::Number as Number>::Sum> {
            call.run()
        }

        #[inline(never)]
        fn softmax_adaptive_cross_entropy_of_head(
            call: adaptive::CrossEntropy<'_, Self, <Self as Element>::Head>,
        ) -> crate::loss::Outcome<<Self::Number as Number>::Sum> {
            call.run()
        }

        #[inline(never)]
        fn softmax_mixture_forward(call: mixture::Forward<'_, Self>) {
            call.run();
        }

        #[inline(never)]
        fn softmax_mixture_backward(call: mixture::Backward<'_, Self>) -> u32 {
            call.run()
        }
    };
}

macro_rules! impl_integer {
    ($($t:ident: acc $acc:ident;)*) => {$(
        impl Kernels for $t {
            type Number = i32;
            const LOSS_WEIGHT: i32 = i32::ONE;

            #[inline(always)]
            fn softmax_number(self) -> i32 {
                self.logit().0
            }

            fn softmax_weight(self, drop: u32) -> i32 {
                shift_rne_i64(i64::from(self.widen()), drop as i32) as i32 // 15 bits and a carry
            }

            #[inline(always)]
            fn softmax_error(self) -> i32 {
                shift_rne_i64(i64::from(self.widen()), Self::MAGNITUDE_BITS as i32 - 15) as i32
            }

            #[inline(always)]
            fn softmax_probability(p: i32) -> Self {
                let p = shift_rne_i64(i64::from(p), 15 - Self::MAGNITUDE_BITS as i32);
                <Self as Output<Self>>::store(p as $acc)
            }

            #[inline(always)]
            fn softmax_gradient(product: i64, sink: &mut Sink, element: u32, dx: &mut Self) {
                sink.range = sink.range.or(product.magnitude());
                if let Store::Shift { shift, rounding } = sink.store {
                    let stored = product.shift(shift, rounding, element);
                    *dx = <Self as Output<Self>>::store(stored.saturate(Self::MAGNITUDE_BITS) as $acc);
                }
            }

            #[inline(always)]
            fn softmax_sum(product: i64) -> $acc {
                (shift_rne_i64(product, 30) as $acc) << mixture::places::<Self>() // 16 bits
            }

            entry_points!();
        }
    )*};
}

macro_rules! impl_float {
    ($($t:ty: $acc:ident;)*) => {$(
        impl Kernels for $t {
            type Number = $acc;
            const LOSS_WEIGHT: $acc = crate::fixed::pow2(-<$t as Element>::LOSS_EXPONENT) as $acc;

            #[inline(always)]
            fn softmax_number(self) -> $acc {
                self.widen()
            }

            fn softmax_weight(self, _: u32) -> $acc {
                self.widen()
            }

            #[inline(always)]
            fn softmax_error(self) -> $acc {
                self.widen()
            }

            #[inline(always)]
            fn softmax_probability(p: $acc) -> Self {
                <Self as Output<Self>>::store(p)
            }

            #[inline(always)]
            fn softmax_gradient(product: $acc, sink: &mut Sink, element: u32, dx: &mut Self) {
                if let Store::Shift { shift, rounding } = sink.store {
                    *dx = <Self as Output<Self>>::store(product.shift(shift, rounding, element));
                }
            }

            #[inline(always)]
            fn softmax_sum(product: $acc) -> $acc {
                product
            }

            entry_points!();
        }
    )*};
}

impl_integer! {
    i8: acc i32; u8: acc i32; i16: acc i64; u16: acc i64;
    i32: acc i64; u32: acc i64; i64: acc i128; u64: acc i128;
}

impl_float! {
    half::f16: f32; half::bf16: f32; f32: f32; f64: f64;
}
