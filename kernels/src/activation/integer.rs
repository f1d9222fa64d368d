//! Activations of integers.

use super::{Kernels, apply, through};
use crate::element::{Element, Output};
use crate::fixed::{self, shift_rne_i32};
use crate::lut;

/// An accumulator of a type.
type Acc<T> = <T as Element>::Acc;

/// What an integer type needs for its activations.
trait Integer: Element {
    /// Holds an element times 2^M.
    type Product: From<Self::Wide>
        + From<i32>
        + Copy
        + core::ops::Mul<Output = Self::Product>
        + core::ops::Sub<Output = Self::Product>
        + core::ops::Shl<u32, Output = Self::Product>;
    /// An accumulator in Q11, saturated to 15 bits.
    fn q11(acc: Self::Acc, exponent: i32) -> i32;
    /// A slope in Q15 as it is kept, at exponent 1 - M.
    fn kept(slope: i32) -> Self;
    /// `acc · parts / 256`, to nearest even.
    fn scaled(acc: Self::Acc, parts: i32) -> Self::Acc;
    /// 6 at an exponent.
    fn six(exponent: i32) -> Self::Acc;
    /// 1 or 0.
    fn flag(is_set: bool) -> Self;
    /// `product / 2^shift`, to nearest even.
    fn round(product: Self::Product, shift: i32) -> Self::Product;
    /// Saturated and stored.
    fn of_product(q: Self::Product) -> Self;
}

/// `ln(1 + exp(z))` of `z` in Q11 and its slope, both in Q15.
fn softplus(z: i32) -> (i32, i32) {
    (lut::softplus(z), lut::sigmoid(z))
}

/// `z s` and its slope `s + z s'`, for `s` and `s'` in Q15; `z s` has the exponent -26.
fn gated(z: i32, s: i32, ds: i32) -> (i32, i32) {
    (z * s, s + shift_rne_i32(z * ds, 11)) // at most 2^15 · 2^15
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
    const SIXTH: i32 = 10_923; // round(2^16 / 6)
    let s = shift_rne_i32((z + THREE).clamp(0, 2 * THREE) * SIXTH, 12);
    let is_inside = -THREE < z && z < THREE;
    let slope = if is_inside {
        s + shift_rne_i32(z * SIXTH, 12)
    } else {
        s
    };
    (z * s, slope)
}

/// `thousandths / 1000` in 1/256, to nearest.
fn parts_of_256(thousandths: i32) -> i32 {
    (thousandths * 256 + 500) / 1000
}

/// Applies a curve to accumulators.
#[inline(always)]
fn integer_curve<T: Integer<Acc: From<i32>>>(
    curve: impl Fn(i32) -> (i32, i32),
    exponent: i32,
    acc: &mut [T::Acc],
    slope: &mut [T],
) {
    let mut slopes = slope.iter_mut();
    for acc in acc {
        let (value, slope) = curve(T::q11(*acc, exponent));
        *acc = value.into();
        if let Some(to) = slopes.next() {
            *to = T::kept(slope);
        }
    }
}

/// `$wide`: what holds an accumulator of up to `$cut` bits times 9 bits; `$product`: what holds an
/// element times 2^M.
macro_rules! impl_integer {
    ($($t:ident: acc $acc:ident $shift_acc:ident, wide $wide:ident $shift_wide:ident $sat_wide:ident $cut:expr,
       product $product:ident $shift:ident $sat:ident;)*) => {$(
        impl Integer for $t {
            type Product = $product;

            #[inline(always)]
            fn q11(acc: $acc, exponent: i32) -> i32 {
                fixed::$shift_acc(acc, -11 - exponent).clamp(-32_767, 32_767) as i32
            }

            #[inline(always)]
            fn kept(slope: i32) -> Self {
                <Self as Output<Self>>::store(fixed::$shift_acc(slope.into(), 16 - Self::MAGNITUDE_BITS as i32))
            }

            #[inline(always)]
            fn scaled(acc: $acc, parts: i32) -> $acc {
                let product = fixed::$sat_wide($wide::from(acc), $cut) * $wide::from(parts);
                fixed::$shift_wide(product, 8).clamp($acc::MIN.into(), $acc::MAX.into()) as $acc
            }

            #[inline(always)]
            fn six(exponent: i32) -> $acc {
                fixed::$shift_acc(6, exponent)
            }

            #[inline(always)]
            fn flag(is_set: bool) -> Self {
                <Self as Output<Self>>::store(is_set.into())
            }

            #[inline(always)]
            fn round(product: $product, shift: i32) -> $product {
                fixed::$shift(product, shift)
            }

            #[inline(always)]
            fn of_product(q: $product) -> Self {
                // Saturated to the magnitude bits, so it fits the accumulator.
                <Self as Output<Self>>::store(fixed::$sat(q, Self::MAGNITUDE_BITS) as $acc)
            }
        }
    )*};
}

macro_rules! impl_integer_kernels {
    ($($t:ident)*) => {$(
        impl Kernels for $t {
            fn sigmoid(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                integer_curve::<Self>(|z| (lut::sigmoid(z), 0), exponent, acc, slope);
            }

            fn tanh(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                integer_curve::<Self>(|z| (lut::tanh(z), 0), exponent, acc, slope);
            }

            fn softplus(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                integer_curve::<Self>(softplus, exponent, acc, slope);
            }

            fn gelu(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                integer_curve::<Self>(gelu, exponent, acc, slope);
            }

            fn silu(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                integer_curve::<Self>(silu, exponent, acc, slope);
            }

            fn hard_swish(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                integer_curve::<Self>(hard_swish, exponent, acc, slope);
            }

            fn relu6(_: i32, exponent: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                let six = Self::six(exponent);
                apply::<Self>(acc, slope, |x| (x.clamp(0, six), Self::flag(0 < x && x < six)));
            }

            fn scaled_relu(thousandths: i32, _: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                let parts = parts_of_256(thousandths);
                apply::<Self>(acc, slope, |x| (Self::scaled(x.max(0), parts), Self::ZERO));
            }

            fn leaky_relu(thousandths: i32, _: i32, acc: &mut [Acc<$t>], slope: &mut [Self]) {
                let parts = parts_of_256(thousandths);
                apply::<Self>(acc, slope, |x| {
                    let value = if x < 0 { Self::scaled(x, parts) } else { x };
                    (value, Self::flag(x < 0))
                });
            }

            fn sigmoid_backward(_: i32, y: &[Self], _: &[Self], dy: &mut [Self]) {
                type Product = <$t as Integer>::Product;
                const M: u32 = <$t>::MAGNITUDE_BITS;
                through(y, dy, |d, y| {
                    let (d, y) = (Product::from(d.widen()), Product::from(y.widen()));
                    let slope = Self::round(y * ((1 << M) - y), M as i32);
                    Self::of_product(Self::round(d * slope, M as i32))
                });
            }

            fn tanh_backward(_: i32, y: &[Self], _: &[Self], dy: &mut [Self]) {
                type Product = <$t as Integer>::Product;
                const M: u32 = <$t>::MAGNITUDE_BITS;
                through(y, dy, |d, y| {
                    let (d, y) = (Product::from(d.widen()), Product::from(y.widen()));
                    let slope = (1 << M) - Self::round(y * y, M as i32);
                    Self::of_product(Self::round(d * slope, M as i32))
                });
            }

            fn slope_backward(_: i32, _: &[Self], slope: &[Self], dy: &mut [Self]) {
                type Product = <$t as Integer>::Product;
                through(slope, dy, |d, slope| {
                    let product = Product::from(d.widen()) * Product::from(slope.widen());
                    Self::of_product(Self::round(product, Self::MAGNITUDE_BITS as i32 - 1))
                });
            }

            fn mask_backward(_: i32, _: &[Self], slope: &[Self], dy: &mut [Self]) {
                through(slope, dy, |d, flag| if flag == Self::ZERO { Self::ZERO } else { d });
            }

            fn scaled_relu_backward(thousandths: i32, y: &[Self], _: &[Self], dy: &mut [Self]) {
                let parts = parts_of_256(thousandths);
                through(y, dy, |d, y| {
                    if y.widen() > 0 {
                        <Self as Output<Self>>::store(Self::scaled(d.to_acc(), parts))
                    } else {
                        Self::ZERO
                    }
                });
            }

            fn leaky_relu_backward(thousandths: i32, _: &[Self], slope: &[Self], dy: &mut [Self]) {
                let parts = parts_of_256(thousandths);
                through(slope, dy, |d, flag| {
                    if flag == Self::ZERO {
                        d
                    } else {
                        <Self as Output<Self>>::store(Self::scaled(d.to_acc(), parts))
                    }
                });
            }
        }
    )*};
}

impl_integer! {
    i8: acc i32 shift_rne_i32, wide i64 shift_rne_i64 sat_i64 54, product i32 shift_rne_i32 sat_i32;
    u8: acc i32 shift_rne_i32, wide i64 shift_rne_i64 sat_i64 54, product i32 shift_rne_i32 sat_i32;
    i16: acc i64 shift_rne_i64, wide i64 shift_rne_i64 sat_i64 54, product i32 shift_rne_i32 sat_i32;
    u16: acc i64 shift_rne_i64, wide i64 shift_rne_i64 sat_i64 54, product i32 shift_rne_i32 sat_i32;
    i32: acc i64 shift_rne_i64, wide i64 shift_rne_i64 sat_i64 54, product i64 shift_rne_i64 sat_i64;
    u32: acc i64 shift_rne_i64, wide i64 shift_rne_i64 sat_i64 54, product i64 shift_rne_i64 sat_i64;
    i64: acc i128 shift_rne_i128, wide i128 shift_rne_i128 sat_i128 118, product i128 shift_rne_i128 sat_i128;
    u64: acc i128 shift_rne_i128, wide i128 shift_rne_i128 sat_i128 118, product i128 shift_rne_i128 sat_i128;
}

impl_integer_kernels! { i8 u8 i16 u16 i32 u32 i64 u64 }
