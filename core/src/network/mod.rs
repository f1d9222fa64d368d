//! Networks as people think of them: a tree of named layers, described in JSON or in Rust, and compiled.

mod build;
mod layers;

pub use crate::graph::Error;
pub use layers::{Activation, Conv2d, Dense, Layer, MaxPool2d, Padding, Type};

use crate::graph::Graph;
use crate::image::format::Place;
use crate::ops::loss;
use alloc::string::String;
use alloc::vec::Vec;
use selvedge_kernels::DType;

/// A network: its input, its element type, and its layers in order.
///
/// # Example
/// ```
/// use selvedge_core::network::{Activation, Dense, Network, Options};
/// use selvedge_kernels::DType;
///
/// let network = Network::new([2])
///     .layer("hidden", Dense::new(8).activation(Activation::Relu))
///     .layer("head", Dense::new(2));
/// let image = network.compile(DType::I8, &Options::default())?;
/// assert!(image.starts_with(b"SELVEDGE"));
/// # Ok::<(), selvedge_core::network::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Network {
    /// Extents of an input sample: features; rows, columns and channels.
    pub input: Vec<usize>,
    /// The layers.
    pub layers: Vec<Layer>,
}

/// What a network is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most samples of a run.
    pub samples: usize,
    /// Whether the image has a program that trains, by softmax cross-entropy.
    pub train: bool,
    /// Seed of the initialisation.
    pub seed: u32,
}

impl Default for Options {
    /// One sample, no training, seed 1.
    fn default() -> Self {
        Self {
            samples: 1,
            train: false,
            seed: 1,
        }
    }
}

impl Network {
    /// A network without layers, for samples of these extents.
    #[must_use]
    pub fn new(input: impl Into<Vec<usize>>) -> Self {
        Self {
            input: input.into(),
            layers: Vec::new(),
        }
    }

    /// With one layer more.
    #[must_use]
    pub fn layer(mut self, name: impl Into<String>, layer: impl Into<Type>) -> Self {
        self.layers.push(Layer {
            name: name.into(),
            layer: layer.into(),
        });
        self
    }

    /// The network as a graph of operators on elements of `dtype`.
    ///
    /// # Errors
    /// [`Error`], with the path of the layer.
    pub fn graph(&self, dtype: DType, options: &Options) -> Result<Graph, Error> {
        let mut graph = Graph {
            seed: options.seed,
            ..Graph::default()
        };
        let exponent = build::pixel_exponent(dtype);
        let x = graph.input(dtype, &self.input, exponent);
        let y = build::sequence(&mut graph, dtype, &self.layers, x)?;
        graph.forward = graph.nodes.len();
        graph.output(y);
        if options.train {
            let [dy, loss] = loss::describe::append(&mut graph, dtype, y);
            graph.differentiate(y, dy)?;
            graph.output(loss);
        } else {
            for id in graph
                .parameters
                .iter()
                .flat_map(|p| [Some(p.value), p.residual])
            {
                if let Some(value) = id.and_then(|id| graph.values.get_mut(id.0)) {
                    value.place = Place::Constant;
                }
            }
        }
        Ok(graph)
    }

    /// The network as an image.
    ///
    /// # Errors
    /// As [`Network::graph`].
    pub fn compile(&self, dtype: DType, options: &Options) -> Result<Vec<u8>, Error> {
        self.graph(dtype, options)?.compile(options.samples)
    }

    /// The network that this text describes.
    ///
    /// # Errors
    /// Those of `serde_json`, with line and column: unknown layers and attributes are refused.
    ///
    /// # Example
    /// ```
    /// use selvedge_core::network::Network;
    /// let text = r#"{
    ///     "input": [8, 8, 1],
    ///     "layers": [
    ///         {"name": "edges", "type": "conv2d", "filters": 8, "kernel": [3, 3], "padding": "same", "activation": "relu"},
    ///         {"name": "halve", "type": "max_pool2d"},
    ///         {"name": "flat", "type": "flatten"},
    ///         {"name": "head", "type": "dense", "outputs": 10}
    ///     ]
    /// }"#;
    /// let network = Network::from_json(text)?;
    /// assert_eq!(Network::from_json(&network.to_json()?)?, network);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[cfg(feature = "json")]
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The description as text.
    ///
    /// # Errors
    /// None that occur with networks.
    #[cfg(feature = "json")]
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}
