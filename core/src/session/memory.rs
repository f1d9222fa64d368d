//! The arena of a session, cut into what it holds.

use crate::image::Image;
use crate::image::format::{ALIGN, Place, Storing, Value};
use bytemuck::{Pod, Zeroable};
use core::ops::Range;
use selvedge_kernels::scale::{Scale, State};

/// An exponent state as it lies in the arena. All zero bytes: nothing seen.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Kept {
    exponent: i16,
    low: u8,
    is_set: u8,
}

impl Kept {
    pub(crate) fn scale<S: Scale>(self) -> S {
        S::from_state((self.is_set != 0).then_some(State {
            exponent: self.exponent,
            low: self.low,
        }))
    }

    pub(crate) fn of<S: Scale>(scale: S) -> Self {
        match scale.state() {
            None => Self::zeroed(),
            Some(State { exponent, low }) => Self {
                exponent,
                low,
                is_set: 1,
            },
        }
    }
}

/// All that a run reads and writes.
#[derive(Debug)]
pub(crate) struct Memory<'m> {
    /// Of the values of the program, in order.
    pub(crate) exponents: &'m mut [i32],
    pub(crate) states: &'m mut [Kept],
    /// Of the operators of all programs, in order: group and place in the registry.
    pub(crate) kernels: &'m mut [[u16; 2]],
    /// A bit for each value that is a parameter: it stays as it is.
    pub(crate) frozen: &'m mut [u32],
    /// Parameters, then values.
    pub(crate) data: &'m mut [u8],
    /// Bytes of `data` that stay from run to run.
    pub(crate) persistent: usize,
    /// Of the image.
    pub(crate) weights: &'m [u8],
    /// Of the caller.
    pub(crate) outside: &'m [&'m [u8]],
}

/// The bytes of a value during a call.
#[derive(Debug)]
pub(crate) enum Bytes<'a> {
    /// In the image.
    Constant(&'a [u8]),
    /// In the arena.
    Arena(&'a mut [u8]),
}

impl<'m> Memory<'m> {
    /// Cuts up an arena for `image`, some of whose weights are `outside`; `None` if it is too small.
    pub(crate) fn cut(
        arena: &'m mut [u8],
        image: &Image<'m>,
        outside: &'m [&'m [u8]],
    ) -> Option<Self> {
        let persistent = image.header.persistent as usize;
        let arena = aligned(arena)?;
        let (exponents, arena) = words(arena, image.values())?;
        let (states, arena) = words(arena, image.header.states as usize)?;
        let (kernels, arena) = words(arena, image.operators())?;
        let (frozen, arena) = words(arena, image.frozen())?;
        let data = aligned(arena)?;
        if data.len() < persistent {
            return None;
        }
        Some(Self {
            exponents: bytemuck::try_cast_slice_mut(exponents).ok()?,
            states: bytemuck::try_cast_slice_mut(states).ok()?,
            kernels: bytemuck::try_cast_slice_mut(kernels).ok()?,
            frozen: bytemuck::try_cast_slice_mut(frozen).ok()?,
            data,
            persistent,
            weights: image.weights,
            outside,
        })
    }

    /// Whether the parameter `id` is not trained at present.
    pub(crate) fn is_frozen(&self, id: usize) -> bool {
        let bits = self.frozen.get(id / 32).copied().unwrap_or(0);
        bits >> (id % 32) & 1 != 0
    }

    /// Says whether it is.
    pub(crate) fn set_frozen(&mut self, id: usize, is_frozen: bool) {
        if let Some(bits) = self.frozen.get_mut(id / 32) {
            *bits = *bits & !(1 << (id % 32)) | u32::from(is_frozen) << (id % 32);
        }
    }

    /// Where `value` lies: in the data of the arena, in the weights of the image, or in the slice of the caller whose number
    /// the range begins with.
    pub(crate) fn range(&self, value: Value, batch: usize) -> Option<(Place, Range<usize>)> {
        let (place, dtype) = (value.place()?, value.dtype()?);
        let len = value.elements(batch)?.checked_mul(dtype.bytes())?;
        let from = match place {
            Place::Transient => self.persistent.checked_add(value.offset as usize)?,
            Place::Persistent | Place::Constant | Place::Outside => value.offset as usize,
        };
        Some((place, from..from.checked_add(len)?))
    }

    /// The bytes of several values at once; `None` where they lie beyond the arena, or over one another.
    pub(crate) fn views<const N: usize>(
        &mut self,
        values: [(Place, Range<usize>); N],
    ) -> Option<[Bytes<'_>; N]> {
        let (weights, outside) = (self.weights, self.outside);
        let mut ranges = [const { 0..0 }; N];
        for (to, (place, range)) in ranges.iter_mut().zip(&values) {
            if matches!(place, Place::Transient | Place::Persistent) {
                *to = range.clone();
            }
        }
        let slices = self.data.get_disjoint_mut(ranges).ok()?;
        let mut views = [const { Bytes::Constant(&[]) }; N];
        for ((view, slice), (place, range)) in views.iter_mut().zip(slices).zip(values) {
            *view = match place {
                Place::Transient | Place::Persistent => Bytes::Arena(slice),
                Place::Constant | Place::Outside => {
                    Bytes::Constant(constant(weights, outside, place, range)?)
                }
            };
        }
        Some(views)
    }

    /// The bytes of values that are read, and of one that is written; `None` where they lie beyond the arena, or over that
    /// one.
    pub(crate) fn around<const N: usize>(
        &mut self,
        values: [(Place, Range<usize>); N],
        to: (Place, Range<usize>),
    ) -> Option<([&[u8]; N], &mut [u8])> {
        let (place, to) = to;
        if matches!(place, Place::Constant | Place::Outside) {
            return None;
        }
        let (weights, outside) = (self.weights, self.outside);
        let (before, rest) = self.data.split_at_mut_checked(to.start)?;
        let (own, after) = rest.split_at_mut_checked(to.end.checked_sub(to.start)?)?;
        let (before, after) = (&*before, &*after);
        let mut is_there = true;
        let views = values.map(|(place, range)| {
            let bytes = match place {
                _ if range.is_empty() => Some(&[][..]),
                Place::Constant | Place::Outside => constant(weights, outside, place, range),
                _ if range.end <= to.start => before.get(range),
                _ => {
                    let from = range.start.checked_sub(to.end);
                    let until = range.end.checked_sub(to.end);
                    from.zip(until)
                        .and_then(|(from, until)| after.get(from..until))
                }
            };
            is_there &= bytes.is_some();
            bytes.unwrap_or_default()
        });
        is_there.then_some((views, own))
    }

    /// A value that is only read.
    pub(crate) fn constant(&self, place: Place, range: Range<usize>) -> Option<&'m [u8]> {
        constant(self.weights, self.outside, place, range)
    }

    /// Copies what begins at byte `from` of how a parameter is `stored` to the persistent part of the arena; false if either
    /// is too short.
    pub(crate) fn load(&mut self, stored: Storing, from: usize, to: Range<usize>) -> bool {
        let all = match stored {
            Storing::Plain(at) | Storing::Repeated(at) => self.weights.get(at..),
            Storing::Outside(number) => self.outside.get(number).copied(),
        };
        let (Some(all), Some(to)) = (all, self.data.get_mut(to)) else {
            return false;
        };
        if matches!(stored, Storing::Repeated(_)) {
            let Some(pattern) = all.first_chunk::<ALIGN>() else {
                return false;
            };
            let pattern = pattern.iter().cycle().skip(from % ALIGN);
            to.iter_mut()
                .zip(pattern)
                .for_each(|(to, &from)| *to = from);
            return true;
        }
        let until = from.saturating_add(to.len());
        match all.get(from..until) {
            Some(from) => {
                to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                true
            }
            None => false,
        }
    }
}

/// A value in the weights of the image, or in the slice of the caller whose number the range begins with.
fn constant<'m>(
    weights: &'m [u8],
    outside: &[&'m [u8]],
    place: Place,
    range: Range<usize>,
) -> Option<&'m [u8]> {
    match place {
        Place::Outside => {
            let len = range.end.checked_sub(range.start)?;
            outside.get(range.start)?.get(..len)
        }
        _ => weights.get(range),
    }
}

/// The first `count` words of `bytes`, and the rest.
fn words(bytes: &mut [u8], count: usize) -> Option<(&mut [u8], &mut [u8])> {
    bytes.split_at_mut_checked(count.checked_mul(4)?)
}

/// The slice from the first address on that is divisible by [`ALIGN`].
fn aligned(bytes: &mut [u8]) -> Option<&mut [u8]> {
    let skipped = bytes.as_ptr().align_offset(ALIGN);
    bytes.get_mut(skipped..)
}

impl<'a> Bytes<'a> {
    /// They are read only from now on.
    pub(crate) fn freeze(&mut self) {
        if let Self::Arena(bytes) = self {
            let bytes: &mut [u8] = core::mem::take(bytes);
            *self = Self::Constant(bytes);
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Constant(bytes) => bytes.is_empty(),
            Self::Arena(bytes) => bytes.is_empty(),
        }
    }

    /// The bytes as elements; `None` where their number or address is not that of elements.
    pub(crate) fn read<T: Pod>(self) -> Option<&'a [T]> {
        match self {
            Self::Constant(bytes) => bytemuck::try_cast_slice(bytes).ok(),
            Self::Arena(bytes) => bytemuck::try_cast_slice(bytes).ok(),
        }
    }

    /// The same to be written; `None` in the image.
    pub(crate) fn write<T: Pod>(self) -> Option<&'a mut [T]> {
        match self {
            Self::Constant(_) => None,
            Self::Arena(bytes) => bytemuck::try_cast_slice_mut(bytes).ok(),
        }
    }
}
