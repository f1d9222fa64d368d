//! Why bytes are no image.

use core::fmt;

/// Why bytes are no image that this build can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// They do not begin as an image does.
    Magic,
    /// An image of a later version than this build reads.
    Version {
        /// Of the image.
        got: u16,
        /// The last that this build reads.
        newest: u16,
    },
    /// They do not begin at an address divisible by 16.
    Alignment,
    /// The image ends before it says.
    Truncated {
        /// The section, or 0 for the header.
        section: u32,
        /// Bytes that are there.
        got: usize,
    },
    /// Bytes of a section have changed.
    Checksum {
        /// The section, or 0 for the header and the table of sections.
        section: u32,
    },
    /// A slice of weights that the caller has is missing, is one too many, or has another size.
    Weights {
        /// Which of them.
        index: usize,
        /// Bytes that it must have; 0 for one too many.
        expected: usize,
        /// Bytes that it has; 0 for one that is missing.
        got: usize,
    },
    /// The bytes of a slice of weights are not those that the image was compiled with.
    Damaged {
        /// Which of them.
        index: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("no image: it does not begin with SLVG"),
            Self::Version { got, newest } => write!(
                f,
                "an image of version {got}: this build reads versions up to {newest}"
            ),
            Self::Alignment => {
                f.write_str("an image must begin at an address that is divisible by 16")
            }
            Self::Truncated { section, got } => {
                write!(
                    f,
                    "section {section} of the image ends early, at byte {got}"
                )
            }
            Self::Checksum { section } => write!(f, "section {section} of the image is damaged"),
            Self::Weights {
                index,
                expected,
                got,
            } => write!(
                f,
                "slice {index} of the weights: expected {expected} bytes, found {got}"
            ),
            Self::Damaged { index } => write!(
                f,
                "slice {index} of the weights is not the one that the image was compiled with"
            ),
        }
    }
}

impl core::error::Error for Error {}
