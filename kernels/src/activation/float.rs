//! Activations of floats: `libm`'s functions, in the accumulator's type.

use super::{Kernels, apply, map, through};
use crate::element::{Element, Output};
use crate::fixed::Accumulator;
use crate::requantize::Store;
use half::{bf16, f16};

/// What a float type needs for its activations.
trait Float: Element {
    /// `1 / (1 + exp(-x))`, and its derivative.
    fn logistic(x: Self::Acc) -> (Self::Acc, Self::Acc);
    /// The standard normal distribution.
    fn normal(x: Self::Acc) -> Self::Acc;
    /// Its density.
    fn density(x: Self::Acc) -> Self::Acc;
    /// Stored.
    fn of(value: Self::Acc) -> Self;
    /// 1 or 0.
    fn flag(is_set: bool) -> Self;
}

macro_rules! impl_float {
    ($($t:ident: $acc:ident, exp $exp:ident, tanh $tanh:ident, log1p $log1p:ident, erfc $erfc:ident;)*) => {$(
        impl Float for $t {
            fn logistic(x: $acc) -> ($acc, $acc) {
                // The exponential of a negative number does not overflow.
                let e = libm::$exp(-x.abs());
                let y = if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) };
                (y, e / ((1.0 + e) * (1.0 + e)))
            }

            fn normal(x: $acc) -> $acc {
                0.5 * libm::$erfc(-x * core::$acc::consts::FRAC_1_SQRT_2)
            }

            fn density(x: $acc) -> $acc {
                const PEAK: f64 = 0.398_942_280_401_432_7; // 1 / sqrt(2 pi)
                PEAK as $acc * libm::$exp(-0.5 * x * x)
            }

            fn of(value: $acc) -> Self {
                <Self as Output<Self>>::store(value)
            }

            fn flag(is_set: bool) -> Self {
                Self::of(if is_set { 1.0 } else { 0.0 })
            }
        }

        impl Kernels for $t {
            fn sigmoid(_: i32, _: i32, acc: &mut [$acc], _: &mut [Self]) {
                map(acc, |x| Self::logistic(x).0);
            }

            fn tanh(_: i32, _: i32, acc: &mut [$acc], _: &mut [Self]) {
                map(acc, libm::$tanh);
            }

            fn softplus(_: i32, _: i32, acc: &mut [$acc], slope: &mut [Self]) {
                // ln(1 + exp(x)) = max(x, 0) + ln(1 + exp(-|x|)), which does not overflow.
                apply::<Self>(acc, slope, |x| {
                    let value = x.max(0.0) + libm::$log1p(libm::$exp(-x.abs()));
                    (value, Self::of(Self::logistic(x).0))
                });
            }

            fn gelu(_: i32, _: i32, acc: &mut [$acc], slope: &mut [Self]) {
                apply::<Self>(acc, slope, |x| {
                    let p = Self::normal(x);
                    let density = Self::density(x);
                    // An infinite x times 0 is the limit 0.
                    let tail = if density == 0.0 { 0.0 } else { x * density };
                    (if p == 0.0 { 0.0 } else { x * p }, Self::of(p + tail))
                });
            }

            fn silu(_: i32, _: i32, acc: &mut [$acc], slope: &mut [Self]) {
                apply::<Self>(acc, slope, |x| {
                    let (s, ds) = Self::logistic(x);
                    // An infinite x times 0 is the limit 0.
                    let tail = if ds == 0.0 { 0.0 } else { x * ds };
                    (if s == 0.0 { 0.0 } else { x * s }, Self::of(s + tail))
                });
            }

            fn hard_swish(_: i32, _: i32, acc: &mut [$acc], slope: &mut [Self]) {
                apply::<Self>(acc, slope, |x| {
                    let s = (x + 3.0).clamp(0.0, 6.0) / 6.0;
                    let tail = if -3.0 < x && x < 3.0 { x / 6.0 } else { 0.0 };
                    (if s == 0.0 { 0.0 } else { x * s }, Self::of(s + tail))
                });
            }

            fn masked_relu(_: i32, _: i32, acc: &mut [$acc], slope: &mut [Self]) {
                apply::<Self>(acc, slope, |x| (x.relu(), Self::flag(x > 0.0)));
            }

            fn lifted_relu(_: i32, _: i32, acc: &mut [$acc], _: &mut [Self]) {
                map(acc, Accumulator::relu);
            }

            fn relu6(_: i32, _: i32, acc: &mut [$acc], slope: &mut [Self]) {
                apply::<Self>(acc, slope, |x| (x.clamp(0.0, 6.0), Self::flag(0.0 < x && x < 6.0)));
            }

            fn scaled_relu(thousandths: i32, _: i32, acc: &mut [$acc], _: &mut [Self]) {
                let scale = thousandths as $acc / 1000.0;
                map(acc, |x| x.relu() * scale);
            }

            fn leaky_relu(thousandths: i32, _: i32, acc: &mut [$acc], slope: &mut [Self]) {
                let scale = thousandths as $acc / 1000.0;
                apply::<Self>(acc, slope, |x| {
                    let factor = if x < 0.0 { scale } else { 1.0 };
                    (x * factor, Self::of(factor))
                });
            }

            fn sigmoid_backward(_: i32, y: &[Self], _: &[Self], dy: &mut [Self]) {
                through(y, dy, |d, y| Self::of(d.widen() * (y.widen() * (1.0 - y.widen()))));
            }

            fn tanh_backward(_: i32, y: &[Self], _: &[Self], dy: &mut [Self]) {
                through(y, dy, |d, y| Self::of(d.widen() * (1.0 - y.widen() * y.widen())));
            }

            fn slope_backward(_: i32, _: &[Self], slope: &[Self], dy: &mut [Self]) {
                through(slope, dy, |d, slope| Self::of(d.widen() * slope.widen()));
            }

            fn mask_backward(_: i32, _: &[Self], slope: &[Self], dy: &mut [Self]) {
                through(slope, dy, |d, flag| if flag == Self::ZERO { Self::ZERO } else { d });
            }

            fn round_lifted(store: Store, _: &mut [$acc], _: u32) -> (Store, $acc) {
                (store, 0.0)
            }

            fn lifted_relu_backward(_: i32, y: &[Self], _: &[Self], dy: &mut [Self]) {
                through(y, dy, |d, y| if y.widen() > 0.0 { d } else { Self::ZERO });
            }

            fn scaled_relu_backward(thousandths: i32, y: &[Self], _: &[Self], dy: &mut [Self]) {
                let scale = thousandths as $acc / 1000.0;
                through(y, dy, |d, y| {
                    if y.widen() > 0.0 { Self::of(d.widen() * scale) } else { Self::ZERO }
                });
            }

            fn leaky_relu_backward(_: i32, y: &[Self], slope: &[Self], dy: &mut [Self]) {
                Self::slope_backward(0, y, slope, dy);
            }
        }
    )*};
}

impl_float! {
    f16: f32, exp expf, tanh tanhf, log1p log1pf, erfc erfcf;
    bf16: f32, exp expf, tanh tanhf, log1p log1pf, erfc erfcf;
    f32: f32, exp expf, tanh tanhf, log1p log1pf, erfc erfcf;
    f64: f64, exp exp, tanh tanh, log1p log1p, erfc erfc;
}
