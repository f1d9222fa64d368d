//! Images: a compiled network as bytes, which a device reads in place.
//!
//! The format stands in `docs/image-format.md`: sections of little-endian words, each with a checksum. [`Image::parse`]
//! checks all of them before anything is read, so that a truncated or damaged image is refused with what is wrong; an
//! image that somebody made by hand to be harmful gets an error from the session or from a kernel.

mod error;
pub(crate) mod format;

pub use error::Error;

use crate::ops::Kind;
use format::{CHECKSUM, Header, Outside, Parameter, ProgramHeader, Record, Section, Value};
use selvedge_kernels::DType;

/// A compiled network: operators, programs and weights.
///
/// # Example
/// ```
/// use selvedge_core::image::{Error, Image};
/// // What is no image is refused.
/// assert_eq!(Image::parse(&[0; 64]).unwrap_err(), Error::Magic);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    pub(crate) header: Header,
    pub(crate) parameters: &'a [Parameter],
    pub(crate) weights: &'a [u8],
    /// Exponent states, four bytes each; none of a network that has not run.
    pub(crate) states: &'a [u8],
    /// Of slices that the caller has.
    outside: &'a [Outside],
    programs: [Option<Program<'a>>; Role::ALL.len()],
}

/// The bytes of an arena that has so many words, bytes that stay, and bytes of a run.
pub(crate) fn arena_bytes(words: [usize; 4], persistent: usize, transient: usize) -> usize {
    // Sums that no machine can address are more than any arena has.
    (words.into_iter())
        .fold(0usize, usize::saturating_add)
        .saturating_mul(4)
        .saturating_add(2 * (format::ALIGN - 1))
        .saturating_add(persistent)
        .saturating_add(transient)
}

/// What a program of an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// From inputs to outputs; nothing is learned.
    Infer,
    /// Forward, loss, backward, update.
    Train,
    /// The update alone, where gradients accumulate over several runs of `Train`.
    Update,
    /// Each layer of the row, on what the one before it gave at the last run.
    Step,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Infer, Self::Train, Self::Update, Self::Step];

    /// The name that errors give.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Train => "train",
            Self::Update => "update",
            Self::Step => "step",
        }
    }
}

/// A tensor that a program takes or gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Port {
    /// Type of its elements.
    pub dtype: DType,
    /// Elements of a sample; all of them where there is one for the whole run, as a loss.
    pub len: usize,
    /// What an integer of an input stands for: `(q - z) · 2^exponent`. That of an output is told by the run.
    pub exponent: i32,
}

/// One program: its values, and its operators in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program<'a> {
    pub(crate) header: ProgramHeader,
    pub(crate) inputs: &'a [u32],
    pub(crate) outputs: &'a [u32],
    pub(crate) values: &'a [Value],
    pub(crate) code: &'a [u32],
}

impl<'a> Image<'a> {
    /// The image in `bytes`, which begin at an address divisible by 16 and may be followed by others.
    ///
    /// # Errors
    /// [`Error`], with what is wrong. Images of a later version are refused.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (header, table) = Header::read(bytes)?;
        let mut image = Image {
            header,
            parameters: &[],
            weights: &[],
            states: &[],
            outside: &[],
            programs: [None; Role::ALL.len()],
        };
        for entry in table {
            let body = entry.body(bytes, header.len)?;
            match entry.kind {
                Section::PARAMETERS => image.parameters = entry.records(body)?,
                Section::WEIGHTS => image.weights = body,
                Section::STATES => image.states = body,
                Section::OUTSIDE => image.outside = entry.records(body)?,
                Section::INFER => image.programs[0] = Some(Program::read(entry, body)?),
                Section::TRAIN => image.programs[1] = Some(Program::read(entry, body)?),
                Section::UPDATE => image.programs[2] = Some(Program::read(entry, body)?),
                Section::STEP => image.programs[3] = Some(Program::read(entry, body)?),
                _ => {} // of a later minor version
            }
        }
        Ok(image)
    }

    /// The bytes that a session's arena must have: what the largest program needs beside what stays.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        let most = |of: fn(&ProgramHeader) -> u32| {
            (self.programs.iter().flatten())
                .map(|program| of(&program.header) as usize)
                .max()
                .unwrap_or(0)
        };
        let (values, transient) = (most(|p| p.values), most(|p| p.arena));
        let states = self.header.states as usize;
        let words = [values, states, self.operators(), self.frozen()];
        arena_bytes(words, self.header.persistent as usize, transient)
    }

    /// The sections of the image in `bytes`, which [`Image::parse`] has accepted: names and contents.
    ///
    /// # Errors
    /// As [`Image::parse`].
    pub fn sections(
        bytes: &'a [u8],
    ) -> Result<impl Iterator<Item = Result<(&'static str, &'a [u8]), Error>>, Error> {
        let (header, table) = Header::read(bytes)?;
        Ok(table.iter().map(move |entry| {
            let body = entry.body(bytes, header.len)?;
            Ok((Section::name(entry.kind), body))
        }))
    }

    /// What the image in `bytes` was compiled from, if it says so: JSON, for `network::Description`.
    ///
    /// # Errors
    /// As [`Image::parse`].
    pub fn description(bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Error> {
        for section in Self::sections(bytes)? {
            let (name, body) = section?;
            if name == Section::name(Section::DESCRIPTION) {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    /// Input `index` of the program for `role`: behind those of the network, training has what is asked.
    ///
    /// # Example
    /// ```
    /// # #[cfg(feature = "alloc")] {
    /// use selvedge_core::image::{Image, Role};
    /// use selvedge_core::network::{Dense, Network, Options};
    /// use selvedge_core::DType;
    /// let bytes = Network::new([12]).layer("head", Dense::new(4)).compile(DType::I8, &Options::default())?;
    /// #[repr(C, align(16))]
    /// struct Flash([u8; 1024]);
    /// let mut flash = Flash([0; 1024]);
    /// flash.0[..bytes.len()].copy_from_slice(&bytes);
    /// let image = Image::parse(&flash.0)?;
    /// let x = image.input(Role::Infer, 0).ok_or("no input")?;
    /// assert_eq!((x.dtype, x.len, x.exponent), (DType::I8, 12, -7));
    /// assert_eq!(image.output(Role::Infer, 0).map(|y| (y.dtype, y.len)), Some((DType::I16, 4)));
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn input(&self, role: Role, index: usize) -> Option<Port> {
        let program = self.program(role)?;
        program.port(*program.inputs.get(index)?)
    }

    /// Output `index` of the program for `role`: behind those of the network, training has the losses.
    #[must_use]
    pub fn output(&self, role: Role, index: usize) -> Option<Port> {
        let program = self.program(role)?;
        program.port(*program.outputs.get(index)?)
    }

    /// The bytes of each slice of weights that the caller must give, in order, in the layout of
    /// [`Network::compile_outside`](crate::network::Network::compile_outside); none of an image that has all of them.
    pub fn outside(&self) -> impl ExactSizeIterator<Item = usize> + use<'a> {
        self.outside.iter().map(|slice| slice.len as usize)
    }

    /// Checks that these are the weights that the image was compiled with: their number, sizes and checksums. It reads all of
    /// them; a [session](crate::session::Session::with_weights) reads only those of 32 and 64 bits, for their magnitude.
    ///
    /// # Errors
    /// [`Error::Weights`] for a slice that is missing or of another size, [`Error::Damaged`] for one whose bytes have changed.
    pub fn check_weights(&self, weights: &[&[u8]]) -> Result<(), Error> {
        self.check_sizes(weights)?;
        for (index, (slice, expected)) in weights.iter().zip(self.outside).enumerate() {
            if CHECKSUM.checksum(slice) != expected.checksum {
                return Err(Error::Damaged { index });
            }
        }
        Ok(())
    }

    /// Refuses another number of slices than the image was compiled with, and other sizes.
    pub(crate) fn check_sizes(&self, weights: &[&[u8]]) -> Result<(), Error> {
        for index in 0..weights.len().max(self.outside.len()) {
            let expected = self.outside.get(index).map(|slice| slice.len as usize);
            let got = weights.get(index).map(|slice| slice.len());
            if expected != got {
                return Err(Error::Weights {
                    index,
                    expected: expected.unwrap_or(0),
                    got: got.unwrap_or(0),
                });
            }
        }
        Ok(())
    }

    /// How many inputs the program for `role` has.
    #[must_use]
    pub fn inputs(&self, role: Role) -> usize {
        self.program(role).map_or(0, |program| program.inputs.len())
    }

    /// How many outputs it has: so many of the one that runs the network stand before the losses of the one that trains it.
    #[must_use]
    pub fn outputs(&self, role: Role) -> usize {
        let program = self.program(role);
        program.map_or(0, |program| program.outputs.len())
    }

    /// The operators of the program for `role`, in order; none for one that this build does not know.
    pub fn kinds(&self, role: Role) -> impl Iterator<Item = Option<Kind>> + use<'a> {
        let mut code = self.program(role).map_or(&[][..], |program| program.code);
        core::iter::from_fn(move || {
            let (record, rest) = Record::read(code)?;
            code = rest;
            Some(Kind::of(record.kind))
        })
    }

    /// The most samples of a run of the program for `role`, and the bytes of the arena that its values take.
    #[must_use]
    pub fn extent(&self, role: Role) -> Option<[usize; 2]> {
        let header = self.program(role)?.header;
        Some([header.samples as usize, header.arena as usize])
    }

    /// Bytes of the arena that stay from run to run.
    #[must_use]
    pub const fn persistent_bytes(&self) -> usize {
        self.header.persistent as usize
    }

    /// Whether it has a program for `role`.
    #[must_use]
    pub const fn has(&self, role: Role) -> bool {
        self.programs[role as usize].is_some()
    }

    pub(crate) fn program(&self, role: Role) -> Option<Program<'a>> {
        self.programs.get(role as usize).copied().flatten()
    }

    /// Operators of all programs.
    pub(crate) fn operators(&self) -> usize {
        let programs = self.programs.iter().flatten();
        let operators = programs.map(|program| program.header.operators as usize);
        operators.fold(0, usize::saturating_add)
    }

    /// Words with a bit for each value that is a parameter.
    pub(crate) fn frozen(&self) -> usize {
        let last = self
            .parameters
            .iter()
            .map(|parameter| parameter.value)
            .max();
        last.map_or(0, |last| usize::from(last) / 32 + 1)
    }

    /// The most values that a program has.
    pub(crate) fn values(&self) -> usize {
        let values = (self.programs.iter().flatten()).map(|program| program.values.len());
        values.max().unwrap_or(0)
    }
}

impl<'a> Program<'a> {
    fn read(section: &format::Entry, body: &'a [u8]) -> Result<Self, Error> {
        let (header, rest) = ProgramHeader::read(section, body)?;
        let cut = |bytes: &'a [u8], words: u32| {
            let len = (words as usize).checked_mul(4);
            len.and_then(|len| bytes.split_at_checked(len))
                .ok_or(section.truncated())
        };
        let (inputs, rest) = cut(rest, header.inputs)?;
        let (outputs, rest) = cut(rest, header.outputs)?;
        let (values, rest) = cut(rest, header.values.saturating_mul(3))?;
        let (code, _) = cut(rest, header.code)?;
        Ok(Self {
            header,
            inputs: section.records(inputs)?,
            outputs: section.records(outputs)?,
            values: section.records(values)?,
            code: section.records(code)?,
        })
    }
    fn port(&self, number: u32) -> Option<Port> {
        let value = self.values.get(number as usize)?;
        Some(Port {
            dtype: value.dtype()?,
            len: value.len as usize,
            exponent: value.exponent.into(),
        })
    }
}
