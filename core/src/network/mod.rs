//! Networks as people think of them: named layers, described in JSON or in Rust, and compiled.
//!
//! From a description to a running session:
//! ```
//! use selvedge_core::image::{Image, Role};
//! use selvedge_core::network::{Activation, Dense, Network, Options};
//! use selvedge_core::{DType, Rate, Serial, Sgd, ops, session::Session};
//!
//! // On the host: two features to two classes, in bytes, for four samples at a time.
//! let network = Network::new([2])
//!     .layer("hidden", Dense::new(8).activation(Activation::Relu))
//!     .layer("head", Dense::new(2));
//! let options = Options { samples: 4, train: true, ..Options::default() };
//! let bytes = network.compile(DType::I8, &options)?;
//!
//! // On the device: an image begins at an address divisible by 16; nothing is allocated from here on.
//! #[repr(C, align(16))]
//! struct Aligned([u8; 4096]);
//! let mut flash = Aligned([0; 4096]);
//! flash.0[..bytes.len()].copy_from_slice(&bytes);
//! let image = Image::parse(&flash.0)?;
//! let mut arena = [0; 1024];
//! assert!(image.arena_bytes() <= arena.len());
//! // Only these operators are linked.
//! let registry: ops::Registry<'_> =
//!     &[ops::dense::run::<i8>(), ops::dense::train::<i8>(), ops::loss::cross_entropy_of::<i8>()];
//! let mut session = Session::new(&image, &mut arena, registry)?;
//! for _ in 0..200 {
//!     // Elements are fractions of 128. The class is whether the first is the larger.
//!     let x = session.input_mut::<i8>(Role::Train, 0)?;
//!     x.copy_from_slice(&[90, 10, 20, 110, 100, 70, 5, 40]);
//!     session.input_mut::<u16>(Role::Train, 1)?.copy_from_slice(&[1, 0, 1, 0]);
//!     session.train_step(&Serial, 4, &Sgd::new(Rate { mantissa: 1, exponent: -4 }))?;
//! }
//! session.input_mut::<i8>(Role::Infer, 0)?[..2].copy_from_slice(&[30, 80]);
//! session.run(&Serial, 1)?;
//! let logits = session.output::<i16>(0)?; // each of them is q · 2^exponent
//! assert!(logits.data[0] > logits.data[1]);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod blocks;
pub(crate) mod builder;
#[cfg(feature = "json")]
mod description;
#[cfg(feature = "json")]
mod grid;
mod layers;
mod summary;

pub use crate::graph::{Budget, Error};
pub use blocks::{Experts, Inception, ResNext, Siamese};
pub use layers::{
    Abs, Activate, Activation, AdaptiveAveragePool, AdaptiveMaxPool, AdaptiveSoftmax, ArgMax,
    ArgMin, Attention, AveragePool, Balance, BatchNorm, Beyond, Branch, Combine, Compose, Conv,
    ConvTranspose, Coordinates, CrossAttention, Custom, DeformableAttention, Dense, Depthwise,
    Dropout, Embedding, Entmax, Extents, Flatten, Gather, Gives, GlobalAveragePool, GlobalMaxPool,
    GroupedSoftmax, Gru, GumbelSoftmax, Head, KMeans, Layer, LayerNorm, LearnedMixture, Lstm,
    MaskedSoftmax, MaxPool, Metric, MixedConv, MixedDense, Mixture, MixtureSoftmax, Negate, Pad,
    Padding, Pairs, Parallel, Part, Permute, Positions, Range, ReduceMax, ReduceMean, ReduceMin,
    ReduceSum, Reshape, Residual, ResizeBilinear, ResizeNearest, RmsNorm, Rnn, Rotary, Scale,
    Scaling, Scope, Sequential, Sight, Slice, Softmax, Sparsemax, Square, Steps, Stitch, Stream,
    Tied, TopK, TopKSoftmax, TreeSoftmax, Type, Weights,
};

#[cfg(feature = "json")]
pub use description::Description;
pub use summary::LayerSummary;

use crate::graph::Graph;
use crate::ops::{loss, scale};
use crate::session::Session;
use alloc::string::String;
use alloc::vec::Vec;
use builder::{Builder, Output};
use selvedge_kernels::DType;
use selvedge_kernels::loss::Delta;

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
/// assert!(image.starts_with(b"SLVG"));
/// # Ok::<(), selvedge_core::network::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Network {
    /// Extents of an input sample: features; rows, columns and channels.
    pub input: Vec<usize>,
    /// Type of the input, if it is tokens, which are numbers of an [`Embedding`].
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub tokens: Option<Tokens>,
    /// The layers.
    pub layers: Vec<Layer>,
}

/// Type of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Tokens {
    /// Up to 256.
    U8,
    /// Up to 65,536.
    U16,
    /// More.
    U32,
}

impl Tokens {
    const fn dtype(self) -> DType {
        match self {
            Self::U8 => DType::U8,
            Self::U16 => DType::U16,
            Self::U32 => DType::U32,
        }
    }
}

/// What training makes small: a sum over all samples of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Loss {
    /// Softmax cross-entropy over the last axis of the output, with a class of `u16` for each row:
    /// [`selvedge_kernels::loss::cross_entropy`].
    #[default]
    CrossEntropy,
    /// Half the squared distance from targets, which are outputs: [`selvedge_kernels::loss::regression`].
    Squared,
    /// The distance from targets.
    Absolute,
    /// Half the squared distance up to this one, and linear beyond.
    Huber(f32),
    /// Cross-entropy of outputs that are true or false each by itself, with targets from 0 to 1:
    /// [`selvedge_kernels::loss::binary_cross_entropy`].
    BinaryCrossEntropy,
}

/// What a network is compiled for.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Options {
    /// The most samples of a run.
    pub samples: usize,
    /// Whether the image has a program that trains. Without, parameters are read where they lie in the image and cost no
    /// RAM.
    pub train: bool,
    /// What training makes small of the last output; a [`Head`] has a loss of its own.
    pub loss: Loss,
    /// Whether gradients are added over several runs before they update parameters, which the session is told to do.
    /// Costs the RAM of all gradients.
    pub accumulate: bool,
    /// Whether training keeps velocities, for momentum.
    pub momentum: bool,
    /// Whether passes are left out that change how floats round: a network that is only run folds batch normalisation into the
    /// weights before it otherwise, and gives the same numbers but for a few units in the last place of the largest term.
    /// Integers never change.
    #[cfg_attr(feature = "json", serde(default))]
    pub exact: bool,
    /// Whether a network that is only run is without the outputs of its [heads](Head), and without what nothing else needs:
    /// a deployment of a network that they have helped to train.
    #[cfg_attr(feature = "json", serde(default))]
    pub headless: bool,
    /// Whether the image has a program that advances each layer by a tick: [`Session::step`].
    #[cfg_attr(feature = "json", serde(default))]
    pub step: bool,
    /// Whether the samples of a run are the positions of one sequence, of which a run may take any number up to `samples`:
    /// with a cache, a prompt is a run and each token behind it another. Samples are `[1, F]`, or one token; attention and
    /// recurrent layers go over the samples; others take each by itself, and those that go over positions in other ways are
    /// refused. The bytes are those of the same network of one sample of so many positions; in pieces, where no position sees
    /// those behind it and exponents of integers are settled.
    #[cfg_attr(feature = "json", serde(default))]
    pub sequence: bool,
    /// Seed of the initialisation.
    pub seed: u32,
    /// What the arena of a session may take.
    #[cfg_attr(feature = "json", serde(default))]
    pub budget: Budget,
}

impl Default for Options {
    /// One sample, no training, seed 1.
    fn default() -> Self {
        Self {
            samples: 1,
            train: false,
            loss: Loss::CrossEntropy,
            accumulate: false,
            momentum: false,
            step: false,
            exact: false,
            sequence: false,
            headless: false,
            seed: 1,
            budget: Budget::NONE,
        }
    }
}

/// The forward pass of a network.
struct Forward {
    graph: Graph,
    /// The last layer's, then those of heads.
    outputs: Vec<Output>,
    summaries: Vec<LayerSummary>,
}

/// Refuses a loss that no kernel takes.
fn check_loss(loss: Loss, path: &str) -> Result<(), Error> {
    if let Loss::Huber(delta) = loss {
        let refuse = |source| Error::Kernel {
            path: path.into(),
            source,
        };
        Delta::new(delta).map_err(refuse)?;
    }
    Ok(())
}

impl Network {
    /// A network without layers, for samples of these extents.
    #[must_use]
    pub fn new(input: impl Into<Vec<usize>>) -> Self {
        Self {
            input: input.into(),
            tokens: None,
            layers: Vec::new(),
        }
    }

    /// The same for samples of so many tokens.
    #[must_use]
    pub fn of_tokens(input: usize, tokens: Tokens) -> Self {
        Self {
            tokens: Some(tokens),
            ..Self::new([input])
        }
    }

    /// With one layer more.
    #[must_use]
    pub fn layer(mut self, name: impl Into<String>, layer: impl Into<Type>) -> Self {
        self.layers.push(Layer::new(name, layer));
        self
    }

    /// With one layer more, that has its name.
    #[must_use]
    pub fn with(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// The layer at `path`, as errors give it: names of the layers around it and its own, with dots between them.
    ///
    /// # Example
    /// ```
    /// use selvedge_core::network::{Dense, Network, Sequential};
    /// let block = Sequential::default().layer("hidden", Dense::new(8));
    /// let mut network = Network::new([2]).layer("block", block).layer("head", Dense::new(2));
    /// network.layer_mut("block.hidden").ok_or("no such layer")?.frozen = true;
    /// assert!(network.layer_mut("block.head").is_none());
    /// # Ok::<(), &str>(())
    /// ```
    pub fn layer_mut(&mut self, path: &str) -> Option<&mut Layer> {
        layers::at(&mut self.layers, path)
    }

    /// The network with the layer at `path`, and the layers in it that have no type of their own, in elements of `dtype`.
    /// [`Network::compile_trained`] takes along what it has learned.
    ///
    /// # Errors
    /// [`Error::Attribute`] for a path that no layer has.
    ///
    /// # Example
    /// Bytes, but for the last layer:
    /// ```
    /// use selvedge_core::DType;
    /// use selvedge_core::network::{Activation, Dense, Network, Options};
    /// let network = Network::new([2])
    ///     .layer("hidden", Dense::new(8).activation(Activation::Relu))
    ///     .layer("head", Dense::new(2))
    ///     .to_dtype("head", DType::F32)?;
    /// let summary = network.summary(DType::I8, &Options::default())?;
    /// assert_eq!([summary[0].dtype, summary[1].dtype], [DType::I8, DType::F32]);
    /// # Ok::<(), selvedge_core::network::Error>(())
    /// ```
    pub fn to_dtype(mut self, path: &str, dtype: DType) -> Result<Self, Error> {
        let Some(layer) = self.layer_mut(path) else {
            return Err(Error::Attribute {
                path: path.into(),
                expected: "the path of a layer".into(),
                found: "none".into(),
            });
        };
        layer.dtype = Some(dtype);
        Ok(self)
    }

    /// The network as a graph of operators on elements of `dtype`.
    ///
    /// # Errors
    /// [`Error`], with the path of the layer.
    pub fn graph(&self, dtype: DType, options: &Options) -> Result<Graph, Error> {
        let Forward {
            mut graph, outputs, ..
        } = self.forward(dtype, options)?;
        if options.train {
            let mut errors = Vec::new();
            let mut losses = Vec::new();
            for output in outputs {
                let Some(loss) = output.loss else {
                    continue;
                };
                let at = (output.dtype, output.number);
                let [error, loss] = loss::describe::append(&mut graph, output.value, at, loss);
                let error =
                    scale::describe::append(&mut graph, error, output.weight, output.number);
                errors.push((output.value, error));
                losses.push(loss);
            }
            graph.differentiate(&errors)?;
            for loss in losses {
                graph.output(loss);
            }
        }
        graph.fit(options.samples, options.budget)?;
        Ok(graph)
    }

    /// What each layer costs, in order; containers are left out, and what lies in them is not.
    ///
    /// # Errors
    /// As [`Network::graph`].
    ///
    /// # Example
    /// ```
    /// use selvedge_core::DType;
    /// use selvedge_core::network::{Dense, Network, Options};
    /// let network = Network::new([12]).layer("head", Dense::new(4));
    /// let summary = network.summary(DType::I8, &Options::default())?;
    /// assert_eq!((summary[0].parameters, summary[0].macs), (12 * 4 + 4, 12 * 4));
    /// # Ok::<(), selvedge_core::network::Error>(())
    /// ```
    pub fn summary(&self, dtype: DType, options: &Options) -> Result<Vec<LayerSummary>, Error> {
        self.forward(dtype, options)
            .map(|forward| forward.summaries)
    }

    /// The graph of the forward pass.
    fn forward(&self, dtype: DType, options: &Options) -> Result<Forward, Error> {
        if options.samples == 0 {
            return Err(Error::Attribute {
                path: "samples".into(),
                expected: "at least one".into(),
                found: "0".into(),
            });
        }
        if options.sequence && options.step {
            return Err(Error::Attribute {
                path: "sequence".into(),
                expected: "no program of ticks, each of which is a run of samples".into(),
                found: "one".into(),
            });
        }
        check_loss(options.loss, "loss")?;
        let mut graph = Graph {
            seed: options.seed,
            has_momentum: options.train && options.momentum,
            accumulates: options.accumulate,
            exact: options.exact,
            ..Graph::default()
        };
        let (of_input, exponent) = match self.tokens {
            None => (dtype, builder::pixel_exponent(dtype)),
            Some(tokens) => (tokens.dtype(), 0),
        };
        let x = graph.input(of_input, &self.input, exponent);
        let mut builder = Builder::new(&mut graph, options, dtype);
        builder.has_tokens = self.tokens.is_some();
        builder.named("input", |to| to.check_value(&self.input))?;
        let (value, dtype) = builder.output(&self.layers, x)?;
        let mut outputs = builder.heads;
        let last = Output {
            value,
            dtype,
            loss: Some(options.loss),
            weight: 0,
            number: 0,
        };
        if options.headless && !options.train {
            outputs.clear();
        }
        outputs.insert(0, last);
        let summaries = builder.summaries;
        graph.forward = graph.nodes.len();
        graph.backward = graph.forward;
        for output in &outputs {
            graph.output(output.value);
        }
        if options.step {
            graph.add_step(options.samples)?;
        }
        Ok(Forward {
            graph,
            outputs,
            summaries,
        })
    }

    /// The network as an image.
    ///
    /// # Errors
    /// As [`Network::graph`].
    pub fn compile(&self, dtype: DType, options: &Options) -> Result<Vec<u8>, Error> {
        self.graph(dtype, options)?.compile(options.samples)
    }

    /// The network as an image without the parameters of its layers, and these beside it, for a session that is
    /// [given](Session::with_weights) them: weights in a file that is mapped, or that several images share. They come in the
    /// order of [`Session::parameter`], those of `session` if there is one, as [`Network::compile_trained`] has them: each the elements of a tensor, little-endian, and where it is trained the low bytes of
    /// its masters behind them.
    ///
    /// # Errors
    /// As [`Network::graph`]; [`Error::Session`].
    ///
    /// # Example
    /// ```
    /// use selvedge_core::image::{Error, Image};
    /// use selvedge_core::network::{Dense, Network, Options};
    /// use selvedge_core::{DType, ops, session::Session};
    /// let network = Network::new([12]).layer("head", Dense::new(4));
    /// let (bytes, weights) = network.compile_outside(DType::I8, &Options::default(), None)?;
    /// #[repr(C, align(16))]
    /// struct Aligned([u8; 1024]);
    /// let mut file = Aligned([0; 1024]);
    /// file.0[..bytes.len()].copy_from_slice(&bytes);
    /// let image = Image::parse(&file.0)?;
    /// let slices: Vec<&[u8]> = weights.iter().map(|slice| &**slice).collect();
    /// assert_eq!(image.check_weights(&slices), Ok(()));
    /// let mut arena = vec![0; image.arena_bytes()];
    /// let session = Session::with_weights(&image, &mut arena, ops::ALL, &slices)?;
    /// assert_eq!(session.parameter::<i8>(0)?.data.len(), 12 * 4);
    /// let missing = Error::Weights { index: 1, expected: 4 * 2, got: 0 };
    /// assert_eq!(image.check_weights(&slices[..1]), Err(missing));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn compile_outside(
        &self,
        dtype: DType,
        options: &Options,
        session: Option<&Session<'_>>,
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
        let mut graph = self.graph(dtype, options)?;
        if let Some(session) = session {
            graph.continue_from(session)?;
        }
        graph.compile_outside(options.samples)
    }

    /// The network as an image that goes on from what `session` has learned, which is one of this network: for more samples,
    /// for a device that only runs it, or in other types.
    ///
    /// In the same types, integers keep their exponents, and those of activations that they have adapted to; a network that
    /// is only run gives the bytes that the session gives. In others, a tensor of integers gets the smallest exponent at
    /// which all its masters fit, rounded to the nearest; activations have no exponents until the first training step, or
    /// until [`Session::calibrate`] has seen samples. There and back in a type of more bits, nothing changes.
    /// A session whose norms have been folded into weights ([`Options::exact`]), or from whose image heads or dead code have
    /// been left out ([`Options::headless`]), is one of another network.
    ///
    /// # Errors
    /// As [`Network::graph`]; [`Error::Session`].
    pub fn compile_trained(
        &self,
        dtype: DType,
        options: &Options,
        session: &Session<'_>,
    ) -> Result<Vec<u8>, Error> {
        let mut graph = self.graph(dtype, options)?;
        graph.continue_from(session)?;
        graph.compile(options.samples)
    }

    /// The network as an image with a section that has the description, for tools that look at images. A session passes
    /// over it. [`Description::compile`] makes one that goes on from a session.
    ///
    /// # Errors
    /// As [`Network::graph`]; [`Error::Attribute`] for a [`Custom`] layer.
    #[cfg(feature = "json")]
    pub fn compile_described(&self, dtype: DType, options: &Options) -> Result<Vec<u8>, Error> {
        Description::new(self.clone(), dtype, *options).compile(None)
    }

    /// Refuses a layer that JSON has no form for.
    #[cfg(feature = "json")]
    fn check_described(&self) -> Result<(), Error> {
        match layers::custom::find(&self.layers) {
            None => Ok(()),
            Some((path, name)) => Err(Error::Attribute {
                path,
                expected: "a layer that JSON has, as no layer of a program's own is".into(),
                found: alloc::format!("`{name}`"),
            }),
        }
    }

    /// The network that this text describes: an input and layers, or a grid of cells, with `grid_rows`, `grid_cols` and
    /// `layers_per_cell`, of which `docs/grid.md` says what is read.
    ///
    /// # Errors
    /// Those of `serde_json`, with line and column, or of a grid with the path: unknown layers and attributes are refused.
    ///
    /// # Example
    /// ```
    /// use selvedge_core::network::Network;
    /// let text = r#"{
    ///     "input": [8, 8, 1],
    ///     "layers": [
    ///         {"name": "edges", "type": "conv", "filters": 8, "kernel": 3, "padding": "same", "activation": "relu"},
    ///         {"name": "halve", "type": "max_pool"},
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
        match grid::read(text) {
            Some(description) => Ok(description?.network),
            None => serde_json::from_str(text),
        }
    }

    /// The description as text.
    ///
    /// # Errors
    /// For a [`Custom`] layer, with its path.
    #[cfg(feature = "json")]
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        self.check_described().map_err(serde::ser::Error::custom)?;
        serde_json::to_string_pretty(self)
    }
}
