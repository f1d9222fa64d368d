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
//! The loops are those of [`packed`](crate::packed) and [`mixed`](crate::mixed) weights, without the register tiles,
//! patches and strips of [`dense`](crate::dense) and [`conv`](crate::conv). Those take activations and weights as
//! they are stored, from memory where padding is left out, and end in an [`Epilogue`](crate::requantize::Epilogue)
//! that knows no channel. An affine one needs the channel for its multiplier, and zero points turn a sum into
//! `Σ x·w - z_x Σ w - z_w Σ x + n z_x z_w`, whose second and last term differ for each window that padding cuts off.
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
