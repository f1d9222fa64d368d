//! What `f32` and `f64` have in common: float kernels are written once, in the accumulator's type.

use crate::arch::Isa;
use crate::element::Element;
use crate::elementary;
use crate::fixed::Accumulator;
use core::ops::{Div, Mul, Neg, Sub, SubAssign};

/// `f32` or `f64`.
pub(crate) trait Real:
    Accumulator<Magnitude = ()>
    + PartialOrd
    + Sub<Output = Self>
    + SubAssign
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    const ONE: Self;

    fn from_count(n: usize) -> Self;
    /// The nearest number.
    fn from_f64(x: f64) -> Self;
    fn sqrt(self) -> Self;
    fn exp(self) -> Self;
    /// `1 / (1 + exp(-x))`.
    fn sigmoid(self) -> Self;
    fn tanh(self) -> Self;
    fn abs(self) -> Self;
    fn is_nan(self) -> bool;
    /// The largest whole number that is not above; saturated, and 0 for NaN.
    fn floor_index(self) -> isize;
    fn from_index(index: isize) -> Self;

    /// `1/√self`, and 0 for 0: what is constant has no direction.
    #[inline(always)]
    fn inverse_root(self) -> Self {
        if self == Self::default() {
            self
        } else {
            Self::ONE / self.sqrt()
        }
    }
}

macro_rules! impl_real {
    ($($t:ident: $sqrt:ident $abs:ident, $functions:ident;)*) => {$(
        impl Real for $t {
            const ONE: Self = 1.0;

            #[inline(always)]
            fn from_count(n: usize) -> Self {
                n as $t
            }

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }

            #[inline(always)]
            fn sqrt(self) -> Self {
                libm::$sqrt(self)
            }

            #[inline(always)]
            fn exp(self) -> Self {
                $functions::exp(self)
            }

            #[inline(always)]
            fn sigmoid(self) -> Self {
                $functions::sigmoid(self)
            }

            #[inline(always)]
            fn tanh(self) -> Self {
                $functions::tanh(self)
            }

            #[inline(always)]
            fn abs(self) -> Self {
                libm::$abs(self)
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }

            #[inline(always)]
            fn floor_index(self) -> isize {
                let whole = self as isize; // towards 0
                if Self::from_index(whole) > self {
                    whole.saturating_sub(1)
                } else {
                    whole
                }
            }

            #[inline(always)]
            fn from_index(index: isize) -> Self {
                index as $t
            }
        }
    )*};
}

impl_real! {
    f32: sqrtf fabsf, elementary;
    f64: sqrt fabs, double;
}

/// Elementary functions of `f64`.
mod double {
    pub(super) use libm::{exp, tanh};

    #[inline(always)]
    pub(super) fn sigmoid(x: f64) -> f64 {
        let e = exp(-x.abs()); // of a negative number it does not overflow
        if x < 0.0 {
            e / (1.0 + e)
        } else {
            1.0 / (1.0 + e)
        }
    }
}

/// A float element, computed in `R`.
pub(crate) trait FloatElement: Element<Wide = Self::Real, Acc = Self::Real> {
    type Real: Real;
}

impl FloatElement for half::f16 {
    type Real = f32;
}

impl FloatElement for half::bf16 {
    type Real = f32;
}

impl FloatElement for f32 {
    type Real = f32;
}

impl FloatElement for f64 {
    type Real = f64;
}

/// Combines eight partial sums in pairs: 4 apart, 2 apart, 1 apart.
#[inline(always)]
pub(crate) fn combine<R: Real>([s0, s1, s2, s3, s4, s5, s6, s7]: [R; 8]) -> R {
    ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
}

/// `Σ f(x)` in eight partial sums, as [`Element::dot`] sums products.
#[inline(always)]
pub(crate) fn sum<T: FloatElement, I: Isa>(
    isa: I,
    x: &[T],
    f: impl Fn(T::Real) -> T::Real,
) -> T::Real {
    let (x8, rest) = x.as_chunks::<8>();
    let mut sums = [T::Real::default(); 8];
    for x in x8 {
        for (sum, &x) in sums.iter_mut().zip(&T::widen8(isa, x)) {
            *sum += f(x);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum += f(x.widen());
    }
    combine(sums)
}

/// `Σ f(a, b)`, in the same way.
#[inline(always)]
pub(crate) fn sum2<T: FloatElement, I: Isa>(
    isa: I,
    a: &[T],
    b: &[T],
    f: impl Fn(T::Real, T::Real) -> T::Real,
) -> T::Real {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut sums = [T::Real::default(); 8];
    for (a, b) in a8.iter().zip(b8) {
        let pairs = T::widen8(isa, a).into_iter().zip(T::widen8(isa, b));
        for (sum, (a, b)) in sums.iter_mut().zip(pairs) {
            *sum += f(a, b);
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += f(a.widen(), b.widen());
    }
    combine(sums)
}
