//! What layers keep between their two passes.

use super::{Activation, Values};
use crate::error::{Error, Result};
use crate::tensor::{Shape, Storage};
use selvedge_kernels::scale::Mode;
use selvedge_kernels::{Blank, Element};

/// Memory between a layer's two passes.
pub trait Tape {
    /// All zero bytes.
    const BLANK: Self;

    /// Forgets what is [carried](super::Carried) from pass to pass, and makes all outputs zero: a new sequence begins.
    fn reset(&mut self) {}
}

impl Tape for () {
    const BLANK: Self = ();
}

/// A layer's output for up to `B` samples, with its exponent.
pub struct OutputTape<T: Element, S: Shape, const B: usize> {
    data: [S::Array<T>; B],
    exponent: i32,
    /// Samples of the forward pass, if that was one of training and has ended, and no backward pass has followed;
    /// else 0.
    trained: usize,
}

impl<T: Element, S: Shape, const B: usize> Tape for OutputTape<T, S, B> {
    const BLANK: Self = Self {
        data: [Storage::BLANK; B],
        exponent: 0,
        trained: 0,
    };

    fn reset(&mut self) {
        Storage::flatten_mut(&mut self.data).fill(T::ZERO);
        (self.exponent, self.trained) = (0, 0);
    }
}

impl<T: Element, S: Shape, const B: usize> OutputTape<T, S, B> {
    /// Room for `batch` samples. A backward pass is refused until they are [kept](Self::keep).
    pub(super) fn samples_mut(&mut self, batch: usize) -> &mut [T] {
        self.trained = 0;
        Storage::flatten_mut(self.data.get_mut(..batch).unwrap_or_default())
    }

    /// Ends a forward pass of `batch` samples, whose output has `exponent`.
    pub(super) fn keep(&mut self, mode: Mode, batch: usize, exponent: i32) -> Values<'_, T> {
        self.exponent = exponent;
        self.trained = match mode {
            Mode::Train => batch,
            Mode::Infer | Mode::Calibrate => 0,
        };
        self.values(batch)
    }

    /// Begins the backward pass of layer `number` for `batch` samples. Refuses one that no forward pass has
    /// trained on, and a second one: parameters have changed since.
    pub(super) fn begin_backward(&mut self, number: u32, batch: usize) -> Result<()> {
        let trained = core::mem::take(&mut self.trained);
        if trained != batch {
            return Err(Error::Tape {
                layer: number,
                expected: trained,
                got: batch,
            });
        }
        Ok(())
    }

    pub(super) fn values(&self, batch: usize) -> Values<'_, T> {
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
    pub(super) output: OutputTape<A::Out<T>, S, B>,
    pub(super) slopes: A::Slopes<T, S, B>,
}

impl<T: Element, A: Activation, S: Shape, const B: usize> Tape for ActivatedTape<T, A, S, B> {
    const BLANK: Self = Self {
        output: Tape::BLANK,
        slopes: Tape::BLANK,
    };

    fn reset(&mut self) {
        self.output.reset();
    }
}
