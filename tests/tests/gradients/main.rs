//! Gradients: backward kernels in f64 against central differences of the forward kernels, and
//! integer gradients against those of a float network with the same (rounded) weights.
//!
//! That the forward kernels compute what they should: `definitions.rs`.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs)] // modules of a test

mod differences;
mod integers;
