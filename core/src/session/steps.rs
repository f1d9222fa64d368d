//! Networks as clocked pipelines: every layer of the row advances once a tick.

use super::{Error, Result, Session};
use crate::image::Role;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::scale::Mode;

impl Session<'_> {
    /// One tick: each layer advances on what the one before it gave at the last tick, for all samples that the image was
    /// compiled for, which are streams side by side. With D layers that compute, the output after tick t (from 0) is that of
    /// the input of tick t - D + 1; before, layers see zeros. A container is one layer; `Sequential` is its layers.
    ///
    /// Output 0 is that of the last layer; output 1 has the inputs of the last D ticks, `[samples, D, input]`; those behind
    /// are what the other layers gave, from the first on.
    ///
    /// # Errors
    /// [`Error::Program`] for an image without [`Role::Step`], [`Error::Kernel`] with what an operator refused.
    ///
    /// # Example
    /// ```
    /// # #[cfg(feature = "alloc")] {
    /// use selvedge_core::network::{Dense, Network, Options};
    /// use selvedge_core::{DType, Rate, Serial, Sgd, image::{Image, Role}, ops, session::Session};
    /// let network = Network::new([2]).layer("hidden", Dense::new(4)).layer("head", Dense::new(2));
    /// let options = Options { train: true, step: true, ..Options::default() };
    /// let bytes = network.compile(DType::I8, &options)?;
    /// #[repr(C, align(16))]
    /// struct Aligned([u8; 2048]);
    /// let mut flash = Aligned([0; 2048]);
    /// flash.0[..bytes.len()].copy_from_slice(&bytes);
    /// let image = Image::parse(&flash.0)?;
    /// let mut arena = [0; 2048];
    /// let mut session = Session::new(&image, &mut arena, ops::ALL)?;
    /// let sgd = Sgd::new(Rate { mantissa: 1, exponent: -4 });
    /// for t in 0..10 {
    ///     session.input_mut::<i8>(Role::Step, 0)?.copy_from_slice(&[t * 7, 50 - t * 9]);
    ///     session.step(&Serial)?;
    ///     if t >= 1 {
    ///         // Of the input one tick ago.
    ///         session.input_mut::<u16>(Role::Train, 1)?[0] = u16::from((t - 1) * 7 > 20);
    ///         session.step_backward(&Serial, &sgd)?;
    ///     }
    /// }
    /// assert_eq!(session.steps(), 9);
    /// # }
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn step(&mut self, exec: &dyn Executor) -> Result<()> {
        let samples = self.program(Role::Step)?.header.samples as usize;
        self.execute(Role::Step, exec, samples, Mode::Infer, &Sgd::STILL)?;
        self.ticks = self.ticks.saturating_add(1);
        Ok(())
    }

    /// Trains on the input whose output has arrived at the last tick, which is put into the first input of [`Role::Train`];
    /// what it asks for lies in the others. The gradient is formed from that input's own activations, computed again: so the
    /// bytes are those of training on one input after the other.
    ///
    /// # Errors
    /// [`Error::Ticks`] where none has arrived yet; as [`Session::train_step`]. Nothing has changed then.
    pub fn step_backward(&mut self, exec: &dyn Executor, sgd: &Sgd) -> Result<()> {
        let [step, train] = [self.program(Role::Step)?, self.program(Role::Train)?];
        let samples = step.header.samples as usize;
        let value = |program: crate::image::Program<'_>, id: Option<&u32>| {
            let value = program.values.get(*id? as usize).copied()?;
            self.memory.range(value, samples).map(|(_, range)| range)
        };
        let (from, to) = (
            value(step, step.outputs.get(1)),
            value(train, train.inputs.first()),
        );
        let (Some(from), Some(to)) = (from, to) else {
            return Err(Error::Malformed);
        };
        let ticks = from.len().checked_div(to.len()).unwrap_or(0);
        if usize::from(self.ticks) < ticks {
            return Err(Error::Ticks {
                expected: ticks,
                got: self.ticks.into(),
            });
        }
        let size = to.len().checked_div(samples).unwrap_or(0);
        for sample in 0..samples {
            let (from, to) = (from.start + sample * ticks * size, to.start + sample * size);
            for at in 0..size {
                let byte = self.memory.data.get(from + at).copied();
                if let (Some(byte), Some(place)) = (byte, self.memory.data.get_mut(to + at)) {
                    *place = byte;
                }
            }
        }
        self.train_step(exec, samples, sgd)
    }
}
