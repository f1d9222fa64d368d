//! Blocks that are ready made, of ordinary layers: what a description, an image and a session see are these.

use super::{
    Abs, Activate, Activation, Balance, BatchNorm, Branch, Combine, Conv, Dense, Layer, MaxPool,
    Mixture, Padding, Parallel, Part, Reshape, Residual, Sequential, Softmax, Stitch, TopKSoftmax,
    Type,
};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Convolutions of three sizes and a maximum on one image, whose channels stand side by side: from `[H, W, C]` to
/// `[H, W, one + three[1] + five[1] + pool]`. Behind each convolution is a ReLU. It is a [`Parallel`] of the branches
/// `one`, `three`, `five` and `pool`; signals and volumes go through it, too.
///
/// Source: Szegedy et al. 2014, figure 2 (b).
///
/// # Example
/// ```
/// use selvedge_core::network::{Dense, GlobalAveragePool, Inception, Network, Options};
/// use selvedge_core::DType;
///
/// let block = Inception { one: 4, three: [4, 8], five: [2, 4], pool: 4 };
/// let network = Network::new([8, 8, 1])
///     .layer("inception", block)
///     .layer("pool", GlobalAveragePool {})
///     .layer("head", Dense::new(10));
/// let summary = network.summary(DType::I8, &Options::default())?;
/// let pool = summary.iter().find(|layer| layer.path == "pool").map(|layer| &*layer.input);
/// assert_eq!(pool, Some(&[8, 8, 4 + 8 + 4 + 4][..]));
/// # Ok::<(), selvedge_core::network::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inception {
    /// Filters of one cell.
    pub one: usize,
    /// Filters of one cell, and of 3×3 cells behind them.
    pub three: [usize; 2],
    /// Filters of one cell, and of 5×5 cells behind them.
    pub five: [usize; 2],
    /// Filters of one cell behind the largest of 3×3 cells.
    pub pool: usize,
}

/// A convolution of `kernel` cells along each axis that keeps extents, with a ReLU.
fn same(filters: usize, kernel: usize) -> Conv {
    let conv = Conv::new(filters, kernel).activation(Activation::Relu);
    conv.padding(Padding::Same)
}

impl From<Inception> for Type {
    fn from(block: Inception) -> Self {
        let reduced = |name: &str, [reduce, filters]: [usize; 2], kernel| {
            Branch::new(name)
                .layer("reduce", same(reduce, 1))
                .layer("conv", same(filters, kernel))
        };
        let largest = MaxPool::new(3).stride(1).padding(Padding::Same);
        let pool = Branch::new("pool")
            .layer("largest", largest)
            .layer("conv", same(block.pool, 1));
        Parallel::new(Combine::Concat)
            .branch(Branch::new("one").layer("conv", same(block.one, 1)))
            .branch(reduced("three", block.three, 3))
            .branch(reduced("five", block.five, 5))
            .branch(pool)
            .into()
    }
}

/// A bottleneck whose middle convolution has `cardinality` groups of `width` channels, added to its input: from
/// `[H, W, C]` to `[H, W, channels]`, or to extents that the stride divides. Behind each convolution is a batch
/// normalisation. The input is added as it is, which asks for `channels` of it, unless there is a stride or the block is
/// [`projected`](ResNext::projected): then a convolution of one cell fits it. It is a [`Sequential`] of `block`, a
/// [`Residual`], and `relu`.
///
/// Source: Xie et al. 2016, figure 3 (c), table 1.
///
/// # Example
/// ```
/// use selvedge_core::network::{Conv, Dense, GlobalAveragePool, Network, Options, Padding, ResNext};
/// use selvedge_core::DType;
///
/// let network = Network::new([8, 8, 1])
///     .layer("entry", Conv::new(16, 3).padding(Padding::Same))
///     .layer("first", ResNext::new(16, 4, 2)) // 4 groups of 2 channels
///     .layer("second", ResNext::new(32, 4, 4).stride(2))
///     .layer("pool", GlobalAveragePool {})
///     .layer("head", Dense::new(10));
/// let summary = network.summary(DType::I8, &Options::default())?;
/// let pool = summary.iter().find(|layer| layer.path == "pool").map(|layer| &*layer.input);
/// assert_eq!(pool, Some(&[4, 4, 32][..]));
/// # Ok::<(), selvedge_core::network::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNext {
    /// Channels of the output.
    pub channels: usize,
    /// Groups of the middle convolution.
    pub cardinality: usize,
    /// Channels of each group.
    pub width: usize,
    /// Step of the middle convolution along each axis.
    pub stride: usize,
    /// Whether a convolution of one cell fits the input to what is added to it; with a stride one does anyway.
    pub is_projected: bool,
}

impl ResNext {
    /// To as many `channels` as the input has, by `cardinality` groups of `width` channels.
    #[must_use]
    pub const fn new(channels: usize, cardinality: usize, width: usize) -> Self {
        Self {
            channels,
            cardinality,
            width,
            stride: 1,
            is_projected: false,
        }
    }

    /// With a stride.
    #[must_use]
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// From any number of channels.
    #[must_use]
    pub const fn projected(self) -> Self {
        Self {
            is_projected: true,
            ..self
        }
    }
}

impl From<ResNext> for Type {
    fn from(block: ResNext) -> Self {
        let relu = || Activate::new(Activation::Relu);
        let inner = block.cardinality.saturating_mul(block.width);
        let grouped = Conv::new(inner, 3)
            .padding(Padding::Same)
            .stride(block.stride)
            .groups(block.cardinality);
        let mut residual = Residual::default()
            .layer("reduce", Conv::new(inner, 1))
            .layer("norm_1", BatchNorm {})
            .layer("relu_1", relu())
            .layer("grouped", grouped)
            .layer("norm_2", BatchNorm {})
            .layer("relu_2", relu())
            .layer("expand", Conv::new(block.channels, 1))
            .layer("norm_3", BatchNorm {});
        if block.is_projected || block.stride != 1 {
            let project = Conv::new(block.channels, 1).stride(block.stride);
            residual = residual
                .shortcut("project", project)
                .shortcut("norm", BatchNorm {});
        }
        Sequential::default()
            .layer("block", residual)
            .layer("relu", relu())
            .into()
    }
}

/// Two inputs through the same layers with the same weights, and how far apart they come out: from `[2, extents ..]`, one
/// input behind the other, to what the layers give of one. Outputs are compared by `|left - right|`, or
/// [joined](Siamese::join) otherwise. It is a [`Sequential`] of `both`, a [`Parallel`] of the branches `left` and `right`,
/// each with the layers in `twin`, and `distance`. Weights are shared; running statistics of a batch normalisation are each
/// branch's own.
///
/// Source: Bromley et al. 1993; the distance of Koch et al. 2015.
///
/// # Example
/// ```
/// use selvedge_core::network::{Activation, Dense, Network, Options, Siamese};
/// use selvedge_core::DType;
///
/// let pair = Siamese::new([6]).layer("hidden", Dense::new(8).activation(Activation::Tanh));
/// // Equal or different?
/// let network = Network::new([2, 6]).layer("pair", pair).layer("head", Dense::new(2));
/// let summary = network.summary(DType::I8, &Options::default())?;
/// let parameters: usize = summary.iter().map(|layer| layer.parameters).sum();
/// assert_eq!(parameters, (6 * 8 + 8) + (8 * 2 + 2));
/// # Ok::<(), selvedge_core::network::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Siamese {
    /// Extents of one input.
    pub extents: Vec<usize>,
    /// The layers of both.
    pub layers: Vec<Layer>,
    /// How the outputs come together, if not by their distance.
    pub join: Option<Combine>,
}

impl Siamese {
    /// Of two inputs of these extents, without layers.
    #[must_use]
    pub fn new(extents: impl Into<Vec<usize>>) -> Self {
        Self {
            extents: extents.into(),
            layers: Vec::new(),
            join: None,
        }
    }

    /// With one layer more.
    #[must_use]
    pub fn layer(mut self, name: impl Into<String>, layer: impl Into<Type>) -> Self {
        self.layers.push(Layer::new(name, layer));
        self
    }

    /// With outputs that come together so.
    #[must_use]
    pub fn join(self, join: Combine) -> Self {
        Self {
            join: Some(join),
            ..self
        }
    }
}

impl From<Siamese> for Type {
    fn from(block: Siamese) -> Self {
        let branch = |name: &str, from, shares: Option<&str>| {
            let layers = block.layers.clone();
            let mut twin = Layer::new("twin", Sequential { layers });
            twin.shares = shares.map(ToString::to_string);
            let mut branch = Branch::new(name)
                .layer("part", Part::new(from, 1).axis(0))
                .layer("shape", Reshape::new(&*block.extents));
            branch.layers.push(twin);
            branch
        };
        let both = |combine| {
            Parallel::new(combine)
                .branch(branch("left", 0, None))
                .branch(branch("right", 1, Some("left.twin")))
        };
        let sequential = Sequential::default();
        match &block.join {
            Some(combine) => sequential.layer("both", both(combine.clone())),
            None => sequential
                .layer("both", both(Combine::Subtract))
                .layer("distance", Abs {}),
        }
        .into()
    }
}

/// Experts of different inner sizes on one input, weighed by a gate: from `[F]` to `[outputs]`, or rows `[L, F]` to
/// `[L, outputs]` with weights for each row. An expert is a dense layer of its hidden features and a [`Stitch`]; the gate is
/// a dense layer and a softmax, of the largest logits alone if only so many experts are [`chosen`](Experts::choose), and a
/// [`Balance`] that keeps them in use. It is a [`Mixture`] of the branches `expert_0`, `expert_1` …
///
/// Source: Jacobs et al. 1991; the largest logits of Shazeer et al. 2017, the balance of Fedus et al. 2021.
///
/// # Example
/// ```
/// use selvedge_core::network::{Activation, Dense, Experts, Network, Options};
/// use selvedge_core::DType;
///
/// let experts = Experts::new(8, [4, 8, 16]).activation(Activation::Silu).choose(2);
/// let network = Network::new([6]).layer("experts", experts).layer("head", Dense::new(2));
/// network.compile(DType::I8, &Options { train: true, samples: 4, ..Options::default() })?;
/// # Ok::<(), selvedge_core::network::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    /// Features of the output.
    pub outputs: usize,
    /// Hidden features of each expert.
    pub hidden: Vec<usize>,
    /// What hidden layers apply to their sums.
    pub activation: Activation,
    /// How many experts count for an input, if not all.
    pub chosen: Option<usize>,
    /// The weight of the loss that keeps experts in use, in thousandths; 0 for none.
    pub balance: u32,
}

impl Experts {
    /// Experts with so many hidden features each and a ReLU, all of which count, balanced as in the source.
    #[must_use]
    pub fn new(outputs: usize, hidden: impl Into<Vec<usize>>) -> Self {
        Self {
            outputs,
            hidden: hidden.into(),
            activation: Activation::Relu,
            chosen: None,
            balance: Balance::default().thousandths,
        }
    }

    /// With another activation.
    #[must_use]
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// With so many experts for an input.
    #[must_use]
    pub fn choose(self, experts: usize) -> Self {
        Self {
            chosen: Some(experts),
            ..self
        }
    }

    /// With this weight of the loss that keeps experts in use, in thousandths.
    #[must_use]
    pub fn balance(self, thousandths: u32) -> Self {
        Self {
            balance: thousandths,
            ..self
        }
    }
}

impl From<Experts> for Type {
    fn from(block: Experts) -> Self {
        let softmax = block.chosen.map_or_else(
            || Self::from(Softmax::new()),
            |experts| TopKSoftmax::new(experts).into(),
        );
        let mut mixture = Mixture::new()
            .gate("logits", Dense::new(block.hidden.len()))
            .gate("softmax", softmax);
        if block.balance > 0 {
            mixture = mixture.gate("balance", Balance::new(block.balance));
        }
        for (i, &hidden) in block.hidden.iter().enumerate() {
            let expert = Branch::new(alloc::format!("expert_{i}"))
                .layer("hidden", Dense::new(hidden).activation(block.activation))
                .layer("stitch", Stitch::new(block.outputs));
            mixture = mixture.branch(expert);
        }
        mixture.into()
    }
}
