//! Sessions: an image that runs, and learns, in an arena given by its caller.

mod error;
pub(crate) mod memory;

pub use error::Error;

use crate::fingerprint::{Fingerprint, Hash};
use crate::image::format::{NONE, Parameter, Place, Record, Value};
use crate::image::{Image, Program, Role};
use crate::ops::{self, Call, Fault, Registry};
use bytemuck::Pod;
use memory::Memory;
use selvedge_kernels::Element;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::scale::Mode;

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

impl<'a> Session<'a> {
    /// A session of `image` in `arena`, with the operators of `registry`.
    ///
    /// # Errors
    /// [`Error::Arena`] if it has fewer bytes than [`Image::arena_bytes`], [`Error::Operator`] for one that `registry`
    /// lacks, [`Error::Malformed`] for an image that contradicts itself.
    pub fn new(image: &Image<'a>, arena: &'a mut [u8], registry: Registry<'a>) -> Result<Self> {
        let too_small = Error::Arena {
            expected: image.arena_bytes(),
            got: arena.len(),
        };
        if arena.len() < image.arena_bytes() {
            return Err(too_small);
        }
        let (states, persistent) = (
            image.header.states as usize,
            image.header.persistent as usize,
        );
        let memory = Memory::cut(arena, image.values(), states, persistent, image.weights)
            .ok_or(too_small)?;
        memory.exponents.fill(0);
        memory.states.fill(bytemuck::Zeroable::zeroed());
        memory.data.fill(0);
        let mut session = Self {
            image: *image,
            registry,
            memory,
            seed: image.header.seed,
            step: image.header.steps,
            ran: None,
        };
        for role in Role::ALL {
            if let Some(program) = image.program(role) {
                session.check(program)?;
            }
        }
        session.load()?;
        Ok(session)
    }

    /// Refuses operators that the registry lacks.
    fn check(&self, program: Program<'a>) -> Result<()> {
        let mut code = program.code;
        while !code.is_empty() {
            let (record, rest) = Record::read(code).ok_or(Error::Malformed)?;
            if ops::find(self.registry, record.kind, record.dtypes).is_none() {
                return Err(Error::Operator {
                    kind: record.kind,
                    dtype: record.dtypes[0],
                });
            }
            code = rest;
        }
        Ok(())
    }

    /// Copies what is trained from the image, and sets exponents.
    fn load(&mut self) -> Result<()> {
        let program = Role::ALL.iter().find_map(|&role| self.image.program(role));
        let program = program.ok_or(Error::Malformed)?;
        self.load_all(program, |_| true)?;
        for (to, value) in self.memory.exponents.iter_mut().zip(program.values) {
            *to = value.exponent.into();
        }
        Ok(())
    }

    /// Forgets what layers carry from run to run, as recurrent layers, caches of attention and streams do where they are told
    /// to: a new sequence begins.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn reset(&mut self) -> Result<()> {
        let program = Role::ALL.iter().find_map(|&role| self.image.program(role));
        let program = program.ok_or(Error::Malformed)?;
        self.load_all(program, |kind| kind == Parameter::CARRIED)
    }

    /// Copies what is of these kinds from the image.
    fn load_all(&mut self, program: Program<'a>, is_asked: impl Fn(u16) -> bool) -> Result<()> {
        for parameter in self.image.parameters {
            if !is_asked(parameter.kind) {
                continue;
            }
            let value = program.values.get(usize::from(parameter.value));
            if value.and_then(|value| value.place()) == Some(Place::Constant) {
                continue; // it is read where it lies
            }
            let mut from = parameter.stored as usize;
            for id in [parameter.value, parameter.residual] {
                if id == NONE {
                    continue;
                }
                let value = program.values.get(usize::from(id)).copied();
                let (_, range) = value
                    .and_then(|value| self.memory.range(value, 1))
                    .ok_or(Error::Malformed)?;
                let to = from.checked_add(range.len()).ok_or(Error::Malformed)?;
                if !self.memory.load(from..to, range) {
                    return Err(Error::Malformed);
                }
                from = to;
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
        let program = Role::ALL.iter().find_map(|&role| self.image.program(role));
        let program = program.ok_or(Error::Malformed)?;
        let mut hash = Hash::new();
        for parameter in self
            .image
            .parameters
            .iter()
            .filter(|parameter| parameter.kind == Parameter::TRAINED)
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
    /// [`Element::from_pixel`] makes them. The program that trains has the labels as its last input.
    ///
    /// # Errors
    /// [`Error::Program`], [`Error::Index`], [`Error::DType`] for elements of another type.
    pub fn input_mut<T: Element>(&mut self, role: Role, index: usize) -> Result<&mut [T]> {
        let program = self.program(role)?;
        let id = *program.inputs.get(index).ok_or(Error::Index { index })?;
        let value = (program.values.get(id as usize).copied()).ok_or(Error::Malformed)?;
        check_dtype::<T>(value)?;
        let samples = program.header.samples as usize;
        let (_, range) = self.memory.range(value, samples).ok_or(Error::Malformed)?;
        let bytes = self.memory.data.get_mut(range).ok_or(Error::Malformed)?;
        bytemuck::try_cast_slice_mut(bytes).map_err(|_| Error::Malformed)
    }

    /// Output `index` of the last run, `[samples, elements of one]`. Behind the outputs of the network, training has the loss
    /// before the step, summed over the batch: one element of `i64` in 2^-16 for integers, else of `f32`, or `f64` for
    /// `f64`.
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
        let from: &[u8] = match place {
            Place::Constant => self.memory.weights,
            Place::Transient | Place::Persistent => self.memory.data,
        };
        let bytes = from.get(range).ok_or(Error::Malformed)?;
        bytemuck::try_cast_slice(bytes).map_err(|_| Error::Malformed)
    }

    /// Runs the network on the first `samples` samples of its inputs; nothing is learned.
    ///
    /// # Errors
    /// [`Error::Program`], [`Error::Batch`], [`Error::Kernel`] with what an operator refused.
    pub fn run(&mut self, exec: &dyn Executor, samples: usize) -> Result<()> {
        self.execute(Role::Infer, exec, samples, Mode::Infer, &Sgd::STILL)
    }

    /// One training step on the first `samples` samples of the inputs. The mean over the batch belongs to `sgd`'s rate.
    ///
    /// # Errors
    /// [`Error::Program`], [`Error::Batch`], [`Error::Momentum`]: nothing has changed then. [`Error::Kernel`] with what an
    /// operator refused, as a label beyond the classes: exponent states may have adapted to the batch then, no parameter has
    /// changed.
    pub fn train_step(&mut self, exec: &dyn Executor, samples: usize, sgd: &Sgd) -> Result<()> {
        let mut parameters = self.image.parameters.iter();
        if sgd.momentum != 0 && parameters.all(|parameter| parameter.velocity == NONE) {
            return Err(Error::Momentum);
        }
        self.execute(Role::Train, exec, samples, Mode::Train, sgd)?;
        self.step = self.step.wrapping_add(1);
        Ok(())
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
        self.ran = None;
        for &input in program.inputs {
            if let (Some(place), Some(value)) = (
                self.memory.exponents.get_mut(input as usize),
                program.values.get(input as usize),
            ) {
                *place = value.exponent.into();
            }
        }
        let mut code = program.code;
        let mut operator = 0;
        while let Some((record, rest)) = Record::read(code) {
            let kernel = ops::find(self.registry, record.kind, record.dtypes);
            let kernel = kernel.ok_or(Error::Malformed)?;
            let mut call = Call {
                exec: &exec,
                mode,
                seed: self.seed,
                step: self.step,
                sgd,
                batch: samples,
                record,
                values: program.values,
                memory: &mut self.memory,
            };
            (kernel.run)(&mut call).map_err(|fault| match fault {
                Fault::Malformed => Error::Record {
                    operator,
                    kind: record.kind,
                },
                Fault::Kernel(source) => Error::Kernel {
                    operator,
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
