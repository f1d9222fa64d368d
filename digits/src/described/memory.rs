//! Where an image lies, and where the state of a session is stored, in allocated memory.

use alloc::vec;
use alloc::vec::Vec;
use selvedge_core::session::{Slot, Storage};

/// What the address of an image is divisible by.
const ALIGN: usize = 16;

/// Bytes at an address that an image may have.
#[derive(Debug)]
pub struct Aligned {
    room: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Moves `bytes` there.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        // With all the room that it takes from the start on, it stays where it is.
        let mut room = Vec::<u8>::with_capacity(bytes.len() + ALIGN - 1);
        let start = room.as_ptr().align_offset(ALIGN);
        room.resize(start, 0);
        room.extend_from_slice(&bytes);
        Self { room, start }
    }

    /// The bytes.
    #[must_use]
    pub fn get(&self) -> &[u8] {
        self.room.get(self.start..).unwrap_or_default()
    }
}

/// Bytes of a slot before the state: `docs/image-format.md`.
const SEAL: usize = 16;

/// Two slots.
pub(super) struct Slots([Vec<u8>; 2]);

/// A slot has no such bytes.
pub(super) struct Beyond;

impl Slots {
    /// For states of so many bytes.
    pub(super) fn new(state_bytes: usize) -> Self {
        Self([(); 2].map(|()| vec![0; SEAL + state_bytes]))
    }

    fn slot(&mut self, slot: Slot) -> &mut [u8] {
        let [first, second] = &mut self.0;
        match slot {
            Slot::First => first,
            Slot::Second => second,
        }
    }

    fn part(&mut self, slot: Slot, offset: usize, len: usize) -> Result<&mut [u8], Beyond> {
        let part = self.slot(slot).get_mut(offset..);
        part.and_then(|part| part.get_mut(..len)).ok_or(Beyond)
    }
}

impl Storage for Slots {
    type Error = Beyond;

    fn capacity(&self) -> usize {
        let [first, _] = &self.0;
        first.len()
    }

    fn read(&mut self, slot: Slot, offset: usize, to: &mut [u8]) -> Result<(), Beyond> {
        let part = self.part(slot, offset, to.len())?;
        to.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn erase(&mut self, slot: Slot) -> Result<(), Beyond> {
        self.slot(slot).fill(0xFF);
        Ok(())
    }

    fn write(&mut self, slot: Slot, offset: usize, from: &[u8]) -> Result<(), Beyond> {
        let part = self.part(slot, offset, from.len())?;
        part.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn flush(&mut self, _: Slot) -> Result<(), Beyond> {
        Ok(())
    }
}
