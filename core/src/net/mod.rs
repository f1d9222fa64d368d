//! Typed networks: layers whose shapes are types, trained in place without allocation.
//!
//! A [`Layer`] holds its parameters and exponent states. What it keeps between the forward and the
//! backward pass is its tape, which somebody else owns; errors travel through two buffers that
//! change roles from layer to layer. [`net!`](crate::net!) composes layers by name and computes
//! shapes; a pair of layers is a layer, too.

mod activate;
mod activation;
mod axes;
mod batch_norm;
mod cluster;
mod compose;
mod conv;
mod cost;
mod dense;
mod dropout;
mod fits;
mod flatten;
mod fork;
mod function;
mod geometry;
mod join;
pub mod layout;
mod macros;
mod mixed;
mod norm;
mod options;
mod param;
pub mod pool;
pub mod reduce;
mod refuse;
pub mod resize;
mod scratch;
pub mod softmax;
pub mod unary;
mod weighted;

pub use activate::Activate;
pub use activation::{
    Activation, Gelu, HardSwish, Identity, LeakyRelu, LiftedRelu, Logits, MaskedRelu, Relu, Relu6,
    ScaledRelu, Sigmoid, Silu, Softplus, Tanh,
};
pub use axes::{Axes, Axes2, Axes3, Axes4, Axes5, Axis};
pub use batch_norm::{BatchNorm, BatchNormTape};
pub use cluster::{Clustering, Euclidean, Gives, KMeans, KMeansTape, Means, Shares};
pub use conv::{Conv, ConvTranspose};
pub use cost::{Errors, Info, LayerCost};
pub use dense::{Dense, Stitch};
pub use dropout::{Dropout, LeftOut};
pub use fits::{Message, over_budget};
pub use flatten::Flatten;
pub use fork::{Fork, Residual, Skip};
pub use function::{Apply, Context, Function};
pub use geometry::{Geometry, PadBy, PadSame, Padding, Pads, Same, Slide, Step, spread, windows};
pub use join::{
    Asked, Binary, Concat, Difference, Divide, Join, Larger, Maximum, Minimum, Multiply, Operator,
    Product, Quotient, Sample, Smaller, Subtract, Sum,
};
pub use layout::{Gather, Pad, Permute, Reshape, Slice, TopK};
pub use mixed::{MixedConv, MixedDense};
pub use norm::{Deviation, LayerNorm, MeanSquare, Norm, NormTape, Normal, RmsNorm};
pub use param::{Kept, Momentum, Optimizer, Param, Plain, Velocities};
pub use pool::{
    AdaptiveAveragePool, AdaptiveMaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool,
};
pub use reduce::{ReduceMax, ReduceMean, ReduceMin, ReduceSum};
pub use resize::{ResizeBilinear, ResizeNearest};
pub use scratch::Scratch;
pub use softmax::{
    AdaptiveSoftmax, Entmax, GroupedSoftmax, GumbelSoftmax, LearnedMixture, MaskedSoftmax,
    MixtureSoftmax, Softmax, Sparsemax, TreeSoftmax,
};
pub use unary::{Abs, Negate, Square};

use crate::error::{Error, Result};
use crate::tensor::{Shape, Storage};
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

/// The error of a layer's output, on its way down, and room for the one below.
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// Holds the error in its first elements.
    pub error: &'a mut [T],
    /// Free; a layer writes the error of its input here and returns the two exchanged.
    pub spare: &'a mut [T],
    /// Exponent of the error: of a gradient `q · 2^exponent` each element is `q`.
    pub exponent: i32,
}

impl<'e, T> Backward<'e, T> {
    /// Takes the error of an output of `dy_len` elements to that of an input of `dx_len`, where that
    /// `is_needed`: `run` is given the first, its exponent, and room for the second, whose exponent it returns.
    pub(crate) fn through<R>(
        self,
        [dy_len, dx_len]: [usize; 2],
        is_needed: bool,
        run: impl FnOnce(&mut [T], i32, Option<&mut [T]>) -> core::result::Result<i32, R>,
    ) -> core::result::Result<Self, R> {
        let Self {
            error,
            spare,
            exponent,
        } = self;
        let dy = part(error, dy_len);
        if !is_needed {
            run(dy, exponent, None)?;
            return Ok(Self {
                error,
                spare,
                exponent,
            });
        }
        let exponent = run(dy, exponent, Some(part(spare, dx_len)))?;
        Ok(Self {
            error: spare,
            spare: error,
            exponent,
        })
    }
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
    pub sgd: Sgd,
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

/// What walks over a network's parameters, in layer order.
pub trait Visitor {
    /// One parameter tensor: stored elements, row-major; low bytes of their masters, where they
    /// have any; exponent, of integers.
    fn parameter<P: Element>(&mut self, value: &[P], residual: &[i8], exponent: i16);
}

/// What changes a network's parameters, in layer order: loads weights.
pub trait VisitorMut {
    /// One parameter tensor: stored elements, row-major; low bytes of their masters, where they
    /// have any (0 if the element is all there is); exponent, of integers.
    fn parameter<P: Element>(&mut self, value: &mut [P], residual: &mut [i8], exponent: &mut i16);
}

/// Memory between a layer's two passes.
pub trait Tape {
    /// All zero bytes.
    const BLANK: Self;
}

impl Tape for () {
    const BLANK: Self = ();
}

/// A layer's output for up to `B` samples, with its exponent.
pub struct OutputTape<T: Blank, S: Shape, const B: usize> {
    data: [S::Array<T>; B],
    exponent: i32,
    /// Samples of the forward pass, if that was one of training and has ended; else 0.
    trained: usize,
}

impl<T: Blank, S: Shape, const B: usize> Tape for OutputTape<T, S, B> {
    const BLANK: Self = Self {
        data: [Storage::BLANK; B],
        exponent: 0,
        trained: 0,
    };
}

impl<T: Blank, S: Shape, const B: usize> OutputTape<T, S, B> {
    /// Room for `batch` samples. A backward pass is refused until they are [kept](Self::keep).
    fn samples_mut(&mut self, batch: usize) -> &mut [T] {
        self.trained = 0;
        Storage::flatten_mut(self.data.get_mut(..batch).unwrap_or_default())
    }

    /// Ends a forward pass of `batch` samples, whose output has `exponent`.
    fn keep(&mut self, mode: Mode, batch: usize, exponent: i32) -> Values<'_, T> {
        self.exponent = exponent;
        self.trained = match mode {
            Mode::Train => batch,
            Mode::Infer => 0,
        };
        self.values(batch)
    }

    /// Refuses a backward pass of layer `number` for `batch` samples that no forward pass has trained on.
    fn check(&self, number: u32, batch: usize) -> Result<()> {
        if self.trained != batch {
            return Err(Error::Tape { layer: number });
        }
        Ok(())
    }

    fn values(&self, batch: usize) -> Values<'_, T> {
        let data = Storage::flatten(self.data.get(..batch).unwrap_or_default());
        Values {
            data,
            exponent: self.exponent,
            batch,
        }
    }
}

/// What an activation keeps for its backward pass, or nothing.
pub trait Slopes<T>: Tape {
    /// Those of the first `batch` samples; empty if none are kept.
    fn samples(&self, batch: usize) -> &[T];

    /// The same, to be written.
    fn samples_mut(&mut self, batch: usize) -> &mut [T];
}

impl<T> Slopes<T> for () {
    fn samples(&self, _: usize) -> &[T] {
        &[]
    }

    fn samples_mut(&mut self, _: usize) -> &mut [T] {
        &mut []
    }
}

/// The slopes of up to `B` samples.
pub struct SampleTape<T: Blank, S: Shape, const B: usize>([S::Array<T>; B]);

impl<T: Blank, S: Shape, const B: usize> Tape for SampleTape<T, S, B> {
    const BLANK: Self = Self([Storage::BLANK; B]);
}

impl<T: Blank, S: Shape, const B: usize> Slopes<T> for SampleTape<T, S, B> {
    fn samples(&self, batch: usize) -> &[T] {
        Storage::flatten(self.0.get(..batch).unwrap_or_default())
    }

    fn samples_mut(&mut self, batch: usize) -> &mut [T] {
        Storage::flatten_mut(self.0.get_mut(..batch).unwrap_or_default())
    }
}

/// The output of a layer with weights, and what its activation keeps.
pub struct ActivatedTape<T: Element, A: Activation, S: Shape, const B: usize> {
    output: OutputTape<A::Out<T>, S, B>,
    slopes: A::Slopes<T, S, B>,
}

impl<T: Element, A: Activation, S: Shape, const B: usize> Tape for ActivatedTape<T, A, S, B> {
    const BLANK: Self = Self {
        output: Tape::BLANK,
        slopes: Tape::BLANK,
    };
}

/// A layer of fixed shape that can be trained.
///
/// Layers are numbered in pre-order (`docs/numerics.md` §3); a layer is told its `number`, which
/// addresses its random words.
pub trait Layer: Sized {
    /// Type of its input, weights and errors.
    type Elem: Element;
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
        x: Values<'t, Self::Elem>,
        tape: &'t mut Self::Tape<B>,
    ) -> Result<Values<'t, Self::Out>>;

    /// The output that `tape` keeps of the forward pass of `x`.
    fn output<'t, const B: usize>(
        &self,
        x: Values<'t, Self::Elem>,
        tape: &'t Self::Tape<B>,
    ) -> Values<'t, Self::Out>;

    /// Takes the error of the output to that of the input `x` (where `is_needed`: something below
    /// has parameters), then updates the parameters. `tape` is that of a forward pass of `x` in
    /// [`Mode::Train`]: at inference, slopes and statistics are not kept. The buffers of `errors` have
    /// room for what [`Info::errors`] says, or [`Info::errors_first`] unless `is_needed`, for each sample;
    /// unless `is_needed`, what is returned means nothing.
    ///
    /// # Errors
    /// [`Error::Tape`](crate::Error::Tape) if the last forward pass was none of training or had another number
    /// of samples; nothing has changed then. [`Error::Layer`](crate::Error::Layer) with what a kernel refused;
    /// layers behind that one may have been updated then. [`Info::check`] tells beforehand of an update that some
    /// layer refuses.
    fn backward<'e, E: Executor, const B: usize>(
        &mut self,
        pass: &Pass<'_, E>,
        number: u32,
        x: Values<'_, Self::Elem>,
        tape: &mut Self::Tape<B>,
        errors: Backward<'e, Self::Elem>,
        is_needed: bool,
    ) -> Result<Backward<'e, Self::Elem>>;

    /// Shows the parameters in order.
    fn visit(&self, visitor: &mut impl Visitor);

    /// Hands the parameters out in order, to be changed.
    fn visit_mut(&mut self, visitor: &mut impl VisitorMut);
}

/// A whole network. Implemented by [`net!`](crate::net!).
pub trait Network: Sized {
    /// Type of its input, weights and errors.
    type Elem: Element;
    /// The layers, in pairs.
    type Layers: Layer<Elem = Self::Elem, Out = <Self::Elem as Element>::Head>;
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

/// Room for errors: two buffers that they alternate between.
pub trait Room<T> {
    /// All zero bytes.
    const BLANK: Self;

    /// Both.
    fn pair(&mut self) -> [&mut [T]; 2];
}

/// Two buffers for the errors of `B` samples, of `FIRST` and `SECOND` elements each.
pub struct ErrorBuffers<T, const B: usize, const FIRST: usize, const SECOND: usize> {
    first: [[T; FIRST]; B],
    second: [[T; SECOND]; B],
}

impl<T: Blank, const B: usize, const FIRST: usize, const SECOND: usize> Room<T>
    for ErrorBuffers<T, B, FIRST, SECOND>
{
    const BLANK: Self = Self {
        first: [[T::BLANK; FIRST]; B],
        second: [[T::BLANK; SECOND]; B],
    };

    fn pair(&mut self) -> [&mut [T]; 2] {
        [
            self.first.as_flattened_mut(),
            self.second.as_flattened_mut(),
        ]
    }
}

/// The first `len` elements of an error buffer; all of it where it is too short, which a kernel
/// then refuses.
pub(crate) fn part<T>(buffer: &mut [T], len: usize) -> &mut [T] {
    let len = len.min(buffer.len());
    buffer
        .split_at_mut_checked(len)
        .map_or(Default::default(), |(part, _)| part)
}
