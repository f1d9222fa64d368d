//! What an operator is called with.

use crate::image::format::{NONE, Place, Record, Value};
use crate::net::Pass;
use crate::session::memory::{Bytes, Kept, Memory};
use bytemuck::Pod;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::scale::{Mode, Scale};

/// Why an operator did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its kernel refused.
    Kernel(selvedge_kernels::Error),
    /// What the image says of it does not belong together.
    Malformed,
}

impl From<selvedge_kernels::Error> for Fault {
    fn from(error: selvedge_kernels::Error) -> Self {
        Self::Kernel(error)
    }
}

/// The result of an operator.
pub type Result<T> = core::result::Result<T, Fault>;

/// A call of an operator: its attributes, its values in the arena and in the image, its exponent states.
pub struct Call<'c, 'm> {
    pub(crate) exec: &'c &'c dyn Executor,
    pub(crate) mode: Mode,
    pub(crate) seed: u32,
    pub(crate) step: u32,
    pub(crate) sgd: &'c Sgd,
    pub(crate) batch: usize,
    pub(crate) record: Record<'c>,
    pub(crate) values: &'c [Value],
    pub(crate) memory: &'c mut Memory<'m>,
}

impl<'c> Call<'c, '_> {
    /// What the layers of a typed network share in a pass.
    pub(crate) fn pass(&self) -> Pass<'c, &'c dyn Executor> {
        Pass {
            exec: self.exec,
            mode: self.mode,
            seed: self.seed,
            step: self.step,
            sgd: self.sgd,
            is_padded: false,
            lengths: &[],
        }
    }

    pub(crate) const fn number(&self) -> u32 {
        self.record.number
    }

    /// The attributes of the operator.
    pub(crate) fn attributes(&self) -> Attributes<'c> {
        Attributes(self.record.attributes)
    }

    fn id(&self, slot: usize) -> Option<usize> {
        let id = *self.record.values.get(slot)?;
        (id != NONE).then_some(id.into())
    }

    /// Whether there is a value in `slot`.
    pub(crate) fn has(&self, slot: usize) -> bool {
        self.id(slot).is_some()
    }

    /// The exponent of the value in `slot`; 0 where there is none.
    pub(crate) fn exponent(&self, slot: usize) -> i32 {
        let exponent = self.id(slot).and_then(|id| self.memory.exponents.get(id));
        exponent.copied().unwrap_or(0)
    }

    pub(crate) fn set_exponent(&mut self, slot: usize, exponent: i32) {
        if let Some(place) = (self.id(slot)).and_then(|id| self.memory.exponents.get_mut(id)) {
            *place = exponent;
        }
    }

    /// Exponent state `index` of the operator.
    pub(crate) fn scale<S: Scale>(&self, index: usize) -> S {
        let kept = self.memory.states.get(self.record.state + index);
        kept.map_or(S::UNSET, |kept| kept.scale())
    }

    pub(crate) fn set_scale<S: Scale>(&mut self, index: usize, scale: S) {
        if let Some(place) = self.memory.states.get_mut(self.record.state + index) {
            *place = Kept::of(scale);
        }
    }

    /// The values in these slots at once; an empty one where there is none.
    pub(crate) fn views<const N: usize>(&mut self, slots: [usize; N]) -> Result<[Bytes<'_>; N]> {
        let mut is_there = true;
        let ranges = slots.map(|slot| {
            let Some(id) = self.id(slot) else {
                return (Place::Transient, 0..0);
            };
            let value = self.values.get(id).copied();
            value
                .and_then(|value| self.memory.range(value, self.batch))
                .unwrap_or_else(|| {
                    is_there = false;
                    (Place::Transient, 0..0)
                })
        });
        let views = self.memory.views(ranges);
        views.filter(|_| is_there).ok_or(Fault::Malformed)
    }
}

/// Attributes of an operator, read one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'c>(&'c [u32]);

impl<'c> Attributes<'c> {
    pub(crate) fn word(&mut self) -> Result<u32> {
        let (&word, rest) = self.0.split_first().ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(word)
    }

    pub(crate) fn size(&mut self) -> Result<usize> {
        self.word().map(|word| word as usize)
    }

    pub(crate) fn sizes<const N: usize>(&mut self) -> Result<[usize; N]> {
        let (words, rest) = self.0.split_first_chunk::<N>().ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(words.map(|word| word as usize))
    }
}

/// Elements of a value for reading.
pub(crate) fn read<'a, T: Pod>(bytes: Bytes<'a>) -> Result<&'a [T]> {
    bytes.read().ok_or(Fault::Malformed)
}

/// Elements of a value for writing.
pub(crate) fn write<'a, T: Pod>(bytes: Bytes<'a>) -> Result<&'a mut [T]> {
    bytes.write().ok_or(Fault::Malformed)
}
