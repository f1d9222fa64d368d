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
mod head;
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
pub use head::Head;
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
pub use unary::{Abs, Negate, Scale, Square};
pub use window::{Extents, Padding};

use super::builder::Builder;
use crate::graph::{Error, ValueId};
use alloc::string::String;
use alloc::vec::Vec;
use selvedge_kernels::DType;
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
    /// Type of its elements, and of those of the layers in it that have none of their own; that of what is around it
    /// otherwise. Where neighbours differ, a conversion stands between them.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none", with = "dtype_name")
    )]
    pub dtype: Option<DType>,
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

/// Types by their names.
#[cfg(feature = "json")]
mod dtype_name {
    use alloc::borrow::Cow;
    use selvedge_kernels::DType;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de};

    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)] // as serde calls it
    pub(super) fn serialize<S: Serializer>(
        dtype: &Option<DType>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        dtype.map(DType::name).serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<DType>, D::Error> {
        let name = Cow::<'_, str>::deserialize(from)?;
        let dtype = DType::from_name(&name);
        let names = DType::ALL.map(DType::name).join(", ");
        let unknown = || de::Error::custom(alloc::format!("no type `{name}`; there are {names}"));
        dtype.ok_or_else(unknown).map(Some)
    }
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
            dtype: None,
            shares: None,
            layer: layer.into(),
        }
    }

    /// The same, to stay as it is in training.
    #[must_use]
    pub fn frozen(self) -> Self {
        Self {
            frozen: true,
            ..self
        }
    }

    /// The same, to be passed over.
    #[must_use]
    pub fn disabled(self) -> Self {
        Self {
            disabled: true,
            ..self
        }
    }

    /// The same in elements of this type.
    #[must_use]
    pub fn dtype(self, dtype: DType) -> Self {
        Self {
            dtype: Some(dtype),
            ..self
        }
    }

    /// The same with the parameters of the layer at `path`, which stands before it.
    #[must_use]
    pub fn shares(self, path: impl Into<String>) -> Self {
        Self {
            shares: Some(path.into()),
            ..self
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

    /// The layers in it, and what paths have before their names; nothing of a layer that is none of layers.
    fn rows(&self) -> Vec<Rows<'_>> {
        Vec::new()
    }

    /// The same, to be changed.
    fn inside(&mut self) -> Vec<Inside<'_>> {
        Vec::new()
    }

    /// Appends its operators to `x`, and returns its output.
    fn build(&self, to: &mut Builder<'_>, x: ValueId) -> Result<ValueId, Error>;
}

/// Layers in a layer, behind the name between theirs and its own, where there is one.
pub(crate) type Rows<'l> = (Option<&'l str>, &'l [Layer]);

/// Layers in a layer, and the name between theirs and its own, where there is one.
pub(crate) struct Inside<'l> {
    pub(crate) name: Option<&'l str>,
    pub(crate) layers: &'l mut [Layer],
}

impl<'l> Inside<'l> {
    /// Layers right behind the name of the layer that they are in.
    pub(crate) fn of(layers: &'l mut [Layer]) -> Self {
        Self { name: None, layers }
    }

    /// Those of branches.
    pub(crate) fn branches(branches: &'l mut [Branch]) -> Vec<Self> {
        let of = |branch: &'l mut Branch| Self {
            name: Some(&branch.name),
            layers: &mut branch.layers,
        };
        branches.iter_mut().map(of).collect()
    }
}

/// Those of branches, to be looked at.
pub(crate) fn rows_of(branches: &[Branch]) -> Vec<Rows<'_>> {
    let names = branches.iter().map(|branch| Some(&*branch.name));
    let rows = branches.iter().map(|branch| &*branch.layers);
    names.zip(rows).collect()
}

/// Whether one of `layers`, or a layer in them, `is` one.
pub(crate) fn is_within(layers: &[Layer], is: impl Fn(&Type) -> bool + Copy) -> bool {
    layers.iter().any(|layer| {
        let mut rows = layer.layer.rows().into_iter();
        is(&layer.layer) || rows.any(|(_, layers)| is_within(layers, is))
    })
}

/// The layer at `path` among `layers`.
pub(crate) fn at<'l>(layers: &'l mut [Layer], path: &str) -> Option<&'l mut Layer> {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let layer = layers.iter_mut().find(|layer| layer.name == name)?;
    let Some(rest) = rest else {
        return Some(layer);
    };
    let parts = layer.layer.inside();
    parts.into_iter().find_map(|part| {
        let rest = match part.name {
            None => rest,
            Some(name) => rest.strip_prefix(name)?.strip_prefix('.')?,
        };
        at(part.layers, rest)
    })
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

            /// Whether it takes each position by itself, or goes over those of a sequence where the samples of a run are these.
            pub(crate) const fn takes_each_alone(&self) -> bool {
                matches!(
                    self,
                    Self::Sequential(_)
                        | Self::Residual(_)
                        | Self::Parallel(_)
                        | Self::Head(_)
                        | Self::Mixture(_)
                        | Self::Custom(_)
                        | Self::Dense(_)
                        | Self::Stitch(_)
                        | Self::MixedDense(_)
                        | Self::Embedding(_)
                        | Self::Tied(_)
                        | Self::Attention(_)
                        | Self::Rnn(_)
                        | Self::Lstm(_)
                        | Self::Gru(_)
                        | Self::LayerNorm(_)
                        | Self::RmsNorm(_)
                        | Self::BatchNorm(_)
                        | Self::Balance(_)
                        | Self::KMeans(_)
                        | Self::Activate(_)
                        | Self::Dropout(_)
                        | Self::Negate(_)
                        | Self::Abs(_)
                        | Self::Square(_)
                        | Self::Scale(_)
                        | Self::Softmax(_)
                        | Self::GroupedSoftmax(_)
                        | Self::MaskedSoftmax(_)
                        | Self::GumbelSoftmax(_)
                        | Self::Entmax(_)
                        | Self::Sparsemax(_)
                        | Self::TreeSoftmax(_)
                        | Self::AdaptiveSoftmax(_)
                        | Self::MixtureSoftmax(_)
                        | Self::LearnedMixture(_)
                        | Self::TopKSoftmax(_)
                )
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
                        | Self::Head(_)
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

            fn rows(&self) -> Vec<Rows<'_>> {
                match self {
                    $(Self::$name(layer) => layer.rows(),)*
                }
            }

            fn inside(&mut self) -> Vec<Inside<'_>> {
                match self {
                    $(Self::$name(layer) => layer.inside(),)*
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
    Sequential Residual Parallel Head
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
    Negate Abs Square Scale
    Dropout
    ResizeNearest ResizeBilinear
    ReduceSum ReduceMean ReduceMax ReduceMin ArgMax ArgMin
    Permute Pad Slice Part Gather TopK
    Softmax GroupedSoftmax MaskedSoftmax GumbelSoftmax Entmax Sparsemax
    TreeSoftmax AdaptiveSoftmax MixtureSoftmax LearnedMixture TopKSoftmax
    #[cfg_attr(feature = "json", serde(skip))]
    Custom
}
