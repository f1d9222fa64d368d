//! The records of an image, as they lie in its bytes: `docs/image-format.md`.

use super::Error;
use bytemuck::{Pod, Zeroable};
use crc::{Crc, NoTable};
use selvedge_kernels::DType;

/// What an image begins with.
pub(crate) const MAGIC: [u8; 4] = *b"SLVG";
/// The version that this build writes, and the last that it reads.
pub(crate) const VERSION: u16 = 1;
/// Where the bytes begin that the header's checksum covers.
pub(crate) const CHECKED: usize = 8;
/// Alignment of an image, of its sections, and of values in the arena.
pub(crate) const ALIGN: usize = 16;
/// No value.
pub(crate) const NONE: u16 = u16::MAX;

/// The checksum of a section: that of zip and Ethernet. Bit by bit: a table is a kilobyte of flash.
pub(crate) const CHECKSUM: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&crc::CRC_32_ISO_HDLC);

const _: () = assert!(
    cfg!(target_endian = "little"),
    "images are read in place, in little-endian order"
);

/// The first bytes of an image.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 4],
    /// Of the rest of the header and the table of sections.
    pub(crate) checksum: u32,
    pub(crate) version: u16,
    pub(crate) sections: u16,
    /// Bytes of the image.
    pub(crate) len: u32,
    /// Bytes of the arena that hold parameters and what else stays between runs.
    pub(crate) persistent: u32,
    /// Exponent states.
    pub(crate) states: u32,
    /// Seed of the initialisation, and of a training that begins.
    pub(crate) seed: u32,
    /// Training steps until the image was written.
    pub(crate) steps: u32,
}

/// Kinds of sections.
pub(crate) struct Section;

impl Section {
    pub(crate) const PARAMETERS: u32 = 1;
    pub(crate) const WEIGHTS: u32 = 2;
    pub(crate) const INFER: u32 = 3;
    pub(crate) const TRAIN: u32 = 4;
    pub(crate) const UPDATE: u32 = 5;
    pub(crate) const DESCRIPTION: u32 = 6;
    pub(crate) const STATES: u32 = 7;
    pub(crate) const STEP: u32 = 8;
    pub(crate) const OUTSIDE: u32 = 9;

    pub(crate) const fn name(kind: u32) -> &'static str {
        match kind {
            Self::PARAMETERS => "parameters",
            Self::WEIGHTS => "weights",
            Self::INFER => "infer",
            Self::TRAIN => "train",
            Self::UPDATE => "update",
            Self::DESCRIPTION => "description",
            Self::STATES => "states",
            Self::STEP => "step",
            Self::OUTSIDE => "outside",
            _ => "unknown",
        }
    }
}

/// Where a section lies.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) kind: u32,
    /// From the image's first byte on.
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) checksum: u32,
}

/// A tensor of a program.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Value {
    /// In the arena, or in the weights of the image.
    pub(crate) offset: u32,
    /// Elements, of one sample where they vary with the batch.
    pub(crate) len: u32,
    /// Type of the elements, place and whether it varies: [`Value::kind`].
    pub(crate) kind: u16,
    /// The exponent of a constant or an input; what an operator computes has its own.
    pub(crate) exponent: i16,
}

/// Where a value lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the arena, for as long as it is used.
    #[default]
    Transient,
    /// In the arena, from run to run.
    Persistent,
    /// In the image.
    Constant,
    /// In a slice of its own that the caller has; its offset is the number of the slice.
    Outside,
}

impl Value {
    const PLACE: u16 = 4;
    const VARIES: u16 = 1 << 8;

    #[cfg(feature = "alloc")]
    pub(crate) const fn kind(dtype: DType, place: Place, varies: bool) -> u16 {
        dtype as u16 | (place as u16) << Self::PLACE | if varies { Self::VARIES } else { 0 }
    }

    pub(crate) fn dtype(self) -> Option<DType> {
        DType::ALL.get(usize::from(self.kind & 15)).copied()
    }

    pub(crate) fn place(self) -> Option<Place> {
        match self.kind >> Self::PLACE & 15 {
            0 => Some(Place::Transient),
            1 => Some(Place::Persistent),
            2 => Some(Place::Constant),
            3 => Some(Place::Outside),
            _ => None,
        }
    }

    /// Its elements for `batch` samples.
    pub(crate) fn elements(self, batch: usize) -> Option<usize> {
        let samples = if self.kind & Self::VARIES == 0 {
            1
        } else {
            batch
        };
        (self.len as usize).checked_mul(samples)
    }
}

/// A parameter tensor, or another state that stays from run to run: values of the programs, which have the same numbers in
/// each, and what it begins with.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Parameter {
    pub(crate) value: u16,
    /// The low bytes of the masters, or [`NONE`].
    pub(crate) residual: u16,
    /// What momentum keeps, or [`NONE`]; zeros at first.
    pub(crate) velocity: u16,
    /// [`Parameter::TRAINED`], [`Parameter::STATE`] or [`Parameter::CARRIED`], and bits that say how it is stored.
    pub(crate) kind: u16,
    /// Where the weights of the image have the first elements; the low bytes follow them.
    pub(crate) stored: u32,
}

/// Weights that the caller has, in a slice of their own.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Outside {
    /// Bytes of the slice.
    pub(crate) len: u32,
    pub(crate) checksum: u32,
}

impl Parameter {
    /// A parameter, which may be trained.
    pub(crate) const TRAINED: u16 = 0;
    /// Another state, which is not.
    #[cfg(feature = "alloc")]
    pub(crate) const STATE: u16 = 1;
    /// What a run leaves to the next one of the same sequence.
    pub(crate) const CARRIED: u16 = 2;
    /// The weights have its first [`ALIGN`] bytes, which all others repeat.
    const REPEATED: u16 = 1 << 8;
    /// The elements and the low bytes are a slice that the caller has; `stored` is its number.
    const OUTSIDE: u16 = 1 << 9;

    /// What it is.
    pub(crate) const fn what(&self) -> u16 {
        self.kind & 0xFF
    }

    /// How it is stored.
    pub(crate) const fn storing(&self) -> Storing {
        let at = self.stored as usize;
        if self.kind & Self::OUTSIDE != 0 {
            Storing::Outside(at)
        } else if self.kind & Self::REPEATED != 0 {
            Storing::Repeated(at)
        } else {
            Storing::Plain(at)
        }
    }

    /// The same, stored so.
    #[cfg(feature = "alloc")]
    pub(crate) const fn stored(self, storing: Storing) -> Option<Self> {
        let (at, bits) = match storing {
            Storing::Plain(at) => (at, 0),
            Storing::Repeated(at) => (at, Self::REPEATED),
            Storing::Outside(at) => (at, Self::OUTSIDE),
        };
        if at > u32::MAX as usize {
            return None;
        }
        Some(Self {
            kind: self.kind | bits,
            stored: at as u32,
            ..self
        })
    }
}

/// How what stays from run to run is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storing {
    /// Its bytes are in the weights from here on.
    Plain(usize),
    /// The weights have [`ALIGN`] bytes, and all of it repeats them.
    Repeated(usize),
    /// Its bytes are the slice of this number.
    Outside(usize),
}

/// What a program begins with; behind it lie the numbers of its inputs and outputs, its values and its code.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ProgramHeader {
    /// The most samples of a run.
    pub(crate) samples: u32,
    /// Bytes of the arena behind what stays.
    pub(crate) arena: u32,
    pub(crate) inputs: u32,
    pub(crate) outputs: u32,
    pub(crate) values: u32,
    pub(crate) operators: u32,
    /// Words of code.
    pub(crate) code: u32,
}

/// Reads a record at the beginning of `bytes`.
fn read<T: Pod>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (record, rest) = bytes.split_at_checked(size_of::<T>())?;
    Some((bytemuck::try_pod_read_unaligned(record).ok()?, rest))
}

impl Header {
    /// The header and the table of sections.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, &[Entry]), Error> {
        let truncated = Error::Truncated {
            section: 0,
            got: bytes.len(),
        };
        if !bytes.starts_with(&MAGIC) {
            return Err(if MAGIC.starts_with(bytes) {
                truncated
            } else {
                Error::Magic
            });
        }
        let (header, rest) = read::<Self>(bytes).ok_or(truncated)?;
        if header.version == 0 || header.version > VERSION {
            return Err(Error::Version {
                got: header.version,
                newest: VERSION,
            });
        }
        if bytes.as_ptr().align_offset(ALIGN) != 0 {
            return Err(Error::Alignment);
        }
        let len = usize::from(header.sections) * size_of::<Entry>();
        let table = rest.get(..len).ok_or(truncated)?;
        let checked = bytes.get(CHECKED..size_of::<Self>() + len);
        if checked.map(|bytes| CHECKSUM.checksum(bytes)) != Some(header.checksum) {
            return Err(Error::Checksum { section: 0 });
        }
        let table = bytemuck::try_cast_slice(table).map_err(|_| truncated)?;
        Ok((header, table))
    }
}

impl Entry {
    pub(crate) const fn truncated(&self) -> Error {
        Error::Truncated {
            section: self.kind,
            got: self.len as usize,
        }
    }

    /// Its bytes, checked.
    pub(crate) fn body<'a>(&self, bytes: &'a [u8], len: u32) -> Result<&'a [u8], Error> {
        let image = bytes.get(..len as usize).ok_or(Error::Truncated {
            section: self.kind,
            got: bytes.len(),
        })?;
        let from = self.offset as usize;
        let body = from
            .checked_add(self.len as usize)
            .and_then(|to| image.get(from..to))
            .ok_or(self.truncated())?;
        if CHECKSUM.checksum(body) != self.checksum {
            return Err(Error::Checksum { section: self.kind });
        }
        Ok(body)
    }

    /// Bytes of the section as records.
    pub(crate) fn records<'a, T: Pod>(&self, bytes: &'a [u8]) -> Result<&'a [T], Error> {
        bytemuck::try_cast_slice(bytes).map_err(|_| self.truncated())
    }
}

impl ProgramHeader {
    pub(crate) fn read<'a>(section: &Entry, body: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        read(body).ok_or(section.truncated())
    }
}

/// An operator of a program: two words, numbers of values two to a word, attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// Which operator.
    pub(crate) kind: u8,
    /// Type of what it computes with, and of what it stores or is told beside.
    pub(crate) dtypes: [DType; 2],
    /// Number of the layer that it belongs to.
    pub(crate) number: u32,
    /// Its first exponent state.
    pub(crate) state: usize,
    /// Values: inputs, outputs, what it works in.
    pub(crate) values: &'a [u16],
    /// What else it is told, each a postcard `u32`.
    pub(crate) attributes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first operator of `code`, and the code behind it.
    pub(crate) fn read(code: &'a [u32]) -> Option<(Self, &'a [u32])> {
        let (&[first, second], rest) = code.split_first_chunk::<2>()?;
        let [kind, values, words, types] = first.to_le_bytes();
        let values = usize::from(values);
        let (ids, rest) = rest.split_at_checked(values.div_ceil(2))?;
        let (attributes, rest) = rest.split_at_checked(words.into())?;
        let dtype = |code: u8| DType::ALL.get(usize::from(code & 15)).copied();
        let record = Self {
            kind,
            dtypes: [dtype(types)?, dtype(types >> 4)?],
            number: second & 0xFFFF,
            state: (second >> 16) as usize,
            values: bytemuck::try_cast_slice(ids).ok()?.get(..values)?,
            attributes: bytemuck::try_cast_slice(attributes).ok()?,
        };
        Some((record, rest))
    }
}
