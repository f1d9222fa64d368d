//! The layers of a description: what each is told, and how it becomes operators.

mod activation;
mod attention;
mod cluster;
mod containers;
mod conv;
pub(super) mod custom;
mod deformable;
mod dense;
mod dropout;
mod embedding;
mod layout;
mod mixed;
mod mixture;
mod norm;
mod pool;
mod recurrent;
mod reduce;
mod resize;
mod shape;
mod softmax;
mod stitch;
mod stream;
mod tied;
mod unary;
mod window;

pub use activation::{Activate, Activation};
pub use attention::{Attention, CrossAttention, Pairs, Rotary, Scaling, Sight};
pub use cluster::{Gives, KMeans, Metric};
pub use containers::{Branch, Combine, Parallel, Residual, Sequential};
pub use conv::{Conv, ConvTranspose, Depthwise, MixedConv};
pub use custom::{Compose, Custom, Scope};
pub use deformable::DeformableAttention;
pub use dense::Dense;
pub use dropout::Dropout;
pub use embedding::{Embedding, Positions};
pub use layout::{Beyond, Gather, Pad, Part, Permute, Range, Slice, TopK};
pub use mixed::{MixedDense, Weights};
pub use mixture::{Balance, Mixture};
pub use norm::{BatchNorm, LayerNorm, RmsNorm};
pub use pool::{
    AdaptiveAveragePool, AdaptiveMaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool,
};
pub use recurrent::{Gru, Lstm, Rnn, Steps};
pub use reduce::{ArgMax, ArgMin, ReduceMax, ReduceMean, ReduceMin, ReduceSum};
pub use resize::{Coordinates, ResizeBilinear, ResizeNearest};
pub use shape::{Flatten, Reshape};
pub use softmax::{
    AdaptiveSoftmax, Entmax, GroupedSoftmax, GumbelSoftmax, LearnedMixture, MaskedSoftmax,
    MixtureSoftmax, Softmax, Sparsemax, TopKSoftmax, TreeSoftmax,
};
pub use stitch::Stitch;
pub use stream::Stream;
pub use tied::Tied;
pub use unary::{Abs, Negate, Square};
pub use window::{Extents, Padding};

use super::builder::Builder;
use crate::graph::{Error, ValueId};
use alloc::string::String;
#[cfg(feature = "json")]
use serde::{Deserialize, Serialize};

/// A named layer.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
pub struct Layer {
    /// Its name, unique among its neighbours, and without dots.
    pub name: String,
    /// Whether its parameters stay as they are when the network is trained: they are read where they lie in the image,
    /// and cost no RAM.
    #[cfg_attr(feature = "json", serde(default, skip_serializing_if = "is_false"))]
    pub frozen: bool,
    /// Whether it is passed over, as if it were not there. It keeps its number, so that nothing else changes.
    #[cfg_attr(feature = "json", serde(default, skip_serializing_if = "is_false"))]
    pub disabled: bool,
    /// The path of a layer before it whose parameters it has, too: `left.hidden`, of its neighbours or of the layers around
    /// it. Their gradients are added.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub shares: Option<String>,
    /// What it is.
    #[cfg_attr(feature = "json", serde(flatten))]
    pub layer: Type,
}

#[cfg(feature = "json")]
#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Layer {
    /// A layer of this name.
    #[must_use]
    pub fn new(name: impl Into<String>, layer: impl Into<Type>) -> Self {
        Self {
            name: name.into(),
            frozen: false,
            disabled: false,
            shares: None,
            layer: layer.into(),
        }
    }
}

/// How a layer becomes operators.
pub(crate) trait Build {
    /// Numbers that it takes.
    fn numbers(&self) -> u32 {
        1
    }

    /// Whether its input may be tokens, as it is or for the layers in it.
    fn takes_tokens(&self) -> bool {
        false
    }

    /// Appends its operators to `x`, and returns its output.
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error>;
}

/// The name of a type as `serde` writes it.
fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

macro_rules! layers {
    ($($(#[$attribute:meta])* $name:ident)*) => {
        /// What a layer is.
        #[derive(Clone, Debug, PartialEq)]
        #[cfg_attr(feature = "json", derive(Serialize, Deserialize))]
        #[cfg_attr(feature = "json", serde(tag = "type", rename_all = "snake_case"))]
        #[non_exhaustive]
        pub enum Type {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $(#[$attribute])* $name($name),)*
        }

        $(impl From<$name> for Type {
            fn from(layer: $name) -> Self {
                Self::$name(layer)
            }
        })*

        impl Type {
            /// Its name in JSON, or that of a layer which a program defines.
            #[must_use]
            pub fn name(&self) -> String {
                if let Self::Custom(layer) = self {
                    return layer.name().into();
                }
                match self {
                    $(Self::$name(_) => snake_case(stringify!($name)),)*
                }
            }

            /// Whether it is made of layers, and has no parameters beside theirs.
            #[must_use]
            pub const fn is_container(&self) -> bool {
                matches!(
                    self,
                    Self::Sequential(_)
                        | Self::Residual(_)
                        | Self::Parallel(_)
                        | Self::Mixture(_)
                        | Self::Stream(_)
                        | Self::Custom(_)
                )
            }
        }

        impl Build for Type {
            fn numbers(&self) -> u32 {
                match self {
                    $(Self::$name(layer) => layer.numbers(),)*
                }
            }

            fn takes_tokens(&self) -> bool {
                match self {
                    $(Self::$name(layer) => layer.takes_tokens(),)*
                }
            }

            fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error> {
                match self {
                    $(Self::$name(layer) => layer.build(to, x),)*
                }
            }
        }
    };
}

layers! {
    Sequential Residual Parallel
    Dense Stitch Conv Depthwise ConvTranspose
    MaxPool AveragePool GlobalMaxPool GlobalAveragePool AdaptiveMaxPool AdaptiveAveragePool
    LayerNorm RmsNorm BatchNorm
    Activate
    Embedding Positions
    Rnn Lstm Gru
    Attention CrossAttention DeformableAttention
    Mixture Balance
    Stream Tied
    KMeans
    MixedDense MixedConv
    Flatten Reshape
    Negate Abs Square
    Dropout
    ResizeNearest ResizeBilinear
    ReduceSum ReduceMean ReduceMax ReduceMin ArgMax ArgMin
    Permute Pad Slice Part Gather TopK
    Softmax GroupedSoftmax MaskedSoftmax GumbelSoftmax Entmax Sparsemax
    TreeSoftmax AdaptiveSoftmax MixtureSoftmax LearnedMixture TopKSoftmax
    #[cfg_attr(feature = "json", serde(skip))]
    Custom
}
