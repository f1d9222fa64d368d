//! Sessions: an image that runs, and learns, in an arena given by its caller.

mod error;
mod magnitude;
pub(crate) mod memory;
mod state;
mod steps;
mod storage;

pub use error::{Error, StateError};
pub use storage::{Slot, Storage};

use crate::fingerprint::{Fingerprint, Hash};
use crate::image::format::{NONE, Parameter, Place, Record, Storing, Value};
use crate::image::{Image, Program, Role};
use crate::ops::{self, Call, Fault, Registry};
use crate::train::arg_max;
use bytemuck::Pod;
use magnitude::is_within;
use memory::Memory;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::scale::Mode;
use selvedge_kernels::{DType, Element};

/// The result of a session's methods.
pub type Result<T> = core::result::Result<T, Error>;

/// An image at work. All its memory is the arena that its caller gave: parameters that are trained, exponent states, and
/// the values of one run.
#[derive(Debug)]
pub struct Session<'a> {
    image: Image<'a>,
    registry: Registry<'a>,
    memory: Memory<'a>,
    seed: u32,
    step: u32,
    /// Training runs since the last update, where gradients accumulate.
    accumulated: u32,
    /// Ticks since the row of layers began; no more than it can count.
    ticks: u16,
    /// What has run last, with how many samples.
    ran: Option<(Role, usize)>,
}

/// A tensor of a session: its elements, and the exponent that integers share.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a, T> {
    /// `[samples, elements of one]`.
    pub data: &'a [T],
    /// An integer element stands for `(q - z) · 2^exponent`; 0 for floats.
    pub exponent: i32,
}

/// A tensor that stays from run to run, as it is.
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'s> {
    pub(crate) kind: u16,
    pub(crate) dtype: DType,
    pub(crate) elements: &'s [u8],
    pub(crate) low: &'s [u8],
    pub(crate) exponent: i16,
}

impl<'a> Session<'a> {
    /// A session of `image` in `arena`, with the operators of `registry`.
    ///
    /// # Errors
    /// [`Error::Arena`] if it has fewer bytes than [`Image::arena_bytes`], [`Error::Operator`] for one that `registry`
    /// lacks, [`Error::Magnitude`], [`Error::Malformed`] for an image that contradicts itself.
    pub fn new(image: &Image<'a>, arena: &'a mut [u8], registry: Registry<'a>) -> Result<Self> {
        Self::with_weights(image, arena, registry, &[])
    }

    /// The same of an image whose weights are outside of it: slices that the caller has, as of a mapped file. Those of
    /// frozen layers, and of an image that is only run, are read where they lie; what is trained is copied to the arena.
    ///
    /// # Errors
    /// As [`Session::new`]; [`Error::Weights`] for slices that are missing or of other sizes, [`Error::Alignment`] for one
    /// that no elements can be read from. Their contents are not compared with those that the image was compiled with:
    /// [`Image::check_weights`] does that.
    pub fn with_weights(
        image: &Image<'a>,
        arena: &'a mut [u8],
        registry: Registry<'a>,
        weights: &'a [&'a [u8]],
    ) -> Result<Self> {
        image.check_sizes(weights).map_err(Error::Weights)?;
        let too_small = Error::Arena {
            expected: image.arena_bytes(),
            got: arena.len(),
        };
        if arena.len() < image.arena_bytes() {
            return Err(too_small);
        }
        let memory = Memory::cut(arena, image, weights).ok_or(too_small)?;
        let mut session = Self {
            image: *image,
            registry,
            memory,
            seed: 0,
            step: 0,
            accumulated: 0,
            ticks: 0,
            ran: None,
        };
        session.link()?;
        session.reset()?;
        Ok(session)
    }

    /// Begins again, with what the image holds: as a session that is new.
    ///
    /// # Errors
    /// [`Error::Malformed`], as [`Session::new`].
    pub fn reset(&mut self) -> Result<()> {
        self.memory.exponents.fill(0);
        self.memory.states.fill(bytemuck::Zeroable::zeroed());
        self.memory.frozen.fill(0);
        self.memory.data.fill(0);
        (self.seed, self.step) = (self.image.header.seed, self.image.header.steps);
        (self.accumulated, self.ticks, self.ran) = (0, 0, None);
        if !self.image.states.is_empty() {
            let states: &mut [u8] = bytemuck::cast_slice_mut(self.memory.states);
            let (to, from) = (states.len(), self.image.states.len());
            if to < from {
                return Err(Error::Malformed);
            }
            // A program that trains has more of them than one that is only run, behind those of the latter.
            (states.iter_mut().zip(self.image.states)).for_each(|(to, &from)| *to = from);
        }
        self.load()
    }

    /// Finds the operators of all programs in the registry; refuses those that it lacks.
    fn link(&mut self) -> Result<()> {
        let mut places = self.memory.kernels.iter_mut();
        for role in Role::ALL {
            let Some(program) = self.image.program(role) else {
                continue;
            };
            let mut code = program.code;
            let mut operators = 0;
            while !code.is_empty() {
                let (record, rest) = Record::read(code).ok_or(Error::Malformed)?;
                let place = ops::find(self.registry, record.kind, record.dtypes);
                let place = place.ok_or(Error::Operator {
                    kind: record.kind,
                    dtype: record.dtypes[0],
                })?;
                *places.next().ok_or(Error::Malformed)? = place;
                code = rest;
                operators += 1;
            }
            if operators != program.header.operators as usize {
                return Err(Error::Malformed);
            }
        }
        Ok(())
    }

    /// Copies what is trained from the image, and sets exponents.
    fn load(&mut self) -> Result<()> {
        let program = self.first_program()?;
        self.load_all(program, |_| true)?;
        for (to, value) in self.memory.exponents.iter_mut().zip(program.values) {
            *to = value.exponent.into();
        }
        match self.beyond(|value| self.slice(value, 1).ok())? {
            Some((index, dtype)) => Err(Error::Magnitude { index, dtype }),
            None => Ok(()),
        }
    }

    /// The first parameter that is beyond the magnitude of its type with these bytes, and the type.
    fn beyond<'b>(
        &self,
        bytes: impl Fn(Value) -> Option<&'b [u8]>,
    ) -> Result<Option<(usize, DType)>> {
        let program = self.first_program()?;
        for (index, parameter) in self.of_parameters().enumerate() {
            let value = program.values.get(usize::from(parameter.value)).copied();
            let of = value.and_then(|value| value.dtype().zip(bytes(value)));
            let (dtype, bytes) = of.ok_or(Error::Malformed)?;
            if !is_within(dtype, bytes) {
                return Ok(Some((index, dtype)));
            }
        }
        Ok(None)
    }

    /// Forgets what layers carry from run to run, as recurrent layers, caches of attention and streams do where they are told
    /// to, and what the layers of a row have given: a new sequence begins.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn begin_sequence(&mut self) -> Result<()> {
        let program = self.first_program()?;
        self.ticks = 0;
        self.load_all(program, |kind| kind == Parameter::CARRIED)
    }

    /// Copies what is of these kinds from the image.
    fn load_all(&mut self, program: Program<'a>, is_asked: impl Fn(u16) -> bool) -> Result<()> {
        for parameter in self.image.parameters {
            if !is_asked(parameter.what()) {
                continue;
            }
            let value = program.values.get(usize::from(parameter.value));
            let stored = parameter.storing();
            let place = value.and_then(|value| value.place());
            if matches!(place, Some(Place::Constant | Place::Outside)) {
                // It is read where it lies.
                if let (Storing::Outside(index), Some(value)) = (stored, value) {
                    let bytes = value.dtype().map_or(1, DType::bytes);
                    let slice = self.memory.outside.get(index).ok_or(Error::Malformed)?;
                    // A power of two: `align_offset` links a panic for others.
                    if slice.as_ptr().addr() & bytes.wrapping_sub(1) != 0 {
                        return Err(Error::Alignment { index, bytes });
                    }
                }
                continue;
            }
            let mut from = 0;
            for id in [parameter.value, parameter.residual] {
                if id == NONE {
                    continue;
                }
                let value = program.values.get(usize::from(id)).copied();
                let (_, range) = value
                    .and_then(|value| self.memory.range(value, 1))
                    .ok_or(Error::Malformed)?;
                let len = range.len();
                if !self.memory.load(stored, from, range) {
                    return Err(Error::Malformed);
                }
                from += len; // both are in memory
            }
        }
        Ok(())
    }

    /// The seed of the image's initialisation, which addresses the random words of a training.
    #[must_use]
    pub const fn seed(&self) -> u32 {
        self.seed
    }

    /// Training steps so far.
    #[must_use]
    pub const fn steps(&self) -> u32 {
        self.step
    }

    /// The hash of the parameters, those of a typed network that is the same: SHA-256 over all of them in layer order, of
    /// each its stored elements, the low bytes of the masters where it is trained, and the exponent of integers.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        let program = self.first_program()?;
        let mut hash = Hash::new();
        for parameter in self
            .image
            .parameters
            .iter()
            .filter(|parameter| parameter.what() == Parameter::TRAINED)
        {
            let id = usize::from(parameter.value);
            let value = (program.values.get(id).copied()).ok_or(Error::Malformed)?;
            hash.bytes(self.slice(value, 1)?);
            if let Some(&residual) = program.values.get(usize::from(parameter.residual)) {
                hash.bytes(self.slice(residual, 1)?);
            }
            if value.dtype().is_some_and(|dtype| dtype.is_integer()) {
                let exponent = self.memory.exponents.get(id).copied().unwrap_or(0);
                hash.bytes(&(exponent as i16).to_le_bytes());
            }
        }
        Ok(hash.finish())
    }

    fn program(&self, role: Role) -> Result<Program<'a>> {
        self.image.program(role).ok_or(Error::Program { role })
    }

    /// Input `index` of the program of `role`, for all the samples that it takes, to be filled before each run: the memory
    /// serves other values afterwards. Integers stand for fractions, as
    /// [`Element::from_pixel`] makes them. The program that trains has the labels behind the inputs of the network, then what is
    /// asked of its heads.
    ///
    /// # Errors
    /// [`Error::Program`], [`Error::Index`], [`Error::DType`] for elements of another type.
    pub fn input_mut<T: Element>(&mut self, role: Role, index: usize) -> Result<&mut [T]> {
        let program = self.program(role)?;
        let id = *program.inputs.get(index).ok_or(Error::Index { index })?;
        let value = (program.values.get(id as usize).copied()).ok_or(Error::Malformed)?;
        check_dtype::<T>(value)?;
        let samples = program.header.samples as usize;
        let bytes = self.bytes_mut(value, samples)?;
        bytemuck::try_cast_slice_mut(bytes).map_err(|_| Error::Malformed)
    }

    /// Output `index` of the last run, `[samples, elements of one]`. Behind the outputs of the network, training has the losses
    /// before the step, in the order of the outputs, each summed over the batch: one element of `i64` in 2^-16 for integers,
    /// else of `f32`, or `f64` for `f64`.
    ///
    /// # Errors
    /// [`Error::NotRun`], [`Error::Index`], [`Error::DType`] for elements of another type.
    pub fn output<T: Element>(&self, index: usize) -> Result<Tensor<'_, T>> {
        let (role, samples) = self.ran.ok_or(Error::NotRun)?;
        let program = self.program(role)?;
        let id = *program.outputs.get(index).ok_or(Error::Index { index })? as usize;
        let value = (program.values.get(id).copied()).ok_or(Error::Malformed)?;
        check_dtype::<T>(value)?;
        let data = self.slice(value, samples)?;
        let exponent = self.memory.exponents.get(id).copied().unwrap_or(0);
        Ok(Tensor { data, exponent })
    }

    fn slice<T: Pod>(&self, value: Value, samples: usize) -> Result<&[T]> {
        let (place, range) = self.memory.range(value, samples).ok_or(Error::Malformed)?;
        let bytes = match place {
            Place::Constant | Place::Outside => self.memory.constant(place, range),
            Place::Transient | Place::Persistent => self.memory.data.get(range),
        };
        let bytes = bytes.ok_or(Error::Malformed)?;
        bytemuck::try_cast_slice(bytes).map_err(|_| Error::Malformed)
    }

    /// Runs the network on the first `samples` samples of its inputs; nothing is learned.
    ///
    /// # Errors
    /// [`Error::Program`], [`Error::Batch`], [`Error::Magnitude`], [`Error::Kernel`] with what an operator refused.
    pub fn run(&mut self, exec: &dyn Executor, samples: usize) -> Result<()> {
        self.execute(Role::Infer, exec, samples, Mode::Infer, &Sgd::STILL)
    }

    /// The same, and the exponents of activations adapt to what these samples need, as in training. What has changed its
    /// type ([`Network::compile_trained`](crate::network::Network::compile_trained)) has none at first, and samples would
    /// influence each other.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn calibrate(&mut self, exec: &dyn Executor, samples: usize) -> Result<()> {
        self.execute(Role::Infer, exec, samples, Mode::Calibrate, &Sgd::STILL)
    }

    /// Runs the network on the first `samples` samples of its inputs, and writes the class with the largest logit of each row
    /// of the first output, the first of several; `H` is its type, [`Element::Head`].
    ///
    /// # Errors
    /// As [`Session::run`] and [`Session::output`]; [`Error::Length`] if the output does not have a row for each class.
    pub fn classify<H: Element>(
        &mut self,
        exec: &dyn Executor,
        samples: usize,
        classes: &mut [u16],
    ) -> Result<()> {
        self.run(exec, samples)?;
        let logits = self.output::<H>(0)?.data;
        let row = logits.len().checked_div(classes.len()).unwrap_or(0);
        if row == 0 || row * classes.len() != logits.len() {
            return Err(Error::Length {
                expected: logits.len(),
                got: classes.len(),
            });
        }
        for (class, row) in classes.iter_mut().zip(logits.chunks_exact(row.max(1))) {
            *class = arg_max(row);
        }
        Ok(())
    }

    /// One training step on the first `samples` samples of the inputs. The mean over the batch belongs to `sgd`'s rate.
    ///
    /// # Errors
    /// [`Error::Program`], [`Error::Batch`], [`Error::Magnitude`], [`Error::Momentum`]: nothing has changed then. [`Error::Kernel`] with what an
    /// operator refused, as a label beyond the classes: exponent states may have adapted to the batch then, no parameter has
    /// changed.
    pub fn train_step(&mut self, exec: &dyn Executor, samples: usize, sgd: &Sgd) -> Result<()> {
        self.check_momentum(sgd)?;
        self.execute(Role::Train, exec, samples, Mode::Train, sgd)?;
        self.step = self.step.wrapping_add(1);
        if self.image.has(Role::Update) {
            self.accumulated = self.accumulated.saturating_add(1);
            self.update(exec, sgd)?;
        }
        Ok(())
    }

    /// The first part of a step, of an image whose gradients [accumulate](Role::Update): the gradients of these samples are
    /// added to those since the last [`Session::update`].
    ///
    /// # Errors
    /// As [`Session::train_step`].
    ///
    /// # Example
    /// ```
    /// # #[cfg(feature = "alloc")] {
    /// use selvedge_core::network::{Dense, Network, Options};
    /// use selvedge_core::{DType, Rate, Serial, Sgd, image::{Image, Role}, ops, session::Session};
    /// let options = Options { samples: 1, train: true, accumulate: true, ..Options::default() };
    /// let bytes = Network::new([2]).layer("head", Dense::new(2)).compile(DType::I8, &options)?;
    /// #[repr(C, align(16))]
    /// struct Aligned([u8; 1024]);
    /// let mut flash = Aligned([0; 1024]);
    /// flash.0[..bytes.len()].copy_from_slice(&bytes);
    /// let image = Image::parse(&flash.0)?;
    /// let mut arena = [0; 1024];
    /// let mut session = Session::new(&image, &mut arena, ops::ALL)?;
    /// // Two samples, one at a time: the arena has room for one.
    /// for (x, label) in [([90i8, 10], 1u16), ([20, 110], 0)] {
    ///     session.input_mut(Role::Train, 0)?.copy_from_slice(&x);
    ///     session.input_mut(Role::Train, 1)?[0] = label;
    ///     session.accumulate(&Serial, 1)?;
    /// }
    /// session.update(&Serial, &Sgd::new(Rate { mantissa: 1, exponent: -4 }))?;
    /// assert_eq!(session.steps(), 2);
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn accumulate(&mut self, exec: &dyn Executor, samples: usize) -> Result<()> {
        self.program(Role::Update)?;
        self.execute(Role::Train, exec, samples, Mode::Train, &Sgd::STILL)?;
        self.step = self.step.wrapping_add(1);
        self.accumulated = self.accumulated.saturating_add(1);
        Ok(())
    }

    /// The second part of a step: parameters descend by the gradients that have accumulated. The mean over all their samples
    /// belongs to `sgd`'s rate.
    ///
    /// # Errors
    /// [`Error::Program`] for an image whose gradients do not accumulate; [`Error::NotRun`] if nothing has.
    pub fn update(&mut self, exec: &dyn Executor, sgd: &Sgd) -> Result<()> {
        self.program(Role::Update)?;
        if self.accumulated == 0 {
            return Err(Error::NotRun);
        }
        self.check_momentum(sgd)?;
        let ran = self.ran;
        // With the random words of the last run.
        self.step = self.step.wrapping_sub(1);
        let updated = self.execute(Role::Update, exec, 1, Mode::Train, sgd);
        self.step = self.step.wrapping_add(1);
        self.ran = ran;
        self.accumulated = 0;
        updated
    }

    fn check_momentum(&self, sgd: &Sgd) -> Result<()> {
        let mut parameters = self.image.parameters.iter();
        if sgd.momentum != 0 && parameters.all(|parameter| parameter.velocity == NONE) {
            return Err(Error::Momentum);
        }
        Ok(())
    }

    /// How many parameters there are, weights and biases each: those of the description's layers, in their order.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.of_parameters().count()
    }

    fn of_parameters(&self) -> impl Iterator<Item = &'a Parameter> + use<'a> {
        let parameters = self.image.parameters;
        parameters
            .iter()
            .filter(|parameter| parameter.what() == Parameter::TRAINED)
    }

    /// Parameter `index`, in the order of the description's layers: its elements, and the exponent that integers share.
    ///
    /// # Errors
    /// [`Error::Index`] for one that is not there, [`Error::DType`] for elements of another type.
    pub fn parameter<T: Element>(&self, index: usize) -> Result<Tensor<'_, T>> {
        let (parameter, value) = self.parameter_value(index)?;
        check_dtype::<T>(value)?;
        let exponent = self.memory.exponents.get(usize::from(parameter.value));
        Ok(Tensor {
            data: self.slice(value, 1)?,
            exponent: exponent.copied().unwrap_or(0),
        })
    }

    /// Gives parameter `index` these elements, at this exponent (0 for floats). The low bytes of its masters, and its
    /// velocities, are zero then.
    ///
    /// # Errors
    /// As [`Session::parameter`]; [`Error::Magnitude`]; [`Error::Length`] for another number of elements; [`Error::Frozen`] for one that lies in
    /// the image. Nothing has changed then.
    pub fn set_parameter<T: Element>(
        &mut self,
        index: usize,
        elements: &[T],
        exponent: i16,
    ) -> Result<()> {
        let (parameter, value) = self.parameter_value(index)?;
        check_dtype::<T>(value)?;
        if value.place() != Some(Place::Persistent) {
            return Err(Error::Frozen { index });
        }
        if !is_within(T::DTYPE, bytemuck::cast_slice(elements)) {
            let dtype = T::DTYPE;
            return Err(Error::Magnitude { index, dtype });
        }
        let expected = value.len as usize;
        if elements.len() != expected {
            return Err(Error::Length {
                expected,
                got: elements.len(),
            });
        }
        let program = self.first_program()?;
        for id in [parameter.residual, parameter.velocity] {
            if let Some(&beside) = program.values.get(usize::from(id)) {
                self.bytes_mut(beside, 1)?.fill(0);
            }
        }
        let to = bytemuck::try_cast_slice_mut(self.bytes_mut(value, 1)?);
        let to = to.map_err(|_| Error::Malformed)?.iter_mut();
        to.zip(elements).for_each(|(to, &element)| *to = element);
        if let Some(place) = self.memory.exponents.get_mut(usize::from(parameter.value)) {
            *place = exponent.into();
        }
        Ok(())
    }

    /// Of what stays, in the image's order: its elements and the low bytes of its masters as bytes, and its exponent.
    #[cfg(feature = "alloc")]
    pub(crate) fn stored(&self) -> Result<alloc::vec::Vec<Stored<'_>>> {
        let program = self.first_program()?;
        let value = |id: u16| program.values.get(usize::from(id)).copied();
        let bytes = |id: u16| value(id).map_or(Ok(&[][..]), |value| self.slice(value, 1));
        let parameters = self.image.parameters.iter();
        let stored = parameters.map(|parameter| {
            let exponent = self.memory.exponents.get(usize::from(parameter.value));
            let dtype = value(parameter.value).and_then(Value::dtype);
            Ok(Stored {
                kind: parameter.what(),
                dtype: dtype.ok_or(Error::Malformed)?,
                elements: bytes(parameter.value)?,
                low: bytes(parameter.residual)?,
                exponent: exponent.copied().unwrap_or(0) as i16, // it comes from `i16`
            })
        });
        stored.collect()
    }

    /// The exponent states as bytes.
    #[cfg(feature = "alloc")]
    pub(crate) fn states(&self) -> &[u8] {
        bytemuck::cast_slice(self.memory.states)
    }

    /// The record of parameter `index`, and its value.
    fn parameter_value(&self, index: usize) -> Result<(&'a Parameter, Value)> {
        let parameter = self.of_parameters().nth(index);
        let parameter = parameter.ok_or(Error::Index { index })?;
        let program = self.first_program()?;
        let value = program.values.get(usize::from(parameter.value)).copied();
        Ok((parameter, value.ok_or(Error::Malformed)?))
    }

    /// A program of the image: what stays has the same numbers in all of them.
    fn first_program(&self) -> Result<Program<'a>> {
        let program = Role::ALL.iter().find_map(|&role| self.image.program(role));
        program.ok_or(Error::Malformed)
    }

    /// The bytes of a value in the arena.
    fn bytes_mut(&mut self, value: Value, samples: usize) -> Result<&mut [u8]> {
        let (_, range) = self.memory.range(value, samples).ok_or(Error::Malformed)?;
        self.memory.data.get_mut(range).ok_or(Error::Malformed)
    }

    /// Says whether parameter `index` stays as it is in training from now on. One that was compiled to be frozen stays so.
    ///
    /// # Errors
    /// [`Error::Index`] for one that is not there.
    pub fn set_frozen(&mut self, index: usize, is_frozen: bool) -> Result<()> {
        let (parameter, _) = self.parameter_value(index)?;
        self.memory.set_frozen(parameter.value.into(), is_frozen);
        Ok(())
    }

    /// Where the operators of the program of `role` begin among those of all programs.
    fn first_operator(&self, role: Role) -> usize {
        let before = Role::ALL.iter().take_while(|&&other| other != role);
        let programs = before.filter_map(|&role| self.image.program(role));
        programs
            .map(|program| program.header.operators as usize)
            .sum() // which `link` has counted
    }

    fn execute(
        &mut self,
        role: Role,
        exec: &dyn Executor,
        samples: usize,
        mode: Mode,
        sgd: &Sgd,
    ) -> Result<()> {
        let program = self.program(role)?;
        let capacity = program.header.samples as usize;
        if samples == 0 || samples > capacity {
            return Err(Error::Batch {
                capacity,
                got: samples,
            });
        }
        for (index, &input) in program.inputs.iter().enumerate() {
            let value = program.values.get(input as usize).copied();
            let value = value.ok_or(Error::Malformed)?;
            // What has no fractions are tokens, classes and lengths.
            if value.exponent != 0
                && let Some(dtype) = value.dtype()
                && !is_within(dtype, self.slice(value, samples)?)
            {
                return Err(Error::Magnitude { index, dtype });
            }
        }
        self.ran = None;
        for &input in program.inputs {
            if let (Some(place), Some(value)) = (
                self.memory.exponents.get_mut(input as usize),
                program.values.get(input as usize),
            ) {
                *place = value.exponent.into();
            }
        }
        let mut operator = self.first_operator(role);
        let first = operator;
        let mut code = program.code;
        while let Some((record, rest)) = Record::read(code) {
            let kernel = self.memory.kernels.get(operator);
            let kernel = kernel.and_then(|&[group, place]| {
                let group = self.registry.get(usize::from(group))?;
                group.get(usize::from(place))
            });
            let kernel = kernel.ok_or(Error::Malformed)?;
            let mut call = Call {
                exec: &exec,
                mode,
                seed: self.seed,
                step: self.step,
                sgd,
                batch: samples,
                begins: self.accumulated == 0,
                record,
                values: program.values,
                memory: &mut self.memory,
            };
            (kernel.run)(&mut call).map_err(|fault| match fault {
                Fault::Malformed => Error::Record {
                    operator: operator - first,
                    kind: record.kind,
                },
                Fault::Kernel(source) => Error::Kernel {
                    operator: operator - first,
                    kind: kernel.kind,
                    source,
                },
            })?;
            code = rest;
            operator += 1;
        }
        self.ran = Some((role, samples));
        Ok(())
    }
}

fn check_dtype<T: Element>(value: Value) -> Result<()> {
    match value.dtype() {
        Some(dtype) if dtype == T::DTYPE => Ok(()),
        Some(expected) => Err(Error::DType {
            expected,
            got: T::DTYPE,
        }),
        None => Err(Error::Malformed),
    }
}
