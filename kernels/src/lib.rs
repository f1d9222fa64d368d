//! Neural-network kernels on slices: forward and backward, for twelve element types, without
//! allocation.
//!
//! ```
//! use selvedge_kernels::{dense::{self, Bias, Shape}, exec::Serial, requantize::Epilogue};
//!
//! // Two samples of three features, two outputs: out = x · weightᵀ + bias.
//! let shape = Shape { batch: 2, inputs: 3, outputs: 2 };
//! let x = [1.0f32, 2.0, 3.0, 0.0, 1.0, 0.0];
//! let weight = [1.0f32, 0.0, 0.0, 0.0, 1.0, 1.0];
//! let bias = Bias { values: &[0.0f32, 1.0], shift: 0 };
//! let mut out = [0.0f32; 4];
//! dense::forward(&Serial, shape, &x, &weight, bias, Epilogue::EXACT, &mut out, &mut [])?;
//! assert_eq!(out, [1.0, 6.0, 0.0, 2.0]);
//! # Ok::<(), selvedge_kernels::Error>(())
//! ```
//!
//! # The map
//! | module | what |
//! |---|---|
//! | [`element`] | the types, and what a kernel needs to know of each |
//! | [`fixed`], [`lut`], [`rng`] | integer arithmetic: rounding shifts and reciprocals, tables, addressed random words |
//! | [`scale`], [`requantize`] | exponents as state; from an accumulator to a stored element |
//! | [`dense`], [`conv`], [`conv::transpose`] | layers with weights |
//! | [`packed`], [`mixed`], [`affine`] | the same with weights in other forms: 1 to 8 bits in blocks, 8 bits under 16, TensorFlow Lite's |
//! | [`activation`] | what layers apply to their accumulators, and layers of their own |
//! | [`pool`] | maxima and means: sliding windows, adaptive, global |
//! | [`norm`], [`batch_norm`] | LayerNorm and RMSNorm; BatchNorm, also folded |
//! | [`recurrent`] | RNN, LSTM and GRU over sequences, whole or in pieces |
//! | [`softmax`], [`loss`] | ten maps to probabilities; what a network is held against |
//! | [`experts`] | mixtures by the weights of a gate; the loss that keeps all experts in use |
//! | [`attention`], [`rope`] | scaled dot-product attention over several heads; rotary positions |
//! | [`deformable`] | attention at computed positions of a feature map, in floats only |
//! | [`cluster`], [`dropout`] | soft k-means; random masks |
//! | [`elementwise`], [`reduce`] | arithmetic with broadcasting, sums of branches; sums, means and extremes over axes |
//! | [`select`], [`layout`] | the largest and where they are; moving elements |
//! | [`convert`] | from one element type to another |
//! | [`resize`], [`sample`] | images at other sizes, images at computed positions |
//! | [`optim`], [`init`] | updates and initialisation |
//! | [`axes`], [`window`] | extents of up to six axes; windows over one to three |
//! | [`exec`], [`arch`] | who runs tasks, instruction sets |
//!
//! Families have forward and backward passes, but for what is frozen: packed weights have the input's
//! gradient, affine layers none. Private, for several families: `finish` (where a layer's sums start and what
//! becomes of them), `decoded` (layers over weights that are decoded as they are read), `long` and `short` (integers wider or narrower than their type),
//! `real` (floats), `split` (rows).
//!
//! # Conventions
//! Layouts are row-major, last axis fastest: images `[N, H, W, C]`, filters `[O, rows, columns, I]`,
//! dense weights `[O, I]`. Functions check all lengths first and write nothing if they return an
//! error. Integer results are the same bytes on every target, SIMD level and number of tasks, and
//! float results the same bits, but for those of a NaN: sums have a fixed order and there is no fused multiply-add. What the
//! integers stand for and how they are rounded is in `docs/numerics.md`.
//!
//! # Features
//! `detect`: choose the SIMD level at run time (links std). Without it, by the build's target features.
//!
//! # What it does not do
//! Tensors, graphs, networks: `selvedge-core`.
#![no_std]

#[cfg(feature = "detect")]
extern crate std;

pub mod activation;
pub mod affine;
pub mod arch;
pub mod attention;
pub mod axes;
pub mod batch_norm;
pub mod cluster;
pub mod conv;
pub mod convert;
mod decoded;
pub mod deformable;
pub mod dense;
pub mod dropout;
pub mod element;
mod elementary;
pub mod elementwise;
pub mod embedding;
mod error;
pub mod exec;
pub mod experts;
mod finish;
pub mod fixed;
pub mod init;
pub mod layout;
mod long;
pub mod loss;
pub mod lut;
pub mod mixed;
pub mod norm;
pub mod optim;
pub mod packed;
pub mod pool;
mod real;
pub mod recurrent;
pub mod reduce;
pub mod requantize;
pub mod resize;
pub mod rng;
pub mod rope;
pub mod sample;
pub mod scale;
pub mod select;
mod short;
pub mod softmax;
#[doc(hidden)]
pub mod split;
pub mod window;

pub use element::{Blank, DType, Element};
pub use error::{Arg, Error, Found, Result};
pub use half::{bf16, f16};
