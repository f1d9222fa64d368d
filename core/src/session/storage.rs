//! States on a device that may lose its power at any time.

use super::state::Header;
use super::{Error, Session, StateError};
use crate::image::format::CHECKSUM;
use bytemuck::{Pod, Zeroable, bytes_of, bytes_of_mut};

/// One of the two places of a [`Storage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The first.
    First,
    /// The second.
    Second,
}

impl Slot {
    const BOTH: [Self; 2] = [Self::First, Self::Second];
}

/// Memory that keeps its bytes without power: two slots, of which one is written while the other holds the last state.
///
/// A page of flash, or a file, is a slot. Writing may stop anywhere, and leave anything in the slot that was written: a
/// [state that is loaded](Session::load_from) is the last that is whole.
///
/// # Example
/// ```
/// use selvedge_core::session::{Slot, Storage};
/// /// Two pages.
/// struct Pages([[u8; 1024]; 2]);
///
/// impl Storage for Pages {
///     type Error = core::convert::Infallible;
///
///     fn capacity(&self) -> usize {
///         1024
///     }
///
///     fn read(&mut self, slot: Slot, offset: usize, to: &mut [u8]) -> Result<(), Self::Error> {
///         to.copy_from_slice(&self.0[slot as usize][offset..][..to.len()]);
///         Ok(())
///     }
///
///     fn erase(&mut self, slot: Slot) -> Result<(), Self::Error> {
///         self.0[slot as usize].fill(0xFF);
///         Ok(())
///     }
///
///     fn write(&mut self, slot: Slot, offset: usize, from: &[u8]) -> Result<(), Self::Error> {
///         self.0[slot as usize][offset..][..from.len()].copy_from_slice(from);
///         Ok(())
///     }
///
///     fn flush(&mut self, _: Slot) -> Result<(), Self::Error> {
///         Ok(())
///     }
/// }
/// ```
pub trait Storage {
    /// What may go wrong with it.
    type Error;

    /// Bytes of a slot.
    fn capacity(&self) -> usize;

    /// Reads the bytes of `slot` from `offset` on. What was never written reads as anything.
    ///
    /// # Errors
    /// If the device cannot be read.
    fn read(&mut self, slot: Slot, offset: usize, to: &mut [u8]) -> Result<(), Self::Error>;

    /// Makes `slot` ready to be written.
    ///
    /// # Errors
    /// If the device refuses.
    fn erase(&mut self, slot: Slot) -> Result<(), Self::Error>;

    /// Writes bytes of `slot` from `offset` on. Each is written once after it was erased, the first 16 bytes last.
    ///
    /// # Errors
    /// If the device refuses.
    fn write(&mut self, slot: Slot, offset: usize, from: &[u8]) -> Result<(), Self::Error>;

    /// Returns once all that was written to `slot` will be there after a loss of power. Called before and after the first
    /// 16 bytes are written.
    ///
    /// # Errors
    /// If the device refuses.
    fn flush(&mut self, slot: Slot) -> Result<(), Self::Error>;
}

/// What a slot begins with; written last.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Seal {
    magic: [u8; 4],
    /// Counts up with each state, and wraps.
    sequence: u32,
    /// Bytes of the state behind it.
    len: u32,
    /// Of the three above and of the state.
    checksum: u32,
}

const MAGIC: [u8; 4] = *b"SLOT";
/// Bytes that are read at a time.
const CHUNK: usize = 64;

impl Seal {
    fn new(sequence: u32, len: u32, state: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut seal = Self {
            magic: MAGIC,
            sequence,
            len,
            checksum: 0,
        };
        let mut digest = CHECKSUM.digest();
        digest.update(bytes_of(&seal).get(..12).unwrap_or_default());
        for part in state {
            digest.update(part.as_ref());
        }
        seal.checksum = digest.finalize();
        seal
    }

    /// That of `slot`, if it has a whole state behind it.
    fn read<S: Storage>(storage: &mut S, slot: Slot) -> Result<Option<Self>, S::Error> {
        let mut seal = Self::zeroed();
        let room = storage.capacity().saturating_sub(size_of::<Self>());
        if storage.capacity() < size_of::<Self>() {
            return Ok(None);
        }
        storage.read(slot, 0, bytes_of_mut(&mut seal))?;
        let len = seal.len as usize;
        if seal.magic != MAGIC || len > room {
            return Ok(None);
        }
        let mut digest = CHECKSUM.digest();
        digest.update(bytes_of(&seal).get(..12).unwrap_or_default());
        let mut chunk = [0; CHUNK];
        let mut at = 0;
        while at < len {
            let part = chunk.get_mut(..CHUNK.min(len - at)).unwrap_or_default();
            storage.read(slot, size_of::<Self>() + at, part)?;
            digest.update(part);
            at += CHUNK;
        }
        Ok((digest.finalize() == seal.checksum).then_some(seal))
    }
}

/// The slot with the later state, and its seal.
fn newest<S: Storage>(storage: &mut S) -> Result<Option<(Slot, Seal)>, S::Error> {
    let mut newest: Option<(Slot, Seal)> = None;
    for slot in Slot::BOTH {
        if let Some(seal) = Seal::read(storage, slot)? {
            let is_later = |(_, other): &(Slot, Seal)| {
                seal.sequence.wrapping_sub(other.sequence) as i32 > 0 // they differ by one
            };
            if newest.as_ref().is_none_or(is_later) {
                newest = Some((slot, seal));
            }
        }
    }
    Ok(newest)
}

impl Session<'_> {
    /// Writes the [state](Session::save) to the slot that does not hold the last one, without a buffer. If the power goes at
    /// any byte, the last one is loaded, or this.
    ///
    /// # Errors
    /// [`StateError::Room`] before anything is written; [`StateError::Storage`] if the storage failed: the last state is
    /// still there.
    pub fn save_to<S: Storage>(&self, storage: &mut S) -> Result<(), Error> {
        let expected = size_of::<Seal>() + self.state_bytes();
        let got = storage.capacity();
        if got < expected {
            return Err(StateError::Room { expected, got }.into());
        }
        Ok(self.write_to(storage).map_err(|_| StateError::Storage)?)
    }

    fn write_to<S: Storage>(&self, storage: &mut S) -> Result<(), S::Error> {
        let (slot, sequence) = match newest(storage)? {
            Some((Slot::First, seal)) => (Slot::Second, seal.sequence.wrapping_add(1)),
            Some((Slot::Second, seal)) => (Slot::First, seal.sequence.wrapping_add(1)),
            None => (Slot::First, 0),
        };
        let header = self.header();
        let parts = self.parts();
        let all = || [header.bytes()].into_iter().chain(parts);
        storage.erase(slot)?;
        let mut at = size_of::<Seal>();
        for part in all() {
            storage.write(slot, at, part)?;
            at += part.len();
        }
        storage.flush(slot)?;
        let seal = Seal::new(sequence, self.state_bytes() as u32, all());
        storage.write(slot, 0, bytes_of(&seal))?;
        storage.flush(slot)
    }

    /// Goes on from the last state in `storage` that is whole.
    ///
    /// # Errors
    /// [`StateError::Empty`] if there is none, or what [`Session::restore`] says: nothing has changed then.
    /// [`StateError::Storage`] if the storage failed, [`StateError::Exponent`], [`StateError::Magnitude`]: the session is as new then, or as it was.
    pub fn load_from<S: Storage>(&mut self, storage: &mut S) -> Result<(), Error> {
        let found = newest(storage).map_err(|_| StateError::Storage)?;
        let (slot, _) = found.ok_or(StateError::Empty)?;
        let mut header = Header::blank();
        let read = storage.read(slot, size_of::<Seal>(), header.bytes_mut());
        read.map_err(|_| StateError::Storage)?;
        self.check_header(&header)?;
        let mut at = size_of::<Seal>() + size_of::<Header>();
        let mut is_read = true;
        for part in self.parts_mut()? {
            is_read &= storage.read(slot, at, part).is_ok();
            at += part.len();
        }
        // The seal vouches for the bytes; unless they are others when they are read again.
        if is_read {
            self.take(&header);
        }
        if !is_read || self.header().bytes() != header.bytes() {
            self.reset()?;
            return Err(StateError::Storage.into());
        }
        if !self.has_exponents() {
            self.reset()?;
            return Err(StateError::Exponent.into());
        }
        if self.beyond(|value| self.slice(value, 1).ok()) != Ok(None) {
            self.reset()?;
            return Err(StateError::Magnitude.into());
        }
        Ok(())
    }
}
