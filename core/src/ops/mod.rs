//! Operators: what a compiled network is made of.
//!
//! Each operator stands in one file: attributes, shape rule, what it calls, gradient, cost. Two traits say so: [`Kernel`]
//! for every build, which is what a session calls, and `Describe` with the feature `alloc`, which is what the compiler
//! asks. A session finds operators in a [`Registry`], and the linker drops what is in none: a firmware that runs dense
//! layers of `i8` lists these alone.

pub mod activation;
pub mod argument;
pub mod attention;
pub mod average;
pub mod batch_norm;
pub mod binary;
mod call;
pub mod cluster;
pub mod concat;
pub mod conv;
pub mod convert;
pub mod copy;
pub mod deformable;
pub mod dense;
pub mod dropout;
pub mod embedding;
#[cfg(feature = "alloc")]
pub(crate) mod function;
pub mod layout;
pub(crate) mod learned;
pub mod loss;
pub mod mixed;
pub mod mixture;
pub mod norm;
pub mod pool;
pub mod recurrent;
pub mod reduce;
pub mod resize;
pub mod restate;
pub mod sample;
pub mod scale;
pub mod sgd;
pub mod softmax;
pub mod stream;
pub mod sum;
pub mod tied;
pub mod unary;
pub mod view;
pub(crate) mod weighted;
pub(crate) mod window;

pub use call::{Call, Fault, Result};

use selvedge_kernels::DType;
#[cfg(feature = "alloc")]
use selvedge_kernels::{bf16, f16};

/// An operator for one element type.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Which operator.
    pub kind: Kind,
    /// What it computes with, and what it stores.
    pub dtypes: [DType; 2],
    /// Runs it.
    pub run: fn(&mut Call<'_, '_>) -> Result<()>,
}

/// Defines the two groups of an operator.
macro_rules! groups {
    ($($(#[$doc:meta])* $run:ident, $train:ident: $kind:ident $forward:ident, $back:ident $backward:ident;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub const fn $run<T: Element>() -> &'static [Kernel] {
            const {
                &[Kernel { kind: Kind::$kind, dtypes: [T::DTYPE, T::DTYPE], run: $forward::<T> }]
            }
        }

        /// Takes errors back through it.
        #[must_use]
        pub const fn $train<T: Element>() -> &'static [Kernel] {
            const {
                &[Kernel { kind: Kind::$back, dtypes: [T::DTYPE, T::DTYPE], run: $backward::<T> }]
            }
        }
    )*};
}
use groups;

/// What the compiler asks an operator.
#[cfg(feature = "alloc")]
pub(crate) trait Describe: core::fmt::Debug + Sync {
    /// Appends the operators that take the gradients of what `node` gives back to what it got.
    fn differentiate(
        &'static self,
        walk: &mut crate::graph::Walk<'_>,
        node: &crate::graph::Node,
    ) -> core::result::Result<(), crate::graph::Error>;

    /// Whether it may run again: with the same inputs, and with an exponent state that has the exponent of what it gave, it
    /// gives the same.
    fn repeats(&self) -> bool {
        false
    }

    /// Multiplications with an addition of `node`, for one sample; 0 for a step that goes back.
    fn macs(&self, graph: &crate::graph::Graph, node: &crate::graph::Node) -> u64 {
        let _ = (graph, node);
        0
    }
}

/// The operators that a program links, in groups: those of a layer and element type.
///
/// # Example
/// ```
/// use selvedge_core::ops::{Registry, dense, loss};
/// // What a program needs that runs and trains dense layers of bytes.
/// static OPERATORS: Registry<'_> = &[dense::run::<i8>(), dense::train::<i8>(), loss::cross_entropy_of::<i8>()];
/// ```
pub type Registry<'a> = &'a [&'a [Kernel]];

macro_rules! kinds {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// The operators there are. Their numbers stand in images, and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Kind {
            $(#[doc = concat!("`", $text, "`.")] $name = $code,)*
        }

        impl Kind {
            /// The operator of this number.
            #[must_use]
            pub const fn of(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    View = 0, "view";
    Copy = 1, "copy";
    Dense = 2, "dense";
    DenseStep = 3, "dense_step";
    Conv = 4, "conv";
    ConvStep = 5, "conv_step";
    ConvTranspose = 6, "conv_transpose";
    ConvTransposeStep = 7, "conv_transpose_step";
    MaxPool = 8, "max_pool";
    MaxPoolBackward = 9, "max_pool_backward";
    AveragePool = 10, "average_pool";
    AveragePoolBackward = 11, "average_pool_backward";
    AdaptiveMaxPool = 12, "adaptive_max_pool";
    AdaptiveMaxPoolBackward = 13, "adaptive_max_pool_backward";
    AdaptiveAveragePool = 14, "adaptive_average_pool";
    AdaptiveAveragePoolBackward = 15, "adaptive_average_pool_backward";
    Activate = 16, "activate";
    ActivateBackward = 17, "activate_backward";
    Sum = 18, "sum";
    Average = 19, "average";
    AverageBackward = 20, "average_backward";
    Concat = 21, "concat";
    Part = 22, "part";
    Binary = 23, "binary";
    BinaryBackward = 24, "binary_backward";
    Norm = 25, "norm";
    NormStep = 26, "norm_step";
    BatchNorm = 27, "batch_norm";
    BatchNormStep = 28, "batch_norm_step";
    Embedding = 29, "embedding";
    EmbeddingStep = 30, "embedding_step";
    Positions = 31, "positions";
    PositionsStep = 32, "positions_step";
    CrossEntropy = 33, "cross_entropy";
    Regression = 34, "regression";
    BinaryCrossEntropy = 35, "binary_cross_entropy";
    Accumulate = 36, "accumulate";
    Sgd = 37, "sgd";
    Convert = 38, "convert";
    Restate = 39, "restate";
    Scale = 40, "scale";
    Negate = 64, "negate";
    Abs = 65, "abs";
    AbsBackward = 66, "abs_backward";
    Square = 67, "square";
    SquareBackward = 68, "square_backward";
    Dropout = 69, "dropout";
    DropoutBackward = 70, "dropout_backward";
    ResizeNearest = 71, "resize_nearest";
    ResizeNearestBackward = 72, "resize_nearest_backward";
    ResizeBilinear = 73, "resize_bilinear";
    ResizeBilinearBackward = 74, "resize_bilinear_backward";
    ReduceSum = 75, "reduce_sum";
    ReduceSumBackward = 76, "reduce_sum_backward";
    ReduceMean = 77, "reduce_mean";
    ReduceMeanBackward = 78, "reduce_mean_backward";
    ReduceMax = 79, "reduce_max";
    ReduceMaxBackward = 80, "reduce_max_backward";
    ReduceMin = 81, "reduce_min";
    ReduceMinBackward = 82, "reduce_min_backward";
    ArgMax = 83, "arg_max";
    ArgMin = 84, "arg_min";
    ArgBackward = 85, "arg_backward";
    Pad = 86, "pad";
    PadBackward = 87, "pad_backward";
    Slice = 88, "slice";
    SliceBackward = 89, "slice_backward";
    Permute = 90, "permute";
    Gather = 91, "gather";
    GatherBackward = 92, "gather_backward";
    TopK = 93, "top_k";
    TopKBackward = 94, "top_k_backward";
    Sample = 95, "sample";
    SampleImageBackward = 96, "sample_image_backward";
    SamplePositionsBackward = 97, "sample_positions_backward";
    Softmax = 98, "softmax";
    SoftmaxBackward = 99, "softmax_backward";
    MaskedSoftmax = 100, "masked_softmax";
    MaskedSoftmaxBackward = 101, "masked_softmax_backward";
    GumbelSoftmax = 102, "gumbel_softmax";
    GumbelSoftmaxBackward = 103, "gumbel_softmax_backward";
    Entmax = 104, "entmax";
    EntmaxBackward = 105, "entmax_backward";
    TreeSoftmax = 106, "tree_softmax";
    TreeSoftmaxBackward = 107, "tree_softmax_backward";
    AdaptiveSoftmax = 108, "adaptive_softmax";
    AdaptiveSoftmaxBackward = 109, "adaptive_softmax_backward";
    MixtureSoftmax = 110, "mixture_softmax";
    MixtureSoftmaxBackward = 111, "mixture_softmax_backward";
    LearnedMixture = 112, "learned_mixture";
    LearnedMixtureStep = 113, "learned_mixture_step";
    TopKSoftmax = 114, "top_k_softmax";
    Recurrent = 128, "recurrent";
    RecurrentStep = 129, "recurrent_step";
    Attention = 130, "attention";
    AttentionBackward = 131, "attention_backward";
    Rotary = 132, "rotary";
    RotaryBackward = 133, "rotary_backward";
    Sequences = 134, "sequences";
    Mixture = 135, "mixture";
    MixtureExpert = 136, "mixture_expert";
    MixtureGate = 137, "mixture_gate";
    BalanceBackward = 138, "balance_backward";
    Stream = 139, "stream";
    TiedStep = 140, "tied_step";
    KMeans = 141, "k_means";
    KMeansStep = 142, "k_means_step";
    MixedDense = 143, "mixed_dense";
    MixedDenseStep = 144, "mixed_dense_step";
    MixedConv = 145, "mixed_conv";
    MixedConvStep = 146, "mixed_conv_step";
    Deformable = 147, "deformable";
    DeformableBackward = 148, "deformable_backward";
}

macro_rules! all {
    ($($t:ty)*) => {
        /// All operators for all element types: what a program on a host links. It needs the feature `alloc`, so that
        /// no firmware waits for it to be compiled.
        #[cfg(feature = "alloc")]
        pub static ALL: Registry<'static> = &[$(
            copy::run::<$t>(),
            restate::run::<$t>(),
            convert::run::<$t, i8>(),
            convert::run::<$t, u8>(),
            convert::run::<$t, i16>(),
            convert::run::<$t, u16>(),
            convert::run::<$t, i32>(),
            convert::run::<$t, u32>(),
            convert::run::<$t, i64>(),
            convert::run::<$t, u64>(),
            convert::run::<$t, f16>(),
            convert::run::<$t, bf16>(),
            convert::run::<$t, f32>(),
            convert::run::<$t, f64>(),
            dense::run::<$t>(),
            dense::train::<$t>(),
            conv::run::<$t>(),
            conv::train::<$t>(),
            conv::run_transpose::<$t>(),
            conv::train_transpose::<$t>(),
            pool::run::<$t>(),
            pool::train::<$t>(),
            pool::run_average::<$t>(),
            pool::train_average::<$t>(),
            pool::run_adaptive_max::<$t>(),
            pool::train_adaptive_max::<$t>(),
            pool::run_adaptive_average::<$t>(),
            pool::train_adaptive_average::<$t>(),
            activation::run::<$t>(),
            activation::train::<$t>(),
            sum::run::<$t>(),
            average::run::<$t>(),
            average::train::<$t>(),
            concat::run::<$t>(),
            concat::train::<$t>(),
            binary::run::<$t>(),
            binary::train::<$t>(),
            norm::run::<$t>(),
            norm::train::<$t>(),
            batch_norm::run::<$t>(),
            batch_norm::train::<$t>(),
            embedding::run::<$t, u8>(),
            embedding::train::<$t, u8>(),
            embedding::run::<$t, u16>(),
            embedding::train::<$t, u16>(),
            embedding::run::<$t, u32>(),
            embedding::train::<$t, u32>(),
            embedding::run_positions::<$t>(),
            embedding::train_positions::<$t>(),
            loss::cross_entropy_of::<$t>(),
            loss::regression_of::<$t>(),
            loss::binary_cross_entropy_of::<$t>(),
            sgd::run::<$t>(),
            scale::run::<$t>(),
            unary::run_negate::<$t>(),
            unary::run_abs::<$t>(),
            unary::train_abs::<$t>(),
            unary::run_square::<$t>(),
            unary::train_square::<$t>(),
            dropout::run::<$t>(),
            dropout::train::<$t>(),
            resize::run_nearest::<$t>(),
            resize::train_nearest::<$t>(),
            resize::run_bilinear::<$t>(),
            resize::train_bilinear::<$t>(),
            reduce::run_sum::<$t>(),
            reduce::train_sum::<$t>(),
            reduce::run_mean::<$t>(),
            reduce::train_mean::<$t>(),
            reduce::run_max::<$t>(),
            reduce::train_max::<$t>(),
            reduce::run_min::<$t>(),
            reduce::train_min::<$t>(),
            argument::run::<$t>(),
            argument::train::<$t>(),
            layout::pad::run::<$t>(),
            layout::pad::train::<$t>(),
            layout::slice::run::<$t>(),
            layout::slice::train::<$t>(),
            layout::permute::run::<$t>(),
            layout::gather::run::<$t>(),
            layout::gather::train::<$t>(),
            layout::top_k::run::<$t>(),
            layout::top_k::train::<$t>(),
            sample::run::<$t>(),
            sample::train::<$t>(),
            softmax::run::<$t>(),
            softmax::train::<$t>(),
            softmax::run_masked::<$t>(),
            softmax::train_masked::<$t>(),
            softmax::run_gumbel::<$t>(),
            softmax::train_gumbel::<$t>(),
            softmax::run_entmax::<$t>(),
            softmax::train_entmax::<$t>(),
            softmax::run_tree::<$t>(),
            softmax::train_tree::<$t>(),
            softmax::run_adaptive::<$t>(),
            softmax::train_adaptive::<$t>(),
            softmax::run_mixture::<$t>(),
            softmax::train_mixture::<$t>(),
            softmax::run_learned::<$t>(),
            softmax::train_learned::<$t>(),
            softmax::run_top_k::<$t>(),
            recurrent::run::<$t>(),
            recurrent::train::<$t>(),
            attention::run::<$t>(),
            attention::train::<$t>(),
            attention::rotary::run::<$t>(),
            attention::rotary::train::<$t>(),
            attention::sequences::run::<$t>(),
            mixture::run::<$t>(),
            mixture::train::<$t>(),
            stream::run::<$t>(),
            tied::train::<$t, u8>(),
            tied::train::<$t, u16>(),
            tied::train::<$t, u32>(),
            cluster::run::<$t>(),
            cluster::train::<$t>(),
        )*
            mixed::run::<i16, i8>(),
            mixed::train::<i16, i8>(),
            mixed::run::<i16, u8>(),
            mixed::train::<i16, u8>(),
            mixed::run::<u16, i8>(),
            mixed::train::<u16, i8>(),
            mixed::run::<u16, u8>(),
            mixed::train::<u16, u8>(),
            sgd::run_mixed::<i16, i8>(),
            sgd::run_mixed::<i16, u8>(),
            sgd::run_mixed::<u16, i8>(),
            sgd::run_mixed::<u16, u8>(),
            deformable::run::<f16>(),
            deformable::train::<f16>(),
            deformable::run::<bf16>(),
            deformable::train::<bf16>(),
            deformable::run::<f32>(),
            deformable::train::<f32>(),
            deformable::run::<f64>(),
            deformable::train::<f64>(),
        ];
    };
}
all!(i8 u8 i16 u16 i32 u32 i64 u64 f16 bf16 f32 f64);

/// The operator of `kind` for these types: its group and its place there.
pub(crate) fn find(registry: Registry<'_>, kind: u8, dtypes: [DType; 2]) -> Option<[u16; 2]> {
    let is_it = |kernel: &Kernel| kernel.kind as u8 == kind && kernel.dtypes == dtypes;
    (0..).zip(registry).find_map(|(group, kernels)| {
        let place = kernels.iter().position(is_it)?;
        Some([group, u16::try_from(place).ok()?])
    })
}
