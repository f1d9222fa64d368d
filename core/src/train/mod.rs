//! Training in place: a network with all that its training needs.

mod epoch;

pub use epoch::{Pixels, Samples};

use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::net::{Layer, Network, Pass, Room, Tape, Values, part};
use crate::tensor::{Shape, Storage};
use selvedge_kernels::exec::Executor;
use selvedge_kernels::fixed::Rounding;
use selvedge_kernels::loss::{Kernels as Loss, cross_entropy};
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::rng::{Words, stream};
use selvedge_kernels::scale::{Mode, Scale};
use selvedge_kernels::{Element, Error as KernelError};

/// Elements of the network's input.
type InputArray<N> =
    <<<N as Network>::Layers as Layer>::Input as Shape>::Array<<N as Network>::Elem>;

/// A classifier with all the memory that its training takes, for batches of up to `B` samples:
/// parameters with the optimizer's state, input, tape and errors.
///
/// Its loss is softmax cross-entropy. Input elements stand for fractions: integers for
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
    };

    /// Bytes of RAM that training takes, without the stack.
    pub const RAM_BYTES: usize = size_of::<Self>();

    /// Bytes of flash that the deployed network takes: stored weights, biases, and exponents of
    /// weights and activations. Code is not in it.
    pub const FLASH_BYTES: usize = <N::Layers as Layer>::INFO.flash_bytes;

    /// Elements of an input sample.
    pub const INPUT_LEN: usize = <<N::Layers as Layer>::Input as Shape>::LEN;

    /// Number of classes.
    pub const CLASSES: usize = <<N::Layers as Layer>::Output as Shape>::LEN;

    /// Starts over: random weights in place, nothing learned, nothing seen. The same seed gives the
    /// same bytes on every target.
    ///
    /// # Errors
    /// [`Error::Layer`] for a layer with more inputs than its element type can sum.
    pub fn init(&mut self, seed: u32) -> Result<()> {
        (self.loss_scale, self.seed, self.step) = (Scale::UNSET, seed, 0);
        self.network.layers_mut().init(seed, 0)
    }

    /// The network.
    pub const fn network(&self) -> &N {
        &self.network
    }

    /// The seed of [`Trainer::init`].
    pub const fn seed(&self) -> u32 {
        self.seed
    }

    /// Training steps since [`Trainer::init`].
    pub const fn steps(&self) -> u32 {
        self.step
    }

    /// The hash of the network's parameters.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.network)
    }

    /// Where the samples of the next batch are put, one after the other: `[B, INPUT_LEN]`.
    pub fn input_mut(&mut self) -> &mut [N::Elem] {
        Storage::flatten_mut(&mut self.input)
    }

    /// One training step on the first `labels.len()` samples of the input. Returns the sum of their
    /// losses, before the step.
    ///
    /// The mean over the batch belongs to `sgd`'s rate: for batches of 8, a rate of 1/4 is
    /// `1/32 = 1 · 2^-5`.
    ///
    /// # Errors
    /// [`Error::Batch`] unless there are 1 to `B` labels, [`Error::Loss`] for a label beyond the
    /// classes, [`Error::Layer`] for momentum in a network that keeps no velocities. Nothing has
    /// changed then, exponents adapted to the batch aside.
    pub fn step(
        &mut self,
        exec: &impl Executor,
        labels: &[u16],
        sgd: &Sgd,
    ) -> Result<<N::Elem as Loss>::LossSum> {
        check_labels(labels, Self::CLASSES)?;
        let pass = Pass {
            exec,
            mode: Mode::Train,
            seed: self.seed,
            step: self.step,
            sgd: *sgd,
        };
        let x = input::<N, B>(&self.input, labels.len())?;
        let logits = self
            .network
            .layers_mut()
            .forward::<_, B>(&pass, 0, x, &mut self.tape)?;

        let [error, spare] = self.errors.pair();
        let words = Words::new(self.seed, stream::LOSS, self.step);
        let mut loss = Default::default();
        let gradient = |store| {
            let dy = part(&mut *error, logits.data.len());
            let outcome = cross_entropy::<N::Elem>(
                Self::CLASSES,
                logits.data,
                logits.exponent,
                labels,
                store,
                dy,
            )?;
            loss = outcome.loss;
            Ok(outcome.range)
        };
        let exponent = self
            .loss_scale
            .requantize(
                N::Elem::LOSS_EXPONENT,
                N::Elem::MAGNITUDE_BITS,
                Mode::Train,
                Rounding::Stochastic(words),
                gradient,
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

    /// The most likely classes of the first `classes.len()` samples of the input; of equal ones the
    /// first. Samples do not influence each other, and nothing is learned.
    ///
    /// # Errors
    /// [`Error::Batch`] unless there are 1 to `B` places.
    pub fn classify(&mut self, exec: &impl Executor, classes: &mut [u16]) -> Result<()> {
        let sgd = Sgd::new(selvedge_kernels::optim::Rate {
            mantissa: 0,
            exponent: 0,
        });
        let pass = Pass {
            exec,
            mode: Mode::Infer,
            seed: self.seed,
            step: self.step,
            sgd,
        };
        let x = input::<N, B>(&self.input, classes.len())?;
        let logits = self
            .network
            .layers_mut()
            .forward::<_, B>(&pass, 0, x, &mut self.tape)?;
        for (class, row) in classes
            .iter_mut()
            .zip(logits.data.chunks_exact(Self::CLASSES.max(1)))
        {
            *class = arg_max(row);
        }
        Ok(())
    }
}

/// The first `batch` samples of the input.
fn input<N: Network, const B: usize>(
    input: &[InputArray<N>; B],
    batch: usize,
) -> Result<Values<'_, N::Elem>> {
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

/// Index of the first of the largest elements; 0 if none is larger than another, as with NaN.
fn arg_max<T: Element>(row: &[T]) -> u16 {
    let mut best: Option<(u16, T::Wide)> = None;
    for (class, value) in (0u16..).zip(row) {
        let value = value.widen();
        if best.is_none_or(|(_, largest)| value > largest) {
            best = Some((class, value));
        }
    }
    best.map_or(0, |(class, _)| class)
}
