//! Typed networks: layers whose shapes are types, trained in place without allocation.
//!
//! A [`Layer`] holds its parameters and exponent states. What it keeps between the forward and the
//! backward pass is its tape, which somebody else owns; errors travel through two buffers that
//! change roles from layer to layer. [`net!`](crate::net!) composes layers by name and computes
//! shapes; a pair of layers is a layer, too.

mod activate;
mod activation;
pub mod argument;
mod attention;
mod axes;
mod batch_norm;
mod cluster;
mod compose;
mod conv;
mod cost;
mod deformable;
mod dense;
mod dropout;
mod embedding;
mod errors;
mod fits;
mod flatten;
mod fold;
mod fork;
mod function;
mod geometry;
mod join;
pub mod layout;
mod macros;
mod mixed;
mod norm;
mod options;
pub mod parallel;
mod param;
pub mod pool;
mod recurrent;
pub mod reduce;
mod refuse;
pub mod resize;
mod scratch;
pub mod softmax;
mod streamed;
mod tape;
mod tied;
pub mod unary;
mod visit;
mod weighted;

pub use activate::Activate;
pub(crate) use activation::requantize;
pub use activation::{
    Activation, Gelu, HardSwish, Identity, LeakyRelu, LiftedRelu, Logits, MaskedRelu, Relu, Relu6,
    ScaledRelu, Sigmoid, Silu, Softplus, Tanh,
};
pub use argument::{ArgMax, ArgMin};
pub use attention::{
    Attention, AttentionTape, Cache, Causal, CrossAttention, CrossTape, Everything, Fresh, Padded,
    Recall, Recent, Rotary, Sight, Turn, Unturned, rotary,
};
pub use axes::{Along, Axes, Axes2, Axes3, Axes4, Axes5, Axis, LastAxis};
pub use batch_norm::{BatchNorm, BatchNormTape};
pub use cluster::{Clustering, Euclidean, Gives, KMeans, KMeansTape, Means, Shares};
pub use conv::{Conv, ConvTranspose};
pub use cost::{BatchSum, Errors, Info, LayerCost, LongSum};
pub use deformable::{DeformableAttention, DeformableTape, Float};
pub use dense::{Dense, DenseOver, Stitch};
pub use dropout::{Dropout, LeftOut};
pub use embedding::{Embedding, EmbeddingTape, Positions};
pub(crate) use errors::part;
pub use errors::{Backward, ErrorBuffers, Room};
pub use fits::{Message, over_budget};
pub use flatten::Flatten;
pub use fold::Fold;
pub use fork::{Fork, Residual, Skip, Split};
pub use function::{Apply, Context, Function};
pub use geometry::{
    Geometry, PadBy, PadCeil, PadSame, Padding, Pads, Same, Slide, Step, per_group, spread, windows,
};
pub(crate) use join::copy;
pub use join::{
    Add, Addition, Asked, Binary, Concat, Difference, Divide, Join, Larger, Maximum, Minimum,
    Multiply, Operator, Product, Quotient, Sample, Smaller, Subtract, Sum,
};
pub use layout::{Gather, Pad, Part, Permute, Reshape, Slice, TopK};
pub use mixed::{MixedConv, MixedDense};
pub use norm::{Deviation, LayerNorm, MeanSquare, Norm, NormTape, Normal, RmsNorm};
pub use parallel::{
    Balance, Branches, Combine, Grid, Line, Mean, Mixture, Parallel, Scatter, Total,
};
pub use param::{Kept, Momentum, Optimizer, Param, Plain, Velocities};
pub use pool::{
    AdaptiveAveragePool, AdaptiveMaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool,
};
pub use recurrent::{
    AllSteps, Carried, Gated, Gru, GruCell, LastStep, Lstm, LstmCell, Recurrent, RecurrentTape,
    Reversed, Rnn, RnnCell, Steps,
};
pub use reduce::{ReduceMax, ReduceMean, ReduceMin, ReduceSum};
pub use resize::{ResizeBilinear, ResizeNearest};
pub use scratch::Scratch;
pub use softmax::{
    AdaptiveSoftmax, Entmax, GroupedSoftmax, GumbelSoftmax, LearnedMixture, MaskedSoftmax,
    MixtureSoftmax, Softmax, Sparsemax, TopKSoftmax, TreeSoftmax,
};
pub use streamed::{Stream, StreamTape};
pub use tape::{ActivatedTape, OutputTape, SampleTape, Slopes, Tape};
pub use tied::{Tied, TiedTape};
pub use unary::{Abs, Negate, Square};
pub use visit::{Visitor, VisitorMut};
pub(crate) use visit::{hand_scales, show_scales};

use crate::error::Result;
use crate::tensor::Shape;
use selvedge_kernels::element::Output;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::Mode;
use selvedge_kernels::{Blank, Element};

/// Activations on their way through a network: samples one after the other, with the exponent that
/// they share.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a, T> {
    /// `[samples, elements of one]`.
    pub data: &'a [T],
    /// An integer element stands for `(q - z) · 2^exponent`; 0 for floats.
    pub exponent: i32,
    /// Number of samples.
    pub batch: usize,
}

/// What all layers share in one pass.
#[derive(Debug)]
pub struct Pass<'a, E> {
    /// Who runs the kernels' tasks.
    pub exec: &'a E,
    /// Whether exponent states adapt.
    pub mode: Mode,
    /// Seed of the random words.
    pub seed: u32,
    /// Training step, from 0.
    pub step: u32,
    /// Rate, momentum and decay of the update.
    pub sgd: &'a Sgd,
    /// Whether samples have padding, which [some](Padded) layers do not see.
    pub is_padded: bool,
    /// How many positions of each sample are real then, of these samples and perhaps of more.
    pub lengths: &'a [u32],
}

impl<E> Pass<'_, E> {
    /// The words that round the error which layer `number` passes down.
    #[must_use]
    pub fn error_words(&self, number: u32) -> Words {
        Words::new(self.seed, stream::error(number), self.step)
    }

    /// The words that round the update of parameter `parameter` of layer `number`.
    #[must_use]
    pub fn update_words(&self, number: u32, parameter: u32) -> Words {
        Words::new(
            self.seed,
            stream::parameter(number, parameter),
            self.step.wrapping_add(1),
        )
    }
}

/// A layer of fixed shape that can be trained.
///
/// Layers are numbered in pre-order (`docs/numerics.md` §3); a layer is told its `number`, which
/// addresses its random words.
pub trait Layer: Sized {
    /// Type of its weights and errors, and of its input where that is no token.
    type Elem: Element;
    /// Type of its input: [`Layer::Elem`], or numbers of tokens.
    type In: Blank;
    /// Type of its output.
    type Out: Element + Output<Self::Elem>;
    /// Shape of one input sample.
    type Input: Shape;
    /// Shape of one output sample.
    type Output: Shape;
    /// What is kept between the two passes, for up to `B` samples.
    type Tape<const B: usize>: Tape;

    /// All zero bytes: what a static holds before [`Layer::init`].
    const BLANK: Self;
    /// What is known of it before it runs.
    const INFO: Info;
    /// Ticks from its input to its output ([`Layer::tick`]): 1 for a layer, the sum for layers in a row, 0 for those
    /// that move nothing ([`Flatten`], [`Skip`]).
    const TICKS: usize = 1;

    /// Fills the parameters in place. The same seed gives the same bytes on every target.
    ///
    /// # Errors
    /// [`Error::Layer`](crate::Error::Layer) for extents that the element type cannot sum.
    fn init(&mut self, seed: u32, number: u32) -> Result<()>;

    /// The output for `x`, kept on `tape`.
    ///
    /// # Errors
    /// [`Error::Layer`](crate::Error::Layer) with what a kernel refused.
    fn forward<'t, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'t, Self::In>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, Self::Out>>;

    /// The output that `tape` keeps of the forward pass of `x`.
    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, Self::In>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, Self::Out>;

    /// One tick of a clocked pipeline: every layer in a row advances once, on what the one before it gave at the last
    /// tick. [`Layer::output`] is then that of the input [`Layer::TICKS`] - 1 ticks ago. A container that is one layer of
    /// its row advances as a whole.
    ///
    /// # Errors
    /// As [`Layer::forward`].
    fn tick<E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, Self::In>,
        tape: &mut Self::Tape<B>,
    ) -> Result<()> {
        self.forward::<E, B>(pass, number, x, tape).map(|_| ())
    }

    /// The same for one layer of a row, counted in ticks from 0; nothing beyond the last.
    ///
    /// # Errors
    /// As [`Layer::forward`].
    fn tick_one<E: Executor, const B: usize>(
        &mut self,
        index: usize,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, Self::In>,
        tape: &mut Self::Tape<B>,
    ) -> Result<()> {
        match index {
            0 if Self::TICKS > 0 => self.tick::<E, B>(pass, number, x, tape),
            _ => Ok(()),
        }
    }

    /// Takes the error of the output to that of the input `x` (where `is_needed`: something below
    /// has parameters), then updates the parameters. `tape` is that of a forward pass of `x` in
    /// [`Mode::Train`]: at inference, slopes and statistics are not kept. The buffers of `errors` have
    /// room for what [`Info::errors`] says, or [`Info::errors_first`] unless `is_needed`, for each sample;
    /// unless `is_needed`, what is returned means nothing.
    ///
    /// # Errors
    /// [`Error::Tape`](crate::Error::Tape) if the last forward pass was none of training or had another number
    /// of samples, or if a backward pass has followed it already; nothing has changed then. [`Error::Layer`](crate::Error::Layer) with what a kernel refused;
    /// layers behind that one may have been updated then. [`Info::check`] tells beforehand of an update that some
    /// layer refuses.
    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, Self::In>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, Self::Elem>,
        is_needed: bool,
    ) -> Result<Backward<'e, Self::Elem>>;

    /// Shows parameters and states in order: of each parameter what the optimizer keeps, of the layer its
    /// exponent states, then what it contains.
    fn visit(&self, visitor: &mut impl Visitor);

    /// Hands the same out in the same order, to be changed.
    fn visit_mut(&mut self, visitor: &mut impl VisitorMut);
}

/// A whole network. Implemented by [`net!`](crate::net!).
pub trait Network: Sized {
    /// Type of its weights and errors.
    type Elem: Element;
    /// Type of its input: [`Network::Elem`], or numbers of tokens.
    type In: Blank;
    /// The layers, in pairs.
    type Layers: Layer<Elem = Self::Elem, In = Self::In, Out = <Self::Elem as Element>::Head>;
    /// Room for the errors of up to `BATCH` samples.
    type Errors<const BATCH: usize>: Room<Self::Elem>;

    /// All zero bytes: what a static holds before it is initialised.
    const BLANK: Self;

    /// The layers.
    fn layers(&self) -> &Self::Layers;

    /// The layers, to be trained.
    fn layers_mut(&mut self) -> &mut Self::Layers;

    /// What each layer costs, for training with up to `BATCH` samples.
    fn costs<const BATCH: usize>() -> impl Iterator<Item = LayerCost>;
}
