//! Activations: what layers apply to their accumulators, the same as layers of their own, and their
//! gradients.
//!
//! A layer applies its activation before anything is rounded, so an activation reads an
//! accumulator and its exponent. [`Activation::Identity`] and [`Activation::Relu`] are part of every
//! epilogue; the others are [`Function`]s, of which the linker keeps those that a program names.
//!
//! Integers read the smooth ones from tables, at `z = sat(round(acc), 15)` in Q11: steps of 2^-11
//! within ±16, and what lies beyond is read as ±16, also by those that grow without bound. The error
//! bounds below are those at `z`, before the result is stored; rounding to `z` moves the argument by up
//! to 2^-12. Floats compute in the accumulator's type; results within ±20 are within 3 units in the
//! last place, but for GELU's left tail.
//!
//! What a backward pass needs beside the output is kept as a *slope* of the layer's own type.
//! Source: `docs/numerics.md` §5 and §7.

mod float;
mod integer;

use crate::arch::{self, Isa, Kernel};
use crate::element::{Element, Output};
use crate::error::{Arg, Error, Result};
use crate::fixed::{Accumulator, Magnitude};
use crate::requantize::{BLOCK, Epilogue, Lines, Store};
use crate::split::{blocks_of, blocks_of_mut};

/// What a layer applies to its accumulators.
#[derive(Clone, Copy, Debug, Default)]
pub enum Activation<T: Element> {
    /// Nothing.
    #[default]
    Identity,
    /// `max(x, 0)`; negative values then do not widen the range. Its derivative at 0 is 0.
    Relu,
    /// One of the functions below.
    Function(Function<T>),
}

/// An activation with its gradient, as pointers to code.
#[derive(Clone, Copy, Debug)]
pub struct Function<T: Element> {
    forward: fn(i32, i32, &mut [T::Acc], &mut [T]),
    backward: fn(i32, &[T], &[T], &mut [T]),
    /// A factor: in 1/256 for integers, in thousandths for floats.
    factor: i32,
    /// Exponent of what integer accumulators become; their own where there is none.
    exponent: Option<i32>,
    is_bounded: bool,
    keeps_slope: bool,
    /// Rounds accumulators where a [`Store`] alone does not say how.
    pub(crate) round: Option<Round<T>>,
}

/// Takes accumulators, of which the first has the row-major index given, to the exponent of the output.
/// Returns what is left to do, and the largest accumulator there was; 0 if it did nothing.
type Round<T> = fn(Store, &mut [<T as Element>::Acc], u32) -> (Store, <T as Element>::Acc);

impl<T: Element> Function<T> {
    /// Applies it to accumulators of exponent `exponent`; `slope` is empty or as long.
    #[inline(always)]
    pub(crate) fn forward(&self, exponent: i32, acc: &mut [T::Acc], slope: &mut [T]) {
        (self.forward)(self.factor, exponent, acc, slope);
    }
}

impl<T: Element> Activation<T> {
    /// `1 / (1 + exp(-x))`. Integers: within 2.2 · 2^-15, stored at exponent -M.
    pub const SIGMOID: Self = Self::Function(Function {
        backward: T::sigmoid_backward,
        ..Self::smooth(T::sigmoid, -15, true)
    });

    /// The hyperbolic tangent. Integers: within 4.4 · 2^-15, stored at exponent -M.
    pub const TANH: Self = Self::Function(Function {
        backward: T::tanh_backward,
        ..Self::smooth(T::tanh, -15, true)
    });

    /// `ln(1 + exp(x))`. Integers: within 4.6 · 2^-15, its slope within 2.2.
    pub const SOFTPLUS: Self = Self::Function(Self::smooth(T::softplus, -15, false));

    /// `x · Φ(x)` with the standard normal distribution `Φ`: the exact form, by the error function.
    /// Integers: within 3.2 · 2^-15, its slope within 3.9. Floats: within `3 + 1.5 x²` units in the last
    /// place left of 0. Source: Hendrycks & Gimpel 2016.
    pub const GELU: Self = Self::Function(Self::smooth(T::gelu, -26, false));

    /// `x / (1 + exp(-x))`, also called swish. Integers: within 6.7 · 2^-15, its slope within 6.4.
    pub const SILU: Self = Self::Function(Self::smooth(T::silu, -26, false));

    /// `x · min(max(x + 3, 0), 6) / 6`. Integers: a sixth is 43,691 · 2^-18; within 2 · 2^-15, exact from
    /// 3 on, its slope within 0.7. The derivative at -3 and 3 is that of the outer side.
    /// Source: Howard et al. 2019.
    pub const HARD_SWISH: Self = Self::Function(Self::smooth(T::hard_swish, -26, false));

    /// The values of [`Activation::Relu`], but the backward pass asks whether the accumulator was
    /// positive, not the stored output: small values that are rounded to 0 then pass their error on.
    pub const MASKED_RELU: Self = Self::Function(Self::masked(T::masked_relu));

    /// [`Activation::Relu`], but what is positive stays positive when it is stored: integers that would
    /// be rounded to 0 become 1. The stored output then tells the backward pass what a mask
    /// would, and nothing is kept. Such a value is wrong by less than a step, instead of by half a
    /// step at most; the range is that of the accumulators. Floats: as ReLU.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::{activation::{self, Activation}, fixed::Rounding, requantize::Store};
    /// let store = Store::Shift { shift: 4, rounding: Rounding::NearestEven };
    /// let mut y = [0i8; 4];
    /// activation::forward(Activation::LIFTED_RELU, 0, &[-9, 0, 3, 33], store, &mut y, &mut [])?;
    /// assert_eq!(y, [0, 0, 1, 2]);
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    pub const LIFTED_RELU: Self = Self::Function(Function {
        forward: T::lifted_relu,
        backward: T::lifted_relu_backward,
        factor: 0,
        exponent: None,
        is_bounded: false,
        keeps_slope: false,
        round: Some(T::round_lifted),
    });

    /// `min(max(x, 0), 6)`. Its derivative at 0 and 6 is 0.
    pub const RELU6: Self = Self::Function(Self::masked(T::relu6));

    /// `1.1 · max(x, 0)`. Integers: 282/256; errors above 10/11 of the range saturate on the way back. Its
    /// derivative at 0 is 0.
    pub const SCALED_RELU: Self = Self::Function(Function {
        forward: T::scaled_relu,
        backward: T::scaled_relu_backward,
        factor: Self::factor(1100),
        exponent: None,
        is_bounded: false,
        keeps_slope: false,
        round: None,
    });

    /// `x` where it is not negative, else `x · thousandths / 1000`; more than 1000 count as 1000.
    /// Integers: the factor is rounded to 1/256 (100 gives 26/256). Its derivative at 0 is 1.
    ///
    /// # Example
    /// ```
    /// use selvedge_kernels::{activation::{self, Activation}, requantize::Store};
    /// let mut y = [0.0f32; 3];
    /// activation::forward(Activation::leaky_relu(100), 0, &[-1.0, 0.0, 2.0], Store::EXACT, &mut y, &mut [])?;
    /// assert_eq!(y, [-0.1, 0.0, 2.0]);
    /// # Ok::<(), selvedge_kernels::Error>(())
    /// ```
    #[must_use]
    pub const fn leaky_relu(thousandths: u16) -> Self {
        Self::Function(Function {
            forward: T::leaky_relu,
            backward: T::leaky_relu_backward,
            factor: Self::factor(if thousandths < 1000 {
                thousandths
            } else {
                1000
            }),
            exponent: None,
            is_bounded: false,
            keeps_slope: true,
            round: None,
        })
    }

    const fn smooth(
        forward: fn(i32, i32, &mut [T::Acc], &mut [T]),
        exponent: i32,
        is_bounded: bool,
    ) -> Function<T> {
        Function {
            forward,
            backward: T::slope_backward,
            factor: 0,
            exponent: Some(exponent),
            is_bounded,
            keeps_slope: !is_bounded,
            round: None,
        }
    }

    /// A factor as kernels want it; here, so that no device divides.
    const fn factor(thousandths: u16) -> i32 {
        let thousandths = thousandths as i32;
        if T::DTYPE.is_integer() {
            (thousandths * 256 + 500) / 1000
        } else {
            thousandths
        }
    }

    const fn masked(forward: fn(i32, i32, &mut [T::Acc], &mut [T])) -> Function<T> {
        Function {
            forward,
            backward: T::mask_backward,
            factor: 0,
            exponent: None,
            is_bounded: false,
            keeps_slope: true,
            round: None,
        }
    }

    /// The exponent of activated accumulators, given theirs.
    #[must_use]
    pub const fn exponent(&self, accumulator: i32) -> i32 {
        match self {
            Self::Function(function) if T::DTYPE.is_integer() => match function.exponent {
                Some(exponent) => exponent,
                None => accumulator,
            },
            _ => accumulator,
        }
    }

    /// Whether results lie within -1 and 1, so that an integer output has the fixed exponent `-M`
    /// and no state.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        matches!(self, Self::Function(function) if function.is_bounded)
    }

    /// Whether it is [`Activation::Relu`].
    #[inline(always)]
    pub(crate) const fn is_relu(&self) -> bool {
        matches!(self, Self::Relu)
    }

    /// Whether the backward pass wants the slopes that the forward pass can write.
    #[must_use]
    pub const fn keeps_slope(&self) -> bool {
        matches!(self, Self::Function(function) if function.keeps_slope)
    }
}

/// The activation as a layer of its own: `out = activation(x)`, element by element.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | any | at `exponent` (0 for floats) |
/// | `out` | the same | overwritten, or untouched by [`Store::Measure`] |
/// | `slope` | the same, or empty | what the backward pass needs, where [`Activation::keeps_slope`]; else untouched |
///
/// Returns the bit length of the largest result (0 for floats), which has the exponent
/// [`Activation::exponent`] before `store` is applied. NaN stays NaN.
///
/// # Errors
/// [`Error::Length`] if the lengths differ; nothing is written then.
///
/// # Example
/// ```
/// use selvedge_kernels::{activation::{self, Activation}, fixed::Rounding, requantize::Store};
/// // 2 in i8 at exponent -4, and its hyperbolic tangent 0.964 at exponent -7.
/// let store = Store::Shift { shift: -7 + 15, rounding: Rounding::NearestEven };
/// let mut y = [0i8];
/// activation::forward(Activation::TANH, -4, &[32], store, &mut y, &mut [])?;
/// assert_eq!(y, [123]);
/// # Ok::<(), selvedge_kernels::Error>(())
/// ```
pub fn forward<T: Element, O: Output<T>>(
    activation: Activation<T>,
    exponent: i32,
    x: &[T],
    store: Store,
    out: &mut [O],
    slope: &mut [T],
) -> Result<u32> {
    same(Arg::Out, x.len(), out.len())?;
    check_slope(slope.len(), x.len())?;
    Ok(O::activation_forward(Forward {
        epilogue: Epilogue {
            activation,
            exponent,
            store,
        },
        x,
        out,
        slope,
    }))
}

/// A checked call of [`forward`].
pub struct Forward<'a, T: Element, O> {
    epilogue: Epilogue<T>,
    x: &'a [T],
    out: &'a mut [O],
    slope: &'a mut [T],
}

impl<T: Element, O: Output<T>> Kernel for Forward<'_, T, O> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = u32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> u32 {
        let Self {
            epilogue, x, out, ..
        } = self;
        let mut range = <T::Acc as Accumulator>::Magnitude::default();
        let mut element = 0u32;
        let mut slopes = self.slope.chunks_mut(BLOCK);
        for (x, out) in blocks_of(x, BLOCK).zip(blocks_of_mut(out, BLOCK)) {
            let mut acc = Lines([[T::Acc::default(); BLOCK]]);
            for (acc, &x) in acc.as_flattened_mut().iter_mut().zip(x) {
                *acc = x.to_acc();
            }
            let slope = slopes.next().unwrap_or_default();
            if cfg!(target_os = "none") {
                let acc = acc.as_flattened_mut().get_mut(..x.len());
                let acc = acc.unwrap_or_default();
                epilogue.block(acc, element, &mut range, out, slope);
            } else {
                let place = [1, x.len(), BLOCK];
                epilogue.tile_by(isa, &mut acc, place, element, &mut range, out, slope);
            }
            element = element.wrapping_add(x.len() as u32);
        }
        range.bits()
    }
}

/// The forward kernel from elements `T` to `Self`.
pub trait Stored<T: Element>: Sized {
    #[doc(hidden)]
    fn activation_forward(call: Forward<'_, T, Self>) -> u32;
}

macro_rules! impl_stored {
    ($($t:ty => $($out:ty),+;)*) => {$($(
        impl Stored<$t> for $out {
            #[inline(never)]
            fn activation_forward(call: Forward<'_, $t, Self>) -> u32 {
                arch::dispatch(call)
            }
        }
    )+)*};
}

impl_stored! {
    i8 => i8, i16; u8 => u8, u16; i16 => i16; u16 => u16; i32 => i32; u32 => u32; i64 => i64; u64 => u64;
    half::f16 => half::f16; half::bf16 => half::bf16; f32 => f32; f64 => f64;
}

/// The gradient of an activation, in place: `dy` becomes the gradient with respect to its input.
/// The exponent stays.
///
/// | argument | shape | |
/// |---|---|---|
/// | `y` | any | output of the forward pass, of `T` |
/// | `slope` | the same, or empty | what the forward pass kept |
/// | `dy` | the same | overwritten |
///
/// Integers: rounded to nearest even, saturated to the magnitude bits. Where the input was NaN, no error
/// passes through ReLU, masked, lifted, scaled and ReLU6, all of it through leaky ReLU, and NaN through the smooth
/// ones.
///
/// # Errors
/// [`Error::Length`] if the lengths differ, or if the activation keeps slopes and there are none;
/// `dy` is then untouched.
///
/// Source: `docs/numerics.md` §7.
pub fn backward<T: Element>(
    activation: Activation<T>,
    y: &[T],
    slope: &[T],
    dy: &mut [T],
) -> Result<()> {
    match activation {
        Activation::Identity => same(Arg::Dy, y.len(), dy.len()),
        Activation::Relu => relu_backward(y, dy),
        Activation::Function(function) => {
            same(Arg::Dy, y.len(), dy.len())?;
            if function.keeps_slope {
                same(Arg::Slope, y.len(), slope.len())?;
            }
            (function.backward)(function.factor, y, slope, dy);
            Ok(())
        }
    }
}

/// ReLU in place: `x = max(x, 0)`. The exponent stays. NaN stays.
///
/// # Example
/// ```
/// let mut x = [127u8, 128, 129]; // offset binary: -1, 0, 1
/// selvedge_kernels::activation::relu(&mut x);
/// assert_eq!(x, [128, 128, 129]);
/// ```
pub fn relu<T: Element>(x: &mut [T]) {
    let zero = T::ZERO.widen();
    for x in x {
        *x = if x.widen() < zero { T::ZERO } else { *x };
    }
}

/// Gradient of ReLU in place: `dy` stays where the output `y` is positive, and is zero elsewhere
/// (the derivative at 0 is taken as 0).
///
/// | argument | shape |
/// |---|---|
/// | `y` | any; the output of the forward pass |
/// | `dy` | the same, overwritten |
///
/// # Errors
/// [`Error::Length`] if the lengths differ; `dy` is then untouched.
pub fn relu_backward<Y: Element, T: Element>(y: &[Y], dy: &mut [T]) -> Result<()> {
    same(Arg::Dy, y.len(), dy.len())?;
    let zero = Y::ZERO.widen();
    for (d, &y) in dy.iter_mut().zip(y) {
        *d = if y.widen() > zero { *d } else { T::ZERO };
    }
    Ok(())
}

fn same(arg: Arg, expected: usize, got: usize) -> Result<()> {
    if got == expected {
        Ok(())
    } else {
        Err(Error::Length { arg, expected, got })
    }
}

/// Refuses a place for slopes that is neither empty nor as long as the output.
pub(crate) fn check_slope(got: usize, expected: usize) -> Result<()> {
    if got == 0 {
        Ok(())
    } else {
        same(Arg::Slope, expected, got)
    }
}

/// The functions for one element type: `forward(factor, exponent, acc, slope)` in place, and
/// `backward(factor, y, slope, dy)` in place.
#[doc(hidden)]
#[allow(missing_docs)]
pub trait Kernels: Sized {
    fn sigmoid(_: i32, exponent: i32, acc: &mut [Self::Acc], slope: &mut [Self])
    where
        Self: Element;
    fn tanh(_: i32, exponent: i32, acc: &mut [Self::Acc], slope: &mut [Self])
    where
        Self: Element;
    fn softplus(_: i32, exponent: i32, acc: &mut [Self::Acc], slope: &mut [Self])
    where
        Self: Element;
    fn gelu(_: i32, exponent: i32, acc: &mut [Self::Acc], slope: &mut [Self])
    where
        Self: Element;
    fn silu(_: i32, exponent: i32, acc: &mut [Self::Acc], slope: &mut [Self])
    where
        Self: Element;
    fn hard_swish(_: i32, exponent: i32, acc: &mut [Self::Acc], slope: &mut [Self])
    where
        Self: Element;
    fn masked_relu(_: i32, _: i32, acc: &mut [Self::Acc], slope: &mut [Self])
    where
        Self: Element;
    fn lifted_relu(_: i32, _: i32, acc: &mut [Self::Acc], slope: &mut [Self])
    where
        Self: Element;
    fn relu6(_: i32, exponent: i32, acc: &mut [Self::Acc], slope: &mut [Self])
    where
        Self: Element;
    fn scaled_relu(factor: i32, _: i32, acc: &mut [Self::Acc], slope: &mut [Self])
    where
        Self: Element;
    fn leaky_relu(factor: i32, _: i32, acc: &mut [Self::Acc], slope: &mut [Self])
    where
        Self: Element;
    fn sigmoid_backward(_: i32, y: &[Self], slope: &[Self], dy: &mut [Self])
    where
        Self: Element;
    fn tanh_backward(_: i32, y: &[Self], slope: &[Self], dy: &mut [Self])
    where
        Self: Element;
    fn slope_backward(_: i32, y: &[Self], slope: &[Self], dy: &mut [Self])
    where
        Self: Element;
    fn mask_backward(_: i32, y: &[Self], slope: &[Self], dy: &mut [Self])
    where
        Self: Element;
    fn round_lifted(store: Store, acc: &mut [Self::Acc], element: u32) -> (Store, Self::Acc)
    where
        Self: Element;
    fn lifted_relu_backward(_: i32, y: &[Self], slope: &[Self], dy: &mut [Self])
    where
        Self: Element;
    fn scaled_relu_backward(factor: i32, y: &[Self], slope: &[Self], dy: &mut [Self])
    where
        Self: Element;
    fn leaky_relu_backward(factor: i32, y: &[Self], slope: &[Self], dy: &mut [Self])
    where
        Self: Element;
}

/// Applies a function to accumulators.
#[inline(always)]
fn map<A: Copy>(acc: &mut [A], function: impl Fn(A) -> A) {
    for acc in acc {
        *acc = function(*acc);
    }
}

/// The same, with what is kept of each.
#[inline(always)]
fn apply<T: Element>(
    acc: &mut [T::Acc],
    slope: &mut [T],
    function: impl Fn(T::Acc) -> (T::Acc, T),
) {
    if slope.is_empty() {
        return map(acc, |acc| function(acc).0);
    }
    for (acc, slope) in acc.iter_mut().zip(slope) {
        (*acc, *slope) = function(*acc);
    }
}

/// `dy = gradient(dy, y)`.
#[inline(always)]
fn through<T: Element>(y: &[T], dy: &mut [T], gradient: impl Fn(T, T) -> T) {
    arch::dispatch(Through(y, dy, gradient));
}

/// A call of [`through`].
struct Through<'a, T, F>(&'a [T], &'a mut [T], F);

impl<T: Element, F: Fn(T, T) -> T> Kernel for Through<'_, T, F> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Self(y, dy, gradient) = self;
        for (d, &y) in dy.iter_mut().zip(y) {
            *d = gradient(*d, y);
        }
    }
}
