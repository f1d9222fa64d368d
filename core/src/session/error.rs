//! Why a session refused.

use crate::image::{self, Role};
use crate::ops::Kind;
use core::fmt;
use selvedge_kernels::{self as kernels, DType, Element};

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
    /// No input has gone through all layers of the row yet.
    Ticks {
        /// From the input to the output.
        expected: usize,
        /// Those there were.
        got: usize,
    },
    /// There is no input, output or parameter of this index.
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
    /// A parameter, or what is read off an output, has another number of elements.
    Length {
        /// Elements that there are.
        expected: usize,
        /// Elements that were given.
        got: usize,
    },
    /// An input or a parameter has an element beyond `±(2^M - 1)`, of which sums overflow: M is 24 for integers of 32 bits, 53
    /// for those of 64.
    Magnitude {
        /// Which input, or which parameter.
        index: usize,
        /// The type of its elements.
        dtype: DType,
    },
    /// The weights of an image that has them outside are others than it was compiled with.
    Weights(image::Error),
    /// A slice of weights begins where no elements of its type can be read.
    Alignment {
        /// Which slice.
        index: usize,
        /// What its address must be divisible by.
        bytes: usize,
    },
    /// A parameter that was compiled to be frozen lies in the image, where nothing is written.
    Frozen {
        /// Which parameter.
        index: usize,
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
    /// A state that was not restored.
    State(StateError),
    /// The image contradicts itself.
    Malformed,
}

/// Why a state is not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// The bytes do not begin as a state does.
    Magic,
    /// It was written by a later version.
    Version {
        /// Its version.
        got: u16,
        /// The last that this build reads.
        newest: u16,
    },
    /// It has another number of bytes than the states of this image: it ends early, or is that of another image.
    Length {
        /// Bytes of a state of this image.
        expected: usize,
        /// Bytes that it has.
        got: usize,
    },
    /// Its bytes have changed since it was written.
    Checksum,
    /// It is that of another image.
    Image,
    /// It has an exponent that no tensor has.
    Exponent,
    /// It has a parameter beyond the magnitude of its type: [`Error::Magnitude`].
    Magnitude,
    /// No slot of the storage has a state that is whole.
    Empty,
    /// The storage has no room for a state of this image.
    Room {
        /// Bytes that a slot needs.
        expected: usize,
        /// Bytes that it has.
        got: usize,
    },
    /// The storage failed.
    Storage,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("these bytes are none"),
            Self::Version { got, newest } => {
                write!(f, "expected version {newest} or earlier, found {got}")
            }
            Self::Length { expected, got } => write!(f, "expected {expected} bytes, found {got}"),
            Self::Checksum => f.write_str("its bytes are damaged"),
            Self::Image => f.write_str("it belongs to another image"),
            Self::Exponent => f.write_str("it has an exponent beyond 16 bits"),
            Self::Magnitude => f.write_str("it has a parameter beyond the magnitude of its type"),
            Self::Empty => f.write_str("no slot has one that is whole"),
            Self::Room { expected, got } => {
                write!(f, "a slot needs {expected} bytes, it has {got}")
            }
            Self::Storage => f.write_str("the storage failed"),
        }
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
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
            Self::Ticks { expected, got } => {
                write!(
                    f,
                    "an output comes after {expected} ticks, there were {got}"
                )
            }
            Self::Index { index } => write!(f, "there is no input, output or parameter {index}"),
            Self::DType { expected, got } => {
                write!(f, "expected elements of {expected}, found {got}")
            }
            Self::Batch { capacity, got } => {
                write!(f, "batch: expected 1 to {capacity} samples, found {got}")
            }
            Self::Length { expected, got } => {
                write!(f, "expected {expected} elements, found {got}")
            }
            Self::Magnitude { index, dtype } => write!(
                f,
                "input or parameter {index}: an element of {dtype} is beyond its magnitude, {} bits",
                if dtype.bytes() > 4 {
                    i64::MAGNITUDE_BITS
                } else {
                    i32::MAGNITUDE_BITS
                }
            ),
            Self::Weights(error) => error.fmt(f),
            Self::Alignment { index, bytes } => write!(
                f,
                "slice {index} of the weights must begin at an address that is divisible by {bytes}"
            ),
            Self::Frozen { index } => write!(f, "parameter {index} lies in the image"),
            Self::State(error) => write!(f, "state: {error}"),
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
            Self::Weights(error) => Some(error),
            _ => None,
        }
    }
}
