//! A training from its first epoch to its last, of whatever learns.

use super::{Evaluation, Outcome, Settings};
use crate::data::{DataSet, Scaled};
use crate::error::{Error, Result};
use selvedge_core::fingerprint::Fingerprint;
use selvedge_core::train::Samples;
use selvedge_core::{DType, Sgd};
use std::time::{Duration, Instant};

/// A typed network, or the session of a described one.
pub(super) trait Learner {
    /// Its element type.
    fn dtype(&self) -> DType;
    /// Samples of a step.
    fn batch(&self) -> usize;
    /// Classes that it knows.
    fn classes(&self) -> usize;
    /// Bytes of RAM for training, and of flash without it.
    fn bytes(&self) -> [usize; 2];

    /// Learns each sample once, in the order of (its seed, `epoch`), in whole batches; what is left over is left out.
    /// Returns the sum of the losses before the updates. `order` has a place for each sample, `on_step` is called after
    /// each batch.
    fn epoch(
        &mut self,
        samples: &Scaled<'_>,
        order: &mut [u16],
        epoch: u32,
        sgd: &Sgd,
        on_step: &mut dyn FnMut(),
    ) -> Result<f64>;

    /// The class of each sample.
    fn evaluate(&mut self, samples: &Scaled<'_>) -> Result<Evaluation>;

    /// The hash of what it has learned.
    fn fingerprint(&self) -> Result<Fingerprint>;
}

/// What is learned, and how.
pub(super) struct Course<'a> {
    pub(super) set: &'a DataSet,
    /// What numbers are divided by.
    pub(super) exponents: &'a [i16],
    pub(super) settings: Settings,
    /// The step of each epoch.
    pub(super) sgd: &'a dyn Fn(u32) -> Sgd,
    /// Told how many samples more have been learned.
    pub(super) on_samples: &'a (dyn Fn(u64) + Sync),
}

impl Course<'_> {
    /// All epochs; the test part is evaluated after each.
    pub(super) fn run(&self, learner: &mut impl Learner) -> Result<Outcome> {
        let train = self.set.train.scaled(self.exponents);
        let test = self.set.test.scaled(self.exponents);
        let batch = learner.batch();
        let samples = train.len() / batch.max(1) * batch;
        let mut order = vec![0; train.len()];
        let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
        let mut last = Evaluation::new(learner.classes());
        let mut busy = Duration::ZERO;
        for epoch in 0..self.settings.epochs {
            let start = Instant::now();
            let sgd = (self.sgd)(epoch);
            let mut on_step = || (self.on_samples)(batch as u64);
            let loss = learner.epoch(&train, &mut order, epoch, &sgd, &mut on_step)?;
            busy += start.elapsed();
            let loss = loss / samples.max(1) as f64;
            if !loss.is_finite() {
                let epoch = epoch + 1;
                return Err(Error::Diverged { epoch, loss });
            }
            losses.push(loss);
            last = learner.evaluate(&test)?;
            accuracies.push(last.accuracy());
        }
        let samples = f64::from(self.settings.epochs) * samples as f64;
        let [ram_bytes, flash_bytes] = learner.bytes();
        Ok(Outcome {
            dtype: learner.dtype(),
            losses,
            accuracies,
            test: last,
            ram_bytes,
            flash_bytes,
            samples_per_second: samples / busy.as_secs_f64().max(f64::MIN_POSITIVE),
            fingerprint: learner.fingerprint()?,
        })
    }
}
