//! Why a session refused.

use crate::image::Role;
use crate::ops::Kind;
use core::fmt;
use selvedge_kernels::{self as kernels, DType};

/// Why a session refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The arena is too small.
    Arena {
        /// Bytes that it must have.
        expected: usize,
        /// Bytes that it has.
        got: usize,
    },
    /// The image needs an operator that the registry lacks.
    Operator {
        /// Its number: [`Kind::of`] has its name, if this version knows it.
        kind: u8,
        /// The element type that it is needed for.
        dtype: DType,
    },
    /// The image has no program of this role.
    Program {
        /// The role.
        role: Role,
    },
    /// There is no input or output of this index.
    Index {
        /// The index.
        index: usize,
    },
    /// Elements of another type than the tensor has.
    DType {
        /// Of the tensor.
        expected: DType,
        /// That was asked for.
        got: DType,
    },
    /// More samples than the program was compiled for, or none.
    Batch {
        /// Samples that there is room for.
        capacity: usize,
        /// Samples that were given.
        got: usize,
    },
    /// Momentum, for which the image keeps no velocities: it was compiled without `Options::momentum`.
    Momentum,
    /// Nothing has run since the session began, or the last run failed.
    NotRun,
    /// The kernel of an operator refused.
    Kernel {
        /// The operator, counted from 0 in its program.
        operator: usize,
        /// Which it is.
        kind: Kind,
        /// What the kernel said.
        source: kernels::Error,
    },
    /// What the image says of an operator does not belong together.
    Record {
        /// The operator, counted from 0 in its program.
        operator: usize,
        /// Its number.
        kind: u8,
    },
    /// The image contradicts itself.
    Malformed,
}

fn name(kind: u8) -> &'static str {
    Kind::of(kind).map_or("unknown", Kind::name)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arena { expected, got } => {
                write!(f, "arena: expected at least {expected} bytes, found {got}")
            }
            Self::Operator { kind, dtype } => write!(
                f,
                "the image needs the operator {} ({kind}) for {dtype}, which this program does not link",
                name(*kind)
            ),
            Self::Program { role } => write!(f, "the image has no program `{}`", role.name()),
            Self::Index { index } => write!(f, "there is no input or output {index}"),
            Self::DType { expected, got } => {
                write!(f, "expected elements of {expected}, found {got}")
            }
            Self::Batch { capacity, got } => {
                write!(f, "batch: expected 1 to {capacity} samples, found {got}")
            }
            Self::Momentum => f.write_str("the image keeps no velocities for momentum"),
            Self::NotRun => f.write_str("nothing has run"),
            Self::Kernel {
                operator,
                kind,
                source,
            } => write!(f, "operator {operator} ({}): {source}", kind.name()),
            Self::Record { operator, kind } => write!(
                f,
                "the image's record of operator {operator} ({}) does not fit it",
                name(*kind)
            ),
            Self::Malformed => f.write_str("the image contradicts itself"),
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Kernel { source, .. } => Some(source),
            _ => None,
        }
    }
}
