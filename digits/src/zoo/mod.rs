//! A small network of each kind on the same digits, for comparing targets: [`each!`](crate::each!) names
//! them, [`train`] trains one for a few steps, [`fingerprint`] is what targets compare. Together they have every
//! layer.

mod experts;
mod given;
mod sequences;
mod tensors;

pub use experts::Experts;
pub use given::Given;
pub use sequences::{Decoder, Rows, Speller};
pub use tensors::{Audio, Moves, Parts, Shares, Volume};

use crate::{CLASSES, Digits, SEED, SIDE, TRAIN};
use selvedge_core::fingerprint::Fingerprint;
use selvedge_core::net::{Euclidean, KMeans, Layer, Network};
use selvedge_core::tensor::{D1, D2, Shape};
use selvedge_core::train::{Samples, Trainer};
use selvedge_core::{Delta, Distance, Element, Executor, Rate, Result, Sgd, net};
use sha2::{Digest, Sha256};

/// Samples of a training step.
pub const BATCH: usize = 4;
/// Steps that make every state, exponent and rounding matter.
pub const STEPS: u32 = 24;

const _: () = assert!(STEPS as usize * BATCH <= TRAIN, "each image once");

/// Calls `$with!` with the name and the type of each network and the two types that it is trained in.
#[macro_export]
macro_rules! each {
    ($with:ident!($($before:tt)*)) => {
        $with! { $($before)*
            perceptron: Perceptron (i8, u16), lenet: LeNet (i8, u16), separable: Separable (i8, u16),
            residual: Residual (i8, u16), mobile: Mobile (i8, u16), hourglass: Hourglass (i8, u16),
            signal: Signal (i8, u16), clusters: Clusters (i8, u16), volume: Volume (i8, u16),
            moves: Moves (i8, u16), shares: Shares (i8, u16), audio: Audio (i16, u16), parts: Parts (i8, u16),
            experts: Experts (i8, u16), rows: Rows (i8, u16), decoder: Decoder (i8, u16),
            speller: Speller (i8, u16),
        }
    };
}

net! {
    /// Dense layers.
    pub struct Perceptron: [SIDE, SIDE, 1] {
        flat: flatten,
        first: dense(24, activation = relu),
        second: dense(16, activation = scaled_relu),
        head: dense(CLASSES),
    }
}

net! {
    /// Convolutions with tanh and average pooling, after LeCun et al. 1998.
    pub struct LeNet: [SIDE, SIDE, 1] {
        c1: conv2d(6, kernel = 5, padding = same, activation = tanh),
        s2: average_pool(2),
        c3: conv2d(12, kernel = 3, activation = sigmoid),
        flat: flatten,
        f5: dense(24, activation = tanh),
        head: dense(CLASSES),
    }
}

net! {
    /// Depthwise separable convolutions with batch normalisation, after Zhang et al. 2017.
    pub struct Separable: [SIDE, SIDE, 1] {
        entry: conv2d(12, kernel = [5, 3], stride = [2, 1], padding = same), n0: batch_norm, a0: relu,
        d1: depthwise(kernel = 3, padding = same), n1: batch_norm, a1: relu,
        p1: conv2d(12, kernel = 1), n2: batch_norm, a2: activation(relu6),
        pool: global_average_pool,
        head: dense(CLASSES),
    }
}

net! {
    /// Residual blocks, after He et al. 2015.
    pub struct Residual: [SIDE, SIDE, 1] {
        entry: conv2d(6, kernel = 3, padding = 1, activation = relu),
        block1: residual {
            c1: conv2d(6, kernel = 3, padding = 1), n1: batch_norm, a1: relu,
            c2: conv2d(6, kernel = 3, padding = 1), n2: batch_norm,
        },
        a1: relu,
        block2: residual {
            c1: conv2d(12, kernel = 3, stride = 2, padding = 1, activation = relu),
            c2: conv2d(12, kernel = 3, padding = 1),
        } shortcut {
            c3: conv2d(12, kernel = 1, stride = 2),
        },
        a2: relu,
        pool: global_average_pool,
        head: dense(CLASSES),
    }
}

net! {
    /// Depthwise separable convolutions without normalisation, after Howard et al. 2017.
    pub struct Mobile: [SIDE, SIDE, 1] {
        entry: conv2d(8, kernel = 3, stride = 2, padding = same, activation = masked_relu),
        d1: depthwise(kernel = 3, padding = same, activation = masked_relu),
        p1: conv2d(16, kernel = 1, activation = hard_swish),
        d2: depthwise(kernel = 3, stride = 2, padding = same, activation = lifted_relu),
        p2: conv2d(16, kernel = 1, activation = lifted_relu),
        halve: max_pool(2),
        flat: flatten,
        head: dense(CLASSES),
    }
}

net! {
    /// An autoencoder with transposed convolutions.
    pub struct Hourglass: [SIDE, SIDE, 1] {
        down: conv2d(6, kernel = 3, stride = 2, padding = same, activation = gelu),
        code: conv2d(4, kernel = 3, stride = 2, padding = same, activation = gelu),
        up: conv_transpose2d(6, kernel = 2, stride = 2, activation = silu),
        wide: conv_transpose2d(6, kernel = 2, stride = 2, activation = softplus),
        head: conv2d(1, kernel = 3, padding = same),
    }
}

net! {
    /// The rows of an image as a signal, through branches that are concatenated, gated and added.
    pub struct Signal: [SIDE, SIDE] {
        entry: conv1d(8, kernel = 3, padding = same, activation = silu),
        norm: layer_norm,
        both: concat {
            short: conv1d(4, kernel = 3, padding = same, activation = hard_swish),
        } {
            long: conv1d(4, kernel = 3, padding = same, dilation = 2, activation = leaky_relu(200)),
        },
        gate: product {} {
            pool: global_average_pool,
            squeeze: dense(4, activation = relu),
            open: dense(8, activation = sigmoid),
        },
        rms: rms_norm,
        again: residual {
            c1: conv1d(8, kernel = 3, padding = same, activation = softplus),
            c2: conv1d(8, kernel = 3, padding = same),
        },
        pool: global_max_pool,
        head: dense(CLASSES),
    }
}

net! {
    /// How near an image is to each of eight centres.
    pub struct Clusters: [SIDE, SIDE, 1] {
        flat: flatten,
        features: dense(12, activation = tanh),
        near: layer(KMeans<T, D1<12>, D2<8, 12>, D1<8>, selvedge_core::net::Shares, Euclidean, R> => [8]),
        head: dense(CLASSES),
    }
}

/// Trains ([`train`]), then hashes what has been learned: the parameters, and the outputs at inference for the
/// first digits of the test part, as they are stored and with their exponent. Outputs tell of what parameters do
/// not: running statistics, and all that is done at inference only.
///
/// # Errors
/// As [`train`].
pub fn fingerprint<N: Network<In: Given<<N as Network>::Elem>>>(
    trainer: &mut Trainer<N, BATCH>,
    exec: &impl Executor,
) -> Result<Fingerprint> {
    train(trainer, exec)?;
    let mut hash = Sha256::new();
    hash.update(trainer.fingerprint().0);
    read(trainer, &crate::test(), 0);
    let outputs = trainer.predict(exec, BATCH)?;
    for output in outputs.data {
        output.le_bytes(|bytes| hash.update(bytes));
    }
    hash.update(outputs.exponent.to_le_bytes());
    Ok(Fingerprint(hash.finalize().into()))
}

/// Trains for [`STEPS`] steps: a network with as many outputs as pixels towards the image by Huber's loss,
/// every other by cross-entropy.
///
/// # Errors
/// Those of [`Trainer::step`], none of which occurs with the networks of this module.
pub fn train<N: Network<In: Given<<N as Network>::Elem>>>(
    trainer: &mut Trainer<N, BATCH>,
    exec: &impl Executor,
) -> Result<()> {
    type Head<N> = <<N as Network>::Elem as Element>::Head;
    let sgd = Sgd::new(Rate {
        mantissa: 1,
        exponent: -5,
    });
    trainer.init(SEED)?;
    let digits = crate::train();
    for step in 0..STEPS as usize {
        let first = step * BATCH;
        let labels = read(trainer, &digits, first);
        if <N::Layers as Layer>::Output::LEN == SIDE * SIDE {
            let mut targets = [[<Head<N> as Element>::ZERO; SIDE * SIDE]; BATCH];
            for (index, target) in (first..).zip(&mut targets) {
                digits.read(index, target);
            }
            let exponent = <Head<N> as Element>::PIXEL_EXPONENT;
            let distance = Distance::Huber(Delta::ONE);
            trainer.step_towards(exec, targets.as_flattened(), exponent, distance, &sgd)?;
        } else {
            let labels = labels.get(..BATCH * Trainer::<N, BATCH>::LABELS);
            trainer.step(exec, labels.unwrap_or_default(), &sgd)?;
        }
    }
    Ok(())
}

/// Puts a batch from the digit `first` on into the input, and returns what is asked of the samples, one after the
/// other.
fn read<N: Network<In: Given<<N as Network>::Elem>>>(
    trainer: &mut Trainer<N, BATCH>,
    digits: &Digits,
    first: usize,
) -> [u16; BATCH * given::LABELS] {
    let inputs = Trainer::<N, BATCH>::INPUT_LEN;
    // Of an autoencoder no labels are asked.
    let each = Trainer::<N, BATCH>::LABELS.min(given::LABELS);
    let mut labels = [0; BATCH * given::LABELS];
    let samples = trainer.input_mut().chunks_exact_mut(inputs.max(1));
    // In this order: two zipped chunks would divide by their lengths, and link a panic.
    let samples = (first..).zip(samples);
    for ((index, x), labels) in samples.zip(labels.chunks_exact_mut(each.max(1))) {
        N::In::read(digits, index, x, labels);
    }
    labels
}
