//! Selvedge on a host: data sets, training in every element type, reports, states on files and the
//! `selvedge` command.
//!
//! ```
//! use selvedge::{DType, data::DataSet, training::{Settings, train}};
//!
//! let set = DataSet::digits();
//! let settings = Settings { epochs: 1, seed: 1 };
//! let outcome = train(DType::I8, &set, settings, &|_| ())?;
//! assert!(outcome.accuracy() > 0.8);
//! # Ok::<(), selvedge::Error>(())
//! ```
//!
//! # The map
//! | module | what |
//! |---|---|
//! | [`data`] | labelled samples: the embedded digits, MNIST-format files, tables, NumPy's arrays |
//! | [`training`] | a data set to a trained network, built in or described, in any of the twelve element types |
//! | [`report`] | curves and tables as one HTML file |
//! | [`storage`] | what a session has learned, in files that a loss of power leaves whole |
//! | [`cli`] | the `selvedge` command |
//!
//! # What it does not do
//! Mathematics: `selvedge-kernels` and `selvedge-core`.
#![forbid(unsafe_code)]

pub mod cli;
pub mod data;
mod dtype;
mod error;
mod files;
mod npy;
pub mod report;
mod runner;
pub mod storage;
pub mod training;

pub use error::{DataFault, Error, ModelFault, Result};
pub use selvedge_core::DType;
