//! Dense and convolution layers.

use super::multiplier::{Multiplier, Rounding, saturate};
use super::tiles;
use crate::conv;
use crate::decoded::{self, Finish, Integers, Plain, Times};
use crate::dense;
use crate::element::Element;
use crate::error::{Arg, Error, Result};
use crate::exec::{self, Executor};

/// Zero points, multipliers, rounding and clamp of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantization<'a> {
    /// Zero point of `x`; what padding stands for.
    pub input_zero: i32,
    /// Zero point of the weights; 0 for weights per channel.
    pub weight_zero: i32,
    /// Zero point of `out`.
    pub output_zero: i32,
    /// Scale of `x` times that of the weights over that of `out`: one, or one for each output channel.
    pub multipliers: &'a [Multiplier],
    /// How products with them are rounded; not used by `i16`, which has one rounding.
    pub rounding: Rounding,
    /// The smallest and the largest integer stored: [`Fused::clamp`](super::Fused::clamp).
    pub clamp: (i32, i32),
}

impl<'a> Quantization<'a> {
    /// Zero points of 0, two roundings, no clamp but the type's.
    #[must_use]
    pub const fn new<T: Activation>(multipliers: &'a [Multiplier]) -> Self {
        Self {
            input_zero: 0,
            weight_zero: 0,
            output_zero: 0,
            multipliers,
            rounding: Rounding::Double,
            clamp: (T::LOWEST, T::HIGHEST),
        }
    }

    /// The smallest and the largest integer that a `T` gets.
    #[inline(always)]
    pub(super) fn limits<T: Activation>(&self) -> (i32, i32) {
        let (low, high) = self.clamp;
        let limited = |y: i32| y.max(low).min(high).max(T::LOWEST).min(T::HIGHEST);
        (limited(i32::MIN), limited(i32::MAX))
    }

    /// The multipliers of `N` channels from `channel` on; zeros beyond the last.
    #[inline(always)]
    pub(super) fn multipliers_from<const N: usize>(&self, channel: usize) -> [Multiplier; N] {
        if let &[multiplier] = self.multipliers {
            return [multiplier; N];
        }
        let mut multipliers = [Multiplier::default(); N];
        let given = self.multipliers.get(channel..).unwrap_or_default();
        for (to, &multiplier) in multipliers.iter_mut().zip(given) {
            *to = multiplier;
        }
        multipliers
    }

    /// Refuses what is out of range.
    fn check<T: Activation>(&self, channels: usize) -> Result<()> {
        for (arg, zero, low, high) in [
            (Arg::X, self.input_zero, T::LOWEST, T::HIGHEST),
            (
                Arg::Weight,
                self.weight_zero,
                T::LOWEST_WEIGHT,
                T::HIGHEST_WEIGHT,
            ),
            (Arg::Out, self.output_zero, T::LOWEST, T::HIGHEST),
        ] {
            if zero < low || zero > high {
                return Err(Error::ZeroPoint { arg, zero });
            }
        }
        if self.multipliers.len() != 1 {
            Arg::Scale.check_len(self.multipliers.len(), &[channels])?;
        }
        for (channel, multiplier) in self.multipliers.iter().enumerate() {
            if !multiplier.is_valid(T::LARGEST_SHIFT) {
                return Err(Error::Multiplier { channel });
            }
        }
        Ok(())
    }
}

/// A type of activations, with its weights and biases.
pub trait Activation: Element<Wide = i32> {
    /// Weights.
    type Weights: Element<Wide = i32>;
    /// Biases, of the accumulator's scale: that of `x` times that of the weights.
    type AffineBias: Copy + Into<i64> + Sync;
    /// The smallest stored integer.
    const LOWEST: i32;
    /// The largest.
    const HIGHEST: i32;
    /// The smallest weight.
    const LOWEST_WEIGHT: i32;
    /// The largest.
    const HIGHEST_WEIGHT: i32;
    /// The largest shift of a multiplier.
    const LARGEST_SHIFT: i32;
    /// Products that the accumulator of the definition holds: 2^15 of 16 bits in 32, 2^24 of 23 bits in the
    /// 48 that [`Multiplier::apply_wide`] takes.
    const AFFINE_PRODUCTS: usize;

    #[doc(hidden)]
    fn affine_store(acc: i64, multiplier: Multiplier, quantization: &Quantization<'_>) -> Self;
    #[doc(hidden)]
    fn affine_dense(call: DenseCall<'_, Self>) -> u32;
    #[doc(hidden)]
    fn affine_conv(call: ConvCall<'_, Self>) -> u32;
}

/// Dense layer, forward:
/// `out[n, o] = clamp(output_zero + multiplier[o] · (bias[o] + Σ_i (x[n, i] - input_zero) · (weight[o, i] - weight_zero)))`.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, I]` | activations |
/// | `weight` | `[O, I]` | a row per output |
/// | `bias` | `[O]` | added to the accumulator; none counts as 0 |
/// | `out` | `[N, O]` | overwritten |
///
/// Bit-exact with TensorFlow Lite's FULLY_CONNECTED wherever that is defined; where its 32-bit accumulator
/// would overflow, this one saturates.
///
/// # Errors
/// [`Error::Length`] if a slice does not fit `shape`, [`Error::Zero`], [`Error::Overflow`],
/// [`Error::Accumulator`] for more products than the accumulator holds, [`Error::ZeroPoint`],
/// [`Error::Multiplier`]. `out` is then untouched.
///
/// Source: `reference_integer_ops::FullyConnected`.
pub fn dense_forward<T: Activation>(
    exec: &impl Executor,
    shape: dense::Shape,
    x: &[T],
    weight: &[T::Weights],
    bias: Option<&[T::AffineBias]>,
    quantization: &Quantization<'_>,
    out: &mut [T],
) -> Result<()> {
    let dense::Shape {
        batch,
        inputs,
        outputs,
    } = shape;
    for tensor in [[batch, inputs], [batch, outputs], [outputs, inputs]] {
        Arg::Shape.product(&tensor)?;
    }
    dense::limit(inputs, T::AFFINE_PRODUCTS)?;
    Arg::X.check_len(x.len(), &[batch, inputs])?;
    Arg::Weight.check_len(weight.len(), &[outputs, inputs])?;
    if let Some(bias) = bias {
        Arg::Bias.check_len(bias.len(), &[outputs])?;
    }
    Arg::Out.check_len(out.len(), &[batch, outputs])?;
    quantization.check::<T>(outputs)?;
    exec::rows(exec, out, outputs, |first, out| {
        T::affine_dense(decoded::dense::Call {
            inputs,
            outputs,
            x: x.get(first * inputs..).unwrap_or_default(),
            weights: weight,
            drop: 0,
            finish: Affine::new(bias, quantization),
            first: 0,
            out,
            slope: &mut [],
        })
    });
    Ok(())
}

/// Convolution, forward: the same with the windows of [`conv::forward`]; padding adds nothing, being
/// `input_zero`. Depthwise with as many groups as channels.
///
/// | argument | shape | |
/// |---|---|---|
/// | `x` | `[N, H, W, C]` (one axis: `[N, W, C]`, three: `[N, D, H, W, C]`) | activations |
/// | `weight` | `[O, kernel rows, kernel columns, C / groups]` | filters; those of a DEPTHWISE_CONV_2D, `[1, rows, columns, O]`, are transposed once |
/// | `bias` | `[O]` | added to the accumulator; none counts as 0 |
/// | `out` | `[N, rows, columns, O]` | overwritten |
///
/// Bit-exact with CONV_2D and DEPTHWISE_CONV_2D, as [`dense_forward`] is.
///
/// # Errors
/// Those of [`dense_forward`] and of the window: [`Error::Window`], [`Error::Groups`]. `out` is then
/// untouched.
///
/// Source: `reference_integer_ops::ConvPerChannel`, `DepthwiseConvPerChannel`.
pub fn conv_forward<T: Activation, const N: usize>(
    exec: &impl Executor,
    shape: conv::Shape<N>,
    x: &[T],
    weight: &[T::Weights],
    bias: Option<&[T::AffineBias]>,
    quantization: &Quantization<'_>,
    out: &mut [T],
) -> Result<()> {
    let extents = shape.check([T::AFFINE_PRODUCTS, usize::MAX])?;
    extents.check_x(Arg::X, x.len())?;
    extents.check_weight(weight.len())?;
    if let Some(bias) = bias {
        Arg::Bias.check_len(bias.len(), &[shape.filters])?;
    }
    extents.check_y(Arg::Out, out.len())?;
    quantization.check::<T>(shape.filters)?;
    exec::rows(exec, out, extents.out_row_len(), |first, out| {
        T::affine_conv(decoded::conv::Call {
            extents,
            x,
            weights: weight,
            drop: 0,
            finish: Affine::new(bias, quantization),
            first,
            out,
            slope: &mut [],
        })
    });
    Ok(())
}

/// The affine epilogue of a layer.
pub struct Affine<'a, T: Activation> {
    pub(super) bias: Option<&'a [T::AffineBias]>,
    pub(super) quantization: &'a Quantization<'a>,
}

impl<'a, T: Activation> Affine<'a, T> {
    pub(crate) fn new(
        bias: Option<&'a [T::AffineBias]>,
        quantization: &'a Quantization<'a>,
    ) -> Self {
        Self { bias, quantization }
    }
}

impl<T: Activation> Clone for Affine<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Activation> Copy for Affine<'_, T> {}

impl<T: Activation> Finish<T, i64, T> for Affine<'_, T> {
    type Range = ();

    #[inline(always)]
    fn start(&self, channel: usize) -> i64 {
        match self.bias.and_then(|bias| bias.get(channel)) {
            Some(&bias) => bias.into(),
            None => 0,
        }
    }

    #[inline(always)]
    fn store(&self, acc: i64, channel: usize, _: u32, (): &mut (), out: &mut T, _: &mut [T]) {
        let [multiplier] = self.quantization.multipliers_from(channel);
        *out = T::affine_store(acc, multiplier, self.quantization);
    }

    #[inline(always)]
    fn bits((): ()) -> u32 {
        0
    }
}

/// A dense layer's rows.
pub(super) type DenseCall<'a, T> =
    decoded::dense::Call<'a, T, &'a [<T as Activation>::Weights], Affine<'a, T>, T>;
/// A convolution's rows.
pub(super) type ConvCall<'a, T> =
    decoded::conv::Call<'a, T, &'a [<T as Activation>::Weights], Affine<'a, T>, T>;

/// The weights as rows of `row_len`, with both zero points. `widen` takes the middle of the range off
/// unsigned integers, so it comes off their zero points, too.
fn products<'a, T: Activation>(
    weight: &'a [T::Weights],
    row_len: usize,
    quantization: &Quantization<'_>,
) -> Integers<T, Plain<'a, T::Weights>, i64> {
    let middle = |lowest: i32| if lowest == 0 { 128 } else { 0 };
    let source = Plain {
        weight,
        row_len,
        zero: (quantization.weight_zero - middle(T::LOWEST_WEIGHT)) as i16, // has been checked
    };
    Integers {
        zero: quantization.input_zero - middle(T::LOWEST),
        ..Integers::new(source, 0)
    }
}

/// A dense layer's rows by the loops that decode weights.
#[inline(always)]
pub(crate) fn decoded_dense<T: Activation + Times<i16, Sum = i64>>(call: DenseCall<'_, T>) -> u32 {
    let products = products(call.weights, call.inputs, call.finish.quantization);
    call.forward(products)
}

/// The same of a convolution.
#[inline(always)]
pub(crate) fn decoded_conv<T: Activation + Times<i16, Sum = i64>>(call: ConvCall<'_, T>) -> u32 {
    let products = products(
        call.weights,
        call.extents.filter_len,
        call.finish.quantization,
    );
    call.forward(products)
}

macro_rules! impl_activation {
    ($($t:ident with $w:ident: bias $bias:ident, shift $shift:literal, products $products:expr, tiles $dense:expr, $conv:expr,
       |$acc:ident, $multiplier:ident, $rounding:ident| $apply:expr;)*) => {$(
        impl Activation for $t {
            type Weights = $w;
            type AffineBias = $bias;
            const LOWEST: i32 = $t::MIN as i32;
            const HIGHEST: i32 = $t::MAX as i32;
            const LOWEST_WEIGHT: i32 = $w::MIN as i32;
            const HIGHEST_WEIGHT: i32 = $w::MAX as i32;
            const LARGEST_SHIFT: i32 = $shift;
            const AFFINE_PRODUCTS: usize = $products;

            #[inline(always)]
            fn affine_store($acc: i64, $multiplier: Multiplier, quantization: &Quantization<'_>) -> Self {
                let $rounding = quantization.rounding;
                let y = $apply.saturating_add(quantization.output_zero);
                let (low, high) = quantization.limits::<Self>();
                y.max(low).min(high) as Self
            }

            #[inline(never)]
            fn affine_dense(mut call: DenseCall<'_, Self>) -> u32 {
                if $dense(&mut call) { 0 } else { decoded_dense(call) }
            }

            #[inline(never)]
            fn affine_conv(mut call: ConvCall<'_, Self>) -> u32 {
                if $conv(&mut call) { 0 } else { decoded_conv(call) }
            }
        }
    )*};
}

impl_activation! {
    i8 with i8: bias i32, shift 30, products 1 << 15, tiles tiles::dense, tiles::conv,
        |acc, multiplier, rounding| multiplier.apply(saturate(acc), rounding);
    u8 with u8: bias i32, shift 30, products 1 << 15, tiles tiles::none, tiles::none,
        |acc, multiplier, rounding| multiplier.apply(saturate(acc), rounding);
    i16 with i8: bias i64, shift 7, products 1 << 24, tiles tiles::none, tiles::none,
        |acc, multiplier, _rounding| multiplier.apply_wide(acc);
}
