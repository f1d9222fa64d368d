//! Training on a microcontroller: what the programs of this package share, and those of `describe-on-device`.
//!
//! [`board`] is the one place that knows a machine and the one place of unsafe code; [`report`]
//! prints. What is trained stands in the package `selvedge-digits`, which the host and wasm run, too.
#![no_std]

pub mod board;
pub mod report;
#[cfg(feature = "defmt")]
use defmt_semihosting as _;
