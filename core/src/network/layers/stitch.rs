//! Stitches between neighbours of different sizes.

use super::{Build, Dense};
use crate::graph::{Error, ValueId};
use crate::network::builder::Builder;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// A learned projection over the last axis, from `[.., F]` to `[.., outputs]`, which fits neighbours of different sizes to
/// each other: a [`Dense`] layer that has no activation, to the byte.
///
/// # Example
/// Experts of different inner sizes come to one size:
/// ```
/// use selvedge_core::network::{Activation, Branch, Combine, Dense, Network, Options, Parallel, Stitch};
/// use selvedge_core::DType;
///
/// let expert = |name: &str, hidden| {
///     let hidden = Dense::new(hidden).activation(Activation::Relu);
///     Branch::new(name).layer("hidden", hidden).layer("stitch", Stitch::new(4))
/// };
/// let both = Parallel::new(Combine::Add).branch(expert("narrow", 2)).branch(expert("wide", 16));
/// let network = Network::new([4]).layer("both", both).layer("head", Dense::new(3));
/// network.compile(DType::I8, &Options::default())?;
/// # Ok::<(), selvedge_core::network::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Stitch {
    /// Features of the output.
    pub outputs: usize,
}

impl Stitch {
    /// To so many features.
    #[must_use]
    pub const fn new(outputs: usize) -> Self {
        Self { outputs }
    }
}

impl Build for Stitch {
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
        Dense::new(self.outputs).build(to, x)
    }
}
