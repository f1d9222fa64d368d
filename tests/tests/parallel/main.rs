//! Any number of branches on one input, mixtures of experts and what gates them: definitions, gradients, exact
//! models, the reference's runs, networks that learn to route.

#![recursion_limit = "512"]
// Test code: a broken assumption should end the test at once, with its place.
#![allow(clippy::unwrap_used)]

mod golden;
mod integers;
mod kernels;
mod layers;
mod refusals;
mod routing;
