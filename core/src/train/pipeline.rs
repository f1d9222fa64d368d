//! Networks as clocked pipelines: the step form.

use super::{Head, Loss, Trainer, check_labels, input, pass, samples_of};
use crate::error::{Error, Result};
use crate::net::{Layer, Network, Tape, Values};
use crate::tensor::Storage;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::loss::cross_entropy;
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::scale::Mode;
use selvedge_kernels::{Arg, Element};

impl<N: Network, const B: usize> Trainer<N, B> {
    /// One tick of the network as a clocked pipeline, on its own tape: every layer advances once, on what the one
    /// before it gave at the last tick ([`Layer::tick`]). Returns the output, that of the input
    /// `TICKS - 1` ticks ago. With [`Mode::Train`] exponents adapt, and [`Trainer::step_stale`] may follow.
    ///
    /// # Errors
    /// [`Error::Batch`] unless `batch` is 1 to `B`; [`Error::Layer`] with what a kernel refused.
    pub fn tick(
        &mut self,
        exec: &impl Executor,
        batch: usize,
        mode: Mode,
    ) -> Result<Values<'_, Head<N>>> {
        let pass = pass(
            exec,
            mode,
            [self.seed, self.step],
            &Sgd::STILL,
            (self.is_padded, &self.lengths),
        );
        let x = input::<N, B>(&self.input, batch)?;
        let layers = self.network.layers_mut();
        layers.tick::<_, B>(&pass, 0, x, &mut self.tape)?;
        Ok(layers.output::<B>(x, &self.tape))
    }

    /// The same for the layer that is `index` ticks from the input; all others keep what they gave.
    ///
    /// # Errors
    /// As [`Trainer::tick`].
    pub fn tick_one(
        &mut self,
        exec: &impl Executor,
        index: usize,
        batch: usize,
        mode: Mode,
    ) -> Result<Values<'_, Head<N>>> {
        let pass = pass(
            exec,
            mode,
            [self.seed, self.step],
            &Sgd::STILL,
            (self.is_padded, &self.lengths),
        );
        let x = input::<N, B>(&self.input, batch)?;
        let layers = self.network.layers_mut();
        layers.tick_one::<_, B>(index, &pass, 0, x, &mut self.tape)?;
        Ok(layers.output::<B>(x, &self.tape))
    }

    /// A training step by cross-entropy on what a [`tick`](Trainer::tick) in [`Mode::Train`] has left: each layer's
    /// gradient is formed where that layer stands, with inputs that belong to later samples than its error. An
    /// approximation for fast streams; [`Pipeline`] has the gradient itself.
    ///
    /// # Errors
    /// As [`Trainer::step`]; [`Error::Tape`] where no tick has gone before.
    pub fn step_stale(
        &mut self,
        exec: &impl Executor,
        labels: &[u16],
        sgd: &Sgd,
    ) -> Result<<N::Elem as Loss>::LossSum> {
        let batch = samples_of(Arg::Labels, labels.len(), Self::LABELS)?;
        check_labels(labels, Self::CLASSES)?;
        let exponent = |_| N::Elem::LOSS_EXPONENT;
        self.descend(exec, batch, sgd, false, exponent, |y, store, dy| {
            cross_entropy::<N::Elem>(Self::CLASSES, y.data, y.exponent, labels, store, dy)
        })
    }
}

/// A network that advances by ticks, and learns from each sample when its output has arrived: streams whose input
/// changes, and whose output is read, at every tick.
///
/// `D` is the number of ticks from input to output, [`Layer::TICKS`]. After tick `t` (from 0) the output is
/// that of the input of tick `t - D + 1`; before, layers see zeros. Training is aligned: the gradient of a sample is
/// formed from its own activations, computed again from its input, of which the last `D` are kept. So the weights
/// are those of online training, `D - 1` ticks later. All memory is in this value; cost: two passes forward a tick.
///
/// # Example
/// ```
/// use selvedge_core::train::Pipeline;
/// use selvedge_core::{Rate, Serial, Sgd, net};
/// net! { struct Net: [2] { hidden: dense(8, activation = relu), head: dense(2) } }
/// let mut pipeline = Pipeline::<Net<i8>, 1, 2>::BLANK;
/// pipeline.init(1)?;
/// let sgd = Sgd::new(Rate { mantissa: 1, exponent: -4 });
/// for t in 0..400 {
///     let x = [(t * 37 % 101) as i8, (t * 73 % 101) as i8];
///     pipeline.input_mut().copy_from_slice(&x);
///     pipeline.tick(&Serial)?;
///     // The output is that of the last tick's input: so is the label.
///     if t >= 1 {
///         let x = [((t - 1) * 37 % 101) as i8, ((t - 1) * 73 % 101) as i8];
///         pipeline.step(&Serial, &[u16::from(x[0] > x[1])], &sgd)?;
///     }
/// }
/// pipeline.input_mut().copy_from_slice(&[90, 10]);
/// pipeline.tick(&Serial)?;
/// let logits = pipeline.tick(&Serial)?.data;
/// assert!(logits[1] > logits[0], "{logits:?}");
/// # Ok::<(), selvedge_core::Error>(())
/// ```
/// A `D` that is not that of the network does not compile:
/// ```compile_fail
/// # use selvedge_core::{net, train::Pipeline};
/// # net! { struct Net: [2] { hidden: dense(8, activation = relu), head: dense(2) } }
/// static PIPELINE: Pipeline<Net<i8>, 1, 3> = Pipeline::BLANK;
/// ```
pub struct Pipeline<N: Network, const B: usize, const D: usize> {
    trainer: Trainer<N, B>,
    /// Where the layers stand.
    tape: <N::Layers as Layer>::Tape<B>,
    next: [super::InputArray<N>; B],
    /// Inputs of the last ticks.
    inputs: [[super::InputArray<N>; B]; D],
    /// Where that of the next tick goes: the place of the oldest.
    place: usize,
    /// How many there are.
    kept: usize,
}

impl<N: Network, const B: usize, const D: usize> Pipeline<N, B, D> {
    /// All zero bytes; [`Pipeline::init`] comes next.
    pub const BLANK: Self = {
        assert!(
            D == <N::Layers as Layer>::TICKS && D > 0,
            "pipeline: D must be the ticks from input to output"
        );
        Self {
            trainer: Trainer::BLANK,
            tape: Tape::BLANK,
            next: [Storage::BLANK; B],
            inputs: [const { [Storage::BLANK; B] }; D],
            place: 0,
            kept: 0,
        }
    };

    /// Starts over: random weights, nothing seen.
    ///
    /// # Errors
    /// As [`Trainer::init`].
    pub fn init(&mut self, seed: u32) -> Result<()> {
        self.reset();
        self.trainer.init(seed)
    }

    /// All layers stand at zero again; the weights stay.
    pub fn reset(&mut self) {
        (self.place, self.kept) = (0, 0);
        self.tape.reset();
        self.trainer.reset();
    }

    /// The network with what its training needs: weights, seed, fingerprint.
    pub const fn trainer(&self) -> &Trainer<N, B> {
        &self.trainer
    }

    /// The same, to be changed: to load weights.
    pub const fn trainer_mut(&mut self) -> &mut Trainer<N, B> {
        &mut self.trainer
    }

    /// Where the input of the next tick is put, `[B, INPUT_LEN]`; it stays until it is changed.
    pub fn input_mut(&mut self) -> &mut [N::In] {
        Storage::flatten_mut(&mut self.next)
    }

    /// Advances every layer by one, and returns the output of the last, `[B, OUTPUT_LEN]`. Exponents stay as they
    /// are.
    ///
    /// # Errors
    /// [`Error::Layer`] with what a kernel refused.
    pub fn tick(&mut self, exec: &impl Executor) -> Result<Values<'_, Head<N>>> {
        if let Some(kept) = self.inputs.get_mut(self.place) {
            let from = Storage::flatten(&self.next);
            (Storage::flatten_mut(kept).iter_mut().zip(from)).for_each(|(to, &x)| *to = x);
        }
        let Trainer {
            network,
            seed,
            step,
            lengths,
            is_padded,
            ..
        } = &mut self.trainer;
        let pass = pass(
            exec,
            Mode::Infer,
            [*seed, *step],
            &Sgd::STILL,
            (*is_padded, &*lengths),
        );
        let x = input::<N, B>(&self.next, B)?;
        let layers = network.layers_mut();
        layers.tick::<_, B>(&pass, 0, x, &mut self.tape)?;
        self.place = if self.place + 1 < D {
            self.place + 1
        } else {
            0
        };
        self.kept = D.min(self.kept + 1);
        Ok(layers.output::<B>(x, &self.tape))
    }

    /// Trains on the sample whose output has arrived at the last tick: `labels` are its own, as for [`Trainer::step`].
    /// Returns the loss.
    ///
    /// # Errors
    /// As [`Trainer::step`]; [`Error::Ticks`] where no sample has arrived yet. Nothing has changed then.
    pub fn step(
        &mut self,
        exec: &impl Executor,
        labels: &[u16],
        sgd: &Sgd,
    ) -> Result<<N::Elem as Loss>::LossSum> {
        let refuse = Error::Ticks {
            expected: D,
            got: self.kept,
        };
        let kept = match self.inputs.get(self.place) {
            Some(kept) if self.kept == D => kept,
            _ => return Err(refuse),
        };
        let to = Storage::flatten_mut(&mut self.trainer.input).iter_mut();
        (to.zip(Storage::flatten(kept))).for_each(|(to, &x)| *to = x);
        self.trainer.step(exec, labels, sgd)
    }
}
