//! The state of a session as bytes: what training has changed.

use super::{Error, Session, StateError};
use crate::image::format::{CHECKSUM, Place};
use bytemuck::{Pod, Zeroable, bytes_of, bytes_of_mut, cast_slice, cast_slice_mut};

/// What a state begins with: `docs/image-format.md`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Header {
    magic: [u8; 4],
    /// Of all bytes behind it.
    checksum: u32,
    version: u16,
    /// Ticks since the row of layers began.
    ticks: u16,
    len: u32,
    /// The checksum of the image's header, which covers those of its sections.
    image: u32,
    seed: u32,
    step: u32,
    accumulated: u32,
}

const MAGIC: [u8; 4] = *b"SLVS";
const VERSION: u16 = 1;
/// Where the bytes begin that the checksum covers.
const CHECKED: usize = 8;

impl Session<'_> {
    /// Bytes of a [state](Session::save).
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum::<usize>() + size_of::<Header>()
    }

    /// Writes what training has changed to `to`, and returns how many bytes that are: parameters with their masters,
    /// velocities and exponents, exponent states, running statistics and what else stays from run to run, gradients that
    /// have accumulated, which parameters are frozen, and the step, which addresses random words. A training that goes on
    /// from it gives the same bytes as one that was not interrupted.
    ///
    /// # Errors
    /// [`StateError::Room`] if `to` has fewer bytes than [`Session::state_bytes`]; it is untouched then.
    pub fn save(&self, to: &mut [u8]) -> Result<usize, Error> {
        let (expected, got) = (self.state_bytes(), to.len());
        let header = self.header();
        let to = to.get_mut(..expected);
        let mut rest = to.ok_or(StateError::Room { expected, got })?;
        let mut put = |part: &[u8]| {
            let (head, tail) = core::mem::take(&mut rest).split_at_mut_checked(part.len())?;
            head.iter_mut().zip(part).for_each(|(to, &from)| *to = from);
            rest = tail;
            Some(())
        };
        put(bytes_of(&header)).ok_or(Error::Malformed)?;
        for part in self.parts() {
            put(part).ok_or(Error::Malformed)?;
        }
        Ok(expected)
    }

    /// Goes on from a state of a session of the same image.
    ///
    /// # Errors
    /// [`Error::State`] with what is wrong; nothing has changed then.
    pub fn restore(&mut self, from: &[u8]) -> Result<(), Error> {
        let header = self.check_state(from)?;
        let mut rest = from.get(size_of::<Header>()..).unwrap_or_default();
        for part in self.parts_mut()? {
            let (head, tail) = rest.split_at_checked(part.len()).ok_or(Error::Malformed)?;
            part.iter_mut().zip(head).for_each(|(to, &from)| *to = from);
            rest = tail;
        }
        self.take(&header);
        Ok(())
    }

    /// The header of `from`, if that is a state of this image.
    fn check_state(&self, from: &[u8]) -> Result<Header, StateError> {
        let header = from.get(..size_of::<Header>());
        let header = header.and_then(|bytes| bytemuck::try_pod_read_unaligned(bytes).ok());
        let header: Header = header.ok_or(StateError::Length {
            expected: self.state_bytes(),
            got: from.len(),
        })?;
        self.check_header(&header)?;
        if from.len() != header.len as usize {
            return Err(StateError::Length {
                expected: header.len as usize,
                got: from.len(),
            });
        }
        if CHECKSUM.checksum(from.get(CHECKED..).unwrap_or_default()) != header.checksum {
            return Err(StateError::Checksum);
        }
        let exponents = from.get(size_of::<Header>()..).unwrap_or_default();
        let exponents = exponents.chunks_exact(size_of::<i32>()).take(self.stay());
        if !exponents
            .flat_map(bytemuck::try_pod_read_unaligned)
            .all(is_exponent)
        {
            return Err(StateError::Exponent);
        }
        let data = from.len().checked_sub(self.memory.persistent);
        let data = data.and_then(|at| from.get(at..)).unwrap_or_default();
        let beyond = self.beyond(|value| {
            let (place, range) = self.memory.range(value, 1)?;
            match place {
                Place::Persistent => data.get(range),
                _ => Some(&[]), // it is not part of the state
            }
        });
        if beyond != Ok(None) {
            return Err(StateError::Magnitude);
        }
        Ok(header)
    }

    /// Refuses a header of another format, image or length.
    pub(super) fn check_header(&self, header: &Header) -> Result<(), StateError> {
        if header.magic != MAGIC {
            return Err(StateError::Magic);
        }
        if header.version > VERSION {
            return Err(StateError::Version {
                got: header.version,
                newest: VERSION,
            });
        }
        let (expected, got) = (self.state_bytes(), header.len as usize);
        if expected != got {
            return Err(StateError::Length { expected, got });
        }
        if header.image != self.image.header.checksum {
            return Err(StateError::Image);
        }
        Ok(())
    }

    /// What the header of a state says beside its bytes.
    pub(super) fn take(&mut self, header: &Header) {
        (self.seed, self.step) = (header.seed, header.step);
        (self.accumulated, self.ticks) = (header.accumulated, header.ticks);
        self.ran = None;
    }

    /// The header of the state as it is.
    pub(super) fn header(&self) -> Header {
        let mut header = Header {
            magic: MAGIC,
            checksum: 0,
            version: VERSION,
            ticks: self.ticks,
            len: self.state_bytes() as u32, // an arena of an image has less than 4 GiB
            image: self.image.header.checksum,
            seed: self.seed,
            step: self.step,
            accumulated: self.accumulated,
        };
        let mut digest = CHECKSUM.digest();
        digest.update(bytes_of(&header).get(CHECKED..).unwrap_or_default());
        for part in self.parts() {
            digest.update(part);
        }
        header.checksum = digest.finalize();
        header
    }

    /// Whether the exponents of what stays are some.
    pub(super) fn has_exponents(&self) -> bool {
        let exponents = self.memory.exponents.get(..self.stay());
        exponents
            .unwrap_or_default()
            .iter()
            .copied()
            .all(is_exponent)
    }

    /// How many values stay from run to run: they come first.
    fn stay(&self) -> usize {
        let values = self
            .first_program()
            .map_or(&[][..], |program| program.values);
        let stays = |value: &&_| {
            let value: &crate::image::format::Value = value;
            value.place() != Some(Place::Transient)
        };
        values.iter().take_while(stays).count()
    }

    /// What a state has behind its header.
    pub(super) fn parts(&self) -> [&[u8]; 4] {
        let memory = &self.memory;
        let exponents = memory.exponents.get(..self.stay()).unwrap_or_default();
        let data = memory.data.get(..memory.persistent).unwrap_or_default();
        [
            cast_slice(exponents),
            cast_slice(memory.states),
            cast_slice(memory.frozen),
            data,
        ]
    }

    /// The same to be written.
    pub(super) fn parts_mut(&mut self) -> Result<[&mut [u8]; 4], Error> {
        let stay = self.stay();
        let memory = &mut self.memory;
        let exponents = memory.exponents.get_mut(..stay).ok_or(Error::Malformed)?;
        let data = memory.data.get_mut(..memory.persistent);
        Ok([
            cast_slice_mut(exponents),
            cast_slice_mut(memory.states),
            cast_slice_mut(memory.frozen),
            data.ok_or(Error::Malformed)?,
        ])
    }
}

/// Those of tensors have 16 bits.
fn is_exponent(exponent: i32) -> bool {
    i16::try_from(exponent).is_ok()
}

impl Header {
    /// All zero bytes, to be read into.
    pub(super) fn blank() -> Self {
        Self::zeroed()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        bytes_of(self)
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        bytes_of_mut(self)
    }
}
