//! Epochs over a set of samples, and evaluation.

use super::Trainer;
use crate::error::{Error, Result};
use crate::net::Network;
use selvedge_kernels::Element;
use selvedge_kernels::exec::Executor;
use selvedge_kernels::loss::Kernels as Loss;
use selvedge_kernels::optim::Sgd;
use selvedge_kernels::rng::shuffle;

/// A set of labelled samples.
pub trait Samples {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes sample `index` to `x` and returns its label; `None` if there is no such sample, or if
    /// it is not as long as `x`.
    fn read<T: Element>(&self, index: usize, x: &mut [T]) -> Option<u16>;
}

/// Images of 8-bit pixels, as [`Element::from_pixel`] reads them, with a label each.
#[derive(Clone, Copy, Debug)]
pub struct Pixels<'a> {
    /// `[samples, elements of one]`.
    pub pixels: &'a [u8],
    /// `[samples]`.
    pub labels: &'a [u8],
}

impl Samples for Pixels<'_> {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn read<T: Element>(&self, index: usize, x: &mut [T]) -> Option<u16> {
        let start = index.checked_mul(x.len())?;
        let pixels = self.pixels.get(start..start.checked_add(x.len())?)?;
        for (x, &pixel) in x.iter_mut().zip(pixels) {
            *x = T::from_pixel(pixel);
        }
        self.labels.get(index).map(|&label| u16::from(label))
    }
}

impl<N: Network<In = <N as Network>::Elem>, const B: usize> Trainer<N, B> {
    /// One epoch: each sample once, in the order that (`seed`, `epoch`) shuffles them to, in batches
    /// of `B`; the remainder that does not fill a batch is left out. Returns the sum of the losses.
    ///
    /// `order` is room for the order, `on_step` is told how many samples have been seen.
    ///
    /// # Errors
    /// [`Error::Order`] unless `order` has a place for each of at most 65,536 samples,
    /// [`Error::Sample`] for a sample that cannot be read, and those of [`Trainer::step`].
    pub fn epoch(
        &mut self,
        exec: &impl Executor,
        samples: &impl Samples,
        order: &mut [u16],
        epoch: u32,
        sgd: &Sgd,
        mut on_step: impl FnMut(usize),
    ) -> Result<<N::Elem as Loss>::LossSum> {
        let refuse = Error::Order {
            samples: samples.len(),
            got: order.len(),
        };
        if order.len() != samples.len() {
            return Err(refuse);
        }
        shuffle(self.seed(), epoch, order).map_err(|_| refuse)?;
        let mut loss = <N::Elem as Loss>::LossSum::default();
        let mut labels = [0; B];
        for (done, batch) in (0usize..).zip(order.chunks_exact(B.max(1))) {
            self.load(
                samples,
                batch.iter().map(|&index| usize::from(index)),
                &mut labels,
            )?;
            loss += self.step(exec, &labels, sgd)?;
            on_step(done.saturating_add(1).saturating_mul(B));
        }
        Ok(loss)
    }

    /// Classifies all samples, and hands index, label and class of each to `on_sample`.
    ///
    /// # Errors
    /// [`Error::Sample`] for a sample that cannot be read, [`Error::Batch`] if `B` is 0.
    pub fn evaluate(
        &mut self,
        exec: &impl Executor,
        samples: &impl Samples,
        mut on_sample: impl FnMut(usize, u16, u16),
    ) -> Result<()> {
        let (mut labels, mut classes) = ([0; B], [0; B]);
        for start in (0..samples.len()).step_by(B.max(1)) {
            let batch = start..samples.len().min(start.saturating_add(B));
            self.load(samples, batch.clone(), &mut labels)?;
            let (classes, _) = classes
                .split_at_mut_checked(batch.len())
                .unwrap_or_default();
            self.classify(exec, classes)?;
            for ((index, &label), &class) in batch.zip(&labels).zip(&*classes) {
                on_sample(index, label, class);
            }
        }
        Ok(())
    }

    /// How many of the samples are classified as their label says.
    ///
    /// # Errors
    /// Those of [`Trainer::evaluate`].
    pub fn count_right(&mut self, exec: &impl Executor, samples: &impl Samples) -> Result<usize> {
        let mut right = 0;
        self.evaluate(exec, samples, |_, label, class| {
            right += usize::from(label == class)
        })?;
        Ok(right)
    }

    /// Reads the samples `batch` to the input, and their labels.
    fn load(
        &mut self,
        samples: &impl Samples,
        batch: impl Iterator<Item = usize>,
        labels: &mut [u16],
    ) -> Result<()> {
        let inputs = self.input_mut().chunks_exact_mut(Self::INPUT_LEN.max(1));
        for ((index, x), label) in batch.zip(inputs).zip(labels) {
            *label = samples.read(index, x).ok_or(Error::Sample {
                index,
                samples: samples.len(),
            })?;
        }
        Ok(())
    }
}
