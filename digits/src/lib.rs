//! Real handwritten digits, and what Selvedge's demo, firmware, wasm module and tests train on
//! them: one data set, two networks and one setting for every element type and target.
//!
//! ```
//! use selvedge_core::Serial;
//! use selvedge_digits::{MlpTrainer, TRAIN, course, test};
//!
//! let mut trainer = MlpTrainer::<i8>::BLANK;
//! course(&mut trainer, &Serial, 1, 2, &mut [0; TRAIN], |_| ())?;
//! assert!(trainer.count_right(&Serial, &test())? > 300); // of 360
//! # Ok::<(), selvedge_core::Error>(())
//! ```
//!
//! The data: UCI, "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998), as
//! packaged by scikit-learn; `data/README.md` has source, licence and script.
#![no_std]
#![forbid(unsafe_code)]
#![recursion_limit = "256"]

#[cfg(feature = "alloc")]
extern crate alloc;

#[cfg(feature = "alloc")]
pub mod described;
mod sessions;
pub mod zoo;

pub use sessions::{CNN_OPERATORS, MLP_OPERATORS, count_right, session_course};

use selvedge_core::net::Network;
use selvedge_core::train::{Samples, Trainer};
use selvedge_core::{Element, Executor, Rate, Result, Sgd, net};

/// Rows and columns of an image.
pub const SIDE: usize = 8;
/// Classes, the digits 0 to 9.
pub const CLASSES: usize = 10;
/// Images of the training part.
pub const TRAIN: usize = 1_437;
/// Images of the test part.
pub const TEST: usize = 360;
/// Samples of a training step.
pub const BATCH: usize = 8;
/// Epochs of a whole training.
pub const EPOCHS: u32 = 12;

/// The seed with which targets are compared.
pub const SEED: u32 = 1;

/// Pixels of an image.
const PIXELS: usize = SIDE * SIDE;
/// A label and its pixels, 0 to 16.
type Record = [u8; 1 + PIXELS];

/// Both parts, training part first.
static RECORDS: [u8; (TRAIN + TEST) * size_of::<Record>()] = *include_bytes!("../data/digits.bin");

net! {
    /// The demo's network: two convolutions, each with ReLU and max pooling, and a dense head.
    pub struct DigitsCnn: [SIDE, SIDE, 1] {
        edges: conv2d(8, kernel = 3, padding = 1, activation = relu),
        halve: max_pool(2),
        strokes: conv2d(16, kernel = 3, padding = 1, activation = relu),
        quarter: max_pool(2),
        flat: flatten,
        head: dense(CLASSES),
    }
}

net! {
    /// A network for 16 KB of RAM.
    pub struct DigitsMlp: [SIDE, SIDE, 1] {
        flat: flatten,
        hidden: dense(32, activation = relu),
        head: dense(CLASSES),
    }
}

net! {
    /// The demo's network for images of 28×28, as MNIST's.
    pub struct MnistCnn: [28, 28, 1] {
        edges: conv2d(8, kernel = 3, padding = 1, activation = relu),
        halve: max_pool(2),
        strokes: conv2d(16, kernel = 3, padding = 1, activation = relu),
        quarter: max_pool(2),
        flat: flatten,
        head: dense(CLASSES),
    }
}

/// [`DigitsCnn`] with what its training needs.
pub type CnnTrainer<T> = Trainer<DigitsCnn<T>, BATCH>;
/// [`DigitsMlp`] with what its training needs.
pub type MlpTrainer<T> = Trainer<DigitsMlp<T>, BATCH>;
/// [`MnistCnn`] with what its training needs.
pub type MnistTrainer<T> = Trainer<MnistCnn<T>, BATCH>;

/// Plain descent at a rate of 1/8, divided by the batch; halved after two thirds and after five
/// sixths of `epochs`.
#[must_use]
pub const fn rate_at(epoch: u32, epochs: u32) -> Sgd {
    let rate = Rate {
        mantissa: 1,
        exponent: -3,
    }
    .halved(BATCH.ilog2());
    Sgd::new(rate.halved(halvings(epoch, epochs)))
}

/// How often the rate of epoch `epoch` of `epochs` has been halved.
#[must_use]
pub const fn halvings(epoch: u32, epochs: u32) -> u32 {
    (3 * epoch >= 2 * epochs) as u32 + (6 * epoch >= 5 * epochs) as u32
}

/// Initialises a trainer with `seed` and trains it for the first `epochs` of [`EPOCHS`], with what
/// is to be done after each step.
///
/// # Errors
/// Those of [`Trainer::epoch`], none of which occurs with the networks of this crate.
pub fn course<N: Network<In = <N as Network>::Elem>>(
    trainer: &mut Trainer<N, BATCH>,
    exec: &impl Executor,
    seed: u32,
    epochs: u32,
    order: &mut [u16; TRAIN],
    mut on_step: impl FnMut(usize),
) -> Result<()> {
    trainer.init(seed)?;
    for epoch in 0..epochs {
        trainer.epoch(
            exec,
            &train(),
            order,
            epoch,
            &rate_at(epoch, EPOCHS),
            &mut on_step,
        )?;
    }
    Ok(())
}

/// A part of the set.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    records: &'static [Record],
}

/// The training part.
#[must_use]
pub fn train() -> Digits {
    Digits {
        records: RECORDS.as_chunks().0.get(..TRAIN).unwrap_or_default(),
    }
}

/// The test part, which nothing is trained on.
#[must_use]
pub fn test() -> Digits {
    Digits {
        records: RECORDS.as_chunks().0.get(TRAIN..).unwrap_or_default(),
    }
}

impl Digits {
    /// Label and pixels, 0 (paper) to 16 (ink), row-major, of image `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(u8, &'static [u8; SIDE * SIDE])> {
        let (&label, pixels) = self.records.get(index)?.split_first()?;
        Some((label, pixels.first_chunk()?))
    }
}

impl Samples for Digits {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn read<T: Element>(&self, index: usize, x: &mut [T]) -> Option<u16> {
        let (label, pixels) = self.get(index)?;
        if x.len() != pixels.len() {
            return None;
        }
        for (x, &ink) in x.iter_mut().zip(pixels) {
            *x = T::from_pixel(ink.saturating_mul(16));
        }
        Some(u16::from(label))
    }
}
