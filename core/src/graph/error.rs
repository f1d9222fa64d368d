//! Why a description cannot be compiled.

use alloc::string::String;
use core::fmt;

/// Why a description cannot be compiled. `path` names the layer: `blocks.3.attention`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A layer got an input of another shape than it takes.
    Shape {
        /// The layer.
        path: String,
        /// What it takes.
        expected: String,
        /// What it got.
        found: String,
    },
    /// An attribute of a layer has a value that it cannot have.
    Attribute {
        /// The layer.
        path: String,
        /// The attribute, and what it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A kernel refused extents of a layer.
    Kernel {
        /// The layer.
        path: String,
        /// What it said.
        source: selvedge_kernels::Error,
    },
    /// No gradient is known for an operator that lies between a loss and a parameter.
    Gradient {
        /// The operator.
        operator: &'static str,
    },
    /// A session is one of another network.
    Session,
    /// No program fits the budget.
    Budget {
        /// The bytes of the smallest that was found.
        needed: usize,
        /// Those there are.
        budget: usize,
    },
    /// The network is too large for an image: more than 65,534 values or 4 GiB.
    Size,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape {
                path,
                expected,
                found,
            }
            | Self::Attribute {
                path,
                expected,
                found,
            } => write!(f, "{path}: expected {expected}, found {found}"),
            Self::Kernel { path, source } => write!(f, "{path}: {source}"),
            Self::Gradient { operator } => write!(f, "{operator} has no gradient"),
            Self::Session => f.write_str("the session is one of another network"),
            Self::Budget { needed, budget } => write!(
                f,
                "{needed} bytes of RAM are needed at least, the budget is {budget}"
            ),
            Self::Size => f.write_str("the network is too large for an image"),
        }
    }
}

impl core::error::Error for Error {}
