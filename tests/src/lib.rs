//! What the tests across crates share: golden files, an interpreter over the kernels' public API,
//! activations by definition, executors, images that do harm, reproducible noise, and the tolerances with their reasons.

// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod compare;
pub mod curve;
pub mod golden;
pub mod hostile;
pub mod interpreter;
pub mod layers;
pub mod noise;
pub mod parameters;
pub mod plain;
pub mod replay;
pub mod saved;
pub mod tensors;
pub mod threads;
pub mod tolerance;
pub mod windows;

/// The README's programs are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
