//! Networks of the layers that move, choose and share out, over volumes, and of mixed types.

use crate::{CLASSES, SIDE};
use selvedge_core::net;
use selvedge_core::net::layout::{Beyond, Edges, Entries, Range, Ranges};
use selvedge_core::net::softmax::{Allowed, Clusters, Levels, Weights};
use selvedge_core::net::{
    Abs, Activate, AdaptiveAveragePool, AdaptiveMaxPool, AdaptiveSoftmax, Addition, ArgMax, ArgMin,
    AveragePool, Axes2, Axes3, Axis, Concat, Conv, ConvTranspose, Difference, Dropout, Entmax,
    Fork, Gather, GroupedSoftmax, GumbelSoftmax, LearnedMixture, Logits, MaskedSoftmax, MaxPool,
    Maximum, Minimum, MixedConv, MixedDense, MixtureSoftmax, Negate, Pad, Part, Permute, Quotient,
    ReduceMax, ReduceMean, ReduceMin, ReduceSum, Relu, Reshape, ResizeBilinear, ResizeNearest,
    Sample, Skip, Slice, Slide, Softmax, Softplus, Sparsemax, Split, Square, Tanh, TopK,
    TreeSoftmax,
};
use selvedge_core::tensor::{D1, D2, D3, D4, D5};
use selvedge_kernels::mixed::Activation as Over;

net! {
    /// An image folded into a volume: convolutions and pooling over three axes.
    pub struct Volume: [SIDE, SIDE, 1] {
        fold: layer(Reshape<T, D3<SIDE, SIDE, 1>, D4<4, 4, 4, 1>> => [4, 4, 4, 1]),
        entry: layer(Conv<T, D4<4, 4, 4, 1>, D5<6, 3, 3, 3, 1>, D4<4, 4, 4, 6>, Slide<1, 1>, Relu, R>
            => [4, 4, 4, 6]),
        norm: batch_norm,
        halve: layer(MaxPool<T, D4<4, 4, 4, 6>, D4<2, 2, 2, 6>, D3<2, 2, 2>> => [2, 2, 2, 6]),
        double: layer(ConvTranspose<T, D4<2, 2, 2, 6>, D5<6, 2, 2, 2, 4>, D4<4, 4, 4, 4>, Slide<2>, Softplus, R>
            => [4, 4, 4, 4]),
        smooth: layer(AveragePool<T, D4<4, 4, 4, 4>, D4<4, 4, 4, 4>, D3<3, 3, 3>, Slide<1, 1>, false>
            => [4, 4, 4, 4]),
        means: layer(AdaptiveAveragePool<T, D4<4, 4, 4, 4>, D4<2, 3, 2, 4>> => [2, 3, 2, 4]),
        peaks: layer(AdaptiveMaxPool<T, D4<2, 3, 2, 4>, D4<1, 2, 2, 4>> => [1, 2, 2, 4]),
        flat: flatten,
        head: dense(CLASSES),
    }
}

/// A mirrored row on each side, a mirrored column before the first.
pub struct Mirror;

impl Edges for Mirror {
    const SIDES: &'static [[usize; 2]] = &[[1, 1], [1, 0], [0, 0]];
    const BEYOND: Beyond = Beyond::Reflect;
}

/// Every second row, from the last one back.
pub struct EverySecond;

impl Ranges for EverySecond {
    const RANGES: &'static [Range] = &[
        Range {
            step: -2,
            ..Range::ALL
        },
        Range::ALL,
        Range::ALL,
    ];
}

/// The first two channels of all pixels but those of the last row and column.
pub struct Corner;

impl Ranges for Corner {
    const RANGES: &'static [Range] = &[
        Range {
            stop: Some(-1),
            ..Range::ALL
        },
        Range {
            stop: Some(-1),
            ..Range::ALL
        },
        Range {
            stop: Some(2),
            ..Range::ALL
        },
    ];
}

/// Six columns, one of them twice.
pub struct Columns;

impl Entries for Columns {
    const AXIS: usize = 1;
    const INDICES: &'static [u32] = &[7, 0, 3, 3, 5, 1];
}

/// What the layers in the middle of [`Moves`] read.
type Picked = D3<5, 6, 4>;
/// What is left where the image was sampled.
type Sampled = D3<4, 5, 4>;

net! {
    /// Resized, padded, turned, cut, picked and sampled at positions that the image itself tells; then what is
    /// left of each column.
    pub struct Moves: [SIDE, SIDE, 1] {
        entry: conv2d(4, kernel = 3, padding = same, activation = tanh),
        drop: layer(Dropout<T, D3<SIDE, SIDE, 4>, 100> => [SIDE, SIDE, 4]),
        small: layer(ResizeBilinear<T, D3<SIDE, SIDE, 4>, D3<5, 6, 4>> => [5, 6, 4]),
        wider: layer(Pad<T, D3<5, 6, 4>, D3<7, 7, 4>, Mirror> => [7, 7, 4]),
        large: layer(ResizeNearest<T, D3<7, 7, 4>, D3<8, 9, 4>> => [8, 9, 4]),
        turned: layer(Permute<T, D3<8, 9, 4>, D3<9, 8, 4>, Axes3<1, 0, 2>> => [9, 8, 4]),
        half: layer(Slice<T, D3<9, 8, 4>, D3<5, 8, 4>, EverySecond> => [5, 8, 4]),
        picked: layer(Gather<T, D3<5, 8, 4>, Picked, Columns> => [5, 6, 4]),
        low: layer(Fork<Square<T, Picked>, Abs<T, Picked>, Difference> => [5, 6, 4]),
        raised: layer(Fork<Skip<T, Picked>, Square<T, Picked>, Addition> => [5, 6, 4]),
        ratio: layer(Fork<Skip<T, Picked>, Activate<T, Picked, Softplus>, Quotient> => [5, 6, 4]),
        mixed: conv2d(4, kernel = 1, activation = relu),
        sampled: layer(Fork<Skip<T, Picked>, Slice<T, Picked, D3<4, 5, 2>, Corner>, Sample<Sampled>> => [4, 5, 4]),
        above: layer(Fork<Skip<T, Sampled>, Negate<T, Sampled>, Maximum> => [4, 5, 4]),
        best: layer(TopK<T, Sampled, D3<3, 5, 4>> => [3, 5, 4]),
        ends: concat {
            most: layer(ReduceMax<T, D3<3, 5, 4>, D2<5, 4>, Axis<0>> => [5, 4]),
            all: layer(ReduceSum<T, D2<5, 4>, D1<4>, Axis<0>> => [4]),
        } {
            least: layer(ReduceMin<T, D3<3, 5, 4>, D2<3, 4>, Axis<1>> => [3, 4]),
            middle: layer(ReduceMean<T, D2<3, 4>, D1<4>, Axis<0>> => [4]),
        },
        kept: layer(Fork<Skip<T, D1<8>>, Activate<T, D1<8>, Tanh>, Minimum> => [8]),
        head: dense(CLASSES),
    }
}

/// Four groups of six.
pub struct Groups;

impl Levels for Groups {
    const LEVELS: &'static [usize] = &[4, 6];
}

/// Two nodes of three leaves.
pub struct Branches;

impl Levels for Branches {
    const LEVELS: &'static [usize] = &[2, 3];
}

/// All classes but one.
pub struct NotTheThird;

impl Allowed for NotTheThird {
    const ALLOWED: &'static [bool] = &[true, true, false, true, true, true, true, true];
}

/// Two items in the head, tails of three and one.
pub struct Tails;

impl Clusters for Tails {
    const IDS: &'static [u32] = &[4, 0, 1, 2, 5, 3];
    const SIZES: &'static [usize] = &[2, 3, 1];
}

/// Shares of 3, 1 and 4 eighths.
pub struct Uneven;

impl Weights for Uneven {
    const WEIGHTS: &'static [u8] = &[3, 1, 4];
}

net! {
    /// Every softmax as a hidden layer.
    pub struct Shares: [SIDE, SIDE, 1] {
        flat: flatten,
        first: dense(24, activation = tanh),
        rows: concat {
            plain: layer(Softmax<T, D1<24>, 500> => [24]),
        } {
            groups: layer(GroupedSoftmax<T, D1<24>, Groups> => [24]),
        },
        second: dense(24, activation = relu),
        chosen: sum {
            d0: dense(8), masked: layer(MaskedSoftmax<T, D1<8>, NotTheThird> => [8]),
        } {
            d1: dense(8), gumbel: layer(GumbelSoftmax<T, D1<8>, false, 800> => [8]),
        },
        third: dense(24, activation = relu),
        parts: concat {
            d2: dense(8), tree: layer(TreeSoftmax<T, D1<8>, D1<6>, Branches> => [6]),
        } {
            d3: dense(8), adaptive: layer(AdaptiveSoftmax<T, D1<8>, D1<6>, Tails> => [6]),
        },
        fourth: dense(24, activation = relu),
        sparse: concat {
            d4: dense(8), entmax: layer(Entmax<T, D1<8>> => [8]),
        } {
            d5: dense(8), sparsemax: layer(Sparsemax<T, D1<8>> => [8]),
        },
        fifth: dense(12, activation = relu),
        components: layer(Reshape<T, D1<12>, D2<3, 4>> => [3, 4]),
        turned: layer(Permute<T, D2<3, 4>, D2<4, 3>, Axes2<1, 0>> => [4, 3]),
        again: layer(Reshape<T, D2<4, 3>, D2<3, 4>> => [3, 4]),
        mixture: layer(MixtureSoftmax<T, D2<3, 4>, D1<4>, Uneven> => [4]),
        sixth: dense(6, activation = relu),
        pair: layer(Reshape<T, D1<6>, D2<2, 3>> => [2, 3]),
        learned: layer(LearnedMixture<T, D2<2, 3>, D1<3>, D1<2>, R> => [3]),
        head: dense(CLASSES),
    }
}

net! {
    /// Weights of 8 bits under activations of 16, as in audio.
    pub struct Audio<T: Over<i8>>: [SIDE, SIDE] {
        entry: layer(MixedConv<T, i8, D2<SIDE, SIDE>, D3<12, 3, SIDE>, D2<SIDE, 12>, Slide<1, 1>, Relu, R>
            => [SIDE, 12]),
        depth: layer(MixedConv<T, i8, D2<SIDE, 12>, D3<12, 3, 1>, D2<SIDE, 12>, Slide<1, 1>, Tanh, R>
            => [SIDE, 12]),
        pool: global_average_pool,
        hidden: layer(MixedDense<T, i8, 12, 24, Relu, R> => [24]),
        head: layer(MixedDense<T, i8, 24, CLASSES, Logits, R> => [CLASSES]),
    }
}

/// A convolution of the first two of six channels.
type Convolved<T, R> = Conv<T, D3<4, 4, 2>, D4<2, 3, 3, 2>, D3<4, 4, 2>, Slide<1, 1>, Relu, R>;
/// What the layers in the middle of [`Parts`] read.
type Stacked = D3<10, 4, 6>;

net! {
    /// An image split and put together along channels and rows, with where its elements are largest and smallest.
    pub struct Parts: [SIDE, SIDE, 1] {
        entry: conv2d(6, kernel = 3, stride = 2, padding = same, activation = relu),
        halves: layer(Split<D3<4, 4, 6>, Convolved<T, R>, Skip<T, D3<4, 4, 4>>, Concat<D3<4, 4, 6>>> => [4, 4, 6]),
        stacked: concat(axis = 0) {} {
            turned: layer(Negate<T, D3<4, 4, 6>> => [4, 4, 6]),
        } {
            top: layer(Part<T, D3<4, 4, 6>, D3<2, 4, 6>, Axis<0>> => [2, 4, 6]),
        },
        largest: layer(Fork<Skip<T, Stacked>, ArgMax<T, Stacked, D2<4, 6>, Axis<0>>, Addition> => [10, 4, 6]),
        smallest: layer(Fork<Skip<T, Stacked>, ArgMin<T, Stacked, D3<10, 4, 1>, Axis<2>>, Difference> => [10, 4, 6]),
        pool: global_average_pool,
        head: dense(CLASSES),
    }
}
