//! What an image says about where it comes from.

use super::{Network, Options, grid};
use alloc::string::{String, ToString};
use selvedge_kernels::DType;
use serde::{Deserialize, Serialize};

/// What an image was compiled from: the content of its section `description`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The network.
    pub network: Network,
    /// Name of the element type.
    dtype: String,
    /// What it was compiled for.
    pub options: Options,
}

impl Description {
    /// A network, its element type and its options.
    #[must_use]
    pub fn new(network: Network, dtype: DType, options: Options) -> Self {
        Self {
            network,
            dtype: dtype.name().to_string(),
            options,
        }
    }

    /// The element type, if it is one that this build knows.
    #[must_use]
    pub fn dtype(&self) -> Option<DType> {
        DType::from_name(&self.dtype)
    }

    /// The description that this text is, or a grid of cells, as [`Network::from_json`] reads it: with its type, its
    /// samples and its seed.
    ///
    /// # Errors
    /// Those of `serde_json`.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        let grid = core::str::from_utf8(text).ok().and_then(grid::read);
        grid.unwrap_or_else(|| serde_json::from_slice(text))
    }

    /// The description as text, on one line.
    ///
    /// # Errors
    /// For a [`Custom`](super::Custom) layer, with its path.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let checked = self.network.check_described();
        checked.map_err(serde::ser::Error::custom)?;
        serde_json::to_string(self)
    }
}
