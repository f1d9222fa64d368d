//! Activations of integers.

use super::{Kernels, through};
use crate::arch::{self, Isa, Kernel};
use crate::element::{Element, Output};
use crate::fixed::{self, Accumulator, Slim, shift_rne_i32};
use crate::lut;
use crate::requantize::Store;

/// An accumulator of a type.
type Acc<T> = <T as Element>::Acc;

/// What an integer type needs for its activations. `M` are its magnitude bits.
trait Integer: Element {
    /// Holds the product of an element and a slope: of bytes at most 127 · (127 + 128).
    type Product: Copy
        + core::ops::Mul<Output = Self::Product>
        + core::ops::Sub<Output = Self::Product>;
    /// 1 at exponent -M.
    const ONE: Self::Product;
    /// An accumulator in Q11, saturated to 15 bits.
    fn q11(acc: Self::Acc, exponent: i32) -> i32;
    /// A slope in Q15 as it is kept, at exponent 1 - M.
    fn kept(slope: i32) -> Self;
    /// 1 or 0.
    fn flag(is_set: bool) -> Self;
    /// `acc · parts / 256`, to nearest even.
    fn scaled(acc: Self::Acc, parts: i32) -> Self::Acc;
    /// 6 at an exponent, or the largest accumulator where none reaches 6.
    fn six(exponent: i32) -> Self::Acc;
    /// The element as a factor. One that exceeds the magnitude bits, which no kernel stores, is
    /// saturated, so that no product overflows.
    fn factor(self) -> Self::Product;
    /// `product / 2^shift`, to nearest even.
    fn round(product: Self::Product, shift: u32) -> Self::Product;
    /// `self · slope / 2^shift`, to nearest even, saturated.
    fn times(self, slope: Self::Product, shift: u32) -> Self;
    /// `self · parts / 256`, to nearest even, saturated.
    fn scaled_error(self, parts: i32) -> Self;
}

/// `ln(1 + exp(z))` of `z` in Q11 and its slope, both in Q15.
fn softplus(z: i32) -> (i32, i32) {
    (lut::softplus(z), lut::sigmoid(z))
}

/// `z s` of `z` in Q11 at exponent -26, and its slope `s + z s'` in Q15, for `s` and `s'` in Q15.
fn gated(z: i32, s: i32, ds: i32) -> (i32, i32) {
    (z * s, s + shift_rne_i32(z * ds, 11)) // products of at most 2^15 · 2^15
}

fn silu(z: i32) -> (i32, i32) {
    let s = lut::sigmoid(z);
    gated(z, s, shift_rne_i32(s * (32_768 - s), 15))
}

fn gelu(z: i32) -> (i32, i32) {
    gated(z, lut::normal(z), lut::density(z))
}

fn hard_swish(z: i32) -> (i32, i32) {
    const THREE: i32 = 3 << 11;
    const SIXTH: i32 = 43_691; // round(2^18 / 6)
    let sixth = |x: i32| shift_rne_i32(x * SIXTH, 14); // in Q15; 6 / 6 is 2^15 exactly
    let s = sixth((z + THREE).clamp(0, 2 * THREE));
    let is_between = -THREE < z && z < THREE;
    (z * s, s + if is_between { sixth(z) } else { 0 })
}

/// [`super::map`], by the instruction set. Functions own what they know: what they refer to might be changed by what
/// is stored, and is loaded for each element.
#[inline(always)]
fn map<A: Copy>(acc: &mut [A], function: impl Fn(A) -> A) {
    arch::dispatch(Map(acc, function));
}

/// [`super::apply`], by the instruction set.
#[inline(always)]
fn apply<T: Element>(
    acc: &mut [T::Acc],
    slope: &mut [T],
    function: impl Fn(T::Acc) -> (T::Acc, T),
) {
    arch::dispatch(Apply(acc, slope, function));
}

/// A call of [`map`].
struct Map<'a, A, F>(&'a mut [A], F);

impl<A: Copy, F: Fn(A) -> A> Kernel for Map<'_, A, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        super::map(self.0, self.1);
    }
}

/// A call of [`apply`].
struct Apply<'a, T: Element, F>(&'a mut [T::Acc], &'a mut [T], F);

impl<T: Element, F: Fn(T::Acc) -> (T::Acc, T)> Kernel for Apply<'_, T, F> {
    const HAS_VECTORS: bool = arch::has_vectors::<T>();
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        super::apply(self.0, self.1, self.2);
    }
}

/// Applies a curve of Q11 to accumulators, and keeps its slope.
#[inline(always)]
fn curve<T: Integer<Acc: From<i32>>>(
    curve: impl Fn(i32) -> (i32, i32),
    exponent: i32,
    acc: &mut [T::Acc],
    slope: &mut [T],
) {
    apply::<T>(acc, slope, move |acc| {
        let (value, slope) = curve(T::q11(acc, exponent));
        (value.into(), T::kept(slope))
    });
}

/// `$wide`: what holds an accumulator of up to `$cut` bits times 9 bits; `$product`: what holds an
/// element times a slope.
macro_rules! impl_integer {
    ($($t:ident: acc $acc:ident $shift_acc:ident, wide $wide:ident $shift_wide:ident $sat_wide:ident $cut:expr,
       product $product:ident $shift:ident $sat:ident, error $scaled:ident $shift_scaled:ident $sat_scaled:ident;)*) => {$(
        impl Integer for $t {
            type Product = $product;

            const ONE: $product = 1 << Self::MAGNITUDE_BITS;

            #[inline(always)]
            fn q11(acc: $acc, exponent: i32) -> i32 {
                let shift = (-11i32).saturating_sub(exponent);
                fixed::$shift_acc(acc, shift).clamp(-32_767, 32_767) as i32
            }

            #[inline(always)]
            fn kept(slope: i32) -> Self {
                <Self as Output<Self>>::store(fixed::$shift_acc(slope.into(), 16 - Self::MAGNITUDE_BITS as i32))
            }

            #[inline(always)]
            fn flag(is_set: bool) -> Self {
                <Self as Output<Self>>::store(is_set.into())
            }

            #[inline(always)]
            fn scaled(acc: $acc, parts: i32) -> $acc {
                let product = fixed::$sat_wide($wide::from(acc), $cut) * $wide::from(parts);
                fixed::$shift_wide(product, 8).clamp($acc::MIN.into(), $acc::MAX.into()) as $acc
            }

            #[inline(always)]
            fn six(exponent: i32) -> $acc {
                if exponent < 4 - $acc::BITS as i32 {
                    $acc::MAX
                } else if exponent < 0 {
                    6 << -exponent
                } else {
                    fixed::$shift_acc(6, exponent)
                }
            }

            #[inline(always)]
            fn factor(self) -> $product {
                fixed::$sat(self.widen() as $product, Self::MAGNITUDE_BITS)
            }

            #[inline(always)]
            fn round(product: $product, shift: u32) -> $product {
                fixed::$shift(product, shift as i32)
            }

            #[inline(always)]
            fn times(self, slope: $product, shift: u32) -> Self {
                let q = fixed::$sat(Self::round(self.factor() * slope, shift), Self::MAGNITUDE_BITS);
                <Self as Output<Self>>::store(q as $acc) // the magnitude bits fit
            }

            #[inline(always)]
            fn scaled_error(self, parts: i32) -> Self {
                // At most 9 bits: a product has room for them beside those of an element.
                let product = $scaled::from(self.widen()) * $scaled::from(parts);
                let q = fixed::$sat_scaled(fixed::$shift_scaled(product, 8), Self::MAGNITUDE_BITS);
                <Self as Output<Self>>::store(q as $acc)
            }
        }
    )*};
}

macro_rules! impl_integer_kernels {
    ($($t:ident)*) => {$(
        impl Kernels for $t {
            fn sigmoid(_: i32, exponent: i32, acc: &mut [Acc<$t>], _: &mut [Self]) {
                map(acc, move |acc| lut::sigmoid(Self::q11(acc, exponent)).into());
            }

            fn tanh(_: i32, exponent: i32, acc: &mut [Acc<$t>], _: &mut [Self]) {
                map(acc, move |acc| lut::tanh(Self::q11(acc, exponent)).into());
            }

            fn softplus(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                curve::<Self>(softplus, exponent, acc, slope);
            }

            fn gelu(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                curve::<Self>(gelu, exponent, acc, slope);
            }

            fn silu(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                curve::<Self>(silu, exponent, acc, slope);
            }

            fn hard_swish(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                curve::<Self>(hard_swish, exponent, acc, slope);
            }

            fn masked_relu(_: i32, _: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                apply::<Self>(acc, slope, move |x| (x.relu(), Self::flag(x > 0)));
            }

            fn lifted_relu(_: i32, _: i32, acc: &mut [Acc<$t>], _: &mut [Self]) {
                map(acc, Accumulator::relu);
            }

            fn relu6(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                let six = Self::six(exponent);
                apply::<Self>(acc, slope, move |x| (x.relu().min(six), Self::flag(0 < x && x < six)));
            }

            fn scaled_relu(parts: i32, _: i32, acc: &mut [Acc<$t>], _: &mut [Self]) {
                map(acc, move |x| Self::scaled(x.relu(), parts));
            }

            fn leaky_relu(parts: i32, _: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                apply::<Self>(acc, slope, move |x| {
                    let value = if x < 0 { Self::scaled(x, parts) } else { x };
                    (value, Self::flag(x < 0))
                });
            }

            fn sigmoid_backward(_: i32, y: &[Self], _: &[Self], dy: &mut [Self]) {
                const M: u32 = <$t>::MAGNITUDE_BITS;
                through(y, dy, move |d, y| {
                    let y = y.factor();
                    d.times(Self::round(y * (Self::ONE - y), M), M)
                });
            }

            fn tanh_backward(_: i32, y: &[Self], _: &[Self], dy: &mut [Self]) {
                const M: u32 = <$t>::MAGNITUDE_BITS;
                through(y, dy, move |d, y| {
                    let y = y.factor();
                    d.times(Self::ONE - Self::round(y * y, M), M)
                });
            }

            fn slope_backward(_: i32, _: &[Self], slope: &[Self], dy: &mut [Self]) {
                through(slope, dy, move |d, slope| d.times(slope.factor(), Self::MAGNITUDE_BITS - 1));
            }

            fn mask_backward(_: i32, _: &[Self], slope: &[Self], dy: &mut [Self]) {
                through(slope, dy, move |d, flag| if flag == Self::ZERO { Self::ZERO } else { d });
            }

            fn round_lifted(store: Store, acc: &mut [Acc<$t>], element: u32) -> (Store, Acc<$t>) {
                let Store::Shift { shift, rounding } = store else {
                    return (store, 0);
                };
                // To the left, what is positive stays so, but where the places end, all becomes 0.
                if shift <= 0 && Acc::<$t>::from(1).shift(shift, rounding, element) > 0 {
                    return (store, 0);
                }
                let (mut element, mut largest) = (element, 0);
                for acc in acc {
                    largest = largest.max(*acc);
                    *acc = acc.shift(shift, rounding, element).max((*acc > 0).into());
                    element = element.wrapping_add(1);
                }
                (Store::EXACT, largest) // none has grown: the range is that of the largest
            }

            fn lifted_relu_backward(_: i32, y: &[Self], _: &[Self], dy: &mut [Self]) {
                through(y, dy, move |d, y| if y.widen() > 0 { d } else { Self::ZERO });
            }

            fn scaled_relu_backward(parts: i32, y: &[Self], _: &[Self], dy: &mut [Self]) {
                through(y, dy, move |d, y| {
                    if y.widen() > 0 {
                        d.scaled_error(parts)
                    } else {
                        Self::ZERO
                    }
                });
            }

            fn leaky_relu_backward(parts: i32, _: &[Self], slope: &[Self], dy: &mut [Self]) {
                through(slope, dy, move |d, flag| {
                    if flag == Self::ZERO {
                        d
                    } else {
                        d.scaled_error(parts)
                    }
                });
            }
        }
    )*};
}

impl_integer! {
    i8: acc i32 shift_rne_i32, wide i64 shift_rne_i64 sat_i64 54, product Slim shift_rne_slim sat_slim, error i32 shift_rne_i32 sat_i32;
    u8: acc i32 shift_rne_i32, wide i64 shift_rne_i64 sat_i64 54, product Slim shift_rne_slim sat_slim, error i32 shift_rne_i32 sat_i32;
    i16: acc i64 shift_rne_i64, wide i64 shift_rne_i64 sat_i64 54, product i32 shift_rne_i32 sat_i32, error i32 shift_rne_i32 sat_i32;
    u16: acc i64 shift_rne_i64, wide i64 shift_rne_i64 sat_i64 54, product i32 shift_rne_i32 sat_i32, error i32 shift_rne_i32 sat_i32;
    i32: acc i64 shift_rne_i64, wide i64 shift_rne_i64 sat_i64 54, product i64 shift_rne_i64 sat_i64, error i64 shift_rne_i64 sat_i64;
    u32: acc i64 shift_rne_i64, wide i64 shift_rne_i64 sat_i64 54, product i64 shift_rne_i64 sat_i64, error i64 shift_rne_i64 sat_i64;
    i64: acc i128 shift_rne_i128, wide i128 shift_rne_i128 sat_i128 118, product i128 shift_rne_i128 sat_i128, error i128 shift_rne_i128 sat_i128;
    u64: acc i128 shift_rne_i128, wide i128 shift_rne_i128 sat_i128 118, product i128 shift_rne_i128 sat_i128, error i128 shift_rne_i128 sat_i128;
}

impl_integer_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 }
