//! Neural networks of fixed shape, run and trained in place: no allocation, no float in integer
//! networks, and the same bytes on every target.
//!
//! ```
//! use selvedge_core::{Rate, Serial, Sgd, net, train::Trainer};
//!
//! net! {
//!     /// Two features to two classes.
//!     pub struct Toy: [2] {
//!         hidden: dense(8, activation = relu),
//!         head: dense(2),
//!     }
//! }
//!
//! // The same source in i8, u16, f32 …; all memory that training takes is in this value.
//! let mut trainer = Trainer::<Toy<i8>, 4>::BLANK;
//! trainer.init(1)?;
//! let sgd = Sgd::new(Rate { mantissa: 1, exponent: -4 });
//! for _ in 0..200 {
//!     // Elements are fractions of 128. The class is whether the first is the larger.
//!     trainer.input_mut().copy_from_slice(&[90, 10, 20, 110, 100, 70, 5, 40]);
//!     trainer.step(&Serial, &[1, 0, 1, 0], &sgd)?;
//! }
//! let mut classes = [0; 4];
//! trainer.classify(&Serial, &mut classes)?;
//! assert_eq!(classes, [1, 0, 1, 0]);
//! # Ok::<(), selvedge_core::Error>(())
//! ```
//!
//! # The map
//! | module | what |
//! |---|---|
//! | [`tensor`] | elements in a shape that is part of the type |
//! | [`mod@net`] | layers, [`net!`], and what a network costs: [`assert_fits!`] |
//! | [`train`] | a network with all that training needs: steps, epochs, evaluation |
//! | [`fingerprint`] | the hash of a network's parameters |
//! | `network` (`alloc`) | networks as layers with names, in Rust or JSON |
//! | `graph` (`alloc`) | operators on values, and what trains them |
//! | [`image`], [`session`], [`ops`] | a compiled network as bytes; one at work in an arena; the operators that it links |
//!
//! # Features
//! `detect`: kernels choose the SIMD level at run time (links std). `alloc`: networks are described and compiled. `json`:
//! descriptions as text.
//!
//! # What it does not do
//! Slice kernels: `selvedge-kernels`. Files, threads, command line: `selvedge`.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

/// The examples of the pages in `docs/` are run as tests.
#[cfg(all(doctest, feature = "json"))]
mod pages {
    #[doc = include_str!("../../docs/engine.md")]
    mod engine {}
    #[doc = include_str!("../../docs/grid.md")]
    mod grid {}
}

#[cfg(feature = "alloc")]
mod compile;
mod error;
pub mod fingerprint;
#[cfg(feature = "alloc")]
pub mod graph;
pub mod image;
pub mod net;
#[cfg(feature = "alloc")]
pub mod network;
pub mod ops;
pub mod session;
pub mod tensor;
pub mod train;

pub use error::{Error, Result};
pub use selvedge_kernels::exec::{Executor, Serial};
pub use selvedge_kernels::loss::{Delta, Distance};
pub use selvedge_kernels::optim::{Rate, Sgd};
pub use selvedge_kernels::{DType, Element};
