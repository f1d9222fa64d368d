//! What an image says about where it comes from.

use super::{Error, Network, Options, grid};
use crate::session::Session;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
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
    /// What numbers of the data were divided by before they were inputs, as powers of two: one for each element of a
    /// sample, one for all, or none. Whoever runs the image divides by the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_exponents: Vec<i16>,
}

impl Description {
    /// A network, its element type and its options.
    #[must_use]
    pub fn new(network: Network, dtype: DType, options: Options) -> Self {
        Self {
            network,
            dtype: dtype.name().to_string(),
            options,
            input_exponents: Vec::new(),
        }
    }

    /// The image that it describes, with itself in it; one that goes on from what `session` has learned, if there is one.
    ///
    /// # Errors
    /// As [`Network::compile_described`] and [`Network::compile_trained`].
    ///
    /// # Example
    /// ```
    /// use selvedge_core::DType;
    /// use selvedge_core::network::{Dense, Description, Network, Options};
    /// let network = Network::new([2]).layer("head", Dense::new(2));
    /// let mut description = Description::new(network, DType::I8, Options::default());
    /// description.input_exponents = vec![4]; // numbers up to 16
    /// let image = description.compile(None)?;
    /// # assert!(image.starts_with(b"SLVG"));
    /// # Ok::<(), selvedge_core::network::Error>(())
    /// ```
    pub fn compile(&self, session: Option<&Session<'_>>) -> Result<Vec<u8>, Error> {
        let dtype = self.dtype().ok_or_else(|| Error::Attribute {
            path: "dtype".into(),
            expected: "an element type".into(),
            found: self.dtype.clone(),
        })?;
        self.network.check_described()?;
        let mut graph = self.network.graph(dtype, &self.options)?;
        if let Some(session) = session {
            graph.continue_from(session)?;
        }
        let text = self.to_json().map_err(|_| Error::Size)?; // which no network causes
        graph.compile_with(self.options.samples, text.into_bytes())
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
