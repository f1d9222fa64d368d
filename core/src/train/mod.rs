//! Training in place: a network with all that its training needs.

mod adaptive;
mod epoch;
mod pipeline;

pub use epoch::{Pixels, Samples};
pub use pipeline::Pipeline;

use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::net::{
    Layer, Network, Pass, Room, Tape, Values, Visitor, VisitorMut, hand_scales, part, show_scales,
};
use crate::tensor::{Shape, Storage};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{
    Distance, Kernels as Loss, Outcome, Samples as LossSamples, binary_cross_entropy,
    cross_entropy, regression,
};
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::requantize::Store;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::select::wins;
use selvedge_kernels::{Arg, Element, Error as KernelError, Result as KernelResult};

/// Elements of the network's input.
type InputArray<N> = <<<N as Network>::Layers as Layer>::Input as Shape>::Array<<N as Network>::In>;

/// Elements of the network's output.
type Head<N> = <<N as Network>::Elem as Element>::Head;

/// A network with all the memory that its training takes, for batches of up to `B` samples:
/// parameters with the optimizer's state, input, tape and errors.
///
/// Its loss is that of the step: softmax cross-entropy ([`Trainer::step`]), a distance
/// ([`Trainer::step_towards`]) or binary cross-entropy ([`Trainer::step_binary`]). Input elements stand for fractions: integers for
/// `(q - z) · 2^-M`, within -1 and 1 ([`Element::from_pixel`] makes them). Put it into a static, or
/// onto the heap; it is initialised and trained in place. See the crate's front page for an example.
pub struct Trainer<N: Network, const B: usize> {
    network: N,
    input: [InputArray<N>; B],
    tape: <N::Layers as Layer>::Tape<B>,
    errors: N::Errors<B>,
    loss_scale: <N::Elem as Element>::Scale,
    seed: u32,
    step: u32,
    /// How many positions of each sample are real, where somebody has told.
    lengths: [u32; B],
    is_padded: bool,
}

/// What the layers share in a pass, at the step `[seed, step]`.
const fn pass<'a, E>(
    exec: &'a E,
    mode: Mode,
    [seed, step]: [u32; 2],
    sgd: &'a Sgd,
    (is_padded, lengths): (bool, &'a [u32]),
) -> Pass<'a, E> {
    Pass {
        exec,
        mode,
        seed,
        step,
        sgd,
        is_padded,
        lengths,
    }
}

impl<N: Network, const B: usize> Trainer<N, B> {
    /// All zero bytes, so that a static lies in `.bss`; [`Trainer::init`] comes next.
    pub const BLANK: Self = Self {
        network: N::BLANK,
        input: [Storage::BLANK; B],
        tape: Tape::BLANK,
        errors: Room::BLANK,
        loss_scale: Scale::UNSET,
        seed: 0,
        step: 0,
        lengths: [0; B],
        is_padded: false,
    };

    /// Bytes of RAM that training takes, without the stack.
    pub const RAM_BYTES: usize = size_of::<Self>();

    /// Bytes of flash that the deployed network takes: stored weights, biases, and exponents of
    /// weights and activations. Code is not in it.
    pub const FLASH_BYTES: usize = <N::Layers as Layer>::INFO.flash_bytes;

    /// Elements of an input sample.
    pub const INPUT_LEN: usize = <<N::Layers as Layer>::Input as Shape>::LEN;

    /// Elements of an output sample.
    pub const OUTPUT_LEN: usize = <<N::Layers as Layer>::Output as Shape>::LEN;

    /// The number of classes: the extent of the output's last axis.
    pub const CLASSES: usize = <<N::Layers as Layer>::Output as Shape>::CHANNELS;

    /// Labels of a sample: one for each position of the output's other axes, 1 where it has none.
    pub const LABELS: usize = Self::OUTPUT_LEN / Self::CLASSES;

    /// Starts over: random weights in place, nothing learned, nothing seen. The same seed gives the
    /// same bytes on every target.
    ///
    /// # Errors
    /// [`Error::Layer`] for a layer with more inputs than its element type can sum.
    pub fn init(&mut self, seed: u32) -> Result<()> {
        self.reset();
        (self.loss_scale, self.seed, self.step) = (Scale::UNSET, seed, 0);
        self.network.layers_mut().init(seed, 0)
    }

    /// The network.
    pub const fn network(&self) -> &N {
        &self.network
    }

    /// The network, to be changed: [`Layer::visit_mut`] of its layers loads weights.
    pub const fn network_mut(&mut self) -> &mut N {
        &mut self.network
    }

    /// Shows all that training goes on from but [`Trainer::seed`] and [`Trainer::steps`]: parameters and states of the
    /// layers in order, then the exponent state of the loss's gradient. With these, a model is saved; as the bytes of
    /// integers are the same everywhere, it may go on on another machine. What layers carry from pass to pass is not
    /// among them: there, a new sequence begins, as after [`Trainer::reset`]. Example: [`Trainer::resume`].
    pub fn visit(&self, visitor: &mut impl Visitor) {
        self.network.layers().visit(visitor);
        show_scales::<N::Elem>(visitor, &[self.loss_scale]);
    }

    /// Hands the same out in the same order, to be changed: loads a model.
    pub fn visit_mut(&mut self, visitor: &mut impl VisitorMut) {
        self.network.layers_mut().visit_mut(visitor);
        hand_scales::<N::Elem, 1>(visitor, [&mut self.loss_scale]);
    }

    /// Goes on as a trainer that was initialised with `seed` and has made `steps` steps: what is loaded by
    /// [`Trainer::visit_mut`] then trains to the same bytes as that one.
    ///
    /// # Example
    /// ```
    /// use selvedge_core::net::{Visitor, VisitorMut};
    /// use selvedge_core::{Element, Rate, Serial, Sgd, net, train::Trainer};
    /// use selvedge_kernels::scale::State;
    ///
    /// /// All of an i16 network without momentum or batch normalisation, as numbers.
    /// #[derive(Default)]
    /// struct Saved(std::collections::VecDeque<i64>);
    ///
    /// impl Visitor for Saved {
    ///     fn parameter<P: Element>(&mut self, value: &[P], _: &[i8], exponent: i16) {
    ///         self.0.extend(value.iter().map(|q| q.to_f64() as i64));
    ///         self.0.push_back(exponent.into());
    ///     }
    ///     fn exponent_state(&mut self, state: Option<State>) {
    ///         let State { exponent, low } = state.unwrap_or(State { exponent: 0, low: u8::MAX });
    ///         self.0.extend([i64::from(exponent), low.into()]);
    ///     }
    /// }
    ///
    /// impl VisitorMut for Saved {
    ///     fn parameter<P: Element>(&mut self, value: &mut [P], _: &mut [i8], exponent: &mut i16) {
    ///         value.fill_with(|| P::from_f64(self.0.pop_front().unwrap() as f64));
    ///         *exponent = self.0.pop_front().unwrap() as i16;
    ///     }
    ///     fn exponent_state(&mut self, state: &mut Option<State>) {
    ///         let [exponent, low] = [(); 2].map(|()| self.0.pop_front().unwrap());
    ///         let seen = State { exponent: exponent as i16, low: low as u8 };
    ///         *state = (seen.low != u8::MAX).then_some(seen);
    ///     }
    /// }
    ///
    /// net! { struct Net: [2] { hidden: dense(4, activation = relu), head: dense(2) } }
    /// type Trained = Trainer<Net<i16>, 2>;
    /// fn train(trainer: &mut Trained) {
    ///     for _ in 0..10 {
    ///         trainer.input_mut().copy_from_slice(&[9000, 1000, 2000, 11000]);
    ///         trainer.step(&Serial, &[1, 0], &Sgd::new(Rate { mantissa: 1, exponent: -4 })).unwrap();
    ///     }
    /// }
    /// let (mut first, mut second, mut saved) = (Trained::BLANK, Trained::BLANK, Saved::default());
    /// first.init(7)?;
    /// train(&mut first);
    /// first.visit(&mut saved);
    /// second.visit_mut(&mut saved);
    /// second.resume(first.seed(), first.steps());
    /// train(&mut first);
    /// train(&mut second);
    /// assert_eq!(first.fingerprint(), second.fingerprint());
    /// # Ok::<(), selvedge_core::Error>(())
    /// ```
    pub const fn resume(&mut self, seed: u32, steps: u32) {
        (self.seed, self.step) = (seed, steps);
    }

    /// The seed of [`Trainer::init`].
    pub const fn seed(&self) -> u32 {
        self.seed
    }

    /// Training steps since [`Trainer::init`].
    pub const fn steps(&self) -> u32 {
        self.step
    }

    /// Forgets what layers carry from pass to pass ([`Carried`](crate::net::Carried), [`Cache`](crate::net::Cache),
    /// [`Stream`](crate::net::Stream)): a new sequence begins.
    pub fn reset(&mut self) {
        self.tape.reset();
    }

    /// The hash of the network's parameters.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.network)
    }

    /// Where the samples of the next batch are put, one after the other: `[B, INPUT_LEN]`.
    pub fn input_mut(&mut self) -> &mut [N::In] {
        Storage::flatten_mut(&mut self.input)
    }

    /// One training step by softmax cross-entropy over the last axis of the output. Returns the sum of the
    /// losses, before the step.
    ///
    /// `labels` is `[samples, LABELS]`, those of the first samples of the input: a class for each sample, or, where
    /// the output has positions, for each of them.
    ///
    /// The mean over the batch belongs to `sgd`'s rate: for batches of 8, a rate of 1/4 is
    /// `1/32 = 1 · 2^-5`.
    ///
    /// # Errors
    /// [`Error::Batch`] unless there are labels of 1 to `B` samples, [`Error::Loss`] for a part of a sample and for a
    /// label beyond the classes, [`Error::Momentum`] for momentum in a network that does not keep velocities for all its
    /// parameters, [`Error::Layer`] for more samples than a gradient's accumulator can sum; nothing has changed
    /// then. [`Error::Layer`] also for a batch of one row before batch normalisation: exponents and running statistics below it have adapted to the batch then, no
    /// parameter has changed.
    pub fn step(
        &mut self,
        exec: &impl Executor,
        labels: &[u16],
        sgd: &Sgd,
    ) -> Result<<N::Elem as Loss>::LossSum> {
        let batch = samples_of(Arg::Labels, labels.len(), Self::LABELS)?;
        check_labels(labels, Self::CLASSES)?;
        let exponent = |_| N::Elem::LOSS_EXPONENT;
        self.descend(exec, batch, sgd, true, exponent, |y, store, dy| {
            cross_entropy::<N::Elem>(Self::CLASSES, y.data, y.exponent, labels, store, dy)
        })
    }

    /// One training step that brings the output nearer to `targets`, those of the first samples of the
    /// input: regression, autoencoders. Returns the sum of the distances, before the step.
    ///
    /// `targets` is `[samples, OUTPUT_LEN]`; of an integer type an element stands for
    /// `(q - z) · 2^exponent`, else `exponent` is 0. The mean over samples and elements belongs to
    /// `sgd`'s rate.
    ///
    /// # Errors
    /// [`Error::Batch`] unless there are targets for 1 to `B` samples, [`Error::Loss`] for a part of a
    /// sample, [`Error::Momentum`] as [`Trainer::step`]; nothing has changed then. [`Error::Layer`] as
    /// [`Trainer::step`].
    ///
    /// # Example
    /// ```
    /// use selvedge_core::{Distance, Rate, Serial, Sgd, net, train::Trainer};
    /// net! { struct Halves: [2] { head: dense(2) } }
    /// let mut trainer = Trainer::<Halves<f32>, 1>::BLANK;
    /// trainer.init(1)?;
    /// let sgd = Sgd::new(Rate { mantissa: 1, exponent: -2 });
    /// let mut loss = 0.0;
    /// for i in 0..200 {
    ///     let x = if i % 2 == 0 { [0.5, -1.0] } else { [1.0, 0.25] };
    ///     trainer.input_mut().copy_from_slice(&x);
    ///     let targets = x.map(|x| x / 2.0);
    ///     loss = trainer.step_towards(&Serial, &targets, 0, Distance::Squared, &sgd)?;
    /// }
    /// assert!(loss < 1e-3, "{loss}");
    /// # Ok::<(), selvedge_core::Error>(())
    /// ```
    pub fn step_towards(
        &mut self,
        exec: &impl Executor,
        targets: &[Head<N>],
        exponent: i32,
        distance: Distance,
        sgd: &Sgd,
    ) -> Result<<N::Elem as Loss>::LossSum> {
        let batch = samples_of(Arg::Target, targets.len(), Self::OUTPUT_LEN)?;
        let gradient = |y| distance.gradient_exponent::<Head<N>>(y, None);
        self.descend(exec, batch, sgd, true, gradient, |y, store, dy| {
            regression(
                distance,
                samples(y, targets, exponent, Self::OUTPUT_LEN),
                store,
                dy,
            )
        })
    }

    /// One training step on outputs that are true or false each by itself, by binary cross-entropy:
    /// outputs are logits, `targets` are probabilities from 0 to 1. Otherwise as
    /// [`Trainer::step_towards`].
    ///
    /// # Errors
    /// As [`Trainer::step_towards`].
    ///
    /// # Example
    /// ```
    /// use selvedge_core::{Rate, Serial, Sgd, net, train::Trainer};
    /// // Of two features: is the first positive, is the second?
    /// net! { struct Signs: [2] { head: dense(2) } }
    /// let mut trainer = Trainer::<Signs<f32>, 2>::BLANK;
    /// trainer.init(1)?;
    /// let sgd = Sgd::new(Rate { mantissa: 1, exponent: 0 });
    /// for _ in 0..100 {
    ///     trainer.input_mut().copy_from_slice(&[0.5, -1.0, -0.75, 0.5]);
    ///     trainer.step_binary(&Serial, &[1.0, 0.0, 0.0, 1.0], 0, &sgd)?;
    /// }
    /// let logits = trainer.predict(&Serial, 2)?;
    /// assert!(logits.data[0] > 0.0 && logits.data[1] < 0.0, "{logits:?}");
    /// # Ok::<(), selvedge_core::Error>(())
    /// ```
    pub fn step_binary(
        &mut self,
        exec: &impl Executor,
        targets: &[Head<N>],
        exponent: i32,
        sgd: &Sgd,
    ) -> Result<<N::Elem as Loss>::LossSum> {
        let batch = samples_of(Arg::Target, targets.len(), Self::OUTPUT_LEN)?;
        let gradient = |_| N::Elem::LOSS_EXPONENT;
        self.descend(exec, batch, sgd, true, gradient, |y, store, dy| {
            binary_cross_entropy(samples(y, targets, exponent, Self::OUTPUT_LEN), store, dy)
        })
    }

    /// A training step by a loss, whose gradient has accumulators of the exponent that `exponent` gives for
    /// that of the output. Unless it `is_fresh`, it goes on from the outputs that the tape holds.
    fn descend<L: Default>(
        &mut self,
        exec: &impl Executor,
        batch: usize,
        sgd: &Sgd,
        is_fresh: bool,
        exponent: impl FnOnce(i32) -> i32,
        mut gradient: impl FnMut(Values<'_, Head<N>>, Store, &mut [N::Elem]) -> KernelResult<Outcome<L>>,
    ) -> Result<L> {
        <N::Layers as Layer>::INFO.check(sgd, batch)?;
        let pass = pass(
            exec,
            Mode::Train,
            [self.seed, self.step],
            sgd,
            (self.is_padded, &self.lengths),
        );
        let x = input::<N, B>(&self.input, batch)?;
        if is_fresh {
            let layers = self.network.layers_mut();
            layers.forward::<_, B>(&pass, 0, x, &mut self.tape)?;
        }
        let y = self.network.layers().output::<B>(x, &self.tape);
        let [error, spare] = self.errors.pair();
        let words = Words::new(pass.seed, stream::LOSS, pass.step);
        let mut loss = L::default();
        let run = |store| {
            let outcome = gradient(y, store, part(&mut *error, y.data.len()))?;
            loss = outcome.loss;
            Ok(outcome.range)
        };
        let exponent = self
            .loss_scale
            .requantize(
                exponent(y.exponent),
                N::Elem::MAGNITUDE_BITS,
                Mode::Train,
                Rounding::Stochastic(words),
                run,
            )
            .map_err(Error::Loss)?;

        let errors = crate::net::Backward {
            error,
            spare,
            exponent,
        };
        self.network
            .layers_mut()
            .backward::<_, B>(&pass, 0, x, &mut self.tape, errors, false)?;
        self.step = self.step.wrapping_add(1);
        Ok(loss)
    }

    /// Tells how many positions of each sample are real, from the first on, in all passes from now on: layers
    /// whose attention is [`Padded`](crate::net::Padded) see no others. With `None` all are, as at first. A pass of fewer
    /// samples uses the first lengths; one of more positions than a sample has is refused by the layer.
    ///
    /// # Example
    /// ```
    /// use selvedge_core::net::{Attention, Axis, Everything, Padded, Part};
    /// use selvedge_core::tensor::D2;
    /// use selvedge_core::{Serial, net, train::Trainer};
    /// net! {
    ///     struct Net: [4, 2] {
    ///         look: layer(Attention<T, 4, 2, 1, 1, 2, Padded<Everything>> => [4, 2]),
    ///         first: layer(Part<T, D2<4, 2>, D2<1, 2>, Axis<0>> => [1, 2]),
    ///         head: dense(3),
    ///     }
    /// }
    /// let mut trainer = Trainer::<Net<f32>, 2>::BLANK;
    /// trainer.init(1)?;
    /// trainer.input_mut().fill(1.0);
    /// trainer.set_lengths(Some([4, 3])); // the second sample has three positions
    /// let y = trainer.predict(&Serial, 2)?.data.to_vec();
    /// trainer.input_mut()[14..].fill(9.0); // its fourth, which none of the others sees
    /// assert_eq!(trainer.predict(&Serial, 2)?.data, y);
    /// # Ok::<(), selvedge_core::Error>(())
    /// ```
    pub fn set_lengths(&mut self, lengths: Option<[u32; B]>) {
        self.is_padded = lengths.is_some();
        self.lengths = lengths.unwrap_or([0; B]);
    }

    /// The output for the first `batch` samples of the input, `[batch, OUTPUT_LEN]` with its exponent. Samples
    /// do not influence each other, and nothing is learned.
    ///
    /// # Errors
    /// [`Error::Batch`] unless `batch` is 1 to `B`.
    ///
    /// # Example
    /// ```
    /// use selvedge_core::{Serial, net, train::Trainer};
    /// net! { struct Net: [4] { hidden: dense(8, activation = relu), head: dense(3) } }
    /// let mut trainer = Trainer::<Net<i8>, 2>::BLANK;
    /// trainer.init(1)?;
    /// trainer.input_mut().copy_from_slice(&[1, 2, 3, 4, 50, 60, 70, 80]);
    /// let y = trainer.predict(&Serial, 2)?;
    /// // Two samples of three logits, each of them `q · 2^exponent`.
    /// let logits: Vec<f32> = y.data.iter().map(|&q| f32::from(q) * (y.exponent as f32).exp2()).collect();
    /// assert_eq!(logits.len(), 2 * 3);
    /// # Ok::<(), selvedge_core::Error>(())
    /// ```
    pub fn predict(&mut self, exec: &impl Executor, batch: usize) -> Result<Values<'_, Head<N>>> {
        let pass = pass(
            exec,
            Mode::Infer,
            [self.seed, self.step],
            &Sgd::STILL,
            (self.is_padded, &self.lengths),
        );
        let x = input::<N, B>(&self.input, batch)?;
        self.network
            .layers_mut()
            .forward::<_, B>(&pass, 0, x, &mut self.tape)
    }

    /// The most likely classes of the first samples of the input, `[samples, LABELS]`; of equal ones the first,
    /// and the first NaN before all. Classes from 65,536 on are not looked at. Samples do not influence each other,
    /// and nothing is learned.
    ///
    /// # Errors
    /// [`Error::Batch`] unless there are places for 1 to `B` samples, [`Error::Loss`] for a part of one.
    pub fn classify(&mut self, exec: &impl Executor, classes: &mut [u16]) -> Result<()> {
        let batch = samples_of(Arg::Labels, classes.len(), Self::LABELS)?;
        let logits = self.predict(exec, batch)?;
        for (class, row) in classes
            .iter_mut()
            .zip(logits.data.chunks_exact(Self::CLASSES.max(1)))
        {
            *class = arg_max(row);
        }
        Ok(())
    }
}

/// How many samples have `got` elements of `arg`, each sample `len`.
fn samples_of(arg: Arg, got: usize, len: usize) -> Result<usize> {
    let samples = got.checked_div(len).unwrap_or(0);
    if samples * len == got {
        return Ok(samples);
    }
    Err(Error::Loss(KernelError::Length {
        arg,
        expected: samples * len,
        got,
    }))
}

/// Outputs with what they should be.
fn samples<'a, H>(
    y: Values<'a, H>,
    target: &'a [H],
    target_exponent: i32,
    features: usize,
) -> LossSamples<'a, H> {
    LossSamples {
        outputs: y.data,
        exponent: y.exponent,
        target,
        target_exponent,
        features,
        weights: None,
    }
}

/// The first `batch` samples of the input.
fn input<N: Network, const B: usize>(
    input: &[InputArray<N>; B],
    batch: usize,
) -> Result<Values<'_, N::In>> {
    match input.get(..batch) {
        Some(samples) if batch > 0 => Ok(Values {
            data: Storage::flatten(samples),
            exponent: N::Elem::PIXEL_EXPONENT,
            batch,
        }),
        _ => Err(Error::Batch {
            capacity: B,
            got: batch,
        }),
    }
}

/// Refuses labels beyond the classes before anything adapts to their batch.
fn check_labels(labels: &[u16], classes: usize) -> Result<()> {
    for (row, &label) in labels.iter().enumerate() {
        let label = usize::from(label);
        if label >= classes {
            return Err(Error::Loss(KernelError::Label {
                row,
                label,
                classes,
            }));
        }
    }
    Ok(())
}

/// Index of the first of the largest elements, among the first 65,536. The first NaN is larger than all
/// (`docs/numerics.md` §21).
pub(crate) fn arg_max<T: Element>(row: &[T]) -> u16 {
    let mut best: Option<(u16, T::Wide)> = None;
    for (class, value) in (0..=u16::MAX).zip(row) {
        let value = value.widen();
        if best.is_none_or(|(_, largest)| wins(largest, value)) {
            best = Some((class, value));
        }
    }
    best.map_or(0, |(class, _)| class)
}
