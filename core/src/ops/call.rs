//! What an operator is called with.

use crate::image::format::{NONE, Place, Record, Value};
use crate::net::{Context, Pass, Values};
use crate::session::memory::{Bytes, Kept, Memory};
use bytemuck::Pod;
use core::ops::Range;
use selvedge_kernels::Element;
use selvedge_kernels::axes::{Extents, MAX_RANK};
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
    /// Whether nothing has accumulated yet.
    pub(crate) begins: bool,
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

    /// Where the value in `slot` lies; nowhere if there is none.
    fn range(&self, slot: usize) -> Result<(Place, Range<usize>)> {
        let Some(id) = self.id(slot) else {
            return Ok((Place::Transient, 0..0));
        };
        let value = self.values.get(id).copied();
        let range = value.and_then(|value| self.memory.range(value, self.batch));
        range.ok_or(Fault::Malformed)
    }

    /// The values in these slots at once; an empty one where there is none.
    pub(crate) fn views<const N: usize>(&mut self, slots: [usize; N]) -> Result<[Bytes<'_>; N]> {
        // Loops, and no `map`: this is most of what an operator costs beside its kernel.
        let mut places = [const { (Place::Transient, 0..0) }; N];
        let (mut frozen, mut bit) = (0u32, 1);
        for (&slot, place) in slots.iter().zip(&mut places) {
            if let Some(id) = self.id(slot) {
                let value = self.values.get(id).ok_or(Fault::Malformed)?;
                let range = self.memory.range(*value, self.batch);
                *place = range.ok_or(Fault::Malformed)?;
                if self.memory.is_frozen(id) {
                    frozen |= bit;
                }
            }
            bit <<= 1; // there are fewer than 32
        }
        let views = self.memory.views(places);
        let mut views = views.ok_or(Fault::Malformed)?;
        if frozen != 0 {
            for view in &mut views {
                if frozen & 1 != 0 {
                    view.freeze();
                }
                frozen >>= 1;
            }
        }
        Ok(views)
    }

    /// The value in slot `to`, to be written, and those in the first `N` slots that there are up to `count`; as many as
    /// an operator is given.
    pub(crate) fn many<T: Pod, const N: usize>(
        &mut self,
        count: usize,
        to: usize,
    ) -> Result<([Values<'_, T>; N], &mut [T])> {
        let mut ranges = [const { (Place::Transient, 0..0) }; N];
        let mut exponents = [0; N];
        let places = ranges.iter_mut().zip(&mut exponents).enumerate();
        if count > N {
            return Err(Fault::Malformed);
        }
        for (slot, (range, exponent)) in places.take(count) {
            (*range, *exponent) = (self.range(slot)?, self.exponent(slot));
        }
        let (batch, to) = (self.batch, self.range(to)?);
        let (views, to) = self.memory.around(ranges, to).ok_or(Fault::Malformed)?;
        let mut is_there = true;
        let mut exponents = exponents.into_iter();
        let values = views.map(|bytes| Values {
            data: match bytes {
                [] => &[], // at an address of its own
                bytes => bytemuck::try_cast_slice(bytes).unwrap_or_else(|_| {
                    is_there = false;
                    &[]
                }),
            },
            exponent: exponents.next().unwrap_or(0),
            batch,
        });
        let to = bytemuck::try_cast_slice_mut(to).map_err(|_| Fault::Malformed)?;
        if is_there {
            Ok((values, to))
        } else {
            Err(Fault::Malformed)
        }
    }

    /// Runs `run` with the context that a typed layer has for what it passes up or down, and with the values in `slots`:
    /// exponent state `state` of the operator is in it.
    pub(crate) fn with<T: Element, R, const N: usize>(
        &mut self,
        direction: Direction,
        state: usize,
        slots: [usize; N],
        run: impl FnOnce(Context<'_, T, &dyn Executor>, [Bytes<'_>; N]) -> Result<R>,
    ) -> Result<R> {
        let (pass, number) = (self.pass(), self.number());
        let mut scale: T::Scale = self.scale(state);
        let context = direction.context(&pass, number, &mut scale);
        let result = run(context, self.views(slots)?)?;
        self.set_scale(state, scale);
        Ok(result)
    }
}

/// Which way an operator passes what it computes, which says how that is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Up: to nearest even.
    Forward,
    /// Down: with random words.
    Backward,
    /// Down, one of several tensors.
    Part(u32),
}

impl Direction {
    /// What a typed layer calls its kernels with.
    pub(crate) fn context<'a, T: Element, E>(
        self,
        pass: &'a Pass<'_, E>,
        number: u32,
        scale: &'a mut T::Scale,
    ) -> Context<'a, T, E> {
        match self {
            Self::Forward => Context::forward(pass, number, scale),
            Self::Backward => Context::backward(pass, number, scale),
            Self::Part(part) => Context::backward_part(pass, number, part, scale),
        }
    }
}

/// Attributes of an operator, read one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'c>(&'c [u8]);

impl Attributes<'_> {
    pub(crate) fn word(&mut self) -> Result<u32> {
        let (word, rest) = postcard::take_from_bytes(self.0).map_err(|_| Fault::Malformed)?;
        self.0 = rest;
        Ok(word)
    }

    pub(crate) fn size(&mut self) -> Result<usize> {
        self.word().map(|word| word as usize)
    }

    pub(crate) fn sizes<const N: usize>(&mut self) -> Result<[usize; N]> {
        let mut sizes = [0; N];
        for size in &mut sizes {
            *size = self.size()?;
        }
        Ok(sizes)
    }

    /// A number, then as many sizes, at most `N`: both.
    pub(crate) fn several<const N: usize>(&mut self) -> Result<([usize; N], usize)> {
        let count = self.size()?;
        let mut sizes = [0; N];
        for size in sizes.get_mut(..count).ok_or(Fault::Malformed)? {
            *size = self.size()?;
        }
        Ok((sizes, count))
    }

    /// The number of axes of a sample, then their extents: those of `batch` samples.
    pub(crate) fn extents(&mut self, batch: usize) -> Result<Extents> {
        let rank = self.size()?;
        let mut extents = [batch; MAX_RANK];
        let own = extents.get_mut(1..).and_then(|own| own.get_mut(..rank));
        for extent in own.ok_or(Fault::Malformed)? {
            *extent = self.size()?;
        }
        Ok(Extents::new(extents.get(..=rank).unwrap_or_default())?)
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
