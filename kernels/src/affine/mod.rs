//! Affine integers, `real = scale · (q - zero_point)`: dense and convolution layers of imported models,
//! bit-exact with the TensorFlow Lite kernels.
//!
//! ```
//! use selvedge_kernels::affine::{self, Multiplier, Quantization};
//! use selvedge_kernels::{dense::Shape, exec::Serial};
//!
//! let shape = Shape { batch: 1, inputs: 2, outputs: 1 };
//! // scale of x · scale of the weights / scale of the output
//! let multipliers = [Multiplier::from_f64(0.02 * 0.5 / 0.1)];
//! let quantization = Quantization { input_zero: -10, output_zero: 4, ..Quantization::new::<i8>(&multipliers) };
//! let mut out = [0i8];
//! affine::dense_forward(&Serial, shape, &[30i8, -10], &[10i8, 127], Some(&[55]), &quantization, &mut out)?;
//! assert_eq!(out, [4 + 46]); // 0.1 · (10 · 40 + 55) = 45.5
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! | activations | weights | biases | accumulator |
//! |---|---|---|---|
//! | `i8` | `i8`, per tensor or per channel | `i32` | 32 bits |
//! | `u8` | `u8`, per tensor | `i32` | 32 bits |
//! | `i16` | `i8`, per tensor or per channel | `i64` | 64 bits ("16x8") |
//!
//! The sums of products are those of all integer layers here, and so is how windows move; only the epilogue
//! differs from the shared-exponent scheme. A depthwise convolution is one with as many groups as channels. These
//! layers run; they do not train. The arithmetic in short: `docs/numerics.md` §20.
//!
//! Layers of `i8` whose weights have a zero point of 0, as those of TensorFlow Lite do, run in the register tiles,
//! patches and strips of [`dense`](crate::dense) and [`conv`](crate::conv). Their sums are `Σ x·w - z_x Σ w`, of which
//! those loops compute the first term; the second is subtracted from the biases, for each run of windows that meet the
//! same weights. It costs a second look at the weights where few inputs share them: a dense layer that often runs on
//! single rows can be given `bias[o] - z_x Σ_i weight[o, i]` and an `input_zero` of 0, once, for the same results.
//!
//! All else is left to the loops of [`packed`](crate::packed) and [`mixed`](crate::mixed) weights, which are several times
//! slower: weights with a zero point (of nearly every `u8` layer), which ask for `z_w Σ x` of each window; 16-bit
//! activations over 8-bit weights, which no tile multiplies; and biases beyond ±2^30, beside which a 32-bit sum may
//! overflow. So is everything on devices, where one copy of the loops is smaller than two and tiles gain nothing.
//!
//! Source: Jacob et al. 2018, "Quantization and training of neural networks for efficient
//! integer-arithmetic-only inference"; the rounding of `tensorflow/lite/kernels/internal/common.h`.

mod layers;
mod multiplier;
mod tiles;

pub use layers::{Activation, Quantization, conv_forward, dense_forward};
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) use layers::{Affine, decoded_conv, decoded_dense};
pub use multiplier::{Fused, Multiplier, Rounding};
