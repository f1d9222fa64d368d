//! The networks.

use super::Case;
use crate::{CLASSES, SIDE};
use selvedge_core::network::{
    Activate, Activation, Attention, BatchNorm, Branch, Budget, Combine, Conv, Dense, Dropout,
    Error, Flatten, GlobalAveragePool, Gru, Layer, Lstm, MaxPool, Mixture, Network, Options,
    Padding, Parallel, Residual, RmsNorm, Rotary, Sight, Softmax, Steps,
};
use selvedge_core::ops::attention::rotary;
use selvedge_core::ops::{
    activation, attention as heads, batch_norm, concat, conv, convert, copy, dense, dropout, loss,
    mixture, norm, pool, recurrent, restate, sgd, softmax, stream, sum,
};
use selvedge_core::{DType, Element};

/// A convolution whose output has the extents of its input.
fn same(filters: usize) -> Conv {
    Conv::new(filters, 3).padding(Padding::Same)
}

/// Layers of other types than the network's: a convolution in `i8`, a dense layer in `u16`, and conversions between them.
#[must_use]
pub fn types<T: Element>() -> Case<T> {
    let edges = same(6).stride(2).activation(Activation::Relu);
    let hidden = Dense::new(16).activation(Activation::Tanh);
    let network = Network::new([SIDE, SIDE, 1])
        .with(Layer::new("edges", edges).dtype(DType::I8))
        .layer("flat", Flatten::default())
        .with(Layer::new("hidden", hidden).dtype(DType::U16))
        .layer("head", Dense::new(CLASSES));
    let operators = const {
        &[
            conv::run::<i8>(),
            conv::train::<i8>(),
            dense::run::<u16>(),
            dense::train::<u16>(),
            dense::run::<T>(),
            dense::train::<T>(),
            convert::run::<T, i8>(),
            convert::run::<i8, T>(),
            convert::run::<T, u16>(),
            convert::run::<u16, T>(),
            loss::cross_entropy_of::<T>(),
        ]
    };
    Case::new(network, operators)
}

/// Trained in the smallest arena that it fits: activations are computed again.
#[must_use]
pub fn budget<T: Element>() -> Case<T> {
    let mut network = Network::new([SIDE, SIDE, 1]);
    for name in ["first", "second", "third", "fourth"] {
        network = network.layer(name, same(6).activation(Activation::Relu));
    }
    let network = network
        .layer("flat", Flatten::default())
        .layer("head", Dense::new(CLASSES));
    let operators = const {
        &[
            conv::run::<T>(),
            conv::train::<T>(),
            dense::run::<T>(),
            dense::train::<T>(),
            restate::run::<T>(),
            loss::cross_entropy_of::<T>(),
        ]
    };
    let mut case = Case::new(network, operators);
    let one = Options {
        budget: Budget::bytes(1),
        ..case.options
    };
    if let Err(Error::Budget { needed, .. }) = case.network.compile(T::DTYPE, &one) {
        case.options.budget = Budget::bytes(needed);
    }
    case
}

/// From the input of [`ticks`] to its output.
pub(super) const TICKS: usize = 4;

/// A row of layers, each of which advances on what the one before it gave at the last tick.
#[must_use]
pub fn ticks<T: Element>() -> Case<T> {
    let network = Network::new([SIDE, SIDE, 1])
        .layer("edges", same(4).activation(Activation::Relu))
        .layer("halve", MaxPool::new(2))
        .layer("flat", Flatten::default())
        .layer("hidden", Dense::new(16).activation(Activation::Sigmoid))
        .layer("head", Dense::new(CLASSES));
    let operators = const {
        &[
            conv::run::<T>(),
            conv::train::<T>(),
            pool::run::<T>(),
            pool::train::<T>(),
            dense::run::<T>(),
            dense::train::<T>(),
            stream::run::<T>(),
            copy::run::<T>(),
            loss::cross_entropy_of::<T>(),
        ]
    };
    let mut case = Case::new(network, operators);
    case.options.step = true;
    case
}

/// Attention with rotary positions and keys that are shared, in a sliding window over rows, those of earlier runs among them.
#[must_use]
pub fn attention<T: Element>() -> Case<T> {
    let seen = Attention::new(2, 4)
        .kv_heads(1)
        .sight(Sight::Recent(3))
        .rotary(Rotary::default())
        .cache(SIDE + 3);
    let block = Residual::default()
        .layer("norm", RmsNorm::default())
        .layer("attention", seen);
    let network = Network::new([SIDE, SIDE])
        .layer("entry", Dense::new(8))
        .layer("block", block)
        .layer("pool", GlobalAveragePool::default())
        .layer("head", Dense::new(CLASSES));
    let operators = const {
        &[
            dense::run::<T>(),
            dense::train::<T>(),
            norm::run::<T>(),
            norm::train::<T>(),
            heads::run::<T>(),
            heads::train::<T>(),
            rotary::run::<T>(),
            rotary::train::<T>(),
            sum::run::<T>(),
            copy::run::<T>(),
            pool::run_adaptive_average::<T>(),
            pool::train_adaptive_average::<T>(),
            loss::cross_entropy_of::<T>(),
        ]
    };
    Case::new(network, operators)
}

/// Recurrent layers that begin a run with the state that the one before has left.
#[must_use]
pub fn carried<T: Element>() -> Case<T> {
    let network = Network::new([SIDE, SIDE])
        .layer("lstm", Lstm::new(10).steps(Steps::All).carried())
        .layer("gru", Gru::new(8).carried())
        .layer("head", Dense::new(CLASSES));
    let operators = const {
        &[
            recurrent::run::<T>(),
            recurrent::train::<T>(),
            dense::run::<T>(),
            dense::train::<T>(),
            loss::cross_entropy_of::<T>(),
        ]
    };
    Case::new(network, operators)
}

/// Branches that are added and concatenated, and experts that a softmax weighs.
#[must_use]
pub fn branches<T: Element>() -> Case<T> {
    let block = Residual::default()
        .layer("conv", same(6).activation(Activation::Relu))
        .layer("norm", BatchNorm::default());
    let both = Parallel::new(Combine::Concat)
        .branch(Branch::new("near").layer("conv", Conv::new(4, 1)))
        .branch(Branch::new("far").layer("conv", same(4).dilation(2)));
    let dense = |activation| Dense::new(8).activation(activation);
    let experts = Mixture::new()
        .gate("logits", Dense::new(3))
        .gate("shares", Softmax::default())
        .branch(Branch::new("sharp").layer("dense", dense(Activation::Relu)))
        .branch(Branch::new("smooth").layer("dense", dense(Activation::Gelu)))
        .branch(Branch::new("skip"));
    let network = Network::new([SIDE, SIDE, 1])
        .layer("entry", same(6).stride(2))
        .layer("block", block)
        .layer("both", both)
        .layer("pool", GlobalAveragePool::default())
        .layer("experts", experts)
        .layer("head", Dense::new(CLASSES));
    let operators = const {
        &[
            conv::run::<T>(),
            conv::train::<T>(),
            batch_norm::run::<T>(),
            batch_norm::train::<T>(),
            sum::run::<T>(),
            concat::run::<T>(),
            concat::train::<T>(),
            pool::run_adaptive_average::<T>(),
            pool::train_adaptive_average::<T>(),
            dense::run::<T>(),
            dense::train::<T>(),
            softmax::run::<T>(),
            softmax::train::<T>(),
            mixture::run::<T>(),
            mixture::train::<T>(),
            loss::cross_entropy_of::<T>(),
        ]
    };
    Case::new(network, operators)
}

/// Gradients that are gathered over several steps, with momentum, of layers two of which share their parameters.
#[must_use]
pub fn gathered<T: Element>() -> Case<T> {
    let dense = || Dense::new(16).activation(Activation::Tanh);
    let network = Network::new([SIDE, SIDE, 1])
        .layer("flat", Flatten::default())
        .layer("first", dense())
        .layer("second", dense())
        .with(Layer::new("again", dense()).shares("second"))
        .layer("head", Dense::new(CLASSES));
    let operators = const {
        &[
            dense::run::<T>(),
            dense::train::<T>(),
            sgd::run::<T>(),
            loss::cross_entropy_of::<T>(),
        ]
    };
    let mut case = Case::new(network, operators);
    case.options.accumulate = true;
    case.options.momentum = true;
    case
}

/// Running statistics, velocities and random words, which go on in another session half-way.
#[must_use]
pub fn stopped<T: Element>() -> Case<T> {
    let network = Network::new([SIDE, SIDE, 1])
        .layer("edges", same(4))
        .layer("norm", BatchNorm::default())
        .layer("relu", Activate::new(Activation::Relu))
        .layer("halve", MaxPool::new(2))
        .layer("flat", Flatten::default())
        .layer("half", Dropout::default())
        .layer("head", Dense::new(CLASSES));
    let operators = const {
        &[
            conv::run::<T>(),
            conv::train::<T>(),
            batch_norm::run::<T>(),
            batch_norm::train::<T>(),
            activation::run::<T>(),
            activation::train::<T>(),
            pool::run::<T>(),
            pool::train::<T>(),
            dropout::run::<T>(),
            dropout::train::<T>(),
            dense::run::<T>(),
            dense::train::<T>(),
            loss::cross_entropy_of::<T>(),
        ]
    };
    let mut case = Case::new(network, operators);
    case.options.momentum = true;
    case.is_stopped = true;
    case
}
