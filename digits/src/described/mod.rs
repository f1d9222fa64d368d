//! Networks that are described and compiled where they are trained, for comparing targets:
//! [`each_described!`](crate::each_described!) names them, [`Case::fingerprint`] is what targets compare. The
//! [zoo](crate::zoo) has every layer; these have what images and sessions do besides.
//!
//! ```
//! use selvedge_core::Serial;
//! use selvedge_digits::described;
//!
//! let mut case = described::stopped::<i8>();
//! let stopped = case.fingerprint(&Serial)?;
//! case.is_stopped = false;
//! assert_eq!(case.fingerprint(&Serial)?, stopped);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod memory;
mod networks;

pub use memory::Aligned;
pub use networks::{attention, branches, budget, carried, gathered, stopped, ticks, types};

use crate::{Digits, PIXELS, SEED, test, train};
use alloc::boxed::Box;
use alloc::vec;
use core::marker::PhantomData;
use core::ops::Range;
use memory::Slots;
use selvedge_core::fingerprint::Fingerprint;
use selvedge_core::image::{Image, Role};
use selvedge_core::network::{Network, Options};
use selvedge_core::ops::Registry;
use selvedge_core::session::Session;
use selvedge_core::train::Samples;
use selvedge_core::{Element, Executor, Rate, Sgd};
use sha2::{Digest, Sha256};

/// Samples of a training step.
pub const BATCH: usize = 4;
/// Steps that make every state, exponent and rounding matter.
pub const STEPS: usize = 24;
/// Steps after which a session is left that is stopped.
const HALF: usize = STEPS / 2;
/// Steps of an update, where gradients accumulate.
const GATHERED: usize = 3;
/// Steps in which the first parameter is frozen, where gradients accumulate.
const FROZEN: Range<usize> = STEPS / 3..2 * STEPS / 3;

/// Why a network was not compiled or trained; never, with those of this module.
pub type Result<T> = core::result::Result<T, Box<dyn core::error::Error>>;

/// Calls `$with!` with the name of each network, a function of this module, and the two types that it is trained in.
#[macro_export]
macro_rules! each_described {
    ($with:ident!($($before:tt)*)) => {
        $with! { $($before)*
            types(i8, i16), budget(i8, u8), ticks(i8, u16), attention(i8, i16), carried(i8, u16),
            branches(i8, u8), gathered(i8, i16), stopped(i8, u16),
        }
    };
}

/// A network that is compiled and trained in elements of `T`.
#[derive(Clone, Debug)]
pub struct Case<T> {
    /// The network.
    pub network: Network,
    /// What it is compiled for. With `step` it is trained by ticks; with `accumulate`, each update is that of three steps, and
    /// the first parameter is frozen for a third of them.
    pub options: Options,
    /// The operators that its image has, and no others.
    pub operators: Registry<'static>,
    /// Whether the session is left half-way, and another one goes on from what it has stored.
    pub is_stopped: bool,
    elements: PhantomData<T>,
}

impl<T: Element> Case<T> {
    fn new(network: Network, operators: Registry<'static>) -> Self {
        Self {
            network,
            options: Options {
                samples: BATCH,
                train: true,
                seed: SEED,
                ..Options::default()
            },
            operators,
            is_stopped: false,
            elements: PhantomData,
        }
    }

    /// Compiles and trains the network, and hashes all there is to compare: the image, what each step gives, the parameters,
    /// and the outputs at inference for digits of the test part in two runs, of which the second begins with what the first
    /// has left.
    ///
    /// # Errors
    /// What the compiler, the image or the session refuses.
    pub fn fingerprint(&self, exec: &dyn Executor) -> Result<Fingerprint> {
        let bytes = Aligned::new(self.network.compile(T::DTYPE, &self.options)?);
        let mut hash = Sha256::new();
        hash.update(bytes.get());
        let image = Image::parse(bytes.get())?;
        let mut arena = vec![0; image.arena_bytes()];
        let mut session = Session::new(&image, &mut arena, self.operators)?;
        if self.is_stopped {
            let mut slots = Slots::new(session.state_bytes());
            for part in [0..HALF / 2, HALF / 2..HALF] {
                self.train(&mut session, exec, part, &mut hash)?;
                session.save_to(&mut slots)?;
            }
            arena.fill(0xFF);
            let mut session = Session::new(&image, &mut arena, self.operators)?;
            session.load_from(&mut slots)?;
            self.end(&mut session, exec, hash)
        } else {
            self.train(&mut session, exec, 0..HALF, &mut hash)?;
            self.end(&mut session, exec, hash)
        }
    }

    /// What comes behind the first half.
    fn end(
        &self,
        session: &mut Session<'_>,
        exec: &dyn Executor,
        mut hash: Sha256,
    ) -> Result<Fingerprint> {
        self.train(session, exec, HALF..STEPS, &mut hash)?;
        hash.update(session.fingerprint()?.0);
        session.begin_sequence()?;
        for run in 0..2 {
            read::<T>(session, Role::Infer, &test(), run * BATCH)?;
            session.run(exec, BATCH)?;
            add_output::<T>(session, &mut hash)?;
        }
        Ok(Fingerprint(hash.finalize().into()))
    }

    fn train(
        &self,
        session: &mut Session<'_>,
        exec: &dyn Executor,
        steps: Range<usize>,
        hash: &mut Sha256,
    ) -> Result<()> {
        for step in steps {
            self.step(session, exec, step)?;
            add_output::<T>(session, hash)?;
        }
        Ok(())
    }

    /// One step, on the digits that follow those of the step before.
    fn step(&self, session: &mut Session<'_>, exec: &dyn Executor, step: usize) -> Result<()> {
        let rate = Rate {
            mantissa: 1,
            exponent: -5,
        };
        let sgd = if self.options.momentum {
            Sgd {
                momentum: 200,
                ..Sgd::new(rate.halved(2))
            }
        } else {
            Sgd::new(rate)
        };
        if self.options.step {
            read::<T>(session, Role::Step, &train(), step * BATCH)?;
            session.step(exec)?;
            // None has arrived in the first ticks.
            if let Some(arrived) = step.checked_sub(networks::TICKS - 1) {
                ask(session, arrived * BATCH)?;
                session.step_backward(exec, &sgd)?;
            }
            return Ok(());
        }
        read::<T>(session, Role::Train, &train(), step * BATCH)?;
        ask(session, step * BATCH)?;
        if self.options.accumulate {
            session.set_frozen(0, FROZEN.contains(&step))?;
            session.accumulate(exec, BATCH)?;
            if step % GATHERED == GATHERED - 1 {
                session.update(exec, &sgd)?;
            }
        } else {
            session.train_step(exec, BATCH, &sgd)?;
        }
        Ok(())
    }
}

/// Puts a batch from the digit `first` on into the input of the program of `role`.
fn read<T: Element>(
    session: &mut Session<'_>,
    role: Role,
    digits: &Digits,
    first: usize,
) -> Result<()> {
    let samples = session.input_mut::<T>(role, 0)?;
    for (index, x) in (first..).zip(samples.chunks_exact_mut(PIXELS)) {
        digits.read(index, x);
    }
    Ok(())
}

/// Asks for the digits from `first` on.
fn ask(session: &mut Session<'_>, first: usize) -> Result<()> {
    let labels = session.input_mut(Role::Train, 1)?;
    for (index, label) in (first..).zip(labels) {
        *label = train().get(index).map_or(0, |(label, _)| u16::from(label));
    }
    Ok(())
}

/// Adds what the last run has given, as it is stored and with its exponent.
fn add_output<T: Element>(session: &Session<'_>, hash: &mut Sha256) -> Result<()> {
    let output = session.output::<T::Head>(0)?;
    for element in output.data {
        element.le_bytes(|bytes| hash.update(bytes));
    }
    hash.update(output.exponent.to_le_bytes());
    Ok(())
}
