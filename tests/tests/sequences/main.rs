//! Layers over sequences, typed: the reference's runs to the byte, networks that learn, streams.

#![recursion_limit = "512"]
// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

mod golden;
mod learning;
mod padding;
mod streams;
mod ticks;
